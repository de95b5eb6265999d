/* Topics, lag, coverage, quarantine, schemas, health, metrics; and openapi.json against the server, both ways. */
#include "api_fixture.h"
#include "api_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

static struct fx fx;
#define F (&fx)

#define UUID "0190c0de-0000-7000-8000-000000000001"

static int setup(void **state) {
    (void)state;
    fx_open(F, NULL);
    fx_put(F, FAST, 0, EURUSD, "order-17", INT64_C(1717236000000000), 1, "trace-1", NULL);
    fx_put(F, FAST, 0, EURUSD, UUID, INT64_C(1717236000000000), 1, NULL, NULL);
    fx_put_poison(F, FAST, 0, POISON_AVRO, 7);
    fx_put(F, FAST, 0, EURUSD, UUID, INT64_C(1717236000000000), 1, NULL, NULL); /* a duplicate */
    fx_put_gap(F, FAST, 0, 5, DISPOSITION_CONTROL);
    fx_put_poison(F, FAST, 0, POISON_FRAMING, 0);
    fx_put(F, REFLEX, 2, EURUSD, NULL, INT64_C(1717236000000000), 1, NULL, "order-17");
    fx_commit(F);
    fx_put_gap(F, FAST, 0, 3, DISPOSITION_LOST);
    fx_put(F, FAST, 1, EURUSD, "other", INT64_C(1717236001000000), 1, NULL, NULL);
    fx_put_poison(F, REFLEX, 2, POISON_NODE_ID, 2);
    fx_commit(F);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_close(F);
    return 0;
}

static json_int_t num(const json_t *obj, const char *key) {
    return json_integer_value(json_object_get(obj, key));
}

static void test_coverage__adds_up_and_has_no_holes(void **state) {
    (void)state;
    json_t *answer = fx_json(F, "/v1/coverage?topic=%s&partition=0", FAST), *part = json_array_get(json_object_get(answer, "coverage"), 0);
    static const struct {
        int from, to;
        const char *disposition;
    } expected[] = {{0, 2, "stored"}, {2, 3, "quarantined"}, {3, 4, "duplicate"}, {4, 9, "control"}, {9, 10, "quarantined"}, {10, 13, "lost-before-read"}};
    json_t *intervals = json_object_get(part, "intervals"), *totals = json_object_get(part, "totals");
    assert_int_equal(json_array_size(intervals), 6);
    for (size_t i = 0; i < 6; i++) {
        const json_t *iv = json_array_get(intervals, i);
        assert_int_equal(num(iv, "from"), expected[i].from);
        assert_int_equal(num(iv, "to"), expected[i].to);
        assert_string_equal(fx_str(iv, "disposition"), expected[i].disposition);
    }
    assert_int_equal(num(totals, "stored"), 2);
    assert_int_equal(num(totals, "duplicate"), 1);
    assert_int_equal(num(totals, "quarantined"), 2);
    assert_int_equal(num(totals, "control"), 5);
    assert_int_equal(num(totals, "lost-before-read"), 3);
    assert_int_equal(num(part, "offsets"), 13);
    assert_int_equal(num(part, "next_offset"), 13);
    assert_true(json_is_true(json_object_get(part, "complete")));
    assert_int_equal(json_array_size(json_object_get(part, "holes")), 0);
    json_decref(answer);
    answer = fx_json(F, "/v1/coverage");
    assert_int_equal(json_array_size(json_object_get(answer, "coverage")), 3);
    assert_true(json_is_true(json_object_get(answer, "complete")));
    json_decref(answer);
    answer = fx_json(F, "/v1/coverage?topic=%s", FAST);
    assert_int_equal(json_array_size(json_object_get(answer, "coverage")), 2);
    json_decref(answer);
    fx_problem(F, 404, "topic", "/v1/coverage?topic=un.known");
    fx_problem(F, 404, "partition", "/v1/coverage?topic=%s&partition=11", FAST);
}

