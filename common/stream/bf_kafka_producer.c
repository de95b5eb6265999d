/* The producer: idempotent, acks=all, so that what was reported delivered is in the log exactly once and in order.
 *
 * Delivery reports are served on whatever thread polls; a message belongs to librdkafka from send() to its report, with adaptive batching
 * perhaps a moment later. Topic handles are kept, because librdkafka forgets a topic's partitions with the last handle. */
#include "bf_kafka.h"

#include "bf_kafka_adaptive.h"
#include "bf_kafka_rd.h"
#include "bf_time.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DELIVERY_TIMEOUT_MS 120000
#define TXN_TIMEOUT_MS 60000 /* of the broker; a message must not outlive its transaction */
#define WARM_STEP_MS 100

struct warm_topic {
    struct warm_topic *next;
    rd_kafka_topic_t *handle;
};

struct bf_producer {
    rd_kafka_t *rk;
    void (*delivered)(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset);
    void *ctx;
    struct bf_adaptive *adaptive; /* NULL: a fixed linger */
    pthread_mutex_t lock;         /* over warm */
    struct warm_topic *warm;
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *rkm, void *opaque) {
    struct bf_producer *p = opaque;
    struct bf_err err = {0};
    enum bf_code code = BF_OK;

    (void)rk;
    if (p->delivered == NULL) return;
    if (rkm->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        code = bf_rd_fail(&err, rkm->err, "not delivered to %s", rkm->rkt != NULL ? rd_kafka_topic_name(rkm->rkt) : "?");
    } else if (rkm->offset < 0) { /* librdkafka takes DUPLICATE_SEQUENCE_NUMBER for success; it may stand for a message that overtook this one */
        code = bf_rd_fail(&err, RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER, "it is not known where");
    }
    p->delivered(p->ctx, rkm->_private, code, &err, rkm->partition, rkm->offset);
}

static void on_refused(void *ctx, void *opaque, rd_kafka_resp_err_t native) {
    struct bf_producer *p = ctx;
    struct bf_err err = {0};
    enum bf_code code = bf_rd_fail(&err, native, "not sent");

    if (p->delivered != NULL) p->delivered(p->ctx, opaque, code, &err, -1, -1);
}

enum bf_code bf_producer_open(const struct bf_producer_settings *settings, struct bf_producer **out, struct bf_err *err) {
    enum bf_code code;
    rd_kafka_conf_t *conf = NULL;
    char linger[24], timeout[24];
    struct bf_producer *p = calloc(1, sizeof *p);

    if (p == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a producer");
    pthread_mutex_init(&p->lock, NULL);
    p->delivered = settings->delivered;
    p->ctx = settings->ctx;
    snprintf(linger, sizeof linger, "%lld", settings->linger_ms == BF_LINGER_ADAPTIVE ? 0LL : (long long)settings->linger_ms);
    snprintf(timeout, sizeof timeout, "%lld",
             (long long)(settings->delivery_timeout_ms > 0  ? settings->delivery_timeout_ms
                         : settings->transactional_id != NULL ? TXN_TIMEOUT_MS
                                                              : DELIVERY_TIMEOUT_MS));
    const struct bf_kafka_property properties[] = {
        {"bootstrap.servers", settings->bootstrap},
        {"client.id", settings->client_id},
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"linger.ms", linger},
        {"message.timeout.ms", timeout},
        {"compression.codec", "lz4"},
        {"partitioner", "murmur2_random"}, /* Java's choice for a key; any partition without one */
        {"message.max.bytes", BF_KAFKA_MESSAGE_BYTES_MAX},
        {"queue.buffering.max.kbytes", "65536"},
        {"queue.buffering.max.messages", "500000"},
        {"socket.nagle.disable", "true"},
        {"transactional.id", settings->transactional_id},
        {NULL, NULL},
    };
    code = bf_rd_conf(properties, settings->extra, &conf, err);
    if (code != BF_OK) goto done;
    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    if (settings->linger_ms == BF_LINGER_ADAPTIVE) code = bf_adaptive_new(conf, on_refused, p, &p->adaptive, err);
    if (code == BF_OK) code = bf_rd_handle(RD_KAFKA_PRODUCER, &conf, &p->rk, err);
    if (code == BF_OK && p->adaptive != NULL) code = bf_adaptive_start(p->adaptive, p->rk, err);
    if (code != BF_OK) goto done;
    *out = p;
    p = NULL;
done:
    if (conf != NULL) rd_kafka_conf_destroy(conf);
    bf_producer_close(p);
    return code;
}

