/* Records, arrays, maps, unions and how they nest: JSON, blocks, recursion, references, and the limits that keep them bounded. */
#include "avro_check.h"

#include "bf_json.h"

#include <stdlib.h>

#define A BF_AVRO_FAULT_AVRO
#define LIST "{\"type\":\"record\",\"name\":\"n.L\",\"fields\":[{\"name\":\"v\",\"type\":\"int\"},{\"name\":\"next\",\"type\":[\"null\",\"L\"]}]}"
#define INTS "{\"type\":\"array\",\"items\":\"int\"}"
#define MAP "{\"type\":\"map\",\"values\":\"int\"}"

static void test_avro__a_record_has_its_fields_in_schema_order(void **state) {
    (void)state;
    expect_json("{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"z\",\"type\":\"int\"},{\"name\":\"a\",\"type\":\"string\"},"
                "{\"name\":\"n\",\"type\":\"null\"},{\"name\":\"s\",\"type\":{\"type\":\"record\",\"name\":\"S\",\"fields\":[]}}]}",
                BYTES("\x02\x02x"), "{\"z\":1,\"a\":\"x\",\"n\":null,\"s\":{}}");
    expect_json("{\"type\":\"error\",\"name\":\"R\",\"fields\":[]}", BYTES(""), "{}");
}

static void test_avro__defaults_and_aliases_are_for_readers(void **state) {
    (void)state;
    expect_fault("{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"aliases\":[\"b\"],\"type\":\"int\",\"default\":7}]}",
                 BYTES(""), A, "a at byte 0: cut short");
}

static void test_avro__arrays_come_in_blocks(void **state) {
    (void)state;
    expect_json(INTS, BYTES("\0"), "[]");
    expect_json(INTS, BYTES("\x04\x02\x04\0"), "[1,2]");
    expect_json(INTS, BYTES("\x02\x02\x04\x04\x06\0"), "[1,2,3]"); /* two blocks */
    expect_json("{\"type\":\"array\",\"items\":" INTS "}", BYTES("\x04\0\x02\x02\0\0"), "[[],[1]]");
}

static void test_avro__a_negative_count_is_followed_by_the_blocks_size(void **state) {
    (void)state;
    expect_json(INTS, BYTES("\x03\x04\x02\x04\0"), "[1,2]");
    expect_json(INTS, BYTES("\x03\x04\x02\x04\x02\x06\x01\x02\x08\0"), "[1,2,3,4]"); /* with and without, by turns */
    expect_json(MAP, BYTES("\x01\x06\x02k\x02\0"), "{\"k\":1}");
    expect_fault(INTS, BYTES("\x03\x06\x02\x04\x06\0"), A, "another size"); /* three bytes said, two there */
    expect_fault(INTS, BYTES("\x03\x02\x02\x04\0"), A, "another size");
    expect_fault(INTS, BYTES("\x03\x03\x02\x04\0"), A, "out of range"); /* size -2 */
    expect_fault(INTS, BYTES("\x03\x7e\x02\x04\0"), A, "out of range");
    expect_fault(INTS, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x04\x02\x04\0"), A, "out of range");
}

static void test_avro__a_count_beyond_the_bytes_is_refused_at_once(void **state) {
    (void)state;
    expect_fault(INTS, BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02"), A, "more items than bytes");
    expect_fault(INTS, BYTES("\x06\x02\x04"), A, "more items than bytes");
    expect_fault(MAP, BYTES("\x80\x80\x80\x01"), A, "more items than bytes");
    expect_fault(INTS, BYTES("\x81\x80\x80\x80\x80\x80\x80\x80\x80\x01\x02\x02"), A, "");
}

static void test_avro__maps_keep_the_order_of_the_bytes_and_repeated_keys(void **state) {
    (void)state;
    expect_json(MAP, BYTES("\0"), "{}");
    expect_json(MAP, BYTES("\x06\x02z\x02\x02" "a\x04\x02z\x06\0"), "{\"z\":1,\"a\":2,\"z\":3}");
    expect_json(MAP, BYTES("\x04\0\x02\x04\"\n\x04\0"), "{\"\":1,\"\\\"\\n\":2}");
    expect_json("{\"type\":\"map\",\"values\":" MAP "}", BYTES("\x02\x02k\x02\x02m\x0e\0\0"), "{\"k\":{\"m\":7}}");
    expect_fault(MAP, BYTES("\x02\x02\xff\x02\0"), BF_AVRO_FAULT_UTF8, "key");
    expect_fault(MAP, BYTES("\x02\x01"), A, "negative");
    expect_fault(MAP, BYTES("\x02\x7e"), A, "beyond the end");
}

static void test_avro__unions_are_written_bare(void **state) {
    (void)state;
    static const char u[] = "[\"string\",\"null\",\"long\"," INTS ",{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"}]}]";
    expect_json(u, BYTES("\x00\x02x"), "\"x\"");
    expect_json(u, BYTES("\x02"), "null");
    expect_json(u, BYTES("\x04\x02"), "1");
    expect_json(u, BYTES("\x06\x02\x02\0"), "[1]");
    expect_json(u, BYTES("\x08\x02"), "{\"a\":1}");
    expect_fault(u, BYTES("\x0a\x02"), A, "no such branch");
    expect_fault(u, BYTES("\x01\x02"), A, "no such branch");
    expect_fault(u, BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), A, "no such branch");
    expect_json("[\"int\"]", BYTES("\0\x02"), "1");
    expect_fault("[]", BYTES("\0"), A, "no such branch");
}

