/* Migrations, roles and comments on a real PostgreSQL. */
#include "archive_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_migrate__a_second_run_changes_nothing(void **state) {
    (void)state;
    struct fixture f;
    int applied = -1;
    fixture_init(&f);
    assert_ok(archive_migrate(f.archive, MIGRATIONS_DIR, &applied, &err));
    assert_int_equal(applied, 0);
    assert_true(test_pg_number(f.conninfo, "select count(*) from capsule.migrations") >= 4);
    fixture_fini(&f);
}

static void test_migrate__a_changed_file_is_refused(void **state) {
    (void)state;
    struct fixture f;
    int applied = -1;
    fixture_init(&f);
    test_pg_run(f.conninfo, "update capsule.migrations set sha256 = repeat('0', 64) where version = 2");
    assert_code(BF_BROKEN, archive_migrate(f.archive, MIGRATIONS_DIR, &applied, &err));
    fixture_fini(&f);
}

static void test_migrate__an_unknown_newer_one_is_refused(void **state) {
    (void)state;
    struct fixture f;
    int applied = -1;
    fixture_init(&f);
    test_pg_run(f.conninfo, "insert into capsule.migrations (version, name, sha256) select max(version) + 1, '9999_later.sql', '' from capsule.migrations");
    assert_code(BF_BROKEN, archive_migrate(f.archive, MIGRATIONS_DIR, &applied, &err));
    fixture_fini(&f);
}

/* A copy of the migrations that a test may add to. */
static void copy_migrations(char *dir, const char *add) {
    char command[1024];
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof command, "cp %s/*.sql %s && cd %s && %s", MIGRATIONS_DIR, dir, dir, add);
    assert_int_equal(system(command), 0);
}

static void remove_migrations(const char *dir) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static void test_migrate__a_failing_file_leaves_nothing_behind(void **state) {
    (void)state;
    struct fixture f;
    int applied = -1;
    char dir[] = "/tmp/bf-test-migrations-XXXXXX";
    fixture_init(&f);
    copy_migrations(dir, "printf 'create table capsule.half ();\\nselect 1/0;' > 9000_bad.sql");
    assert_code(BF_BROKEN, archive_migrate(f.archive, dir, &applied, &err));
    assert_null(test_pg_value(f.conninfo, "select to_regclass('capsule.half')::text"));
    assert_ok(archive_migrate(f.archive, MIGRATIONS_DIR, &applied, &err));
    remove_migrations(dir);
    fixture_fini(&f);
}

/* Numbers may leave gaps, but a file that comes before one that is applied came too late. */
static void test_migrate__a_gap_is_fine_and_a_late_file_is_not(void **state) {
    (void)state;
    struct fixture f;
    int applied = -1;
    char dir[] = "/tmp/bf-test-migrations-XXXXXX", late[] = "/tmp/bf-test-migrations-XXXXXX", twice[] = "/tmp/bf-test-migrations-XXXXXX";
    fixture_init(&f);
    copy_migrations(dir, "echo 'select 1' > 9000_later.sql");
    copy_migrations(late, "echo 'select 1' > 9000_later.sql && echo 'select 1' > 8999_late.sql");
    copy_migrations(twice, "echo 'select 1' > 0001_again.sql");
    assert_ok(archive_migrate(f.archive, dir, &applied, &err));
    assert_int_equal(applied, 1);
    assert_code(BF_BROKEN, archive_migrate(f.archive, late, &applied, &err));
    assert_code(BF_BROKEN, archive_migrate(f.archive, MIGRATIONS_DIR, &applied, &err)); /* 9000 is not known there */
    assert_code(BF_INVALID, archive_migrate(f.archive, twice, &applied, &err));
    assert_ok(archive_migrate(f.archive, dir, &applied, &err));
    assert_int_equal(applied, 0);
    remove_migrations(dir);
    remove_migrations(late);
    remove_migrations(twice);
    fixture_fini(&f);
}

struct migrator {
    const char *conninfo;
    int applied;
    enum bf_code code;
};

static void *migrate(void *arg) {
    struct migrator *m = arg;
    struct bf_err err;
    struct archive *a = NULL;
    const struct archive_settings settings = {.conninfo = m->conninfo};
    m->code = archive_open(&settings, &a, &err);
    if (m->code == BF_OK)
        m->code = archive_migrate(a, MIGRATIONS_DIR, &m->applied, &err);
    archive_close(a);
    return NULL;
}

