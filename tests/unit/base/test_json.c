#include "check.h"

#include "bf_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect(struct bf_buf *b, const char *want) {
    assert_false(b->failed);
    bf_buf_putc(b, '\0');
    assert_string_equal(b->data, want);
    bf_buf_clear(b);
}

static void test_json__commas_and_nesting_come_by_themselves(void **state) {
    (void)state;
    struct bf_buf b;
    struct bf_json j;
    bf_buf_init(&b, 1 << 20);
    bf_json_init(&j, &b);
    bf_json_object(&j);
    bf_json_member_int(&j, "a", INT64_MIN);
    bf_json_key(&j, "b");
    bf_json_array(&j);
    bf_json_null(&j);
    bf_json_bool(&j, true);
    bf_json_array(&j);
    bf_json_array_end(&j);
    bf_json_object(&j);
    bf_json_object_end(&j);
    bf_json_raw(&j, "1e3", 3);
    bf_json_array_end(&j);
    bf_json_member_string(&j, "c", NULL);
    bf_json_member_time(&j, "t", 0);
    bf_json_key_n(&j, "q\"", 2);
    bf_json_int(&j, INT64_MAX);
    bf_json_object_end(&j);
    expect(&b, "{\"a\":-9223372036854775808,\"b\":[null,true,[],{},1e3],\"c\":null,\"t\":\"1970-01-01T00:00:00.000000Z\","
               "\"q\\\"\":9223372036854775807}");
    bf_buf_fini(&b);
}

static void test_json__values_outside_of_containers_get_no_comma(void **state) {
    (void)state;
    struct bf_buf b;
    struct bf_json j;
    bf_buf_init(&b, 100);
    bf_json_init(&j, &b);
    bf_json_int(&j, 1);
    bf_buf_putc(&b, '\n');
    bf_json_int(&j, 2);
    expect(&b, "1\n2");
    bf_buf_fini(&b);
}

static void test_json__strings_are_escaped(void **state) {
    (void)state;
    struct bf_buf b;
    struct bf_json j;
    bf_buf_init(&b, 1000);
    bf_json_init(&j, &b);
    bf_json_string_n(&j, "a\"\\/\b\f\n\r\t\0\x1f\x7f\xc3\xa9", 14);
    expect(&b, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\xc3\xa9\"");
    bf_buf_fini(&b);
}

