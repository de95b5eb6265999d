/* The catalogue's paths stand behind the caller's in one list, so that one pass of the decoder picks all of them. */
#include "bf_record.h"

#include "bf_framing.h"
#include "bf_json.h"
#include "bf_node_id.h"
#include "bf_registry.h"
#include "bf_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGISTRY_TIMEOUT_MS 5000
#define UNKNOWN_BELIEVED_US INT64_C(10000000)
#define SCHEMA_BUCKETS 256

struct known_schema {
    struct known_schema *next;
    bool by_guid;
    int32_t id;
    uint8_t guid[16];
    struct bf_avro *avro;  /* NULL: the registry does not know it, or it is unusable */
    int64_t believe_until_us; /* of a NULL */
    char why[200];            /* of a NULL */
};

enum role { ROLE_NODE, ROLE_ID, ROLE_TIME, ROLE_TRACE, ROLE_CAUSE, ROLES };

struct bf_record_reader {
    const struct bf_topic *topic;
    struct bf_registry *registry;
    const char *paths[BF_AVRO_PATHS_MAX];
    size_t path_count, schema_count;
    int8_t roles[ROLES][BF_AVRO_PATHS_MAX + 1]; /* indexes into paths in order of preference, ended by -1 */
    struct known_schema *buckets[SCHEMA_BUCKETS];
    struct bf_avro_field fields[BF_AVRO_PATHS_MAX];
    char trace[33];
};

const char *bf_record_fault_name(enum bf_record_fault fault) {
    static const char *const names[BF_RECORD_FAULTS] = {"framing", "schema", "avro", "utf8", "limit", "node_id"};
    return (unsigned)fault < BF_RECORD_FAULTS ? names[fault] : "?";
}

/* ---- life ---- */

static int path_index(struct bf_record_reader *r, const char *path) {
    for (size_t i = 0; i < r->path_count; i++)
        if (strcmp(r->paths[i], path) == 0) return (int)i;
    if (r->path_count == BF_AVRO_PATHS_MAX) return -1;
    r->paths[r->path_count] = path;
    return (int)r->path_count++;
}

static enum bf_code add_roles(struct bf_record_reader *r, struct bf_err *err) {
    const char *const *lists[ROLES] = {r->topic->node_paths, r->topic->event_id_paths, r->topic->event_time_paths, r->topic->trace_paths,
                                       r->topic->cause_paths};
    for (int role = 0; role < ROLES; role++) {
        int count = 0;
        for (; lists[role] != NULL && lists[role][count] != NULL; count++) {
            int at = path_index(r, lists[role][count]);
            if (at < 0) return bf_fail(err, BF_INVALID, 0, "more than %d different fields are asked for", BF_AVRO_PATHS_MAX);
            r->roles[role][count] = (int8_t)at;
        }
        r->roles[role][count] = -1;
    }
    return BF_OK;
}

enum bf_code bf_record_reader_new(const struct bf_record_settings *settings, struct bf_record_reader **out, struct bf_err *err) {
    struct bf_record_reader *r = calloc(1, sizeof *r);
    enum bf_code code;

