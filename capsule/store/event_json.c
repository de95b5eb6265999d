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

static void member_uuid(struct bf_json *j, const char *key, const struct bf_uuid *id) {
    char text[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(text, id);
    bf_json_key(j, key);
    bf_json_string_n(j, text, BF_UUID_TEXT_LEN);
}

static void member_slice(struct bf_json *j, const char *key, struct bf_slice s) {
    bf_json_key(j, key);
    bf_json_string_n(j, s.data, s.len);
}

static void envelope(struct bf_json *j, const struct event *ev) {
    member_uuid(j, "event_id", &ev->id);
    bf_json_member_int(j, "revision", ev->revision);
    member_slice(j, "topic", ev->topic);
    bf_json_member_int(j, "partition", ev->partition);
    bf_json_member_int(j, "offset", ev->offset);
    member_slice(j, "rim_node_id", ev->node_id);
    bf_json_member_time(j, "event_time", ev->event_time_us);
    bf_json_member_time(j, "kafka_time", ev->kafka_time_us);
    bf_json_member_time(j, "recorded_at", ev->recorded_at_us);
    if (ev->schema_id != 0) {
        bf_json_member_int(j, "schema_id", ev->schema_id);
    }
    if (ev->trace_id.data) {
        member_slice(j, "trace_id", ev->trace_id);
    }
    if (ev->has_cause) {
        member_uuid(j, "cause_id", &ev->cause_id);
    }
    if (ev->source_id.data) {
        member_slice(j, "source_id", ev->source_id);
    }
}

enum bf_code event_json_write(struct bf_json *j, const struct event *ev, struct schema_cache *schemas,
                              void (*extra)(struct bf_json *j, void *ctx), void *ctx, struct bf_err *err) {
    struct bf_json before = *j;
    size_t start = j->out->len;
    bf_json_object(j);
    envelope(j, ev);
    bf_json_key(j, "payload");
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
