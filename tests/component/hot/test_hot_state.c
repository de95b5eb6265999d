/* State of a node and of the world: which event it is, by time, by what was known, by revisions, and when the last one goes. */
#include "bf_loop.h"
#include "rows_fixture.h"

#include <stdio.h>

static void test_state__a_late_older_event_never_overwrites_a_newer_state(void **state) {
    struct fixture *f = *state;
    add(f, 0, 0, 1, 200, "new");
    commit(f);
    int64_t before = f->result.recorded_through_us;
    add(f, 0, 1, 2, 100, "late");
    commit(f);
    state_at(f, 300, INT64_MAX);
    assert_int_equal(f->page.count, 1);
    assert_memory_equal(f->page.events[0].value.data, "new", 3);
    state_at(f, 150, INT64_MAX);
    assert_memory_equal(f->page.events[0].value.data, "late", 4);
    state_at(f, 150, before); /* as we knew it then: nothing */
    assert_int_equal(f->page.count, 0);
}

static void test_state__a_replaced_revision_counts_only_for_those_who_did_not_know(void **state) {
    struct fixture *f = *state;
    add(f, 0, 0, 1, 100, "first");
    add(f, 0, 1, 2, 200, "wrong");
    commit(f);
    int64_t before = f->result.recorded_through_us;
    add(f, 0, 2, 2, 50, "right"); /* the correction moves the event to another time */
    commit(f);
    state_at(f, 300, INT64_MAX);
    assert_memory_equal(f->page.events[0].value.data, "first", 5);
    state_at(f, 300, before);
    assert_memory_equal(f->page.events[0].value.data, "wrong", 5);
}

static void expect_state(struct fixture *f, int64_t as_of_us, int64_t known_by_us, const char *value) {
    state_at(f, as_of_us, known_by_us);
    assert_int_equal(f->page.count, value != NULL);
    if (value != NULL)
        assert_memory_equal(f->page.events[0].value.data, value, strlen(value));
}

static void test_state__a_topic_still_knows_of_its_revisions_after_a_reopen(void **state) {
    struct fixture *f = *state;
    add(f, 0, 0, 1, 100, "first");
    add(f, 0, 1, 2, 200, "wrong");
    commit(f);
    add(f, 0, 2, 2, 50, "right"); /* the last event of the node is replaced, and remains the last */
    commit(f);
    reopen(f);
    expect_state(f, 300, INT64_MAX, "first");
    expect_state(f, 60, INT64_MAX, "right");
}

static void test_state__falls_back_when_the_last_event_is_taken_away(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    add(f, 0, 0, 1, 100, "archived");
    commit(f);
    int64_t archived = f->result.recorded_through_us;
    add(f, 0, 1, 2, 200, "kept");
    add(f, 1, 0, 3, 300, "forgotten");
    commit(f);
    add(f, 0, 2, 4, 400, "refused");
    commit(f);
    expect_state(f, 500, INT64_MAX, "refused");
    int64_t last = f->page.events[0].recorded_at_us;
    expect_state(f, 500, last - 1, "forgotten");
    expect_state(f, 399, INT64_MAX, "forgotten");
    assert_ok(hot_refuse(f->h, last, "no", &err));
    expect_state(f, 500, INT64_MAX, "forgotten");
    assert_ok(hot_forget_partition(f->h, text(TOPIC), 1, archived, &err));
    expect_state(f, 500, INT64_MAX, "kept");
    add(f, 0, 3, 5, 400, "again"); /* at the same event time as what was refused */
    commit(f);
    expect_state(f, 500, INT64_MAX, "again");
}

#define WORLD_NODES 7

/* Node i has i events, then as many later ones for those that are even. */
static void fill_world(struct fixture *f, int64_t *middle_us) {
    struct bf_err err;
    int64_t offset = 0;
    for (int round = 0; round < 2; round++) {
        for (int node = 0; node < WORLD_NODES; node++) {
            char name[32];
            snprintf(name, sizeof name, "rim:a:x:%d", node);
            for (int i = 0; i < node + 1 && (round == 0 || node % 2 == 0); i++, offset++) {
                struct event ev = plain_event(TOPIC, 0, offset, (uint64_t)offset + 1, name, 1000 * round + 10 * i, "v");
                assert_ok(hot_batch_event(f->b, &ev, &err));
            }
        }
        commit(f);
        *middle_us = round == 0 ? f->result.recorded_through_us : *middle_us;
    }
}

