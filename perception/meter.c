/* Totals live in struct publish_counts, which the sources count in; here they become series. The rate comes from samples a second apart, taken
 * when somebody looks: who never looks pays nothing, and who looks seldom gets the mean since the last look. */
#include "meter.h"

#include "bf_service.h"
#include "bf_settings.h"
#include "bf_time.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES 11 /* ten seconds */
#define SAMPLE_EVERY_US 1000000

enum { METRIC_SIGNALS, METRIC_RATE, METRIC_QUEUED, METRIC_WAITS, METRIC_HTTP, METRIC_BUILD, METRICS };

static const struct bf_metric_def metric_defs[METRICS] = {
    [METRIC_SIGNALS] = {"perception_signals_total", "Signals by source and by what came of them: accepted, rejected, published, failed.",
                        BF_METRIC_COUNTER, {"source", "outcome", NULL}, NULL},
    [METRIC_RATE] = {"perception_signals_per_second", "Signals accepted a second over the last ten seconds, by source.", BF_METRIC_GAUGE,
                     {"source", NULL, NULL}, NULL},
    [METRIC_QUEUED] = {"perception_queued", "Signals that Kafka has not acknowledged yet.", BF_METRIC_GAUGE, {NULL, NULL, NULL}, NULL},
    [METRIC_WAITS] = {"perception_waits_total", "Waits: for the local queue (full), for the reading group (group); requests answered 429 (refused).",
                      BF_METRIC_COUNTER, {"reason", NULL, NULL}, NULL},
    [METRIC_HTTP] = {"perception_http_request_seconds", "Time to answer a request.", BF_METRIC_HISTOGRAM, {"route", "code", NULL}, NULL},
    [METRIC_BUILD] = {"perception_build_info", "The version, as a label.", BF_METRIC_GAUGE, {"version", NULL, NULL}, NULL},
};

struct meter {
    const char *source;
    struct publish *publish;
    struct bf_metrics *metrics;
    struct bf_service *service; /* NULL: the source serves, or nobody */
    pthread_mutex_t lock;       /* over all below, and over bringing totals up to date */
    struct meter_sample samples[SAMPLES];
    int sample_count;
};

enum bf_code meter_new(const char *source, struct publish *publish, struct meter **out, struct bf_err *err) {
    struct meter *m = calloc(1, sizeof *m);

    if (m == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for metrics");
    m->source = source;
    m->publish = publish;
    pthread_mutex_init(&m->lock, NULL);
    m->samples[m->sample_count++] = (struct meter_sample){bf_time_monotonic_us(), 0};
    if (bf_metrics_new(metric_defs, METRICS, &m->metrics, err) != BF_OK) {
        meter_free(m);
        return err->code;
    }
    bf_series_set(bf_metrics_series(m->metrics, METRIC_BUILD, BF_VERSION, NULL, NULL), 1);
    *out = m;
    return BF_OK;
}

void meter_free(struct meter *m) {
    if (m == NULL) return;
    bf_service_stop(m->service);
    bf_metrics_free(m->metrics);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* ---- the rate ---- */

double meter_rate_of(const struct meter_sample *samples, int count, int64_t now_us, int64_t total) {
    if (count == 0 || now_us <= samples[0].at_us) return 0;
    return (double)(total - samples[0].total) * 1e6 / (double)(now_us - samples[0].at_us);
}

/* Under the lock. */
static double look(struct meter *m) {
    int64_t now_us = bf_time_monotonic_us(), total = atomic_load(&publish_counts(m->publish)->accepted);
    double rate = meter_rate_of(m->samples, m->sample_count, now_us, total);

    if (now_us - m->samples[m->sample_count - 1].at_us < SAMPLE_EVERY_US) return rate;
    while (m->sample_count == SAMPLES || (m->sample_count > 0 && now_us - m->samples[0].at_us > SAMPLES * (int64_t)SAMPLE_EVERY_US)) {
        memmove(m->samples, m->samples + 1, (size_t)--m->sample_count * sizeof *m->samples);
    }
    m->samples[m->sample_count++] = (struct meter_sample){now_us, total};
    return rate;
}

double meter_rate(struct meter *m) {
    pthread_mutex_lock(&m->lock);
    double rate = look(m);
    pthread_mutex_unlock(&m->lock);
    return rate;
}

/* ---- the series ---- */

static void raise_to(struct bf_series *s, long long total) {
    double has = bf_series_value(s);
    if ((double)total > has) bf_series_add(s, (uint64_t)total - (uint64_t)has);
}

static void refresh(void *ctx) {
    struct meter *m = ctx;
    const struct publish_counts *c = publish_counts(m->publish);
    const struct {
        const char *name;
        long long total;
    } outcomes[] = {{"accepted", atomic_load(&c->accepted)},
                    {"rejected", atomic_load(&c->rejected)},
                    {"published", atomic_load(&c->published)},
                    {"failed", atomic_load(&c->failed)}},
      waits[] = {{"full", atomic_load(&c->waits_full)}, {"group", atomic_load(&c->waits_group)}, {"refused", atomic_load(&c->refused)}};

    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < 4; i++) raise_to(bf_metrics_series(m->metrics, METRIC_SIGNALS, m->source, outcomes[i].name, NULL), outcomes[i].total);
    for (size_t i = 0; i < 3; i++) raise_to(bf_metrics_series(m->metrics, METRIC_WAITS, waits[i].name, NULL, NULL), waits[i].total);
    bf_series_set(bf_metrics_series(m->metrics, METRIC_RATE, m->source, NULL, NULL), look(m));
    bf_series_set(bf_metrics_series(m->metrics, METRIC_QUEUED, NULL, NULL, NULL), (double)publish_queued(m->publish));
    pthread_mutex_unlock(&m->lock);
}

void meter_request(struct meter *m, const char *route, int status, double seconds) {
    char code[16];

    snprintf(code, sizeof code, "%d", status);
    bf_series_observe(bf_metrics_series(m->metrics, METRIC_HTTP, route, code, NULL), seconds, 1);
}

void meter_render(struct meter *m, struct bf_buf *out) {
    refresh(m);
    bf_metrics_render(m->metrics, out);
}

enum bf_code meter_serve(struct meter *m, int port, const char *endpoints_file, struct bf_err *err) {
    const struct bf_service_settings settings = {
        .host = "127.0.0.1", .port = port, .endpoints_file = endpoints_file, .metrics = m->metrics, .refresh = refresh, .ctx = m};
    enum bf_code code = bf_service_start(&settings, &m->service, err);

    if (code == BF_OK) bf_service_ready(m->service);
    return code == BF_OK ? BF_OK : bf_err_prepend(err, "metrics-port");
}
