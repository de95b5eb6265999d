/* bench_signals: what PERCEPTION is measured with. --write: a file of NDJSON signals. --bare: the same bytes that PERCEPTION would publish from that file,
 * encoded beforehand, through librdkafka alone. --post: the file's lines over HTTP in batches, on several connections. */
#include "bf_http_client.h"
#include "bf_log.h"
#include "bf_settings.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "bf_topics.h"
#include "input.h"
#include "signal_check.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct signals_settings {
    char *write, *bare, *post, *file, *bootstrap, *topic, *schemas_dir;
    int64_t events, nodes, connections, batch, schema_id;
};

#define F(name) offsetof(struct signals_settings, name)
static const struct bf_setting table[] = {
    {"write", BF_SETTING_STRING, F(write), NULL, 0, 0, false, false, NULL, "Write signals to this file"},
    {"bare", BF_SETTING_STRING, F(bare), NULL, 0, 0, false, false, NULL, "Publish this file's signals with librdkafka alone"},
    {"post", BF_SETTING_STRING, F(post), NULL, 0, 0, false, false, NULL, "Post --file's lines to this PERCEPTION"},
    {"file", BF_SETTING_STRING, F(file), NULL, 0, 0, false, false, NULL, "For --post"},
    {"bootstrap", BF_SETTING_STRING, F(bootstrap), "127.0.0.1:9092", 0, 0, false, false, NULL, "Kafka brokers"},
    {"topic", BF_SETTING_STRING, F(topic), "rim.fast-path", 0, 0, false, false, NULL, "Where to"},
    {"schemas-dir", BF_SETTING_STRING, F(schemas_dir), "schemas", 0, 0, false, false, NULL, "Folder of topics.json"},
    {"events", BF_SETTING_INT, F(events), "1000000", 1, 100000000, false, false, "events", "How many to write"},
    {"nodes", BF_SETTING_INT, F(nodes), "5000", 1, 10000000, false, false, "nodes", "Over how many nodes"},
    {"connections", BF_SETTING_INT, F(connections), "4", 1, 256, false, false, NULL, "For --post"},
    {"batch", BF_SETTING_INT, F(batch), "500", 1, 100000, false, false, "signals", "In one request"},
    {"schema-id", BF_SETTING_INT, F(schema_id), "1", 1, 1000000, false, false, NULL, "In the frame of --bare"},
    {NULL, 0, 0, NULL, 0, 0, false, false, NULL, NULL},
};

static const struct bf_settings_program program = {
    .name = "bench_signals", .usage = "[options]", .about = "Signals for PERCEPTION's benchmarks.", .table = table};

static int write_file(const struct signals_settings *s) {
    FILE *f = fopen(s->write, "w");
    uint64_t r = 88172645463325252u;
    for (int64_t i = 0; f != NULL && i < s->events; i++) {
        r ^= r << 13, r ^= r >> 7, r ^= r << 17;
        fprintf(f,
                "{\"rim_node_id\":\"rim:entity:bench:N%06" PRIu64 "\",\"event_id\":\"0190a5c8-0000-7000-8000-%012" PRId64
                "\",\"vector_timestamp\":{\"event_ts_ms\":%" PRId64 ",\"ingest_ts_ms\":%" PRId64 ",\"logical_clock\":%" PRId64
                "},\"critical_metrics\":{\"spread\":0.%06u,\"imbalance\":-0.%03u},\"price\":%u.%03u,\"volume\":%u,\"stress\":0.%03u,"
                "\"status\":\"ACTIVE\",\"instrument_id\":\"XETR-0001\",\"source_topic\":null,\"metadata\":{\"venue\":\"bench\"}}\n",
                r % (uint64_t)s->nodes, i, INT64_C(1717236000000) + i, INT64_C(1717236000004) + i, i, (unsigned)(r >> 8) % 1000000,
                (unsigned)(r >> 16) % 1000, (unsigned)(r >> 12) % 200, (unsigned)(r >> 24) % 1000, (unsigned)(r >> 32) % 10000,
                (unsigned)(r >> 40) % 1000);
    }
    return f != NULL && fclose(f) == 0 ? BF_EXIT_OK : BF_EXIT_FAILED;
}

