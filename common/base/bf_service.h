/* What the small services' mains share: waiting for what they depend on, /livez, /readyz, /metrics, the endpoints file, log levels.
 *
 * A service is started not ready, with the reason why; readiness may change at any time, from any thread.
 */
#ifndef BF_SERVICE_H
#define BF_SERVICE_H

#include "bf_err.h"
#include "bf_http.h"
#include "bf_log.h"
#include "bf_metrics.h"

#include <stdint.h>

struct bf_service;

#define BF_SERVICE_ROUTES_MAX 16 /* beside the three of every service */

struct bf_service_settings {
    const char *host; /* loopback: there is no authentication yet */
    int port;         /* 0: any free one */
    const char *endpoints_file; /* {"http":URL} is written here when serving; NULL: nowhere */
    struct bf_metrics *metrics;
    void (*refresh)(void *ctx); /* before each rendering of the metrics, never twice at a time; may be NULL */
    const struct bf_http_route *routes; /* more, ended by method NULL; their handlers get the struct bf_service *; may be NULL */
    void *ctx;
};

BF_MUST_CHECK enum bf_code bf_service_start(const struct bf_service_settings *settings, struct bf_service **out, struct bf_err *err);
void bf_service_stop(struct bf_service *s); /* NULL is fine */
void *bf_service_ctx(const struct bf_service *s);

/* Make a counter say `total`, which never falls; only from refresh(). */
void bf_service_count(struct bf_series *counter, int64_t total);

void bf_service_ready(struct bf_service *s);
void bf_service_not_ready(struct bf_service *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Try until it does not say BF_AGAIN, deadline_us (monotonic) is over, or stop is requested (BF_CANCELLED). Each failure is the reason in /readyz
 * meanwhile (s may be NULL) and logged every few seconds. */
BF_MUST_CHECK enum bf_code bf_service_wait(struct bf_service *s, const char *what, int64_t deadline_us,
                                           enum bf_code (*attempt)(void *ctx, struct bf_err *err), void *ctx, struct bf_err *err);

/* BF_INVALID names the key log-level. */
BF_MUST_CHECK enum bf_code bf_service_log_level(const char *text, enum bf_log_level *out, struct bf_err *err);
/* BF_INVALID names the key http-host. */
BF_MUST_CHECK enum bf_code bf_service_check_host(const char *host, struct bf_err *err);
enum bf_exit bf_service_exit(enum bf_code code); /* how to leave after a failed start or run */

#endif
