/* An HTTP/1.1 server (RFC 9110, RFC 9112) on libmicrohttpd: routes, strict requests, bounded everything.
 *
 * A handler may block (a database, a full queue) and a stream's reader may wait: each connection has a thread of its own, or, where `loops` are asked for,
 * a request that waits has one while it does. A client that closes its sending side is answered (RFC 9112, 9.6). Connections are limited in
 * total and per address, the request head has a deadline, bodies have a limit per route. What smuggles requests (two
 * Content-Length, Content-Length with Transfer-Encoding, bare LF, two Host) is refused with 400 and the connection closed.
 * Path segments and query values are percent-decoded once, each by itself; %00 and invalid UTF-8 are refused.
 * A request's handler and its stream run on one thread; the request lives until the handler returns, a stream until its close().
 * Plain or TLS 1.2 and later. Nothing here is a proxy.
 */
#ifndef BF_HTTP_H
#define BF_HTTP_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct bf_http;         /* the server */
struct bf_http_request; /* one request; borrowed by the handler */

/* Answer with exactly one of the bf_http_reply* or bf_http_problem calls; a handler that returns without one yields a 500. */
typedef void bf_http_handler(struct bf_http_request *req, void *ctx);

struct bf_http_route {
    const char *method;  /* "GET": HEAD is answered too */
    const char *pattern; /* "/v1/nodes/{id}/history"; {x} is one segment; literal segments win over {x} */
    bf_http_handler *handler;
    const char *const *params; /* allowed query parameters, NULL-ended: any other gives a 400 that names it; NULL: not checked */
    size_t body_max_bytes;     /* 0: no body allowed (413 or 400) */
};

struct bf_http_settings {
    const char *host; /* loopback unless said otherwise */
    int port;         /* 0: any free one, see bf_http_port() */
    bool port_or_free; /* when the port is taken, use a free one */
    int connections_max, connections_per_address_max; /* 0: 1024, 1024 */
    int loops; /* event loops for all connections; 0, and always with TLS: a thread for each connection */
    /* The handlers, NULL-ended, that a loop calls itself: they do not wait as a rule, do not stream, and what in them may wait asks bf_loop_refuses()
     * (bf_loop.h); when something was refused they are called a second time, on a thread that may wait. NULL: none. */
    bf_http_handler *const *quick;
    int64_t head_timeout_ms, idle_timeout_ms;         /* 0: 10 s, 60 s */
    const char *tls_cert, *tls_key;                   /* files in PEM, the certificate first of its chain; NULL: plain HTTP */
    /* Called after each answered request, from its thread; route is the pattern or "other". May be NULL. */
    void (*observe)(void *ctx, const char *method, const char *route, int status, double seconds);
    /* Writes errors that the server itself finds (404, 405, 400, 413, 500 …). NULL: application/problem+json. */
    void (*on_error)(struct bf_http_request *req, int status, const char *detail, const char *param);
};

/* Start serving; `routes` (method NULL ends it) and ctx must outlive the server. BF_AGAIN: the port is taken; BF_INVALID: address, certificate or
 * key. */
BF_MUST_CHECK enum bf_code bf_http_start(const struct bf_http_settings *settings, const struct bf_http_route *routes,
                                         void *ctx, struct bf_http **out, struct bf_err *err);
int bf_http_port(const struct bf_http *h);
/* No new connections; running handlers and streams are asked to end (bf_http_stopping) and waited for. NULL is fine. */
void bf_http_stop(struct bf_http *h);
bool bf_http_stopping(const struct bf_http *h);

/* Reading the request; all borrowed until the handler returns, NULL when absent. */
const char *bf_http_method(const struct bf_http_request *req);
const char *bf_http_target(const struct bf_http_request *req); /* raw path and query, as sent */
const char *bf_http_path(const struct bf_http_request *req, const char *name);  /* the {name} segment, decoded */
const char *bf_http_query(const struct bf_http_request *req, const char *name); /* first value, decoded */
size_t bf_http_query_count(const struct bf_http_request *req);
void bf_http_query_at(const struct bf_http_request *req, size_t index, const char **name, const char **value);
const char *bf_http_header(const struct bf_http_request *req, const char *name);
struct bf_slice bf_http_body(const struct bf_http_request *req);
struct bf_http *bf_http_server(const struct bf_http_request *req);
const struct bf_http_route *bf_http_route_of(const struct bf_http_request *req);
const char *bf_http_peer(const struct bf_http_request *req); /* the client's address, without its port */

/* Extra response headers; before the reply. Values with control characters are dropped. */
void bf_http_add_header(struct bf_http_request *req, const char *name, const char *value);

/* Give the answer a strong entity tag (RFC 9110 §8.8.3), at most 64 characters without quotes. True: the client has it already
 * (If-None-Match) and was answered with 304. */
BF_MUST_CHECK bool bf_http_etag(struct bf_http_request *req, const char *opaque);

/* Answers in text are compressed with gzip or zstd where Accept-Encoding asks for it (RFC 9110 §12.5.3); short ones never. */

void bf_http_reply(struct bf_http_request *req, int status, const char *content_type, const void *body, size_t len); /* copies */
void bf_http_reply_take(struct bf_http_request *req, int status, const char *content_type, struct bf_buf *body); /* takes body's memory */

/* RFC 9457. `param` (may be NULL) is the query or path parameter at fault and becomes "pointer". */
void bf_http_problem(struct bf_http_request *req, int status, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The one table from code to status: INVALID 400, NOT_FOUND 404, EXISTS 409, AGAIN 503 with Retry-After, NOMEM 413, else 500
 * (whose detail shows no internals). */
void bf_http_problem_err(struct bf_http_request *req, const struct bf_err *err, const char *param);

/* A body of unknown length. read() fills up to max bytes and returns how many, 0 at the end, -1 to cut the connection (the client
 * sees an incomplete body). It may block; it should poll bf_http_stopping() and bf_http_gone(). close() is called exactly once, also when
 * the client is gone. trailers() (may be NULL) is called once when read() has returned 0 and puts fields behind the body (RFC 9110 §6.5);
 * name them in a Trailer header beforehand. HTTP/1.0 has none. */
typedef void bf_http_put_trailer(void *to, const char *name, const char *value);
struct bf_http_stream {
    ssize_t (*read)(void *ctx, char *dst, size_t max);
    void (*close)(void *ctx);
    void *ctx;
    void (*trailers)(void *ctx, bf_http_put_trailer *put, void *to);
};
/* Has the client closed its side? For read() while it waits; `req` is good for this alone until close(). */
bool bf_http_gone(const struct bf_http_request *req);
void bf_http_reply_stream(struct bf_http_request *req, int status, const char *content_type, struct bf_http_stream stream);

#endif
