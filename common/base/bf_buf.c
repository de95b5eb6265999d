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

bool bf_buf_grow(struct bf_buf *b, size_t n) {
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
