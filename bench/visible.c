/* bench_visible: how long from produce to visible over HTTP. Produces at a rate; every Nth event is asked for by id over a kept-alive connection until
 * the server has it. Prints percentiles of (first answer 200) - (handed to the producer), and of the same events (handed to a bare consumer here) - (handed to
 * the producer), which is Kafka's part of it. */
#include "bf_event_id.h"
#include "bf_framing.h"
#include "bf_http_client.h"
#include "bf_json.h"
#include "bf_avro_encode.h"
#include "bf_kafka.h"
#include "bf_log.h"
#include "bf_registry.h"
#include "bf_settings.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "bf_topics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct visible_settings {
    char *bootstrap, *registry, *schemas_dir, *url;
    int64_t rate, seconds, sample_every, linger_ms;
};

#define F(name) offsetof(struct visible_settings, name)
static const struct bf_setting table[] = {
    {"bootstrap", BF_SETTING_STRING, F(bootstrap), "127.0.0.1:9092", 0, 0, false, false, NULL, "Kafka brokers"},
    {"registry", BF_SETTING_STRING, F(registry), "http://127.0.0.1:8081", 0, 0, false, false, NULL, "Schema registry"},
    {"schemas-dir", BF_SETTING_STRING, F(schemas_dir), "schemas", 0, 0, false, false, NULL, "Folder of topics.json"},
    {"url", BF_SETTING_STRING, F(url), "http://127.0.0.1:8480", 0, 0, false, false, NULL, "CAPSULE"},
    {"rate", BF_SETTING_INT, F(rate), "5000", 1, 1000000, false, false, "events/s", "Evenly"},
    {"seconds", BF_SETTING_INT, F(seconds), "20", 1, 3600, false, false, "s", "How long"},
    {"sample-every", BF_SETTING_INT, F(sample_every), "50", 1, 1000000, false, false, "events", "One in so many is looked for"},
    {"linger-ms", BF_SETTING_INT, F(linger_ms), "2", 0, 1000, false, false, "ms", "Batching of the producer"},
    {NULL, 0, 0, NULL, 0, 0, false, false, NULL, NULL},
};

static const struct bf_settings_program program = {.name = "bench_visible", .usage = "[options]",
                                                   .about = "Latency from produce to visible over HTTP.", .table = table};

#define SAMPLES_MAX 65536

struct sample {
    struct bf_uuid id;
    int64_t sent_us;
};

struct visible {
    struct visible_settings s;
    struct sample samples[SAMPLES_MAX];
    atomic_size_t offered; /* by the producer */
    atomic_bool done;
    double latency_ms[SAMPLES_MAX]; /* the looker's */
    size_t seen, missed;
    uint32_t looked[SAMPLES_MAX];
    double bare_ms[SAMPLES_MAX]; /* the bare consumer's, by sample */
    struct bf_consumer *consumer;
    atomic_int ready;
};

/* ---- Kafka alone ---- */

static enum bf_code assigned(void *ctx, struct bf_tp *tps, size_t count, struct bf_err *err) {
    struct visible *v = ctx;
    enum bf_code code = BF_OK;
    int64_t low;
    for (size_t i = 0; i < count && code == BF_OK; i++)
        code = bf_consumer_query_watermarks(v->consumer, tps[i].topic, tps[i].partition, 5000, &low, &tps[i].offset, err);
    atomic_store(&v->ready, code == BF_OK);
    return code;
}

static void *consume(void *arg) {
    struct visible *v = arg;
    const struct bf_message *msg;
    struct bf_err err;
    char group[64];
    const char *const topics[] = {"rim.fast-path", NULL};
    snprintf(group, sizeof group, "bench-visible-%" PRId64, bf_time_now_us());
    const struct bf_consumer_settings settings = {.bootstrap = v->s.bootstrap, .group = group, .client_id = "bench-visible", .topics = topics,
                                                  .calls = {.assigned = assigned, .ctx = v}};
    if (bf_consumer_open(&settings, &v->consumer, &err) != BF_OK) {
        bf_log_err(BF_LOG_ERROR, "no_consumer", &err, "topic=%s", topics[0]);
        return NULL;
    }
    while (!atomic_load(&v->done)) {
        if (bf_consumer_poll(v->consumer, 20, &msg, &err) != BF_OK || msg->header_count != 1)
            continue;
        size_t n = 0;
        memcpy(&n, msg->headers[0].value.data, sizeof n);
        v->bare_ms[n] = (double)(bf_time_monotonic_us() - v->samples[n].sent_us) / 1000;
    }
    bf_consumer_close(v->consumer);
    return NULL;
}