static void test_topics_and_lag__say_what_is_held(void **state) {
    (void)state;
    json_t *answer = fx_json(F, "/v1/topics"), *topic = json_array_get(json_object_get(answer, "topics"), 1);
    assert_int_equal(json_array_size(json_object_get(answer, "topics")), 2);
    assert_string_equal(fx_str(topic, "topic"), FAST);
    assert_string_equal(fx_str(topic, "domain"), "rim");
    assert_string_equal(fx_str(topic, "event_type"), "fast-path");
    assert_int_equal(num(topic, "partitions"), 2);
    assert_int_equal(num(json_object_get(topic, "dispositions"), "control"), 5);
    json_decref(answer);
    answer = fx_json(F, "/v1/topics/%s", FAST);
    topic = json_array_get(json_object_get(answer, "partitions"), 0);
    assert_int_equal(num(topic, "next_offset"), 13);
    assert_int_equal(num(topic, "archived_offset"), 0);
    assert_true(json_is_null(json_object_get(topic, "high_watermark")));
    json_decref(answer);
    store_set_archived_through(fx.capsule.store, fx.told[0].recorded_at_us);
    answer = fx_json(F, "/v1/lag");
    json_t *lag = json_object_get(answer, "lag");
    assert_int_equal(json_array_size(lag), 3);
    assert_int_equal(num(json_array_get(lag, 1), "next_offset"), 13);
    assert_int_equal(num(json_array_get(lag, 1), "archived_offset"), 1); /* one of two events */
    assert_int_equal(fx_time(answer, "archived_through"), fx.told[0].recorded_at_us);
    json_decref(answer);
    store_set_archived_through(fx.capsule.store, store_recorded_through(fx.capsule.store));
    answer = fx_json(F, "/v1/lag");
    assert_int_equal(num(json_array_get(json_object_get(answer, "lag"), 1), "archived_offset"), 13);
    json_decref(answer);
    fx_problem(F, 404, "topic", "/v1/topics/un.known");
    fx_problem(F, 400, "topic", "/v1/topics/Unknown");
}

