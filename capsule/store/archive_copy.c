/* Events as rows of a binary COPY (PostgreSQL 15, "COPY", section "Binary Format").
 *
 * The buffer is filled row by row and sent in pieces, so that a chunk is never in memory twice. A refused row is named by the server ("line
 * 17"); where it does not say, the rows are halved in transactions that are rolled back.
 */
#include "archive_internal.h"

#include "event_json.h"

#include <stdio.h>
#include <string.h>

#define PIECE_BYTES (256 << 10)

static void put_uuid(struct bf_buf *out, const struct bf_uuid *id) {
    pg_put_field(out, id->b, sizeof id->b);
}

static void put_int4(struct bf_buf *out, int32_t v) {
    uint8_t b[8];
    bf_put_be32(b, 4);
    bf_put_be32(b + 4, (uint32_t)v);
    bf_buf_append(out, b, sizeof b);
}

static void put_int8(struct bf_buf *out, int64_t v) {
    uint8_t b[12];
    bf_put_be32(b, 8);
    bf_put_be64(b + 4, (uint64_t)v);
    bf_buf_append(out, b, sizeof b);
}

static void put_time(struct bf_buf *out, int64_t us) {
    put_int8(out, pg_time_from_us(us));
}

static void put_bytes(struct bf_buf *out, struct bf_slice bytes) {
    if (bytes.data)
        pg_put_field(out, bytes.data, bytes.len);
    else
        pg_put_null(out);
}

/* A field whose length is known only when it is written. */
static size_t field_begin(struct bf_buf *out) {
    bf_buf_append(out, "\0\0\0\0", 4);
    return out->len;
}

static void field_end(struct bf_buf *out, size_t start) {
    if (!out->failed)
        bf_put_be32(out->data + start - 4, (uint32_t)(out->len - start));
}

static void put_text(struct bf_buf *out, struct bf_slice text) {
    if (!text.data) {
        pg_put_null(out);
        return;
    }
    size_t start = field_begin(out);
    pg_put_text(out, text);
    field_end(out, start);
}

/* jsonb holds no U+0000: the escape becomes U+FFFD. A backslash escapes whatever follows it, so pairs are stepped over together. Three bytes
 * replace six: in place. */
static void replace_nul(struct bf_buf *out, size_t start) {
    char *to = memchr(out->data + start, '\\', out->len - start); /* rare, and found much faster than the whole */
    if (!to)
        return;
    const char *end = out->data + out->len;
    char *from = to;
    while (from < end) {
        if (*from == '\\' && end - from >= 6 && memcmp(from, "\\u0000", 6) == 0) {
            memcpy(to, "\xef\xbf\xbd", 3);
            to += 3;
            from += 6;
        } else if (*from == '\\' && end - from >= 2) {
            *to++ = *from++;
            *to++ = *from++;
        } else {
            *to++ = *from++;
        }
    }
    out->len = (size_t)(to - out->data);
}

static enum bf_code put_payload(struct archive *a, const struct event *ev, struct bf_err *err) {
    struct bf_buf *out = &a->copy;
    if (!ev->value.data) {
        pg_put_null(out);
        return BF_OK;
    }
    bf_assert(a->s.schemas);
    size_t start = field_begin(out);
    bf_buf_putc(out, 1); /* jsonb's version; the text follows */
    enum bf_code code = event_json_payload(out, ev, a->s.schemas, err);
    if (code == BF_NOT_FOUND) /* the schema it was taken in with is not here now: wait, visibly, rather than write a row without payload */
        code = err->code = BF_AGAIN;
    if (code == BF_OK && !out->failed) {
        replace_nul(out, start);
        field_end(out, start);
    }
    return code;
}

