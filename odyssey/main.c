/* odyssey. Start: settings and rules (wrong ones end it), then what it depends on (waited for, visibly), then the loop until it is told to stop. */
#include "odyssey.h"

#include "bf_log.h"
#include "bf_registry.h"
#include "bf_stop.h"
#include "bf_time.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPT_MS 2000
#define TICK_MS 200

static enum bf_code attempt_kafka(void *ctx, struct bf_err *err) {
    struct odyssey *o = ctx;
    enum bf_code code = bf_kafka_ping(o->s->bootstrap, ATTEMPT_MS, err);

    for (int i = 0; i < 2 && code == BF_OK; i++) {
        const struct bf_topic *topic = i == 0 ? &o->topic_in : o->topic_out;
        code = bf_kafka_create_topic(o->s->bootstrap, topic->name, topic->partitions, topic->retention_ms, ATTEMPT_MS, err);
        if (code == BF_EXISTS || code == BF_INVALID) code = BF_OK; /* it is there, or somebody else has to make it */
    }
    return code == BF_OK ? bf_transform_warm(o->transform, o->topic_out->name, ATTEMPT_MS, err) : code;
}

static enum bf_code attempt_registry(void *ctx, struct bf_err *err) {
    struct odyssey *o = ctx;
    struct bf_registry *registry = NULL;
    enum bf_code code = bf_registry_new(o->s->registry, ATTEMPT_MS, &registry, err);

    if (code == BF_OK) code = bf_registry_register(registry, REFLEX_TOPIC "-value", o->topic_out->schema_json, &o->reflex_schema_id, err);
    bf_registry_free(registry);
    return code;
}

/* What needs nobody else. */
static enum bf_code prepare(struct odyssey *o, struct bf_err *err) {
    char dir[PATH_MAX];

    bf_topics_find_dir(o->s->schemas_dir, dir, sizeof dir);
    enum bf_code code = bf_topics_load(dir, &o->topics, err);
    if (code != BF_OK) {
        err->code = BF_INVALID;
        return bf_err_prepend(err, "schemas-dir");
    }
    o->topic_in = *bf_topics_find(o->topics, o->s->topic);
    o->topic_in.name = o->s->topic;
    o->topic_out = bf_topics_find(o->topics, REFLEX_TOPIC);
    if (o->topic_out->schema_json == NULL) return bf_fail(err, BF_INVALID, 0, "schemas-dir: the catalogue has no schema for %s", REFLEX_TOPIC);
    code = rules_load(o->s->rules, &o->topic_in, &o->rules, err);
    if (code != BF_OK) return bf_err_prepend(err, "rules");
    o->partitions = calloc(BF_TRANSFORM_PARTITIONS_MAX, sizeof *o->partitions);
    if (o->partitions == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for partitions");
    code = bf_metrics_new(odyssey_metric_defs, ODYSSEY_METRICS, &o->metrics, err);
    if (code == BF_OK) code = odyssey_reader(o, o->rules, &o->reader, err);
    if (code == BF_OK) odyssey_note_rules(o);
    if (code == BF_OK) bf_series_set(bf_metrics_series(o->metrics, M_BUILD, BF_VERSION, NULL, NULL), 1);
    return code;
}

static enum bf_code open_transform(struct odyssey *o, struct bf_err *err) {
    struct bf_transform_settings settings = {.bootstrap = o->s->bootstrap,
                                             .group = o->s->group,
                                             .client_id = "odyssey",
                                             .topic_in = o->topic_in.name,
                                             .linger_ms = o->s->linger_ms,
                                             .commit_interval_ms = o->s->commit_interval_ms,
                                             .retry_ms = o->s->retry_ms,
                                             .tick_ms = TICK_MS,
                                             .in_flight_max = (size_t)o->s->in_flight_max,
                                             .calls = odyssey_calls};
    settings.calls.ctx = o;
    return bf_transform_open(&settings, &o->transform, err);
}

static enum bf_code connect_all(struct odyssey *o, struct bf_err *err) {
    const struct bf_service_settings service = {.host = o->s->http_host, .port = (int)o->s->http_port, .endpoints_file = o->s->endpoints_file,
                                                .metrics = o->metrics, .refresh = odyssey_refresh_metrics, .ctx = o};
    int64_t deadline_us = bf_time_monotonic_us() + o->s->start_timeout_ms * 1000;
    enum bf_code code = open_transform(o, err);

