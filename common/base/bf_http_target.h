/* The request target and the routes, apart from any socket: percent-decoding segment by segment, query parameters, matching (RFC 3986,
 * RFC 9112 §3.2). Pure. Part of bf_http; nobody else includes it. */
#ifndef BF_HTTP_TARGET_H
#define BF_HTTP_TARGET_H

#include "bf_http.h"

#define BF_TARGET_BYTES_MAX 8192
#define BF_TARGET_SEGMENTS_MAX 32
#define BF_TARGET_QUERY_MAX 128

struct bf_target {
    const char *segments[BF_TARGET_SEGMENTS_MAX];
    size_t segment_count;
    struct {
        const char *name, *value;
    } query[BF_TARGET_QUERY_MAX];
    size_t query_count;
};

/* Take `raw` apart into `space` (at least strlen(raw) + 2 bytes), which the result borrows. A plus sign stays a plus sign.
 * BF_INVALID: malformed, %00, not UTF-8; BF_NOMEM: too many parts. */
BF_MUST_CHECK enum bf_code bf_target_parse(const char *raw, char *space, struct bf_target *out, struct bf_err *err);

/* The best route for method and path, NULL when there is none; then *allow (at least 128 bytes) lists what the path does answer,
 * "" when the path itself is unknown. */
const struct bf_http_route *bf_target_route(const struct bf_http_route *routes, const char *method,
                                            const struct bf_target *target, char *allow, size_t allow_bytes);

/* The decoded segment that {name} stands for in pattern, or NULL. */
const char *bf_target_path(const struct bf_target *target, const char *pattern, const char *name);

/* The first query parameter that the route does not know, or NULL. */
const char *bf_target_unknown(const struct bf_target *target, const struct bf_http_route *route);

#endif
