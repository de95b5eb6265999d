/* Strict reading through jansson, and UTF-8 checking (the table 3-7 of the Unicode standard, as ranges of the second byte). */
#include "bf_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum bf_code bf_json_parse(const char *text, size_t len, json_t **out, struct bf_err *err) {
    json_error_t jerr;
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &jerr);
    if (value == NULL) {
        if (json_error_code(&jerr) == json_error_out_of_memory) {
            return bf_fail(err, BF_NOMEM, 0, "out of memory while reading JSON");
        }
        return bf_fail(err, BF_INVALID, 0, "line %d column %d: %s", jerr.line, jerr.column, jerr.text);
    }
    *out = value;
    return BF_OK;
}

#define FILE_MAX ((size_t)64 << 20)

static enum bf_code read_all(FILE *f, struct bf_buf *text, struct bf_err *err) {
    for (;;) {
        if (!bf_buf_reserve(text, 65536)) {
            return bf_fail(err, BF_NOMEM, 0, "larger than %zu bytes", FILE_MAX);
        }
        size_t n = fread(text->data + text->len, 1, 65536, f);
        text->len += n;
        if (n == 0) {
            break;
        }
    }
    if (ferror(f)) {
        return bf_fail(err, BF_INVALID, errno, "%s", strerror(errno));
    }
    return BF_OK;
}

enum bf_code bf_json_load_file(const char *path, json_t **out, struct bf_err *err) {
    enum bf_code code;
    struct bf_buf text;
    bf_buf_init(&text, FILE_MAX);
    FILE *f = fopen(path, "rbe");
    if (f == NULL) {
        code = bf_fail(err, errno == ENOENT ? BF_NOT_FOUND : BF_INVALID, errno, "%s", strerror(errno));
        goto done;
    }
    code = read_all(f, &text, err);
    if (code == BF_OK) {
        code = bf_json_parse(text.data, text.len, out, err);
    }
done:
    if (code != BF_OK) {
        bf_err_prepend(err, "%s", path);
    }
    if (f != NULL) {
        fclose(f);
    }
    bf_buf_fini(&text);
    return code;
}

/* How many bytes follow a lead byte, 0 for ASCII, -1 for what cannot lead; [lo, hi] bounds the second byte. */
static int lead(unsigned char c, unsigned char *lo, unsigned char *hi) {
    *lo = 0x80;
    *hi = 0xbf;
    if (c < 0x80) {
        return 0;
    }
    if (c < 0xc2) {
        return -1;
    }
    if (c < 0xe0) {
        return 1;
    }
    if (c < 0xf0) {
        *lo = c == 0xe0 ? 0xa0 : 0x80;
        *hi = c == 0xed ? 0x9f : 0xbf;
        return 2;
    }
    if (c < 0xf5) {
        *lo = c == 0xf0 ? 0x90 : 0x80;
        *hi = c == 0xf4 ? 0x8f : 0xbf;
        return 3;
    }
    return -1;
}

bool bf_utf8_valid(const void *data, size_t len) {
    const unsigned char *p = data, *end = p + len;
    while (p < end) {
        uint64_t word;
        if (end - p >= 8 && (memcpy(&word, p, 8), (word & UINT64_C(0x8080808080808080)) == 0)) {
            p += 8;
            continue;
        }
        unsigned char lo, hi;
        int follow = lead(*p++, &lo, &hi);
        if (follow < 0 || end - p < follow) {
            return false;
        }
        for (int i = 0; i < follow; i++, p++) {
            if (*p < lo || *p > hi) {
                return false;
            }
            lo = 0x80;
            hi = 0xbf;
        }
    }
    return true;
}
