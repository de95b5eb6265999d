/* State of a node and of the world, as of and known by, against brute force. */
#include "api_fixture.h"

#include "bf_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EVENTS 600

static struct fx fx;
#define F (&fx)

static int setup(void **state) {
    (void)state;
    fx_open(F, NULL);
    fx_fill(F, EVENTS, 4711);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_close(F);
    return 0;
}

static void check_states(const json_t *states, const char *node, const char *topic, int64_t as_of, int64_t known_by, size_t *at) {
    static const char *const topics[] = {REFLEX, FAST}; /* in name order */
    for (size_t k = 0; k < 2; k++) {
        const struct told *t = topic && strcmp(topic, topics[k]) != 0 ? NULL : fx_state_of(F, node, topics[k], as_of, known_by);
        if (t) {
            assert_true(*at < json_array_size(states));
            fx_check_event(json_array_get(states, (*at)++), t);
        }
    }
}

static void test_state__is_what_brute_force_finds(void **state) {
    (void)state;
    unsigned seed = 3;
    for (int round = 0; round < 250; round++) {
        unsigned r = (unsigned)rand_r(&seed);
        const char *node = fx_node(r % 17), *topic = r & 64 ? FAST : NULL;
        int64_t as_of = fx.told[rand_r(&seed) % EVENTS].event_time_us - (r & 128 ? 1 : 0), known_by = fx.told[rand_r(&seed) % EVENTS].recorded_at_us;
        bool known = false;
        for (size_t i = 0; i < fx.committed; i++) {
            known = known || (strcmp(fx.told[i].node, node) == 0 && fx.told[i].recorded_at_us <= known_by);
        }
        if (!known) {
            fx_problem(F, 404, "id", "/v1/nodes/%s/state?as_of=%lld&known_by=%lld", node, (long long)as_of, (long long)known_by);
            continue;
        }
        json_t *answer = fx_json(F, "/v1/nodes/%s/state?as_of=%lld&known_by=%lld%s%s", node, (long long)as_of, (long long)known_by,
                                 topic ? "&topic=" : "", topic ? topic : "");
        size_t at = 0;
        check_states(json_object_get(answer, "states"), node, topic, as_of, known_by, &at);
        assert_int_equal(at, json_array_size(json_object_get(answer, "states")));
        assert_string_equal(fx_str(answer, "rim_node_id"), node);
        assert_int_equal(fx_time(answer, "as_of"), as_of);
        assert_int_equal(fx_time(answer, "known_by"), known_by);
        assert_int_equal(fx_time(answer, "recorded_through"), known_by);
        json_decref(answer);
    }
}

/* The bytes of an answer, and of the same question with known_by set to what it said. */
static void check_repeated(const char *path) {
    struct bf_buf first;
    bf_buf_init(&first, 1 << 20);
    assert_int_equal(fx_get(F, "%s", path), 200);
    bf_buf_append(&first, fx.body.data, fx.body.len);
    fx_put(F, FAST, 0, fx_node(3), NULL, bf_time_now_us(), 1, NULL, NULL);
    char known[BF_TIME_TEXT_LEN + 1];
    bf_time_format(known, store_recorded_through(fx.capsule.store));
    fx_commit(F);
    assert_int_equal(fx_get(F, "%s%cknown_by=%s", path, strchr(path, '?') ? '&' : '?', known), 200);
    assert_int_equal(fx.body.len, first.len);
    assert_memory_equal(fx.body.data, first.data, first.len);
    bf_buf_fini(&first);
}

static void test_any_answer__asked_again_by_what_was_recorded_is_the_same(void **state) {
    (void)state;
    static const char *const questions[] = {"/v1/nodes/%s/state", "/v1/nodes/%s/history", "/v1/nodes/%s/history?limit=2&order=asc", "/v1/events?node=%s",
                                            "/v1/state", "/v1/state?format=json", "/v1/events", "/v1/replay", "/v1/replay?format=csv", "/v1/quarantine"};
    char path[200];
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        snprintf(path, sizeof path, questions[i], fx_node(3));
        check_repeated(path);
    }
    snprintf(path, sizeof path, "/v1/events/%s", fx.told[0].id);
    check_repeated(path);
    json_t *answer = fx_json(F, "/v1/nodes/%s/state", fx_node(3));
    assert_int_equal(fx_time(answer, "as_of"), fx_time(answer, "recorded_through"));
    json_decref(answer);
}

/* What is dated later than it was recorded becomes true when its time comes, also when nothing else is recorded meanwhile. */
static void test_state__what_lies_ahead_comes_true(void **state) {
    (void)state;
    const char *node = "rim:metric:test:soon";
    int64_t soon_us = (bf_time_now_us() / 1000 + 400) * 1000; /* an event time is written in milliseconds */
    fx_put(F, FAST, 0, node, NULL, soon_us, 1, NULL, NULL);
    fx_commit(F);
    for (bool there = false; !there;) {
        int64_t before_us = bf_time_now_us();
        json_t *answer = fx_json(F, "/v1/nodes/%s/state", node);
        int64_t as_of_us = fx_time(answer, "as_of");
        assert_true(as_of_us >= before_us && as_of_us <= bf_time_now_us());
        there = json_array_size(json_object_get(answer, "states")) == 1;
        assert_true(there == (as_of_us >= soon_us));
        json_decref(answer);
    }
    fx_put(F, FAST, 0, node, NULL, soon_us, 2, NULL, NULL);
    fx_commit(F); /* recorded later than all is dated */
    check_repeated("/v1/state");
}

