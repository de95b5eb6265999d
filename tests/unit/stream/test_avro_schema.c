/* What is a schema and what is not: names, namespaces, definitions, limits of the schema itself. */
#include "avro_check.h"

#include <stdlib.h>

#define REC(fields) "{\"type\":\"record\",\"name\":\"R\",\"fields\":[" fields "]}"

static void test_schema__what_is_none_is_refused_with_the_place(void **state) {
    (void)state;
    static const char *const table[][2] = {
        {"", "line 1"},
        {"{", "line 1"},
        {"\"int\" \"int\"", "line 1"},
        {"7", "neither a name nor an object nor a list"},
        {"null", "neither"},
        {"true", "neither"},
        {"{}", "no \"type\""},
        {"{\"type\":null}", "no \"type\""},
        {"{\"type\":7}", "no \"type\""},
        {"\"nobody\"", "type \"nobody\" is not known"},
        {"{\"type\":\"nobody\"}", "not known"},
        {"{\"type\":\"array\"}", "no items"},
        {"{\"type\":\"map\"}", "no values"},
        {"{\"type\":\"array\",\"items\":7}", "neither"},
        {"{\"type\":\"record\",\"fields\":[]}", "no name"},
        {"{\"type\":\"record\",\"name\":7,\"fields\":[]}", "no name"},
        {"{\"type\":\"record\",\"name\":\"R\"}", "no list of fields"},
        {"{\"type\":\"record\",\"name\":\"R\",\"fields\":{}}", "no list of fields"},
        {REC("7"), "no name for a field"},
        {REC("{\"name\":\"a\"}"), "field a has no type"},
        {REC("{\"type\":\"int\"}"), "no name for a field"},
        {REC("{\"name\":\"a b\",\"type\":\"int\"}"), "no name for a field"},
        {REC("{\"name\":\"1a\",\"type\":\"int\"}"), "no name for a field"},
        {REC("{\"name\":\"\",\"type\":\"int\"}"), "no name for a field"},
        {REC("{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"a\",\"type\":\"int\"}"), "field \"a\" stands there twice"},
        {REC("{\"name\":\"a\",\"type\":[\"null\",{\"type\":\"array\",\"items\":\"nope\"}]}"), "a: branch 1: type \"nope\""},
        {"{\"type\":\"enum\",\"name\":\"E\"}", "no list of symbols"},
        {"{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",7]}", "symbol 1 is no name"},
        {"{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"a-b\"]}", "symbol 0 is no name"},
        {"{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"B\",\"A\",\"B\"]}", "symbol \"B\" stands there twice"},
        {"{\"type\":\"fixed\",\"name\":\"F\"}", "size"},
        {"{\"type\":\"fixed\",\"name\":\"F\",\"size\":-1}", "size"},
        {"{\"type\":\"fixed\",\"name\":\"F\",\"size\":1.5}", "size"},
        {"{\"type\":\"fixed\",\"name\":\"F\",\"size\":9999999999}", "size"},
        {"{\"type\":\"fixed\",\"name\":\"a..F\",\"size\":1}", "no name for a type"},
        {"{\"type\":\"fixed\",\"name\":\"F\",\"namespace\":\"a.\",\"size\":1}", "no name for a type"},
        {"{\"type\":\"fixed\",\"name\":\"\",\"size\":1}", "no name for a type"},
        {"{\"type\":\"fixed\",\"name\":\"long\",\"size\":1}", "no name for a type"},
        {"[\"int\",\"int\"]", "same type twice, branches 0 and 1"},
        {"[\"int\",{\"type\":\"int\",\"logicalType\":\"date\"}]", "same type twice"},
        {"[{\"type\":\"array\",\"items\":\"int\"},\"null\",{\"type\":\"array\",\"items\":\"long\"}]", "branches 0 and 2"},
        {"[{\"type\":\"fixed\",\"name\":\"F\",\"size\":1},\"F\"]", "same type twice"},
        {"[\"int\",[\"null\",\"string\"]]", "a union stands directly in a union"},
        {"[\"int\",{\"type\":[\"null\",\"string\"]}]", "a union stands directly in a union"},
        {"[{\"type\":\"fixed\",\"name\":\"F\",\"size\":1},{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}]", "type F is defined twice"},
        {"{\"type\":\"int\",\"type\":\"int\"}", "duplicate"},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        expect_bad_schema(table[i][0], table[i][1]);
    }
}

