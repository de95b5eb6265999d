/* The producer and the admin calls against a mock cluster, and against a real one when there is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "kafka_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct report {
    int seen;
    enum bf_code code;
    int32_t partition;
    int64_t offset;
};

static void on_report(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset) {
    struct report *r = opaque;
    (void)ctx, (void)err;
    if (r != NULL) *r = (struct report){r->seen + 1, code, partition, offset};
}

static struct bf_producer *open_producer(const char *bootstrap, int64_t delivery_timeout_ms, const char *extra) {
    struct bf_err err = {0};
    struct bf_producer *p = NULL;
    struct bf_producer_settings settings = {
        .bootstrap = bootstrap, .delivery_timeout_ms = delivery_timeout_ms, .extra = extra, .delivered = on_report};
    if (bf_producer_open(&settings, &p, &err) != BF_OK) fail_msg("%s", err.msg);
    return p;
}

static struct bf_producer *open_adaptive(const char *bootstrap, const char *extra) {
    struct bf_err err = {0};
    struct bf_producer *p = NULL;
    struct bf_producer_settings settings = {.bootstrap = bootstrap, .linger_ms = BF_LINGER_ADAPTIVE, .extra = extra, .delivered = on_report};
    if (bf_producer_open(&settings, &p, &err) != BF_OK) fail_msg("%s", err.msg);
    return p;
}

static void test_adaptive__each_is_reported_once_and_keys_stay_in_order(void **state) {
    enum { MESSAGES = 20000, KEYS = 40 };
    struct cluster *cl = *state;
    struct bf_err err = {0};
    char topic[64], key[16];
    int64_t last[KEYS];
    struct report *reports = calloc(MESSAGES, sizeof *reports);
    struct bf_producer *p = open_adaptive(cl->bootstrap, NULL);

    assert_non_null(reports);
    fresh_name(topic, "test", "adaptive");
    make_topic(cl, topic, 6);
    assert_int_equal(bf_producer_warm(p, topic, 10000, &err), BF_OK);
    for (int i = 0; i < MESSAGES; i++) {
        int len = snprintf(key, sizeof key, "key-%d", i % KEYS);
        struct bf_header header = {"n", {key, (size_t)len}};
        while (bf_producer_send(p, topic, -1, (struct bf_slice){key, (size_t)len}, bf_slice_str("value"), &header, 1, 0, &reports[i], &err) != BF_OK) {
            assert_int_equal(err.code, BF_AGAIN);
            (void)bf_producer_poll(p, 1);
        }
    }
    assert_int_equal(bf_producer_flush(p, 60000, &err), BF_OK);
    assert_int_equal(bf_producer_queued(p), 0);
    for (int k = 0; k < KEYS; k++) last[k] = -1;
    for (int i = 0; i < MESSAGES; i++) {
        assert_int_equal(reports[i].seen, 1);
        assert_int_equal(reports[i].code, BF_OK);
        assert_int_equal(reports[i].partition, reports[i % KEYS].partition);
        if (reports[i].offset <= last[i % KEYS]) fail_msg("message %d: offset %lld behind %lld", i, (long long)reports[i].offset, (long long)last[i % KEYS]);
        last[i % KEYS] = reports[i].offset;
    }
    bf_producer_close(p);
    free(reports);
}

static void test_adaptive__what_is_held_goes_without_anybodys_help(void **state) {
    struct cluster *cl = *state;
    struct bf_err err = {0};
    char topic[64];
    struct report reports[50] = {0};
    int seen = 0;
    struct bf_producer *p = open_adaptive(cl->bootstrap, NULL);

    fresh_name(topic, "test", "held");
    make_topic(cl, topic, 1);
    assert_int_equal(bf_producer_warm(p, topic, 10000, &err), BF_OK);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(bf_producer_send(p, topic, 0, BF_SLICE_NONE, BF_SLICE_NONE, NULL, 0, 0, &reports[i], &err), BF_OK);
    }
    for (int tries = 0; seen < 50 && tries < 1000; tries++) seen += bf_producer_poll(p, 10);
    for (int i = 0; i < 50; i++) assert_int_equal(reports[i].offset, i);
    bf_producer_close(p);
}

static void test_adaptive__no_broker_all_are_reported_cancelled_and_a_full_queue_says_again(void **state) {
    struct bf_err err = {0};
    struct report reports[6000] = {0};
    int sent = 0;
    struct bf_producer *p = open_adaptive("127.0.0.1:1", "queue.buffering.max.messages=100");

    (void)state;
    while (sent < 6000 && bf_producer_send(p, "a.b", 0, BF_SLICE_NONE, bf_slice_str("v"), NULL, 0, 0, &reports[sent], &err) == BF_OK) sent++;
    assert_int_equal(err.code, BF_AGAIN);
    assert_true(sent >= 2000 && sent < 6000);
    assert_true(bf_producer_queued(p) >= (size_t)sent);
    assert_int_equal(bf_producer_flush(p, 100, &err), BF_AGAIN);
    bf_producer_close(p);
    for (int i = 0; i < sent; i++) {
        assert_int_equal(reports[i].seen, 1);
        assert_int_equal(reports[i].code, BF_CANCELLED);
    }
}

static void test_send__partition_is_that_of_javas_clients(void **state) {
    /* murmur2 as Kafka's own UtilsTest states it: hash of the key, sign bit off, modulo the partitions. */
    static const struct {
        const char *key;
        int32_t murmur2;
    } rows[] = {{"21", -973932308}, {"foobar", -790332482}, {"a-little-bit-long-string", -985981536},
                {"a-little-bit-longer-string", -1486304829}, {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971}};
    struct cluster *cl = *state;
    struct bf_err err = {0};
    char topic[64];
    struct bf_producer *p = open_producer(cl->bootstrap, 0, NULL);

    fresh_name(topic, "test", "murmur");
    make_topic(cl, topic, 12);
    assert_int_equal(bf_producer_warm(p, topic, 10000, &err), BF_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct report r = {0};
        assert_int_equal(bf_producer_send(p, topic, -1, bf_slice_str(rows[i].key), bf_slice_str("v"), NULL, 0, 0, &r, &err), BF_OK);
        assert_int_equal(bf_producer_flush(p, 10000, &err), BF_OK);
        assert_int_equal(r.seen, 1);
        assert_int_equal(r.code, BF_OK);
        assert_int_equal(r.partition, (rows[i].murmur2 & 0x7fffffff) % 12);
    }
    bf_producer_close(p);
}