static void test_state__defaults_to_now(void **state) {
    (void)state;
    json_t *answer = fx_json(F, "/v1/nodes/%s/state", fx_node(3));
    size_t at = 0;
    check_states(json_object_get(answer, "states"), fx_node(3), NULL, INT64_MAX, INT64_MAX, &at);
    assert_int_equal(at, json_array_size(json_object_get(answer, "states")));
    assert_int_equal(fx_time(answer, "known_by"), store_recorded_through(fx.capsule.store));
    assert_true(fx_time(answer, "known_by") >= fx_newest(F));
    json_decref(answer);
    fx_put(F, FAST, 0, "rim:metric:test:future", NULL, INT64_C(4102444800000000), 1, NULL, NULL); /* 2100 */
    fx_commit(F);
    answer = fx_json(F, "/v1/nodes/rim:metric:test:future/state");
    assert_int_equal(json_array_size(json_object_get(answer, "states")), 0);
    json_decref(answer);
    answer = fx_json(F, "/v1/nodes/rim:metric:test:future/state?as_of=2100-01-01");
    assert_int_equal(json_array_size(json_object_get(answer, "states")), 1);
    json_decref(answer);
    fx_problem(F, 404, "id", "/v1/nodes/rim:metric:test:nobody/state");
}

/* NDJSON lines as an array, the trailer apart. */
static json_t *lines_of(json_t **trailer) {
    json_t *all = json_array();
    for (const char *line = fx.body.data; *line;) {
        const char *end = strchr(line, '\n');
        json_t *obj = NULL;
        assert_non_null(end);
        assert_int_equal(bf_json_parse(line, (size_t)(end - line), &obj, &fx.err), BF_OK);
        json_array_append_new(all, obj);
        line = end + 1;
    }
    assert_true(json_array_size(all) > 0);
    *trailer = json_incref(json_array_get(all, json_array_size(all) - 1));
    assert_true(json_is_true(json_object_get(*trailer, "end")));
    json_array_remove(all, json_array_size(all) - 1);
    return all;
}

static void test_world__is_the_state_of_every_node_in_both_formats(void **state) {
    (void)state;
    unsigned seed = 5;
    for (int round = 0; round < 25; round++) {
        unsigned r = (unsigned)rand_r(&seed);
        const char *topic = r & 1 ? REFLEX : NULL, *prefix = r & 2 ? "rim:metric:test:N01" : "rim:metric:test:N";
        int64_t as_of = fx.told[rand_r(&seed) % EVENTS].event_time_us, known_by = fx.told[rand_r(&seed) % EVENTS].recorded_at_us;
        char path[512];
        snprintf(path, sizeof(path), "/v1/state?as_of=%lld&known_by=%lld&prefix=%s%s%s", (long long)as_of, (long long)known_by, prefix,
                 topic ? "&topic=" : "", topic ? topic : "");
        json_t *trailer = NULL, *plain = fx_json(F, "%s&format=json", path);
        assert_int_equal(fx_get(F, "%s", path), 200);
        assert_string_equal(bf_http_client_answer_header(fx.client, "Content-Type"), "application/x-ndjson");
        json_t *lines = lines_of(&trailer);
        size_t at = 0, plain_at = 0;
        for (size_t n = 0; n < 17; n++) {
            if (strncmp(fx_node(n), prefix, strlen(prefix)) == 0) {
                check_states(lines, fx_node(n), topic, as_of, known_by, &at);
                check_states(json_object_get(plain, "states"), fx_node(n), topic, as_of, known_by, &plain_at);
            }
        }
        assert_int_equal(at, json_array_size(lines));
        assert_int_equal(plain_at, at);
        assert_int_equal(json_array_size(json_object_get(plain, "states")), at);
        assert_int_equal(json_integer_value(json_object_get(plain, "count")), at);
        assert_int_equal(json_integer_value(json_object_get(trailer, "count")), at);
        assert_int_equal(fx_time(plain, "as_of"), as_of);
        assert_int_equal(fx_time(plain, "known_by"), known_by);
        json_decref(plain);
        json_decref(lines);
        json_decref(trailer);
    }
}

