/* The registry's client against a registry that answers what it is told to. */
#include "../base/check.h"

#include "bf_http.h"
#include "bf_json.h"
#include "bf_registry.h"

#include <stdlib.h>
#include <string.h>

struct answer {
    const char *method, *target; /* of the request */
    int status;
    const char *body;
};

struct fixture {
    struct bf_http *http;
    struct bf_registry *r;
    struct answer answers[8];
    size_t answer_count;
    int calls;
    char last_body[4096];
    char url[64];
};

static void answer(struct bf_http_request *req, void *ctx) {
    struct fixture *f = ctx;
    struct bf_slice body = bf_http_body(req);
    f->calls++;
    snprintf(f->last_body, sizeof f->last_body, "%.*s", (int)body.len, body.data != NULL ? (const char *)body.data : "");
    for (const struct answer *a = f->answers; a < f->answers + f->answer_count; a++) {
        if (strcmp(a->method, bf_http_method(req)) == 0 && strcmp(a->target, bf_http_target(req)) == 0) {
            bf_http_reply(req, a->status, "application/vnd.schemaregistry.v1+json", a->body, strlen(a->body));
            return;
        }
    }
    static const char unknown[] = "{\"error_code\":40403,\"message\":\"Schema not found\"}";
    bf_http_reply(req, 404, "application/json", unknown, sizeof unknown - 1);
}

static void serve(struct fixture *f, const struct answer *answers, size_t count) {
    assert_true(count <= COUNT(f->answers));
    memcpy(f->answers, answers, count * sizeof *answers);
    f->answer_count = count;
}

static const struct bf_http_route routes[] = {
    {"GET", "/schemas/ids/{id}", answer, NULL, 0},
    {"GET", "/schemas/guids/{guid}", answer, NULL, 0},
    {"GET", "/subjects/{subject}/versions/{version}", answer, NULL, 0},
    {"POST", "/subjects/{subject}/versions", answer, NULL, 1 << 20},
    {NULL, NULL, NULL, NULL, 0},
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct bf_err err;
    const struct bf_http_settings settings = {.host = "127.0.0.1"};
    assert_int_equal(bf_http_start(&settings, routes, f, &f->http, &err), BF_OK);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d//", bf_http_port(f->http));
    assert_int_equal(bf_registry_new(f->url, 5000, &f->r, &err), BF_OK); /* slashes at its end do not matter */
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    bf_registry_free(f->r);
    bf_http_stop(f->http);
    free(f);
    return 0;
}

static void test_registry__gives_a_schema_by_id(void **state) {
    struct fixture *f = *state;
    const struct answer answers[] = {{"GET", "/schemas/ids/7", 200, "{\"schema\":\"\\\"int\\\"\"}"}};
    struct bf_registry_schema *s = NULL;
    struct bf_err err;
    serve(f, answers, COUNT(answers));
    assert_int_equal(bf_registry_get(f->r, 7, &s, &err), BF_OK);
    assert_int_equal(s->id, 7);
    assert_string_equal(s->schema, "\"int\"");
    assert_string_equal(s->type, "AVRO"); /* when it does not say */
    assert_int_equal(s->ref_count, 0);
    bf_registry_schema_free(s);
    bf_registry_schema_free(NULL);
}

static void test_registry__gives_a_schema_by_guid(void **state) {
    struct fixture *f = *state;
    static const uint8_t guid[16] = {0x01, 0x90, 0xa0, 0xb0, 0xc0, 0xd0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xff};
    const struct answer answers[] = {{"GET", "/schemas/guids/0190a0b0-c0d0-7000-8000-0000000000ff", 200,
                                      "{\"schema\":\"{}\",\"schemaType\":\"JSON\",\"id\":9}"}};
    struct bf_registry_schema *s = NULL;
    struct bf_err err;
    serve(f, answers, COUNT(answers));
    assert_int_equal(bf_registry_get_guid(f->r, guid, &s, &err), BF_OK);
    assert_int_equal(s->id, 9);
    assert_string_equal(s->type, "JSON");
    bf_registry_schema_free(s);
}