static enum bf_code put_event(struct archive *a, const struct event *ev, struct bf_err *err) {
    struct bf_buf *out = &a->copy;
    bf_buf_append(out, "\0\x13", 2); /* columns */
    put_uuid(out, &ev->id);
    put_int4(out, (int32_t)ev->revision);
    put_int4(out, ev->partition);
    put_int8(out, ev->offset);
    put_time(out, ev->event_time_us);
    put_time(out, ev->kafka_time_us);
    put_time(out, ev->recorded_at_us);
    if (ev->schema_id > 0)
        put_int4(out, ev->schema_id);
    else
        pg_put_null(out);
    put_text(out, ev->topic);
    put_text(out, ev->node_id);
    put_text(out, ev->trace_id);
    if (ev->has_cause)
        put_uuid(out, &ev->cause_id);
    else
        pg_put_null(out);
    put_text(out, ev->source_id);
    enum bf_code code = put_payload(a, ev, err);
    pg_put_field(out, ev->content_hash, sizeof ev->content_hash);
    put_bytes(out, ev->key);
    put_bytes(out, ev->headers);
    put_bytes(out, ev->value);
    if (ev->redriven)
        pg_put_field(out, "\1", 1);
    else
        pg_put_null(out);
    if (code == BF_OK && out->failed)
        code = bf_fail(err, BF_NOMEM, 0, "no memory for a row of %zu bytes", ev->value.len);
    return code;
}

static enum bf_code send_rows(struct archive *a, const struct event *events, size_t from, size_t to, struct bf_err *err) {
    static const char head[19] = "PGCOPY\n\377\r\n\0"; /* then 4 bytes of flags and 4 of extension length, all 0 */
    bf_buf_clear(&a->copy);
    bf_buf_append(&a->copy, head, sizeof head);
    for (size_t i = from; i < to; i++) {
        enum bf_code code = put_event(a, &events[i], err);
        if (code == BF_REJECTED) {
            err->native = (int)i;
            return code;
        }
        if (code != BF_OK)
            return code;
        if (a->copy.len < PIECE_BYTES)
            continue;
        if ((code = archive_copy_put(a, &a->copy, err)) != BF_OK)
            return code;
        bf_buf_clear(&a->copy);
    }
    bf_buf_append(&a->copy, "\377\377", 2);
    return archive_copy_put(a, &a->copy, err);
}

/* err->native: the index of the refused event as far as the server says it, else -1. */
static enum bf_code copy_range(struct archive *a, const char *table, const struct event *events, size_t from, size_t to, struct bf_err *err) {
    char sql[512];
    int64_t line = 0;
    struct bf_err verdict;
    snprintf(sql, sizeof sql, "copy %s (" ARCHIVE_EVENT_COLUMNS ") from stdin (format binary)", table);
    enum bf_code code = archive_copy_begin(a, sql, err);
    if (code != BF_OK)
        return code;
    if ((code = send_rows(a, events, from, to, err)) != BF_OK) {
        if (code != BF_AGAIN) { /* our side stops: so must the statement, whatever the server then says of it */
            if (a->pg && PQputCopyEnd(a->pg, "stopped by the sender") == 1)
                (void)!archive_copy_end(a, NULL, &verdict);
            if (code == BF_REJECTED)
                return code;
        }
        archive_disconnect(a);
        return code;
    }
    code = archive_copy_end(a, &line, err);
    if (code == BF_REJECTED)
        err->native = line > 0 && (size_t)line <= to - from ? (int)(from + (size_t)line - 1) : -1;
    return code;
}

/* Which of events[from, to), of which one is refused? Halve, each half in a transaction that is rolled back. */
static enum bf_code find_refused(struct archive *a, const char *table, const struct event *events, size_t from, size_t to, size_t *at,
                                 struct bf_err *err) {
    enum bf_code code = BF_OK;
    while (to - from > 1) {
        struct bf_err verdict = {0};
        size_t mid = from + (to - from) / 2;
        if ((code = archive_begin(a, err)) != BF_OK)
            return code;
        code = copy_range(a, table, events, from, mid, &verdict);
        archive_rollback(a);
        if (code == BF_REJECTED)
            to = mid;
        else if (code == BF_OK)
            from = mid;
        else {
            *err = verdict;
            return code;
        }
    }
    *at = from;
    return BF_OK;
}

enum bf_code archive_copy_events(struct archive *a, const char *table, const struct event *events, size_t from, size_t to,
                                 struct bf_err *err) {
    size_t at = 0;
    enum bf_code code = from < to ? copy_range(a, table, events, from, to, err) : BF_OK;
    if (code != BF_REJECTED || err->native >= 0 || strcmp(err->sqlstate, "23505") == 0)
        return code;
    struct bf_err refused = *err;
    archive_rollback(a);
    if ((code = find_refused(a, table, events, from, to, &at, err)) != BF_OK)
        return code;
    *err = refused;
    err->native = (int)at;
    return BF_REJECTED;
}
