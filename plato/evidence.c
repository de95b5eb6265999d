#include "evidence.h"

#include "bf_http_client.h"
#include "bf_json.h"
#include "bf_time.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 10000
#define ANSWER_BYTES_MAX (32u << 20)
#define EARLIER_MAX 1000

struct evidence {
    struct evidence_settings s;
    struct bf_http_client *http;
    struct bf_buf answer;
    struct facts facts;
    struct reflex reflex; /* whose facts they are */
};

enum bf_code evidence_new(const struct evidence_settings *settings, struct evidence **out, struct bf_err *err) {
    char line[512];
    struct evidence *e = calloc(1, sizeof *e);

    if (e == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for evidence");
    e->s = *settings;
    bf_buf_init(&e->answer, ANSWER_BYTES_MAX);
    enum bf_code code = bf_http_client_new(TIMEOUT_MS, &e->http, err);
    if (code == BF_OK && settings->capsule_token != NULL) {
        snprintf(line, sizeof line, "Authorization: Bearer %s", settings->capsule_token);
        code = bf_http_client_header(e->http, line, err);
    }
    if (code != BF_OK) {
        evidence_free(e);
        return code;
    }
    *out = e;
    return BF_OK;
}

void evidence_free(struct evidence *e) {
    if (e == NULL) return;
    bf_http_client_free(e->http);
    bf_buf_fini(&e->answer);
    free(e);
}

/* ---- calls ---- */

static enum bf_code call(struct evidence *e, const char *path, struct bf_err *err) {
    char url[2048];
    int status = 0;

    if (snprintf(url, sizeof url, "%s%s", e->s.capsule_url, path) >= (int)sizeof url) return bf_fail(err, BF_INVALID, 0, "the address is too long");
    enum bf_code code = bf_http_call(e->http, "GET", url, NULL, BF_SLICE_NONE, &status, &e->answer, err);
    if (code != BF_OK) {
        err->code = BF_AGAIN;
        return bf_err_prepend(err, "capsule");
    }
    if (status == 200) return BF_OK;
    return bf_fail(err, status == 404 ? BF_NOT_FOUND : BF_AGAIN, status, "capsule answers %d to %.300s: %.*s", status, path,
                   (int)(e->answer.len < 150 ? e->answer.len : 150), e->answer.data);
}

enum bf_code evidence_get(struct evidence *e, json_t **out, struct bf_err *err, const char *fmt, ...) {
    char path[1536];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    enum bf_code code = call(e, path, err);
    if (code == BF_OK && bf_json_parse(e->answer.data, e->answer.len, out, err) != BF_OK) code = err->code = BF_AGAIN;
    return code;
}

enum bf_code evidence_raw(struct evidence *e, const char *topic, const char *id, struct bf_buf *out, struct bf_err *err) {
    char path[512];

    snprintf(path, sizeof path, "/v1/events/%s/raw?topic=%s", id, topic);
    enum bf_code code = call(e, path, err);
    if (code == BF_OK) bf_buf_append(out, e->answer.data, e->answer.len);
    return code;
}

enum bf_code evidence_event(struct evidence *e, const char *topic, const char *id, json_t **out, int64_t *recorded_us, struct bf_err *err) {
    json_t *json = NULL;
    enum bf_code code = evidence_get(e, &json, err, "/v1/events/%s?topic=%s", id, topic);

    if (code != BF_OK) return code;
    const json_t *first = json_array_get(json_object_get(json, "revisions"), 0);
    const char *recorded = json_string_value(json_object_get(first != NULL ? first : json, "recorded_at"));
    if (recorded == NULL) code = bf_fail(err, BF_AGAIN, 0, "capsule's answer has no recorded_at");
    else code = bf_time_parse(recorded, recorded_us, err);
    if (code == BF_OK) *out = json;
    else json_decref(json);
    return code;
}

/* ---- facts ---- */

static enum bf_code get_state(void *ctx, json_t **payload, char id[BF_UUID_TEXT_LEN + 1], struct bf_err *err) {
    struct evidence *e = ctx;
    json_t *json = NULL;
    enum bf_code code = evidence_get(e, &json, err, "/v1/nodes/%s/state?as_of=%lld&known_by=%lld&topic=%s", e->reflex.node_id,
                                     (long long)e->reflex.event_time_us, (long long)e->facts.known_by_us, e->s.signal_topic);

    if (code == BF_NOT_FOUND) return BF_OK; /* nothing was known of it then */
    if (code != BF_OK) return code;
    const json_t *state = json_array_get(json_object_get(json, "states"), 0);
    const char *text = json_string_value(json_object_get(state, "event_id"));
    if (text != NULL) {
        snprintf(id, BF_UUID_TEXT_LEN + 1, "%s", text);
        *payload = json_incref(json_object_get(state, "payload"));
    }
    json_decref(json);
    return BF_OK;
}

static void text_of(const json_t *object, const char *name, char dst[JUDGE_TEXT_MAX]) {
    judge_copy(dst, bf_slice_str(json_string_value(json_object_get(object, name))));
}

/* Every event of the page once, whatever its revisions, and not the reflex itself. */
static int64_t count_fitting(const struct evidence *e, const struct policy *policy, const json_t *events) {
    char me[BF_UUID_TEXT_LEN + 1];
    int64_t count = 0;

    bf_uuid_format(me, &e->reflex.id);
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *event = json_array_get(events, i), *payload = json_object_get(event, "payload");
        const char *id = json_string_value(json_object_get(event, "event_id"));
        struct reflex other = {0};
        if (id == NULL || strcmp(id, me) == 0 || json_integer_value(json_object_get(event, "revision")) != 1) continue;
        text_of(event, "rim_node_id", other.node_id);
        text_of(payload, "rule", other.rule);
        text_of(payload, "kind", other.kind);
        text_of(payload, "severity", other.severity);
        text_of(payload, "regime_to", other.regime_to);
        if (policy_fits(policy, &other)) count++;
    }
    return count;
}

static enum bf_code get_earlier(void *ctx, const struct policy *policy, int64_t since_us, int64_t *count, struct bf_err *err) {
    struct evidence *e = ctx;
    json_t *json = NULL;
    enum bf_code code = evidence_get(e, &json, err, "/v1/nodes/%s/history?topic=%s&from=%lld&to=%lld&known_by=%lld&limit=%d", e->reflex.node_id,
                                     e->s.reflex_topic, (long long)since_us + 1, (long long)e->reflex.event_time_us + 1, (long long)e->facts.known_by_us,
                                     EARLIER_MAX);

    *count = 0;
    if (code == BF_NOT_FOUND) return BF_OK;
    if (code != BF_OK) return code;
    *count = count_fitting(e, policy, json_object_get(json, "events"));
    json_decref(json);
    return BF_OK;
}

enum bf_code evidence_of(struct evidence *e, const struct reflex *reflex, struct facts *out, struct bf_err *err) {
    char id[BF_UUID_TEXT_LEN + 1];
    json_t *json = NULL;
    int64_t recorded_us = 0;

    bf_uuid_format(id, &reflex->id);
    enum bf_code code = evidence_event(e, e->s.reflex_topic, id, &json, &recorded_us, err);
    if (code != BF_OK) return code;
    json_decref(json);
    e->reflex = *reflex;
    e->facts = (struct facts){.known_by_us = recorded_us, .state = get_state, .earlier = get_earlier, .ctx = e};
    *out = e->facts;
    return BF_OK;
}
