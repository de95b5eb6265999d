/* A request's signals are checked on its own thread, queued, and answered when Kafka has acknowledged them. Checking takes a desk (an encoder
 * and its buffer), of which there are as many as requests at once so far. One thread serves the delivery reports of all. */
#include "listen.h"

#include "bf_http.h"
#include "bf_json.h"
#include "bf_log.h"
#include "bf_metrics.h"
#include "bf_settings.h"
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

enum { METRIC_SIGNALS, METRIC_QUEUED, METRIC_WAITS, METRIC_HTTP, METRIC_BUILD, METRICS };

static const struct bf_metric_def metric_defs[METRICS] = {
    [METRIC_SIGNALS] = {"perception_signals_total", "Signals by what came of them: accepted, rejected, published, failed.",
                        BF_METRIC_GAUGE, {"outcome", NULL, NULL}, NULL},
    [METRIC_QUEUED] = {"perception_queued", "Signals that Kafka has not acknowledged yet.", BF_METRIC_GAUGE, {NULL, NULL, NULL}, NULL},
    [METRIC_WAITS] = {"perception_waits_total", "Signals that had to wait: for the local queue (full), for the reading group (group).",
                      BF_METRIC_GAUGE, {"reason", NULL, NULL}, NULL},
    [METRIC_HTTP] = {"perception_http_request_seconds", "Time to answer a request.", BF_METRIC_HISTOGRAM, {"route", "code", NULL}, NULL},
    [METRIC_BUILD] = {"perception_build_info", "The version, as a label.", BF_METRIC_GAUGE, {"version", NULL, NULL}, NULL},
};

struct desk {
    struct desk *next;
    struct signal_check *check;
    struct signal signal;
};

