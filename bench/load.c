/* bench_load: RimFastEvents of about 200 bytes into Kafka, as fast as possible or evenly at a rate; the load of the benchmarks and of the crash
 * tests. Encodes by hand, so that it is never the bottleneck; the schema comes from schemas/ and is registered first. */
#include "bf_event_id.h"
#include "bf_framing.h"
#include "bf_kafka.h"
#include "bf_log.h"
#include "bf_registry.h"
#include "bf_settings.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "bf_topics.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct load_settings {
    char *bootstrap, *registry, *schemas_dir, *topic, *ledger;
    int64_t events, nodes, rate, seed, linger_ms, poison;
    bool two_schemas, repeatable;
};

#define F(name) offsetof(struct load_settings, name)
static const struct bf_setting table[] = {
    {"bootstrap", BF_SETTING_STRING, F(bootstrap), "127.0.0.1:9092", 0, 0, false, false, NULL, "Kafka brokers"},
    {"registry", BF_SETTING_STRING, F(registry), "http://127.0.0.1:8081", 0, 0, false, false, NULL, "Schema registry"},
    {"schemas-dir", BF_SETTING_STRING, F(schemas_dir), "schemas", 0, 0, false, false, NULL, "Folder of topics.json"},
    {"topic", BF_SETTING_STRING, F(topic), "rim.fast-path", 0, 0, false, false, NULL, "Where to"},
    {"events", BF_SETTING_INT, F(events), "1000000", 1, INT64_C(1) << 40, false, false, "events", "How many"},
    {"nodes", BF_SETTING_INT, F(nodes), "5000", 1, 100000000, false, false, "nodes", "Over how many nodes"},
    {"rate", BF_SETTING_INT, F(rate), "0", 0, 100000000, false, false, "events/s", "Evenly; 0: as fast as Kafka takes them"},
    {"seed", BF_SETTING_INT, F(seed), "1", 0, INT64_MAX, false, false, NULL, "Of the random walk"},
    {"linger-ms", BF_SETTING_INT, F(linger_ms), "5", 0, 1000, false, false, "ms", "Batching of the producer"},
    {"poison", BF_SETTING_INT, F(poison), "0", 0, INT64_MAX, false, false, "events",
     "One in so many cannot be taken in: garbage, an unknown schema, cut short, a bad node id, invalid UTF-8 in turn; 0: none"},
    {"two-schemas", BF_SETTING_BOOL, F(two_schemas), "false", 0, 0, false, false, NULL, "Two versions of the schema, record by record"},
    {"repeatable", BF_SETTING_BOOL, F(repeatable), "false", 0, 0, false, false, NULL,
     "Ids and times follow from the seed: a second run sends the same events again"},
    {"ledger", BF_SETTING_STRING, F(ledger), NULL, 0, 0, false, false, NULL,
     "Write one line `event_id partition offset` for each acknowledged event here"},
    {NULL, 0, 0, NULL, 0, 0, false, false, NULL, NULL},
};

static const struct bf_settings_program program = {
    .name = "bench_load", .usage = "[options]", .about = "Produces RimFastEvents for benchmarks and crash tests.", .table = table};

struct load {
    struct load_settings s;
    struct bf_producer *producer;
    FILE *ledger;
    int64_t acknowledged, failed;
    uint64_t random;
    int32_t schema_ids[2];
};

static uint64_t next_random(struct load *l) { /* xorshift64* */
    l->random ^= l->random >> 12;
    l->random ^= l->random << 25;
    l->random ^= l->random >> 27;
    return l->random * UINT64_C(0x2545F4914F6CDD1D);
}

static uint8_t *put_long(uint8_t *p, int64_t v) {
    uint64_t z = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    for (; z > 127; z >>= 7)
        *p++ = (uint8_t)(z | 128);
    *p++ = (uint8_t)z;
    return p;
}

static uint8_t *put_string(uint8_t *p, const char *s) {
    size_t n = strlen(s);
    p = put_long(p, (int64_t)n);
    memcpy(p, s, n);
    return p + n;
}

static uint8_t *put_double(uint8_t *p, double d) {
    memcpy(p, &d, 8);
    return p + 8;
}

