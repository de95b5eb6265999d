/* RFC 4180 as a table of texts, and each at every possible place where a piece may end (the input hands out pieces). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "csv.h"
#include "perception_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The table as text: fields with | between, records with / between, a rejected one as !reason. */
static void table_of(const char *text, size_t len, char delimiter, size_t bytes_max, char *out, size_t out_max) {
    char path[64];
    struct input *in = NULL;
    struct csv csv;
    struct csv_record record = {0};
    struct bf_err err = {0};
    enum bf_code code;

    *out = '\0';
    file_with(path, text, len);
    assert_int_equal(input_open(path, &in, &err), BF_OK);
    csv_init(&csv, in, delimiter);
    bf_buf_init(&record.text, bytes_max);
    while ((code = csv_next(&csv, &record, &err)) == BF_OK || code == BF_REJECTED) {
        const char *fields[CSV_FIELDS_MAX];
        size_t n = code == BF_OK ? csv_fields(record.text.data, record.count, fields, CSV_FIELDS_MAX) : 0;
        size_t used = strlen(out);
        if (code == BF_REJECTED) snprintf(out + used, out_max - used, "%lld!%s/", (long long)record.line, err.msg);
        else snprintf(out + used, out_max - used, "%lld:", (long long)record.line);
        for (size_t i = 0; i < n; i++) {
            used = strlen(out);
            snprintf(out + used, out_max - used, "%s%s", fields[i], i + 1 < n ? "|" : "/");
        }
    }
    assert_int_equal(code, BF_NOT_FOUND);
    bf_buf_fini(&record.text);
    input_close(in);
}

static void expect(const char *text, const char *wanted) {
    char got[4096];
    table_of(text, strlen(text), ',', 1024, got, sizeof got);
    assert_string_equal(got, wanted);
}

static void test_records__are_split_as_rfc_4180_says(void **state) {
    (void)state;
    expect("a,b\n1,2\n", "1:a|b/2:1|2/");
    expect("a,b\r\n1,2\r\n", "1:a|b/2:1|2/");
    expect("a,b\n1,2", "1:a|b/2:1|2/");
    expect("\"a\",\"b,c\"\n", "1:a|b,c/");
    expect("\"say \"\"yes\"\"\",x\n", "1:say \"yes\"|x/");
    expect("\"two\nlines\",x\nnext,y\n", "1:two\nlines|x/3:next|y/");
    expect("\"with\r\ncr\",x\n", "1:with\r\ncr|x/");
    expect(",\n", "1:|/");
    expect("a,\n,b\n", "1:a|/2:|b/");
    expect("\"\"\n", "1:/");
    expect("", "");
}

static void test_empty_lines__are_no_records_and_count_as_lines(void **state) {
    (void)state;
    expect("\n\na\n\r\n\nb\n", "3:a/6:b/");
    expect("\n", "");
}

static void test_byte_order_mark__is_left_out(void **state) {
    (void)state;
    expect("\xef\xbb\xbf" "a,b\n", "1:a|b/");
    expect("a,\xef\xbb\xbf" "b\n", "1:a|\xef\xbb\xbf" "b/");
}

static void test_bad_records__are_rejected_alone_and_the_next_one_is_read(void **state) {
    (void)state;
    expect("a\nb\"c,d\ne\n", "1:a/2!there is a quote inside a field that is not quoted/3:e/");
    expect("\"a\"b,c\ne\n", "1!there is text behind a closing quote/2:e/");
    expect("a\n\"open\nfor ever", "1:a/2!a quoted field has no end/");
    expect("a\rb,c\ne\n", "1!there is a carriage return inside a field that is not quoted/2:e/");
}

static void test_nul__is_no_text(void **state) {
    char got[256];
    (void)state;
    table_of("a\0b,c\nd\n", 8, ',', 1024, got, sizeof got);
    assert_string_equal(got, "1!there is a NUL byte in it/2:d/");
}

static void test_long_row__is_rejected_and_the_next_one_is_read(void **state) {
    char text[300], got[512];
    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text + 200, "\nshort,1\n", 10);
    table_of(text, 209, ',', 100, got, sizeof got);
    assert_string_equal(got, "1!the row is longer than 100 bytes/2:short|1/");
}

static void test_many_fields__one_more_than_allowed_is_rejected(void **state) {
    char *text = calloc(1, CSV_FIELDS_MAX + 8), got[512];
    (void)state;
    memset(text, ',', CSV_FIELDS_MAX);
    strcpy(text + CSV_FIELDS_MAX, "\nz\n");
    table_of(text, strlen(text), ',', 65536, got, sizeof got);
    assert_string_equal(got, "1!the row has more than 4096 fields/2:z/");
    free(text);
}

static void test_delimiter__may_be_another(void **state) {
    char got[256];
    (void)state;
    table_of("a;b,c\n", 6, ';', 1024, got, sizeof got);
    assert_string_equal(got, "1:a|b,c/");
}

/* A record that lies across the input's pieces (256 KiB) is read as one that does not. */
static void test_pieces__a_record_across_a_border_is_whole(void **state) {
    (void)state;
    for (size_t back = 0; back < 12; back++) {
        size_t at = 256 * 1024 - back;
        char *text = malloc(at + 64), got[128];
        assert_non_null(text);
        memset(text, '\n', at);
        memcpy(text + at, "\"a\"\"b\",c\r\nd,e\n", 15);
        table_of(text, at + 14, ',', 1024, got, sizeof got);
        char wanted[128];
        snprintf(wanted, sizeof wanted, "%zu:a\"b|c/%zu:d|e/", at + 1, at + 2);
        assert_string_equal(got, wanted);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records__are_split_as_rfc_4180_says),
        cmocka_unit_test(test_empty_lines__are_no_records_and_count_as_lines),
        cmocka_unit_test(test_byte_order_mark__is_left_out),
        cmocka_unit_test(test_bad_records__are_rejected_alone_and_the_next_one_is_read),
        cmocka_unit_test(test_nul__is_no_text),
        cmocka_unit_test(test_long_row__is_rejected_and_the_next_one_is_read),
        cmocka_unit_test(test_many_fields__one_more_than_allowed_is_rejected),
        cmocka_unit_test(test_delimiter__may_be_another),
        cmocka_unit_test(test_pieces__a_record_across_a_border_is_whole),
    };
    return cmocka_run_group_tests_name("perception_csv", tests, NULL, NULL);
}
