/* The consumer against a mock cluster, and against a real Kafka when there is one: positions, rebalances, rewinds, gaps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "bf_time.h"
#include "bf_topics.h"
#include "kafka_fixture.h"

#include <librdkafka/rdkafka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 8 };

/* Where reading stands, outside of Kafka, as a store would have it; shared by the members of a group. */
struct ledger {
    int64_t next[PARTS_MAX];
    int64_t start;      /* what to say for a partition never seen: an offset, EARLIEST or COMMITTED */
    int refuse;         /* answer BF_AGAIN so many times */
    int asked, given, taken, ends;
    int64_t end[PARTS_MAX], committed[PARTS_MAX];
    int64_t lost_from, lost_to;
    int lost;
    int read, repeated, holes; /* messages; not at the expected offset */
    char topic[64];
};

static enum bf_code on_assigned(void *ctx, struct bf_tp *tps, size_t count, struct bf_err *err) {
    struct ledger *l = ctx;

    l->asked++;
    if (l->refuse > 0) {
        l->refuse--;
        return bf_fail(err, BF_AGAIN, 0, "the store is away");
    }
    for (size_t i = 0; i < count; i++) {
        l->committed[tps[i].partition] = tps[i].offset;
        tps[i].offset = l->next[tps[i].partition] >= 0 ? l->next[tps[i].partition] : l->start;
        l->given++;
    }
    return BF_OK;
}

static void on_revoked(void *ctx, const struct bf_tp *tps, size_t count, bool lost) {
    struct ledger *l = ctx;
    (void)tps, (void)lost;
    l->taken += (int)count;
}

static void on_end(void *ctx, const char *topic, int32_t partition, int64_t offset) {
    struct ledger *l = ctx;
    (void)topic;
    l->ends++;
    l->end[partition] = offset;
}

static void on_lost(void *ctx, const char *topic, int32_t partition, int64_t from, int64_t to) {
    struct ledger *l = ctx;
    (void)topic;
    l->lost++;
    l->lost_from = from;
    l->lost_to = to;
    l->next[partition] = to;
}

static void ledger_init(struct ledger *l, int64_t start) {
    memset(l, 0, sizeof *l);
    l->start = start;
    for (int i = 0; i < PARTS_MAX; i++) l->next[i] = l->end[i] = l->committed[i] = -1;
}

static struct bf_consumer *open_consumer(const struct cluster *cl, const char *group, const char *const *topics, struct ledger *l,
                                         const char *extra) {
    struct bf_err err = {0};
    struct bf_consumer *c = NULL;
    char more[256] = "";

    /* The mock's rebalances take the session's timeout less a second. */
    if (cl->mock != NULL) snprintf(more, sizeof more, "session.timeout.ms=2500\nheartbeat.interval.ms=500\n");
    if (extra != NULL) strncat(more, extra, sizeof more - strlen(more) - 1);
    struct bf_consumer_settings settings = {
        .bootstrap = cl->bootstrap, .group = group, .client_id = "test", .topics = topics, .extra = more,
        .calls = {on_assigned, on_revoked, on_end, on_lost, l}};
    if (bf_consumer_open(&settings, &c, &err) != BF_OK) fail_msg("%s", err.msg);
    return c;
}

static void note(struct ledger *l, const struct bf_message *m) {
    int64_t *next = &l->next[m->partition];

    l->read++;
    if (*next >= 0 && m->offset < *next) l->repeated++;
    if (*next >= 0 && m->offset > *next) l->holes++;
    *next = m->offset + 1;
    snprintf(l->topic, sizeof l->topic, "%s", m->topic);
}

static void poll_once(struct bf_consumer *c, struct ledger *l, int timeout_ms) {
    const struct bf_message *m = NULL;
    struct bf_err err = {0};
    enum bf_code code = bf_consumer_poll(c, timeout_ms, &m, &err);

    if (code == BF_OK) note(l, m);
    else if (code == BF_BROKEN) fail_msg("%s", err.msg);
    else if (code != BF_NOT_FOUND && getenv("BF_TEST_VERBOSE") != NULL) fprintf(stderr, "%s\n", err.msg);
}

