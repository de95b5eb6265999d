/* The one table of what CAPSULE counts. The order is that of enum capsule_metric. */
#include "capsule.h"

static const double e2e_buckets[] = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600, 0};

const struct bf_metric_def capsule_metric_defs[CAPSULE_METRICS] = {
    [M_RECORDS] = {"capsule_records_total", "Records taken from Kafka, by what became of them", BF_METRIC_COUNTER,
                   {"topic", "disposition"}, NULL},
    [M_ARCHIVED] = {"capsule_archived_records_total", "Event rows committed to PostgreSQL", BF_METRIC_COUNTER, {"topic"}, NULL},
    [M_LAG_MESSAGES] = {"capsule_consumer_lag_messages", "Messages in Kafka that are not recorded yet", BF_METRIC_GAUGE,
                        {"topic", "partition"}, NULL},
    [M_LAG_SECONDS] = {"capsule_consumer_lag_seconds", "Age of the newest recorded message while there is a lag, else 0",
                       BF_METRIC_GAUGE, {"topic", "partition"}, NULL},
    [M_RECORDED_THROUGH] = {"capsule_recorded_through_seconds", "Newest recorded_at, seconds since the epoch", BF_METRIC_GAUGE,
                            {NULL}, NULL},
    [M_ARCHIVED_THROUGH] = {"capsule_archived_through_seconds", "Newest recorded_at that PostgreSQL has, seconds since the epoch",
                            BF_METRIC_GAUGE, {NULL}, NULL},
    [M_HOT_BYTES] = {"capsule_hot_bytes", "Bytes of the LMDB map in use", BF_METRIC_GAUGE, {NULL}, NULL},
    [M_HOT_BYTES_MAX] = {"capsule_hot_bytes_max", "The most the LMDB map may hold", BF_METRIC_GAUGE, {NULL}, NULL},
    [M_HOT_ID_BYTES] = {"capsule_hot_id_bytes", "Bytes of the map of ids, beside LMDB's", BF_METRIC_GAUGE, {NULL}, NULL},
    [M_E2E] = {"capsule_e2e_seconds", "From the broker's timestamp to recorded, and to archived", BF_METRIC_HISTOGRAM, {"stage"},
               e2e_buckets},
    [M_HTTP] = {"capsule_http_request_seconds", "Time to answer a request", BF_METRIC_HISTOGRAM, {"route", "code"}, NULL},
    [M_DEPENDENCY_UP] = {"capsule_dependency_up", "1 while the dependency answers", BF_METRIC_GAUGE, {"name"}, NULL},
    [M_BUILD_INFO] = {"capsule_build_info", "Always 1", BF_METRIC_GAUGE, {"version"}, NULL},
    [M_PAUSES] = {"capsule_pauses_total", "Times that fetching was paused, by reason", BF_METRIC_COUNTER, {"reason"}, NULL},
    [M_WAITS] = {"capsule_waits_total", "Times that a loop waited for a dependency", BF_METRIC_COUNTER, {"dependency"}, NULL},
    [M_DLQ] = {"capsule_dlq_published_total", "Quarantined records published to their dead letter topic", BF_METRIC_COUNTER,
               {"topic"}, NULL},
    [M_EVICTED] = {"capsule_evicted_records_total", "Archived records dropped from the hot store", BF_METRIC_COUNTER, {NULL}, NULL},
};
