#include "api_fixture.h"

#include "bf_framing.h"
#include "bf_time.h"
#include "bf_topics.h"
#include "headers_pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(call)                                                                                                                     \
    do {                                                                                                                             \
        if ((call) != BF_OK) {                                                                                                       \
            fail_msg("%s: %s", #call, f->err.msg);                                                                                   \
        }                                                                                                                            \
    } while (0)

static void open_stores(struct fx *f, const char *conninfo) {
    struct capsule *c = &f->capsule;
    const struct hot_settings hot = {.dir = f->dir, .map_bytes_max = 256 << 20, .cluster_id = "test"};
    OK(hot_open(&hot, &c->hot, &f->err));
    OK(bf_topics_load(BF_SOURCE_DIR "/schemas", &f->topics, &f->err));
    c->topics = f->topics;
    OK(bf_metrics_new(capsule_metric_defs, CAPSULE_METRICS, &c->metrics, &f->err));
    OK(schema_cache_new(c->hot, c->topics, &c->schemas, &f->err));
    snprintf(f->conninfo, sizeof(f->conninfo), "%s", conninfo ? conninfo : "host=127.0.0.1 port=1 dbname=none connect_timeout=1");
    const struct store_settings store = {
        .hot = c->hot, .schemas = c->schemas, .pool_wait_ms = 2000,
        .archive = {.conninfo = f->conninfo, .application = "test", .topics = c->topics, .connect_timeout_ms = 2000,
                    .statement_timeout_ms = 10000, .read_only = true}};
    OK(store_open(&store, &c->store, &f->err));
}

static void open_schemas(struct fx *f) {
    const char *fast = bf_topics_find(f->topics, FAST)->schema_json, *reflex = bf_topics_find(f->topics, REFLEX)->schema_json;
    OK(hot_schema_put(f->capsule.hot, SCHEMA_FAST, bf_slice_str("AVRO"), bf_slice_str(fast), bf_slice_str("[]"), &f->err));
    OK(hot_schema_put(f->capsule.hot, SCHEMA_REFLEX, bf_slice_str("AVRO"), bf_slice_str(reflex), bf_slice_str("[]"), &f->err));
    OK(bf_avro_encoder_new(fast, &f->encode_fast, &f->err));
    OK(bf_avro_encoder_new(reflex, &f->encode_reflex, &f->err));
}

void fx_open(struct fx *f, const char *conninfo) {
    fx_open_guarded(f, conninfo, NULL);
}

void fx_open_guarded(struct fx *f, const char *conninfo, const char *tokens_file) {
    memset(f, 0, sizeof(*f));
    strcpy(f->dir, "/tmp/bf-api-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    open_stores(f, conninfo);
    open_schemas(f);
    struct bf_uuid me = hot_instance_id(f->capsule.hot);
    bf_uuid_format(f->capsule.instance, &me);
    f->capsule.cluster_id = strdup("test");
    f->capsule.started_at_us = bf_time_now_us();
    f->capsule.started_monotonic_us = bf_time_monotonic_us();
    atomic_store(&f->capsule.ingesting, true);
    f->settings.http_host = strdup("127.0.0.1");
    f->settings.http_loops = 2;
    f->settings.tokens_file = (char *)(uintptr_t)tokens_file;
    f->capsule.settings = &f->settings;
    OK(hot_batch_new(f->capsule.hot, &f->batch, &f->err));
    OK(api_start(&f->capsule, &f->api, &f->err));
    OK(bf_http_client_new(20000, &f->client, &f->err));
    bf_buf_init(&f->body, (size_t)512 << 20);
    bf_buf_init(&f->url, 1 << 20);
}

void fx_close(struct fx *f) {
    bf_http_client_free(f->client);
    api_stop(f->api);
    hot_batch_free(f->batch);
    bf_avro_encoder_free(f->encode_fast);
    bf_avro_encoder_free(f->encode_reflex);
    store_close(f->capsule.store);
    schema_cache_free(f->capsule.schemas);
    bf_topics_free(f->topics);
    bf_metrics_free(f->capsule.metrics);
    hot_close(f->capsule.hot);
    OK(hot_destroy(f->dir, &f->err));
    rmdir(f->dir);
    bf_buf_fini(&f->body);
    bf_buf_fini(&f->url);
    free(f->capsule.cluster_id);
    free(f->settings.http_host);
    free(f->told);
}

void fx_lose_hot(struct fx *f) {
    struct capsule *c = &f->capsule;
    const struct bf_topics *topics = f->topics;
    api_stop(f->api);
    f->api = NULL;
    hot_batch_free(f->batch);
    f->batch = NULL;
    store_close(c->store);
    schema_cache_free(c->schemas);
    bf_metrics_free(c->metrics);
    hot_close(c->hot);
    OK(hot_destroy(f->dir, &f->err));
    bf_topics_free((struct bf_topics *)(uintptr_t)topics);
    char conninfo[sizeof(f->conninfo)];
    memcpy(conninfo, f->conninfo, sizeof(conninfo));
    open_stores(f, conninfo);
    struct bf_uuid me = hot_instance_id(c->hot);
    bf_uuid_format(c->instance, &me);
    OK(hot_batch_new(c->hot, &f->batch, &f->err));
}

/* ---- putting in ---- */

static bool is_reflex(const char *topic) {
    return strcmp(topic, REFLEX) == 0;
}

static json_t *value_of(const struct told *t) {
    if (is_reflex(t->topic)) {
        json_t *v = json_pack("{s:s,s:s,s:I,s:s,s:s,s:s,s:s,s:s,s:f,s:s,s:s}", "rim_node_id", t->node, "event_id", t->id, "event_time",
                              (json_int_t)t->event_time_us, "cause_id", t->cause[0] ? t->cause : "none", "cause_topic", FAST, "rule", "r",
                              "kind", "threshold", "severity", "info", "value", t->price, "message", "m", "rules_version", "v");
        if (t->trace[0]) {
            json_object_set_new(v, "trace_id", json_string(t->trace));
        }
        return v;
    }
    json_t *v = json_pack("{s:s,s:s,s:{s:I,s:I,s:I},s:f,s:s,s:{}}", "rim_node_id", t->node, "event_id", t->id, "vector_timestamp", "event_ts_ms",
                          (json_int_t)(t->event_time_us / 1000), "ingest_ts_ms", (json_int_t)1, "logical_clock", (json_int_t)1, "price",
                          t->price, "status", "ACTIVE", "metadata");
    if (t->trace[0]) {
        json_object_set_new(json_object_get(v, "metadata"), "trace_id", json_string(t->trace));
    }
    return v;
}

static struct told *told_new(struct fx *f, const char *topic, int32_t partition) {
    if (f->told_count == f->told_capacity) {
        f->told_capacity = f->told_capacity * 2 + 64;
        f->told = realloc(f->told, f->told_capacity * sizeof(*f->told));
        assert_non_null(f->told);
    }
    struct told *t = &f->told[f->told_count++];
    memset(t, 0, sizeof(*t));
    snprintf(t->topic, sizeof(t->topic), "%s", topic);
    t->partition = partition;
    t->offset = f->next_offset[is_reflex(topic)][partition]++;
    return t;
}

struct told *fx_put(struct fx *f, const char *topic, int32_t partition, const char *node, const char *id, int64_t event_time_us, double price,
                    const char *trace, const char *cause) {
    struct told *t = told_new(f, topic, partition);
    snprintf(t->node, sizeof(t->node), "%s", node);
    t->event_time_us = event_time_us / 1000 * 1000;
    t->price = price;
    snprintf(t->trace, sizeof(t->trace), "%s", trace ? trace : "");
    snprintf(t->cause, sizeof(t->cause), "%s", cause ? cause : "");
    if (id) {
        snprintf(t->id, sizeof(t->id), "%s", id);
    } else {
        struct bf_uuid made = bf_uuid_v7();
        bf_uuid_format(t->id, &made);
    }
    bool is_source = false;
    t->uuid = bf_event_id_from_text(bf_slice_str(t->id), &is_source);
    struct bf_buf value, headers;
    uint8_t frame[BF_FRAME_BYTES];
    bf_buf_init(&value, 1 << 20);
    bf_buf_init(&headers, 1 << 16);
    bf_frame_put(frame, is_reflex(topic) ? SCHEMA_REFLEX : SCHEMA_FAST);
    bf_buf_append(&value, frame, sizeof(frame));
    json_t *json = value_of(t);
    assert_non_null(json);
    OK(bf_avro_encode(is_reflex(topic) ? f->encode_reflex : f->encode_fast, json, &value, &f->err));
    json_decref(json);
    const struct bf_header hs[] = {{"source", {"test", 4}}, {"nothing", {NULL, 0}}};
    headers_pack(hs, 2, &headers);
    struct event ev = {.topic = bf_slice_str(t->topic), .node_id = bf_slice_str(t->node), .id = t->uuid, .partition = partition,
                       .offset = t->offset, .event_time_us = t->event_time_us, .kafka_time_us = INT64_C(1700000000000000) + t->offset * 1000,
                       .schema_id = is_reflex(topic) ? SCHEMA_REFLEX : SCHEMA_FAST, .key = bf_slice_str(t->node),
                       .value = {value.data, value.len}, .headers = {headers.data, headers.len}};
    ev.trace_id = t->trace[0] ? bf_slice_str(t->trace) : BF_SLICE_NONE;
    ev.source_id = is_source ? bf_slice_str(t->id) : BF_SLICE_NONE;
    if (t->cause[0]) {
        ev.has_cause = true;
        ev.cause_id = bf_event_id_from_text(bf_slice_str(t->cause), NULL);
    }
    OK(hot_batch_event(f->batch, &ev, &f->err));
    bf_buf_fini(&value);
    bf_buf_fini(&headers);
    return t;
}

void fx_put_poison(struct fx *f, const char *topic, int32_t partition, enum poison_reason reason, int32_t schema_id) {
    struct told *t = told_new(f, topic, partition);
    t->disposition = DISPOSITION_QUARANTINED;
    struct poison p = {.topic = bf_slice_str(t->topic), .partition = partition, .offset = t->offset, .kafka_time_us = 1700000000000000,
                       .reason = reason, .schema_id = schema_id, .detail = bf_slice_str("not \"right\""), .key = bf_slice_str("k"),
                       .value = {"\0\0\0\0\7bad", 8}};
    OK(hot_batch_poison(f->batch, &p, &f->err));
}

void fx_put_gap(struct fx *f, const char *topic, int32_t partition, int64_t count, enum disposition d) {
    int64_t *next = &f->next_offset[is_reflex(topic)][partition];
    struct interval gap = {.topic = bf_slice_str(topic), .partition = partition, .from = *next, .to = *next + count, .disposition = d};
    OK(hot_batch_gap(f->batch, &gap, &f->err));
    *next += count;
}

static void recorded(void *ctx, size_t index, enum disposition d, uint32_t revision, int64_t recorded_at_us) {
    struct fx *f = ctx;
    struct told *t = &f->told[f->committed + index];
    t->disposition = d;
    t->revision = revision;
    t->recorded_at_us = recorded_at_us;
}

void fx_commit(struct fx *f) {
    struct hot_commit_result result;
    OK(hot_batch_commit(f->batch, &result, recorded, f, &f->err));
    f->committed = f->told_count;
}

const char *fx_node(size_t i) {
    static _Thread_local char name[4][64];
    static _Thread_local unsigned at;
    char *dst = name[at++ % 4];
    snprintf(dst, sizeof(name[0]), "rim:metric:test:N%03zu", i);
    return dst;
}

void fx_fill(struct fx *f, size_t n, unsigned seed) {
    const int64_t base = INT64_C(1700000000000000);
    for (size_t i = 0; i < n; i++) {
        unsigned r = (unsigned)rand_r(&seed);
        int64_t at = base + (int64_t)(rand_r(&seed) % 2000) * 1000;
        const char *topic = r % 4 == 0 ? REFLEX : FAST;
        char id[40];
        snprintf(id, sizeof(id), "id-%u", (unsigned)rand_r(&seed) % (unsigned)(n / 2 + 1)); /* some come again: revisions */
        size_t node = (size_t)(rand_r(&seed) % 17);
        fx_put(f, topic, (int32_t)(node % 3), fx_node(node), r % 3 == 0 ? id : NULL, at, (double)(r % 1000) / 8, r % 5 == 0 ? "t1" : NULL,
               r % 7 == 0 ? "some-cause" : NULL);
        if (rand_r(&seed) % 23 == 0) {
            fx_commit(f);
        }
    }
    fx_commit(f);
}

int64_t fx_newest(const struct fx *f) {
    int64_t newest = 0;
    for (size_t i = 0; i < f->committed; i++) {
        newest = f->told[i].recorded_at_us > newest ? f->told[i].recorded_at_us : newest;
    }
    return newest;
}

/* ---- asking ---- */

static int get_url(struct fx *f) {
    OK(bf_http_call(f->client, "GET", f->url.data, NULL, BF_SLICE_NONE, &f->status, &f->body, &f->err));
    bf_buf_putc(&f->body, '\0');
    f->body.len--;
    return f->status;
}

static void make_url(struct fx *f, const char *fmt, va_list args) {
    char path[8192];
    int n = vsnprintf(path, sizeof(path), fmt, args);
    assert_true(n >= 0 && n < (int)sizeof(path));
    bf_buf_clear(&f->url);
    bf_buf_printf(&f->url, "http://127.0.0.1:%d%s", api_port(f->api), path);
    bf_buf_putc(&f->url, '\0');
}

int fx_get(struct fx *f, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    make_url(f, fmt, args);
    va_end(args);
    return get_url(f);
}

json_t *fx_json(struct fx *f, const char *fmt, ...) {
    va_list args;
    json_t *out = NULL;
    va_start(args, fmt);
    make_url(f, fmt, args);
    va_end(args);
    if (get_url(f) != 200) {
        fail_msg("%s: %d %s", f->url.data, f->status, f->body.data);
    }
    OK(bf_json_parse(f->body.data, f->body.len, &out, &f->err));
    return out;
}

void fx_problem(struct fx *f, int status, const char *pointer, const char *fmt, ...) {
    va_list args;
    json_t *problem = NULL;
    va_start(args, fmt);
    make_url(f, fmt, args);
    va_end(args);
    if (get_url(f) != status) {
        fail_msg("%s: %d instead of %d: %s", f->url.data, f->status, status, f->body.data);
    }
    const char *type = bf_http_client_answer_header(f->client, "Content-Type");
    assert_non_null(type);
    assert_int_equal(strncmp(type, "application/problem+json", 24), 0);
    OK(bf_json_parse(f->body.data, f->body.len, &problem, &f->err));
    assert_int_equal(json_integer_value(json_object_get(problem, "status")), status);
    assert_non_null(fx_str(problem, "type"));
    assert_non_null(fx_str(problem, "title"));
    assert_non_null(fx_str(problem, "detail"));
    if (pointer) {
        const char *got = fx_str(problem, "pointer");
        if (!got || !strstr(got, pointer)) {
            fail_msg("%s: pointer %s instead of %s: %s", f->url.data, got ? got : "absent", pointer, f->body.data);
        }
    }
    json_decref(problem);
}

const char *fx_str(const json_t *obj, const char *key) {
    return json_string_value(json_object_get(obj, key));
}

int64_t fx_time(const json_t *obj, const char *key) {
    struct bf_err err;
    int64_t t = 0;
    const char *text = fx_str(obj, key);
    assert_non_null(text);
    assert_int_equal(strlen(text), BF_TIME_TEXT_LEN);
    assert_int_equal(bf_time_parse(text, &t, &err), BF_OK);
    return t;
}

void fx_check_event(const json_t *ev, const struct told *t) {
    char uuid[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(uuid, &t->uuid);
    assert_string_equal(fx_str(ev, "event_id"), uuid);
    assert_int_equal(json_integer_value(json_object_get(ev, "revision")), t->revision);
    assert_string_equal(fx_str(ev, "topic"), t->topic);
    assert_int_equal(json_integer_value(json_object_get(ev, "partition")), t->partition);
    assert_int_equal(json_integer_value(json_object_get(ev, "offset")), t->offset);
    assert_string_equal(fx_str(ev, "rim_node_id"), t->node);
    assert_int_equal(fx_time(ev, "event_time"), t->event_time_us);
    assert_int_equal(fx_time(ev, "recorded_at"), t->recorded_at_us);
    const json_t *payload = json_object_get(ev, "payload");
    assert_true(json_number_value(json_object_get(payload, is_reflex(t->topic) ? "value" : "price")) == t->price);
    assert_true((t->trace[0] != 0) == (json_object_get(ev, "trace_id") != NULL));
    assert_true((t->cause[0] != 0) == (json_object_get(ev, "cause_id") != NULL));
    assert_true((strcmp(t->id, uuid) != 0) == (json_object_get(ev, "source_id") != NULL));
}

bool fx_replaced(const struct fx *f, size_t i, int64_t known_by_us) {
    const struct told *t = &f->told[i];
    for (size_t k = 0; k < f->committed; k++) {
        const struct told *o = &f->told[k];
        if (o->disposition == DISPOSITION_STORED && o->revision > t->revision && o->recorded_at_us <= known_by_us &&
            strcmp(o->topic, t->topic) == 0 && memcmp(&o->uuid, &t->uuid, sizeof(t->uuid)) == 0) {
            return true;
        }
    }
    return false;
}

const struct told *fx_state_of(const struct fx *f, const char *node, const char *topic, int64_t as_of_us, int64_t known_by_us) {
    const struct told *best = NULL;
    for (size_t i = 0; i < f->committed; i++) {
        const struct told *t = &f->told[i];
        if (t->disposition != DISPOSITION_STORED || t->event_time_us > as_of_us || t->recorded_at_us > known_by_us ||
            strcmp(t->node, node) != 0 || strcmp(t->topic, topic) != 0 || fx_replaced(f, i, known_by_us)) {
            continue;
        }
        if (!best || t->event_time_us > best->event_time_us ||
            (t->event_time_us == best->event_time_us && t->recorded_at_us > best->recorded_at_us)) {
            best = t;
        }
    }
    return best;
}

size_t fx_pages(struct fx *f, const char *path, void (*each)(void *ctx, const json_t *ev), void *ctx) {
    char next[2048] = "";
    size_t count = 0;
    do {
        json_t *page = next[0] ? fx_json(f, "%s%ccursor=%s", path, strchr(path, '?') ? '&' : '?', next) : fx_json(f, "%s", path), *ev;
        size_t i;
        assert_true(json_is_true(json_object_get(page, "complete")));
        json_array_foreach(json_object_get(page, "events"), i, ev) {
            each(ctx, ev);
            count++;
        }
        const char *link = bf_http_client_answer_header(f->client, "Link");
        next[0] = '\0';
        if (fx_str(page, "next")) {
            snprintf(next, sizeof(next), "%s", fx_str(page, "next"));
            assert_non_null(link);
            assert_non_null(strstr(link, next));
            assert_non_null(strstr(link, "rel=\"next\""));
            assert_true(json_array_size(json_object_get(page, "events")) > 0);
        } else {
            assert_true(json_is_null(json_object_get(page, "next")));
            assert_null(link);
        }
        json_decref(page);
    } while (next[0]);
    return count;
}
