/* When a program is ready, and what must be in the registry and in Kafka before the line can run. */
#include "cli.h"
#include "stack.h"

#include "bf_http_client.h"
#include "bf_json.h"
#include "bf_kafka.h"
#include "bf_registry.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "bf_topics.h"

#include <string.h>
#include <time.h>

#define PROBE_TIMEOUT_MS 2000
#define STEP_MS 100
#define CALL_TIMEOUT_MS 10000
#define RETRY_WAIT_MS 1000

static const char *probe_path(enum service which) {
    switch (which) {
    case SERVICE_REGISTRY: return "/subjects";
    case SERVICE_BROKER: return NULL;
    default: return "/readyz";
    }
}

/* Its own word on where it listens. */
static bool read_address(struct stack *s, enum service which) {
    static const char *const keys[] = {"http", "kafka", "bootstrap", "perception", "registry", NULL};
    struct bf_err err;
    json_t *root = NULL;
    char path[4200];
    const char *address = NULL;
    snprintf(path, sizeof path, "%s/run/%s.json", s->dir, service_names[which]);
    if (bf_json_load_file(path, &root, &err) == BF_OK)
        for (size_t i = 0; keys[i] != NULL && address == NULL; i++)
            address = cli_str(root, keys[i]);
    if (address != NULL)
        snprintf(s->services[which].url, sizeof s->services[which].url, "%s", address);
    json_decref(root);
    return address != NULL;
}

/* Does GET url+path answer 200? `why` gets what it said instead. */
static bool answers(struct bf_http_client *http, const char *base, const char *path, char *why, size_t why_bytes) {
    struct bf_err err;
    struct bf_buf answer;
    char url[1300];
    int status = 0;
    snprintf(url, sizeof url, "%s%s", base, path);
    bf_buf_init(&answer, 1 << 20);
    bool ok = bf_http_call(http, "GET", url, NULL, BF_SLICE_NONE, &status, &answer, &err) == BF_OK;
    if (!ok)
        snprintf(why, why_bytes, "%s", err.msg);
    else if (status != 200)
        snprintf(why, why_bytes, "HTTP status %d: %.*s", status, (int)(answer.len < 200 ? answer.len : 200), answer.data);
    bf_buf_fini(&answer);
    return ok && status == 200;
}

/* What its end means while we wait: it may be started again, unless its exit code says that this is of no use. */
static enum bf_code ended_early(struct stack *s, enum service which, int *exit_code, struct bf_err *err) {
    struct service_state *service = &s->services[which];
    char words[400];
    int code = service->process.exit_code;
    stack_last_words(s, which, words, sizeof words);
    if (code == BF_EXIT_USAGE || code == BF_EXIT_SETTINGS || code == BF_EXIT_STATE || code == 127) {
        *exit_code = code == BF_EXIT_STATE || code == BF_EXIT_SETTINGS ? code : BF_EXIT_INTERNAL;
        return bf_fail(err, BF_BROKEN, code, "%s ended with exit code %d: %s", service_names[which], code, words);
    }
    stack_say(service_names[which], "ended with exit code %d (%s): starting it again", code, words);
    service->restarts++;
    if (!bf_sleep_ms(RETRY_WAIT_MS))
        return bf_fail(err, BF_CANCELLED, 0, "stopped");
    return stack_restart(s, which, err);
}

enum bf_code stack_wait_ready(struct stack *s, enum service which, int *exit_code, struct bf_err *err) {
    struct service_state *service = &s->services[which];
    struct bf_http_client *http = NULL;
    char why[512] = "it says no address";
    int64_t start = bf_time_monotonic_us(), said = start;
    bool ready = false;
    enum bf_code code = bf_http_client_new(PROBE_TIMEOUT_MS, &http, err);
    while (code == BF_OK && !ready) {
        int64_t now = bf_time_monotonic_us();
        if (process_ended(&service->process)) {
            code = ended_early(s, which, exit_code, err);
        } else if (read_address(s, which) &&
                   (probe_path(which) == NULL || answers(http, service->url, probe_path(which), why, sizeof why))) {
            ready = true;
        } else if (now - start > s->settings->start_timeout_ms * 1000) {
            *exit_code = BF_EXIT_DEPENDENCY;
            code = bf_fail(err, BF_AGAIN, 0, "%s is not ready after %lld s: %s", service_names[which],
                           (long long)(s->settings->start_timeout_ms / 1000), why);
        } else if (!bf_sleep_ms(STEP_MS)) {
            code = bf_fail(err, BF_CANCELLED, 0, "stopped");
        }
        if (!ready && code == BF_OK && now - said > 5000000) {
            stack_say(service_names[which], "not ready yet: %s", why);
            said = now;
        }
    }
    bf_http_client_free(http);
    return code;
}

