/* Judgements: a table of reflexes and what is known, and the verdict, policy and evidence of each; the same facts give the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bf_topics.h"
#include "decision.h"
#include "judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char policies_text[] =
    "{\"policies\":["
    "{\"name\":\"stale\",\"match\":{\"severity\":[\"warning\",\"critical\"]},\"when\":[{\"field\":\"status\",\"equals\":\"STALE\"}],"
    "\"verdict\":\"deny\",\"reason\":\"stale\"},"
    "{\"name\":\"wide\",\"match\":{\"kind\":\"percent_move\"},\"when\":[{\"field\":\"critical_metrics.spread\",\"above\":0.5}],\"verdict\":\"deny\",\"reason\":\"wide\"},"
    "{\"name\":\"critical\",\"match\":{\"severity\":\"critical\"},\"verdict\":\"escalate\",\"reason\":\"a person\"},"
    "{\"name\":\"moves\",\"match\":{\"rule\":\"price-*\",\"namespace\":\"finance\"},\"limit\":{\"count\":3,\"per\":\"1h\",\"beyond\":\"deny\"},"
    "\"verdict\":\"allow\",\"reason\":\"a move\"},"
    "{\"name\":\"calm\",\"match\":{\"regime\":[\"STABLE\",\"ELEVATED\"]},\"verdict\":\"allow\",\"reason\":\"calm\"}],"
    "\"otherwise\":{\"verdict\":\"escalate\",\"reason\":\"nobody thought of it\"}}";

struct known {
    const char *state; /* payload; NULL: none */
    int64_t earlier;
    enum bf_code away;
    int64_t asked_since_us;
};

static enum bf_code get_state(void *ctx, json_t **payload, char id[BF_UUID_TEXT_LEN + 1], struct bf_err *err) {
    const struct known *k = ctx;
    if (k->away != BF_OK) return bf_fail(err, k->away, 0, "away");
    if (k->state == NULL) return BF_OK;
    strcpy(id, "00000000-0000-7000-8000-000000000001");
    *payload = json_loads(k->state, 0, NULL);
    assert_non_null(*payload);
    return BF_OK;
}

static enum bf_code get_earlier(void *ctx, const struct policy *policy, int64_t since_us, int64_t *count, struct bf_err *err) {
    struct known *k = ctx;
    (void)policy, (void)err;
    k->asked_since_us = since_us;
    *count = k->earlier;
    return BF_OK;
}

static struct reflex a_reflex(const char *rule, const char *kind, const char *severity, const char *regime) {
    struct reflex r = {.event_time_us = INT64_C(1704067200000000)};
    r.id.b[0] = 9;
    snprintf(r.node_id, sizeof r.node_id, "rim:metric:finance:EURUSD");
    snprintf(r.rule, sizeof r.rule, "%s", rule);
    snprintf(r.kind, sizeof r.kind, "%s", kind);
    snprintf(r.severity, sizeof r.severity, "%s", severity);
    snprintf(r.regime_to, sizeof r.regime_to, "%s", regime);
    return r;
}

static struct policies *load(void) {
    struct policies *p = NULL;
    struct bf_err err = {0};
    if (policies_parse(bf_slice_str(policies_text), &p, &err) != BF_OK) fail_msg("%s", err.msg);
    return p;
}

static void test_judge__the_first_policy_that_fits_decides(void **state) {
    (void)state;
    static const struct {
        const char *rule, *kind, *severity, *regime, *known;
        int64_t earlier;
        const char *verdict, *policy, *evidence;
    } cases[] = {
        {"price-move", "percent_move", "warning", "", "{\"status\":\"STALE\"}", 0, "deny", "stale", "\"state.status\":\"STALE\""},
        {"price-move", "percent_move", "warning", "", "{\"status\":\"ACTIVE\",\"critical_metrics\":{\"spread\":0.75}}", 0, "deny", "wide",
         "\"state.status\":\"ACTIVE\",\"state.critical_metrics.spread\":\"0.75\""},
        {"price-move", "percent_move", "warning", "", "{\"status\":\"ACTIVE\"}", 0, "allow", "moves", "\"state.critical_metrics.spread\":\"none\",\"earlier\":\"0\""},
        {"price-move", "percent_move", "info", "", NULL, 2, "allow", "moves", "\"state\":\"none\""},
        {"price-move", "percent_move", "info", "", NULL, 3, "deny", "moves", "\"earlier\":\"3\""},
        {"hot", "threshold", "critical", "", "{\"status\":\"ACTIVE\"}", 0, "escalate", "critical", "\"severity\":\"critical\""},
        {"regime", "regime", "info", "ELEVATED", NULL, 0, "allow", "calm", "\"regime_to\":\"ELEVATED\""},
        {"regime", "regime", "warning", "STRESSED", NULL, 0, "escalate", "otherwise", "\"known_by\":\"2024-01-01T00:00:01.000000Z\""},
        {"other", "zscore", "info", "", NULL, 0, "escalate", "otherwise", "\"as_of\":\"2024-01-01T00:00:00.000000Z\""},
    };
    struct policies *p = load();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct known k = {.state = cases[i].known, .earlier = cases[i].earlier};
        const struct facts facts = {.known_by_us = INT64_C(1704067201000000), .state = get_state, .earlier = get_earlier, .ctx = &k};
        struct reflex r = a_reflex(cases[i].rule, cases[i].kind, cases[i].severity, cases[i].regime);
        struct judgement j;
        struct bf_err err = {0};
        assert_int_equal(judge(p, &r, &facts, &j, &err), BF_OK);
        char *evidence = json_dumps(j.evidence, JSON_COMPACT);
        if (strcmp(verdict_name(j.verdict), cases[i].verdict) != 0 || strcmp(j.policy, cases[i].policy) != 0 || strstr(evidence, cases[i].evidence) == NULL)
            fail_msg("case %zu: %s by %s on %s", i, verdict_name(j.verdict), j.policy, evidence);
        if (strcmp(j.policy, "moves") == 0) assert_int_equal(k.asked_since_us, r.event_time_us - INT64_C(3600000000));
        free(evidence);
        judgement_fini(&j);
    }
    policies_free(p);
}

