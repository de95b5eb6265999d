/* How fast RimFastEvents are decoded, on one thread: checked with an envelope's fields picked out (what ingest does), turned into JSON besides (what
 * answers do), and, for comparison, read into generic values by avro-c. Usage: bench_avro_decode SCHEMAS-DIR [ROUNDS]. */
#include "bf_avro.h"
#include "bf_avro_encode.h"
#include "bf_json.h"
#include "bf_time.h"

#include <avro.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS 1000

static const char *const paths[] = {"rim_node_id", "event_id", "vector_timestamp.event_ts_ms", "metadata.trace_id"};
#define PATHS (sizeof paths / sizeof paths[0])

struct bench {
    char *schema;
    struct bf_buf bytes;
    struct bf_slice events[EVENTS];
    struct bf_avro *avro;
    long rounds;
};

static enum bf_code encode(struct bench *b, struct bf_err *err) {
    struct bf_avro_encoder *e = NULL;
    size_t ends[EVENTS + 1] = {0};
    enum bf_code code = bf_avro_encoder_new(b->schema, &e, err);
    for (int i = 0; code == BF_OK && i < EVENTS; i++) {
        char node[64], id[64];
        snprintf(node, sizeof node, "rim:entity:finance:N%06d", i);
        snprintf(id, sizeof id, "0190a0b0-c0d0-7000-8000-%012d", i);
        json_t *v = json_pack("{s:s,s:s,s:{s:I,s:I,s:i},s:{s:f,s:f},s:f,s:f,s:f,s:s,s:{s:s}}", "rim_node_id", node, "event_id", id,
                              "vector_timestamp", "event_ts_ms", (json_int_t)1717236000000 + i, "ingest_ts_ms",
                              (json_int_t)1717236000004 + i, "logical_clock", i, "critical_metrics", "spread", i * 0.0001, "depth",
                              (double)i, "price", 1.0852 + i * 0.0001, "volume", i * 100.0, "stress", (double)i / 3000.0, "status",
                              "ACTIVE", "metadata", "venue", "x");
        code = bf_avro_encode(e, v, &b->bytes, err);
        json_decref(v);
        ends[i + 1] = b->bytes.len;
    }
    for (int i = 0; i < EVENTS; i++) {
        b->events[i] = (struct bf_slice){b->bytes.data + ends[i], ends[i + 1] - ends[i]};
    }
    bf_avro_encoder_free(e);
    return code;
}

/* Microseconds for all rounds; -1: a failure. */
static int64_t run_ours(const struct bench *b, struct bf_buf *json, struct bf_err *err) {
    struct bf_avro_field fields[BF_AVRO_PATHS_MAX];
    int64_t start = bf_time_monotonic_us();
    for (long round = 0; round < b->rounds; round++) {
        for (int i = 0; i < EVENTS; i++) {
            if (json != NULL) {
                bf_buf_clear(json);
            }
            if (bf_avro_decode(b->avro, b->events[i], NULL, json, fields, err) != BF_OK) {
                return -1;
            }
        }
    }
    return bf_time_monotonic_us() - start;
}

static int64_t run_avro_c(const struct bench *b) {
    avro_schema_t schema;
    avro_value_t value;
    if (avro_schema_from_json_length(b->schema, strlen(b->schema), &schema) != 0) {
        return -1;
    }
    avro_value_iface_t *class = avro_generic_class_from_schema(schema);
    avro_reader_t reader = avro_reader_memory(b->bytes.data, (int64_t)b->bytes.len);
    bool ok = avro_generic_value_new(class, &value) == 0;
    int64_t start = bf_time_monotonic_us();
    for (long round = 0; ok && round < b->rounds; round++) {
        for (int i = 0; ok && i < EVENTS; i++) {
            avro_reader_memory_set_source(reader, b->events[i].data, (int64_t)b->events[i].len);
            ok = avro_value_reset(&value) == 0 && avro_value_read(reader, &value) == 0;
        }
    }
    int64_t taken = bf_time_monotonic_us() - start;
    avro_value_decref(&value);
    avro_reader_free(reader);
    avro_value_iface_decref(class);
    avro_schema_decref(schema);
    return ok ? taken : -1;
}

static enum bf_code bench(struct bench *b, struct bf_err *err) {
    struct bf_buf json;
    enum bf_code code = encode(b, err);
    if (code == BF_OK) {
        code = bf_avro_compile(b->schema, strlen(b->schema), NULL, 0, paths, PATHS, &b->avro, err);
    }
    if (code != BF_OK) {
        return code;
    }
    bf_buf_init(&json, 1 << 20);
    int64_t check = run_ours(b, NULL, err), written = run_ours(b, &json, err), generic = run_avro_c(b);
    bf_buf_fini(&json);
    if (check <= 0 || written <= 0 || generic <= 0) {
        return bf_fail(err, BF_BROKEN, 0, "a decoder failed");
    }
    double events = (double)EVENTS * (double)b->rounds;
    printf("avro: events=%.0f bytes_each=%zu check_rate=%.0f json_rate=%.0f avro_c_rate=%.0f ratio=%.1f json_ratio=%.1f\n", events,
           b->bytes.len / EVENTS, events * 1e6 / (double)check, events * 1e6 / (double)written, events * 1e6 / (double)generic,
           (double)generic / (double)check, (double)generic / (double)written);
    return BF_OK;
}

int main(int argc, char **argv) {
    static struct bench b;
    struct bf_err err = {0};
    json_t *json = NULL;
    char path[4096];
    if (argc < 2) {
        fprintf(stderr, "usage: %s SCHEMAS-DIR [ROUNDS of %d events]\n", argv[0], EVENTS);
        return 2;
    }
    b.rounds = argc > 2 ? atol(argv[2]) : 2000;
    bf_buf_init(&b.bytes, 16 << 20);
    snprintf(path, sizeof path, "%s/rim.fast-path.avsc", argv[1]);
    enum bf_code code = bf_json_load_file(path, &json, &err);
    if (code == BF_OK) {
        b.schema = json_dumps(json, 0);
        code = bench(&b, &err);
    }
    if (code != BF_OK) {
        fprintf(stderr, "%s\n", err.msg);
    }
    bf_avro_free(b.avro);
    bf_buf_fini(&b.bytes);
    free(b.schema);
    json_decref(json);
    return code == BF_OK ? 0 : 1;
}
