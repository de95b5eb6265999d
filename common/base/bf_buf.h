/* Byte views and a growable, bounded byte buffer.
 *
 * Invariants of struct bf_buf: len <= cap <= max; data is NULL only while cap is 0; once `failed` is set every append is
 * ignored until bf_buf_clear(), so writers append freely and check once at the end. Not thread-safe.
 */
#ifndef BF_BUF_H
#define BF_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed run of bytes; data may be NULL (absent), which is not the same as len 0. */
struct bf_slice {
    const void *data;
    size_t len;
};

#define BF_SLICE_NONE ((struct bf_slice){NULL, 0})
struct bf_slice bf_slice_str(const char *s); /* NULL gives BF_SLICE_NONE */
bool bf_slice_eq(struct bf_slice a, struct bf_slice b);

struct bf_buf {
    char *data;
    size_t len, cap, max;
    bool failed; /* max was reached or memory ran out */
};

void bf_buf_init(struct bf_buf *b, size_t max_bytes);
void bf_buf_fini(struct bf_buf *b);  /* also fine on a zeroed or moved-from one */
void bf_buf_clear(struct bf_buf *b); /* len 0, failed false, memory kept */

bool bf_buf_grow(struct bf_buf *b, size_t n); /* for bf_buf_reserve() */

/* Make room for `n` more bytes; false (and failed) when that passes max or memory. Write at data+len, then add to len. */
static inline bool bf_buf_reserve(struct bf_buf *b, size_t n) {
    return !b->failed && (n <= b->cap - b->len || bf_buf_grow(b, n));
}

static inline void bf_buf_append(struct bf_buf *b, const void *data, size_t len) {
    if (len > 0 && bf_buf_reserve(b, len)) {
        memcpy(b->data + b->len, data, len);
        b->len += len;
    }
}

static inline void bf_buf_putc(struct bf_buf *b, char c) {
    if (bf_buf_reserve(b, 1)) {
        b->data[b->len++] = c;
    }
}

void bf_buf_puts(struct bf_buf *b, const char *s);
void bf_buf_printf(struct bf_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Big-endian integers, as keys and frames want them. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the byte swaps here are for little-endian machines");

static inline void bf_put_be16(void *p, uint16_t v) {
    uint16_t be = __builtin_bswap16(v);
    memcpy(p, &be, sizeof be);
}

static inline void bf_put_be32(void *p, uint32_t v) {
    uint32_t be = __builtin_bswap32(v);
    memcpy(p, &be, sizeof be);
}

static inline void bf_put_be64(void *p, uint64_t v) {
    uint64_t be = __builtin_bswap64(v);
    memcpy(p, &be, sizeof be);
}

static inline uint16_t bf_get_be16(const void *p) {
    uint16_t be;
    memcpy(&be, p, sizeof be);
    return __builtin_bswap16(be);
}

static inline uint32_t bf_get_be32(const void *p) {
    uint32_t be;
    memcpy(&be, p, sizeof be);
    return __builtin_bswap32(be);
}

static inline uint64_t bf_get_be64(const void *p) {
    uint64_t be;
    memcpy(&be, p, sizeof be);
    return __builtin_bswap64(be);
}

#endif
