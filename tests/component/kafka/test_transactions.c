/* Transactions with a place: a real Kafka keeps it; the embedded broker takes the transaction and keeps none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "kafka_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bf_producer *open_producer(const char *bootstrap, const char *id) {
    struct bf_err err = {0};
    struct bf_producer *p = NULL;
    struct bf_producer_settings settings = {.bootstrap = bootstrap, .transactional_id = id, .delivery_timeout_ms = 20000, .extra = "transaction.timeout.ms=20000"};
    if (bf_producer_open(&settings, &p, &err) != BF_OK || bf_txn_init(p, 20000, &err) != BF_OK) fail_msg("%s", err.msg);
    return p;
}

static void send_numbers(struct bf_producer *p, const char *topic, int from, int to) {
    struct bf_err err = {0};
    for (int i = from; i < to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        if (bf_producer_send(p, topic, 0, BF_SLICE_NONE, bf_slice_str(text), NULL, 0, 0, NULL, &err) != BF_OK) fail_msg("%s", err.msg);
    }
}

static void check_place(const struct cluster *cl, const char *group, const char *topic, int64_t number, const char *note) {
    struct bf_err err = {0};
    int64_t at = -1;
    char text[BF_TXN_NOTE_MAX + 1];
    if (bf_txn_place(cl->bootstrap, group, topic, 20000, &at, text, &err) != BF_OK) fail_msg("%s", err.msg);
    assert_int_equal(at, number);
    assert_string_equal(text, note);
}

static void test_transaction__carries_its_place_or_leaves_no_trace(void **state) {
    struct cluster *cl = *state;
    struct bf_err err = {0};
    char topic[64], group[64], note[BF_TXN_NOTE_MAX + 1];
    int64_t number;
    fresh_name(topic, "test", "txn");
    fresh_name(group, "test", "group");
    make_topic(cl, topic, 1);
    assert_int_equal(bf_txn_place(cl->bootstrap, group, topic, 20000, &number, note, &err), BF_NOT_FOUND);
    struct bf_producer *p = open_producer(cl->bootstrap, group);
    if (bf_txn_begin(p, &err) != BF_OK) fail_msg("%s", err.msg);
    send_numbers(p, topic, 0, 100);
    assert_int_equal(bf_txn_commit(p, group, topic, 100, "-5 17", 20000, &err), BF_OK);
    check_place(cl, group, topic, 100, "-5 17");
    if (bf_txn_begin(p, &err) != BF_OK) fail_msg("%s", err.msg);
    send_numbers(p, topic, 100, 150);
    bf_txn_abort(p, 20000);
    check_place(cl, group, topic, 100, "-5 17");
    if (bf_txn_begin(p, &err) != BF_OK) fail_msg("%s", err.msg);
    send_numbers(p, topic, 100, 200);
    if (bf_txn_commit(p, group, topic, 200, "6 18", 20000, &err) != BF_OK) fail_msg("%s", err.msg);
    check_place(cl, group, topic, 200, "6 18");
    bf_producer_close(p);
}

static void test_transaction__of_a_fenced_producer_does_not_commit(void **state) {
    struct cluster *cl = *state;
    struct bf_err err = {0};
    char topic[64], group[64];
    fresh_name(topic, "test", "txn");
    fresh_name(group, "test", "group");
    make_topic(cl, topic, 1);
    struct bf_producer *old = open_producer(cl->bootstrap, group);
    assert_int_equal(bf_txn_begin(old, &err), BF_OK);
    send_numbers(old, topic, 0, 10);
    struct bf_producer *new = open_producer(cl->bootstrap, group);
    assert_int_not_equal(bf_txn_commit(old, group, topic, 10, "old", 20000, &err), BF_OK);
    assert_int_equal(bf_txn_begin(new, &err), BF_OK);
    send_numbers(new, topic, 0, 20);
    assert_int_equal(bf_txn_commit(new, group, topic, 20, "new", 20000, &err), BF_OK);
    check_place(cl, group, topic, 20, "new");
    bf_producer_close(old);
    bf_producer_close(new);
}

static void test_embedded__takes_transactions_and_keeps_no_place(void **state) {
    struct cluster *cl = *state;
    struct bf_err err = {0};
    char topic[64], group[64], note[BF_TXN_NOTE_MAX + 1];
    int64_t number;
    fresh_name(topic, "test", "txn");
    fresh_name(group, "test", "group");
    make_topic(cl, topic, 1);
    struct bf_producer *p = open_producer(cl->bootstrap, group);
    for (int i = 0; i < 3; i++) {
        if (bf_txn_begin(p, &err) != BF_OK) fail_msg("%s", err.msg);
        send_numbers(p, topic, i * 100, (i + 1) * 100);
        if (bf_txn_commit(p, group, topic, (i + 1) * 100, "1 2", 20000, &err) != BF_OK) fail_msg("%s", err.msg);
    }
    assert_int_equal(bf_txn_place(cl->bootstrap, group, topic, 20000, &number, note, &err), BF_NOT_FOUND);
    bf_producer_close(p);
}

int main(void) {
    const struct CMUnitTest mock[] = {cmocka_unit_test(test_embedded__takes_transactions_and_keeps_no_place)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transaction__carries_its_place_or_leaves_no_trace),
        cmocka_unit_test(test_transaction__of_a_fenced_producer_does_not_commit),
    };
    int failed = cmocka_run_group_tests_name("mock", mock, cluster_open_mock, cluster_close);
    if (getenv("BF_TEST_KAFKA") != NULL) failed += cmocka_run_group_tests_name("kafka", tests, cluster_open_real, cluster_close);
    return failed;
}
