/* Replay: order, filters, digest, and going on after a cut at any line. */
#include "api_fixture.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EVENTS 2500 /* more than one piece */

static struct fx fx;
#define F (&fx)

static int setup(void **state) {
    (void)state;
    fx_open(F, NULL);
    fx_fill(F, EVENTS, 99);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_close(F);
    return 0;
}

/* A stream taken apart: all bytes before the trailer, where each line ends, and the trailer. */
struct stream {
    char *bytes;
    size_t len, *ends, count;
    json_t *trailer;
};

static void sha256_text(const char *data, size_t len, char dst[80]) {
    unsigned char sum[32];
    unsigned n = 0;
    assert_int_equal(EVP_Digest(data, len, sum, &n, EVP_sha256(), NULL), 1);
    strcpy(dst, "sha256:");
    for (unsigned i = 0; i < n; i++) {
        snprintf(dst + 7 + 2 * i, 3, "%02x", sum[i]);
    }
}

/* Of the last answer; checks count and digest. */
static struct stream take_apart(void) {
    struct stream s = {.bytes = strdup(fx.body.data)};
    size_t capacity = 0, start = 0;
    assert_int_equal(strlen(fx.body.data), fx.body.len);
    for (size_t i = 0; i < fx.body.len; i++) {
        if (s.bytes[i] != '\n') {
            continue;
        }
        if (strncmp(s.bytes + start, "{\"end\":true", 11) == 0) {
            assert_int_equal(i + 1, fx.body.len);
            assert_int_equal(bf_json_parse(s.bytes + start, i - start, &s.trailer, &fx.err), BF_OK);
            break;
        }
        if (s.count == capacity) {
            capacity = capacity * 2 + 256;
            s.ends = realloc(s.ends, capacity * sizeof(*s.ends));
        }
        start = i + 1;
        s.ends[s.count++] = start;
    }
    assert_non_null(s.trailer);
    s.len = start;
    char digest[80];
    sha256_text(s.bytes, s.len, digest);
    assert_string_equal(fx_str(s.trailer, "digest"), digest);
    assert_int_equal(json_integer_value(json_object_get(s.trailer, "count")), s.count);
    assert_true(json_is_true(json_object_get(s.trailer, "complete")));
    return s;
}

static void stream_free(struct stream *s) {
    free(s->bytes);
    free(s->ends);
    json_decref(s->trailer);
}

static json_t *line_at(const struct stream *s, size_t i) {
    size_t start = i > 0 ? s->ends[i - 1] : 0;
    json_t *out = NULL;
    assert_int_equal(bf_json_parse(s->bytes + start, s->ends[i] - start - 1, &out, &fx.err), BF_OK);
    return out;
}

static struct stream replay(const char *query) {
    if (fx_get(F, "/v1/replay%s", query) != 200) {
        fail_msg("%s: %s", query, fx.body.data);
    }
    assert_string_equal(bf_http_client_answer_header(fx.client, "Content-Type"), "application/x-ndjson");
    return take_apart();
}

enum by { BY_EVENT_TIME, BY_RECORDED, BY_OFFSET };
static enum by sort_by;

static int compare_told(const void *a, const void *b) {
    const struct told *x = *(const struct told *const *)a, *y = *(const struct told *const *)b;
    if (sort_by == BY_EVENT_TIME && x->event_time_us != y->event_time_us) {
        return x->event_time_us < y->event_time_us ? -1 : 1;
    }
    if (sort_by == BY_OFFSET) {
        return x->offset < y->offset ? -1 : 1;
    }
    return x->recorded_at_us < y->recorded_at_us ? -1 : 1;
}

typedef bool wanted(const struct told *t);

static void check(const char *query, wanted *fits, enum by by) {
    static const struct told *list[EVENTS * 2];
    size_t count = 0;
    for (size_t i = 0; i < fx.committed; i++) {
        if (fx.told[i].disposition == DISPOSITION_STORED && fits(&fx.told[i])) {
            list[count++] = &fx.told[i];
        }
    }
    sort_by = by;
    qsort(list, count, sizeof(*list), compare_told);
    struct stream s = replay(query);
    assert_int_equal(s.count, count);
    for (size_t i = 0; i < count; i++) {
        json_t *line = line_at(&s, i);
        fx_check_event(line, list[i]);
        assert_non_null(fx_str(line, "cursor"));
        if (i + 1 == count) {
            assert_string_equal(fx_str(line, "cursor"), fx_str(s.trailer, "next"));
        }
        json_decref(line);
    }
    stream_free(&s);
}

