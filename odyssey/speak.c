#include "speak.h"

#include "bf_avro_encode.h"
#include "bf_framing.h"
#include "bf_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES_MAX (1u << 20)

struct speaker {
    struct bf_avro_encoder *encoder;
    int32_t schema_id;
    const char *cause_topic;
    struct bf_buf value;
    char traceparent[BF_TRACEPARENT_LEN + 1];
};

enum bf_code speaker_new(const char *schema_json, int32_t schema_id, const char *cause_topic, struct speaker **out, struct bf_err *err) {
    struct speaker *s = calloc(1, sizeof *s);

    if (s == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a speaker");
    s->schema_id = schema_id;
    s->cause_topic = cause_topic;
    bf_buf_init(&s->value, VALUE_BYTES_MAX);
    enum bf_code code = bf_avro_encoder_new(schema_json, &s->encoder, err);
    if (code != BF_OK) {
        speaker_free(s);
        return code;
    }
    *out = s;
    return BF_OK;
}

void speaker_free(struct speaker *s) {
    if (s == NULL) return;
    bf_avro_encoder_free(s->encoder);
    bf_buf_fini(&s->value);
    free(s);
}

/* ---- words ---- */

static void leaf_words(const struct answer *a, const char *field, char *dst, size_t bytes) {
    const struct rule_condition *c = a->leaf;

    switch (c->kind) {
    case RULE_THRESHOLD:
        snprintf(dst, bytes, "%s is %.6g, %s the limit of %.6g", field, a->value, c->has_above && a->value >= c->above ? "at or above" : "at or below", a->limit);
        break;
    case RULE_PERCENT_MOVE:
        snprintf(dst, bytes, "%s moved by %.4g %% from %.6g to %.6g, the limit is %.4g %%", field, a->value, a->previous, a->current, c->above);
        break;
    case RULE_RATE_OF_CHANGE:
        snprintf(dst, bytes, "%s changes by %.6g in %lld ms, from %.6g to %.6g, the limit is %.6g", field, a->value, (long long)(c->per_us / 1000),
                 a->previous, a->current, a->limit);
        break;
    case RULE_ZSCORE:
        snprintf(dst, bytes, "%s is %.6g, %.4g standard deviations from its mean of %.6g, the limit is %.4g", field, a->current, a->value, a->previous, a->limit);
        break;
    case RULE_SILENCE: snprintf(dst, bytes, "nothing was heard of it for %.6g s", a->limit); break;
    default:
        snprintf(dst, bytes, "%s went from %s to %s at %.6g", field, rule_regime_name(a->regime_from), rule_regime_name(a->regime_to), a->value);
        break;
    }
}

void speak_words(const struct reflex *r, const char *field, char *dst, size_t dst_bytes) {
    enum rule_kind kind = r->rule->conditions[0].kind;
    size_t used = 0;

    dst[0] = '\0';
    if (kind >= RULE_ALL) used = (size_t)snprintf(dst, dst_bytes, "%s: ", kind == RULE_ALL ? "all of its conditions hold" : kind == RULE_ANY ? "one of its conditions holds" : "its condition no longer holds");
    if (r->answer->leaf != NULL && used < dst_bytes) leaf_words(r->answer, field, dst + used, dst_bytes - used);
    else if (used >= 2 && used < dst_bytes) dst[used - 2] = '\0';
}

/* ---- the message ---- */

static const char *severity_of(const struct reflex *r) {
    enum rule_severity severity = r->rule->severity;

    if (severity == SEVERITY_OF_REGIME) severity = r->answer->regime_to == 3 ? SEVERITY_CRITICAL : r->answer->regime_to == 2 ? SEVERITY_WARNING : SEVERITY_INFO;
    return rule_severity_name(severity);
}

static json_t *number_or_null(bool there, double value) { return there ? json_real(value) : json_null(); }
static json_t *text_or_null(const char *text) { return text != NULL ? json_string(text) : json_null(); }

static json_t *to_json(const struct speaker *s, const struct reflex *r, const char *id) {
    const struct answer *a = r->answer;
    const struct rule_condition *leaf = a->leaf;
    const char *field = leaf != NULL && leaf->field >= 0 ? r->rules->fields[leaf->field] : NULL;
    bool regime = leaf != NULL && leaf->kind == RULE_REGIME;
    enum rule_kind kind = r->rule->conditions[0].kind;
    char cause[BF_UUID_TEXT_LEN + 1], words[512];

    bf_uuid_format(cause, &r->cause_id);
    speak_words(r, field != NULL ? field : "", words, sizeof words);
    return json_pack("{s:s%, s:s, s:I, s:s, s:s, s:o, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s}",
                     "rim_node_id", (const char *)r->node_id.data, r->node_id.len, "event_id", id, "event_time", (json_int_t)r->event_time_us,
                     "cause_id", cause, "cause_topic", s->cause_topic,
                     "trace_id", r->trace_id.data != NULL ? json_stringn(r->trace_id.data, r->trace_id.len) : json_null(),
                     "rule", r->rule->name, "kind", kind >= RULE_ALL ? "combination" : rule_kind_name(kind), "severity", severity_of(r),
                     "regime_from", text_or_null(regime ? rule_regime_name(a->regime_from) : NULL),
                     "regime_to", text_or_null(regime ? rule_regime_name(a->regime_to) : NULL),
                     "field", text_or_null(field), "value", number_or_null(a->has_value, a->value),
                     "previous", number_or_null(a->has_previous, a->previous), "limit", number_or_null(a->has_limit, a->limit),
                     "message", words, "rules_version", r->rules->version);
}

static void carry_trace(struct speaker *s, const struct reflex *r, const struct bf_uuid *id, struct spoken *out) {
    out->header_count = bf_traceparent_next(s->traceparent, r->traceparent, id) ? 1 : 0;
    out->headers[0] = (struct bf_header){"traceparent", bf_slice_str(s->traceparent)};
}

enum bf_code speaker_speak(struct speaker *s, const struct reflex *r, struct spoken *out, struct bf_err *err) {
    struct bf_uuid id = bf_event_id_caused(&r->cause_id, r->rule->name, NULL);
    char text[BF_UUID_TEXT_LEN + 1];
    uint8_t frame[BF_FRAME_BYTES];

    bf_uuid_format(text, &id);
    json_t *json = to_json(s, r, text);
    if (json == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a reflex");
    bf_buf_clear(&s->value);
    bf_frame_put(frame, s->schema_id);
    bf_buf_append(&s->value, frame, sizeof frame);
    enum bf_code code = bf_avro_encode(s->encoder, json, &s->value, err);
    json_decref(json);
    if (code != BF_OK) return code;
    if (s->value.failed) return bf_fail(err, BF_NOMEM, 0, "a reflex is larger than %u bytes", VALUE_BYTES_MAX);
    out->key = r->node_id;
    out->value = (struct bf_slice){s->value.data, s->value.len};
    carry_trace(s, r, &id, out);
    return BF_OK;
}
