#include "check.h"

#include "bf_token.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];

static void write_file(const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
}

static int setup(void **state) {
    (void)state;
    strcpy(path, "/tmp/bf-token-XXXXXX");
    close(mkstemp(path));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

static void new_token(const char *name, const char *scopes, const char *topics, const char *nodes, char token[BF_TOKEN_TEXT_LEN + 1],
                      struct bf_buf *file) {
    struct bf_err err;
    struct bf_buf line;
    bf_buf_init(&line, 4096);
    assert_int_equal(bf_token_new(name, scopes, topics, nodes, token, &line, &err), BF_OK);
    bf_buf_printf(file, "%s\n", line.data);
    bf_buf_fini(&line);
}

static void test_token__made_is_found_with_its_scopes_and_limits(void **state) {
    char one[BF_TOKEN_TEXT_LEN + 1], two[BF_TOKEN_TEXT_LEN + 1];
    struct bf_buf file;
    struct bf_tokens *t = NULL;
    struct bf_err err;
    (void)state;
    bf_buf_init(&file, 65536);
    bf_buf_puts(&file, "# who may ask\n\n");
    new_token("jane", "read,audit", NULL, NULL, one, &file);
    new_token("robot", "replay", "rim.fast-path,odyssey.reflex", "rim:metric:finance:,rim:entity:x:a", two, &file);
    bf_buf_putc(&file, '\0');
    write_file(file.data);
    bf_buf_fini(&file);
    assert_int_equal(strlen(one), BF_TOKEN_TEXT_LEN);
    assert_string_not_equal(one, two);
    assert_int_equal(bf_tokens_load(path, &t, &err), BF_OK);
    assert_int_equal(bf_tokens_count(t), 2);
    const struct bf_grant *jane = bf_tokens_find(t, bf_slice_str(one)), *robot = bf_tokens_find(t, bf_slice_str(two));
    assert_string_equal(jane->name, "jane");
    assert_int_equal(jane->scopes, BF_SCOPE_READ | BF_SCOPE_AUDIT);
    assert_true(bf_grant_topic(jane, bf_slice_str("any.thing")) && bf_grant_node(jane, bf_slice_str("")));
    assert_int_equal(robot->scopes, BF_SCOPE_REPLAY);
    assert_true(bf_grant_topic(robot, bf_slice_str("odyssey.reflex")));
    assert_false(bf_grant_topic(robot, bf_slice_str("odyssey.reflex2")));
    assert_false(bf_grant_topic(robot, bf_slice_str("odyssey")));
    assert_true(bf_grant_node(robot, bf_slice_str("rim:metric:finance:EURUSD")));
    assert_true(bf_grant_node(robot, bf_slice_str("rim:entity:x:abc")));
    assert_false(bf_grant_node(robot, bf_slice_str("rim:metric:financex:E")));
    assert_false(bf_grant_node(robot, bf_slice_str("rim:metric:")));
    one[20] = one[20] == 'A' ? 'B' : 'A';
    assert_null(bf_tokens_find(t, bf_slice_str(one)));
    assert_null(bf_tokens_find(t, (struct bf_slice){two, BF_TOKEN_TEXT_LEN - 1}));
    assert_null(bf_tokens_find(t, (struct bf_slice){"", 0}));
    bf_tokens_unref(bf_tokens_ref(t));
    bf_tokens_unref(t);
}

#define HASH "sha256:0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef"
#define HASH2 "sha256:1123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef"

static void test_file__that_is_wrong_is_refused_with_its_line(void **state) {
    static const struct {
        const char *text, *want;
    } table[] = {
        {"", "has no token"},
        {"# nobody\n", "has no token"},
        {"jane read\n", "line 1: is not of the form"},
        {"\njane write " HASH "\n", "line 2: \"write\" is none"},
        {"jane read, " HASH "\n", "line 1: \"\" is none"},
        {"jane read sha256:12\n", "third word"},
        {"jane read " HASH "0\n", "third word"},
        {"ja/ne read " HASH "\n", "line 1: is not of the form"},
        {"jane read " HASH " topics=rim\n", "\"rim\" is no topic"},
        {"jane read " HASH " topics=\n", "is no topic"},
        {"jane read " HASH " nodes=x:\n", "is no node prefix"},
        {"jane read " HASH " nodes=rim:a: nodes=rim:b:\n", "neither topics"},
        {"jane read " HASH " until=tomorrow\n", "neither topics"},
        {"jane read " HASH "\njane read " HASH2 "\n", "line 2: the name jane is used twice"},
        {"jane read " HASH "\njoe read " HASH "\n", "line 2: has the hash of jane"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct bf_tokens *t = NULL;
        struct bf_err err = {0};
        write_file(table[i].text);
        if (bf_tokens_load(path, &t, &err) != BF_INVALID || strstr(err.msg, table[i].want) == NULL) {
            fail_msg("%s: %s", table[i].text, err.msg);
        }
        assert_null(t);
    }
}

static void test_file__that_others_can_read_is_refused(void **state) {
    static const mode_t modes[] = {0604, 0622, 0666};
    struct bf_tokens *t = NULL;
    struct bf_err err;
    (void)state;
    write_file("jane read " HASH "\n");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_int_equal(bf_tokens_load(path, &t, &err), BF_INVALID);
    }
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(bf_tokens_load(path, &t, &err), BF_OK);
    bf_tokens_unref(t);
    assert_int_equal(bf_tokens_load("/nowhere/tokens", &t, &err), BF_INVALID);
    assert_int_equal(bf_tokens_load("/tmp", &t, &err), BF_INVALID);
}

static void test_new__refuses_what_the_file_would(void **state) {
    static const char *const bad[][4] = {{"a b", "read", NULL, NULL}, {"", "read", NULL, NULL}, {"a", "", NULL, NULL},
                                         {"a", "read", "T", NULL},    {"a", "read", NULL, "x"}, {"a", "read", "a.b c.d", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char token[BF_TOKEN_TEXT_LEN + 1];
        struct bf_buf line;
        struct bf_err err;
        bf_buf_init(&line, 4096);
        assert_int_equal(bf_token_new(bad[i][0], bad[i][1], bad[i][2], bad[i][3], token, &line, &err), BF_INVALID);
        bf_buf_fini(&line);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token__made_is_found_with_its_scopes_and_limits),
        cmocka_unit_test(test_file__that_is_wrong_is_refused_with_its_line),
        cmocka_unit_test(test_file__that_others_can_read_is_refused),
        cmocka_unit_test(test_new__refuses_what_the_file_would),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
