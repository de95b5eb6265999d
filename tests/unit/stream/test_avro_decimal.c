/* Big numbers: bytes to text and back. */
#include "avro_check.h"

#include "bf_avro_program.h"

static void expect_format(struct bf_slice bytes, uint32_t scale, const char *text) {
    char got[AVRO_DECIMAL_TEXT_MAX + 1];
    got[avro_decimal_format(got, bytes.data, bytes.len, scale)] = '\0';
    assert_string_equal(got, text);
}

static void test_decimal__text_of_twos_complement(void **state) {
    (void)state;
    expect_format(BYTES(""), 0, "0");
    expect_format(BYTES(""), 3, "0.000");
    expect_format(BYTES("\0"), 0, "0");
    expect_format(BYTES("\x7f"), 0, "127");
    expect_format(BYTES("\x80"), 0, "-128");
    expect_format(BYTES("\xff"), 0, "-1");
    expect_format(BYTES("\xff\xff\xff\xff\xff"), 2, "-0.01");
    expect_format(BYTES("\0\0\x80"), 0, "128");
    expect_format(BYTES("\x3b\x9a\xca\x00"), 0, "1000000000"); /* the base: zeros between the groups */
    expect_format(BYTES("\x0d\xe0\xb6\xb3\xa7\x64\x00\x00"), 0, "1000000000000000000");
    expect_format(BYTES("\x0d\xe0\xb6\xb3\xa7\x64\x00\x00"), 18, "1.000000000000000000");
    expect_format(BYTES("\x0d\xe0\xb6\xb3\xa7\x64\x00\x01"), 19, "0.1000000000000000001");
    expect_format(BYTES("\x80\0\0\0\0\0\0\0"), 0, "-9223372036854775808");
    expect_format(BYTES("\0\xff\xff\xff\xff\xff\xff\xff\xff"), 5, "184467440737095.51615");
    expect_format(BYTES("\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), 0, "-170141183460469231731687303715884105728");
}

static void test_decimal__the_largest_that_is_taken(void **state) {
    (void)state;
    uint8_t bytes[AVRO_DECIMAL_BYTES_MAX];
    char got[AVRO_DECIMAL_TEXT_MAX];
    memset(bytes, 0, sizeof bytes);
    bytes[0] = 0x80; /* -2^8191 */
    assert_int_equal(avro_decimal_format(got, bytes, sizeof bytes, 0), 1 + 2466);
    assert_memory_equal(got, "-545374067809707964731492122366891431", 37);
    assert_int_equal(avro_decimal_format(got, bytes, sizeof bytes, AVRO_DECIMAL_DIGITS_MAX), 3 + 2466);
    assert_int_equal(avro_decimal_format(got, bytes, 0, AVRO_DECIMAL_DIGITS_MAX), 2 + 2466);
}

static void expect_parse(const char *text, uint32_t scale, struct bf_slice bytes) {
    uint8_t got[AVRO_DECIMAL_BYTES_MAX];
    size_t len = 0;
    if (!avro_decimal_parse(text, scale, got, &len)) {
        fail_msg("not taken: %s", text);
    }
    assert_int_equal(len, bytes.len);
    assert_memory_equal(got, bytes.data, len);
}

static void test_decimal__bytes_of_text_are_the_shortest(void **state) {
    (void)state;
    expect_parse("0", 0, BYTES("\0"));
    expect_parse("-0", 0, BYTES("\0"));
    expect_parse("0.00", 2, BYTES("\0"));
    expect_parse("-0.00", 2, BYTES("\0"));
    expect_parse("127", 0, BYTES("\x7f"));
    expect_parse("128", 0, BYTES("\0\x80"));
    expect_parse("-128", 0, BYTES("\x80"));
    expect_parse("-129", 0, BYTES("\xff\x7f"));
    expect_parse("-1", 0, BYTES("\xff"));
    expect_parse("-256", 0, BYTES("\xff\0"));
    expect_parse("12.34", 2, BYTES("\x04\xd2"));
    expect_parse("12.3", 2, BYTES("\x04\xce"));
    expect_parse("12", 2, BYTES("\x04\xb0"));
    expect_parse("-12.34", 2, BYTES("\xfb\x2e"));
    expect_parse("0007", 0, BYTES("\x07"));
    expect_parse("-9223372036854775808", 0, BYTES("\x80\0\0\0\0\0\0\0"));
    expect_parse("9223372036854775808", 0, BYTES("\0\x80\0\0\0\0\0\0\0"));
}

static void test_decimal__what_is_none_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "-", "--1", "+1", ".5", "5.", "1.234", "1e3", " 1", "1 ", "1,5", "0x1", "NaN", "1.2.3", "-.5", "1.-2"};
    uint8_t got[AVRO_DECIMAL_BYTES_MAX];
    size_t len = 0;
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (avro_decimal_parse(bad[i], 2, got, &len)) {
            fail_msg("taken: \"%s\"", bad[i]);
        }
    }
    assert_int_equal(len, 0);
}

static void test_decimal__too_long_is_refused_and_never_overflows(void **state) {
    (void)state;
    static char text[4000];
    uint8_t got[AVRO_DECIMAL_BYTES_MAX];
    size_t len, last = 0;
    for (size_t digits = 2400; digits < 2600; digits++) {
        memset(text, '9', digits);
        text[digits] = '\0';
        if (avro_decimal_parse(text, 0, got, &len)) {
            last = digits;
        }
    }
    assert_in_range(last, 2460, 2466);
    memset(text, '9', sizeof text - 1);
    assert_false(avro_decimal_parse(text, 0, got, &len));
    assert_false(avro_decimal_parse("1", 2600, got, &len));
}

static uint64_t next_random(uint64_t *x) { /* splitmix64 */
    uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void test_decimal__there_and_back_is_the_same_number(void **state) {
    (void)state;
    uint64_t x = 11;
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[40], got[AVRO_DECIMAL_BYTES_MAX];
        char text[AVRO_DECIMAL_TEXT_MAX + 1];
        size_t len = 1 + next_random(&x) % sizeof bytes, got_len;
        uint32_t scale = (uint32_t)(next_random(&x) % 50);
        for (size_t k = 0; k < len; k++) {
            uint64_t r = next_random(&x);
            bytes[k] = (uint8_t)(r % 4 == 0 ? 0xff : r % 4 == 1 ? 0 : r >> 8);
        }
        text[avro_decimal_format(text, bytes, len, scale)] = '\0';
        assert_true(avro_decimal_parse(text, scale, got, &got_len));
        assert_true(got_len <= len);
        for (size_t k = 0; k < len; k++) { /* sign-extended it is the same */
            uint8_t byte = k < len - got_len ? ((got[0] & 0x80) != 0 ? 0xff : 0) : got[k - (len - got_len)];
            assert_int_equal(byte, bytes[k]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decimal__text_of_twos_complement),
        cmocka_unit_test(test_decimal__the_largest_that_is_taken),
        cmocka_unit_test(test_decimal__bytes_of_text_are_the_shortest),
        cmocka_unit_test(test_decimal__what_is_none_is_refused),
        cmocka_unit_test(test_decimal__too_long_is_refused_and_never_overflows),
        cmocka_unit_test(test_decimal__there_and_back_is_the_same_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
