/* perception: settings, schema, Kafka, then the source that was asked for. */
#include "bf_kafka.h"
#include "bf_log.h"
#include "bf_registry.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "input.h"
#include "source.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ATTEMPT_MS 2000
#define RETRY_MS 500
#define BULK_LINGER_MS 10
#define SCHEMA_BYTES_MAX (4u << 20)

struct perception {
    const struct perception_settings *s;
    enum perception_source which;
    const struct source_kind *kind;
    struct source *source;
    struct source_env env; /* what it is lent */
    struct bf_topics *topics;
    struct bf_topic topic; /* the catalogue's entry, under the name that was asked for */
    char *schema_json;
    int64_t deadline_us;
};

static const struct source_kind *const kinds[] = {[PERCEPTION_FILE] = &source_file,
                                                  [PERCEPTION_STDIN] = &source_stdin,
                                                  [PERCEPTION_LISTEN] = &source_http,
                                                  [PERCEPTION_TOPIC] = &source_topic};

static enum bf_exit exit_of(enum bf_code code) {
    switch (code) {
    case BF_OK: return BF_EXIT_OK;
    case BF_CANCELLED: return BF_EXIT_FAILED;
    case BF_INVALID: case BF_REJECTED: case BF_NOT_FOUND: return BF_EXIT_SETTINGS;
    case BF_AGAIN: return BF_EXIT_DEPENDENCY;
    default: return BF_EXIT_INTERNAL;
    }
}

/* ---- what does not need anybody else ---- */

static enum bf_code read_whole(const char *path, char **out, struct bf_err *err) {
    struct bf_buf text;
    struct input *in = NULL;
    struct bf_slice have;
    enum bf_code code = input_open(path, &in, err);

    bf_buf_init(&text, SCHEMA_BYTES_MAX);
    while (code == BF_OK && (code = input_peek(in, &have, err)) == BF_OK) {
        bf_buf_append(&text, have.data, have.len);
        input_use(in, have.len);
    }
    bf_buf_putc(&text, '\0');
    input_close(in);
    if (code == BF_NOT_FOUND) code = text.failed ? bf_fail(err, BF_INVALID, 0, "%s: too large", path) : BF_OK;
    if (code == BF_OK && (*out = strdup(text.data)) == NULL) code = bf_fail(err, BF_NOMEM, 0, "no memory for %s", path);
    bf_buf_fini(&text);
    return code;
}

/* The folder given, else schemas/ two levels above the program. */
static void schemas_dir(const struct perception_settings *s, char *dst, size_t max) {
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

    snprintf(dst, max, "%s", s->schemas_dir != NULL ? s->schemas_dir : "schemas");
    if (s->schemas_dir != NULL || n <= 0) return;
    exe[n] = '\0';
    for (int i = 0; i < 3; i++) {
        char *slash = strrchr(exe, '/');
        if (slash != NULL) *slash = '\0';
    }
    snprintf(dst, max, "%s/schemas", exe);
}

static enum bf_code find_topic(struct perception *p, struct bf_err *err) {
    char dir[PATH_MAX + 16];

    if (!bf_topic_is_event(p->s->topic)) return bf_fail(err, BF_INVALID, 0, "topic: \"%s\" is not like {domain}.{event-type}", p->s->topic);
    schemas_dir(p->s, dir, sizeof dir);
    enum bf_code code = bf_topics_load(dir, &p->topics, err);
    if (code != BF_OK) {
        err->code = BF_INVALID;
        return bf_err_prepend(err, "schemas-dir");
    }
    p->topic = *bf_topics_find(p->topics, p->s->topic);
    p->topic.name = p->s->topic;
    if (p->s->schema != NULL) code = read_whole(p->s->schema, &p->schema_json, err);
    else if (p->topic.schema_json != NULL) p->schema_json = strdup(p->topic.schema_json);
    if (code != BF_OK) return bf_err_prepend(err, "schema");
    return p->schema_json != NULL ? BF_OK : bf_fail(err, BF_INVALID, 0, "schema: the catalogue has none for %s", p->s->topic);
}

static enum bf_code prepare(struct perception *p, struct bf_err *err) {
    enum bf_code code = find_topic(p, err);

    p->env.settings = p->s;
    p->env.topic = &p->topic;
    if (code == BF_OK) code = signal_check_new(&p->topic, p->schema_json, &p->env.check, err);
    p->kind = kinds[p->which];
    if (code == BF_OK) code = p->kind->open(&p->env, &p->source, err);
    return code;
}

/* ---- what does ---- */

/* Try until it works, time is up, or the answer is no. */
static enum bf_code wait_for(struct perception *p, const char *what, enum bf_code (*attempt)(struct perception *p, struct bf_err *err),
                             struct bf_err *err) {
    for (;;) {
        enum bf_code code = attempt(p, err);
        if (code != BF_AGAIN) return code;
        if (bf_stop_requested()) return bf_fail(err, BF_CANCELLED, 0, "stopped while waiting for %s", what);
        if (bf_time_monotonic_us() >= p->deadline_us) return bf_err_prepend(err, "%s is away", what);
        bf_log_err(BF_LOG_WARN, "waiting", err, "dependency=%s retry_in_ms=%d", what, RETRY_MS);
        (void)bf_sleep_ms(RETRY_MS);
    }
}

