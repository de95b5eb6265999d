#include "avro_schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum bf_code parse(const char *text, struct avro_schema **out, struct bf_err *err) {
    return avro_schema_parse(text, strlen(text), NULL, 0, out, err);
}

static void assert_written(const char *text, bool normalize, const char *expected) {
    struct avro_schema *s = NULL;
    struct bf_err err;
    struct bf_buf out;
    if (parse(text, &s, &err) != BF_OK) {
        fail_msg("%s: %s", text, err.msg);
    }
    bf_buf_init(&out, 1 << 20);
    avro_schema_write(s, normalize, &out);
    bf_buf_putc(&out, '\0');
    assert_false(out.failed);
    assert_string_equal(out.data, expected);
    bf_buf_fini(&out);
    avro_schema_free(s);
}

static void assert_refused(const char *text, const char *words) {
    struct avro_schema *s = NULL;
    struct bf_err err;
    enum bf_code code = parse(text, &s, &err);
    avro_schema_free(s);
    if (code == BF_OK) {
        fail_msg("accepted: %s", text);
    }
    assert_int_equal(code, BF_INVALID);
    if (strstr(err.msg, words) == NULL) {
        fail_msg("%s: message is \"%s\", without \"%s\"", text, err.msg, words);
    }
}

static void test_avro_schema__is_written_in_one_form(void **state) {
    (void)state;
    assert_written("{ \"type\" : \"string\" }", false, "\"string\"");
    assert_written("string", false, "\"string\"");
    assert_written("{\"logicalType\":\"timestamp-millis\",\"type\":\"long\"}", false,
                   "{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}");
    assert_written("{\"fields\":[{\"type\":\"int\",\"default\":1,\"name\":\"a\",\"extra\":[1,2.0],\"doc\":\"d\"}],"
                   "\"namespace\":\"x.y\",\"name\":\"R\",\"type\":\"record\"}",
                   false,
                   "{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"x.y\",\"fields\":[{\"name\":\"a\",\"type\":"
                   "\"int\",\"doc\":\"d\",\"default\":1,\"extra\":[1,2.0]}]}");
    assert_written("{\"type\":\"record\",\"name\":\"x.R\",\"fields\":[{\"name\":\"me\",\"type\":[\"null\",\"x.R\"],"
                   "\"default\":null,\"order\":\"ignore\"}]}",
                   false,
                   "{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"x\",\"fields\":[{\"name\":\"me\",\"type\":["
                   "\"null\",\"R\"],\"default\":null,\"order\":\"ignore\"}]}");
}

static void test_avro_schema__normal_form_sorts_what_has_no_order(void **state) {
    (void)state;
    assert_written(
        "{\"type\":\"enum\",\"name\":\"E\",\"doc\":\"\",\"aliases\":[\"z\",\"b\"],\"symbols\":[\"B\",\"A\"],\"q\":1,"
        "\"p\":2}",
        true, "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"B\",\"A\"],\"p\":2,\"q\":1,\"aliases\":[\"b\",\"z\"]}");
    assert_written("{\"type\":\"bytes\",\"scale\":2,\"precision\":9,\"logicalType\":\"decimal\"}", true,
                   "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9,\"scale\":2}");
}

static void test_avro_schema__mistakes_are_told_in_words(void **state) {
    (void)state;
    assert_refused("", "not JSON");
    assert_refused("{\"type\":\"string\"", "not JSON");
    assert_refused("{\"type\":\"string\",\"type\":\"int\"}", "not JSON: duplicate");
    assert_refused("\"Foo\"", "Undefined name: \"Foo\"");
    assert_refused("{}", "No type");
    assert_refused("[[\"null\"]]", "Nested union");
    assert_refused("[\"int\",\"int\"]", "Duplicate in union: int");
    assert_refused("{\"type\":\"record\",\"name\":\"R\"}", "Record has no fields: R");
    assert_refused("{\"type\":\"record\",\"fields\":[]}", "No name in schema");
    assert_refused("{\"type\":\"record\",\"name\":\"1R\",\"fields\":[]}", "Illegal character");
    assert_refused("{\"type\":\"record\",\"name\":\"a..R\",\"fields\":[]}", "Illegal namespace");
    assert_refused("{\"type\":\"record\",\"name\":\"int\",\"fields\":[]}", "may not be named after primitives");
    assert_refused("{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"a\","
                   "\"type\":\"int\"}]}",
                   "Duplicate field a");
    assert_refused(
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\",\"default\":\"x\"}]}",
        "Invalid default for field a");
    assert_refused(
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\",\"default\":2147483648}]}",
        "Invalid default");
    assert_refused("{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"R\",\"default\":{}}]}",
                   "Invalid default");
    assert_refused("{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\"}]}", "No field type");
    assert_refused(
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\",\"order\":\"up\"}]}",
        "order is");
    assert_refused("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"A\"]}", "Duplicate enum symbol: A");
    assert_refused("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"],\"default\":\"B\"}",
                   "not in the enum symbol set");
    assert_refused("{\"type\":\"fixed\",\"name\":\"F\",\"size\":-1}", "Invalid or no size");
    assert_refused("{\"type\":\"array\"}", "No items type");
    assert_refused("[{\"type\":\"fixed\",\"name\":\"F\",\"size\":1},{\"type\":\"array\",\"items\":{\"type\":\"fixed\","
                   "\"name\":\"F\",\"size\":2}}]",
                   "Can't redefine: F");
}

