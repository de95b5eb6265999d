/* Compression: gzip (RFC 1952), zstd (RFC 8878) and raw deflate (RFC 1951), in pieces or at once. The only place that knows zlib and
 * libzstd. A struct bf_compressor belongs to one thread at a time; its output depends only on what it was given and when it was flushed.
 */
#ifndef BF_COMPRESS_H
#define BF_COMPRESS_H

#include "bf_buf.h"
#include "bf_err.h"

enum bf_coding { BF_CODING_IDENTITY, BF_CODING_GZIP, BF_CODING_ZSTD, BF_CODING_DEFLATE };
/* "gzip", "zstd"; NULL for the others, which are no content coding of HTTP. */
const char *bf_coding_name(enum bf_coding coding);

enum bf_flush {
    BF_FLUSH_NONE,  /* gather */
    BF_FLUSH_SYNC,  /* the reader can decode everything given so far */
    BF_FLUSH_FINISH /* the end; the next call begins anew */
};

struct bf_compressor;

/* `coding` is not IDENTITY. */
BF_MUST_CHECK enum bf_code bf_compressor_new(enum bf_coding coding, struct bf_compressor **out, struct bf_err *err);
void bf_compressor_free(struct bf_compressor *c);
/* Compress `in` and append what comes of it to *out. BF_NOMEM: out's max was reached. */
BF_MUST_CHECK enum bf_code bf_compress(struct bf_compressor *c, struct bf_slice in, enum bf_flush flush, struct bf_buf *out,
                                       struct bf_err *err);

/* A whole raw deflate stream back into its bytes, appended to *out. BF_INVALID: it is broken or cut. BF_NOMEM: out's max was reached. */
BF_MUST_CHECK enum bf_code bf_inflate(struct bf_slice in, struct bf_buf *out, struct bf_err *err);

#endif
