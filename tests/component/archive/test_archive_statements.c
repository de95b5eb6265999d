/* Statements that a connection keeps: asked by name, given up when there are too many, made anew when the server knows them no more. */
#include "archive_fixture.h"
#include "archive_internal.h"

#include <stdio.h>
#include <stdlib.h>

static struct fixture f;
static struct archive *reader;

static int setup(void **state) {
    (void)state;
    fixture_init(&f);
    reader = fixture_archive(&f, true);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    archive_close(reader);
    fixture_fini(&f);
    return 0;
}

static int64_t number(const char *sql, bool kept) {
    PGresult *r = NULL;
    params_clear(&reader->params);
    assert_ok((kept ? archive_exec_kept : archive_exec)(reader, sql, "asking", &r, &err));
    int64_t n = PQftype(r, 0) == PG_INT4 ? pg_int4(r, 0, 0) : pg_int8(r, 0, 0);
    PQclear(r);
    return n;
}

static int64_t prepared(void) {
    return number("select count(*) from pg_prepared_statements", false);
}

/* One like an event's, with the number n in its text. */
static void ask(int n) {
    char sql[64];
    snprintf(sql, sizeof sql, "select %d::bigint", n);
    assert_int_equal(number(sql, true), n);
}

static void test_the_second_time_it_is_prepared(void **state) {
    (void)state;
    archive_disconnect(reader);
    ask(1);
    assert_int_equal(prepared(), 0);
    ask(1);
    ask(1);
    assert_int_equal(prepared(), 1);
}

static void test_the_one_not_used_for_longest_is_given_up(void **state) {
    (void)state;
    archive_disconnect(reader);
    for (int i = 0; i < 100; i++) {
        ask(i);
        ask(i);
        ask(0);
    }
    int64_t most = prepared();
    assert_in_range(most, 2, 64);
    assert_int_equal(number("select count(*) from pg_prepared_statements where statement = 'select 0::bigint'", false), 1);
    assert_int_equal(number("select count(*) from pg_prepared_statements where statement = 'select 1::bigint'", false), 0);
    for (int i = 0; i < 100; i++)
        ask(i); /* those that were given up are asked as they are */
    assert_true(prepared() <= most);
}

static void test_a_server_that_forgot_them_is_asked_anew(void **state) {
    (void)state;
    ask(7);
    ask(7);
    assert_ok(archive_script(reader, "deallocate all", "forgetting", &err));
    ask(7);
    ask(7);
    ask(7);
    assert_int_equal(number("select count(*) from pg_prepared_statements where statement = 'select 7::bigint'", false), 1);
}

static void test_none_is_kept_for_long(void **state) {
    (void)state;
    static const char when[] = "select coalesce(max((extract(epoch from prepare_time) * 1000000)::bigint), 0)::bigint from pg_prepared_statements"
                               " where statement = 'select 5::bigint'";
    int64_t usual = reader->s.plan_age_max_us;
    ask(5);
    ask(5);
    int64_t first = number(when, false);
    assert_true(first > 0);
    ask(5);
    assert_int_equal(number(when, false), first);
    reader->s.plan_age_max_us = 1;
    ask(5);
    assert_true(number(when, false) > first);
    reader->s.plan_age_max_us = usual;
}

static enum bf_code count_row(void *ctx, const PGresult *r, struct bf_err *err) {
    (void)r;
    (void)err;
    ++*(int *)ctx;
    return BF_OK;
}

static void test_rows_one_by_one_survive_it_too(void **state) {
    (void)state;
    static const char sql[] = "select n from generate_series(1, 5) n";
    for (int turn = 0; turn < 4; turn++) {
        int rows = 0;
        params_clear(&reader->params);
        if (turn == 3)
            assert_ok(archive_script(reader, "deallocate all", "forgetting", &err));
        assert_ok(archive_stream_kept(reader, sql, "asking", count_row, &rows, &err));
        assert_int_equal(rows, 5);
    }
}

static void test_a_column_that_changed_its_type(void **state) {
    (void)state;
    static const char sql[] = "select n from public.changing";
    test_pg_run(f.conninfo, "create table public.changing as select 1::int as n; grant select on public.changing to public");
    for (int i = 0; i < 3; i++)
        assert_int_equal(number(sql, true), 1);
    test_pg_run(f.conninfo, "alter table public.changing alter n type bigint");
    assert_int_equal(number(sql, true), 1);
}

static void test_a_wrong_statement_stays_wrong_and_the_connection_goes_on(void **state) {
    (void)state;
    struct bf_err failure = {0};
    for (int i = 0; i < 3; i++) {
        params_clear(&reader->params);
        assert_int_not_equal(archive_exec_kept(reader, "select no_such_column", "asking", NULL, &failure), BF_OK);
        assert_string_equal(failure.sqlstate, "42703");
        ask(1);
    }
}

static void test_a_session_that_was_ended_begins_without_any(void **state) {
    (void)state;
    struct bf_err failure = {0};
    ask(3);
    ask(3);
    test_pg_run(f.conninfo, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'test' and datname = current_database()");
    params_clear(&reader->params);
    assert_int_equal(archive_exec_kept(reader, "select 3::bigint", "asking", NULL, &failure), BF_AGAIN);
    ask(3);
    ask(3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_second_time_it_is_prepared),
        cmocka_unit_test(test_the_one_not_used_for_longest_is_given_up),
        cmocka_unit_test(test_a_server_that_forgot_them_is_asked_anew),
        cmocka_unit_test(test_none_is_kept_for_long),
        cmocka_unit_test(test_rows_one_by_one_survive_it_too),
        cmocka_unit_test(test_a_column_that_changed_its_type),
        cmocka_unit_test(test_a_wrong_statement_stays_wrong_and_the_connection_goes_on),
        cmocka_unit_test(test_a_session_that_was_ended_begins_without_any),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
