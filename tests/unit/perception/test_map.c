#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "bf_json.h"
#include "map.h"
#include "perception_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world {
    struct bf_topics *topics;
    const struct bf_topic *topic;
    json_t *schema;
};

static int open_world(void **state) {
    static struct world w;
    struct bf_err err = {0};
    w.topics = project_topics();
    w.topic = bf_topics_find(w.topics, "rim.fast-path");
    assert_int_equal(bf_json_parse(w.topic->schema_json, strlen(w.topic->schema_json), &w.schema, &err), BF_OK);
    *state = &w;
    return 0;
}

static int close_world(void **state) {
    struct world *w = *state;
    json_decref(w->schema);
    bf_topics_free(w->topics);
    return 0;
}

static enum bf_code load(const struct world *w, const char *text, struct map **out, struct bf_err *err) {
    char path[64];
    file_with(path, text, strlen(text));
    return map_load(path, w->topic, w->schema, out, err);
}

static struct map *loaded(const struct world *w, const char *text) {
    struct map *m = NULL;
    struct bf_err err = {0};
    if (load(w, text, &m, &err) != BF_OK) fail_msg("%s", err.msg);
    return m;
}

/* What a row gave: compact JSON with sorted keys, one a line; a bad event as !reason. */
static bool collect(void *ctx, json_t *value, const struct bf_err *why) {
    char *out = ctx;
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15)) : NULL;
    snprintf(out + strlen(out), 4000 - strlen(out), "%s%s\n", value != NULL ? "" : "!", value != NULL ? text : why->msg);
    free(text);
    return true;
}

static void expect_row(struct map *m, const char *const *fields, size_t count, const char *wanted) {
    char got[4000] = "";
    assert_true(map_row(m, fields, count, collect, got));
    assert_string_equal(got, wanted);
}

static const char wide[] = "{\"shape\":\"wide\",\"missing\":[\"\",\"N/A\"],\"newest_first\":true,"
                           "\"time\":{\"column\":\"Date\",\"format\":\"%Y-%m-%d\",\"time_of_day\":\"15:00:00Z\"},"
                           "\"node\":\"rim:metric:finance:EUR{column}\",\"value\":\"price\",\"event_id\":\"{node}:{Date}\","
                           "\"constants\":{\"status\":\"ACTIVE\",\"metadata.source\":\"ecb\"},\"repeatable\":true}";

static void test_wide__each_cell_that_is_there_is_one_event(void **state) {
    static const char *const header[] = {"Date", "USD", "JPY", ""};
    static const char *const row[] = {"2024-06-03", "1.0842", "N/A", ""};
    struct bf_err err = {0};
    struct map *m = loaded(*state, wide);
    assert_true(map_newest_first(m));
    assert_int_equal(map_delimiter(m), ',');
    assert_int_equal(map_header(m, header, 4, &err), BF_OK);
    expect_row(m, row, 4,
               "{\"event_id\":\"rim:metric:finance:EURUSD:2024-06-03\",\"metadata\":{\"source\":\"ecb\"},\"price\":1.0842,"
               "\"rim_node_id\":\"rim:metric:finance:EURUSD\",\"status\":\"ACTIVE\",\"vector_timestamp\":{\"event_ts_ms\":1717426800000,"
               "\"ingest_ts_ms\":1717426800000,\"logical_clock\":0}}\n");
    map_free(m);
}

static void test_wide__a_bad_cell_leaves_its_neighbours_alone(void **state) {
    static const char *const header[] = {"Date", "USD", "JPY"}, *const row[] = {"2024-06-03", "nan", "170"};
    struct bf_err err = {0};
    char got[4000] = "";
    struct map *m = loaded(*state, wide);
    assert_int_equal(map_header(m, header, 3, &err), BF_OK);
    assert_true(map_row(m, row, 3, collect, got));
    assert_non_null(strstr(got, "!column USD: price: \"nan\" is no number\n{"));
    assert_non_null(strstr(got, "EURJPY:2024-06-03"));
    map_free(m);
}

static void test_wide__only_the_columns_named(void **state) {
    static const char *const header[] = {"Date", "USD", "Comment"}, *const row[] = {"2024-06-03", "1", "words"};
    struct bf_err err = {0};
    char got[4000] = "";
    struct map *m = loaded(*state, "{\"shape\":\"wide\",\"columns\":[\"USD\"],\"time\":{\"column\":\"Date\",\"format\":\"%Y-%m-%d\"},"
                                   "\"node\":\"rim:metric:finance:{column}\",\"value\":\"critical_metrics.rate\"}");
    assert_int_equal(map_header(m, header, 3, &err), BF_OK);
    assert_true(map_row(m, row, 3, collect, got));
    assert_string_equal(got, "{\"critical_metrics\":{\"rate\":1.0},\"rim_node_id\":\"rim:metric:finance:USD\",\"vector_timestamp\":{\"event_ts_ms\":1717372800000}}\n");
    map_free(m);
}

