/* What the loops share: made by main, read by the API. Set once before the threads start unless a comment says otherwise. */
#ifndef CAPSULE_H
#define CAPSULE_H

#include "bf_kafka.h"
#include "bf_metrics.h"
#include "bf_topics.h"
#include "store.h"

#include <pthread.h>
#include <stdatomic.h>

/* Indexes into capsule_metric_defs (capsule/metrics.c); order is that of the table. */
enum capsule_metric {
    M_RECORDS, M_ARCHIVED, M_LAG_MESSAGES, M_LAG_SECONDS, M_RECORDED_THROUGH, M_ARCHIVED_THROUGH, M_HOT_BYTES, M_HOT_BYTES_MAX, M_HOT_ID_BYTES,
    M_E2E, M_HTTP, M_DEPENDENCY_UP, M_BUILD_INFO, M_PAUSES, M_WAITS, M_DLQ, M_EVICTED, CAPSULE_METRICS
};
extern const struct bf_metric_def capsule_metric_defs[CAPSULE_METRICS];

struct capsule_settings {
    char *dir, *bootstrap, *registry_url, *postgres, *http_host, *group, *schemas_dir, *migrations_dir, *log_level, *endpoints_file;
    char *tokens_file, *tls_cert, *tls_key;
    int64_t http_port, hot_bytes_max, hot_age_ms, batch_events_max, node_run_min, batch_bytes_max, archive_events_max, archive_connections, start_timeout_ms;
    int64_t http_address_connections_max, http_head_timeout_ms, http_idle_timeout_ms;
    int64_t http_connections_max, http_loops, archive_pool_max, archive_retry_max_ms, schema_retry_ms, value_bytes_max, depth_max;
    int64_t reads_bytes_max;
    bool http_port_or_free, sync_commits, record_reads, adopt_archive;
};

enum dependency { DEPENDENCY_KAFKA, DEPENDENCY_REGISTRY, DEPENDENCY_POSTGRES, DEPENDENCIES };

/* An event that PostgreSQL refuses: posted by the archiver, taken by ingest, which quarantines it in the hot store. */
struct refusal {
    pthread_mutex_t lock;
    bool posted; /* the rest is valid */
    int64_t recorded_at_us;
    char topic[250], detail[512];
};

struct ingest;
struct redrive;
struct archiver;
struct reads;
struct dlq;
struct replays;

struct capsule {
    const struct capsule_settings *settings;
    const struct bf_topics *topics;
    struct hot *hot;
    struct schema_cache *schemas;
    struct store *store;
    struct reads *reads; /* NULL: reads are not recorded */
    struct bf_metrics *metrics;
    struct bf_consumer *consumer; /* owned by ingest; watermarks may be read from any thread */
    struct ingest *ingest;
    struct redrive *redrive;
    struct archiver *archiver;
    struct dlq *dlq;
    struct replays *replays;
    char instance[37];            /* hot_instance_id() as text */
    char *cluster_id;
    uint8_t cursor_key[16];       /* from the archive: its instances accept each other's cursors */
    int64_t started_at_us, started_monotonic_us;
    atomic_int dependency_up[DEPENDENCIES]; /* written by the loop that talks to it */
    atomic_bool ingesting, paused, archiving; /* true once the loop runs normally */
    atomic_bool rebuilding; /* ids and nodes are not all known yet; until then nothing is ingested */
    atomic_int_least64_t rebuilt_ids;
    atomic_bool schemas_to_learn; /* set by the archiver: other instances archived with schemas that are not kept here; ingest fetches them and clears it */
    atomic_bool fence_lost; /* set by the archiver: some partition's fence does not hold; ingest reconciles and clears it */
    struct refusal refusal;
    pthread_mutex_t tail_lock; /* held by the archiver while it has a chunk in hand, by recovery while it forgets a tail */
    uint32_t tail_turn; /* under tail_lock: counts the times that a tail was forgotten */
    atomic_int fatal; /* an exit code; 0 while all is well; whoever sets it also calls bf_stop_request() */
};

#endif
