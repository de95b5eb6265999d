#include "bf_service.h"

#include "bf_stop.h"
#include "bf_time.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MS 500
#define SAY_EVERY_US 5000000
#define METRICS_BYTES_MAX (8u << 20)

struct bf_service {
    struct bf_service_settings s;
    struct bf_http *http;
    struct bf_http_route routes[BF_SERVICE_ROUTES_MAX + 4];
    pthread_mutex_t scraping; /* held while the metrics are refreshed */
    pthread_mutex_t lock;     /* the two below */
    bool ready;
    char reason[512];
};

static void get_livez(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    bf_http_reply(req, 200, "text/plain; charset=utf-8", "ok\n", 3);
}

static void get_readyz(struct bf_http_request *req, void *ctx) {
    struct bf_service *s = ctx;
    char reason[sizeof s->reason];

    pthread_mutex_lock(&s->lock);
    bool ready = s->ready;
    memcpy(reason, s->reason, sizeof reason);
    pthread_mutex_unlock(&s->lock);
    if (ready) get_livez(req, ctx);
    else bf_http_problem(req, 503, NULL, "%s", reason);
}

static void get_metrics(struct bf_http_request *req, void *ctx) {
    struct bf_service *s = ctx;
    struct bf_buf out;

    pthread_mutex_lock(&s->scraping);
    if (s->s.refresh != NULL) s->s.refresh(s->s.ctx);
    pthread_mutex_unlock(&s->scraping);
    bf_buf_init(&out, METRICS_BYTES_MAX);
    bf_metrics_render(s->s.metrics, &out);
    bf_http_reply_take(req, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
    bf_buf_fini(&out);
}

static enum bf_code write_endpoints(const struct bf_service *s, struct bf_err *err) {
    char temporary[4200];

    if (s->s.endpoints_file == NULL) return BF_OK;
    snprintf(temporary, sizeof temporary, "%s.%d", s->s.endpoints_file, (int)getpid());
    FILE *f = fopen(temporary, "w");
    bool ok = f != NULL && fprintf(f, "{\"http\":\"http://%s:%d\"}\n", s->s.host, bf_http_port(s->http)) > 0;
    ok = f != NULL && fclose(f) == 0 && ok;
    if (ok && rename(temporary, s->s.endpoints_file) == 0) return BF_OK;
    return bf_fail(err, BF_INVALID, errno, "endpoints-file %s: %s", s->s.endpoints_file, strerror(errno));
}

enum bf_code bf_service_start(const struct bf_service_settings *settings, struct bf_service **out, struct bf_err *err) {
    static const char *const none[] = {NULL};
    struct bf_service *s = calloc(1, sizeof *s);
    size_t count = 0;

    if (s == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a service");
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->scraping, NULL);
    s->s = *settings;
    bf_service_not_ready(s, "starting");
    s->routes[count++] = (struct bf_http_route){"GET", "/livez", get_livez, none, 0};
    s->routes[count++] = (struct bf_http_route){"GET", "/readyz", get_readyz, none, 0};
    s->routes[count++] = (struct bf_http_route){"GET", "/metrics", get_metrics, none, 0};
    for (const struct bf_http_route *r = settings->routes; r != NULL && r->method != NULL; r++) {
        bf_assert(count < BF_SERVICE_ROUTES_MAX + 3);
        s->routes[count++] = *r;
    }
    const struct bf_http_settings http = {.host = settings->host, .port = settings->port};
    enum bf_code code = bf_http_start(&http, s->routes, s, &s->http, err);
    if (code == BF_OK) code = write_endpoints(s, err);
    if (code != BF_OK) {
        bf_service_stop(s);
        return code;
    }
    bf_log(BF_LOG_INFO, "listening", "http=http://%s:%d", s->s.host, bf_http_port(s->http));
    *out = s;
    return BF_OK;
}

void bf_service_stop(struct bf_service *s) {
    if (s == NULL) return;
    bf_http_stop(s->http);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->scraping);
    free(s);
}

void *bf_service_ctx(const struct bf_service *s) { return s->s.ctx; }

void bf_service_count(struct bf_series *counter, int64_t total) {
    int64_t said = (int64_t)bf_series_value(counter);
    if (total > said) bf_series_add(counter, (uint64_t)(total - said));
}

void bf_service_ready(struct bf_service *s) {
    pthread_mutex_lock(&s->lock);
    bool first = !s->ready;
    s->ready = true;
    pthread_mutex_unlock(&s->lock);
    if (first) bf_log(BF_LOG_INFO, "ready", "http=http://%s:%d", s->s.host, bf_http_port(s->http));
}

void bf_service_not_ready(struct bf_service *s, const char *fmt, ...) {
    va_list ap;

    pthread_mutex_lock(&s->lock);
    s->ready = false;
    va_start(ap, fmt);
    vsnprintf(s->reason, sizeof s->reason, fmt, ap);
    va_end(ap);
    pthread_mutex_unlock(&s->lock);
}

enum bf_code bf_service_wait(struct bf_service *s, const char *what, int64_t deadline_us,
                             enum bf_code (*attempt)(void *ctx, struct bf_err *err), void *ctx, struct bf_err *err) {
    for (int64_t said_us = 0;;) {
        enum bf_code code = attempt(ctx, err);
        if (code != BF_AGAIN) return code;
        int64_t now_us = bf_time_monotonic_us();
        if (s != NULL) bf_service_not_ready(s, "%s: %s", what, err->msg);
        if (now_us >= deadline_us) return bf_err_prepend(err, "%s is away", what);
        if (said_us == 0 || now_us - said_us >= SAY_EVERY_US) {
            bf_log_err(BF_LOG_WARN, "start_wait", err, "for=%s retry_in_ms=%d", what, RETRY_MS);
            said_us = now_us;
        }
        if (!bf_sleep_ms(RETRY_MS)) return bf_fail(err, BF_CANCELLED, 0, "stopped while waiting for %s", what);
    }
}

enum bf_code bf_service_log_level(const char *text, enum bf_log_level *out, struct bf_err *err) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum bf_log_level)i;
            return BF_OK;
        }
    return bf_fail(err, BF_INVALID, 0, "log-level: '%s' is none of debug, info, warn, error", text);
}

enum bf_code bf_service_check_host(const char *host, struct bf_err *err) {
    if (strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0) return BF_OK;
    return bf_fail(err, BF_INVALID, 0, "http-host: '%s' is not loopback, and there is no authentication yet", host);
}

enum bf_exit bf_service_exit(enum bf_code code) {
    switch (code) {
    case BF_OK: case BF_CANCELLED: return BF_EXIT_OK;
    case BF_INVALID: case BF_REJECTED: case BF_NOT_FOUND: return BF_EXIT_SETTINGS;
    case BF_AGAIN: return BF_EXIT_DEPENDENCY;
    default: return BF_EXIT_INTERNAL;
    }
}
