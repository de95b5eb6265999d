/* The writer: every call appends to the buffer at once; the only state is how deep we are and whether a comma is due. */
#include "bf_json.h"

#include "bf_digits.h"
#include "bf_time.h"

#include <math.h>
#include <string.h>

void bf_json_init(struct bf_json *j, struct bf_buf *out) {
    *j = (struct bf_json){.out = out};
}

/* Where the next value goes, with room for `max` bytes and the comma, which is written: unless we stand behind a key, at a container's start or outside all
 * of them. NULL: no room. */
static inline char *value_begin(struct bf_json *j, size_t max) {
    bool comma = j->comma && j->depth > 0;
    j->comma = true;
    if (!bf_buf_reserve(j->out, max + 1)) {
        return NULL;
    }
    char *p = j->out->data + j->out->len;
    *p = ',';
    return p + comma;
}

static inline void value_end(struct bf_json *j, const char *end) {
    j->out->len = (size_t)(end - j->out->data);
}

/* A value of few bytes, known beforehand. */
static inline void put_value(struct bf_json *j, const char *text, size_t len) {
    char *p = value_begin(j, len);
    if (p != NULL && len > 0) {
        memcpy(p, text, len);
    }
    if (p != NULL) {
        value_end(j, p + len);
    }
}

static void begin(struct bf_json *j, char c) {
    put_value(j, &c, 1);
    if (++j->depth > BF_JSON_DEPTH_MAX) {
        j->out->failed = true;
    }
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
static inline bool may_need_escape(uint64_t eight) {
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    uint64_t quote = eight ^ ones * '"', backslash = eight ^ ones * '\\';
    return (((eight - ones * 0x20) | (quote - ones) | (backslash - ones)) & high) != 0;
}

/* Fewer than eight bytes, and blanks above them. */
static inline uint64_t load_few(const char *s, size_t len) {
    uint64_t word = 0;
    if (len >= 4) {
        uint32_t low, high;
        memcpy(&low, s, sizeof low);
        memcpy(&high, s + len - sizeof high, sizeof high);
        word = low | (uint64_t)high << 8 * (len - sizeof high);
    } else if (len > 0) {
        word = (uint64_t)(unsigned char)s[0] | (uint64_t)(unsigned char)s[len / 2] << 8 * (len / 2) |
               (uint64_t)(unsigned char)s[len - 1] << 8 * (len - 1);
    }
    return word | UINT64_C(0x2020202020202020) << 8 * len;
}

/* Byte by byte. */
static void put_escaped(struct bf_buf *out, const char *s, size_t len) {
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
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
}

#define COPY_BYTES 8 /* at a time, also behind the end */

/* In quotes, and `behind` after them; p is what value_begin() gave for len + 3 + COPY_BYTES. */
static inline void put_quoted(struct bf_json *j, char *p, const char *s, size_t len, char behind) {
    const char *end = s + len;
    uint64_t eight;
    *p++ = '"';
    for (; end - s >= COPY_BYTES; s += COPY_BYTES, p += COPY_BYTES) {
        memcpy(&eight, s, sizeof eight);
        if (may_need_escape(eight)) {
            break;
        }
        memcpy(p, &eight, sizeof eight);
    }
    size_t rest = (size_t)(end - s);
    if (rest < COPY_BYTES) {
        eight = load_few(s, rest);
        if (!may_need_escape(eight)) {
            memcpy(p, &eight, sizeof eight);
            p += rest;
            rest = 0;
        }
    }
    if (rest > 0) {
        value_end(j, p);
        put_escaped(j->out, s, rest);
        if (!bf_buf_reserve(j->out, 2)) {
            return;
        }
        p = j->out->data + j->out->len;
    }
    *p++ = '"';
    *p = behind;
    value_end(j, p + (behind != '\0'));
}

void bf_json_key(struct bf_json *j, const char *key) {
    size_t len = strlen(key);
    char *p = value_begin(j, len + 3);
    if (p != NULL) {
        p[0] = '"';
        memcpy(p + 1, key, len);
        p[len + 1] = '"';
        p[len + 2] = ':';
        value_end(j, p + len + 3);
    }
    j->comma = false;
}

void bf_json_key_ready(struct bf_json *j, const char *text, size_t len) {
    char *p = value_begin(j, len + BF_JSON_READY_PAD);
    if (p != NULL) {
        for (size_t i = 0; i < len; i += BF_JSON_READY_PAD) {
            memcpy(p + i, text + i, BF_JSON_READY_PAD);
        }
        value_end(j, p + len);
    }
    j->comma = false;
}

void bf_json_key_n(struct bf_json *j, const char *key, size_t len) {
    char *p = value_begin(j, len + 3 + COPY_BYTES);
    if (p != NULL) {
        put_quoted(j, p, key, len, ':');
    }
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
    char *p = value_begin(j, len + 3 + COPY_BYTES);
    if (p != NULL) {
        put_quoted(j, p, s, len, '\0');
    }
}

void bf_json_int(struct bf_json *j, int64_t v) {
    char *p = value_begin(j, BF_DIGITS_MAX + 1);
    if (p != NULL) {
        *p = '-';
        p += v < 0;
        value_end(j, p + bf_digits_put(p, v < 0 ? 0 - (uint64_t)v : (uint64_t)v));
    }
}

void bf_json_double(struct bf_json *j, double v) {
    if (!isfinite(v)) {
        bf_json_string(j, isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
        return;
    }
    char *p = value_begin(j, BF_DOUBLE_TEXT_MAX);
    if (p != NULL) {
        value_end(j, p + bf_double_format(p, v));
    }
}

void bf_json_bool(struct bf_json *j, bool v) {
    if (v) {
        put_value(j, "true", 4);
    } else {
        put_value(j, "false", 5);
    }
}

void bf_json_null(struct bf_json *j) {
    put_value(j, "null", 4);
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
    size_t n = (len + 2) / 3 * 4;
    char *p = value_begin(j, n + 2);
    if (p != NULL) {
        p[0] = '"';
        put_base64(p + 1, data, len);
        p[n + 1] = '"';
        value_end(j, p + n + 2);
    }
}

void bf_json_raw(struct bf_json *j, const char *json, size_t len) {
    put_value(j, json, len);
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
    char *p = value_begin(j, BF_TIME_TEXT_LEN + 2);
    if (p != NULL) {
        p[0] = '"';
        bf_time_format(p + 1, time_us); /* its NUL lies where the quote goes */
        p[BF_TIME_TEXT_LEN + 1] = '"';
        value_end(j, p + BF_TIME_TEXT_LEN + 2);
    }
}

void bf_json_member_time(struct bf_json *j, const char *key, int64_t time_us) {
    bf_json_key(j, key);
    bf_json_time(j, time_us);
}
