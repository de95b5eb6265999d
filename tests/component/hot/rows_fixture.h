/* One hot store, one batch and one page: what the tests of single rules share. */
#ifndef ROWS_FIXTURE_H
#define ROWS_FIXTURE_H

#include "hot_fixture.h"
#include "hot_internal.h"

#include <stdlib.h>
#include <string.h>

#define TOPIC "rim.fast-path"
#define NODE "rim:entity:finance:EURUSD"

struct fixture {
    char *dir;
    struct hot *h;
    struct hot_batch *b;
    struct hot_commit_result result;
    struct event_page page;
    int64_t hot_from_us;
};

static inline int setup(void **state) {
    struct bf_err err;
    struct fixture *f = calloc(1, sizeof *f);
    f->dir = fixture_dir();
    f->h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    assert_ok(hot_batch_new(f->h, &f->b, &err));
    event_page_init(&f->page);
    *state = f;
    return 0;
}

static inline int teardown(void **state) {
    struct fixture *f = *state;
    event_page_fini(&f->page);
    hot_batch_free(f->b);
    hot_close(f->h);
    fixture_dir_remove(f->dir);
    free(f);
    return 0;
}

static inline void add(struct fixture *f, int32_t partition, int64_t offset, uint64_t id, int64_t event_time_us, const char *value) {
    struct bf_err err;
    struct event ev = plain_event(TOPIC, partition, offset, id, NODE, event_time_us, value);
    assert_ok(hot_batch_event(f->b, &ev, &err));
}

static inline void commit(struct fixture *f) {
    struct bf_err err;
    assert_ok(hot_batch_commit(f->b, &f->result, NULL, NULL, &err));
    assert_ok(hot_check(f->h, &err));
}

/* As after a restart of the process. */
static inline void reopen(struct fixture *f) {
    struct bf_err err;
    hot_batch_free(f->b);
    hot_close(f->h);
    f->h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    assert_ok(hot_batch_new(f->h, &f->b, &err));
    assert_ok(hot_check(f->h, &err));
}

static inline void fetch(struct fixture *f, const struct event_query *q) {
    struct bf_err err;
    bool exhausted;
    event_page_clear(&f->page);
    assert_ok(hot_fetch(f->h, q, NULL, 1000, &f->page, &exhausted, &f->hot_from_us, &err));
    assert_true(exhausted);
}

static inline void state_at(struct fixture *f, int64_t as_of_us, int64_t known_by_us) {
    struct bf_err err;
    struct event_query q;
    event_query_init(&q);
    q.known_by_us = known_by_us;
    event_page_clear(&f->page);
    assert_ok(hot_state(f->h, text(NODE), &q, as_of_us, &f->page, &f->hot_from_us, &err));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