/* The world, three nodes at a time, must be what each node's state is. */
static void expect_world(struct fixture *f, int64_t as_of_us, int64_t middle_us, int64_t evicted) {
    struct bf_err err;
    struct event_query q;
    struct bf_buf names, after;
    struct hot_world_node nodes[3];
    size_t count = 3, seen = 0;
    int64_t hot_from_us;
    event_query_init(&q);
    bf_buf_init(&names, 4096);
    bf_buf_init(&after, 4096);
    while (count == 3) {
        struct event_page page;
        event_page_init(&page);
        assert_ok(hot_world(f->h, &q, as_of_us, (struct bf_slice){after.data, after.len}, 3, &names, nodes, &count, &page, &hot_from_us, &err));
        const char *name = names.data;
        for (size_t i = 0, first = 0; i < count; i++, seen++, name += strlen(name) + 1) {
            event_page_clear(&f->page);
            assert_ok(hot_state(f->h, text(name), &q, as_of_us, &f->page, &f->hot_from_us, &err));
            assert_int_equal(nodes[i].end - first, f->page.count);
            for (size_t k = 0; k < f->page.count; k++)
                assert_int_equal(page.events[first + k].recorded_at_us, f->page.events[k].recorded_at_us);
            bool later = f->page.count == 0 || f->page.events[0].event_time_us < 1000;
            assert_int_equal(nodes[i].needs_archive, evicted == middle_us && later);
            first = nodes[i].end;
            bf_buf_clear(&after);
            bf_buf_puts(&after, name);
        }
        event_page_fini(&page);
    }
    assert_int_equal(seen, WORLD_NODES);
    bf_buf_fini(&names);
    bf_buf_fini(&after);
}

static void test_world__is_every_node_s_state_and_says_who_needs_the_archive(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    size_t evicted;
    int64_t middle_us = 0;
    fill_world(f, &middle_us);
    expect_world(f, 5000, middle_us, 0);
    expect_world(f, 15, middle_us, 0);
    assert_ok(hot_evict(f->h, middle_us, 1000, &evicted, &err));
    expect_world(f, 5000, middle_us, middle_us);
    expect_world(f, 1005, middle_us, middle_us);
    expect_world(f, 15, middle_us, middle_us);
    struct event late = plain_event(TOPIC, 1, 0, 1000, "rim:a:x:1", 5, "v"); /* hot, and earlier than what has gone */
    assert_ok(hot_batch_event(f->b, &late, &err));
    commit(f);
    expect_world(f, 5000, middle_us, middle_us);
}

#define MANY 6000

/* All but the first came after what is asked for: they are passed over one by one, which an event loop leaves to another thread. */
static void test_long_searches__are_no_work_for_an_event_loop(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct event_query q;
    bool exhausted = false;
    add(f, 0, 0, 1, 100, "first");
    commit(f);
    int64_t known_by_us = f->result.recorded_through_us;
    for (int i = 1; i < MANY; i++)
        add(f, 0, i, (uint64_t)i + 1, 100 + i, "later");
    commit(f);
    event_query_init(&q);
    q.known_by_us = known_by_us;
    q.node = text(NODE);
    q.descending = true;
    event_page_clear(&f->page);
    bf_loop_enter();
    assert_code(BF_AGAIN, hot_state(f->h, text(NODE), &q, INT64_MAX, &f->page, &f->hot_from_us, &err));
    assert_true(bf_loop_leave());
    bf_loop_enter();
    assert_code(BF_AGAIN, hot_fetch(f->h, &q, NULL, 1, &f->page, &exhausted, &f->hot_from_us, &err));
    assert_true(bf_loop_leave());
    q.order = ORDER_RECORDED;
    bf_loop_enter();
    assert_code(BF_AGAIN, hot_fetch(f->h, &q, NULL, 1, &f->page, &exhausted, &f->hot_from_us, &err));
    assert_true(bf_loop_leave());
    expect_state(f, INT64_MAX, known_by_us, "first");
    q.known_by_us = INT64_MAX;
    q.order = ORDER_EVENT_TIME;
    bf_loop_enter();
    assert_ok(hot_fetch(f->h, &q, NULL, 1, &f->page, &exhausted, &f->hot_from_us, &err));
    bf_loop_leave();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_state__a_late_older_event_never_overwrites_a_newer_state),
        TEST(test_state__a_replaced_revision_counts_only_for_those_who_did_not_know),
        TEST(test_state__a_topic_still_knows_of_its_revisions_after_a_reopen),
        TEST(test_state__falls_back_when_the_last_event_is_taken_away),
        TEST(test_long_searches__are_no_work_for_an_event_loop),
        TEST(test_world__is_every_node_s_state_and_says_who_needs_the_archive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
