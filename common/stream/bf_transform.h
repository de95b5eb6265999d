/* Consume, transform, produce: messages of one topic in, any number of messages of other topics out, and the group's offset moves on only when
 * everything that was sent on account of the messages below it is acknowledged by Kafka. After a crash the messages above it come again:
 * at least once. Exactly-once in effect comes from outputs whose ids and bytes depend on the input alone.
 *
 * One thread owns it and all calls back come on that thread, from inside bf_transform_run(). Counts and lag may be read from any thread.
 */
#ifndef BF_TRANSFORM_H
#define BF_TRANSFORM_H

#include "bf_kafka.h"

#include <stdatomic.h>

#define BF_TRANSFORM_PARTITIONS_MAX 4096

struct bf_transform;

struct bf_transform_calls {
    /* Partitions were given; begin[i].offset is where reading will begin, made definite. BF_AGAIN: not ready yet, asked again soon. */
    enum bf_code (*assigned)(void *ctx, const struct bf_tp *begin, size_t count, struct bf_err *err);
    /* Partitions are gone; what was sent for them is acknowledged and committed, unless they were lost. */
    void (*revoked)(void *ctx, const struct bf_tp *tps, size_t count);
    /* One message. BF_OK: done (also when it was no good). BF_AGAIN: a dependency is away; the same message comes again after retry_ms, and
     * nothing else of its partition before it. Anything else ends the run. */
    enum bf_code (*message)(void *ctx, const struct bf_message *msg, struct bf_err *err);
    /* [from, to) is gone from the broker before it was read. */
    void (*lost)(void *ctx, int32_t partition, int64_t from, int64_t to);
    /* Caught up with this partition at the moment. May be NULL. */
    void (*caught_up)(void *ctx, int32_t partition, int64_t offset);
    /* About every tick_ms. May be NULL. Failures as for message(). */
    enum bf_code (*tick)(void *ctx, struct bf_err *err);
    void *ctx;
};

struct bf_transform_settings {
    const char *bootstrap, *group, *client_id, *topic_in;
    int64_t linger_ms; /* of the outputs, or BF_LINGER_ADAPTIVE */
    int64_t commit_interval_ms, retry_ms, tick_ms;
    size_t in_flight_max; /* messages sent and not acknowledged; at this many, reading waits */
    struct bf_transform_calls calls;
};

struct bf_transform_counts {
    atomic_llong consumed, sent, acknowledged, commits;
    atomic_llong waits_full;       /* sending had to wait for acknowledgements */
    atomic_llong waits_dependency; /* a message had to wait for something that is away */
    atomic_int partitions;         /* held now */
    atomic_bool waiting;           /* for a dependency, now */
};

/* Connects in the background; joins the group in bf_transform_run(). */
BF_MUST_CHECK enum bf_code bf_transform_open(const struct bf_transform_settings *settings, struct bf_transform **out, struct bf_err *err);
void bf_transform_close(struct bf_transform *t);

/* Make an output topic known before the first message. BF_AGAIN: not within timeout_ms. */
BF_MUST_CHECK enum bf_code bf_transform_warm(struct bf_transform *t, const char *topic_out, int timeout_ms, struct bf_err *err);
/* Until stop is requested: then what was sent is waited for and committed. */
BF_MUST_CHECK enum bf_code bf_transform_run(struct bf_transform *t, struct bf_err *err);

/* Only from inside message() and tick(): send one message (copied), keyed; the offsets wait for it. Blocks while too many are not acknowledged. */
BF_MUST_CHECK enum bf_code bf_transform_send(struct bf_transform *t, const char *topic, struct bf_slice key, struct bf_slice value,
                                             const struct bf_header *headers, size_t header_count, struct bf_err *err);
/* Wait until all that was sent so far is acknowledged. */
BF_MUST_CHECK enum bf_code bf_transform_settle(struct bf_transform *t, struct bf_err *err);

struct bf_transform_counts *bf_transform_counts(struct bf_transform *t);
/* The first offset of the partition that is not done; -1: not held. Any thread. */
int64_t bf_transform_position(const struct bf_transform *t, int32_t partition);
/* Messages between what is done and the log's end; false: not held, or not known yet. Any thread. */
bool bf_transform_lag(struct bf_transform *t, int32_t partition, int64_t *messages);

#endif
