/* Pages against brute force, at rest and while a writer commits. */
#include "api_fixture.h"

#include "bf_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EVENTS 700

static struct fx fx;
#define F (&fx)

static int setup(void **state) {
    (void)state;
    fx_open(F, NULL);
    fx_fill(F, EVENTS, 42);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_close(F);
    return 0;
}

/* The records that fit, in the order of the answer. */
struct expected {
    const struct told *list[EVENTS * 2];
    size_t count, at;
};

static int compare_told(const void *a, const void *b) {
    const struct told *x = *(const struct told *const *)a, *y = *(const struct told *const *)b;
    if (x->event_time_us != y->event_time_us) {
        return x->event_time_us < y->event_time_us ? -1 : 1;
    }
    return x->recorded_at_us < y->recorded_at_us ? -1 : x->recorded_at_us > y->recorded_at_us;
}

static void expect(struct expected *e, const char *topic, const char *node, const char *trace, int64_t from, int64_t to, int64_t known_by,
                   bool desc) {
    e->count = e->at = 0;
    for (size_t i = 0; i < fx.committed; i++) {
        const struct told *t = &fx.told[i];
        if (t->disposition == DISPOSITION_STORED && (!topic || strcmp(t->topic, topic) == 0) && (!node || strcmp(t->node, node) == 0) &&
            (!trace || strcmp(t->trace, trace) == 0) && t->event_time_us >= from && t->event_time_us < to && t->recorded_at_us <= known_by) {
            e->list[e->count++] = t;
        }
    }
    qsort(e->list, e->count, sizeof(*e->list), compare_told);
    for (size_t i = 0; desc && i < e->count / 2; i++) {
        const struct told *t = e->list[i];
        e->list[i] = e->list[e->count - 1 - i];
        e->list[e->count - 1 - i] = t;
    }
}

static void check_next(void *ctx, const json_t *ev) {
    struct expected *e = ctx;
    assert_true(e->at < e->count);
    fx_check_event(ev, e->list[e->at++]);
}

static void test_search__pages_are_what_brute_force_finds(void **state) {
    (void)state;
    static struct expected e;
    const int64_t base = INT64_C(1700000000000000);
    unsigned seed = 7;
    for (int round = 0; round < 60; round++) {
        unsigned r = (unsigned)rand_r(&seed);
        const char *topic = r & 1 ? (r & 2 ? FAST : REFLEX) : NULL, *trace = r & 4 ? NULL : (r & 8 ? "t1" : NULL);
        const char *node = r & 16 ? fx_node(r % 17) : NULL;
        int64_t from = base + (int64_t)(r >> 8) % 1000 * 1000, to = from + (int64_t)(r >> 5) % 2000 * 1000;
        int64_t known_by = fx.told[r % EVENTS].recorded_at_us;
        bool desc = (r & 32) != 0;
        static const int limits[] = {1, 2, 3, 7, 50, 1000};
        int limit = limits[(r >> 12) % 6];
        expect(&e, topic, node, trace, from, to, known_by, desc);
        if (limit == 1 && e.count > 60) {
            limit = 2;
        }
        char path[1024];
        snprintf(path, sizeof(path), "/v1/events?from=%lld&to=%lld&known_by=%lld&limit=%d&order=%s%s%s%s%s%s%s", (long long)from, (long long)to,
                 (long long)known_by, limit, desc ? "desc" : "asc", topic ? "&topic=" : "", topic ? topic : "", node ? "&node=" : "",
                 node ? node : "", trace ? "&trace=" : "", trace ? trace : "");
        assert_int_equal(fx_pages(F, path, check_next, &e), e.count);
        assert_int_equal(e.at, e.count);
    }
}

static void test_history__is_newest_first_and_complete(void **state) {
    (void)state;
    static struct expected e;
    for (size_t n = 0; n < 17; n++) {
        char path[256];
        expect(&e, NULL, fx_node(n), NULL, INT64_MIN, INT64_MAX, INT64_MAX, true);
        snprintf(path, sizeof(path), "/v1/nodes/%s/history?limit=%d", fx_node(n), n % 2 ? 5 : 10000);
        assert_int_equal(fx_pages(F, path, check_next, &e), e.count);
        assert_int_equal(e.at, e.count);
        snprintf(path, sizeof(path), "/v1/nodes/%s/history?limit=4&order=asc&topic=%s", fx_node(n), REFLEX);
        expect(&e, REFLEX, fx_node(n), NULL, INT64_MIN, INT64_MAX, INT64_MAX, false);
        assert_int_equal(fx_pages(F, path, check_next, &e), e.count);
    }
    fx_problem(F, 404, "id", "/v1/nodes/rim:metric:test:unknown/history");
    fx_problem(F, 404, "id", "/v1/nodes/%s/history?known_by=1", fx_node(0));
    json_t *empty = fx_json(F, "/v1/nodes/%s/history?from=2040-01-01", fx_node(0)); /* known, and nothing in the range */
    assert_int_equal(json_array_size(json_object_get(empty, "events")), 0);
    json_decref(empty);
}

