/* Single values: every primitive, the named ones without structure, logical types; their edges and what is refused. */
#include "avro_check.h"

#include <math.h>

#define A BF_AVRO_FAULT_AVRO

static void test_avro__null_takes_no_bytes(void **state) {
    (void)state;
    expect_json("\"null\"", BYTES(""), "null");
    expect_json("{\"type\":\"null\"}", BYTES(""), "null");
}

static void test_avro__an_absent_slice_is_no_bytes(void **state) {
    (void)state;
    struct bf_avro *a = compile("\"null\"");
    struct bf_err err;
    assert_int_equal(bf_avro_decode(a, BF_SLICE_NONE, NULL, NULL, NULL, &err), BF_OK);
    bf_avro_free(a);
    a = compile("\"int\"");
    assert_int_equal(bf_avro_decode(a, BF_SLICE_NONE, NULL, NULL, NULL, &err), BF_REJECTED);
    bf_avro_free(a);
}

static void test_avro__a_boolean_is_0_or_1(void **state) {
    (void)state;
    expect_json("\"boolean\"", BYTES("\0"), "false");
    expect_json("\"boolean\"", BYTES("\1"), "true");
    expect_fault("\"boolean\"", BYTES("\2"), A, "boolean");
    expect_fault("\"boolean\"", BYTES("\xff"), A, "boolean");
}

static void test_avro__ints_have_32_bits(void **state) {
    (void)state;
    expect_json("\"int\"", BYTES("\0"), "0");
    expect_json("\"int\"", BYTES("\1"), "-1");
    expect_json("\"int\"", BYTES("\x7f"), "-64");
    expect_json("\"int\"", BYTES("\x80\x01"), "64");
    expect_json("\"int\"", BYTES("\xfe\xff\xff\xff\x0f"), "2147483647");
    expect_json("\"int\"", BYTES("\xff\xff\xff\xff\x0f"), "-2147483648");
    expect_fault("\"int\"", BYTES("\x80\x80\x80\x80\x10"), A, "32 bits"); /* 2147483648 */
    expect_fault("\"int\"", BYTES("\x81\x80\x80\x80\x10"), A, "32 bits");
}

static void test_avro__longs_are_exact_at_both_ends(void **state) {
    (void)state;
    expect_json("\"long\"", BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "9223372036854775807");
    expect_json("\"long\"", BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "-9223372036854775808");
    expect_json("\"long\"", BYTES("\x82\x80\x80\x80\x80\x80\x80\x20"), "9007199254740993"); /* no double */
    expect_fault("\"long\"", BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), A, "64 bits");
    expect_fault("\"long\"", BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00"), A, "64 bits");
    expect_fault("\"long\"", BYTES("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"), A, "64 bits");
}

static void test_avro__a_long_number_of_leading_zeros_is_the_same_number(void **state) {
    (void)state;
    expect_json("\"long\"", BYTES("\x82\x80\x80\x00"), "1"); /* no encoder writes it, the specification does not forbid it */
}

