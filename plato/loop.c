/* One reflex: opened, judged, and the decision on its way before the next is looked at. What CAPSULE does not know yet is waited for: first a moment,
 * because it is usually milliseconds behind, then as an outage, with the order of every node kept. */
#include "plato.h"

#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"

#include <stdio.h>
#include <string.h>

#define BEHIND_WAIT_US INT64_C(1000000)
#define BEHIND_STEP_MS 2

enum { FIELD_RULE, FIELD_KIND, FIELD_SEVERITY, FIELD_REGIME_TO, FIELDS };
const char *const plato_fields[FIELDS] = {"rule", "kind", "severity", "regime_to"};
const size_t plato_field_count = FIELDS;

static void fill_reflex(const struct bf_record *record, struct reflex *r) {
    char *const into[FIELDS] = {r->rule, r->kind, r->severity, r->regime_to};

    r->id = record->id;
    r->event_time_us = record->event_time_us;
    judge_copy(r->node_id, record->node_id);
    judge_copy(r->trace_id, record->trace_id);
    snprintf(r->traceparent, sizeof r->traceparent, "%.*s", (int)record->traceparent.len,
             record->traceparent.data != NULL ? (const char *)record->traceparent.data : "");
    for (int i = 0; i < FIELDS; i++) judge_copy(into[i], record->fields[i].kind == BF_AVRO_STRING ? record->fields[i].s : BF_SLICE_NONE);
}

static enum bf_code find_facts(struct plato *p, const struct reflex *r, struct facts *facts, struct bf_err *err) {
    for (int64_t give_up_us = bf_time_monotonic_us() + BEHIND_WAIT_US;;) {
        enum bf_code code = evidence_of(p->evidence, r, facts, err);
        if (code != BF_NOT_FOUND) return code;
        err->code = BF_AGAIN;
        if (bf_time_monotonic_us() >= give_up_us || !bf_sleep_ms(BEHIND_STEP_MS)) return bf_err_prepend(err, "CAPSULE has not recorded the reflex yet");
    }
}

static enum bf_code judge_it(struct plato *p, const struct reflex *r, struct judgement *j, struct bf_err *err) {
    struct facts facts;
    int64_t began_us = bf_time_monotonic_us();
    enum bf_code code = p->evidence != NULL ? find_facts(p, r, &facts, err) : BF_OK;

    if (code == BF_OK) code = judge(p->policies, r, p->evidence != NULL ? &facts : NULL, j, err);
    if (code == BF_OK) bf_series_observe(bf_metrics_series(p->metrics, M_EVIDENCE, NULL, NULL, NULL), (double)(bf_time_monotonic_us() - began_us) / 1e6, 1);
    return code;
}

static enum bf_code send(struct plato *p, const struct reflex *r, const struct judgement *j, struct bf_err *err) {
    struct decision_message message;
    const struct decision d = {.node_id = r->node_id, .trace_id = r->trace_id, .traceparent = bf_slice_str(r->traceparent), .cause_id = r->id,
                               .cause_topic = p->topic_in.name, .discriminator = DECISION_FIRST, .event_time_us = r->event_time_us,
                               .policy_version = p->policies->version, .judgement = j};
    enum bf_code code = decision_write(p->writer, &d, &message, err);

    if (code == BF_OK) code = bf_transform_send(p->transform, DECISION_TOPIC, message.key, message.value, message.headers, message.header_count, err);
    return code == BF_OK || code == BF_CANCELLED ? code : BF_BROKEN;
}

static void note_rejected(struct plato *p, const struct bf_message *msg, const struct bf_err *err) {
    enum bf_record_fault fault = (enum bf_record_fault)err->native;

    bf_series_add(bf_metrics_series(p->metrics, M_REJECTED, bf_record_fault_name(fault), NULL, NULL), 1);
    if (p->said_rejected[fault]) return;
    p->said_rejected[fault] = true;
    bf_log_err(BF_LOG_WARN, "rejected", err, "reason=%s partition=%d offset=%lld next=\"counted from now on, kept by CAPSULE\"", bf_record_fault_name(fault),
               (int)msg->partition, (long long)msg->offset);
}

static enum bf_code on_message(void *ctx, const struct bf_message *msg, struct bf_err *err) {
    struct plato *p = ctx;
    struct bf_record record;
    struct reflex reflex;
    struct judgement j;
    enum bf_code code = bf_record_open(p->reader, msg, &record, err);

    if (code == BF_REJECTED) note_rejected(p, msg, err);
    if (code == BF_NOT_FOUND || code == BF_REJECTED) return BF_OK;
    if (code != BF_OK) return code;
    fill_reflex(&record, &reflex);
    code = judge_it(p, &reflex, &j, err);
    if (code != BF_OK) return code;
    code = send(p, &reflex, &j, err);
    if (code == BF_OK) {
        bf_series_add(bf_metrics_series(p->metrics, M_REFLEXES, NULL, NULL, NULL), 1);
        bf_series_add(bf_metrics_series(p->metrics, M_DECISIONS, verdict_name(j.verdict), j.policy, NULL), 1);
        if (msg->timestamp_ms > 0)
            bf_series_observe(bf_metrics_series(p->metrics, M_DELAY, NULL, NULL, NULL), (double)(bf_time_now_us() - msg->timestamp_ms * 1000) / 1e6, 1);
    }
    judgement_fini(&j);
    return code;
}

/* On SIGHUP. A wrong file is told of and the old policies stay. */
static enum bf_code on_tick(void *ctx, struct bf_err *err) {
    struct plato *p = ctx;
    struct policies *policies = NULL;

    if (!bf_reload_requested()) return BF_OK;
    bool good = keep_load(p, &policies, err) == BF_OK && keep_policies(p, policies, err) == BF_OK;
    bf_series_add(bf_metrics_series(p->metrics, M_RELOADS, good ? "taken" : "refused", NULL, NULL), 1);
    if (!good) {
        bf_log_err(BF_LOG_ERROR, "policies_refused", err, "next=\"going on with version %.12s\"", p->policies->version);
        policies_free(policies);
        return BF_OK;
    }
    bf_series_set(bf_metrics_series(p->metrics, M_POLICIES, p->policies->version, NULL, NULL), 0);
    policies_free(p->policies);
    p->policies = policies;
    bf_series_set(bf_metrics_series(p->metrics, M_POLICIES, policies->version, NULL, NULL), 1);
    bf_log(BF_LOG_INFO, "policies_taken", "version=%.12s policies=%zu", policies->version, policies->count);
    return BF_OK;
}

const struct bf_transform_calls plato_calls = {.message = on_message, .tick = on_tick, .ctx = NULL};
