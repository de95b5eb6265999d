/* The routes over real sockets: status, content type and error bodies as Confluent's clients read them. */
#include "bf_http.h"
#include "bf_http_client.h"
#include "registry_fixture.h"
#include "registry_http.h"

#include <stdio.h>

struct served {
    void *fixture;
    struct registry_http ctx;
    struct bf_http *http;
    struct bf_http_client *client;
    struct bf_buf answer;
    char base[64];
};

static int setup(void **state) {
    struct served *s = calloc(1, sizeof *s);
    struct bf_err err;
    struct bf_http_settings settings = {.host = "127.0.0.1", .port = 0, .on_error = registry_http_error};
    if (s == NULL || fixture_setup(&s->fixture) != 0) {
        free(s);
        return 1;
    }
    s->ctx.registry = ((struct fixture *)s->fixture)->r;
    if (bf_metrics_new(registry_metric_defs, REGISTRY_METRICS, &s->ctx.metrics, &err) != BF_OK ||
        bf_http_start(&settings, registry_http_routes(), &s->ctx, &s->http, &err) != BF_OK ||
        bf_http_client_new(10000, &s->client, &err) != BF_OK) {
        return 1;
    }
    bf_buf_init(&s->answer, 16 << 20);
    snprintf(s->base, sizeof s->base, "http://127.0.0.1:%d", bf_http_port(s->http));
    *state = s;
    return 0;
}

static int teardown(void **state) {
    struct served *s = *state;
    bf_http_client_free(s->client);
    bf_http_stop(s->http);
    bf_metrics_free(s->ctx.metrics);
    bf_buf_fini(&s->answer);
    fixture_teardown(&s->fixture);
    free(s);
    return 0;
}

/* The status; the answer's text is in s->answer, NUL-ended. */
static int ask(struct served *s, const char *method, const char *path, const char *type, const char *body) {
    char url[1024];
    int status = 0;
    struct bf_err err;
    snprintf(url, sizeof url, "%s%s", s->base, path);
    if (bf_http_call(s->client, method, url, type, bf_slice_str(body), &status, &s->answer, &err) != BF_OK) {
        fail_msg("%s %s: %s", method, path, err.msg);
    }
    bf_buf_putc(&s->answer, '\0');
    return status;
}

#define V1 "application/vnd.schemaregistry.v1+json"
#define INT_BODY "{\"schema\":\"\\\"int\\\"\"}"

static void assert_error(struct served *s, int error_code) {
    json_error_t where;
    json_t *body = json_loads(s->answer.data, 0, &where);
    assert_non_null(body);
    assert_int_equal(json_integer_value(json_object_get(body, "error_code")), error_code);
    assert_true(json_is_string(json_object_get(body, "message")));
    json_decref(body);
    assert_string_equal(bf_http_client_answer_header(s->client, "Content-Type"), V1);
}

static void test_http__any_of_the_clients_content_types_will_do(void **state) {
    struct served *s = *state;
    static const char *const types[] = {V1, "application/vnd.schemaregistry+json", "application/json",
                                        "application/octet-stream"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(ask(s, "POST", "/subjects/s/versions", types[i], INT_BODY), 200);
        assert_non_null(strstr(s->answer.data, "\"id\":1"));
        assert_string_equal(bf_http_client_answer_header(s->client, "Content-Type"), V1);
    }
}

static void test_http__errors_have_a_code_and_a_message(void **state) {
    struct served *s = *state;
    assert_int_equal(ask(s, "POST", "/subjects/s/versions", V1, INT_BODY), 200);
    static const struct {
        const char *method, *path, *body;
        int status, error_code;
    } rows[] = {
        {"GET", "/subjects/none/versions", NULL, 404, 40401},
        {"GET", "/subjects/s/versions/9", NULL, 404, 40402},
        {"GET", "/subjects/s/versions/zero", NULL, 422, 42202},
        {"GET", "/schemas/ids/77", NULL, 404, 40403},
        {"GET", "/schemas/ids/x", NULL, 404, 404},
        {"GET", "/config/none", NULL, 404, 40408},
        {"GET", "/mode/none", NULL, 404, 40409},
        {"POST", "/subjects/s", "{\"schema\":\"\\\"long\\\"\"}", 404, 40403},
        {"POST", "/subjects/s/versions", "{\"schema\":\"\\\"string\\\"\"}", 409, 409},
        {"POST", "/subjects/s/versions", "{\"schema\":\"nonsense\"}", 422, 42201},
        {"POST", "/subjects/s/versions", "not json", 422, 422},
        {"POST", "/subjects/s/versions", "[]", 422, 422},
        {"PUT", "/config", "{\"compatibility\":\"X\"}", 422, 42203},
        {"PUT", "/mode", "{\"mode\":\"X\"}", 422, 42204},
        {"DELETE", "/subjects/s?permanent=true", NULL, 404, 40405},
        {"GET", "/no/such/route", NULL, 404, 404},
        {"PATCH", "/config", "{}", 405, 405},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int status = ask(s, rows[i].method, rows[i].path, rows[i].body == NULL ? NULL : V1, rows[i].body);
        if (status != rows[i].status) {
            fail_msg("%s %s: %d, not %d: %s", rows[i].method, rows[i].path, status, rows[i].status, s->answer.data);
        }
        assert_error(s, rows[i].error_code);
    }
}

