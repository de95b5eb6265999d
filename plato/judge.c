#include "judge.h"

#include "bf_node_id.h"
#include "bf_json.h"
#include "bf_time.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

void judge_copy(char dst[JUDGE_TEXT_MAX], struct bf_slice text) {
    const char *s = text.data;
    size_t n = text.len < JUDGE_TEXT_MAX ? text.len : JUDGE_TEXT_MAX - 1;

    while (n < text.len && n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) n--;
    if (n > 0) memcpy(dst, s, n);
    dst[n] = '\0';
}

/* ---- does it fit? ---- */

static bool holds(const struct text_list *list, struct bf_slice text, bool glob) {
    char copy[JUDGE_TEXT_MAX];

    judge_copy(copy, text);
    for (size_t i = 0; i < list->count; i++)
        if (glob ? fnmatch(list->items[i], copy, FNM_NOESCAPE) == 0 : strcmp(list->items[i], copy) == 0) return true;
    return list->count == 0;
}

bool policy_fits(const struct policy *p, const struct reflex *r) {
    struct bf_node_id id = {0};
    struct bf_err err;

    if (bf_node_id_parse(bf_slice_str(r->node_id), &id, &err) != BF_OK) return false;
    return holds(&p->rules, bf_slice_str(r->rule), true) && holds(&p->kinds, bf_slice_str(r->kind), false) &&
           holds(&p->severities, bf_slice_str(r->severity), false) && holds(&p->regimes, bf_slice_str(r->regime_to), false) &&
           holds(&p->node_types, id.type, false) && holds(&p->namespaces, id.space, false) && holds(&p->patterns, bf_slice_str(r->node_id), true);
}

/* ---- evidence ---- */

static enum bf_code note(struct judgement *j, const char *name, const char *text, struct bf_err *err) {
    return json_object_set_new(j->evidence, name, json_string(text)) == 0 ? BF_OK : bf_fail(err, BF_INVALID, 0, "evidence %s is no valid text", name);
}

static enum bf_code note_time(struct judgement *j, const char *name, int64_t time_us, struct bf_err *err) {
    char text[BF_TIME_TEXT_LEN + 1];
    bf_time_format(text, time_us);
    return note(j, name, text, err);
}

static enum bf_code note_reflex(struct judgement *j, const struct reflex *r, struct bf_err *err) {
    enum bf_code code = note(j, "rule", r->rule, err);
    if (code == BF_OK) code = note(j, "kind", r->kind, err);
    if (code == BF_OK) code = note(j, "severity", r->severity, err);
    if (code == BF_OK && r->regime_to[0] != '\0') code = note(j, "regime_to", r->regime_to, err);
    return code;
}

static enum bf_code note_state(struct judgement *j, const struct reflex *r, const struct facts *facts, json_t **payload, struct bf_err *err) {
    char id[BF_UUID_TEXT_LEN + 1] = "none";
    enum bf_code code = facts->state(facts->ctx, payload, id, err);

    if (code == BF_OK) code = note_time(j, "as_of", r->event_time_us, err);
    if (code == BF_OK) code = note_time(j, "known_by", facts->known_by_us, err);
    if (code == BF_OK) code = note(j, "state", *payload != NULL ? id : "none", err);
    return code;
}

/* ---- tests of the state ---- */

static const json_t *below(const json_t *payload, const char *path) {
    char part[JUDGE_TEXT_MAX];
    for (size_t n; payload != NULL; path += n + 1) {
        n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        payload = json_object_get(payload, part);
        if (path[n] == '\0') break;
    }
    return payload;
}

static void as_text(const json_t *v, char dst[JUDGE_TEXT_MAX]) {
    char number[40];
    if (json_is_real(v)) judge_copy(dst, (struct bf_slice){number, bf_double_format(number, json_real_value(v))});
    else if (json_is_integer(v)) snprintf(dst, JUDGE_TEXT_MAX, "%lld", (long long)json_integer_value(v));
    else if (json_is_boolean(v)) judge_copy(dst, bf_slice_str(json_is_true(v) ? "true" : "false"));
    else judge_copy(dst, bf_slice_str(json_is_string(v) ? json_string_value(v) : "none"));
}

/* A field that is not there passes no test. */
static bool passes(const struct state_test *t, const json_t *v) {
    double number = json_number_value(v);
    char text[JUDGE_TEXT_MAX];

    if (v == NULL || json_is_null(v)) return false;
    as_text(v, text);
    if (t->equals != NULL) return strcmp(t->equals, text) == 0;
    return json_is_number(v) && ((t->has_above && number >= t->above) || (t->has_below && number <= t->below));
}

static enum bf_code test_state(const struct policy *p, const json_t *payload, struct judgement *j, bool *pass, struct bf_err *err) {
    enum bf_code code = BF_OK;

    *pass = true;
    for (size_t i = 0; i < p->test_count && code == BF_OK && *pass; i++) {
        char name[JUDGE_TEXT_MAX], text[JUDGE_TEXT_MAX];
        const json_t *v = below(payload, p->tests[i].field);
        snprintf(name, sizeof name, "state.%s", p->tests[i].field);
        as_text(v, text);
        code = note(j, name, text, err);
        *pass = passes(&p->tests[i], v);
    }
    return code;
}

/* ---- the verdict ---- */

static enum bf_code decide(const struct policy *p, const struct reflex *r, const struct facts *facts, struct judgement *j, struct bf_err *err) {
    char number[32];
    int64_t count = 0;

    j->verdict = p->verdict;
    snprintf(j->policy, sizeof j->policy, "%s", p->name);
    snprintf(j->reason, sizeof j->reason, "%s", p->reason);
    if (p->limit_us == 0) return BF_OK;
    enum bf_code code = facts->earlier(facts->ctx, p, r->event_time_us - p->limit_us, &count, err);
    snprintf(number, sizeof number, "%lld", (long long)count);
    if (code == BF_OK) code = note(j, "earlier", number, err);
    if (code != BF_OK || count < p->limit_count) return code;
    j->verdict = p->beyond;
    snprintf(j->reason, sizeof j->reason, "the limit of %lld in %lld ms is reached; within it: %s", (long long)p->limit_count, (long long)(p->limit_us / 1000),
             p->reason);
    return BF_OK;
}

enum bf_code judge(const struct policies *policies, const struct reflex *r, const struct facts *facts, struct judgement *out, struct bf_err *err) {
    struct judgement j = {.evidence = json_object()};
    const struct policy *found = NULL;
    json_t *payload = NULL;
    enum bf_code code = j.evidence != NULL ? note_reflex(&j, r, err) : bf_fail(err, BF_NOMEM, 0, "no memory for evidence");

    if (code == BF_OK && facts != NULL) code = note_state(&j, r, facts, &payload, err);
    for (size_t i = 0; i < policies->count && code == BF_OK && found == NULL; i++) {
        const struct policy *p = &policies->list[i];
        bool pass = true;
        if (!policy_fits(p, r)) continue;
        bf_assert(facts != NULL || (p->test_count == 0 && p->limit_us == 0)); /* checked at start */
        code = test_state(p, payload, &j, &pass, err);
        if (pass) found = p;
    }
    if (code == BF_OK) code = decide(found != NULL ? found : &policies->otherwise, r, facts, &j, err);
    json_decref(payload);
    if (code == BF_OK) *out = j;
    else judgement_fini(&j);
    return code;
}

void judgement_fini(struct judgement *j) {
    json_decref(j->evidence);
    j->evidence = NULL;
}
