/* Where the schema's id is, and what is no frame. */
#include "../base/check.h"

#include "bf_framing.h"

#include <string.h>

#define BYTES(literal) ((struct bf_slice){literal, sizeof(literal) - 1})

static void expect_id(struct bf_slice value, struct bf_slice header, int32_t id, struct bf_slice avro) {
    struct bf_frame f;
    struct bf_err err;
    assert_int_equal(bf_frame_parse(value, header, &f, &err), BF_OK);
    assert_false(f.by_guid);
    assert_int_equal(f.schema_id, id);
    assert_non_null(f.avro.data);
    assert_int_equal(f.avro.len, avro.len);
    assert_memory_equal(f.avro.data, avro.data, avro.len);
}

static void expect_none(struct bf_slice value, struct bf_slice header, const char *words) {
    struct bf_frame f = {.schema_id = -7};
    struct bf_err err = {0};
    assert_int_equal(bf_frame_parse(value, header, &f, &err), BF_REJECTED);
    assert_int_equal(f.schema_id, -7); /* outputs are not touched */
    if (strstr(err.msg, words) == NULL) {
        fail_msg("\"%s\" wanted, got: %s", words, err.msg);
    }
}

static void test_framing__magic_id_and_the_rest(void **state) {
    (void)state;
    expect_id(BYTES("\0\0\0\0\1xyz"), BF_SLICE_NONE, 1, BYTES("xyz"));
    expect_id(BYTES("\0\x01\x02\x03\x04"), BF_SLICE_NONE, 0x01020304, BYTES("")); /* no bytes are a value, too */
    expect_id(BYTES("\0\x7f\xff\xff\xff\0"), BF_SLICE_NONE, INT32_MAX, BYTES("\0"));
}

static void test_framing__what_is_no_frame_says_why(void **state) {
    (void)state;
    expect_none(BF_SLICE_NONE, BF_SLICE_NONE, "there is no value");
    expect_none(BYTES(""), BF_SLICE_NONE, "0 bytes are shorter");
    expect_none(BYTES("\0\0\0\0"), BF_SLICE_NONE, "4 bytes are shorter");
    expect_none(BYTES("\1\0\0\0\1x"), BF_SLICE_NONE, "begins with 0x01");
    expect_none(BYTES("{\"a\":1}"), BF_SLICE_NONE, "begins with 0x7b");
    expect_none(BYTES("\0\0\0\0\0x"), BF_SLICE_NONE, "schema id 0");
    expect_none(BYTES("\0\x80\0\0\0x"), BF_SLICE_NONE, "schema id -2147483648");
    expect_none(BYTES("\0\xff\xff\xff\xffx"), BF_SLICE_NONE, "schema id -1");
}

static void test_framing__a_guid_header_makes_the_value_bare_avro(void **state) {
    (void)state;
    struct bf_frame f;
    struct bf_err err;
    assert_int_equal(bf_frame_parse(BYTES("\0\0\0\0\1xyz"), BYTES("\1ABCDEFGHIJKLMNOP"), &f, &err), BF_OK);
    assert_true(f.by_guid);
    assert_memory_equal(f.guid, "ABCDEFGHIJKLMNOP", 16);
    assert_int_equal(f.avro.len, 8);
    assert_int_equal(bf_frame_parse(BYTES(""), BYTES("\1ABCDEFGHIJKLMNOP"), &f, &err), BF_OK);
    assert_int_equal(f.avro.len, 0);
}

static void test_framing__an_id_may_be_in_the_header(void **state) {
    (void)state;
    expect_id(BYTES("xyz"), BYTES("\0\0\0\0\x09"), 9, BYTES("xyz"));
    expect_none(BYTES("xyz"), BYTES("\0\0\0\0\0"), "schema id 0");
}

static void test_framing__a_header_that_is_neither_is_refused_whatever_the_value_is(void **state) {
    (void)state;
    struct bf_slice good = BYTES("\0\0\0\0\1xyz");
    expect_none(good, BYTES(""), "0 bytes");
    expect_none(good, BYTES("\1ABCDEFGHIJKLMNO"), "16 bytes beginning with 0x01");
    expect_none(good, BYTES("\1ABCDEFGHIJKLMNOPQ"), "18 bytes");
    expect_none(good, BYTES("\2ABCDEFGHIJKLMNOP"), "beginning with 0x02");
    expect_none(good, BYTES("\0\0\0\1"), "4 bytes");
    expect_none(BF_SLICE_NONE, BYTES("\1ABCDEFGHIJKLMNOP"), "there is no value");
}

static void test_framing__put_and_parse_are_inverse(void **state) {
    (void)state;
    static const int32_t ids[] = {1, 255, 256, 65536, INT32_MAX};
    for (size_t i = 0; i < COUNT(ids); i++) {
        uint8_t b[BF_FRAME_BYTES];
        bf_frame_put(b, ids[i]);
        expect_id((struct bf_slice){b, sizeof b}, BF_SLICE_NONE, ids[i], BYTES(""));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing__magic_id_and_the_rest),
        cmocka_unit_test(test_framing__what_is_no_frame_says_why),
        cmocka_unit_test(test_framing__a_guid_header_makes_the_value_bare_avro),
        cmocka_unit_test(test_framing__an_id_may_be_in_the_header),
        cmocka_unit_test(test_framing__a_header_that_is_neither_is_refused_whatever_the_value_is),
        cmocka_unit_test(test_framing__put_and_parse_are_inverse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