    if (r == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a reader");
    r->topic = settings->topic;
    code = settings->path_count <= BF_AVRO_PATHS_MAX ? BF_OK : bf_fail(err, BF_INVALID, 0, "more than %d fields are asked for", BF_AVRO_PATHS_MAX);
    for (size_t i = 0; code == BF_OK && i < settings->path_count; i++) r->paths[r->path_count++] = settings->paths[i];
    if (code == BF_OK) code = add_roles(r, err);
    if (code == BF_OK) code = bf_registry_new(settings->registry_url, REGISTRY_TIMEOUT_MS, &r->registry, err);
    if (code != BF_OK) {
        bf_record_reader_free(r);
        return code;
    }
    *out = r;
    return BF_OK;
}

void bf_record_reader_free(struct bf_record_reader *r) {
    if (r == NULL) return;
    for (size_t i = 0; i < SCHEMA_BUCKETS; i++)
        while (r->buckets[i] != NULL) {
            struct known_schema *next = r->buckets[i]->next;
            bf_avro_free(r->buckets[i]->avro);
            free(r->buckets[i]);
            r->buckets[i] = next;
        }
    bf_registry_free(r->registry);
    free(r);
}

/* ---- schemas ---- */

static enum bf_code reject(enum bf_record_fault fault, struct bf_err *err) {
    err->code = BF_REJECTED;
    err->native = (int)fault;
    return BF_REJECTED;
}

static struct known_schema **bucket_of(struct bf_record_reader *r, const struct bf_frame *frame) {
    return &r->buckets[frame->by_guid ? frame->guid[15] : (uint32_t)frame->schema_id % SCHEMA_BUCKETS];
}

static bool is_of(const struct known_schema *s, const struct bf_frame *frame) {
    if (s->by_guid != frame->by_guid) return false;
    return s->by_guid ? memcmp(s->guid, frame->guid, sizeof s->guid) == 0 : s->id == frame->schema_id;
}

static enum bf_code compile(struct bf_record_reader *r, const struct bf_registry_schema *schema, struct bf_avro **out, struct bf_err *err) {
    if (schema->type != NULL && strcmp(schema->type, "AVRO") != 0)
        return bf_fail(err, BF_INVALID, 0, "schema %d is of type %s, only AVRO is understood", (int)schema->id, schema->type);
    struct bf_avro_reference *refs = calloc(schema->ref_count + 1, sizeof *refs);
    if (refs == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a schema's references");
    for (size_t i = 0; i < schema->ref_count; i++) refs[i] = (struct bf_avro_reference){schema->refs[i].name, schema->refs[i].schema};
    enum bf_code code = bf_avro_compile(schema->schema, strlen(schema->schema), refs, schema->ref_count, r->paths, r->path_count, out, err);
    free(refs);
    return code;
}

/* Ask the registry; what it does not know, or what cannot be compiled, is remembered as such for a while. */
static enum bf_code fetch(struct bf_record_reader *r, const struct bf_frame *frame, struct known_schema *into, struct bf_err *err) {
    struct bf_registry_schema *schema = NULL;
    enum bf_code code = frame->by_guid ? bf_registry_get_guid(r->registry, frame->guid, &schema, err)
                                       : bf_registry_get(r->registry, frame->schema_id, &schema, err);
    if (code == BF_OK) code = compile(r, schema, &into->avro, err);
    bf_registry_schema_free(schema);
    if (code == BF_AGAIN || code == BF_NOMEM) return code;
    if (code != BF_OK) {
        snprintf(into->why, sizeof into->why, "%.190s", err->msg);
        into->believe_until_us = bf_time_monotonic_us() + UNKNOWN_BELIEVED_US;
    }
    return BF_OK;
}

static enum bf_code find_schema(struct bf_record_reader *r, const struct bf_frame *frame, const struct bf_avro **out, struct bf_err *err) {
    struct known_schema **bucket = bucket_of(r, frame), *s = *bucket;