static void test_migrate__many_at_once_apply_each_file_once(void **state) {
    (void)state;
    char *conninfo = test_pg_database();
    struct migrator all[6];
    pthread_t threads[6];
    int applied = 0;
    for (int i = 0; i < 6; i++) {
        all[i] = (struct migrator){.conninfo = conninfo};
        assert_int_equal(pthread_create(&threads[i], NULL, migrate, &all[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(all[i].code, BF_OK);
        applied += all[i].applied;
    }
    assert_int_equal(applied, test_pg_number(conninfo, "select count(*) from capsule.migrations"));
    test_pg_drop(conninfo);
}

/* Roles belong to the cluster: two databases being migrated at once must not trip over each other. */
static void test_migrate__two_databases_at_once(void **state) {
    (void)state;
    struct migrator all[4];
    pthread_t threads[4];
    char *conninfo[4];
    for (int i = 0; i < 4; i++) {
        conninfo[i] = test_pg_database();
        all[i] = (struct migrator){.conninfo = conninfo[i]};
        assert_int_equal(pthread_create(&threads[i], NULL, migrate, &all[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(all[i].code, BF_OK);
        test_pg_drop(conninfo[i]);
    }
}

static void test_migrate__another_cluster_is_refused(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    assert_ok(archive_bind_cluster(f.archive, "one", &err));
    assert_ok(archive_bind_cluster(f.archive, "one", &err));
    assert_code(BF_BROKEN, archive_bind_cluster(f.archive, "two", &err));
    fixture_fini(&f);
}

/* With a topic, its partitions and its typed view there, too. */
static void test_comments__everything_has_one(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    assert_ok(archive_schema_put(f.archive, 1, bf_slice_str("AVRO"), bf_slice_str(NOTE_SCHEMA), BF_SLICE_NONE, "rim.fast-path", &err));
    char *missing = test_pg_value(
        f.conninfo,
        "select string_agg(what, ', ') from ("
        " select c.relname || '' as what from pg_class c where c.relnamespace = 'capsule'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')"
        "   and obj_description(c.oid, 'pg_class') is null"
        " union all select c.relname || '.' || a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
        "   where c.relnamespace = 'capsule'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and a.attnum > 0 and not a.attisdropped"
        "   and col_description(c.oid, a.attnum) is null"
        " union all select p.proname || '()' from pg_proc p where p.pronamespace = 'capsule'::regnamespace and obj_description(p.oid, 'pg_proc') is null"
        " union all select 'index ' || c.relname from pg_class c join pg_index i on i.indexrelid = c.oid"
        "   where c.relnamespace = 'capsule'::regnamespace and not i.indisprimary and c.relname not like '%_key' and c.relispartition is false"
        "   and obj_description(c.oid, 'pg_class') is null"
        " union all select 'role ' || rolname from pg_roles where rolname like 'capsule\\_%' and rolname in"
        "   ('capsule_owner', 'capsule_writer', 'capsule_reader', 'capsule_auditor') and shobj_description(oid, 'pg_authid') is null"
        " union all select 'schema' where obj_description('capsule'::regnamespace, 'pg_namespace') is null) m");
    if (missing)
        fail_msg("without a comment: %s", missing);
    fixture_fini(&f);
}

static void as_role(const char *conninfo, const char *role, const char *sql, const char *expected) {
    char script[1024];
    snprintf(script, sizeof script, "begin; set local role %s; %s; rollback", role, sql);
    const char *got = test_pg_state(conninfo, script);
    if (strcmp(got, expected) != 0)
        fail_msg("%s: %s: '%s', expected '%s'", role, sql, got, expected);
}

static void test_roles__can_do_what_they_must_and_nothing_else(void **state) {
    (void)state;
    static const char *const denied = "42501";
    static const struct {
        const char *sql;
        bool writer, reader, auditor;
    } rows[] = {
        {"select * from capsule.events", true, true, true},
        {"select * from capsule.current_events", true, true, true},
        {"select * from capsule.events_rim_fast_path", true, true, true},
        {"select * from capsule.state_as_of(now())", true, true, true},
        {"select * from capsule.node_history('x')", true, true, true},
        {"select * from capsule.rim_fast_path", true, true, true},
        {"select capsule.event_id('x')", true, true, true},
        {"select * from capsule.nodes", true, true, true},
        {"select topic, reason, schema_id from capsule.quarantine", true, true, true},
        {"select detail from capsule.quarantine", true, false, true},
        {"select * from capsule.quarantine", true, false, true},
        {"select * from capsule.reads", false, false, true},
        {"select * from capsule.frozen", true, true, true},
        {"insert into capsule.frozen (name, from_time, to_time, known_by, events, sha256) values ('x', now(), now(), now(), 1, '')", false, false, false},
        {"delete from capsule.frozen", false, false, false},
        {"create temporary table mine ()", true, false, false},
        {"select lo_from_bytea(0, 'x')", false, false, false},
        {"create table public.mine ()", false, false, false},
        {"copy capsule.events to program 'true'", false, false, false},
        {"select pg_read_file('PG_VERSION')", false, false, false},
        {"select raw from capsule.quarantine", true, false, true},
        {"select \"key\" from capsule.quarantine", true, false, true},
        {"select headers from capsule.quarantine", true, false, true},
        {"insert into capsule.partition_state (topic, kafka_partition) values ('a.b', 1)", true, false, false},
        {"update capsule.partition_state set epoch = 5", true, false, false},
        {"update capsule.coverage set to_offset = 5", true, false, false},
        {"update capsule.coverage set disposition = 'lost-before-read'", false, false, false},
        {"select capsule.ensure_partitions('a.b', 'daily', '{}')", true, false, false},
        {"select capsule.refresh_typed_view('rim.fast-path')", true, false, false},
        {"update capsule.events set payload = null", false, false, false},
        {"delete from capsule.events", false, false, false},
        {"delete from capsule.events_rim_fast_path", false, false, false},
        {"truncate capsule.events", false, false, false},
        {"delete from capsule.quarantine", false, false, false},
        {"delete from capsule.coverage", false, false, false},
        {"delete from capsule.duplicates", false, false, false},
        {"update capsule.schemas set schema = ''", false, false, false},
        {"update capsule.migrations set sha256 = ''", false, false, false},
        {"insert into capsule.migrations values (99, '', '')", false, false, false},
        {"create table capsule.mine ()", false, false, false},
        {"drop table capsule.events", false, false, false},
        {"select capsule.ensure_topic('a.b', 'daily')", false, false, false},
        {"select capsule.create_analyst('bf_test_nobody')", false, false, false},
    };
    struct fixture f;
    fixture_init(&f);
    assert_ok(archive_schema_put(f.archive, 1, bf_slice_str("AVRO"), bf_slice_str(NOTE_SCHEMA), BF_SLICE_NONE, "rim.fast-path", &err));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        as_role(f.conninfo, "capsule_writer", rows[i].sql, rows[i].writer ? "" : denied);
        as_role(f.conninfo, "capsule_reader", rows[i].sql, rows[i].reader ? "" : denied);
        as_role(f.conninfo, "capsule_auditor", rows[i].sql, rows[i].auditor ? "" : denied);
    }
    as_role(f.conninfo, "capsule_writer", "select capsule.freeze('x')", denied);
    as_role(f.conninfo, "capsule_reader", "select capsule.freeze('x')", denied);
    as_role(f.conninfo, "capsule_auditor", "select capsule.freeze('x')", "55000"); /* may, but nothing is archived here */
    fixture_fini(&f);
}

static void test_roles__an_analyst_is_read_only_and_has_time_limits(void **state) {
    (void)state;
    struct fixture f;
    char login[64], sql[256], conninfo[1400];
    fixture_init(&f);
    snprintf(login, sizeof login, "bf_test_analyst_%d", (int)getpid());
    snprintf(sql, sizeof sql, "select capsule.create_analyst('%s', 'secret', '2 seconds')", login);
    test_pg_run(f.conninfo, sql);
    snprintf(conninfo, sizeof conninfo, "%s user=%s password=secret", f.conninfo, login);
    char *timeout = test_pg_value(conninfo, "show statement_timeout"), *path = test_pg_value(conninfo, "show search_path");
    assert_string_equal(timeout, "2s");
    assert_string_equal(path, "capsule, public");
    free(timeout);
    free(path);
    assert_int_equal(test_pg_number(conninfo, "select count(*) from events"), 0);
    assert_string_equal(test_pg_state(conninfo, "create table public.x ()"), "25006");
    assert_string_equal(test_pg_state(conninfo, "select pg_sleep(10)"), "57014");
    snprintf(sql, sizeof sql, "drop owned by %s; drop role %s", login, login);
    test_pg_run(f.conninfo, sql);
    fixture_fini(&f);
}

static void test_event_id__is_what_the_line_derives(void **state) {
    (void)state;
    static const char *const ids[] = {"order-17", "", "x", "0190A0A0-0000-7000-8000-00000000000F", "0190a0a0-0000-7000-8000-00000000000",
                                      "{0190a0a0-0000-7000-8000-000000000000}", "0190a0a00000-7000-8000-0000-00000000", "Zürich 7"};
    struct fixture f;
    char sql[256], expected[BF_UUID_TEXT_LEN + 1];
    fixture_init(&f);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct bf_uuid id = bf_event_id_from_text(bf_slice_str(ids[i]), NULL);
        bf_uuid_format(expected, &id);
        snprintf(sql, sizeof sql, "select capsule.event_id('%s')", ids[i]);
        char *got = test_pg_value(f.conninfo, sql);
        assert_string_equal(got, expected);
        free(got);
    }
    fixture_fini(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_migrate__a_second_run_changes_nothing),
        cmocka_unit_test(test_migrate__a_changed_file_is_refused),
        cmocka_unit_test(test_migrate__an_unknown_newer_one_is_refused),
        cmocka_unit_test(test_migrate__a_failing_file_leaves_nothing_behind),
        cmocka_unit_test(test_migrate__a_gap_is_fine_and_a_late_file_is_not),
        cmocka_unit_test(test_migrate__many_at_once_apply_each_file_once),
        cmocka_unit_test(test_migrate__two_databases_at_once),
        cmocka_unit_test(test_migrate__another_cluster_is_refused),
        cmocka_unit_test(test_comments__everything_has_one),
        cmocka_unit_test(test_roles__can_do_what_they_must_and_nothing_else),
        cmocka_unit_test(test_roles__an_analyst_is_read_only_and_has_time_limits),
        cmocka_unit_test(test_event_id__is_what_the_line_derives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