static int64_t range_from, range_to;
static bool any(const struct told *t) { return t != NULL; }
static bool in_time(const struct told *t) { return t->event_time_us >= range_from && t->event_time_us < range_to; }
static bool in_record(const struct told *t) { return t->recorded_at_us >= range_from && t->recorded_at_us < range_to; }
static bool reflexes(const struct told *t) { return strcmp(t->topic, REFLEX) == 0; }
static bool node_five(const struct told *t) { return strcmp(t->node, fx_node(5)) == 0; }
static bool node_tens(const struct told *t) { return strncmp(t->node, "rim:metric:test:N01", 19) == 0; }
static bool partition_one(const struct told *t) { return strcmp(t->topic, FAST) == 0 && t->partition == 1; }
static bool offsets(const struct told *t) { return partition_one(t) && t->offset >= 10 && t->offset < 200; }
static bool known(const struct told *t) { return t->recorded_at_us <= range_to; }

static void test_replay__is_every_event_in_its_order(void **state) {
    (void)state;
    char query[512];
    check("", any, BY_EVENT_TIME);
    check("?by=recorded", any, BY_RECORDED);
    check("?topic=odyssey.reflex", reflexes, BY_EVENT_TIME);
    check("?topic=odyssey.reflex&topic=rim.fast-path&format=ndjson", any, BY_EVENT_TIME);
    check("?topic=odyssey.reflex&topic=unknown.topic&by=recorded", reflexes, BY_RECORDED);
    snprintf(query, sizeof(query), "?node=%s", fx_node(5));
    check(query, node_five, BY_EVENT_TIME);
    check("?node_prefix=rim:metric:test:N01&by=recorded", node_tens, BY_RECORDED);
    check("?topic=rim.fast-path&partition=1", partition_one, BY_OFFSET);
    check("?topic=rim.fast-path&partition=1&from_offset=10&to_offset=200", offsets, BY_OFFSET);
    range_from = INT64_C(1700000000500000);
    range_to = INT64_C(1700000001500000);
    check("?from=2023-11-14T22:13:20.5Z&to=1700000001500000", in_time, BY_EVENT_TIME);
    range_from = fx.told[100].recorded_at_us;
    range_to = fx.told[1800].recorded_at_us;
    snprintf(query, sizeof(query), "?by=recorded&from=%lld&to=%lld", (long long)range_from, (long long)range_to);
    check(query, in_record, BY_RECORDED);
    snprintf(query, sizeof(query), "?known_by=%lld", (long long)range_to);
    check(query, known, BY_EVENT_TIME);
}

