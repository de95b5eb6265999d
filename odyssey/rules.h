/* The rule file: what to look at, on which nodes, and when to react. Read and checked once, immutable afterwards.
 *
 * A rule is a tree of conditions in pre-order: leaves look at a field of the signal or at the time between signals, `all`, `any` and `not` combine.
 * What a leaf remembers of a node lies in a slot of fixed size, so that a node's state has a size that is known when the file is read.
 * docs/odyssey.md is the manual of the file.
 */
#ifndef ODYSSEY_RULES_H
#define ODYSSEY_RULES_H

#include "bf_buf.h"
#include "bf_err.h"
#include "bf_topics.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    RULES_MAX = 64,
    RULE_NAME_MAX = 64,
    RULE_CONDITIONS_MAX = 16,
    RULE_FIELDS_MAX = 20,    /* different fields in one file */
    RULE_SELECTORS_MAX = 16, /* namespaces, and patterns, of one rule */
    REGIMES = 4
};

enum rule_kind {
    RULE_THRESHOLD, RULE_PERCENT_MOVE, RULE_RATE_OF_CHANGE, RULE_ZSCORE, RULE_SILENCE, RULE_REGIME, /* leaves */
    RULE_ALL, RULE_ANY, RULE_NOT,
    RULE_KINDS
};
enum rule_severity { SEVERITY_INFO, SEVERITY_WARNING, SEVERITY_CRITICAL, SEVERITY_OF_REGIME /* info, warning or critical as the new regime is */ };

const char *rule_kind_name(enum rule_kind kind);
const char *rule_severity_name(enum rule_severity severity);
const char *rule_regime_name(int regime); /* 0 STABLE … 3 CRITICAL */

struct rule_condition {
    enum rule_kind kind;
    int field; /* index into rules.fields; -1: none */
    bool has_above, has_below;
    double above, below;        /* percent, units per `per_us`, standard deviations, or the field's own units */
    double levels[REGIMES - 1]; /* regime: ascending */
    double hysteresis;
    int64_t dwell_us;
    int64_t window_us; /* 0: the signal before */
    int64_t after_us;  /* silence */
    int64_t per_us;    /* rate of change */
    int64_t count_min; /* zscore */
    uint32_t slot;     /* offset of its memory in the rule's state */
    int end;           /* index behind its subtree */
};

struct rule {
    char name[RULE_NAME_MAX + 1];
    enum rule_severity severity;
    bool on_enter;       /* fire when it becomes true, not each time it is true */
    int64_t cooldown_us; /* of event time, by node */
    unsigned node_types; /* bit i: type i of bf_node_id's ten; 0: all */
    size_t namespace_count, pattern_count;
    char *namespaces[RULE_SELECTORS_MAX], *patterns[RULE_SELECTORS_MAX]; /* none: all */
    struct rule_condition conditions[RULE_CONDITIONS_MAX];
    int condition_count;
    uint32_t state_bytes; /* of one node, a multiple of 8 */
};

struct rules {
    char version[65]; /* SHA-256 of the file's bytes, hex */
    int64_t lateness_us;
    struct rule list[RULES_MAX];
    size_t count;
    char *fields[RULE_FIELDS_MAX]; /* dotted paths */
    size_t field_count;
    bool has_silence; /* some rule is about silence alone: time must be watched */
};

/* Memory of one condition and of a rule itself, laid over a node's state. */
struct rule_memory {
    int64_t fired_us;
    bool fired, was_true;
};
struct threshold_memory {
    bool last;
};
#define MOVE_PANES 8
struct sample {
    int64_t time_us;
    double value;
};
struct move_memory { /* [count - 1] is the newest; without a window only one is kept */
    int32_t count;
    struct sample samples[MOVE_PANES];
};
#define ZSCORE_PANES 7
struct zscore_pane {
    double mean, m2;
    uint32_t count, index;
};
struct zscore_memory {
    struct zscore_pane panes[ZSCORE_PANES];
};
struct silence_memory {
    int64_t fired_for_us; /* the newest signal's time when it fired last */
    bool fired;
};
struct regime_memory {
    int64_t since_us;
    int32_t level;
    bool begun;
};

/* `topic` says which fields there are. BF_INVALID: err says where in the file, what was found and what would be right. */
BF_MUST_CHECK enum bf_code rules_load(const char *path, const struct bf_topic *topic, struct rules **out, struct bf_err *err);
BF_MUST_CHECK enum bf_code rules_parse(struct bf_slice text, const struct bf_topic *topic, struct rules **out, struct bf_err *err);
void rules_free(struct rules *r);

/* Index among bf_node_id's ten types; -1: none. */
int rule_node_type(struct bf_slice name);
/* Which rules look at this node: bit i for list[i]. */
uint64_t rules_for_node(const struct rules *r, struct bf_slice node_id);

#endif
