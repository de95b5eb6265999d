/* One signal: opened, given to its partition's engine, and each reflex on its way before the next signal is looked at. */
#include "odyssey.h"

#include "bf_log.h"
#include "bf_time.h"

#include <math.h>
#include <string.h>

#define FILLER_HEADER "butterfly-filler" /* ADR 5 */

enum bf_code odyssey_reader(struct odyssey *o, const struct rules *rules, struct bf_record_reader **out, struct bf_err *err) {
    const struct bf_record_settings settings = {.topic = &o->topic_in, .registry_url = o->s->registry, .paths = (const char *const *)rules->fields,
                                                .path_count = rules->field_count};
    return bf_record_reader_new(&settings, out, err);
}

void odyssey_note_rules(struct odyssey *o) {
    for (int i = 0; i < ENGINE_OUTCOMES; i++)
        o->outcomes[i] = bf_metrics_series(o->metrics, M_SIGNALS, engine_outcome_name((enum engine_outcome)i), NULL, NULL);
    for (int i = 0; i < BF_RECORD_FAULTS; i++)
        o->rejected[i] = bf_metrics_series(o->metrics, M_REJECTED, bf_record_fault_name((enum bf_record_fault)i), NULL, NULL);
    for (size_t i = 0; i < o->rules->count; i++) o->reflexes[i] = bf_metrics_series(o->metrics, M_REFLEXES, o->rules->list[i].name, NULL, NULL);
    o->delay = bf_metrics_series(o->metrics, M_DELAY, NULL, NULL, NULL);
    bf_series_set(bf_metrics_series(o->metrics, M_RULES, o->rules->version, NULL, NULL), 1);
}

/* ---- reflexes ---- */

static enum bf_code on_reflex(void *ctx, const struct reflex *reflex, struct bf_err *err) {
    struct odyssey *o = ctx;
    struct spoken spoken;
    enum bf_code code = speaker_speak(o->speaker, reflex, &spoken, err);

    if (code == BF_OK)
        code = bf_transform_send(o->transform, REFLEX_TOPIC, spoken.key, spoken.value, spoken.headers, spoken.header_count, err);
    if (code != BF_OK) return code == BF_CANCELLED ? code : BF_BROKEN;
    bf_series_add(o->reflexes[reflex->rule - o->rules->list], 1);
    if (o->kafka_ms > 0) bf_series_observe(o->delay, (double)(bf_time_now_us() - o->kafka_ms * 1000) / 1e6, 1);
    return BF_OK;
}

/* ---- signals ---- */

static double number_of(const struct bf_avro_field *f) {
    if (f->kind == BF_AVRO_DOUBLE) return f->d;
    return f->kind == BF_AVRO_LONG ? (double)f->l : NAN;
}

static void fill_signal(const struct odyssey *o, const struct bf_record *record, struct signal *s) {
    s->node_id = record->node_id;
    s->trace_id = record->trace_id;
    s->traceparent = record->traceparent;
    s->id = record->id;
    s->event_time_us = record->event_time_us;
    s->present = 0;
    for (size_t i = 0; i < o->rules->field_count; i++) {
        s->values[i] = number_of(&record->fields[i]);
        if (isfinite(s->values[i])) s->present |= 1u << i;
    }
}

static void note_rejected(struct odyssey *o, const struct bf_message *msg, const struct bf_err *err) {
    int fault = err->native;

    bf_series_add(o->rejected[fault], 1);
    if (o->said_rejected[fault]) return;
    o->said_rejected[fault] = true;
    bf_log_err(BF_LOG_WARN, "rejected", err, "reason=%s partition=%d offset=%lld next=\"counted from now on, kept by CAPSULE\"",
               bf_record_fault_name((enum bf_record_fault)fault), (int)msg->partition, (long long)msg->offset);
}

static bool is_filler(const struct bf_message *msg) {
    for (size_t i = 0; i < msg->header_count; i++)
        if (strcmp(msg->headers[i].name, FILLER_HEADER) == 0) return true;
    return false;
}

static enum bf_code learn_holes(struct odyssey *o, const struct bf_message *msg, struct bf_err *err) {
    struct partition *p = &o->partitions[msg->partition];
    struct engine *engine = NULL;
    enum bf_code code = warm_engine(o, o->rules, msg->partition, msg->offset, &engine, err);

    if (code != BF_OK) return code;
    engine_free(p->engine);
    p->engine = engine;
    p->holes = false;
    return BF_OK;
}

