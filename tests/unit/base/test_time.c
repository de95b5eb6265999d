#include "check.h"

#include "bf_stop.h"
#include "bf_time.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

static void test_time__formats_and_parses_the_same_moments(void **state) {
    (void)state;
    static const struct {
        int64_t t;
        const char *text;
    } table[] = {{0, "1970-01-01T00:00:00.000000Z"},
                 {-1, "1969-12-31T23:59:59.999999Z"},
                 {INT64_C(1717236000000000), "2024-06-01T10:00:00.000000Z"},
                 {INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z"},
                 {BF_TIME_MIN_US, "0001-01-01T00:00:00.000000Z"},
                 {BF_TIME_MAX_US, "9999-12-31T23:59:59.999999Z"}};
    for (size_t i = 0; i < COUNT(table); i++) {
        char text[BF_TIME_TEXT_LEN + 1];
        int64_t t = 1;
        struct bf_err err;
        bf_time_format(text, table[i].t);
        assert_string_equal(text, table[i].text);
        assert_int_equal(bf_time_parse(text, &t, &err), BF_OK);
        assert_true(t == table[i].t);
    }
}

static void test_time__agrees_with_the_c_library_day_by_day(void **state) {
    (void)state;
    for (int64_t day = -135000; day < 135000; day += 1) { /* 1600 to 2339 */
        time_t s = (time_t)(day * 86400 + 86399);
        struct tm tm;
        char want[64], text[BF_TIME_TEXT_LEN + 1];
        assert_non_null(gmtime_r(&s, &tm));
        snprintf(want, sizeof want, "%04d-%02d-%02dT23:59:59.000007Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
        bf_time_format(text, (int64_t)s * 1000000 + 7);
        assert_string_equal(text, want);
    }
}

static void test_time__reads_what_rfc_3339_allows(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t t;
    } table[] = {{"2024-06-01T12:00:00+02:00", INT64_C(1717236000000000)}, {"2024-06-01t04:30:00.5-05:30", INT64_C(1717236000500000)},
                 {"2024-06-01T10:00:00.123456789z", INT64_C(1717236000123456)}, {"2024-06-01", INT64_C(1717200000000000)},
                 {"1717236000000000", INT64_C(1717236000000000)}, {"-5", -5}, {"0", 0}};
    for (size_t i = 0; i < COUNT(table); i++) {
        int64_t t = 1;
        struct bf_err err;
        assert_int_equal(bf_time_parse(table[i].text, &t, &err), BF_OK);
        assert_true(t == table[i].t);
    }
}

static void test_time__refuses_everything_else(void **state) {
    (void)state;
    static const char *const bad[] = {"", "-", "now", "2024-6-1", "2024-13-01", "2023-02-29", "1900-02-29", "0000-01-01",
                                      "2024-06-01T", "2024-06-01T10:00", "2024-06-01T10:00:00", "2024-06-01T24:00:00Z",
                                      "2024-06-01T10:60:00Z", "2024-06-01T10:00:60Z", "2024-06-01T10:00:00.Z",
                                      "2024-06-01T10:00:00.1234567890Z", "2024-06-01T10:00:00+24:00", "2024-06-01T10:00:00Zx",
                                      "2024-06-01 10:00:00Z", "99999999999999999999", "999999999999999999", "0001-01-01T00:00:00+00:01",
                                      "9999-12-31T23:59:59-00:01", "12x"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t t = 42;
        struct bf_err err;
        enum bf_code code = bf_time_parse(bad[i], &t, &err);
        if (code != BF_INVALID) {
            fail_msg("accepted \"%s\"", bad[i]);
        }
        assert_true(t == 42);
        assert_true(err.msg[0] != '\0');
    }
}

static void test_duration__reads_units_and_refuses_the_rest(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0}, {"250", 250}, {"250ms", 250}, {"30s", 30000}, {"15m", 900000}, {"12h", 43200000}, {"7d", 604800000}};
    static const char *const bad[] = {"", "s", "-1s", "1.5s", "1w", "1 s", "9999999999999999999", "999999999999999999d"};
    struct bf_err err;
    int64_t ms = -1;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(bf_duration_parse(good[i].text, &ms, &err), BF_OK);
        assert_true(ms == good[i].ms);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(bf_duration_parse(bad[i], &ms, &err), BF_INVALID);
    }
}

static void *stop_soon(void *ctx) {
    (void)ctx;
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    raise(SIGTERM);
    return NULL;
}

static void test_stop__a_signal_wakes_the_sleeper(void **state) {
    (void)state;
    struct bf_err err;
    assert_int_equal(bf_stop_install(&err), BF_OK);
    int64_t before = bf_time_monotonic_us();
    assert_true(bf_sleep_ms(20));
    assert_true(bf_time_monotonic_us() - before >= 20000);
    raise(SIGHUP);
    assert_true(bf_reload_requested());
    assert_false(bf_reload_requested());
    assert_false(bf_stop_requested());
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    before = bf_time_monotonic_us();
    assert_false(bf_sleep_ms(30000));
    assert_true(bf_time_monotonic_us() - before < 20000000);
    pthread_join(thread, NULL);
    assert_true(bf_stop_requested());
    struct pollfd pfd = {.fd = bf_stop_fd(), .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, 0), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time__formats_and_parses_the_same_moments),
        cmocka_unit_test(test_time__agrees_with_the_c_library_day_by_day),
        cmocka_unit_test(test_time__reads_what_rfc_3339_allows),
        cmocka_unit_test(test_time__refuses_everything_else),
        cmocka_unit_test(test_duration__reads_units_and_refuses_the_rest),
        cmocka_unit_test(test_stop__a_signal_wakes_the_sleeper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
