/* Plain JSON to Avro: what our own decoder reads back, defaults, bare unions, and messages that name the field. */
#include "avro_check.h"

#include "bf_avro_encode.h"
#include "bf_json.h"

#include <stdlib.h>

#define F(name, type) "{\"name\":\"" name "\",\"type\":" type "}"
#define FD(name, type, fallback) "{\"name\":\"" name "\",\"type\":" type ",\"default\":" fallback "}"
#define REC(name, fields) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[" fields "]}"

static struct bf_avro_encoder *encoder(const char *schema) {
    struct bf_avro_encoder *e = NULL;
    struct bf_err err;
    if (bf_avro_encoder_new(schema, &e, &err) != BF_OK) {
        fail_msg("%s: %s", schema, err.msg);
    }
    return e;
}

static json_t *json_of(const char *text) {
    json_t *v = NULL;
    struct bf_err err;
    if (bf_json_parse(text, strlen(text), &v, &err) != BF_OK) {
        fail_msg("%s: %s", text, err.msg);
    }
    return v;
}

/* The value encodes; the bytes decode to `json`. */
static void expect_encoded(const char *schema, const char *value, const char *json) {
    struct bf_avro_encoder *e = encoder(schema);
    struct bf_avro *a = compile(schema);
    json_t *v = json_of(value);
    struct bf_buf bytes, out;
    struct bf_err err;
    bf_buf_init(&bytes, 1 << 20);
    bf_buf_init(&out, 1 << 20);
    for (int again = 0; again < 2; again++) { /* an encoder is used for many values */
        bf_buf_clear(&bytes);
        bf_buf_clear(&out);
        if (bf_avro_encode(e, v, &bytes, &err) != BF_OK) {
            fail_msg("%s: %s", value, err.msg);
        }
        if (bf_avro_decode(a, bytes_of(&bytes), NULL, &out, NULL, &err) != BF_OK) {
            fail_msg("%s: %s", value, err.msg);
        }
        bf_buf_putc(&out, '\0');
        assert_string_equal(out.data, json);
    }
    bf_buf_fini(&bytes);
    bf_buf_fini(&out);
    json_decref(v);
    bf_avro_free(a);
    bf_avro_encoder_free(e);
}

static void expect_same(const char *schema, const char *value) {
    expect_encoded(schema, value, value);
}

static void expect_refused(const char *schema, const char *value, const char *words) {
    struct bf_avro_encoder *e = encoder(schema);
    json_t *v = json_of(value);
    struct bf_buf bytes;
    struct bf_err err = {0};
    bf_buf_init(&bytes, 1 << 20);
    bf_buf_puts(&bytes, "kept");
    if (bf_avro_encode(e, v, &bytes, &err) != BF_INVALID) {
        fail_msg("%s: taken (%s)", value, err.msg);
    }
    assert_int_equal(bytes.len, 4);
    if (strstr(err.msg, words) == NULL) {
        fail_msg("%s: \"%s\" wanted, got: %s", value, words, err.msg);
    }
    bf_buf_fini(&bytes);
    json_decref(v);
    bf_avro_encoder_free(e);
}

static void test_encode__every_type_there_and_back(void **state) {
    (void)state;
    expect_same("\"null\"", "null");
    expect_same("\"boolean\"", "true");
    expect_same("\"int\"", "-2147483648");
    expect_same("\"long\"", "-9223372036854775808");
    expect_same("\"long\"", "9223372036854775807");
    expect_same("\"float\"", "1.5");
    expect_same("\"double\"", "0.1");
    expect_same("\"double\"", "\"NaN\"");
    expect_same("\"double\"", "\"-Infinity\"");
    expect_same("\"float\"", "\"Infinity\"");
    expect_same("\"string\"", "\"\"");
    expect_same("\"string\"", "\"\xc3\xa9\\n\"");
    expect_same("\"bytes\"", "\"\"");
    expect_same("\"bytes\"", "\"/w==\"");
    expect_same("\"bytes\"", "\"ABCD\"");
    expect_same("\"bytes\"", "\"AAA=\"");
    expect_same("{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}", "\"AAE=\"");
    expect_same("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", "\"B\"");
    expect_same("{\"type\":\"array\",\"items\":\"int\"}", "[1,2,3]");
    expect_same("{\"type\":\"array\",\"items\":\"int\"}", "[]");
    expect_same("{\"type\":\"map\",\"values\":\"string\"}", "{\"k\":\"v\"}");
    expect_same("{\"type\":\"map\",\"values\":\"string\"}", "{}");
    expect_same(REC("R", F("a", "\"int\"") "," F("r", "[\"null\",\"R\"]")), "{\"a\":1,\"r\":{\"a\":2,\"r\":null}}");
    expect_encoded(REC("R", F("a", "\"int\"") "," F("b", "\"int\"")), "{\"b\":2,\"a\":1}", "{\"a\":1,\"b\":2}");
}