/* ---- CAPSULE ---- */

static void *look(void *arg) {
    struct visible *v = arg;
    struct bf_http_client *client = NULL;
    struct bf_buf answer;
    struct bf_err err;
    bf_buf_init(&answer, 1u << 20);
    if (bf_http_client_new(5000, &client, &err) != BF_OK)
        return NULL;
    for (size_t next = 0;;) {
        if (next == atomic_load(&v->offered)) {
            if (atomic_load(&v->done))
                break;
            struct timespec ts = {0, 100000};
            nanosleep(&ts, NULL);
            continue;
        }
        char id[BF_UUID_TEXT_LEN + 1], url[512];
        int status = 0;
        bf_uuid_format(id, &v->samples[next].id);
        snprintf(url, sizeof url, "%s/v1/events/%s", v->s.url, id);
        int64_t give_up = bf_time_monotonic_us() + 10000000;
        while (status != 200 && bf_time_monotonic_us() < give_up) {
            if (bf_http_call(client, "GET", url, NULL, BF_SLICE_NONE, &status, &answer, &err) != BF_OK)
                status = 0;
            if (status != 200)
                nanosleep(&(struct timespec){0, 300000}, NULL); /* leave the cores to the measured */
        }
        if (status == 200) {
            v->looked[v->seen] = (uint32_t)next;
            v->latency_ms[v->seen++] = (double)(bf_time_monotonic_us() - v->samples[next].sent_us) / 1000;
        } else {
            v->missed++;
        }
        next = atomic_load(&v->offered) > next + 1 ? atomic_load(&v->offered) - 1 : next + 1; /* fresh ones only */
    }
    bf_http_client_free(client);
    bf_buf_fini(&answer);
    return NULL;
}

