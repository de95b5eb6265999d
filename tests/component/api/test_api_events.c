/* Events by id, their bytes, search, and what is refused. */
#include "api_fixture.h"

#include "bf_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct fx fx;
#define F (&fx)

#define UUID "0190c0de-0000-7000-8000-000000000001"
#define T0 INT64_C(1717236000000000) /* 2024-06-01T10:00:00Z */

static int setup(void **state) {
    (void)state;
    fx_open(F, NULL);
    fx_put(F, FAST, 0, EURUSD, UUID, T0, 1.25, "trace-1", NULL);
    fx_put(F, FAST, 0, EURUSD, "order-17", T0 + 1000000, 1.5, NULL, NULL);
    fx_put(F, REFLEX, 1, EURUSD, "shared", T0 + 2000000, 7, NULL, "order-17");
    fx_put(F, FAST, 0, EURUSD, "shared", T0 + 3000000, 8, NULL, NULL);
    fx_commit(F);
    fx_put(F, FAST, 0, EURUSD, "order-17", T0 + 1000000, 1.75, NULL, NULL); /* revision 2 */
    fx_put(F, FAST, 1, EURUSD, "order-17", T0 + 1000000, 1.75, NULL, NULL); /* the same content again: a duplicate */
    fx_commit(F);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_close(F);
    return 0;
}

static void test_event__has_the_members_of_the_contract_in_their_order(void **state) {
    (void)state;
    assert_int_equal(fx_get(F, "/v1/events/%s", UUID), 200);
    const struct told *t = &fx.told[0];
    char expected[2048], recorded[32];
    bf_time_format(recorded, t->recorded_at_us);
    int n = snprintf(expected, sizeof(expected),
                     "{\"event_id\":\"%s\",\"revision\":1,\"topic\":\"rim.fast-path\",\"partition\":0,\"offset\":0,"
                     "\"rim_node_id\":\"%s\",\"event_time\":\"2024-06-01T10:00:00.000000Z\",\"kafka_time\":\"2023-11-14T22:13:20.000000Z\","
                     "\"recorded_at\":\"%s\",\"schema_id\":1,\"trace_id\":\"trace-1\",\"payload\":{\"rim_node_id\":\"%s\",\"event_id\":\"%s\","
                     "\"vector_timestamp\":{\"event_ts_ms\":1717236000000,\"ingest_ts_ms\":1,\"logical_clock\":1},\"critical_metrics\":{},"
                     "\"price\":1.25,\"volume\":null,\"stress\":null,\"status\":\"ACTIVE\",\"instrument_id\":null,\"source_topic\":null,"
                     "\"metadata\":{\"trace_id\":\"trace-1\"}},\"revisions\":[",
                     UUID, EURUSD, recorded, EURUSD, UUID);
    assert_true(n > 0 && n < (int)sizeof(expected));
    if (strncmp(fx.body.data, expected, (size_t)n) != 0) {
        fail_msg("%s\nis not\n%s", fx.body.data, expected);
    }
}

static void test_event__shows_the_newest_revision_all_of_them_and_every_sight(void **state) {
    (void)state;
    json_t *ev = fx_json(F, "/v1/events/order-17");
    json_t *revisions = json_object_get(ev, "revisions"), *seen = json_object_get(ev, "seen");
    assert_int_equal(fx.told[4].revision, 2);
    assert_int_equal(fx.told[5].disposition, DISPOSITION_DUPLICATE);
    fx_check_event(ev, &fx.told[4]);
    assert_string_equal(fx_str(ev, "source_id"), "order-17");
    assert_int_equal(json_array_size(revisions), 2);
    fx_check_event(json_array_get(revisions, 0), &fx.told[1]);
    fx_check_event(json_array_get(revisions, 1), &fx.told[4]);
    assert_int_equal(json_array_size(seen), 3);
    static const char *const dispositions[] = {"stored", "stored", "duplicate"};
    static const int told[] = {1, 4, 5};
    for (size_t i = 0; i < 3; i++) {
        const json_t *s = json_array_get(seen, i);
        assert_string_equal(fx_str(s, "disposition"), dispositions[i]);
        assert_string_equal(fx_str(s, "topic"), FAST);
        assert_int_equal(json_integer_value(json_object_get(s, "partition")), fx.told[told[i]].partition);
        assert_int_equal(json_integer_value(json_object_get(s, "offset")), fx.told[told[i]].offset);
        fx_time(s, "kafka_time");
    }
    json_decref(ev);
    char uuid[40]; /* the derived UUID names it as well */
    bf_uuid_format(uuid, &fx.told[1].uuid);
    json_t *same = fx_json(F, "/v1/events/%s", uuid);
    fx_check_event(same, &fx.told[4]);
    json_decref(same);
}

