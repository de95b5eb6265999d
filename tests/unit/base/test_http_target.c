#include "check.h"

#include "bf_http_target.h"

#include <string.h>

static void nothing(struct bf_http_request *req, void *ctx) {
    (void)req;
    (void)ctx;
}

static const char *const known[] = {"limit", "cursor", NULL};
static const struct bf_http_route routes[] = {{"GET", "/", nothing, known, 0},
                                              {"GET", "/v1/nodes/{id}", nothing, known, 0},
                                              {"GET", "/v1/nodes/{id}/history", nothing, NULL, 0},
                                              {"GET", "/v1/{kind}/special", nothing, NULL, 0},
                                              {"GET", "/v1/nodes/special", nothing, NULL, 0},
                                              {"POST", "/v1/nodes/{id}", nothing, NULL, 10},
                                              {"POST", "/v1/replays/{id}/pause", nothing, NULL, 10},
                                              {0}};

static enum bf_code parse(const char *raw, struct bf_target *t) {
    static char space[BF_TARGET_BYTES_MAX + 4];
    struct bf_err err;
    return bf_target_parse(raw, space, t, &err);
}

static void test_target__segments_and_values_are_decoded_each_by_itself(void **state) {
    (void)state;
    struct bf_target t;
    assert_int_equal(parse("/v1/a%2Fb/%C3%A9?limit=1+1&b=%26x&flag&&e=&a%3d=c=d", &t), BF_OK);
    assert_int_equal(t.segment_count, 3);
    assert_string_equal(t.segments[1], "a/b");
    assert_string_equal(t.segments[2], "\xc3\xa9");
    assert_int_equal(t.query_count, 5);
    assert_string_equal(t.query[0].value, "1+1");
    assert_string_equal(t.query[1].value, "&x");
    assert_string_equal(t.query[2].name, "flag");
    assert_string_equal(t.query[2].value, "");
    assert_string_equal(t.query[3].value, "");
    assert_string_equal(t.query[4].name, "a=");
    assert_string_equal(t.query[4].value, "c=d");
    assert_int_equal(parse("http://host:80/x?y=1", &t), BF_OK);
    assert_string_equal(t.segments[0], "x");
}

static void test_target__what_is_malformed_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "x", "*", "?a=b", "/%", "/%4", "/%zz", "/a%00b", "/?a=%00", "/?%00=a", "/%ff", "/%c0%80",
                                      "/a b", "/a#b", "/\x01", "/\x7f", "/\xff", "http://host"};
    struct bf_target t;
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (parse(bad[i], &t) != BF_INVALID) {
            fail_msg("accepted \"%s\"", bad[i]);
        }
    }
    char many[BF_TARGET_SEGMENTS_MAX * 2 + 4] = "";
    for (int i = 0; i <= BF_TARGET_SEGMENTS_MAX; i++) {
        strcat(many, "/a");
    }
    assert_int_equal(parse(many, &t), BF_NOMEM);
    char query[BF_TARGET_QUERY_MAX * 2 + 8] = "/?";
    for (int i = 0; i <= BF_TARGET_QUERY_MAX; i++) {
        strcat(query, "a&");
    }
    assert_int_equal(parse(query, &t), BF_NOMEM);
}

static void test_route__table(void **state) {
    (void)state;
    static const struct {
        const char *method, *path;
        int route; /* -1: none */
        const char *allow;
    } table[] = {{"GET", "/", 0, NULL},
                 {"GET", "/v1/nodes/x", 1, NULL},
                 {"HEAD", "/v1/nodes/x", 1, NULL},
                 {"GET", "/v1/nodes/x/history", 2, NULL},
                 {"GET", "/v1/other/special", 3, NULL},
                 {"GET", "/v1/nodes/special", 4, NULL},
                 {"POST", "/v1/nodes/special", 5, NULL},
                 {"GET", "/v1/nodes/", -1, ""},
                 {"GET", "/v1/nodes", -1, ""},
                 {"GET", "/v1%2Fnodes/x", -1, ""},
                 {"GET", "/v1/nodes%2Fx/history", -1, ""},
                 {"GET", "/v1/nodes/x/", -1, ""},
                 {"GET", "/v1//x", -1, ""},
                 {"DELETE", "/v1/nodes/x", -1, "GET, HEAD, POST"},
                 {"GET", "/v1/replays/7/pause", -1, "POST"},
                 {"get", "/", -1, "GET, HEAD"}};
    for (size_t i = 0; i < COUNT(table); i++) {
        struct bf_target t;
        char allow[128];
        assert_int_equal(parse(table[i].path, &t), BF_OK);
        const struct bf_http_route *r = bf_target_route(routes, table[i].method, &t, allow, sizeof allow);
        assert_int_equal(r == NULL ? -1 : (int)(r - routes), table[i].route);
        if (table[i].allow != NULL) {
            assert_string_equal(allow, table[i].allow);
        }
    }
}

static void test_route__names_of_segments_and_unknown_parameters(void **state) {
    (void)state;
    struct bf_target t;
    assert_int_equal(parse("/v1/nodes/x%20y/history?limit=1&lmiit=2", &t), BF_OK);
    assert_string_equal(bf_target_path(&t, "/v1/nodes/{id}/history", "id"), "x y");
    assert_null(bf_target_path(&t, "/v1/nodes/{id}/history", "i"));
    assert_string_equal(bf_target_unknown(&t, &routes[1]), "lmiit");
    assert_null(bf_target_unknown(&t, &routes[2])); /* not checked */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target__segments_and_values_are_decoded_each_by_itself),
        cmocka_unit_test(test_target__what_is_malformed_is_refused),
        cmocka_unit_test(test_route__table),
        cmocka_unit_test(test_route__names_of_segments_and_unknown_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
