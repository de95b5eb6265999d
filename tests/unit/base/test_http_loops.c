/* Event loops: who answers on them and who does not, and that more connections than libmicrohttpd takes events at a time are all answered. */
#include "check.h"
#include "raw_client.h"

#include "bf_http.h"
#include "bf_loop.h"
#include "bf_time.h"

#include <pthread.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_AT_A_TIME 128 /* libmicrohttpd's MAX_EVENTS */

static atomic_int calls, released;
static _Thread_local char thread; /* whose address tells threads apart */

static void answer_thread(struct bf_http_request *req) {
    char text[32];
    snprintf(text, sizeof text, "%p", (void *)&thread);
    bf_http_add_header(req, "X-Once", "here");
    bf_http_reply(req, 200, "text/plain", text, strlen(text));
}

static void on_quick(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    atomic_fetch_add(&calls, 1);
    assert_false(bf_loop_refused());
    answer_thread(req);
}

/* Finds out late that it has to wait, and answers all the same. */
static void on_waiting(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    atomic_fetch_add(&calls, 1);
    if (bf_loop_refuses()) {
        bf_http_add_header(req, "X-Wrong", "yes");
        bf_http_problem(req, 503, NULL, "not now");
        return;
    }
    answer_thread(req);
}

static void on_refusing(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    if (!bf_loop_refuses()) {
        answer_thread(req);
    }
}

static void on_held(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    while (atomic_load(&released) == 0 && !bf_http_stopping(bf_http_server(req))) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    answer_thread(req);
}

static void on_slow(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    nanosleep(&(struct timespec){.tv_nsec = 15000000}, NULL);
    answer_thread(req);
}

#define LARGE_BYTES ((size_t)32 << 20) /* more than sockets hold */

static void on_large(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    struct bf_buf body;
    bf_buf_init(&body, LARGE_BYTES);
    assert_true(bf_buf_reserve(&body, LARGE_BYTES));
    memset(body.data, 'x', LARGE_BYTES);
    body.len = LARGE_BYTES;
    bf_http_reply_take(req, 200, "application/octet-stream", &body);
}

static const struct bf_http_route routes[] = {{"GET", "/quick", on_quick, NULL, 0},       {"GET", "/waiting", on_waiting, NULL, 0},
                                              {"GET", "/refusing", on_refusing, NULL, 0}, {"GET", "/held", on_held, NULL, 0},
                                              {"GET", "/held-loop", on_held, NULL, 0},    {"GET", "/large", on_large, NULL, 0},
                                              {"GET", "/slow", on_slow, NULL, 0},         {0}};
static bf_http_handler *const quick[] = {on_quick, on_waiting, on_refusing, NULL};
static bf_http_handler *const quick_and_held[] = {on_quick, on_held, NULL};

static struct bf_http *serve(int loops, bf_http_handler *const *handlers) {
    struct bf_http *h = NULL;
    struct bf_err err;
    const struct bf_http_settings settings = {.loops = loops, .quick = handlers};
    atomic_store(&calls, 0);
    atomic_store(&released, 0);
    assert_int_equal(bf_http_start(&settings, routes, NULL, &h, &err), BF_OK);
    return h;
}

static void send_get(int fd, const char *path) {
    char text[100];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    raw_send(fd, text, strlen(text));
}

static void get(int fd, const char *path, char *answer, size_t bytes) {
    send_get(fd, path);
    assert_int_equal(raw_read_one(fd, answer, bytes), 200);
}

static const char *body_of(const char *answer) {
    return strstr(answer, "\r\n\r\n") + 4;
}

static void test_quick__is_answered_on_the_loop(void **state) {
    (void)state;
    struct bf_http *h = serve(1, quick);
    char one[2000], two[2000];
    int a = raw_connect(bf_http_port(h)), b = raw_connect(bf_http_port(h));
    get(a, "/quick", one, sizeof one);
    get(b, "/quick", two, sizeof two);
    assert_string_equal(body_of(one), body_of(two));
    close(a);
    close(b);
    bf_http_stop(h);
}

static void test_quick__that_must_wait_is_called_again_on_a_thread_that_may(void **state) {
    (void)state;
    struct bf_http *h = serve(1, quick);
    char loop[2000], waiting[2000], refusing[2000];
    int fd = raw_connect(bf_http_port(h));
    get(fd, "/quick", loop, sizeof loop);
    atomic_store(&calls, 0);
    get(fd, "/waiting", waiting, sizeof waiting);
    assert_int_equal(atomic_load(&calls), 2);
    assert_string_not_equal(body_of(loop), body_of(waiting));
    assert_null(strstr(waiting, "X-Wrong")); /* of the answer that was dropped nothing is left */
    const char *once = strstr(waiting, "X-Once");
    assert_non_null(once);
    assert_null(strstr(once + 1, "X-Once"));
    get(fd, "/refusing", refusing, sizeof refusing);
    assert_string_not_equal(body_of(loop), body_of(refusing));
    get(fd, "/quick", loop, sizeof loop);
    close(fd);
    bf_http_stop(h);
}

