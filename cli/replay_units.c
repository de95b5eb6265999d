/* NDJSON ends a unit at each newline, CSV (RFC 4180) at each newline outside quotes, an Avro container file (Avro 1.11) at each block whose sync marker is
 * there. The last block is opened to find the cursor, which is the last field of its last record. */
#include "replay_units.h"

#include "bf_compress.h"
#include "bf_json.h"

#include <jansson.h>
#include <string.h>

#define CURSOR_BYTES_MAX 4096
#define BLOCK_BYTES_MAX ((size_t)512 << 20)
#define SYNC_BYTES 16

void replay_units_init(struct replay_units *u) {
    *u = (struct replay_units){0};
    bf_buf_init(&u->cursor, CURSOR_BYTES_MAX);
}

void replay_units_fini(struct replay_units *u) {
    bf_buf_fini(&u->cursor);
}

static enum bf_code set_cursor(struct replay_units *u, const char *text, size_t len, struct bf_err *err) {
    bf_buf_clear(&u->cursor);
    bf_buf_append(&u->cursor, text, len);
    bf_buf_putc(&u->cursor, '\0');
    if (u->cursor.failed || len == 0 || memchr(text, '\0', len))
        return bf_fail(err, BF_INVALID, 0, "the last whole event has no usable cursor");
    return BF_OK;
}

/* ---- NDJSON ---- */

static bool begins_with(const char *line, size_t len, const char *mark) {
    return len >= strlen(mark) && memcmp(line, mark, strlen(mark)) == 0;
}

static enum bf_code scan_ndjson(const char *data, size_t len, struct replay_units *u, struct bf_err *err) {
    struct bf_slice last = BF_SLICE_NONE;
    const char *newline;
    for (size_t at = 0; at < len && (newline = memchr(data + at, '\n', len - at)); at = (size_t)(newline - data) + 1) {
        size_t line_len = (size_t)(newline - data) - at;
        if (begins_with(data + at, line_len, "{\"end\":true")) {
            u->end = (struct bf_slice){data + at, line_len};
            break;
        }
        last = (struct bf_slice){data + at, line_len};
        u->events++;
        u->whole = at + line_len + 1;
    }
    if (!last.data)
        return BF_OK;
    json_t *event = NULL;
    enum bf_code code = bf_json_parse(last.data, last.len, &event, err);
    if (code == BF_OK) {
        const char *cursor = json_string_value(json_object_get(event, "cursor"));
        code = set_cursor(u, cursor ? cursor : "", cursor ? strlen(cursor) : 0, err);
    }
    json_decref(event);
    return code == BF_OK ? BF_OK : (err->code = BF_INVALID);
}

/* ---- CSV ---- */

static enum bf_code scan_csv(const char *data, size_t len, struct replay_units *u, struct bf_err *err) {
    bool quoted = false;
    size_t records = 0, begin = 0, last_begin = 0;
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '"')
            quoted = !quoted;
        if (data[i] != '\n' || quoted)
            continue;
        last_begin = begin;
        begin = u->whole = i + 1;
        records++;
    }
    if (records < 2) {
        u->whole = 0; /* the header at most, which comes again where there is no cursor */
        return BF_OK;
    }
    u->events = records - 1;
    size_t end = u->whole - 1, from;
    end -= end > last_begin && data[end - 1] == '\r';
    for (from = end; from > last_begin && data[from - 1] != ','; from--)
        ;
    return set_cursor(u, data + from, end - from, err);
}

/* ---- Avro ---- */

struct bytes {
    const uint8_t *at, *end;
    bool cut; /* something was longer than what is there */
};

static int64_t take_long(struct bytes *b) {
    uint64_t z = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (b->at == b->end)
            break;
        uint8_t byte = *b->at++;
        z |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return (int64_t)(z >> 1) ^ -(int64_t)(z & 1);
    }
    b->cut = true;
    return 0;
}

static struct bf_slice take_run(struct bytes *b, int64_t len) {
    if (b->cut || len < 0 || len > b->end - b->at) {
        b->cut = true;
        return BF_SLICE_NONE;
    }
    struct bf_slice run = {b->at, (size_t)len};
    b->at += len;
    return run;
}

