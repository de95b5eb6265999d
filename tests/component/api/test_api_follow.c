/* Replay that follows: history, then live, without a gap or a repeat at the seam; and replay at a pace. */
#include "api_fixture.h"
#include "bf_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define EVENTS 1500
#define LIVE 600

static struct fx fx;
#define F (&fx)

static int setup(void **state) {
    (void)state;
    fx_open(F, NULL);
    fx_fill(F, EVENTS, 21);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_close(F);
    return 0;
}

/* One follower on a thread of its own: its lines, taken apart as they come. */
struct follower {
    char url[1500];
    pthread_t thread;
    struct bf_buf partial;
    char *lines[EVENTS + 8 * LIVE];
    atomic_size_t count; /* events */
    atomic_int heartbeats;
    size_t leave_after;  /* events; 0: stay */
    json_t *end;
    enum bf_code code;
    int status;
};

static void take_line(struct follower *f, const char *line, size_t len) {
    if (strncmp(line, "{\"end\"", 6) == 0) {
        struct bf_err err;
        assert_int_equal(bf_json_parse(line, len, &f->end, &err), BF_OK);
    } else if (strncmp(line, "{\"heartbeat\"", 12) == 0) {
        atomic_fetch_add(&f->heartbeats, 1);
    } else {
        f->lines[f->count] = strndup(line, len);
        atomic_fetch_add(&f->count, 1);
    }
}

static bool take(void *ctx, const char *data, size_t len) {
    struct follower *f = ctx;
    bf_buf_append(&f->partial, data, len);
    char *at = f->partial.data, *limit = at + f->partial.len, *newline;
    while ((newline = memchr(at, '\n', (size_t)(limit - at))) != NULL) {
        if (f->leave_after && f->count >= f->leave_after) {
            return false;
        }
        take_line(f, at, (size_t)(newline - at));
        at = newline + 1;
    }
    size_t rest = (size_t)(limit - at);
    memmove(f->partial.data, at, rest);
    f->partial.len = rest;
    return true;
}

static void *run(void *ctx) {
    struct follower *f = ctx;
    struct bf_http_client *c = NULL;
    struct bf_buf answer;
    struct bf_err err;
    bf_buf_init(&answer, 1 << 20);
    assert_int_equal(bf_http_client_new(20000, &c, &err), BF_OK);
    f->code = bf_http_get_stream(c, f->url, &f->status, &answer, take, f, &err);
    bf_http_client_free(c);
    bf_buf_fini(&answer);
    return NULL;
}

static void start(struct follower *f, size_t leave_after, const char *query) {
    memset(f, 0, sizeof(*f));
    f->leave_after = leave_after;
    bf_buf_init(&f->partial, 1 << 20);
    snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%d/v1/replay%s", api_port(fx.api), query);
    assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
}

static void wait_for(struct follower *f, size_t count) {
    for (int i = 0; i < 4000 && atomic_load(&f->count) < count; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    assert_int_equal(atomic_load(&f->count), count);
}

static void drop(struct follower *f) {
    for (size_t i = 0; i < f->count; i++) {
        free(f->lines[i]);
    }
    bf_buf_fini(&f->partial);
    json_decref(f->end);
}

static json_t *parse(const char *line) {
    json_t *v = NULL;
    assert_int_equal(bf_json_parse(line, strlen(line), &v, &fx.err), BF_OK);
    return v;
}

/* Late, early and in between: event times all over the history's. */
static void put_live(size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++) {
        fx_put(F, rand_r(&seed) % 3 == 0 ? REFLEX : FAST, (int32_t)(rand_r(&seed) % 4), fx_node((size_t)rand_r(&seed) % 17), NULL,
               INT64_C(1700000000000000) + rand_r(&seed) % 3000 * 1000, 1, NULL, NULL);
        if (i + 1 == n || rand_r(&seed) % 5 == 0) {
            fx_commit(F);
        }
    }
}

static size_t stored(int64_t after_us) {
    size_t n = 0;
    for (size_t i = 0; i < fx.committed; i++) {
        n += fx.told[i].disposition == DISPOSITION_STORED && fx.told[i].recorded_at_us > after_us;
    }
    return n;
}

/* Every event once: history (recorded by the seam) first in the order asked for, then the rest by recorded_at. */
static void check_order(const struct follower *f, int64_t seam_us, bool by_recorded) {
    int64_t last_recorded = 0, last_event = INT64_MIN;
    bool live = false;
    for (size_t i = 0; i < f->count; i++) {
        json_t *line = parse(f->lines[i]);
        int64_t recorded = fx_time(line, "recorded_at"), event = fx_time(line, "event_time");
        if (recorded > seam_us && !live) {
            live = true;
            last_recorded = seam_us;
        }
        if (live || by_recorded) {
            assert_true(recorded > last_recorded);
            last_recorded = recorded;
        } else {
            assert_true(event > last_event || (event == last_event && recorded > last_recorded));
            last_recorded = recorded;
            last_event = event;
        }
        json_decref(line);
    }
}