static void test_encode__decimals_are_text(void **state) {
    (void)state;
    static const char of_bytes[] = "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9,\"scale\":2}";
    static const char of_fixed[] = "{\"type\":\"fixed\",\"name\":\"F\",\"size\":4,\"logicalType\":\"decimal\",\"precision\":9,\"scale\":2}";
    expect_same(of_bytes, "\"-12.34\"");
    expect_encoded(of_bytes, "\"5\"", "\"5.00\"");
    expect_same(of_fixed, "\"-0.01\"");
    expect_same(of_fixed, "\"21474836.47\"");
    expect_refused(of_fixed, "\"21474836.48\"", "does not fit");
    expect_refused(of_bytes, "\"1.234\"", "no decimal of the schema's scale");
    expect_refused(of_bytes, "1.23", "expected a decimal string, got a number");
}

static void test_encode__numbers_that_are_whole_are_integers(void **state) {
    (void)state;
    expect_encoded("\"long\"", "5.0", "5");
    expect_encoded("\"int\"", "1e3", "1000");
    expect_encoded("\"double\"", "3", "3.0");
    expect_refused("\"long\"", "5.5", "expected an integer, got a number");
    expect_refused("\"long\"", "1e300", "expected an integer");
    expect_refused("\"int\"", "2147483648", "does not fit 32 bits");
    expect_refused("\"int\"", "-2147483649", "does not fit 32 bits");
    expect_refused("\"float\"", "1e39", "does not fit a float");
    expect_refused("\"double\"", "\"nan\"", "expected a number, got a string");
}

static void test_encode__what_is_missing_takes_the_default(void **state) {
    (void)state;
    expect_encoded(REC("R", FD("a", "\"int\"", "7") "," FD("s", "\"string\"", "\"x\"") "," FD("d", "\"double\"", "1")), "{}",
                 "{\"a\":7,\"s\":\"x\",\"d\":1.0}");
    expect_encoded(REC("R", FD("m", "{\"type\":\"map\",\"values\":\"int\"}", "{\"k\":1}") "," FD("l", "{\"type\":\"array\",\"items\":\"int\"}", "[1,2]")), "{}",
                 "{\"m\":{\"k\":1},\"l\":[1,2]}");
    expect_encoded(REC("R", FD("b", "\"bytes\"", "\"\\u00ff\\u0001\"") "," FD("f", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}", "\"\\u00e9A\"")), "{}",
                 "{\"b\":\"/wE=\",\"f\":\"6UE=\"}");
    expect_encoded(REC("R", FD("e", "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", "\"B\"")), "{}", "{\"e\":\"B\"}");
    expect_encoded(REC("R", FD("s", REC("S", FD("x", "\"int\"", "1") "," F("y", "\"int\"")), "{\"y\":5}")), "{}", "{\"s\":{\"x\":1,\"y\":5}}");
    expect_encoded(REC("R", FD("u", "[\"string\",\"null\"]", "\"x\"")), "{}", "{\"u\":\"x\"}");
    expect_encoded(REC("R", FD("u", "[\"null\",\"string\"]", "null")), "{}", "{\"u\":null}");
    expect_encoded(REC("R", FD("u", "[\"bytes\",\"string\"]", "\"\\u00ff\"")), "{}", "{\"u\":\"/w==\"}"); /* the first branch's */
}

static void test_encode__a_default_does_not_change_how_the_next_field_is_read(void **state) {
    (void)state;
    expect_encoded(REC("R", FD("a", "\"bytes\"", "\"AA==\"") "," F("b", "\"bytes\"")), "{\"b\":\"AA==\"}", "{\"a\":\"QUE9PQ==\",\"b\":\"AA==\"}");
}

static void test_encode__what_is_missing_and_nullable_is_null(void **state) {
    (void)state;
    expect_encoded(REC("R", F("u", "[\"null\",\"string\"]") "," F("v", "[\"int\",\"null\"]") "," F("n", "\"null\"")), "{}",
                 "{\"u\":null,\"v\":null,\"n\":null}");
    expect_encoded(REC("R", FD("v", "[\"int\",\"null\"]", "7")), "{}", "{\"v\":7}"); /* a default goes first */
    expect_encoded(REC("R", FD("v", "[\"int\",\"null\"]", "7")), "{\"v\":null}", "{\"v\":null}");
}

