/* Where a consumer reads each of its partitions, and how that changes: rebalances, refused positions, retries. Private to the consumer; the polling thread.
 *
 * What goes wrong where nothing can be returned is kept as trouble, and the next poll returns it.
 */
#ifndef BF_KAFKA_POSITION_H
#define BF_KAFKA_POSITION_H

#include "bf_kafka.h"
#include "bf_kafka_parts.h"
#include "bf_kafka_rd.h"

struct bf_consumer {
    rd_kafka_t *rk;
    struct bf_consumer_calls calls;
    int64_t (*cut_back)(void *ctx, const char *topic, int32_t partition, int64_t from, int64_t low, int64_t high);
    char **topics; /* NULL-ended copy of the subscription */
    struct bf_parts parts;
    bool paused, was_assigned; /* was_assigned: ever, be it with nothing */
    int64_t retry_at_us; /* 0: nothing waits */
    bool fatal, has_trouble;
    struct bf_err trouble;
    rd_kafka_message_t *current; /* behind `view` */
    struct bf_message view;
    struct bf_header *headers;
    size_t headers_max;
    /* bf_kafka_consumer.c, keep_fetching() */
    rd_kafka_queue_t *queue;
    size_t seen_messages, seen_bytes;
    bool was_full;
};

/* One that is BF_BROKEN stays: the consumer cannot go on. */
void bf_consumer_trouble(struct bf_consumer *c, const struct bf_err *err);

/* Stop fetching and keep `part` WAITING at its expected offset. */
void bf_position_stop(struct bf_consumer *c, struct bf_part *part);
/* Fetch from `offset`, whatever was fetched so far. */
void bf_position_read_from(struct bf_consumer *c, struct bf_part *part, int64_t offset);
/* Look again at what waits, at this time (monotonic) or earlier. */
void bf_position_retry_at(struct bf_consumer *c, int64_t at_us);
/* Begin with everything that is WAITING. `answer`: librdkafka waits for our word on a rebalance, so say at least "nothing". */
void bf_position_begin_waiting(struct bf_consumer *c, bool answer);
/* The broker does not have `expected`: it is gone (go on after the gap), or not there yet (ask again). */
void bf_position_refused(struct bf_consumer *c, struct bf_part *part);
/* BF_AGAIN: the broker does not answer. */
enum bf_code bf_position_ask_watermarks(struct bf_consumer *c, const char *topic, int32_t partition, int timeout_ms, int64_t *low, int64_t *high,
                                        struct bf_err *err);
/* librdkafka's rebalance callback; opaque is the consumer. */
void bf_position_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t native, rd_kafka_topic_partition_list_t *list, void *opaque);

#endif
