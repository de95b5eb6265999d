/* Signals over HTTP: POST /v1/signals, /livez, /readyz, /metrics. A request's signals are checked on its own thread, queued, and answered when Kafka has acknowledged them. Checking takes a desk (an encoder
 * and its buffer), of which there are as many as requests at once so far. One thread serves the delivery reports of all. */
#include "bf_http.h"
#include "bf_json.h"
#include "bf_log.h"
#include "source.h"
#include "bf_stop.h"
#include "bf_time.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (8u << 20)
#define REJECTED_LISTED_MAX 1000

struct desk {
    struct desk *next;
    struct signal_check *check;
    struct signal signal;
};

struct source {
    const struct source_env *env;
    char host[256];
    int port;
    pthread_mutex_t lock; /* over the free desks */
    struct desk *desks;
    atomic_bool ending; /* the poller's word to end */
};

/* ---- desks ---- */

static void free_desk(struct desk *d) {
    signal_check_free(d->check);
    signal_fini(&d->signal);
    free(d);
}

static enum bf_code take_desk(struct source *l, struct desk **out, struct bf_err *err) {
    pthread_mutex_lock(&l->lock);
    struct desk *d = l->desks;
    if (d != NULL) l->desks = d->next;
    pthread_mutex_unlock(&l->lock);
    if (d == NULL) {
        if ((d = calloc(1, sizeof *d)) == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a request");
        signal_init(&d->signal);
        if (signal_check_copy(l->env->check, &d->check, err) != BF_OK) {
            free_desk(d);
            return err->code;
        }
    }
    *out = d;
    return BF_OK;
}

static void give_desk(struct source *l, struct desk *d) {
    pthread_mutex_lock(&l->lock);
    d->next = l->desks;
    l->desks = d;
    pthread_mutex_unlock(&l->lock);
}

/* ---- POST /v1/signals ---- */

struct intake {
    struct source *l;
    struct desk *desk;
    struct publish_waiter *waiter;
    struct bf_buf answer;
    struct bf_json json;
    int64_t line, accepted, rejected;
    struct bf_err broken; /* code not OK: the producer refuses */
};

static void reject(struct intake *in, const struct bf_err *why) {
    atomic_fetch_add(&publish_counts(in->l->env->publish)->rejected, 1);
    if (in->rejected++ >= REJECTED_LISTED_MAX) return;
    bf_json_object(&in->json);
    bf_json_member_int(&in->json, "line", in->line);
    bf_json_member_string(&in->json, "reason", why->msg);
    bf_json_object_end(&in->json);
}

static void take_line(struct intake *in, const char *text, size_t len) {
    struct bf_err err = {0};
    struct signal *signal = &in->desk->signal;

    if (len > 0 && text[len - 1] == '\r') len--;
    size_t blank = 0;
    while (blank < len && (text[blank] == ' ' || text[blank] == '\t')) blank++;
    if (blank == len) return;
    enum bf_code code = len > (size_t)in->l->env->settings->line_bytes_max
                            ? bf_fail(&err, BF_INVALID, 0, "the line is longer than %zu bytes", (size_t)in->l->env->settings->line_bytes_max)
                            : signal_check_text(in->desk->check, (struct bf_slice){text, len}, NULL, signal, &err);
    if (code == BF_OK) code = publish_send(in->l->env->publish, signal_key(signal), signal_value(signal), in->waiter, &err);
    if (code == BF_OK) {
        in->accepted++;
        atomic_fetch_add(&publish_counts(in->l->env->publish)->accepted, 1);
    } else if (code == BF_INVALID) {
        reject(in, &err);
    } else {
        in->broken = err;
    }
}

static void take_body(struct intake *in, struct bf_slice body) {
    const char *at = body.data, *end = at != NULL ? at + body.len : NULL;

    while (at != end && in->broken.code == BF_OK) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = newline != NULL ? (size_t)(newline - at) : (size_t)(end - at);
        in->line++;
        take_line(in, at, len);
        at += len + (newline != NULL);
    }
}

