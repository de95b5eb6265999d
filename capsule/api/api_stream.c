/* Phases: open (what begins the format is in the buffer) -> pieces (`more` fills, read() sends) -> the end is in the buffer -> done. A failure
 * after the first byte cuts the connection: a stream without its end was cut, and the client goes on from the last whole event. A server
 * that stops ends its streams with complete:false.
 */
#include "api_writer.h"

#include "bf_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES_MAX ((size_t)192 << 20)
#define PIECE_BYTES_GOAL ((size_t)512 << 10) /* two of them are in memory, and in the processor's cache */
#define PAGE_BYTES_GOAL ((size_t)2 << 20)    /* what its rows become */
#define ASIDE_BYTES_MIN ((size_t)64 << 10) /* less is sooner done than handed over */
#define ROWS_FIRST 128
#define ROWS_MAX 3000 /* PostgreSQL plans a query for each page */

struct api *api_stream_api(struct api_stream *st) {
    return st->api;
}

size_t api_stream_rows(const struct api_stream *st) {
    return st->rows;
}

size_t api_stream_bytes(const struct api_stream *st) {
    return st->buf.len;
}

bool api_stream_full(const struct api_stream *st) {
    return st->buf.len >= PIECE_BYTES_GOAL;
}

bool api_stream_began(const struct api_stream *st) {
    return st->began;
}

bool api_stream_may_wait(const struct api_stream *st) {
    return !bf_http_stopping(st->http) && !bf_http_gone(st->req);
}

void api_stream_set_through(struct api_stream *st, int64_t recorded_through_us) {
    st->settings.recorded_through_us = recorded_through_us;
}

void api_stream_heartbeat(struct api_stream *st, int64_t recorded_through_us) {
    if (st->writer->heartbeat) {
        st->writer->heartbeat(st, recorded_through_us);
    }
}

enum bf_code api_stream_event(struct api_stream *st, const struct event *ev, struct bf_err *err) {
    return st->ended_early ? BF_OK : st->writer->event(st, ev, err);
}

/* ---- the digest ---- */

void api_stream_digest(struct api_stream *st) {
    api_digest_add(&st->digest, st->buf.data + st->digested, st->buf.len - st->digested);
    st->digested = st->buf.len;
}

void api_stream_skip_digest(struct api_stream *st) {
    st->digested = st->buf.len;
}

/* A large piece is digested while it is sent and the next one is made, in the other buffer. */
static void digest_piece(struct api_stream *st) {
    if (!st->began || st->buf.len - st->digested < ASIDE_BYTES_MIN) {
        api_stream_digest(st);
        return;
    }
    api_digest_begin(&st->digest, st->buf.data + st->digested, st->buf.len - st->digested);
    st->digested = st->buf.len;
    st->aside = true;
}

/* All of the piece is sent. */
static void next_piece(struct api_stream *st) {
    if (st->aside) {
        struct bf_buf busy = st->buf;
        st->buf = st->spare;
        st->spare = busy;
        st->aside = false;
    }
    bf_buf_clear(&st->buf);
    st->sent = st->digested = 0;
}

/* ---- pieces ---- */

static void adapt_rows(struct api_stream *st, uint64_t written, size_t bytes) {
    size_t per_row = written > 0 ? bytes / written + 1 : 1;
    size_t fit = PAGE_BYTES_GOAL / per_row + 1;
    st->rows = st->rows * 2 < fit ? st->rows * 2 : fit;
    st->rows = st->rows < ROWS_MAX ? st->rows : ROWS_MAX;
}

static enum bf_code finish(struct api_stream *st, bool complete, struct bf_err *err) {
    st->complete = complete && !st->ended_early;
    if (st->writer->flush && st->writer->flush(st, err) != BF_OK) {
        return err->code;
    }
    api_stream_digest(st);
    api_digest_end(&st->digest, st->digest_text);
    if (st->writer->trailer) {
        st->writer->trailer(st);
    }
    st->done = true;
    return BF_OK;
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
    if (!exhausted && !st->ended_early) {
        digest_piece(st);
    } else if (finish(st, true, err) != BF_OK) {
        return err->code;
    }
    return st->buf.failed ? bf_fail(err, BF_NOMEM, 0, "a piece of the stream is larger than %zu bytes", st->buf.max) : BF_OK;
}

static ssize_t stream_read(void *ctx, char *dst, size_t max) {
    struct api_stream *st = ctx;
    struct bf_err err;
    st->began = true;
    while (st->sent == st->buf.len) {
        if (st->done) {
            return 0;
        }
        next_piece(st);
        enum bf_code code = bf_http_stopping(st->http) ? finish(st, false, &err) : fill(st, &err);
        if (code != BF_OK) {
            bf_log_err(BF_LOG_WARN, "stream_cut", &err, "events=%llu", (unsigned long long)st->count);
            return -1;
        }
        if (st->buf.len == 0 && !st->done && !bf_http_stopping(st->http) && bf_http_gone(st->req)) {
            return -1;
        }
    }
    size_t n = st->buf.len - st->sent < max ? st->buf.len - st->sent : max;
    memcpy(dst, st->buf.data + st->sent, n);
    st->sent += n;
    st->bytes_sent += (int64_t)n;
    return (ssize_t)n;
}

static void stream_trailers(void *ctx, bf_http_put_trailer *put, void *to) {
    const struct api_stream *st = ctx;
    char count[24];
    snprintf(count, sizeof(count), "%llu", (unsigned long long)st->count);
    put(to, "Capsule-Count", count);
    put(to, "Capsule-Digest", st->digest_text);
    if (st->next[0]) {
        put(to, "Capsule-Next", st->next);
    }
    put(to, "Capsule-Complete", st->complete ? "true" : "false");
}