static void test_event__as_known_before_its_revision_is_the_first(void **state) {
    (void)state;
    json_t *ev = fx_json(F, "/v1/events/order-17?known_by=%lld", (long long)fx.told[3].recorded_at_us);
    fx_check_event(ev, &fx.told[1]);
    assert_int_equal(json_array_size(json_object_get(ev, "revisions")), 1);
    assert_int_equal(json_array_size(json_object_get(ev, "seen")), 1);
    assert_int_equal(fx_time(ev, "recorded_through"), fx.told[3].recorded_at_us);
    json_decref(ev);
    fx_problem(F, 404, "event_id", "/v1/events/order-17?known_by=%lld", (long long)fx.told[0].recorded_at_us);
}

static void test_event__in_several_topics_asks_which(void **state) {
    (void)state;
    fx_problem(F, 409, "topic", "/v1/events/shared");
    assert_non_null(strstr(fx.body.data, FAST));
    assert_non_null(strstr(fx.body.data, REFLEX));
    json_t *ev = fx_json(F, "/v1/events/shared?topic=%s", REFLEX);
    fx_check_event(ev, &fx.told[2]);
    json_decref(ev);
    ev = fx_json(F, "/v1/events/shared?topic=%s", FAST);
    fx_check_event(ev, &fx.told[3]);
    json_decref(ev);
    fx_problem(F, 404, "event_id", "/v1/events/shared?topic=plato.decision");
    fx_problem(F, 404, "event_id", "/v1/events/never-heard-of");
}

static void test_raw__is_what_was_sent(void **state) {
    (void)state;
    assert_int_equal(fx_get(F, "/v1/events/%s/raw", UUID), 200);
    assert_true(fx.body.len > 5 && memcmp(fx.body.data, "\0\0\0\0\1", 5) == 0);
    assert_string_equal(bf_http_client_answer_header(fx.client, "Content-Type"), "application/octet-stream");
    size_t len = fx.body.len;
    assert_int_equal(fx_get(F, "/v1/events/%s/raw?part=value", UUID), 200);
    assert_int_equal(fx.body.len, len);
    assert_int_equal(fx_get(F, "/v1/events/%s/raw?part=key", UUID), 200);
    assert_string_equal(fx.body.data, EURUSD);
    assert_int_equal(fx_get(F, "/v1/events/%s/raw?part=headers", UUID), 200);
    assert_string_equal(fx.body.data, "[{\"name\":\"source\",\"value\":\"dGVzdA==\"},{\"name\":\"nothing\",\"value\":null}]");
    fx_problem(F, 400, "part", "/v1/events/%s/raw?part=all", UUID);
    fx_problem(F, 404, "event_id", "/v1/events/none/raw");
    fx_problem(F, 409, "topic", "/v1/events/shared/raw");
    char first[256], second[256];
    assert_int_equal(fx_get(F, "/v1/events/order-17/raw?revision=1"), 200);
    assert_true(fx.body.len < sizeof(first));
    memcpy(first, fx.body.data, fx.body.len);
    len = fx.body.len;
    assert_int_equal(fx_get(F, "/v1/events/order-17/raw"), 200);
    memcpy(second, fx.body.data, len);
    assert_int_equal(fx.body.len, len);
    assert_memory_not_equal(first, second, len);
    fx_problem(F, 404, "revision", "/v1/events/order-17/raw?revision=3");
}

