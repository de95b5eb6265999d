/* The nodes of one partition and their rules. A fold over its signals: what fires depends on the signals and their order alone, so that reading
 * them again gives the same.
 *
 * A signal that is older than its node's newest never fires and changes nothing (late), nor does one that was seen (duplicate). With an allowed
 * lateness signals wait that long and go on in the order of event time; then shuffled within it they give the same.
 * State: ENGINE_NODE_BYTES and the id for a node, the rules' own sizes for each rule that looks at it, and with an allowed lateness at most
 * ENGINE_WAITING_MAX signals. Owned by one thread.
 */
#ifndef ODYSSEY_ENGINE_H
#define ODYSSEY_ENGINE_H

#include "bf_event_id.h"
#include "condition.h"
#include "rules.h"

enum { ENGINE_WAITING_MAX = 64, ENGINE_SEEN_MAX = 4, ENGINE_NODE_BYTES = 112 };

struct signal {
    struct bf_slice node_id, trace_id, traceparent; /* absent: data NULL */
    struct bf_uuid id;
    int64_t event_time_us;
    double values[RULE_FIELDS_MAX];
    uint32_t present;
};

struct reflex { /* borrowed for the call */
    const struct rules *rules;
    const struct rule *rule;
    const struct answer *answer;
    struct bf_slice node_id, trace_id, traceparent;
    struct bf_uuid cause_id;
    int64_t event_time_us; /* of the cause */
};

enum engine_outcome { ENGINE_TAKEN, ENGINE_LATE, ENGINE_DUPLICATE, ENGINE_UNWATCHED, ENGINE_FULL, ENGINE_OUTCOMES };
const char *engine_outcome_name(enum engine_outcome outcome);

struct engine_output { /* NULL instead of it: nothing is said, only remembered */
    enum bf_code (*reflex)(void *ctx, const struct reflex *reflex, struct bf_err *err);
    void *ctx;
};

struct engine;

/* `rules` must outlive it. More than nodes_max different nodes are not watched (ENGINE_FULL). */
BF_MUST_CHECK enum bf_code engine_new(const struct rules *rules, size_t nodes_max, struct engine **out, struct bf_err *err);
void engine_free(struct engine *e);

/* One signal, or what waited for it. arrived_us: any clock that engine_tick() goes by too. Failures are the output's. */
BF_MUST_CHECK enum bf_code engine_signal(struct engine *e, const struct signal *s, int64_t arrived_us, const struct engine_output *output,
                                         enum engine_outcome *outcome, struct bf_err *err);
/* Signals that waited their time go on; with silent_until_us > INT64_MIN, nodes that are silent at that moment of event time are told of: all
 * signals up to then must have been given. */
BF_MUST_CHECK enum bf_code engine_tick(struct engine *e, int64_t arrived_now_us, int64_t silent_until_us, const struct engine_output *output,
                                       struct bf_err *err);

size_t engine_nodes(const struct engine *e);
size_t engine_bytes(const struct engine *e); /* of nodes and their rules */

#endif
