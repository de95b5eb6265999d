#include "plato.h"

#include <stdio.h>

const struct bf_metric_def plato_metric_defs[PLATO_METRICS] = {
    [M_REFLEXES] = {"plato_reflexes_total", "Reflexes judged", BF_METRIC_COUNTER, {NULL}, NULL},
    [M_REJECTED] = {"plato_rejected_total", "Records that cannot be read and were passed by, by reason; CAPSULE keeps them", BF_METRIC_COUNTER, {"reason"}, NULL},
    [M_DECISIONS] = {"plato_decisions_total", "Decisions sent", BF_METRIC_COUNTER, {"verdict", "policy"}, NULL},
    [M_SECOND] = {"plato_second_decisions_total", "Second decisions by people", BF_METRIC_COUNTER, {"verdict"}, NULL},
    [M_REJUDGED] = {"plato_rejudged_total", "Decisions judged again: same, different", BF_METRIC_COUNTER, {"result"}, NULL},
    [M_LAG] = {"plato_consumer_lag_messages", "Messages between what is done and the log's end", BF_METRIC_GAUGE, {"topic", "partition"}, NULL},
    [M_PARTITIONS] = {"plato_partitions", "Partitions held", BF_METRIC_GAUGE, {NULL}, NULL},
    [M_WAITS] = {"plato_waits_total", "Times that reading had to wait: for acknowledgements (full), for CAPSULE or the registry (dependency)", BF_METRIC_COUNTER,
                 {"for"}, NULL},
    [M_IN_FLIGHT] = {"plato_in_flight", "Decisions that Kafka has not acknowledged yet", BF_METRIC_GAUGE, {NULL}, NULL},
    [M_RELOADS] = {"plato_reloads_total", "Policy files read on SIGHUP: taken, refused", BF_METRIC_COUNTER, {"result"}, NULL},
    [M_DELAY] = {"plato_decision_delay_seconds", "From the reflex' Kafka timestamp to its decision handed to Kafka", BF_METRIC_HISTOGRAM, {NULL}, NULL},
    [M_EVIDENCE] = {"plato_evidence_seconds", "To fetch a reflex' evidence and judge it", BF_METRIC_HISTOGRAM, {NULL}, NULL},
    [M_POLICIES] = {"plato_policies_info", "1 for the policy file in use", BF_METRIC_GAUGE, {"version"}, NULL},
    [M_BUILD] = {"plato_build_info", "1", BF_METRIC_GAUGE, {"version"}, NULL},
};

static void set(struct plato *p, enum plato_metric m, const char *v0, double value) { bf_series_set(bf_metrics_series(p->metrics, m, v0, NULL, NULL), value); }

/* Called by HTTP: only what may be read from any thread. */
void plato_refresh_metrics(void *ctx) {
    struct plato *p = ctx;
    struct bf_transform_counts *c = bf_transform_counts(p->transform);
    char number[16];
    int64_t lag;

    for (int32_t i = 0; i < BF_TRANSFORM_PARTITIONS_MAX; i++) {
        if (!bf_transform_lag(p->transform, i, &lag)) continue;
        snprintf(number, sizeof number, "%d", (int)i);
        bf_series_set(bf_metrics_series(p->metrics, M_LAG, p->topic_in.name, number, NULL), (double)lag);
    }
    set(p, M_PARTITIONS, NULL, atomic_load(&c->partitions));
    bf_service_count(bf_metrics_series(p->metrics, M_WAITS, "full", NULL, NULL), atomic_load(&c->waits_full));
    bf_service_count(bf_metrics_series(p->metrics, M_WAITS, "dependency", NULL, NULL), atomic_load(&c->waits_dependency));
    set(p, M_IN_FLIGHT, NULL, (double)(atomic_load(&c->sent) - atomic_load(&c->acknowledged)));
}
