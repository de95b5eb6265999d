/* Content codings, entity tags and trailers of the HTTP server. */
#include "check.h"

#include "bf_http.h"
#include "bf_http_client.h"
#include "bf_http_internal.h"
#include "bf_time.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>
#include <zstd.h>

static int loops; /* 0: a thread per connection; else from the command line */

#define BODY_BYTES 300000

static char body[BODY_BYTES];
static struct bf_http *server;
static struct bf_http_client *client;
static struct bf_buf answer;
static int status;

static void on_whole(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    size_t bytes = (size_t)atol(bf_http_query(req, "bytes"));
    const char *type = bf_http_query(req, "type");
    if (bf_http_query(req, "tag") && bf_http_etag(req, bf_http_query(req, "tag"))) {
        return;
    }
    if (bf_http_query(req, "take")) {
        struct bf_buf copy;
        bf_buf_init(&copy, BODY_BYTES);
        bf_buf_append(&copy, body, bytes);
        bf_http_reply_take(req, 200, type ? type : "application/json", &copy);
    } else {
        bf_http_reply(req, 200, type ? type : "application/json", body, bytes);
    }
}

struct source {
    size_t at;
    size_t piece;
    bool wait; /* for ever, once at `piece`, until the server stops */
    struct bf_http *server;
};

static ssize_t source_read(void *ctx, char *dst, size_t max) {
    struct source *s = ctx;
    while (s->wait && s->at >= s->piece) {
        if (bf_http_stopping(s->server)) {
            return 0;
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    size_t n = BODY_BYTES - s->at < s->piece ? BODY_BYTES - s->at : s->piece;
    n = n < max ? n : max;
    memcpy(dst, body + s->at, n);
    s->at += n;
    return (ssize_t)n;
}

static void source_trailers(void *ctx, bf_http_put_trailer *put, void *to) {
    struct source *s = ctx;
    char text[24];
    snprintf(text, sizeof text, "%zu", s->at);
    put(to, "X-Bytes", text);
    put(to, "X-Bad", "line\nbreak");
}

static void on_stream(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    struct source *s = calloc(1, sizeof *s);
    s->piece = (size_t)atol(bf_http_query(req, "piece"));
    s->wait = bf_http_query(req, "wait") != NULL;
    s->server = bf_http_server(req);
    bf_http_add_header(req, "Trailer", "X-Bytes");
    bf_http_reply_stream(req, 200, "text/csv; charset=utf-8",
                         (struct bf_http_stream){.read = source_read, .close = free, .ctx = s, .trailers = source_trailers});
}

static const char *const whole_params[] = {"bytes", "type", "tag", "take", NULL}, *const stream_params[] = {"piece", "wait", NULL};
static const struct bf_http_route routes[] = {{"GET", "/whole", on_whole, whole_params, 0}, {"GET", "/stream", on_stream, stream_params, 0}, {0}};

static int setup(void **state) {
    (void)state;
    struct bf_err err;
    for (size_t i = 0; i < BODY_BYTES; i++) {
        body[i] = (char)('a' + (i / 7 + i * i / 1000) % 26);
    }
    bf_buf_init(&answer, 1 << 20);
    assert_int_equal(bf_http_start(&(struct bf_http_settings){.loops = loops}, routes, NULL, &server, &err), BF_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    bf_http_stop(server);
    bf_buf_fini(&answer);
    return 0;
}

/* GET with up to two request headers. */
static const char *get(const char *target, const char *header, const char *other) {
    struct bf_err err;
    char url[200];
    bf_http_client_free(client);
    assert_int_equal(bf_http_client_new(5000, &client, &err), BF_OK);
    assert_true(!header || bf_http_client_header(client, header, &err) == BF_OK);
    assert_true(!other || bf_http_client_header(client, other, &err) == BF_OK);
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", bf_http_port(server), target);
    assert_int_equal(bf_http_call(client, "GET", url, NULL, BF_SLICE_NONE, &status, &answer, &err), BF_OK);
    return bf_http_client_answer_header(client, "Content-Encoding");
}

static void check_gzip(const void *data, size_t len, size_t bytes) {
    static char out[BODY_BYTES + 1];
    z_stream z = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)len, .next_out = (Bytef *)out, .avail_out = sizeof out};
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, bytes);
    assert_memory_equal(out, body, bytes);
    inflateEnd(&z);
}