    while (s != NULL && !is_of(s, frame)) s = s->next;
    if (s == NULL) {
        if (r->schema_count == BF_RECORD_SCHEMAS_MAX) {
            (void)bf_fail(err, BF_REJECTED, 0, "more than %d different schemas", BF_RECORD_SCHEMAS_MAX);
            return reject(BF_RECORD_LIMIT, err);
        }
        s = calloc(1, sizeof *s);
        if (s == NULL) return bf_fail(err, BF_AGAIN, 0, "no memory for a schema");
        s->by_guid = frame->by_guid;
        s->id = frame->schema_id;
        memcpy(s->guid, frame->guid, sizeof s->guid);
        s->next = *bucket;
        *bucket = s;
        r->schema_count++;
    }
    if (s->avro == NULL && bf_time_monotonic_us() >= s->believe_until_us) {
        enum bf_code code = fetch(r, frame, s, err);
        if (code != BF_OK) {
            err->code = BF_AGAIN;
            return BF_AGAIN;
        }
    }
    if (s->avro == NULL) {
        (void)bf_fail(err, BF_REJECTED, 0, "%s", s->why);
        return reject(BF_RECORD_SCHEMA, err);
    }
    *out = s->avro;
    return BF_OK;
}

/* ---- one record ---- */

static struct bf_slice header(const struct bf_message *msg, const char *name) {
    for (size_t i = 0; i < msg->header_count; i++)
        if (strcmp(msg->headers[i].name, name) == 0) return msg->headers[i].value;
    return BF_SLICE_NONE;
}

/* An empty text is no id: it would make all events with it one and the same. */
static bool fits(const struct bf_avro_field *f, int role) {
    if (role == ROLE_TIME) return f->kind == BF_AVRO_LONG;
    return f->kind == BF_AVRO_STRING && (f->s.len > 0 || role == ROLE_NODE);
}

static const struct bf_avro_field *pick(const struct bf_record_reader *r, int role) {
    for (const int8_t *at = r->roles[role]; *at >= 0; at++)
        if (fits(&r->fields[*at], role)) return &r->fields[*at];
    return NULL;
}

static struct bf_slice pick_text(const struct bf_record_reader *r, int role) {
    const struct bf_avro_field *f = pick(r, role);
    return f != NULL ? f->s : BF_SLICE_NONE;
}

static enum bf_code check_text(const char *what, struct bf_slice s, struct bf_err *err) {
    if (s.len > BF_RECORD_TRACE_MAX) {
        (void)bf_fail(err, BF_REJECTED, 0, "%s has %zu bytes, at most %d are kept", what, s.len, BF_RECORD_TRACE_MAX);
        return reject(BF_RECORD_LIMIT, err);
    }
    if (bf_utf8_valid(s.data, s.len) && memchr(s.data, 0, s.len) == NULL) return BF_OK;
    (void)bf_fail(err, BF_REJECTED, 0, "%s is not valid UTF-8 text", what);
    return reject(BF_RECORD_UTF8, err);
}

static enum bf_code decode(struct bf_record_reader *r, const struct bf_message *msg, struct bf_err *err) {
    struct bf_frame frame;
    const struct bf_avro *avro = NULL;

    if (bf_frame_parse(msg->value, header(msg, BF_SCHEMA_HEADER), &frame, err) != BF_OK) return reject(BF_RECORD_FRAMING, err);
    enum bf_code code = find_schema(r, &frame, &avro, err);
    if (code != BF_OK) return code;
    const struct bf_avro_limits limits = {0};
    if (bf_avro_decode(avro, frame.avro, &limits, NULL, r->fields, err) == BF_OK) return BF_OK;
    if (err->native == BF_AVRO_FAULT_UTF8) return reject(BF_RECORD_UTF8, err);
    return reject(err->native == BF_AVRO_FAULT_LIMIT ? BF_RECORD_LIMIT : BF_RECORD_AVRO, err);
}

/* In microseconds as the schema or the catalogue says; false outside the years 0001 to 9999. */
static bool scale_time(const struct bf_record_reader *r, const struct bf_avro_field *f, int64_t *out) {
    int64_t unit_us = r->topic->event_time_unit_us, scaled;

    if (f->logical == BF_AVRO_TIMESTAMP_MILLIS) unit_us = 1000;
    if (f->logical == BF_AVRO_TIMESTAMP_MICROS || f->logical == BF_AVRO_TIMESTAMP_NANOS) unit_us = 1;
    if (__builtin_mul_overflow(f->l, unit_us, &scaled)) return false;
    if (f->logical == BF_AVRO_TIMESTAMP_NANOS) scaled = scaled / 1000 - (scaled % 1000 < 0);
    *out = scaled;
    return scaled >= BF_TIME_MIN_US && scaled <= BF_TIME_MAX_US;
}

static enum bf_code open_time(struct bf_record_reader *r, const struct bf_message *msg, struct bf_record *out, struct bf_err *err) {
    const struct bf_avro_field *f = pick(r, ROLE_TIME);
    int64_t kafka_ms = msg->timestamp_ms < 0 ? 0 : msg->timestamp_ms;
    bool good = kafka_ms <= BF_TIME_MAX_US / 1000;

