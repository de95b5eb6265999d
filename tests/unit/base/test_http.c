/* The server over real sockets: what it answers, and what it refuses to take for one request. */
#include "check.h"
#include "raw_client.h"

#include "bf_http.h"
#include "bf_http_client.h"
#include "bf_time.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static int loops; /* 0: a thread per connection; else from the command line */

static struct bf_http *server;
static int handled; /* by one connection at a time */
static struct {
    char method[16], route[64];
    int status;
} observed;

static void on_echo(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    handled++;
    struct bf_slice body = bf_http_body(req);
    bf_http_add_header(req, "X-Node", bf_http_path(req, "id"));
    bf_http_add_header(req, "X-Bad", "a\r\nInjected: yes");
    if (bf_http_query(req, "limit") != NULL) {
        bf_http_add_header(req, "X-Limit", bf_http_query(req, "limit"));
    }
    bf_http_reply(req, 200, "text/plain", body.data == NULL ? "none" : body.data, body.data == NULL ? 4 : body.len);
}

static void on_silent(struct bf_http_request *req, void *ctx) {
    (void)req;
    (void)ctx;
}

static void on_fail(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    struct bf_err err;
    const char *code = bf_http_path(req, "code");
    bf_fail(&err, (enum bf_code)(code[0] - '0'), 0, "the reason \"%s\"", code);
    bf_http_problem_err(req, &err, "code");
}

static void on_large(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    struct bf_buf body;
    bf_buf_init(&body, 4 << 20);
    assert_true(bf_buf_reserve(&body, 3 << 20));
    memset(body.data, 'z', 3 << 20);
    body.len = 3 << 20;
    bf_http_reply_take(req, 200, "text/plain", &body);
    assert_null(body.data);
}

static void on_slow(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    usleep(200000);
    bf_http_reply(req, 200, "text/plain", "late", 4);
}

static const char *const params[] = {"limit", NULL};
static const struct bf_http_route routes[] = {{"GET", "/echo/{id}", on_echo, params, 0}, {"POST", "/echo/{id}", on_echo, params, 1000},
                                              {"GET", "/silent", on_silent, params, 0},  {"GET", "/fail/{code}", on_fail, params, 0},
                                              {"GET", "/large", on_large, params, 0},    {"GET", "/slow", on_slow, params, 0},
                                              {0}};

static void observe(void *ctx, const char *method, const char *route, int status, double seconds) {
    (void)ctx;
    assert_true(seconds >= 0 && seconds < 60);
    snprintf(observed.method, sizeof observed.method, "%s", method);
    snprintf(observed.route, sizeof observed.route, "%s", route);
    observed.status = status;
}

static int start(void **state) {
    (void)state;
    struct bf_http_settings settings = {.head_timeout_ms = 700, .idle_timeout_ms = 2000, .observe = observe, .loops = loops};
    struct bf_err err;
    return bf_http_start(&settings, routes, NULL, &server, &err) == BF_OK ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    bf_http_stop(server);
    server = NULL;
    return 0;
}

static int exchange(const char *text, char *answer, size_t bytes, bool *closed) {
    return raw_exchange(bf_http_port(server), text, answer, bytes, closed);
}

static void test_http__answers_on_a_connection_that_stays(void **state) {
    (void)state;
    char answer[4096];
    int fd = raw_connect(bf_http_port(server));
    for (int i = 0; i < 3; i++) {
        const char *text = "GET /echo/a%2Fb?limit=5 HTTP/1.1\r\nHost: x\r\n\r\n";
        raw_send(fd, text, strlen(text));
        assert_int_equal(raw_read_one(fd, answer, sizeof answer), 200);
        assert_non_null(strstr(answer, "X-Node: a/b\r\n"));
        assert_non_null(strstr(answer, "X-Limit: 5\r\n"));
        assert_null(strstr(answer, "Injected"));
        assert_string_equal(strstr(answer, "\r\n\r\n") + 4, "none");
    }
    close(fd);
}

