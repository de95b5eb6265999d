/* CAPSULE. Start: settings, what we depend on (waited for, visibly), the hot store, then the loops in the order of the line; stop in
 * the other direction. Every way out has a reason in the log and one of the documented exit codes. */
#include "api.h"
#include "archiver.h"
#include "bf_failpoint.h"
#include "bf_json.h"
#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "dlq.h"
#include "ingest.h"
#include "reads.h"
#include "recover.h"
#include "redrive.h"
#include "replays.h"
#include "settings.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_STEP_MS 500
#define LAST_ARCHIVE_MS 30000
#define LAST_READS_MS 5000

/* Try until it works, stop is asked for, or start-timeout is over. BF_AGAIN after that. */
static enum bf_code wait_for(struct capsule *c, const char *what, enum bf_code (*attempt)(struct capsule *c, void *arg, struct bf_err *err),
                             void *arg, struct bf_err *err) {
    int64_t give_up = bf_time_monotonic_us() + c->settings->start_timeout_ms * 1000, said = 0;
    for (;;) {
        enum bf_code code = attempt(c, arg, err);
        if (code != BF_AGAIN)
            return code;
        int64_t now = bf_time_monotonic_us();
        if (now >= give_up)
            return bf_err_prepend(err, "%s is still away after %lld ms", what, (long long)c->settings->start_timeout_ms);
        if (now - said > 5000000) {
            bf_log_err(BF_LOG_WARN, "start_wait", err, "for=%s retry_in_ms=%d", what, WAIT_STEP_MS);
            said = now;
        }
        if (!bf_sleep_ms(WAIT_STEP_MS))
            return bf_fail(err, BF_CANCELLED, 0, "stopped while waiting for %s", what);
    }
}

/* Who are the brokers? */
static enum bf_code ask_cluster(struct capsule *c, void *arg, struct bf_err *err) {
    (void)arg;
    const struct bf_producer_settings settings = {.bootstrap = c->settings->bootstrap, .client_id = "capsule"};
    struct bf_producer *probe = NULL;
    enum bf_code code = bf_kafka_ping(c->settings->bootstrap, 1000, err);
    if (code == BF_OK)
        code = bf_producer_open(&settings, &probe, err);
    if (code == BF_OK)
        code = bf_producer_cluster_id(probe, 3000, &c->cluster_id, err);
    bf_producer_close(probe);
    /* The embedded broker draws a new id at each start and keeps its offsets: one cluster as far as we are concerned. */
    if (code == BF_OK && strncmp(c->cluster_id, "mockCluster", 11) == 0)
        strcpy(c->cluster_id, "embedded");
    return code;
}

static enum bf_code prepare_archive(struct capsule *c, void *arg, struct bf_err *err) {
    int applied = 0;
    enum bf_code code = archive_migrate(arg, c->settings->migrations_dir, &applied, err);
    if (code == BF_OK && applied)
        bf_log(BF_LOG_INFO, "migrated", "applied=%d", applied);
    if (code == BF_OK)
        code = archive_bind_cluster(arg, c->cluster_id, err);
    return code == BF_OK ? archive_secret(arg, "cursor", c->cursor_key, sizeof c->cursor_key, err) : code;
}

static enum bf_code open_hot(struct capsule *c, struct bf_err *err) {
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/hot", c->settings->dir);
    if (mkdir(c->settings->dir, 0700) != 0 && access(c->settings->dir, W_OK) != 0)
        return bf_fail(err, BF_INVALID, 0, "dir: %s cannot be made or written", c->settings->dir);
    const struct hot_settings settings = {.dir = dir, .map_bytes_max = c->settings->hot_bytes_max, .cluster_id = c->cluster_id,
                                          .node_run_min = (size_t)c->settings->node_run_min,
                                          .sync_every_commit = c->settings->sync_commits};
    enum bf_code code = hot_open(&settings, &c->hot, err);
    if (code != BF_REJECTED)
        return code;
    bf_log_err(BF_LOG_WARN, "hot_store_discarded", err, "action=\"rebuild from the archive\"");
    code = hot_destroy(dir, err);
    return code == BF_OK ? hot_open(&settings, &c->hot, err) : code;
}

static enum bf_code recover(struct capsule *c, void *arg, struct bf_err *err) {
    enum bf_code code = recover_check_archive(c, arg, err);
    if (code == BF_OK)
        code = recover_begin_rebuild(c, arg, err);
    return code == BF_OK ? recover_reconcile(c, arg, err) : code;
}