static void check_zstd(const void *data, size_t len, size_t bytes) {
    static char out[BODY_BYTES + 1];
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    ZSTD_inBuffer from = {data, len, 0};
    ZSTD_outBuffer to = {out, sizeof out, 0};
    while (from.pos < from.size) {
        assert_false(ZSTD_isError(ZSTD_decompressStream(ctx, &to, &from)));
    }
    assert_int_equal(to.pos, bytes);
    assert_memory_equal(out, body, bytes);
    ZSTD_freeDCtx(ctx);
}

static void test_coding__is_the_one_the_client_likes_best(void **state) {
    (void)state;
    static const struct {
        const char *accept;
        enum bf_coding coding;
    } cases[] = {
        {NULL, BF_CODING_IDENTITY},
        {"", BF_CODING_IDENTITY},
        {"identity", BF_CODING_IDENTITY},
        {"br, deflate", BF_CODING_IDENTITY},
        {"gzip", BF_CODING_GZIP},
        {"GZip", BF_CODING_GZIP},
        {"gzip, deflate, br, zstd", BF_CODING_ZSTD},
        {"gzip;q=1.0, zstd;q=0.5", BF_CODING_GZIP},
        {"gzip; q=0.2 ,zstd; q=0.3", BF_CODING_ZSTD},
        {"gzip;q=0", BF_CODING_IDENTITY},
        {"*", BF_CODING_ZSTD},
        {"zstd;q=0, *", BF_CODING_GZIP},
        {"*;q=0", BF_CODING_IDENTITY},
        {"gzipped", BF_CODING_IDENTITY},
        {",,;q=1,", BF_CODING_IDENTITY},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (bf_http_accepted_coding(cases[i].accept) != cases[i].coding) {
            fail_msg("%s", cases[i].accept);
        }
    }
}

static void test_answer__is_compressed_when_it_is_text_of_some_length(void **state) {
    (void)state;
    for (int take = 0; take < 2; take++) {
        const char *long_one = take ? "/whole?bytes=200000&take=1" : "/whole?bytes=200000";
        assert_string_equal(get(long_one, "Accept-Encoding: gzip", NULL), "gzip");
        assert_true(answer.len < 150000);
        check_gzip(answer.data, answer.len, 200000);
        assert_string_equal(get(long_one, "Accept-Encoding: gzip, zstd", NULL), "zstd");
        check_zstd(answer.data, answer.len, 200000);
        assert_string_equal(bf_http_client_answer_header(client, "Vary"), "Accept-Encoding");
        assert_null(get(long_one, NULL, NULL));
        assert_int_equal(answer.len, 200000);
        assert_string_equal(bf_http_client_answer_header(client, "Vary"), "Accept-Encoding");
    }
    assert_string_equal(get("/whole?bytes=2000", "Accept-Encoding: gzip", NULL), "gzip");
    check_gzip(answer.data, answer.len, 2000);
    assert_null(get("/whole?bytes=500", "Accept-Encoding: gzip", NULL));
    assert_null(get("/whole?bytes=0", "Accept-Encoding: gzip", NULL));
    assert_null(get("/whole?bytes=5000&type=application/octet-stream", "Accept-Encoding: gzip", NULL));
    assert_null(bf_http_client_answer_header(client, "Vary"));
}

static void test_stream__is_compressed_and_has_its_trailers(void **state) {
    (void)state;
    static const char *const pieces[] = {"/stream?piece=100", "/stream?piece=65536", "/stream?piece=400000"};
    for (size_t i = 0; i < COUNT(pieces); i++) {
        assert_null(get(pieces[i], NULL, NULL));
        assert_int_equal(answer.len, BODY_BYTES);
        assert_memory_equal(answer.data, body, BODY_BYTES);
        assert_string_equal(bf_http_client_answer_header(client, "X-Bytes"), "300000");
        assert_null(bf_http_client_answer_header(client, "X-Bad"));
        assert_string_equal(get(pieces[i], "Accept-Encoding: gzip", NULL), "gzip");
        check_gzip(answer.data, answer.len, BODY_BYTES);
        assert_string_equal(bf_http_client_answer_header(client, "X-Bytes"), "300000");
        assert_string_equal(get(pieces[i], "Accept-Encoding: zstd", NULL), "zstd");
        check_zstd(answer.data, answer.len, BODY_BYTES);
    }
}