static void test_http__every_route_answers(void **state) {
    struct served *s = *state;
    assert_int_equal(ask(s, "POST", "/subjects/a%2Fb%20c/versions?normalize=true", V1, INT_BODY), 200);
    char guid_path[128];
    const char *guid = strstr(s->answer.data, "\"guid\":\"");
    assert_non_null(guid);
    snprintf(guid_path, sizeof guid_path, "/schemas/guids/%.36s", guid + 8);
    static const struct {
        const char *path, *contains;
    } rows[] = {
        {"/", "{}"},
        {"/livez", "ok"},
        {"/contexts", "[\".\"]"},
        {"/schemas/types", "[\"AVRO\"]"},
        {"/subjects", "[\"a/b c\"]"},
        {"/subjects?offset=1", "[]"},
        {"/subjects?subjectPrefix=a/", "a/b c"},
        {"/subjects/a%2Fb%20c/versions", "[1]"},
        {"/subjects/a%2Fb%20c/versions/latest", "\"version\":1"},
        {"/subjects/a%2Fb%20c/versions/1/schema", "\"int\""},
        {"/subjects/a%2Fb%20c/versions/1/referencedby", "[]"},
        {"/schemas", "\"subject\":\"a/b c\""},
        {"/schemas/ids/1", "{\"schema\":\"\\\"int\\\"\""},
        {"/schemas/ids/1?fetchMaxId=true", "\"maxId\":1"},
        {"/schemas/ids/1/schema", "\"int\""},
        {"/schemas/ids/1/subjects", "[\"a/b c\"]"},
        {"/schemas/ids/1/versions", "\"version\":1"},
        {"/config", "BACKWARD"},
        {"/config/a?defaultToGlobal=true", "BACKWARD"},
        {"/mode", "READWRITE"},
        {"/mode/a?defaultToGlobal=true", "READWRITE"},
        {"/metrics", "registry_registrations_total 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int status = ask(s, "GET", rows[i].path, NULL, NULL);
        if (status != 200 || strstr(s->answer.data, rows[i].contains) == NULL) {
            fail_msg("GET %s: %d %s", rows[i].path, status, s->answer.data);
        }
    }
    assert_int_equal(ask(s, "GET", guid_path, NULL, NULL), 200);
    assert_non_null(strstr(s->answer.data, "\"id\":1"));
    strcat(guid_path, "/ids");
    assert_int_equal(ask(s, "GET", guid_path, NULL, NULL), 200);
    assert_int_equal(ask(s, "POST", "/compatibility/subjects/a%2Fb%20c/versions/latest?verbose=true", V1,
                         "{\"schema\":\"\\\"string\\\"\"}"),
                     200);
    assert_non_null(strstr(s->answer.data, "\"is_compatible\":false"));
    assert_non_null(strstr(s->answer.data, "TYPE_MISMATCH"));
    assert_int_equal(ask(s, "POST", "/compatibility/subjects/a%2Fb%20c/versions", V1, "{\"schema\":\"\\\"long\\\"\"}"),
                     200);
    assert_string_equal(s->answer.data, "{\"is_compatible\":true}");
    assert_int_equal(ask(s, "PUT", "/config/t", V1, "{\"compatibility\":\"full\"}"), 200);
    assert_string_equal(s->answer.data, "{\"compatibility\":\"FULL\"}");
    assert_int_equal(ask(s, "DELETE", "/config/t", NULL, NULL), 200);
    assert_int_equal(ask(s, "PUT", "/mode/t", V1, "{\"mode\":\"IMPORT\"}"), 200);
    assert_int_equal(ask(s, "DELETE", "/mode/t", NULL, NULL), 200);
    assert_int_equal(ask(s, "DELETE", "/subjects/a%2Fb%20c/versions/1", NULL, NULL), 200);
    assert_string_equal(s->answer.data, "1");
    assert_int_equal(ask(s, "DELETE", "/subjects/a%2Fb%20c?permanent=true", NULL, NULL), 200);
    assert_string_equal(s->answer.data, "[1]");
}

static void test_http__names_that_are_too_long_are_refused_everywhere(void **state) {
    struct served *s = *state;
    static const char *const patterns[] = {"GET /subjects/%s/versions",
                                           "GET /subjects/%s/versions/1",
                                           "DELETE /subjects/%s",
                                           "POST /subjects/%s",
                                           "POST /subjects/%s/versions",
                                           "GET /config/%s",
                                           "DELETE /config/%s",
                                           "PUT /config/%s",
                                           "GET /mode/%s",
                                           "PUT /mode/%s",
                                           "DELETE /mode/%s",
                                           "POST /compatibility/subjects/%s/versions/latest",
                                           "GET /subjects/%s/versions/1/referencedby",
                                           "DELETE /subjects/%s/versions/1"};
    char name[701];
    memset(name, 'n', 700);
    name[700] = '\0';
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        for (int length = 0; length < 3; length++) {
            char path[900], method[8];
            const char *subject = length == 0 ? name : length == 1 ? "a%0Ab" : name + 299; /* 401 bytes */
            size_t head = strcspn(patterns[i], " "), before = strcspn(patterns[i], "%") - head - 1;
            memcpy(method, patterns[i], head);
            method[head] = '\0';
            snprintf(path, sizeof path, "%.*s%s%s", (int)before, patterns[i] + head + 1, subject,
                     patterns[i] + head + before + 3);
            bool body = method[0] == 'P';
            int status =
                ask(s, method, path, body ? V1 : NULL,
                    body ? "{\"schema\":\"\\\"int\\\"\",\"compatibility\":\"FULL\",\"mode\":\"READONLY\"}" : NULL);
            if (status != 422) {
                fail_msg("%s with %d: %d %s", patterns[i], length, status, s->answer.data);
            }
            assert_error(s, 42208);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_http__any_of_the_clients_content_types_will_do, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__errors_have_a_code_and_a_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__every_route_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__names_that_are_too_long_are_refused_everywhere, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