static void test_nodes__come_in_byte_order_once_each(void **state) {
    (void)state;
    char next[2048] = "";
    size_t seen = 0;
    do {
        json_t *page = fx_json(F, "/v1/nodes?prefix=rim:metric:test:&limit=4%s%s", next[0] ? "&cursor=" : "", next), *node;
        size_t i;
        json_array_foreach(json_object_get(page, "nodes"), i, node) {
            assert_string_equal(fx_str(node, "rim_node_id"), fx_node(seen++));
        }
        snprintf(next, sizeof(next), "%s", fx_str(page, "next") ? fx_str(page, "next") : "");
        json_decref(page);
    } while (next[0]);
    assert_int_equal(seen, 17);
    json_t *none = fx_json(F, "/v1/nodes?prefix=rim:actor:");
    assert_int_equal(json_array_size(json_object_get(none, "nodes")), 0);
    json_decref(none);
}

/* ---- while data arrives ---- */

static atomic_bool stop_writing;

static void *write_on(void *arg) {
    (void)arg;
    for (int i = 0; !atomic_load(&stop_writing) && i < 400; i++) {
        for (int k = 0; k < 3; k++) { /* all over the range that is being read */
            fx_put(F, FAST, 5, fx_node((size_t)k), NULL, INT64_C(1700000000000000) + (i * 37 + k) % 2000 * 1000, 1, NULL, NULL);
        }
        fx_commit(F);
    }
    return NULL;
}

struct gathered {
    char *ids;
    size_t count, capacity;
};

static void gather(void *ctx, const json_t *ev) {
    struct gathered *g = ctx;
    if (g->count == g->capacity) {
        g->capacity = g->capacity * 2 + 1024;
        g->ids = realloc(g->ids, g->capacity * 64);
        assert_non_null(g->ids);
    }
    snprintf(g->ids + 64 * g->count++, 64, "%s/%lld", fx_str(ev, "event_id"), (long long)json_integer_value(json_object_get(ev, "revision")));
}

static void test_pages__are_exact_while_a_writer_commits(void **state) {
    (void)state;
    pthread_t writer;
    atomic_store(&stop_writing, false);
    assert_int_equal(pthread_create(&writer, NULL, write_on, NULL), 0);
    for (int round = 0; round < 6; round++) {
        struct gathered paged = {0}, whole = {0};
        char path[256];
        json_t *first = fx_json(F, "/v1/events?limit=1");
        long long through = (long long)fx_time(first, "recorded_through");
        json_decref(first);
        /* Pages that fix their own known_by, then the same asked at once with the known_by they said. */
        snprintf(path, sizeof(path), "/v1/events?limit=%d&order=%s", round % 2 ? 23 : 101, round % 3 ? "asc" : "desc");
        fx_pages(F, path, gather, &paged);
        int64_t fixed = 0;
        assert_int_equal(bf_time_parse(bf_http_client_answer_header(fx.client, "Capsule-Recorded-Through"), &fixed, &fx.err), BF_OK);
        assert_true(fixed >= through);
        snprintf(path, sizeof(path), "/v1/events?limit=10000&order=%s&known_by=%lld", round % 3 ? "asc" : "desc", (long long)fixed);
        fx_pages(F, path, gather, &whole);
        assert_int_equal(paged.count, whole.count);
        for (size_t i = 0; i < whole.count; i++) {
            assert_string_equal(paged.ids + 64 * i, whole.ids + 64 * i);
        }
        free(paged.ids);
        free(whole.ids);
    }
    atomic_store(&stop_writing, true);
    pthread_join(writer, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search__pages_are_what_brute_force_finds),
        cmocka_unit_test(test_history__is_newest_first_and_complete),
        cmocka_unit_test(test_nodes__come_in_byte_order_once_each),
        cmocka_unit_test(test_pages__are_exact_while_a_writer_commits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
