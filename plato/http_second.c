/* Four eyes: an escalated decision gets its second from a person. The answer is given when Kafka has it, or not at all.
 *
 * One at a time, so that two people cannot decide the same thing differently: what was decided here lately is remembered until CAPSULE surely knows. */
#include "plato.h"

#include "bf_json.h"
#include "bf_log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACK_TIMEOUT_MS 10000
#define RECENT_MAX 4096
#define BY_BYTES_MAX 200

struct second {
    pthread_mutex_t lock; /* all below */
    struct bf_producer *producer;
    struct bf_uuid recent[RECENT_MAX]; /* first decisions that have their second; a ring */
    size_t recent_count;
    enum bf_code delivered; /* of the message under way */
    struct bf_err delivered_err;
};

struct request {
    const char *id; /* of the decision, as given */
    enum verdict verdict;
    const char *by, *reason;
    json_t *body, *first; /* owned */
};

static void on_delivered(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset) {
    struct second *s = ctx;
    (void)opaque, (void)partition, (void)offset;
    s->delivered = code;
    if (code != BF_OK) s->delivered_err = *err;
}

enum bf_code second_new(struct plato *p, struct second **out, struct bf_err *err) {
    struct second *s = calloc(1, sizeof *s);

    if (s == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for second decisions");
    pthread_mutex_init(&s->lock, NULL);
    const struct bf_producer_settings settings = {.bootstrap = p->s->bootstrap, .client_id = "plato-second", .delivery_timeout_ms = ACK_TIMEOUT_MS,
                                                  .delivered = on_delivered, .ctx = s};
    enum bf_code code = bf_producer_open(&settings, &s->producer, err);
    if (code != BF_OK) {
        second_free(s);
        return code;
    }
    *out = s;
    return BF_OK;
}

void second_free(struct second *s) {
    if (s == NULL) return;
    bf_producer_close(s->producer);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- what is asked ---- */

static const char *text_in(const json_t *body, const char *name) {
    const char *text = json_string_value(json_object_get(body, name));
    return text != NULL && *text != '\0' ? text : NULL;
}

static enum bf_code read_request(struct bf_http_request *req, struct request *r, struct bf_err *err) {
    struct bf_slice body = bf_http_body(req);
    enum bf_code code = bf_json_parse(body.data, body.len, &r->body, err);

    if (code != BF_OK) return bf_err_prepend(err, "body");
    r->by = text_in(r->body, "by");
    r->reason = text_in(r->body, "reason");
    if (!verdict_parse(text_in(r->body, "verdict"), &r->verdict) || r->verdict == VERDICT_ESCALATE)
        return bf_fail(err, BF_INVALID, 0, "verdict must be \"allow\" or \"deny\"");
    if (r->by == NULL || strlen(r->by) > BY_BYTES_MAX) return bf_fail(err, BF_INVALID, 0, "by must be the name of who decides, at most %d bytes", BY_BYTES_MAX);
    if (r->reason == NULL || strlen(r->reason) > POLICY_REASON_MAX) return bf_fail(err, BF_INVALID, 0, "reason must be given, at most %d bytes", POLICY_REASON_MAX);
    return BF_OK;
}

static enum bf_code check_first(struct evidence *e, struct request *r, struct bf_err *err) {
    int64_t recorded_us = 0;
    enum bf_code code = evidence_event(e, DECISION_TOPIC, r->id, &r->first, &recorded_us, err);

    if (code != BF_OK) return code;
    const char *verdict = text_in(json_object_get(r->first, "payload"), "verdict");
    if (verdict == NULL || strcmp(verdict, "escalate") != 0)
        return bf_fail(err, BF_EXISTS, 0, "the decision is '%.20s': only what was escalated can be decided by a second", verdict != NULL ? verdict : "?");
    return BF_OK;
}

/* Under the lock. */
static enum bf_code check_alone(struct second *s, struct evidence *e, const struct bf_uuid *first, struct bf_err *err) {
    char id[BF_UUID_TEXT_LEN + 1];
    json_t *json = NULL;

    for (size_t i = 0; i < s->recent_count && i < RECENT_MAX; i++)
        if (memcmp(s->recent[i].b, first->b, sizeof first->b) == 0) return bf_fail(err, BF_EXISTS, 0, "it has its second decision already");
    bf_uuid_format(id, first);
    enum bf_code code = evidence_get(e, &json, err, "/v1/events?topic=" DECISION_TOPIC "&cause=%s&limit=1", id);
    if (code == BF_OK && json_array_size(json_object_get(json, "events")) > 0) code = bf_fail(err, BF_EXISTS, 0, "it has its second decision already");
    json_decref(json);
    return code;
}

/* ---- deciding ---- */

static enum bf_code make(struct plato *p, const struct request *r, const struct bf_uuid *first, struct decision_writer *w, struct decision_message *out,
                         struct bf_err *err) {
    const json_t *payload = json_object_get(r->first, "payload");
    const char *policy = text_in(payload, "policy"), *node = text_in(r->first, "rim_node_id"), *version = text_in(payload, "policy_version");
    struct judgement j = {.verdict = r->verdict, .policy = "four-eyes"};
    struct decision d = {.node_id = node, .trace_id = text_in(payload, "trace_id"), .cause_id = *first, .cause_topic = DECISION_TOPIC,
                         .discriminator = DECISION_SECOND, .event_time_us = json_integer_value(json_object_get(payload, "event_time")),
                         .policy_version = version, .judgement = &j};

    (void)p;
    if (policy == NULL || node == NULL || version == NULL) return bf_fail(err, BF_BROKEN, 0, "the first decision has no policy, node or version");
    snprintf(j.reason, sizeof j.reason, "%s", r->reason);
    j.evidence = json_pack("{s:s, s:s}", "by", r->by, "escalated_by", policy);
    if (j.evidence == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a decision");
    enum bf_code code = decision_write(w, &d, out, err);
    judgement_fini(&j);
    return code;
}

/* Under the lock. */
static enum bf_code send(struct second *s, const struct bf_uuid *first, const struct decision_message *m, struct bf_err *err) {
    s->delivered = BF_AGAIN;
    (void)bf_fail(&s->delivered_err, BF_AGAIN, 0, "Kafka does not acknowledge it");
    enum bf_code code = bf_producer_send(s->producer, DECISION_TOPIC, -1, m->key, m->value, m->headers, m->header_count, 0, NULL, err);
    if (code == BF_OK) code = bf_producer_flush(s->producer, ACK_TIMEOUT_MS + 1000, err);
    if (code == BF_OK && s->delivered != BF_OK) {
        *err = s->delivered_err;
        code = err->code;
    }
    if (code == BF_OK) s->recent[s->recent_count++ % RECENT_MAX] = *first;
    return code;
}

static enum bf_code decide(struct plato *p, struct request *r, struct bf_uuid *id, struct bf_err *err) {
    struct evidence *e = NULL;
    struct decision_writer *w = NULL;
    struct decision_message message;
    struct bf_uuid first = bf_event_id_from_text(bf_slice_str(r->id), NULL);
    enum bf_code code = plato_evidence(p, &e, err);

    if (code == BF_OK) code = check_first(e, r, err);
    if (code == BF_OK) code = decision_writer_new(p->topic_out->schema_json, atomic_load(&p->decision_schema_id), &w, err);
    if (code == BF_OK) code = make(p, r, &first, w, &message, err);
    pthread_mutex_lock(&p->second->lock);
    if (code == BF_OK) code = check_alone(p->second, e, &first, err);
    if (code == BF_OK) code = send(p->second, &first, &message, err);
    pthread_mutex_unlock(&p->second->lock);
    if (code == BF_OK) *id = message.id;
    decision_writer_free(w);
    evidence_free(e);
    return code;
}

void http_second(struct bf_http_request *req, void *ctx) {
    struct plato *p = bf_service_ctx(ctx);
    struct request r = {.id = bf_http_path(req, "decision")};
    struct bf_err err = {0};
    struct bf_uuid id;
    char text[BF_UUID_TEXT_LEN + 1], answer[128];
    enum bf_code code = p->s->capsule == NULL              ? bf_fail(&err, BF_AGAIN, 0, "without --capsule nothing is known of earlier decisions")
                        : p->decision_schema_id == 0 ? bf_fail(&err, BF_AGAIN, 0, "not ready yet")
                                                           : read_request(req, &r, &err);

    if (code == BF_OK) code = decide(p, &r, &id, &err);
    if (code == BF_OK) {
        bf_uuid_format(text, &id);
        bf_series_add(bf_metrics_series(p->metrics, M_SECOND, verdict_name(r.verdict), NULL, NULL), 1);
        bf_log(BF_LOG_INFO, "second_decision", "decision=%s verdict=%s", text, verdict_name(r.verdict));
        int n = snprintf(answer, sizeof answer, "{\"event_id\":\"%s\",\"verdict\":\"%s\"}\n", text, verdict_name(r.verdict));
        bf_http_reply(req, 201, "application/json", answer, (size_t)n);
    } else {
        bf_http_problem_err(req, &err, code == BF_NOT_FOUND ? "decision" : NULL);
    }
    json_decref(r.body);
    json_decref(r.first);
}
