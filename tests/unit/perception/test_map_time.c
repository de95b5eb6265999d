#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "bf_time.h"
#include "map_time.h"

#include <string.h>

static json_t *time_json(const char *format, const char *time_of_day) {
    json_t *json = json_pack("{s:s, s:s}", "column", "When", "format", format);
    if (time_of_day != NULL) json_object_set_new(json, "time_of_day", json_string(time_of_day));
    return json;
}

static void test_cells__mean_these_times(void **state) {
    static const struct {
        const char *format, *time_of_day, *cell, *time; /* NULL: refused */
    } rows[] = {
        {"%Y-%m-%d", "15:00:00Z", "2024-02-29", "2024-02-29T15:00:00.000000Z"},
        {"%Y-%m-%d", "15:00:00+02:00", "2024-02-29", "2024-02-29T13:00:00.000000Z"},
        {"%Y-%m-%d", "00:00:00.25Z", "1999-01-04", "1999-01-04T00:00:00.250000Z"},
        {"%Y-%m-%d", NULL, "1969-12-31", "1969-12-31T00:00:00.000000Z"},
        {"%Y-%m-%d", NULL, "2023-02-29", NULL},
        {"%Y-%m-%d", NULL, "2023-02-28 ", NULL},
        {"%Y-%m-%d", NULL, "", NULL},
        {"%d.%m.%Y %H:%M", NULL, "31.12.2023 23:59", "2023-12-31T23:59:00.000000Z"},
        {"%Y-%m-%dT%H:%M:%S%z", NULL, "2024-06-01T12:00:00+0200", "2024-06-01T10:00:00.000000Z"},
        {"rfc3339", NULL, "2024-06-01T12:00:00.5+02:00", "2024-06-01T10:00:00.500000Z"},
        {"rfc3339", NULL, "yesterday", NULL},
        {"epoch_s", NULL, "1717236000", "2024-06-01T10:00:00.000000Z"},
        {"epoch_s", NULL, "-1", "1969-12-31T23:59:59.000000Z"},
        {"epoch_ms", NULL, "1717236000123", "2024-06-01T10:00:00.123000Z"},
        {"epoch_us", NULL, "1717236000123456", "2024-06-01T10:00:00.123456Z"},
        {"epoch_s", NULL, "99999999999999999", NULL},
        {"epoch_s", NULL, "1.5", NULL},
        {"epoch_s", NULL, " 1", NULL},
        {"epoch_s", NULL, "", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *json = time_json(rows[i].format, rows[i].time_of_day);
        struct map_time t;
        struct bf_err err = {0};
        int64_t at = 0;
        char text[BF_TIME_TEXT_LEN + 1] = "refused";
        assert_int_equal(map_time_read(json, &t, &err), BF_OK);
        if (map_time_parse(&t, rows[i].cell, &at, &err) == BF_OK) bf_time_format(text, at);
        if (strcmp(text, rows[i].time != NULL ? rows[i].time : "refused") != 0) fail_msg("%s %s: %s", rows[i].format, rows[i].cell, text);
        json_decref(json);
    }
}

static void test_read__names_what_is_wrong(void **state) {
    static const struct {
        const char *json, *message;
    } rows[] = {
        {"{\"format\":\"epoch_s\"}", "map: \"time\" has no \"column\""},
        {"{\"column\":\"a\"}", "map: \"time\" has no \"format\""},
        {"{\"column\":\"a\",\"format\":\"iso\"}", "map: \"format\" is none of rfc3339, epoch_s, epoch_ms, epoch_us, and has no %"},
        {"{\"column\":\"a\",\"format\":\"%Y\",\"time_of_day\":\"25:00:00Z\"}", "map: \"time_of_day\" is no time like 15:00:00Z"},
        {"{\"column\":\"a\",\"format\":\"%Y\",\"zone\":\"CET\"}", "map: \"time\": \"zone\" is not known"},
        {"{\"column\":\"a\",\"format\":\"%Y\",\"time_of_day\":15}", "map: \"time_of_day\" is no time like 15:00:00Z"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *json = json_loads(rows[i].json, 0, NULL);
        struct map_time t;
        struct bf_err err = {0};
        assert_int_equal(map_time_read(json, &t, &err), BF_INVALID);
        assert_string_equal(err.msg, rows[i].message);
        json_decref(json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells__mean_these_times),
        cmocka_unit_test(test_read__names_what_is_wrong),
    };
    return cmocka_run_group_tests_name("perception_map_time", tests, NULL, NULL);
}