struct listen {
    const struct listen_settings *s;
    struct bf_metrics *metrics;
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

static enum bf_code take_desk(struct listen *l, struct desk **out, struct bf_err *err) {
    pthread_mutex_lock(&l->lock);
    struct desk *d = l->desks;
    if (d != NULL) l->desks = d->next;
    pthread_mutex_unlock(&l->lock);
    if (d == NULL) {
        if ((d = calloc(1, sizeof *d)) == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a request");
        signal_init(&d->signal);
        if (signal_check_copy(l->s->check, &d->check, err) != BF_OK) {
            free_desk(d);
            return err->code;
        }
    }
    *out = d;
    return BF_OK;
}

static void give_desk(struct listen *l, struct desk *d) {
    pthread_mutex_lock(&l->lock);
    d->next = l->desks;
    l->desks = d;
    pthread_mutex_unlock(&l->lock);
}

/* ---- POST /v1/signals ---- */

struct intake {
    struct listen *l;
    struct desk *desk;
    struct publish_waiter *waiter;
    struct bf_buf answer;
    struct bf_json json;
    int64_t line, accepted, rejected;
    struct bf_err broken; /* code not OK: the producer refuses */
};

static void reject(struct intake *in, const struct bf_err *why) {
    atomic_fetch_add(&publish_counts(in->l->s->publish)->rejected, 1);
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
    enum bf_code code = len > in->l->s->line_bytes_max
                            ? bf_fail(&err, BF_INVALID, 0, "the line is longer than %zu bytes", in->l->s->line_bytes_max)
                            : signal_check_text(in->desk->check, (struct bf_slice){text, len}, NULL, signal, &err);
    if (code == BF_OK) code = publish_send(in->l->s->publish, signal_key(signal), signal_value(signal), in->waiter, &err);
    if (code == BF_OK) {
        in->accepted++;
        atomic_fetch_add(&publish_counts(in->l->s->publish)->accepted, 1);
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

static void post_signals(struct bf_http_request *req, void *ctx) {
    struct listen *l = ctx;
    struct bf_err err = {0};
    struct intake in = {.l = l};
    const char *encoding = bf_http_header(req, "Content-Encoding");

    if (encoding != NULL && strcmp(encoding, "identity") != 0) {
        bf_http_problem(req, 415, NULL, "the body is encoded as %.32s: send it as it is", encoding);
        return;
    }
    if (take_desk(l, &in.desk, &err) != BF_OK) {
        bf_http_problem_err(req, &err, NULL);
        return;
    }
    if (publish_waiter_new(&in.waiter, &err) != BF_OK) {
        give_desk(l, in.desk);
        bf_http_problem_err(req, &err, NULL);
        return;
    }
    bf_buf_init(&in.answer, ANSWER_BYTES_MAX);
    bf_json_init(&in.json, &in.answer);
    bf_json_object(&in.json);
    bf_json_key(&in.json, "rejected");
    bf_json_array(&in.json);
    take_body(&in, bf_http_body(req));
    give_desk(l, in.desk);
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
    struct listen *l = ctx;
    struct bf_err err = {0};

    if (publish_last_failed(l->s->publish, &err)) bf_http_problem(req, 503, NULL, "Kafka does not take signals: %s", err.msg);
    else get_livez(req, ctx);
}

static void get_metrics(struct bf_http_request *req, void *ctx) {
    struct listen *l = ctx;
    struct bf_buf out;
    const struct publish_counts *c = publish_counts(l->s->publish);
    const struct {
        const char *name;
        long long value;
    } outcomes[] = {{"accepted", atomic_load(&c->accepted)},
                    {"rejected", atomic_load(&c->rejected)},
                    {"published", atomic_load(&c->published)},
                    {"failed", atomic_load(&c->failed)}};

    for (size_t i = 0; i < 4; i++) {
        bf_series_set(bf_metrics_series(l->metrics, METRIC_SIGNALS, outcomes[i].name, NULL, NULL), (double)outcomes[i].value);
    }
    bf_series_set(bf_metrics_series(l->metrics, METRIC_QUEUED, NULL, NULL, NULL), (double)publish_queued(l->s->publish));
    bf_series_set(bf_metrics_series(l->metrics, METRIC_WAITS, "full", NULL, NULL), (double)atomic_load(&c->waits_full));
    bf_series_set(bf_metrics_series(l->metrics, METRIC_WAITS, "group", NULL, NULL), (double)atomic_load(&c->waits_group));
    bf_buf_init(&out, 1 << 20);
    bf_metrics_render(l->metrics, &out);
    bf_http_reply_take(req, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
    bf_buf_fini(&out);
}

static void observe(void *ctx, const char *method, const char *route, int status, double seconds) {
    struct listen *l = ctx;
    char code[16];

    (void)method;
    snprintf(code, sizeof code, "%d", status);
    bf_series_observe(bf_metrics_series(l->metrics, METRIC_HTTP, route, code, NULL), seconds, 1);
}

/* ---- life ---- */

static void *poll_reports(void *ctx) {
    struct listen *l = ctx;
    while (!atomic_load(&l->ending)) publish_poll(l->s->publish, 100);
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

static enum bf_code serve(struct listen *l, struct bf_err *err) {
    static const char *const none[] = {NULL};
    const struct bf_http_route routes[] = {{"POST", "/v1/signals", post_signals, none, l->s->body_bytes_max},
                                           {"GET", "/livez", get_livez, none, 0},
                                           {"GET", "/readyz", get_readyz, none, 0},
                                           {"GET", "/metrics", get_metrics, none, 0},
                                           {NULL, NULL, NULL, NULL, 0}};
    const struct bf_http_settings settings = {.host = l->s->host, .port = l->s->port, .observe = observe};
    struct bf_http *http = NULL;
    char url[300];
    enum bf_code code = bf_http_start(&settings, routes, l, &http, err);

    if (code != BF_OK) return code;
    snprintf(url, sizeof url, strchr(l->s->host, ':') != NULL ? "http://[%s]:%d" : "http://%s:%d", l->s->host, bf_http_port(http));
    code = write_endpoints(l->s->endpoints_file, url, err);
    if (code == BF_OK) {
        bf_log(BF_LOG_INFO, "serving", "url=%s", url);
        while (bf_sleep_ms(3600000)) {}
        bf_log(BF_LOG_INFO, "stopping", "url=%s", url);
    }
    bf_http_stop(http);
    return code;
}

enum bf_code listen_run(const struct listen_settings *settings, struct bf_err *err) {
    struct listen l = {.s = settings};
    pthread_t poller;
    enum bf_code code = bf_metrics_new(metric_defs, METRICS, &l.metrics, err);

    if (code != BF_OK) return code;
    bf_series_set(bf_metrics_series(l.metrics, METRIC_BUILD, BF_VERSION, NULL, NULL), 1);
    pthread_mutex_init(&l.lock, NULL);
    if (pthread_create(&poller, NULL, poll_reports, &l) != 0) {
        code = bf_fail(err, BF_NOMEM, errno, "no thread for delivery reports");
    } else {
        code = serve(&l, err);
        publish_drain(settings->publish);
        atomic_store(&l.ending, true);
        (void)pthread_join(poller, NULL);
    }
    while (l.desks != NULL) {
        struct desk *next = l.desks->next;
        free_desk(l.desks);
        l.desks = next;
    }
    pthread_mutex_destroy(&l.lock);
    bf_metrics_free(l.metrics);
    return code;
}