static void check_seam(const char *query, bool by_recorded, unsigned seed) {
    struct follower *f = malloc(sizeof(*f));
    int64_t seam = store_recorded_through(fx.capsule.store);
    size_t history = stored(0);
    start(f, 0, query);
    if (seed % 2 == 0) { /* else the writer races history */
        wait_for(f, history);
    }
    put_live(LIVE, seed);
    wait_for(f, stored(0));
    /* The seam may lie later than ours when the writer was faster; by event time that shows as one more event in history's order. */
    if (seed % 2 == 0 || by_recorded) {
        check_order(f, seam, by_recorded);
    }
    for (size_t i = 1; i < f->count; i++) {
        assert_string_not_equal(f->lines[i], f->lines[i - 1]);
    }
    f->leave_after = f->count;
    fx_put(F, FAST, 0, fx_node(0), NULL, INT64_C(1700000000000000), 1, NULL, NULL); /* so that it wakes and leaves */
    fx_commit(F);
    pthread_join(f->thread, NULL);
    assert_int_equal(f->code, BF_CANCELLED);
    drop(f);
    free(f);
}

static void test_follow__has_no_gap_and_no_repeat_at_the_seam(void **state) {
    (void)state;
    check_seam("?follow=1", false, 2);
    check_seam("?follow=1", false, 3);
    check_seam("?follow=1&by=recorded", true, 4);
    check_seam("?follow=1&by=recorded", true, 5);
}

/* Leave anywhere, before or beyond the seam, come back with the last line's cursor: the same lines in the same order. */
static void test_follow__goes_on_after_a_cut_on_either_side_of_the_seam(void **state) {
    (void)state;
    static const char *const queries[] = {"?follow=1&known_by=%lld", "?follow=1&by=recorded&known_by=%lld",
                                          "?follow=1&topic=rim.fast-path&partition=1&known_by=%lld"};
    int64_t seam = fx.told[fx.committed / 2].recorded_at_us; /* half of it is live already */
    for (size_t k = 0; k < 3; k++) {
        struct follower *whole = malloc(sizeof(*whole)), *part = malloc(sizeof(*part)), *rest = malloc(sizeof(*rest));
        char query[200], resumed[1200];
        snprintf(query, sizeof(query), queries[k], (long long)seam);
        start(whole, 0, query);
        for (size_t before = SIZE_MAX; before != whole->count || before == 0;) { /* all that there is */
            before = whole->count;
            nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
        }
        size_t all = whole->count;
        assert_true(all > 100);
        for (size_t cut = 7; cut < all - 20; cut += all / 5) {
            start(part, cut, query);
            pthread_join(part->thread, NULL);
            json_t *line = parse(part->lines[cut - 1]);
            snprintf(resumed, sizeof(resumed), "%s&cursor=%s", query, fx_str(line, "cursor"));
            json_decref(line);
            start(rest, all - cut - 10, resumed);
            pthread_join(rest->thread, NULL);
            assert_int_equal(rest->count, all - cut - 10);
            for (size_t i = 0; i < cut; i++) {
                assert_string_equal(part->lines[i], whole->lines[i]);
            }
            for (size_t i = 0; i < rest->count; i++) {
                assert_string_equal(rest->lines[i], whole->lines[cut + i]);
            }
            drop(part);
            drop(rest);
        }
        whole->leave_after = 1;
        fx_put(F, FAST, 1, fx_node(0), NULL, INT64_C(1700000000000000), 1, NULL, NULL);
        fx_commit(F);
        pthread_join(whole->thread, NULL);
        drop(whole);
        free(whole);
        free(part);
        free(rest);
    }
}

static void test_follow__ends_by_itself_where_the_range_ends(void **state) {
    (void)state;
    struct follower *f = malloc(sizeof(*f));
    char query[200];
    int64_t next = fx.next_offset[0][2];
    snprintf(query, sizeof(query), "?follow=1&topic=rim.fast-path&partition=2&from_offset=%lld&to_offset=%lld", (long long)next - 5,
             (long long)next + 5);
    start(f, 0, query);
    for (int i = 0; i < 8; i++) {
        fx_put(F, FAST, 2, fx_node(3), NULL, INT64_C(1700000000000000), i, NULL, NULL);
        fx_commit(F);
    }
    pthread_join(f->thread, NULL);
    assert_int_equal(f->code, BF_OK);
    assert_true(json_is_true(json_object_get(f->end, "complete")));
    json_t *last = parse(f->lines[f->count - 1]);
    assert_int_equal(json_integer_value(json_object_get(last, "offset")), next + 4);
    json_decref(last);
    drop(f);
    snprintf(query, sizeof(query), "?follow=1&by=recorded&from=%lld&to=%lld", (long long)fx_newest(F),
             (long long)bf_time_now_us() + 300000);
    start(f, 0, query);
    for (int i = 0; i < 500 && !f->end; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        fx_put(F, FAST, 2, fx_node(3), NULL, INT64_C(1700000000000000), i, NULL, NULL);
        fx_commit(F);
    }
    pthread_join(f->thread, NULL);
    assert_true(json_is_true(json_object_get(f->end, "complete")));
    assert_true(f->count > 5);
    drop(f);
    free(f);
}

