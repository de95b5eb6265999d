/* Growth doubles up to max; a failed buffer swallows appends so that writers check once at their end. */
#include "bf_buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bf_slice bf_slice_str(const char *s) {
    return s == NULL ? BF_SLICE_NONE : (struct bf_slice){s, strlen(s)};
}

bool bf_slice_eq(struct bf_slice a, struct bf_slice b) {
    if ((a.data == NULL) != (b.data == NULL) || a.len != b.len) {
        return false;
    }
    return a.len == 0 || memcmp(a.data, b.data, a.len) == 0;
}

void bf_buf_init(struct bf_buf *b, size_t max_bytes) {
    *b = (struct bf_buf){.max = max_bytes};
}

void bf_buf_fini(struct bf_buf *b) {
    free(b->data);
    *b = (struct bf_buf){.max = b->max};
}

void bf_buf_clear(struct bf_buf *b) {
    b->len = 0;
    b->failed = false;
}

static bool grow(struct bf_buf *b, size_t n) {
    if (n > b->max || b->len > b->max - n) {
        b->failed = true;
        return false;
    }
    size_t want = b->len + n;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < want) {
        cap = cap > b->max / 2 ? b->max : cap * 2;
    }
    if (cap > b->max) {
        cap = b->max;
    }
    char *data = realloc(b->data, cap);
    if (data == NULL) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

bool bf_buf_reserve(struct bf_buf *b, size_t n) {
    if (b->failed) {
        return false;
    }
    return n <= b->cap - b->len || grow(b, n);
}

void bf_buf_append(struct bf_buf *b, const void *data, size_t len) {
    if (len == 0 || !bf_buf_reserve(b, len)) {
        return;
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

void bf_buf_putc(struct bf_buf *b, char c) {
    if (bf_buf_reserve(b, 1)) {
        b->data[b->len++] = c;
    }
}

void bf_buf_puts(struct bf_buf *b, const char *s) {
    bf_buf_append(b, s, strlen(s));
}

void bf_buf_printf(struct bf_buf *b, const char *fmt, ...) {
    char small[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if ((size_t)n < sizeof small) {
        bf_buf_append(b, small, (size_t)n);
        return;
    }
    char *big = malloc((size_t)n + 1);
    if (big == NULL) {
        b->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(big, (size_t)n + 1, fmt, ap);
    va_end(ap);
    bf_buf_append(b, big, (size_t)n);
    free(big);
}

void bf_put_be16(void *p, uint16_t v) {
    uint8_t *b = p;
    b[0] = (uint8_t)(v >> 8);
    b[1] = (uint8_t)v;
}

void bf_put_be32(void *p, uint32_t v) {
    uint32_t be = __builtin_bswap32(v);
    memcpy(p, &be, sizeof be);
}

void bf_put_be64(void *p, uint64_t v) {
    uint64_t be = __builtin_bswap64(v);
    memcpy(p, &be, sizeof be);
}

uint16_t bf_get_be16(const void *p) {
    const uint8_t *b = p;
    return (uint16_t)((unsigned)b[0] << 8 | b[1]);
}

uint32_t bf_get_be32(const void *p) {
    uint32_t be;
    memcpy(&be, p, sizeof be);
    return __builtin_bswap32(be);
}

uint64_t bf_get_be64(const void *p) {
    uint64_t be;
    memcpy(&be, p, sizeof be);
    return __builtin_bswap64(be);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the byte swaps above are for little-endian machines");
