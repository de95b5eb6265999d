/* From the rule file's JSON to struct rules. Whatever is not understood is an error that says where: a rule that is silently not what its author
 * meant is worse than a service that does not start. */
#include "rules.h"

#include "bf_avro.h"
#include "bf_json.h"
#include "bf_node_id.h"
#include "bf_place.h"
#include "bf_sha256.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (1u << 20)
#define MS INT64_C(1000)

struct parser {
    struct rules *rules;
    struct bf_avro *schema; /* NULL: fields are not checked */
};

/* ---- fields ---- */

/* A number at the top, or something below a structure. */
static bool is_number_field(const struct bf_avro *schema, const char *path) {
    const struct bf_avro_column *columns;
    size_t count = bf_avro_columns(schema, &columns), head = strcspn(path, ".");

    for (size_t i = 0; i < count; i++) {
        if (strlen(columns[i].name) != head || memcmp(columns[i].name, path, head) != 0) continue;
        if (path[head] == '.') return columns[i].kind == BF_AVRO_ABSENT && path[head + 1] != '\0';
        return columns[i].kind == BF_AVRO_LONG || columns[i].kind == BF_AVRO_DOUBLE;
    }
    return false;
}

static enum bf_code read_field(struct parser *ps, const struct bf_place *p, const char *fallback, int *out, struct bf_err *err) {
    struct rules *r = ps->rules;
    const char *path = fallback;
    enum bf_code code = bf_place_text(p, "field", fallback == NULL, &path, err);

    if (code != BF_OK) return code;
    if (ps->schema != NULL && !is_number_field(ps->schema, path))
        return bf_fail(err, BF_INVALID, 0, "%s.field: '%.64s' is no number in the signals' schema", p->where, path);
    for (size_t i = 0; i < r->field_count; i++)
        if (strcmp(r->fields[i], path) == 0) {
            *out = (int)i;
            return BF_OK;
        }
    if (r->field_count == RULE_FIELDS_MAX) return bf_fail(err, BF_INVALID, 0, "%s.field: more than %d different fields", p->where, RULE_FIELDS_MAX);
    if ((r->fields[r->field_count] = strdup(path)) == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for rules");
    *out = (int)r->field_count++;
    return BF_OK;
}

/* ---- leaves ---- */

static enum bf_code read_bounds(const struct bf_place *p, struct rule_condition *c, struct bf_err *err) {
    enum bf_code code = bf_place_number(p, "above", &c->above, &c->has_above, err);
    if (code == BF_OK) code = bf_place_number(p, "below", &c->below, &c->has_below, err);
    if (code == BF_OK && !c->has_above && !c->has_below) return bf_fail(err, BF_INVALID, 0, "%s: neither 'above' nor 'below' is given", p->where);
    return code;
}

/* What a kind's condition takes beside `kind`. */
static const char *const *members_of(enum rule_kind kind) {
    static const char *const threshold[] = {"kind", "field", "above", "below", NULL}, *const move[] = {"kind", "field", "percent", "window", NULL},
                             *const rate[] = {"kind", "field", "above", "below", "per", "window", NULL},
                             *const zscore[] = {"kind", "field", "above", "below", "window", "count_min", NULL}, *const silence[] = {"kind", "after", NULL},
                             *const regime[] = {"kind", "field", "levels", "hysteresis", "min_dwell", NULL}, *const combined[] = {"kind", "of", NULL};
    static const char *const *const all[RULE_KINDS] = {threshold, move, rate, zscore, silence, regime, combined, combined, combined};
    return all[kind];
}

static enum bf_code read_percent_move(const struct bf_place *p, struct rule_condition *c, struct bf_err *err) {
    bool there = false;
    enum bf_code code = bf_place_number(p, "percent", &c->above, &there, err);

    if (code == BF_OK && (!there || c->above <= 0)) return bf_fail(err, BF_INVALID, 0, "%s.percent must be given and above 0", p->where);
    c->has_above = c->has_below = true;
    c->below = -c->above;
    if (code == BF_OK) code = bf_place_duration(p, "window", MOVE_PANES * MS, &c->window_us, err);
    return code;
}

static enum bf_code read_rate(const struct bf_place *p, struct rule_condition *c, struct bf_err *err) {
    enum bf_code code = read_bounds(p, c, err);

    c->per_us = 1000 * MS;
    if (code == BF_OK) code = bf_place_duration(p, "per", MS, &c->per_us, err);
    if (code == BF_OK) code = bf_place_duration(p, "window", MOVE_PANES * MS, &c->window_us, err);
    return code;
}

static enum bf_code read_zscore(const struct bf_place *p, struct rule_condition *c, struct bf_err *err) {
    enum bf_code code = read_bounds(p, c, err);

