/* From message to envelope: what every field is taken from, and what makes a record poison. A real hot store, the project's own schemas. */
#include "bf_avro_encode.h"
#include "bf_framing.h"
#include "bf_node_id.h"
#include "bf_time.h"
#include "bf_topics.h"
#include "envelope.h"
#include "headers_pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SCHEMA_ID 7
#define NODE "rim:entity:finance:EURUSD"
#define UUID "0190a0b0-c0d0-7000-8000-000000000001"

struct fixture {
    char dir[64];
    struct hot *hot;
    struct bf_topics *topics;
    struct schema_cache *schemas;
    struct envelope_settings settings;
    struct envelope e;
    struct bf_avro_encoder *encoder;
    struct bf_buf value;
    enum bf_code resolve_answer;
    int resolve_calls;
    struct bf_err err;
};

static enum bf_code resolve(void *ctx, const struct bf_frame *frame, int32_t *id, const struct bf_avro **schema, struct bf_err *err) {
    struct fixture *f = ctx;
    (void)id;
    (void)schema;
    f->resolve_calls++;
    return bf_fail(err, f->resolve_answer, 0, "schema %d: not here", frame->schema_id);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    const struct bf_avro *schema;
    strcpy(f->dir, "/tmp/bf-envelope-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    const struct hot_settings hot = {.dir = f->dir, .map_bytes_max = 64 << 20, .cluster_id = "test"};
    assert_int_equal(hot_open(&hot, &f->hot, &f->err), BF_OK);
    assert_int_equal(bf_topics_load(BF_SOURCE_DIR "/schemas", &f->topics, &f->err), BF_OK);
    assert_int_equal(schema_cache_new(f->hot, f->topics, &f->schemas, &f->err), BF_OK);
    const char *json = bf_topics_find(f->topics, "rim.fast-path")->schema_json;
    assert_int_equal(schema_cache_add(f->schemas, SCHEMA_ID, bf_slice_str(json), bf_slice_str("[]"), &schema, &f->err), BF_OK);
    assert_int_equal(bf_avro_encoder_new(json, &f->encoder, &f->err), BF_OK);
    f->settings = (struct envelope_settings){.schemas = f->schemas, .value_bytes_max = 1 << 20, .depth_max = 32, .resolve = resolve, .ctx = f};
    envelope_init(&f->e, &f->settings);
    bf_buf_init(&f->value, 4 << 20);
    f->resolve_answer = BF_NOT_FOUND;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    bf_buf_fini(&f->value);
    envelope_fini(&f->e);
    bf_avro_encoder_free(f->encoder);
    schema_cache_free(f->schemas);
    bf_topics_free(f->topics);
    hot_close(f->hot);
    assert_int_equal(hot_destroy(f->dir, &f->err), BF_OK);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

/* A framed RimFastEvent; event_id may be NULL. */
static struct bf_slice signal_value(struct fixture *f, const char *node, const char *event_id, int64_t event_ts_ms) {
    uint8_t frame[BF_FRAME_BYTES];
    bf_frame_put(frame, SCHEMA_ID);
    bf_buf_clear(&f->value);
    bf_buf_append(&f->value, frame, sizeof frame);
    json_t *v = json_pack("{s:s,s:s?,s:{s:I,s:I}}", "rim_node_id", node, "event_id", event_id, "vector_timestamp", "event_ts_ms",
                          (json_int_t)event_ts_ms, "ingest_ts_ms", (json_int_t)event_ts_ms);
    assert_int_equal(bf_avro_encode(f->encoder, v, &f->value, &f->err), BF_OK);
    json_decref(v);
    return (struct bf_slice){f->value.data, f->value.len};
}

static enum bf_code open_message(struct fixture *f, struct bf_slice key, struct bf_slice value, const struct bf_header *headers, size_t n,
                                 int64_t timestamp_ms) {
    const struct bf_message msg = {.topic = "rim.fast-path", .partition = 3, .offset = 42, .timestamp_ms = timestamp_ms,
                                   .key = key, .value = value, .headers = headers, .header_count = n};
    return envelope_open(&f->e, bf_topics_find(f->topics, "rim.fast-path"), &msg, &f->err);
}

static void assert_text(struct bf_slice s, const char *expected) {
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.data, expected, s.len);
}

static void test_envelope__takes_node_id_and_clocks_from_the_value(void **state) {
    struct fixture *f = *state;
    struct bf_slice v = signal_value(f, NODE, UUID, 1717236000000);
    assert_int_equal(open_message(f, bf_slice_str(NODE), v, NULL, 0, 1717236000999), BF_OK);
    char text[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(text, &f->e.ev.id);
    assert_string_equal(text, UUID);
    assert_text(f->e.ev.node_id, NODE);
    assert_int_equal(f->e.ev.event_time_us, 1717236000000000);
    assert_int_equal(f->e.ev.kafka_time_us, 1717236000999000);
    assert_int_equal(f->e.ev.schema_id, SCHEMA_ID);
    assert_int_equal(f->e.ev.offset, 42);
    assert_null(f->e.ev.source_id.data);
    assert_ptr_equal(f->e.ev.value.data, v.data);
}

static void test_envelope__an_id_that_is_no_uuid_becomes_source_id(void **state) {
    struct fixture *f = *state;
    assert_int_equal(open_message(f, BF_SLICE_NONE, signal_value(f, NODE, "order-17", 0), NULL, 0, 1), BF_OK);
    assert_text(f->e.ev.source_id, "order-17");
    struct bf_uuid expected = bf_event_id_from_text(bf_slice_str("order-17"), NULL);
    assert_memory_equal(&f->e.ev.id, &expected, sizeof expected);
}

static void test_envelope__headers_give_id_trace_and_cause_when_the_value_does_not(void **state) {
    struct fixture *f = *state;
    const struct bf_header headers[] = {{"ce_id", bf_slice_str(UUID)},
                                        {"traceparent", bf_slice_str("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")},
                                        {"cause_id", bf_slice_str("order-1")}};
    assert_int_equal(open_message(f, bf_slice_str(NODE), signal_value(f, NODE, NULL, 5), headers, 3, 1), BF_OK);
    char text[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(text, &f->e.ev.id);
    assert_string_equal(text, UUID);
    assert_text(f->e.ev.trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_true(f->e.ev.has_cause);
    struct bf_slice value;
    assert_true(headers_find(f->e.ev.headers, "cause_id", &value));
    assert_text(value, "order-1");
}

static void test_envelope__without_any_id_it_is_derived_and_the_same_again(void **state) {
    struct fixture *f = *state;
    assert_int_equal(open_message(f, bf_slice_str(NODE), signal_value(f, NODE, NULL, 5), NULL, 0, 1), BF_OK);
    struct bf_uuid first = f->e.ev.id;
    assert_int_equal(first.b[6] >> 4, 8);
    assert_int_equal(open_message(f, bf_slice_str(NODE), signal_value(f, NODE, NULL, 5), NULL, 0, 99), BF_OK);
    assert_memory_equal(&first, &f->e.ev.id, sizeof first);
    assert_int_equal(open_message(f, bf_slice_str(NODE), signal_value(f, NODE, NULL, 6), NULL, 0, 1), BF_OK);
    assert_memory_not_equal(&first, &f->e.ev.id, sizeof first);
}

static void test_envelope__a_tombstone_is_an_event_of_its_key(void **state) {
    struct fixture *f = *state;
    assert_int_equal(open_message(f, bf_slice_str(NODE), BF_SLICE_NONE, NULL, 0, 1717236000000), BF_OK);
    assert_null(f->e.ev.value.data);
    assert_int_equal(f->e.ev.schema_id, 0);
    assert_int_equal(f->e.ev.event_time_us, 1717236000000000);
}

static void test_envelope__a_registry_that_is_away_is_no_poison(void **state) {
    struct fixture *f = *state;
    f->resolve_answer = BF_AGAIN;
    assert_int_equal(open_message(f, bf_slice_str(NODE), (struct bf_slice){"\0\0\0\1\0xyz", 8}, NULL, 0, 1), BF_AGAIN);
    assert_int_equal(f->resolve_calls, 1);
}

static void test_envelope__poison_says_its_reason(void **state) {
    struct fixture *f = *state;
    char long_value[(1 << 20) + 1] = {0}, bad_id[] = "bad\xff";
    const struct bf_header nul_id = {"event_id", {"a\0b", 3}}, bad_utf8 = {"event_id", {bad_id, 4}};
    struct bf_slice good = signal_value(f, NODE, NULL, 5);
    char *copy = malloc(good.len);
    memcpy(copy, good.data, good.len);
    struct bf_slice value = {copy, good.len}, key = bf_slice_str(NODE);
    const struct {
        struct bf_slice key, value;
        const struct bf_header *header;
        int64_t timestamp_ms;
        enum poison_reason reason;
    } cases[] = {
        {key, {"garbage", 7}, NULL, 1, POISON_FRAMING},
        {key, {"\0\0\0", 3}, NULL, 1, POISON_FRAMING},
        {key, {"\0\0\0\1\0xyz", 8}, NULL, 1, POISON_SCHEMA},
        {key, {copy, good.len - 1}, NULL, 1, POISON_AVRO},
        {key, {long_value, sizeof long_value}, NULL, 1, POISON_LIMIT},
        {key, value, &nul_id, 1, POISON_UTF8},
        {key, value, &bad_utf8, 1, POISON_UTF8},
        {key, value, NULL, INT64_MAX / 2, POISON_LIMIT},
        {bf_slice_str("not-a-node"), BF_SLICE_NONE, NULL, 1, POISON_NODE_ID},
        {BF_SLICE_NONE, BF_SLICE_NONE, NULL, 1, POISON_NODE_ID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(open_message(f, cases[i].key, cases[i].value, cases[i].header, cases[i].header != NULL, cases[i].timestamp_ms),
                         BF_REJECTED);
        if (f->e.poison.reason != cases[i].reason)
            fail_msg("case %zu: %s", i, poison_reason_name(f->e.poison.reason));
        assert_true(f->e.poison.detail.len > 0);
        assert_int_equal(f->e.poison.offset, 42);
        assert_ptr_equal(f->e.poison.value.data, cases[i].value.data);
    }
    free(copy);
}

static void test_envelope__a_bad_node_or_a_time_beyond_year_9999_in_the_value_is_poison(void **state) {
    struct fixture *f = *state;
    assert_int_equal(open_message(f, bf_slice_str(NODE), signal_value(f, "rim:nonsense", NULL, 5), NULL, 0, 1), BF_REJECTED);
    assert_int_equal(f->e.poison.reason, POISON_NODE_ID);
    assert_int_equal(open_message(f, bf_slice_str(NODE), signal_value(f, NODE, NULL, INT64_MAX / 1001), NULL, 0, 1), BF_REJECTED);
    assert_int_equal(f->e.poison.reason, POISON_LIMIT);
    assert_int_equal(open_message(f, bf_slice_str(NODE), signal_value(f, NODE, NULL, INT64_MIN), NULL, 0, 1), BF_REJECTED);
    assert_int_equal(f->e.poison.reason, POISON_LIMIT);
}

/* ---- damaged messages ---- */

#define DAMAGED 100000

static uint32_t next_random(uint32_t *x) {
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

/* Bits flipped, bytes set, cut off, doubled or put in; each copy in memory of just its size. */
static struct bf_slice damage(struct bf_slice good, uint32_t *x, char **copy) {
    size_t len = good.len, room = good.len * 2 + 8;
    char *bytes = malloc(room);
    assert_non_null(bytes);
    memcpy(bytes, good.data, len);
    for (uint32_t times = 1 + next_random(x) % 3; times > 0 && len > 0; times--) {
        size_t at = next_random(x) % len;
        switch (next_random(x) % 5) {
        case 0: bytes[at] = (char)(bytes[at] ^ (1 << next_random(x) % 8)); break;
        case 1: bytes[at] = (char)"\0\1\x7f\x80\xff\xfe:-"[next_random(x) % 8]; break;
        case 2: len = at; break;
        case 3:
            if (len + 1 < room) {
                memmove(bytes + at + 1, bytes + at, len++ - at);
            }
            break;
        default: memmove(bytes + at, bytes + at + 1, --len - at);
        }
    }
    *copy = realloc(bytes, len > 0 ? len : 1);
    assert_non_null(*copy);
    return (struct bf_slice){*copy, len};
}

static void check_opened(struct fixture *f, enum bf_code code, struct bf_slice value) {
    if (code == BF_OK) {
        struct bf_err err;
        assert_int_equal(bf_node_id_parse(f->e.ev.node_id, NULL, &err), BF_OK);
        assert_true(f->e.ev.event_time_us >= BF_TIME_MIN_US && f->e.ev.event_time_us <= BF_TIME_MAX_US);
        assert_true(f->e.ev.source_id.len <= 255 && f->e.ev.trace_id.len <= 255);
        assert_ptr_equal(f->e.ev.value.data, value.data);
        assert_int_equal(f->e.ev.value.len, value.len);
        assert_int_equal(f->e.ev.schema_id, SCHEMA_ID);
        return;
    }
    assert_int_equal(code, BF_REJECTED);
    assert_true(f->e.poison.detail.len > 0);
    assert_ptr_equal(f->e.poison.value.data, value.data);
    assert_int_equal(f->e.poison.value.len, value.len);
    assert_int_equal(f->e.poison.offset, 42);
}

static void test_envelope__damaged_messages_are_taken_or_refused_with_a_reason(void **state) {
    struct fixture *f = *state;
    static const char *const ids[] = {NULL, UUID, "order-17"};
    uint32_t x = 7;
    int taken = 0, reasons[16] = {0};
    for (int i = 0; i < DAMAGED; i++) {
        char *copy, *header_copy, *key_copy;
        struct bf_slice good = signal_value(f, NODE, ids[i % 3], 1717236000000 + i);
        struct bf_slice value = damage(good, &x, &copy), key = damage(bf_slice_str(NODE), &x, &key_copy);
        struct bf_slice trace = damage(bf_slice_str("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), &x, &header_copy);
        const struct bf_header headers[] = {{"traceparent", trace}, {i % 2 == 0 ? "cause_id" : "ce_id", key}};
        enum bf_code code = open_message(f, key, value, headers, 2, i);
        check_opened(f, code, value);
        struct event first = f->e.ev;
        assert_int_equal(open_message(f, key, value, headers, 2, i), code); /* a redelivery is judged the same */
        if (code == BF_OK) {
            taken++;
            assert_memory_equal(&first.id, &f->e.ev.id, sizeof first.id);
        } else {
            reasons[f->e.poison.reason]++;
        }
        free(copy);
        free(header_copy);
        free(key_copy);
    }
    assert_true(taken > 0);
    assert_true(reasons[POISON_FRAMING] > 0 && reasons[POISON_SCHEMA] > 0 && reasons[POISON_AVRO] > 0);
    assert_true(reasons[POISON_NODE_ID] > 0 && reasons[POISON_UTF8] > 0 && reasons[POISON_LIMIT] > 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_envelope__takes_node_id_and_clocks_from_the_value),
        T(test_envelope__an_id_that_is_no_uuid_becomes_source_id),
        T(test_envelope__headers_give_id_trace_and_cause_when_the_value_does_not),
        T(test_envelope__without_any_id_it_is_derived_and_the_same_again),
        T(test_envelope__a_tombstone_is_an_event_of_its_key),
        T(test_envelope__a_registry_that_is_away_is_no_poison),
        T(test_envelope__poison_says_its_reason),
        T(test_envelope__a_bad_node_or_a_time_beyond_year_9999_in_the_value_is_poison),
        T(test_envelope__damaged_messages_are_taken_or_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
