/* The event's public JSON. The payload is decoded straight into the answer's buffer: no copy, no allocation per event. */
#include "event_json.h"

#include "bf_avro.h"
#include "bf_framing.h"
#include "bf_time.h"
#include "headers_pack.h"

#include <string.h>

static enum bf_code payload(struct bf_buf *out, const struct event *ev, struct schema_cache *schemas, struct bf_err *err) {
    if (!ev->value.data) {
        bf_buf_append(out, "null", 4);
        return BF_OK;
    }
    struct bf_slice guid = BF_SLICE_NONE;
    if (ev->headers.data && !headers_find(ev->headers, BF_SCHEMA_HEADER, &guid)) {
        guid = BF_SLICE_NONE;
    }
    struct bf_frame frame;
    if (bf_frame_parse(ev->value, guid, &frame, err) != BF_OK) {
        return err->code;
    }
    const struct bf_avro *avro = NULL;
    if (schema_cache_get(schemas, ev->schema_id, &avro, err) != BF_OK) {
        return err->code;
    }
    struct bf_avro_field fields[BF_AVRO_PATHS_MAX];
    return bf_avro_decode(avro, frame.avro, NULL, out, fields, err);
}

enum bf_code event_json_payload(struct bf_buf *out, const struct event *ev, struct schema_cache *schemas, struct bf_err *err) {
    if (payload(out, ev, schemas, err) != BF_OK) {
        char id[BF_UUID_TEXT_LEN + 1];
        bf_uuid_format(id, &ev->id);
        err->code = err->code == BF_NOMEM ? BF_NOMEM : BF_BROKEN; /* it could be decoded when it was stored */
        return bf_err_prepend(err, "event %s, revision %u", id, ev->revision);
    }
    return out->failed ? bf_fail(err, BF_NOMEM, 0, "the answer is larger than %zu bytes", out->max) : BF_OK;
}

/* The envelope's members are known beforehand, so comma, name and colon are one constant each. */
#define MEMBER(j, name) (bf_buf_append((j)->out, ",\"" name "\":", sizeof ",\"" name "\":" - 1), (j)->comma = false)

static void put_uuid(struct bf_json *j, const struct bf_uuid *id) {
    char text[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(text, id);
    bf_json_string_n(j, text, BF_UUID_TEXT_LEN);
}

static void envelope(struct bf_json *j, const struct event *ev) {
    bf_json_key(j, "event_id");
    put_uuid(j, &ev->id);
    MEMBER(j, "revision");
    bf_json_int(j, ev->revision);
    MEMBER(j, "topic");
    bf_json_string_n(j, ev->topic.data, ev->topic.len);
    MEMBER(j, "partition");
    bf_json_int(j, ev->partition);
    MEMBER(j, "offset");
    bf_json_int(j, ev->offset);
    MEMBER(j, "rim_node_id");
    bf_json_string_n(j, ev->node_id.data, ev->node_id.len);
    MEMBER(j, "event_time");
    bf_json_time(j, ev->event_time_us);
    MEMBER(j, "kafka_time");
    bf_json_time(j, ev->kafka_time_us);
    MEMBER(j, "recorded_at");
    bf_json_time(j, ev->recorded_at_us);
    if (ev->schema_id != 0) {
        MEMBER(j, "schema_id");
        bf_json_int(j, ev->schema_id);
    }
    if (ev->trace_id.data) {
        MEMBER(j, "trace_id");
        bf_json_string_n(j, ev->trace_id.data, ev->trace_id.len);
    }
    if (ev->has_cause) {
        MEMBER(j, "cause_id");
        put_uuid(j, &ev->cause_id);
    }
    if (ev->source_id.data) {
        MEMBER(j, "source_id");
        bf_json_string_n(j, ev->source_id.data, ev->source_id.len);
    }
    if (ev->redriven) {
        MEMBER(j, "redriven");
        bf_json_bool(j, true);
    }
    MEMBER(j, "payload");
}

enum bf_code event_json_write(struct bf_json *j, const struct event *ev, struct schema_cache *schemas,
                              void (*extra)(struct bf_json *j, void *ctx), void *ctx, struct bf_err *err) {
    struct bf_json before = *j;
    size_t start = j->out->len;
    bf_json_object(j);
    envelope(j, ev);
    if (event_json_payload(j->out, ev, schemas, err) != BF_OK) {
        *j = before;
        j->out->len = start;
        return err->code;
    }
    j->comma = true; /* the decoder wrote one whole value */
    if (extra) {
        extra(j, ctx);
    }
    bf_json_object_end(j);
    return j->out->failed ? bf_fail(err, BF_NOMEM, 0, "the answer is larger than %zu bytes", j->out->max) : BF_OK;
}