    c->count_min = 10;
    if (code == BF_OK) code = bf_place_duration(p, "window", ZSCORE_PANES * MS, &c->window_us, err);
    if (code == BF_OK && c->window_us == 0) return bf_fail(err, BF_INVALID, 0, "%s.window is missing", p->where);
    if (code == BF_OK) code = bf_place_int(p, "count_min", 2, 1000000000, &c->count_min, err);
    return code;
}

static enum bf_code read_regime(const struct bf_place *p, struct rule_condition *c, struct bf_err *err) {
    static const double usual[REGIMES - 1] = {0.3, 0.6, 0.8};
    const json_t *levels = json_object_get(p->object, "levels");
    enum bf_code code = BF_OK;

    memcpy(c->levels, usual, sizeof usual);
    if (levels != NULL) {
        bool good = json_is_array(levels) && json_array_size(levels) == REGIMES - 1;
        for (size_t i = 0; good && i < REGIMES - 1; i++) {
            good = json_is_number(json_array_get(levels, i));
            c->levels[i] = json_number_value(json_array_get(levels, i));
            good = good && (i == 0 || c->levels[i] > c->levels[i - 1]);
        }
        if (!good) return bf_fail(err, BF_INVALID, 0, "%s.levels is no list of three ascending numbers", p->where);
    }
    code = bf_place_number(p, "hysteresis", &c->hysteresis, NULL, err);
    if (code == BF_OK && c->hysteresis < 0) return bf_fail(err, BF_INVALID, 0, "%s.hysteresis must not be below 0", p->where);
    if (code == BF_OK) code = bf_place_duration(p, "min_dwell", 0, &c->dwell_us, err);
    return code;
}

static enum bf_code read_leaf(struct parser *ps, const struct bf_place *p, struct rule_condition *c, struct bf_err *err) {
    enum bf_code code = BF_OK;

    if (c->kind == RULE_SILENCE) {
        code = bf_place_duration(p, "after", MS, &c->after_us, err);
        return code == BF_OK && c->after_us == 0 ? bf_fail(err, BF_INVALID, 0, "%s.after is missing", p->where) : code;
    }
    code = read_field(ps, p, c->kind == RULE_REGIME ? "stress" : NULL, &c->field, err);
    if (code != BF_OK) return code;
    switch (c->kind) {
    case RULE_THRESHOLD: return read_bounds(p, c, err);
    case RULE_PERCENT_MOVE: return read_percent_move(p, c, err);
    case RULE_RATE_OF_CHANGE: return read_rate(p, c, err);
    case RULE_ZSCORE: return read_zscore(p, c, err);
    default: return read_regime(p, c, err);
    }
}

static uint32_t memory_bytes(const struct rule_condition *c) {
    size_t bytes = 0;
    switch (c->kind) {
    case RULE_THRESHOLD: bytes = sizeof(struct threshold_memory); break;
    case RULE_PERCENT_MOVE:
    case RULE_RATE_OF_CHANGE:
        bytes = offsetof(struct move_memory, samples) + (c->window_us > 0 ? MOVE_PANES : 1) * sizeof(struct sample);
        break;
    case RULE_ZSCORE: bytes = sizeof(struct zscore_memory); break;
    case RULE_SILENCE: bytes = sizeof(struct silence_memory); break;
    case RULE_REGIME: bytes = sizeof(struct regime_memory); break;
    default: break;
    }
    return (uint32_t)(bytes + 7) / 8 * 8;
}

/* ---- trees ---- */

static enum bf_code read_condition(struct parser *ps, const struct bf_place *p, struct rule *rule, const char *const *more, struct bf_err *err);

static enum bf_code read_children(struct parser *ps, const struct bf_place *p, struct rule *rule, enum rule_kind kind, struct bf_err *err) {
    const json_t *of = json_object_get(p->object, "of");
    size_t count = json_array_size(of), least = kind == RULE_NOT ? 1 : 2, most = kind == RULE_NOT ? 1 : RULE_CONDITIONS_MAX;
    enum bf_code code = BF_OK;

    if (!json_is_array(of) || count < least || count > most)
        return bf_fail(err, BF_INVALID, 0, "%s.of must be a list of %s", p->where, kind == RULE_NOT ? "one condition" : "two or more conditions");
    for (size_t i = 0; i < count && code == BF_OK; i++) {
        struct bf_place child;
        code = bf_place_init(&child, json_array_get(of, i), err, "%.120s.of[%zu]", p->where, i);
        if (code == BF_OK) code = read_condition(ps, &child, rule, NULL, err);
    }
    return code;
}

static enum bf_code check_members(const struct bf_place *p, enum rule_kind kind, const char *const *more, struct bf_err *err) {
    const char *allowed[24];
    size_t n = 0;

