#include "../base/check.h"

#include "bf_node_id.h"

#include <string.h>

static void expect_bad(const char *text, const char *words) {
    struct bf_node_id id = {.type = {"kept", 4}};
    struct bf_err err = {0};
    if (bf_node_id_parse(bf_slice_str(text), &id, &err) != BF_INVALID) {
        fail_msg("taken: %s", text);
    }
    assert_string_equal(id.type.data, "kept");
    if (strstr(err.msg, words) == NULL) {
        fail_msg("%s: \"%s\" wanted, got: %s", text, words, err.msg);
    }
}

static void expect_part(struct bf_slice got, const char *want) {
    assert_true(bf_slice_eq(got, bf_slice_str(want)));
}

static void test_node_id__has_three_parts_behind_rim(void **state) {
    (void)state;
    struct bf_node_id id;
    struct bf_err err;
    assert_int_equal(bf_node_id_parse(bf_slice_str("rim:entity:finance:EURUSD"), &id, &err), BF_OK);
    expect_part(id.type, "entity");
    expect_part(id.space, "finance");
    expect_part(id.local, "EURUSD");
    assert_int_equal(bf_node_id_parse(bf_slice_str("rim:signal:a-0:_-zZ9"), NULL, &err), BF_OK);
}

static void test_node_id__ten_types_are_known(void **state) {
    (void)state;
    static const char *const types[] = {"entity", "region", "market", "actor", "system", "event", "scope", "relation", "metric", "signal"};
    for (size_t i = 0; i < COUNT(types); i++) {
        char text[64];
        struct bf_node_id id;
        struct bf_err err;
        snprintf(text, sizeof text, "rim:%s:n:l", types[i]);
        assert_int_equal(bf_node_id_parse(bf_slice_str(text), &id, &err), BF_OK);
        expect_part(id.type, types[i]);
    }
}

static void test_node_id__names_the_first_part_that_is_wrong(void **state) {
    (void)state;
    expect_bad(NULL, "is empty");
    expect_bad("", "is empty");
    expect_bad("rim", "does not begin with rim:");
    expect_bad("RIM:entity:n:l", "does not begin with rim:");
    expect_bad("xrim:entity:n:l", "does not begin with rim:");
    expect_bad(":entity:n:l", "does not begin with rim:");
    expect_bad("rim:", "fewer than the four parts");
    expect_bad("rim:entity", "fewer than the four parts");
    expect_bad("rim:entity:n", "fewer than the four parts");
    expect_bad("rim::n:l", "nodeType");
    expect_bad("rim:Entity:n:l", "nodeType");
    expect_bad("rim:entit:n:l", "nodeType");
    expect_bad("rim:entityx:n:l", "nodeType");
    expect_bad("rim:entity::l", "namespace is empty");
    expect_bad("rim:entity:N:l", "namespace has byte 0x4e at 0");
    expect_bad("rim:entity:a_b:l", "namespace has byte 0x5f at 1");
    expect_bad("rim:entity:n:", "localId is empty");
    expect_bad("rim:entity:n:a:b", "localId has byte 0x3a at 1");
    expect_bad("rim:entity:n:a b", "localId has byte 0x20 at 1");
    expect_bad("rim:entity:n:\xc3\xa9", "localId has byte 0xc3 at 0");
}

static void test_node_id__a_nul_is_a_byte_like_any_other(void **state) {
    (void)state;
    struct bf_err err;
    assert_int_equal(bf_node_id_parse((struct bf_slice){"rim:entity:n:a\0", 15}, NULL, &err), BF_INVALID);
    assert_int_equal(bf_node_id_parse((struct bf_slice){"rim:entity:n:l and more", 14}, NULL, &err), BF_OK);
}

static void test_node_id__every_length_has_its_limit(void **state) {
    (void)state;
    char text[400], space[70], local[200];
    struct bf_err err;
    memset(space, 'n', sizeof space);
    memset(local, 'l', sizeof local);
    snprintf(text, sizeof text, "rim:relation:%.64s:%.128s", space, local);
    assert_int_equal(bf_node_id_parse(bf_slice_str(text), NULL, &err), BF_OK);
    snprintf(text, sizeof text, "rim:relation:%.65s:%.128s", space, local);
    expect_bad(text, "namespace has 65 characters, at most 64");
    snprintf(text, sizeof text, "rim:relation:%.64s:%.129s", space, local);
    expect_bad(text, "localId has 129 characters, at most 128");
    snprintf(text, sizeof text, "rim:relation:%.64s:%.178s", space, local);
    assert_int_equal(strlen(text), 256);
    expect_bad(text, "has 256 characters, at most 255");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_id__has_three_parts_behind_rim),
        cmocka_unit_test(test_node_id__ten_types_are_known),
        cmocka_unit_test(test_node_id__names_the_first_part_that_is_wrong),
        cmocka_unit_test(test_node_id__a_nul_is_a_byte_like_any_other),
        cmocka_unit_test(test_node_id__every_length_has_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