/* Everything that must be right before the loops may run. */
static enum bf_code prepare(struct capsule *c, struct archive *archive, struct bf_err *err) {
    enum bf_code code = wait_for(c, "kafka", ask_cluster, NULL, err);
    if (code == BF_OK) {
        atomic_store(&c->dependency_up[DEPENDENCY_KAFKA], 1);
        code = wait_for(c, "postgres", prepare_archive, archive, err);
    }
    if (code == BF_OK) {
        atomic_store(&c->dependency_up[DEPENDENCY_POSTGRES], 1);
        code = open_hot(c, err);
    }
    if (code == BF_OK) {
        struct bf_uuid me = hot_instance_id(c->hot);
        bf_uuid_format(c->instance, &me);
        code = wait_for(c, "postgres", recover, archive, err);
    }
    return code;
}

static enum bf_code open_reads(struct capsule *c, struct bf_err *err) {
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/reads", c->settings->dir);
    const struct reads_settings settings = {
        .dir = dir, .bytes_max = c->settings->reads_bytes_max, .instance = hot_instance_id(c->hot),
        .archive = {.conninfo = c->settings->postgres, .application = "capsule log of reads", .topics = c->topics, .connect_timeout_ms = 3000,
                    .statement_timeout_ms = 60000}};
    return reads_open(&settings, &c->reads, err);
}

static enum bf_code open_store(struct capsule *c, struct bf_err *err) {
    const struct capsule_settings *s = c->settings;
    enum bf_code code = bf_metrics_new(capsule_metric_defs, CAPSULE_METRICS, &c->metrics, err);
    if (code == BF_OK)
        code = schema_cache_new(c->hot, c->topics, &c->schemas, err);
    if (code != BF_OK)
        return code;
    bf_series_set(bf_metrics_series(c->metrics, M_BUILD_INFO, BF_VERSION, NULL, NULL), 1);
    const struct store_settings settings = {
        .hot = c->hot, .schemas = c->schemas, .pool_max = (int)s->archive_pool_max, .pool_wait_ms = 5000,
        .archive = {.conninfo = s->postgres, .application = "capsule reads", .topics = c->topics, .connect_timeout_ms = 3000,
                    .statement_timeout_ms = 60000, .read_only = true}};
    code = store_open(&settings, &c->store, err);
    return code == BF_OK && s->record_reads ? open_reads(c, err) : code;
}