struct record {
    char *bytes; /* key, then value */
    uint32_t key_len, value_len;
};

/* All signals of the file, encoded as PERCEPTION does it. */
static enum bf_code encode_all(const struct signals_settings *s, struct record **out, size_t *count, struct bf_err *err) {
    struct bf_topics *topics = NULL;
    struct signal_check *check = NULL;
    struct input *in = NULL;
    struct bf_buf line;
    struct signal signal;
    size_t room = 0;
    enum bf_code code = bf_topics_load(s->schemas_dir, &topics, err);
    const struct bf_topic *topic = code == BF_OK ? bf_topics_find(topics, "rim.fast-path") : NULL;

    bf_buf_init(&line, 1 << 20);
    signal_init(&signal);
    if (code == BF_OK) code = signal_check_new(topic, topic->schema_json, &check, err);
    if (code == BF_OK) code = input_open(s->bare, &in, err);
    if (code == BF_OK) signal_check_set_schema_id(check, (int32_t)s->schema_id);
    while (code == BF_OK && (code = input_line(in, &line, err)) == BF_OK) {
        code = signal_check_text(check, (struct bf_slice){line.data, line.len}, NULL, &signal, err);
        if (code != BF_OK) break;
        if (*count == room) *out = realloc(*out, (room = room > 0 ? room * 2 : 1024) * sizeof **out);
        struct record *r = &(*out)[(*count)++];
        *r = (struct record){malloc(signal.key_len + signal.framed.len), (uint32_t)signal.key_len, (uint32_t)signal.framed.len};
        bf_assert(r->bytes != NULL);
        memcpy(r->bytes, signal.key, signal.key_len);
        memcpy(r->bytes + signal.key_len, signal.framed.data, signal.framed.len);
    }
    signal_fini(&signal);
    bf_buf_fini(&line);
    input_close(in);
    signal_check_free(check);
    bf_topics_free(topics);
    return code == BF_NOT_FOUND ? BF_OK : code;
}

static int64_t acknowledged;

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *rkm, void *opaque) {
    (void)rk, (void)opaque;
    acknowledged += rkm->err == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_t *open_bare(const struct signals_settings *s) {
    static const char *const settings[][2] = {{"enable.idempotence", "true"}, {"acks", "all"}, {"linger.ms", "10"}, {"compression.codec", "lz4"},
                                              {"partitioner", "murmur2_random"}, {"queue.buffering.max.messages", "500000"},
                                              {"queue.buffering.max.kbytes", "65536"}, {"socket.nagle.disable", "true"}};
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", s->bootstrap, text, sizeof text);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        bf_assert(rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof text) == RD_KAFKA_CONF_OK);
    }
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    return rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
}

static int publish_bare(const struct signals_settings *s) {
    struct bf_err err = {0};
    struct record *records = NULL;
    size_t count = 0;
    const struct rd_kafka_metadata *md = NULL;
    if (encode_all(s, &records, &count, &err) != BF_OK) {
        bf_log_err(BF_LOG_ERROR, "failed", &err, "file=%s", s->bare);
        return BF_EXIT_FAILED;
    }
    rd_kafka_t *rk = open_bare(s);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, s->topic, NULL);
    if (rd_kafka_metadata(rk, 0, topic, &md, 10000) == RD_KAFKA_RESP_ERR_NO_ERROR) rd_kafka_metadata_destroy(md);
    int64_t started = bf_time_monotonic_us();
    for (size_t i = 0; i < count; i++) {
        const struct record *r = &records[i];
        while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, r->bytes + r->key_len, r->value_len, r->bytes, r->key_len,
                                NULL) != 0) {
            (void)rd_kafka_poll(rk, 10);
        }
        if (i % 256 == 0) (void)rd_kafka_poll(rk, 0);
    }
    (void)rd_kafka_flush(rk, 120000);
    double seconds = (double)(bf_time_monotonic_us() - started) / 1e6;
    printf("signals=%zu acknowledged=%" PRId64 " seconds=%.3f rate=%.0f\n", count, acknowledged, seconds, (double)acknowledged / seconds);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    for (size_t i = 0; i < count; i++) free(records[i].bytes);
    free(records);
    return acknowledged == (int64_t)count ? BF_EXIT_OK : BF_EXIT_FAILED;
}