static void test_http__pipelined_requests_are_answered_in_order(void **state) {
    (void)state;
    char answer[4096];
    bool closed;
    const char *text = "GET /echo/1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo/2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                       "GET /echo/3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_int_equal(exchange(text, answer, sizeof answer, &closed), 200);
    assert_true(closed);
    const char *one = strstr(answer, "X-Node: 1"), *two = strstr(answer, "X-Node: 2"), *three = strstr(answer, "X-Node: 3");
    assert_true(one != NULL && two > one && three > two);
    assert_non_null(strstr(two, "\r\n\r\nabc"));
}

static void test_http__head_is_get_without_the_body(void **state) {
    (void)state;
    char answer[4096];
    bool closed;
    assert_int_equal(exchange("HEAD /echo/1 HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer, &closed), 200);
    assert_non_null(strstr(answer, "Content-Length: 4\r\n"));
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    assert_string_equal(observed.method, "HEAD");
    assert_string_equal(observed.route, "/echo/{id}");
}

static void test_http__a_chunked_body_arrives_whole(void **state) {
    (void)state;
    char answer[4096];
    bool closed;
    const char *text = "POST /echo/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n";
    assert_int_equal(exchange(text, answer, sizeof answer, &closed), 200);
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\nabcdefg");
}

#define OK_LINE "GET /echo/1 HTTP/1.1\r\n"
#define POST_LINE "POST /echo/1 HTTP/1.1\r\n"

/* Each of these must be refused with 400, closed, and no part of it may reach a handler. */
static void test_http__what_could_smuggle_is_refused_and_closed(void **state) {
    (void)state;
    static const char *const bad[] = {
        POST_LINE "Host: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        POST_LINE "Host: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        POST_LINE "Host: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST_LINE "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST_LINE "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST_LINE "Host: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST_LINE "Host: x\r\nContent-Length: +3\r\n\r\nabc",
        POST_LINE "Host: x\r\nContent-Length: 3, 3\r\n\r\nabc",
        POST_LINE "Host: x\r\nContent-Length: -1\r\n\r\nabc",
        POST_LINE "Host: x\r\nContent-Length: 0x3\r\n\r\nabc",
        POST_LINE "Host: x\r\nContent-Length : 3\r\n\r\nabc",
        "POST /echo/1 HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK_LINE "Host: x\r\nHost: y\r\n\r\n",
        OK_LINE "\r\n",
        OK_LINE "Host: x\nA: b\r\n\r\n",
        OK_LINE "Host: x\r\nA: b\n\r\n",
        OK_LINE "Host: x\r\nA:\nB: c\r\n\r\n",
        OK_LINE "Host: x\n\n",
        OK_LINE "Host: x\r\n\n",
        "GET /echo/1 HTTP/1.1\nHost: x\r\n\r\n",
        OK_LINE "Host: x\r\nA: b\r\n c\r\n\r\n",
        OK_LINE "Host: x\r\nA: b\rc\r\n\r\n",
        OK_LINE "Host: x\r\nA: \x01\r\n\r\n",
        OK_LINE "Host: x\r\nA b: c\r\n\r\n",
        OK_LINE "Host: x\r\n: c\r\n\r\n",
        "GET  /echo/1 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /echo/1  HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /echo/1 HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET /echo/1\r\nHost: x\r\n\r\n",
        "AVERYLONGMETHODNAMETHATNOBODYHASEVERDEFINED /echo/1 HTTP/1.1\r\nHost: x\r\n\r\n"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        char answer[4096];
        bool closed = false;
        handled = 0;
        int status = exchange(bad[i], answer, sizeof answer, &closed);
        if ((status != 400 && status != 0 && status != 505) || !closed || handled != 0) {
            fail_msg("number %zu: status %d closed %d handled %d: %s", i, status, closed, handled, bad[i]);
        }
    }
}

static void test_http__a_nul_in_the_head_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t len;
#define BYTES(text) {text, sizeof text - 1}
    } bad[] = {BYTES("GET /echo/1\0 HTTP/1.1\r\nHost: x\r\n\r\n"), BYTES("GET /echo/1 HTTP/1.1\r\nHost: x\0y\r\n\r\n"),
               BYTES("GET /echo/1 HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n")};
    for (size_t i = 0; i < COUNT(bad); i++) {
        char answer[4096];
        bool closed = false;
        handled = 0;
        int fd = raw_connect(bf_http_port(server));
        raw_send(fd, bad[i].text, bad[i].len);
        raw_read_all(fd, answer, sizeof answer, 300, &closed);
        close(fd);
        assert_true(closed && handled == 0);
        assert_null(strstr(answer, " 200 "));
    }
}