static void test_avro__optionals_have_null_on_either_side(void **state) {
    (void)state;
    expect_json("[\"null\",\"int\"]", BYTES("\0"), "null");
    expect_json("[\"null\",\"int\"]", BYTES("\x02\x02"), "1");
    expect_json("[\"int\",\"null\"]", BYTES("\x02"), "null");
    expect_json("[\"int\",\"null\"]", BYTES("\0\x02"), "1");
    expect_fault("[\"null\",\"int\"]", BYTES("\x04\x02"), A, "no such branch");
    expect_fault("[\"int\",\"null\"]", BYTES("\x03\x02"), A, "no such branch");
    expect_json("{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":[\"null\",\"int\"]},{\"name\":\"b\",\"type\":[" INTS
                ",\"null\"]},{\"name\":\"c\",\"type\":[\"int\",\"string\"]}]}",
                BYTES("\x02\x02\x02\x02\x02x"), "{\"a\":1,\"b\":null,\"c\":\"x\"}");
}

static void test_avro__unions_nest_through_other_types(void **state) {
    (void)state;
    expect_json("{\"type\":\"array\",\"items\":[\"null\",\"int\",{\"type\":\"map\",\"values\":[\"int\",\"null\",\"string\"]},\"string\"]}",
                BYTES("\x0a\0\x02\x02\x06\x02x\x04\x06\x02k\x02\x02l\x04\x02y\x02m\0\x04\0\0\0"),
                "[null,1,\"x\",{\"k\":null,\"l\":\"y\",\"m\":2},null]");
}

static void test_avro__a_record_may_contain_itself(void **state) {
    (void)state;
    expect_json(LIST, BYTES("\x02\x02\x04\x02\x06\0"), "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3,\"next\":null}}}");
    expect_json("{\"type\":\"record\",\"name\":\"T\",\"fields\":[{\"name\":\"c\",\"type\":{\"type\":\"array\",\"items\":\"T\"}}]}",
                BYTES("\x04\0\x02\0\0\0"), "{\"c\":[{\"c\":[]},{\"c\":[{\"c\":[]}]}]}");
    expect_json("{\"type\":\"record\",\"name\":\"T\",\"fields\":[{\"name\":\"c\",\"type\":{\"type\":\"map\",\"values\":\"T\"}}]}",
                BYTES("\x02\x02k\0\0"), "{\"c\":{\"k\":{\"c\":{}}}}");
}

static void test_avro__two_records_may_contain_each_other(void **state) {
    (void)state;
    expect_json("{\"type\":\"record\",\"name\":\"A\",\"fields\":[{\"name\":\"b\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"B\",\"fields\":["
                "{\"name\":\"a\",\"type\":[\"null\",\"A\"]}]}]}]}",
                BYTES("\x02\x02\x02\0"), "{\"b\":{\"a\":{\"b\":{\"a\":null}}}}");
}

static void test_avro__a_record_that_never_ends_is_stopped_by_depth(void **state) {
    (void)state;
    expect_fault("{\"type\":\"record\",\"name\":\"A\",\"fields\":[{\"name\":\"a\",\"type\":\"A\"}]}", BYTES(""), BF_AVRO_FAULT_LIMIT, "too deep");
}

static void put_list(struct bf_buf *b, int records) {
    bf_buf_clear(b);
    for (int i = 0; i < records; i++) {
        bf_buf_append(b, "\x02\x02", 2);
    }
    b->data[b->len - 1] = 0;
}

static void test_avro__depth_is_limited_where_it_says(void **state) {
    (void)state;
    struct bf_avro *a = compile(LIST);
    struct bf_buf b;
    struct bf_err err;
    const struct {
        int said, is;
    } limits[] = {{0, 64}, {1, 1}, {10, 10}, {250, 250}, {1000, 250}, {-1, 64}};
    bf_buf_init(&b, 10000);
    for (size_t i = 0; i < COUNT(limits); i++) {
        const struct bf_avro_limits l = {.depth_max = limits[i].said};
        put_list(&b, limits[i].is);
        assert_int_equal(bf_avro_decode(a, bytes_of(&b), &l, NULL, NULL, &err), BF_OK);
        put_list(&b, limits[i].is + 1);
        expect_fault_within(a, bytes_of(&b), &l, BF_AVRO_FAULT_LIMIT, "too deep");
    }
    put_list(&b, 4000);
    expect_fault_within(a, bytes_of(&b), NULL, BF_AVRO_FAULT_LIMIT, "too deep");
    bf_buf_fini(&b);
    bf_avro_free(a);
}

static void test_avro__items_are_limited_all_together(void **state) {
    (void)state;
    struct bf_avro *a = compile("{\"type\":\"array\",\"items\":" MAP "}");
    static const char bytes[] = "\x04\x02\x02k\x02\0\x02\x02k\x02\0\0"; /* two maps of one entry: four items */
    const struct bf_avro_limits four = {.items_max = 4}, three = {.items_max = 3};
    struct bf_err err;
    assert_int_equal(bf_avro_decode(a, BYTES(bytes), &four, NULL, NULL, &err), BF_OK);
    expect_fault_within(a, BYTES(bytes), &three, BF_AVRO_FAULT_LIMIT, "too many");
    bf_avro_free(a);
}

static void test_avro__items_without_bytes_are_limited_all_the_same(void **state) {
    (void)state;
    expect_json_only("{\"type\":\"array\",\"items\":\"null\"}", BYTES("\x06\0"), "[null,null,null]");
    expect_json_only("{\"type\":\"array\",\"items\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":0}}", BYTES("\x02\0"), "[\"\"]");
    expect_fault("{\"type\":\"array\",\"items\":\"null\"}", BYTES("\x80\x80\x80\x80\x10\0"), BF_AVRO_FAULT_LIMIT, "too many");
    expect_fault("{\"type\":\"array\",\"items\":\"null\"}", BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\0"), BF_AVRO_FAULT_LIMIT, "too many");
    expect_fault("{\"type\":\"array\",\"items\":\"null\"}", BYTES("\x82\x89\x7a\x82\x89\x7a\0"), BF_AVRO_FAULT_LIMIT, "too many"); /* twice a million */
}

/* 30 records, each with 30 of the next: 30^30 of them without a single byte. */
static void test_avro__records_without_bytes_cannot_multiply(void **state) {
    (void)state;
    struct bf_buf s;
    bf_buf_init(&s, 1 << 20);
    bf_buf_puts(&s, "[");
    for (int i = 0; i < 30; i++) {
        bf_buf_printf(&s, "%s{\"type\":\"record\",\"name\":\"R%d\",\"fields\":[", i > 0 ? "," : "", i);
        for (int k = 0; k < 30 && i > 0; k++) {
            bf_buf_printf(&s, "%s{\"name\":\"f%d\",\"type\":\"R%d\"}", k > 0 ? "," : "", k, i - 1);
        }
        bf_buf_puts(&s, "]}");
    }
    bf_buf_puts(&s, "]");
    bf_buf_putc(&s, '\0');
    struct bf_avro *a = compile(s.data);
    struct bf_err err;
    const struct bf_avro_limits small = {.items_max = 1000};
    expect_fault_within(a, BYTES("\x3a"), &small, BF_AVRO_FAULT_LIMIT, "multiply");
    assert_int_equal(bf_avro_decode(a, BYTES("\x04"), &small, NULL, NULL, &err), BF_OK); /* 931 of them are fine */
    bf_avro_free(a);
    bf_buf_fini(&s);
}

static void test_avro__json_is_limited(void **state) {
    (void)state;
    struct bf_avro *a = compile("{\"type\":\"array\",\"items\":\"string\"}");
    struct bf_buf b, json;
    struct bf_err err;
    bf_buf_init(&b, 10000);
    put_long(&b, 10);
    for (int i = 0; i < 10; i++) {
        put_text(&b, "0123456789");
    }
    put_long(&b, 0);
    const struct bf_avro_limits exact = {.json_bytes_max = 131}, less = {.json_bytes_max = 130};
    bf_buf_init(&json, 1000);
    bf_buf_puts(&json, "before");
    assert_int_equal(bf_avro_decode(a, bytes_of(&b), &exact, &json, NULL, &err), BF_OK);
    assert_int_equal(json.len, 137);
    assert_int_equal(bf_avro_decode(a, bytes_of(&b), &less, &json, NULL, &err), BF_REJECTED);
    assert_int_equal(err.native, BF_AVRO_FAULT_LIMIT);
    assert_int_equal(json.len, 137);
    assert_int_equal(bf_avro_decode(a, bytes_of(&b), &less, NULL, NULL, &err), BF_OK); /* no JSON, no limit on it */
    bf_buf_fini(&json);
    bf_buf_init(&json, 100); /* the buffer's own limit counts, too, and it can be used again */
    assert_int_equal(bf_avro_decode(a, bytes_of(&b), NULL, &json, NULL, &err), BF_REJECTED);
    assert_int_equal(err.native, BF_AVRO_FAULT_LIMIT);
    assert_int_equal(json.len, 0);
    assert_false(json.failed);
    bf_buf_fini(&json);
    bf_buf_fini(&b);
    bf_avro_free(a);
}

static void test_avro__a_fault_says_which_field_and_at_which_byte(void **state) {
    (void)state;
    expect_fault("{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"list\",\"type\":" INTS "}]}",
                 BYTES("\x02\x02\xff"), A, "list at byte 3: cut short");
    expect_fault("\"int\"", BYTES(""), A, "value at byte 0");
}

/* ---- references ---- */

static enum bf_code compile_with(const char *schema, const struct bf_avro_reference *refs, size_t count, struct bf_avro **out,
                                 struct bf_err *err) {
    return bf_avro_compile(schema, strlen(schema), refs, count, NULL, 0, out, err);
}

static void test_avro__references_are_known_by_name(void **state) {
    (void)state;
    static const struct bf_avro_reference refs[] = {
        {"a.Side", "{\"type\":\"enum\",\"name\":\"Side\",\"namespace\":\"a\",\"symbols\":[\"BUY\",\"SELL\"]}"},
        {"a.Leg", "{\"type\":\"record\",\"name\":\"a.Leg\",\"fields\":[{\"name\":\"side\",\"type\":\"Side\"}]}"},
    };
    struct bf_avro *a;
    struct bf_err err;
    struct bf_buf json;
    assert_int_equal(compile_with("{\"type\":\"array\",\"items\":\"a.Leg\"}", refs, 2, &a, &err), BF_OK);
    bf_buf_init(&json, 1000);
    assert_int_equal(bf_avro_decode(a, BYTES("\x02\x02\0"), NULL, &json, NULL, &err), BF_OK);
    bf_buf_putc(&json, '\0');
    assert_string_equal(json.data, "[{\"side\":\"SELL\"}]");
    bf_buf_fini(&json);
    bf_avro_free(a);
    assert_int_equal(compile_with("\"a.Leg\"", refs, 1, &a, &err), BF_INVALID);
    assert_non_null(strstr(err.msg, "a.Leg"));
}

static void test_avro__two_references_may_bring_the_same_type(void **state) {
    (void)state;
    static const struct bf_avro_reference refs[] = {
        {"X", "{\"type\":\"record\",\"name\":\"X\",\"fields\":[{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":1}}]}"},
        {"Y", "{\"type\":\"record\",\"name\":\"Y\",\"fields\":[{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":1}}]}"},
    };
    struct bf_avro *a;
    struct bf_err err;
    assert_int_equal(compile_with("[\"X\",\"Y\"]", refs, 2, &a, &err), BF_OK);
    bf_avro_free(a);
    assert_int_equal(compile_with("{\"type\":\"fixed\",\"name\":\"F\",\"size\":1}", refs, 2, &a, &err), BF_INVALID);
    assert_non_null(strstr(err.msg, "twice"));
}