    out->event_time_us = good ? kafka_ms * 1000 : 0;
    if (f != NULL) good = good && scale_time(r, f, &out->event_time_us);
    if (good) return BF_OK;
    (void)bf_fail(err, BF_REJECTED, 0, "the event time lies outside the years 0001 to 9999");
    return reject(BF_RECORD_LIMIT, err);
}

static enum bf_code open_id(struct bf_record_reader *r, const struct bf_message *msg, struct bf_record *out, struct bf_err *err) {
    struct bf_slice text = pick_text(r, ROLE_ID);

    if (text.len == 0) text = header(msg, "event_id");
    if (text.len == 0) text = header(msg, "ce_id");
    if (text.data == NULL || text.len == 0) {
        out->id = bf_event_id_derive(bf_slice_str(msg->topic), msg->key, out->event_time_us, msg->value);
        return BF_OK;
    }
    enum bf_code code = check_text("event_id", text, err);
    if (code == BF_OK) out->id = bf_event_id_from_text(text, NULL);
    return code;
}

/* W3C Trace Context §3.2: version-traceid-parentid-flags, lower-case hex. */
static bool is_traceparent(struct bf_slice tp) {
    const char *s = tp.data;
    if (s == NULL || tp.len < BF_TRACEPARENT_LEN || s[2] != '-' || s[35] != '-' || s[52] != '-') return false;
    for (size_t i = 0; i < BF_TRACEPARENT_LEN; i++)
        if (i != 2 && i != 35 && i != 52 && strchr("0123456789abcdef", s[i]) == NULL) return false;
    return true;
}

bool bf_traceparent_next(char dst[BF_TRACEPARENT_LEN + 1], struct bf_slice cause, const struct bf_uuid *id) {
    static const char digits[] = "0123456789abcdef";

    dst[0] = '\0';
    if (!is_traceparent(cause)) return false;
    memcpy(dst, cause.data, BF_TRACEPARENT_LEN);
    dst[BF_TRACEPARENT_LEN] = '\0';
    for (int i = 0; i < 8; i++) {
        dst[36 + 2 * i] = digits[id->b[8 + i] >> 4];
        dst[37 + 2 * i] = digits[id->b[8 + i] & 15];
    }
    return true;
}

static enum bf_code open_links(struct bf_record_reader *r, const struct bf_message *msg, struct bf_record *out, struct bf_err *err) {
    struct bf_slice parent = header(msg, "traceparent"), cause = pick_text(r, ROLE_CAUSE);

    out->traceparent = is_traceparent(parent) ? (struct bf_slice){parent.data, BF_TRACEPARENT_LEN} : BF_SLICE_NONE;
    out->trace_id = pick_text(r, ROLE_TRACE);
    if (out->trace_id.len == 0 && out->traceparent.data != NULL) {
        memcpy(r->trace, (const char *)parent.data + 3, 32);
        out->trace_id = bf_slice_str(r->trace);
    }
    if (out->trace_id.len == 0) out->trace_id = header(msg, "trace_id");
    if (cause.len == 0) cause = header(msg, "cause_id");
    out->has_cause = cause.len > 0;
    if (out->trace_id.len == 0) out->trace_id = BF_SLICE_NONE;
    enum bf_code code = out->trace_id.data != NULL ? check_text("trace_id", out->trace_id, err) : BF_OK;
    if (code == BF_OK && out->has_cause) code = check_text("cause_id", cause, err);
    if (code == BF_OK && out->has_cause) out->cause_id = bf_event_id_from_text(cause, NULL);
    return code;
}

enum bf_code bf_record_open(struct bf_record_reader *r, const struct bf_message *msg, struct bf_record *out, struct bf_err *err) {
    if (msg->value.data == NULL) return bf_fail(err, BF_NOT_FOUND, 0, "no value");
    enum bf_code code = decode(r, msg, err);
    if (code != BF_OK) return code;
    out->fields = r->fields;
    out->node_id = pick(r, ROLE_NODE) != NULL ? pick_text(r, ROLE_NODE) : msg->key;
    if (bf_node_id_parse(out->node_id, NULL, err) != BF_OK) return reject(BF_RECORD_NODE_ID, err);
    code = open_time(r, msg, out, err);
    if (code == BF_OK) code = open_id(r, msg, out, err);
    if (code == BF_OK) code = open_links(r, msg, out, err);
    return code;
}
