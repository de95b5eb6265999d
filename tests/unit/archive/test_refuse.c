/* A refused event leaves its chunk and stands in it as poison; the ledger keeps covering every offset exactly once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "archiver_refuse.h"

#include <string.h>

#define EVENTS 6

static struct event events[EVENTS];
static struct interval intervals[2];

static struct hot_chunk chunk(void) {
    for (int i = 0; i < EVENTS; i++)
        events[i] = (struct event){.topic = bf_slice_str("a.b"), .partition = 1, .offset = 10 + i, .recorded_at_us = 100 + i, .schema_id = 7,
                                   .value = bf_slice_str("v")};
    intervals[0] = (struct interval){bf_slice_str("a.b"), 0, 10, 20, DISPOSITION_STORED};
    intervals[1] = (struct interval){bf_slice_str("a.b"), 1, 10, 10 + EVENTS, DISPOSITION_STORED};
    return (struct hot_chunk){.events = events, .event_count = EVENTS, .intervals = intervals, .interval_count = 2, .through_us = 105};
}

static void check_cover(const struct hot_chunk *c, int64_t quarantined) {
    for (int64_t offset = 10; offset < 10 + EVENTS; offset++) {
        int n = 0;
        for (size_t i = 0; i < c->interval_count; i++) {
            const struct interval *iv = &c->intervals[i];
            assert_true(iv->from < iv->to);
            if (iv->partition != 1 || offset < iv->from || offset >= iv->to)
                continue;
            n++;
            if (offset == quarantined)
                assert_int_equal(iv->disposition, DISPOSITION_QUARANTINED);
        }
        assert_int_equal(n, 1);
    }
}

static void test_refuse__one_event_becomes_poison(void **state) {
    (void)state;
    for (size_t at = 0; at < EVENTS; at++) {
        struct hot_chunk original = chunk();
        struct refusal r;
        struct bf_err err;
        refusal_init(&r, &original);
        assert_int_equal(refusal_add(&r, at, "because", &err), BF_OK);
        assert_int_equal(r.chunk.event_count, EVENTS - 1);
        assert_int_equal(r.chunk.poison_count, 1);
        assert_int_equal(r.chunk.poisons[0].offset, 10 + (int64_t)at);
        assert_int_equal(r.chunk.poisons[0].reason, POISON_REFUSED);
        assert_true(bf_slice_eq(r.chunk.poisons[0].detail, bf_slice_str("because")));
        for (size_t i = 0; i < r.chunk.event_count; i++)
            assert_int_not_equal(r.chunk.events[i].offset, 10 + (int64_t)at);
        check_cover(&r.chunk, 10 + (int64_t)at);
        assert_int_equal(r.chunk.through_us, original.through_us);
        assert_int_equal(original.event_count, EVENTS);
        refusal_fini(&r);
    }
}

static void test_refuse__all_events_one_after_another(void **state) {
    (void)state;
    struct hot_chunk original = chunk();
    struct refusal r;
    struct bf_err err;
    refusal_init(&r, &original);
    for (size_t n = EVENTS; n > 0; n--) {
        assert_int_equal(refusal_add(&r, (n * 7) % n, "because", &err), BF_OK);
        check_cover(&r.chunk, -1);
    }
    assert_int_equal(r.chunk.event_count, 0);
    assert_int_equal(r.chunk.poison_count, EVENTS);
    refusal_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuse__one_event_becomes_poison),
        cmocka_unit_test(test_refuse__all_events_one_after_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