static size_t encode(struct load *l, const char *node, const char *id, int64_t now_ms, int64_t clock, uint8_t *dst) {
    uint8_t *p = dst;
    bool second = l->s.two_schemas && clock % 2;
    bf_frame_put(p, l->schema_ids[second]);
    p = put_string(p + BF_FRAME_BYTES, node);
    p = put_string(put_long(p, 1), id);
    p = put_long(put_long(put_long(p, now_ms), now_ms), clock);
    p = put_string(put_long(p, 2), "spread");
    p = put_double(p, (double)(next_random(l) % 1000) / 1e6);
    p = put_string(p, "imbalance");
    p = put_double(p, (double)(next_random(l) % 2000) / 1000 - 1);
    p = put_long(p, 0);
    p = put_double(put_long(p, 1), 100 + (double)(next_random(l) % 100000) / 1000);
    p = put_double(put_long(p, 1), (double)(next_random(l) % 10000));
    p = put_double(put_long(p, 1), (double)(next_random(l) % 1000) / 1000);
    p = put_string(p, "ACTIVE");
    p = put_string(put_long(p, 1), "XETR-0001");
    p = put_long(p, 0);
    p = put_string(put_string(put_long(p, 1), "venue"), "bench");
    p = put_long(p, 0);
    if (second)
        p = put_long(p, 0); /* the field that the second version has more */
    return (size_t)(p - dst);
}

/* Spoil a good record, each time in another way. `node` is what was encoded. */
static size_t spoil(struct load *l, const char *node, int64_t index, uint8_t *value, size_t len) {
    switch (index / l->s.poison % 5) {
    case 0: memset(value, 0xA5, len); return len;
    case 1: bf_frame_put(value, 2000000000); return len;
    case 2: return len - 9;
    case 3: value[BF_FRAME_BYTES + 1] = 'R'; return len; /* the node id begins behind its length */
    default: value[BF_FRAME_BYTES + strlen(node)] = 0xff; return len;
    }
}

static void delivered(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset) {
    struct load *l = ctx;
    if (code == BF_OK)
        l->acknowledged++;
    else if (l->failed++ == 0)
        bf_log_err(BF_LOG_ERROR, "not_delivered", err, "partition=%d", partition);
    if (opaque && code == BF_OK)
        fprintf(l->ledger, "%s %d %" PRId64 "\n", (const char *)opaque, partition, offset);
    free(opaque);
}

static enum bf_code send_one(struct load *l, int64_t index, struct bf_err *err) {
    char node[64], id[BF_UUID_TEXT_LEN + 1];
    uint8_t value[512];
    struct bf_uuid uuid = bf_uuid_v7();
    int64_t now_ms = bf_time_now_us() / 1000;
    if (l->s.repeatable) {
        now_ms = INT64_C(1767225600000) + index / 100;
        bf_put_be64(uuid.b + 8, next_random(l) >> 2 | UINT64_C(1) << 63);
        bf_put_be64(uuid.b, (uint64_t)now_ms << 16 | 0x7000 | (uint64_t)(index % 4096));
    }
    bf_uuid_format(id, &uuid);
    snprintf(node, sizeof node, "rim:entity:bench:N%06" PRIu64, next_random(l) % (uint64_t)l->s.nodes);
    size_t len = encode(l, node, id, now_ms, index, value);
    if (l->s.poison > 0 && index % l->s.poison == l->s.poison - 1)
        len = spoil(l, node, index, value, len);
    void *opaque = l->ledger ? strdup(id) : NULL;
    enum bf_code code;
    while ((code = bf_producer_send(l->producer, l->s.topic, -1, bf_slice_str(node), (struct bf_slice){value, len}, NULL, 0, 0, opaque,
                                    err)) == BF_AGAIN && !bf_stop_requested())
        bf_producer_poll(l->producer, 10);
    if (code != BF_OK)
        free(opaque);
    return code;
}

static void pace(struct load *l, int64_t started_us, int64_t index) {
    if (l->s.rate == 0) {
        if (index % 256 == 0)
            bf_producer_poll(l->producer, 0);
        return;
    }
    int64_t due = started_us + (int64_t)((double)index * 1e6 / (double)l->s.rate);
    for (int64_t now; (now = bf_time_monotonic_us()) < due;)
        bf_producer_poll(l->producer, due - now > 2000 ? 1 : 0);
    bf_producer_poll(l->producer, 0);
}

