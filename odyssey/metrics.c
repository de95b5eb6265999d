#include "odyssey.h"

#include <stdio.h>

const struct bf_metric_def odyssey_metric_defs[ODYSSEY_METRICS] = {
    [M_SIGNALS] = {"odyssey_signals_total", "Signals by what became of them: taken, late, duplicate, unwatched, full", BF_METRIC_COUNTER, {"outcome"}, NULL},
    [M_REJECTED] = {"odyssey_rejected_total", "Records that cannot be read and were passed by, by reason; CAPSULE keeps them", BF_METRIC_COUNTER, {"reason"}, NULL},
    [M_REFLEXES] = {"odyssey_reflexes_total", "Reflexes sent", BF_METRIC_COUNTER, {"rule"}, NULL},
    [M_NODES] = {"odyssey_nodes", "Nodes known", BF_METRIC_GAUGE, {NULL}, NULL},
    [M_STATE_BYTES] = {"odyssey_state_bytes", "Memory of nodes and their rules", BF_METRIC_GAUGE, {NULL}, NULL},
    [M_LAG] = {"odyssey_consumer_lag_messages", "Messages between what is done and the log's end", BF_METRIC_GAUGE, {"topic", "partition"}, NULL},
    [M_PARTITIONS] = {"odyssey_partitions", "Partitions held", BF_METRIC_GAUGE, {NULL}, NULL},
    [M_WAITS] = {"odyssey_waits_total", "Times that reading had to wait: for acknowledgements (full), for a dependency", BF_METRIC_COUNTER, {"for"}, NULL},
    [M_IN_FLIGHT] = {"odyssey_in_flight", "Reflexes that Kafka has not acknowledged yet", BF_METRIC_GAUGE, {NULL}, NULL},
    [M_RELOADS] = {"odyssey_reloads_total", "Rule files read on SIGHUP: taken, refused", BF_METRIC_COUNTER, {"result"}, NULL},
    [M_WARMED] = {"odyssey_warmed_signals_total", "Signals learned from CAPSULE", BF_METRIC_COUNTER, {NULL}, NULL},
    [M_DELAY] = {"odyssey_reflex_delay_seconds", "From the signal's Kafka timestamp to its reflex handed to Kafka", BF_METRIC_HISTOGRAM, {NULL}, NULL},
    [M_RULES] = {"odyssey_rules_info", "1 for the rule file in use", BF_METRIC_GAUGE, {"version"}, NULL},
    [M_BUILD] = {"odyssey_build_info", "1", BF_METRIC_GAUGE, {"version"}, NULL},
};

static void set(struct odyssey *o, enum odyssey_metric m, const char *v0, double value) { bf_series_set(bf_metrics_series(o->metrics, m, v0, NULL, NULL), value); }

/* Called by HTTP: only what may be read from any thread. */
void odyssey_refresh_metrics(void *ctx) {
    struct odyssey *o = ctx;
    struct bf_transform_counts *c = bf_transform_counts(o->transform);
    char number[16];
    int64_t lag;

    for (int32_t p = 0; p < BF_TRANSFORM_PARTITIONS_MAX; p++) {
        if (!bf_transform_lag(o->transform, p, &lag)) continue;
        snprintf(number, sizeof number, "%d", (int)p);
        bf_series_set(bf_metrics_series(o->metrics, M_LAG, o->topic_in.name, number, NULL), (double)lag);
    }
    set(o, M_PARTITIONS, NULL, atomic_load(&c->partitions));
    bf_service_count(bf_metrics_series(o->metrics, M_WAITS, "full", NULL, NULL), atomic_load(&c->waits_full));
    bf_service_count(bf_metrics_series(o->metrics, M_WAITS, "dependency", NULL, NULL), atomic_load(&c->waits_dependency));
    set(o, M_IN_FLIGHT, NULL, (double)(atomic_load(&c->sent) - atomic_load(&c->acknowledged)));
}
