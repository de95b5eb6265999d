/* The writer: every call appends to the buffer at once; the only state is how deep we are and whether a comma is due. */
#include "bf_json.h"

#include "bf_time.h"

#include <math.h>
#include <string.h>

void bf_json_init(struct bf_json *j, struct bf_buf *out) {
    *j = (struct bf_json){.out = out};
}

/* Before each value: the comma, unless we stand behind a key, at a container's start or outside all of them. */
static void before_value(struct bf_json *j) {
    if (j->comma && j->depth > 0) {
        bf_buf_putc(j->out, ',');
    }
    j->comma = true;
}

static void begin(struct bf_json *j, char c) {
    before_value(j);
    if (++j->depth > BF_JSON_DEPTH_MAX) {
        j->out->failed = true;
    }
    bf_buf_putc(j->out, c);
    j->comma = false;
}

static void end(struct bf_json *j, char c) {
    bf_assert(j->depth > 0);
    j->depth--;
    bf_buf_putc(j->out, c);
    j->comma = true;
}

void bf_json_object(struct bf_json *j) {
    begin(j, '{');
}

void bf_json_object_end(struct bf_json *j) {
    end(j, '}');
}

void bf_json_array(struct bf_json *j) {
    begin(j, '[');
}

void bf_json_array_end(struct bf_json *j) {
    end(j, ']');
}

static const char *short_escape(unsigned char c) {
    switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\b': return "\\b";
    case '\f': return "\\f";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: return NULL;
    }
}

/* Is there a byte to escape among these eight? Exact for "no": a byte above 0x7f, or one above a hit, may be taken for one. */
static bool may_need_escape(uint64_t eight) {
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    uint64_t quote = eight ^ ones * '"', backslash = eight ^ ones * '\\';
    return (((eight - ones * 0x20) | (quote - ones) | (backslash - ones)) & high) != 0;
}

/* How many bytes from the start surely stand for themselves. */
static size_t plain_prefix(const char *s, size_t len) {
    size_t i = 0;
    uint64_t eight = 0;
    for (; i + sizeof eight <= len; i += sizeof eight) {
        memcpy(&eight, s + i, sizeof eight);
        if (may_need_escape(eight)) {
            return i;
        }
    }
    return i;
}

static void put_quoted(struct bf_buf *out, const char *s, size_t len) {
    if (!bf_buf_reserve(out, len + 2)) {
        return;
    }
    out->data[out->len++] = '"';
    size_t from = 0;
    for (size_t i = plain_prefix(s, len); i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\') {
            continue;
        }
        bf_buf_append(out, s + from, i - from);
        from = i + 1;
        const char *esc = short_escape(c);
        if (esc != NULL) {
            bf_buf_append(out, esc, 2);
        } else {
            bf_buf_printf(out, "\\u%04x", c);
        }
    }
    bf_buf_append(out, s + from, len - from);
    bf_buf_putc(out, '"');
}

void bf_json_key(struct bf_json *j, const char *key) {
    before_value(j);
    size_t len = strlen(key);
    if (bf_buf_reserve(j->out, len + 3)) {
        char *p = j->out->data + j->out->len;
        p[0] = '"';
        memcpy(p + 1, key, len);
        p[len + 1] = '"';
        p[len + 2] = ':';
        j->out->len += len + 3;
    }
    j->comma = false;
}

void bf_json_key_n(struct bf_json *j, const char *key, size_t len) {
    before_value(j);
    put_quoted(j->out, key, len);
    bf_buf_putc(j->out, ':');
    j->comma = false;
}

void bf_json_string(struct bf_json *j, const char *s) {
    if (s == NULL) {
        bf_json_null(j);
        return;
    }
    bf_json_string_n(j, s, strlen(s));
}

void bf_json_string_n(struct bf_json *j, const char *s, size_t len) {
    before_value(j);
    put_quoted(j->out, s, len);
}

void bf_json_int(struct bf_json *j, int64_t v) {
    before_value(j);
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354"
                                "555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    char tmp[24];
    size_t at = sizeof tmp;
    uint64_t n = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    for (; n >= 100; n /= 100) {
        at -= 2;
        memcpy(tmp + at, pairs + n % 100 * 2, 2);
    }
    if (n >= 10) {
        at -= 2;
        memcpy(tmp + at, pairs + n * 2, 2);
    } else {
        tmp[--at] = (char)('0' + n);
    }
    if (v < 0) {
        tmp[--at] = '-';
    }
    bf_buf_append(j->out, tmp + at, sizeof tmp - at);
}

void bf_json_double(struct bf_json *j, double v) {
    if (!isfinite(v)) {
        bf_json_string(j, isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
        return;
    }
    before_value(j);
    if (bf_buf_reserve(j->out, 32)) {
        j->out->len += bf_double_format(j->out->data + j->out->len, v);
    }
}

void bf_json_bool(struct bf_json *j, bool v) {
    before_value(j);
    bf_buf_puts(j->out, v ? "true" : "false");
}

void bf_json_null(struct bf_json *j) {
    before_value(j);
    bf_buf_append(j->out, "null", 4);
}

static void put_base64(char *dst, const uint8_t *in, size_t len) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (; len > 0; in += 3, dst += 4) {
        size_t n = len < 3 ? len : 3;
        uint32_t v = (uint32_t)in[0] << 16 | (n > 1 ? (uint32_t)in[1] << 8 : 0) | (n > 2 ? in[2] : 0);
        dst[0] = alphabet[v >> 18];
        dst[1] = alphabet[v >> 12 & 63];
        dst[2] = n > 1 ? alphabet[v >> 6 & 63] : '=';
        dst[3] = n > 2 ? alphabet[v & 63] : '=';
        len -= n;
    }
}

void bf_json_base64(struct bf_json *j, const void *data, size_t len) {
    before_value(j);
    bf_buf_putc(j->out, '"');
    size_t n = (len + 2) / 3 * 4;
    if (bf_buf_reserve(j->out, n)) {
        put_base64(j->out->data + j->out->len, data, len);
        j->out->len += n;
    }
    bf_buf_putc(j->out, '"');
}

void bf_json_raw(struct bf_json *j, const char *json, size_t len) {
    before_value(j);
    bf_buf_append(j->out, json, len);
}

void bf_json_member_string(struct bf_json *j, const char *key, const char *s) {
    bf_json_key(j, key);
    bf_json_string(j, s);
}

void bf_json_member_int(struct bf_json *j, const char *key, int64_t v) {
    bf_json_key(j, key);
    bf_json_int(j, v);
}

void bf_json_member_bool(struct bf_json *j, const char *key, bool v) {
    bf_json_key(j, key);
    bf_json_bool(j, v);
}

void bf_json_time(struct bf_json *j, int64_t time_us) {
    before_value(j);
    if (bf_buf_reserve(j->out, BF_TIME_TEXT_LEN + 2)) {
        char *p = j->out->data + j->out->len;
        p[0] = '"';
        bf_time_format(p + 1, time_us); /* its NUL lies where the quote goes */
        p[BF_TIME_TEXT_LEN + 1] = '"';
        j->out->len += BF_TIME_TEXT_LEN + 2;
    }
}

void bf_json_member_time(struct bf_json *j, const char *key, int64_t time_us) {
    bf_json_key(j, key);
    bf_json_time(j, time_us);
}