static struct bf_slice take_bytes(struct bytes *b) {
    return take_run(b, take_long(b));
}

/* The fields of butterfly.capsule.Event: s text or bytes, l a number, in capitals where it may be null. */
static const char event_fields[] = "slsllslllLSSSSSs";

static enum bf_code last_cursor(struct bf_slice block, int64_t count, struct replay_units *u, struct bf_err *err) {
    struct bytes b = {block.data, (const uint8_t *)block.data + block.len, false};
    struct bf_slice last = BF_SLICE_NONE;
    for (int64_t i = 0; i < count && !b.cut; i++)
        for (const char *f = event_fields; *f && !b.cut; f++) {
            bool there = *f >= 'a' || take_long(&b) == 1;
            if (there && (*f | 0x20) == 's')
                last = take_bytes(&b);
            else if (there)
                take_long(&b);
        }
    if (b.cut || b.at != b.end || !last.data)
        return bf_fail(err, BF_INVALID, 0, "the last whole block does not hold events");
    return set_cursor(u, last.data, last.len, err);
}

static enum bf_code open_block(struct bf_slice block, int64_t count, bool deflate, struct replay_units *u, struct bf_err *err) {
    struct bf_buf plain;
    if (!deflate)
        return last_cursor(block, count, u, err);
    bf_buf_init(&plain, BLOCK_BYTES_MAX);
    enum bf_code code = bf_inflate(block, &plain, err);
    if (code == BF_OK)
        code = last_cursor((struct bf_slice){plain.data, plain.len}, count, u, err);
    bf_buf_fini(&plain);
    return code;
}

static struct bf_slice take_header(struct bytes *b, bool *deflate) {
    int64_t entries;
    *deflate = false;
    take_run(b, 4);
    while (!b->cut && (entries = take_long(b)) != 0)
        for (int64_t i = 0; i < entries && !b->cut; i++) {
            struct bf_slice key = take_bytes(b), value = take_bytes(b);
            if (!b->cut && bf_slice_eq(key, bf_slice_str("avro.codec")))
                *deflate = bf_slice_eq(value, bf_slice_str("deflate"));
        }
    return take_run(b, SYNC_BYTES);
}

static enum bf_code scan_avro(const char *data, size_t len, struct replay_units *u, struct bf_err *err) {
    struct bytes b = {(const uint8_t *)data, (const uint8_t *)data + len, false};
    struct bf_slice block = BF_SLICE_NONE;
    int64_t block_events = 0;
    bool deflate;
    if (len > 0 && memcmp(data, "Obj\001", len < 4 ? len : 4) != 0)
        return bf_fail(err, BF_INVALID, 0, "this is no Avro container file");
    struct bf_slice sync = take_header(&b, &deflate);
    while (!b.cut) {
        u->whole = (size_t)((const char *)b.at - data);
        if (b.at == b.end)
            break;
        int64_t events = take_long(&b);
        struct bf_slice body = take_bytes(&b), mark = take_run(&b, SYNC_BYTES);
        if (b.cut)
            break;
        if (!bf_slice_eq(mark, sync) || events < 1)
            return bf_fail(err, BF_INVALID, 0, "a block at byte %zu does not end as it should", u->whole);
        block = body;
        block_events = events;
        u->events += (uint64_t)events;
    }
    if (!block.data) {
        u->whole = 0; /* a cursor is what leaves the header out: without one it comes again */
        return BF_OK;
    }
    return open_block(block, block_events, deflate, u, err);
}

enum bf_code replay_units_scan(enum replay_format format, const char *data, size_t len, struct replay_units *u, struct bf_err *err) {
    u->whole = 0;
    u->events = 0;
    u->end = BF_SLICE_NONE;
    bf_buf_clear(&u->cursor);
    switch (format) {
    case REPLAY_NDJSON: return scan_ndjson(data, len, u, err);
    case REPLAY_CSV: return scan_csv(data, len, u, err);
    case REPLAY_AVRO: break;
    }
    return scan_avro(data, len, u, err);
}
