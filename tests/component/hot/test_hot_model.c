/* The store against the model: random batches with duplicates, revisions, gaps, poison and late events; then every kind of question, in
 * every order, page by page, with and without what was evicted. */
#include "hot_fixture.h"
#include "hot_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUESTIONS 400

struct expected {
    const struct event **list;
    size_t count;
};

static int by_question(const void *a, const void *b, void *context) {
    const struct event_query *q = context;
    struct event_pos x = event_pos_of(*(const struct event *const *)a, q->order), y = event_pos_of(*(const struct event *const *)b, q->order);
    int c = event_pos_compare(&x, &y, q->order);
    return q->descending ? -c : c;
}

static struct expected answer(const struct model *m, struct event_query *q) {
    struct expected e = {calloc(m->event_count + 1, sizeof(struct event *)), 0};
    for (size_t i = 0; i < m->event_count; i++) {
        if (m->events[i].recorded_at_us >= m->hot_from_us && event_query_matches(q, &m->events[i]))
            e.list[e.count++] = &m->events[i];
    }
    qsort_r(e.list, e.count, sizeof *e.list, by_question, q);
    return e;
}

/* The pages, one after another with random limits, are the answer: nothing skipped, nothing twice. */
static void check_question(struct model *m, struct hot *h, struct event_query *q) {
    struct bf_err err;
    struct expected e = answer(m, q);
    struct event_page page;
    struct event_pos after;
    size_t seen = 0;
    bool exhausted = false;
    event_page_init(&page);
    while (!exhausted) {
        int64_t hot_from;
        size_t limit = (size_t)rnd_below(&m->seed, 3) == 0 ? 1 + (size_t)rnd_below(&m->seed, 3) : 1 + (size_t)rnd_below(&m->seed, 300);
        event_page_clear(&page);
        assert_ok(hot_fetch(h, q, seen > 0 ? &after : NULL, limit, &page, &exhausted, &hot_from, &err));
        assert_int_equal(hot_from, m->hot_from_us);
        assert_true(page.count <= limit);
        assert_true(seen + page.count <= e.count);
        assert_int_equal(exhausted, seen + page.count == e.count);
        for (size_t i = 0; i < page.count; i++)
            assert_same_event(&page.events[i], e.list[seen + i]);
        seen += page.count;
        if (page.count > 0)
            after = event_pos_of(&page.events[page.count - 1], q->order);
    }
    assert_int_equal(seen, e.count);
    event_page_fini(&page);
    free(e.list);
}

static void check_questions(struct model *m, struct hot *h, int count) {
    for (int i = 0; i < count; i++) {
        struct event_query q;
        model_question(m, &q);
        check_question(m, h, &q);
    }
}

/* ---- state ---- */

static bool replaced(const struct model *m, const struct event *ev, int64_t known_by_us) {
    for (size_t i = 0; i < m->event_count; i++) {
        const struct event *o = &m->events[i];
        if (o->revision == ev->revision + 1 && memcmp(&o->id, &ev->id, sizeof o->id) == 0 && bf_slice_eq(o->topic, ev->topic))
            return o->recorded_at_us <= known_by_us;
    }
    return false;
}

static const struct event *model_state(const struct model *m, const struct event_query *q, const char *node, const char *topic,
                                       int64_t as_of_us) {
    const struct event *best = NULL;
    for (size_t i = 0; i < m->event_count; i++) {
        const struct event *ev = &m->events[i];
        if (ev->recorded_at_us < m->hot_from_us || ev->event_time_us > as_of_us || !bf_slice_eq(ev->node_id, text(node)) ||
            !bf_slice_eq(ev->topic, text(topic)) || !event_query_matches(q, ev) || replaced(m, ev, q->known_by_us))
            continue;
        if (best == NULL || ev->event_time_us > best->event_time_us ||
            (ev->event_time_us == best->event_time_us && ev->recorded_at_us > best->recorded_at_us))
            best = ev;
    }
    return best;
}

