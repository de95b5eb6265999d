/* The commands against a server that is made to misbehave: cut streams, wrong digests, holes in the ledger, refusals. */
#include "replay_stream.h"

#include "bf_http.h"
#include "bf_json.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { EVENTS = 100 };

/* What the next answers are like; set by each test before it asks. */
static struct {
    int cut_after;      /* events in one answer before the connection is cut, in the middle of a line; 0: not cut */
    int cuts;           /* so many answers are cut */
    bool wrong_digest, wrong_count, hole, miscounted;
    int stored, replayed;
} world;

static struct bf_http *server;
static char base_url[64];

/* ---- the replay ---- */

struct stream {
    struct bf_buf text;
    size_t sent;
    bool cut;
    int count;
    char digest[72];
};

static void add_line(struct bf_buf *out, int i) {
    bf_buf_printf(out, "{\"event_id\":\"%d\",\"cursor\":\"c%d\"}\n", i, i);
}

static void digest_of(const char *data, size_t len, char dst[72]) {
    unsigned char sum[32];
    EVP_Digest(data, len, sum, NULL, EVP_sha256(), NULL);
    memcpy(dst, "sha256:", 8);
    for (int i = 0; i < 32; i++)
        snprintf(dst + 7 + 2 * i, 3, "%02x", sum[i]);
}

static ssize_t stream_read(void *ctx, char *dst, size_t max) {
    struct stream *st = ctx;
    size_t n = st->text.len - st->sent < max ? st->text.len - st->sent : max;
    if (n == 0)
        return st->cut ? -1 : 0;
    memcpy(dst, st->text.data + st->sent, n);
    st->sent += n;
    return (ssize_t)n;
}

static void stream_close(void *ctx) {
    struct stream *st = ctx;
    bf_buf_fini(&st->text);
    free(st);
}

static void stream_trailers(void *ctx, bf_http_put_trailer *put, void *to) {
    const struct stream *st = ctx;
    char count[24];
    snprintf(count, sizeof count, "%d", st->count);
    put(to, "Capsule-Count", count);
    put(to, "Capsule-Digest", st->digest);
    put(to, "Capsule-Complete", "true");
}

static void on_replay(struct bf_http_request *req, void *ctx) {
    struct stream *st = calloc(1, sizeof *st);
    const char *cursor = bf_http_query(req, "cursor");
    int first = cursor != NULL ? atoi(cursor + 1) + 1 : 0, last = world.replayed;
    char *digest = st->digest;
    (void)ctx;
    bf_buf_init(&st->text, 1 << 20);
    st->cut = world.cuts > 0;
    if (st->cut && last > first + world.cut_after)
        last = first + world.cut_after;
    for (int i = first; i < last; i++)
        add_line(&st->text, i);
    digest_of(st->text.data, st->text.len, digest);
    if (st->cut) {
        world.cuts--;
        bf_buf_puts(&st->text, "{\"event_id\":\"half a li");
    } else {
        if (world.wrong_digest)
            digest[10] = digest[10] == '0' ? '1' : '0';
        bf_buf_printf(&st->text, "{\"end\":true,\"count\":%d,\"digest\":\"%s\",\"next\":\"c%d\",\"recorded_through\":\"2024-01-01T00:00:00.000000Z\","
                                 "\"complete\":true}\n",
                      st->count = last - first + world.wrong_count, digest, last - 1);
    }
    bf_http_reply_stream(req, 200, "application/x-ndjson", (struct bf_http_stream){.read = stream_read, .close = stream_close, .ctx = st, .trailers = stream_trailers});
}

/* ---- the ledger ---- */

static void reply(struct bf_http_request *req, const char *json) {
    bf_http_reply(req, 200, "application/json", json, strlen(json));
}

static void on_coverage(struct bf_http_request *req, void *ctx) {
    char json[1024];
    (void)ctx;
    snprintf(json, sizeof json,
             "{\"coverage\":[{\"topic\":\"a.b\",\"partition\":0,\"first_offset\":5,\"next_offset\":%d,\"intervals\":[{\"from\":5,\"to\":15,"
             "\"disposition\":\"duplicate\"},{\"from\":%d,\"to\":%d,\"disposition\":\"stored\"}],\"totals\":{\"stored\":%d,\"duplicate\":10,"
             "\"quarantined\":0,\"control\":0,\"lost-before-read\":0},\"holes\":[],\"complete\":true}],\"complete\":true,"
             "\"recorded_through\":\"2024-01-01T00:00:00.000000Z\"}",
             15 + world.stored, world.hole ? 16 : 15, 15 + world.stored, world.hole ? world.stored - 1 : world.stored);
    reply(req, json);
}