/* Poll until `count` were read; fails after 30 s. Then a little longer, to see what should not come. */
static void read_until(struct bf_consumer *c, struct ledger *l, int count, int longer_ms) {
    int64_t deadline = bf_time_monotonic_us() + 30000000;

    while (l->read < count) {
        if (bf_time_monotonic_us() > deadline) fail_msg("read %d of %d", l->read, count);
        poll_once(c, l, 50);
    }
    deadline = bf_time_monotonic_us() + longer_ms * 1000;
    while (bf_time_monotonic_us() < deadline) poll_once(c, l, 20);
}

struct one {
    char topic[64], group[64];
    const char *topics[2];
    struct ledger l;
};

static void one_init(struct one *o, const struct cluster *cl, int partitions, int64_t start) {
    fresh_name(o->topic, "test", "t");
    fresh_name(o->group, "group", "g");
    o->topics[0] = o->topic;
    o->topics[1] = NULL;
    ledger_init(&o->l, start);
    make_topic(cl, o->topic, partitions);
}

static void test_begin__where_the_caller_says(void **state) {
    struct cluster *cl = *state;
    struct one o;
    one_init(&o, cl, 3, 40);
    produce_numbers(cl, o.topic, 3, 0, 100);
    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    read_until(c, &o.l, 180, 300);
    assert_int_equal(o.l.read, 180);
    assert_int_equal(o.l.holes + o.l.repeated, 0);
    assert_int_equal(o.l.ends, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(o.l.end[i], 100);
    bf_consumer_close(c);
    assert_int_equal(o.l.taken, 3);
}

static void test_begin__earliest_then_committed(void **state) {
    struct cluster *cl = *state;
    struct one o;
    struct bf_err err = {0};
    one_init(&o, cl, 2, BF_CONSUMER_COMMITTED); /* nothing committed: the earliest */
    produce_numbers(cl, o.topic, 2, 0, 50);
    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    read_until(c, &o.l, 100, 0);
    assert_int_equal(o.l.committed[1], -1);
    struct bf_tp at[] = {{o.topic, 0, 20}, {o.topic, 1, 30}};
    assert_int_equal(bf_consumer_commit(c, at, 2, true, &err), BF_OK);
    int64_t low = -5, high = -5;
    assert_int_equal(bf_consumer_query_watermarks(c, o.topic, 1, 10000, &low, &high, &err), BF_OK);
    assert_int_equal(low, 0);
    assert_int_equal(high, 50);
    assert_true(bf_consumer_watermarks(c, o.topic, 1, &low, &high));
    assert_int_equal(high, 50);
    bf_consumer_close(c);

    struct bf_group_view *view = NULL;
    struct bf_tp seen[] = {{o.topic, 0, 0}, {o.topic, 1, 0}, {o.topic, 7, 0}};
    assert_int_equal(bf_group_view_open(cl->bootstrap, o.group, &view, &err), BF_OK);
    assert_int_equal(bf_group_view_committed(view, seen, 3, 10000, &err), BF_OK);
    assert_int_equal(seen[0].offset, 20);
    assert_int_equal(seen[1].offset, 30);
    assert_int_equal(seen[2].offset, -1);
    bf_group_view_close(view);

    ledger_init(&o.l, BF_CONSUMER_COMMITTED);
    c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    read_until(c, &o.l, 50, 200);
    assert_int_equal(o.l.read, 50);
    assert_int_equal(o.l.committed[0], 20);
    bf_consumer_close(c);
}

static void test_begin__again_keeps_membership_and_asks_again(void **state) {
    struct cluster *cl = *state;
    struct one o;
    one_init(&o, cl, 2, 0);
    o.l.refuse = 5;
    produce_numbers(cl, o.topic, 2, 0, 10);
    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    read_until(c, &o.l, 20, 100);
    assert_int_equal(o.l.read, 20);
    assert_int_equal(o.l.asked, 6);
    assert_int_equal(o.l.given, 2);
    assert_int_equal(o.l.taken, 0);
    bf_consumer_close(c);
    assert_int_equal(o.l.taken, 2);
}

static void test_revoke__what_was_never_begun_is_given_back_in_silence(void **state) {
    struct cluster *cl = *state;
    struct one o;
    struct ledger other;
    one_init(&o, cl, 4, 0);
    o.l.refuse = 1 << 30; /* this member's store never comes */
    ledger_init(&other, 0);
    produce_numbers(cl, o.topic, 4, 0, 10);
    struct bf_consumer *stuck = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    for (int64_t until = bf_time_monotonic_us() + 1000000; bf_time_monotonic_us() < until || o.l.asked == 0;) poll_once(stuck, &o.l, 50);
    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &other, NULL);
    for (int64_t deadline = bf_time_monotonic_us() + 30000000; other.read < 20 && bf_time_monotonic_us() < deadline;) {
        poll_once(stuck, &o.l, 20);
        poll_once(c, &other, 20);
    }
    assert_int_equal(other.read, 20); /* its half */
    bf_consumer_close(stuck);
    assert_int_equal(o.l.taken, 0);
    read_until(c, &other, 40, 0);
    bf_consumer_close(c);
}

