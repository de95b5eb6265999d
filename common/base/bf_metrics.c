/* Series hang in one list per definition, newest first, and are never taken away: readers walk without a lock, makers take one.
 * A double lives in a uint64 by its bits. */
#include "bf_metrics_internal.h"

#include <stdlib.h>
#include <string.h>

static const double default_buckets[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                         0.5,    1,     2.5,    5,    10,   30,   60,   0};

const double *bf_metric_buckets(const struct bf_metric_def *def) {
    return def->buckets != NULL ? def->buckets : default_buckets;
}

size_t bf_metric_bucket_count(const struct bf_metric_def *def) {
    const double *bounds = bf_metric_buckets(def);
    size_t n = 0;
    while (bounds[n] > 0) {
        n++;
    }
    return n;
}

enum bf_code bf_metrics_new(const struct bf_metric_def *defs, size_t count, struct bf_metrics **out, struct bf_err *err) {
    struct bf_metrics *m = calloc(1, sizeof *m);
    struct bf_family *families = calloc(count + 1, sizeof *families); /* never of size 0 */
    struct bf_series *sinks = calloc(count + 1, sizeof *sinks);
    if (m == NULL || families == NULL || sinks == NULL) {
        free(m);
        free(families);
        free(sinks);
        return bf_fail(err, BF_NOMEM, 0, "out of memory for %zu metrics", count);
    }
    m->defs = defs;
    m->count = count;
    m->families = families;
    m->sinks = sinks;
    for (size_t i = 0; i < count; i++) {
        sinks[i].def = &defs[i];
    }
    pthread_mutex_init(&m->lock, NULL);
    *out = m;
    return BF_OK;
}

void bf_metrics_free(struct bf_metrics *m) {
    if (m == NULL) {
        return;
    }
    for (size_t i = 0; i < m->count; i++) {
        struct bf_series *s = atomic_load(&m->families[i].first);
        while (s != NULL) {
            struct bf_series *next = s->next;
            free(s);
            s = next;
        }
    }
    pthread_mutex_destroy(&m->lock);
    free(m->families);
    free(m->sinks);
    free(m);
}

static bool same_labels(const struct bf_series *s, const char *const values[BF_METRIC_LABELS_MAX]) {
    for (size_t i = 0; i < BF_METRIC_LABELS_MAX; i++) {
        if (strcmp(s->values[i], values[i]) != 0) {
            return false;
        }
    }
    return true;
}

static struct bf_series *find(struct bf_family *f, const char *const values[BF_METRIC_LABELS_MAX]) {
    for (struct bf_series *s = atomic_load(&f->first); s != NULL; s = s->next) {
        if (same_labels(s, values)) {
            return s;
        }
    }
    return NULL;
}

/* One allocation: the series, its buckets, its label texts. */
static struct bf_series *make(const struct bf_metric_def *def, const char *const values[BF_METRIC_LABELS_MAX]) {
    size_t buckets = def->kind == BF_METRIC_HISTOGRAM ? bf_metric_bucket_count(def) + 1 : 0, text = 0;
    for (size_t i = 0; i < BF_METRIC_LABELS_MAX; i++) {
        text += strlen(values[i]) + 1;
    }
    struct bf_series *s = calloc(1, sizeof *s + buckets * sizeof s->buckets[0] + text);
    if (s == NULL) {
        return NULL;
    }
    s->def = def;
    s->bucket_count = buckets;
    char *p = (char *)(s->buckets + buckets);
    for (size_t i = 0; i < BF_METRIC_LABELS_MAX; i++) {
        s->values[i] = p;
        p = stpcpy(p, values[i]) + 1;
    }
    return s;
}

struct bf_series *bf_metrics_series(struct bf_metrics *m, size_t index, const char *v0, const char *v1, const char *v2) {
    bf_assert(index < m->count);
    const char *const values[BF_METRIC_LABELS_MAX] = {v0 ? v0 : "", v1 ? v1 : "", v2 ? v2 : ""};
    struct bf_family *f = &m->families[index];
    struct bf_series *s = find(f, values);
    if (s != NULL) {
        return s;
    }
    pthread_mutex_lock(&m->lock);
    s = find(f, values);
    if (s == NULL) {
        s = make(&m->defs[index], values);
        if (s != NULL) {
            s->next = atomic_load(&f->first);
            atomic_store(&f->first, s);
        }
    }
    pthread_mutex_unlock(&m->lock);
    return s != NULL ? s : &m->sinks[index];
}

static uint64_t bits_of(double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

double bf_double_of_bits(uint64_t bits) {
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

void bf_series_add(struct bf_series *s, uint64_t n) {
    bf_assert(s->def->kind == BF_METRIC_COUNTER);
    atomic_fetch_add_explicit(&s->number, n, memory_order_relaxed);
}

void bf_series_set(struct bf_series *s, double value) {
    bf_assert(s->def->kind == BF_METRIC_GAUGE);
    atomic_store_explicit(&s->number, bits_of(value), memory_order_relaxed);
}

void bf_series_observe(struct bf_series *s, double value, uint64_t times) {
    bf_assert(s->def->kind == BF_METRIC_HISTOGRAM);
    const double *bounds = bf_metric_buckets(s->def);
    size_t i = 0;
    while (bounds[i] > 0 && !(value <= bounds[i])) {
        i++;
    }
    if (i < s->bucket_count) { /* a sink has none */
        atomic_fetch_add_explicit(&s->buckets[i], times, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&s->number, times, memory_order_relaxed);
    uint64_t old = atomic_load_explicit(&s->sum, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&s->sum, &old, bits_of(bf_double_of_bits(old) + value * (double)times))) {
    }
}

double bf_series_value(const struct bf_series *s) {
    uint64_t number = atomic_load_explicit(&s->number, memory_order_relaxed);
    return s->def->kind == BF_METRIC_GAUGE ? bf_double_of_bits(number) : (double)number;
}
