#include "check.h"

#include "bf_buf.h"
#include "bf_err.h"

#include <string.h>

static void test_buf__appends_until_max_and_then_fails_for_good(void **state) {
    (void)state;
    struct bf_buf b;
    bf_buf_init(&b, 10);
    bf_buf_append(&b, "12345", 5);
    bf_buf_puts(&b, "67890");
    assert_false(b.failed);
    assert_int_equal(b.len, 10);
    bf_buf_putc(&b, 'x');
    assert_true(b.failed);
    bf_buf_clear(&b);
    bf_buf_putc(&b, 'x');
    assert_false(b.failed);
    assert_int_equal(b.len, 1);
    bf_buf_fini(&b);
    bf_buf_fini(&b);
}

static void test_buf__a_failed_one_swallows_what_would_fit(void **state) {
    (void)state;
    struct bf_buf b;
    bf_buf_init(&b, 4);
    bf_buf_append(&b, "123456", 6);
    bf_buf_putc(&b, 'x');
    assert_int_equal(b.len, 0);
    assert_false(bf_buf_reserve(&b, 1));
    bf_buf_fini(&b);
}

static void test_buf__prints_longer_than_its_scratch(void **state) {
    (void)state;
    struct bf_buf b;
    bf_buf_init(&b, 10000);
    bf_buf_printf(&b, "%s-%0999d", "a", 7);
    assert_int_equal(b.len, 1001);
    assert_int_equal(b.data[1000], '7');
    bf_buf_fini(&b);
}

static void test_buf__a_huge_request_does_not_wrap(void **state) {
    (void)state;
    struct bf_buf b;
    bf_buf_init(&b, SIZE_MAX);
    bf_buf_putc(&b, 'x');
    assert_false(bf_buf_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    bf_buf_fini(&b);
}

static void test_slice__absent_is_not_empty(void **state) {
    (void)state;
    assert_false(bf_slice_eq(BF_SLICE_NONE, bf_slice_str("")));
    assert_true(bf_slice_eq(BF_SLICE_NONE, bf_slice_str(NULL)));
    assert_true(bf_slice_eq(bf_slice_str("ab"), (struct bf_slice){"abc", 2}));
    assert_false(bf_slice_eq(bf_slice_str("ab"), bf_slice_str("ac")));
}

static void test_big_endian__goes_there_and_back(void **state) {
    (void)state;
    uint8_t b[8];
    bf_put_be64(b, UINT64_C(0x0102030405060708));
    assert_memory_equal(b, "\1\2\3\4\5\6\7\10", 8);
    assert_true(bf_get_be64(b) == UINT64_C(0x0102030405060708));
    assert_int_equal(bf_get_be32(b), 0x01020304);
    assert_int_equal(bf_get_be16(b), 0x0102);
    bf_put_be16(b, 0xfffe);
    bf_put_be32(b + 2, 0xfffefdfc);
    assert_memory_equal(b, "\xff\xfe\xff\xfe\xfd\xfc", 6);
}

static void test_err__context_comes_first_and_a_long_message_is_cut(void **state) {
    (void)state;
    struct bf_err err;
    assert_int_equal(bf_fail(&err, BF_AGAIN, 111, "refused by %s", "host"), BF_AGAIN);
    assert_int_equal(bf_err_prepend(&err, "registry %d", 7), BF_AGAIN);
    assert_string_equal(err.msg, "registry 7: refused by host");
    assert_int_equal(err.native, 111);
    assert_non_null(strstr(err.file, "test_buf.c"));
    for (int i = 0; i < 100; i++) {
        bf_err_prepend(&err, "a context that is rather long");
    }
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
    bf_fail(&err, BF_BROKEN, 0, "again: %.20s", err.msg); /* may be made from itself */
    assert_string_equal(err.msg, "again: a context that is ra");
}

static void test_err__every_code_has_its_name(void **state) {
    (void)state;
    const char *const names[] = {"ok",     "not_found", "invalid",   "rejected", "exists",
                                 "again",  "nomem",     "cancelled", "broken"};
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_string_equal(bf_code_name((enum bf_code)i), names[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf__appends_until_max_and_then_fails_for_good),
        cmocka_unit_test(test_buf__a_failed_one_swallows_what_would_fit),
        cmocka_unit_test(test_buf__prints_longer_than_its_scratch),
        cmocka_unit_test(test_buf__a_huge_request_does_not_wrap),
        cmocka_unit_test(test_slice__absent_is_not_empty),
        cmocka_unit_test(test_big_endian__goes_there_and_back),
        cmocka_unit_test(test_err__context_comes_first_and_a_long_message_is_cut),
        cmocka_unit_test(test_err__every_code_has_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
