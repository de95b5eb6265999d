#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "settings.h"

#include <string.h>

/* What the whole of the settings says to this command line: its exit code and words, or nothing. */
static int check(const char *const *argv, int argc, enum perception_source *source, bool *csv, char message[512]) {
    struct perception_settings s = {0};
    struct bf_err err = {0};
    char *args[32] = {(char *)(uintptr_t)"perception"}, **left;
    int left_count, exit_code = 0;
    enum bf_log_level level;

    for (int i = 0; i < argc; i++) args[i + 1] = (char *)(uintptr_t)argv[i];
    enum bf_code code = bf_settings_load(&perception_program, argc + 1, args, &s, &left, &left_count, &exit_code, &err);
    if (code == BF_OK) code = perception_settings_check(&s, source, csv, &level, &exit_code, &err);
    strcpy(message, code == BF_OK ? "" : err.msg);
    bf_settings_fini(&perception_program, &s);
    return code == BF_OK ? 0 : exit_code;
}

#define ARGS(...) (const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void expect_wrong(const char *const *argv, int argc, int exit_code, const char *words) {
    enum perception_source source;
    bool csv;
    char message[512];
    assert_int_equal(check(argv, argc, &source, &csv, message), exit_code);
    if (strstr(message, words) == NULL) fail_msg("\"%s\" does not say \"%s\"", message, words);
}

static void test_defaults__what_is_not_said_is_not_zero(void **state) {
    struct perception_settings s = {0};
    struct bf_err err = {0};
    char *args[] = {(char *)(uintptr_t)"perception", NULL}, **left;
    int left_count, exit_code = 0;
    (void)state;
    assert_int_equal(bf_settings_load(&perception_program, 1, args, &s, &left, &left_count, &exit_code, &err), BF_OK);
    assert_int_equal(s.linger_ms, -1);
    assert_int_equal(s.hold_back_bytes, -1); /* 0 would let the embedded broker forget */
    assert_int_equal(s.metrics_port, -1);
    bf_settings_fini(&perception_program, &s);
}

static void test_source__exactly_one(void **state) {
    (void)state;
    expect_wrong(ARGS("--strict"), BF_EXIT_USAGE, "give one of");
    expect_wrong(ARGS("--stdin", "--file", "x"), BF_EXIT_USAGE, "give one of");
    expect_wrong(ARGS("--stdin", "--listen", "127.0.0.1:0"), BF_EXIT_USAGE, "give one of");
}

static void test_values__that_are_wrong_are_named(void **state) {
    (void)state;
    expect_wrong(ARGS("--stdin", "--format", "xml"), BF_EXIT_SETTINGS, "format: 'xml' is none of ndjson, csv");
    expect_wrong(ARGS("--stdin", "--format", "csv"), BF_EXIT_SETTINGS, "map: csv needs one");
    expect_wrong(ARGS("--stdin", "--format", "ndjson", "--map", "m"), BF_EXIT_SETTINGS, "map: it is for csv only");
    expect_wrong(ARGS("--stdin", "--rate", "-1"), BF_EXIT_SETTINGS, "rate");
    expect_wrong(ARGS("--stdin", "--log-level", "loud"), BF_EXIT_SETTINGS, "log-level: 'loud'");
    expect_wrong(ARGS("--stdin", "--in-flight-max", "0"), BF_EXIT_SETTINGS, "in-flight-max");
    expect_wrong(ARGS("--stdin", "--line-bytes-max", "1GiB"), BF_EXIT_SETTINGS, "line-bytes-max");
    expect_wrong(ARGS("--stdin", "--colour", "red"), BF_EXIT_USAGE, "colour");
    expect_wrong(ARGS("--stdin", "stray"), BF_EXIT_USAGE, "stray");
    expect_wrong(ARGS("--listen", "127.0.0.1:0", "--map", "m"), BF_EXIT_SETTINGS, "over HTTP and from a topic signals are ndjson");
    expect_wrong(ARGS("--stdin", "--checkpoint", "c"), BF_EXIT_SETTINGS, "checkpoint: it is for --file only");
    expect_wrong(ARGS("--listen", "127.0.0.1:0", "--metrics-port", "0"), BF_EXIT_SETTINGS, "metrics-port: --listen serves them itself");
    expect_wrong(ARGS("--listen", "127.0.0.1:0", "--rate", "5"), BF_EXIT_SETTINGS, "rate: it is for --file and --stdin");
    expect_wrong(ARGS("--from-topic", "rim.fast-path"), BF_EXIT_SETTINGS, "it is the topic that is published to");
}

static void test_listen__is_loopback_and_a_port(void **state) {
    (void)state;
    expect_wrong(ARGS("--listen", "0.0.0.0:80"), BF_EXIT_SETTINGS, "is not loopback");
    expect_wrong(ARGS("--listen", "127.0.0.1.example.com:80"), BF_EXIT_SETTINGS, "is not loopback");
    expect_wrong(ARGS("--listen", "example.com:80"), BF_EXIT_SETTINGS, "is not loopback");
    expect_wrong(ARGS("--listen", "127.0.0.1"), BF_EXIT_SETTINGS, "is no host:port");
    expect_wrong(ARGS("--listen", "127.0.0.1:"), BF_EXIT_SETTINGS, "is no port");
    expect_wrong(ARGS("--listen", "127.0.0.1:65536"), BF_EXIT_SETTINGS, "is no port");
    expect_wrong(ARGS("--listen", "127.0.0.1:80x"), BF_EXIT_SETTINGS, "is no port");
}

static void test_format__follows_the_map(void **state) {
    enum perception_source source;
    bool csv;
    char message[512];
    (void)state;
    assert_int_equal(check(ARGS("--file", "f"), &source, &csv, message), 0);
    assert_int_equal(source, PERCEPTION_FILE);
    assert_false(csv);
    assert_int_equal(check(ARGS("--stdin", "--map", "m"), &source, &csv, message), 0);
    assert_int_equal(source, PERCEPTION_STDIN);
    assert_true(csv);
    assert_int_equal(check(ARGS("--listen", "localhost:0"), &source, &csv, message), 0);
    assert_int_equal(source, PERCEPTION_LISTEN);
    assert_int_equal(check(ARGS("--from-topic", "raw", "--group", "g"), &source, &csv, message), 0);
    assert_int_equal(source, PERCEPTION_TOPIC);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults__what_is_not_said_is_not_zero),
        cmocka_unit_test(test_source__exactly_one),
        cmocka_unit_test(test_values__that_are_wrong_are_named),
        cmocka_unit_test(test_listen__is_loopback_and_a_port),
        cmocka_unit_test(test_format__follows_the_map),
    };
    return cmocka_run_group_tests_name("perception_settings", tests, NULL, NULL);
}
