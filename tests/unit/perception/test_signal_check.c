/* What goes out is read back with the bounded decoder, which shares no code with the encoder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "bf_avro.h"
#include "bf_avro_text.h"
#include "bf_event_id.h"
#include "bf_framing.h"
#include "bf_json.h"
#include "bf_time.h"
#include "perception_fixture.h"
#include "signal_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE "\"rim_node_id\":\"rim:entity:finance:EURUSD\""
#define TIME "\"vector_timestamp\":{\"event_ts_ms\":1717236000000}"

struct world {
    struct bf_topics *topics;
    struct signal_check *check;
    struct bf_avro *avro;
    struct signal signal;
    struct bf_buf json;
};

static int open_world(void **state) {
    static struct world w;
    struct bf_err err = {0};
    w.topics = project_topics();
    const struct bf_topic *topic = bf_topics_find(w.topics, "rim.fast-path");
    assert_int_equal(signal_check_new(topic, topic->schema_json, &w.check, &err), BF_OK);
    signal_check_set_schema_id(w.check, 77);
    assert_int_equal(bf_avro_compile(topic->schema_json, strlen(topic->schema_json), NULL, 0, NULL, 0, &w.avro, &err), BF_OK);
    signal_init(&w.signal);
    bf_buf_init(&w.json, 1 << 20);
    *state = &w;
    return 0;
}

static int close_world(void **state) {
    struct world *w = *state;
    signal_fini(&w->signal);
    bf_buf_fini(&w->json);
    bf_avro_free(w->avro);
    signal_check_free(w->check);
    bf_topics_free(w->topics);
    return 0;
}

/* Both ways, which must agree about whether it is good; the last one's bytes stay. */
static enum bf_code encode(struct world *w, const char *text, struct bf_err *err) {
    struct bf_err short_err = {0};
    json_t *value = NULL;
    enum bf_code short_code = signal_check_text(w->check, bf_slice_str(text), NULL, &w->signal, &short_err);
    if (bf_json_parse(text, strlen(text), &value, err) != BF_OK) fail_msg("%s", err->msg);
    enum bf_code code = signal_check_value(w->check, value, NULL, &w->signal, err);
    assert_int_equal(short_code, code);
    if (code != BF_OK) assert_string_equal(short_err.msg, err->msg);
    else assert_true(bf_slice_eq(signal_key(&w->signal), bf_slice_str(json_string_value(json_object_get(value, "rim_node_id")))));
    json_decref(value);
    return code;
}

/* The signal as it stands in Kafka; the caller's. */
static json_t *sent(struct world *w, const char *text) {
    struct bf_err err = {0};
    struct bf_frame frame;
    json_t *value = NULL;
    if (encode(w, text, &err) != BF_OK) fail_msg("%s: %s", text, err.msg);
    assert_int_equal(bf_frame_parse(signal_value(&w->signal), BF_SLICE_NONE, &frame, &err), BF_OK);
    assert_int_equal(frame.schema_id, 77);
    bf_buf_clear(&w->json);
    assert_int_equal(bf_avro_decode(w->avro, frame.avro, NULL, &w->json, NULL, &err), BF_OK);
    assert_int_equal(bf_json_parse(w->json.data, w->json.len, &value, &err), BF_OK);
    return value;
}

static void test_encode__what_is_given_goes_out_as_it_is(void **state) {
    static const char text[] =
        "{\"rim_node_id\":\"rim:entity:finance:EURUSD\",\"event_id\":\"order-17\",\"vector_timestamp\":{\"event_ts_ms\":1717236000000,"
        "\"ingest_ts_ms\":1717236000004,\"logical_clock\":1},\"critical_metrics\":{\"spread\":0.0001},\"price\":1.0852,\"volume\":null,"
        "\"stress\":0.12,\"status\":\"ALERT\",\"instrument_id\":\"i\",\"source_topic\":null,\"metadata\":{\"venue\":\"x\"}}";
    struct bf_err err = {0};
    json_t *want = NULL, *got = sent(*state, text);
    assert_int_equal(bf_json_parse(text, strlen(text), &want, &err), BF_OK);
    assert_true(json_equal(got, want));
    json_decref(want);
    json_decref(got);
}

