/* Both tiers as one: real LMDB, real PostgreSQL. The bytes of an answer are the same before, while and after its events leave the hot store. */
#include "api_archive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define EVENTS 500
#define NODES_FILLED 17 /* by fx_fill() */
#define NODES 170       /* the others have one event each: while events leave, few of a page's nodes need the archive */
#define PATHS_MAX 48

static struct fx fx;
#define F (&fx)

static char pg_dir[64], conninfo[512];
static struct fx_archive side;

static int run(const char *fmt, ...) {
    char command[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    return system(command);
}

static void start_postgres(void) {
    strcpy(pg_dir, "/tmp/bf-api-pg-XXXXXX");
    assert_non_null(mkdtemp(pg_dir));
    assert_int_equal(run("%s/tools/postgres start %s >/dev/null", BF_SOURCE_DIR, pg_dir), 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/conninfo", pg_dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(conninfo, sizeof(conninfo), f));
    conninfo[strcspn(conninfo, "\n")] = '\0';
    fclose(f);
}

static int setup(void **state) {
    (void)state;
    start_postgres();
    fx_open(F, conninfo);
    fx_archive_open(&side, F, conninfo);
    fx_fill(F, EVENTS, 1234);
    for (size_t n = NODES_FILLED; n < NODES; n++) {
        fx_put(F, FAST, (int32_t)(n % 3), fx_node(n), NULL, INT64_C(1700000000500000) + (int64_t)n * 1000, 1, NULL, NULL);
    }
    for (int i = 0; i < 10; i++) { /* sent twice: duplicates */
        fx_put(F, FAST, 0, fx_node(1), "twice", INT64_C(1700000000000000), 1, NULL, NULL);
        fx_put_poison(F, FAST, 1, i % 2 ? POISON_AVRO : POISON_UTF8, 1);
    }
    fx_commit(F);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_archive_close(&side);
    fx_close(F);
    run("%s/tools/postgres stop %s >/dev/null", BF_SOURCE_DIR, pg_dir);
    run("rm -rf %s", pg_dir);
    return 0;
}

/* ---- the same bytes ---- */

struct kept {
    char path[512];
    struct bf_buf bytes;
};
static struct kept kept[PATHS_MAX];
static size_t kept_count;

static void keep(const char *fmt, ...) {
    struct kept *k = &kept[kept_count++];
    va_list args;
    assert_true(kept_count <= PATHS_MAX);
    va_start(args, fmt);
    vsnprintf(k->path, sizeof(k->path), fmt, args);
    va_end(args);
    assert_int_equal(fx_get(F, "%s", k->path), 200);
    bf_buf_init(&k->bytes, 64 << 20);
    bf_buf_append(&k->bytes, fx.body.data, fx.body.len);
}

static void check_kept(const char *when) {
    for (size_t i = 0; i < kept_count; i++) {
        const struct kept *k = &kept[i];
        if (fx_get(F, "%s", k->path) != 200 || fx.body.len != k->bytes.len || memcmp(fx.body.data, k->bytes.data, fx.body.len) != 0) {
            fail_msg("%s, %s: %d\n%.3000s\nwas\n%.*s", k->path, when, fx.status, fx.body.data, (int)(k->bytes.len < 3000 ? k->bytes.len : 3000),
                     k->bytes.data);
        }
    }
}

static void keep_all(void) {
    long long all = (long long)store_recorded_through(fx.capsule.store), half = (long long)fx.told[EVENTS / 2].recorded_at_us;
    keep("/v1/events?known_by=%lld&limit=10000", all);
    keep("/v1/events?known_by=%lld&limit=33", half);
    keep("/v1/events?known_by=%lld&order=desc&limit=400", all);
    keep("/v1/events?known_by=%lld&trace=t1&limit=10000", all);
    keep("/v1/events?known_by=%lld&cause=some-cause&limit=10000", all);
    keep("/v1/events?known_by=%lld&domain=odyssey&from=2023-11-14T22:13:20.3Z&to=2023-11-14T22:13:21.9Z", all);
    keep("/v1/events?known_by=%lld&recorded_from=%lld&limit=10000", all, half);
    keep("/v1/events?known_by=%lld&node_prefix=rim:metric:test:N01&limit=10000", all);
    for (size_t n = 0; n < 4; n++) {
        keep("/v1/nodes/%s/history?known_by=%lld&limit=10000", fx_node(n), n % 2 ? all : half);
        keep("/v1/nodes/%s/history?known_by=%lld&limit=%d&order=desc", fx_node(n), n % 2 ? all : half, n < 2 ? 5 : 20);
        keep("/v1/nodes/%s/history?known_by=%lld&limit=4&from=2023-11-14T22:13:21.5Z", fx_node(n), all);
        keep("/v1/nodes/%s/state?known_by=%lld&as_of=2023-11-14T22:13:21Z", fx_node(n), n % 2 ? all : half);
        keep("/v1/nodes/%s/state?known_by=%lld&as_of=2040-01-01&topic=%s", fx_node(n), all, FAST);
    }
    keep("/v1/state?known_by=%lld&as_of=2023-11-14T22:13:21Z", half);
    keep("/v1/state?known_by=%lld&as_of=2040-01-01&format=json", all);
    keep("/v1/replay?known_by=%lld", all);
    keep("/v1/replay?known_by=%lld&by=recorded", all);
    keep("/v1/replay?known_by=%lld&by=recorded&to=%lld&node=%s", all, half, fx_node(2));
    keep("/v1/replay?known_by=%lld&topic=%s&partition=1&from_offset=5", all, FAST);
    keep("/v1/events/twice?known_by=%lld", all);
    keep("/v1/events/twice/raw?known_by=%lld&part=headers", all);
    for (size_t i = 0, found = 0; i < fx.committed && found < 3; i++) {
        if (fx.told[i].revision > 1) {
            keep("/v1/events/%s?known_by=%lld&topic=%s", fx.told[i].id, all, fx.told[i].topic);
            found++;
        }
    }
    keep("/v1/quarantine?known_by=%lld&limit=7", all);
    keep("/v1/quarantine?known_by=%lld&reason=utf8", all);
}

static atomic_bool evicted_all;

/* The writer's thread: a few records at a time, as long as there are any. */
static void *evict_on(void *arg) {
    struct bf_err err;
    size_t evicted = 1;
    (void)arg;
    while (evicted > 0 && hot_evict(fx.capsule.hot, store_archived_through(fx.capsule.store), 3, &evicted, &err) == BF_OK) {
        usleep(5000);
    }
    atomic_store(&evicted_all, true);
    return NULL;
}

static void test_answers__are_the_same_bytes_whichever_tier_they_come_from(void **state) {
    (void)state;
    pthread_t evictor;
    size_t rounds = 0;
    keep_all();
    fx_archive_all(&side, F);
    check_kept("archived, all hot");
    for (size_t gone = 0, evicted; gone < 10; gone += evicted) { /* one or two nodes need the archive, then more */
        assert_int_equal(hot_evict(fx.capsule.hot, store_archived_through(fx.capsule.store), 2, &evicted, &fx.err), BF_OK);
        check_kept("while the first leave");
    }
    assert_int_equal(pthread_create(&evictor, NULL, evict_on, NULL), 0);
    while (!atomic_load(&evicted_all)) {
        check_kept("while events leave the hot store");
        rounds++;
    }
    pthread_join(evictor, NULL);
    check_kept("all evicted");
    assert_true(rounds > 1);
    struct hot_watermarks w;
    hot_watermarks(fx.capsule.hot, &w);
    assert_int_equal(w.log_records, 0);
    assert_true(w.hot_from_us > fx_newest(F));
    assert_int_equal(fx_get(F, "/v1/nodes/%s", fx_node(0)), 200);
}

/* ---- the tiers disagree on purpose: what is hot replaces what is archived ---- */

static void check_state(const char *node, int64_t as_of, int64_t known_by) {
    static const char *const topics[] = {REFLEX, FAST};
    json_t *answer = fx_json(F, "/v1/nodes/%s/state?as_of=%lld&known_by=%lld", node, (long long)as_of, (long long)known_by);
    json_t *states = json_object_get(answer, "states");
    size_t at = 0;
    for (size_t k = 0; k < 2; k++) {
        const struct told *t = fx_state_of(F, node, topics[k], as_of, known_by);
        if (t) {
            assert_true(at < json_array_size(states));
            fx_check_event(json_array_get(states, at++), t);
        }
    }
    assert_int_equal(at, json_array_size(states));
    json_decref(answer);
}

static void check_world(int64_t as_of, int64_t known_by) {
    static const char *const topics[] = {REFLEX, FAST};
    json_t *answer = fx_json(F, "/v1/state?format=json&as_of=%lld&known_by=%lld", (long long)as_of, (long long)known_by);
    json_t *states = json_object_get(answer, "states");
    size_t at = 0;
    for (size_t n = 0; n < NODES; n++) {
        for (size_t k = 0; k < 2; k++) {
            const struct told *t = fx_state_of(F, fx_node(n), topics[k], as_of, known_by);
            if (t) {
                assert_true(at < json_array_size(states));
                fx_check_event(json_array_get(states, at++), t);
            }
        }
    }
    assert_int_equal(at, json_array_size(states));
    json_decref(answer);
}

static void test_state__knows_hot_revisions_of_archived_events(void **state) {
    (void)state;
    unsigned seed = 11;
    for (int i = 0; i < 120; i++) { /* new contents for ids that are archived only, mostly at an earlier event time */
        size_t k = (size_t)rand_r(&seed) % EVENTS;
        struct told t = fx.told[k];
        if (t.disposition == DISPOSITION_STORED) {
            fx_put(F, t.topic, t.partition, t.node, t.id, t.event_time_us - (rand_r(&seed) % 4 ? 700000 : -300000), 1000 + i, NULL, NULL);
        }
    }
    fx_commit(F);
    check_kept("with revisions behind known_by");
    for (int round = 0; round < 150; round++) {
        int64_t as_of = fx.told[(size_t)rand_r(&seed) % EVENTS].event_time_us;
        int64_t known_by = fx.told[EVENTS - 1 + (size_t)rand_r(&seed) % (fx.committed - EVENTS)].recorded_at_us;
        check_state(fx_node((size_t)rand_r(&seed) % NODES_FILLED), as_of, known_by);
        if (round % 15 == 0) {
            check_world(as_of, known_by);
        }
    }
}

/* ---- away ---- */

static void test_archive_away__is_a_503_and_never_half_an_answer(void **state) {
    (void)state;
    const struct told *t = fx_put(F, FAST, 0, fx_node(3), "only-hot", INT64_C(2000000000000000), 1, NULL, NULL);
    fx_put(F, FAST, 0, fx_node(3), "only-hot", INT64_C(2000000000000000), 1, NULL, NULL);
    assert_non_null(t);
    fx_put(F, FAST, 0, fx_node(3), "only-hot-too", INT64_C(2000000001000000), 1, NULL, NULL);
    fx_commit(F);
    assert_int_equal(run("%s/tools/postgres stop %s >/dev/null", BF_SOURCE_DIR, pg_dir), 0);
    static const char *const needing[] = {"/v1/events", "/v1/replay", "/v1/state", "/v1/events/twice", "/v1/nodes/" "rim:metric:test:N003" "/history",
                                          "/v1/quarantine"};
    for (size_t i = 0; i < sizeof(needing) / sizeof(*needing); i++) {
        fx_problem(F, 503, NULL, "%s", needing[i]);
        assert_non_null(bf_http_client_answer_header(fx.client, "Retry-After"));
        assert_null(strstr(fx.body.data, "127.0.0.1")); /* whose address and port are nobody's business */
    }
    static const char *const sparing[] = {"/v1/events/only-hot", "/v1/nodes/" "rim:metric:test:N003" "/history?order=desc&limit=1",
                                          "/v1/nodes/" "rim:metric:test:N003" "/history?from=2033-01-01", "/v1/nodes/" "rim:metric:test:N003" "/state?as_of=2040-01-01&topic=" FAST};
    for (size_t i = 0; i < sizeof(sparing) / sizeof(*sparing); i++) {
        if (fx_get(F, "%s", sparing[i]) != 200) {
            fail_msg("%s needs the archive: %d %.500s", sparing[i], fx.status, fx.body.data);
        }
    }
    struct hot_watermarks w;
    hot_watermarks(fx.capsule.hot, &w);
    json_t *page = fx_json(F, "/v1/events?recorded_from=%lld&limit=10000", (long long)w.hot_from_us);
    assert_true(json_array_size(json_object_get(page, "events")) > 50);
    json_decref(page);
    assert_int_equal(fx_get(F, "/readyz"), 200);
    assert_int_equal(fx_get(F, "/v1/coverage"), 200);
    assert_int_equal(fx_get(F, "/v1/lag"), 200);
    assert_int_equal(run("%s/tools/postgres start %s >/dev/null", BF_SOURCE_DIR, pg_dir), 0);
    check_kept("after the archive came back");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers__are_the_same_bytes_whichever_tier_they_come_from),
        cmocka_unit_test(test_state__knows_hot_revisions_of_archived_events),
        cmocka_unit_test(test_archive_away__is_a_503_and_never_half_an_answer),
    };
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    for (size_t i = 0; i < kept_count; i++) {
        bf_buf_fini(&kept[i].bytes);
    }
    return failed;
}
