/* Counters, gauges and histograms declared in one table with prose, rendered in Prometheus' text format 0.0.4.
 *
 * A series is made on first use and lives as long as the registry; adding to it is one atomic operation, from any thread.
 */
#ifndef BF_METRICS_H
#define BF_METRICS_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdint.h>

enum bf_metric_kind { BF_METRIC_COUNTER, BF_METRIC_GAUGE, BF_METRIC_HISTOGRAM };

#define BF_METRIC_LABELS_MAX 3

struct bf_metric_def {
    const char *name, *help;
    enum bf_metric_kind kind;
    const char *labels[BF_METRIC_LABELS_MAX]; /* names; NULL where there are fewer */
    const double *buckets; /* histogram: upper bounds, ascending, ended by 0; NULL: seconds from 1 ms/2 to 60 s */
};

struct bf_metrics;
struct bf_series;

/* `defs` must outlive the registry. */
BF_MUST_CHECK enum bf_code bf_metrics_new(const struct bf_metric_def *defs, size_t count, struct bf_metrics **out,
                                          struct bf_err *err);
void bf_metrics_free(struct bf_metrics *m);

/* The series of defs[index] with these label values (as many as the def has; missing ones NULL). Never NULL: when memory
 * is out, a shared sink. Keep the pointer for hot paths. */
struct bf_series *bf_metrics_series(struct bf_metrics *m, size_t index, const char *v0, const char *v1, const char *v2);

void bf_series_add(struct bf_series *s, uint64_t n);          /* counter */
void bf_series_set(struct bf_series *s, double value);        /* gauge */
void bf_series_observe(struct bf_series *s, double value, uint64_t times); /* histogram */
double bf_series_value(const struct bf_series *s);            /* counter, gauge; a histogram's count */

void bf_metrics_render(struct bf_metrics *m, struct bf_buf *out);

#endif
