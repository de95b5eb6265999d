/* The service: what its files share. The thread of main() runs the transform and owns everything but the metrics and the atomics, which HTTP reads. */
#ifndef ODYSSEY_H
#define ODYSSEY_H

#include "bf_metrics.h"
#include "bf_record.h"
#include "bf_service.h"
#include "bf_transform.h"
#include "engine.h"
#include "settings.h"
#include "speak.h"

#define REFLEX_TOPIC "odyssey.reflex"

enum odyssey_metric {
    M_SIGNALS, M_REJECTED, M_REFLEXES, M_NODES, M_STATE_BYTES, M_LAG, M_PARTITIONS, M_WAITS, M_IN_FLIGHT, M_RELOADS, M_WARMED, M_DELAY, M_RULES, M_BUILD,
    ODYSSEY_METRICS
};
extern const struct bf_metric_def odyssey_metric_defs[ODYSSEY_METRICS];

struct partition {
    struct engine *engine; /* NULL: not held */
    int64_t warmed_to;     /* the offset that the engine was made for */
    bool holes;            /* the broker only has fillers for what CAPSULE knows: learn from there before the next signal */
    bool at_end;           /* nothing was read since the log's end was seen */
    int64_t end_seen_us;   /* wall clock; INT64_MIN: never */
};

struct odyssey {
    const struct odyssey_settings *s;
    struct bf_topics *topics;
    struct bf_topic topic_in; /* the catalogue's entry, under the name that was asked for */
    const struct bf_topic *topic_out;
    struct rules *rules;
    struct rules *rules_next; /* read on SIGHUP and not taken yet; NULL: none */
    struct bf_record_reader *reader;
    struct speaker *speaker;
    int32_t reflex_schema_id;
    struct bf_transform *transform;
    struct bf_service *service;
    struct bf_metrics *metrics;
    struct partition *partitions; /* BF_TRANSFORM_PARTITIONS_MAX */
    struct bf_series *outcomes[ENGINE_OUTCOMES], *rejected[BF_RECORD_FAULTS], *reflexes[RULES_MAX], *delay;
    bool said_rejected[BF_RECORD_FAULTS], said_full;
    int64_t kafka_ms; /* of the signal at hand; 0: none */
};

/* loop.c: what the transform calls. */
extern const struct bf_transform_calls odyssey_calls; /* ctx is a struct odyssey */
/* The reader that picks the fields of `rules`. */
BF_MUST_CHECK enum bf_code odyssey_reader(struct odyssey *o, const struct rules *rules, struct bf_record_reader **out, struct bf_err *err);
/* The series that go with o->rules. */
void odyssey_note_rules(struct odyssey *o);

/* reload.c */
void reload_read(struct odyssey *o); /* after SIGHUP */
BF_MUST_CHECK enum bf_code reload_take(struct odyssey *o, struct bf_err *err); /* what was read, as soon as it can be */

/* warm.c: engines from CAPSULE. */
/* The state after all signals of the partition below `before`. BF_AGAIN: CAPSULE is away or not that far yet. */
BF_MUST_CHECK enum bf_code warm_engine(struct odyssey *o, const struct rules *rules, int32_t partition, int64_t before, struct engine **out, struct bf_err *err);
/* Is CAPSULE there? */
BF_MUST_CHECK enum bf_code warm_ping(void *odyssey, struct bf_err *err);

/* metrics.c */
void odyssey_refresh_metrics(void *odyssey);

#endif
