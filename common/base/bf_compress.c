/* Levels are the fast ones: what is compressed here is made, sent and forgotten, and the reader waits. */
#include "bf_compress.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#define ZLIB_LEVEL 3
#define ZSTD_LEVEL 3
#define ROOM_BYTES ((size_t)32 * 1024)
#define GZIP_WINDOW (15 + 16)
#define RAW_WINDOW (-15)

struct bf_compressor {
    enum bf_coding coding;
    z_stream z;
    ZSTD_CCtx *zstd;
};

const char *bf_coding_name(enum bf_coding coding) {
    return coding == BF_CODING_GZIP ? "gzip" : coding == BF_CODING_ZSTD ? "zstd" : NULL;
}

enum bf_code bf_compressor_new(enum bf_coding coding, struct bf_compressor **out, struct bf_err *err) {
    struct bf_compressor *c = calloc(1, sizeof *c);
    bf_assert(coding != BF_CODING_IDENTITY);
    if (c == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory for compression");
    }
    c->coding = coding;
    bool made;
    if (coding == BF_CODING_ZSTD) {
        c->zstd = ZSTD_createCCtx();
        made = c->zstd != NULL && !ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL));
    } else {
        made = deflateInit2(&c->z, ZLIB_LEVEL, Z_DEFLATED, coding == BF_CODING_GZIP ? GZIP_WINDOW : RAW_WINDOW, 8,
                            Z_DEFAULT_STRATEGY) == Z_OK;
    }
    if (!made) {
        ZSTD_freeCCtx(c->zstd);
        free(c);
        return bf_fail(err, BF_NOMEM, 0, "out of memory for compression");
    }
    *out = c;
    return BF_OK;
}

void bf_compressor_free(struct bf_compressor *c) {
    if (c == NULL) {
        return;
    }
    if (c->zstd != NULL) {
        ZSTD_freeCCtx(c->zstd);
    } else {
        deflateEnd(&c->z);
    }
    free(c);
}

static enum bf_code with_zstd(struct bf_compressor *c, struct bf_slice in, enum bf_flush flush, struct bf_buf *out, struct bf_err *err) {
    ZSTD_EndDirective how = flush == BF_FLUSH_NONE ? ZSTD_e_continue : flush == BF_FLUSH_SYNC ? ZSTD_e_flush : ZSTD_e_end;
    ZSTD_inBuffer from = {in.data, in.len, 0};
    for (;;) {
        if (!bf_buf_reserve(out, ROOM_BYTES)) {
            return bf_fail(err, BF_NOMEM, 0, "the compressed answer is larger than %zu bytes", out->max);
        }
        ZSTD_outBuffer to = {out->data + out->len, out->cap - out->len, 0};
        size_t left = ZSTD_compressStream2(c->zstd, &to, &from, how);
        if (ZSTD_isError(left)) {
            return bf_fail(err, BF_BROKEN, 0, "zstd: %s", ZSTD_getErrorName(left));
        }
        out->len += to.pos;
        if (how == ZSTD_e_continue ? from.pos == from.size : left == 0) {
            return BF_OK;
        }
    }
}

static enum bf_code with_zlib(struct bf_compressor *c, struct bf_slice in, enum bf_flush flush, struct bf_buf *out, struct bf_err *err) {
    int how = flush == BF_FLUSH_NONE ? Z_NO_FLUSH : flush == BF_FLUSH_SYNC ? Z_SYNC_FLUSH : Z_FINISH;
    if (in.len > UINT32_MAX) {
        return bf_fail(err, BF_INVALID, 0, "a piece of %zu bytes is too large to compress", in.len);
    }
    c->z.next_in = (Bytef *)(uintptr_t)in.data;
    c->z.avail_in = (uInt)in.len;
    for (;;) {
        if (!bf_buf_reserve(out, ROOM_BYTES)) {
            return bf_fail(err, BF_NOMEM, 0, "the compressed answer is larger than %zu bytes", out->max);
        }
        size_t room = out->cap - out->len < UINT32_MAX ? out->cap - out->len : UINT32_MAX;
        c->z.next_out = (Bytef *)out->data + out->len;
        c->z.avail_out = (uInt)room;
        int rc = deflate(&c->z, how);
        out->len += room - c->z.avail_out;
        if (rc == Z_STREAM_END) {
            deflateReset(&c->z);
            return BF_OK;
        }
        if (rc != Z_OK && rc != Z_BUF_ERROR) {
            return bf_fail(err, BF_BROKEN, rc, "zlib: deflate says %d", rc);
        }
        if (how != Z_FINISH && c->z.avail_out > 0) { /* room left over: all of it is out */
            return BF_OK;
        }
    }
}

enum bf_code bf_compress(struct bf_compressor *c, struct bf_slice in, enum bf_flush flush, struct bf_buf *out, struct bf_err *err) {
    return c->zstd != NULL ? with_zstd(c, in, flush, out, err) : with_zlib(c, in, flush, out, err);
}

enum bf_code bf_inflate(struct bf_slice in, struct bf_buf *out, struct bf_err *err) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.data, .avail_in = (uInt)in.len};
    int rc = in.len > UINT32_MAX ? Z_DATA_ERROR : inflateInit2(&z, RAW_WINDOW);
    if (rc != Z_OK) {
        return bf_fail(err, rc == Z_MEM_ERROR ? BF_NOMEM : BF_INVALID, rc, "zlib: %zu bytes cannot be inflated", in.len);
    }
    while (rc == Z_OK) {
        if (!bf_buf_reserve(out, ROOM_BYTES)) {
            inflateEnd(&z);
            return bf_fail(err, BF_NOMEM, 0, "the inflated bytes are more than %zu", out->max);
        }
        size_t room = out->cap - out->len < UINT32_MAX ? out->cap - out->len : UINT32_MAX;
        z.next_out = (Bytef *)out->data + out->len;
        z.avail_out = (uInt)room;
        rc = inflate(&z, Z_NO_FLUSH);
        out->len += room - z.avail_out;
    }
    bool whole = rc == Z_STREAM_END && z.avail_in == 0;
    inflateEnd(&z);
    return whole ? BF_OK : bf_fail(err, BF_INVALID, rc, "zlib: not a whole deflate stream");
}