static void test_rewind__gives_the_same_again_without_hole(void **state) {
    struct cluster *cl = *state;
    struct one o;
    struct bf_err err = {0};
    one_init(&o, cl, 1, 0);
    produce_numbers(cl, o.topic, 1, 0, 5000);
    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    read_until(c, &o.l, 1000, 0);
    for (int round = 0; round < 20; round++) { /* with the local queue full of later messages */
        int64_t at = 100 + round * 37;
        struct bf_tp tp = {o.topic, 0, at};
        assert_int_equal(bf_consumer_rewind(c, &tp, 1, &err), BF_OK);
        o.l.next[0] = at;
        read_until(c, &o.l, o.l.read + 50, 0);
        assert_int_equal(o.l.holes + o.l.repeated, 0);
    }
    struct bf_tp forward = {o.topic, 0, 4990};
    assert_int_equal(bf_consumer_rewind(c, &forward, 1, &err), BF_OK);
    o.l.next[0] = 4990;
    o.l.read = 0;
    read_until(c, &o.l, 10, 300);
    assert_int_equal(o.l.read, 10);
    bf_consumer_close(c);
}

static void test_pause__nothing_comes_and_nothing_is_skipped(void **state) {
    struct cluster *cl = *state;
    struct one o;
    struct bf_err err = {0};
    one_init(&o, cl, 2, 0);
    produce_numbers(cl, o.topic, 2, 0, 3000);
    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    for (int round = 1; round <= 5; round++) {
        read_until(c, &o.l, round * 500, 0);
        assert_int_equal(bf_consumer_pause(c, &err), BF_OK);
        int before = o.l.read;
        for (int i = 0; i < 10; i++) poll_once(c, &o.l, 20);
        assert_int_equal(o.l.read, before);
        assert_int_equal(bf_consumer_resume(c, &err), BF_OK);
    }
    read_until(c, &o.l, 6000, 200);
    assert_int_equal(o.l.read, 6000);
    assert_int_equal(o.l.holes + o.l.repeated, 0);
    bf_consumer_close(c);
}

static void test_rebalance__two_members_read_everything_once(void **state) {
    struct cluster *cl = *state;
    struct one o;
    one_init(&o, cl, 6, 0);
    produce_numbers(cl, o.topic, 6, 0, 300);
    struct bf_consumer *a = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    read_until(a, &o.l, 300, 0);
    struct bf_consumer *b = open_consumer(cl, o.group, o.topics, &o.l, NULL); /* the same ledger: offsets live outside */
    for (int64_t deadline = bf_time_monotonic_us() + 30000000; o.l.taken < 3 && bf_time_monotonic_us() < deadline;) {
        poll_once(a, &o.l, 20);
        poll_once(b, &o.l, 20);
    }
    assert_int_equal(o.l.taken, 3);
    produce_numbers(cl, o.topic, 6, 300, 600);
    for (int64_t deadline = bf_time_monotonic_us() + 30000000; o.l.read < 3600 && bf_time_monotonic_us() < deadline;) {
        poll_once(a, &o.l, 5);
        poll_once(b, &o.l, 5);
    }
    bf_consumer_close(a);
    produce_numbers(cl, o.topic, 6, 600, 700);
    read_until(b, &o.l, 4200, 300);
    bf_consumer_close(b);
    assert_int_equal(o.l.read, 4200);
    assert_int_equal(o.l.holes, 0);
    assert_int_equal(o.l.repeated, 0);
}

