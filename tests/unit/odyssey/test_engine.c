/* What the engine does with signals that are late, twice, at the same moment, of unwatched or too many nodes; silence seen by time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_fixture.h"

#include <stdio.h>
#include <string.h>

#define REGIME "{\"name\":\"regime\",\"kind\":\"regime\"}"
#define LOW "{\"name\":\"low\",\"kind\":\"threshold\",\"field\":\"price\",\"below\":1,\"fire\":\"each\"}"

static enum engine_outcome give(struct fixture *f, int64_t at_ms, double price, double stress, int id) {
    struct signal s = fixture_signal(f, NODE, at_ms, price, stress, id);
    bf_buf_clear(&f->said);
    return fixture_give(f, &s);
}

static void test_engine__an_older_signal_never_fires_and_moves_nothing_back(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, REGIME "," LOW, "");
    assert_int_equal(give(&f, 1000, 5, 0.9, 1), ENGINE_TAKEN);
    assert_int_equal(give(&f, 999, 0.5, 0.1, 2), ENGINE_LATE);
    assert_int_equal(f.said.len, 0);
    assert_int_equal(give(&f, 1001, 5, 0.9, 3), ENGINE_TAKEN);
    assert_int_equal(f.said.len, 0); /* still CRITICAL */
    fixture_fini(&f);
}

static void test_engine__the_same_signal_never_fires_twice(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, LOW, "");
    for (int id = 1; id <= ENGINE_SEEN_MAX; id++) assert_int_equal(give(&f, 1000, 0.5, NAN, id), ENGINE_TAKEN); /* at one moment */
    for (int id = 1; id <= ENGINE_SEEN_MAX; id++) {
        assert_int_equal(give(&f, 1000, 0.5, NAN, id), ENGINE_DUPLICATE);
        assert_int_equal(f.said.len, 0);
    }
    assert_int_equal(give(&f, 2000, 0.5, NAN, 9), ENGINE_TAKEN);
    assert_int_equal(give(&f, 1000, 0.5, NAN, 1), ENGINE_LATE);
    assert_int_equal(give(&f, 2000, 0.5, NAN, 9), ENGINE_DUPLICATE);
    fixture_fini(&f);
}

static void test_engine__many_at_one_moment_stay_bounded(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, LOW, "");
    for (int id = 1; id <= 1000; id++) assert_int_equal(give(&f, 1000, 0.5, NAN, id), ENGINE_TAKEN);
    assert_int_equal(give(&f, 1000, 0.5, NAN, 1000), ENGINE_DUPLICATE);
    assert_int_equal(give(&f, 1000, 0.5, NAN, 997), ENGINE_DUPLICATE);
    assert_int_equal(engine_nodes(f.engine), 1);
    fixture_fini(&f);
}

static void test_engine__nodes_without_rules_and_too_many_nodes_are_told_apart(void **state) {
    (void)state;
    struct fixture f;
    enum engine_outcome outcome;
    fixture_init(&f, "{\"name\":\"regime\",\"kind\":\"regime\",\"nodes\":{\"type\":\"metric\"}}", "");
    struct engine *small = NULL;
    assert_int_equal(engine_new(f.rules, 2, &small, &f.err), BF_OK);
    const char *nodes[] = {"rim:metric:a:1", "rim:entity:a:1", "rim:metric:a:2", "rim:metric:a:1"};
    const enum engine_outcome wants[] = {ENGINE_TAKEN, ENGINE_UNWATCHED, ENGINE_FULL, ENGINE_TAKEN};
    for (int i = 0; i < 4; i++) {
        struct signal s = fixture_signal(&f, nodes[i], i, NAN, 0.9, i);
        assert_int_equal(engine_signal(small, &s, 0, &f.output, &outcome, &f.err), BF_OK);
        assert_int_equal(outcome, wants[i]);
    }
    engine_free(small);
    fixture_fini(&f);
}

static void test_engine__a_hundred_thousand_nodes_are_kept_apart(void **state) {
    (void)state;
    struct fixture f;
    char node[64];
    fixture_init(&f, "{\"name\":\"move\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":50}", "");
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 100000; i++) {
            snprintf(node, sizeof node, "rim:metric:finance:N%d", i);
            struct signal s = fixture_signal(&f, node, round, 1 + i, NAN, round * 100000 + i);
            assert_int_equal(fixture_give(&f, &s), ENGINE_TAKEN);
        }
    assert_int_equal(engine_nodes(f.engine), 100000);
    assert_int_equal(f.said.len, 0);
    fixture_fini(&f);
}

