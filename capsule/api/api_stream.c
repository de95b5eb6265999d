/* Phases: open (the opening is in the buffer) -> pieces (`more` fills, read() sends) -> the trailer is in the buffer -> done. A failure after
 * the first byte cuts the connection: a stream without its last line was cut, and the client goes on from the last whole line.
 */
#include "api_stream.h"

#include "bf_log.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PIECE_BYTES_MAX ((size_t)192 << 20)
#define PIECE_BYTES_GOAL ((size_t)1 << 20)
#define ROWS_FIRST 128
#define ROWS_MAX 1000

struct api_stream {
    struct api *api;
    struct bf_http *http;
    const struct api_stream_ops *ops;
    void *source;
    enum api_format format;
    int64_t recorded_through_us;
    EVP_MD_CTX *digest;
    struct bf_buf buf;
    struct bf_json json; /* onto buf */
    size_t sent, rows;
    uint64_t count;
    bool done; /* the trailer is in the buffer */
    char next[CURSOR_ENCODED_MAX]; /* of the last event written; empty: none */
};

struct api *api_stream_api(struct api_stream *st) {
    return st->api;
}

size_t api_stream_rows(const struct api_stream *st) {
    return st->rows;
}

struct cursor_text {
    const char *text;
};

static void add_cursor(struct bf_json *j, void *ctx) {
    const struct cursor_text *c = ctx;
    bf_json_member_string(j, "cursor", c->text);
}

enum bf_code api_stream_event(struct api_stream *st, const struct event *ev, struct bf_err *err) {
    struct cursor_text cursor = {st->next};
    bool line = st->format == API_NDJSON;
    if (line) {
        st->ops->cursor(st->source, ev, st->next);
        bf_json_init(&st->json, &st->buf);
    }
    if (event_json_write(&st->json, ev, st->api->capsule->schemas, line ? add_cursor : NULL, &cursor, err) != BF_OK) {
        return err->code;
    }
    if (line) {
        bf_buf_putc(&st->buf, '\n');
    }
    st->count++;
    return BF_OK;
}

/* ---- the end ---- */

static enum bf_code put_digest(struct api_stream *st, struct bf_err *err) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char text[8 + 2 * EVP_MAX_MD_SIZE] = "sha256:";
    if (EVP_DigestFinal_ex(st->digest, sum, &len) != 1) {
        return bf_fail(err, BF_BROKEN, 0, "SHA-256 failed");
    }
    for (unsigned i = 0; i < len; i++) {
        static const char hex[] = "0123456789abcdef";
        text[7 + 2 * i] = hex[sum[i] >> 4];
        text[8 + 2 * i] = hex[sum[i] & 15];
    }
    text[7 + 2 * len] = '\0';
    bf_json_member_string(&st->json, "digest", text);
    return BF_OK;
}

static enum bf_code put_trailer(struct api_stream *st, struct bf_err *err) {
    struct bf_json *j = &st->json;
    bf_json_init(j, &st->buf);
    bf_json_object(j);
    bf_json_member_bool(j, "end", true);
    bf_json_member_int(j, "count", (int64_t)st->count);
    if (put_digest(st, err) != BF_OK) {
        return err->code;
    }
    bf_json_key(j, "next");
    bf_json_string(j, st->next[0] ? st->next : NULL);
    bf_json_member_time(j, "recorded_through", st->recorded_through_us);
    bf_json_member_bool(j, "complete", true);
    bf_json_object_end(j);
    bf_buf_putc(&st->buf, '\n');
    return BF_OK;
}

static void put_json_end(struct api_stream *st) {
    bf_json_array_end(&st->json);
    bf_json_member_int(&st->json, "count", (int64_t)st->count);
    bf_json_member_bool(&st->json, "complete", true);
    bf_json_object_end(&st->json);
    bf_buf_putc(&st->buf, '\n');
}

/* ---- pieces ---- */

static void adapt_rows(struct api_stream *st, uint64_t written, size_t bytes) {
    size_t per_row = written > 0 ? bytes / written + 1 : 1;
    size_t fit = PIECE_BYTES_GOAL / per_row + 1;
    st->rows = st->rows * 2 < fit ? st->rows * 2 : fit;
    st->rows = st->rows < ROWS_MAX ? st->rows : ROWS_MAX;
}

/* One more piece into the buffer, and the end when it was the last. */
static enum bf_code fill(struct api_stream *st, struct bf_err *err) {
    bool exhausted = false;
    uint64_t before = st->count;
    size_t start = st->buf.len;
    if (st->ops->more(st->source, st, &exhausted, err) != BF_OK) {
        return err->code;
    }
    adapt_rows(st, st->count - before, st->buf.len - start);
    if (st->format == API_NDJSON && EVP_DigestUpdate(st->digest, st->buf.data + start, st->buf.len - start) != 1) {
        return bf_fail(err, BF_BROKEN, 0, "SHA-256 failed");
    }
    if (exhausted) {
        st->done = true;
        if (st->format == API_JSON) {
            put_json_end(st);
        } else if (put_trailer(st, err) != BF_OK) {
            return err->code;
        }
    }
    return st->buf.failed ? bf_fail(err, BF_NOMEM, 0, "a piece of the stream is larger than %zu bytes", st->buf.max) : BF_OK;
}

