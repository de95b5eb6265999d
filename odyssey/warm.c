/* A partition's memory from CAPSULE: its stored signals below an offset, given to a fresh engine that says nothing. CAPSULE must have got as
 * far as that offset, else it is waited for: a memory with a hole at its end would answer differently from one without a restart.
 *
 * A node's past is a fold over its signals; what lies more than warm-events-max offsets back is left out. */
#include "odyssey.h"

#include "bf_http_client.h"
#include "bf_json.h"
#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 5000
#define ANSWER_BYTES_MAX (16u << 20)
#define LINE_BYTES_MAX (64u << 20)
#define BEHIND_WAIT_MS 2000
#define BEHIND_STEP_MS 20

struct warming {
    const struct rules *rules;
    struct engine *engine;
    struct bf_buf line;
    int64_t now_us, signals;
    bool ended, stopped;
    struct bf_err err; /* of the sink */
};

static enum bf_code get(struct bf_http_client *http, const char *url, json_t **out, int *status, struct bf_err *err) {
    struct bf_buf answer;
    bf_buf_init(&answer, ANSWER_BYTES_MAX);
    enum bf_code code = bf_http_call(http, "GET", url, NULL, BF_SLICE_NONE, status, &answer, err);
    if (code == BF_OK && *status != 200)
        code = bf_fail(err, BF_AGAIN, *status, "%s answers %d: %.*s", url, *status, (int)(answer.len < 200 ? answer.len : 200), answer.data);
    if (code == BF_OK) code = bf_json_parse(answer.data, answer.len, out, err);
    bf_buf_fini(&answer);
    if (code != BF_OK) err->code = BF_AGAIN;
    return code == BF_OK ? BF_OK : BF_AGAIN;
}

static enum bf_code connect_capsule(const struct odyssey *o, struct bf_http_client **out, struct bf_err *err) {
    char line[512];
    enum bf_code code = bf_http_client_new(TIMEOUT_MS, out, err);

    if (code != BF_OK || o->s->capsule_token == NULL) return code;
    snprintf(line, sizeof line, "Authorization: Bearer %s", o->s->capsule_token);
    return bf_http_client_header(*out, line, err);
}

enum bf_code warm_ping(void *ctx, struct bf_err *err) {
    struct odyssey *o = ctx;
    struct bf_http_client *http = NULL;
    json_t *json = NULL;
    char url[1024];
    int status = 0;

    snprintf(url, sizeof url, "%s/v1/status", o->s->capsule);
    enum bf_code code = connect_capsule(o, &http, err);
    if (code == BF_OK) code = get(http, url, &json, &status, err);
    json_decref(json);
    bf_http_client_free(http);
    return code;
}

/* How far CAPSULE has read the partition; 0: it does not know it yet. */
static enum bf_code ask_next_offset(struct odyssey *o, struct bf_http_client *http, int32_t partition, int64_t *next, struct bf_err *err) {
    json_t *json = NULL, *item;
    char url[1024];
    int status = 0;
    size_t i;

    snprintf(url, sizeof url, "%s/v1/topics/%s", o->s->capsule, o->topic_in.name);
    enum bf_code code = get(http, url, &json, &status, err);
    *next = 0;
    if (code != BF_OK) return status == 404 ? BF_OK : code;
    json_array_foreach(json_object_get(json, "partitions"), i, item)
        if (json_integer_value(json_object_get(item, "partition")) == partition) *next = json_integer_value(json_object_get(item, "next_offset"));
    json_decref(json);
    return BF_OK;
}

static enum bf_code wait_until_there(struct odyssey *o, struct bf_http_client *http, int32_t partition, int64_t before, struct bf_err *err) {
    for (int64_t give_up_us = bf_time_monotonic_us() + BEHIND_WAIT_MS * 1000;;) {
        int64_t next = 0;
        enum bf_code code = ask_next_offset(o, http, partition, &next, err);
        if (code != BF_OK || next >= before) return code;
        if (bf_time_monotonic_us() >= give_up_us)
            return bf_fail(err, BF_AGAIN, 0, "CAPSULE has read partition %d up to %lld of %lld", (int)partition, (long long)next, (long long)before);
        if (!bf_sleep_ms(BEHIND_STEP_MS)) return bf_fail(err, BF_AGAIN, 0, "stopped while waiting for CAPSULE");
    }
}

/* ---- one line of the replay ---- */

static const json_t *below(const json_t *payload, const char *path) {
    char part[256];
    for (size_t n; payload != NULL; path += n + 1) {
        n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        payload = json_object_get(payload, part);
        if (path[n] == '\0') break;
    }
    return payload;
}

static enum bf_code read_signal(const struct rules *rules, const json_t *json, struct signal *s, struct bf_err *err) {
    const char *node = json_string_value(json_object_get(json, "rim_node_id")), *id = json_string_value(json_object_get(json, "event_id")),
               *time = json_string_value(json_object_get(json, "event_time")), *trace = json_string_value(json_object_get(json, "trace_id"));
    const json_t *payload = json_object_get(json, "payload");