    if (code == BF_OK) code = bf_service_start(&service, &o->service, err);
    if (code == BF_OK) code = bf_service_wait(o->service, "registry", deadline_us, attempt_registry, o, err);
    if (code == BF_OK) code = bf_service_wait(o->service, "kafka", deadline_us, attempt_kafka, o, err);
    if (code == BF_OK && o->s->capsule != NULL) code = bf_service_wait(o->service, "capsule", deadline_us, warm_ping, o, err);
    if (code == BF_OK) code = speaker_new(o->topic_out->schema_json, o->reflex_schema_id, o->topic_in.name, &o->speaker, err);
    return code;
}

static void close_all(struct odyssey *o) {
    bf_service_stop(o->service);
    bf_transform_close(o->transform);
    speaker_free(o->speaker);
    bf_record_reader_free(o->reader);
    for (int32_t i = 0; o->partitions != NULL && i < BF_TRANSFORM_PARTITIONS_MAX; i++) engine_free(o->partitions[i].engine);
    free(o->partitions);
    rules_free(o->rules);
    rules_free(o->rules_next);
    bf_metrics_free(o->metrics);
    bf_topics_free(o->topics);
}

static int run(struct odyssey *o) {
    struct bf_err err = {0};
    enum bf_code code = bf_stop_install(&err);

    if (code == BF_OK) code = prepare(o, &err);
    if (code == BF_OK) code = connect_all(o, &err);
    if (code == BF_OK) {
        bf_log(BF_LOG_INFO, "serving", "topic=%s rules=%zu version=%.12s capsule=%s", o->topic_in.name, o->rules->count, o->rules->version,
               o->s->capsule != NULL ? o->s->capsule : "none");
        bf_service_ready(o->service);
        code = bf_transform_run(o->transform, &err);
    }
    if (code != BF_OK && code != BF_CANCELLED) bf_log_err(BF_LOG_ERROR, "failed", &err, "exit_code=%d", (int)bf_service_exit(code));
    close_all(o);
    bf_log(BF_LOG_INFO, "stopped", "exit_code=%d", (int)bf_service_exit(code));
    return (int)bf_service_exit(code);
}

static enum bf_code check_settings(const struct odyssey_settings *s, enum bf_log_level *level, struct bf_err *err) {
    enum bf_code code = bf_service_log_level(s->log_level, level, err);

    if (code == BF_OK) code = bf_service_check_host(s->http_host, err);
    if (code == BF_OK && !bf_topic_is_event(s->topic)) code = bf_fail(err, BF_INVALID, 0, "topic: '%.100s' is not like {domain}.{event-type}", s->topic);
    return code;
}

int main(int argc, char **argv) {
    struct odyssey_settings s = {.linger_ms = BF_LINGER_ADAPTIVE};
    struct odyssey o = {.s = &s};
    struct bf_err err = {0};
    char **left;
    int left_count, exit_code = BF_EXIT_OK;
    enum bf_log_level level = BF_LOG_INFO;

    bf_log_init("odyssey", level);
    enum bf_code code = bf_settings_load(&odyssey_program, argc, argv, &s, &left, &left_count, &exit_code, &err);
    if (code == BF_OK && (code = check_settings(&s, &level, &err)) != BF_OK) exit_code = BF_EXIT_SETTINGS;
    if (code == BF_OK) {
        bf_log_init("odyssey", level);
        exit_code = run(&o);
    } else if (code != BF_CANCELLED) {
        fprintf(stderr, "odyssey: %s\n", err.msg);
    }
    bf_settings_fini(&odyssey_program, &s);
    return exit_code;
}