static void test_long__each_row_is_one_event_of_the_fields_kinds(void **state) {
    static const char *const header[] = {"ts", "sym", "close", "vol", "clock", "venue"};
    static const char *const rows[][6] = {{"1717236000", "AAPL", "192.5", "", "9", "XNAS"}, {"1717236000", "AAPL", "1e999", "1", "1", "x"},
                                          {"1717236000", "AAPL", "1", "1", "9.5", "x"}, {"soon", "AAPL", "1", "1", "1", "x"},
                                          {"1717236000", "AAPL", "1", "1", "1", "\xff"}};
    static const char *const wanted[] = {
        "{\"metadata\":{\"venue\":\"XNAS\"},\"price\":192.5,\"rim_node_id\":\"rim:entity:stocks:AAPL\",\"vector_timestamp\":{\"event_ts_ms\":1717236000000,\"logical_clock\":9}}\n",
        "!price: \"1e999\" is beyond a double's range\n", "!vector_timestamp.logical_clock: \"9.5\" is no integer\n",
        "!the time \"soon\" is no integer of that size\n", "!metadata.venue: it is not UTF-8\n"};
    struct bf_err err = {0};
    struct map *m = loaded(*state, "{\"shape\":\"long\",\"delimiter\":\";\",\"time\":{\"column\":\"ts\",\"format\":\"epoch_s\"},"
                                   "\"node\":\"rim:entity:stocks:{sym}\",\"fields\":{\"price\":\"close\",\"volume\":\"vol\","
                                   "\"vector_timestamp.logical_clock\":\"clock\",\"metadata.venue\":\"venue\"}}");
    assert_int_equal(map_delimiter(m), ';');
    assert_int_equal(map_header(m, header, 6, &err), BF_OK);
    for (size_t i = 0; i < 5; i++) expect_row(m, rows[i], 6, wanted[i]);
    map_free(m);
}

static void test_row__of_another_width_is_bad(void **state) {
    static const char *const header[] = {"Date", "USD"}, *const row[] = {"2024-06-03", "1", "2"};
    struct bf_err err = {0};
    struct map *m = loaded(*state, wide);
    assert_int_equal(map_header(m, header, 2, &err), BF_OK);
    expect_row(m, row, 3, "!the row has 3 fields, the header 2\n");
    expect_row(m, row, 1, "!the row has 1 fields, the header 2\n");
    map_free(m);
}

static bool stop_at_once(void *ctx, json_t *value, const struct bf_err *why) {
    (void)value, (void)why;
    ++*(int *)ctx;
    return false;
}

static void test_row__ends_when_the_taker_says_stop(void **state) {
    static const char *const header[] = {"Date", "USD", "JPY"}, *const row[] = {"2024-06-03", "1", "2"};
    struct bf_err err = {0};
    int calls = 0;
    struct map *m = loaded(*state, wide);
    assert_int_equal(map_header(m, header, 3, &err), BF_OK);
    assert_false(map_row(m, row, 3, stop_at_once, &calls));
    assert_int_equal(calls, 1);
    map_free(m);
}

static void test_header__names_the_column_that_is_not_there(void **state) {
    static const char *const no_time[] = {"date", "USD"}, *const ok[] = {"Date", "USD"};
    struct bf_err err = {0};
    struct map *m = loaded(*state, wide);
    assert_int_equal(map_header(m, no_time, 2, &err), BF_INVALID);
    assert_string_equal(err.msg, "the table has no column \"Date\", which the map wants");
    assert_int_equal(map_header(m, ok, 2, &err), BF_OK);
    map_free(m);
    m = loaded(*state, "{\"shape\":\"long\",\"time\":{\"column\":\"Date\",\"format\":\"%Y\"},\"node\":\"rim:a:b:{Name}\",\"fields\":{\"price\":\"USD\"}}");
    assert_int_equal(map_header(m, ok, 2, &err), BF_INVALID);
    assert_string_equal(err.msg, "the table has no column \"Name\", which the map wants");
    map_free(m);
}

#define TIME "\"time\":{\"column\":\"t\",\"format\":\"epoch_s\"}"
#define WIDE "\"shape\":\"wide\",\"node\":\"n\",\"value\":\"price\"," TIME
#define LONG "\"shape\":\"long\",\"node\":\"n\"," TIME

