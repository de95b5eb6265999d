/* What bf_metrics.c and bf_metrics_render.c share; nobody else includes it. */
#ifndef BF_METRICS_INTERNAL_H
#define BF_METRICS_INTERNAL_H

#include "bf_metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct bf_series {
    const struct bf_metric_def *def;
    struct bf_series *next;
    const char *values[BF_METRIC_LABELS_MAX]; /* behind the buckets; NULL in a sink */
    _Atomic uint64_t number;                  /* counter: itself; gauge: bits of a double; histogram: how many */
    _Atomic uint64_t sum;                     /* histogram: bits of a double */
    size_t bucket_count;                      /* with the one beyond the last bound */
    _Atomic uint64_t buckets[];               /* not cumulative */
};

struct bf_family {
    struct bf_series *_Atomic first;
};

struct bf_metrics {
    const struct bf_metric_def *defs;
    size_t count;
    struct bf_family *families;
    struct bf_series *sinks; /* one per definition, for when memory is out */
    pthread_mutex_t lock;    /* makers of series */
};

const double *bf_metric_buckets(const struct bf_metric_def *def);
size_t bf_metric_bucket_count(const struct bf_metric_def *def);
double bf_double_of_bits(uint64_t bits);

#endif
