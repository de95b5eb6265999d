/* librdkafka's configuration and error codes. The table says for each code what the caller may do; what is not in it is an outage,
 * because librdkafka goes on trying by itself and giving up on an event is the one mistake that cannot be made good. */
#include "bf_kafka_rd.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    rd_kafka_resp_err_t native;
    enum bf_code code;
} codes[] = {
    {RD_KAFKA_RESP_ERR_NO_ERROR, BF_OK},
    {RD_KAFKA_RESP_ERR__INVALID_ARG, BF_INVALID},
    {RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, BF_INVALID},
    {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, BF_INVALID},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, BF_INVALID},
    {RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, BF_INVALID},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, BF_INVALID},
    {RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, BF_INVALID},
    {RD_KAFKA_RESP_ERR_INVALID_PARTITIONS, BF_INVALID},
    {RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR, BF_INVALID},
    {RD_KAFKA_RESP_ERR_INVALID_CONFIG, BF_INVALID},
    {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, BF_INVALID},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, BF_INVALID},
    {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, BF_INVALID},
    {RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS, BF_EXISTS},
    {RD_KAFKA_RESP_ERR__QUEUE_FULL, BF_AGAIN},
    {RD_KAFKA_RESP_ERR__TIMED_OUT, BF_AGAIN},
    {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, BF_AGAIN},
    {RD_KAFKA_RESP_ERR__TRANSPORT, BF_AGAIN},
    {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, BF_AGAIN},
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, BF_AGAIN},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, BF_AGAIN},
    {RD_KAFKA_RESP_ERR__PURGE_QUEUE, BF_CANCELLED},
    {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, BF_CANCELLED},
    {RD_KAFKA_RESP_ERR__DESTROY, BF_CANCELLED},
    {RD_KAFKA_RESP_ERR__FATAL, BF_BROKEN},
    {RD_KAFKA_RESP_ERR__FENCED, BF_BROKEN},
    {RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, BF_BROKEN},
};

enum bf_code bf_rd_code(rd_kafka_resp_err_t native) {
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i].native == native) return codes[i].code;
    }
    return BF_AGAIN;
}

enum bf_code bf_rd_fail(struct bf_err *err, rd_kafka_resp_err_t native, const char *fmt, ...) {
    char context[256];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(context, sizeof context, fmt, ap);
    va_end(ap);
    return bf_fail(err, bf_rd_code(native), native, "%s: %s (%s)", context, rd_kafka_err2str(native),
                   rd_kafka_err2name(native));
}

static void log_nothing(const rd_kafka_t *rk, int level, const char *facility, const char *text) {
    (void)rk, (void)level, (void)facility, (void)text;
}

static enum bf_code set_property(rd_kafka_conf_t *conf, const char *key, const char *value, struct bf_err *err) {
    char text[BF_KAFKA_NATIVE_TEXT_MAX] = "";

    if (rd_kafka_conf_set(conf, key, value, text, sizeof text) == RD_KAFKA_CONF_OK) return BF_OK;
    return bf_fail(err, BF_INVALID, RD_KAFKA_RESP_ERR__INVALID_ARG, "Kafka setting %s: %s", key, text);
}

/* One "key=value" line of `extra`; an empty one is fine. */
static enum bf_code set_line(rd_kafka_conf_t *conf, const char *line, size_t len, bool *debug, struct bf_err *err) {
    char pair[1024];

    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\r')) len--;
    while (len > 0 && *line == ' ') line++, len--;
    if (len == 0) return BF_OK;
    if (len >= sizeof pair) return bf_fail(err, BF_INVALID, 0, "a Kafka setting is longer than %zu bytes", sizeof pair - 1);
    memcpy(pair, line, len);
    pair[len] = '\0';
    char *equals = strchr(pair, '=');
    if (equals == NULL) return bf_fail(err, BF_INVALID, 0, "Kafka setting \"%s\" has no '='", pair);
    *equals = '\0';
    if (strcmp(pair, "debug") == 0) *debug = true;
    return set_property(conf, pair, equals + 1, err);
}

static enum bf_code set_extra(rd_kafka_conf_t *conf, const char *extra, bool *debug, struct bf_err *err) {
    while (extra != NULL && *extra != '\0') {
        size_t len = strcspn(extra, "\n");
        enum bf_code code = set_line(conf, extra, len, debug, err);
        if (code != BF_OK) return code;
        extra += len + (extra[len] == '\n');
    }
    return BF_OK;
}

enum bf_code bf_rd_conf(const struct bf_kafka_property *properties, const char *extra, rd_kafka_conf_t **out,
                        struct bf_err *err) {
    enum bf_code code = BF_OK;
    bool debug = false;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    for (const struct bf_kafka_property *p = properties; p->key != NULL && code == BF_OK; p++) {
        if (p->value != NULL) code = set_property(conf, p->key, p->value, err);
    }
    if (code == BF_OK) code = set_extra(conf, extra, &debug, err);
    if (code != BF_OK) {
        rd_kafka_conf_destroy(conf);
        return code;
    }
    if (!debug) rd_kafka_conf_set_log_cb(conf, log_nothing);
    *out = conf;
    return BF_OK;
}

enum bf_code bf_rd_handle(rd_kafka_type_t type, rd_kafka_conf_t **conf, rd_kafka_t **out, struct bf_err *err) {
    char text[BF_KAFKA_NATIVE_TEXT_MAX] = "";
    rd_kafka_t *rk = rd_kafka_new(type, *conf, text, sizeof text);

    if (rk == NULL) return bf_fail(err, BF_INVALID, rd_kafka_last_error(), "no Kafka client: %s", text);
    *conf = NULL;
    *out = rk;
    return BF_OK;
}
