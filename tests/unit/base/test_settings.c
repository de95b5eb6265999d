#include "check.h"

#include "bf_settings.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    char *url, *password, *topics;
    int64_t port, wait_ms, bytes;
    double rate;
    bool strict;
};

static const struct bf_setting table[] = {
    {"url", BF_SETTING_STRING, offsetof(struct settings, url), "http://x", 0, 0, false, false, NULL, "Where it is."},
    {"password", BF_SETTING_STRING, offsetof(struct settings, password), NULL, 0, 0, false, true, NULL, "Said to nobody."},
    {"topic", BF_SETTING_LIST, offsetof(struct settings, topics), NULL, 0, 0, false, false, NULL, "What to read."},
    {"http-port", BF_SETTING_INT, offsetof(struct settings, port), "80", 1, 65535, false, false, NULL, "Listen here."},
    {"wait", BF_SETTING_MS, offsetof(struct settings, wait_ms), "30s", 0, 60000, false, false, "ms", "Wait so long."},
    {"bytes", BF_SETTING_BYTES, offsetof(struct settings, bytes), "1MiB", 0, 0, false, false, "bytes", "So much."},
    {"rate", BF_SETTING_DOUBLE, offsetof(struct settings, rate), "1.5", 0, 0, false, false, NULL, "How fast."},
    {"strict", BF_SETTING_BOOL, offsetof(struct settings, strict), "false", 0, 0, false, false, NULL, "Stop at the first."},
    {0}};
static const struct bf_settings_program program = {"demo", "[options]", "A demo.", NULL, table, true};
static const struct bf_settings_program no_args = {"demo", "[options]", "A demo.", NULL, table, false};

static enum bf_code load(const struct bf_settings_program *p, const char *line, struct settings *s, int *exit_code, char ***left,
                         int *left_count, struct bf_err *err) {
    static char text[1024];
    static char *argv[32];
    int argc = 0;
    snprintf(text, sizeof text, "demo %s", line);
    for (char *at = strtok(text, " "); at != NULL; at = strtok(NULL, " ")) {
        argv[argc++] = at;
    }
    argv[argc] = NULL;
    return bf_settings_load(p, argc, argv, s, left, left_count, exit_code, err);
}

static void test_settings__flags_beat_environment_beats_file_beats_default(void **state) {
    (void)state;
    struct settings s;
    struct bf_err err;
    char **left, path[] = "/tmp/bf-test-settings-XXXXXX", line[200];
    int exit_code, n, fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    fputs("# a comment\n\n http-port = 81 \nurl=http://file/a=b\nwait = 2s\ntopic = a\ntopic = b\n", f);
    fclose(f);
    setenv("DEMO_HTTP_PORT", "82", 1);
    setenv("DEMO_WAIT", "3s", 1);
    snprintf(line, sizeof line, "--config %s --wait=4s one --strict -- --two", path);
    assert_int_equal(load(&program, line, &s, &exit_code, &left, &n, &err), BF_OK);
    assert_string_equal(s.url, "http://file/a=b");
    assert_true(s.port == 82 && s.wait_ms == 4000 && s.bytes == 1048576 && s.strict);
    assert_string_equal(s.topics, "a\nb");
    assert_null(s.password);
    assert_int_equal(n, 2);
    assert_string_equal(left[0], "one");
    assert_string_equal(left[1], "--two");
    bf_settings_fini(&program, &s);
    snprintf(line, sizeof line, "--config=%s --topic x --topic y --no-strict", path);
    assert_int_equal(load(&program, line, &s, &exit_code, &left, &n, &err), BF_OK);
    assert_string_equal(s.topics, "x\ny");
    assert_false(s.strict);
    bf_settings_fini(&program, &s);
    unsetenv("DEMO_HTTP_PORT");
    unsetenv("DEMO_WAIT");
    remove(path);
}

static void test_settings__errors_name_the_key_and_choose_the_exit_code(void **state) {
    (void)state;
    static const struct {
        const char *line;
        int exit_code;
        const char *says;
    } bad[] = {{"--nonsense 1", BF_EXIT_USAGE, "--nonsense"},       {"--http-port", BF_EXIT_USAGE, "--http-port: a value is missing"},
               {"-x", BF_EXIT_USAGE, "-x"},                          {"stray", BF_EXIT_USAGE, "stray"},
               {"--http-port 0", BF_EXIT_SETTINGS, "http-port"},     {"--http-port 65536", BF_EXIT_SETTINGS, "65535"},
               {"--http-port 8x", BF_EXIT_SETTINGS, "not a whole"},  {"--wait 2m", BF_EXIT_SETTINGS, "above the most, 60000 ms"},
               {"--bytes 3XB", BF_EXIT_SETTINGS, "not a size"},      {"--strict=maybe", BF_EXIT_SETTINGS, "true or false"},
               {"--rate nan", BF_EXIT_SETTINGS, "not a number"},     {"--config /nonexistent", BF_EXIT_SETTINGS, "/nonexistent"},
               {"--http-port 99999999999999999999", BF_EXIT_SETTINGS, "too large"}, {"--no-url", BF_EXIT_USAGE, "--no-url"}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct settings s;
        struct bf_err err;
        char **left;
        int exit_code = 0, n;
        assert_int_equal(load(&no_args, bad[i].line, &s, &exit_code, &left, &n, &err), BF_INVALID);
        assert_int_equal(exit_code, bad[i].exit_code);
        if (strstr(err.msg, bad[i].says) == NULL) {
            fail_msg("\"%s\" said \"%s\"", bad[i].line, err.msg);
        }
        bf_settings_fini(&no_args, &s);
    }
}