/* ---- registry and topics ---- */

static enum bf_code set_backward(struct bf_http_client *http, const char *registry, const char *subject, struct bf_err *err) {
    static const char body[] = "{\"compatibility\":\"BACKWARD\"}";
    struct bf_buf answer;
    char url[1600];
    int status = 0;
    bf_buf_init(&answer, 1 << 20);
    snprintf(url, sizeof url, "%s/config/%s", registry, subject);
    enum bf_code code = bf_http_call(http, "PUT", url, "application/vnd.schemaregistry.v1+json", bf_slice_str(body), &status, &answer, err);
    if (code == BF_OK && status != 200)
        code = bf_fail(err, status >= 500 ? BF_AGAIN : BF_INVALID, status, "the registry refuses to set BACKWARD for %s: %.*s", subject,
                       (int)(answer.len < 200 ? answer.len : 200), answer.data);
    bf_buf_fini(&answer);
    return code;
}

static enum bf_code register_schemas(struct stack *s, const struct bf_topics *topics, int *exit_code, struct bf_err *err) {
    struct bf_http_client *http = NULL;
    struct bf_registry *registry = NULL;
    enum bf_code code = bf_http_client_new(CALL_TIMEOUT_MS, &http, err);
    if (code == BF_OK)
        code = bf_registry_new(s->registry, CALL_TIMEOUT_MS, &registry, err);
    for (size_t i = 0; code == BF_OK && i < bf_topics_count(topics); i++) {
        const struct bf_topic *topic = bf_topics_at(topics, i);
        char subject[BF_TOPIC_MAX + 8];
        int32_t id;
        if (topic->schema_json == NULL)
            continue;
        snprintf(subject, sizeof subject, "%s-value", topic->name);
        code = set_backward(http, s->registry, subject, err);
        if (code == BF_OK)
            code = bf_registry_register(registry, subject, topic->schema_json, &id, err);
        if (code == BF_OK)
            stack_say("schemas", "%s has id %d", subject, id);
        else
            bf_err_prepend(err, "%s", subject);
    }
    *exit_code = code == BF_REJECTED || code == BF_INVALID ? BF_EXIT_SETTINGS : BF_EXIT_DEPENDENCY;
    bf_registry_free(registry);
    bf_http_client_free(http);
    return code;
}

static enum bf_code create_topics(struct stack *s, const struct bf_topics *topics, int *exit_code, struct bf_err *err) {
    for (size_t i = 0; i < bf_topics_count(topics); i++) {
        const struct bf_topic *topic = bf_topics_at(topics, i);
        if (strcmp(topic->name, "*") == 0)
            continue;
        enum bf_code code = bf_kafka_create_topic(s->kafka, topic->name, topic->partitions, topic->retention_ms, CALL_TIMEOUT_MS, err);
        if (code != BF_OK && code != BF_EXISTS) {
            *exit_code = code == BF_AGAIN ? BF_EXIT_DEPENDENCY : BF_EXIT_SETTINGS;
            return bf_err_prepend(err, "topic %s", topic->name);
        }
        stack_say("topics", "%s %s", topic->name, code == BF_EXISTS ? "is there" : "made");
    }
    return BF_OK;
}

