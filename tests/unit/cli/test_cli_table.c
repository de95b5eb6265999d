/* Tables and summaries: aligned, and nothing in them can steer a terminal. */
#include "cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *printed(const struct cli_table *t) {
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    cli_table_print(t, f);
    fclose(f);
    return text;
}

static void test_table__columns_are_aligned_by_characters_not_bytes(void **state) {
    (void)state;
    static const struct cli_column columns[] = {{"NAME", false}, {"N", true}, {"REST", false}};
    struct cli_table t;
    cli_table_init(&t, columns, 3);
    cli_cell(&t, "Zürich");
    cli_cell_int(&t, 7);
    cli_cell(&t, "a");
    cli_cell(&t, "Bern city");
    cli_cell_int(&t, 12345);
    cli_cell(&t, NULL);
    char *text = printed(&t);
    assert_string_equal(text, "NAME           N  REST\n"
                              "Zürich         7  a\n"
                              "Bern city  12345  -\n");
    free(text);
    cli_table_fini(&t);
}

static void test_table__control_characters_never_reach_the_terminal(void **state) {
    (void)state;
    static const struct cli_column columns[] = {{"X", false}};
    struct cli_table t;
    cli_table_init(&t, columns, 1);
    cli_cell(&t, "a\x1b[31mred\x07\n\x7f" "b\xc2\x9b" "c\xc3\xa9");
    char *text = printed(&t);
    assert_string_equal(text, "X\na?[31mred???b?c\xc3\xa9\n");
    free(text);
    cli_table_fini(&t);
}

static void test_table__times_lose_only_empty_fractions(void **state) {
    (void)state;
    static const struct cli_column columns[] = {{"T", false}};
    struct cli_table t;
    json_t *whole = json_string("2024-06-01T10:00:00.000000Z"), *exact = json_string("2024-06-01T10:00:00.000001Z");
    cli_table_init(&t, columns, 1);
    cli_cell_json(&t, whole);
    cli_cell_json(&t, exact);
    cli_cell_json(&t, NULL);
    char *text = printed(&t);
    assert_string_equal(text, "T\n2024-06-01T10:00:00Z\n2024-06-01T10:00:00.000001Z\n-\n");
    free(text);
    cli_table_fini(&t);
    json_decref(whole);
    json_decref(exact);
}

static void test_summary__leaves_out_what_is_told_elsewhere_and_what_is_empty(void **state) {
    (void)state;
    struct bf_buf out;
    json_t *payload = json_pack("{s:s, s:s, s:{s:i}, s:f, s:n, s:{}, s:s, s:[i]}", "rim_node_id", "rim:entity:a:b", "event_id", "x",
                                "vector_timestamp", "event_ts_ms", 1, "price", 1.0852, "volume", "critical_metrics", "status", "ACTIVE", "l", 1);
    bf_buf_init(&out, 4096);
    cli_summary(payload, &out);
    bf_buf_putc(&out, '\0');
    assert_string_equal(out.data, "price=1.0852 status=ACTIVE l=[1]");
    bf_buf_fini(&out);
    json_decref(payload);
}

static void test_summary__a_tombstone_is_null(void **state) {
    (void)state;
    struct bf_buf out;
    json_t *null = json_null();
    bf_buf_init(&out, 4096);
    cli_summary(null, &out);
    bf_buf_putc(&out, '\0');
    assert_string_equal(out.data, "null");
    bf_buf_fini(&out);
}

static void test_exit_codes__each_kind_of_failure_has_its_own(void **state) {
    (void)state;
    assert_int_equal(cli_exit_of(BF_OK), BF_EXIT_OK);
    assert_int_equal(cli_exit_of(BF_AGAIN), BF_EXIT_DEPENDENCY);
    assert_int_equal(cli_exit_of(BF_INVALID), BF_EXIT_USAGE);
    assert_int_equal(cli_exit_of(BF_NOT_FOUND), BF_EXIT_FAILED);
    assert_int_equal(cli_exit_of(BF_BROKEN), BF_EXIT_INTERNAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table__columns_are_aligned_by_characters_not_bytes),
        cmocka_unit_test(test_table__control_characters_never_reach_the_terminal),
        cmocka_unit_test(test_table__times_lose_only_empty_fractions),
        cmocka_unit_test(test_summary__leaves_out_what_is_told_elsewhere_and_what_is_empty),
        cmocka_unit_test(test_summary__a_tombstone_is_null),
        cmocka_unit_test(test_exit_codes__each_kind_of_failure_has_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
