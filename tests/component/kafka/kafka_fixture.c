#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "kafka_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int cluster_open_mock(void **state) {
    struct bf_err err = {0};
    struct cluster *cl = calloc(1, sizeof *cl);

    if (bf_mock_cluster_open(1, &cl->mock, &err) != BF_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return -1;
    }
    cl->bootstrap = bf_mock_cluster_bootstrap(cl->mock);
    *state = cl;
    return 0;
}

int cluster_open_real(void **state) {
    struct cluster *cl = calloc(1, sizeof *cl);
    cl->bootstrap = getenv("BF_TEST_KAFKA");
    *state = cl;
    return 0;
}

int cluster_close(void **state) {
    struct cluster *cl = *state;
    bf_mock_cluster_close(cl->mock);
    free(cl);
    return 0;
}

void fresh_name(char dst[64], const char *domain, const char *prefix) {
    unsigned r = 0;
    assert_int_equal(getrandom(&r, sizeof r, 0), sizeof r);
    snprintf(dst, 64, "%s.%s-%08x", domain, prefix, r);
}

void make_topic(const struct cluster *cl, const char *topic, int partitions) {
    struct bf_err err = {0};
    enum bf_code code = cl->mock != NULL ? bf_mock_cluster_topic(cl->mock, topic, partitions, &err)
                                         : bf_kafka_create_topic(cl->bootstrap, topic, partitions, 0, 20000, &err);
    struct bf_producer *p = NULL;
    struct bf_producer_settings settings = {.bootstrap = cl->bootstrap};
    if (code == BF_OK) code = bf_producer_open(&settings, &p, &err);
    if (code == BF_OK) code = bf_producer_warm(p, topic, 20000, &err); /* until its leaders have it, a first message may be overtaken by the second */
    bf_producer_close(p);
    if (code != BF_OK) fail_msg("%s", err.msg);
}

static void count_delivered(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset) {
    (void)opaque, (void)partition, (void)offset;
    if (code != BF_OK) fprintf(stderr, "%s\n", err->msg);
    *(int *)ctx += code == BF_OK;
}

static void send_or_wait(struct bf_producer *p, const char *topic, int partition, struct bf_slice value) {
    struct bf_err err = {0};
    enum bf_code code;

    while ((code = bf_producer_send(p, topic, partition, BF_SLICE_NONE, value, NULL, 0, 0, NULL, &err)) == BF_AGAIN) {
        (void)bf_producer_poll(p, 10);
    }
    if (code != BF_OK) fail_msg("%s", err.msg);
}

void produce_numbers(const struct cluster *cl, const char *topic, int partitions, int from, int to) {
    struct bf_err err = {0};
    struct bf_producer *p = NULL;
    int delivered = 0;
    struct bf_producer_settings settings = {.bootstrap = cl->bootstrap, .linger_ms = 5, .delivered = count_delivered, .ctx = &delivered};

    assert_int_equal(bf_producer_open(&settings, &p, &err), BF_OK);
    for (int n = from; n < to; n++) {
        for (int part = 0; part < partitions; part++) {
            char text[32];
            int len = snprintf(text, sizeof text, "%d:%d", part, n);
            send_or_wait(p, topic, part, (struct bf_slice){text, (size_t)len});
        }
    }
    assert_int_equal(bf_producer_flush(p, 30000, &err), BF_OK);
    assert_int_equal(delivered, partitions * (to - from));
    bf_producer_close(p);
}

void produce_bytes(const struct cluster *cl, const char *topic, int partition, int count, size_t bytes) {
    struct bf_err err = {0};
    struct bf_producer *p = NULL;
    int delivered = 0;
    char *value = malloc(bytes);
    struct bf_producer_settings settings = {
        .bootstrap = cl->bootstrap, .delivered = count_delivered, .ctx = &delivered, .extra = "compression.codec=none"};

    assert_non_null(value);
    memset(value, 'x', bytes);
    assert_int_equal(bf_producer_open(&settings, &p, &err), BF_OK);
    for (int i = 0; i < count; i++) {
        send_or_wait(p, topic, partition, (struct bf_slice){value, bytes});
        if (i % 16 == 15) assert_int_equal(bf_producer_flush(p, 30000, &err), BF_OK);
    }
    assert_int_equal(bf_producer_flush(p, 30000, &err), BF_OK);
    assert_int_equal(delivered, count);
    bf_producer_close(p);
    free(value);
}