static void on_topics(struct bf_http_request *req, void *ctx) {
    char json[256];
    (void)ctx;
    snprintf(json, sizeof json, "{\"topics\":[{\"topic\":\"a.b\",\"events\":%d}],\"recorded_through\":\"2024-01-01T00:00:00.000000Z\"}",
             world.stored + world.miscounted);
    reply(req, json);
}

static void on_status(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    reply(req, "{\"recorded_through\":\"2024-01-01T00:00:00.000000Z\",\"ready\":true,\"reasons\":[],\"dependencies\":{\"kafka\":\"up\"},"
               "\"counts\":{\"lost-before-read\":0},\"instances\":[]}");
}

static void on_event(struct bf_http_request *req, void *ctx) {
    const char *id = bf_http_path(req, "id");
    (void)ctx;
    if (strcmp(id, "bad") == 0)
        bf_http_problem(req, 400, "topic", "is no topic\x1b[2J");
    else if (strcmp(id, "busy") == 0)
        bf_http_problem(req, 503, NULL, "the archive is away");
    else
        bf_http_problem(req, 404, NULL, "there is no event %s", id);
}

static const struct bf_http_route routes[] = {
    {"GET", "/v1/replay", on_replay, NULL, 0},  {"GET", "/v1/coverage", on_coverage, NULL, 0}, {"GET", "/v1/topics", on_topics, NULL, 0},
    {"GET", "/v1/status", on_status, NULL, 0},  {"GET", "/v1/events/{id}", on_event, NULL, 0}, {NULL, NULL, NULL, NULL, 0},
};

/* ---- asking ---- */

static int run_command(int (*command)(const struct cli_command *, int, char **), const char *name, const char *arg, const char *arg2) {
    const struct cli_command cmd = {name, "", command};
    char *argv[] = {(char *)"butterfly", (char *)"--url", base_url, (char *)(uintptr_t)arg, (char *)(uintptr_t)arg2, NULL};
    int argc = 3 + (arg != NULL) + (arg2 != NULL), quiet = dup(1), sink = open("/dev/null", O_WRONLY);
    fflush(stdout);
    dup2(sink, 1);
    int exit_code = command(&cmd, argc, argv);
    fflush(stdout);
    dup2(quiet, 1);
    close(quiet);
    close(sink);
    return exit_code;
}

/* The whole of a replay as text; the result is the caller's to fini. */
static int replay_text(struct replay_result *result, char **text, int resumes_max) {
    struct cli_client c;
    struct cli_options o = {.url = base_url, .timeout_ms = 20000};
    size_t len = 0;
    assert_int_equal(cli_client_open(&c, &o), BF_EXIT_OK);
    FILE *f = open_memstream(text, &len);
    struct replay_request request = {.path = "/v1/replay", .resumes_max = resumes_max, .quiet = true, .out = f};
    int exit_code = replay_run(&c, &request, result);
    fclose(f);
    cli_client_close(&c);
    return exit_code;
}

static void expect_whole(const char *text, const struct replay_result *result) {
    struct bf_buf want;
    char digest[72];
    bf_buf_init(&want, 1 << 20);
    for (int i = 0; i < EVENTS; i++)
        add_line(&want, i);
    digest_of(want.data, want.len, digest);
    bf_buf_putc(&want, '\0');
    assert_string_equal(text, want.data);
    assert_int_equal(result->count, EVENTS);
    assert_true(result->complete);
    assert_string_equal(result->digest, digest);
    bf_buf_fini(&want);
}

static void test_replay__whole_and_checked(void **state) {
    (void)state;
    struct replay_result result;
    char *text = NULL;
    assert_int_equal(replay_text(&result, &text, 0), BF_EXIT_OK);
    expect_whole(text, &result);
    assert_int_equal(result.resumed, 0);
    replay_result_fini(&result);
    free(text);
}

static void test_replay__cut_streams_are_joined_without_gap_or_repeat(void **state) {
    (void)state;
    struct replay_result result;
    struct bf_err err;
    char *text = NULL;
    json_t *trailer = NULL;
    world.cut_after = 33;
    world.cuts = 3;
    assert_int_equal(replay_text(&result, &text, 5), BF_EXIT_OK);
    expect_whole(text, &result);
    assert_int_equal(result.resumed, 3);
    /* the trailer that is handed on speaks of all of it, not of the last piece */
    assert_int_equal(bf_json_parse(result.trailer.data, result.trailer.len, &trailer, &err), BF_OK);
    assert_int_equal(cli_int(trailer, "count", 0), EVENTS);
    assert_string_equal(cli_str(trailer, "digest"), result.digest);
    json_decref(trailer);
    replay_result_fini(&result);
    free(text);
}