static void test_encode__fills_in_id_ingest_time_and_clock(void **state) {
    int64_t before_ms = bf_time_now_us() / 1000, last_clock = 0;
    char last[64] = "";
    for (int i = 0; i < 100; i++) {
        struct bf_uuid id;
        json_t *got = sent(*state, "{" NODE "," TIME ",\"event_id\":null}");
        const char *text = json_string_value(json_object_get(got, "event_id"));
        const json_t *vector = json_object_get(got, "vector_timestamp");
        int64_t ingest = json_integer_value(json_object_get(vector, "ingest_ts_ms")), clock = json_integer_value(json_object_get(vector, "logical_clock"));
        assert_true(bf_uuid_parse(bf_slice_str(text), &id));
        assert_int_equal(id.b[6] >> 4, 7);
        assert_int_equal(id.b[8] >> 6, 2);
        assert_true(strcmp(last, text) < 0);
        assert_true(ingest >= before_ms && ingest <= bf_time_now_us() / 1000);
        assert_true(clock > last_clock);
        assert_string_equal(json_string_value(json_object_get(got, "status")), "ACTIVE");
        snprintf(last, sizeof last, "%s", text);
        last_clock = clock;
        json_decref(got);
    }
}

static void test_encode__names_field_and_reason(void **state) {
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"[]", "it is no JSON object"},
        {"{}", "rim_node_id is missing"},
        {"{\"rim_node_id\":null}", "rim_node_id is missing"},
        {"{\"rim_node_id\":5}", "rim_node_id is no string"},
        {"{\"rim_node_id\":\"rim:planet:a:b\"," TIME "}", "rim_node_id: nodeType is none of"},
        {"{\"rim_node_id\":\"rim:entity:UPPER:b\"," TIME "}", "namespace has byte 0x55"},
        {"{" NODE "}", "vector_timestamp.event_ts_ms is missing"},
        {"{" NODE ",\"vector_timestamp\":7}", "vector_timestamp.event_ts_ms is missing"},
        {"{" NODE ",\"vector_timestamp\":{\"event_ts_ms\":\"now\"}}", "vector_timestamp.event_ts_ms is no integer"},
        {"{" NODE ",\"vector_timestamp\":{\"event_ts_ms\":1.5}}", "vector_timestamp.event_ts_ms is no integer"},
        {"{" NODE ",\"vector_timestamp\":{\"event_ts_ms\":253402300800000}}", "is not within the years 0001 to 9999"},
        {"{" NODE ",\"vector_timestamp\":{\"event_ts_ms\":-62135596800001}}", "is not within the years 0001 to 9999"},
        {"{" NODE ",\"vector_timestamp\":{\"event_ts_ms\":1,\"ingest_ts_ms\":null}}", "vector_timestamp.ingest_ts_ms is no integer"},
        {"{" NODE ",\"vector_timestamp\":{\"event_ts_ms\":1,\"logical_clock\":\"x\"}}", "vector_timestamp.logical_clock: expected an integer"},
        {"{" NODE "," TIME ",\"event_id\":7}", "event_id is no string"},
        {"{" NODE "," TIME ",\"event_id\":\"\"}", "event_id is empty"},
        {"{" NODE "," TIME ",\"stress\":1.01}", "stress 1.01 is not within 0 to 1"},
        {"{" NODE "," TIME ",\"stress\":-0.1}", "stress -0.1 is not within 0 to 1"},
        {"{" NODE "," TIME ",\"stress\":\"NaN\"}", "stress \"NaN\" is not within 0 to 1"},
        {"{" NODE "," TIME ",\"price\":\"high\"}", "price: expected a number, got a string"},
        {"{" NODE "," TIME ",\"colour\":\"red\"}", "colour: the schema has no such field"},
        {"{" NODE ",\"vector_timestamp\":{\"event_ts_ms\":1,\"zone\":2}}", "vector_timestamp.zone: the schema has no such field"},
        {"{" NODE "," TIME ",\"metadata\":{\"a\":1}}", "metadata.a: expected a string, got an integer"},
        {"{" NODE "," TIME ",\"critical_metrics\":[]}", "critical_metrics: expected an object, got a list"},
        {"{" NODE "," TIME ",\"status\":null}", "status: expected a string, got null"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bf_err err = {0};
        if (encode(*state, rows[i].text, &err) != BF_INVALID) fail_msg("%s was taken", rows[i].text);
        if (strstr(err.msg, rows[i].message) == NULL) fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].text, err.msg, rows[i].message);
    }
}

static void test_event_id__has_a_longest_length(void **state) {
    char text[SIGNAL_EVENT_ID_MAX + 200], id[SIGNAL_EVENT_ID_MAX + 2];
    struct bf_err err = {0};
    for (int more = 0; more <= 1; more++) {
        memset(id, 'x', sizeof id);
        id[SIGNAL_EVENT_ID_MAX + more] = '\0';
        snprintf(text, sizeof text, "{" NODE "," TIME ",\"event_id\":\"%s\"}", id);
        assert_int_equal(encode(*state, text, &err), more == 0 ? BF_OK : BF_INVALID);
    }
    assert_string_equal(err.msg, "event_id is longer than 1024 bytes");
}

