/* An Avro object container file (Avro 1.11, "Object Container Files"), written here byte by byte: nothing of what came from outside is
 * given to avro-c.
 *
 * Two kinds of records. *envelope*: one stated schema for events of any schema, with the payload as JSON text and the value's bytes as they were.
 * *own*: the writer's schema and its records, for a range whose events share one schema; where another one begins, the file ends and says so,
 * and the rest is asked for as a file of its own (so here a cursor does not leave the header out).
 *
 * A file can be cut and taken up again: the sync marker comes from the question, and a block ends by what is in it, never by when it was
 * sent, so that what a cursor of the last whole block brings is exactly the rest of the file. Events of an unfinished block do not count yet.
 */
#include "api_writer.h"

#include "bf_compress.h"
#include "bf_framing.h"
#include "bf_sha256.h"
#include "headers_pack.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)64 * 1024)
#define BLOCK_EVENTS 4096
#define BLOCK_BYTES_MAX ((size_t)96 << 20)
#define SCHEMA_BYTES_MAX ((size_t)16 << 20)

static const char envelope_schema[] =
    "{\"type\":\"record\",\"name\":\"Event\",\"namespace\":\"butterfly.capsule\",\"doc\":\"One revision of an event, as CAPSULE keeps it.\","
    "\"fields\":["
    "{\"name\":\"event_id\",\"type\":{\"type\":\"string\",\"logicalType\":\"uuid\"}},"
    "{\"name\":\"revision\",\"type\":\"int\"},"
    "{\"name\":\"topic\",\"type\":\"string\"},"
    "{\"name\":\"partition\",\"type\":\"int\"},"
    "{\"name\":\"offset\",\"type\":\"long\"},"
    "{\"name\":\"rim_node_id\",\"type\":\"string\"},"
    "{\"name\":\"event_time\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}},"
    "{\"name\":\"kafka_time\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}},"
    "{\"name\":\"recorded_at\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}},"
    "{\"name\":\"schema_id\",\"type\":[\"null\",\"int\"],\"doc\":\"The writer's schema, see /v1/schemas/{id}; null for a tombstone.\"},"
    "{\"name\":\"trace_id\",\"type\":[\"null\",\"string\"]},"
    "{\"name\":\"cause_id\",\"type\":[\"null\",{\"type\":\"string\",\"logicalType\":\"uuid\"}]},"
    "{\"name\":\"source_id\",\"type\":[\"null\",\"string\"]},"
    "{\"name\":\"payload\",\"type\":[\"null\",\"string\"],\"doc\":\"The value as JSON text; null for a tombstone.\"},"
    "{\"name\":\"raw\",\"type\":[\"null\",\"bytes\"],\"doc\":\"The value's bytes as they were in Kafka, framing included.\"},"
    "{\"name\":\"cursor\",\"type\":\"string\",\"doc\":\"Where to go on behind this event.\"}]}";

struct api_avro_writer {
    struct bf_compressor *deflate; /* NULL: codec null */
    struct bf_buf block, packed;
    size_t block_events;
    uint8_t sync[16];
    bool header_due;
    int32_t schema_id;              /* own: of the first event; 0: none yet */
    char next[CURSOR_ENCODED_MAX];  /* of the block's last event */
};

/* ---- Avro's binary encoding ---- */

static void put_long(struct bf_buf *out, int64_t v) {
    uint64_t z = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    while (z > 0x7f) {
        bf_buf_putc(out, (char)(z & 0x7f) | (char)0x80);
        z >>= 7;
    }
    bf_buf_putc(out, (char)z);
}

static void put_bytes(struct bf_buf *out, const void *data, size_t len) {
    put_long(out, (int64_t)len);
    bf_buf_append(out, data, len);
}

static void put_optional(struct bf_buf *out, struct bf_slice s) {
    bf_buf_putc(out, s.data ? 2 : 0); /* the union's branch: 1 or 0, zigzag */
    if (s.data) {
        put_bytes(out, s.data, s.len);
    }
}

static void put_text(struct bf_buf *out, const char *s) {
    put_bytes(out, s, strlen(s));
}

/* ---- the file ---- */