static void test_settings__a_secret_is_in_no_message(void **state) {
    (void)state;
    static const struct bf_setting secret_table[] = {
        {"pin", BF_SETTING_INT, offsetof(struct settings, port), NULL, 1, 9, false, true, NULL, "Secret."}, {0}};
    static const struct bf_settings_program p = {"demo", "", "", NULL, secret_table, false};
    struct settings s;
    struct bf_err err;
    char **left;
    int exit_code, n;
    assert_int_equal(load(&p, "--pin 4711", &s, &exit_code, &left, &n, &err), BF_INVALID);
    assert_null(strstr(err.msg, "4711"));
}

static void test_settings__a_required_one_must_be_there(void **state) {
    (void)state;
    static const struct bf_setting required[] = {
        {"dir", BF_SETTING_STRING, offsetof(struct settings, url), NULL, 0, 0, true, false, NULL, "Needed."}, {0}};
    static const struct bf_settings_program p = {"demo", "", "", NULL, required, false};
    struct settings s;
    struct bf_err err;
    char **left;
    int exit_code, n;
    assert_int_equal(load(&p, "", &s, &exit_code, &left, &n, &err), BF_INVALID);
    assert_non_null(strstr(err.msg, "dir: is required"));
    assert_int_equal(exit_code, BF_EXIT_SETTINGS);
}

/* Run load() with stdout in a file and give back what it wrote. */
static enum bf_code captured(const char *line, char *out, size_t out_bytes, int *exit_code) {
    struct settings s;
    struct bf_err err;
    char **left;
    int n, saved = dup(STDOUT_FILENO);
    FILE *tmp = tmpfile();
    fflush(stdout);
    dup2(fileno(tmp), STDOUT_FILENO);
    enum bf_code code = load(&program, line, &s, exit_code, &left, &n, &err);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    rewind(tmp);
    out[fread(out, 1, out_bytes - 1, tmp)] = '\0';
    fclose(tmp);
    bf_settings_fini(&program, &s);
    return code;
}

static void test_settings__questions_are_answered_on_stdout(void **state) {
    (void)state;
    char out[8192];
    int exit_code = -1;
    assert_int_equal(captured("--help", out, sizeof out, &exit_code), BF_CANCELLED);
    assert_int_equal(exit_code, 0);
    for (const struct bf_setting *s = table; s->key != NULL; s++) {
        assert_non_null(strstr(out, s->key));
        assert_non_null(strstr(out, s->help));
    }
    assert_int_equal(captured("--version", out, sizeof out, &exit_code), BF_CANCELLED);
    assert_string_equal(out, "demo " BF_VERSION "\n");
    assert_int_equal(captured("--check-config --http-port 99999", out, sizeof out, &exit_code), BF_INVALID);
    assert_int_equal(exit_code, BF_EXIT_SETTINGS);
    assert_int_equal(captured("--check-config", out, sizeof out, &exit_code), BF_CANCELLED);
    assert_int_equal(exit_code, 0);
}

static void test_settings__the_dump_reads_back_as_a_file(void **state) {
    (void)state;
    char out[8192], again[8192], path[] = "/tmp/bf-test-dump-XXXXXX", line[100];
    int exit_code, fd = mkstemp(path);
    assert_int_equal(captured("--dump-config --topic a --topic b --rate 0.1 --password hush --wait 7", out, sizeof out, &exit_code),
                     BF_CANCELLED);
    assert_null(strstr(out, "hush"));
    assert_non_null(strstr(out, "topic = a\ntopic = b\n"));
    assert_non_null(strstr(out, "wait = 7ms\n"));
    assert_int_equal(write(fd, out, strlen(out)), strlen(out));
    close(fd);
    snprintf(line, sizeof line, "--config %s --password hush --dump-config", path);
    assert_int_equal(captured(line, again, sizeof again, &exit_code), BF_CANCELLED);
    assert_string_equal(out, again);
    remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings__flags_beat_environment_beats_file_beats_default),
        cmocka_unit_test(test_settings__errors_name_the_key_and_choose_the_exit_code),
        cmocka_unit_test(test_settings__a_secret_is_in_no_message),
        cmocka_unit_test(test_settings__a_required_one_must_be_there),
        cmocka_unit_test(test_settings__questions_are_answered_on_stdout),
        cmocka_unit_test(test_settings__the_dump_reads_back_as_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
