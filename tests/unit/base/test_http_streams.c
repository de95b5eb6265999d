/* Streams: whole, cut by the server, left by the client, ended by stop; limits on connections. */
#include "check.h"
#include "raw_client.h"

#include "bf_http.h"
#include "bf_http_client.h"
#include "bf_time.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int loops; /* 0: a thread per connection; else from the command line */

#define PATIENCE_US INT64_C(20000000) /* for a server that has little of the machine to see that its clients went */

struct source {
    struct bf_http *server;
    long left;     /* bytes; -1: for ever */
    bool cut;      /* end with an error */
    bool trickle;  /* a few bytes at a time, with pauses */
    long made;
};

static atomic_int opened, closed_count;

static ssize_t source_read(void *ctx, char *dst, size_t max) {
    struct source *s = ctx;
    if (bf_http_stopping(s->server)) {
        return 0;
    }
    if (s->left == 0) {
        return s->cut ? -1 : 0;
    }
    size_t n = s->trickle ? 5 : max;
    n = s->left > 0 && (size_t)s->left < n ? (size_t)s->left : n;
    for (size_t i = 0; i < n; i++) {
        dst[i] = (char)('a' + s->made++ % 26);
    }
    if (s->trickle) {
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    s->left -= s->left > 0 ? (long)n : 0;
    return (ssize_t)n;
}

static void source_close(void *ctx) {
    free(ctx);
    atomic_fetch_add(&closed_count, 1);
}

static void on_stream(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    struct source *s = calloc(1, sizeof *s);
    s->server = bf_http_server(req);
    s->left = atol(bf_http_query(req, "bytes"));
    s->cut = bf_http_query(req, "cut") != NULL;
    s->trickle = bf_http_query(req, "trickle") != NULL;
    atomic_fetch_add(&opened, 1);
    bf_http_reply_stream(req, 200, "text/plain", (struct bf_http_stream){.read = source_read, .close = source_close, .ctx = s});
}

static const char *const params[] = {"bytes", "cut", "trickle", NULL};
static const struct bf_http_route routes[] = {{"GET", "/stream", on_stream, params, 0}, {0}};

static struct bf_http *serve_with(struct bf_http_settings settings) {
    struct bf_http *h = NULL;
    struct bf_err err;
    atomic_store(&opened, 0);
    atomic_store(&closed_count, 0);
    settings.loops = loops;
    assert_int_equal(bf_http_start(&settings, routes, NULL, &h, &err), BF_OK);
    return h;
}

static struct bf_http *serve(int connections_max) {
    return serve_with((struct bf_http_settings){.connections_max = connections_max});
}

struct sum {
    long bytes;
    bool wrong;
    long stop_at;
};

static bool take(void *ctx, const char *data, size_t len) {
    struct sum *s = ctx;
    for (size_t i = 0; i < len; i++) {
        s->wrong |= data[i] != (char)('a' + s->bytes++ % 26);
    }
    return s->stop_at == 0 || s->bytes < s->stop_at;
}

static enum bf_code fetch(struct bf_http *h, const char *query, struct sum *sum, int *status) {
    struct bf_http_client *c = NULL;
    struct bf_err err;
    struct bf_buf answer;
    char url[200];
    bf_buf_init(&answer, 10000);
    assert_int_equal(bf_http_client_new(5000, &c, &err), BF_OK);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/stream?%s", bf_http_port(h), query);
    enum bf_code code = bf_http_get_stream(c, url, status, &answer, take, sum, &err);
    bf_http_client_free(c);
    bf_buf_fini(&answer);
    return code;
}

static void wait_until_closed(int count) {
    for (int i = 0; i < 500 && atomic_load(&closed_count) < count; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_int_equal(atomic_load(&closed_count), count);
}

static void test_stream__arrives_whole(void **state) {
    (void)state;
    struct bf_http *h = serve(0);
    struct sum sum = {0};
    int status = 0;
    assert_int_equal(fetch(h, "bytes=5000003", &sum, &status), BF_OK);
    assert_int_equal(status, 200);
    assert_true(sum.bytes == 5000003 && !sum.wrong);
    wait_until_closed(1);
    bf_http_stop(h);
}

static void test_stream__a_cut_one_is_seen_as_cut(void **state) {
    (void)state;
    struct bf_http *h = serve(0);
    struct sum sum = {0};
    int status = 0;
    assert_int_equal(fetch(h, "bytes=300000&cut=1", &sum, &status), BF_AGAIN);
    assert_true(sum.bytes == 300000 && !sum.wrong);
    wait_until_closed(1);
    bf_http_stop(h);
}

static void test_stream__a_client_that_leaves_closes_it(void **state) {
    (void)state;
    struct bf_http *h = serve(0);
    struct sum sum = {.stop_at = 100000};
    int status = 0;
    assert_int_equal(fetch(h, "bytes=-1", &sum, &status), BF_CANCELLED);
    wait_until_closed(1);
    assert_int_equal(atomic_load(&opened), 1);
    bf_http_stop(h);
}

static void test_stream__head_reads_nothing_and_closes(void **state) {
    (void)state;
    struct bf_http *h = serve(0);
    char answer[2000];
    bool closed;
    assert_int_equal(raw_exchange(bf_http_port(h), "HEAD /stream?bytes=-1 HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer, &closed),
                     200);
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    wait_until_closed(1);
    bf_http_stop(h);
}

static void test_stop__ends_running_streams_even_of_clients_that_do_not_read(void **state) {
    (void)state;
    struct bf_http *h = serve(0);
    const char *stalled = "GET /stream?bytes=-1 HTTP/1.1\r\nHost: x\r\n\r\n", *slow = "GET /stream?bytes=-1&trickle=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    int a = raw_connect(bf_http_port(h)), b = raw_connect(bf_http_port(h));
    raw_send(a, stalled, strlen(stalled));
    raw_send(b, slow, strlen(slow));
    for (int i = 0; i < 500 && atomic_load(&opened) < 2; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    int64_t began = bf_time_monotonic_us();
    bf_http_stop(h);
    assert_true(bf_time_monotonic_us() - began < 6000000);
    assert_int_equal(atomic_load(&closed_count), 2);
    close(a);
    close(b);
}

static void test_connections__beyond_the_limit_are_turned_away_and_come_back_later(void **state) {
    (void)state;
    struct bf_http *h = serve(3);
    const char *text = "GET /stream?bytes=3 HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[2000];
    int fds[3];
    bool closed = false;
    for (int i = 0; i < 3; i++) {
        fds[i] = raw_connect(bf_http_port(h));
        raw_send(fds[i], text, strlen(text));
        assert_true(raw_read_all(fds[i], answer, sizeof answer, 300, &closed) > 0);
        assert_false(closed);
    }
    int extra = raw_connect(bf_http_port(h));
    raw_send(extra, text, strlen(text));
    raw_read_all(extra, answer, sizeof answer, 300, &closed);
    assert_null(strstr(answer, " 200 ")); /* turned away, or waiting in the queue */
    close(extra);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
    int status = 0;
    for (int64_t end_us = bf_time_monotonic_us() + PATIENCE_US; status != 200 && bf_time_monotonic_us() < end_us;) {
        status = raw_exchange(bf_http_port(h), text, answer, sizeof answer, &closed);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_int_equal(status, 200);
    bf_http_stop(h);
}

static bool is_served(unsigned char last, struct bf_http *h, int *fd) {
    const char *text = "GET /stream?bytes=3 HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[2000];
    bool closed = false;
    *fd = raw_connect_from(last, bf_http_port(h));
    raw_send(*fd, text, strlen(text));
    raw_read_all(*fd, answer, sizeof answer, 300, &closed);
    return strstr(answer, " 200 ") != NULL;
}

static void test_connections__of_one_address_are_limited_and_others_are_still_served(void **state) {
    (void)state;
    struct bf_http *h = serve_with((struct bf_http_settings){.connections_max = 10, .connections_per_address_max = 2});
    int fds[5];
    assert_true(is_served(7, h, &fds[0]));
    assert_true(is_served(7, h, &fds[1]));
    assert_false(is_served(7, h, &fds[2]));
    assert_true(is_served(8, h, &fds[3]));
    close(fds[0]);
    bool served = false;
    for (int64_t end_us = bf_time_monotonic_us() + PATIENCE_US; !served && bf_time_monotonic_us() < end_us;) {
        served = is_served(7, h, &fds[4]);
        close(fds[4]);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_true(served);
    for (int i = 1; i < 4; i++) {
        close(fds[i]);
    }
    bf_http_stop(h);
}

static void test_client__that_does_not_take_its_answer_is_cut(void **state) {
    (void)state;
    struct bf_http *h = serve_with((struct bf_http_settings){.idle_timeout_ms = 300});
    const char *text = "GET /stream?bytes=-1 HTTP/1.1\r\nHost: x\r\n\r\n"; /* without an end */
    int fd = raw_connect(bf_http_port(h));
    raw_send(fd, text, strlen(text));
    for (int i = 0; i < 3000 && atomic_load(&closed_count) == 0; i++) { /* a block of 64 KiB may take 4 s */
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_int_equal(atomic_load(&closed_count), 1); /* although the client is still there */
    close(fd);
    bf_http_stop(h);
}

static void test_stop__cuts_who_does_not_take_its_stream(void **state) {
    (void)state;
    struct bf_http *h = serve(3);
    const char *text = "GET /stream?bytes=-1 HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = raw_connect(bf_http_port(h));
    raw_send(fd, text, strlen(text));
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    bf_http_stop(h); /* after some patience */
    assert_int_equal(atomic_load(&closed_count), 1);
    close(fd);
}

int main(int argc, char **argv) {
    loops = argc > 1 ? atoi(argv[1]) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream__arrives_whole),
        cmocka_unit_test(test_stream__a_cut_one_is_seen_as_cut),
        cmocka_unit_test(test_stream__a_client_that_leaves_closes_it),
        cmocka_unit_test(test_stream__head_reads_nothing_and_closes),
        cmocka_unit_test(test_stop__ends_running_streams_even_of_clients_that_do_not_read),
        cmocka_unit_test(test_connections__beyond_the_limit_are_turned_away_and_come_back_later),
        cmocka_unit_test(test_connections__of_one_address_are_limited_and_others_are_still_served),
        cmocka_unit_test(test_client__that_does_not_take_its_answer_is_cut),
        cmocka_unit_test(test_stop__cuts_who_does_not_take_its_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
