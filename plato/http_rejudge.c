/* Judge a decision again: its reflex as CAPSULE keeps it, the policies of the version that it names, the world as of the reflex and as known when it
 * was recorded. The new decision must have the very bytes of the one that is kept. */
#include "plato.h"

#include "bf_json.h"
#include "bf_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAW_BYTES_MAX (1u << 20)

struct rejudging {
    struct evidence *e;
    json_t *decision, *reflex; /* events */
    struct policies *policies;
    struct decision_writer *writer;
    struct reflex r;
    struct judgement j;
    struct bf_buf kept, again; /* values */
};

static const char *text_in(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static void fill_reflex(struct rejudging *w) {
    const json_t *payload = json_object_get(w->reflex, "payload");
    const struct {
        char *dst;
        const char *text;
    } texts[] = {{w->r.node_id, text_in(w->reflex, "rim_node_id")}, {w->r.trace_id, text_in(w->reflex, "trace_id")}, {w->r.rule, text_in(payload, "rule")},
                 {w->r.kind, text_in(payload, "kind")}, {w->r.severity, text_in(payload, "severity")}, {w->r.regime_to, text_in(payload, "regime_to")}};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) judge_copy(texts[i].dst, bf_slice_str(texts[i].text));
    (void)bf_uuid_parse(bf_slice_str(text_in(w->reflex, "event_id")), &w->r.id);
    w->r.event_time_us = json_integer_value(json_object_get(payload, "event_time"));
}

static enum bf_code fetch(struct plato *p, const char *id, struct rejudging *w, struct bf_err *err) {
    int64_t recorded_us;
    enum bf_code code = plato_evidence(p, &w->e, err);

    if (code == BF_OK) code = evidence_event(w->e, DECISION_TOPIC, id, &w->decision, &recorded_us, err);
    const json_t *payload = json_object_get(w->decision, "payload");
    if (code == BF_OK && strcmp(text_in(payload, "cause_topic"), p->topic_in.name) != 0)
        return bf_fail(err, BF_INVALID, 0, "it is a person's second decision: there is nothing to compute again");
    if (code == BF_OK) code = evidence_raw(w->e, DECISION_TOPIC, id, &w->kept, err);
    if (code == BF_OK) code = evidence_event(w->e, p->topic_in.name, text_in(payload, "cause_id"), &w->reflex, &recorded_us, err);
    if (code == BF_OK) code = keep_find(p, text_in(payload, "policy_version"), &w->policies, err);
    return code;
}

static enum bf_code again(struct plato *p, struct rejudging *w, struct bf_err *err) {
    struct facts facts;
    struct decision_message message;
    bool with_facts = json_object_get(json_object_get(json_object_get(w->decision, "payload"), "evidence"), "known_by") != NULL;

    fill_reflex(w);
    enum bf_code code = with_facts ? evidence_of(w->e, &w->r, &facts, err) : BF_OK;
    if (code == BF_OK) code = judge(w->policies, &w->r, with_facts ? &facts : NULL, &w->j, err);
    if (code == BF_OK) code = decision_writer_new(p->topic_out->schema_json, (int32_t)json_integer_value(json_object_get(w->decision, "schema_id")), &w->writer, err);
    if (code != BF_OK) return code;
    const struct decision d = {.node_id = w->r.node_id, .trace_id = w->r.trace_id, .cause_id = w->r.id, .cause_topic = p->topic_in.name,
                               .discriminator = DECISION_FIRST, .event_time_us = w->r.event_time_us, .policy_version = w->policies->version, .judgement = &w->j};
    code = decision_write(w->writer, &d, &message, err);
    if (code == BF_OK) bf_buf_append(&w->again, message.value.data, message.value.len);
    return code;
}

static void write_judgement(struct bf_json *j, const char *key, const char *verdict, const char *policy, const char *reason, const json_t *evidence) {
    char *text = json_dumps(evidence != NULL ? evidence : json_null(), JSON_COMPACT | JSON_ENCODE_ANY);

    bf_json_key(j, key);
    bf_json_object(j);
    bf_json_member_string(j, "verdict", verdict);
    bf_json_member_string(j, "policy", policy);
    bf_json_member_string(j, "reason", reason);
    bf_json_key(j, "evidence");
    if (text != NULL) bf_json_raw(j, text, strlen(text));
    else bf_json_null(j);
    bf_json_object_end(j);
    free(text);
}

static void answer(struct bf_http_request *req, struct plato *p, struct rejudging *w) {
    const json_t *payload = json_object_get(w->decision, "payload");
    bool same = w->kept.len == w->again.len && memcmp(w->kept.data, w->again.data, w->kept.len) == 0;
    struct bf_buf out;
    struct bf_json j;

    bf_series_add(bf_metrics_series(p->metrics, M_REJUDGED, same ? "same" : "different", NULL, NULL), 1);
    bf_buf_init(&out, 1 << 20);
    bf_json_init(&j, &out);
    bf_json_object(&j);
    bf_json_member_bool(&j, "same", same);
    bf_json_member_string(&j, "decision", text_in(w->decision, "event_id"));
    bf_json_member_string(&j, "reflex", text_in(w->reflex, "event_id"));
    bf_json_member_string(&j, "policy_version", w->policies->version);
    write_judgement(&j, "kept", text_in(payload, "verdict"), text_in(payload, "policy"), text_in(payload, "reason"), json_object_get(payload, "evidence"));
    write_judgement(&j, "again", verdict_name(w->j.verdict), w->j.policy, w->j.reason, w->j.evidence);
    bf_json_object_end(&j);
    bf_http_reply_take(req, 200, "application/json", &out);
    bf_buf_fini(&out);
}

void http_rejudge(struct bf_http_request *req, void *ctx) {
    struct plato *p = bf_service_ctx(ctx);
    struct rejudging w = {0};
    struct bf_err err = {0};

    bf_buf_init(&w.kept, RAW_BYTES_MAX);
    bf_buf_init(&w.again, RAW_BYTES_MAX);
    enum bf_code code = p->s->capsule != NULL ? fetch(p, bf_http_path(req, "decision"), &w, &err)
                                              : bf_fail(&err, BF_AGAIN, 0, "without --capsule nothing is known of earlier decisions");
    if (code == BF_OK) code = again(p, &w, &err);
    if (code == BF_OK) answer(req, p, &w);
    else bf_http_problem_err(req, &err, code == BF_NOT_FOUND ? "decision" : NULL);
    judgement_fini(&w.j);
    decision_writer_free(w.writer);
    policies_free(w.policies);
    json_decref(w.decision);
    json_decref(w.reflex);
    bf_buf_fini(&w.kept);
    bf_buf_fini(&w.again);
    evidence_free(w.e);
}
