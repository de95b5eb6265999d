/* Kafka through librdkafka: a consumer whose offsets live elsewhere, and an idempotent producer. This is the only place that knows
 * librdkafka; messages leave it as views for one call.
 */
#ifndef BF_KAFKA_H
#define BF_KAFKA_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdbool.h>
#include <stdint.h>

struct bf_header {
    const char *name;
    struct bf_slice value; /* data NULL: null */
};

struct bf_message { /* borrowed until the next poll of the same consumer */
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* the broker's or the producer's; -1 when there is none */
    struct bf_slice key, value; /* data NULL: null */
    const struct bf_header *headers;
    size_t header_count;
};

struct bf_tp {
    const char *topic;
    int32_t partition;
    int64_t offset; /* in: what the broker committed (< 0: none); out: where to start */
};

/* ---- consumer: one thread owns it and everything it calls back ---- */

struct bf_consumer;

/* Called from inside bf_consumer_poll() on the polling thread. */
struct bf_consumer_calls {
    /* Partitions were given: set tps[i].offset to where to begin (>= 0). BF_CONSUMER_EARLIEST / _COMMITTED are resolved here against the broker.
     * BF_AGAIN may be returned: the consumer asks again, membership kept. */
    enum bf_code (*assigned)(void *ctx, struct bf_tp *tps, size_t count, struct bf_err *err);
    /* Partitions are being taken (lost: without warning; nothing may be committed for them any more). */
    void (*revoked)(void *ctx, const struct bf_tp *tps, size_t count, bool lost);
    /* The next offset is beyond what was read: nothing more at the moment; `offset` is the log's end as fetched. */
    void (*reached_end)(void *ctx, const char *topic, int32_t partition, int64_t offset);
    /* Offsets [from, to) are gone from the broker (retention); reading goes on at `to`. */
    void (*lost_range)(void *ctx, const char *topic, int32_t partition, int64_t from, int64_t to);
    void *ctx;
};

#define BF_CONSUMER_EARLIEST (-2)
#define BF_CONSUMER_COMMITTED (-3) /* the group's committed offset, else the earliest */

struct bf_consumer_settings {
    const char *bootstrap, *group, *client_id;
    const char *const *topics; /* NULL-ended; an entry that begins with ^ is a pattern */
    const char *extra;         /* more librdkafka properties, "key=value\nkey=value", or NULL */
    struct bf_consumer_calls calls;
    /* The log ends before what was read of it already (`from`): it was cut back, or the topic was made anew. With calls.ctx; says where in [low, high] to read on;
     * -1, or no such call: bf_consumer_poll() says BF_BROKEN. */
    int64_t (*cut_back)(void *ctx, const char *topic, int32_t partition, int64_t from, int64_t low, int64_t high);
};

BF_MUST_CHECK enum bf_code bf_consumer_open(const struct bf_consumer_settings *settings, struct bf_consumer **out, struct bf_err *err);
/* Leaves the group; revoked() is called for what is held. */
void bf_consumer_close(struct bf_consumer *c);

/* The next message or none within timeout_ms (BF_NOT_FOUND). Stale ones of partitions that were taken are dropped inside: messages of a
 * partition come with ascending offsets >= the one asked for. BF_AGAIN: brokers are away (librdkafka goes on trying). BF_BROKEN: fatal. */
BF_MUST_CHECK enum bf_code bf_consumer_poll(struct bf_consumer *c, int timeout_ms, const struct bf_message **out, struct bf_err *err);

/* Stop and resume fetching of everything held (back-pressure); polling must go on. */
BF_MUST_CHECK enum bf_code bf_consumer_pause(struct bf_consumer *c, struct bf_err *err);
BF_MUST_CHECK enum bf_code bf_consumer_resume(struct bf_consumer *c, struct bf_err *err);
/* Go back (or on) to these offsets; partitions that are not held (any more) are left out. */
BF_MUST_CHECK enum bf_code bf_consumer_rewind(struct bf_consumer *c, const struct bf_tp *tps, size_t count, struct bf_err *err);

