/* Batching that follows the rate, for a producer of one librdkafka handle (whose own linger is 0). Private to the producer.
 *
 * Nagle's rule (RFC 896): while fewer than ADAPTIVE_FREE messages are on their way a message goes out at once; else it is held until what is on
 * its way came back, ADAPTIVE_BATCH messages or ADAPTIVE_BYTES are held, or ADAPTIVE_WAIT_MAX_US passed. So the broker's own speed sets the size of a
 * batch: one message when idle, more as it gets slower; there is no rate to guess and nothing to tune. Order is kept: whatever is sent while
 * something is held goes behind it. Thread-safe.
 */
#ifndef BF_KAFKA_ADAPTIVE_H
#define BF_KAFKA_ADAPTIVE_H

#include "bf_kafka_rd.h"

#include <stddef.h>
#include <stdint.h>

#define ADAPTIVE_FREE 4
#define ADAPTIVE_BATCH 2000
#define ADAPTIVE_BYTES (512 * 1024)
#define ADAPTIVE_WAIT_MAX_US 10000

struct bf_adaptive;

struct bf_adaptive_message {
    rd_kafka_topic_t *topic; /* kept by the producer */
    int32_t partition;       /* RD_KAFKA_PARTITION_UA: by key */
    struct bf_slice key, value;
    rd_kafka_headers_t *headers; /* taken on success; NULL: none */
    int64_t timestamp_ms;        /* 0: when it is sent */
    void *opaque;
};

/* A held message that librdkafka refused; from whatever thread pushed it. */
typedef void bf_adaptive_refused(void *ctx, void *opaque, rd_kafka_resp_err_t native);

/* Hooks into `conf`; then, with the handle made from it, starts. */
BF_MUST_CHECK enum bf_code bf_adaptive_new(rd_kafka_conf_t *conf, bf_adaptive_refused *refused, void *ctx, struct bf_adaptive **out,
                                           struct bf_err *err);
BF_MUST_CHECK enum bf_code bf_adaptive_start(struct bf_adaptive *a, rd_kafka_t *rk, struct bf_err *err);
/* Before the handle is destroyed; what is held goes to librdkafka (or is refused). */
void bf_adaptive_stop(struct bf_adaptive *a);
/* After it was. NULL is fine. */
void bf_adaptive_free(struct bf_adaptive *a);

/* Send or hold (copied). The code is librdkafka's; _QUEUE_FULL: try again. */
rd_kafka_resp_err_t bf_adaptive_send(struct bf_adaptive *a, const struct bf_adaptive_message *m);
/* Give all that is held to librdkafka; false: its queue is full before that. */
bool bf_adaptive_push(struct bf_adaptive *a);
size_t bf_adaptive_held(struct bf_adaptive *a);

/* One message to librdkafka, which takes `value` (malloc'ed) and the headers on success. */
rd_kafka_resp_err_t bf_rd_produce(rd_kafka_t *rk, const struct bf_adaptive_message *m, int flags);

#endif