static void put_header(struct api_stream *st, const char *schema, size_t schema_len) {
    struct api_avro_writer *w = st->avro;
    struct bf_buf *out = &st->buf;
    w->header_due = false;
    if (st->resumed && !st->settings.own_records) {
        return;
    }
    bf_buf_append(out, "Obj\001", 4);
    put_long(out, 2);
    put_text(out, "avro.schema");
    put_bytes(out, schema, schema_len);
    put_text(out, "avro.codec");
    put_text(out, w->deflate ? "deflate" : "null");
    put_long(out, 0);
    bf_buf_append(out, w->sync, sizeof(w->sync));
}

static enum bf_code put_block(struct api_stream *st, struct bf_err *err) {
    struct api_avro_writer *w = st->avro;
    struct bf_slice body = {w->block.data, w->block.len};
    if (w->block_events == 0) {
        return BF_OK;
    }
    if (w->block.failed) {
        return bf_fail(err, BF_NOMEM, 0, "a block is larger than %zu bytes", w->block.max);
    }
    if (w->deflate) {
        bf_buf_clear(&w->packed);
        if (bf_compress(w->deflate, body, BF_FLUSH_FINISH, &w->packed, err) != BF_OK) {
            return err->code;
        }
        body = (struct bf_slice){w->packed.data, w->packed.len};
    }
    put_long(&st->buf, (int64_t)w->block_events);
    put_bytes(&st->buf, body.data, body.len);
    bf_buf_append(&st->buf, w->sync, sizeof(w->sync));
    st->count += w->block_events;
    strcpy(st->next, w->next);
    w->block_events = 0;
    bf_buf_clear(&w->block);
    return BF_OK;
}

/* ---- records ---- */

static enum bf_code put_envelope(struct api_stream *st, const struct event *ev, struct bf_err *err) {
    struct bf_buf *out = &st->avro->block;
    char id[BF_UUID_TEXT_LEN + 1];
    bf_buf_clear(&st->text);
    if (ev->value.data && event_json_payload(&st->text, ev, st->api->capsule->schemas, err) != BF_OK) {
        return err->code;
    }
    bf_uuid_format(id, &ev->id);
    put_text(out, id);
    put_long(out, ev->revision);
    put_bytes(out, ev->topic.data, ev->topic.len);
    put_long(out, ev->partition);
    put_long(out, ev->offset);
    put_bytes(out, ev->node_id.data, ev->node_id.len);
    put_long(out, ev->event_time_us);
    put_long(out, ev->kafka_time_us);
    put_long(out, ev->recorded_at_us);
    bf_buf_putc(out, ev->schema_id != 0 ? 2 : 0);
    if (ev->schema_id != 0) {
        put_long(out, ev->schema_id);
    }
    put_optional(out, ev->trace_id);
    bf_uuid_format(id, &ev->cause_id);
    put_optional(out, ev->has_cause ? bf_slice_str(id) : BF_SLICE_NONE);
    put_optional(out, ev->source_id);
    put_optional(out, ev->value.data ? (struct bf_slice){st->text.data, st->text.len} : BF_SLICE_NONE);
    put_optional(out, ev->value);
    put_text(out, st->avro->next);
    return BF_OK;
}

/* The schema as its writer registered it. One that refers to others cannot stand alone in a file. */
static enum bf_code put_own_header(struct api_stream *st, int32_t schema_id, struct bf_err *err) {
    struct bf_buf type, schema, refs;
    bf_buf_init(&type, SCHEMA_BYTES_MAX);
    bf_buf_init(&schema, SCHEMA_BYTES_MAX);
    bf_buf_init(&refs, SCHEMA_BYTES_MAX);
    enum bf_code code = hot_schema_get(st->api->capsule->hot, schema_id, &type, &schema, &refs, err);
    if (code == BF_OK && refs.len > 0 && (refs.len != 2 || memcmp(refs.data, "[]", 2) != 0)) {
        code = bf_fail(err, BF_INVALID, 0, "schema %d refers to other schemas: ask for records=envelope", schema_id);
    }
    if (code == BF_OK) {
        put_header(st, schema.data, schema.len);
    }
    bf_buf_fini(&refs);
    bf_buf_fini(&schema);
    bf_buf_fini(&type);
    return code;
}

