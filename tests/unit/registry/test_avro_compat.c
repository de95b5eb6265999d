/* One pair for each rule; the large comparison with Java's own verdicts is tests/interop/compat. */
#include "avro_compat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct avro_schema *parsed(const char *text) {
    struct avro_schema *s = NULL;
    struct bf_err err;
    if (avro_schema_parse(text, strlen(text), NULL, 0, &s, &err) != BF_OK) {
        fail_msg("%s: %s", text, err.msg);
    }
    return s;
}

/* conflict NULL: compatible. Otherwise the first conflict's name, and its path when path is given. */
static void check(const char *reader_text, const char *writer_text, const char *conflict, const char *path) {
    struct avro_schema *reader = parsed(reader_text), *writer = parsed(writer_text);
    struct avro_compat result;
    struct bf_err err;
    assert_int_equal(avro_compat_check(reader, writer, &result, &err), BF_OK);
    if (result.compatible != (conflict == NULL)) {
        fail_msg("%s reading %s: %s", reader_text, writer_text,
                 result.compatible ? "compatible" : result.conflicts[0].detail);
    }
    if (conflict != NULL) {
        assert_true(result.count > 0);
        assert_string_equal(avro_conflict_name(result.conflicts[0].kind), conflict);
        if (path != NULL) {
            assert_string_equal(result.conflicts[0].path, path);
        }
    }
    avro_compat_fini(&result);
    avro_schema_free(reader);
    avro_schema_free(writer);
}

#define RECORD(name, fields) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[" fields "]}"
#define A_INT "{\"name\":\"a\",\"type\":\"int\"}"

static void test_compat__numbers_are_promoted_upwards_only(void **state) {
    (void)state;
    static const char *const up[] = {"\"int\"", "\"long\"", "\"float\"", "\"double\""};
    for (int r = 0; r < 4; r++) {
        for (int w = 0; w < 4; w++) {
            check(up[r], up[w], w <= r ? NULL : "TYPE_MISMATCH", "/");
        }
    }
    check("\"string\"", "\"bytes\"", NULL, NULL);
    check("\"bytes\"", "\"string\"", NULL, NULL);
    check("\"boolean\"", "\"int\"", "TYPE_MISMATCH", "/");
}

static void test_compat__new_fields_need_a_default(void **state) {
    (void)state;
    check(RECORD("R", A_INT ",{\"name\":\"b\",\"type\":\"int\",\"default\":1}"), RECORD("R", A_INT), NULL, NULL);
    check(RECORD("R", A_INT ",{\"name\":\"b\",\"type\":\"int\"}"), RECORD("R", A_INT),
          "READER_FIELD_MISSING_DEFAULT_VALUE", "/fields/1");
    check(RECORD("R", ""), RECORD("R", A_INT), NULL, NULL);
    check(RECORD("R", "{\"name\":\"b\",\"type\":\"int\",\"aliases\":[\"a\"]}"), RECORD("R", A_INT), NULL, NULL);
    check(RECORD("R", "{\"name\":\"a\",\"type\":\"string\"}"), RECORD("R", A_INT), "TYPE_MISMATCH", "/fields/0/type");
}

static void test_compat__names_match_unqualified_or_by_alias(void **state) {
    (void)state;
    check(RECORD("x.R", A_INT), RECORD("y.R", A_INT), NULL, NULL);
    check(RECORD("S", A_INT), RECORD("R", A_INT), "NAME_MISMATCH", "/name");
    check("{\"type\":\"record\",\"name\":\"x.S\",\"aliases\":[\"R\"],\"fields\":[]}", RECORD("x.R", A_INT), NULL, NULL);
    check("{\"type\":\"record\",\"name\":\"x.S\",\"aliases\":[\"R\"],\"fields\":[]}", RECORD("y.R", A_INT),
          "NAME_MISMATCH", "/name");
}

