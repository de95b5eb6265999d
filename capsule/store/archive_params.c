#include "archive_params.h"

#include "bf_json.h"
#include "bf_time.h"

#include <string.h>

/* PostgreSQL counts from 2000-01-01T00:00:00Z. */
#define PG_EPOCH_US INT64_C(946684800000000)
#define PARAMS_BYTES_MAX ((size_t)512 << 20)

void params_init(struct params *p) {
    memset(p, 0, sizeof *p);
    bf_buf_init(&p->bytes, PARAMS_BYTES_MAX);
}

void params_fini(struct params *p) {
    bf_buf_fini(&p->bytes);
}

void params_clear(struct params *p) {
    p->count = 0;
    bf_buf_clear(&p->bytes);
}

static int add(struct params *p, enum pg_oid type, const void *data, size_t len) {
    bf_assert(p->count < PARAMS_MAX);
    int i = p->count++;
    p->types[i] = type;
    p->at[i] = p->bytes.len;
    p->lengths[i] = data ? (int)len : -1;
    if (data)
        bf_buf_append(&p->bytes, data, len);
    return p->count;
}

int params_text(struct params *p, struct bf_slice text) {
    int number = add(p, PG_TEXT, text.data, 0);
    if (text.data) {
        size_t before = p->bytes.len;
        pg_put_text(&p->bytes, text);
        p->lengths[number - 1] = (int)(p->bytes.len - before);
    }
    return number;
}

int params_bytea(struct params *p, struct bf_slice bytes) {
    return add(p, PG_BYTEA, bytes.data, bytes.len);
}

int params_bool(struct params *p, bool v) {
    uint8_t b = v;
    return add(p, PG_BOOL, &b, 1);
}

int params_int4(struct params *p, int32_t v) {
    uint8_t b[4];
    bf_put_be32(b, (uint32_t)v);
    return add(p, PG_INT4, b, 4);
}

int params_int8(struct params *p, int64_t v) {
    uint8_t b[8];
    bf_put_be64(b, (uint64_t)v);
    return add(p, PG_INT8, b, 8);
}

int params_time(struct params *p, int64_t time_us) {
    uint8_t b[8];
    bf_put_be64(b, (uint64_t)pg_time_from_us(time_us));
    return add(p, PG_TIMESTAMPTZ, b, 8);
}

int params_uuid(struct params *p, const struct bf_uuid *id) {
    return add(p, PG_UUID, id->b, sizeof id->b);
}

static uint32_t element_type(enum pg_oid array_type) {
    switch (array_type) {
    case PG_TEXT_ARRAY: return PG_TEXT;
    case PG_INT4_ARRAY: return PG_INT4;
    case PG_INT8_ARRAY: return PG_INT8;
    case PG_UUID_ARRAY: return PG_UUID;
    case PG_TIMESTAMPTZ_ARRAY: return PG_TIMESTAMPTZ;
    default: bf_assert(!"an array type"); return 0;
    }
}

/* Header: dimensions, has nulls, element type, then for the one dimension its size (patched at the end) and lower bound. */
int params_array(struct params *p, enum pg_oid array_type) {
    uint8_t head[20] = {0};
    bf_put_be32(head, 1);
    bf_put_be32(head + 8, element_type(array_type));
    bf_put_be32(head + 16, 1);
    p->array_at = p->bytes.len;
    return add(p, array_type, head, sizeof head);
}

static void element(struct params *p, const void *data, size_t len) {
    pg_put_field(&p->bytes, data, len);
    if (!p->bytes.failed) {
        char *size = p->bytes.data + p->array_at + 12;
        bf_put_be32(size, bf_get_be32(size) + 1);
    }
}

void params_array_text(struct params *p, struct bf_slice text) {
    element(p, text.data, text.len);
}

void params_array_int4(struct params *p, int32_t v) {
    uint8_t b[4];
    bf_put_be32(b, (uint32_t)v);
    element(p, b, 4);
}

void params_array_int8(struct params *p, int64_t v) {
    uint8_t b[8];
    bf_put_be64(b, (uint64_t)v);
    element(p, b, 8);
}

void params_array_time(struct params *p, int64_t time_us) {
    params_array_int8(p, pg_time_from_us(time_us));
}

void params_array_uuid(struct params *p, const struct bf_uuid *id) {
    element(p, id->b, sizeof id->b);
}

void params_array_end(struct params *p) {
    if (p->bytes.failed)
        return;
    char *head = p->bytes.data + p->array_at;
    if (bf_get_be32(head + 12) == 0) { /* an empty array has no dimension */
        bf_put_be32(head, 0);
        p->bytes.len = p->array_at + 12;
    }
    p->lengths[p->count - 1] = (int)(p->bytes.len - p->array_at);
}

void pg_put_text(struct bf_buf *out, struct bf_slice text) {
    bool valid = bf_utf8_valid(text.data, text.len);
    if (valid && (text.len == 0 || !memchr(text.data, 0, text.len))) {
        bf_buf_append(out, text.data, text.len);
        return;
    }
    const char *s = text.data;
    for (size_t i = 0; i < text.len; i++) {
        if (s[i] == 0)
            bf_buf_puts(out, "\xef\xbf\xbd");
        else
            bf_buf_putc(out, !valid && (unsigned char)s[i] > 0x7f ? '?' : s[i]);
    }
}

void pg_put_field(struct bf_buf *out, const void *data, size_t len) {
    if (!bf_buf_reserve(out, 4 + len))
        return;
    bf_put_be32(out->data + out->len, (uint32_t)len);
    if (len > 0)
        memcpy(out->data + out->len + 4, data, len);
    out->len += 4 + len;
}

void pg_put_null(struct bf_buf *out) {
    bf_buf_append(out, "\xff\xff\xff\xff", 4);
}

/* What lies outside of the years 0001 to 9999 can only be a bound: it is beyond everything. */
int64_t pg_time_from_us(int64_t time_us) {
    if (time_us < BF_TIME_MIN_US)
        return INT64_MIN;
    return time_us > BF_TIME_MAX_US ? INT64_MAX : time_us - PG_EPOCH_US;
}

int64_t pg_time_to_us(int64_t pg) {
    return pg == INT64_MIN || pg == INT64_MAX ? pg : pg + PG_EPOCH_US;
}

int32_t pg_int4(const PGresult *r, int row, int col) {
    return PQgetisnull(r, row, col) ? 0 : (int32_t)bf_get_be32(PQgetvalue(r, row, col));
}

int64_t pg_int8(const PGresult *r, int row, int col) {
    return PQgetisnull(r, row, col) ? 0 : (int64_t)bf_get_be64(PQgetvalue(r, row, col));
}

int64_t pg_time(const PGresult *r, int row, int col) {
    return PQgetisnull(r, row, col) ? 0 : pg_time_to_us((int64_t)bf_get_be64(PQgetvalue(r, row, col)));
}

bool pg_uuid(const PGresult *r, int row, int col, struct bf_uuid *out) {
    memset(out, 0, sizeof *out);
    if (PQgetisnull(r, row, col))
        return false;
    memcpy(out->b, PQgetvalue(r, row, col), sizeof out->b);
    return true;
}

struct bf_slice pg_bytes(const PGresult *r, int row, int col) {
    if (PQgetisnull(r, row, col))
        return BF_SLICE_NONE;
    return (struct bf_slice){PQgetvalue(r, row, col), (size_t)PQgetlength(r, row, col)};
}