static void test_search__finds_by_trace_cause_and_domain(void **state) {
    (void)state;
    static const struct {
        const char *query;
        int told[8], count;
    } cases[] = {
        {"trace=trace-1", {0}, 1},
        {"cause=order-17", {2}, 1},
        {"domain=odyssey", {2}, 1},
        {"domain=rim", {0, 1, 4, 3}, 4},
        {"domain=nothing", {0}, 0},
        {"topic=rim.fast-path&from=2024-06-01T10:00:01Z", {1, 4, 3}, 3},
        {"topic=rim.fast-path&to=2024-06-01T12:00:01%2B02:00", {0}, 1},
        {"from=1717236000000000&to=1717236000000000", {0}, 0},
        {"node=" EURUSD "&order=desc", {3, 2, 4, 1, 0}, 5},
        {"node_prefix=rim:metric:fin&limit=10000", {0, 1, 4, 2, 3}, 5},
        {"node_prefix=rim:actor", {0}, 0},
        {"topic=unknown.topic", {0}, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        json_t *page = fx_json(F, "/v1/events?%s", cases[i].query), *events = json_object_get(page, "events");
        if ((int)json_array_size(events) != cases[i].count) {
            fail_msg("%s: %s", cases[i].query, fx.body.data);
        }
        for (int k = 0; k < cases[i].count; k++) {
            fx_check_event(json_array_get(events, (size_t)k), &fx.told[cases[i].told[k]]);
        }
        json_decref(page);
    }
    json_t *page = fx_json(F, "/v1/events?recorded_from=%lld&recorded_to=%lld", (long long)fx.told[1].recorded_at_us,
                           (long long)fx.told[3].recorded_at_us);
    size_t within = 0; /* in a commit the records are grouped by partition */
    for (size_t i = 0; i < fx.committed; i++) {
        const struct told *t = &fx.told[i];
        within += t->disposition == DISPOSITION_STORED && t->recorded_at_us >= fx.told[1].recorded_at_us &&
                  t->recorded_at_us < fx.told[3].recorded_at_us;
    }
    assert_true(within > 0);
    assert_int_equal(json_array_size(json_object_get(page, "events")), within);
    json_decref(page);
}

static void test_answer__with_known_by_is_the_same_bytes_after_more_came(void **state) {
    (void)state;
    static const char *const paths[] = {"/v1/events?node=" EURUSD, "/v1/nodes/" EURUSD "/history?limit=2", "/v1/nodes/" EURUSD "/state?as_of=2030-01-01",
                                        "/v1/events/order-17?topic=" FAST, "/v1/replay", "/v1/state?as_of=2030-01-01"};
    struct bf_buf first[6];
    char through[6][40];
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(fx_get(F, "%s", paths[i]), 200);
        snprintf(through[i], sizeof(through[i]), "%s", bf_http_client_answer_header(fx.client, "Capsule-Recorded-Through"));
        assert_non_null(bf_http_client_answer_header(fx.client, "Capsule-Archived-Through"));
        bf_buf_init(&first[i], 1 << 20);
        bf_buf_append(&first[i], fx.body.data, fx.body.len);
    }
    fx_put(F, FAST, 2, EURUSD, "later", T0 + 500, 3, NULL, NULL);
    fx_put(F, FAST, 0, EURUSD, "order-17", T0 + 1000000, 99, NULL, NULL);
    fx_commit(F);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(fx_get(F, "%s%cknown_by=%s", paths[i], strchr(paths[i], '?') ? '&' : '?', through[i]), 200);
        if (fx.body.len != first[i].len || memcmp(fx.body.data, first[i].data, first[i].len) != 0) {
            fail_msg("%s:\n%.*s\n%s", paths[i], (int)first[i].len, first[i].data, fx.body.data);
        }
        assert_string_equal(bf_http_client_answer_header(fx.client, "Capsule-Recorded-Through"), through[i]);
        assert_int_equal(fx_get(F, "%s", paths[i]), 200);
        assert_false(fx.body.len == first[i].len && memcmp(fx.body.data, first[i].data, first[i].len) == 0);
        bf_buf_fini(&first[i]);
    }
}