static void test_follow__of_a_node_takes_only_that_node(void **state) {
    (void)state;
    struct follower *f = malloc(sizeof(*f));
    char query[200], longer[64];
    snprintf(query, sizeof(query), "?follow=1&node=%s", fx_node(1));
    snprintf(longer, sizeof(longer), "%s0", fx_node(1));
    start(f, 0, query);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    size_t history = f->count;
    for (int i = 0; i < 20; i++) {
        fx_put(F, FAST, 0, i % 2 ? fx_node(1) : i % 4 ? longer : fx_node(2), NULL, INT64_C(1700000000000000), i, NULL, NULL);
        fx_commit(F);
    }
    wait_for(f, history + 10);
    f->leave_after = 1;
    fx_put(F, FAST, 0, fx_node(1), NULL, INT64_C(1700000000000000), 5, NULL, NULL);
    fx_commit(F);
    pthread_join(f->thread, NULL);
    for (size_t i = 0; i < f->count; i++) {
        json_t *line = parse(f->lines[i]);
        assert_string_equal(fx_str(line, "rim_node_id"), fx_node(1));
        json_decref(line);
    }
    drop(f);
    free(f);
}

/* ---- pace ---- */

static void test_speed__stretches_the_events_own_gaps(void **state) {
    (void)state;
    char query[300];
    for (int i = 0; i < 5; i++) {
        fx_put(F, FAST, 5, "rim:metric:test:PACE", NULL, INT64_C(1600000000000000) + i * 1000000, i, NULL, NULL);
    }
    fx_put(F, FAST, 5, "rim:metric:test:PACE", NULL, INT64_C(1700000000000000), 1, NULL, NULL); /* three years later */
    fx_commit(F);
    for (int capped = 0; capped < 2; capped++) {
        struct follower *f = malloc(sizeof(*f));
        int64_t began = bf_time_monotonic_us();
        snprintf(query, sizeof(query), "?node=rim:metric:test:PACE&speed=%s&max_gap_ms=%d", capped ? "1" : "20", capped ? 30 : 200);
        start(f, 0, query);
        pthread_join(f->thread, NULL);
        assert_int_equal(f->count, 6);
        assert_true(json_is_true(json_object_get(f->end, "complete")));
        /* 4 gaps of 50 ms and one cut at 200; 5 cut at 30: never sooner */
        assert_true(bf_time_monotonic_us() - began >= (capped ? 150000 : 400000) - 2000);
        drop(f);
        free(f);
    }
}

/* ---- the end; last, because it stops the server ---- */

static void test_stop__ends_followers_with_a_trailer_that_says_incomplete(void **state) {
    (void)state;
    struct follower *f = malloc(sizeof(*f)), *paced = malloc(sizeof(*paced));
    start(f, 0, "?follow=1&by=recorded&heartbeat_ms=100");
    start(paced, 0, "?node=rim:metric:test:PACE&speed=0.1");
    wait_for(f, stored(0));
    wait_for(paced, 1);
    for (int i = 0; i < 1000 && atomic_load(&f->heartbeats) < 3; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    assert_true(f->heartbeats >= 3);
    api_stop(fx.api);
    pthread_join(f->thread, NULL);
    pthread_join(paced->thread, NULL);
    assert_int_equal(f->code, BF_OK);
    assert_int_equal(paced->code, BF_OK);
    assert_true(json_is_false(json_object_get(f->end, "complete")));
    assert_true(json_is_false(json_object_get(paced->end, "complete")));
    json_t *last = parse(f->lines[f->count - 1]);
    assert_string_equal(fx_str(f->end, "next"), fx_str(last, "cursor"));
    json_decref(last);
    assert_int_equal(api_start(&fx.capsule, &fx.api, &fx.err), BF_OK);
    drop(f);
    drop(paced);
    free(f);
    free(paced);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follow__has_no_gap_and_no_repeat_at_the_seam),
        cmocka_unit_test(test_follow__goes_on_after_a_cut_on_either_side_of_the_seam),
        cmocka_unit_test(test_follow__ends_by_itself_where_the_range_ends),
        cmocka_unit_test(test_follow__of_a_node_takes_only_that_node),
        cmocka_unit_test(test_speed__stretches_the_events_own_gaps),
        cmocka_unit_test(test_stop__ends_followers_with_a_trailer_that_says_incomplete),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