/* A live stream must not wait in the compressor: what was handed over can be decoded before more comes. */
struct live {
    z_stream z;
    char out[1000];
};

static bool take_live(void *ctx, const char *data, size_t len) {
    struct live *l = ctx;
    l->z.next_in = (Bytef *)(uintptr_t)data;
    l->z.avail_in = (uInt)len;
    assert_int_equal(inflate(&l->z, Z_SYNC_FLUSH), Z_OK);
    return l->z.total_out < 333;
}

static void test_stream__that_waits_was_flushed(void **state) {
    (void)state;
    struct bf_err err;
    struct live live = {0};
    char url[100];
    live.z.next_out = (Bytef *)live.out;
    live.z.avail_out = sizeof live.out;
    assert_int_equal(inflateInit2(&live.z, 15 + 16), Z_OK);
    bf_http_client_free(client);
    assert_int_equal(bf_http_client_new(5000, &client, &err), BF_OK);
    assert_int_equal(bf_http_client_header(client, "Accept-Encoding: gzip", &err), BF_OK);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/stream?piece=333&wait=1", bf_http_port(server));
    assert_int_equal(bf_http_get_stream(client, url, &status, &answer, take_live, &live, &err), BF_CANCELLED);
    assert_int_equal(live.z.total_out, 333);
    assert_memory_equal(live.out, body, 333);
    inflateEnd(&live.z);
}

static void test_etag__names_the_coding_and_answers_304(void **state) {
    (void)state;
    static const char *const same[] = {"If-None-Match: \"abc\"", "If-None-Match: W/\"abc\"", "If-None-Match: \"x\", \"abc\"", "If-None-Match: *",
                                       "If-None-Match: \"abc.gzip\""};
    static const char *const others[] = {"If-None-Match: \"ab\"", "If-None-Match: abc", "If-None-Match: \"abc", "If-None-Match: \"abc.br\""};
    get("/whole?bytes=2000&tag=abc", NULL, NULL);
    assert_string_equal(bf_http_client_answer_header(client, "ETag"), "\"abc\"");
    get("/whole?bytes=2000&tag=abc", "Accept-Encoding: gzip", NULL);
    assert_string_equal(bf_http_client_answer_header(client, "ETag"), "\"abc.gzip\"");
    get("/whole?bytes=20&tag=abc", "Accept-Encoding: gzip", NULL);
    assert_string_equal(bf_http_client_answer_header(client, "ETag"), "\"abc\"");
    for (size_t i = 0; i < COUNT(same); i++) {
        get("/whole?bytes=2000&tag=abc", same[i], NULL);
        assert_int_equal(status, 304);
        assert_int_equal(answer.len, 0);
        assert_string_equal(bf_http_client_answer_header(client, "ETag"), strchr(same[i], '.') ? "\"abc.gzip\"" : "\"abc\"");
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        get("/whole?bytes=2000&tag=abc", others[i], NULL);
        assert_int_equal(status, 200);
        assert_int_equal(answer.len, 2000);
    }
    get("/whole?bytes=2000", "If-None-Match: \"abc\"", NULL);
    assert_int_equal(status, 200);
    assert_null(bf_http_client_answer_header(client, "ETag"));
}

int main(int argc, char **argv) {
    loops = argc > 1 ? atoi(argv[1]) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coding__is_the_one_the_client_likes_best),
        cmocka_unit_test(test_answer__is_compressed_when_it_is_text_of_some_length),
        cmocka_unit_test(test_stream__is_compressed_and_has_its_trailers),
        cmocka_unit_test(test_stream__that_waits_was_flushed),
        cmocka_unit_test(test_etag__names_the_coding_and_answers_304),
    };
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    bf_http_client_free(client);
    return failed;
}