static void test_schema__types_may_be_wrapped_in_objects(void **state) {
    (void)state;
    expect_json("{\"type\":{\"type\":{\"type\":\"int\"}}}", BYTES("\x02"), "1");
    expect_json("{\"type\":[\"null\",\"int\"]}", BYTES("\x02\x02"), "1");
    expect_json(REC("{\"name\":\"a\",\"type\":{\"type\":[\"null\",\"int\"]}}"), BYTES("\x02\x02"), "{\"a\":1}");
}

static void test_schema__unions_of_several_named_types_are_fine(void **state) {
    (void)state;
    expect_json("[{\"type\":\"fixed\",\"name\":\"F\",\"size\":1},{\"type\":\"fixed\",\"name\":\"G\",\"size\":1}," REC("") "]",
                BYTES("\x02x"), "\"eA==\"");
}

static void test_schema__a_name_without_dots_is_in_the_namespace_around(void **state) {
    (void)state;
    /* R is x.R; F is x.F; G says its own; H in the empty one */
    expect_json("{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"x\",\"fields\":["
                "{\"name\":\"a\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":1}},"
                "{\"name\":\"b\",\"type\":{\"type\":\"fixed\",\"name\":\"y.z.G\",\"size\":1}},"
                "{\"name\":\"c\",\"type\":\"x.F\"},{\"name\":\"d\",\"type\":\"F\"},{\"name\":\"e\",\"type\":\"y.z.G\"},"
                "{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"H\",\"namespace\":\"\",\"size\":1}},{\"name\":\"g\",\"type\":\"H\"}]}",
                BYTES("abcdefg"), "{\"a\":\"YQ==\",\"b\":\"Yg==\",\"c\":\"Yw==\",\"d\":\"ZA==\",\"e\":\"ZQ==\",\"f\":\"Zg==\",\"g\":\"Zw==\"}");
    /* what is inside y.z.S is in y.z; after it, in x again */
    expect_json("{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"x\",\"fields\":["
                "{\"name\":\"a\",\"type\":{\"type\":\"record\",\"name\":\"y.z.S\",\"namespace\":\"ignored\",\"fields\":["
                "{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":1}},{\"name\":\"g\",\"type\":\"y.z.F\"}]}},"
                "{\"name\":\"b\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}},{\"name\":\"c\",\"type\":\"F\"}]}",
                BYTES("abccdd"), "{\"a\":{\"f\":\"YQ==\",\"g\":\"Yg==\"},\"b\":\"Y2M=\",\"c\":\"ZGQ=\"}");
    expect_bad_schema("{\"type\":\"record\",\"name\":\"x.R\",\"fields\":[{\"name\":\"a\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":1}},"
                      "{\"name\":\"b\",\"type\":\"y.F\"}]}",
                      "type \"y.F\" is not known");
}

static void test_schema__the_name_of_a_primitive_is_free_in_a_namespace(void **state) {
    (void)state;
    expect_json("{\"type\":\"record\",\"name\":\"x.string\",\"fields\":[{\"name\":\"a\",\"type\":[\"null\",\"x.string\"]},{\"name\":\"b\",\"type\":\"string\"}]}",
                BYTES("\0\x02s"), "{\"a\":null,\"b\":\"s\"}");
}

static void test_schema__its_own_nesting_is_limited(void **state) {
    (void)state;
    struct bf_buf s;
    bf_buf_init(&s, 1 << 20);
    for (int depth = 99; depth <= 2000; depth = depth == 99 ? 100 : depth + 950) {
        bf_buf_clear(&s);
        for (int i = 0; i < depth; i++) {
            bf_buf_puts(&s, "{\"type\":\"array\",\"items\":");
        }
        bf_buf_puts(&s, "\"int\"");
        for (int i = 0; i < depth; i++) {
            bf_buf_putc(&s, '}');
        }
        bf_buf_putc(&s, '\0');
        if (depth == 99) {
            bf_avro_free(compile(s.data));
        } else {
            expect_bad_schema(s.data, "nests more than 100 deep");
        }
    }
    bf_buf_fini(&s);
}