static void check_states(struct model *m, struct hot *h, int count) {
    static const char *const sorted[] = {"odyssey.reflex", "rim.fast-path", "rim.slow-path"};
    struct bf_err err;
    for (int i = 0; i < count; i++) {
        struct event_query q;
        struct event_page page;
        int64_t hot_from, as_of = (rnd_below(&m->seed, 60) - 15) * 1000;
        size_t n = 0;
        const char *node = model_nodes[rnd_below(&m->seed, MODEL_NODES)];
        event_query_init(&q);
        if (rnd_below(&m->seed, 2) == 0)
            q.known_by_us = m->events[rnd_below(&m->seed, (int64_t)m->event_count)].recorded_at_us;
        if (rnd_below(&m->seed, 3) == 0)
            q.topics[q.topic_count++] = text("rim.slow-path");
        event_page_init(&page);
        assert_ok(hot_state(h, text(node), &q, as_of, &page, &hot_from, &err));
        for (size_t t = 0; t < 3; t++) {
            const struct event *ev = model_state(m, &q, node, sorted[t], as_of);
            if (ev == NULL)
                continue;
            assert_true(n < page.count);
            assert_same_event(&page.events[n++], ev);
        }
        assert_int_equal(n, page.count);
        event_page_fini(&page);
    }
}

/* ---- everything else ---- */

static void check_coverage(const struct model *m, struct hot *h) {
    struct bf_err err;
    static struct interval held[MODEL_OFFSETS];
    for (int t = 0; t < MODEL_TOPICS; t++) {
        for (int p = 0; p < MODEL_PARTITIONS; p++) {
            struct hot_partition part;
            size_t count;
            uint64_t sums[5] = {0};
            int64_t at = 0;
            assert_ok(hot_partition(h, text(model_topics[t]), p, &part, &err));
            assert_int_equal(part.next_offset, m->next[t][p]);
            assert_int_equal(part.first_offset, 0);
            assert_ok(hot_coverage(h, text(model_topics[t]), p, 0, MODEL_OFFSETS, held, &count, &err));
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(held[i].from, at);
                assert_true(i == 0 || held[i].disposition != held[i - 1].disposition);
                for (; at < held[i].to; at++)
                    assert_int_equal(m->coverage[t][p][at], held[i].disposition);
                sums[held[i].disposition] += (uint64_t)(held[i].to - held[i].from);
            }
            assert_int_equal(at, m->next[t][p]);
            assert_memory_equal(sums, part.by_disposition, sizeof sums);
            if (at > 3) {
                struct interval some[2];
                assert_ok(hot_coverage(h, text(model_topics[t]), p, at / 2, 2, some, &count, &err));
                assert_true(count > 0);
                assert_int_equal(some[0].from, at / 2);
                assert_int_equal(some[0].disposition, m->coverage[t][p][at / 2]);
            }
        }
    }
}

static void check_nodes(const struct model *m, struct hot *h) {
    struct bf_err err;
    for (int n = 0; n < MODEL_NODES; n++) {
        struct hot_node_topic topics[8];
        size_t count = 0;
        uint64_t events = 0, expected = 0;
        enum bf_code code = hot_node(h, text(model_nodes[n]), topics, 8, &count, &err);
        for (size_t i = 0; i < m->event_count; i++)
            expected += bf_slice_eq(m->events[i].node_id, text(model_nodes[n]));
        assert_int_equal(code, expected > 0 ? BF_OK : BF_NOT_FOUND);
        for (size_t i = 0; code == BF_OK && i < count; i++) {
            int64_t first = INT64_MAX, last = INT64_MIN;
            for (size_t k = 0; k < m->event_count; k++) {
                const struct event *ev = &m->events[k];
                if (!bf_slice_eq(ev->node_id, text(model_nodes[n])) || !bf_slice_eq(ev->topic, text(topics[i].topic)))
                    continue;
                first = ev->event_time_us < first ? ev->event_time_us : first;
                last = ev->event_time_us > last ? ev->event_time_us : last;
            }
            assert_int_equal(topics[i].first_event_time_us, first);
            assert_int_equal(topics[i].last_event_time_us, last);
            events += topics[i].events;
        }
        assert_int_equal(events, expected);
    }
}