static void test_avro__a_bad_reference_is_named(void **state) {
    (void)state;
    static const struct bf_avro_reference refs[] = {{"broken", "{\"type\":\"record\"}"}, {"torn", "{"}};
    struct bf_avro *a;
    struct bf_err err;
    assert_int_equal(compile_with("\"int\"", refs, 1, &a, &err), BF_INVALID);
    assert_non_null(strstr(err.msg, "reference broken"));
    assert_int_equal(compile_with("\"int\"", refs + 1, 1, &a, &err), BF_INVALID);
    assert_non_null(strstr(err.msg, "reference torn"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_avro__a_record_has_its_fields_in_schema_order),
        cmocka_unit_test(test_avro__defaults_and_aliases_are_for_readers),
        cmocka_unit_test(test_avro__arrays_come_in_blocks),
        cmocka_unit_test(test_avro__a_negative_count_is_followed_by_the_blocks_size),
        cmocka_unit_test(test_avro__a_count_beyond_the_bytes_is_refused_at_once),
        cmocka_unit_test(test_avro__maps_keep_the_order_of_the_bytes_and_repeated_keys),
        cmocka_unit_test(test_avro__unions_are_written_bare),
        cmocka_unit_test(test_avro__optionals_have_null_on_either_side),
        cmocka_unit_test(test_avro__unions_nest_through_other_types),
        cmocka_unit_test(test_avro__a_record_may_contain_itself),
        cmocka_unit_test(test_avro__two_records_may_contain_each_other),
        cmocka_unit_test(test_avro__a_record_that_never_ends_is_stopped_by_depth),
        cmocka_unit_test(test_avro__depth_is_limited_where_it_says),
        cmocka_unit_test(test_avro__items_are_limited_all_together),
        cmocka_unit_test(test_avro__items_without_bytes_are_limited_all_the_same),
        cmocka_unit_test(test_avro__records_without_bytes_cannot_multiply),
        cmocka_unit_test(test_avro__json_is_limited),
        cmocka_unit_test(test_avro__a_fault_says_which_field_and_at_which_byte),
        cmocka_unit_test(test_avro__references_are_known_by_name),
        cmocka_unit_test(test_avro__two_references_may_bring_the_same_type),
        cmocka_unit_test(test_avro__a_bad_reference_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
