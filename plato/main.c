/* plato. Start: settings and policies (wrong ones end it), then what it depends on (waited for, visibly), then the loop until it is told to stop. */
#include "plato.h"

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
    struct plato *p = ctx;
    enum bf_code code = bf_kafka_ping(p->s->bootstrap, ATTEMPT_MS, err);

    for (int i = 0; i < 2 && code == BF_OK; i++) {
        const struct bf_topic *topic = i == 0 ? &p->topic_in : p->topic_out;
        code = bf_kafka_create_topic(p->s->bootstrap, topic->name, topic->partitions, topic->retention_ms, ATTEMPT_MS, err);
        if (code == BF_EXISTS || code == BF_INVALID) code = BF_OK; /* it is there, or somebody else has to make it */
    }
    return code == BF_OK ? bf_transform_warm(p->transform, p->topic_out->name, ATTEMPT_MS, err) : code;
}

static enum bf_code attempt_registry(void *ctx, struct bf_err *err) {
    struct plato *p = ctx;
    struct bf_registry *registry = NULL;
    int32_t id = 0;
    enum bf_code code = bf_registry_new(p->s->registry, ATTEMPT_MS, &registry, err);

    if (code == BF_OK) code = bf_registry_register(registry, DECISION_TOPIC "-value", p->topic_out->schema_json, &id, err);
    if (code == BF_OK) atomic_store(&p->decision_schema_id, id);
    bf_registry_free(registry);
    return code;
}

enum bf_code plato_evidence(const struct plato *p, struct evidence **out, struct bf_err *err) {
    const struct evidence_settings settings = {.capsule_url = p->s->capsule, .capsule_token = p->s->capsule_token, .reflex_topic = p->topic_in.name,
                                               .signal_topic = p->s->signal_topic};
    return evidence_new(&settings, out, err);
}

static enum bf_code attempt_capsule(void *ctx, struct bf_err *err) {
    struct plato *p = ctx;
    json_t *json = NULL;
    enum bf_code code = evidence_get(p->evidence, &json, err, "/v1/status");

    json_decref(json);
    if (code != BF_OK) code = err->code = BF_AGAIN;
    return code;
}

static enum bf_code find_topics(struct plato *p, struct bf_err *err) {
    char dir[PATH_MAX];

    bf_topics_find_dir(p->s->schemas_dir, dir, sizeof dir);
    enum bf_code code = bf_topics_load(dir, &p->topics, err);
    if (code != BF_OK) {
        err->code = BF_INVALID;
        return bf_err_prepend(err, "schemas-dir");
    }
    p->topic_in = *bf_topics_find(p->topics, p->s->topic);
    p->topic_in.name = p->s->topic;
    p->topic_out = bf_topics_find(p->topics, DECISION_TOPIC);
    if (p->topic_out->schema_json == NULL) return bf_fail(err, BF_INVALID, 0, "schemas-dir: the catalogue has no schema for %s", DECISION_TOPIC);
    return BF_OK;
}

/* What needs nobody else. */
static enum bf_code prepare(struct plato *p, struct bf_err *err) {
    enum bf_code code = find_topics(p, err);

    if (code == BF_OK && (code = keep_load(p, &p->policies, err)) != BF_OK) return bf_err_prepend(err, "policies");
    if (code == BF_OK) code = keep_policies(p, p->policies, err);
    if (code == BF_OK) code = bf_metrics_new(plato_metric_defs, PLATO_METRICS, &p->metrics, err);
    if (code != BF_OK) return code;
    const struct bf_record_settings reader = {.topic = &p->topic_in, .registry_url = p->s->registry, .paths = plato_fields, .path_count = plato_field_count};
    code = bf_record_reader_new(&reader, &p->reader, err);
    if (code == BF_OK && p->s->capsule != NULL) code = plato_evidence(p, &p->evidence, err);
    bf_series_set(bf_metrics_series(p->metrics, M_BUILD, BF_VERSION, NULL, NULL), 1);
    bf_series_set(bf_metrics_series(p->metrics, M_POLICIES, p->policies->version, NULL, NULL), 1);
    return code;
}

static enum bf_code open_transform(struct plato *p, struct bf_err *err) {
    struct bf_transform_settings settings = {.bootstrap = p->s->bootstrap,
                                             .group = p->s->group,
                                             .client_id = "plato",
                                             .topic_in = p->topic_in.name,
                                             .linger_ms = p->s->linger_ms,
                                             .commit_interval_ms = p->s->commit_interval_ms,
                                             .retry_ms = p->s->retry_ms,
                                             .tick_ms = TICK_MS,
                                             .in_flight_max = (size_t)p->s->in_flight_max,
                                             .calls = plato_calls};
    settings.calls.ctx = p;
    return bf_transform_open(&settings, &p->transform, err);
}