static void check_duplicates(const struct model *m, struct hot *h) {
    struct bf_err err;
    for (size_t i = 0; i < m->duplicate_count; i += 7) {
        const struct duplicate *d = &m->duplicates[i];
        static struct duplicate out[4096];
        size_t count, n = 0;
        assert_ok(hot_duplicates(h, d->topic, &d->id, 4096, out, &count, &err));
        for (size_t k = 0; k < m->duplicate_count; k++) {
            const struct duplicate *e = &m->duplicates[k];
            if (e->recorded_at_us < m->hot_from_us || memcmp(&e->id, &d->id, sizeof d->id) != 0 || !bf_slice_eq(e->topic, d->topic))
                continue;
            assert_true(n < count);
            assert_int_equal(out[n].recorded_at_us, e->recorded_at_us);
            assert_int_equal(out[n].revision, e->revision);
            assert_int_equal(out[n].partition, e->partition);
            assert_int_equal(out[n].offset, e->offset);
            assert_int_equal(out[n++].kafka_time_us, e->kafka_time_us);
        }
        assert_int_equal(n, count);
    }
}

static void check_quarantine(struct model *m, struct hot *h) {
    struct bf_err err;
    for (int i = 0; i < 40; i++) {
        struct poison_query q;
        struct poison *out = NULL;
        size_t count, n = 0;
        int64_t hot_from;
        poison_query_init(&q);
        if (rnd_below(&m->seed, 2) == 0)
            q.topic = text(model_topics[rnd_below(&m->seed, 3)]);
        if ((q.has_reason = rnd_below(&m->seed, 3) == 0))
            q.reason = (enum poison_reason)rnd_below(&m->seed, 7);
        if ((q.has_redriven = rnd_below(&m->seed, 3) == 0))
            q.redriven = rnd_below(&m->seed, 2) == 0;
        q.schema_id = (int32_t)rnd_below(&m->seed, 3);
        if (m->poison_count > 0 && rnd_below(&m->seed, 3) == 0)
            q.after_us = m->poisons[rnd_below(&m->seed, (int64_t)m->poison_count)].recorded_at_us;
        if (m->poison_count > 0 && rnd_below(&m->seed, 3) == 0)
            q.below_us = m->poisons[rnd_below(&m->seed, (int64_t)m->poison_count)].recorded_at_us;
        assert_ok(hot_quarantine(h, &q, 100000, &out, &count, &hot_from, &err));
        for (size_t k = 0; k < m->poison_count; k++) {
            const struct poison *p = &m->poisons[k];
            if (p->recorded_at_us < m->hot_from_us || p->recorded_at_us <= q.after_us || p->recorded_at_us >= q.below_us ||
                (q.topic.data != NULL && !bf_slice_eq(q.topic, p->topic)) || (q.has_reason && q.reason != p->reason) ||
                (q.has_redriven && q.redriven != (p->redriven_at_us != 0)) || (q.schema_id != 0 && q.schema_id != p->schema_id))
                continue;
            assert_true(n < count);
            assert_int_equal(out[n].recorded_at_us, p->recorded_at_us);
            assert_int_equal(out[n].offset, p->offset);
            assert_true(bf_slice_eq(out[n].value, p->value) && bf_slice_eq(out[n].detail, p->detail) && out[n].headers.data == NULL);
            n++;
        }
        assert_int_equal(n, count);
        poison_free(out, count);
    }
}