static void test_load__names_the_member_that_is_wrong(void **state) {
    static const struct {
        const char *json, *message;
    } rows[] = {
        {"{\"shape\":\"round\"}", "map: \"shape\" is neither wide nor long"},
        {"{\"shape\":7}", "map: \"shape\" is neither wide nor long"},
        {"{" WIDE ",\"colour\":1}", "map: \"colour\" is not known"},
        {"{" WIDE ",\"delimiter\":\"ab\"}", "map: \"delimiter\" is not one character"},
        {"{" WIDE ",\"delimiter\":\"\\\"\"}", "map: \"delimiter\" is not one character"},
        {"{" WIDE ",\"newest_first\":\"yes\"}", "map: \"newest_first\" is neither true nor false"},
        {"{" WIDE ",\"repeatable\":1}", "map: \"repeatable\" is neither true nor false"},
        {"{" WIDE ",\"missing\":\"N/A\"}", "map: \"missing\" is no list of texts"},
        {"{" WIDE ",\"missing\":[1]}", "map: \"missing\" is no list of texts"},
        {"{" WIDE ",\"columns\":{}}", "map: \"columns\" is no list of texts"},
        {"{" WIDE ",\"event_id\":1}", "map: \"event_id\" is no text"},
        {"{" WIDE ",\"constants\":[]}", "map: \"constants\" is no object"},
        {"{" WIDE ",\"constants\":{\"colour\":\"red\"}}", "map: \"constants\": the schema of rim.fast-path has no plain field \"colour\""},
        {"{" WIDE ",\"fields\":{\"price\":\"p\"}}", "map: \"fields\" is for long tables"},
        {"{\"shape\":\"wide\",\"node\":\"n\"," TIME "}", "map: \"value\" is missing: which field do the cells go to?"},
        {"{\"shape\":\"wide\",\"node\":\"n\",\"value\":\"vector_timestamp\"," TIME "}",
         "map: \"value\": the schema of rim.fast-path has no plain field \"vector_timestamp\""},
        {"{\"shape\":\"wide\",\"value\":\"price\"," TIME "}", "map: \"node\" is missing"},
        {"{" LONG "}", "map: \"fields\" is missing: which column is which field?"},
        {"{" LONG ",\"fields\":{\"price\":1}}", "map: \"fields\" has a value that is no column's name"},
        {"{" LONG ",\"fields\":{\"metadata.a.b\":\"x\"}}", "map: \"fields\": the schema of rim.fast-path has no plain field \"metadata.a.b\""},
        {"{" LONG ",\"fields\":{\"price\":\"p\"},\"columns\":[\"a\"]}", "map: \"columns\" is for wide tables"},
        {"{\"shape\":\"long\",\"node\":\"n\",\"fields\":{\"price\":\"p\"}}", "map: \"time\" has no \"column\""},
        {"[]", "map: it is no JSON object"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct map *m = NULL;
        struct bf_err err = {0};
        if (load(*state, rows[i].json, &m, &err) != BF_INVALID) fail_msg("%s was taken", rows[i].json);
        assert_string_equal(err.msg, rows[i].message);
    }
}

static void test_template__without_its_end_is_refused(void **state) {
    static const char *const header[] = {"t", "a"};
    struct bf_err err = {0};
    struct map *m = loaded(*state, "{\"shape\":\"wide\",\"node\":\"rim:{column\",\"value\":\"price\"," TIME "}");
    assert_int_equal(map_header(m, header, 2, &err), BF_INVALID);
    assert_string_equal(err.msg, "map: \"rim:{column\": a { has no }");
    map_free(m);
}

static void test_ecb__the_demos_map_is_good(void **state) {
    const struct world *w = *state;
    struct map *m = NULL;
    struct bf_err err = {0};
    if (map_load(BF_SOURCE_DIR "/demo/ecb/map.json", w->topic, w->schema, &m, &err) != BF_OK) fail_msg("%s", err.msg);
    map_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wide__each_cell_that_is_there_is_one_event),
        cmocka_unit_test(test_wide__a_bad_cell_leaves_its_neighbours_alone),
        cmocka_unit_test(test_wide__only_the_columns_named),
        cmocka_unit_test(test_long__each_row_is_one_event_of_the_fields_kinds),
        cmocka_unit_test(test_row__of_another_width_is_bad),
        cmocka_unit_test(test_row__ends_when_the_taker_says_stop),
        cmocka_unit_test(test_header__names_the_column_that_is_not_there),
        cmocka_unit_test(test_load__names_the_member_that_is_wrong),
        cmocka_unit_test(test_template__without_its_end_is_refused),
        cmocka_unit_test(test_ecb__the_demos_map_is_good),
    };
    return cmocka_run_group_tests_name("perception_map", tests, open_world, close_world);
}