static void test_buffer__too_small_is_the_signals_fault(void **state) {
    struct world *w = *state;
    struct signal small;
    struct bf_err err = {0};
    signal_init(&small);
    small.framed.max = 40;
    assert_int_equal(signal_check_text(w->check, bf_slice_str("{" NODE "," TIME "}"), NULL, &small, &err), BF_INVALID);
    assert_string_equal(err.msg, "it is larger than 40 bytes");
    signal_fini(&small);
}

/* ---- the short way against the long one ---- */

struct dice {
    uint64_t state;
};

static uint32_t roll(struct dice *d, uint32_t sides) {
    d->state = d->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(d->state >> 33) % sides;
}

static const char *pick(struct dice *d, const char *const *list, uint32_t count) { return list[roll(d, count)]; }

/* A plausible signal with odd numbers, texts, blanks, and some members missing. */
static void random_signal(struct dice *d, struct bf_buf *out) {
    static const char *const numbers[] = {"0", "-0", "1", "0.1", "-0.0", "1e0", "1E+2", "123456789012345678", "0.12345678901234567", "1e-320", "4.9e-324",
                                          "1.7976931348623157e308", "1e22", "1e23", "9007199254740993.0", "100000000000000000000.5", "1e400", "01", "1.", ".5",
                                          "+1", "1e", "NaN", "\"NaN\"", "true", "0.30000000000000004", "2.2250738585072011e-308", "99999999999999999999"};
    static const char *const texts[] = {"\"x\"", "\"\"", "\"Ã©\"", "\"\\n\"", "\"\\u00e9\"", "\"ÿ\"", "\"a\tb\"", "null", "7", "\"\"",
                                        "\"í \"", "\"long text of some words\""};
    static const char *const longs[] = {"1717236000000", "0", "-1", "1.0", "1e3", "253402300800000", "null", "\"1\"", "-62135596800001", "12"};
    static const char *const blanks[] = {"", "", "", " ", "\t", "\r"};
    static const char *const maps[] = {"{}", "{\"a\":1}", "{\"a\":1,\"b\":2.5}", "{\"a\":1,\"a\":2}", "{\"a\":\"x\"}", "{ \"k\" : 1e-7 }", "null", "[]", "{\"a\":}", "{,}"};
    static const char *const words[] = {"{}", "{\"v\":\"x\"}", "{\"v\":\"x\",\"w\":\"y\"}", "{\"v\":1}", "{\"v\":\"\\t\"}", "{\"\":\"\"}"};
#define PICK(list) pick(d, list, sizeof list / sizeof list[0])
    bf_buf_clear(out);
    bf_buf_printf(out, "%s{\"rim_node_id\":\"rim:entity:finance:N%u\"", PICK(blanks), roll(d, 5));
    if (roll(d, 4) > 0) bf_buf_printf(out, ",\"event_id\":%s", roll(d, 4) > 0 ? "\"id\"" : PICK(texts));
    bf_buf_printf(out, ",%s\"vector_timestamp\":{\"event_ts_ms\":%s", PICK(blanks), roll(d, 5) > 0 ? longs[0] : PICK(longs));
    if (roll(d, 3) > 0) bf_buf_printf(out, ",\"ingest_ts_ms\":%s", roll(d, 5) > 0 ? longs[0] : PICK(longs));
    if (roll(d, 3) > 0) bf_buf_printf(out, ",\"logical_clock\"%s:%s", PICK(blanks), roll(d, 5) > 0 ? "3" : PICK(longs));
    bf_buf_puts(out, "}");
    if (roll(d, 2) > 0) bf_buf_printf(out, ",\"price\":%s%s", PICK(blanks), PICK(numbers));
    if (roll(d, 2) > 0) bf_buf_printf(out, ",\"volume\":%u.%09ue%d", roll(d, 100000), roll(d, 1000000000), (int)roll(d, 81) - 40);
    if (roll(d, 3) > 0) bf_buf_printf(out, ",\"stress\":0.%u", roll(d, 1000));
    if (roll(d, 3) > 0) bf_buf_printf(out, ",\"critical_metrics\":%s", PICK(maps));
    if (roll(d, 3) > 0) bf_buf_printf(out, ",\"status\":%s", PICK(texts));
    if (roll(d, 3) > 0) bf_buf_printf(out, ",\"instrument_id\":%s", PICK(texts));
    if (roll(d, 3) > 0) bf_buf_printf(out, ",\"metadata\":%s", PICK(words));
    if (roll(d, 40) == 0) bf_buf_puts(out, ",\"price\":1");
    if (roll(d, 40) == 0) bf_buf_puts(out, ",\"colour\":1");
    bf_buf_printf(out, "}%s", roll(d, 40) > 0 ? PICK(blanks) : "x");
    if (roll(d, 10) == 0 && out->len > 0) out->data[roll(d, (uint32_t)out->len)] = (char)roll(d, 256);
}

