/* Closed ranges: a strong tag that holds across eviction and late data, 304, leave to keep; none of it where the answer may still change. */
#include "api_archive.h"
#include "test_pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct fx fx;
#define F (&fx)
static struct fx_archive side;
static char *conninfo;

static int setup(void **state) {
    (void)state;
    conninfo = test_pg_database();
    fx_open(F, conninfo);
    fx_archive_open(&side, F, conninfo);
    fx_fill(F, 300, 3);
    fx_archive_all(&side, F);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_archive_close(&side);
    fx_close(F);
    test_pg_drop(conninfo);
    return 0;
}

static const char *header(const char *name) {
    return bf_http_client_answer_header(fx.client, name);
}

/* GET with a header; the status. */
static int get_with(const char *line, const char *path) {
    bf_http_client_free(fx.client);
    assert_int_equal(bf_http_client_new(20000, &fx.client, &fx.err), BF_OK);
    assert_int_equal(bf_http_client_header(fx.client, line, &fx.err), BF_OK);
    return fx_get(F, "%s", path);
}

static const char *const questions[] = {
    "/v1/events?limit=50&known_by=%lld", "/v1/events?limit=51&known_by=%lld", "/v1/nodes/rim:metric:test:N001/history?known_by=%lld",
    "/v1/nodes/rim:metric:test:N001/state?known_by=%lld", "/v1/nodes/rim:metric:test:N001/state?as_of=1700000001000000&known_by=%lld",
    "/v1/state?known_by=%lld", "/v1/state?format=json&known_by=%lld", "/v1/replay?known_by=%lld", "/v1/replay?format=csv&known_by=%lld",
    "/v1/replay?format=avro&known_by=%lld", "/v1/replay?format=sse&known_by=%lld", "/v1/replay?by=recorded&known_by=%lld",
};
#define QUESTIONS (sizeof(questions) / sizeof(*questions))

struct kept {
    char path[200], tag[80];
    struct bf_buf body;
};
static struct kept kept[QUESTIONS];

static void keep_answers(void) {
    for (size_t i = 0; i < QUESTIONS; i++) {
        struct kept *k = &kept[i];
        snprintf(k->path, sizeof(k->path), questions[i], (long long)store_archived_through(fx.capsule.store));
        assert_int_equal(fx_get(F, "%s", k->path), 200);
        assert_string_equal(header("Cache-Control"), "private, max-age=31536000, immutable");
        assert_non_null(header("ETag"));
        snprintf(k->tag, sizeof(k->tag), "%s", header("ETag"));
        bf_buf_init(&k->body, 64 << 20);
        bf_buf_append(&k->body, fx.body.data, fx.body.len);
        for (size_t other = 0; other < i; other++) {
            assert_string_not_equal(k->tag, kept[other].tag);
        }
    }
}

static void check_answers(void) {
    for (size_t i = 0; i < QUESTIONS; i++) {
        const struct kept *k = &kept[i];
        char line[120];
        assert_int_equal(fx_get(F, "%s", k->path), 200);
        assert_string_equal(header("ETag"), k->tag);
        assert_int_equal(fx.body.len, k->body.len);
        assert_memory_equal(fx.body.data, k->body.data, fx.body.len);
        snprintf(line, sizeof(line), "If-None-Match: %s", k->tag);
        assert_int_equal(get_with(line, k->path), 304);
        assert_int_equal(fx.body.len, 0);
        assert_string_equal(header("ETag"), k->tag);
        assert_int_equal(get_with("If-None-Match: \"0123456789abcdef0123456789abcdef\"", k->path), 200);
    }
}

static void test_closed_range__keeps_its_tag_and_bytes(void **state) {
    (void)state;
    keep_answers();
    check_answers();
    fx_put(F, FAST, 0, "rim:metric:test:N001", NULL, INT64_C(1700000000000001), 5, NULL, NULL); /* late data */
    fx_commit(F);
    fx_archive_all(&side, F);
    check_answers();
    fx_archive_evict(F, store_archived_through(fx.capsule.store));
    check_answers();
    for (size_t i = 0; i < QUESTIONS; i++) {
        bf_buf_fini(&kept[i].body);
    }
}

static void test_closed_range__known_by_is_a_time_however_it_is_written(void **state) {
    (void)state;
    char a[80];
    assert_int_equal(fx_get(F, "/v1/events?known_by=1700000009000000"), 200);
    snprintf(a, sizeof(a), "%s", header("ETag"));
    assert_int_equal(fx_get(F, "/v1/events?known_by=2023-11-14T22:13:29Z"), 200);
    assert_string_equal(header("ETag"), a);
    assert_int_equal(fx_get(F, "/v1/events?known_by=2023-11-14T22:13:30Z"), 200);
    assert_string_not_equal(header("ETag"), a);
}

static void test_open_range__has_no_tag_and_must_be_asked_again(void **state) {
    (void)state;
    assert_int_equal(fx_get(F, "/v1/events"), 200); /* all is archived: a tag, but what the URL means may change */
    assert_non_null(header("ETag"));
    assert_string_equal(header("Cache-Control"), "private, no-cache");
    for (size_t i = 0; i < 2; i++) { /* nothing new: neither is anybody's state */
        const char *path = i == 0 ? "/v1/state" : "/v1/nodes/rim:metric:test:N001/state";
        char line[120];
        assert_int_equal(fx_get(F, "%s", path), 200);
        snprintf(line, sizeof(line), "If-None-Match: %s", header("ETag"));
        assert_int_equal(get_with(line, path), 304);
    }
    fx_put(F, FAST, 0, "rim:metric:test:N001", NULL, INT64_C(1700000000000001), 5, NULL, NULL);
    fx_commit(F);
    for (size_t i = 0; i < QUESTIONS; i++) {
        char path[200];
        snprintf(path, sizeof(path), questions[i], (long long)store_recorded_through(fx.capsule.store));
        assert_int_equal(get_with("If-None-Match: *", path), 200);
        assert_null(header("ETag"));
        assert_string_equal(header("Cache-Control"), "private, no-cache");
    }
    fx_archive_all(&side, F);
}

static void test_closed_range__compressed_is_another_representation(void **state) {
    (void)state;
    char path[200], plain[80], line[120];
    snprintf(path, sizeof(path), "/v1/replay?known_by=%lld", (long long)store_archived_through(fx.capsule.store));
    assert_int_equal(get_with("Accept: */*", path), 200);
    snprintf(plain, sizeof(plain), "%s", header("ETag"));
    assert_int_equal(get_with("Accept-Encoding: zstd", path), 200);
    assert_string_equal(header("Content-Encoding"), "zstd");
    assert_non_null(header("Capsule-Digest"));
    assert_int_equal(strncmp(header("ETag"), plain, 33), 0);
    assert_string_equal(header("ETag") + 33, ".zstd\"");
    snprintf(line, sizeof(line), "If-None-Match: %s", header("ETag"));
    assert_int_equal(get_with(line, path), 304);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_range__keeps_its_tag_and_bytes),
        cmocka_unit_test(test_closed_range__known_by_is_a_time_however_it_is_written),
        cmocka_unit_test(test_open_range__has_no_tag_and_must_be_asked_again),
        cmocka_unit_test(test_closed_range__compressed_is_another_representation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
