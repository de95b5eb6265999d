/* NDJSON, a JSON object with a list, and server-sent events (WHATWG HTML §9.2). */
#include "api_writer.h"

#include "bf_time.h"

#include <string.h>

static void add_cursor(struct bf_json *j, void *ctx) {
    const char *cursor = ctx;
    bf_json_member_string(j, "cursor", cursor);
}

static enum bf_code write_event(struct api_stream *st, const struct event *ev, struct bf_err *err) {
    st->ops->cursor(st->source, ev, st->next);
    bf_json_init(&st->json, &st->buf);
    if (event_json_write(&st->json, ev, st->api->capsule->schemas, add_cursor, st->next, err) != BF_OK) {
        return err->code;
    }
    st->count++;
    return BF_OK;
}

static void write_end(struct api_stream *st) {
    struct bf_json *j = &st->json;
    bf_json_init(j, &st->buf);
    bf_json_object(j);
    bf_json_member_bool(j, "end", true);
    bf_json_member_int(j, "count", (int64_t)st->count);
    bf_json_member_string(j, "digest", st->digest_text);
    bf_json_key(j, "next");
    bf_json_string(j, st->next[0] ? st->next : NULL);
    bf_json_member_time(j, "recorded_through", st->settings.recorded_through_us);
    bf_json_member_bool(j, "complete", st->complete);
    bf_json_object_end(j);
}

/* ---- NDJSON ---- */

static enum bf_code ndjson_event(struct api_stream *st, const struct event *ev, struct bf_err *err) {
    if (write_event(st, ev, err) != BF_OK) {
        return err->code;
    }
    bf_buf_putc(&st->buf, '\n');
    return BF_OK;
}

static void ndjson_trailer(struct api_stream *st) {
    write_end(st);
    bf_buf_putc(&st->buf, '\n');
}

/* A line of its own, and part of what is digested: the digest is that of all bytes before the last line. */
static void ndjson_heartbeat(struct api_stream *st, int64_t recorded_through_us) {
    struct bf_json j;
    bf_json_init(&j, &st->buf);
    bf_json_object(&j);
    bf_json_member_bool(&j, "heartbeat", true);
    bf_json_member_time(&j, "recorded_through", recorded_through_us);
    bf_json_object_end(&j);
    bf_buf_putc(&st->buf, '\n');
}

const struct api_writer api_writer_ndjson = {
    .name = "ndjson", .media_type = "application/x-ndjson", .content_type = "application/x-ndjson",
    .event = ndjson_event, .trailer = ndjson_trailer, .heartbeat = ndjson_heartbeat,
};

/* ---- one JSON object ---- */

static enum bf_code json_event(struct api_stream *st, const struct event *ev, struct bf_err *err) {
    if (event_json_write(&st->json, ev, st->api->capsule->schemas, NULL, NULL, err) != BF_OK) {
        return err->code;
    }
    st->count++;
    return BF_OK;
}

static void json_trailer(struct api_stream *st) {
    bf_json_array_end(&st->json);
    bf_json_member_int(&st->json, "count", (int64_t)st->count);
    bf_json_member_bool(&st->json, "complete", st->complete);
    bf_json_object_end(&st->json);
    bf_buf_putc(&st->buf, '\n');
}

const struct api_writer api_writer_json = {
    .name = "json", .media_type = "application/json", .content_type = "application/json", .event = json_event, .trailer = json_trailer,
};

/* ---- SSE: the event's id is its cursor, so that a browser resumes by itself (Last-Event-ID) ---- */

#define SSE_RETRY_MS "1000"

static enum bf_code sse_begin(struct api_stream *st, struct bf_err *err) {
    (void)err;
    api_stream_digest(st);
    bf_buf_puts(&st->buf, "retry: " SSE_RETRY_MS "\n\n");
    api_stream_skip_digest(st);
    return BF_OK;
}

static enum bf_code sse_event(struct api_stream *st, const struct event *ev, struct bf_err *err) {
    size_t start = st->buf.len;
    char before[CURSOR_ENCODED_MAX];
    memcpy(before, st->next, sizeof(before));
    st->ops->cursor(st->source, ev, st->next);
    bf_buf_puts(&st->buf, "id: ");
    bf_buf_puts(&st->buf, st->next);
    bf_buf_puts(&st->buf, "\ndata: ");
    if (write_event(st, ev, err) != BF_OK) {
        st->buf.len = start;
        memcpy(st->next, before, sizeof(before));
        return err->code;
    }
    bf_buf_puts(&st->buf, "\n\n");
    return BF_OK;
}

static void sse_trailer(struct api_stream *st) {
    bf_buf_puts(&st->buf, "event: end\ndata: ");
    write_end(st);
    bf_buf_puts(&st->buf, "\n\n");
}

/* A comment: clients do not see it, and the digest does not count it. */
static void sse_heartbeat(struct api_stream *st, int64_t recorded_through_us) {
    char text[BF_TIME_TEXT_LEN + 1];
    api_stream_digest(st);
    bf_time_format(text, recorded_through_us);
    bf_buf_printf(&st->buf, ": recorded_through %s\n\n", text);
    api_stream_skip_digest(st);
}

const struct api_writer api_writer_sse = {
    .name = "sse", .media_type = "text/event-stream", .content_type = "text/event-stream; charset=utf-8",
    .begin = sse_begin, .event = sse_event, .trailer = sse_trailer, .heartbeat = sse_heartbeat,
};
