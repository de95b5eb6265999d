/* Phases of one message: headers packed, value framed, schema found, Avro checked and its fields picked, then node, clocks and identity.
 * Whatever the sender did wrong ends in reject(): the record is kept raw with the reason. What is the registry's absence ends in BF_AGAIN. */
#include "envelope.h"

#include "bf_framing.h"
#include "bf_json.h"
#include "bf_node_id.h"
#include "bf_time.h"
#include "headers_pack.h"

#include <stdio.h>
#include <string.h>

#define TEXT_ID_MAX 255 /* source_id, trace_id */
#define KEY_BYTES_MAX 65536

void envelope_init(struct envelope *e, const struct envelope_settings *settings) {
    memset(e, 0, sizeof *e);
    e->settings = settings;
    bf_buf_init(&e->headers, 64u << 20);
}

void envelope_fini(struct envelope *e) {
    bf_buf_fini(&e->headers);
}

static enum bf_code reject(struct envelope *e, enum poison_reason reason, struct bf_err *err) {
    snprintf(e->detail, sizeof e->detail, "%s", err->msg);
    e->poison.reason = reason;
    e->poison.detail = bf_slice_str(e->detail);
    return BF_REJECTED;
}

static enum poison_reason reason_of_fault(int fault) {
    switch (fault) {
    case BF_AVRO_FAULT_UTF8: return POISON_UTF8;
    case BF_AVRO_FAULT_LIMIT: return POISON_LIMIT;
    default: return POISON_AVRO;
    }
}

static struct bf_slice header(const struct bf_message *msg, const char *name) {
    for (size_t i = 0; i < msg->header_count; i++)
        if (strcmp(msg->headers[i].name, name) == 0)
            return msg->headers[i].value;
    return BF_SLICE_NONE;
}

/* Text that both stores can keep in a text column. */
static enum bf_code check_text(const char *what, struct bf_slice s, struct bf_err *err) {
    if (s.len > TEXT_ID_MAX)
        return bf_fail(err, BF_REJECTED, BF_AVRO_FAULT_LIMIT, "%s has %zu bytes, at most %d are kept", what, s.len, TEXT_ID_MAX);
    if (!bf_utf8_valid(s.data, s.len) || memchr(s.data, 0, s.len))
        return bf_fail(err, BF_REJECTED, BF_AVRO_FAULT_UTF8, "%s is not valid UTF-8 text", what);
    return BF_OK;
}

static enum bf_code open_value(struct envelope *e, const struct bf_message *msg, const struct bf_avro **schema, struct bf_err *err) {
    struct bf_frame frame;
    if (bf_frame_parse(msg->value, header(msg, BF_SCHEMA_HEADER), &frame, err) != BF_OK)
        return reject(e, POISON_FRAMING, err);
    int32_t id = frame.by_guid ? 0 : frame.schema_id;
    e->poison.schema_id = id;
    enum bf_code code = frame.by_guid ? BF_NOT_FOUND : schema_cache_get(e->settings->schemas, id, schema, err);
    if (code == BF_NOT_FOUND)
        code = e->settings->resolve(e->settings->ctx, &frame, &id, schema, err);
    if (code == BF_NOT_FOUND || code == BF_REJECTED || code == BF_INVALID)
        return reject(e, POISON_SCHEMA, err);
    if (code != BF_OK)
        return code;
    e->ev.schema_id = e->poison.schema_id = id;
    const struct bf_avro_limits limits = {.depth_max = e->settings->depth_max};
    if (bf_avro_decode(*schema, frame.avro, &limits, NULL, e->fields, err) != BF_OK)
        return reject(e, reason_of_fault(err->native), err);
    return BF_OK;
}

static bool field_text(const struct bf_avro_field *f, struct bf_slice *out) {
    if (!f || f->kind != BF_AVRO_STRING || f->s.len == 0)
        return false;
    *out = f->s;
    return true;
}

/* Milliseconds or what the logical type says → microseconds; false when that leaves the years 0001 to 9999. */
static bool scale_time(int64_t value, int64_t multiplier, int64_t divisor, int64_t *out) {
    int64_t scaled;
    if (__builtin_mul_overflow(value, multiplier, &scaled))
        return false;
    int64_t t = scaled / divisor - (scaled % divisor < 0);
    *out = t;
    return t >= BF_TIME_MIN_US && t <= BF_TIME_MAX_US;
}

static enum bf_code open_times(struct envelope *e, const struct bf_topic *topic, const struct bf_message *msg,
                               const struct bf_avro_field *time, struct bf_err *err) {
    int64_t kafka_ms = msg->timestamp_ms < 0 ? 0 : msg->timestamp_ms;
    if (!scale_time(kafka_ms, 1000, 1, &e->ev.kafka_time_us)) {
        e->ev.kafka_time_us = e->poison.kafka_time_us = 0;
        (void)bf_fail(err, BF_REJECTED, 0, "the Kafka timestamp %lld ms lies beyond the year 9999", (long long)kafka_ms);
        return reject(e, POISON_LIMIT, err);
    }
    e->poison.kafka_time_us = e->ev.kafka_time_us;
    e->ev.event_time_us = e->ev.kafka_time_us;
    struct bf_slice text;
    bool fits = true;
    if (time && time->kind == BF_AVRO_LONG) {
        int64_t mul = topic->event_time_unit_us, div = 1;
        if (time->logical == BF_AVRO_TIMESTAMP_MILLIS)
            mul = 1000;
        else if (time->logical == BF_AVRO_TIMESTAMP_MICROS)
            mul = 1;
        else if (time->logical == BF_AVRO_TIMESTAMP_NANOS)
            mul = 1, div = 1000;
        fits = scale_time(time->l, mul, div, &e->ev.event_time_us);
        if (!fits)
            (void)bf_fail(err, BF_REJECTED, 0, "the event time %lld lies outside the years 0001 to 9999", (long long)time->l);
    } else if (field_text(time, &text)) {
        char copy[64];
        snprintf(copy, sizeof copy, "%.*s", (int)(text.len < 63 ? text.len : 63), (const char *)text.data);
        fits = bf_time_parse(copy, &e->ev.event_time_us, err) == BF_OK;
    }
    return fits ? BF_OK : reject(e, POISON_LIMIT, err);
}

