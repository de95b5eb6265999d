/* What the Kafka files share about librdkafka: making a configuration, and its codes as ours. Private to them. */
#ifndef BF_KAFKA_RD_H
#define BF_KAFKA_RD_H

#include "bf_buf.h"
#include "bf_err.h"

#include <librdkafka/rdkafka.h>

#define BF_KAFKA_MESSAGE_BYTES_MAX "20971520"
#define BF_KAFKA_NATIVE_TEXT_MAX 512

struct bf_kafka_property {
    const char *key, *value; /* a NULL value is left out; a NULL key ends the list */
};

/* What the caller may do after this librdkafka or broker error. */
enum bf_code bf_rd_code(rd_kafka_resp_err_t native);

/* Fill err from a librdkafka error: our code, its code, "context: its name for people". */
enum bf_code bf_rd_fail(struct bf_err *err, rd_kafka_resp_err_t native, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Make a configuration: the properties in order, then the lines of `extra`, which win. librdkafka's own log is silenced
 * unless `extra` asks for debug. The caller owns *out. */
BF_MUST_CHECK enum bf_code bf_rd_conf(const struct bf_kafka_property *properties, const char *extra, rd_kafka_conf_t **out,
                                      struct bf_err *err);

/* Make the handle; `conf` is consumed on success and nulled. */
BF_MUST_CHECK enum bf_code bf_rd_handle(rd_kafka_type_t type, rd_kafka_conf_t **conf, rd_kafka_t **out, struct bf_err *err);

/* The producer's handle. */
struct bf_producer;
rd_kafka_t *bf_rd_of_producer(struct bf_producer *p);

#endif