static void test_short_way__takes_and_gives_what_the_long_one_does(void **state) {
    struct world *w = *state;
    struct dice d = {20261125};
    struct bf_buf text;
    struct signal other;
    const struct signal_origin origin = {.event_id = {"made-up", 7}, .ingest_ts_ms = 5, .logical_clock = 6};
    int good = 0, rounds = getenv("BF_TORTURE") != NULL && strcmp(getenv("BF_TORTURE"), "1") == 0 ? 5000000 : 100000;

    bf_buf_init(&text, 65536);
    signal_init(&other);
    for (int i = 0; i < rounds; i++) {
        struct bf_err short_err = {0}, err = {0};
        json_t *value = NULL;
        random_signal(&d, &text);
        char *exact = malloc(text.len); /* so that a read behind it is seen */
        memcpy(exact, text.data, text.len);
        enum bf_code short_code = signal_check_text(w->check, (struct bf_slice){exact, text.len}, &origin, &w->signal, &short_err);
        enum bf_code code = bf_json_parse(exact, text.len, &value, &err);
        if (code == BF_OK) code = signal_check_value(w->check, value, &origin, &other, &err);
        if (short_code != code) fail_msg("%.*s: %d, %d (%s)", (int)text.len, text.data, (int)short_code, (int)code, err.msg);
        if (code == BF_OK && (!bf_slice_eq(signal_value(&w->signal), signal_value(&other)) || !bf_slice_eq(signal_key(&w->signal), signal_key(&other)))) {
            fail_msg("%.*s: other bytes", (int)text.len, text.data);
        }
        good += code == BF_OK;
        json_decref(value);
        free(exact);
    }
    assert_true(good > rounds / 20);
    signal_fini(&other);
    bf_buf_fini(&text);
}

static void test_short_way__is_taken_by_ordinary_signals(void **state) {
    static const char *const ordinary[] = {
        "{\"rim_node_id\":\"rim:entity:finance:EURUSD\",\"event_id\":\"0190\",\"vector_timestamp\":{\"event_ts_ms\":1717236000000,"
        "\"ingest_ts_ms\":1717236000004,\"logical_clock\":1},\"critical_metrics\":{\"spread\":0.0001},\"price\":1.0852,\"volume\":null,"
        "\"stress\":0.12,\"status\":\"ACTIVE\",\"instrument_id\":null,\"source_topic\":null,\"metadata\":{\"venue\":\"x\"}}",
        "{ \"metadata\": {}, \"vector_timestamp\": { \"event_ts_ms\": 5 }, \"rim_node_id\": \"rim:entity:a:b\" } "};
    struct world *w = *state;
    struct bf_err err = {0};
    struct bf_avro_text *text = NULL;
    assert_int_equal(bf_avro_text_new(bf_topics_find(w->topics, "rim.fast-path")->schema_json, &text, &err), BF_OK);
    for (size_t i = 0; i < 2; i++) assert_true(bf_avro_text_read(text, bf_slice_str(ordinary[i])));
    assert_false(bf_avro_text_read(text, bf_slice_str("{\"rim_node_id\":\"a\\nb\"}")));
    assert_true(bf_avro_text_slot(text, "vector_timestamp.event_ts_ms") >= 0);
    assert_int_equal(bf_avro_text_slot(text, "vector_timestamp"), -1);
    assert_int_equal(bf_avro_text_slot(text, "metadata"), -1);
    bf_avro_text_free(text);
    assert_int_equal(bf_avro_text_new("{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"bytes\"}]}", &text, &err), BF_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode__what_is_given_goes_out_as_it_is),
        cmocka_unit_test(test_encode__fills_in_id_ingest_time_and_clock),
        cmocka_unit_test(test_encode__names_field_and_reason),
        cmocka_unit_test(test_event_id__has_a_longest_length),
        cmocka_unit_test(test_buffer__too_small_is_the_signals_fault),
        cmocka_unit_test(test_short_way__is_taken_by_ordinary_signals),
        cmocka_unit_test(test_short_way__takes_and_gives_what_the_long_one_does),
    };
    return cmocka_run_group_tests_name("perception_signal_check", tests, open_world, close_world);
}
