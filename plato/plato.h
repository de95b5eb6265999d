/* The service: what its files share. The thread of main() runs the transform and owns the policies in use; HTTP's threads read settings, topics,
 * schema id and metrics, which do not change once it listens, and go their own way to CAPSULE and Kafka. */
#ifndef PLATO_H
#define PLATO_H

#include "bf_metrics.h"
#include "bf_record.h"
#include "bf_service.h"
#include "bf_transform.h"
#include "decision.h"
#include "evidence.h"
#include "settings.h"

#define DECISION_TOPIC "plato.decision"

enum plato_metric {
    M_REFLEXES, M_REJECTED, M_DECISIONS, M_SECOND, M_REJUDGED, M_LAG, M_PARTITIONS, M_WAITS, M_IN_FLIGHT, M_RELOADS, M_DELAY, M_EVIDENCE, M_POLICIES, M_BUILD,
    PLATO_METRICS
};
extern const struct bf_metric_def plato_metric_defs[PLATO_METRICS];

struct second; /* http_second.c */

struct plato {
    const struct plato_settings *s;
    struct bf_topics *topics;
    struct bf_topic topic_in; /* the catalogue's entry, under the name that was asked for */
    const struct bf_topic *topic_out;
    struct policies *policies;
    struct bf_record_reader *reader;
    struct decision_writer *writer;
    struct evidence *evidence; /* NULL: no CAPSULE */
    _Atomic int32_t decision_schema_id; /* 0: not known yet */
    struct bf_transform *transform;
    struct bf_service *service;
    struct bf_metrics *metrics;
    struct second *second;
    bool said_rejected[BF_RECORD_FAULTS];
};

/* loop.c: what the transform calls; and the fields that it wants of a reflex. */
extern const struct bf_transform_calls plato_calls; /* ctx is a struct plato */
extern const char *const plato_fields[];
extern const size_t plato_field_count;

/* main.c: a client of CAPSULE, for one thread. */
BF_MUST_CHECK enum bf_code plato_evidence(const struct plato *p, struct evidence **out, struct bf_err *err);

/* keep.c: policy files by version */
/* Read the file and check that what it needs is there. BF_INVALID as policies_load(). */
BF_MUST_CHECK enum bf_code keep_load(const struct plato *p, struct policies **out, struct bf_err *err);
/* Keep its text in the state folder; nothing happens without one. */
BF_MUST_CHECK enum bf_code keep_policies(const struct plato *p, const struct policies *policies, struct bf_err *err);
/* BF_NOT_FOUND: that version was never in use here. */
BF_MUST_CHECK enum bf_code keep_find(const struct plato *p, const char *version, struct policies **out, struct bf_err *err);

/* http_second.c, http_rejudge.c: handlers, with the struct bf_service as their ctx */
BF_MUST_CHECK enum bf_code second_new(struct plato *p, struct second **out, struct bf_err *err);
void second_free(struct second *s);
void http_second(struct bf_http_request *req, void *ctx);
void http_rejudge(struct bf_http_request *req, void *ctx);

/* metrics.c */
void plato_refresh_metrics(void *plato);

#endif