/* What RFC 8259 §7 asks for, one byte at a time. */
static size_t escaped(char *dst, unsigned char c) {
    static const char shorts[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    const char *at = c != 0 ? strchr(shorts, c) : NULL;
    if (at != NULL)
        return (size_t)sprintf(dst, "\\%c", letters[at - shorts]);
    return c < 0x20 ? (size_t)sprintf(dst, "\\u%04x", c) : (size_t)sprintf(dst, "%c", c);
}

/* The writer looks at eight bytes at once: every byte at every place among them, alone and as one of two. */
static void test_json__every_byte_at_every_place_is_escaped_where_it_must_be(void **state) {
    (void)state;
    for (unsigned c = 0; c < 256; c++)
        for (size_t len = 1; len <= 19; len++)
            for (size_t at = 0; at < len; at++)
                for (size_t other = 0; other < len; other += 5) {
                    char text[32], want[256] = "\"";
                    size_t n = 1;
                    struct bf_buf b;
                    struct bf_json j;
                    memset(text, 'x', sizeof text);
                    text[other] = '"';
                    text[at] = (char)c;
                    for (size_t i = 0; i < len; i++)
                        n += escaped(want + n, (unsigned char)text[i]);
                    want[n++] = '"';
                    bf_buf_init(&b, 1 << 10);
                    bf_json_init(&j, &b);
                    bf_json_string_n(&j, text, len);
                    assert_int_equal(b.len, n);
                    assert_memory_equal(b.data, want, n);
                    bf_buf_fini(&b);
                }
}

static void test_json__integers_of_every_length(void **state) {
    (void)state;
    struct bf_buf b;
    struct bf_json j;
    char want[32];
    bf_buf_init(&b, 1 << 10);
    for (int64_t power = 1;; power *= 10) {
        for (int64_t v = power - 11; v <= power + 11; v++) {
            bf_json_init(&j, &b);
            bf_json_int(&j, v);
            snprintf(want, sizeof want, "%lld", (long long)v);
            expect(&b, want);
            bf_json_init(&j, &b);
            bf_json_int(&j, -v);
            snprintf(want, sizeof want, "%lld", (long long)-v);
            expect(&b, want);
        }
        if (power > INT64_MAX / 10)
            break;
    }
    bf_buf_fini(&b);
}

static void test_json__too_deep_is_a_failure_of_the_buffer(void **state) {
    (void)state;
    struct bf_buf b;
    struct bf_json j;
    bf_buf_init(&b, 10000);
    bf_json_init(&j, &b);
    for (int i = 0; i < BF_JSON_DEPTH_MAX; i++) {
        bf_json_array(&j);
    }
    assert_false(b.failed);
    bf_json_array(&j);
    assert_true(b.failed);
    for (int i = 0; i <= BF_JSON_DEPTH_MAX; i++) {
        bf_json_array_end(&j);
    }
    assert_true(b.failed);
    bf_buf_fini(&b);
}

static void test_json__base64_as_in_rfc_4648(void **state) {
    (void)state;
    static const char *const table[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}, {"\xff\xfe\xfd", "//79"}};
    struct bf_buf b;
    bf_buf_init(&b, 1000);
    for (size_t i = 0; i < COUNT(table); i++) {
        struct bf_json j;
        char want[32];
        bf_json_init(&j, &b);
        bf_json_base64(&j, table[i][0], strlen(table[i][0]));
        snprintf(want, sizeof want, "\"%s\"", table[i][1]);
        expect(&b, want);
    }
    bf_buf_fini(&b);
}

static void test_double__known_values_in_their_shortest_form(void **state) {
    (void)state;
    static const struct {
        double v;
        const char *text;
    } table[] = {{0, "0.0"}, {-0.0, "-0.0"}, {136, "136.0"}, {-1, "-1.0"}, {1.0852, "1.0852"}, {0.1, "0.1"}, {0.3, "0.3"},
                 {0.1 + 0.2, "0.30000000000000004"}, {1e300, "1e+300"}, {5e-324, "5e-324"}, {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {2.2250738585072014e-308, "2.2250738585072014e-308"}, {123456789.125, "123456789.125"}, {1e15, "1e+15"},
                 {999999999999999, "999999999999999.0"}, {0.00001, "0.00001"}, {9007199254740992.0, "9007199254740992.0"},
                 {1e-7, "1e-07"}, {41429, "41429.0"}, {0.57097, "0.57097"}, {1.0 / 3, "0.3333333333333333"}};
    for (size_t i = 0; i < COUNT(table); i++) {
        char text[40];
        size_t len = bf_double_format(text, table[i].v);
        assert_true(len < 32);
        text[len] = '\0';
        assert_string_equal(text, table[i].text);
    }
}

static uint64_t next_random(uint64_t *x) { /* splitmix64 */
    uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void check_round_trip(double v) {
    char text[40], shorter[64];
    size_t len = bf_double_format(text, v);
    assert_true(len < 32);
    text[len] = '\0';
    assert_true(strtod(text, NULL) == v);
    assert_non_null(strpbrk(text, ".e"));
    int digits = 0; /* significant ones; no decimal with fewer may read back equal */
    bool leading = true;
    int zeros = 0;
    for (const char *p = text; *p != '\0' && *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9' && !(leading && *p == '0')) {
            leading = false;
            zeros = *p == '0' ? zeros + 1 : 0;
            digits++;
        }
    }
    digits -= zeros;
    if (digits > 1) {
        snprintf(shorter, sizeof shorter, "%.*e", digits - 2, v);
        assert_true(strtod(shorter, NULL) != v);
    }
}

static void test_double__reads_back_equal_and_no_shorter_text_does(void **state) {
    (void)state;
    uint64_t x = 7;
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = next_random(&x);
        double v;
        memcpy(&v, &bits, sizeof v);
        if (isfinite(v)) {
            check_round_trip(v);
        }
        check_round_trip((double)(int64_t)(bits % 100000000) / 10000.0); /* prices */
        check_round_trip((double)(bits >> 11) * 0x1p-53);
        check_round_trip((double)(bits >> (bits & 63)));
    }
}

