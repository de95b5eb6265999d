/* Consume, transform, produce: after a crash whatever is below the committed offsets was acknowledged, and the next one does the rest; a message that has
 * to wait comes again before anything else of its partition. One process runs both, because stopping cleanly is once in a process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bf_stop.h"
#include "bf_transform.h"
#include "kafka_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTITIONS = 3, EACH = 300, CRASH_AT = 400, WAITS = 3 };

struct work {
    struct bf_transform *t;
    char in[64], out[64], group[64];
    int64_t begun[PARTITIONS], next[PARTITIONS];
    int done, crash_at, waits_left;
    int64_t wait_offset; /* of partition 1: there a dependency is away */
};

static enum bf_code on_assigned(void *ctx, const struct bf_tp *begin, size_t count, struct bf_err *err) {
    struct work *w = ctx;
    (void)err;
    for (size_t i = 0; i < count; i++) w->begun[begin[i].partition] = w->next[begin[i].partition] = begin[i].offset;
    return BF_OK;
}

static enum bf_code on_message(void *ctx, const struct bf_message *msg, struct bf_err *err) {
    struct work *w = ctx;
    assert_int_equal(msg->offset, w->next[msg->partition]);
    if (w->crash_at != 0 && w->done == w->crash_at) return bf_fail(err, BF_BROKEN, 0, "crash");
    if (msg->partition == 1 && msg->offset == w->wait_offset && w->waits_left > 0) {
        w->waits_left--;
        return bf_fail(err, BF_AGAIN, 0, "away");
    }
    enum bf_code code = bf_transform_send(w->t, w->out, msg->value, msg->value, NULL, 0, err);
    if (code != BF_OK) return code;
    w->done++;
    w->next[msg->partition]++;
    bool all = true;
    for (int p = 0; p < PARTITIONS; p++) all = all && w->next[p] == EACH;
    if (all) bf_stop_request();
    return BF_OK;
}

static enum bf_code run(struct work *w, const struct cluster *cl, struct bf_err *err) {
    const struct bf_transform_settings settings = {.bootstrap = cl->bootstrap, .group = w->group, .client_id = "test", .topic_in = w->in,
                                                   .linger_ms = BF_LINGER_ADAPTIVE, .commit_interval_ms = 1, .retry_ms = 50, .tick_ms = 100, .in_flight_max = 1000,
                                                   .calls = {.assigned = on_assigned, .message = on_message, .ctx = w}};
    assert_int_equal(bf_transform_open(&settings, &w->t, err), BF_OK);
    enum bf_code code = bf_transform_run(w->t, err);
    bf_transform_close(w->t);
    w->t = NULL;
    return code;
}

static void committed(const struct work *w, const struct cluster *cl, int64_t offsets[PARTITIONS]) {
    struct bf_group_view *view = NULL;
    struct bf_err err = {0};
    struct bf_tp tps[PARTITIONS];
    for (int p = 0; p < PARTITIONS; p++) tps[p] = (struct bf_tp){w->in, p, -1};
    assert_int_equal(bf_group_view_open(cl->bootstrap, w->group, &view, &err), BF_OK);
    assert_int_equal(bf_group_view_committed(view, tps, PARTITIONS, 10000, &err), BF_OK);
    for (int p = 0; p < PARTITIONS; p++) offsets[p] = tps[p].offset;
    bf_group_view_close(view);
}

/* How often each input is in the output, by a reader of its own. */
static void read_out(const struct work *w, const struct cluster *cl, int seen[PARTITIONS][EACH]) {
    const char *const topics[] = {w->out, NULL};
    char group[80];
    struct bf_consumer *c = NULL;
    struct bf_err err = {0};
    const struct bf_message *msg;
    snprintf(group, sizeof group, "%s-reader-%d", w->group, w->done);
    const struct bf_consumer_settings settings = {.bootstrap = cl->bootstrap, .group = group, .client_id = "test", .topics = topics};
    assert_int_equal(bf_consumer_open(&settings, &c, &err), BF_OK);
    for (int quiet = 0, any = 0; quiet < (any ? 20 : 300);) {
        if (bf_consumer_poll(c, 100, &msg, &err) != BF_OK) {
            quiet++;
            continue;
        }
        int p, n;
        char text[32];
        quiet = 0;
        any = 1;
        snprintf(text, sizeof text, "%.*s", (int)msg->value.len, (const char *)msg->value.data);
        assert_int_equal(sscanf(text, "%d:%d", &p, &n), 2);
        seen[p][n]++;
    }
    bf_consumer_close(c);
}

static void test_transform__a_crash_loses_nothing_and_what_waits_keeps_its_place(void **state) {
    const struct cluster *cl = *state;
    struct work w = {.crash_at = CRASH_AT, .waits_left = WAITS, .wait_offset = -1};
    struct bf_err err = {0};
    static int after_crash[PARTITIONS][EACH], at_end[PARTITIONS][EACH];
    int64_t offsets[PARTITIONS];
    fresh_name(w.in, "test", "in");
    fresh_name(w.out, "test", "out");
    fresh_name(w.group, "test", "group");
    make_topic(cl, w.in, PARTITIONS);
    make_topic(cl, w.out, PARTITIONS);
    produce_numbers(cl, w.in, PARTITIONS, 0, EACH);

    assert_int_equal(run(&w, cl, &err), BF_BROKEN); /* what was not sent yet is gone, as in a crash */
    assert_int_equal(w.done, CRASH_AT);
    committed(&w, cl, offsets);
    read_out(&w, cl, after_crash);
    for (int p = 0; p < PARTITIONS; p++)
        for (int64_t n = 0; n < offsets[p]; n++) assert_int_not_equal(after_crash[p][n], 0); /* never ahead of what is acknowledged */

    w.crash_at = 0;
    w.wait_offset = EACH - 10;
    assert_int_equal(run(&w, cl, &err), BF_OK);
    assert_int_equal(w.waits_left, 0);
    committed(&w, cl, offsets);
    read_out(&w, cl, at_end);
    for (int p = 0; p < PARTITIONS; p++) {
        assert_int_equal(offsets[p], EACH);
        for (int n = 0; n < EACH; n++) assert_in_range(at_end[p][n], 1, 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_transform__a_crash_loses_nothing_and_what_waits_keeps_its_place,
                                        getenv("BF_TEST_KAFKA") != NULL ? cluster_open_real : cluster_open_mock, cluster_close)};
    struct bf_err err = {0};
    return bf_stop_install(&err) == BF_OK ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
