/* Answers: whole ones, streams, trailers. Each ends in queue(). */
#include "bf_http_internal.h"
#include "bf_loop.h"

#include <microhttpd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_BLOCK_BYTES ((size_t)64 * 1024)

static void queue(struct bf_http_request *req, int status, const char *content_type, struct MHD_Response *response, int64_t bytes) {
    bf_assert(!req->replied);
    req->replied = true;
    if (response == NULL) {
        req->queued = MHD_NO; /* memory is out: the connection is closed */
        return;
    }
    if (bf_loop_refused()) { /* it is all done again on a thread that may wait */
        MHD_destroy_response(response);
        return;
    }
    if (content_type != NULL) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    }
    const char *p = req->headers.data, *end = p + req->headers.len;
    while (p < end) {
        const char *value = p + strlen(p) + 1;
        (void)MHD_add_response_header(response, p, value);
        p = value + strlen(value) + 1;
    }
    if (req->must_close || bf_http_stopping(req->server)) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    req->status = status;
    if (req->on_worker) {
        req->response = response;
        req->response_bytes = bytes;
        return;
    }
    req->queued = (int)MHD_queue_response(req->mhd, (unsigned)status, response);
    MHD_destroy_response(response);
    bf_conn_phase(bf_conn_of(req), CONN_PHASE_SEND, bytes);
}

void bf_http_add_header(struct bf_http_request *req, const char *name, const char *value) {
    if (!bf_http_is_token(name, strlen(name)) || !bf_http_is_field_value(value, strlen(value))) {
        return;
    }
    size_t before = req->headers.len;
    bf_buf_append(&req->headers, name, strlen(name) + 1);
    bf_buf_append(&req->headers, value, strlen(value) + 1);
    if (req->headers.failed) { /* all of it or nothing */
        req->headers.len = before;
        req->headers.failed = false;
    }
}

/* The body in another coding, if that is asked for and done. */
static bool reply_encoded(struct bf_http_request *req, int status, const char *content_type, const void *body, size_t len) {
    struct bf_buf encoded;
    if (!bf_http_encode_body(req, content_type, (struct bf_slice){body, len}, &encoded)) {
        return false;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(encoded.len, encoded.data, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        bf_buf_fini(&encoded);
    }
    queue(req, status, content_type, response, (int64_t)encoded.len);
    return true;
}

void bf_http_reply(struct bf_http_request *req, int status, const char *content_type, const void *body, size_t len) {
    if (reply_encoded(req, status, content_type, body, len)) {
        return;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, len > 0 ? (void *)(uintptr_t)body : (void *)(uintptr_t)"", MHD_RESPMEM_MUST_COPY);
    queue(req, status, content_type, response, (int64_t)len);
}

void bf_http_reply_take(struct bf_http_request *req, int status, const char *content_type, struct bf_buf *body) {
    if (body->failed) { /* half an answer is none */
        bf_buf_fini(body);
        bf_http_reply(req, 500, "text/plain", "the answer did not fit\n", 23);
        return;
    }
    if (body->len == 0) {
        bf_buf_fini(body);
        bf_http_reply(req, status, content_type, "", 0);
        return;
    }
    size_t len = body->len;
    if (reply_encoded(req, status, content_type, body->data, len)) {
        bf_buf_fini(body);
        return;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(len, body->data, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(body->data);
    }
    *body = (struct bf_buf){.max = body->max};
    queue(req, status, content_type, response, (int64_t)len);
}

struct stream {
    struct bf_http_stream calls;
    struct bf_conn *conn;
    struct MHD_Response *response; /* libmicrohttpd's; it outlives the stream */
};

static void put_trailer(void *to, const char *name, const char *value) {
    const struct stream *s = to;
    if (bf_http_is_token(name, strlen(name)) && bf_http_is_field_value(value, strlen(value))) {
        (void)MHD_add_response_footer(s->response, name, value);
    }
}

static ssize_t stream_read(void *cls, uint64_t pos, char *dst, size_t max) {
    (void)pos;
    struct stream *s = cls;
    bf_conn_phase(s->conn, CONN_PHASE_WORK, 0);
    ssize_t n = s->calls.read(s->calls.ctx, dst, max);
    bf_assert(n <= (ssize_t)max);
    bf_conn_phase(s->conn, CONN_PHASE_SEND, n > 0 ? n : 0);
    if (n == 0 && s->calls.trailers != NULL) {
        s->calls.trailers(s->calls.ctx, put_trailer, s);
    }
    return n > 0 ? n : n == 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void stream_close(void *cls) {
    struct stream *s = cls;
    if (s->calls.close != NULL) {
        s->calls.close(s->calls.ctx);
    }
    free(s);
}

/* With a thread per connection: NULL is no memory. */
static struct MHD_Response *read_by_itself(struct bf_http_request *req, struct bf_http_stream calls) {
    struct stream *s = malloc(sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    *s = (struct stream){.calls = calls, .conn = bf_conn_of(req)};
    s->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, stream_read, s, stream_close);
    if (s->response == NULL) {
        free(s);
        return NULL;
    }
    return s->response;
}

static struct MHD_Response *pumped(struct bf_http_request *req, struct bf_http_stream calls) {
    struct bf_conn *conn = bf_conn_of(req);
    struct MHD_Response *response = NULL;
    conn->pump = bf_pump_new(conn, calls, &response);
    return response;
}

void bf_http_reply_stream(struct bf_http_request *req, int status, const char *content_type, struct bf_http_stream calls) {
    bf_assert(req->on_worker || req->server->workers == NULL); /* a quick route does not stream */
    if (strcmp(req->method, "HEAD") == 0) { /* libmicrohttpd would send the last chunk of a body that is not there */
        if (calls.close != NULL) {
            calls.close(calls.ctx);
        }
        req->must_close = true;
        bf_http_reply(req, status, content_type, "", 0);
        return;
    }
    bf_http_encode_stream(req, content_type, &calls);
    struct MHD_Response *response = req->on_worker ? pumped(req, calls) : read_by_itself(req, calls);
    if (response == NULL && calls.close != NULL) {
        calls.close(calls.ctx);
    }
    queue(req, status, content_type, response, 0);
}

bool bf_http_gone(const struct bf_http_request *req) {
    const struct bf_conn *conn = (const void *)((const char *)req - offsetof(struct bf_conn, req));
    return conn->pump != NULL ? bf_pump_gone(conn->pump) : bf_conn_gone(conn);
}
