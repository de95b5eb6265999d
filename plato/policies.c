/* From the policy file's JSON to struct policies. What is not understood is an error that says where. */
#include "policies.h"

#include "bf_json.h"
#include "bf_place.h"
#include "bf_sha256.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (1u << 20)
#define MS INT64_C(1000)

static const char *const verdicts[] = {"allow", "escalate", "deny", NULL};

const char *verdict_name(enum verdict v) { return verdicts[v]; }

bool verdict_parse(const char *text, enum verdict *out) {
    for (int i = 0; text != NULL && verdicts[i] != NULL; i++)
        if (strcmp(verdicts[i], text) == 0) {
            *out = (enum verdict)i;
            return true;
        }
    return false;
}

/* ---- what a policy is about ---- */

static enum bf_code read_list(const struct bf_place *p, const char *name, const char *const *choices, struct text_list *out, struct bf_err *err) {
    enum bf_code code = bf_place_texts(p, name, POLICY_LIST_MAX, out->items, &out->count, err);

    for (size_t i = 0; code == BF_OK && choices != NULL && i < out->count; i++) {
        const char *const *c = choices;
        while (*c != NULL && strcmp(*c, out->items[i]) != 0) c++;
        if (*c == NULL) return bf_fail(err, BF_INVALID, 0, "%s.%s: there is no '%.64s'", p->where, name, out->items[i]);
    }
    return code;
}

static enum bf_code read_match(const struct bf_place *outer, struct policy *policy, struct bf_err *err) {
    static const char *const members[] = {"rule", "kind", "severity", "regime", "type", "namespace", "pattern", NULL};
    static const char *const kinds[] = {"threshold", "percent_move", "rate_of_change", "zscore", "silence", "regime", "combination", NULL};
    static const char *const severities[] = {"info", "warning", "critical", NULL}, *const regimes[] = {"STABLE", "ELEVATED", "STRESSED", "CRITICAL", NULL};
    static const char *const types[] = {"entity", "region", "market", "actor", "system", "event", "scope", "relation", "metric", "signal", NULL};
    const json_t *match = json_object_get(outer->object, "match");
    struct bf_place p;

    if (match == NULL) return BF_OK;
    enum bf_code code = bf_place_init(&p, match, err, "%.120s.match", outer->where);
    if (code == BF_OK) code = bf_place_only(&p, members, err);
    if (code == BF_OK) code = read_list(&p, "rule", NULL, &policy->rules, err);
    if (code == BF_OK) code = read_list(&p, "kind", kinds, &policy->kinds, err);
    if (code == BF_OK) code = read_list(&p, "severity", severities, &policy->severities, err);
    if (code == BF_OK) code = read_list(&p, "regime", regimes, &policy->regimes, err);
    if (code == BF_OK) code = read_list(&p, "type", types, &policy->node_types, err);
    if (code == BF_OK) code = read_list(&p, "namespace", NULL, &policy->namespaces, err);
    if (code == BF_OK) code = read_list(&p, "pattern", NULL, &policy->patterns, err);
    return code;
}

static enum bf_code read_test(const struct bf_place *p, struct state_test *t, struct bf_err *err) {
    static const char *const members[] = {"field", "equals", "above", "below", NULL};
    const char *field = NULL, *equals = NULL;
    enum bf_code code = bf_place_only(p, members, err);

    if (code == BF_OK) code = bf_place_text(p, "field", true, &field, err);
    if (code == BF_OK) code = bf_place_text(p, "equals", false, &equals, err);
    if (code == BF_OK) code = bf_place_number(p, "above", &t->above, &t->has_above, err);
    if (code == BF_OK) code = bf_place_number(p, "below", &t->below, &t->has_below, err);
    if (code != BF_OK) return code;
    if (strlen(field) > POLICY_FIELD_MAX) return bf_fail(err, BF_INVALID, 0, "%s.field is longer than %d bytes", p->where, POLICY_FIELD_MAX);
    if ((equals != NULL) == (t->has_above || t->has_below)) return bf_fail(err, BF_INVALID, 0, "%s: give either 'equals' or 'above' and 'below'", p->where);
    t->field = strdup(field);
    t->equals = equals != NULL ? strdup(equals) : NULL;
    return t->field != NULL && (t->equals != NULL) == (equals != NULL) ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for policies");
}

static enum bf_code read_tests(const struct bf_place *outer, struct policy *policy, struct bf_err *err) {
    const json_t *list = json_object_get(outer->object, "when");
    enum bf_code code = BF_OK;