/* ---- over HTTP ---- */

struct posting {
    const struct signals_settings *s;
    struct bf_slice *bodies;
    size_t count;
    atomic_size_t next;
    atomic_llong refused;
};

static void *post(void *ctx) {
    struct posting *p = ctx;
    struct bf_http_client *client = NULL;
    struct bf_buf answer;
    struct bf_err err;
    char url[512];
    snprintf(url, sizeof url, "%s/v1/signals", p->s->post);
    bf_buf_init(&answer, 1 << 20);
    if (bf_http_client_new(60000, &client, &err) != BF_OK) return NULL;
    for (size_t i; (i = atomic_fetch_add(&p->next, 1)) < p->count;) {
        int status = 0;
        if (bf_http_call(client, "POST", url, "application/x-ndjson", p->bodies[i], &status, &answer, &err) != BF_OK || status != 202) {
            atomic_fetch_add(&p->refused, 1);
        }
    }
    bf_http_client_free(client);
    bf_buf_fini(&answer);
    return NULL;
}

static int post_all(const struct signals_settings *s) {
    struct posting p = {.s = s};
    struct bf_err err = {0};
    struct input *in = NULL;
    struct bf_buf line, all;
    size_t lines = 0, from = 0, room = 1 << 20;
    pthread_t threads[256];
    bf_buf_init(&line, 1 << 20);
    bf_buf_init(&all, (size_t)4 << 30);
    size_t *ends = calloc(room, sizeof *ends);
    enum bf_code code = s->file != NULL && ends != NULL ? input_open(s->file, &in, &err) : BF_INVALID;
    while (code == BF_OK && p.count < room && (code = input_line(in, &line, &err)) == BF_OK) {
        bf_buf_append(&all, line.data, line.len);
        bf_buf_putc(&all, '\n');
        if (++lines % (size_t)s->batch == 0) ends[p.count++] = all.len;
    }
    p.bodies = calloc(p.count + 1, sizeof *p.bodies);
    for (size_t i = 0; p.bodies != NULL && i < p.count; from = ends[i++]) p.bodies[i] = (struct bf_slice){all.data + from, ends[i] - from};
    int64_t started = bf_time_monotonic_us();
    for (int64_t i = 0; i < s->connections; i++) bf_assert(pthread_create(&threads[i], NULL, post, &p) == 0);
    for (int64_t i = 0; i < s->connections; i++) pthread_join(threads[i], NULL);
    double seconds = (double)(bf_time_monotonic_us() - started) / 1e6;
    printf("requests=%zu batch=%" PRId64 " connections=%" PRId64 " refused=%lld seconds=%.3f rate=%.0f\n", p.count, s->batch, s->connections,
           (long long)p.refused, seconds, (double)p.count * (double)s->batch / seconds);
    input_close(in);
    free(p.bodies);
    free(ends);
    bf_buf_fini(&line);
    bf_buf_fini(&all);
    return p.count > 0 && p.refused == 0 ? BF_EXIT_OK : BF_EXIT_FAILED;
}

int main(int argc, char **argv) {
    struct signals_settings s = {0};
    struct bf_err err;
    char **rest;
    int rest_count, exit_code = 0;
    bf_log_init("bench_signals", BF_LOG_INFO);
    enum bf_code code = bf_settings_load(&program, argc, argv, &s, &rest, &rest_count, &exit_code, &err);
    if (code == BF_OK) {
        exit_code = s.write != NULL ? write_file(&s) : s.bare != NULL ? publish_bare(&s) : s.post != NULL ? post_all(&s) : BF_EXIT_USAGE;
    } else if (code != BF_CANCELLED) {
        fprintf(stderr, "bench_signals: %s\n", err.msg);
    }
    bf_settings_fini(&program, &s);
    return exit_code;
}
