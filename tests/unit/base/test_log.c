#include "check.h"

#include "bf_json.h"
#include "bf_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char written[16384];

static int saved_fd;
static FILE *capture;

static void begin_capture(void) {
    capture = tmpfile();
    saved_fd = dup(STDERR_FILENO);
    dup2(fileno(capture), STDERR_FILENO);
}

static void end_capture(void) {
    dup2(saved_fd, STDERR_FILENO);
    close(saved_fd);
    rewind(capture);
    written[fread(written, 1, sizeof written - 1, capture)] = '\0';
    fclose(capture);
}

static void test_log__one_line_with_time_level_service_and_event(void **state) {
    (void)state;
    struct bf_err err;
    bf_log_init("demo", BF_LOG_INFO);
    begin_capture();
    bf_log(BF_LOG_DEBUG, "hidden", "a=1");
    bf_log(BF_LOG_INFO, "started", "port=%d", 80);
    bf_fail(&err, BF_AGAIN, 111, "refused\nby \"x\"");
    bf_log_err(BF_LOG_WARN, "wait", &err, "retry_in_ms=%d", 500);
    end_capture();
    assert_null(strstr(written, "hidden"));
    char *second = strchr(written, '\n') + 1;
    assert_int_equal(strncmp(written + 27, " info demo event=started port=80\n", 33), 0);
    assert_int_equal(strncmp(second + 27, " warn demo event=wait err=\"refused\\x0aby \\\"x\\\"\" code=again native=111 at=test_log.c:", 80), 0);
    assert_non_null(strstr(second, " retry_in_ms=500\n"));
    assert_int_equal(strlen(strchr(second, '\n')), 1);
}

static void test_log__a_long_line_is_cut_and_still_ends(void **state) {
    (void)state;
    char *big = malloc(10001);
    memset(big, 'x', 10000);
    big[10000] = '\0';
    begin_capture();
    bf_log(BF_LOG_INFO, "big", "%s\n%s", big, big);
    end_capture();
    free(big);
    assert_true(strlen(written) <= 4096);
    assert_ptr_equal(strchr(written, '\n'), written + strlen(written) - 1);
}

static void test_quote__fits_escapes_and_cuts_between_characters(void **state) {
    (void)state;
    char small[24];
    assert_string_equal(bf_log_quote(small, sizeof small, "a\x01", 2), "\"a\\x01\"");
    for (size_t len = 0; len < 40; len++) {
        char text[80], dst[24];
        for (size_t i = 0; i < len; i++) {
            memcpy(text + 2 * i, "\xc3\xa9", 2);
        }
        bf_log_quote(dst, sizeof dst, text, 2 * len);
        assert_true(strlen(dst) < sizeof dst);
        assert_int_equal(dst[strlen(dst) - 1], '"');
        assert_true(bf_utf8_valid(dst, strlen(dst)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log__one_line_with_time_level_service_and_event),
        cmocka_unit_test(test_log__a_long_line_is_cut_and_still_ends),
        cmocka_unit_test(test_quote__fits_escapes_and_cuts_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
