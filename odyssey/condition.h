/* One condition asked about one signal: what it answers now, and what it remembers for the next. Pure: same memory and signal, same answer. */
#ifndef ODYSSEY_CONDITION_H
#define ODYSSEY_CONDITION_H

#include "rules.h"

struct moment {
    int64_t time_us;
    bool has_before;
    int64_t before_us;    /* the time of the node's signal before this one */
    const double *values; /* by field of the rules */
    uint32_t present;     /* bit i: values[i] is there and finite */
};

struct answer {
    bool fresh; /* the signal had something to say about it */
    bool truth;
    const struct rule_condition *leaf; /* the one that the following is about; NULL: none */
    double value, previous, limit;
    bool has_value, has_previous, has_limit;
    double current;         /* the field itself, when has_current */
    bool has_current;
    int regime_from, regime_to; /* of a regime leaf */
};

/* Ask the condition at index `at` of the rule, with everything below it; all of it remembers. `state` is the rule's state of the node. */
void condition_ask(const struct rule *rule, int at, uint8_t *state, const struct moment *m, struct answer *out);

#endif
