/* CSV (RFC 4180): a header line, CRLF, every field that could be mistaken quoted. The payload is its JSON text. Who resumes gets no header line, so
 * that the pieces of a cut file make the whole. */
#include "api_writer.h"

#include "bf_time.h"

#include <string.h>

static enum bf_code csv_begin(struct api_stream *st, struct bf_err *err) {
    (void)err;
    if (!st->resumed) {
        bf_buf_puts(&st->buf, "event_id,revision,topic,partition,offset,rim_node_id,event_time,kafka_time,recorded_at,schema_id,trace_id,"
                              "cause_id,source_id,payload,cursor\r\n");
    }
    return BF_OK;
}

/* Absent is nothing between the commas, empty is "". */
static void put_text(struct bf_buf *out, struct bf_slice s) {
    const char *p = s.data, *end = p + s.len;
    if (!p) {
        return;
    }
    bf_buf_putc(out, '"');
    while (p < end) {
        const char *quote = memchr(p, '"', (size_t)(end - p));
        size_t len = quote ? (size_t)(quote - p) + 1 : (size_t)(end - p);
        bf_buf_append(out, p, len);
        if (quote) {
            bf_buf_putc(out, '"');
        }
        p += len;
    }
    bf_buf_putc(out, '"');
}

static void put_uuid(struct bf_buf *out, const struct bf_uuid *id) {
    char text[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(text, id);
    bf_buf_append(out, text, BF_UUID_TEXT_LEN);
}

static void put_time(struct bf_buf *out, int64_t t_us) {
    char text[BF_TIME_TEXT_LEN + 1];
    bf_time_format(text, t_us);
    bf_buf_append(out, text, BF_TIME_TEXT_LEN);
    bf_buf_putc(out, ',');
}

static void put_int(struct bf_buf *out, int64_t v) {
    struct bf_json j;
    bf_json_init(&j, out);
    bf_json_int(&j, v);
    bf_buf_putc(out, ',');
}

static void put_envelope(struct bf_buf *out, const struct event *ev) {
    put_uuid(out, &ev->id);
    bf_buf_putc(out, ',');
    put_int(out, ev->revision);
    bf_buf_append(out, ev->topic.data, ev->topic.len); /* lower-case letters, digits, dots and hyphens */
    bf_buf_putc(out, ',');
    put_int(out, ev->partition);
    put_int(out, ev->offset);
    bf_buf_append(out, ev->node_id.data, ev->node_id.len); /* nothing in it needs quotes either */
    bf_buf_putc(out, ',');
    put_time(out, ev->event_time_us);
    put_time(out, ev->kafka_time_us);
    put_time(out, ev->recorded_at_us);
    if (ev->schema_id != 0) {
        put_int(out, ev->schema_id);
    } else {
        bf_buf_putc(out, ',');
    }
    put_text(out, ev->trace_id);
    bf_buf_putc(out, ',');
    if (ev->has_cause) {
        put_uuid(out, &ev->cause_id);
    }
    bf_buf_putc(out, ',');
    put_text(out, ev->source_id);
    bf_buf_putc(out, ',');
}

static enum bf_code csv_event(struct api_stream *st, const struct event *ev, struct bf_err *err) {
    struct bf_buf *out = &st->buf;
    bf_buf_clear(&st->text);
    if (event_json_payload(&st->text, ev, st->api->capsule->schemas, err) != BF_OK) {
        return err->code;
    }
    st->ops->cursor(st->source, ev, st->next);
    put_envelope(out, ev);
    put_text(out, ev->value.data ? (struct bf_slice){st->text.data, st->text.len} : BF_SLICE_NONE); /* a tombstone has none */
    bf_buf_putc(out, ',');
    bf_buf_puts(out, st->next);
    bf_buf_puts(out, "\r\n");
    st->count++;
    return BF_OK;
}

const struct api_writer api_writer_csv = {
    .name = "csv", .media_type = "text/csv", .content_type = "text/csv; charset=utf-8; header=present", .begin = csv_begin, .event = csv_event,
};