static enum bf_code attempt_schema(struct perception *p, struct bf_err *err) {
    struct bf_registry *registry = NULL;
    char subject[BF_TOPIC_MAX + 8];
    int32_t id = 0;
    enum bf_code code = bf_registry_new(p->s->registry, ATTEMPT_MS, &registry, err);

    snprintf(subject, sizeof subject, "%s-value", p->s->topic);
    if (code == BF_OK) code = bf_registry_register(registry, subject, p->schema_json, &id, err);
    if (code == BF_OK) signal_check_set_schema_id(p->env.check, id);
    bf_registry_free(registry);
    return code;
}

static enum bf_code attempt_kafka(struct perception *p, struct bf_err *err) {
    enum bf_code code = bf_kafka_ping(p->s->bootstrap, ATTEMPT_MS, err);

    if (code == BF_OK && p->s->create_topic) {
        code = bf_kafka_create_topic(p->s->bootstrap, p->s->topic, p->topic.partitions, p->topic.retention_ms, ATTEMPT_MS, err);
        if (code == BF_EXISTS || code == BF_INVALID) code = BF_OK; /* it is there, or somebody else has to make it */
    }
    if (code == BF_OK) code = publish_warm(p->env.publish, ATTEMPT_MS, err);
    return code;
}

/* A file without a rate wants room in its requests; everything else wants to be quick, at whatever rate it turns out to have. */
static int64_t linger_of(const struct perception *p) {
    if (p->s->linger_ms >= 0) return p->s->linger_ms;
    return p->which == PERCEPTION_FILE && p->s->rate <= 0 ? BULK_LINGER_MS : BF_LINGER_ADAPTIVE;
}

static enum bf_code connect_all(struct perception *p, struct bf_err *err) {
    const struct publish_settings publish = {.bootstrap = p->s->bootstrap,
                                             .topic = p->s->topic,
                                             .linger_ms = linger_of(p),
                                             .delivery_timeout_ms = p->s->delivery_timeout_ms,
                                             .in_flight_max = p->s->in_flight_max,
                                             .hold_back_bytes = p->s->hold_back_bytes,
                                             .hold_back_group = p->s->hold_back_group};
    enum bf_code code = publish_open(&publish, &p->env.publish, err);

    if (code == BF_OK) code = wait_for(p, "registry", attempt_schema, err);
    if (code == BF_OK) code = wait_for(p, "kafka", attempt_kafka, err);
    if (code == BF_OK) code = meter_new(p->kind->name, p->env.publish, &p->env.meter, err);
    if (code == BF_OK && p->s->metrics_port >= 0) code = meter_serve(p->env.meter, (int)p->s->metrics_port, p->s->endpoints_file, err);
    return code;
}

/* ---- running ---- */

/* How it ended, by what the source says and what became of the signals. */
static enum bf_exit verdict(const struct perception *p, enum bf_code code) {
    const struct publish_counts *c = publish_counts(p->env.publish);
    long long accepted = atomic_load(&c->accepted), rejected = atomic_load(&c->rejected), published = atomic_load(&c->published),
              failed = atomic_load(&c->failed);

    fprintf(stderr, "accepted=%lld rejected=%lld published=%lld failed=%lld\n", accepted, rejected, published, failed);
    if (failed > 0) return BF_EXIT_FAILED;
    if (code == BF_BROKEN || code == BF_NOMEM) return BF_EXIT_INTERNAL;
    if (p->kind->answers && code != BF_OK) return exit_of(code); /* it could not serve */
    return code == BF_OK && published == accepted && (rejected == 0 || p->kind->answers) ? BF_EXIT_OK : BF_EXIT_FAILED;
}

static enum bf_exit run(struct perception *p) {
    struct bf_err err = {0};
    enum bf_code code = bf_stop_install(&err);

    p->deadline_us = bf_time_monotonic_us() + p->s->start_timeout_ms * 1000;
    if (code == BF_OK) code = prepare(p, &err);
    if (code == BF_OK) code = connect_all(p, &err);
    if (code != BF_OK) {
        fprintf(stderr, "perception: %s\n", err.msg);
        return exit_of(code);
    }
    code = p->kind->run(p->source, &err);
    if (code != BF_OK) fprintf(stderr, "perception: %s\n", err.msg);
    return verdict(p, code);
}

int main(int argc, char **argv) {
    struct perception_settings s = {0};
    struct perception p = {.s = &s};
    struct bf_err err = {0};
    char **left;
    int left_count, exit_code = BF_EXIT_OK;
    enum bf_log_level level = BF_LOG_INFO;

    bf_log_init("perception", level);
    enum bf_code code = bf_settings_load(&perception_program, argc, argv, &s, &left, &left_count, &exit_code, &err);
    if (code == BF_OK) code = perception_settings_check(&s, &p.which, &p.env.csv, &level, &exit_code, &err);
    if (code == BF_OK) {
        bf_log_init("perception", level);
        exit_code = (int)run(&p);
    } else if (code != BF_CANCELLED) {
        fprintf(stderr, "perception: %s\n", err.msg);
    }
    meter_free(p.env.meter);
    publish_close(p.env.publish);
    if (p.source != NULL) p.kind->close(p.source);
    signal_check_free(p.env.check);
    free(p.schema_json);
    bf_topics_free(p.topics);
    bf_settings_fini(&perception_program, &s);
    return exit_code;
}
