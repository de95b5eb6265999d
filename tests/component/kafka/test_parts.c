/* The consumer's judgement of offsets, and the table of librdkafka's codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "bf_kafka_parts.h"
#include "bf_kafka_rd.h"

#include <string.h>

static void test_parts__found_by_topic_and_partition(void **state) {
    struct bf_parts parts = {0};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_non_null(bf_parts_add(&parts, "rim.fast-path", i));
        assert_non_null(bf_parts_add(&parts, "odyssey.reflex", i));
    }
    for (int i = 0; i < 1000; i += 2) bf_parts_remove(&parts, bf_parts_find(&parts, "rim.fast-path", i));
    assert_int_equal(parts.count, 1500);
    assert_null(bf_parts_find(&parts, "rim.fast-path", 4));
    assert_int_equal(bf_parts_find(&parts, "rim.fast-path", 5)->partition, 5);
    assert_string_equal(bf_parts_find(&parts, "odyssey.reflex", 4)->topic, "odyssey.reflex");
    size_t seen = 0;
    for (struct bf_part *p = bf_parts_next(&parts, NULL); p != NULL; p = bf_parts_next(&parts, p)) seen++;
    assert_int_equal(seen, 1500);
    bf_parts_clear(&parts);
    assert_int_equal(parts.count, 0);
}

static void test_judge__what_is_not_read_or_below_is_stale(void **state) {
    struct bf_parts parts = {0};
    struct bf_part *part = bf_parts_add(&parts, "a.b", 0);
    (void)state;
    bf_part_position(part, 10);
    assert_int_equal(bf_part_judge(part, 10), BF_PART_STALE); /* waiting */
    part->phase = BF_PART_READING;
    assert_int_equal(bf_part_judge(part, 9), BF_PART_STALE);
    assert_int_equal(bf_part_judge(part, 10), BF_PART_TAKE);
    part->expected = 11;
    assert_int_equal(bf_part_judge(part, 10), BF_PART_STALE);
    assert_int_equal(bf_part_judge(part, 15), BF_PART_TAKE); /* a gap in the middle is legal */
    bf_parts_clear(&parts);
}

static void test_judge__a_first_gap_counts_only_when_seen_twice(void **state) {
    struct bf_parts parts = {0};
    struct bf_part *part = bf_parts_add(&parts, "a.b", 0);
    (void)state;
    part->phase = BF_PART_READING;
    bf_part_position(part, 10);
    assert_int_equal(bf_part_judge(part, 500), BF_PART_READ_AGAIN);
    bf_part_position(part, 10); /* as reading again does */
    assert_int_equal(bf_part_judge(part, 12), BF_PART_READ_AGAIN);
    bf_part_position(part, 10);
    assert_int_equal(bf_part_judge(part, 12), BF_PART_TAKE);
    bf_part_position(part, 10);
    assert_int_equal(bf_part_judge(part, 500), BF_PART_READ_AGAIN);
    bf_part_position(part, 20); /* elsewhere: what was seen before says nothing */
    assert_int_equal(bf_part_judge(part, 500), BF_PART_READ_AGAIN);
    bf_parts_clear(&parts);
}

static void test_codes__each_row(void **state) {
    static const struct {
        rd_kafka_resp_err_t native;
        enum bf_code code;
    } rows[] = {
        {RD_KAFKA_RESP_ERR_NO_ERROR, BF_OK},
        {RD_KAFKA_RESP_ERR__INVALID_ARG, BF_INVALID},
        {RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, BF_INVALID},
        {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, BF_INVALID},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, BF_INVALID},
        {RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, BF_INVALID},
        {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, BF_INVALID},
        {RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, BF_INVALID},
        {RD_KAFKA_RESP_ERR_INVALID_PARTITIONS, BF_INVALID},
        {RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR, BF_INVALID},
        {RD_KAFKA_RESP_ERR_INVALID_CONFIG, BF_INVALID},
        {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, BF_INVALID},
        {RD_KAFKA_RESP_ERR_INVALID_RECORD, BF_INVALID},
        {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, BF_INVALID},
        {RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS, BF_EXISTS},
        {RD_KAFKA_RESP_ERR__QUEUE_FULL, BF_AGAIN},
        {RD_KAFKA_RESP_ERR__TIMED_OUT, BF_AGAIN},
        {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, BF_AGAIN},
        {RD_KAFKA_RESP_ERR__TRANSPORT, BF_AGAIN},
        {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, BF_AGAIN},
        {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, BF_AGAIN},
        {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, BF_AGAIN},
        {RD_KAFKA_RESP_ERR__PURGE_QUEUE, BF_CANCELLED},
        {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, BF_CANCELLED},
        {RD_KAFKA_RESP_ERR__DESTROY, BF_CANCELLED},
        {RD_KAFKA_RESP_ERR__FATAL, BF_BROKEN},
        {RD_KAFKA_RESP_ERR__FENCED, BF_BROKEN},
        {RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, BF_BROKEN},
        {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, BF_AGAIN}, /* not in the table: an outage */
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, BF_AGAIN},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (bf_rd_code(rows[i].native) != rows[i].code) fail_msg("%s", rd_kafka_err2name(rows[i].native));
    }
}

static void test_extra__lines_win_and_wrong_ones_are_named(void **state) {
    const struct bf_kafka_property none[] = {{"linger.ms", "5"}, {NULL, NULL}};
    struct bf_err err = {0};
    rd_kafka_conf_t *conf = NULL;
    char value[64];
    size_t size = sizeof value;
    (void)state;
    assert_int_equal(bf_rd_conf(none, "linger.ms=7\n\n acks=1 \n", &conf, &err), BF_OK);
    assert_int_equal(rd_kafka_conf_get(conf, "linger.ms", value, &size), RD_KAFKA_CONF_OK);
    assert_string_equal(value, "7");
    rd_kafka_conf_destroy(conf);
    assert_int_equal(bf_rd_conf(none, "no.such.thing=1", &conf, &err), BF_INVALID);
    assert_non_null(strstr(err.msg, "no.such.thing"));
    assert_int_equal(bf_rd_conf(none, "nonsense", &conf, &err), BF_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts__found_by_topic_and_partition),
        cmocka_unit_test(test_judge__what_is_not_read_or_below_is_stale),
        cmocka_unit_test(test_judge__a_first_gap_counts_only_when_seen_twice),
        cmocka_unit_test(test_codes__each_row),
        cmocka_unit_test(test_extra__lines_win_and_wrong_ones_are_named),
    };
    return cmocka_run_group_tests_name("kafka_parts", tests, NULL, NULL);
}