    for (const char *const *m = members_of(kind); *m != NULL; m++) allowed[n++] = *m;
    for (; more != NULL && *more != NULL; more++) allowed[n++] = *more;
    allowed[n] = NULL;
    return bf_place_only(p, allowed, err);
}

static enum bf_code read_condition(struct parser *ps, const struct bf_place *p, struct rule *rule, const char *const *more, struct bf_err *err) {
    static const char *const kinds[] = {"threshold", "percent_move", "rate_of_change", "zscore", "silence", "regime", "all", "any", "not", NULL};
    int kind = -1;
    enum bf_code code = bf_place_choice(p, "kind", kinds, &kind, err);

    if (code == BF_OK && kind < 0) code = bf_fail(err, BF_INVALID, 0, "%s.kind is missing", p->where);
    if (code == BF_OK && rule->condition_count == RULE_CONDITIONS_MAX)
        code = bf_fail(err, BF_INVALID, 0, "%s: a rule has at most %d conditions", p->where, RULE_CONDITIONS_MAX);
    if (code == BF_OK) code = check_members(p, (enum rule_kind)kind, more, err);
    if (code != BF_OK) return code;
    struct rule_condition *c = &rule->conditions[rule->condition_count++];
    *c = (struct rule_condition){.kind = (enum rule_kind)kind, .field = -1};
    code = kind >= RULE_ALL ? read_children(ps, p, rule, c->kind, err) : read_leaf(ps, p, c, err);
    c->end = rule->condition_count;
    c->slot = rule->state_bytes;
    rule->state_bytes += memory_bytes(c);
    return code;
}

/* ---- rules ---- */

static enum bf_code read_nodes(const struct bf_place *outer, struct rule *rule, struct bf_err *err) {
    static const char *const members[] = {"type", "namespace", "pattern", NULL};
    const json_t *nodes = json_object_get(outer->object, "nodes");
    char *types[RULE_SELECTORS_MAX];
    size_t type_count = 0;
    struct bf_place p;

    if (nodes == NULL) return BF_OK;
    enum bf_code code = bf_place_init(&p, nodes, err, "%.120s.nodes", outer->where);
    if (code == BF_OK) code = bf_place_only(&p, members, err);
    if (code == BF_OK) code = bf_place_texts(&p, "namespace", RULE_SELECTORS_MAX, rule->namespaces, &rule->namespace_count, err);
    if (code == BF_OK) code = bf_place_texts(&p, "pattern", RULE_SELECTORS_MAX, rule->patterns, &rule->pattern_count, err);
    if (code == BF_OK) code = bf_place_texts(&p, "type", RULE_SELECTORS_MAX, types, &type_count, err);
    for (size_t i = 0; i < type_count; i++) {
        int type = rule_node_type(bf_slice_str(types[i]));
        if (type >= 0) rule->node_types |= 1u << type;
        else if (code == BF_OK) code = bf_fail(err, BF_INVALID, 0, "%s.type: '%.64s' is no node type", p.where, types[i]);
        free(types[i]);
    }
    return code;
}

static enum bf_code read_name(const struct parser *ps, const struct bf_place *p, struct rule *rule, struct bf_err *err) {
    const char *name = NULL;
    enum bf_code code = bf_place_text(p, "name", true, &name, err);

    if (code != BF_OK) return code;
    if (strlen(name) > RULE_NAME_MAX || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != strlen(name))
        return bf_fail(err, BF_INVALID, 0, "%s.name: '%.80s' is not made of 1 to %d of a-z 0-9 - _ .", p->where, name, RULE_NAME_MAX);
    for (size_t i = 0; i < ps->rules->count; i++)
        if (strcmp(ps->rules->list[i].name, name) == 0) return bf_fail(err, BF_INVALID, 0, "%s.name: '%s' is the name of rules[%zu] already", p->where, name, i);
    snprintf(rule->name, sizeof rule->name, "%s", name);
    return BF_OK;
}

static enum bf_code read_rule(struct parser *ps, const struct bf_place *p, struct bf_err *err) {
    static const char *const common[] = {"name", "severity", "fire", "cooldown", "nodes", "comment", NULL};
    static const char *const severities[] = {"info", "warning", "critical", NULL}, *const fires[] = {"each", "enter", NULL};
    struct rule *rule = &ps->rules->list[ps->rules->count];
    int severity = -1, fire = -1;

