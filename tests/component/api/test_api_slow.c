/* Readers that stop reading, or vanish: they hold a bounded piece of memory and nothing of the store. */
#include "api_fixture.h"
#include "hot_internal.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define EVENTS 30000
#define READERS 30

static struct fx fx;
#define F (&fx)

static int setup(void **state) {
    (void)state;
    fx_open(F, NULL);
    fx_fill(F, EVENTS, 5);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_close(F);
    return 0;
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* Ask, take the first bytes, then take no more. */
static int stalled_reader(const char *target) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)api_port(fx.api)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char text[300], first[100];
    int small = 4096, fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    int len = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
    assert_int_equal(write(fd, text, (size_t)len), len);
    assert_true(read(fd, first, sizeof(first)) > 0);
    return fd;
}

struct slots {
    int taken, reading;
};

static int count_slot(const char *line, void *ctx) {
    struct slots *s = ctx;
    char pid[24], thread[32], txn[32];
    if (sscanf(line, "%23s %31s %31s", pid, thread, txn) == 3 && strcmp(pid, "pid") != 0) {
        s->taken++;
        s->reading += strcmp(txn, "-") != 0;
    }
    return 0;
}

static struct slots read_slots(void) {
    struct slots s = {0};
    assert_true(mdb_reader_list(fx.capsule.hot->env, count_slot, &s) >= 0);
    return s;
}

static size_t last_page(void) {
    MDB_envinfo info;
    mdb_env_info(fx.capsule.hot->env, &info);
    return info.me_last_pgno;
}

static size_t resident_bytes(void) {
    size_t size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_int_equal(fscanf(f, "%zu %zu", &size, &resident), 2);
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Put events and forget them again: with a reader in the way no page comes back, and the file grows without end. */
static void churn(int rounds) {
    for (int i = 0; i < rounds; i++) {
        size_t evicted = 1;
        fx_fill(F, 300, (unsigned)i);
        while (evicted > 0) {
            assert_int_equal(hot_evict(fx.capsule.hot, fx_newest(F), 10000, &evicted, &fx.err), BF_OK);
        }
    }
}

static void test_readers__that_stop_reading_hold_no_transaction_and_little_memory(void **state) {
    (void)state;
    static const char *const targets[] = {"/v1/replay", "/v1/replay?by=recorded&format=csv", "/v1/replay?format=avro&codec=null",
                                          "/v1/replay?format=sse", "/v1/replay?follow=1"};
    int fds[READERS];
    assert_int_equal(fx_get(F, "/v1/replay?limit=1"), 400);
    size_t before = resident_bytes();
    for (size_t i = 0; i < READERS; i++) {
        fds[i] = stalled_reader(targets[i % 5]);
    }
    pause_ms(500); /* until everything that can be sent is */
    struct slots slots = read_slots();
    assert_true(slots.taken > 0);
    assert_int_equal(slots.reading, 0);
    assert_true(resident_bytes() < before + (size_t)READERS * (8 << 20)); /* the whole of it would be 20 MiB for each */
    churn(5);
    size_t settled = last_page();
    churn(20);
    assert_true(last_page() < settled + settled / 4);
    assert_int_equal(read_slots().reading, 0);
    for (size_t i = 0; i < READERS; i++) {
        close(fds[i]);
    }
}

static size_t open_files(void) {
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d)) {
        n++;
    }
    closedir(d);
    return n;
}

static void test_readers__that_vanish_while_a_stream_waits_are_noticed(void **state) {
    (void)state;
    int fds[READERS];
    for (int i = 0; i < 3; i++) {
        fx_put(F, FAST, 0, "rim:metric:test:WAIT", NULL, INT64_C(1700000000000000) + i * INT64_C(100000000), 1, NULL, NULL);
    }
    fx_commit(F);
    size_t before = open_files();
    for (size_t i = 0; i < READERS; i++) {
        fds[i] = stalled_reader(i % 2 ? "/v1/replay?follow=1&by=recorded&heartbeat_ms=60000&from=2100-01-01" : "/v1/replay?speed=0.1&node=rim:metric:test:WAIT");
    }
    for (int i = 0; i < 1000 && open_files() < before + 2 * READERS; i++) { /* the server takes them when it comes to it */
        pause_ms(10);
    }
    assert_true(open_files() >= before + 2 * READERS);
    for (size_t i = 0; i < READERS; i++) {
        close(fds[i]);
    }
    for (int i = 0; i < 4000 && open_files() > before; i++) {
        pause_ms(5);
    }
    assert_true(open_files() <= before); /* their connections are closed, their threads gone */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers__that_vanish_while_a_stream_waits_are_noticed),
        /* Evicts, so that there is an archive to be asked, and none here: last. */
        cmocka_unit_test(test_readers__that_stop_reading_hold_no_transaction_and_little_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