static void test_json__doubles_that_are_no_numbers_become_strings(void **state) {
    (void)state;
    struct bf_buf b;
    struct bf_json j;
    bf_buf_init(&b, 1000);
    bf_json_init(&j, &b);
    bf_json_array(&j);
    bf_json_double(&j, (double)NAN);
    bf_json_double(&j, (double)INFINITY);
    bf_json_double(&j, -(double)INFINITY);
    bf_json_double(&j, 1.5);
    bf_json_array_end(&j);
    expect(&b, "[\"NaN\",\"Infinity\",\"-Infinity\",1.5]");
    bf_buf_fini(&b);
}

static void test_parse__is_strict(void **state) {
    (void)state;
    static const char *const bad[] = {"", "{", "{\"a\":1,\"a\":2}", "1 2", "[1,]", "\"\xff\"", "{\"a\":NaN}", "\"\\u0000\""};
    for (size_t i = 0; i < COUNT(bad); i++) {
        json_t *v = NULL;
        struct bf_err err;
        assert_int_equal(bf_json_parse(bad[i], strlen(bad[i]), &v, &err), BF_INVALID);
        assert_null(v);
        assert_non_null(strstr(err.msg, "line "));
    }
    json_t *v = NULL;
    struct bf_err err;
    assert_int_equal(bf_json_parse(" 7 ", 3, &v, &err), BF_OK);
    assert_int_equal(json_integer_value(v), 7);
    json_decref(v);
}

static void test_load_file__says_which_file_and_where(void **state) {
    (void)state;
    char path[] = "/tmp/bf-test-json-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    fputs("{\"a\":\n  oops}", f);
    fclose(f);
    json_t *v = NULL;
    struct bf_err err;
    assert_int_equal(bf_json_load_file(path, &v, &err), BF_INVALID);
    assert_non_null(strstr(err.msg, path));
    assert_non_null(strstr(err.msg, "line 2"));
    remove(path);
    assert_int_equal(bf_json_load_file(path, &v, &err), BF_NOT_FOUND);
}

static void test_utf8__accepts_rfc_3629_and_nothing_else(void **state) {
    (void)state;
    static const char *const good[] = {"", "abcdefghijklmnop", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\x9b", "\xed\x9f\xbf",
                                       "\xee\x80\x80", "\xf4\x8f\xbf\xbf", "12345678\xc2\x80"};
    static const char *const bad[] = {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x82", "1234567\xe2\x82",
                                      "\xe2\x28\xa1", "\xf0\x9f\x90"};
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(bf_utf8_valid(good[i], strlen(good[i])));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(bf_utf8_valid(bad[i], strlen(bad[i])));
    }
    assert_true(bf_utf8_valid("a\0b", 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json__commas_and_nesting_come_by_themselves),
        cmocka_unit_test(test_json__values_outside_of_containers_get_no_comma),
        cmocka_unit_test(test_json__strings_are_escaped),
        cmocka_unit_test(test_json__every_byte_at_every_place_is_escaped_where_it_must_be),
        cmocka_unit_test(test_json__integers_of_every_length),
        cmocka_unit_test(test_json__too_deep_is_a_failure_of_the_buffer),
        cmocka_unit_test(test_json__base64_as_in_rfc_4648),
        cmocka_unit_test(test_double__known_values_in_their_shortest_form),
        cmocka_unit_test(test_double__reads_back_equal_and_no_shorter_text_does),
        cmocka_unit_test(test_json__doubles_that_are_no_numbers_become_strings),
        cmocka_unit_test(test_parse__is_strict),
        cmocka_unit_test(test_load_file__says_which_file_and_where),
        cmocka_unit_test(test_utf8__accepts_rfc_3629_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
