/* The archiver between a real hot store and a real PostgreSQL that is stopped, made a standby, cut off, that refuses rows, and whose
 * partitions others take. The cluster is the test's own. */
#include "archive_fixture.h"

#include "archiver.h"
#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "recover.h"
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOPIC "rim.fast-path"
#define PARTITIONS 3
#define WAIT_MS 60000

static char cluster_dir[] = "/tmp/bf-archiver-pg-XXXXXX";

struct line {
    struct fixture f;
    char dir[64];
    struct capsule_settings settings;
    struct capsule c;
    struct hot_batch *batch;
    int64_t next[PARTITIONS];
    uint64_t ids;
    int64_t recorded_through_us;
};

/* Run a command that must go through. */
static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...) {
    char command[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("%s", command);
}

static void postgres(const char *what) {
    shell("'%s/tools/postgres' %s %s >/dev/null 2>&1", BF_SOURCE_DIR, what, cluster_dir);
}

static void commit(struct line *l) {
    struct hot_commit_result result;
    assert_ok(hot_batch_commit(l->batch, &result, NULL, NULL, &err));
    l->recorded_through_us = result.recorded_through_us;
}

/* `count` events more, round the partitions, in one commit. */
static void put(struct line *l, int count) {
    for (int i = 0; i < count; i++) {
        int p = (int)(l->ids % PARTITIONS);
        struct event ev = fixture_event(&l->f, TOPIC, p, l->next[p]++, ++l->ids);
        ev.revision = 0;
        ev.recorded_at_us = 0;
        assert_ok(hot_batch_event(l->batch, &ev, &err));
    }
    commit(l);
}

/* As ingest does at assignment; where each begins stays what it was. */
static void take(struct line *l) {
    struct bf_tp tps[PARTITIONS];
    struct archive_taken taken[PARTITIONS];
    struct bf_uuid me = hot_instance_id(l->c.hot);
    for (int p = 0; p < PARTITIONS; p++)
        tps[p] = (struct bf_tp){.topic = TOPIC, .partition = p};
    assert_ok(archive_take(l->f.archive, &me, tps, PARTITIONS, taken, &err));
    for (int p = 0; p < PARTITIONS; p++)
        assert_ok(hot_batch_partition(l->batch, bf_slice_str(TOPIC), p, taken[p].epoch, l->next[p], &err));
    commit(l);
}

static void line_init(struct line *l) {
    memset(l, 0, sizeof *l);
    fixture_init(&l->f);
    strcpy(l->dir, "/tmp/bf-archiver-XXXXXX");
    assert_non_null(mkdtemp(l->dir));
    l->settings.postgres = l->f.conninfo;
    l->settings.archive_events_max = 1000;
    l->settings.archive_retry_max_ms = 1000;
    pthread_mutex_init(&l->c.tail_lock, NULL);
    pthread_mutex_init(&l->c.refusal.lock, NULL);
    l->c.settings = &l->settings;
    l->c.topics = l->f.topics;
    l->c.schemas = l->f.schemas;
    const struct hot_settings hot = {.dir = l->dir, .map_bytes_max = (int64_t)256 << 20, .cluster_id = "test"};
    assert_ok(hot_open(&hot, &l->c.hot, &err));
    assert_ok(hot_schema_put(l->c.hot, 1, bf_slice_str("AVRO"), bf_slice_str(NOTE_SCHEMA), BF_SLICE_NONE, &err));
    assert_ok(hot_batch_new(l->c.hot, &l->batch, &err));
    assert_ok(bf_metrics_new(capsule_metric_defs, CAPSULE_METRICS, &l->c.metrics, &err));
    const struct store_settings store = {.hot = l->c.hot, .schemas = l->f.schemas, .pool_wait_ms = 1000,
                                         .archive = {.conninfo = l->f.conninfo, .topics = l->f.topics, .read_only = true}};
    assert_ok(store_open(&store, &l->c.store, &err));
    take(l);
}

static void start(struct line *l) {
    assert_ok(archiver_start(&l->c, &l->c.archiver, &err));
}

static void stop(struct line *l) {
    archiver_stop(l->c.archiver);
    l->c.archiver = NULL;
}

static void line_fini(struct line *l) {
    stop(l);
    store_close(l->c.store);
    hot_batch_free(l->batch);
    hot_close(l->c.hot);
    bf_metrics_free(l->c.metrics);
    shell("rm -rf '%s'", l->dir);
    fixture_fini(&l->f);
}

static double metric(struct line *l, enum capsule_metric index, const char *v0, const char *v1) {
    return bf_series_value(bf_metrics_series(l->c.metrics, index, v0, v1, NULL));
}

/* Ingest's part when a row is refused. */
static void take_refusal(struct line *l) {
    struct refusal *r = &l->c.refusal;
    pthread_mutex_lock(&r->lock);
    if (r->posted)
        assert_ok(hot_refuse(l->c.hot, r->recorded_at_us, r->detail, &err));
    r->posted = false;
    pthread_mutex_unlock(&r->lock);
}

static void wait_all(struct line *l) {
    for (int waited = 0; archiver_wait_through(l->c.archiver, l->recorded_through_us, 20) != BF_OK; waited += 20) {
        take_refusal(l);
        if (waited > WAIT_MS)
            fail_msg("not archived within %d ms", WAIT_MS);
    }
}

/* Everything once, in both the events and the ledger, with nothing in quarantine but `refused`. */
static void check_all(struct line *l, long long refused) {
    long long sent = (long long)l->ids;
    assert_int_equal(test_pg_number(l->f.conninfo, "select count(*) from capsule.events"), sent - refused);
    assert_int_equal(test_pg_number(l->f.conninfo, "select count(distinct event_id) from capsule.events"), sent - refused);
    assert_int_equal(test_pg_number(l->f.conninfo, "select count(*) from capsule.quarantine"), refused);
    assert_int_equal(test_pg_number(l->f.conninfo, "select sum(to_offset - from_offset) from capsule.coverage"), sent);
    assert_int_equal(test_pg_number(l->f.conninfo, "select coalesce(sum(to_offset - from_offset), 0) from capsule.coverage"
                                                   " where disposition = 'quarantined'"), refused);
    assert_int_equal(test_pg_number(l->f.conninfo, "select sum(next_offset) from capsule.partition_state"), sent);
    assert_int_equal(store_archived_through(l->c.store), l->recorded_through_us);
    assert_true(metric(l, M_ARCHIVED, TOPIC, NULL) == (double)(sent - refused));
    assert_int_equal(atomic_load(&l->c.fatal), 0);
}

static void test_archiver__ships_what_is_recorded_and_goes_on_after_a_restart(void **state) {
    (void)state;
    struct line l;
    line_init(&l);
    put(&l, 2500);
    start(&l);
    wait_all(&l);
    check_all(&l, 0);
    assert_true(metric(&l, M_DEPENDENCY_UP, "postgres", NULL) == 1);
    assert_true(metric(&l, M_E2E, "archived", NULL) == 2500);
    stop(&l);
    put(&l, 700);
    start(&l);
    put(&l, 1);
    wait_all(&l);
    check_all(&l, 0);
    assert_int_equal(test_pg_number(l.f.conninfo, "select count(*) from capsule.schemas"), 1);
    assert_int_equal(test_pg_number(l.f.conninfo, "select count(*) from capsule.rim_fast_path"), 3201);
    line_fini(&l);
}

static void test_archiver__waiting_for_what_is_not_recorded_yet_times_out(void **state) {
    (void)state;
    struct line l;
    line_init(&l);
    start(&l);
    assert_int_equal(archiver_wait_through(l.c.archiver, l.recorded_through_us + 1000000, 100), BF_AGAIN);
    line_fini(&l);
}

static void test_archiver__terminated_backends_cost_nothing_but_time(void **state) {
    (void)state;
    struct line l;
    int rounds = getenv("BF_TORTURE") && *getenv("BF_TORTURE") == '1' ? 300 : 12;
    line_init(&l);
    start(&l);
    for (int i = 0; i < rounds; i++) {
        put(&l, 400);
        usleep((useconds_t)(i * 7919 % 30) * 1000);
        test_pg_run(l.f.conninfo, "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'capsule archiver%'"
                                  " and datname = current_database()");
    }
    wait_all(&l);
    check_all(&l, 0);
    assert_true(metric(&l, M_WAITS, "postgres", NULL) > 0);
    line_fini(&l);
}

static void test_archiver__a_stopped_server_is_waited_for_and_the_hot_store_goes_on(void **state) {
    (void)state;
    struct line l;
    struct hot_watermarks w;
    line_init(&l);
    start(&l);
    put(&l, 100);
    wait_all(&l);
    int64_t before = store_archived_through(l.c.store);
    postgres("stop");
    for (int i = 0; i < 5; i++)
        put(&l, 500);
    assert_int_equal(archiver_wait_through(l.c.archiver, l.recorded_through_us, 1500), BF_AGAIN);
    assert_true(metric(&l, M_WAITS, "postgres", NULL) > 0);
    assert_true(metric(&l, M_DEPENDENCY_UP, "postgres", NULL) == 0);
    assert_false(atomic_load(&l.c.dependency_up[DEPENDENCY_POSTGRES]));
    assert_int_equal(store_archived_through(l.c.store), before);
    hot_watermarks(l.c.hot, &w);
    assert_int_equal(w.recorded_through_us, l.recorded_through_us);
    postgres("start");
    wait_all(&l);
    assert_true(atomic_load(&l.c.dependency_up[DEPENDENCY_POSTGRES]));
    archive_close(l.f.archive); /* its connection went with the server */
    l.f.archive = fixture_archive(&l.f, false);
    check_all(&l, 0);
    line_fini(&l);
}

/* A standby says 25006 to every write: wait for the promotion. */
static void test_archiver__a_read_only_server_is_waited_for(void **state) {
    (void)state;
    struct line l;
    line_init(&l);
    start(&l);
    put(&l, 10);
    wait_all(&l);
    postgres("stop");
    shell("touch %s/data/standby.signal && chown --reference=%s/data/PG_VERSION %s/data/standby.signal", cluster_dir, cluster_dir, cluster_dir);
    postgres("start");
    assert_int_equal(test_pg_number(l.f.conninfo, "select pg_is_in_recovery()::int"), 1);
    put(&l, 300);
    assert_int_equal(archiver_wait_through(l.c.archiver, l.recorded_through_us, 2000), BF_AGAIN);
    assert_int_equal(atomic_load(&l.c.fatal), 0);
    assert_int_equal(test_pg_number(l.f.conninfo, "select count(*) from capsule.quarantine"), 0);
    test_pg_run(l.f.conninfo, "select pg_promote(true, 60)");
    wait_all(&l);
    archive_close(l.f.archive);
    l.f.archive = fixture_archive(&l.f, false);
    check_all(&l, 0);
    line_fini(&l);
}

/* The server names the row of a check that fails within COPY. Of one that fails at the end of the statement it does not: halving finds it. */
static void refuse(const char *rule) {
    struct line l;
    line_init(&l);
    test_pg_run(l.f.conninfo, rule);
    for (int i = 0; i < 3; i++)
        put(&l, 300);
    start(&l);
    wait_all(&l);
    check_all(&l, 3);
    char *which = test_pg_value(l.f.conninfo, "select string_agg(kafka_partition || '/' || kafka_offset || ' ' || reason, ', '"
                                              " order by kafka_offset) from capsule.quarantine");
    assert_string_equal(which, "1/17 refused, 1/18 refused, 1/250 refused");
    free(which);
    assert_int_equal(test_pg_number(l.f.conninfo, "select count(*) from capsule.quarantine where raw is not null and detail like '%PostgreSQL%'"), 3);
    assert_int_equal(test_pg_number(l.f.conninfo, "select count(*) from capsule.events where kafka_partition = 1 and kafka_offset in (16, 19, 249, 251)"), 4);
    line_fini(&l);
}

static void test_archiver__rows_that_a_check_refuses_are_quarantined_alone(void **state) {
    (void)state;
    refuse("alter table capsule.events add constraint odd check (not (kafka_partition = 1 and kafka_offset in (17, 18, 250)))");
}

static void test_archiver__rows_that_the_server_does_not_name_are_found_by_halving(void **state) {
    (void)state;
    refuse("create function capsule.refuse() returns trigger language plpgsql as $$ begin"
           " if new.kafka_partition = 1 and new.kafka_offset in (17, 18, 250) then raise exception 'no' using errcode = '22000'; end if;"
           " return null; end $$;"
           " create trigger refuse after insert on capsule.events for each row execute function capsule.refuse()");
}

static void test_archiver__a_lost_fence_writes_nothing_of_that_partition_and_the_rest_goes_on(void **state) {
    (void)state;
    struct line l;
    struct bf_uuid other = fixture_uuid(99);
    struct bf_tp tp = {.topic = TOPIC, .partition = 1};
    struct archive_taken taken;
    line_init(&l);
    start(&l);
    put(&l, 300);
    wait_all(&l);
    assert_ok(archive_take(l.f.archive, &other, &tp, 1, &taken, &err));
    put(&l, 300);
    for (int i = 0; i < 200 && !atomic_load(&l.c.fence_lost); i++)
        usleep(50000);
    assert_true(atomic_load(&l.c.fence_lost));
    assert_int_equal(test_pg_number(l.f.conninfo, "select count(*) from capsule.events"), 300);
    assert_ok(recover_reconcile(&l.c, l.f.archive, &err)); /* what ingest does when it is told */
    atomic_store(&l.c.fence_lost, false);
    wait_all(&l);
    assert_int_equal(test_pg_number(l.f.conninfo, "select count(*) from capsule.events where kafka_partition = 1"), 100);
    assert_int_equal(test_pg_number(l.f.conninfo, "select count(*) from capsule.events where kafka_partition <> 1"), 400);
    assert_int_equal(test_pg_number(l.f.conninfo, "select next_offset from capsule.partition_state where kafka_partition = 1"), 100);
    assert_int_equal(atomic_load(&l.c.fatal), 0);
    line_fini(&l);
}

/* Nobody reconciles: after ten seconds of tries the process is told to stop. */
static void test_archiver__a_fence_that_stays_lost_stops_the_process(void **state) {
    (void)state;
    struct line l;
    struct bf_uuid other = fixture_uuid(99);
    struct bf_tp tp = {.topic = TOPIC, .partition = 1};
    struct archive_taken taken;
    if (!getenv("BF_TORTURE") || *getenv("BF_TORTURE") != '1')
        skip();
    line_init(&l);
    assert_ok(archive_take(l.f.archive, &other, &tp, 1, &taken, &err));
    put(&l, 3);
    start(&l);
    for (int i = 0; i < 400 && !atomic_load(&l.c.fatal); i++)
        usleep(50000);
    assert_int_equal(atomic_load(&l.c.fatal), BF_EXIT_STATE);
    assert_int_equal(test_pg_number(l.f.conninfo, "select count(*) from capsule.events"), 0);
    line_fini(&l);
}

static int own_cluster(void **state) {
    (void)state;
    char path[128], conninfo[512];
    assert_non_null(mkdtemp(cluster_dir));
    postgres("start");
    snprintf(path, sizeof path, "%s/conninfo", cluster_dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(conninfo, sizeof conninfo, f));
    fclose(f);
    conninfo[strcspn(conninfo, "\n")] = 0;
    return setenv("BF_TEST_POSTGRES", conninfo, 1);
}

static int remove_cluster(void **state) {
    (void)state;
    postgres("stop");
    shell("rm -rf '%s'", cluster_dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_archiver__ships_what_is_recorded_and_goes_on_after_a_restart),
        cmocka_unit_test(test_archiver__waiting_for_what_is_not_recorded_yet_times_out),
        cmocka_unit_test(test_archiver__terminated_backends_cost_nothing_but_time),
        cmocka_unit_test(test_archiver__rows_that_a_check_refuses_are_quarantined_alone),
        cmocka_unit_test(test_archiver__rows_that_the_server_does_not_name_are_found_by_halving),
        cmocka_unit_test(test_archiver__a_lost_fence_writes_nothing_of_that_partition_and_the_rest_goes_on),
        cmocka_unit_test(test_archiver__a_stopped_server_is_waited_for_and_the_hot_store_goes_on),
        cmocka_unit_test(test_archiver__a_read_only_server_is_waited_for),
        cmocka_unit_test(test_archiver__a_fence_that_stays_lost_stops_the_process),
    };
    return cmocka_run_group_tests(tests, own_cluster, remove_cluster);
}