/* As many as there can be signals in it. */
static int64_t count_lines(struct bf_slice body) {
    const char *at = body.data, *end = at != NULL ? at + body.len : NULL;
    int64_t lines = 0;

    for (; at != end; lines++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        at = newline != NULL ? newline + 1 : end;
    }
    return lines;
}

/* A desk, a waiter and room in the queue, or an answer that says what there is not; false then. */
static bool admit(struct intake *in, struct bf_http_request *req) {
    struct source *l = in->l;
    struct bf_err err = {0};
    const char *encoding = bf_http_header(req, "Content-Encoding");

    if (encoding != NULL && strcmp(encoding, "identity") != 0) {
        bf_http_problem(req, 415, NULL, "the body is encoded as %.32s: send it as it is", encoding);
        return false;
    }
    enum bf_code code = publish_waiter_new(&in->waiter, &err);
    if (code == BF_OK) {
        code = publish_reserve(l->env->publish, in->waiter, count_lines(bf_http_body(req)), (int)l->env->settings->queue_wait_ms, &err);
        if (code == BF_OK && (code = take_desk(l, &in->desk, &err)) != BF_OK) publish_unreserve(l->env->publish, in->waiter);
        if (code != BF_OK) (void)publish_waiter_wait(in->waiter, &(struct bf_err){0});
    }
    if (code == BF_OK) return true;
    if (code != BF_AGAIN) {
        bf_http_problem_err(req, &err, NULL);
        return false;
    }
    bf_http_add_header(req, "Retry-After", "1");
    bf_http_problem(req, 429, NULL, "nothing of the body was taken: %s", err.msg);
    return false;
}

static void post_signals(struct bf_http_request *req, void *ctx) {
    struct source *l = ctx;
    struct bf_err err = {0};
    struct intake in = {.l = l};

    if (!admit(&in, req)) return;
    bf_buf_init(&in.answer, ANSWER_BYTES_MAX);
    bf_json_init(&in.json, &in.answer);
    bf_json_object(&in.json);
    bf_json_key(&in.json, "rejected");
    bf_json_array(&in.json);
    take_body(&in, bf_http_body(req));
    give_desk(l, in.desk);
    publish_unreserve(l->env->publish, in.waiter);
    int64_t failed = publish_waiter_wait(in.waiter, &err);
    bf_json_array_end(&in.json);
    bf_json_member_int(&in.json, "rejected_count", in.rejected);
    bf_json_member_int(&in.json, "accepted", in.accepted);
    bf_json_object_end(&in.json);
    if (in.broken.code != BF_OK) {
        bf_http_problem(req, 503, NULL, "line %lld could not be queued: %s", (long long)in.line, in.broken.msg);
    } else if (failed > 0) {
        bf_http_problem(req, 503, NULL, "%lld of %lld signals were not acknowledged by Kafka: %s", (long long)failed,
                        (long long)in.accepted, err.msg);
    } else {
        bf_http_reply_take(req, 202, "application/json", &in.answer);
    }
    bf_buf_fini(&in.answer);
}

/* ---- health ---- */

static void get_livez(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    bf_http_reply(req, 200, "text/plain; charset=utf-8", "ok\n", 3);
}

static void get_readyz(struct bf_http_request *req, void *ctx) {
    struct source *l = ctx;
    struct bf_err err = {0};

    if (publish_last_failed(l->env->publish, &err)) bf_http_problem(req, 503, NULL, "Kafka does not take signals: %s", err.msg);
    else get_livez(req, ctx);
}