static void test_registry__references_come_deepest_first_and_once(void **state) {
    struct fixture *f = *state;
    /* top -> mid, leaf; mid -> leaf */
    const struct answer answers[] = {
        {"GET", "/schemas/ids/1", 200,
         "{\"schema\":\"T\",\"references\":[{\"name\":\"Mid\",\"subject\":\"mid/x\",\"version\":2},{\"name\":\"Leaf\",\"subject\":\"leaf\",\"version\":1}]}"},
        {"GET", "/subjects/mid%2Fx/versions/2?deleted=true", 200,
         "{\"schema\":\"M\",\"references\":[{\"name\":\"Leaf\",\"subject\":\"leaf\",\"version\":1}]}"},
        {"GET", "/subjects/leaf/versions/1?deleted=true", 200, "{\"schema\":\"L\"}"}};
    struct bf_registry_schema *s = NULL;
    struct bf_err err;
    serve(f, answers, COUNT(answers));
    assert_int_equal(bf_registry_get(f->r, 1, &s, &err), BF_OK);
    assert_int_equal(s->ref_count, 2);
    assert_string_equal(s->refs[0].name, "Leaf");
    assert_string_equal(s->refs[0].schema, "L");
    assert_string_equal(s->refs[1].name, "Mid");
    assert_string_equal(s->refs[1].subject, "mid/x");
    assert_int_equal(s->refs[1].version, 2);
    assert_int_equal(f->calls, 3);
    bf_registry_schema_free(s);
}

static void test_registry__references_in_a_circle_are_refused(void **state) {
    struct fixture *f = *state;
    const struct answer answers[] = {
        {"GET", "/schemas/ids/1", 200, "{\"schema\":\"T\",\"references\":[{\"name\":\"A\",\"subject\":\"a\",\"version\":1}]}"},
        {"GET", "/subjects/a/versions/1?deleted=true", 200, "{\"schema\":\"A\",\"references\":[{\"name\":\"B\",\"subject\":\"b\",\"version\":1}]}"},
        {"GET", "/subjects/b/versions/1?deleted=true", 200, "{\"schema\":\"B\",\"references\":[{\"name\":\"A\",\"subject\":\"a\",\"version\":1}]}"}};
    struct bf_registry_schema *s = NULL;
    struct bf_err err;
    serve(f, answers, COUNT(answers));
    assert_int_equal(bf_registry_get(f->r, 1, &s, &err), BF_INVALID);
    assert_null(s);
    assert_non_null(strstr(err.msg, "deeper than"));
}

static void test_registry__each_answer_says_what_the_caller_may_do(void **state) {
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *body;
        enum bf_code code;
        int native;
    } table[] = {
        {404, "{\"error_code\":40403,\"message\":\"Schema 5 not found\"}", BF_NOT_FOUND, 40403},
        {404, "{\"error_code\":40401,\"message\":\"no subject\"}", BF_NOT_FOUND, 40401},
        {404, "{\"error_code\":40402,\"message\":\"no version\"}", BF_NOT_FOUND, 40402},
        {404, "<html>not here</html>", BF_AGAIN, 404}, /* some proxy's: the registry has not judged */
        {404, "{\"error_code\":404,\"message\":\"HTTP 404 Not Found\"}", BF_AGAIN, 404},
        {401, "{}", BF_AGAIN, 401},
        {403, "", BF_AGAIN, 403},
        {429, "{\"error_code\":42900}", BF_AGAIN, 42900},
        {500, "{\"error_code\":50001,\"message\":\"store is away\"}", BF_AGAIN, 50001},
        {503, "", BF_AGAIN, 503},
        {409, "{\"error_code\":409,\"message\":\"incompatible\"}", BF_REJECTED, 409},
        {422, "{\"error_code\":42201,\"message\":\"no Avro\"}", BF_INVALID, 42201},
        {400, "{}", BF_INVALID, 400},
        {200, "", BF_AGAIN, 0},
        {200, "[]", BF_AGAIN, 0},
        {200, "{\"schema\":", BF_AGAIN, 0},
        {200, "{}", BF_AGAIN, 0},
        {200, "{\"schema\":7}", BF_AGAIN, 0},
        {200, "{\"schema\":\"T\",\"references\":[{\"name\":\"A\"}]}", BF_AGAIN, 0},
        {200, "{\"schema\":\"T\",\"references\":[{\"name\":\"A\",\"subject\":\"a\",\"version\":0}]}", BF_AGAIN, 0},
        {200, "{\"schema\":\"T\",\"references\":[{\"name\":\"A\",\"subject\":\"gone\",\"version\":1}]}", BF_NOT_FOUND, 40403},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        const struct answer answers[] = {{"GET", "/schemas/ids/5", table[i].status, table[i].body}};
        struct bf_registry_schema *s = NULL;
        struct bf_err err = {0};
        serve(f, answers, COUNT(answers));
        if (bf_registry_get(f->r, 5, &s, &err) != table[i].code || err.native != table[i].native) {
            fail_msg("%d %s: %s %d: %s", table[i].status, table[i].body, bf_code_name(err.code), err.native, err.msg);
        }
        assert_null(s);
        assert_non_null(strstr(err.msg, "schema id 5"));
    }
}