    if (list == NULL) return BF_OK;
    if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > POLICY_LIST_MAX)
        return bf_fail(err, BF_INVALID, 0, "%s.when must be a list of 1 to %d tests", outer->where, POLICY_LIST_MAX);
    for (size_t i = 0; i < json_array_size(list) && code == BF_OK; i++) {
        struct bf_place p;
        code = bf_place_init(&p, json_array_get(list, i), err, "%.120s.when[%zu]", outer->where, i);
        if (code == BF_OK) code = read_test(&p, &policy->tests[policy->test_count++], err);
    }
    return code;
}

static enum bf_code read_limit(const struct bf_place *outer, struct policy *policy, struct bf_err *err) {
    static const char *const members[] = {"count", "per", "beyond", NULL};
    const json_t *limit = json_object_get(outer->object, "limit");
    int beyond = VERDICT_ESCALATE;
    struct bf_place p;

    if (limit == NULL) return BF_OK;
    enum bf_code code = bf_place_init(&p, limit, err, "%.120s.limit", outer->where);
    policy->limit_count = -1;
    if (code == BF_OK) code = bf_place_only(&p, members, err);
    if (code == BF_OK) code = bf_place_int(&p, "count", 0, 1000, &policy->limit_count, err);
    if (code == BF_OK) code = bf_place_duration(&p, "per", MS, &policy->limit_us, err);
    if (code == BF_OK) code = bf_place_choice(&p, "beyond", verdicts, &beyond, err);
    if (code == BF_OK && policy->limit_count < 0) code = bf_fail(err, BF_INVALID, 0, "%s.count is missing", p.where);
    if (code == BF_OK && policy->limit_us == 0) code = bf_fail(err, BF_INVALID, 0, "%s.per is missing", p.where);
    policy->beyond = (enum verdict)beyond;
    return code;
}

static enum bf_code read_verdict(const struct bf_place *p, struct policy *policy, struct bf_err *err) {
    const char *reason = NULL;
    int verdict = -1;
    enum bf_code code = bf_place_choice(p, "verdict", verdicts, &verdict, err);

    if (code == BF_OK && verdict < 0) code = bf_fail(err, BF_INVALID, 0, "%s.verdict is missing", p->where);
    if (code == BF_OK) code = bf_place_text(p, "reason", true, &reason, err);
    if (code == BF_OK && strlen(reason) > POLICY_REASON_MAX) code = bf_fail(err, BF_INVALID, 0, "%s.reason is longer than %d bytes", p->where, POLICY_REASON_MAX);
    if (code != BF_OK) return code;
    policy->verdict = (enum verdict)verdict;
    snprintf(policy->reason, sizeof policy->reason, "%s", reason);
    return BF_OK;
}

/* ---- the file ---- */

static enum bf_code read_name(const struct policies *ps, const struct bf_place *p, struct policy *policy, struct bf_err *err) {
    const char *name = NULL;
    enum bf_code code = bf_place_text(p, "name", true, &name, err);

    if (code != BF_OK) return code;
    if (strlen(name) > POLICY_NAME_MAX || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != strlen(name))
        return bf_fail(err, BF_INVALID, 0, "%s.name: '%.80s' is not made of 1 to %d of a-z 0-9 - _ .", p->where, name, POLICY_NAME_MAX);
    for (size_t i = 0; i + 1 < ps->count; i++)
        if (strcmp(ps->list[i].name, name) == 0) return bf_fail(err, BF_INVALID, 0, "%s.name: '%s' is the name of policies[%zu] already", p->where, name, i);
    if (strcmp(name, "otherwise") == 0 || strcmp(name, "four-eyes") == 0) return bf_fail(err, BF_INVALID, 0, "%s.name: '%s' is taken", p->where, name);
    snprintf(policy->name, sizeof policy->name, "%s", name);
    return BF_OK;
}

static enum bf_code read_policy(struct policies *ps, const json_t *value, struct bf_err *err) {
    static const char *const members[] = {"name", "match", "when", "limit", "verdict", "reason", "comment", NULL};
    struct policy *policy = &ps->list[ps->count];
    struct bf_place p;
    enum bf_code code = bf_place_init(&p, value, err, "policies[%zu]", ps->count);

    ps->count++; /* also when it fails: policies_free() sees to it */
    if (code == BF_OK) code = bf_place_only(&p, members, err);
    if (code == BF_OK) code = read_name(ps, &p, policy, err);
    if (code == BF_OK) code = read_match(&p, policy, err);
    if (code == BF_OK) code = read_tests(&p, policy, err);
    if (code == BF_OK) code = read_limit(&p, policy, err);
    return code == BF_OK ? read_verdict(&p, policy, err) : code;
}

