/* Content codings and entity tags, for every answer alike: what a handler says is compressed when the client takes it and it is text of some
 * length. A compressed answer is another representation, so its entity tag has the coding's name behind it (RFC 9110 §8.8.3.3). */
#include "bf_http_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SMALL_BYTES 1024 /* not worth it */
#define PIECE_BYTES ((size_t)64 * 1024)

static bool is_text(const char *content_type) {
    static const char *const texts[] = {"application/json", "application/problem+json", "application/x-ndjson", "text/"};
    for (size_t i = 0; content_type != NULL && i < sizeof texts / sizeof *texts; i++) {
        if (strncasecmp(content_type, texts[i], strlen(texts[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* One element of Accept-Encoding: its name, and its weight in thousandths. */
static const char *next_coding(const char *at, size_t *len, int *weight) {
    at += strspn(at, " \t,");
    size_t element = strcspn(at, ",");
    *len = strcspn(at, ";, \t");
    const char *q = memchr(at, ';', element);
    *weight = 1000;
    if (q != NULL) {
        q += 1 + strspn(q + 1, " \t");
        *weight = strncasecmp(q, "q=", 2) == 0 ? (int)(strtod(q + 2, NULL) * 1000) : 1000;
    }
    return at;
}

enum bf_coding bf_http_accepted_coding(const char *accept_encoding) {
    static const enum bf_coding offered[] = {BF_CODING_ZSTD, BF_CODING_GZIP}; /* in our order of liking */
    int weights[2] = {-1, -1}, others = 0;
    size_t len;
    int weight;
    for (const char *at = accept_encoding; at != NULL && *at != '\0'; at += strcspn(at, ",")) {
        at = next_coding(at, &len, &weight);
        for (int i = 0; i < 2; i++) {
            const char *name = bf_coding_name(offered[i]);
            if (len == strlen(name) && strncasecmp(at, name, len) == 0) {
                weights[i] = weight;
            }
        }
        others = len == 1 && *at == '*' ? weight : others;
    }
    int best = 0, chosen = -1;
    for (int i = 0; i < 2; i++) {
        int w = weights[i] < 0 ? others : weights[i];
        if (w > best) {
            best = w;
            chosen = i;
        }
    }
    return chosen < 0 ? BF_CODING_IDENTITY : offered[chosen];
}

/* What this answer is sent as; says so in its headers. */
static enum bf_coding choose(struct bf_http_request *req, const char *content_type) {
    if (!is_text(content_type)) {
        return BF_CODING_IDENTITY;
    }
    bf_http_add_header(req, "Vary", "Accept-Encoding");
    return bf_http_accepted_coding(bf_http_header(req, "Accept-Encoding"));
}

/* ---- entity tags ---- */

static void tag_text(const char *opaque, enum bf_coding coding, char dst[BF_ETAG_BYTES]) {
    const char *name = bf_coding_name(coding);
    char *p = dst;
    *p++ = '"';
    p = mempcpy(p, opaque, strnlen(opaque, BF_ETAG_OPAQUE_MAX));
    if (name != NULL) {
        *p++ = '.';
        p = stpcpy(p, name);
    }
    memcpy(p, "\"", 2);
}

/* If-None-Match compares weakly: W/ does not matter. */
static bool listed(const char *list, const char *tag) {
    size_t len = strlen(tag);
    for (const char *at = strchr(list, '"'); at != NULL;) {
        const char *end = strchr(at + 1, '"');
        if (end == NULL) {
            return false;
        }
        if ((size_t)(end - at) + 1 == len && memcmp(at, tag, len) == 0) {
            return true;
        }
        at = strchr(end + 1, '"');
    }
    return false;
}

bool bf_http_etag(struct bf_http_request *req, const char *opaque) {
    const char *list = bf_http_header(req, "If-None-Match");
    size_t len = strnlen(opaque, BF_ETAG_OPAQUE_MAX);
    memcpy(req->etag, opaque, len);
    req->etag[len] = '\0';
    if (list == NULL) {
        return false;
    }
    for (int coding = BF_CODING_IDENTITY; coding <= BF_CODING_ZSTD; coding++) {
        char tag[BF_ETAG_BYTES];
        tag_text(opaque, (enum bf_coding)coding, tag);
        if (listed(list, tag) || strcmp(list, "*") == 0) {
            req->etag[0] = '\0';
            bf_http_add_header(req, "ETag", tag);
            bf_http_add_header(req, "Vary", "Accept-Encoding");
            bf_http_reply(req, 304, NULL, NULL, 0);
            return true;
        }
    }
    return false;
}

static void add_tag(struct bf_http_request *req, enum bf_coding coding) {
    char tag[BF_ETAG_BYTES];
    if (req->etag[0] != '\0') {
        tag_text(req->etag, coding, tag);
        bf_http_add_header(req, "ETag", tag);
    }
}

static void add_coding(struct bf_http_request *req, enum bf_coding coding) {
    if (coding != BF_CODING_IDENTITY) {
        bf_http_add_header(req, "Content-Encoding", bf_coding_name(coding));
    }
    add_tag(req, coding);
}

/* ---- whole answers ---- */

bool bf_http_encode_body(struct bf_http_request *req, const char *content_type, struct bf_slice body, struct bf_buf *out) {
    struct bf_compressor *c = NULL;
    struct bf_err err;
    enum bf_coding coding = choose(req, content_type);
    bool done = false;
    if (coding != BF_CODING_IDENTITY && body.len >= SMALL_BYTES && bf_compressor_new(coding, &c, &err) == BF_OK) {
        bf_buf_init(out, body.len + 64 * 1024);
        done = bf_compress(c, body, BF_FLUSH_FINISH, out, &err) == BF_OK; /* larger than the original: never mind */
        if (!done) {
            bf_buf_fini(out);
        }
        bf_compressor_free(c);
    }
    add_coding(req, done ? coding : BF_CODING_IDENTITY);
    return done;
}

/* ---- streams ---- */

struct encoder {
    struct bf_http_stream inner;
    struct bf_compressor *compressor;
    struct bf_buf out;
    size_t sent;
    bool ended;
    char piece[PIECE_BYTES];
};

/* Whatever the source hands over can be decoded at once: a live stream must not sit in a window. */
static ssize_t encoder_read(void *ctx, char *dst, size_t max) {
    struct encoder *e = ctx;
    struct bf_err err;
    while (e->sent == e->out.len) {
        if (e->ended) {
            return 0;
        }
        ssize_t n = e->inner.read(e->inner.ctx, e->piece, sizeof e->piece);
        if (n < 0) {
            return n;
        }
        e->ended = n == 0;
        bf_buf_clear(&e->out);
        e->sent = 0;
        if (bf_compress(e->compressor, (struct bf_slice){e->piece, (size_t)n}, e->ended ? BF_FLUSH_FINISH : BF_FLUSH_SYNC, &e->out,
                        &err) != BF_OK) {
            return -1;
        }
    }
    size_t n = e->out.len - e->sent < max ? e->out.len - e->sent : max;
    memcpy(dst, e->out.data + e->sent, n);
    e->sent += n;
    return (ssize_t)n;
}

static void encoder_trailers(void *ctx, bf_http_put_trailer *put, void *to) {
    struct encoder *e = ctx;
    if (e->inner.trailers != NULL) {
        e->inner.trailers(e->inner.ctx, put, to);
    }
}

static void encoder_close(void *ctx) {
    struct encoder *e = ctx;
    if (e->inner.close != NULL) {
        e->inner.close(e->inner.ctx);
    }
    bf_compressor_free(e->compressor);
    bf_buf_fini(&e->out);
    free(e);
}

void bf_http_encode_stream(struct bf_http_request *req, const char *content_type, struct bf_http_stream *stream) {
    struct bf_err err;
    enum bf_coding coding = choose(req, content_type);
    struct encoder *e = coding != BF_CODING_IDENTITY ? malloc(sizeof *e) : NULL;
    struct bf_compressor *c = NULL;
    if (e == NULL || bf_compressor_new(coding, &c, &err) != BF_OK) {
        free(e);
        add_coding(req, BF_CODING_IDENTITY);
        return;
    }
    e->inner = *stream;
    e->compressor = c;
    e->sent = 0;
    e->ended = false;
    bf_buf_init(&e->out, 4 * PIECE_BYTES);
    *stream = (struct bf_http_stream){.read = encoder_read, .close = encoder_close, .ctx = e, .trailers = encoder_trailers};
    add_coding(req, coding);
}