    *s = (struct signal){.node_id = bf_slice_str(node), .trace_id = bf_slice_str(trace)};
    if (node == NULL || time == NULL || !bf_uuid_parse(bf_slice_str(id), &s->id)) return bf_fail(err, BF_AGAIN, 0, "CAPSULE's replay has a line that is no event");
    for (size_t i = 0; i < rules->field_count; i++) {
        const json_t *v = below(payload, rules->fields[i]);
        if (!json_is_number(v)) continue;
        s->values[i] = json_number_value(v);
        s->present |= 1u << i;
    }
    return bf_time_parse(time, &s->event_time_us, err);
}

static enum bf_code take_line(struct warming *w, struct bf_err *err) {
    json_t *json = NULL;
    struct signal signal;
    enum engine_outcome outcome;
    enum bf_code code = bf_json_parse(w->line.data, w->line.len, &json, err);

    if (code == BF_OK && json_is_true(json_object_get(json, "end"))) {
        w->ended = true;
    } else if (code == BF_OK && !json_is_null(json_object_get(json, "payload"))) {
        code = read_signal(w->rules, json, &signal, err);
        if (code == BF_OK) code = engine_signal(w->engine, &signal, w->now_us, NULL, &outcome, err);
        w->signals++;
    }
    json_decref(json);
    return code;
}

static bool on_data(void *ctx, const char *data, size_t len) {
    struct warming *w = ctx;

    while (len > 0) {
        const char *newline = memchr(data, '\n', len);
        size_t n = newline != NULL ? (size_t)(newline - data) : len;
        bf_buf_append(&w->line, data, n);
        if (newline == NULL) break;
        if (w->line.failed || take_line(w, &w->err) != BF_OK) return false;
        bf_buf_clear(&w->line);
        data += n + 1;
        len -= n + 1;
    }
    w->stopped = bf_stop_requested();
    return !w->stopped;
}

/* ---- all of it ---- */

static enum bf_code replay(struct odyssey *o, struct bf_http_client *http, int32_t partition, int64_t from, int64_t before, struct warming *w,
                           struct bf_err *err) {
    struct bf_buf answer;
    char url[1024];
    int status = 0;

    snprintf(url, sizeof url, "%s/v1/replay?topic=%s&partition=%d&from_offset=%lld&to_offset=%lld", o->s->capsule, o->topic_in.name, (int)partition,
             (long long)from, (long long)before);
    bf_buf_init(&answer, ANSWER_BYTES_MAX);
    enum bf_code code = bf_http_get_stream(http, url, &status, &answer, on_data, w, err);
    bf_buf_fini(&answer);
    if (w->stopped) return bf_fail(err, BF_AGAIN, 0, "stopped while learning from CAPSULE");
    if (w->err.code != BF_OK) *err = w->err;
    else if (code == BF_OK && (status != 200 || !w->ended)) code = bf_fail(err, BF_AGAIN, status, "CAPSULE's replay was cut, or answers %d", status);
    if (code == BF_OK) return BF_OK;
    err->code = BF_AGAIN;
    return BF_AGAIN;
}

enum bf_code warm_engine(struct odyssey *o, const struct rules *rules, int32_t partition, int64_t before, struct engine **out, struct bf_err *err) {
    struct bf_http_client *http = NULL;
    int64_t from = before > o->s->warm_events_max ? before - o->s->warm_events_max : 0, began_us = bf_time_monotonic_us();
    struct warming w = {.rules = rules, .now_us = began_us};
    enum bf_code code = engine_new(rules, (size_t)o->s->nodes_max, &w.engine, err);

    bf_buf_init(&w.line, LINE_BYTES_MAX);
    if (code == BF_OK && before > 0 && o->s->capsule == NULL) {
        bf_log(BF_LOG_WARN, "cold_start", "partition=%d offset=%lld reason=\"no --capsule: its nodes begin with empty memory\"", (int)partition, (long long)before);
    } else if (code == BF_OK && before > 0) {
        code = connect_capsule(o, &http, err);
        if (code == BF_OK) code = wait_until_there(o, http, partition, before, err);
        if (code == BF_OK) code = replay(o, http, partition, from, before, &w, err);
        if (code == BF_OK)
            bf_log(BF_LOG_INFO, "warmed", "partition=%d from=%lld to=%lld signals=%lld nodes=%zu ms=%lld", (int)partition, (long long)from, (long long)before,
                   (long long)w.signals, engine_nodes(w.engine), (long long)((bf_time_monotonic_us() - began_us) / 1000));
        bf_series_add(bf_metrics_series(o->metrics, M_WARMED, NULL, NULL, NULL), (uint64_t)w.signals);
    }
    if (code == BF_OK) *out = w.engine;
    else engine_free(w.engine);
    bf_buf_fini(&w.line);
    bf_http_client_free(http);
    return code == BF_OK ? BF_OK : bf_err_prepend(err, "partition %d cannot be warmed", (int)partition);
}