/* A Kafka or a registry that is not ours may take its time. */
static enum bf_code wait_kafka(struct stack *s, struct bf_err *err) {
    int64_t give_up = bf_time_monotonic_us() + s->settings->start_timeout_ms * 1000;
    enum bf_code code;
    while ((code = bf_kafka_ping(s->kafka, PROBE_TIMEOUT_MS, err)) == BF_AGAIN && bf_time_monotonic_us() < give_up) {
        stack_say("kafka", "%s does not answer yet: %s", s->kafka, err->msg);
        if (!bf_sleep_ms(RETRY_WAIT_MS))
            return bf_fail(err, BF_CANCELLED, 0, "stopped");
    }
    return code == BF_OK ? BF_OK : bf_err_prepend(err, "kafka at %s", s->kafka);
}

enum bf_code stack_prepare(struct stack *s, int *exit_code, struct bf_err *err) {
    struct bf_topics *topics = NULL;
    char schemas[4200];
    snprintf(schemas, sizeof schemas, "%s/schemas", s->home);
    *exit_code = BF_EXIT_SETTINGS;
    enum bf_code code = bf_topics_load(schemas, &topics, err);
    if (code == BF_OK) {
        *exit_code = BF_EXIT_DEPENDENCY;
        code = wait_kafka(s, err);
    }
    if (code == BF_OK && !s->services[SERVICE_BROKER].wanted) /* the embedded one makes them itself */
        code = create_topics(s, topics, exit_code, err);
    for (int64_t give_up = bf_time_monotonic_us() + s->settings->start_timeout_ms * 1000; code == BF_OK;) {
        code = register_schemas(s, topics, exit_code, err);
        if (code != BF_AGAIN || bf_time_monotonic_us() > give_up)
            break;
        stack_say("registry", "does not answer yet: %s", err->msg);
        code = bf_sleep_ms(RETRY_WAIT_MS) ? BF_OK : bf_fail(err, BF_CANCELLED, 0, "stopped");
    }
    bf_topics_free(topics);
    return code;
}

/* ---- the end of the embedded broker ---- */

/* Has CAPSULE read and archived all it knows of? `*recorded` gets the watermark as text. */
static bool has_caught_up(struct bf_http_client *http, const char *base, char recorded[32]) {
    struct bf_err err;
    struct bf_buf answer;
    char url[400];
    int status = 0;
    json_t *root = NULL;
    bool caught_up = false;
    recorded[0] = '\0';
    snprintf(url, sizeof url, "%s/v1/status", base);
    bf_buf_init(&answer, 1 << 20);
    if (bf_http_call(http, "GET", url, NULL, BF_SLICE_NONE, &status, &answer, &err) == BF_OK && status == 200 &&
        bf_json_parse(answer.data, answer.len, &root, &err) == BF_OK) {
        const char *through = cli_str(root, "recorded_through"), *archived = cli_str(root, "archived_through");
        snprintf(recorded, 32, "%s", through != NULL ? through : "");
        caught_up = cli_int(root, "lag_messages", 1) == 0 && through != NULL && archived != NULL && strcmp(through, archived) <= 0;
    }
    json_decref(root);
    bf_buf_fini(&answer);
    return caught_up;
}

/* Reflexes and judgements follow a signal within milliseconds: what holds still for quiet_us, caught up, is the end. Stop was asked for, so
 * this cannot sleep with bf_sleep_ms(). */
bool stack_drain(struct stack *s, int64_t timeout_ms) {
    const int64_t quiet_us = 700000;
    struct bf_http_client *http = NULL;
    struct bf_err err;
    char last[32] = "", now_at[32];
    int64_t start = bf_time_monotonic_us(), since = 0, now = start;
    bool done = false;
    if (s->services[SERVICE_CAPSULE].process.pid == 0 || s->services[SERVICE_CAPSULE].url[0] == '\0' ||
        bf_http_client_new(PROBE_TIMEOUT_MS, &http, &err) != BF_OK)
        return false;
    while (!done && now - start < timeout_ms * 1000) {
        bool caught_up = has_caught_up(http, s->services[SERVICE_CAPSULE].url, now_at);
        now = bf_time_monotonic_us();
        if (!caught_up || strcmp(last, now_at) != 0)
            since = now;
        strcpy(last, now_at);
        done = caught_up && now - since >= quiet_us;
        if (!done)
            nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000}, NULL);
    }
    bf_http_client_free(http);
    return done;
}
