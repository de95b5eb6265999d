/* The policy file: what is wrong is named exactly, and the file that comes with the program is good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policies.h"

#include <stdio.h>
#include <string.h>

#define OTHERWISE ",\"otherwise\":{\"verdict\":\"escalate\",\"reason\":\"r\"}}"
#define POLICY(inside) "{\"policies\":[{\"name\":\"p\"," inside "\"verdict\":\"allow\",\"reason\":\"r\"}]" OTHERWISE

static void test_policies__what_is_wrong_is_named_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *file, *says;
    } cases[] = {
        {"[]", "the file is no object"},
        {"{}", "the file has no list 'policies'"},
        {"{\"policies\":[]}", "otherwise is no object"},
        {"{\"policies\":[],\"otherwise\":{\"verdict\":\"maybe\"}}", "otherwise.verdict: 'maybe' is none of allow, escalate, deny"},
        {"{\"policies\":[],\"otherwise\":{\"verdict\":\"deny\"}}", "otherwise.reason is missing"},
        {"{\"policies\":[],\"polices\":1" OTHERWISE, "the file: there is no member 'polices' here"},
        {"{\"policies\":[{}]" OTHERWISE, "policies[0].name is missing"},
        {"{\"policies\":[{\"name\":\"otherwise\",\"verdict\":\"deny\",\"reason\":\"r\"}]" OTHERWISE, "policies[0].name: 'otherwise' is taken"},
        {"{\"policies\":[{\"name\":\"p\",\"reason\":\"r\"}]" OTHERWISE, "policies[0].verdict is missing"},
        {"{\"policies\":[{\"name\":\"p\",\"verdict\":\"deny\",\"reason\":\"r\"},{\"name\":\"p\",\"verdict\":\"deny\",\"reason\":\"r\"}]" OTHERWISE,
         "policies[1].name: 'p' is the name of policies[0] already"},
        {POLICY("\"match\":{\"kind\":\"sudden\"},"), "policies[0].match.kind: there is no 'sudden'"},
        {POLICY("\"match\":{\"severity\":[\"info\",\"grave\"]},"), "policies[0].match.severity: there is no 'grave'"},
        {POLICY("\"match\":{\"colour\":\"red\"},"), "policies[0].match: there is no member 'colour' here"},
        {POLICY("\"when\":[],"), "policies[0].when must be a list of 1 to 16 tests"},
        {POLICY("\"when\":[{\"field\":\"status\"}],"), "policies[0].when[0]: give either 'equals' or 'above' and 'below'"},
        {POLICY("\"when\":[{\"field\":\"status\",\"equals\":\"x\",\"above\":1}],"), "policies[0].when[0]: give either 'equals' or 'above' and 'below'"},
        {POLICY("\"limit\":{\"per\":\"1h\"},"), "policies[0].limit.count is missing"},
        {POLICY("\"limit\":{\"count\":3},"), "policies[0].limit.per is missing"},
        {POLICY("\"limit\":{\"count\":1.5,\"per\":\"1h\"},"), "policies[0].limit.count is no integer from 0 to 1000"},
        {POLICY("\"limit\":{\"count\":1,\"per\":\"1h\",\"beyond\":\"shout\"},"), "policies[0].limit.beyond: 'shout' is none of allow, escalate, deny"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct policies *p = NULL;
        struct bf_err err = {0};
        if (policies_parse(bf_slice_str(cases[i].file), &p, &err) != BF_INVALID || strcmp(err.msg, cases[i].says) != 0)
            fail_msg("%s\n  says  %s\n  wants %s", cases[i].file, err.msg, cases[i].says);
    }
}

static void test_policies__the_file_that_comes_with_it_is_good(void **state) {
    (void)state;
    struct policies *p = NULL;
    struct bf_err err = {0};
    assert_int_equal(policies_load(BF_SOURCE_DIR "/plato/policies.json", &p, &err), BF_OK);
    assert_int_equal(strlen(p->version), 64);
    assert_string_equal(policies_need_evidence(p), "stale-source");
    policies_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies__what_is_wrong_is_named_with_its_place),
        cmocka_unit_test(test_policies__the_file_that_comes_with_it_is_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