static enum bf_code put_own(struct api_stream *st, const struct event *ev, struct bf_err *err) {
    struct api_avro_writer *w = st->avro;
    struct bf_slice guid = BF_SLICE_NONE;
    struct bf_frame frame;
    if (w->schema_id != ev->schema_id || !ev->value.data) {
        if (w->schema_id != 0) {
            st->ended_early = true;
            return BF_OK;
        }
        if (!ev->value.data) {
            return bf_fail(err, BF_INVALID, 0, "the first event is a tombstone, which has no schema: ask for records=envelope");
        }
        w->schema_id = ev->schema_id;
        if (put_own_header(st, ev->schema_id, err) != BF_OK) {
            return err->code;
        }
    }
    if (ev->headers.data && !headers_find(ev->headers, BF_SCHEMA_HEADER, &guid)) {
        guid = BF_SLICE_NONE;
    }
    if (bf_frame_parse(ev->value, guid, &frame, err) != BF_OK) {
        return bf_err_prepend(err, "a value that could be read when it was stored");
    }
    bf_buf_append(&w->block, frame.avro.data, frame.avro.len);
    return BF_OK;
}

/* ---- the format ---- */

static enum bf_code avro_begin(struct api_stream *st, struct bf_err *err) {
    uint8_t seed[24] = {0}, sum[BF_SHA256_BYTES];
    struct api_avro_writer *w = calloc(1, sizeof(*w));
    st->avro = w;
    if (!w) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for an Avro file");
    }
    bf_buf_init(&w->block, BLOCK_BYTES_MAX);
    bf_buf_init(&w->packed, BLOCK_BYTES_MAX + BLOCK_BYTES);
    if (st->settings.deflate && bf_compressor_new(BF_CODING_DEFLATE, &w->deflate, err) != BF_OK) {
        return err->code;
    }
    bf_put_be64(seed, st->settings.filter);
    seed[8] = st->settings.deflate;
    seed[9] = st->settings.own_records;
    memcpy(seed + 12, "capsule avro", 12);
    bf_sha256_of(seed, sizeof(seed), sum);
    memcpy(w->sync, sum, sizeof(w->sync));
    w->header_due = true;
    if (!st->settings.own_records) {
        put_header(st, envelope_schema, sizeof(envelope_schema) - 1);
    }
    return BF_OK;
}

static enum bf_code avro_event(struct api_stream *st, const struct event *ev, struct bf_err *err) {
    struct api_avro_writer *w = st->avro;
    char before[CURSOR_ENCODED_MAX];
    strcpy(before, w->next);
    st->ops->cursor(st->source, ev, w->next);
    enum bf_code code = st->settings.own_records ? put_own(st, ev, err) : put_envelope(st, ev, err);
    if (code != BF_OK || st->ended_early) {
        strcpy(w->next, before);
        return code;
    }
    w->block_events++;
    return w->block.len >= BLOCK_BYTES || w->block_events >= BLOCK_EVENTS ? put_block(st, err) : BF_OK;
}

/* A stream that is asked to stop leaves its unfinished block out: resumed, it comes whole. */
static enum bf_code avro_flush(struct api_stream *st, struct bf_err *err) {
    static const char nothing[] = "\"null\"";
    if (!st->complete && !st->ended_early) {
        return BF_OK;
    }
    if (st->avro->header_due && st->complete) { /* no event at all: a file of nothing */
        put_header(st, nothing, sizeof(nothing) - 1);
    }
    return put_block(st, err);
}

static void avro_fini(struct api_stream *st) {
    struct api_avro_writer *w = st->avro;
    if (!w) {
        return;
    }
    bf_compressor_free(w->deflate);
    bf_buf_fini(&w->block);
    bf_buf_fini(&w->packed);
    free(w);
}

const struct api_writer api_writer_avro = {
    .name = "avro", .media_type = "application/avro", .content_type = "application/avro",
    .begin = avro_begin, .event = avro_event, .flush = avro_flush, .fini = avro_fini,
};
