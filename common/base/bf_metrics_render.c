/* Prometheus' text exposition format 0.0.4: HELP, TYPE, then the series of each family together. */
#include "bf_json.h"
#include "bf_metrics_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void put_escaped(struct bf_buf *out, const char *s, bool quotes) {
    for (; *s != '\0'; s++) {
        if (*s == '\n') {
            bf_buf_puts(out, "\\n");
        } else {
            if (*s == '\\' || (quotes && *s == '"')) {
                bf_buf_putc(out, '\\');
            }
            bf_buf_putc(out, *s);
        }
    }
}

static void put_number(struct bf_buf *out, double v) {
    if (!isfinite(v)) {
        bf_buf_puts(out, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    if (bf_buf_reserve(out, 32)) {
        out->len += bf_double_format(out->data + out->len, v);
    }
}

/* {a="x",le="0.5"}, or nothing where there are no labels. */
static void put_labels(struct bf_buf *out, const struct bf_series *s, const double *le) {
    char sep = '{';
    for (size_t i = 0; i < BF_METRIC_LABELS_MAX && s->def->labels[i] != NULL; i++) {
        bf_buf_printf(out, "%c%s=\"", sep, s->def->labels[i]);
        put_escaped(out, s->values[i], true);
        bf_buf_putc(out, '"');
        sep = ',';
    }
    if (le != NULL) {
        bf_buf_printf(out, "%cle=\"", sep);
        put_number(out, *le);
        bf_buf_putc(out, '"');
        sep = ',';
    }
    if (sep == ',') {
        bf_buf_putc(out, '}');
    }
}

static void put_histogram(struct bf_buf *out, const struct bf_series *s) {
    const double *bounds = bf_metric_buckets(s->def);
    const char *name = s->def->name;
    uint64_t total = 0;
    for (size_t i = 0; i < s->bucket_count; i++) {
        total += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        double le = i + 1 < s->bucket_count ? bounds[i] : INFINITY;
        bf_buf_printf(out, "%s_bucket", name);
        put_labels(out, s, &le);
        bf_buf_printf(out, " %llu\n", (unsigned long long)total);
    }
    bf_buf_printf(out, "%s_sum", name);
    put_labels(out, s, NULL);
    bf_buf_putc(out, ' ');
    put_number(out, bf_double_of_bits(atomic_load(&s->sum)));
    bf_buf_printf(out, "\n%s_count", name);
    put_labels(out, s, NULL);
    bf_buf_printf(out, " %llu\n", (unsigned long long)total); /* what the buckets say, so that the two always agree */
}

static void put_series(struct bf_buf *out, const struct bf_series *s) {
    if (s->def->kind == BF_METRIC_HISTOGRAM) {
        put_histogram(out, s);
        return;
    }
    bf_buf_puts(out, s->def->name);
    put_labels(out, s, NULL);
    if (s->def->kind == BF_METRIC_COUNTER) {
        bf_buf_printf(out, " %llu\n", (unsigned long long)atomic_load(&s->number));
        return;
    }
    bf_buf_putc(out, ' ');
    put_number(out, bf_series_value(s));
    bf_buf_putc(out, '\n');
}

void bf_metrics_render(struct bf_metrics *m, struct bf_buf *out) {
    static const char *const types[] = {"counter", "gauge", "histogram"};
    for (size_t i = 0; i < m->count; i++) {
        const struct bf_metric_def *def = &m->defs[i];
        bf_buf_printf(out, "# HELP %s ", def->name);
        put_escaped(out, def->help, false);
        bf_buf_printf(out, "\n# TYPE %s %s\n", def->name, types[def->kind]);
        for (const struct bf_series *s = atomic_load(&m->families[i].first); s != NULL; s = s->next) {
            put_series(out, s);
        }
    }
}