/* The schema with one optional field more. */
static enum bf_code register_second(struct load *l, struct bf_registry *registry, const char *first, struct bf_err *err) {
    json_t *schema = json_loads(first, 0, NULL);
    json_t *field = json_pack("{s:s,s:[s,s],s:n}", "name", "bench_more", "type", "null", "string", "default");
    enum bf_code code = BF_NOMEM;
    char *text = NULL;
    if (schema && field && json_array_append(json_object_get(schema, "fields"), field) == 0)
        text = json_dumps(schema, JSON_COMPACT);
    code = text ? bf_registry_register(registry, "rim.fast-path-value", text, &l->schema_ids[1], err)
                : bf_fail(err, BF_NOMEM, 0, "no memory for a schema");
    free(text);
    json_decref(field);
    json_decref(schema);
    return code;
}

static enum bf_code open_all(struct load *l, struct bf_err *err) {
    struct bf_topics *topics = NULL;
    struct bf_registry *registry = NULL;
    enum bf_code code = bf_topics_load(l->s.schemas_dir, &topics, err);
    if (code == BF_OK)
        code = bf_registry_new(l->s.registry, 5000, &registry, err);
    if (code == BF_OK)
        code = bf_registry_register(registry, "rim.fast-path-value", bf_topics_find(topics, "rim.fast-path")->schema_json, &l->schema_ids[0], err);
    if (code == BF_OK && l->s.two_schemas)
        code = register_second(l, registry, bf_topics_find(topics, "rim.fast-path")->schema_json, err);
    if (code == BF_OK && l->s.ledger && !(l->ledger = fopen(l->s.ledger, "a")))
        code = bf_fail(err, BF_INVALID, 0, "ledger: %s cannot be written", l->s.ledger);
    const struct bf_producer_settings settings = {.bootstrap = l->s.bootstrap, .client_id = "bench-load", .linger_ms = l->s.linger_ms,
                                                  .delivered = delivered, .ctx = l};
    if (code == BF_OK)
        code = bf_producer_open(&settings, &l->producer, err);
    if (code == BF_OK)
        code = bf_producer_warm(l->producer, l->s.topic, 10000, err);
    bf_registry_free(registry);
    bf_topics_free(topics);
    return code;
}

static int run(struct load *l) {
    struct bf_err err;
    enum bf_code code = open_all(l, &err);
    int64_t started = bf_time_monotonic_us(), sent = 0;
    while (code == BF_OK && sent < l->s.events && !bf_stop_requested()) {
        pace(l, started, sent);
        code = send_one(l, sent, &err);
        sent += code == BF_OK;
    }
    if (l->producer && code == BF_OK)
        code = bf_producer_flush(l->producer, 120000, &err);
    if (code != BF_OK)
        bf_log_err(BF_LOG_ERROR, "load_failed", &err, "sent=%" PRId64, sent);
    double seconds = (double)(bf_time_monotonic_us() - started) / 1e6;
    printf("sent=%" PRId64 " acknowledged=%" PRId64 " failed=%" PRId64 " seconds=%.3f rate=%.0f\n", sent, l->acknowledged, l->failed,
           seconds, (double)l->acknowledged / seconds);
    bf_producer_close(l->producer);
    if (l->ledger)
        fclose(l->ledger);
    return code == BF_OK && l->failed == 0 ? BF_EXIT_OK : BF_EXIT_FAILED;
}

int main(int argc, char **argv) {
    struct load l = {0};
    struct bf_err err;
    char **rest;
    int rest_count, exit_code = 0;
    bf_log_init("bench_load", BF_LOG_INFO);
    enum bf_code code = bf_settings_load(&program, argc, argv, &l.s, &rest, &rest_count, &exit_code, &err);
    if (code == BF_OK) {
        l.random = (uint64_t)l.s.seed * 2654435761u + 88172645463325252u;
        exit_code = bf_stop_install(&err) == BF_OK ? run(&l) : BF_EXIT_INTERNAL;
    } else if (code != BF_CANCELLED) {
        fprintf(stderr, "bench_load: %s\n", err.msg);
    }
    bf_settings_fini(&program, &l.s);
    return exit_code;
}