static void test_schema__a_wide_one_compiles_and_decodes(void **state) {
    (void)state;
    struct bf_buf s, b, want;
    struct bf_err err;
    bf_buf_init(&s, 1 << 24);
    bf_buf_init(&b, 1 << 24);
    bf_buf_init(&want, 1 << 24);
    bf_buf_puts(&s, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[");
    bf_buf_puts(&want, "{");
    for (int i = 0; i < 5000; i++) {
        bf_buf_printf(&s, "%s{\"name\":\"field_%d\",\"type\":[\"null\",\"string\",\"int\"]}", i > 0 ? "," : "", i);
        bf_buf_printf(&want, "%s\"field_%d\":%d", i > 0 ? "," : "", i, i);
        put_long(&b, 2);
        put_long(&b, i);
    }
    bf_buf_puts(&s, "]}");
    bf_buf_append(&want, "}\0", 2);
    bf_buf_putc(&s, '\0');
    expect_json_only(s.data, bytes_of(&b), want.data);
    struct bf_avro *a = compile(s.data);
    assert_int_equal(bf_avro_decode(a, bytes_of(&b), NULL, NULL, NULL, &err), BF_OK);
    bf_avro_free(a);
    bf_buf_fini(&s);
    bf_buf_fini(&b);
    bf_buf_fini(&want);
}

static void test_schema__names_have_a_limit(void **state) {
    (void)state;
    char schema[3000], name[2000];
    memset(name, 'a', 1025);
    name[1025] = '\0';
    snprintf(schema, sizeof schema, REC("{\"name\":\"%s\",\"type\":\"int\"}"), name);
    expect_bad_schema(schema, "longer than 1024 bytes");
    snprintf(schema, sizeof schema, "{\"type\":\"fixed\",\"name\":\"%s\",\"size\":1}", name);
    expect_bad_schema(schema, "longer than 1024 bytes");
    name[1024] = '\0';
    snprintf(schema, sizeof schema, REC("{\"name\":\"%s\",\"type\":\"int\"}"), name);
    bf_avro_free(compile(schema));
}

static void test_schema__a_message_about_long_names_stays_whole(void **state) {
    (void)state;
    struct bf_buf s;
    bf_buf_init(&s, 1 << 20);
    bf_buf_putc(&s, '"');
    for (int i = 0; i < 100000; i++) {
        bf_buf_putc(&s, 'x');
    }
    bf_buf_append(&s, "\"\0", 3);
    expect_bad_schema(s.data, "longer than");
    bf_buf_fini(&s);
}

/* ---- columns ---- */

static void test_columns__of_a_record_are_its_fields(void **state) {
    (void)state;
    struct bf_avro *a = compile(
        REC("{\"name\":\"n\",\"type\":\"null\"},{\"name\":\"b\",\"type\":\"boolean\",\"doc\":\"yes or no\"},{\"name\":\"i\",\"type\":[\"null\",\"int\"]},"
            "{\"name\":\"l\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}},{\"name\":\"f\",\"type\":[\"float\",\"null\"]},"
            "{\"name\":\"d\",\"type\":\"double\"},{\"name\":\"s\",\"type\":[\"null\",{\"type\":\"string\",\"logicalType\":\"uuid\"}]},"
            "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}},{\"name\":\"y\",\"type\":\"bytes\"},"
            "{\"name\":\"x\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":4,\"logicalType\":\"decimal\",\"precision\":9}},"
            "{\"name\":\"u\",\"type\":[\"null\",\"int\",\"string\"]},{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":\"int\"}},"
            "{\"name\":\"a\",\"type\":[\"null\",{\"type\":\"array\",\"items\":\"int\"}]},{\"name\":\"r\",\"type\":[\"null\",\"R\"]}"));
    static const struct bf_avro_column want[] = {
        {"n", BF_AVRO_NULL, BF_AVRO_PLAIN, NULL},           {"b", BF_AVRO_BOOLEAN, BF_AVRO_PLAIN, "yes or no"},
        {"i", BF_AVRO_LONG, BF_AVRO_PLAIN, NULL},           {"l", BF_AVRO_LONG, BF_AVRO_TIMESTAMP_MICROS, NULL},
        {"f", BF_AVRO_DOUBLE, BF_AVRO_PLAIN, NULL},         {"d", BF_AVRO_DOUBLE, BF_AVRO_PLAIN, NULL},
        {"s", BF_AVRO_STRING, BF_AVRO_OTHER_LOGICAL, NULL}, {"e", BF_AVRO_STRING, BF_AVRO_PLAIN, NULL},
        {"y", BF_AVRO_BYTES, BF_AVRO_PLAIN, NULL},          {"x", BF_AVRO_BYTES, BF_AVRO_OTHER_LOGICAL, NULL},
        {"u", BF_AVRO_ABSENT, BF_AVRO_PLAIN, NULL},         {"m", BF_AVRO_ABSENT, BF_AVRO_PLAIN, NULL},
        {"a", BF_AVRO_ABSENT, BF_AVRO_PLAIN, NULL},         {"r", BF_AVRO_ABSENT, BF_AVRO_PLAIN, NULL},
    };
    const struct bf_avro_column *got;
    assert_int_equal(bf_avro_columns(a, &got), COUNT(want));
    for (size_t i = 0; i < COUNT(want); i++) {
        assert_string_equal(got[i].name, want[i].name);
        assert_int_equal(got[i].kind, want[i].kind);
        assert_int_equal(got[i].logical, want[i].logical);
        assert_int_equal(got[i].doc == NULL, want[i].doc == NULL);
    }
    assert_string_equal(got[1].doc, "yes or no");
    bf_avro_free(a);
}

/* Regression 2: uuid and duration on fixed were marked as a decimal is, and are none. */
static void test_columns__bytes_with_a_logical_type_are_decimals_and_nothing_else(void **state) {
    (void)state;
    struct bf_avro *a = compile(REC("{\"name\":\"u\",\"type\":{\"type\":\"fixed\",\"name\":\"U\",\"size\":16,\"logicalType\":\"uuid\"}},"
                                    "{\"name\":\"d\",\"type\":{\"type\":\"fixed\",\"name\":\"D\",\"size\":12,\"logicalType\":\"duration\"}}"));
    const struct bf_avro_column *got;
    assert_int_equal(bf_avro_columns(a, &got), 2);
    assert_int_equal(got[0].logical, BF_AVRO_PLAIN);
    assert_int_equal(got[1].logical, BF_AVRO_PLAIN);
    bf_avro_free(a);
}

static void test_columns__what_is_no_record_has_none(void **state) {
    (void)state;
    static const char *const schemas[] = {"\"int\"", "[\"null\"," REC("{\"name\":\"a\",\"type\":\"int\"}") "]", "{\"type\":\"map\",\"values\":\"int\"}"};
    for (size_t i = 0; i < COUNT(schemas); i++) {
        const struct bf_avro_column *got;
        struct bf_avro *a = compile(schemas[i]);
        assert_int_equal(bf_avro_columns(a, &got), 0);
        bf_avro_free(a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema__what_is_none_is_refused_with_the_place),
        cmocka_unit_test(test_schema__types_may_be_wrapped_in_objects),
        cmocka_unit_test(test_schema__unions_of_several_named_types_are_fine),
        cmocka_unit_test(test_schema__a_name_without_dots_is_in_the_namespace_around),
        cmocka_unit_test(test_schema__the_name_of_a_primitive_is_free_in_a_namespace),
        cmocka_unit_test(test_schema__its_own_nesting_is_limited),
        cmocka_unit_test(test_schema__a_wide_one_compiles_and_decodes),
        cmocka_unit_test(test_schema__names_have_a_limit),
        cmocka_unit_test(test_schema__a_message_about_long_names_stays_whole),
        cmocka_unit_test(test_columns__of_a_record_are_its_fields),
        cmocka_unit_test(test_columns__bytes_with_a_logical_type_are_decimals_and_nothing_else),
        cmocka_unit_test(test_columns__what_is_no_record_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
