/* How far: the window of acknowledged batches, the checkpoint's file, the rate, the pace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "bf_json.h"
#include "checkpoint.h"
#include "feed.h"
#include "meter.h"
#include "perception_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_pace__is_even_and_does_not_drift(void **state) {
    (void)state;
    assert_int_equal(feed_due_us(0, 7), 0);
    for (int64_t n = 1; n < 100000; n++) {
        int64_t step = feed_due_us(n, 3000) - feed_due_us(n - 1, 3000);
        assert_true(step == 333 || step == 334);
    }
    assert_int_equal(feed_due_us(3000, 3000), 1000000);
    assert_int_equal(feed_due_us(INT64_C(86400) * 100000, 100000), INT64_C(86400000000)); /* a day later still on the beat */
    assert_int_equal(feed_due_us(1, 0.1), 10000000);
}

static void test_rate__is_of_the_window(void **state) {
    const struct meter_sample samples[] = {{1000000, 100}, {2000000, 600}, {3000000, 600}};
    (void)state;
    assert_true(meter_rate_of(samples, 3, 5000000, 2100) == 500.0);
    assert_true(meter_rate_of(samples, 3, 3000000, 600) == 250.0);
    assert_true(meter_rate_of(samples, 1, 1000000, 100) == 0.0);
    assert_true(meter_rate_of(samples, 0, 1000000, 100) == 0.0);
}

static enum bf_code open_at(const char *path, const char *file, const char *topic, bool newest_first, struct checkpoint *c, char *message) {
    struct bf_err err = {0};
    enum bf_code code = checkpoint_open(path, file, topic, newest_first, c, &err);
    strcpy(message, code == BF_OK ? "" : err.msg);
    return code;
}

static void test_checkpoint__is_read_as_it_was_written(void **state) {
    char file[64], path[80], message[512];
    struct checkpoint a, b;
    struct bf_err err = {0};
    (void)state;
    file_with(file, "some lines\n", 11);
    snprintf(path, sizeof path, "%s.done", file);
    assert_int_equal(open_at(path, file, "a.b", false, &a, message), BF_OK);
    assert_int_equal(a.done, 0);
    assert_int_equal(access(path, F_OK), 0); /* before anything is sent */
    a.done = 42;
    assert_int_equal(checkpoint_save(&a, &err), BF_OK);
    assert_int_equal(open_at(path, file, "a.b", false, &b, message), BF_OK);
    assert_int_equal(b.done, 42);
    assert_int_equal(b.begun_ms, a.begun_ms);
    struct bf_uuid x = checkpoint_event_id(&a, 7, 0), y = checkpoint_event_id(&b, 7, 0), z = checkpoint_event_id(&a, 7, 1);
    assert_memory_equal(&x, &y, sizeof x);
    assert_memory_not_equal(&x, &z, sizeof x);
    assert_int_equal(open_at(path, file, "a.c", false, &b, message), BF_INVALID);
    assert_string_equal(message, "checkpoint: it is of topic a.b");
    assert_int_equal(open_at(path, file, "a.b", true, &b, message), BF_INVALID);
    assert_string_equal(message, "checkpoint: it was made with the records in the other order");
    (void)unlink(path);
}

static void test_checkpoint__refuses_what_it_does_not_belong_to(void **state) {
    static const char *const bad[] = {"{}", "[]", "{\"version\":2}", "nonsense",
                                      "{\"version\":1,\"id\":\"x\",\"begun_ms\":1,\"topic\":\"a.b\",\"newest_first\":false,\"head_bytes\":1,\"head\":\"x\",\"size\":1,\"done\":1}"};
    char file[64], other[64], path[80], message[512];
    struct checkpoint c;
    (void)state;
    file_with(file, "some lines\n", 11);
    file_with(other, "other lines\n", 12);
    snprintf(path, sizeof path, "%s.done", file);
    assert_int_equal(open_at(path, file, "a.b", false, &c, message), BF_OK);
    assert_int_equal(open_at(path, other, "a.b", false, &c, message), BF_INVALID);
    assert_non_null(strstr(message, "it is of another file"));
    assert_int_equal(open_at(path, "/nowhere/at/all", "a.b", false, &c, message), BF_INVALID);
    assert_int_equal(open_at(path, "/tmp", "a.b", false, &c, message), BF_INVALID);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        file_with(other, bad[i], strlen(bad[i]));
        assert_int_equal(open_at(other, file, "a.b", false, &c, message), BF_INVALID);
    }
    (void)unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pace__is_even_and_does_not_drift),
        cmocka_unit_test(test_rate__is_of_the_window),
        cmocka_unit_test(test_checkpoint__is_read_as_it_was_written),
        cmocka_unit_test(test_checkpoint__refuses_what_it_does_not_belong_to),
    };
    return cmocka_run_group_tests_name("perception_progress", tests, NULL, NULL);
}