static enum bf_code on_message(void *ctx, const struct bf_message *msg, struct bf_err *err) {
    struct odyssey *o = ctx;
    struct partition *p = &o->partitions[msg->partition];
    struct bf_record record;
    struct signal signal;
    enum engine_outcome outcome;
    enum bf_code code = bf_record_open(o->reader, msg, &record, err);

    p->at_end = false;
    if (code == BF_NOT_FOUND) p->holes = p->holes || is_filler(msg);
    if (code == BF_REJECTED) note_rejected(o, msg, err);
    if (code == BF_NOT_FOUND || code == BF_REJECTED) return BF_OK;
    if (code == BF_OK && p->holes) code = learn_holes(o, msg, err);
    if (code != BF_OK) return code;
    const struct engine_output output = {on_reflex, o};
    fill_signal(o, &record, &signal);
    o->kafka_ms = msg->timestamp_ms;
    int64_t arrived_us = o->rules->lateness_us > 0 ? bf_time_monotonic_us() : 0; /* nothing waits otherwise */
    code = engine_signal(p->engine, &signal, arrived_us, &output, &outcome, err);
    o->kafka_ms = 0;
    if (code != BF_OK) return code;
    bf_series_add(o->outcomes[outcome], 1);
    if (outcome == ENGINE_FULL && !o->said_full)
        bf_log(BF_LOG_WARN, "nodes_full", "nodes_max=%lld next=\"further nodes are counted and not watched\"", (long long)o->s->nodes_max);
    o->said_full = o->said_full || outcome == ENGINE_FULL;
    return BF_OK;
}

/* ---- partitions ---- */

static enum bf_code on_assigned(void *ctx, const struct bf_tp *begin, size_t count, struct bf_err *err) {
    struct odyssey *o = ctx;
    enum bf_code code = BF_OK;

    for (size_t i = 0; i < count && code == BF_OK; i++) {
        struct partition *p = &o->partitions[begin[i].partition];
        struct engine *engine = NULL;
        if (p->engine != NULL && p->warmed_to == begin[i].offset) continue; /* learned when it was tried a moment ago */
        code = warm_engine(o, o->rules, begin[i].partition, begin[i].offset, &engine, err);
        if (code != BF_OK) break;
        engine_free(p->engine);
        *p = (struct partition){.engine = engine, .warmed_to = begin[i].offset, .end_seen_us = INT64_MIN};
    }
    return code;
}

static void on_revoked(void *ctx, const struct bf_tp *tps, size_t count) {
    struct odyssey *o = ctx;

    for (size_t i = 0; i < count; i++) {
        engine_free(o->partitions[tps[i].partition].engine);
        o->partitions[tps[i].partition] = (struct partition){0};
    }
}

/* What the broker let go may be in CAPSULE: memory is made whole from there; reflexes to what was never read are not made up. */
static void on_lost(void *ctx, int32_t partition, int64_t from, int64_t to) {
    struct odyssey *o = ctx;
    (void)from, (void)to;
    o->partitions[partition].holes = true;
}

static void on_caught_up(void *ctx, int32_t partition, int64_t offset) {
    struct odyssey *o = ctx;
    (void)offset;
    o->partitions[partition].at_end = true;
    o->partitions[partition].end_seen_us = bf_time_now_us();
}

/* ---- time ---- */

static enum bf_code on_tick(void *ctx, struct bf_err *err) {
    struct odyssey *o = ctx;
    const struct engine_output output = {on_reflex, o};
    size_t nodes = 0, bytes = 0;
    enum bf_code code = BF_OK;

    reload_read(o);
    code = reload_take(o, err);
    for (int32_t i = 0; i < BF_TRANSFORM_PARTITIONS_MAX && code == BF_OK; i++) {
        struct partition *p = &o->partitions[i];
        if (p->engine == NULL) continue;
        nodes += engine_nodes(p->engine);
        bytes += engine_bytes(p->engine);
        if (!p->holes) code = engine_tick(p->engine, bf_time_monotonic_us(), p->at_end ? bf_time_now_us() : p->end_seen_us, &output, err);
    }
    bf_series_set(bf_metrics_series(o->metrics, M_NODES, NULL, NULL, NULL), (double)nodes);
    bf_series_set(bf_metrics_series(o->metrics, M_STATE_BYTES, NULL, NULL, NULL), (double)bytes);
    return code;
}

const struct bf_transform_calls odyssey_calls = {.assigned = on_assigned, .revoked = on_revoked, .message = on_message, .lost = on_lost,
                                                 .caught_up = on_caught_up, .tick = on_tick, .ctx = NULL};