/* Follow the log in chunks of random size: every record once, offsets without a jump, coverage complete. Gives the last chunk's end. */
static int64_t check_chunks(struct model *m, struct hot *h, int64_t after_us) {
    struct bf_err err;
    struct hot_chunk chunk = {0};
    size_t events = 0, duplicates = 0, poisons = 0;
    int64_t next[MODEL_TOPICS][MODEL_PARTITIONS];
    memset(next, -1, sizeof next);
    while (events < m->event_count && m->events[events].recorded_at_us <= after_us)
        events++;
    while (duplicates < m->duplicate_count && m->duplicates[duplicates].recorded_at_us <= after_us)
        duplicates++;
    while (poisons < m->poison_count && m->poisons[poisons].recorded_at_us <= after_us)
        poisons++;
    for (enum bf_code code;;) {
        code = hot_chunk_read(h, after_us, 1 + (size_t)rnd_below(&m->seed, 500), 1000000, &chunk, &err);
        if (code == BF_NOT_FOUND)
            break;
        assert_ok(code);
        assert_true(chunk.through_us > after_us);
        after_us = chunk.through_us;
        for (size_t i = 0; i < chunk.event_count; i++)
            assert_same_event(&chunk.events[i], &m->events[events++]);
        for (size_t i = 0; i < chunk.duplicate_count; i++)
            assert_int_equal(chunk.duplicates[i].recorded_at_us, m->duplicates[duplicates++].recorded_at_us);
        for (size_t i = 0; i < chunk.poison_count; i++)
            assert_int_equal(chunk.poisons[i].recorded_at_us, m->poisons[poisons++].recorded_at_us);
        for (size_t i = 0; i < chunk.partition_count; i++) {
            const struct hot_chunk_partition *p = &chunk.partitions[i];
            int t = 0;
            while (!bf_slice_eq(text(model_topics[t]), p->topic))
                t++;
            assert_true(next[t][p->partition] == -1 || next[t][p->partition] == p->offset_before);
            next[t][p->partition] = p->offset_after;
            int64_t covered = p->offset_before < 0 ? 0 : p->offset_before;
            for (size_t k = 0; k < chunk.interval_count; k++) {
                const struct interval *iv = &chunk.intervals[k];
                if (iv->partition != p->partition || !bf_slice_eq(iv->topic, p->topic))
                    continue;
                assert_int_equal(iv->from, covered);
                for (; covered < iv->to; covered++)
                    assert_int_equal(m->coverage[t][p->partition][covered], iv->disposition);
            }
            assert_int_equal(covered, p->offset_after);
        }
    }
    assert_int_equal(events, m->event_count);
    assert_int_equal(duplicates, m->duplicate_count);
    assert_int_equal(poisons, m->poison_count);
    hot_chunk_fini(&chunk);
    return after_us;
}

static void check_all(struct model *m, struct hot *h) {
    struct bf_err err;
    assert_ok(hot_check(h, &err));
    check_questions(m, h, QUESTIONS);
    check_states(m, h, 200);
    check_coverage(m, h);
    check_nodes(m, h);
    check_duplicates(m, h);
    check_quarantine(m, h);
}

static void evict_some(struct model *m, struct hot *h, int64_t through_us) {
    struct bf_err err;
    struct hot_watermarks w;
    size_t evicted = 0, max = 1 + (size_t)rnd_below(&m->seed, 700);
    assert_ok(hot_evict(h, through_us, max, &evicted, &err));
    assert_true(evicted <= max);
    hot_watermarks(h, &w);
    size_t below = 0;
    for (size_t i = 0; i < m->event_count; i++)
        below += m->events[i].recorded_at_us < w.hot_from_us && m->events[i].recorded_at_us >= m->hot_from_us;
    for (size_t i = 0; i < m->duplicate_count; i++)
        below += m->duplicates[i].recorded_at_us < w.hot_from_us && m->duplicates[i].recorded_at_us >= m->hot_from_us;
    for (size_t i = 0; i < m->poison_count; i++)
        below += m->poisons[i].recorded_at_us < w.hot_from_us && m->poisons[i].recorded_at_us >= m->hot_from_us;
    assert_int_equal(below, evicted);
    m->hot_from_us = w.hot_from_us;
}

static void run_model(uint64_t seed) {
    static const size_t run_min[] = {0, 1, 150};
    struct model m;
    char *dir = fixture_dir();
    fixture_node_run_min = run_min[seed % 3];
    struct hot *h = fixture_open(dir, FIXTURE_MAP_BYTES);
    struct bf_uuid instance = hot_instance_id(h);
    int64_t through = 0;
    model_init(&m, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++)
            model_batch(&m, h, 1 + (size_t)rnd_below(&m.seed, 300));
        check_all(&m, h);
        through = check_chunks(&m, h, through);
        if (round >= 1)
            evict_some(&m, h, round == 3 ? through : m.events[m.event_count / 2].recorded_at_us);
        if (round >= 2) {
            hot_close(h);
            h = fixture_open(dir, FIXTURE_MAP_BYTES);
            struct bf_uuid again = hot_instance_id(h);
            assert_memory_equal(&instance, &again, sizeof instance);
        }
    }
    check_all(&m, h);
    hot_close(h);
    model_fini(&m);
    fixture_dir_remove(dir);
}

static void test_hot__answers_as_the_model_does(void **state) {
    (void)state;
    const char *seeds = getenv("HOT_SEEDS");
    uint64_t count = seeds != NULL ? strtoull(seeds, NULL, 10) : 3;
    for (uint64_t seed = 1; seed <= count; seed++)
        run_model(seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hot__answers_as_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