static void test_quarantine__is_kept_with_reason_and_bytes(void **state) {
    (void)state;
    json_t *answer = fx_json(F, "/v1/quarantine"), *list = json_object_get(answer, "quarantined"), *p = json_array_get(list, 0);
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(fx_str(p, "topic"), FAST);
    assert_int_equal(num(p, "offset"), 2);
    assert_string_equal(fx_str(p, "reason"), "avro");
    assert_string_equal(fx_str(p, "detail"), "not \"right\"");
    assert_int_equal(num(p, "schema_id"), 7);
    assert_null(json_object_get(p, "redriven_at"));
    assert_int_equal(fx_time(p, "quarantined_at"), fx.told[2].recorded_at_us);
    assert_null(json_object_get(json_array_get(list, 1), "schema_id"));
    assert_true(json_is_null(json_object_get(answer, "next")));
    json_decref(answer);
    static const struct {
        const char *query;
        size_t count;
    } cases[] = {{"?topic=rim.fast-path", 2}, {"?reason=framing", 1}, {"?schema_id=2", 1}, {"?redriven=true", 0}, {"?redriven=false", 3}, {"?reason=limit", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        answer = fx_json(F, "/v1/quarantine%s", cases[i].query);
        assert_int_equal(json_array_size(json_object_get(answer, "quarantined")), cases[i].count);
        json_decref(answer);
    }
    size_t seen = 0;
    char next[2048] = "";
    do {
        answer = fx_json(F, "/v1/quarantine?limit=1%s%s", next[0] ? "&cursor=" : "", next);
        assert_int_equal(json_array_size(json_object_get(answer, "quarantined")), 1);
        seen++;
        snprintf(next, sizeof(next), "%s", fx_str(answer, "next") ? fx_str(answer, "next") : "");
        json_decref(answer);
    } while (next[0]);
    assert_int_equal(seen, 3);
    answer = fx_json(F, "/v1/quarantine/%s/0/2", FAST);
    assert_string_equal(fx_str(answer, "key"), "aw==");
    assert_int_equal(num(answer, "value_bytes"), 8);
    json_decref(answer);
    assert_int_equal(fx_get(F, "/v1/quarantine/%s/0/2/raw", FAST), 200);
    assert_int_equal(fx.body.len, 8);
    assert_memory_equal(fx.body.data, "\0\0\0\0\7bad", 8);
    fx_problem(F, 404, "offset", "/v1/quarantine/%s/0/3", FAST);
    fx_problem(F, 404, "offset", "/v1/quarantine/%s/0/3/raw", FAST);
}

static void test_schema__is_as_kept(void **state) {
    (void)state;
    json_t *answer = fx_json(F, "/v1/schemas/1");
    assert_string_equal(fx_str(answer, "schema"), bf_topics_find(fx.topics, FAST)->schema_json);
    assert_string_equal(fx_str(answer, "schema_type"), "AVRO");
    assert_true(json_is_array(json_object_get(answer, "references")));
    json_decref(answer);
    fx_problem(F, 404, "id", "/v1/schemas/99");
}

static void test_health__says_why_it_is_not_ready(void **state) {
    (void)state;
    assert_int_equal(fx_get(F, "/livez"), 200);
    assert_int_equal(fx_get(F, "/readyz"), 200); /* although the archive is away */
    assert_non_null(strstr(fx.body.data, "\"postgres\":\"away\""));
    atomic_store(&fx.capsule.ingesting, false);
    assert_int_equal(fx_get(F, "/readyz"), 503);
    assert_non_null(strstr(fx.body.data, "not ingesting"));
    assert_int_equal(fx_get(F, "/livez"), 200);
    atomic_store(&fx.capsule.ingesting, true);
    json_t *answer = fx_json(F, "/v1/status");
    assert_string_equal(fx_str(answer, "instance"), fx.capsule.instance);
    assert_int_equal(fx_time(answer, "recorded_through"), store_recorded_through(fx.capsule.store));
    assert_true(fx_time(answer, "recorded_through") >= fx_newest(F));
    assert_int_equal(num(json_object_get(answer, "counts"), "stored"), 4);
    assert_true(json_is_true(json_object_get(answer, "ready")));
    json_decref(answer);
    assert_int_equal(fx_get(F, "/metrics"), 200);
    assert_non_null(strstr(fx.body.data, "capsule_recorded_through_seconds "));
    assert_non_null(strstr(fx.body.data, "capsule_consumer_lag_messages{topic=\"rim.fast-path\",partition=\"0\"} 0"));
    assert_non_null(strstr(fx.body.data, "capsule_dependency_up{name=\"postgres\"} 0"));
    assert_non_null(strstr(fx.body.data, "capsule_http_request_seconds_count{route=\"/readyz\",code=\"503\"} 1"));
    assert_null(strstr(fx.body.data, EURUSD));
}

/* ---- the description ---- */

/* A path of the description with its examples put in. */
static void fill_path(const char *path, const json_t *params, char dst[512]) {
    size_t n = 0;
    for (const char *p = path; *p; p++) {
        if (*p != '{') {
            dst[n++] = *p;
            continue;
        }
        const char *end = strchr(p, '}');
        size_t i;
        json_t *param;
        char *value = NULL;
        json_array_foreach(params, i, param) {
            const char *name = fx_str(param, "name");
            if (strcmp(fx_str(param, "in"), "path") == 0 && strlen(name) == (size_t)(end - p - 1) && strncmp(name, p + 1, strlen(name)) == 0) {
                json_t *example = json_array_get(json_object_get(json_object_get(param, "schema"), "examples"), 0);
                value = json_is_string(example) ? strdup(json_string_value(example)) : json_dumps(example, JSON_ENCODE_ANY);
            }
        }
        if (!value) {
            fail_msg("%s: a path parameter is not described or has no example", path);
        }
        n += (size_t)snprintf(dst + n, 512 - n, "%s", value);
        free(value);
        p = end;
    }
    dst[n] = '\0';
}

/* A value that the description says is good. */
static char *good_value(const json_t *param) {
    const json_t *schema = json_object_get(param, "schema"), *v = json_array_get(json_object_get(schema, "examples"), 0);
    v = v ? v : json_array_get(json_object_get(schema, "enum"), 0);
    v = v ? v : json_object_get(schema, "default");
    v = json_is_array(v) ? json_array_get(v, 0) : v;
    if (!v && fx_str(schema, "type") && strcmp(fx_str(schema, "type"), "boolean") == 0) {
        return strdup("true");
    }
    return !v ? NULL : json_is_string(v) ? strdup(json_string_value(v)) : json_dumps(v, JSON_ENCODE_ANY);
}

/* The same request by another method than GET; the status. */
static int call_by(const char *method, const char *target) {
    char url[700];
    int status = 0;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", api_port(fx.api), target);
    assert_int_equal(bf_http_call(fx.client, method, url, NULL, BF_SLICE_NONE, &status, &fx.body, &fx.err), BF_OK);
    bf_buf_putc(&fx.body, '\0');
    fx.body.len--;
    return status;
}

static bool known_param(const struct bf_http_route *route, const char *name) {
    for (size_t i = 0; route->params[i]; i++) {
        if (strcmp(route->params[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* Every parameter described is accepted, each by itself (offsets with what they need); cursors are made by answers, so theirs is only named. */
static void check_params(const char *method, const char *path, const char *filled, const struct bf_http_route *route, const json_t *params) {
    size_t i, described = 0, served = 0;
    json_t *param;
    json_array_foreach(params, i, param) {
        const char *name = fx_str(param, "name");
        if (strcmp(fx_str(param, "in"), "query") != 0) {
            continue;
        }
        described++;
        if (!known_param(route, name)) {
            fail_msg("%s describes %s, which the server does not know", path, name);
        }
        if (strcmp(name, "cursor") == 0) {
            fx_problem(F, 400, "cursor", "%s?cursor=x", filled);
            continue;
        }
        bool of_avro = strcmp(name, "codec") == 0 || strcmp(name, "records") == 0;
        const char *with = of_avro ? "&format=avro" : strcmp(name, "max_gap_ms") == 0 ? "&speed=1" : strstr(name, "_offset") ? "&topic=rim.fast-path&partition=0" : strcmp(name, "partition") == 0 ? "&topic=rim.fast-path" : strcmp(name, "offset") == 0 ? "&topic=rim.fast-path&partition=0" : "";
        char *value = good_value(param);
        assert_non_null(value);
        char target[700];
        bool post = strcasecmp(method, "post") == 0 && strcmp(path, "/v1/replays") == 0; /* counted only: nothing runs here that could do it */
        snprintf(target, sizeof(target), "%s?%s=%s%s%s", filled, name, value, with,
                 !post ? "" : strcmp(name, "name") == 0 ? "&dry_run=1" : strcmp(name, "dry_run") == 0 ? "&name=x" : "&name=x&dry_run=1");
        int status = call_by(route->method, target);
        if (status == 400 || status == 405 || (status >= 500 && status != 503)) { /* the archive is away here */
            fail_msg("%s?%s=%s: %d %s", path, name, value, status, fx.body.data);
        }
        free(value);
    }
    while (route->params[served]) {
        served++;
    }
    if (served != described) {
        fail_msg("%s: the server knows %zu parameters, %zu are described", path, served, described);
    }
}

static const struct bf_http_route *route_of(const char *method, const char *path) {
    for (const struct bf_http_route *r = api_routes(); r->method; r++) {
        if (strcasecmp(r->method, method) == 0 && strcmp(r->pattern, path) == 0) {
            return r;
        }
    }
    return NULL;
}

static void test_openapi__describes_the_server_and_nothing_else(void **state) {
    (void)state;
    json_t *doc = fx_json(F, "/openapi.json"), *methods, *operation;
    const char *path, *method;
    size_t described = 0, served = 0;
    json_object_foreach(json_object_get(doc, "paths"), path, methods) {
        json_object_foreach(methods, method, operation) {
            const struct bf_http_route *route = route_of(method, path);
            const json_t *params = json_object_get(operation, "parameters");
            char filled[512];
            described++;
            if (!route) {
                fail_msg("%s %s is described and not served", method, path);
            }
            fill_path(path, params, filled);
            int status = call_by(route->method, filled);
            const char *named = fx.body.data;
            bool no_route = status == 404 && !strstr(named, "pointer");
            char code[8];
            snprintf(code, sizeof(code), "%d", status);
            if (no_route || status == 405 || !json_object_get(json_object_get(operation, "responses"), code)) {
                fail_msg("%s %s: %d is not described: %s", method, filled, status, fx.body.data);
            }
            check_params(method, path, filled, route, params);
        }
    }
    for (const struct bf_http_route *r = api_routes(); r->method; r++) {
        served++;
        assert_non_null(json_object_get(json_object_get(doc, "paths"), r->pattern));
    }
    assert_int_equal(described, served);
    json_decref(doc);
}

/* Every $ref leads somewhere. */
static void check_refs(const json_t *doc, const json_t *v) {
    const char *key, *ref = json_string_value(json_object_get(v, "$ref"));
    size_t i;
    json_t *child;
    if (ref) {
        assert_int_equal(strncmp(ref, "#/components/schemas/", 21), 0);
        assert_non_null(json_object_get(json_object_get(json_object_get(doc, "components"), "schemas"), ref + 21));
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, child) {
        check_refs(doc, child);
    }
    json_array_foreach(v, i, child) {
        check_refs(doc, child);
    }
}

static void test_openapi__has_no_loose_ends(void **state) {
    (void)state;
    json_t *doc = fx_json(F, "/openapi.json");
    check_refs(doc, doc);
    json_decref(doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coverage__adds_up_and_has_no_holes),
        cmocka_unit_test(test_topics_and_lag__say_what_is_held),
        cmocka_unit_test(test_quarantine__is_kept_with_reason_and_bytes),
        cmocka_unit_test(test_schema__is_as_kept),
        cmocka_unit_test(test_health__says_why_it_is_not_ready),
        cmocka_unit_test(test_openapi__describes_the_server_and_nothing_else),
        cmocka_unit_test(test_openapi__has_no_loose_ends),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
