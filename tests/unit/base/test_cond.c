/* Waiting with a limit, by a clock that nobody can set. The wall clock itself is not touched here: a deadline of the monotonic clock, taken for one of the wall
 * clock, lies decades back, so a condition that is not set up for it does not wait at all. That nothing in the tree waits in another way is for
 * tests/tree/forbidden_includes to say. */
#include "bf_cond.h"
#include "bf_time.h"
#include "check.h"

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
};

static void gate_init(struct gate *g) {
    pthread_mutex_init(&g->lock, NULL);
    bf_cond_init(&g->changed);
    g->open = false;
}

static void gate_fini(struct gate *g) {
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
}

static bool pass(struct gate *g, int64_t ms) {
    struct timespec until = bf_cond_in_ms(ms);
    bool in_time = true;
    pthread_mutex_lock(&g->lock);
    while (!g->open && in_time)
        in_time = bf_cond_wait_until(&g->changed, &g->lock, &until);
    bool passed = g->open;
    pthread_mutex_unlock(&g->lock);
    return passed;
}

static void test_waits_as_long_as_it_says(void **state) {
    (void)state;
    struct gate g;
    gate_init(&g);
    int64_t begun_us = bf_time_monotonic_us();
    assert_false(pass(&g, 60));
    assert_true(bf_time_monotonic_us() - begun_us >= 60000);
    gate_fini(&g);
}

static void test_does_not_wait_for_what_is_past(void **state) {
    (void)state;
    struct gate g;
    gate_init(&g);
    assert_false(pass(&g, 0));
    assert_false(pass(&g, -3600 * INT64_C(1000)));
    g.open = true;
    assert_true(pass(&g, 0));
    gate_fini(&g);
}

static void test_a_moment_is_carried_into_the_seconds(void **state) {
    (void)state;
    for (int64_t ms = 0; ms < 3000; ms += 7) {
        struct timespec t = bf_cond_in_ms(ms);
        int64_t now_us = bf_time_monotonic_us(), at_us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
        assert_in_range(t.tv_nsec, 0, 999999999);
        assert_true(at_us <= now_us + ms * 1000 && at_us > now_us + ms * 1000 - 1000000);
    }
}

static void *open_gate(void *arg) {
    struct gate *g = arg;
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_signal(&g->changed);
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

static void test_is_woken_before(void **state) {
    (void)state;
    struct gate g;
    pthread_t thread;
    gate_init(&g);
    assert_int_equal(pthread_create(&thread, NULL, open_gate, &g), 0);
    assert_true(pass(&g, 60000));
    pthread_join(thread, NULL);
    gate_fini(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_as_long_as_it_says),
        cmocka_unit_test(test_does_not_wait_for_what_is_past),
        cmocka_unit_test(test_a_moment_is_carried_into_the_seconds),
        cmocka_unit_test(test_is_woken_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
