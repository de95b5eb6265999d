#include "bf_room.h"
#include "check.h"

#include <stdint.h>
#include <stdlib.h>

static void test_an_array_grows_and_keeps_what_is_in_it(void **state) {
    (void)state;
    uint32_t *items = NULL;
    size_t count = 0, capacity = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(bf_room(items, count, capacity, 3));
        assert_true(count < capacity);
        items[count++] = i;
    }
    assert_int_equal(capacity, 3 << 9);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(items[i], i);
    free(items);
}

static void test_what_does_not_fit_into_memory_changes_nothing(void **state) {
    (void)state;
    struct large {
        char bytes[1 << 20];
    } *items = NULL, *same;
    size_t capacity = 0;
    assert_false(bf_room(items, 0, capacity, SIZE_MAX / 4));
    assert_null(items);
    assert_int_equal(capacity, 0);
    assert_true(bf_room(items, 0, capacity, 1));
    items->bytes[7] = 'x';
    same = items;
    capacity = SIZE_MAX / 4; /* as if */
    assert_false(bf_room(items, SIZE_MAX / 4, capacity, 1));
    assert_ptr_equal(items, same);
    assert_int_equal(capacity, SIZE_MAX / 4);
    assert_int_equal(items->bytes[7], 'x');
    free(items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_array_grows_and_keeps_what_is_in_it),
        cmocka_unit_test(test_what_does_not_fit_into_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