static void test_pattern__finds_new_topics_and_leaves_others_alone(void **state) {
    struct cluster *cl = *state;
    struct ledger l;
    char group[64], domain[64], first[64], second[64], replay[64], pattern[128];
    const char *topics[] = {pattern, NULL};

    fresh_name(group, "group", "g");
    fresh_name(domain, "x", "d");
    memmove(domain, domain + 2, strlen(domain + 2) + 1); /* d-1234abcd */
    snprintf(pattern, sizeof pattern, "^(%s|replay)\\.[a-z0-9-]+", domain);
    fresh_name(first, domain, "one");
    fresh_name(second, domain, "two");
    fresh_name(replay, "replay", "job");
    ledger_init(&l, 0);
    make_topic(cl, first, 1);
    make_topic(cl, replay, 1);
    produce_numbers(cl, first, 1, 0, 10);
    produce_numbers(cl, replay, 1, 0, 10);
    struct bf_consumer *c = open_consumer(cl, group, topics, &l, "topic.metadata.refresh.interval.ms=500");
    read_until(c, &l, 10, 500);
    assert_int_equal(l.read, 10);
    assert_string_equal(l.topic, first);
    l.next[0] = -1;
    make_topic(cl, second, 1);
    produce_numbers(cl, second, 1, 0, 7);
    read_until(c, &l, 17, 300);
    assert_int_equal(l.read, 17);
    assert_string_equal(l.topic, second);
    bf_consumer_close(c);
}

static void test_headers_nulls_and_sizes__arrive_as_they_were_sent(void **state) {
    struct cluster *cl = *state;
    struct one o;
    struct bf_err err = {0};
    struct bf_producer *p = NULL;
    struct bf_producer_settings settings = {.bootstrap = cl->bootstrap};
    const struct bf_header headers[] = {{"ce_id", {"abc", 3}}, {"empty", {"", 0}}, {"none", BF_SLICE_NONE}, {"ce_id", {"again", 5}}};
    const struct bf_message *m = NULL;
    size_t big = 4 << 20;
    char *bytes = malloc(big);

    assert_non_null(bytes);
    memset(bytes, 7, big);
    one_init(&o, cl, 1, 0);
    assert_int_equal(bf_producer_open(&settings, &p, &err), BF_OK);
    assert_int_equal(bf_producer_send(p, o.topic, 0, bf_slice_str("key"), BF_SLICE_NONE, headers, 4, 1234567890123, NULL, &err), BF_OK);
    assert_int_equal(bf_producer_send(p, o.topic, 0, BF_SLICE_NONE, (struct bf_slice){"", 0}, NULL, 0, 0, NULL, &err), BF_OK);
    assert_int_equal(bf_producer_send(p, o.topic, 0, BF_SLICE_NONE, (struct bf_slice){bytes, big}, NULL, 0, 0, NULL, &err), BF_OK);
    assert_int_equal(bf_producer_flush(p, 20000, &err), BF_OK);
    bf_producer_close(p);

    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    while (bf_consumer_poll(c, 1000, &m, &err) != BF_OK) {}
    assert_int_equal(m->offset, 0);
    assert_int_equal(m->timestamp_ms, 1234567890123);
    assert_null(m->value.data);
    assert_int_equal(m->key.len, 3);
    assert_int_equal(m->header_count, 4);
    assert_string_equal(m->headers[0].name, "ce_id");
    assert_memory_equal(m->headers[0].value.data, "abc", 3);
    assert_non_null(m->headers[1].value.data);
    assert_int_equal(m->headers[1].value.len, 0);
    assert_null(m->headers[2].value.data);
    assert_int_equal(m->headers[3].value.len, 5);
    assert_int_equal(bf_consumer_poll(c, 5000, &m, &err), BF_OK);
    assert_null(m->key.data);
    assert_non_null(m->value.data);
    assert_int_equal(m->value.len, 0);
    assert_int_equal(m->header_count, 0);
    while (bf_consumer_poll(c, 1000, &m, &err) != BF_OK) {}
    assert_int_equal(m->value.len, big);
    assert_memory_equal(m->value.data, bytes, big);
    bf_consumer_close(c);
    free(bytes);
}