    rule->state_bytes = (sizeof(struct rule_memory) + 7) / 8 * 8;
    enum bf_code code = read_name(ps, p, rule, err);
    if (code == BF_OK) code = read_condition(ps, p, rule, common, err);
    if (code == BF_OK) code = bf_place_choice(p, "severity", severities, &severity, err);
    if (code == BF_OK) code = bf_place_choice(p, "fire", fires, &fire, err);
    if (code == BF_OK) code = bf_place_duration(p, "cooldown", 0, &rule->cooldown_us, err);
    if (code == BF_OK) code = read_nodes(p, rule, err);
    enum rule_kind kind = rule->conditions[0].kind;
    rule->on_enter = fire >= 0 ? fire == 1 : kind == RULE_THRESHOLD || kind >= RULE_ALL;
    rule->severity = severity >= 0 ? (enum rule_severity)severity : kind == RULE_REGIME ? SEVERITY_OF_REGIME : SEVERITY_WARNING;
    ps->rules->has_silence = ps->rules->has_silence || kind == RULE_SILENCE;
    ps->rules->count++; /* also when it failed: rules_free() sees to it */
    return code;
}

static enum bf_code read_all(struct parser *ps, const json_t *root, struct bf_err *err) {
    static const char *const members[] = {"rules", "allowed_lateness", "comment", NULL};
    const json_t *list = json_object_get(root, "rules");
    struct bf_place p;
    enum bf_code code = bf_place_init(&p, root, err, "the file");

    if (code == BF_OK) code = bf_place_only(&p, members, err);
    if (code == BF_OK) code = bf_place_duration(&p, "allowed_lateness", 0, &ps->rules->lateness_us, err);
    if (code == BF_OK && !json_is_array(list)) code = bf_fail(err, BF_INVALID, 0, "the file has no list 'rules'");
    if (code == BF_OK && json_array_size(list) > RULES_MAX) code = bf_fail(err, BF_INVALID, 0, "there are more than %d rules", RULES_MAX);
    for (size_t i = 0; code == BF_OK && i < json_array_size(list); i++) {
        code = bf_place_init(&p, json_array_get(list, i), err, "rules[%zu]", i);
        if (code == BF_OK) code = read_rule(ps, &p, err);
    }
    return code;
}

static void hash_version(struct bf_slice text, char version[65]) {
    uint8_t sum[BF_SHA256_BYTES];
    char digest[BF_SHA256_TEXT_LEN + 1];
    bf_sha256_of(text.data, text.len, sum);
    bf_sha256_text(digest, sum);
    strcpy(version, digest + strlen("sha256:"));
}

enum bf_code rules_parse(struct bf_slice text, const struct bf_topic *topic, struct rules **out, struct bf_err *err) {
    json_t *root = NULL;
    struct parser ps = {.rules = calloc(1, sizeof *ps.rules)};
    enum bf_code code = ps.rules != NULL ? bf_json_parse(text.data, text.len, &root, err) : bf_fail(err, BF_NOMEM, 0, "no memory for rules");

    if (code == BF_OK && topic->schema_json != NULL)
        code = bf_avro_compile(topic->schema_json, strlen(topic->schema_json), NULL, 0, NULL, 0, &ps.schema, err);
    if (code == BF_OK) code = read_all(&ps, root, err);
    if (code == BF_OK) {
        hash_version(text, ps.rules->version);
        *out = ps.rules;
        ps.rules = NULL;
    }
    bf_avro_free(ps.schema);
    json_decref(root);
    rules_free(ps.rules);
    return code;
}

enum bf_code rules_load(const char *path, const struct bf_topic *topic, struct rules **out, struct bf_err *err) {
    struct bf_buf text;
    FILE *f = fopen(path, "rb");
    size_t n = 0;

    if (f == NULL) return bf_fail(err, BF_INVALID, errno, "%s: %s", path, strerror(errno));
    bf_buf_init(&text, FILE_BYTES_MAX + 1);
    if (bf_buf_reserve(&text, FILE_BYTES_MAX + 1)) n = fread(text.data, 1, FILE_BYTES_MAX + 1, f);
    bool failed = ferror(f) != 0;
    fclose(f);
    enum bf_code code = failed || n > FILE_BYTES_MAX ? bf_fail(err, BF_INVALID, 0, "it cannot be read, or is larger than %u bytes", FILE_BYTES_MAX)
                                                     : rules_parse((struct bf_slice){text.data, n}, topic, out, err);
    bf_buf_fini(&text);
    return code == BF_OK ? code : bf_err_prepend(err, "%s", path);
}

void rules_free(struct rules *r) {
    if (r == NULL) return;
    for (size_t i = 0; i < r->count; i++) {
        for (size_t n = 0; n < r->list[i].namespace_count; n++) free(r->list[i].namespaces[n]);
        for (size_t n = 0; n < r->list[i].pattern_count; n++) free(r->list[i].patterns[n]);
    }
    for (size_t i = 0; i < r->field_count; i++) free(r->fields[i]);
    free(r);
}