static void test_http__bad_targets_are_named(void **state) {
    (void)state;
    static const struct {
        const char *target;
        int status;
        const char *says;
    } table[] = {{"/echo/a%00b", 400, "%00"},      {"/echo/%ff", 400, "UTF-8"},          {"/echo/%zz", 400, "hexadecimal"},
                 {"/echo/1?limt=5", 400, "\"pointer\":\"limt\""}, {"/nothing", 404, "nothing"}, {"/silent", 500, "not answered"},
                 {"/fail/2", 400, "the reason"},   {"/fail/1", 404, "\"pointer\":\"code\""}, {"/fail/4", 409, "the reason"},
                 {"/fail/5", 503, "Retry-After: 1"}, {"/fail/6", 413, "the reason"}};
    for (size_t i = 0; i < COUNT(table); i++) {
        char text[400], answer[4096];
        bool closed;
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", table[i].target);
        assert_int_equal(exchange(text, answer, sizeof answer, &closed), table[i].status);
        assert_false(closed); /* a plain mistake costs no connection */
        assert_non_null(strstr(answer, "application/problem+json"));
        if (strstr(answer, table[i].says) == NULL) {
            fail_msg("%s: no \"%s\" in %s", table[i].target, table[i].says, answer);
        }
    }
    char answer[4096];
    bool closed;
    assert_int_equal(exchange("GET /fail/8 HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer, &closed), 500);
    assert_null(strstr(answer, "the reason")); /* internals stay inside */
}

static void test_http__an_overlong_target_is_414(void **state) {
    (void)state;
    static char text[20000], answer[4096];
    bool closed;
    memset(text, 'a', sizeof text);
    memcpy(text, "GET /echo/", 10);
    strcpy(text + 9000, " HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(exchange(text, answer, sizeof answer, &closed), 414);
    assert_true(closed);
    static char huge[200000];
    memset(huge, 'a', sizeof huge - 1);
    memcpy(huge, "GET /echo/", 10);
    int status = exchange(huge, answer, sizeof answer, &closed);
    assert_true(closed && (status == 414 || status == 431 || status == 0));
}

static void test_http__an_overlong_head_is_431(void **state) {
    (void)state;
    static char text[60000], answer[4096];
    bool closed;
    handled = 0;
    memset(text, 'a', sizeof text - 1);
    memcpy(text, OK_LINE "Host: x\r\nX: ", strlen(OK_LINE "Host: x\r\nX: "));
    strcpy(text + 33000, "\r\n\r\n");
    assert_int_equal(exchange(text, answer, sizeof answer, &closed), 431);
    assert_true(closed);
    assert_non_null(strstr(answer, "application/problem+json"));
    assert_int_equal(handled, 0);
    memset(text, 'a', sizeof text - 1);
    memcpy(text, OK_LINE "Host: x\r\nX: ", strlen(OK_LINE "Host: x\r\nX: "));
    strcpy(text + 32000, "\r\n\r\n");
    assert_int_equal(exchange(text, answer, sizeof answer, &closed), 200);
}

static void test_http__405_says_what_is_allowed(void **state) {
    (void)state;
    char answer[4096];
    bool closed;
    assert_int_equal(exchange("DELETE /echo/1 HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer, &closed), 405);
    assert_non_null(strstr(answer, "Allow: GET, HEAD, POST\r\n"));
    assert_string_equal(observed.route, "other");
    assert_int_equal(observed.status, 405);
}

static void test_http__bodies_have_limits(void **state) {
    (void)state;
    char answer[4096], text[4000] = POST_LINE "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n";
    bool closed;
    handled = 0;
    assert_int_equal(exchange(POST_LINE "Host: x\r\nContent-Length: 1001\r\n\r\n", answer, sizeof answer, &closed), 413);
    assert_true(closed);
    assert_int_equal(exchange(OK_LINE "Host: x\r\nContent-Length: 1\r\n\r\na", answer, sizeof answer, &closed), 413);
    size_t len = strlen(text);
    memset(text + len, 'b', 2000);
    strcpy(text + len + 2000, "\r\n0\r\n\r\n");
    assert_int_equal(exchange(text, answer, sizeof answer, &closed), 413);
    assert_int_equal(handled, 0);
}

static void test_http__a_slow_head_is_cut_although_bytes_keep_coming(void **state) {
    (void)state;
    char answer[1000];
    int fd = raw_connect(bf_http_port(server));
    const char *ok = OK_LINE "Host: x\r\n\r\n";
    for (int round = 0; round < 2; round++) { /* the first request and a later one */
        int64_t began = bf_time_monotonic_us();
        bool closed = false;
        const char *slow = OK_LINE "X: ";
        raw_send(fd, slow, strlen(slow));
        while (!closed && bf_time_monotonic_us() - began < 10000000) {
            raw_send(fd, "a", 1);
            raw_read_all(fd, answer, sizeof answer, 100, &closed);
        }
        assert_true(closed);
        int64_t took_ms = (bf_time_monotonic_us() - began) / 1000;
        assert_true(took_ms >= 500 && took_ms < 1900); /* before the idle time of 2 s */
        close(fd);
        fd = raw_connect(bf_http_port(server));
        raw_send(fd, ok, strlen(ok));
        assert_int_equal(raw_read_one(fd, answer, sizeof answer), 200);
        usleep(600000); /* idle is no slow head */
    }
    raw_send(fd, ok, strlen(ok));
    assert_int_equal(raw_read_one(fd, answer, sizeof answer), 200);
    close(fd);
}

static void test_http__a_second_server_takes_a_free_port_or_says_again(void **state) {
    (void)state;
    struct bf_http *other = NULL;
    struct bf_err err;
    struct bf_http_settings settings = {.port = bf_http_port(server), .loops = loops};
    assert_int_equal(bf_http_start(&settings, routes, NULL, &other, &err), BF_AGAIN);
    assert_null(other);
    settings.port_or_free = true;
    assert_int_equal(bf_http_start(&settings, routes, NULL, &other, &err), BF_OK);
    assert_int_not_equal(bf_http_port(other), bf_http_port(server));
    bf_http_stop(other);
    settings = (struct bf_http_settings){.host = "no.such.host.invalid", .loops = loops};
    assert_int_equal(bf_http_start(&settings, routes, NULL, &other, &err), BF_INVALID);
}

static void test_http__stop_does_not_wait_for_idle_connections(void **state) {
    (void)state;
    struct bf_http *other = NULL;
    struct bf_err err;
    struct bf_http_settings settings = {.loops = loops};
    assert_int_equal(bf_http_start(&settings, routes, NULL, &other, &err), BF_OK);
    int fds[20];
    char answer[1000];
    for (size_t i = 0; i < COUNT(fds); i++) {
        fds[i] = raw_connect(bf_http_port(other));
        if (i % 2 == 0) {
            raw_send(fds[i], OK_LINE "Host: x\r\n\r\n", strlen(OK_LINE "Host: x\r\n\r\n"));
            assert_int_equal(raw_read_one(fds[i], answer, sizeof answer), 200);
        }
    }
    int64_t began = bf_time_monotonic_us();
    bf_http_stop(other);
    assert_true(bf_time_monotonic_us() - began < 2000000);
    for (size_t i = 0; i < COUNT(fds); i++) {
        close(fds[i]);
    }
}

/* RFC 9112, 9.6: one that has sent all it wants to may close that direction, before or while its answer is made. */
static void test_http__who_has_closed_only_its_sending_side_is_answered(void **state) {
    (void)state;
    static const struct {
        const char *path;
        size_t bytes;
        useconds_t closes_after_us;
    } cases[] = {{"/echo/1", 4, 0}, {"/slow", 4, 0}, {"/slow", 4, 50000}, {"/large", 3 << 20, 0}, {"/large", 3 << 20, 1000}};
    char *answer = malloc(4 << 20);
    assert_non_null(answer);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char request[100];
        bool closed = false;
        int fd = raw_connect(bf_http_port(server)), len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", cases[i].path);
        raw_send(fd, request, (size_t)len);
        usleep(cases[i].closes_after_us);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        size_t got = raw_read_all(fd, answer, 4 << 20, 5000, &closed);
        const char *body = strstr(answer, "\r\n\r\n");
        assert_true(closed);
        assert_non_null(body);
        assert_int_equal(got - (size_t)(body + 4 - answer), cases[i].bytes);
        close(fd);
    }
    free(answer);
}

static void test_client__calls_headers_bodies_and_errors(void **state) {
    (void)state;
    struct bf_http_client *c = NULL;
    struct bf_err err;
    struct bf_buf answer;
    char url[100];
    int status = 0;
    bf_buf_init(&answer, 4 << 20);
    assert_int_equal(bf_http_client_new(3000, &c, &err), BF_OK);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/echo/7?limit=3", bf_http_port(server));
    assert_int_equal(bf_http_call(c, "POST", url, "text/plain", bf_slice_str("body"), &status, &answer, &err), BF_OK);
    assert_int_equal(status, 200);
    assert_true(answer.len == 4 && memcmp(answer.data, "body", 4) == 0);
    assert_string_equal(bf_http_client_answer_header(c, "x-limit"), "3");
    assert_null(bf_http_client_answer_header(c, "x-none"));
    assert_int_equal(bf_http_call(c, "GET", url, NULL, BF_SLICE_NONE, &status, &answer, &err), BF_OK);
    assert_true(answer.len == 4 && memcmp(answer.data, "none", 4) == 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/large", bf_http_port(server));
    assert_int_equal(bf_http_call(c, "GET", url, NULL, BF_SLICE_NONE, &status, &answer, &err), BF_OK);
    assert_int_equal(answer.len, 3 << 20);
    struct bf_buf small;
    bf_buf_init(&small, 1000);
    assert_int_equal(bf_http_call(c, "GET", url, NULL, BF_SLICE_NONE, &status, &small, &err), BF_NOMEM);
    bf_buf_fini(&small);
    assert_int_equal(bf_http_call(c, "GET", "http://127.0.0.1:1/", NULL, BF_SLICE_NONE, &status, &answer, &err), BF_AGAIN);
    assert_int_equal(bf_http_call(c, "GET", "nonsense://x", NULL, BF_SLICE_NONE, &status, &answer, &err), BF_INVALID);
    assert_int_equal(bf_http_client_header(c, "no colon", &err), BF_INVALID);
    bf_http_client_free(c);
    bf_buf_clear(&answer);
    bf_url_encode(&answer, "rim:a/b c\xc3\xa9~");
    assert_true(answer.len == 22 && memcmp(answer.data, "rim%3Aa%2Fb%20c%C3%A9~", 22) == 0);
    bf_buf_fini(&answer);
}

int main(int argc, char **argv) {
    loops = argc > 1 ? atoi(argv[1]) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http__answers_on_a_connection_that_stays),
        cmocka_unit_test(test_http__pipelined_requests_are_answered_in_order),
        cmocka_unit_test(test_http__head_is_get_without_the_body),
        cmocka_unit_test(test_http__a_chunked_body_arrives_whole),
        cmocka_unit_test(test_http__what_could_smuggle_is_refused_and_closed),
        cmocka_unit_test(test_http__a_nul_in_the_head_is_refused),
        cmocka_unit_test(test_http__bad_targets_are_named),
        cmocka_unit_test(test_http__an_overlong_target_is_414),
        cmocka_unit_test(test_http__an_overlong_head_is_431),
        cmocka_unit_test(test_http__405_says_what_is_allowed),
        cmocka_unit_test(test_http__bodies_have_limits),
        cmocka_unit_test(test_http__a_slow_head_is_cut_although_bytes_keep_coming),
        cmocka_unit_test(test_http__a_second_server_takes_a_free_port_or_says_again),
        cmocka_unit_test(test_http__stop_does_not_wait_for_idle_connections),
        cmocka_unit_test(test_http__who_has_closed_only_its_sending_side_is_answered),
        cmocka_unit_test(test_client__calls_headers_bodies_and_errors),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
