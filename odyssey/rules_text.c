/* Names of kinds, severities and regimes, and which rules look at a node. */
#include "rules.h"

#include "bf_node_id.h"

#include <fnmatch.h>
#include <string.h>

const char *rule_kind_name(enum rule_kind kind) {
    static const char *const names[RULE_KINDS] = {"threshold", "percent_move", "rate_of_change", "zscore", "silence", "regime", "all", "any", "not"};
    return names[kind];
}

const char *rule_severity_name(enum rule_severity severity) {
    static const char *const names[] = {"info", "warning", "critical", "of_regime"};
    return names[severity];
}

const char *rule_regime_name(int regime) {
    static const char *const names[REGIMES] = {"STABLE", "ELEVATED", "STRESSED", "CRITICAL"};
    return names[regime];
}

int rule_node_type(struct bf_slice name) {
    static const char *const types[] = {"entity", "region", "market", "actor", "system", "event", "scope", "relation", "metric", "signal"};
    for (int i = 0; i < 10; i++)
        if (bf_slice_eq(name, bf_slice_str(types[i]))) return i;
    return -1;
}

static bool selects(const struct rule *rule, const struct bf_node_id *id, const char *text) {
    bool space = rule->namespace_count == 0, pattern = rule->pattern_count == 0;

    if (rule->node_types != 0 && (rule->node_types >> rule_node_type(id->type) & 1) == 0) return false;
    for (size_t i = 0; i < rule->namespace_count && !space; i++) space = bf_slice_eq(id->space, bf_slice_str(rule->namespaces[i]));
    for (size_t i = 0; i < rule->pattern_count && !pattern; i++) pattern = fnmatch(rule->patterns[i], text, FNM_NOESCAPE) == 0;
    return space && pattern;
}

uint64_t rules_for_node(const struct rules *r, struct bf_slice node_id) {
    struct bf_node_id id;
    struct bf_err err;
    char text[BF_NODE_ID_MAX + 1];
    uint64_t mask = 0;

    if (bf_node_id_parse(node_id, &id, &err) != BF_OK) return 0;
    memcpy(text, node_id.data, node_id.len);
    text[node_id.len] = '\0';
    for (size_t i = 0; i < r->count; i++)
        if (selects(&r->list[i], &id, text)) mask |= UINT64_C(1) << i;
    return mask;
}