static void test_replay__of_nothing_has_a_trailer(void **state) {
    (void)state;
    struct stream s = replay("?topic=unknown.topic");
    assert_int_equal(s.count, 0);
    assert_true(json_is_null(json_object_get(s.trailer, "next")));
    assert_string_equal(fx_str(s.trailer, "digest"), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    stream_free(&s);
}

/* Cut after line i, go on with its cursor: the concatenation is the whole. */
static void check_cuts(const char *query, int cuts, unsigned seed) {
    struct stream whole = replay(query);
    assert_true(whole.count > 100);
    for (int k = 0; k < cuts; k++) {
        size_t i = k == 0 ? 0 : k == 1 ? whole.count - 1 : (size_t)rand_r(&seed) % whole.count;
        char resumed[2048];
        json_t *line = line_at(&whole, i);
        snprintf(resumed, sizeof(resumed), "%s%ccursor=%s", query, *query ? '&' : '?', fx_str(line, "cursor"));
        json_decref(line);
        struct stream rest = replay(resumed);
        assert_int_equal(rest.count, whole.count - i - 1);
        assert_int_equal(rest.len, whole.len - whole.ends[i]);
        assert_memory_equal(rest.bytes, whole.bytes + whole.ends[i], rest.len);
        assert_string_equal(fx_str(rest.trailer, "next"), fx_str(whole.trailer, "next"));
        char joined[80], *all = malloc(whole.len + 1);
        memcpy(all, whole.bytes, whole.ends[i]);
        memcpy(all + whole.ends[i], rest.bytes, rest.len);
        sha256_text(all, whole.len, joined);
        assert_string_equal(joined, fx_str(whole.trailer, "digest"));
        free(all);
        stream_free(&rest);
    }
    stream_free(&whole);
}

static void test_replay__goes_on_after_a_cut_at_any_line(void **state) {
    (void)state;
    check_cuts("", 12, 1);
    check_cuts("?by=recorded&topic=rim.fast-path", 12, 2);
    check_cuts("?topic=rim.fast-path&partition=1", 12, 3);
    check_cuts("?from=2023-11-14T22:13:20.5Z&node_prefix=rim:metric:test:N0", 12, 4);
}

static void test_line__depends_on_filter_and_event_alone(void **state) {
    (void)state;
    struct stream before = replay("");
    char query[128];
    snprintf(query, sizeof(query), "?known_by=%s", fx_str(before.trailer, "recorded_through"));
    fx_put(F, FAST, 0, fx_node(1), NULL, INT64_C(1699999999000000), 5, NULL, NULL); /* before all others */
    fx_commit(F);
    struct stream pinned = replay(query), after = replay("");
    assert_int_equal(pinned.len, before.len);
    assert_memory_equal(pinned.bytes, before.bytes, before.len);
    assert_string_equal(fx_str(pinned.trailer, "recorded_through"), fx_str(before.trailer, "recorded_through"));
    assert_int_equal(after.count, before.count + 1);
    assert_memory_equal(after.bytes + after.ends[0], before.bytes, before.len);
    stream_free(&before);
    stream_free(&pinned);
    stream_free(&after);
}

/* ---- while data arrives: pin with the header of the first answer ---- */

static atomic_bool stop_writing;

static void *write_on(void *arg) {
    (void)arg;
    for (int i = 0; !atomic_load(&stop_writing) && i < 300; i++) {
        fx_put(F, FAST, 5, fx_node((size_t)i % 3), NULL, INT64_C(1700000000000000) + i % 2000 * 1000, 1, NULL, NULL);
        fx_commit(F);
    }
    return NULL;
}

static void test_replay__of_a_range_is_exact_while_a_writer_commits(void **state) {
    (void)state;
    pthread_t writer;
    atomic_store(&stop_writing, false);
    assert_int_equal(pthread_create(&writer, NULL, write_on, NULL), 0);
    for (int round = 0; round < 5; round++) {
        struct stream first = replay("");
        char query[256];
        snprintf(query, sizeof(query), "?known_by=%s", bf_http_client_answer_header(fx.client, "Capsule-Recorded-Through"));
        struct stream again = replay(query);
        assert_string_equal(fx_str(first.trailer, "digest"), fx_str(again.trailer, "digest"));
        stream_free(&first);
        stream_free(&again);
    }
    atomic_store(&stop_writing, true);
    pthread_join(writer, NULL);
}

static bool stop_soon(void *ctx, const char *data, size_t len) {
    (void)data;
    size_t *left = ctx;
    *left = len < *left ? *left - len : 0;
    return *left > 0;
}

static void test_server__survives_clients_that_leave(void **state) {
    (void)state;
    char url[128];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/v1/replay", api_port(fx.api));
    for (size_t i = 1; i <= 10; i++) {
        struct bf_http_client *mine = NULL;
        size_t left = i * 5000;
        int status = 0;
        assert_int_equal(bf_http_client_new(5000, &mine, &fx.err), BF_OK);
        assert_int_equal(bf_http_get_stream(mine, url, &status, &fx.body, stop_soon, &left, &fx.err), BF_CANCELLED);
        bf_http_client_free(mine);
    }
    assert_int_equal(fx_get(F, "/livez"), 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay__is_every_event_in_its_order),
        cmocka_unit_test(test_replay__of_nothing_has_a_trailer),
        cmocka_unit_test(test_replay__goes_on_after_a_cut_at_any_line),
        cmocka_unit_test(test_line__depends_on_filter_and_event_alone),
        cmocka_unit_test(test_replay__of_a_range_is_exact_while_a_writer_commits),
        cmocka_unit_test(test_server__survives_clients_that_leave),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