static enum bf_code connect_all(struct plato *p, struct bf_err *err) {
    static const char *const none[] = {NULL};
    static struct bf_http_route routes[] = {{"POST", "/v1/decisions/{decision}/second", http_second, none, 0},
                                            {"GET", "/v1/decisions/{decision}/rejudge", http_rejudge, none, 0},
                                            {NULL, NULL, NULL, NULL, 0}};
    int64_t deadline_us = bf_time_monotonic_us() + p->s->start_timeout_ms * 1000;
    enum bf_code code = open_transform(p, err);

    routes[0].body_max_bytes = (size_t)p->s->body_bytes_max;
    const struct bf_service_settings service = {.host = p->s->http_host, .port = (int)p->s->http_port, .endpoints_file = p->s->endpoints_file,
                                                .metrics = p->metrics, .refresh = plato_refresh_metrics, .routes = routes, .ctx = p};
    if (code == BF_OK) code = second_new(p, &p->second, err);
    if (code == BF_OK) code = bf_service_start(&service, &p->service, err);
    if (code == BF_OK) code = bf_service_wait(p->service, "registry", deadline_us, attempt_registry, p, err);
    if (code == BF_OK) code = bf_service_wait(p->service, "kafka", deadline_us, attempt_kafka, p, err);
    if (code == BF_OK && p->evidence != NULL) code = bf_service_wait(p->service, "capsule", deadline_us, attempt_capsule, p, err);
    if (code == BF_OK) code = decision_writer_new(p->topic_out->schema_json, atomic_load(&p->decision_schema_id), &p->writer, err);
    return code;
}

static void close_all(struct plato *p) {
    bf_service_stop(p->service);
    bf_transform_close(p->transform);
    second_free(p->second);
    decision_writer_free(p->writer);
    evidence_free(p->evidence);
    bf_record_reader_free(p->reader);
    policies_free(p->policies);
    bf_metrics_free(p->metrics);
    bf_topics_free(p->topics);
}

static int run(struct plato *p) {
    struct bf_err err = {0};
    enum bf_code code = bf_stop_install(&err);

    if (code == BF_OK) code = prepare(p, &err);
    if (code == BF_OK) code = connect_all(p, &err);
    if (code == BF_OK) {
        bf_log(BF_LOG_INFO, "serving", "topic=%s policies=%zu version=%.12s capsule=%s", p->topic_in.name, p->policies->count, p->policies->version,
               p->s->capsule != NULL ? p->s->capsule : "none");
        bf_service_ready(p->service);
        code = bf_transform_run(p->transform, &err);
    }
    if (code != BF_OK && code != BF_CANCELLED) bf_log_err(BF_LOG_ERROR, "failed", &err, "exit_code=%d", (int)bf_service_exit(code));
    close_all(p);
    bf_log(BF_LOG_INFO, "stopped", "exit_code=%d", (int)bf_service_exit(code));
    return (int)bf_service_exit(code);
}

static enum bf_code check_settings(const struct plato_settings *s, enum bf_log_level *level, struct bf_err *err) {
    enum bf_code code = bf_service_log_level(s->log_level, level, err);

    if (code == BF_OK) code = bf_service_check_host(s->http_host, err);
    if (code == BF_OK && !bf_topic_is_event(s->topic)) code = bf_fail(err, BF_INVALID, 0, "topic: '%.100s' is not like {domain}.{event-type}", s->topic);
    return code;
}

int main(int argc, char **argv) {
    struct plato_settings s = {.linger_ms = BF_LINGER_ADAPTIVE};
    struct plato p = {.s = &s};
    struct bf_err err = {0};
    char **left;
    int left_count, exit_code = BF_EXIT_OK;
    enum bf_log_level level = BF_LOG_INFO;

    bf_log_init("plato", level);
    enum bf_code code = bf_settings_load(&plato_program, argc, argv, &s, &left, &left_count, &exit_code, &err);
    if (code == BF_OK && (code = check_settings(&s, &level, &err)) != BF_OK) exit_code = BF_EXIT_SETTINGS;
    if (code == BF_OK) {
        bf_log_init("plato", level);
        exit_code = run(&p);
    } else if (code != BF_CANCELLED) {
        fprintf(stderr, "plato: %s\n", err.msg);
    }
    bf_settings_fini(&plato_program, &s);
    return exit_code;
}