static void test_avro_schema__nesting_has_an_end(void **state) {
    (void)state;
    enum { LEVELS = 5000 };
    struct bf_buf text;
    struct avro_schema *s = NULL;
    struct bf_err err;
    bf_buf_init(&text, 1 << 20);
    for (int i = 0; i < LEVELS; i++) {
        bf_buf_puts(&text, "{\"type\":\"array\",\"items\":");
    }
    bf_buf_puts(&text, "\"int\"");
    for (int i = 0; i < LEVELS; i++) {
        bf_buf_putc(&text, '}');
    }
    assert_int_equal(avro_schema_parse(text.data, text.len, NULL, 0, &s, &err), BF_INVALID);
    bf_buf_fini(&text);
}

/* Each record's default is made of two defaults of the one before: without a budget this would take 2^40 steps. */
static void test_avro_schema__defaults_that_double_end_quickly(void **state) {
    (void)state;
    struct bf_buf text;
    struct avro_schema *s = NULL;
    struct bf_err err;
    bf_buf_init(&text, 1 << 20);
    bf_buf_puts(&text, "[{\"type\":\"record\",\"name\":\"R0\",\"fields\":[]}");
    for (int i = 1; i <= 40; i++) {
        bf_buf_printf(
            &text,
            ",{\"type\":\"record\",\"name\":\"R%d\",\"fields\":[{\"name\":\"a\",\"type\":\"R%d\",\"default\":{}},"
            "{\"name\":\"b\",\"type\":\"R%d\",\"default\":{}}]}",
            i, i - 1, i - 1);
    }
    bf_buf_puts(&text, "]");
    assert_int_equal(avro_schema_parse(text.data, text.len, NULL, 0, &s, &err), BF_INVALID);
    assert_non_null(strstr(err.msg, "Invalid default"));
    bf_buf_fini(&text);
}

static void test_avro_schema__references_define_names_and_are_written_by_name(void **state) {
    (void)state;
    static const char inner[] = "{\"type\":\"fixed\",\"name\":\"x.Hash\",\"size\":32}";
    static const char outer[] =
        "{\"type\":\"record\",\"name\":\"x.R\",\"fields\":[{\"name\":\"h\",\"type\":\"Hash\"}]}";
    struct avro_schema_reference refs[] = {{inner, sizeof inner - 1}};
    struct avro_schema *s = NULL;
    struct bf_err err;
    struct bf_buf out;
    assert_int_equal(avro_schema_parse(outer, sizeof outer - 1, NULL, 0, &s, &err), BF_INVALID);
    assert_int_equal(avro_schema_parse(outer, sizeof outer - 1, refs, 1, &s, &err), BF_OK);
    bf_buf_init(&out, 1 << 16);
    avro_schema_write(s, false, &out);
    bf_buf_putc(&out, '\0');
    assert_string_equal(
        out.data,
        "{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"x\",\"fields\":[{\"name\":\"h\",\"type\":\"Hash\"}]}");
    bf_buf_fini(&out);
    avro_schema_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_avro_schema__is_written_in_one_form),
        cmocka_unit_test(test_avro_schema__normal_form_sorts_what_has_no_order),
        cmocka_unit_test(test_avro_schema__mistakes_are_told_in_words),
        cmocka_unit_test(test_avro_schema__nesting_has_an_end),
        cmocka_unit_test(test_avro_schema__defaults_that_double_end_quickly),
        cmocka_unit_test(test_avro_schema__references_define_names_and_are_written_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