static void get_metrics(struct bf_http_request *req, void *ctx) {
    struct source *l = ctx;
    struct bf_buf out;

    bf_buf_init(&out, 1 << 20);
    meter_render(l->env->meter, &out);
    bf_http_reply_take(req, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
    bf_buf_fini(&out);
}

static void observe(void *ctx, const char *method, const char *route, int status, double seconds) {
    struct source *l = ctx;

    (void)method;
    meter_request(l->env->meter, route, status, seconds);
}

/* ---- life ---- */

static void *poll_reports(void *ctx) {
    struct source *l = ctx;
    while (!atomic_load(&l->ending)) publish_poll(l->env->publish, 100);
    return NULL;
}

static enum bf_code write_endpoints(const char *path, const char *url, struct bf_err *err) {
    char temp[4096];

    if (path == NULL) return BF_OK;
    if (snprintf(temp, sizeof temp, "%s.%d", path, (int)getpid()) >= (int)sizeof temp) {
        return bf_fail(err, BF_INVALID, 0, "endpoints-file: the name is too long");
    }
    FILE *f = fopen(temp, "w");
    bool ok = f != NULL && fprintf(f, "{\"perception\":\"%s\"}\n", url) > 0;
    ok = f != NULL && fclose(f) == 0 && ok;
    if (ok && rename(temp, path) == 0) return BF_OK;
    return bf_fail(err, BF_INVALID, errno, "endpoints-file %s: %s", path, strerror(errno));
}

static enum bf_code serve(struct source *l, struct bf_err *err) {
    static const char *const none[] = {NULL};
    const struct perception_settings *settings = l->env->settings;
    const struct bf_http_route routes[] = {{"POST", "/v1/signals", post_signals, none, (size_t)settings->body_bytes_max},
                                           {"GET", "/livez", get_livez, none, 0},
                                           {"GET", "/readyz", get_readyz, none, 0},
                                           {"GET", "/metrics", get_metrics, none, 0},
                                           {NULL, NULL, NULL, NULL, 0}};
    const struct bf_http_settings http_settings = {.host = l->host, .port = l->port, .observe = observe};
    struct bf_http *http = NULL;
    char url[300];
    enum bf_code code = bf_http_start(&http_settings, routes, l, &http, err);

    if (code != BF_OK) return bf_err_prepend(err, "listen");
    snprintf(url, sizeof url, strchr(l->host, ':') != NULL ? "http://[%s]:%d" : "http://%s:%d", l->host, bf_http_port(http));
    code = write_endpoints(settings->endpoints_file, url, err);
    if (code == BF_OK) {
        bf_log(BF_LOG_INFO, "serving", "url=%s", url);
        while (bf_sleep_ms(3600000)) {}
        bf_log(BF_LOG_INFO, "stopping", "url=%s", url);
    }
    bf_http_stop(http);
    return code;
}

static enum bf_code run(struct source *l, struct bf_err *err) {
    pthread_t poller;

    if (pthread_create(&poller, NULL, poll_reports, l) != 0) return bf_fail(err, BF_NOMEM, errno, "no thread for delivery reports");
    enum bf_code code = serve(l, err);
    publish_drain(l->env->publish);
    atomic_store(&l->ending, true);
    (void)pthread_join(poller, NULL);
    return code;
}

static enum bf_code open_source(const struct source_env *env, struct source **out, struct bf_err *err) {
    struct source *l = calloc(1, sizeof *l);

    if (l == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a source");
    if (perception_listen_parse(env->settings->listen, l->host, &l->port, err) != BF_OK) {
        free(l);
        return err->code;
    }
    l->env = env;
    pthread_mutex_init(&l->lock, NULL);
    *out = l;
    return BF_OK;
}

static void close_source(struct source *l) {
    if (l == NULL) return;
    while (l->desks != NULL) {
        struct desk *next = l->desks->next;
        free_desk(l->desks);
        l->desks = next;
    }
    pthread_mutex_destroy(&l->lock);
    free(l);
}

const struct source_kind source_http = {.name = "http", .open = open_source, .run = run, .close = close_source, .answers = true};