static void test_away__is_said_and_does_not_end_it(void **state) {
    struct ledger l;
    struct cluster nobody = {NULL, "127.0.0.1:1"};
    const char *topics[] = {"a.b", NULL};
    const struct bf_message *m = NULL;
    struct bf_err err = {0};
    enum bf_code code = BF_NOT_FOUND;

    (void)state;
    ledger_init(&l, 0);
    struct bf_consumer *c = open_consumer(&nobody, "g", topics, &l, NULL);
    for (int i = 0; i < 100 && code == BF_NOT_FOUND; i++) code = bf_consumer_poll(c, 50, &m, &err);
    assert_int_equal(code, BF_AGAIN);
    code = bf_consumer_poll(c, 50, &m, &err);
    assert_true(code == BF_NOT_FOUND || code == BF_AGAIN);
    bf_consumer_close(c);
}

static void test_lost_range__mock_forgets_and_it_is_seen(void **state) {
    struct cluster *cl = *state;
    struct one o;
    if (cl->mock == NULL) return; /* real Kafka: below */
    one_init(&o, cl, 1, 0);
    produce_bytes(cl, o.topic, 0, 120, 100000); /* 12 MB into 5 MiB */
    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    while (o.l.next[0] < 120) read_until(c, &o.l, o.l.read + 1, 0);
    assert_int_equal(o.l.lost, 1);
    assert_int_equal(o.l.lost_from, 0);
    assert_true(o.l.lost_to > 50 && o.l.lost_to < 90);
    assert_int_equal(o.l.read, 120 - o.l.lost_to);
    assert_int_equal(o.l.holes, 0);
    bf_consumer_close(c);
}

static void delete_records(const struct cluster *cl, const char *topic, int64_t before) {
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", cl->bootstrap, text, sizeof text), RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = before;
    rd_kafka_DeleteRecords_t *del = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(rk, &del, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20000);
    assert_non_null(event);
    assert_int_equal(rd_kafka_event_error(event), 0);
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteRecords_destroy(del);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
}

static void test_real__deleted_records_are_a_lost_range_at_start_and_under_way(void **state) {
    struct cluster *cl = *state;
    struct one o;
    struct bf_err err = {0};
    one_init(&o, cl, 1, 5);
    produce_numbers(cl, o.topic, 1, 0, 1000);
    delete_records(cl, o.topic, 300);
    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    read_until(c, &o.l, 700, 0);
    assert_int_equal(o.l.lost, 1);
    assert_int_equal(o.l.lost_from, 5);
    assert_int_equal(o.l.lost_to, 300);
    delete_records(cl, o.topic, 900);
    struct bf_tp back = {o.topic, 0, 400};
    assert_int_equal(bf_consumer_rewind(c, &back, 1, &err), BF_OK);
    o.l.next[0] = 400;
    read_until(c, &o.l, 800, 300);
    assert_int_equal(o.l.read, 800);
    assert_int_equal(o.l.lost, 2);
    assert_int_equal(o.l.lost_from, 400);
    assert_int_equal(o.l.lost_to, 900);
    produce_numbers(cl, o.topic, 1, 1000, 1010); /* and it goes on */
    read_until(c, &o.l, 810, 0);
    assert_int_equal(o.l.holes + o.l.repeated, 0);
    bf_consumer_close(c);
}

static void test_real__a_position_beyond_the_end_is_broken_not_lost(void **state) {
    struct cluster *cl = *state;
    struct one o;
    const struct bf_message *m = NULL;
    struct bf_err err = {0};
    enum bf_code code = BF_NOT_FOUND;
    one_init(&o, cl, 1, 500);
    produce_numbers(cl, o.topic, 1, 0, 10);
    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    for (int64_t deadline = bf_time_monotonic_us() + 40000000; code != BF_BROKEN && bf_time_monotonic_us() < deadline;) {
        code = bf_consumer_poll(c, 200, &m, &err);
        assert_int_not_equal(code, BF_OK);
    }
    assert_int_equal(code, BF_BROKEN);
    assert_non_null(strstr(err.msg, o.topic));
    assert_int_equal(o.l.lost, 0);
    bf_consumer_close(c);
}

static void produce_in_transactions(const struct cluster *cl, const char *topic, int count, bool abort_odd) {
    char text[256], id[64];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    fresh_name(id, "tx", "id");
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", cl->bootstrap, text, sizeof text), RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "transactional.id", id, text, sizeof text), RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_null(rd_kafka_init_transactions(rk, 30000));
    for (int i = 0; i < count; i++) {
        assert_null(rd_kafka_begin_transaction(rk));
        assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE("v", 1),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END), 0);
        rd_kafka_error_t *error = abort_odd && i % 2 == 1 ? (rd_kafka_flush(rk, 10000), rd_kafka_abort_transaction(rk, 30000))
                                                          : rd_kafka_commit_transaction(rk, 30000);
        assert_null(error);
    }
    rd_kafka_destroy(rk);
}