static void test_avro__doubles_come_in_their_shortest_form(void **state) {
    (void)state;
    static const struct {
        double v;
        const char *json;
    } table[] = {{0.0, "0.0"},
                 {-0.0, "-0.0"},
                 {0.1, "0.1"},
                 {1.0852, "1.0852"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {5e-324, "5e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {-9007199254740993.0, "-9007199254740992.0"},
                 {1e22, "1e+22"},
                 {(double)INFINITY, "\"Infinity\""},
                 {-(double)INFINITY, "\"-Infinity\""},
                 {(double)NAN, "\"NaN\""},
                 {-(double)NAN, "\"NaN\""}};
    for (size_t i = 0; i < COUNT(table); i++) {
        expect_json("\"double\"", (struct bf_slice){&table[i].v, 8}, table[i].json);
    }
}

static void test_avro__a_float_is_the_double_it_is_equal_to(void **state) {
    (void)state;
    expect_json("\"float\"", BYTES("\x00\x00\xc0\x3f"), "1.5");
    expect_json("\"float\"", BYTES("\xcd\xcc\xcc\x3d"), "0.10000000149011612");
    expect_json("\"float\"", BYTES("\xff\xff\x7f\x7f"), "3.4028234663852886e+38");
    expect_json("\"float\"", BYTES("\x01\x00\x00\x00"), "1.401298464324817e-45");
    expect_json("\"float\"", BYTES("\x00\x00\x80\x7f"), "\"Infinity\"");
    expect_json("\"float\"", BYTES("\x00\x00\x80\xff"), "\"-Infinity\"");
    expect_json("\"float\"", BYTES("\x01\x00\x80\x7f"), "\"NaN\""); /* a signalling one */
    expect_json("\"float\"", BYTES("\x00\x00\x00\x80"), "-0.0");
}

static void test_avro__strings_are_utf8_of_any_content(void **state) {
    (void)state;
    expect_json("\"string\"", BYTES("\0"), "\"\"");
    expect_json("\"string\"", BYTES("\x06" "abc"), "\"abc\"");
    expect_json("\"string\"", BYTES("\x06" "a\0b"), "\"a\\u0000b\"");
    expect_json("\"string\"", BYTES("\x08\"\\\n\x01"), "\"\\\"\\\\\\n\\u0001\"");
    expect_json("\"string\"", BYTES("\x0e\xc3\xa9\xf0\x9f\x90\x9b/"), "\"\xc3\xa9\xf0\x9f\x90\x9b/\"");
    expect_json("\"string\"", BYTES("\x20" "0123456789abcdef"), "\"0123456789abcdef\"");
}

static void test_avro__a_string_that_is_no_utf8_is_its_own_fault(void **state) {
    (void)state;
    static const char *const bad[] = {"\xff", "\x80", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3", "abcdefgh\xe2\x82",
                                      "12345678\xff" "1234567"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct bf_buf b;
        bf_buf_init(&b, 100);
        put_text(&b, bad[i]);
        expect_fault("\"string\"", bytes_of(&b), BF_AVRO_FAULT_UTF8, "UTF-8");
        bf_buf_fini(&b);
    }
}

static void test_avro__lengths_are_checked_before_they_are_used(void **state) {
    (void)state;
    static const char *const types[] = {"\"string\"", "\"bytes\"",
                                        "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9,\"scale\":2}"};
    for (size_t i = 0; i < COUNT(types); i++) {
        expect_fault(types[i], BYTES("\1xx"), A, "negative");
        expect_fault(types[i], BYTES("\x08xxx"), A, "beyond the end");
        expect_fault(types[i], BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01xxx"), A, "beyond the end");
        expect_fault(types[i], BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01xxx"), A, "negative");
        expect_fault(types[i], BYTES("\xfe\xff\xff\xff\x0fxxx"), A, "beyond the end");
    }
}

static void test_avro__bytes_and_fixed_are_base64(void **state) {
    (void)state;
    expect_json("\"bytes\"", BYTES("\0"), "\"\"");
    expect_json("\"bytes\"", BYTES("\x02\xff"), "\"/w==\"");
    expect_json("\"bytes\"", BYTES("\x08\x00\x10\x83\x10"), "\"ABCDEA==\"");
    expect_json("{\"type\":\"fixed\",\"name\":\"F\",\"size\":3}", BYTES("\xfb\xef\xbe"), "\"++++\"");
    expect_json("{\"type\":\"fixed\",\"name\":\"F\",\"size\":0}", BYTES(""), "\"\"");
    expect_json("{\"type\":\"fixed\",\"name\":\"F\",\"size\":16,\"logicalType\":\"uuid\"}", BYTES("0123456789abcdef"),
                "\"MDEyMzQ1Njc4OWFiY2RlZg==\"");
    expect_json("{\"type\":\"fixed\",\"name\":\"F\",\"size\":12,\"logicalType\":\"duration\"}", BYTES("\1\0\0\0\2\0\0\0\3\0\0\0"),
                "\"AQAAAAIAAAADAAAA\"");
}

static void test_avro__an_enum_is_its_symbol(void **state) {
    (void)state;
    static const char schema[] = "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B_2\",\"c\"],\"default\":\"A\"}";
    expect_json(schema, BYTES("\0"), "\"A\"");
    expect_json(schema, BYTES("\4"), "\"c\"");
    expect_fault(schema, BYTES("\6"), A, "no such symbol"); /* a writer's schema always decides: the default is for readers */
    expect_fault(schema, BYTES("\1"), A, "no such symbol");
    expect_fault(schema, BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), A, "no such symbol");
    expect_fault("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[]}", BYTES("\0"), A, "no such symbol");
}

static void test_avro__logical_types_of_numbers_and_strings_stay_what_they_are(void **state) {
    (void)state;
    expect_json("{\"type\":\"int\",\"logicalType\":\"date\"}", BYTES("\x02"), "1");
    expect_json("{\"type\":\"int\",\"logicalType\":\"time-millis\"}", BYTES("\x02"), "1");
    expect_json("{\"type\":\"long\",\"logicalType\":\"time-micros\"}", BYTES("\x02"), "1");
    expect_json("{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}", BYTES("\x02"), "1");
    expect_json("{\"type\":\"long\",\"logicalType\":\"local-timestamp-micros\"}", BYTES("\x02"), "1");
    expect_json("{\"type\":\"string\",\"logicalType\":\"uuid\"}", BYTES("\x06xyz"), "\"xyz\"");
    expect_json("{\"type\":\"string\",\"logicalType\":\"nobody-knows-this\"}", BYTES("\x06xyz"), "\"xyz\"");
    expect_json("{\"type\":\"string\",\"logicalType\":7}", BYTES("\x06xyz"), "\"xyz\"");
}

#define DECIMAL(of, precision, scale) "{" of ",\"logicalType\":\"decimal\",\"precision\":" #precision ",\"scale\":" #scale "}"
#define OF_BYTES "\"type\":\"bytes\""
#define OF_FIXED(size) "\"type\":\"fixed\",\"name\":\"F\",\"size\":" #size

static void test_avro__decimals_are_decimal_strings(void **state) {
    (void)state;
    expect_json(DECIMAL(OF_BYTES, 9, 2), BYTES("\x04\x04\xd2"), "\"12.34\"");
    expect_json(DECIMAL(OF_BYTES, 9, 2), BYTES("\x04\xfb\x2e"), "\"-12.34\"");
    expect_json(DECIMAL(OF_BYTES, 9, 2), BYTES("\x02\x07"), "\"0.07\"");
    expect_json(DECIMAL(OF_BYTES, 9, 2), BYTES("\x02\xff"), "\"-0.01\"");
    expect_json(DECIMAL(OF_BYTES, 9, 2), BYTES("\0"), "\"0.00\"");
    expect_json(DECIMAL(OF_BYTES, 9, 2), BYTES("\x06\0\0\x07"), "\"0.07\"");
    expect_json("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":5}", BYTES("\x02\x7f"), "\"127\"");
    expect_json(DECIMAL(OF_FIXED(4), 9, 3), BYTES("\x80\0\0\0"), "\"-2147483.648\"");
    expect_json(DECIMAL(OF_FIXED(4), 9, 0), BYTES("\x7f\xff\xff\xff"), "\"2147483647\"");
}

static void test_avro__a_decimal_that_does_not_fit_what_it_annotates_is_ignored(void **state) {
    (void)state;
    expect_json(DECIMAL(OF_BYTES, 0, 0), BYTES("\x02\x07"), "\"Bw==\"");
    expect_json(DECIMAL(OF_BYTES, 4, 5), BYTES("\x02\x07"), "\"Bw==\"");
    expect_json(DECIMAL(OF_BYTES, 4, -1), BYTES("\x02\x07"), "\"Bw==\"");
    expect_json(DECIMAL(OF_BYTES, "4", 1), BYTES("\x02\x07"), "\"Bw==\"");
    expect_json("{\"type\":\"bytes\",\"logicalType\":\"decimal\"}", BYTES("\x02\x07"), "\"Bw==\"");
    expect_json(DECIMAL("\"type\":\"string\"", 4, 1), BYTES("\x02" "7"), "\"7\"");
    expect_json(DECIMAL("\"type\":\"long\"", 4, 1), BYTES("\x02"), "1");
}

/* Regression 1: a fixed of n bytes holds floor(log10(2^(8n-1))) digits; a greater precision makes the annotation invalid. */
static void test_avro__a_fixed_that_is_too_small_for_its_precision_is_no_decimal(void **state) {
    (void)state;
    expect_json(DECIMAL(OF_FIXED(1), 2, 0), BYTES("\x07"), "\"7\"");
    expect_json(DECIMAL(OF_FIXED(1), 3, 0), BYTES("\x07"), "\"Bw==\"");
    expect_json(DECIMAL(OF_FIXED(8), 18, 0), BYTES("\0\0\0\0\0\0\0\x07"), "\"7\"");
    expect_json(DECIMAL(OF_FIXED(8), 19, 0), BYTES("\0\0\0\0\0\0\0\x07"), "\"AAAAAAAAAAc=\"");
    expect_json(DECIMAL(OF_FIXED(0), 1, 0), BYTES(""), "\"\"");
}

static void test_avro__a_decimal_of_more_than_1024_bytes_is_over_a_limit(void **state) {
    (void)state;
    struct bf_buf b;
    bf_buf_init(&b, 10000);
    put_long(&b, 1025);
    for (int i = 0; i < 1025; i++) {
        bf_buf_putc(&b, 0);
    }
    expect_fault(DECIMAL(OF_BYTES, 9, 2), bytes_of(&b), BF_AVRO_FAULT_LIMIT, "1024 bytes");
    bf_buf_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_avro__null_takes_no_bytes),
        cmocka_unit_test(test_avro__an_absent_slice_is_no_bytes),
        cmocka_unit_test(test_avro__a_boolean_is_0_or_1),
        cmocka_unit_test(test_avro__ints_have_32_bits),
        cmocka_unit_test(test_avro__longs_are_exact_at_both_ends),
        cmocka_unit_test(test_avro__a_long_number_of_leading_zeros_is_the_same_number),
        cmocka_unit_test(test_avro__doubles_come_in_their_shortest_form),
        cmocka_unit_test(test_avro__a_float_is_the_double_it_is_equal_to),
        cmocka_unit_test(test_avro__strings_are_utf8_of_any_content),
        cmocka_unit_test(test_avro__a_string_that_is_no_utf8_is_its_own_fault),
        cmocka_unit_test(test_avro__lengths_are_checked_before_they_are_used),
        cmocka_unit_test(test_avro__bytes_and_fixed_are_base64),
        cmocka_unit_test(test_avro__an_enum_is_its_symbol),
        cmocka_unit_test(test_avro__logical_types_of_numbers_and_strings_stay_what_they_are),
        cmocka_unit_test(test_avro__decimals_are_decimal_strings),
        cmocka_unit_test(test_avro__a_decimal_that_does_not_fit_what_it_annotates_is_ignored),
        cmocka_unit_test(test_avro__a_fixed_that_is_too_small_for_its_precision_is_no_decimal),
        cmocka_unit_test(test_avro__a_decimal_of_more_than_1024_bytes_is_over_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
