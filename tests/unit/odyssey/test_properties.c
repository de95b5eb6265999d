/* Shuffled, doubled and delayed within the allowed lateness, signals make the very same messages; cut anywhere and learned again in silence, the rest
 * is the same. Over all kinds of rules, compared by the bytes that would go to Kafka. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "speak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES 5
#define SIGNALS 600
#define LATENESS_MS 2000
#define ROUNDS 40

static const char rules[] =
    "{\"name\":\"hot\",\"kind\":\"threshold\",\"field\":\"stress\",\"above\":0.9},{\"name\":\"move\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":20},"
    "{\"name\":\"drift\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":40,\"window\":\"8s\",\"cooldown\":\"3s\"},"
    "{\"name\":\"rate\",\"kind\":\"rate_of_change\",\"field\":\"price\",\"above\":20},{\"name\":\"odd\",\"kind\":\"zscore\",\"field\":\"price\",\"above\":1.5,\"window\":\"20s\"},"
    "{\"name\":\"gone\",\"kind\":\"silence\",\"after\":\"2s\"},{\"name\":\"regime\",\"kind\":\"regime\",\"hysteresis\":0.05,\"min_dwell\":\"1s\"},"
    "{\"name\":\"both\",\"kind\":\"all\",\"of\":[{\"kind\":\"threshold\",\"field\":\"stress\",\"above\":0.6},{\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":10}]}";

struct line { /* one message: its id and all its bytes */
    uint8_t bytes[700];
    size_t len;
};

struct heard {
    struct speaker *speaker;
    struct line *lines;
    size_t count;
};

static uint64_t seed;
static uint32_t draw(uint32_t below) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % below;
}

static enum bf_code on_reflex(void *ctx, const struct reflex *r, struct bf_err *err) {
    struct heard *h = ctx;
    struct spoken spoken;
    assert_int_equal(speaker_speak(h->speaker, r, &spoken, err), BF_OK);
    assert_true(h->count < 20 * SIGNALS && spoken.value.len <= sizeof h->lines[0].bytes);
    memcpy(h->lines[h->count].bytes, spoken.value.data, spoken.value.len);
    h->lines[h->count++].len = spoken.value.len;
    return BF_OK;
}

static int by_bytes(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    if (x->len != y->len) return x->len < y->len ? -1 : 1;
    return memcmp(x->bytes, y->bytes, x->len);
}

static void heard_init(struct heard *h, const struct fixture *f) {
    struct bf_err err;
    *h = (struct heard){.lines = calloc(20 * SIGNALS, sizeof(struct line))};
    assert_non_null(h->lines);
    assert_int_equal(speaker_new(bf_topics_find(f->topics, "odyssey.reflex")->schema_json, 7, "rim.fast-path", &h->speaker, &err), BF_OK);
}

static void heard_fini(struct heard *h) {
    speaker_free(h->speaker);
    free(h->lines);
}

static void assert_same(struct heard *a, struct heard *b) {
    qsort(a->lines, a->count, sizeof *a->lines, by_bytes);
    qsort(b->lines, b->count, sizeof *b->lines, by_bytes);
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) assert_int_equal(by_bytes(&a->lines[i], &b->lines[i]), 0);
}

/* In order of event time. */
static void make_signals(const struct fixture *f, struct signal *signals) {
    static const char *const nodes[NODES] = {"rim:metric:a:0", "rim:metric:a:1", "rim:metric:a:2", "rim:metric:a:3", "rim:metric:a:4"};
    int64_t at_ms = 0;
    for (int i = 0; i < SIGNALS; i++) {
        at_ms += draw(10) == 0 ? 0 : draw(400); /* some at one moment */
        signals[i] = fixture_signal(f, nodes[draw(NODES)], at_ms, draw(8) == 0 ? (double)NAN : 50.0 + (double)draw(100), draw(4) == 0 ? (double)NAN : (double)draw(100) / 99.0, i + 1);
    }
}

static void run(struct fixture *f, const struct signal *signals, size_t count, struct heard *h) {
    enum engine_outcome outcome;
    const struct engine_output output = {on_reflex, h};
    struct engine *e = NULL;
    assert_int_equal(engine_new(f->rules, 100, &e, &f->err), BF_OK);
    for (size_t i = 0; i < count; i++) assert_int_equal(engine_signal(e, &signals[i], (int64_t)i, &output, &outcome, &f->err), BF_OK);
    assert_int_equal(engine_tick(e, INT64_C(1000000000000000), INT64_MIN, &output, &f->err), BF_OK);
    engine_free(e);
}

/* Each signal once or twice, in the order of event time plus a delay within the lateness. */
struct sent {
    int64_t at_us;
    struct signal signal;
};
static int by_arrival(const void *a, const void *b) {
    const struct sent *x = a, *y = b;
    return x->at_us < y->at_us ? -1 : x->at_us > y->at_us;
}