static void test_parameters__that_are_wrong_are_named(void **state) {
    (void)state;
    static const struct {
        const char *path, *pointer;
    } cases[] = {
        {"/v1/events?nonsense=1", "nonsense"},
        {"/v1/events?speed=2", "speed"},
        {"/v1/events?limit=0", "limit"},
        {"/v1/events?limit=10001", "limit"},
        {"/v1/events?limit=-1", "limit"},
        {"/v1/events?limit=+5", "limit"},
        {"/v1/events?limit=5x", "limit"},
        {"/v1/events?limit=", "limit"},
        {"/v1/events?limit=99999999999999999999", "limit"},
        {"/v1/events?limit=1&limit=1", "limit"},
        {"/v1/events?topic=a.b&topic=a.c", "topic"},
        {"/v1/events?topic=RIM", "topic"},
        {"/v1/events?topic=rim.fast-path.dlq", "topic"},
        {"/v1/events?topic=replay.x", "topic"},
        {"/v1/events?domain=Rim", "domain"},
        {"/v1/events?domain=rim.fast", "domain"},
        {"/v1/events?topic=rim.fast-path&domain=odyssey", "domain"},
        {"/v1/events?node=rim:thing:x:y", "node"},
        {"/v1/events?node=EURUSD", "node"},
        {"/v1/events?node_prefix=xyz", "node_prefix"},
        {"/v1/events?node_prefix=rim:metric:a%20b", "node_prefix"},
        {"/v1/events?node=" EURUSD "&node_prefix=rim", "node_prefix"},
        {"/v1/events?from=yesterday", "from"},
        {"/v1/events?from=2024-13-01T00:00:00Z", "from"},
        {"/v1/events?to=2024-06-01T10:00:00", "to"},
        {"/v1/events?from=2024-06-02&to=2024-06-01", "to"},
        {"/v1/events?recorded_from=2024-06-02&recorded_to=2024-06-01", "recorded_to"},
        {"/v1/events?known_by=soon", "known_by"},
        {"/v1/events?known_by=999999999999999999", "known_by"},
        {"/v1/events?order=up", "order"},
        {"/v1/events?cursor=abc", "cursor"},
        {"/v1/events?cursor=", "cursor"},
        {"/v1/events/x?topic=A", "topic"},
        {"/v1/events/x?limit=1", "limit"},
        {"/v1/nodes?prefix=%20", "prefix"},
        {"/v1/nodes/EURUSD", "id"},
        {"/v1/nodes/EURUSD/history", "id"},
        {"/v1/nodes/EURUSD/state", "id"},
        {"/v1/nodes/" EURUSD "/history?node=" EURUSD, "node"},
        {"/v1/nodes/" EURUSD "/state?as_of=x", "as_of"},
        {"/v1/state?format=csv", "format"},
        {"/v1/state?node_prefix=rim", "node_prefix"},
        {"/v1/replay?format=xml", "format"},
        {"/v1/replay?format=json", "format"},
        {"/v1/replay?speed=0.01", "speed"},
        {"/v1/replay?speed=1001", "speed"},
        {"/v1/replay?speed=nan", "speed"},
        {"/v1/replay?speed=2&format=avro", "speed"},
        {"/v1/replay?max_gap_ms=5", "max_gap_ms"},
        {"/v1/replay?follow=maybe", "follow"},
        {"/v1/replay?follow=1&format=csv", "follow"},
        {"/v1/replay?follow=1&format=avro", "follow"},
        {"/v1/replay?heartbeat_ms=1", "heartbeat_ms"},
        {"/v1/replay?codec=null", "codec"},
        {"/v1/replay?format=csv&records=own", "records"},
        {"/v1/replay?format=avro&codec=snappy", "codec"},
        {"/v1/replay?by=offset", "by"},
        {"/v1/replay?from=2024-06-02&to=2024-06-01", "to"},
        {"/v1/replay?by=recorded&from=2024-06-02&to=2024-06-01", "to"},
        {"/v1/replay?topic=a.b&topic=A", "topic"},
        {"/v1/replay?from_offset=1", "from_offset"},
        {"/v1/replay?to_offset=1", "to_offset"},
        {"/v1/replay?partition=0", "topic"},
        {"/v1/replay?partition=0&topic=a.b&topic=a.c", "topic"},
        {"/v1/replay?partition=-1&topic=a.b", "partition"},
        {"/v1/replay?partition=0&topic=a.b&from_offset=5&to_offset=4", "to_offset"},
        {"/v1/replay?partition=0&topic=a.b&from=2024-06-02", "from"},
        {"/v1/replay?partition=0&topic=a.b&by=recorded", "by"},
        {"/v1/coverage?partition=0", "partition"},
        {"/v1/coverage?topic=x", "topic"},
        {"/v1/quarantine?reason=bad", "reason"},
        {"/v1/quarantine?redriven=maybe", "redriven"},
        {"/v1/quarantine?schema_id=0", "schema_id"},
        {"/v1/quarantine/rim.fast-path/x/0", "partition"},
        {"/v1/quarantine/rim.fast-path/0/-1", "offset"},
        {"/v1/schemas/x", "id"},
        {"/v1/status?x=1", "x"},
        {"/livez?x=1", "x"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        fx_problem(F, 400, cases[i].pointer, "%s", cases[i].path);
    }
    char overlong[4200];
    memset(overlong, 'a', sizeof(overlong) - 1);
    overlong[sizeof(overlong) - 1] = '\0';
    fx_problem(F, 400, "trace", "/v1/events?trace=%s", overlong);
    fx_problem(F, 404, NULL, "/v1/nothing");
    fx_problem(F, 404, NULL, "/v1/replay/");
}

static void test_cursor__of_another_question_is_refused(void **state) {
    (void)state;
    json_t *page = fx_json(F, "/v1/events?topic=%s&limit=1", FAST);
    char next[2048];
    snprintf(next, sizeof(next), "%s", fx_str(page, "next"));
    json_decref(page);
    json_t *second = fx_json(F, "/v1/events?topic=%s&limit=2&cursor=%s", FAST, next); /* another limit is fine */
    assert_int_equal(json_array_size(json_object_get(second, "events")), 2);
    json_decref(second);
    fx_problem(F, 400, "cursor", "/v1/events?limit=1&cursor=%s", next);
    fx_problem(F, 400, "cursor", "/v1/events?topic=%s&order=desc&cursor=%s", FAST, next);
    fx_problem(F, 400, "cursor", "/v1/events?topic=%s&from=2000-01-01&cursor=%s", FAST, next);
    fx_problem(F, 400, "cursor", "/v1/nodes/%s/history?topic=%s&cursor=%s", EURUSD, FAST, next);
    fx_problem(F, 400, "cursor", "/v1/replay?topic=%s&cursor=%s", FAST, next);
    fx_problem(F, 400, "known_by", "/v1/events?topic=%s&known_by=2000-01-01&cursor=%s", FAST, next);
    next[10] = next[10] == 'A' ? 'B' : 'A';
    fx_problem(F, 400, "cursor", "/v1/events?topic=%s&limit=1&cursor=%s", FAST, next);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event__has_the_members_of_the_contract_in_their_order),
        cmocka_unit_test(test_event__shows_the_newest_revision_all_of_them_and_every_sight),
        cmocka_unit_test(test_event__as_known_before_its_revision_is_the_first),
        cmocka_unit_test(test_event__in_several_topics_asks_which),
        cmocka_unit_test(test_raw__is_what_was_sent),
        cmocka_unit_test(test_search__finds_by_trace_cause_and_domain),
        cmocka_unit_test(test_parameters__that_are_wrong_are_named),
        cmocka_unit_test(test_cursor__of_another_question_is_refused),
        cmocka_unit_test(test_answer__with_known_by_is_the_same_bytes_after_more_came),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