static void stream_close(void *ctx) {
    struct api_stream *st = ctx;
    if (st->writer->fini) {
        st->writer->fini(st);
    }
    api_read_end(st->api, st->read_id, (int64_t)st->count, st->bytes_sent, st->digest_text,
                 st->done && st->complete && st->sent == st->buf.len);
    api_digest_fini(&st->digest); /* before the buffers that it may be reading */
    bf_buf_fini(&st->text);
    bf_buf_fini(&st->buf);
    bf_buf_fini(&st->spare);
    st->ops->free(st->source);
    free(st);
}

/* ---- the beginning ---- */

static const struct api_writer *const writers[API_FORMATS] = {
    [API_NDJSON] = &api_writer_ndjson, [API_JSON] = &api_writer_json, [API_CSV] = &api_writer_csv,
    [API_AVRO] = &api_writer_avro,     [API_SSE] = &api_writer_sse,
};

static struct api_stream *stream_new(struct api_call *call, const struct api_stream_settings *settings, const struct api_stream_ops *ops,
                                     void *source) {
    struct api_stream *st = calloc(1, sizeof(*st));
    if (!st) {
        return NULL;
    }
    st->api = call->api;
    st->http = bf_http_server(call->req);
    st->req = call->req;
    st->ops = ops;
    st->source = source;
    st->writer = writers[settings->format];
    st->settings = *settings;
    st->settings.opening = NULL;
    st->settings.resumed = NULL;
    api_digest_init(&st->digest);
    st->rows = ROWS_FIRST;
    bf_buf_init(&st->buf, PIECE_BYTES_MAX);
    bf_buf_init(&st->spare, PIECE_BYTES_MAX);
    bf_buf_init(&st->text, PIECE_BYTES_MAX);
    bf_json_init(&st->json, &st->buf);
    if (settings->resumed && strlen(settings->resumed) < sizeof(st->next)) {
        st->resumed = true;
        strcpy(st->next, settings->resumed);
    }
    return st;
}

static enum bf_code begin(struct api_stream *st, const struct bf_buf *opening, struct bf_err *err) {
    if (st->settings.format == API_JSON) {
        bf_json_object(&st->json);
        bf_json_raw(&st->json, opening->data, opening->len);
        st->json.comma = true;
        bf_json_key(&st->json, "states");
        bf_json_array(&st->json);
    }
    enum bf_code code = st->writer->begin ? st->writer->begin(st, err) : BF_OK;
    return code == BF_OK ? fill(st, err) : code;
}

void api_stream_reply(struct api_call *call, const struct api_stream_settings *settings, const struct api_stream_ops *ops, void *source) {
    struct bf_err err;
    struct api_stream *st = stream_new(call, settings, ops, source);
    if (!st) {
        ops->free(source);
        bf_http_problem(call->req, 503, NULL, "out of memory");
        return;
    }
    if (begin(st, settings->opening, &err) != BF_OK) {
        api_fail(call, &err);
        stream_close(st);
        return;
    }
    if (!api_read_begin(call, &st->read_id)) {
        stream_close(st);
        return;
    }
    api_watermark_headers(call, st->settings.recorded_through_us);
    if (settings->format != API_JSON) {
        bf_http_add_header(call->req, "Trailer", "Capsule-Count, Capsule-Digest, Capsule-Next, Capsule-Complete");
    }
    bf_http_reply_stream(call->req, 200, st->writer->content_type,
                         (struct bf_http_stream){.read = stream_read, .close = stream_close, .ctx = st,
                                                 .trailers = settings->format != API_JSON ? stream_trailers : NULL});
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
static double quality(const char *accept, const char *type, bool *exact) {
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
    *exact = best_len == strlen(type);
    return best;
}

/* By quality; where that is equal, a type that is named before one that only a wildcard covers, then in our order. */
static int best_format(const char *accept, unsigned offered) {
    int chosen = -1;
    double best = 0;
    bool best_exact = false;
    for (int format = 0; format < API_FORMATS; format++) {
        bool exact = false, other_exact = false;
        if (!(offered & API_OFFER(format))) {
            continue;
        }
        double q = quality(accept, writers[format]->media_type, &exact);
        if (format == API_NDJSON) {
            double other = quality(accept, "application/ndjson", &other_exact);
            exact = exact || other_exact;
            q = other > q ? other : q;
        }
        if (q > best || (q == best && q > 0 && exact && !best_exact)) {
            best = q;
            best_exact = exact;
            chosen = format;
        }
    }
    return chosen;
}

bool api_stream_format(struct api_call *call, unsigned offered, enum api_format *out) {
    const char *names[API_FORMATS + 1] = {NULL}, *accept = bf_http_header(call->req, "Accept");
    enum api_format formats[API_FORMATS] = {API_NDJSON};
    char types[200] = "";
    int count = 0, choice = 0;
    for (int format = 0; format < API_FORMATS; format++) {
        if (offered & API_OFFER(format)) {
            names[count] = writers[format]->name;
            formats[count++] = (enum api_format)format;
            snprintf(types + strlen(types), sizeof(types) - strlen(types), "%s%s", types[0] ? ", " : "", writers[format]->media_type);
        }
    }
    if (!api_param_choice(call, "format", names, &choice)) {
        return false;
    }
    *out = formats[choice];
    if (bf_http_query(call->req, "format") || !accept) {
        return true;
    }
    int best = best_format(accept, offered);
    if (best < 0) {
        bf_http_problem(call->req, 406, NULL, "this answer comes as %s", types);
        return false;
    }
    *out = (enum api_format)best;
    return true;
}
