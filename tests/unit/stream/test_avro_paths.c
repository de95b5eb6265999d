/* Fields picked out by path while decoding. */
#include "avro_check.h"

#include <stdlib.h>

#define F(name, type) "{\"name\":\"" name "\",\"type\":" type "}"
#define REC(name, fields) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[" fields "]}"

static struct bf_avro_field fields[BF_AVRO_PATHS_MAX];

/* Decode with these paths; picked with JSON and without, both the same. */
static void pick(const char *schema, struct bf_slice bytes, const char *const *paths, size_t count) {
    struct bf_avro *a = compile_paths(schema, paths, count);
    struct bf_avro_field with_json[BF_AVRO_PATHS_MAX];
    struct bf_err err;
    struct bf_buf json;
    bf_buf_init(&json, 1 << 20);
    memset(fields, 0xa5, sizeof fields);
    assert_int_equal(bf_avro_decode(a, bytes, NULL, &json, with_json, &err), BF_OK);
    assert_int_equal(bf_avro_decode(a, bytes, NULL, NULL, fields, &err), BF_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(fields[i].kind, with_json[i].kind);
        if (fields[i].kind != BF_AVRO_ABSENT) {
            assert_int_equal(fields[i].logical, with_json[i].logical);
            assert_true(fields[i].l == with_json[i].l && fields[i].s.data == with_json[i].s.data && fields[i].s.len == with_json[i].s.len);
        }
    }
    bf_buf_fini(&json);
    bf_avro_free(a);
}

#define PICK(schema, bytes, ...)                                          \
    do {                                                                  \
        static const char *const paths_[] = {__VA_ARGS__};                \
        pick((schema), (bytes), paths_, COUNT(paths_));                   \
    } while (0)

static void expect_text(size_t i, const char *text) {
    assert_int_equal(fields[i].kind, BF_AVRO_STRING);
    assert_int_equal(fields[i].s.len, strlen(text));
    assert_memory_equal(fields[i].s.data, text, fields[i].s.len);
}

static void test_paths__pick_every_kind(void **state) {
    (void)state;
    PICK(REC("R", F("n", "\"null\"") "," F("b", "\"boolean\"") "," F("i", "\"int\"") "," F("l", "{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}") ","
             F("f", "\"float\"") "," F("s", "\"string\"") "," F("y", "\"bytes\"") ","
             F("x", "{\"type\":\"fixed\",\"name\":\"X\",\"size\":2,\"logicalType\":\"decimal\",\"precision\":4}") ","
             F("e", "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}")),
         BYTES("\x01\x03\x06\x00\x00\xc0\x3f\x04st\x02y\x00\x07\x02"), "n", "b", "i", "l", "f", "s", "y", "x", "e", "nobody");
    assert_int_equal(fields[0].kind, BF_AVRO_NULL);
    assert_int_equal(fields[1].kind, BF_AVRO_BOOLEAN);
    assert_int_equal(fields[1].l, 1);
    assert_int_equal(fields[2].kind, BF_AVRO_LONG);
    assert_int_equal(fields[2].l, -2);
    assert_int_equal(fields[2].logical, BF_AVRO_PLAIN);
    assert_int_equal(fields[3].l, 3);
    assert_int_equal(fields[3].logical, BF_AVRO_TIMESTAMP_MILLIS);
    assert_int_equal(fields[4].kind, BF_AVRO_DOUBLE);
    assert_true(fields[4].d == 1.5);
    expect_text(5, "st");
    assert_int_equal(fields[6].kind, BF_AVRO_BYTES);
    assert_int_equal(fields[6].logical, BF_AVRO_PLAIN);
    assert_int_equal(fields[7].kind, BF_AVRO_BYTES);
    assert_int_equal(fields[7].logical, BF_AVRO_OTHER_LOGICAL);
    assert_memory_equal(fields[7].s.data, "\0\7", 2);
    expect_text(8, "B");
    assert_int_equal(fields[9].kind, BF_AVRO_ABSENT);
}

static void test_paths__slices_are_views_into_the_message(void **state) {
    (void)state;
    static const char message[] = "\x04st";
    PICK(REC("R", F("s", "\"string\"")), BYTES(message), "s");
    assert_ptr_equal(fields[0].s.data, message + 1);
}

