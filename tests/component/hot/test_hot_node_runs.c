/* The node index in runs: what large commits write apart is found like the rest, before, while and after it is merged, and however a merge ends. */
#include "hot_fixture.h"
#include "hot_internal.h"

#include "bf_failpoint.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOPIC "rim.fast-path"
#define NODES 9
#define BATCH 40 /* more than fixture_node_run_min */

static int64_t event_time_of(int64_t offset) {
    return 1000 + (offset * 37) % 500; /* in no order */
}

static const char *node_of(int64_t offset) {
    static char names[NODES][32];
    char *name = names[offset % NODES];
    snprintf(name, sizeof names[0], "rim:a:x:%d", (int)(offset % NODES));
    return name;
}

static enum bf_code commit(struct hot_batch *b, int64_t from, size_t count, struct bf_err *commit_err) {
    struct hot_commit_result result;
    struct bf_err err;
    for (size_t i = 0; i < count; i++) {
        int64_t offset = from + (int64_t)i;
        struct event ev = plain_event(TOPIC, 0, offset, (uint64_t)offset + 1, node_of(offset), event_time_of(offset), "v");
        assert_ok(hot_batch_event(b, &ev, &err));
    }
    return hot_batch_commit(b, &result, NULL, NULL, commit_err);
}

static void fill(struct hot *h, int64_t *at, int commits, size_t count) {
    struct bf_err err;
    struct hot_batch *b = NULL;
    assert_ok(hot_batch_new(h, &b, &err));
    for (int i = 0; i < commits; i++, *at += (int64_t)count)
        assert_ok(commit(b, *at, count, &err));
    hot_batch_free(b);
}

static uint32_t runs(struct hot *h) { return h->node_runs.count; }

/* Every node's history and states are those of the offsets [from, to). */
static void expect_events(struct hot *h, int64_t from, int64_t to) {
    struct bf_err err;
    struct event_page page;
    struct event_query q;
    bool exhausted;
    int64_t hot_from_us;
    assert_ok(hot_check(h, &err));
    event_page_init(&page);
    for (int node = 0; node < NODES; node++) {
        size_t wanted = 0;
        int64_t latest = INT64_MIN, as_of_us = 1200;
        for (int64_t offset = from; offset < to; offset++) {
            if (offset % NODES != node)
                continue;
            wanted++;
            latest = event_time_of(offset) <= as_of_us && event_time_of(offset) > latest ? event_time_of(offset) : latest;
        }
        for (int descending = 0; descending < 2; descending++) {
            event_query_init(&q);
            q.node = text(node_of(node));
            q.descending = descending;
            event_page_clear(&page);
            assert_ok(hot_fetch(h, &q, NULL, 100000, &page, &exhausted, &hot_from_us, &err));
            assert_int_equal(page.count, wanted);
            for (size_t i = 1; i < page.count; i++)
                assert_true(descending ? page.events[i].event_time_us <= page.events[i - 1].event_time_us
                                       : page.events[i].event_time_us >= page.events[i - 1].event_time_us);
        }
        event_query_init(&q);
        event_page_clear(&page);
        assert_ok(hot_state(h, text(node_of(node)), &q, as_of_us, &page, &hot_from_us, &err));
        assert_int_equal(page.count, latest != INT64_MIN);
        if (page.count > 0)
            assert_int_equal(page.events[0].event_time_us, latest);
    }
    event_page_fini(&page);
}

static void test_runs__are_read_with_the_rest_and_merged_when_there_are_many(void **state) {
    (void)state;
    char *dir = fixture_dir();
    struct hot *h = fixture_open(dir, FIXTURE_MAP_BYTES);
    int64_t at = 0;
    fill(h, &at, 1, 5); /* small: written directly */
    assert_int_equal(runs(h), 0);
    for (uint32_t i = 1; i <= NODE_RUNS_MAX; i++) {
        fill(h, &at, 1, BATCH);
        assert_int_equal(runs(h), i);
        expect_events(h, 0, at);
    }
    fill(h, &at, 1, BATCH); /* one too many */
    assert_int_equal(runs(h), 1);
    expect_events(h, 0, at);
    fill(h, &at, 1, 5); /* the end of a backlog */
    assert_int_equal(runs(h), 0);
    expect_events(h, 0, at);
    hot_close(h);
    fixture_dir_remove(dir);
}