static void test_judge__without_facts_there_is_no_judgement(void **state) {
    (void)state;
    struct policies *p = load();
    struct known k = {.away = BF_AGAIN};
    const struct facts facts = {.state = get_state, .earlier = get_earlier, .ctx = &k};
    struct reflex r = a_reflex("x", "zscore", "info", "");
    struct judgement j;
    struct bf_err err = {0};
    assert_int_equal(judge(p, &r, &facts, &j, &err), BF_AGAIN);
    policies_free(p);
}

static void test_judge__long_texts_are_cut_between_characters(void **state) {
    (void)state;
    struct policies *p = load();
    char status[400] = "{\"status\":\"a";
    for (int i = 0; i < 150; i++) strcat(status, "é");
    strcat(status, "\"}");
    struct known k = {.state = status};
    const struct facts facts = {.state = get_state, .earlier = get_earlier, .ctx = &k};
    struct reflex r = a_reflex("x", "threshold", "warning", "");
    struct judgement j;
    struct bf_err err = {0};
    assert_int_equal(judge(p, &r, &facts, &j, &err), BF_OK); /* half a character would be no valid text */
    assert_int_equal(json_string_length(json_object_get(j.evidence, "state.status")), 255);
    judgement_fini(&j);
    char dst[JUDGE_TEXT_MAX], text[JUDGE_TEXT_MAX + 1] = "";
    for (int i = 0; i < JUDGE_TEXT_MAX / 2; i++) strcat(text, "é");
    judge_copy(dst, bf_slice_str(text));
    assert_int_equal(strlen(dst), JUDGE_TEXT_MAX - 2);
    policies_free(p);
}

static void test_decision__the_same_facts_give_the_same_bytes(void **state) {
    (void)state;
    struct bf_topics *topics = NULL;
    struct bf_err err = {0};
    uint8_t first[1024];
    size_t first_len = 0;
    assert_int_equal(bf_topics_load(BF_SOURCE_DIR "/schemas", &topics, &err), BF_OK);
    for (int round = 0; round < 2; round++) { /* everything anew, as after a restart */
        struct policies *p = load();
        struct decision_writer *w = NULL;
        struct known k = {.state = "{\"status\":\"ACTIVE\"}", .earlier = 1};
        const struct facts facts = {.known_by_us = 5, .state = get_state, .earlier = get_earlier, .ctx = &k};
        struct reflex r = a_reflex("price-move", "percent_move", "warning", "");
        struct judgement j;
        struct decision_message m;
        assert_int_equal(decision_writer_new(bf_topics_find(topics, "plato.decision")->schema_json, 3, &w, &err), BF_OK);
        assert_int_equal(judge(p, &r, &facts, &j, &err), BF_OK);
        const struct decision d = {.node_id = r.node_id, .cause_id = r.id, .cause_topic = "odyssey.reflex", .discriminator = DECISION_FIRST,
                                   .traceparent = bf_slice_str("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                                   .event_time_us = r.event_time_us, .policy_version = p->version, .judgement = &j};
        assert_int_equal(decision_write(w, &d, &m, &err), BF_OK);
        assert_int_equal(m.header_count, 1);
        assert_memory_equal(m.headers[0].value.data, "00-0af7651916cd43dd8448eb211c80319c-", 36);
        assert_memory_not_equal((const char *)m.headers[0].value.data + 36, "b7ad6b7169203331", 16);
        if (round == 0) memcpy(first, m.value.data, first_len = m.value.len);
        assert_int_equal(m.value.len, first_len);
        assert_memory_equal(m.value.data, first, first_len);
        judgement_fini(&j);
        decision_writer_free(w);
        policies_free(p);
    }
    bf_topics_free(topics);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judge__the_first_policy_that_fits_decides),
        cmocka_unit_test(test_judge__without_facts_there_is_no_judgement),
        cmocka_unit_test(test_judge__long_texts_are_cut_between_characters),
        cmocka_unit_test(test_decision__the_same_facts_give_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
