/* Events that share a place: two instances can record at one microsecond. Whatever a page's limit, none is left out and none comes twice, and they are always in
 * the same order. */
#include "archive_fixture.h"

#include <string.h>

#define EVENTS 60
#define TOPIC "rim.fast-path"

static struct fixture f;
static struct event all[EVENTS];

/* Groups of one, two and three. */
static int64_t place_of(int i) {
    return i / 6 * 3 + (i % 6 == 0 ? 0 : i % 6 < 3 ? 1 : 2);
}

static int setup(void **state) {
    (void)state;
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    for (int i = 0; i < EVENTS; i++) {
        all[i] = fixture_event(&f, TOPIC, 0, i, (uint64_t)i + 1);
        all[i].node_id = bf_slice_str("rim:entity:a:b");
        all[i].recorded_at_us = INT64_C(1720000000000000) + place_of(i);
        all[i].event_time_us = INT64_C(1717236000000000) + place_of(i) / 2;
    }
    struct hot_chunk c = fixture_chunk(&f, all, EVENTS);
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fixture_fini(&f);
    return 0;
}

static void check(enum event_order order, bool descending, size_t limit) {
    struct event_query q;
    struct event_page page;
    struct event_pos after;
    bool seen[EVENTS] = {false}, exhausted = false;
    size_t got = 0;
    event_query_init(&q);
    event_page_init(&page);
    q.order = order;
    q.descending = descending;
    q.node = bf_slice_str("rim:entity:a:b");
    while (!exhausted) {
        event_page_clear(&page);
        assert_ok(archive_fetch(f.archive, &q, INT64_MAX, got ? &after : NULL, limit, &page, &exhausted, &err));
        assert_true(page.count > 0 && (page.count <= limit || (limit < 3 && page.count <= 3)));
        for (size_t i = 0; i < page.count; i++) {
            int64_t n = page.events[i].offset;
            assert_false(seen[n]);
            seen[n] = true;
            if (i > 0 && place_of((int)page.events[i - 1].offset) == place_of((int)n)) /* among themselves by offset */
                assert_true(descending ? page.events[i - 1].offset > n : page.events[i - 1].offset < n);
        }
        got += page.count;
        after = event_pos_of(&page.events[page.count - 1], order);
    }
    assert_int_equal(got, EVENTS);
    event_page_fini(&page);
}

static void test_no_limit_parts_them(void **state) {
    (void)state;
    for (size_t limit = 1; limit <= EVENTS + 1; limit++) {
        for (int descending = 0; descending < 2; descending++) {
            check(ORDER_EVENT_TIME, descending, limit);
            check(ORDER_RECORDED, descending, limit);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_limit_parts_them)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