static size_t disturb(const struct signal *signals, struct signal *out) {
    static struct sent sent[2 * SIGNALS];
    size_t n = 0;
    for (int i = 0; i < SIGNALS; i++)
        for (uint32_t copies = draw(4) == 0 ? 2 : 1; copies > 0; copies--)
            sent[n++] = (struct sent){signals[i].event_time_us + draw(LATENESS_MS) * 1000, signals[i]};
    qsort(sent, n, sizeof sent[0], by_arrival);
    for (size_t i = 0; i < n; i++) out[i] = sent[i].signal;
    return n;
}

static void test_reflexes__are_the_same_shuffled_doubled_and_delayed(void **state) {
    (void)state;
    static struct signal signals[SIGNALS], disturbed[2 * SIGNALS];
    struct fixture f;
    fixture_init(&f, rules, "\"allowed_lateness\":\"2s\",");
    for (seed = 1; seed <= ROUNDS; seed++) {
        struct heard calm, wild;
        uint64_t mine = seed;
        make_signals(&f, signals);
        heard_init(&calm, &f);
        heard_init(&wild, &f);
        run(&f, signals, SIGNALS, &calm);
        size_t n = disturb(signals, disturbed);
        run(&f, disturbed, n, &wild);
        assert_true(calm.count > 100);
        assert_same(&calm, &wild);
        heard_fini(&calm);
        heard_fini(&wild);
        seed = mine;
    }
    fixture_fini(&f);
}

/* Without lateness: doubled anywhere later, they fire once. */
static void test_reflexes__are_the_same_when_everything_comes_again(void **state) {
    (void)state;
    static struct signal signals[SIGNALS], twice[2 * SIGNALS];
    struct fixture f;
    struct heard once, again;
    fixture_init(&f, rules, "");
    seed = 99;
    make_signals(&f, signals);
    heard_init(&once, &f);
    heard_init(&again, &f);
    run(&f, signals, SIGNALS, &once);
    size_t n = 0;
    for (int i = 0; i < SIGNALS; i++) { /* each batch of 50 is sent twice */
        twice[n++] = signals[i];
        if (i % 50 == 49)
            for (int k = i - 49; k <= i; k++) twice[n++] = signals[k];
    }
    run(&f, twice, n, &again);
    assert_same(&once, &again);
    heard_fini(&once);
    heard_fini(&again);
    fixture_fini(&f);
}

/* A crash after `cut` signals: what was said before, and what a new engine that learned them in silence says after, is what one engine says. */
static void restart_at(struct fixture *f, const struct signal *signals, size_t cut, struct heard *h) {
    enum engine_outcome outcome;
    const struct engine_output output = {on_reflex, h};
    struct engine *first = NULL, *second = NULL;
    assert_int_equal(engine_new(f->rules, 100, &first, &f->err), BF_OK);
    assert_int_equal(engine_new(f->rules, 100, &second, &f->err), BF_OK);
    for (size_t i = 0; i < cut; i++) {
        assert_int_equal(engine_signal(first, &signals[i], (int64_t)i, &output, &outcome, &f->err), BF_OK);
        assert_int_equal(engine_signal(second, &signals[i], (int64_t)i, NULL, &outcome, &f->err), BF_OK);
    }
    for (size_t i = cut; i < SIGNALS; i++) assert_int_equal(engine_signal(second, &signals[i], (int64_t)i, &output, &outcome, &f->err), BF_OK);
    assert_int_equal(engine_tick(second, INT64_C(1000000000000000), INT64_MIN, &output, &f->err), BF_OK);
    engine_free(first);
    engine_free(second);
}

static void test_reflexes__are_the_same_with_a_restart_anywhere(void **state) {
    (void)state;
    static struct signal signals[SIGNALS];
    static const char *const lateness[] = {"", "\"allowed_lateness\":\"2s\","};
    for (int l = 0; l < 2; l++) {
        struct fixture f;
        struct heard straight;
        fixture_init(&f, rules, lateness[l]);
        seed = 7;
        make_signals(&f, signals);
        heard_init(&straight, &f);
        run(&f, signals, SIGNALS, &straight);
        for (size_t cut = 0; cut <= SIGNALS; cut += 60) {
            struct heard restarted;
            heard_init(&restarted, &f);
            restart_at(&f, signals, cut, &restarted);
            assert_same(&straight, &restarted);
            heard_fini(&restarted);
        }
        heard_fini(&straight);
        fixture_fini(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reflexes__are_the_same_shuffled_doubled_and_delayed),
        cmocka_unit_test(test_reflexes__are_the_same_when_everything_comes_again),
        cmocka_unit_test(test_reflexes__are_the_same_with_a_restart_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
