#include "bf_errand.h"
#include "check.h"

struct sum {
    long next; /* the owner's between wait() and begin() */
    long total;
};

static void add(void *ctx) {
    struct sum *s = ctx;
    s->total += s->next;
}

static void test_each_errand_is_run_once_and_in_order(void **state) {
    (void)state;
    struct sum s = {0};
    struct bf_errand *e = NULL;
    assert_int_equal(bf_errand_new(add, &s, &e, NULL), BF_OK);
    for (long i = 1; i <= 10000; i++) {
        s.next = i;
        bf_errand_begin(e);
        assert_true(bf_errand_wait(e));
        assert_int_equal(s.total, i * (i + 1) / 2);
    }
    bf_errand_free(e);
}

static void test_nothing_begun_is_nothing_to_wait_for(void **state) {
    (void)state;
    struct sum s = {.next = 1};
    struct bf_errand *e = NULL;
    assert_int_equal(bf_errand_new(add, &s, &e, NULL), BF_OK);
    assert_false(bf_errand_wait(e));
    bf_errand_begin(e);
    assert_true(bf_errand_wait(e));
    assert_false(bf_errand_wait(e));
    assert_int_equal(s.total, 1);
    bf_errand_free(e);
    bf_errand_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_errand_is_run_once_and_in_order),
        cmocka_unit_test(test_nothing_begun_is_nothing_to_wait_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