static enum bf_code produce(struct visible *v, struct bf_producer *p, struct bf_avro_encoder *enc, int32_t schema_id, struct bf_err *err) {
    struct bf_buf value;
    bf_buf_init(&value, 4096);
    enum bf_code code = BF_OK;
    int64_t started = bf_time_monotonic_us(), total = v->s.rate * v->s.seconds;
    for (int64_t i = 0; code == BF_OK && i < total && !bf_stop_requested(); i++) {
        int64_t due = started + (int64_t)((double)i * 1e6 / (double)v->s.rate), now;
        while ((now = bf_time_monotonic_us()) < due) { /* sleeping: the cores belong to the measured */
            bf_producer_poll(p, 0);
            nanosleep(&(struct timespec){0, (due - now < 1000 ? due - now : 1000) * 1000}, NULL);
        }
        struct bf_uuid uuid = bf_uuid_v7();
        char id[BF_UUID_TEXT_LEN + 1], node[64];
        bf_uuid_format(id, &uuid);
        snprintf(node, sizeof node, "rim:entity:bench:V%04" PRId64, i % 5000);
        json_t *event = json_pack("{s:s,s:s,s:{s:I,s:I,s:I},s:f,s:f}", "rim_node_id", node, "event_id", id, "vector_timestamp", "event_ts_ms",
                                  (json_int_t)(bf_time_now_us() / 1000), "ingest_ts_ms", (json_int_t)(bf_time_now_us() / 1000),
                                  "logical_clock", (json_int_t)i, "price", 100.0 + (double)(i % 100), "stress", 0.1);
        bf_buf_clear(&value);
        uint8_t frame[BF_FRAME_BYTES];
        bf_frame_put(frame, schema_id);
        bf_buf_append(&value, frame, sizeof frame);
        code = bf_avro_encode(enc, event, &value, err);
        json_decref(event);
        int64_t sent_us = bf_time_monotonic_us();
        struct bf_slice bytes = {value.data, value.len};
        size_t n = atomic_load(&v->offered);
        bool sampled = i % v->s.sample_every == 0 && n < SAMPLES_MAX;
        const struct bf_header number = {"sample", {&n, sizeof n}};
        if (sampled)
            v->samples[n] = (struct sample){uuid, sent_us};
        if (code == BF_OK)
            while ((code = bf_producer_send(p, "rim.fast-path", -1, bf_slice_str(node), bytes, &number, sampled, 0, NULL, err)) == BF_AGAIN)
                bf_producer_poll(p, 1);
        if (sampled)
            atomic_store(&v->offered, n + 1);
    }
    if (code == BF_OK)
        code = bf_producer_flush(p, 30000, err);
    bf_buf_fini(&value);
    return code;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int run(struct visible *v) {
    struct bf_err err;
    struct bf_topics *topics = NULL;
    struct bf_registry *registry = NULL;
    struct bf_avro_encoder *enc = NULL;
    struct bf_producer *producer = NULL;
    int32_t schema_id = 0;
    pthread_t looker, consumer;
    enum bf_code code = bf_topics_load(v->s.schemas_dir, &topics, &err);
    const char *schema = code == BF_OK ? bf_topics_find(topics, "rim.fast-path")->schema_json : NULL;
    if (code == BF_OK)
        code = bf_registry_new(v->s.registry, 5000, &registry, &err);
    if (code == BF_OK)
        code = bf_registry_register(registry, "rim.fast-path-value", schema, &schema_id, &err);
    if (code == BF_OK)
        code = bf_avro_encoder_new(schema, &enc, &err);
    const struct bf_producer_settings settings = {.bootstrap = v->s.bootstrap, .client_id = "bench-visible", .linger_ms = v->s.linger_ms};
    if (code == BF_OK)
        code = bf_producer_open(&settings, &producer, &err);
    if (code == BF_OK)
        code = bf_producer_warm(producer, "rim.fast-path", 10000, &err);
    if (code == BF_OK) {
        bf_assert(pthread_create(&consumer, NULL, consume, v) == 0 && pthread_create(&looker, NULL, look, v) == 0);
        for (int i = 0; i < 300 && !atomic_load(&v->ready); i++)
            bf_sleep_ms(100);
        bf_sleep_ms(1000); /* until it fetches */
        code = produce(v, producer, enc, schema_id, &err);
        bf_sleep_ms(500); /* for the last ones */
        atomic_store(&v->done, true);
        pthread_join(looker, NULL);
        pthread_join(consumer, NULL);
    }
    if (code != BF_OK)
        bf_log_err(BF_LOG_ERROR, "failed", &err, "seen=%zu", v->seen);
    static double bare[SAMPLES_MAX];
    for (size_t i = 0; i < v->seen; i++)
        bare[i] = v->bare_ms[v->looked[i]];
    qsort(v->latency_ms, v->seen, sizeof *v->latency_ms, compare);
    qsort(bare, v->seen, sizeof *bare, compare);
    if (v->seen)
        printf("rate=%" PRId64 " samples=%zu missed=%zu p50_ms=%.2f p99_ms=%.2f p999_ms=%.2f max_ms=%.2f bare_p50_ms=%.2f bare_p99_ms=%.2f bare_p999_ms=%.2f\n",
               v->s.rate, v->seen, v->missed, v->latency_ms[v->seen / 2], v->latency_ms[v->seen * 99 / 100], v->latency_ms[v->seen * 999 / 1000],
               v->latency_ms[v->seen - 1], bare[v->seen / 2], bare[v->seen * 99 / 100], bare[v->seen * 999 / 1000]);
    bf_producer_close(producer);
    bf_avro_encoder_free(enc);
    bf_registry_free(registry);
    bf_topics_free(topics);
    return code == BF_OK && v->seen && !v->missed ? BF_EXIT_OK : BF_EXIT_FAILED;
}

int main(int argc, char **argv) {
    static struct visible v;
    struct bf_err err;
    char **rest;
    int rest_count, exit_code = 0;
    bf_log_init("bench_visible", BF_LOG_INFO);
    enum bf_code code = bf_settings_load(&program, argc, argv, &v.s, &rest, &rest_count, &exit_code, &err);
    if (code == BF_OK)
        exit_code = bf_stop_install(&err) == BF_OK ? run(&v) : BF_EXIT_INTERNAL;
    else if (code != BF_CANCELLED)
        fprintf(stderr, "bench_visible: %s\n", err.msg);
    bf_settings_fini(&program, &v.s);
    return exit_code;
}