static void test_encode__unions_take_what_fits_best(void **state) {
    (void)state;
    static const char u[] = "[\"null\",\"double\",\"long\",\"string\",\"boolean\",{\"type\":\"array\",\"items\":\"int\"},{\"type\":\"map\",\"values\":\"int\"}]";
    expect_same(u, "null");
    expect_same(u, "7");
    expect_same(u, "7.5");
    expect_same(u, "\"x\"");
    expect_same(u, "\"NaN\""); /* is a string, where there is one */
    expect_same(u, "true");
    expect_same(u, "[1]");
    expect_same(u, "{\"k\":1}");
    expect_encoded("[\"int\",\"long\"]", "3000000000", "3000000000");
    expect_same("[\"null\",\"double\"]", "\"Infinity\"");
    expect_same("[\"string\",{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}]", "\"A\"");
    expect_same("[" REC("P", F("a", "\"int\"")) "," REC("Q", F("a", "\"int\"") "," FD("b", "\"int\"", "0")) "]", "{\"a\":1,\"b\":2}");
    expect_refused("[\"int\",\"string\"]", "true", "a value of one of the union's types, got a boolean");
    expect_refused("[\"null\",\"int\"]", "\"x\"", "expected an integer, got a string");
}

static void test_encode__a_refusal_names_the_field(void **state) {
    (void)state;
    static const char schema[] =
        REC("R", F("a", REC("A", F("list", "{\"type\":\"array\",\"items\":{\"type\":\"map\",\"values\":\"int\"}}"))) "," FD("s", "\"string\"", "\"\""));
    expect_refused(schema, "{\"a\":{\"list\":[{},{\"k\":\"x\"}]}}", "a.list[1].k: expected an integer, got a string");
    expect_refused(schema, "{\"a\":{}}", "a.list: is missing and has no default");
    expect_refused(schema, "{}", "a: is missing");
    expect_refused(schema, "{\"a\":7}", "a: expected an object, got an integer");
    expect_refused(schema, "{\"a\":{\"list\":{}}}", "a.list: expected a list, got an object");
    expect_refused(schema, "{\"a\":{\"list\":[7]}}", "a.list[0]: expected an object");
    expect_refused(schema, "{\"a\":{\"list\":[]},\"nobody\":1}", "nobody: the schema has no such field");
    expect_refused(schema, "{\"a\":{\"list\":[],\"deep\":1}}", "a.deep: the schema has no such field");
    expect_refused(schema, "{\"a\":{\"list\":[]},\"s\":null}", "s: expected a string, got null");
    expect_refused(schema, "[]", "value: expected an object, got a list");
    expect_refused("{\"type\":\"enum\",\"name\":\"n.E\",\"symbols\":[\"A\"]}", "\"B\"", "\"B\" is no symbol of n.E");
    expect_refused("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}", "7", "expected a symbol");
    expect_refused("\"boolean\"", "1", "expected a boolean, got an integer");
    expect_refused("\"null\"", "0", "expected null");
}

static void test_encode__base64_is_strict(void **state) {
    (void)state;
    static const char *const bad[] = {"\"A\"", "\"AA\"", "\"AA=\"", "\"A===\"", "\"AB==\"", "\"AAB=\"", "\"AA=A\"", "\"A A=\"", "\"====\"", "\"AA-_\"", "\"\xc3\xa9==\""};
    for (size_t i = 0; i < COUNT(bad); i++) {
        expect_refused("\"bytes\"", bad[i], "base64");
    }
    expect_refused("\"bytes\"", "7", "expected a string in base64");
    expect_refused("{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}", "\"AA==\"", "another length");
}

static void test_encode__a_full_buffer_is_no_memory_and_the_encoder_goes_on(void **state) {
    (void)state;
    struct bf_avro_encoder *e = encoder("\"string\"");
    json_t *v = json_of("\"0123456789\"");
    struct bf_buf small, large;
    struct bf_err err;
    bf_buf_init(&small, 5);
    bf_buf_init(&large, 100);
    assert_int_equal(bf_avro_encode(e, v, &small, &err), BF_NOMEM);
    assert_int_equal(small.len, 0);
    assert_int_equal(bf_avro_encode(e, v, &large, &err), BF_OK);
    assert_int_equal(bf_avro_encode(e, v, &large, &err), BF_OK); /* appended */
    assert_int_equal(large.len, 22);
    bf_buf_fini(&small);
    bf_buf_fini(&large);
    json_decref(v);
    bf_avro_encoder_free(e);
}

