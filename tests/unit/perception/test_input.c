#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "bf_stop.h"
#include "input.h"
#include "perception_fixture.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Lines joined by |, a rejected one as !; at the end the code that ended it. */
static enum bf_code lines_by(bool in_place, const char *path, size_t max, char *out, size_t out_max, struct bf_err *err) {
    struct input *in = NULL;
    struct bf_buf line;
    struct bf_slice text;
    enum bf_code code = input_open(path, &in, err);

    *out = '\0';
    assert_int_equal(code, BF_OK);
    bf_buf_init(&line, max);
    while ((code = in_place ? input_next_line(in, &line, &text, err) : input_line(in, &line, err)) == BF_OK || code == BF_REJECTED) {
        size_t used = strlen(out);
        if (!in_place) text = (struct bf_slice){line.data, line.len};
        if (code == BF_OK) snprintf(out + used, out_max - used, "%.*s|", (int)text.len, (const char *)text.data);
        else snprintf(out + used, out_max - used, "!|");
    }
    bf_buf_fini(&line);
    input_close(in);
    return code;
}

/* Copied and in place, which must agree. */
static enum bf_code lines_of(const char *path, size_t max, char *out, size_t out_max, struct bf_err *err) {
    char other[1024];
    enum bf_code code = lines_by(true, path, max, other, sizeof other, err);
    assert_int_equal(lines_by(false, path, max, out, out_max, err), code);
    assert_string_equal(out, other);
    return code;
}

static void expect(const char *text, size_t max, const char *wanted) {
    char path[64], got[1024];
    struct bf_err err = {0};
    file_with(path, text, strlen(text));
    assert_int_equal(lines_of(path, max, got, sizeof got, &err), BF_NOT_FOUND);
    assert_string_equal(got, wanted);
}

static void test_lines__end_with_newline_crlf_or_the_input(void **state) {
    (void)state;
    expect("a\nb\n", 64, "a|b|");
    expect("a\r\nb", 64, "a|b|");
    expect("\n\nx\n", 64, "||x|");
    expect("", 64, "");
    expect("a\rb\n", 64, "a\rb|");
}

static void test_line__that_is_too_long_is_skipped_whole(void **state) {
    (void)state;
    expect("123456789\n12345678\n1\n", 9, "!|12345678|1|");
    expect("1\n1234567890123", 9, "1|!|");
}

static void test_gzip__is_recognised_and_unpacked(void **state) {
    char path[64], got[1024];
    struct bf_err err = {0};
    (void)state;
    for (int members = 1; members <= 3; members++) {
        gzip_file_with(path, "first\nsecond\nthird\n", 19, members);
        assert_int_equal(lines_of(path, 64, got, sizeof got, &err), BF_NOT_FOUND);
        assert_string_equal(got, "first|second|third|");
    }
}

static void test_gzip__cut_or_damaged_is_an_error_of_the_whole(void **state) {
    char path[64], cut[64], got[1024];
    unsigned char bytes[4096];
    struct bf_err err = {0};
    (void)state;
    gzip_file_with(path, "first\nsecond\nthird\n", 19, 1);
    FILE *f = fopen(path, "rb");
    size_t len = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    file_with(cut, bytes, len - 6);
    assert_int_equal(lines_of(cut, 64, got, sizeof got, &err), BF_INVALID);
    assert_string_equal(err.msg, "the gzip data is cut off");
    bytes[len - 6] ^= 1; /* the checksum */
    file_with(cut, bytes, len);
    assert_int_equal(lines_of(cut, 64, got, sizeof got, &err), BF_INVALID);
    assert_string_equal(err.msg, "the gzip data is damaged");
}

static void test_gzip__a_large_file_comes_out_as_it_went_in(void **state) {
    enum { LINES = 60000 };
    char path[64], want[32];
    struct bf_buf text, line;
    struct input *in = NULL;
    struct bf_err err = {0};
    (void)state;
    bf_buf_init(&text, 4 << 20);
    for (int i = 0; i < LINES; i++) bf_buf_printf(&text, "line number %d\n", i);
    gzip_file_with(path, text.data, text.len, 2);
    assert_int_equal(input_open(path, &in, &err), BF_OK);
    bf_buf_init(&line, 64);
    for (int i = 0; i < LINES; i++) {
        assert_int_equal(input_line(in, &line, &err), BF_OK);
        snprintf(want, sizeof want, "line number %d", i);
        assert_string_equal(line.data, want);
    }
    assert_int_equal(input_line(in, &line, &err), BF_NOT_FOUND);
    assert_true(input_bytes(in) < (int64_t)text.len / 2);
    input_close(in);
    bf_buf_fini(&line);
    bf_buf_fini(&text);
}

static void test_open__what_is_not_there_names_the_path(void **state) {
    struct input *in = NULL;
    struct bf_err err = {0};
    (void)state;
    assert_int_equal(input_open("/nowhere/at/all", &in, &err), BF_INVALID);
    assert_string_equal(err.msg, "/nowhere/at/all: No such file or directory");
    assert_null(in);
}

static void *stop_soon(void *ctx) {
    (void)ctx;
    bf_stop_request();
    return NULL;
}

/* Last: the stop stays. */
static void test_stop__ends_a_wait_and_drops_the_line_that_is_not_whole(void **state) {
    int ends[2], kept = dup(STDIN_FILENO);
    pthread_t thread;
    struct input *in = NULL;
    struct bf_buf line;
    struct bf_err err = {0};
    (void)state;
    assert_int_equal(bf_stop_install(&err), BF_OK);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(write(ends[1], "whole\nhal", 9), 9);
    assert_int_equal(input_open(NULL, &in, &err), BF_OK);
    bf_buf_init(&line, 64);
    assert_int_equal(input_line(in, &line, &err), BF_OK);
    assert_string_equal(line.data, "whole");
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    assert_int_equal(input_line(in, &line, &err), BF_NOT_FOUND);
    pthread_join(thread, NULL);
    input_close(in);
    bf_buf_fini(&line);
    dup2(kept, STDIN_FILENO);
    close(kept), close(ends[0]), close(ends[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines__end_with_newline_crlf_or_the_input),
        cmocka_unit_test(test_line__that_is_too_long_is_skipped_whole),
        cmocka_unit_test(test_gzip__is_recognised_and_unpacked),
        cmocka_unit_test(test_gzip__cut_or_damaged_is_an_error_of_the_whole),
        cmocka_unit_test(test_gzip__a_large_file_comes_out_as_it_went_in),
        cmocka_unit_test(test_open__what_is_not_there_names_the_path),
        cmocka_unit_test(test_stop__ends_a_wait_and_drops_the_line_that_is_not_whole),
    };
    return cmocka_run_group_tests_name("perception_input", tests, NULL, NULL);
}