rd_kafka_t *bf_rd_of_producer(struct bf_producer *p) { return p->rk; }

void bf_producer_close(struct bf_producer *p) {
    if (p == NULL) return;
    bf_adaptive_stop(p->adaptive);
    while (p->warm != NULL) {
        struct warm_topic *next = p->warm->next;
        rd_kafka_topic_destroy(p->warm->handle);
        free(p->warm);
        p->warm = next;
    }
    if (p->rk != NULL) {
        /* Whatever is still queued gets its report (cancelled) before the handle goes. */
        (void)rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        (void)rd_kafka_flush(p->rk, 1000);
        rd_kafka_destroy(p->rk);
    }
    bf_adaptive_free(p->adaptive);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* The topic's handle, made and kept the first time. */
static enum bf_code topic_handle(struct bf_producer *p, const char *topic, rd_kafka_topic_t **out, struct bf_err *err) {
    enum bf_code code = BF_OK;
    rd_kafka_topic_t *handle = NULL;
    struct warm_topic *w;

    pthread_mutex_lock(&p->lock);
    for (w = p->warm; w != NULL && strcmp(rd_kafka_topic_name(w->handle), topic) != 0; w = w->next) {}
    if (w != NULL) {
        handle = w->handle;
    } else if ((w = calloc(1, sizeof *w)) == NULL) {
        code = bf_fail(err, BF_NOMEM, 0, "no memory for topic %s", topic);
    } else if ((handle = rd_kafka_topic_new(p->rk, topic, NULL)) == NULL) {
        code = bf_rd_fail(err, rd_kafka_last_error(), "topic %s", topic);
        free(w);
    } else {
        *w = (struct warm_topic){.handle = handle, .next = p->warm};
        p->warm = w;
    }
    pthread_mutex_unlock(&p->lock);
    if (code == BF_OK) *out = handle;
    return code;
}

static enum bf_code make_headers(const struct bf_header *headers, size_t count, rd_kafka_headers_t **out, struct bf_err *err) {
    rd_kafka_headers_t *made = rd_kafka_headers_new(count);

    for (size_t i = 0; i < count; i++) {
        rd_kafka_resp_err_t native =
            rd_kafka_header_add(made, headers[i].name, -1, headers[i].value.data, (ssize_t)headers[i].value.len);
        if (native == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
        rd_kafka_headers_destroy(made);
        return bf_rd_fail(err, native, "header %s", headers[i].name);
    }
    *out = made;
    return BF_OK;
}

static enum bf_code send_failed(struct bf_producer *p, rd_kafka_resp_err_t native, const char *topic, struct bf_err *err) {
    char text[BF_KAFKA_NATIVE_TEXT_MAX] = "";

    if (native == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_fatal_error(p->rk, text, sizeof text) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return bf_fail(err, BF_BROKEN, native, "the producer cannot go on: %s", text);
    }
    return bf_rd_fail(err, native, "sending to %s", topic);
}

enum bf_code bf_producer_send(struct bf_producer *p, const char *topic, int32_t partition, struct bf_slice key,
                              struct bf_slice value, const struct bf_header *headers, size_t header_count, int64_t timestamp_ms,
                              void *opaque, struct bf_err *err) {
    struct bf_adaptive_message m = {.partition = partition < 0 ? RD_KAFKA_PARTITION_UA : partition,
                                    .key = key,
                                    .value = value,
                                    .timestamp_ms = timestamp_ms,
                                    .opaque = opaque};
    enum bf_code code = topic_handle(p, topic, &m.topic, err);

    if (code == BF_OK && header_count > 0) code = make_headers(headers, header_count, &m.headers, err);
    if (code != BF_OK) return code;
    rd_kafka_resp_err_t native = p->adaptive != NULL ? bf_adaptive_send(p->adaptive, &m) : bf_rd_produce(p->rk, &m, RD_KAFKA_MSG_F_COPY);
    if (native == RD_KAFKA_RESP_ERR_NO_ERROR) return BF_OK;
    if (m.headers != NULL) rd_kafka_headers_destroy(m.headers);
    return send_failed(p, native, topic, err);
}

int bf_producer_poll(struct bf_producer *p, int timeout_ms) { return rd_kafka_poll(p->rk, timeout_ms); }

enum bf_code bf_producer_flush(struct bf_producer *p, int timeout_ms, struct bf_err *err) {
    int64_t deadline_us = bf_time_monotonic_us() + (int64_t)timeout_ms * 1000;

    while (p->adaptive != NULL && !bf_adaptive_push(p->adaptive) && bf_time_monotonic_us() < deadline_us) (void)rd_kafka_poll(p->rk, 10);
    int64_t left_ms = (deadline_us - bf_time_monotonic_us()) / 1000;
    rd_kafka_resp_err_t native = rd_kafka_flush(p->rk, left_ms > 0 ? (int)left_ms : 0);
    if (native == RD_KAFKA_RESP_ERR_NO_ERROR && bf_producer_queued(p) == 0) return BF_OK;
    if (native == RD_KAFKA_RESP_ERR_NO_ERROR) native = RD_KAFKA_RESP_ERR__TIMED_OUT;
    return bf_rd_fail(err, native, "%zu messages are still queued", bf_producer_queued(p));
}

size_t bf_producer_queued(const struct bf_producer *p) {
    size_t held = p->adaptive != NULL ? bf_adaptive_held(p->adaptive) : 0;
    return held + (size_t)rd_kafka_outq_len(p->rk);
}

enum bf_code bf_producer_cluster_id(struct bf_producer *p, int timeout_ms, char **out, struct bf_err *err) {
    char *id = rd_kafka_clusterid(p->rk, timeout_ms);

    if (id == NULL) return bf_fail(err, BF_AGAIN, RD_KAFKA_RESP_ERR__TIMED_OUT, "the cluster does not say its id");
    *out = strdup(id);
    rd_kafka_mem_free(p->rk, id);
    return *out != NULL ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for a cluster id");
}

/* Do the leaders of all partitions have them? A topic's metadata may be there before its logs are, and a first message that is refused then and overtaken by
 * the second is lost: a broker takes any first sequence number, and calls the retried one a duplicate. */
static rd_kafka_resp_err_t ask_leaders(struct bf_producer *p, const struct rd_kafka_metadata_topic *topic, int timeout_ms) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(topic->partition_cnt);

    for (int i = 0; i < topic->partition_cnt; i++) {
        rd_kafka_topic_partition_list_add(list, topic->topic, topic->partitions[i].id)->offset = RD_KAFKA_OFFSET_END;
    }
    rd_kafka_resp_err_t native = rd_kafka_offsets_for_times(p->rk, list, timeout_ms);
    for (int i = 0; i < list->cnt && native == RD_KAFKA_RESP_ERR_NO_ERROR; i++) native = list->elems[i].err;
    rd_kafka_topic_partition_list_destroy(list);
    return native;
}

enum bf_code bf_producer_warm(struct bf_producer *p, const char *topic, int timeout_ms, struct bf_err *err) {
    rd_kafka_topic_t *handle = NULL;
    rd_kafka_resp_err_t native;
    int64_t deadline_us = bf_time_monotonic_us() + (int64_t)timeout_ms * 1000;
    enum bf_code code = topic_handle(p, topic, &handle, err);

    if (code != BF_OK) return code;
    for (;;) {
        const struct rd_kafka_metadata *md = NULL;
        int64_t left_ms = (deadline_us - bf_time_monotonic_us()) / 1000;
        native = rd_kafka_metadata(p->rk, 0, handle, &md, left_ms > 1 ? (int)left_ms : 1);
        if (native == RD_KAFKA_RESP_ERR_NO_ERROR) {
            bool known = md->topic_cnt == 1 && md->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR && md->topics[0].partition_cnt > 0;
            native = !known ? (md->topic_cnt == 1 ? md->topics[0].err : RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
                            : ask_leaders(p, &md->topics[0], left_ms > 1 ? (int)left_ms : 1);
            rd_kafka_metadata_destroy(md);
            if (known && native == RD_KAFKA_RESP_ERR_NO_ERROR) return BF_OK;
        }
        if (bf_rd_code(native) != BF_AGAIN && native != RD_KAFKA_RESP_ERR_NO_ERROR) break;
        if (bf_time_monotonic_us() + WARM_STEP_MS * 1000 >= deadline_us) break;
        (void)rd_kafka_poll(p->rk, WARM_STEP_MS);
    }
    if (native == RD_KAFKA_RESP_ERR_NO_ERROR) native = RD_KAFKA_RESP_ERR__TIMED_OUT;
    return bf_rd_fail(err, native, "topic %s is not known at the broker", topic);
}
