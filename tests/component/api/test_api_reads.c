/* Every read of history is recorded: before its first byte, once, whatever dies. Real PostgreSQL, a real log. */
#include "api_archive.h"
#include "bf_token.h"
#include "reads.h"
#include "test_pg.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct fx fx;
#define F (&fx)
#define AWAY "host=127.0.0.1 port=1 dbname=none connect_timeout=1"

static struct fx_archive side;
static char *conninfo;
static char dir[64], tokens[96], token[BF_TOKEN_TEXT_LEN + 1];

static void open_reads(const char *to, int64_t bytes_max, struct reads **out) {
    char path[128];
    snprintf(path, sizeof(path), "%s/reads", dir);
    const struct reads_settings settings = {.dir = path, .bytes_max = bytes_max, .instance = hot_instance_id(fx.capsule.hot),
                                            .archive = {.conninfo = to, .application = "test reads", .topics = fx.topics,
                                                        .connect_timeout_ms = 2000, .statement_timeout_ms = 10000}};
    if (reads_open(&settings, out, &fx.err) != BF_OK) {
        fail_msg("%s", fx.err.msg);
    }
}

static int setup(void **state) {
    struct bf_buf line;
    (void)state;
    strcpy(dir, "/tmp/bf-api-reads-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(tokens, sizeof(tokens), "%s/tokens", dir);
    bf_buf_init(&line, 4096);
    assert_int_equal(bf_token_new("jane", "read,audit,replay", NULL, NULL, token, &line, &fx.err), BF_OK);
    FILE *f = fopen(tokens, "w");
    fprintf(f, "%s\n", line.data);
    fclose(f);
    bf_buf_fini(&line);
    assert_int_equal(chmod(tokens, 0600), 0);
    conninfo = test_pg_database();
    fx_open_guarded(F, conninfo, tokens);
    fx_archive_open(&side, F, conninfo);
    char header[128];
    snprintf(header, sizeof(header), "Authorization: Bearer %s", token);
    assert_int_equal(bf_http_client_header(fx.client, header, &fx.err), BF_OK);
    fx_fill(F, 3000, 5);
    open_reads(conninfo, 64 << 20, &fx.capsule.reads);
    return 0;
}

static int teardown(void **state) {
    char command[128];
    (void)state;
    reads_close(fx.capsule.reads, 1000);
    fx.capsule.reads = NULL;
    fx_archive_close(&side);
    fx_close(F);
    test_pg_drop(conninfo);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static void sha_of(const char *data, size_t len, char dst[72]) {
    unsigned char sum[32];
    EVP_Digest(data, len, sum, NULL, EVP_sha256(), NULL);
    strcpy(dst, "sha256:");
    for (int i = 0; i < 32; i++) {
        snprintf(dst + 7 + 2 * i, 3, "%02x", sum[i]);
    }
}

/* The newest read whose question is this; the caller decrefs. Follows the pages. */
static json_t *read_of(const char *question) {
    char next[1100] = "";
    json_t *found = NULL;
    do {
        json_t *page = next[0] ? fx_json(F, "/v1/reads?limit=7&cursor=%s", next) : fx_json(F, "/v1/reads?limit=7"), *read;
        size_t i;
        json_array_foreach(json_object_get(page, "reads"), i, read) {
            if (strcmp(fx_str(read, "question"), question) == 0) {
                json_decref(found);
                found = json_incref(read);
            }
        }
        snprintf(next, sizeof(next), "%s", fx_str(page, "next") ? fx_str(page, "next") : "");
        json_decref(page);
    } while (next[0]);
    return found;
}

static json_int_t number(const json_t *obj, const char *key) {
    return json_integer_value(json_object_get(obj, key));
}

static void test_reads__say_who_what_rows_and_digest(void **state) {
    (void)state;
    static const struct {
        const char *path, *route;
    } cases[] = {{"/v1/events?limit=17", "/v1/events"},
                 {"/v1/nodes/rim:metric:test:N003/history?limit=5", "/v1/nodes/{id}/history"},
                 {"/v1/nodes/rim:metric:test:N003/state", "/v1/nodes/{id}/state"},
                 {"/v1/nodes?limit=3", "/v1/nodes"}};
    static const json_int_t rows[] = {17, 5, 2, 3};
    for (size_t i = 0; i < 4; i++) {
        char digest[72];
        assert_int_equal(fx_get(F, "%s", cases[i].path), 200);
        sha_of(fx.body.data, fx.body.len, digest);
        size_t bytes = fx.body.len;
        json_t *read = read_of(cases[i].path);
        assert_non_null(read);
        assert_string_equal(fx_str(read, "who"), "jane");
        assert_string_equal(fx_str(read, "peer"), "127.0.0.1");
        assert_string_equal(fx_str(read, "method"), "GET");
        assert_string_equal(fx_str(read, "route"), cases[i].route);
        assert_string_equal(fx_str(read, "digest"), digest);
        assert_string_equal(fx_str(read, "instance"), fx.capsule.instance);
        assert_int_equal(number(read, "status"), 200);
        assert_int_equal(number(read, "rows"), rows[i]);
        assert_int_equal(number(read, "bytes"), bytes);
        assert_true(json_is_true(json_object_get(read, "complete")));
        json_decref(read);
    }
}

static void test_reads__of_a_stream_have_its_trailers_digest(void **state) {
    (void)state;
    assert_int_equal(fx_get(F, "/v1/replay?topic=" FAST), 200);
    char *trailer = strstr(fx.body.data, "{\"end\":true");
    json_t *end = NULL;
    assert_int_equal(bf_json_parse(trailer, strlen(trailer), &end, &fx.err), BF_OK);
    size_t bytes = fx.body.len;
    json_t *read = read_of("/v1/replay?topic=" FAST);
    assert_non_null(read);
    assert_string_equal(fx_str(read, "digest"), fx_str(end, "digest"));
    assert_int_equal(number(read, "rows"), number(end, "count"));
    assert_int_equal(number(read, "bytes"), bytes);
    assert_true(json_is_true(json_object_get(read, "complete")));
    assert_true(fx_time(read, "ended_at") >= fx_time(read, "read_at"));
    json_decref(read);
    json_decref(end);
}

static bool stop_at_once(void *ctx, const char *data, size_t len) {
    (void)ctx;
    (void)data;
    (void)len;
    return false;
}

static void test_reads__of_a_cut_stream_say_so(void **state) {
    (void)state;
    struct bf_http_client *mine = NULL;
    char url[128], header[128];
    int status = 0;
    snprintf(header, sizeof(header), "Authorization: Bearer %s", token);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/v1/replay?by=recorded", api_port(fx.api));
    assert_int_equal(bf_http_client_new(5000, &mine, &fx.err), BF_OK);
    assert_int_equal(bf_http_client_header(mine, header, &fx.err), BF_OK);
    assert_int_equal(bf_http_get_stream(mine, url, &status, &fx.body, stop_at_once, NULL, &fx.err), BF_CANCELLED);
    bf_http_client_free(mine);
    json_t *read = NULL;
    for (int i = 0; i < 500 && (!read || !json_object_get(read, "complete")); i++) { /* the server notices with its next write */
        json_decref(read);
        read = read_of("/v1/replay?by=recorded");
        usleep(10000);
    }
    assert_non_null(read);
    assert_true(json_is_false(json_object_get(read, "complete")) || number(read, "rows") < 3000);
    json_decref(read);
}

static void test_reads__of_what_is_no_history_or_was_refused_are_not_recorded(void **state) {
    (void)state;
    static const char *const paths[] = {"/v1/status?", "/v1/topics", "/v1/events/nobody", "/v1/events?limit=0", "/v1/lag", "/livez"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        fx_get(F, "%s", paths[i]);
        assert_null(read_of(paths[i]));
    }
    json_t *read = read_of("/v1/reads?limit=7"); /* asking who read what is a read, too */
    assert_non_null(read);
    json_decref(read);
}

static void test_reads__are_seen_by_auditors_and_not_by_readers(void **state) {
    (void)state;
    assert_string_equal(test_pg_state(conninfo, "set role capsule_auditor; select * from capsule.reads limit 1"), "");
    assert_string_equal(test_pg_state(conninfo, "set role capsule_reader; select * from capsule.reads limit 1"), "42501");
    assert_string_equal(test_pg_state(conninfo, "set role capsule_writer; delete from capsule.read_begins"), "42501");
    assert_string_equal(test_pg_state(conninfo, "set role capsule_writer; update capsule.read_ends set complete = true"), "42501");
    assert_true(test_pg_number(conninfo, "select count(*) from capsule.reads where who = 'jane' and complete") > 5);
}

static void test_log__that_is_full_refuses_reads_and_nothing_else(void **state) {
    (void)state;
    struct reads *usual = fx.capsule.reads;
    struct archive_read read = {.peer = bf_slice_str("p"), .method = bf_slice_str("GET"), .route = bf_slice_str("r"), .question = bf_slice_str("q")};
    int recorded = 0;
    reads_close(usual, 1000);
    open_reads(AWAY, 60000, &fx.capsule.reads);
    while (reads_record(fx.capsule.reads, &read, &fx.err) == BF_OK) {
        recorded++;
    }
    assert_true(recorded > 10);
    fx_problem(F, 503, NULL, "/v1/events");
    assert_non_null(bf_http_client_answer_header(fx.client, "Retry-After"));
    fx_problem(F, 503, NULL, "/v1/replay");
    assert_int_equal(fx_get(F, "/v1/status"), 200);
    fx_problem(F, 503, NULL, "/v1/reads");
    reads_close(fx.capsule.reads, 0);
    open_reads(conninfo, 64 << 20, &fx.capsule.reads); /* the archive is back: what waited goes there */
    assert_int_equal(reads_flush(fx.capsule.reads, 5000, &fx.err), BF_OK);
    assert_int_equal(fx_get(F, "/v1/events"), 200);
    assert_int_equal(test_pg_number(conninfo, "select count(*) from capsule.reads where question = 'q'"), recorded);
}

/* In a process of its own that ends in the middle, as kill -9 would: what was recorded is there, once. */
static void test_log__survives_the_process(void **state) {
    (void)state;
    int pipe_fds[2];
    int64_t ids[2000], told = 0, last = 0;
    reads_close(fx.capsule.reads, 1000);
    fx.capsule.reads = NULL;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        struct reads *r = NULL;
        char question[600];
        memset(question, 'x', sizeof(question));
        open_reads(AWAY, 64 << 20, &r);
        for (int i = 0; i < 2000; i++) {
            struct archive_read read = {.peer = bf_slice_str("p"), .method = bf_slice_str("GET"), .route = bf_slice_str("killed"),
                                        .question = {question, (size_t)(i % 600)}, .rows = i, .finished = true};
            if (reads_record(r, &read, &fx.err) != BF_OK || write(pipe_fds[1], &read.id, sizeof(read.id)) != sizeof(read.id)) {
                _exit(1);
            }
        }
        _exit(0);
    }
    close(pipe_fds[1]);
    while (read(pipe_fds[0], &ids[told], sizeof(ids[0])) == sizeof(ids[0])) {
        assert_true(ids[told] > last);
        last = ids[told++];
    }
    close(pipe_fds[0]);
    int status = 0;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    for (int round = 0; round < 2; round++) { /* a second start ships nothing again */
        struct archive_read read = {.peer = bf_slice_str("p"), .method = bf_slice_str("GET"), .route = bf_slice_str("after"),
                                    .question = bf_slice_str("q2"), .finished = true};
        open_reads(conninfo, 64 << 20, &fx.capsule.reads);
        assert_int_equal(reads_record(fx.capsule.reads, &read, &fx.err), BF_OK);
        assert_true(read.id > last);
        assert_int_equal(reads_flush(fx.capsule.reads, 10000, &fx.err), BF_OK);
        assert_int_equal(test_pg_number(conninfo, "select count(*) from capsule.reads where route = 'killed'"), told);
        assert_int_equal(test_pg_number(conninfo, "select count(distinct read_id) from capsule.reads where route = 'killed'"), told);
        assert_int_equal(test_pg_number(conninfo, "select sum(row_count) from capsule.reads where route = 'killed'"), told * (told - 1) / 2);
        if (round == 0) {
            reads_close(fx.capsule.reads, 1000);
        }
    }
}

static void test_log__of_many_segments_is_shipped_and_dropped(void **state) {
    (void)state;
    char question[8000];
    int count = 5000; /* 40 MB, three segments */
    memset(question, 'y', sizeof(question));
    for (int i = 0; i < count; i++) {
        struct archive_read read = {.peer = bf_slice_str("p"), .method = bf_slice_str("GET"), .route = bf_slice_str("many"),
                                    .question = {question, sizeof(question)}, .finished = true};
        assert_int_equal(reads_record(fx.capsule.reads, &read, &fx.err), BF_OK);
    }
    assert_int_equal(reads_flush(fx.capsule.reads, 60000, &fx.err), BF_OK);
    assert_int_equal(test_pg_number(conninfo, "select count(*) from capsule.reads where route = 'many'"), count);
    assert_int_equal(reads_waiting_bytes(fx.capsule.reads), 0);
    char command[128];
    snprintf(command, sizeof(command), "test $(ls %s/reads | wc -l) -le 1", dir);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads__say_who_what_rows_and_digest),
        cmocka_unit_test(test_reads__of_a_stream_have_its_trailers_digest),
        cmocka_unit_test(test_reads__of_a_cut_stream_say_so),
        cmocka_unit_test(test_reads__of_what_is_no_history_or_was_refused_are_not_recorded),
        cmocka_unit_test(test_reads__are_seen_by_auditors_and_not_by_readers),
        cmocka_unit_test(test_log__that_is_full_refuses_reads_and_nothing_else),
        cmocka_unit_test(test_log__survives_the_process),
        cmocka_unit_test(test_log__of_many_segments_is_shipped_and_dropped),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