static void test_world__goes_on_after_any_line(void **state) {
    (void)state;
    char path[256];
    snprintf(path, sizeof(path), "/v1/state?as_of=2100-01-01&known_by=%lld", (long long)fx.told[EVENTS - 1].recorded_at_us);
    assert_int_equal(fx_get(F, "%s", path), 200);
    char *whole = strdup(fx.body.data), *line = whole;
    json_t *trailer = NULL, *lines = lines_of(&trailer);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        line = strchr(line, '\n') + 1;
        assert_int_equal(fx_get(F, "%s&cursor=%s", path, fx_str(json_array_get(lines, i), "cursor")), 200);
        const char *rest_end = strstr(fx.body.data, "{\"end\":true"), *whole_end = strstr(line, "{\"end\":true");
        assert_int_equal(rest_end - fx.body.data, whole_end - line);
        assert_memory_equal(fx.body.data, line, (size_t)(whole_end - line));
    }
    json_decref(lines);
    json_decref(trailer);
    free(whole);
    fx_problem(F, 400, "cursor", "/v1/state?cursor=AAAA");
}

static void test_world__is_what_accept_asks_for(void **state) {
    (void)state;
    struct bf_http_client *mine = NULL;
    static const struct {
        const char *accept, *type;
        int status;
    } cases[] = {
        {"Accept: application/json", "application/json", 200},
        {"Accept: application/x-ndjson", "application/x-ndjson", 200},
        {"Accept: text/html, application/json;q=0.9, */*;q=0.1", "application/json", 200},
        {"Accept: */*", "application/x-ndjson", 200},
        {"Accept: application/*", "application/x-ndjson", 200},
        {"Accept: text/html", "application/problem+json", 406},
        {"Accept: application/json;q=0, application/x-ndjson;q=0.5", "application/x-ndjson", 200},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int status = 0;
        char url[128];
        snprintf(url, sizeof(url), "http://127.0.0.1:%d/v1/state", api_port(fx.api));
        assert_int_equal(bf_http_client_new(5000, &mine, &fx.err), BF_OK);
        assert_int_equal(bf_http_client_header(mine, cases[i].accept, &fx.err), BF_OK);
        assert_int_equal(bf_http_call(mine, "GET", url, NULL, BF_SLICE_NONE, &status, &fx.body, &fx.err), BF_OK);
        assert_int_equal(status, cases[i].status);
        assert_string_equal(bf_http_client_answer_header(mine, "Content-Type"), cases[i].type);
        bf_http_client_free(mine);
    }
}

static void test_node__says_its_ends_and_counts(void **state) {
    (void)state;
    const char *node = fx_node(2);
    const struct told *first = NULL, *last = NULL;
    json_int_t fast = 0, reflex = 0;
    for (size_t i = 0; i < fx.committed; i++) {
        const struct told *t = &fx.told[i];
        if (t->disposition == DISPOSITION_STORED && strcmp(t->node, node) == 0) {
            first = !first || t->event_time_us < first->event_time_us ? t : first;
            last = !last || t->event_time_us >= last->event_time_us ? t : last;
            fast += strcmp(t->topic, FAST) == 0;
            reflex += strcmp(t->topic, REFLEX) == 0;
        }
    }
    json_t *answer = fx_json(F, "/v1/nodes/%s", node), *topic;
    fx_check_event(json_object_get(answer, "first_event"), first);
    fx_check_event(json_object_get(answer, "last_event"), last);
    assert_int_equal(json_integer_value(json_object_get(answer, "events")), fast + reflex);
    assert_string_equal(fx_str(answer, "node_type"), "metric");
    size_t i;
    json_array_foreach(json_object_get(answer, "topics"), i, topic) {
        assert_int_equal(json_integer_value(json_object_get(topic, "events")), strcmp(fx_str(topic, "topic"), FAST) == 0 ? fast : reflex);
    }
    assert_int_equal(i, 2);
    json_decref(answer);
    fx_problem(F, 404, "id", "/v1/nodes/rim:metric:test:nobody");
}

static void test_state__of_what_is_being_rebuilt_is_a_503_and_never_a_part_of_it(void **state) {
    (void)state;
    static const char *const paths[] = {"/v1/state", "/v1/state?format=json", "/v1/nodes", "/v1/nodes/rim:metric:test:N003",
                                        "/v1/nodes/rim:metric:test:N003/state", "/v1/nodes/rim:metric:test:nobody/history"};
    atomic_store(&fx.capsule.rebuilding, true);
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        fx_problem(F, 503, NULL, "%s", paths[i]);
        assert_non_null(bf_http_client_answer_header(fx.client, "Retry-After"));
    }
    assert_int_equal(fx_get(F, "/v1/nodes/rim:metric:test:N003/history"), 200);
    atomic_store(&fx.capsule.rebuilding, false);
    assert_int_equal(fx_get(F, "/v1/nodes/rim:metric:test:N003/state"), 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state__is_what_brute_force_finds),
        cmocka_unit_test(test_world__is_the_state_of_every_node_in_both_formats),
        cmocka_unit_test(test_world__goes_on_after_any_line),
        cmocka_unit_test(test_world__is_what_accept_asks_for),
        cmocka_unit_test(test_node__says_its_ends_and_counts),
        cmocka_unit_test(test_state__of_what_is_being_rebuilt_is_a_503_and_never_a_part_of_it),
        cmocka_unit_test(test_any_answer__asked_again_by_what_was_recorded_is_the_same),
        cmocka_unit_test(test_state__what_lies_ahead_comes_true),
        cmocka_unit_test(test_state__defaults_to_now),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
