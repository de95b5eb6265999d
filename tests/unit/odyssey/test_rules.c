/* The rule file: what is wrong is named exactly; which rules look at which nodes; what a node costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_fixture.h"

#include <stdio.h>
#include <string.h>

static void test_rules__what_is_wrong_is_named_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *file, *says;
    } cases[] = {
        {"{}", "the file has no list 'rules'"},
        {"[]", "the file is no object"},
        {"{\"rules\":[],\"ruels\":[]}", "the file: there is no member 'ruels' here"},
        {"{\"rules\":[3]}", "rules[0] is no object"},
        {"{\"rules\":[{\"kind\":\"regime\"}]}", "rules[0].name is missing"},
        {"{\"rules\":[{\"name\":\"Big\",\"kind\":\"regime\"}]}", "rules[0].name: 'Big' is not made of 1 to 64 of a-z 0-9 - _ ."},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"regime\"},{\"name\":\"a\",\"kind\":\"regime\"}]}", "rules[1].name: 'a' is the name of rules[0] already"},
        {"{\"rules\":[{\"name\":\"a\"}]}", "rules[0].kind is missing"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"magic\"}]}",
         "rules[0].kind: 'magic' is none of threshold, percent_move, rate_of_change, zscore, silence, regime, all, any, not"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"threshold\",\"field\":\"stress\"}]}", "rules[0]: neither 'above' nor 'below' is given"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"threshold\",\"field\":\"stress\",\"above\":\"1\"}]}", "rules[0].above is no number"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"threshold\",\"above\":1}]}", "rules[0].field is missing"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"threshold\",\"field\":\"prise\",\"above\":1}]}", "rules[0].field: 'prise' is no number in the signals' schema"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"threshold\",\"field\":\"status\",\"above\":1}]}", "rules[0].field: 'status' is no number in the signals' schema"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"threshold\",\"field\":\"stress\",\"above\":1,\"percent\":3}]}", "rules[0]: there is no member 'percent' here"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"percent_move\",\"field\":\"price\"}]}", "rules[0].percent must be given and above 0"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":1,\"window\":\"3 fortnights\"}]}", "rules[0].window: "},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":1,\"window\":5}]}", "rules[0].window is no duration like"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":1,\"window\":\"1ms\"}]}", "rules[0].window must be at least 8 ms"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"zscore\",\"field\":\"price\",\"above\":1}]}", "rules[0].window is missing"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"zscore\",\"field\":\"price\",\"above\":1,\"window\":\"1s\",\"count_min\":1}]}",
         "rules[0].count_min is no integer from 2 to 1000000000"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"silence\"}]}", "rules[0].after is missing"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"regime\",\"levels\":[0.3,0.2,0.8]}]}", "rules[0].levels is no list of three ascending numbers"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"regime\",\"hysteresis\":-1}]}", "rules[0].hysteresis must not be below 0"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"all\",\"of\":[{\"kind\":\"regime\"}]}]}", "rules[0].of must be a list of two or more conditions"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"not\",\"of\":[]}]}", "rules[0].of must be a list of one condition"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"all\",\"of\":[{\"kind\":\"regime\"},{\"kind\":\"not\",\"of\":[{\"kind\":\"silence\"}]}]}]}",
         "rules[0].of[1].of[0].after is missing"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"all\",\"of\":[{\"kind\":\"regime\"},{\"kind\":\"regime\",\"name\":\"b\"}]}]}",
         "rules[0].of[1]: there is no member 'name' here"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"regime\",\"severity\":\"grave\"}]}", "rules[0].severity: 'grave' is none of info, warning, critical"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"regime\",\"nodes\":{\"type\":\"metrics\"}}]}", "rules[0].nodes.type: 'metrics' is no node type"},
        {"{\"rules\":[{\"name\":\"a\",\"kind\":\"regime\",\"nodes\":{\"types\":\"metric\"}}]}", "rules[0].nodes: there is no member 'types' here"},
        {"{\"rules\":[],\"allowed_lateness\":\"soon\"}", "the file.allowed_lateness: "},
        {"{\"rules\":[", ""},
    };
    struct fixture f = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *said = fixture_parse(&f, cases[i].file);
        if (said[0] == '\0' || strncmp(said, cases[i].says, strlen(cases[i].says)) != 0)
            fail_msg("%s\n  says  %s\n  wants %s", cases[i].file, said, cases[i].says);
    }
    fixture_fini(&f);
}

static void test_rules__the_file_that_comes_with_it_is_good(void **state) {
    (void)state;
    struct fixture f = {0};
    struct rules *rules = NULL;
    (void)fixture_parse(&f, "{\"rules\":[]}");
    assert_int_equal(rules_load(BF_SOURCE_DIR "/odyssey/rules.json", bf_topics_find(f.topics, "rim.fast-path"), &rules, &f.err), BF_OK);
    assert_int_equal(strlen(rules->version), 64);
    rules_free(rules);
    fixture_fini(&f);
}

static void test_rules__more_than_64_are_refused(void **state) {
    (void)state;
    struct fixture f = {0};
    static char text[16384];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"rules\":[");
    for (int i = 0; i < RULES_MAX + 1; i++) n += (size_t)snprintf(text + n, sizeof text - n, "%s{\"name\":\"r%d\",\"kind\":\"regime\"}", i > 0 ? "," : "", i);
    snprintf(text + n, sizeof text - n, "]}");
    assert_string_equal(fixture_parse(&f, text), "there are more than 64 rules");
    fixture_fini(&f);
}

static void test_rules__look_at_the_nodes_they_name(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f,
                 "{\"name\":\"all\",\"kind\":\"regime\"},"
                 "{\"name\":\"metrics\",\"kind\":\"regime\",\"nodes\":{\"type\":\"metric\"}},"
                 "{\"name\":\"either\",\"kind\":\"regime\",\"nodes\":{\"type\":[\"metric\",\"entity\"],\"namespace\":[\"finance\",\"power\"]}},"
                 "{\"name\":\"euro\",\"kind\":\"regime\",\"nodes\":{\"pattern\":\"rim:*:finance:EUR*\"}}",
                 "");
    static const struct {
        const char *node;
        uint64_t rules;
    } cases[] = {{"rim:metric:finance:EURUSD", 15}, {"rim:metric:power:x", 7}, {"rim:entity:finance:EURUSD", 13}, {"rim:entity:water:EUR", 1},
                 {"rim:market:finance:EUR", 9}, {"rim:metric:finance:USD", 7}, {"nonsense", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) assert_int_equal(rules_for_node(f.rules, bf_slice_str(cases[i].node)), cases[i].rules);
    fixture_fini(&f);
}

/* The promise: at most 200 bytes for a node and a rule. */
static void test_rules__no_kind_costs_more_than_200_bytes_a_node(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f,
                 "{\"name\":\"a\",\"kind\":\"threshold\",\"field\":\"price\",\"above\":1},{\"name\":\"b\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":1},"
                 "{\"name\":\"c\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":1,\"window\":\"1h\"},"
                 "{\"name\":\"d\",\"kind\":\"rate_of_change\",\"field\":\"price\",\"above\":1,\"window\":\"1h\"},"
                 "{\"name\":\"e\",\"kind\":\"zscore\",\"field\":\"price\",\"above\":1,\"window\":\"1h\"},"
                 "{\"name\":\"f\",\"kind\":\"silence\",\"after\":\"1h\"},{\"name\":\"g\",\"kind\":\"regime\"}",
                 "");
    for (size_t i = 0; i < f.rules->count; i++) assert_true(f.rules->list[i].state_bytes <= 200);
    for (int i = 0; i < 1000; i++) {
        char node[64];
        snprintf(node, sizeof node, "rim:metric:finance:N%06d", i);
        struct signal s = fixture_signal(&f, node, 0, 1, 0, i);
        (void)fixture_give(&f, &s);
    }
    assert_int_equal(engine_nodes(f.engine), 1000);
    assert_true(engine_bytes(f.engine) <= 1000 * 200 * f.rules->count);
    fixture_fini(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules__what_is_wrong_is_named_with_its_place), cmocka_unit_test(test_rules__the_file_that_comes_with_it_is_good),
        cmocka_unit_test(test_rules__more_than_64_are_refused),              cmocka_unit_test(test_rules__look_at_the_nodes_they_name),
        cmocka_unit_test(test_rules__no_kind_costs_more_than_200_bytes_a_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