static enum bf_code read_all(struct policies *ps, const json_t *root, struct bf_err *err) {
    static const char *const members[] = {"policies", "otherwise", "comment", NULL}, *const otherwise[] = {"verdict", "reason", NULL};
    const json_t *list = json_object_get(root, "policies");
    struct bf_place p;
    enum bf_code code = bf_place_init(&p, root, err, "the file");

    if (code == BF_OK) code = bf_place_only(&p, members, err);
    if (code == BF_OK && !json_is_array(list)) code = bf_fail(err, BF_INVALID, 0, "the file has no list 'policies'");
    if (code == BF_OK && json_array_size(list) > POLICIES_MAX) code = bf_fail(err, BF_INVALID, 0, "there are more than %d policies", POLICIES_MAX);
    for (size_t i = 0; code == BF_OK && i < json_array_size(list); i++) code = read_policy(ps, json_array_get(list, i), err);
    if (code == BF_OK) code = bf_place_init(&p, json_object_get(root, "otherwise"), err, "otherwise");
    if (code == BF_OK) code = bf_place_only(&p, otherwise, err);
    if (code == BF_OK) code = read_verdict(&p, &ps->otherwise, err);
    snprintf(ps->otherwise.name, sizeof ps->otherwise.name, "otherwise");
    return code;
}

enum bf_code policies_parse(struct bf_slice text, struct policies **out, struct bf_err *err) {
    uint8_t sum[BF_SHA256_BYTES];
    char digest[BF_SHA256_TEXT_LEN + 1];
    json_t *root = NULL;
    struct policies *ps = calloc(1, sizeof *ps);
    enum bf_code code = ps != NULL ? bf_json_parse(text.data, text.len, &root, err) : bf_fail(err, BF_NOMEM, 0, "no memory for policies");

    if (code == BF_OK) code = read_all(ps, root, err);
    if (code == BF_OK && (ps->text = malloc(text.len + 1)) == NULL) code = bf_fail(err, BF_NOMEM, 0, "no memory for policies");
    if (code == BF_OK) {
        memcpy(ps->text, text.data, text.len);
        ps->text_bytes = text.len;
        bf_sha256_of(text.data, text.len, sum);
        bf_sha256_text(digest, sum);
        strcpy(ps->version, digest + strlen("sha256:"));
        *out = ps;
        ps = NULL;
    }
    json_decref(root);
    policies_free(ps);
    return code;
}

enum bf_code policies_load(const char *path, struct policies **out, struct bf_err *err) {
    struct bf_buf text;
    FILE *f = fopen(path, "rb");
    size_t n = 0;

    if (f == NULL) return bf_fail(err, BF_INVALID, errno, "%s: %s", path, strerror(errno));
    bf_buf_init(&text, FILE_BYTES_MAX + 1);
    if (bf_buf_reserve(&text, FILE_BYTES_MAX + 1)) n = fread(text.data, 1, FILE_BYTES_MAX + 1, f);
    bool failed = ferror(f) != 0;
    fclose(f);
    enum bf_code code = failed || n > FILE_BYTES_MAX ? bf_fail(err, BF_INVALID, 0, "it cannot be read, or is larger than %u bytes", FILE_BYTES_MAX)
                                                     : policies_parse((struct bf_slice){text.data, n}, out, err);
    bf_buf_fini(&text);
    return code == BF_OK ? code : bf_err_prepend(err, "%s", path);
}

static void free_list(struct text_list *l) {
    for (size_t i = 0; i < l->count; i++) free(l->items[i]);
}

void policies_free(struct policies *p) {
    if (p == NULL) return;
    for (size_t i = 0; i < p->count; i++) {
        struct policy *policy = &p->list[i];
        struct text_list *lists[] = {&policy->rules, &policy->kinds, &policy->severities, &policy->regimes, &policy->node_types, &policy->namespaces,
                                     &policy->patterns};
        for (size_t n = 0; n < sizeof lists / sizeof lists[0]; n++) free_list(lists[n]);
        for (size_t n = 0; n < policy->test_count; n++) {
            free(policy->tests[n].field);
            free(policy->tests[n].equals);
        }
    }
    free(p->text);
    free(p);
}

const char *policies_need_evidence(const struct policies *p) {
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].test_count > 0 || p->list[i].limit_us > 0) return p->list[i].name;
    return NULL;
}