static void test_silence__by_time_and_by_the_next_signal_is_one_reflex(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, "{\"name\":\"gone\",\"kind\":\"silence\",\"after\":\"5s\"}", "");
    (void)give(&f, 0, 1, NAN, 1);
    fixture_time_passes(&f, 4999);
    assert_int_equal(f.said.len, 0);
    fixture_time_passes(&f, 5000);
    assert_int_equal(f.said.len, strlen("gone: nothing was heard of it for 5 s\n"));
    bf_buf_clear(&f.said);
    fixture_time_passes(&f, 60000); /* said once */
    assert_int_equal(f.said.len, 0);
    (void)give(&f, 70000, 1, NAN, 2); /* and not again when it speaks */
    assert_int_equal(f.said.len, 0);
    fixture_time_passes(&f, 75000);
    assert_int_not_equal(f.said.len, 0); /* another silence */
    fixture_fini(&f);
}

static void test_silence__is_not_told_of_before_everything_was_read(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, "{\"name\":\"gone\",\"kind\":\"silence\",\"after\":\"5s\"}", "");
    (void)give(&f, 0, 1, NAN, 1);
    fixture_time_passes(&f, INT64_MIN);
    assert_int_equal(f.said.len, 0);
    fixture_fini(&f);
}

static void test_lateness__signals_wait_and_go_in_order_of_event_time(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, "{\"name\":\"move\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":50}", "\"allowed_lateness\":\"1s\",");
    (void)give(&f, 3000, 100, NAN, 1);
    (void)give(&f, 2000, 10, NAN, 2); /* late, and within what is allowed */
    assert_int_equal(f.said.len, 0);
    assert_int_equal(give(&f, 4001, 100, NAN, 3), ENGINE_TAKEN);
    assert_string_equal((bf_buf_putc(&f.said, '\0'), f.said.data), "move: price moved by 900 % from 10 to 100, the limit is 50 %\n");
    assert_int_equal(give(&f, 2999, 1, NAN, 4), ENGINE_LATE); /* what came after it is done */
    fixture_fini(&f);
}

static void test_lateness__a_node_that_stops_is_not_kept_waiting(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, LOW, "\"allowed_lateness\":\"1s\",");
    (void)give(&f, 1000, 0.5, NAN, 1);
    assert_int_equal(f.said.len, 0);
    fixture_time_passes(&f, INT64_MIN);
    assert_int_not_equal(f.said.len, 0);
    fixture_fini(&f);
}

static void test_lateness__what_waits_is_bounded(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, LOW, "\"allowed_lateness\":\"1h\",");
    for (int i = 0; i < 10 * ENGINE_WAITING_MAX; i++) {
        struct signal s = fixture_signal(&f, NODE, i, 0.5, NAN, i + 1);
        (void)fixture_give(&f, &s);
    }
    size_t lines = 0;
    for (size_t i = 0; i < f.said.len; i++) lines += f.said.data[i] == '\n';
    assert_int_equal(lines, 9 * ENGINE_WAITING_MAX);
    fixture_fini(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine__an_older_signal_never_fires_and_moves_nothing_back),
        cmocka_unit_test(test_engine__the_same_signal_never_fires_twice),
        cmocka_unit_test(test_engine__many_at_one_moment_stay_bounded),
        cmocka_unit_test(test_engine__nodes_without_rules_and_too_many_nodes_are_told_apart),
        cmocka_unit_test(test_engine__a_hundred_thousand_nodes_are_kept_apart),
        cmocka_unit_test(test_silence__by_time_and_by_the_next_signal_is_one_reflex),
        cmocka_unit_test(test_silence__is_not_told_of_before_everything_was_read),
        cmocka_unit_test(test_lateness__signals_wait_and_go_in_order_of_event_time),
        cmocka_unit_test(test_lateness__a_node_that_stops_is_not_kept_waiting),
        cmocka_unit_test(test_lateness__what_waits_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