static void test_encode__after_a_refusal_the_next_value_is_unharmed(void **state) {
    (void)state;
    static const char schema[] = REC("R", F("m", "{\"type\":\"map\",\"values\":\"int\"}") "," F("l", "{\"type\":\"array\",\"items\":\"int\"}"));
    struct bf_avro_encoder *e = encoder(schema);
    json_t *bad = json_of("{\"m\":{\"left\":1,\"over\":2},\"l\":[1,2,\"x\"]}"), *good = json_of("{\"m\":{\"k\":1},\"l\":[5]}");
    struct bf_buf bytes;
    struct bf_err err;
    bf_buf_init(&bytes, 1000);
    assert_int_equal(bf_avro_encode(e, bad, &bytes, &err), BF_INVALID);
    assert_int_equal(bf_avro_encode(e, good, &bytes, &err), BF_OK);
    expect_json_only(schema, bytes_of(&bytes), "{\"m\":{\"k\":1},\"l\":[5]}");
    bf_buf_fini(&bytes);
    json_decref(bad);
    json_decref(good);
    bf_avro_encoder_free(e);
}

static void test_encode__a_bad_schema_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "{", "\"nobody\"", "{\"type\":\"record\"}", "[\"int\",\"int\"]"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct bf_avro_encoder *e = NULL;
        struct bf_err err;
        assert_int_equal(bf_avro_encoder_new(bad[i], &e, &err), BF_INVALID);
        assert_null(e);
        assert_non_null(strstr(err.msg, "Avro schema"));
    }
    bf_avro_encoder_free(NULL);
}

/* Regression 2: avro-c makes such a record's value by making its field's, and so on until the stack is gone. */
static void test_encode__a_record_that_must_contain_itself_is_refused(void **state) {
    (void)state;
    static const char *const endless[] = {
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"r\",\"type\":\"R\"}]}",
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"s\",\"type\":{\"type\":\"record\",\"name\":\"S\",\"fields\":["
        "{\"name\":\"r\",\"type\":\"R\"}]}}]}",
        "[\"null\",{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"r\",\"type\":{\"type\":\"R\"}}]}]"};
    for (size_t i = 0; i < COUNT(endless); i++) {
        struct bf_avro_encoder *e = NULL;
        struct bf_err err = {0};
        assert_int_equal(bf_avro_encoder_new(endless[i], &e, &err), BF_INVALID);
        assert_null(e);
        assert_non_null(strstr(err.msg, "'R' contains itself"));
    }
    static const char fine[] = "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"r\",\"type\":[\"null\",\"R\"]}]}";
    struct bf_avro_encoder *e = NULL;
    struct bf_err err = {0};
    assert_int_equal(bf_avro_encoder_new(fine, &e, &err), BF_OK);
    bf_avro_encoder_free(e);
}

static void test_encode__the_projects_own_schemas_are_read(void **state) {
    (void)state;
    static const char *const names[] = {"rim.fast-path", "odyssey.reflex", "plato.decision"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[256];
        json_t *schema = NULL;
        struct bf_err err;
        snprintf(path, sizeof path, BF_SOURCE_DIR "/schemas/%s.avsc", names[i]);
        assert_int_equal(bf_json_load_file(path, &schema, &err), BF_OK);
        char *text = json_dumps(schema, JSON_COMPACT);
        bf_avro_encoder_free(encoder(text));
        bf_avro_free(compile(text));
        free(text);
        json_decref(schema);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode__every_type_there_and_back),
        cmocka_unit_test(test_encode__decimals_are_text),
        cmocka_unit_test(test_encode__numbers_that_are_whole_are_integers),
        cmocka_unit_test(test_encode__what_is_missing_takes_the_default),
        cmocka_unit_test(test_encode__a_default_does_not_change_how_the_next_field_is_read),
        cmocka_unit_test(test_encode__what_is_missing_and_nullable_is_null),
        cmocka_unit_test(test_encode__unions_take_what_fits_best),
        cmocka_unit_test(test_encode__a_refusal_names_the_field),
        cmocka_unit_test(test_encode__base64_is_strict),
        cmocka_unit_test(test_encode__a_full_buffer_is_no_memory_and_the_encoder_goes_on),
        cmocka_unit_test(test_encode__after_a_refusal_the_next_value_is_unharmed),
        cmocka_unit_test(test_encode__a_bad_schema_is_refused),
        cmocka_unit_test(test_encode__a_record_that_must_contain_itself_is_refused),
        cmocka_unit_test(test_encode__the_projects_own_schemas_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
