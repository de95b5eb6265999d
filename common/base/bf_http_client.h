/* A small HTTP client on libcurl: one handle per thread, connection kept alive, deadlines always set.
 *
 * Errors: BF_AGAIN for everything that is the network's or a 5xx-less connection's fault (refused, reset, timed out); an HTTP status is
 * not an error here: look at *status. Bodies are bounded by the buffer's max (BF_NOMEM).
 */
#ifndef BF_HTTP_CLIENT_H
#define BF_HTTP_CLIENT_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdbool.h>
#include <stdint.h>

struct bf_http_client;

BF_MUST_CHECK enum bf_code bf_http_client_new(int64_t timeout_ms, struct bf_http_client **out, struct bf_err *err);
void bf_http_client_free(struct bf_http_client *c);

/* Extra request headers for every later call, "Name: value". */
BF_MUST_CHECK enum bf_code bf_http_client_header(struct bf_http_client *c, const char *line, struct bf_err *err);

/* Trust the certificates in this PEM file, and no others, for https. BF_INVALID: it cannot be read. */
BF_MUST_CHECK enum bf_code bf_http_client_ca(struct bf_http_client *c, const char *path, struct bf_err *err);

/* method "GET", "POST" …; body may be absent; content_type NULL with no body. The answer replaces what is in *answer. */
BF_MUST_CHECK enum bf_code bf_http_call(struct bf_http_client *c, const char *method, const char *url,
                                        const char *content_type, struct bf_slice body, int *status,
                                        struct bf_buf *answer, struct bf_err *err);

/* GET, the body handed over in pieces as it comes; no total deadline, but `timeout_ms` without a byte ends it. sink returns false to stop
 * (BF_CANCELLED). On a status other than 200 the body goes to *answer instead. BF_AGAIN also when the body was cut. */
BF_MUST_CHECK enum bf_code bf_http_get_stream(struct bf_http_client *c, const char *url, int *status, struct bf_buf *answer,
                                              bool (*sink)(void *ctx, const char *data, size_t len), void *ctx,
                                              struct bf_err *err);

/* A header of the last answer (borrowed until the next call), NULL when absent. Name is case-insensitive. */
const char *bf_http_client_answer_header(const struct bf_http_client *c, const char *name);

/* Percent-encode one path segment or query value onto out (RFC 3986 unreserved stay). */
void bf_url_encode(struct bf_buf *out, const char *text);

#endif