static void test_waiting__holds_nobody_up(void **state) {
    (void)state;
    struct bf_http *h = serve(1, quick);
    char answer[2000];
    int held[8], fd = raw_connect(bf_http_port(h));
    for (int i = 0; i < 8; i++) {
        held[i] = raw_connect(bf_http_port(h));
        send_get(held[i], "/held");
    }
    get(fd, "/quick", answer, sizeof answer);
    get(fd, "/waiting", answer, sizeof answer);
    atomic_store(&released, 1);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(raw_read_one(held[i], answer, sizeof answer), 200);
        close(held[i]);
    }
    close(fd);
    bf_http_stop(h);
}

static void test_stop__waits_for_who_waits(void **state) {
    (void)state;
    struct bf_http *h = serve(2, quick);
    char answer[2000];
    int fd = raw_connect(bf_http_port(h));
    send_get(fd, "/held");
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    bf_http_stop(h);
    assert_int_equal(raw_read_one(fd, answer, sizeof answer), 200);
    close(fd);
}

static void test_stop__does_not_wait_for_who_takes_nothing(void **state) {
    (void)state;
    struct bf_http *h = serve(1, quick);
    int fd = raw_connect(bf_http_port(h));
    send_get(fd, "/large");
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    bf_http_stop(h); /* after some patience */
    close(fd);
}

static void *ask_until_closed(void *arg) {
    const int *port = arg;
    char answer[2000];
    int fd = raw_connect(*port);
    do {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL); /* in some rounds when it begins */
        send_get(fd, "/slow");
    } while (raw_read_one(fd, answer, sizeof answer) == 200);
    close(fd);
    return NULL;
}

/* Requests that come while it begins to stop must not be with a thread that nobody waits for. */
static void test_stop__while_requests_come(void **state) {
    (void)state;
    for (int round = 0; round < 40; round++) {
        pthread_t client; /* of many one would still work, and be waited for */
        struct bf_http *h = serve(2, quick);
        int port = bf_http_port(h);
        assert_int_equal(pthread_create(&client, NULL, ask_until_closed, &port), 0);
        nanosleep(&(struct timespec){.tv_nsec = 20000000 + 700000 * round}, NULL);
        bf_http_stop(h);
        pthread_join(client, NULL);
    }
}

static void test_connections__are_spread_over_the_loops(void **state) {
    (void)state;
    struct bf_http *h = serve(2, quick);
    char answers[6][2000];
    int fds[6], alike = 0;
    for (int i = 0; i < 6; i++) {
        fds[i] = raw_connect(bf_http_port(h));
        get(fds[i], "/quick", answers[i], sizeof answers[i]);
        alike += strcmp(body_of(answers[0]), body_of(answers[i])) == 0;
    }
    assert_int_equal(alike, 3);
    for (int i = 0; i < 6; i++) {
        close(fds[i]);
    }
    bf_http_stop(h);
}

/* While the loop is held up, as many events as it takes at a time gather, and nothing comes after them. */
static void events_gather(int count) {
    struct bf_http *h = serve(1, quick_and_held);
    char answer[2000];
    int *fds = calloc((size_t)count, sizeof *fds), held = raw_connect(bf_http_port(h));
    assert_non_null(fds);
    for (int i = 0; i < count; i++) {
        fds[i] = raw_connect(bf_http_port(h));
        get(fds[i], "/quick", answer, sizeof answer);
    }
    send_get(held, "/held-loop");
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    for (int i = 0; i < count; i++) {
        send_get(fds[i], "/quick");
    }
    atomic_store(&released, 1);
    for (int i = 0; i < count; i++) {
        assert_int_equal(raw_read_one(fds[i], answer, sizeof answer), 200);
        close(fds[i]);
    }
    close(held);
    free(fds);
    bf_http_stop(h);
}

static void test_events__as_many_as_are_taken_at_a_time(void **state) {
    (void)state;
    events_gather(EVENTS_AT_A_TIME);
    events_gather(2 * EVENTS_AT_A_TIME);
    events_gather(2 * EVENTS_AT_A_TIME + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quick__is_answered_on_the_loop),
        cmocka_unit_test(test_quick__that_must_wait_is_called_again_on_a_thread_that_may),
        cmocka_unit_test(test_waiting__holds_nobody_up),
        cmocka_unit_test(test_stop__waits_for_who_waits),
        cmocka_unit_test(test_stop__does_not_wait_for_who_takes_nothing),
        cmocka_unit_test(test_stop__while_requests_come),
        cmocka_unit_test(test_connections__are_spread_over_the_loops),
        cmocka_unit_test(test_events__as_many_as_are_taken_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