static void test_send__sixteen_mebibytes_go_more_than_the_limit_not(void **state) {
    struct cluster *cl = *state;
    struct bf_err err = {0};
    struct report r = {0};
    char topic[64], *big = malloc(24 << 20);
    struct bf_producer *p = open_producer(cl->bootstrap, 0, NULL);

    assert_non_null(big);
    for (size_t i = 0; i < 24u << 20; i++) big[i] = (char)(i * 2654435761u >> 13);
    fresh_name(topic, "test", "big");
    make_topic(cl, topic, 1);
    assert_int_equal(bf_producer_send(p, topic, 0, BF_SLICE_NONE, (struct bf_slice){big, 16 << 20}, NULL, 0, 0, &r, &err), BF_OK);
    assert_int_equal(bf_producer_flush(p, 30000, &err), BF_OK);
    assert_int_equal(r.code, BF_OK);
    assert_int_equal(bf_producer_send(p, topic, 0, BF_SLICE_NONE, (struct bf_slice){big, 24 << 20}, NULL, 0, 0, &r, &err), BF_INVALID);
    bf_producer_close(p);
    free(big);
}

static void test_send__a_full_queue_says_again(void **state) {
    struct cluster *cl = *state;
    struct bf_err err = {0};
    enum bf_code code = BF_OK;
    int sent = 0;
    struct bf_producer *p = open_producer(cl->bootstrap, 0, "queue.buffering.max.messages=100\nlinger.ms=5000");

    while (code == BF_OK && sent < 1000) {
        code = bf_producer_send(p, "test.full", 0, BF_SLICE_NONE, bf_slice_str("v"), NULL, 0, 0, NULL, &err);
        sent += code == BF_OK;
    }
    assert_int_equal(code, BF_AGAIN);
    assert_int_equal(sent, 100);
    bf_producer_close(p);
}