static void test_compat__enums_need_the_symbol_or_a_default(void **state) {
    (void)state;
    check("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}",
          "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}", NULL, NULL);
    check("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}",
          "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", "MISSING_ENUM_SYMBOLS", "/symbols");
    check("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"],\"default\":\"A\"}",
          "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", NULL, NULL);
}

static void test_compat__fixed_keep_their_size(void **state) {
    (void)state;
    check("{\"type\":\"fixed\",\"name\":\"F\",\"size\":4}", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":4}", NULL,
          NULL);
    check("{\"type\":\"fixed\",\"name\":\"F\",\"size\":4}", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":8}",
          "FIXED_SIZE_MISMATCH", "/size");
}

static void test_compat__every_branch_of_the_writer_must_be_readable(void **state) {
    (void)state;
    check("[\"null\",\"long\"]", "[\"int\",\"null\"]", NULL, NULL);
    check("[\"null\",\"int\"]", "[\"null\",\"string\"]", "MISSING_UNION_BRANCH", "/1");
    check("[\"null\",\"int\"]", "\"int\"", NULL, NULL);
    check("\"int\"", "[\"int\"]", NULL, NULL);
    check("\"int\"", "[\"null\",\"int\"]", "TYPE_MISMATCH", "/0");
}

#define TREE(leaf)                                                                                                     \
    "{\"type\":\"record\",\"name\":\"T\",\"fields\":[{\"name\":\"v\",\"type\":" leaf                                   \
    "},{\"name\":\"next\",\"type\":[\"null\",\"T\"],\"default\":null}]}"

static void test_compat__recursion_ends_and_is_judged_by_the_rest(void **state) {
    (void)state;
    check(TREE("\"long\""), TREE("\"int\""), NULL, NULL);
    check(TREE("\"int\""), TREE("\"long\""), "TYPE_MISMATCH", "/fields/0/type");
}

static void test_compat__two_fields_for_one_are_undecided(void **state) {
    (void)state;
    check(RECORD("R", "{\"name\":\"a\",\"type\":\"int\",\"aliases\":[\"b\"]}"),
          RECORD("R", A_INT ",{\"name\":\"b\",\"type\":\"int\"}"), "UNDECIDED", NULL);
}

/* A union of n records against itself asks for n * n / 2 comparisons. */
static bool union_reads_itself(int n) {
    struct bf_buf text;
    bf_buf_init(&text, 4 << 20);
    bf_buf_puts(&text, "[{\"type\":\"record\",\"name\":\"R0\",\"fields\":[]}");
    for (int i = 1; i < n; i++) {
        bf_buf_printf(&text, ",{\"type\":\"record\",\"name\":\"R%d\",\"fields\":[{\"name\":\"f\",\"type\":\"R%d\"}]}",
                      i, i - 1);
    }
    bf_buf_puts(&text, "]");
    bf_buf_putc(&text, '\0');
    struct avro_schema *s = parsed(text.data);
    struct avro_compat result;
    struct bf_err err;
    assert_int_equal(avro_compat_check(s, s, &result, &err), BF_OK);
    bool compatible = result.compatible;
    assert_true(compatible || result.undecided);
    avro_compat_fini(&result);
    avro_schema_free(s);
    bf_buf_fini(&text);
    return compatible;
}

static void test_compat__what_is_too_large_is_undecided(void **state) {
    (void)state;
    assert_true(union_reads_itself(300));
    assert_false(union_reads_itself(20000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compat__numbers_are_promoted_upwards_only),
        cmocka_unit_test(test_compat__new_fields_need_a_default),
        cmocka_unit_test(test_compat__names_match_unqualified_or_by_alias),
        cmocka_unit_test(test_compat__enums_need_the_symbol_or_a_default),
        cmocka_unit_test(test_compat__fixed_keep_their_size),
        cmocka_unit_test(test_compat__every_branch_of_the_writer_must_be_readable),
        cmocka_unit_test(test_compat__recursion_ends_and_is_judged_by_the_rest),
        cmocka_unit_test(test_compat__two_fields_for_one_are_undecided),
        cmocka_unit_test(test_compat__what_is_too_large_is_undecided),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