/* Where we are to be found; an IPv6 address stands in brackets (RFC 3986 §3.2.2). */
static void base_url(const struct capsule *c, int port, char *dst, size_t bytes) {
    const char *host = c->settings->http_host;
    bool v6 = strchr(host, ':') != NULL;
    snprintf(dst, bytes, "%s://%s%s%s:%d", c->settings->tls_cert ? "https" : "http", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

static enum bf_code write_endpoints(const struct capsule *c, int port, struct bf_err *err) {
    char temporary[4200], url[512];
    base_url(c, port, url, sizeof url);
    if (!c->settings->endpoints_file)
        return BF_OK;
    snprintf(temporary, sizeof temporary, "%s.new", c->settings->endpoints_file);
    FILE *f = fopen(temporary, "w");
    if (!f)
        return bf_fail(err, BF_INVALID, 0, "endpoints-file: %s cannot be written", c->settings->endpoints_file);
    fprintf(f, "{\"http\":\"%s\"}\n", url);
    if (fclose(f) != 0 || rename(temporary, c->settings->endpoints_file) != 0)
        return bf_fail(err, BF_INVALID, 0, "endpoints-file: %s cannot be written", c->settings->endpoints_file);
    return BF_OK;
}

static enum bf_code start_loops(struct capsule *c, struct api **api, struct bf_err *err) {
    enum bf_code code = open_store(c, err);
    if (code == BF_OK)
        code = dlq_start(c, &c->dlq, err);
    if (code == BF_OK)
        code = archiver_start(c, &c->archiver, err);
    if (code == BF_OK)
        code = redrive_new(&c->redrive, err);
    if (code == BF_OK)
        code = ingest_start(c, &c->ingest, err);
    if (code == BF_OK)
        code = replays_start(c, &c->replays, err);
    if (code == BF_OK)
        code = api_start(c, api, err);
    if (code == BF_OK) {
        char url[512];
        base_url(c, api_port(*api), url, sizeof url);
        bf_log(BF_LOG_INFO, "serving", "http=%s instance=%s cluster=%s tokens=%s", url, c->instance, c->cluster_id,
               c->settings->tokens_file ? "yes" : "no");
        code = write_endpoints(c, api_port(*api), err);
    }
    return code;
}

/* Against the direction of the line: nothing new comes in, what is in hand is recorded, then archived, then the doors close. */
static void stop_loops(struct capsule *c, struct api *api) {
    bf_stop_request();
    ingest_stop(c->ingest);
    if (c->archiver && c->store && atomic_load(&c->fatal) == 0 &&
        archiver_wait_through(c->archiver, store_own_recorded_through(c->store), LAST_ARCHIVE_MS) != BF_OK)
        bf_log(BF_LOG_WARN, "stopped_unarchived", "what=\"archived at the next start\"");
    archiver_stop(c->archiver);
    c->archiver = NULL;
    dlq_stop(c->dlq);
    c->dlq = NULL;
    api_stop(api);
    replays_stop(c->replays);
    c->replays = NULL;
    reads_close(c->reads, LAST_READS_MS);
    c->reads = NULL;
    ingest_free(c->ingest);
    redrive_free(c->redrive);
    store_close(c->store);
    schema_cache_free(c->schemas);
    hot_close(c->hot);
    bf_metrics_free(c->metrics);
    free(c->cluster_id);
}

static int exit_code_of(enum bf_code code) {
    switch (code) {
    case BF_OK:
    case BF_CANCELLED: return BF_EXIT_OK;
    case BF_INVALID: return BF_EXIT_SETTINGS;
    case BF_AGAIN: return BF_EXIT_DEPENDENCY;
    case BF_BROKEN: return BF_EXIT_STATE;
    default: return BF_EXIT_INTERNAL;
    }
}

static int run(struct capsule *c) {
    struct bf_err err;
    struct archive *archive = NULL;
    struct api *api = NULL;
    struct bf_topics *topics = NULL;
    const struct capsule_settings *s = c->settings;
    c->started_at_us = bf_time_now_us();
    c->started_monotonic_us = bf_time_monotonic_us();
    pthread_mutex_init(&c->tail_lock, NULL);
    pthread_mutex_init(&c->refusal.lock, NULL);
    enum bf_code code = bf_topics_load(s->schemas_dir, &topics, &err);
    c->topics = topics;
    const struct archive_settings archive_settings = {.conninfo = s->postgres, .application = "capsule start", .topics = topics,
                                                      .connect_timeout_ms = 3000, .statement_timeout_ms = 0};
    if (code == BF_OK)
        code = archive_open(&archive_settings, &archive, &err);
    if (code == BF_OK)
        code = prepare(c, archive, &err);
    archive_close(archive);
    if (code == BF_OK)
        code = start_loops(c, &api, &err);
    if (code == BF_OK)
        while (bf_sleep_ms(60000))
            ;
    else if (code != BF_CANCELLED)
        bf_log_err(BF_LOG_ERROR, "start_failed", &err, "exit_code=%d", exit_code_of(code));
    if (code != BF_OK && code != BF_CANCELLED)
        atomic_store(&c->fatal, exit_code_of(code));
    bf_log(BF_LOG_INFO, "stopping", "uptime_s=%lld", (long long)((bf_time_monotonic_us() - c->started_monotonic_us) / 1000000));
    stop_loops(c, api);
    bf_topics_free(topics);
    bf_log(BF_LOG_INFO, "stopped", "exit_code=%d", atomic_load(&c->fatal));
    return atomic_load(&c->fatal);
}

static enum bf_log_level level_of(const char *name) {
    return strcmp(name, "debug") == 0  ? BF_LOG_DEBUG
           : strcmp(name, "warn") == 0  ? BF_LOG_WARN
           : strcmp(name, "error") == 0 ? BF_LOG_ERROR
                                        : BF_LOG_INFO;
}

/* glibc's allocator keeps what it once had, in an arena for nearly every thread, and takes large blocks from there too once one was freed. With one
 * ingest thread and bursts of large fetches that is a third of the memory, held for nothing (docs/performance.md). */
static void bound_allocator(void) {
    mallopt(M_ARENA_MAX, 4);
    mallopt(M_MMAP_THRESHOLD, 512 << 10);
}

int main(int argc, char **argv) {
    struct capsule_settings settings = {0};
    struct capsule capsule = {.settings = &settings};
    struct bf_err err;
    char **rest;
    int rest_count, exit_code = 0;
    bound_allocator();
    bf_log_init("capsule", BF_LOG_INFO);
    if (!bf_failpoints_init())
        return BF_EXIT_SETTINGS;
    enum bf_code code = bf_settings_load(&capsule_program, argc, argv, &settings, &rest, &rest_count, &exit_code, &err);
    if (code == BF_OK && (code = capsule_settings_check(&settings, &err)) != BF_OK)
        exit_code = BF_EXIT_SETTINGS;
    if (code == BF_OK) {
        bf_log_init("capsule", level_of(settings.log_level));
        exit_code = bf_stop_install(&err) == BF_OK ? run(&capsule) : BF_EXIT_INTERNAL;
    } else if (code != BF_CANCELLED) {
        fprintf(stderr, "capsule: %s\n", err.msg);
    }
    bf_settings_fini(&capsule_program, &settings);
    return exit_code;
}