static void test_runs__survive_a_reopen_and_are_settled_when_nothing_comes(void **state) {
    (void)state;
    struct bf_err err;
    char *dir = fixture_dir();
    struct hot *h = fixture_open(dir, FIXTURE_MAP_BYTES);
    int64_t at = 0;
    fill(h, &at, 3, BATCH);
    hot_close(h);
    h = fixture_open(dir, FIXTURE_MAP_BYTES);
    assert_int_equal(runs(h), 3);
    expect_events(h, 0, at);
    assert_ok(hot_settle(h, &err));
    assert_int_equal(runs(h), 0);
    expect_events(h, 0, at);
    fill(h, &at, 2, BATCH); /* of the next generation: what rows say of the last one does not count */
    assert_int_equal(runs(h), 2);
    expect_events(h, 0, at);
    assert_ok(hot_settle(h, &err));
    assert_ok(hot_settle(h, &err));
    expect_events(h, 0, at);
    hot_close(h);
    fixture_dir_remove(dir);
}

static void test_runs__are_whole_after_a_kill_in_every_step_of_a_merge(void **state) {
    (void)state;
    struct bf_err err;
    char *dir = fixture_dir();
    struct hot *h = fixture_open(dir, FIXTURE_MAP_BYTES);
    int64_t at = 0;
    hot_close(h);
    for (int step = 1; step <= NODES / 2; step++) { /* two nodes a transaction */
        int status;
        h = fixture_open(dir, FIXTURE_MAP_BYTES);
        fill(h, &at, 3, BATCH);
        hot_close(h);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            char failpoints[64];
            snprintf(failpoints, sizeof failpoints, "hot.in-merge=kill@%d", step);
            setenv("BF_FAILPOINTS", failpoints, 1);
            h = fixture_open(dir, FIXTURE_MAP_BYTES);
            _exit(bf_failpoints_init() && hot_settle(h, &err) == BF_OK);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        h = fixture_open(dir, FIXTURE_MAP_BYTES);
        assert_int_equal(runs(h), 3);
        assert_true(h->node_runs.merged_to != 0);
        expect_events(h, 0, at);
        fill(h, &at, 1, BATCH); /* no run before the merge is at its end */
        assert_int_equal(runs(h), 1);
        expect_events(h, 0, at);
        assert_ok(hot_settle(h, &err));
        hot_close(h);
    }
    fixture_dir_remove(dir);
}

static void test_runs__lose_what_is_evicted_or_forgotten(void **state) {
    (void)state;
    struct bf_err err;
    size_t evicted;
    char *dir = fixture_dir();
    struct hot *h = fixture_open(dir, FIXTURE_MAP_BYTES);
    int64_t at = 0;
    fill(h, &at, 4, BATCH);
    assert_ok(hot_evict(h, INT64_MAX, 70, &evicted, &err));
    assert_int_equal(evicted, 70);
    assert_int_equal(runs(h), 4);
    expect_events(h, 70, at);
    int64_t archived_us = atomic_load(&h->recorded_through_us), before = at;
    fill(h, &at, 2, BATCH);
    assert_ok(hot_forget_partition(h, text(TOPIC), 0, archived_us, &err));
    expect_events(h, 70, before);
    assert_ok(hot_settle(h, &err));
    expect_events(h, 70, before);
    at = before;
    fill(h, &at, 2, BATCH);
    expect_events(h, 70, at);
    hot_close(h);
    fixture_dir_remove(dir);
}

/* A map that is too full to merge in: nothing is written, nothing is lost, and it goes on once there is room. */
static void test_runs__wait_for_room(void **state) {
    (void)state;
    struct bf_err err;
    struct hot_batch *b = NULL;
    struct hot_watermarks w;
    char *dir = fixture_dir();
    struct hot *h = fixture_open(dir, (int64_t)2 << 20);
    int64_t at = 0, from = 0;
    int full = 0;
    assert_ok(hot_batch_new(h, &b, &err));
    while (full < 5) {
        bool kept = hot_batch_count(b) > 0;
        struct hot_commit_result result;
        enum bf_code code = kept ? hot_batch_commit(b, &result, NULL, NULL, &err) : commit(b, at, BATCH, &err);
        if (code == BF_OK) {
            at += BATCH;
            continue;
        }
        assert_code(BF_NOMEM, code);
        full++;
        expect_events(h, from, at);
        size_t evicted = 0;
        hot_watermarks(h, &w);
        assert_ok(hot_evict(h, INT64_MAX, (size_t)w.log_records / 2, &evicted, &err));
        assert_true(evicted > 0);
        from += (int64_t)evicted;
        expect_events(h, from, at);
    }
    hot_batch_free(b);
    hot_close(h);
    fixture_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs__are_read_with_the_rest_and_merged_when_there_are_many),
        cmocka_unit_test(test_runs__survive_a_reopen_and_are_settled_when_nothing_comes),
        cmocka_unit_test(test_runs__are_whole_after_a_kill_in_every_step_of_a_merge),
        cmocka_unit_test(test_runs__lose_what_is_evicted_or_forgotten),
        cmocka_unit_test(test_runs__wait_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