static void test_paths__go_through_records_unions_and_maps(void **state) {
    (void)state;
    PICK(REC("R", F("a", REC("A", F("b", "[\"null\"," REC("B", F("c", "\"int\"")) "]"))) "," F("m", "{\"type\":\"map\",\"values\":\"string\"}")),
         BYTES("\x02\x0e\x04\x02k\x02v\x02x\x02y\0"), "a.b.c", "m.x", "m.nobody", "a.b", "a", "m", "m.x.y", "a.b.c.d");
    assert_int_equal(fields[0].l, 7);
    expect_text(1, "y");
    for (size_t i = 2; i < 8; i++) {
        assert_int_equal(fields[i].kind, BF_AVRO_ABSENT); /* structures, and what is not there */
    }
}

static void test_paths__an_optional_structure_that_is_null_is_null(void **state) {
    (void)state;
    PICK(REC("R", F("a", "[\"null\"," REC("B", F("c", "\"int\"")) "]")), BYTES("\0"), "a", "a.c");
    assert_int_equal(fields[0].kind, BF_AVRO_NULL);
    assert_int_equal(fields[1].kind, BF_AVRO_ABSENT);
}

static void test_paths__each_branch_of_a_union_is_picked_as_what_it_is(void **state) {
    (void)state;
    static const char schema[] = REC("R", F("u", "[\"int\",\"string\",\"null\",{\"type\":\"long\",\"logicalType\":\"timestamp-nanos\"},{\"type\":\"array\",\"items\":\"int\"}]"));
    PICK(schema, BYTES("\x00\x02"), "u");
    assert_int_equal(fields[0].l, 1);
    PICK(schema, BYTES("\x02\x02x"), "u");
    expect_text(0, "x");
    PICK(schema, BYTES("\x04"), "u");
    assert_int_equal(fields[0].kind, BF_AVRO_NULL);
    PICK(schema, BYTES("\x06\x02"), "u");
    assert_int_equal(fields[0].logical, BF_AVRO_TIMESTAMP_NANOS);
    PICK(schema, BYTES("\x08\0"), "u");
    assert_int_equal(fields[0].kind, BF_AVRO_ABSENT);
}

static void test_paths__of_a_repeated_key_the_last_counts(void **state) {
    (void)state;
    PICK("{\"type\":\"map\",\"values\":\"int\"}", BYTES("\x06\x02k\x02\x02x\x04\x02k\x06\0"), "k", "x");
    assert_int_equal(fields[0].l, 3);
    assert_int_equal(fields[1].l, 2);
    PICK("{\"type\":\"map\",\"values\":[\"null\",\"int\"]}", BYTES("\x04\x02k\x02\x02\x02k\0\0"), "k");
    assert_int_equal(fields[0].kind, BF_AVRO_NULL);
}

/* Regression 3: the string of the first entry stayed picked. */
static void test_paths__of_a_repeated_key_the_last_counts_when_it_is_a_structure(void **state) {
    (void)state;
    PICK("{\"type\":\"map\",\"values\":[\"string\",{\"type\":\"array\",\"items\":\"int\"}]}", BYTES("\x04\x02k\0\x02x\x02k\x02\0\0"), "k");
    assert_int_equal(fields[0].kind, BF_AVRO_ABSENT);
}

static void test_paths__a_map_in_a_map_does_not_take_the_outer_ones_keys(void **state) {
    (void)state;
    static const char schema[] = REC("R", F("m", "{\"type\":\"map\",\"values\":{\"type\":\"map\",\"values\":\"int\"}}") "," F("k", "\"int\""));
    PICK(schema, BYTES("\x02\x02k\x02\x02k\x02\0\0\x04"), "m.k", "m.k.k", "k");
    assert_int_equal(fields[0].kind, BF_AVRO_ABSENT);
    assert_int_equal(fields[1].kind, BF_AVRO_ABSENT);
    assert_int_equal(fields[2].l, 2);
}

static void test_paths__are_never_found_through_an_array(void **state) {
    (void)state;
    PICK(REC("R", F("a", "{\"type\":\"array\",\"items\":" REC("I", F("x", "\"int\"")) "}")), BYTES("\x02\x02\0"), "a.x", "a.0", "x");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fields[i].kind, BF_AVRO_ABSENT);
    }
}

static void test_paths__reach_exactly_one_level_of_a_recursive_record(void **state) {
    (void)state;
    static const char list[] = REC("L", F("v", "\"int\"") "," F("next", "[\"null\",\"L\"]"));
    PICK(list, BYTES("\x02\x02\x04\x02\x06\0"), "v", "next.v", "next.next.v", "next.next.next.v", "next.next.next");
    assert_int_equal(fields[0].l, 1);
    assert_int_equal(fields[1].l, 2);
    assert_int_equal(fields[2].l, 3);
    assert_int_equal(fields[3].kind, BF_AVRO_ABSENT);
    assert_int_equal(fields[4].kind, BF_AVRO_NULL);
}