static void test_replay__gives_up_when_it_gets_no_further(void **state) {
    (void)state;
    struct replay_result result;
    char *text = NULL;
    world.cut_after = 0;
    world.cuts = 1000;
    assert_int_not_equal(replay_text(&result, &text, 2), BF_EXIT_OK);
    assert_false(result.complete);
    assert_int_equal(world.cuts, 1000 - 3);
    assert_string_equal(text, "");
    replay_result_fini(&result);
    free(text);
}

static void test_replay__a_wrong_digest_is_not_complete(void **state) {
    (void)state;
    world.wrong_digest = true;
    assert_int_equal(run_command(cli_replay, "replay", NULL, NULL), BF_EXIT_FAILED);
}

static void test_replay__a_wrong_count_is_not_complete(void **state) {
    (void)state;
    world.wrong_count = true;
    assert_int_equal(run_command(cli_replay, "replay", NULL, NULL), BF_EXIT_FAILED);
}

static void test_replay__a_file_appears_only_when_complete(void **state) {
    (void)state;
    char dir[] = "/tmp/butterfly-replay.XXXXXX", path[64], part[80];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/out", dir);
    snprintf(part, sizeof part, "%s.part", path);
    world.wrong_digest = true;
    assert_int_equal(run_command(cli_replay, "replay", "--output", path), BF_EXIT_FAILED);
    assert_int_not_equal(access(path, F_OK), 0);
    world.wrong_digest = false;
    assert_int_equal(run_command(cli_replay, "replay", "--output", path), BF_EXIT_OK);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(part, F_OK), 0);
    unlink(path);
    rmdir(dir);
}

static void test_verify__all_well(void **state) {
    (void)state;
    assert_int_equal(run_command(cli_verify, "verify", NULL, NULL), BF_EXIT_OK);
}

static void test_verify__a_hole_in_the_ledger_is_found(void **state) {
    (void)state;
    world.hole = true;
    world.replayed = EVENTS - 1;
    assert_int_equal(run_command(cli_verify, "verify", NULL, NULL), BF_EXIT_FAILED);
}

static void test_verify__an_event_that_is_not_replayed_is_found(void **state) {
    (void)state;
    world.replayed = EVENTS - 1;
    assert_int_equal(run_command(cli_verify, "verify", "--json", NULL), BF_EXIT_FAILED);
}

static void test_verify__topics_that_disagree_are_found(void **state) {
    (void)state;
    world.miscounted = true;
    assert_int_equal(run_command(cli_verify, "verify", NULL, NULL), BF_EXIT_FAILED);
}

static void test_problems__become_exit_codes(void **state) {
    (void)state;
    assert_int_equal(run_command(cli_event, "event", "none", NULL), BF_EXIT_FAILED);
    assert_int_equal(run_command(cli_event, "event", "bad", NULL), BF_EXIT_USAGE);
    assert_int_equal(run_command(cli_event, "event", "busy", NULL), BF_EXIT_DEPENDENCY);
    assert_int_equal(run_command(cli_event, "event", NULL, NULL), BF_EXIT_USAGE);
    assert_int_equal(run_command(cli_status, "status", NULL, NULL), BF_EXIT_OK);
}

static int fresh(void **state) {
    (void)state;
    memset(&world, 0, sizeof world);
    world.stored = world.replayed = EVENTS;
    return 0;
}

static int start_server(void **state) {
    struct bf_err err;
    const struct bf_http_settings settings = {.host = "127.0.0.1"};
    (void)state;
    if (bf_http_start(&settings, routes, NULL, &server, &err) != BF_OK)
        return -1;
    snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d/", bf_http_port(server));
    return 0;
}

static int stop_server(void **state) {
    (void)state;
    bf_http_stop(server);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_replay__whole_and_checked, fresh),
        cmocka_unit_test_setup(test_replay__cut_streams_are_joined_without_gap_or_repeat, fresh),
        cmocka_unit_test_setup(test_replay__gives_up_when_it_gets_no_further, fresh),
        cmocka_unit_test_setup(test_replay__a_wrong_digest_is_not_complete, fresh),
        cmocka_unit_test_setup(test_replay__a_wrong_count_is_not_complete, fresh),
        cmocka_unit_test_setup(test_replay__a_file_appears_only_when_complete, fresh),
        cmocka_unit_test_setup(test_verify__all_well, fresh),
        cmocka_unit_test_setup(test_verify__a_hole_in_the_ledger_is_found, fresh),
        cmocka_unit_test_setup(test_verify__an_event_that_is_not_replayed_is_found, fresh),
        cmocka_unit_test_setup(test_verify__topics_that_disagree_are_found, fresh),
        cmocka_unit_test_setup(test_problems__become_exit_codes, fresh),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