static enum bf_code open_node(struct envelope *e, const struct bf_message *msg, const struct bf_avro_field *node, struct bf_err *err) {
    /* A value that says which node it is about has the word, even when what it says is empty. */
    e->ev.node_id = node && node->kind == BF_AVRO_STRING ? node->s : msg->key;
    if (!e->ev.node_id.data) {
        (void)bf_fail(err, BF_REJECTED, 0, "there is no rim_node_id: neither in the value nor as the key");
        return reject(e, POISON_NODE_ID, err);
    }
    if (bf_node_id_parse(e->ev.node_id, NULL, err) != BF_OK)
        return reject(e, POISON_NODE_ID, err);
    return BF_OK;
}

static enum bf_code open_identity(struct envelope *e, const struct bf_message *msg, const struct bf_avro_field *id, struct bf_err *err) {
    struct bf_slice text = BF_SLICE_NONE;
    if (!field_text(id, &text)) {
        text = header(msg, "event_id");
        if (!text.data || text.len == 0)
            text = header(msg, "ce_id");
    }
    if (!text.data || text.len == 0) {
        e->ev.id = bf_event_id_derive(e->ev.topic, msg->key, e->ev.event_time_us, msg->value);
        return BF_OK;
    }
    if (check_text("event_id", text, err) != BF_OK)
        return reject(e, reason_of_fault(err->native), err);
    bool is_source;
    e->ev.id = bf_event_id_from_text(text, &is_source);
    if (is_source)
        e->ev.source_id = text;
    return BF_OK;
}

/* W3C traceparent: version-traceid-parentid-flags. */
static bool trace_of_traceparent(struct envelope *e, struct bf_slice tp) {
    const char *s = tp.data;
    if (!s || tp.len < 55 || s[2] != '-' || s[35] != '-')
        return false;
    memcpy(e->trace, s + 3, 32);
    e->trace[32] = '\0';
    return strspn(e->trace, "0123456789abcdef") == 32;
}

static enum bf_code open_links(struct envelope *e, const struct bf_message *msg, const struct schema_roles *roles, struct bf_err *err) {
    struct bf_slice trace = BF_SLICE_NONE, cause = BF_SLICE_NONE;
    if (!field_text(roles->trace, &trace))
        trace = trace_of_traceparent(e, header(msg, "traceparent")) ? bf_slice_str(e->trace) : header(msg, "trace_id");
    if (trace.data && trace.len > 0) {
        if (check_text("trace_id", trace, err) != BF_OK)
            return reject(e, reason_of_fault(err->native), err);
        e->ev.trace_id = trace;
    }
    if (!field_text(roles->cause, &cause))
        cause = header(msg, "cause_id");
    if (cause.data && cause.len > 0) {
        if (check_text("cause_id", cause, err) != BF_OK)
            return reject(e, reason_of_fault(err->native), err);
        e->ev.cause_id = bf_event_id_from_text(cause, NULL);
        e->ev.has_cause = true;
    }
    return BF_OK;
}

static void begin(struct envelope *e, const struct bf_message *msg) {
    bf_buf_clear(&e->headers);
    headers_pack(msg->headers, msg->header_count, &e->headers);
    struct bf_slice headers = msg->header_count ? (struct bf_slice){e->headers.data, e->headers.len} : BF_SLICE_NONE;
    e->ev = (struct event){.topic = bf_slice_str(msg->topic), .partition = msg->partition, .offset = msg->offset,
                           .key = msg->key, .value = msg->value, .headers = headers};
    e->poison = (struct poison){.topic = e->ev.topic, .partition = msg->partition, .offset = msg->offset,
                                .kafka_time_us = msg->timestamp_ms > 0 && msg->timestamp_ms <= BF_TIME_MAX_US / 1000
                                                     ? msg->timestamp_ms * 1000 : 0,
                                .key = msg->key, .value = msg->value, .headers = headers};
}

enum bf_code envelope_open(struct envelope *e, const struct bf_topic *topic, const struct bf_message *msg, struct bf_err *err) {
    begin(e, msg);
    if (msg->value.len > (size_t)e->settings->value_bytes_max || msg->key.len > KEY_BYTES_MAX) {
        (void)bf_fail(err, BF_REJECTED, 0, "value of %zu bytes and key of %zu: at most %lld and %d are taken", msg->value.len,
                      msg->key.len, (long long)e->settings->value_bytes_max, KEY_BYTES_MAX);
        return reject(e, POISON_LIMIT, err);
    }
    const struct bf_avro *schema = NULL;
    struct schema_roles roles = {0};
    enum bf_code code = BF_OK;
    if (msg->value.data) {
        code = open_value(e, msg, &schema, err);
        if (code != BF_OK)
            return code;
        schema_cache_roles(e->settings->schemas, topic, e->fields, &roles);
    }
    if ((code = open_node(e, msg, roles.node, err)) != BF_OK || (code = open_times(e, topic, msg, roles.event_time, err)) != BF_OK ||
        (code = open_identity(e, msg, roles.event_id, err)) != BF_OK)
        return code;
    return open_links(e, msg, &roles, err);
}