static void test_real__transaction_markers_are_legal_holes(void **state) {
    struct cluster *cl = *state;
    struct one o;
    struct bf_err err = {0};
    one_init(&o, cl, 1, 0);
    produce_in_transactions(cl, o.topic, 10, true); /* 20 offsets: 5 seen, 5 aborted, 10 markers */
    struct bf_consumer *c = open_consumer(cl, o.group, o.topics, &o.l, NULL);
    read_until(c, &o.l, 5, 500);
    assert_int_equal(o.l.read, 5);
    assert_int_equal(o.l.repeated, 0);
    assert_int_equal(o.l.end[0], 20); /* the end is beyond the last marker */
    for (int64_t at = 1; at <= 19; at++) { /* begin on a marker, on an aborted one, on the last marker */
        struct bf_tp tp = {o.topic, 0, at};
        o.l.next[0] = at;
        o.l.read = o.l.ends = 0;
        assert_int_equal(bf_consumer_rewind(c, &tp, 1, &err), BF_OK);
        int left = (int)((19 - at) / 4);
        read_until(c, &o.l, left, 0);
        for (int64_t until = bf_time_monotonic_us() + 5000000; o.l.ends == 0 && bf_time_monotonic_us() < until;) poll_once(c, &o.l, 20);
        assert_int_equal(o.l.ends, 1);
        assert_int_equal(o.l.end[0], 20);
    }
    bf_consumer_close(c);
}

/* Members that leave while the group is still being put together: librdkafka before 2.3 would end the process. */
static void test_close__in_the_middle_of_joining(void **state) {
    enum { MEMBERS = 4, ROUNDS = 6 };
    struct one o;
    struct bf_consumer *c[MEMBERS];
    one_init(&o, *state, 4, BF_CONSUMER_EARLIEST);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MEMBERS; i++) c[i] = open_consumer(*state, o.group, o.topics, &o.l, NULL);
        for (int i = 0; i < MEMBERS; i++) poll_once(c[i], &o.l, 20 + 60 * round);
        for (int i = 0; i < MEMBERS; i++) bf_consumer_close(c[i]);
    }
}

int main(void) {
#define BOTH                                                                                                                            \
    cmocka_unit_test(test_begin__where_the_caller_says), cmocka_unit_test(test_begin__earliest_then_committed),                        \
        cmocka_unit_test(test_begin__again_keeps_membership_and_asks_again),                                                           \
        cmocka_unit_test(test_revoke__what_was_never_begun_is_given_back_in_silence),                                                  \
        cmocka_unit_test(test_rewind__gives_the_same_again_without_hole),                                                              \
        cmocka_unit_test(test_pause__nothing_comes_and_nothing_is_skipped),                                                            \
        cmocka_unit_test(test_rebalance__two_members_read_everything_once),                                                            \
        cmocka_unit_test(test_pattern__finds_new_topics_and_leaves_others_alone),                                                      \
        cmocka_unit_test(test_headers_nulls_and_sizes__arrive_as_they_were_sent), cmocka_unit_test(test_away__is_said_and_does_not_end_it)
    const struct CMUnitTest mock[] = {BOTH, cmocka_unit_test(test_lost_range__mock_forgets_and_it_is_seen)};
    const struct CMUnitTest real[] = {
        BOTH,
        cmocka_unit_test(test_real__deleted_records_are_a_lost_range_at_start_and_under_way),
        cmocka_unit_test(test_real__a_position_beyond_the_end_is_broken_not_lost),
        cmocka_unit_test(test_real__transaction_markers_are_legal_holes),
        cmocka_unit_test(test_close__in_the_middle_of_joining),
    };
    int failed = cmocka_run_group_tests_name("kafka_consumer mock", mock, cluster_open_mock, cluster_close);
    if (getenv("BF_TEST_KAFKA") != NULL) {
        failed += cmocka_run_group_tests_name("kafka_consumer real", real, cluster_open_real, cluster_close);
    }
    return failed;
}
