/* The pool of archive connections hands them out in the order in which they were asked for. No connection is made: that waits for a first question. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bf_loop.h"
#include "bf_time.h"
#include "store_pool.h"

#include <pthread.h>
#include <stdatomic.h>

#define READERS 6

struct pool_fixture {
    struct store_pool *pool;
    atomic_int turns;
};

struct reader {
    struct pool_fixture *f;
    pthread_t thread;
    int turn; /* which one it had; -1: none */
};

static struct store_pool *pool_of(int connections, int64_t wait_ms) {
    const struct archive_settings settings = {.conninfo = "host=127.0.0.1 port=1"};
    struct store_pool *pool = NULL;
    struct bf_err err;
    assert_int_equal(store_pool_new(&settings, connections, wait_ms, &pool, &err), BF_OK);
    return pool;
}

static void *read_once(void *arg) {
    struct reader *r = arg;
    struct archive *a = NULL;
    struct bf_err err;
    r->turn = -1;
    if (store_pool_take(r->f->pool, &a, &err) == BF_OK) {
        r->turn = atomic_fetch_add(&r->f->turns, 1);
        store_pool_give(r->f->pool, a);
    }
    return NULL;
}

/* Who gives a connection back and asks for it again at once comes after all who waited already. */
static void test_pool__gives_everybody_a_turn(void **state) {
    (void)state;
    struct pool_fixture f = {.pool = pool_of(1, 60000)};
    struct reader readers[READERS];
    struct archive *a = NULL;
    struct bf_err err;
    assert_int_equal(store_pool_take(f.pool, &a, &err), BF_OK);
    for (int i = 0; i < READERS; i++) {
        readers[i].f = &f;
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_once, &readers[i]), 0);
        while (store_pool_waiting(f.pool) < (size_t)i + 1) {
            bf_sleep_ms(1);
        }
    }
    store_pool_give(f.pool, a);
    assert_int_equal(store_pool_take(f.pool, &a, &err), BF_OK);
    assert_int_equal(atomic_load(&f.turns), READERS);
    for (int i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_int_equal(readers[i].turn, i);
    }
    store_pool_give(f.pool, a);
    store_pool_free(f.pool);
}

static void test_pool__says_when_all_are_busy_and_goes_on_afterwards(void **state) {
    (void)state;
    struct store_pool *pool = pool_of(2, 20);
    struct archive *a = NULL, *b = NULL, *c = NULL;
    struct bf_err err;
    assert_int_equal(store_pool_take(pool, &a, &err), BF_OK);
    assert_int_equal(store_pool_take(pool, &b, &err), BF_OK);
    assert_int_equal(store_pool_take(pool, &c, &err), BF_AGAIN);
    assert_string_equal(err.msg, "all 2 archive connections are busy");
    store_pool_give(pool, b);
    assert_int_equal(store_pool_take(pool, &c, &err), BF_OK);
    assert_ptr_equal(c, b);
    store_pool_give(pool, a);
    store_pool_give(pool, c);
    store_pool_free(pool);
}

static void test_pool__has_nothing_for_an_event_loop(void **state) {
    (void)state;
    struct store_pool *pool = pool_of(1, 20);
    struct archive *a = NULL;
    struct bf_err err;
    bf_loop_enter();
    assert_int_equal(store_pool_take(pool, &a, &err), BF_AGAIN);
    assert_true(bf_loop_refused());
    assert_true(bf_loop_leave());
    assert_int_equal(store_pool_take(pool, &a, &err), BF_OK);
    store_pool_give(pool, a);
    store_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool__gives_everybody_a_turn),
        cmocka_unit_test(test_pool__says_when_all_are_busy_and_goes_on_afterwards),
        cmocka_unit_test(test_pool__has_nothing_for_an_event_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