static void test_no_broker__delivery_fails_with_again_and_ping_says_so(void **state) {
    struct bf_err err = {0};
    struct report r = {0};
    struct bf_producer *p = open_producer("127.0.0.1:1", 300, NULL);

    (void)state;
    assert_int_equal(bf_producer_send(p, "a.b", 0, BF_SLICE_NONE, bf_slice_str("v"), NULL, 0, 0, &r, &err), BF_OK);
    assert_int_equal(bf_producer_flush(p, 100, &err), BF_AGAIN);
    assert_int_equal(bf_producer_queued(p), 1);
    assert_int_equal(bf_producer_flush(p, 5000, &err), BF_OK);
    assert_int_equal(r.code, BF_AGAIN);
    assert_int_equal(bf_producer_warm(p, "a.b", 200, &err), BF_AGAIN);
    assert_int_equal(bf_kafka_ping("127.0.0.1:1", 200, &err), BF_AGAIN);
    bf_producer_close(p);
}

static void test_close__what_is_queued_is_reported_cancelled(void **state) {
    struct bf_err err = {0};
    struct report r = {0};
    struct bf_producer *p = open_producer("127.0.0.1:1", 0, NULL);

    (void)state;
    assert_int_equal(bf_producer_send(p, "a.b", 0, BF_SLICE_NONE, bf_slice_str("v"), NULL, 0, 0, &r, &err), BF_OK);
    bf_producer_close(p);
    assert_int_equal(r.seen, 1);
    assert_int_equal(r.code, BF_CANCELLED);
}

static void test_cluster__says_what_it_is(void **state) {
    struct cluster *cl = *state;
    struct bf_err err = {0};
    char *id = NULL;
    struct bf_producer *p = open_producer(cl->bootstrap, 0, NULL);

    assert_int_equal(bf_kafka_ping(cl->bootstrap, 10000, &err), BF_OK);
    assert_int_equal(bf_producer_cluster_id(p, 10000, &id, &err), BF_OK);
    assert_int_equal(bf_kafka_is_mock_cluster(id), cl->mock != NULL);
    free(id);
    bf_producer_close(p);
}

static void test_create_topic__mock_has_no_admin_and_kafka_says_exists(void **state) {
    struct cluster *cl = *state;
    struct bf_err err = {0};
    char topic[64];

    fresh_name(topic, "test", "made");
    if (cl->mock != NULL) {
        assert_int_equal(bf_kafka_create_topic(cl->bootstrap, topic, 5, 1000000, 10000, &err), BF_INVALID);
        return;
    }
    assert_int_equal(bf_kafka_create_topic(cl->bootstrap, topic, 5, 1000000, 10000, &err), BF_OK);
    assert_int_equal(bf_kafka_create_topic(cl->bootstrap, topic, 5, 1000000, 10000, &err), BF_EXISTS);
    assert_int_equal(bf_kafka_create_topic(cl->bootstrap, "bad topic", 5, 1000000, 10000, &err), BF_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send__partition_is_that_of_javas_clients),
        cmocka_unit_test(test_send__sixteen_mebibytes_go_more_than_the_limit_not),
        cmocka_unit_test(test_send__a_full_queue_says_again),
        cmocka_unit_test(test_no_broker__delivery_fails_with_again_and_ping_says_so),
        cmocka_unit_test(test_close__what_is_queued_is_reported_cancelled),
        cmocka_unit_test(test_adaptive__each_is_reported_once_and_keys_stay_in_order),
        cmocka_unit_test(test_adaptive__what_is_held_goes_without_anybodys_help),
        cmocka_unit_test(test_adaptive__no_broker_all_are_reported_cancelled_and_a_full_queue_says_again),
        cmocka_unit_test(test_cluster__says_what_it_is),
        cmocka_unit_test(test_create_topic__mock_has_no_admin_and_kafka_says_exists),
    };
    int failed = cmocka_run_group_tests_name("kafka_producer mock", tests, cluster_open_mock, cluster_close);
    if (getenv("BF_TEST_KAFKA") != NULL) {
        failed += cmocka_run_group_tests_name("kafka_producer real", tests, cluster_open_real, cluster_close);
    }
    return failed;
}