static void test_paths__the_same_record_in_two_places_is_told_apart(void **state) {
    (void)state;
    PICK(REC("R", F("a", REC("P", F("x", "\"int\""))) "," F("b", "\"P\"") "," F("c", "\"P\"")), BYTES("\x02\x04\x06"), "b.x", "a.x");
    assert_int_equal(fields[0].l, 2);
    assert_int_equal(fields[1].l, 1);
}

static void test_paths__the_same_path_twice_is_picked_twice(void **state) {
    (void)state;
    PICK(REC("R", F("a", "\"int\"") "," F("b", "\"int\"")), BYTES("\x02\x04"), "a", "b", "a", "b", "a");
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(fields[i].l, i % 2 == 0 ? 1 : 2);
    }
}

static void test_paths__of_a_root_that_is_no_record_are_absent(void **state) {
    (void)state;
    PICK("\"int\"", BYTES("\x02"), "a", "", "value");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fields[i].kind, BF_AVRO_ABSENT);
    }
    PICK("[\"null\"," REC("R", F("a", "\"int\"")) "]", BYTES("\x02\x02"), "a");
    assert_int_equal(fields[0].l, 1);
}

static void test_paths__odd_ones_do_no_harm(void **state) {
    (void)state;
    PICK(REC("R", F("a", "\"int\"") "," F("m", "{\"type\":\"map\",\"values\":\"int\"}")), BYTES("\x02\x02\0\x04\0"), "", ".", "..", "a.", ".a", "m.", "m..");
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(fields[i].kind, i == 5 ? BF_AVRO_LONG : BF_AVRO_ABSENT); /* "m.": the entry whose key is empty */
    }
}

static void test_paths__after_a_failure_all_are_absent(void **state) {
    (void)state;
    static const char *const paths[] = {"a", "b"};
    struct bf_avro *a = compile_paths(REC("R", F("a", "\"int\"") "," F("b", "\"int\"")), paths, 2);
    struct bf_err err;
    memset(fields, 0xa5, sizeof fields);
    assert_int_equal(bf_avro_decode(a, BYTES("\x02"), NULL, NULL, fields, &err), BF_REJECTED);
    assert_int_equal(fields[0].kind, BF_AVRO_ABSENT);
    assert_int_equal(fields[1].kind, BF_AVRO_ABSENT);
    bf_avro_free(a);
}

static void test_paths__as_many_as_it_says(void **state) {
    (void)state;
    const char *paths[BF_AVRO_PATHS_MAX + 1];
    struct bf_avro *a;
    struct bf_err err;
    for (size_t i = 0; i < COUNT(paths); i++) {
        paths[i] = "a";
    }
    assert_int_equal(bf_avro_compile("\"int\"", 5, NULL, 0, paths, COUNT(paths), &a, &err), BF_INVALID);
    pick(REC("R", F("a", "\"int\"")), BYTES("\x02"), paths, BF_AVRO_PATHS_MAX);
    assert_int_equal(fields[BF_AVRO_PATHS_MAX - 1].l, 1);
    static char deep[2000];
    memset(deep, '.', 1500);
    paths[0] = deep;
    assert_int_equal(bf_avro_compile("\"int\"", 5, NULL, 0, paths, 1, &a, &err), BF_INVALID);
    assert_non_null(strstr(err.msg, "512"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths__pick_every_kind),
        cmocka_unit_test(test_paths__slices_are_views_into_the_message),
        cmocka_unit_test(test_paths__go_through_records_unions_and_maps),
        cmocka_unit_test(test_paths__an_optional_structure_that_is_null_is_null),
        cmocka_unit_test(test_paths__each_branch_of_a_union_is_picked_as_what_it_is),
        cmocka_unit_test(test_paths__of_a_repeated_key_the_last_counts),
        cmocka_unit_test(test_paths__of_a_repeated_key_the_last_counts_when_it_is_a_structure),
        cmocka_unit_test(test_paths__a_map_in_a_map_does_not_take_the_outer_ones_keys),
        cmocka_unit_test(test_paths__are_never_found_through_an_array),
        cmocka_unit_test(test_paths__reach_exactly_one_level_of_a_recursive_record),
        cmocka_unit_test(test_paths__the_same_record_in_two_places_is_told_apart),
        cmocka_unit_test(test_paths__the_same_path_twice_is_picked_twice),
        cmocka_unit_test(test_paths__of_a_root_that_is_no_record_are_absent),
        cmocka_unit_test(test_paths__odd_ones_do_no_harm),
        cmocka_unit_test(test_paths__after_a_failure_all_are_absent),
        cmocka_unit_test(test_paths__as_many_as_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
