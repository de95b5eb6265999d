/* The policy file: which reflexes are allowed, denied or escalated, and what has to be known for that. Read and checked once, immutable afterwards.
 * The first policy that fits a reflex decides. docs/plato.md is the manual of the file. */
#ifndef PLATO_POLICIES_H
#define PLATO_POLICIES_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdbool.h>
#include <stdint.h>

enum { POLICIES_MAX = 128, POLICY_NAME_MAX = 64, POLICY_LIST_MAX = 16, POLICY_REASON_MAX = 300, POLICY_FIELD_MAX = 200 };

enum verdict { VERDICT_ALLOW, VERDICT_ESCALATE, VERDICT_DENY };
const char *verdict_name(enum verdict v);
bool verdict_parse(const char *text, enum verdict *out);

struct text_list {
    char *items[POLICY_LIST_MAX];
    size_t count; /* 0: everything fits */
};

/* About a field of the node's newest signal, as of the reflex and as known then. */
struct state_test {
    char *field; /* dotted path */
    char *equals; /* NULL: by number */
    bool has_above, has_below;
    double above, below;
};

struct policy {
    char name[POLICY_NAME_MAX + 1];
    struct text_list rules, kinds, severities, regimes, node_types, namespaces, patterns; /* rules and patterns may be globs */
    struct state_test tests[POLICY_LIST_MAX]; /* all must hold */
    size_t test_count;
    int64_t limit_count, limit_us; /* at most so many earlier reflexes that this policy fits, per node, in so long; limit_us 0: no limit */
    enum verdict verdict, beyond;  /* beyond: once the limit is reached */
    char reason[POLICY_REASON_MAX + 1];
};

struct policies {
    char version[65]; /* SHA-256 of the file's bytes, hex */
    struct policy list[POLICIES_MAX + 1];
    size_t count;
    struct policy otherwise; /* when none fits */
    char *text;              /* the file, to be kept beside the decisions */
    size_t text_bytes;
};

/* BF_INVALID: err says where in the file, what was found and what would be right. */
BF_MUST_CHECK enum bf_code policies_load(const char *path, struct policies **out, struct bf_err *err);
BF_MUST_CHECK enum bf_code policies_parse(struct bf_slice text, struct policies **out, struct bf_err *err);
void policies_free(struct policies *p);
/* Does any of them ask for more than the reflex itself? The name of the first that does, else NULL. */
const char *policies_need_evidence(const struct policies *p);

#endif