static void test_registry__registers_and_gives_the_id(void **state) {
    struct fixture *f = *state;
    const struct answer answers[] = {{"POST", "/subjects/rim.fast-path-value/versions", 200, "{\"id\":42}"},
                                     {"POST", "/subjects/a%20b%2Fc/versions", 200, "{\"id\":1}"},
                                     {"POST", "/subjects/bad/versions", 409, "{\"error_code\":409,\"message\":\"field x has no default\"}"},
                                     {"POST", "/subjects/odd/versions", 200, "{\"id\":0}"}};
    int32_t id = 0;
    struct bf_err err;
    json_t *sent = NULL;
    serve(f, answers, COUNT(answers));
    assert_int_equal(bf_registry_register(f->r, "rim.fast-path-value", "{\"type\":\"string\"}", &id, &err), BF_OK);
    assert_int_equal(id, 42);
    assert_int_equal(bf_json_parse(f->last_body, strlen(f->last_body), &sent, &err), BF_OK);
    assert_string_equal(json_string_value(json_object_get(sent, "schema")), "{\"type\":\"string\"}");
    json_decref(sent);
    assert_int_equal(bf_registry_register(f->r, "a b/c", "\"int\"", &id, &err), BF_OK);
    assert_int_equal(bf_registry_register(f->r, "bad", "\"int\"", &id, &err), BF_REJECTED);
    assert_non_null(strstr(err.msg, "subject bad"));
    assert_non_null(strstr(err.msg, "field x has no default"));
    assert_int_equal(bf_registry_register(f->r, "odd", "\"int\"", &id, &err), BF_AGAIN);
    assert_int_equal(id, 1); /* not touched */
}

static void test_registry__that_is_away_is_to_be_waited_for(void **state) {
    (void)state;
    struct bf_registry *r = NULL;
    struct bf_registry_schema *s = NULL;
    struct bf_err err;
    int32_t id;
    assert_int_equal(bf_registry_new("http://127.0.0.1:1", 2000, &r, &err), BF_OK);
    assert_int_equal(bf_registry_get(r, 1, &s, &err), BF_AGAIN);
    assert_int_equal(bf_registry_register(r, "s", "\"int\"", &id, &err), BF_AGAIN);
    bf_registry_free(r);
    assert_int_equal(bf_registry_new("", 2000, &r, &err), BF_INVALID);
    assert_int_equal(bf_registry_new("///", 2000, &r, &err), BF_INVALID);
    bf_registry_free(NULL);
}

static void test_registry__one_client_serves_many_calls(void **state) {
    struct fixture *f = *state;
    const struct answer answers[] = {{"GET", "/schemas/ids/7", 200, "{\"schema\":\"\\\"int\\\"\"}"}};
    struct bf_err err;
    serve(f, answers, COUNT(answers));
    for (int i = 0; i < 50; i++) {
        struct bf_registry_schema *s = NULL;
        assert_int_equal(bf_registry_get(f->r, i % 2 == 0 ? 7 : 8, &s, &err), i % 2 == 0 ? BF_OK : BF_NOT_FOUND);
        bf_registry_schema_free(s);
    }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_registry__gives_a_schema_by_id),
        T(test_registry__gives_a_schema_by_guid),
        T(test_registry__references_come_deepest_first_and_once),
        T(test_registry__references_in_a_circle_are_refused),
        T(test_registry__each_answer_says_what_the_caller_may_do),
        T(test_registry__registers_and_gives_the_id),
        cmocka_unit_test(test_registry__that_is_away_is_to_be_waited_for),
        T(test_registry__one_client_serves_many_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