/* Stop reading this one and read it again from tp->offset, but not before delay_ms is over; the others go on. Not held any more: nothing happens. */
void bf_consumer_later(struct bf_consumer *c, const struct bf_tp *tp, int64_t delay_ms);

/* Commit to Kafka, asynchronously: a hint for lag tools (capsule) or the service's own position (odyssey, plato; `sync` waits). Any thread. */
BF_MUST_CHECK enum bf_code bf_consumer_commit(struct bf_consumer *c, const struct bf_tp *tps, size_t count, bool sync, struct bf_err *err);

/* Low and high watermark as last fetched (never blocks); false when not known yet; *low is -1 until the broker said it (some 10 s). Any
 * thread. */
bool bf_consumer_watermarks(struct bf_consumer *c, const char *topic, int32_t partition, int64_t *low, int64_t *high);
/* Asks the broker. */
BF_MUST_CHECK enum bf_code bf_consumer_query_watermarks(struct bf_consumer *c, const char *topic, int32_t partition, int timeout_ms,
                                                        int64_t *low, int64_t *high, struct bf_err *err);
/* Of these topics (names, NUL-separated) those that the cluster does not have, in the same form. Asks the broker, once. Any thread. */
BF_MUST_CHECK enum bf_code bf_consumer_missing_topics(struct bf_consumer *c, struct bf_slice topics, int timeout_ms, struct bf_buf *missing,
                                                      struct bf_err *err);

/* ---- producer: idempotent, acks=all; any thread may send ---- */

struct bf_producer;

/* Batching that follows the rate: a message goes out at once while few are on their way, else it waits until those came back (Nagle's rule; at most
 * 10 ms), so that a slower broker gets fewer, larger requests. For everything that has to be quick and does not know its rate; a fixed linger of
 * 5 to 10 ms is better only for bulk. Order is kept as with a fixed one. Costs one thread. */
#define BF_LINGER_ADAPTIVE (-1)

struct bf_producer_settings {
    const char *bootstrap, *client_id;
    int64_t linger_ms; /* how long a message waits for company; or BF_LINGER_ADAPTIVE */
    int64_t delivery_timeout_ms; /* 0: 120 s */
    const char *extra;
    const char *transactional_id; /* NULL: no transactions */
    /* Delivery report, from bf_producer_poll/flush/send or the background: code BF_OK or why not. May be NULL. */
    void (*delivered)(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset);
    void *ctx;
};

BF_MUST_CHECK enum bf_code bf_producer_open(const struct bf_producer_settings *settings, struct bf_producer **out, struct bf_err *err);
/* Does not flush. */
void bf_producer_close(struct bf_producer *p);

/* Queue one message (copied). BF_AGAIN: the local queue is full; poll and try again. partition -1: by key, as Java's clients do (murmur2).
 * timestamp_ms 0: now. */
BF_MUST_CHECK enum bf_code bf_producer_send(struct bf_producer *p, const char *topic, int32_t partition, struct bf_slice key,
                                            struct bf_slice value, const struct bf_header *headers, size_t header_count,
                                            int64_t timestamp_ms, void *opaque, struct bf_err *err);
/* Serve delivery reports; returns how many events were served. */
int bf_producer_poll(struct bf_producer *p, int timeout_ms);
/* Wait until the queue is empty; BF_AGAIN when it is not by then. */
BF_MUST_CHECK enum bf_code bf_producer_flush(struct bf_producer *p, int timeout_ms, struct bf_err *err);
size_t bf_producer_queued(const struct bf_producer *p);
/* Make the topic's metadata known (and let an auto-creating broker create it), and wait until its leaders have it: without that the first message
 * to a new topic may be lost, which is then reported as not delivered. BF_AGAIN on timeout. */
BF_MUST_CHECK enum bf_code bf_producer_warm(struct bf_producer *p, const char *topic, int timeout_ms, struct bf_err *err);
/* The cluster's id; the caller frees *out. */
BF_MUST_CHECK enum bf_code bf_producer_cluster_id(struct bf_producer *p, int timeout_ms, char **out, struct bf_err *err);

