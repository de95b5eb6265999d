#include "decision.h"

#include "bf_avro_encode.h"
#include "bf_framing.h"
#include "bf_record.h"

#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES_MAX (1u << 20)

struct decision_writer {
    struct bf_avro_encoder *encoder;
    int32_t schema_id;
    struct bf_buf value;
    char traceparent[BF_TRACEPARENT_LEN + 1];
};

enum bf_code decision_writer_new(const char *schema_json, int32_t schema_id, struct decision_writer **out, struct bf_err *err) {
    struct decision_writer *w = calloc(1, sizeof *w);

    if (w == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for decisions");
    w->schema_id = schema_id;
    bf_buf_init(&w->value, VALUE_BYTES_MAX);
    enum bf_code code = bf_avro_encoder_new(schema_json, &w->encoder, err);
    if (code != BF_OK) {
        decision_writer_free(w);
        return code;
    }
    *out = w;
    return BF_OK;
}

void decision_writer_free(struct decision_writer *w) {
    if (w == NULL) return;
    bf_avro_encoder_free(w->encoder);
    bf_buf_fini(&w->value);
    free(w);
}

static json_t *to_json(const struct decision *d, const char *id) {
    char cause[BF_UUID_TEXT_LEN + 1];
    bool trace = d->trace_id != NULL && d->trace_id[0] != '\0';

    bf_uuid_format(cause, &d->cause_id);
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:O}", "rim_node_id", d->node_id, "event_id", id, "event_time",
                     (json_int_t)d->event_time_us, "cause_id", cause, "cause_topic", d->cause_topic, "trace_id",
                     trace ? json_string(d->trace_id) : json_null(), "verdict", verdict_name(d->judgement->verdict), "policy", d->judgement->policy,
                     "reason", d->judgement->reason, "policy_version", d->policy_version, "evidence", d->judgement->evidence);
}

enum bf_code decision_write(struct decision_writer *w, const struct decision *d, struct decision_message *out, struct bf_err *err) {
    struct bf_uuid id = bf_event_id_caused(&d->cause_id, d->discriminator, NULL);
    char text[BF_UUID_TEXT_LEN + 1];
    uint8_t frame[BF_FRAME_BYTES];

    bf_uuid_format(text, &id);
    json_t *json = to_json(d, text);
    if (json == NULL) return bf_fail(err, BF_INVALID, 0, "the decision is no valid text");
    bf_buf_clear(&w->value);
    bf_frame_put(frame, w->schema_id);
    bf_buf_append(&w->value, frame, sizeof frame);
    enum bf_code code = bf_avro_encode(w->encoder, json, &w->value, err);
    json_decref(json);
    if (code == BF_OK && w->value.failed) code = bf_fail(err, BF_INVALID, 0, "a decision is larger than %u bytes", VALUE_BYTES_MAX);
    if (code != BF_OK) return code;
    out->id = id;
    out->key = bf_slice_str(d->node_id);
    out->value = (struct bf_slice){w->value.data, w->value.len};
    out->header_count = bf_traceparent_next(w->traceparent, d->traceparent, &id) ? 1 : 0;
    out->headers[0] = (struct bf_header){"traceparent", bf_slice_str(w->traceparent)};
    return BF_OK;
}