static ssize_t stream_read(void *ctx, char *dst, size_t max) {
    struct api_stream *st = ctx;
    struct bf_err err;
    while (st->sent == st->buf.len) {
        if (st->done) {
            return 0;
        }
        if (bf_http_stopping(st->http)) {
            return -1;
        }
        bf_buf_clear(&st->buf);
        st->sent = 0;
        if (fill(st, &err) != BF_OK) {
            bf_log_err(BF_LOG_WARN, "stream_cut", &err, "events=%llu", (unsigned long long)st->count);
            return -1;
        }
    }
    size_t n = st->buf.len - st->sent < max ? st->buf.len - st->sent : max;
    memcpy(dst, st->buf.data + st->sent, n);
    st->sent += n;
    return (ssize_t)n;
}

static void stream_close(void *ctx) {
    struct api_stream *st = ctx;
    EVP_MD_CTX_free(st->digest);
    bf_buf_fini(&st->buf);
    st->ops->free(st->source);
    free(st);
}

static struct api_stream *stream_new(struct api_call *call, const struct api_stream_ops *ops, void *source) {
    struct api_stream *st = calloc(1, sizeof(*st));
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    if (!st || !digest || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(digest);
        free(st);
        return NULL;
    }
    st->api = call->api;
    st->http = bf_http_server(call->req);
    st->ops = ops;
    st->source = source;
    st->digest = digest;
    st->rows = ROWS_FIRST;
    bf_buf_init(&st->buf, PIECE_BYTES_MAX);
    bf_json_init(&st->json, &st->buf);
    return st;
}

void api_stream_reply(struct api_call *call, enum api_format format, const struct api_stream_ops *ops, void *source, const char *resumed,
                      int64_t recorded_through_us, const struct bf_buf *opening) {
    struct bf_err err;
    struct api_stream *st = stream_new(call, ops, source);
    if (!st) {
        ops->free(source);
        bf_http_problem(call->req, 503, NULL, "out of memory");
        return;
    }
    st->format = format;
    st->recorded_through_us = recorded_through_us;
    if (resumed && strlen(resumed) < sizeof(st->next)) {
        strcpy(st->next, resumed);
    }
    if (format == API_JSON) {
        bf_json_object(&st->json);
        bf_json_raw(&st->json, opening->data, opening->len);
        st->json.comma = true;
        bf_json_key(&st->json, "states");
        bf_json_array(&st->json);
    }
    if (fill(st, &err) != BF_OK) {
        api_fail(call, &err);
        stream_close(st);
        return;
    }
    api_watermark_headers(call, recorded_through_us);
    bf_http_reply_stream(call->req, 200, format == API_JSON ? "application/json" : "application/x-ndjson",
                         (struct bf_http_stream){stream_read, stream_close, st});
}

/* ---- what the client wants ---- */

static bool same_type(const char *range, size_t len, const char *type) {
    const char *slash = strchr(type, '/');
    size_t family = (size_t)(slash - type) + 1;
    if (len == 3 && strncmp(range, "*/*", 3) == 0) {
        return true;
    }
    if (len == family + 1 && range[family] == '*' && strncasecmp(range, type, family) == 0) {
        return true;
    }
    return len == strlen(type) && strncasecmp(range, type, len) == 0;
}

/* The best quality that an Accept header gives to `type` (RFC 9110 §12.5.1), an exact range before a wildcard; -1: not named. */
static double quality(const char *accept, const char *type) {
    double best = -1;
    size_t best_len = 0;
    while (*accept) {
        accept += strspn(accept, " \t,");
        size_t element = strcspn(accept, ",");
        size_t len = strcspn(accept, ";, \t");
        if (len > 0 && same_type(accept, len, type) && (best < 0 || (*accept != '*' && len > best_len))) {
            const char *q = strstr(accept, "q=");
            best = q && q < accept + element ? strtod(q + 2, NULL) : 1;
            best_len = *accept == '*' ? 0 : len;
        }
        accept += element;
    }
    return best;
}

bool api_stream_format(struct api_call *call, bool json, enum api_format *out) {
    static const char *const both[] = {"ndjson", "json", NULL}, *const one[] = {"ndjson", NULL};
    int choice = API_NDJSON;
    const char *accept = bf_http_header(call->req, "Accept");
    if (!api_param_choice(call, "format", json ? both : one, &choice)) {
        return false;
    }
    if (!bf_http_query(call->req, "format") && accept) {
        double nd = quality(accept, "application/x-ndjson"), other = quality(accept, "application/ndjson");
        double plain = json ? quality(accept, "application/json") : -1;
        nd = nd > other ? nd : other;
        if (nd <= 0 && plain <= 0) {
            bf_http_problem(call->req, 406, NULL, "this answer comes as application/x-ndjson%s", json ? " or application/json" : "");
            return false;
        }
        choice = plain > nd ? API_JSON : API_NDJSON;
    }
    *out = (enum api_format)choice;
    return true;
}
