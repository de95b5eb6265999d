/* A CAPSULE with known data, for clients that nobody here wrote: prints its address and serves until its standard input ends. A third of the data
 * has left the hot store, so both tiers answer. Makes the folder `reads` where it runs. */
#include "api_archive.h"
#include "bf_log.h"
#include "reads.h"
#include "redrive.h"
#include "replays.h"
#include "test_pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* In ingest's place: nothing is held here. */
static enum bf_code not_held(void *ctx, const struct poison *p, const struct event **ev, const struct poison **why, struct bf_err *err) {
    (void)ctx;
    (void)p;
    (void)ev;
    (void)why;
    return bf_fail(err, BF_NOT_FOUND, 0, "not held");
}

static void keep(void *ctx, const struct poison *p, const struct redrive_outcome *outcome) {
    (void)ctx;
    (void)p;
    (void)outcome;
}

static atomic_bool over;

static void *answer_redrives(void *fixture) {
    struct fx *f = fixture;
    struct bf_err err;
    const struct redrive_calls calls = {.open = not_held, .done = keep};
    while (!atomic_load(&over) && redrive_step(f->capsule.redrive, f->capsule.hot, &calls, &err) == BF_OK) {
        usleep(1000);
    }
    return NULL;
}

static void serve(void **state) {
    static struct fx fx;
    static char nowhere[] = "127.0.0.1:1";
    struct fx_archive side;
    char *conninfo = test_pg_database(), byte;
    (void)state;
    fx_open(&fx, conninfo);
    fx_archive_open(&side, &fx, conninfo);
    fx_fill(&fx, 400, 99);
    int64_t evict_through_us = fx_newest(&fx);
    fx_fill(&fx, 800, 7);
    fx_put(&fx, FAST, 0, EURUSD, "order-17", INT64_C(1717236000000000), 1.0852, "trace-1", "order-16");
    fx_put(&fx, FAST, 0, EURUSD, "0190c0de-0000-7000-8000-000000000001", INT64_C(1717236000001000), 1.0853, NULL, NULL);
    for (int i = 0; i < 20; i++) {
        fx_put_poison(&fx, FAST, 3, i % 2 ? POISON_AVRO : POISON_SCHEMA, 1 + i % 3);
    }
    fx_commit(&fx);
    fx_archive_all(&side, &fx);
    fx_archive_evict(&fx, evict_through_us);
    const struct reads_settings reads = {.dir = "reads", .bytes_max = 64 << 20, .instance = hot_instance_id(fx.capsule.hot),
                                         .archive = {.conninfo = conninfo, .application = "reads", .topics = fx.topics,
                                                     .connect_timeout_ms = 5000, .statement_timeout_ms = 20000}};
    assert_int_equal(reads_open(&reads, &fx.capsule.reads, &fx.err), BF_OK);
    fx.settings.postgres = conninfo;
    fx.settings.bootstrap = nowhere; /* jobs are kept and wait */
    assert_int_equal(replays_start(&fx.capsule, &fx.capsule.replays, &fx.err), BF_OK);
    pthread_t redrives;
    assert_int_equal(redrive_new(&fx.capsule.redrive, &fx.err), BF_OK);
    assert_int_equal(pthread_create(&redrives, NULL, answer_redrives, &fx), 0);
    printf("http://127.0.0.1:%d\n", api_port(fx.api));
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    atomic_store(&over, true);
    pthread_join(redrives, NULL);
    reads_close(fx.capsule.reads, 5000);
    fx.capsule.reads = NULL;
    replays_stop(fx.capsule.replays);
    fx_archive_close(&side);
    struct redrive *redrive = fx.capsule.redrive;
    fx_close(&fx);
    redrive_free(redrive);
    test_pg_drop(conninfo);
}

int main(void) {
    const struct CMUnitTest only[] = {cmocka_unit_test(serve)};
    bf_log_init("api_server", BF_LOG_WARN);
    return cmocka_run_group_tests(only, NULL, NULL);
}