/* ---- transactions (KIP-98): a producer with a transactional_id, and one thread that uses it ----
 *
 * What a transaction sends becomes visible to read_committed readers with its commit, together with a *place*: a number and a note that are kept
 * as the committed offset of `topic`'s partition 0 in a consumer group of that purpose. So who dies and begins again at the place
 * sends nothing twice. (The embedded broker takes transactions but keeps no place.) Codes: BF_AGAIN: brokers are away, the same call again; BF_CANCELLED: the transaction was aborted, begin another one from
 * the last place; BF_BROKEN: fenced by another producer of this id, or fatal. */

/* Fence off earlier producers of this id and abort what they left open. */
BF_MUST_CHECK enum bf_code bf_txn_init(struct bf_producer *p, int timeout_ms, struct bf_err *err);
BF_MUST_CHECK enum bf_code bf_txn_begin(struct bf_producer *p, struct bf_err *err);
/* Flushes. note: at most BF_TXN_NOTE_MAX bytes. */
#define BF_TXN_NOTE_MAX 200
BF_MUST_CHECK enum bf_code bf_txn_commit(struct bf_producer *p, const char *group, const char *topic, int64_t number, const char *note,
                                         int timeout_ms, struct bf_err *err);
void bf_txn_abort(struct bf_producer *p, int timeout_ms);
/* The place committed last; BF_NOT_FOUND: none yet. */
BF_MUST_CHECK enum bf_code bf_txn_place(const char *bootstrap, const char *group, const char *topic, int timeout_ms, int64_t *number,
                                        char note[BF_TXN_NOTE_MAX + 1], struct bf_err *err);

/* ---- admin ---- */
/* Create a topic; BF_EXISTS when it is there. BF_INVALID when the broker has no admin API (the embedded one). */
BF_MUST_CHECK enum bf_code bf_kafka_create_topic(const char *bootstrap, const char *topic, int partitions, int64_t retention_ms,
                                                 int timeout_ms, struct bf_err *err);
/* Is a broker there? BF_AGAIN when none answers within timeout_ms. */
BF_MUST_CHECK enum bf_code bf_kafka_ping(const char *bootstrap, int timeout_ms, struct bf_err *err);

/* How far another group has committed, without being its member. One thread at a time. */
struct bf_group_view;
BF_MUST_CHECK enum bf_code bf_group_view_open(const char *bootstrap, const char *group, struct bf_group_view **out, struct bf_err *err);
void bf_group_view_close(struct bf_group_view *v);
/* Set tps[i].offset to the group's committed offset, -1 when it has none. */
BF_MUST_CHECK enum bf_code bf_group_view_committed(struct bf_group_view *v, struct bf_tp *tps, size_t count, int timeout_ms,
                                                   struct bf_err *err);

/* Is this the id of a mock cluster, which forgets all but the last 5 MiB of a partition? */
bool bf_kafka_is_mock_cluster(const char *cluster_id);

/* For the devbroker: a mock cluster of librdkafka that serves real sockets. A topic that is not made by bf_mock_cluster_topic() comes
 * into being with 4 partitions when somebody asks for it; that number cannot be set. */
struct bf_mock_cluster;
BF_MUST_CHECK enum bf_code bf_mock_cluster_open(int brokers, struct bf_mock_cluster **out, struct bf_err *err);
const char *bf_mock_cluster_bootstrap(const struct bf_mock_cluster *m);
BF_MUST_CHECK enum bf_code bf_mock_cluster_topic(struct bf_mock_cluster *m, const char *topic, int partitions, struct bf_err *err);
/* Call `each` with the end of every partition of every topic. */
BF_MUST_CHECK enum bf_code bf_mock_cluster_ends(struct bf_mock_cluster *m, int timeout_ms,
                                                void (*each)(void *ctx, const char *topic, int32_t partition, int64_t end), void *ctx,
                                                struct bf_err *err);
void bf_mock_cluster_close(struct bf_mock_cluster *m);

#endif
