/* Questions to the archive against a model: plain arrays, filtered by the reference meaning of a query and sorted. */
#include "archive_fixture.h"

#include "bf_node_id.h"
#include "bf_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS 3000
#define TOPICS 3
#define PARTITIONS 2
#define IDS 2700 /* fewer than events: the rest are revisions */
#define T0 INT64_C(1717236000000000)
#define DAY_US INT64_C(86400000000)
#define COUNT_OF(a) (sizeof(a) / sizeof *(a))

static const char *const topics[TOPICS] = {"rim.fast-path", "rim.slow-path", "odyssey.reflex"};
static const char *const nodes[] = {"rim:entity:finance:EURUSD", "rim:entity:finance:EURU", "rim:entity:finance:A", "rim:metric:test:a",
                                    "rim:metric:test:b", "rim:metric:test:a-b", "rim:signal:z:0", "rim:signal:z:00"};
static const char *const traces[] = {"t1", "t2", "trace \xc3\xa9"};

struct model {
    struct fixture f;
    struct event all[EVENTS]; /* in recorded order */
    uint64_t seed;
};
static struct model m;

static int64_t below(int64_t n) {
    return (int64_t)(fixture_random(&m.seed) % (uint64_t)n);
}

static struct bf_slice pick(const char *const *names, size_t count) {
    return bf_slice_str(names[below((int64_t)count)]);
}

/* Many equal times, a year of others, and a few at both ends of time. */
static int64_t some_time(void) {
    switch (below(8)) {
    case 0: return T0;
    case 1: return T0 + below(5);
    case 2: return below(40) == 0 ? (below(2) ? BF_TIME_MIN_US : BF_TIME_MAX_US) : T0 - below(DAY_US);
    default: return T0 + below(365 * DAY_US) / 1000 * 1000;
    }
}

static void make_events(void) {
    static int64_t next[TOPICS][PARTITIONS];
    static uint32_t revisions[TOPICS][IDS];
    memset(next, 0, sizeof next);
    memset(revisions, 0, sizeof revisions);
    for (int i = 0; i < EVENTS; i++) {
        int64_t t = below(TOPICS), p = below(PARTITIONS), id = below(IDS);
        struct event ev = fixture_event(&m.f, topics[t], (int32_t)p, next[t][p]++, (uint64_t)id + 1);
        ev.revision = ++revisions[t][id];
        ev.node_id = pick(nodes, COUNT_OF(nodes));
        ev.event_time_us = some_time();
        ev.recorded_at_us = INT64_C(1720000000000000) + i * 1000 + below(1000);
        if (below(3) == 0)
            ev.trace_id = pick(traces, COUNT_OF(traces));
        if ((ev.has_cause = below(3) == 0))
            ev.cause_id = fixture_uuid((uint64_t)below(50));
        if (below(10) == 0) {
            ev.value = BF_SLICE_NONE;
            ev.schema_id = 0;
        }
        m.all[i] = ev;
    }
}

static int setup(void **state) {
    (void)state;
    m.seed = 20240601;
    fixture_init(&m.f);
    for (int t = 0; t < TOPICS; t++)
        for (int p = 0; p < PARTITIONS; p++)
            fixture_take(&m.f, topics[t], p);
    make_events();
    for (int from = 0, n; from < EVENTS; from += n) {
        n = from + 700 < EVENTS ? 700 : EVENTS - from;
        struct hot_chunk c = fixture_chunk(&m.f, m.all + from, (size_t)n);
        assert_ok(archive_write(m.f.archive, &m.f.owner, &c, &err));
    }
    archive_close(m.f.archive);
    m.f.archive = fixture_archive(&m.f, true); /* as readers have it */
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fixture_fini(&m.f);
    return 0;
}

static void some_question(struct event_query *q, int64_t *below_us) {
    int64_t oldest = m.all[0].recorded_at_us, span = m.all[EVENTS - 1].recorded_at_us - oldest + 2;
    event_query_init(q);
    switch (below(5)) {
    case 0: q->topics[q->topic_count++] = pick(topics, TOPICS); break;
    case 1: q->topics[q->topic_count++] = pick(topics, TOPICS), q->topics[q->topic_count++] = bf_slice_str("no.such-topic"); break;
    case 2: q->topics[q->topic_count++] = bf_slice_str("rim.fast-path"), q->topics[q->topic_count++] = bf_slice_str("odyssey.reflex"); break;
    default: break;
    }
    if (below(6) == 0)
        q->domain = bf_slice_str(below(3) == 0 ? "ri" : "rim");
    if (below(3) == 0)
        q->node = pick(nodes, COUNT_OF(nodes));
    if (below(4) == 0)
        q->node_prefix = bf_slice_str(below(2) == 0 ? "rim:entity:finance:EUR" : below(2) ? "rim:m" : "rim:signal:z:0");
    if (below(3) == 0)
        q->from_us = some_time();
    if (below(3) == 0)
        q->to_us = some_time() + below(3);
    if (below(5) == 0)
        q->recorded_from_us = oldest + below(span);
    if (below(5) == 0)
        q->recorded_to_us = oldest + below(span);
    if (below(3) == 0)
        q->known_by_us = below(20) == 0 ? oldest - 1 : m.all[below(EVENTS)].recorded_at_us - below(2);
    if (below(6) == 0)
        q->trace = pick(traces, COUNT_OF(traces));
    if ((q->has_cause = below(6) == 0))
        q->cause = fixture_uuid((uint64_t)below(50));
    if ((q->has_id = below(8) == 0))
        q->id = fixture_uuid((uint64_t)below(IDS) + 1);
    if ((q->by_partition = below(4) == 0)) {
        q->partition = (int32_t)below(PARTITIONS + 1);
        q->topic_count = 1;
        q->topics[0] = pick(topics, TOPICS);
        q->offset_from = below(2) ? 0 : below(300);
        q->offset_to = below(2) ? INT64_MAX : below(600);
    }
    q->order = below(2) == 0 ? ORDER_RECORDED : ORDER_EVENT_TIME;
    if (q->by_partition && below(2) == 0)
        q->order = ORDER_OFFSET;
    q->descending = below(2) == 0;
    *below_us = below(2) == 0 ? INT64_MAX : oldest + below(span);
}

static const struct event_query *sorting;

static int by_order(const void *a, const void *b) {
    struct event_pos x = event_pos_of(*(const struct event *const *)a, sorting->order), y = event_pos_of(*(const struct event *const *)b, sorting->order);
    int c = event_pos_compare(&x, &y, sorting->order);
    return sorting->descending ? -c : c;
}

static size_t expected_answer(const struct event_query *q, int64_t below_us, const struct event **out) {
    size_t n = 0;
    for (int i = 0; i < EVENTS; i++)
        if (m.all[i].recorded_at_us < below_us && event_query_matches(q, &m.all[i]))
            out[n++] = &m.all[i];
    sorting = q;
    qsort(out, n, sizeof *out, by_order);
    return n;
}

/* All pages of an answer, each with its own limit; every page ends where the next begins. */
static void check_pages(const struct event_query *q, int64_t below_us, const struct event **expected, size_t count) {
    struct event_page page;
    struct event_pos after;
    size_t got = 0;
    bool exhausted = false;
    event_page_init(&page);
    for (int pages = 0; !exhausted; pages++) {
        size_t limit = (size_t)(below(4) == 0 ? 1 + below(3) : 50 + below(2000));
        event_page_clear(&page);
        assert_true(pages < 4000);
        assert_ok(archive_fetch(m.f.archive, q, below_us, got ? &after : NULL, limit, &page, &exhausted, &err));
        assert_true(page.count <= limit && (exhausted || page.count == limit));
        assert_true(got + page.count <= count);
        for (size_t i = 0; i < page.count; i++)
            fixture_assert_same(&page.events[i], expected[got + i]);
        got += page.count;
        if (page.count > 0)
            after = event_pos_of(&page.events[page.count - 1], q->order);
        if (count > 200 && got >= 60 && !exhausted) { /* what small pages have to say is said: the rest in one */
            event_page_clear(&page);
            assert_ok(archive_fetch(m.f.archive, q, below_us, &after, EVENTS, &page, &exhausted, &err));
            assert_true(exhausted);
            for (size_t i = 0; i < page.count; i++)
                fixture_assert_same(&page.events[i], expected[got + i]);
            got += page.count;
        }
    }
    assert_int_equal(got, count);
    event_page_fini(&page);
}

static void test_fetch__any_question_in_any_order_page_by_page(void **state) {
    (void)state;
    static const struct event *expected[EVENTS];
    int questions = getenv("BF_TORTURE") && *getenv("BF_TORTURE") == '1' ? 20000 : 300, answered = 0;
    for (int i = 0; i < questions; i++) {
        struct event_query q;
        int64_t below_us;
        some_question(&q, &below_us);
        size_t n = expected_answer(&q, below_us, expected);
        answered += n > 0;
        check_pages(&q, below_us, expected, n);
    }
    assert_true(answered > questions / 4);
}

static void test_fetch__a_limit_of_nothing_gives_nothing(void **state) {
    (void)state;
    struct event_query q;
    struct event_page page;
    bool exhausted = true;
    event_query_init(&q);
    event_page_init(&page);
    assert_ok(archive_fetch(m.f.archive, &q, INT64_MAX, NULL, 0, &page, &exhausted, &err));
    assert_int_equal(page.count, 0);
    assert_false(exhausted);
    event_page_fini(&page);
}

/* Text that PostgreSQL would call an error finds nothing, as it would in the hot store. */
static void test_fetch__text_that_no_column_can_hold_matches_nothing(void **state) {
    (void)state;
    static const struct bf_slice odd[] = {{"\xff\xfe", 2}, {"a\0b", 3}, {"\xed\xa0\x80", 3}};
    struct event_page page;
    event_page_init(&page);
    for (size_t i = 0; i < COUNT_OF(odd) * 3; i++) {
        struct event_query q;
        bool exhausted = false;
        event_query_init(&q);
        *(i % 3 == 0 ? &q.node : i % 3 == 1 ? &q.node_prefix : &q.trace) = odd[i / 3];
        assert_ok(archive_fetch(m.f.archive, &q, INT64_MAX, NULL, 10, &page, &exhausted, &err));
        assert_true(exhausted);
        assert_ok(archive_world(m.f.archive, &q, INT64_MAX, INT64_MAX, BF_SLICE_NONE, 10, &page, &exhausted, &err));
        assert_int_equal(page.count, i % 3 == 2 ? page.count : 0);
        event_page_clear(&page);
    }
    event_page_fini(&page);
}

/* Quotes and percent signs are values, never SQL. */
static void test_fetch__values_are_never_sql(void **state) {
    (void)state;
    static const char *const odd[] = {"'; drop table capsule.events; --", "%", "_", "\\", "$1", "rim:metric:test:a' or '1'='1"};
    struct event_page page;
    event_page_init(&page);
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        struct event_query q;
        bool exhausted = false;
        event_query_init(&q);
        q.node_prefix = q.trace = bf_slice_str(odd[i]);
        q.topics[q.topic_count++] = bf_slice_str(odd[i]);
        assert_ok(archive_fetch(m.f.archive, &q, INT64_MAX, NULL, 10, &page, &exhausted, &err));
        q.topic_count = 0;
        assert_ok(archive_fetch(m.f.archive, &q, INT64_MAX, NULL, 10, &page, &exhausted, &err));
        assert_int_equal(page.count, 0);
    }
    assert_int_equal(test_pg_number(m.f.conninfo, "select count(*) from capsule.events"), EVENTS);
    event_page_fini(&page);
}

/* ---- the world ---- */

static bool replaced(const struct event *ev, int64_t known_by_us) {
    for (int i = 0; i < EVENTS; i++)
        if (m.all[i].revision > ev->revision && m.all[i].recorded_at_us <= known_by_us && memcmp(&m.all[i].id, &ev->id, sizeof ev->id) == 0 &&
            bf_slice_eq(m.all[i].topic, ev->topic))
            return true;
    return false;
}

static int slice_compare(struct bf_slice a, struct bf_slice b) {
    int c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_node_and_topic(const void *a, const void *b) {
    const struct event *x = *(const struct event *const *)a, *y = *(const struct event *const *)b;
    int c = slice_compare(x->node_id, y->node_id);
    return c ? c : slice_compare(x->topic, y->topic);
}

static size_t expected_world(const struct event_query *q, int64_t as_of_us, int64_t below_us, const struct event **out) {
    size_t n = 0;
    for (int i = 0; i < EVENTS; i++) {
        const struct event *ev = &m.all[i];
        size_t k = 0;
        if (ev->event_time_us > as_of_us || ev->recorded_at_us >= below_us || !event_query_matches(q, ev) || replaced(ev, q->known_by_us))
            continue;
        while (k < n && by_node_and_topic(&ev, &out[k]) != 0)
            k++;
        if (k == n)
            out[n++] = ev;
        else if (ev->event_time_us >= out[k]->event_time_us) /* a later record of the same time wins */
            out[k] = ev;
    }
    qsort(out, n, sizeof *out, by_node_and_topic);
    return n;
}

static void check_world(const struct event_query *q, int64_t as_of_us, int64_t below_us, size_t limit_nodes) {
    const struct event *expected[COUNT_OF(nodes) * TOPICS];
    size_t n = expected_world(q, as_of_us, below_us, expected), got = 0;
    struct event_page page;
    char last[BF_NODE_ID_MAX];
    struct bf_slice after = BF_SLICE_NONE;
    bool exhausted = false;
    event_page_init(&page);
    for (int pages = 0; !exhausted; pages++) {
        event_page_clear(&page);
        assert_true(pages < 100);
        assert_ok(archive_world(m.f.archive, q, as_of_us, below_us, after, limit_nodes, &page, &exhausted, &err));
        assert_true(got + page.count <= n);
        assert_true(page.count > 0 || exhausted);
        for (size_t i = 0; i < page.count; i++)
            fixture_assert_same(&page.events[i], expected[got + i]);
        got += page.count;
        if (page.count > 0) {
            struct bf_slice node = page.events[page.count - 1].node_id;
            memcpy(last, node.data, node.len);
            after = (struct bf_slice){last, node.len};
        }
    }
    assert_int_equal(got, n);
    event_page_fini(&page);
}

static void test_world__as_of_and_known_by_as_the_model_says(void **state) {
    (void)state;
    int questions = getenv("BF_TORTURE") && *getenv("BF_TORTURE") == '1' ? 5000 : 150;
    for (int i = 0; i < questions; i++) {
        struct event_query q;
        event_query_init(&q);
        if (below(3) == 0)
            q.topics[q.topic_count++] = pick(topics, TOPICS);
        if (below(4) == 0)
            q.node_prefix = bf_slice_str(below(2) ? "rim:entity:finance:EURU" : "rim:m");
        if (below(4) == 0)
            q.node = pick(nodes, COUNT_OF(nodes));
        if (below(2) == 0)
            q.known_by_us = m.all[below(EVENTS)].recorded_at_us - below(2);
        int64_t below_us = below(3) ? INT64_MAX : m.all[below(EVENTS)].recorded_at_us;
        if (q.known_by_us >= below_us) /* revisions that the archive knows replace, wherever the caller's border lies */
            q.known_by_us = below_us - 1;
        check_world(&q, below(5) == 0 ? BF_TIME_MIN_US - 1 : some_time(), below_us, (size_t)(1 + below(10)));
    }
}

/* psql's functions and views answer as the model does: the same state, the same history. */
static void test_sql__state_as_of_is_the_model_s(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        const struct event *expected[COUNT_OF(nodes) * TOPICS];
        struct event_query q;
        char at[BF_TIME_TEXT_LEN + 1], by[BF_TIME_TEXT_LEN + 1], sql[512];
        int64_t as_of_us = T0 + below(365 * DAY_US);
        long long sum = 0;
        event_query_init(&q);
        q.known_by_us = m.all[below(EVENTS)].recorded_at_us;
        size_t n = expected_world(&q, as_of_us, INT64_MAX, expected);
        for (size_t k = 0; k < n; k++)
            sum += expected[k]->recorded_at_us % 1000003;
        bf_time_format(at, as_of_us);
        bf_time_format(by, q.known_by_us);
        snprintf(sql, sizeof sql,
                 "select count(*) * 1000000000000 + coalesce(sum((extract(epoch from recorded_at) * 1000000)::bigint %% 1000003), 0)"
                 " from capsule.state_as_of('%s', '%s')", at, by);
        assert_int_equal(test_pg_number(m.f.conninfo, sql), (long long)n * 1000000000000 + sum);
    }
}

/* Two settings of the session, and current_events, the history and the state are as they were then. */
static void test_sql__settings_of_the_session_make_the_views_travel(void **state) {
    (void)state;
    static const char fold[] = "select count(*) * 1000000000000 + coalesce(sum((extract(epoch from recorded_at) * 1000000)::bigint % 1000003), 0) from";
    for (int i = 0; i < 40; i++) {
        const struct event *world[COUNT_OF(nodes) * TOPICS];
        struct event_query q;
        char at[BF_TIME_TEXT_LEN + 1], by[BF_TIME_TEXT_LEN + 1], conninfo[1400], sql[512];
        int64_t as_of_us = T0 + below(365 * DAY_US);
        long long current = 0, history = 0, states = 0;
        event_query_init(&q);
        q.known_by_us = m.all[below(EVENTS)].recorded_at_us;
        for (int k = 0; k < EVENTS; k++) {
            const struct event *ev = &m.all[k];
            long long one = 1000000000000 + ev->recorded_at_us % 1000003;
            if (ev->event_time_us > as_of_us || ev->recorded_at_us > q.known_by_us)
                continue;
            current += replaced(ev, q.known_by_us) ? 0 : one;
            history += bf_slice_eq(ev->node_id, bf_slice_str(nodes[i % 8])) ? one : 0;
        }
        for (size_t k = expected_world(&q, as_of_us, INT64_MAX, world); k-- > 0;)
            states += 1000000000000 + world[k]->recorded_at_us % 1000003;
        bf_time_format(at, as_of_us);
        bf_time_format(by, q.known_by_us);
        snprintf(conninfo, sizeof conninfo, "%s options='-c capsule.as_of=%s -c capsule.known_by=%s'", m.f.conninfo, at, by);
        snprintf(sql, sizeof sql, "%s capsule.current_events", fold);
        assert_int_equal(test_pg_number(conninfo, sql), current);
        snprintf(sql, sizeof sql, "%s capsule.node_history('%s')", fold, nodes[i % 8]);
        assert_int_equal(test_pg_number(conninfo, sql), history);
        snprintf(sql, sizeof sql, "%s capsule.state_as_of('infinity')", fold);
        assert_int_equal(test_pg_number(conninfo, sql), states);
    }
}

/* ---- for a new hot store ---- */

struct counted {
    size_t ids, intervals;
    int64_t offsets;
    struct bf_slice topic;
};

static enum bf_code count_ids(void *ctx, const struct hot_known_id *ids, size_t count, struct bf_err *err) {
    struct counted *c = ctx;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        int k = 0;
        while (k < EVENTS && m.all[k].recorded_at_us != ids[i].recorded_at_us)
            k++;
        assert_true(k < EVENTS);
        uint8_t hash[16];
        hot_content_hash(&m.all[k], hash);
        assert_memory_equal(ids[i].content_hash, hash, sizeof hash);
        assert_memory_equal(&ids[i].id, &m.all[k].id, sizeof ids[i].id);
        assert_int_equal(ids[i].revision, m.all[k].revision);
        assert_int_equal(ids[i].event_time_us, m.all[k].event_time_us);
        assert_true(bf_slice_eq(ids[i].node_id, m.all[k].node_id));
        assert_true(bf_slice_eq(ids[i].topic, m.all[k].topic) && (!c->topic.data || bf_slice_eq(c->topic, ids[i].topic)));
    }
    c->ids += count;
    return BF_OK;
}

static enum bf_code count_intervals(void *ctx, const struct interval *iv, size_t count, struct bf_err *err) {
    struct counted *c = ctx;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(iv[i].disposition, DISPOSITION_STORED);
        c->offsets += iv[i].to - iv[i].from;
    }
    c->intervals += count;
    return BF_OK;
}

static void test_rebuild__ids_and_intervals_of_all_and_of_each_partition(void **state) {
    (void)state;
    struct counted all = {0}, parts = {0};
    assert_ok(archive_ids_each(m.f.archive, BF_SLICE_NONE, 0, count_ids, &all, &err));
    assert_ok(archive_intervals_each(m.f.archive, BF_SLICE_NONE, 0, count_intervals, &all, &err));
    assert_int_equal(all.ids, EVENTS);
    assert_int_equal(all.offsets, EVENTS);
    assert_int_equal(all.intervals, TOPICS * PARTITIONS); /* neighbours became one */
    for (int t = 0; t < TOPICS; t++)
        for (int p = 0; p <= PARTITIONS; p++) {
            struct counted one = {.topic = bf_slice_str(topics[t])};
            assert_ok(archive_ids_each(m.f.archive, one.topic, p, count_ids, &one, &err));
            assert_ok(archive_intervals_each(m.f.archive, one.topic, p, count_intervals, &one, &err));
            assert_int_equal(one.offsets, one.ids);
            assert_int_equal(one.intervals, p < PARTITIONS);
            parts.ids += one.ids;
        }
    assert_int_equal(parts.ids, EVENTS);
}

static enum bf_code stop_it(void *ctx, const struct hot_known_id *ids, size_t count, struct bf_err *err) {
    (void)ctx;
    (void)ids;
    (void)count;
    return bf_fail(err, BF_NOMEM, 0, "stop");
}

static void test_rebuild__a_callback_that_fails_ends_it_and_the_connection_goes_on(void **state) {
    (void)state;
    assert_code(BF_NOMEM, archive_ids_each(m.f.archive, BF_SLICE_NONE, 0, stop_it, NULL, &err));
    assert_ok(archive_ping(m.f.archive, &err));
}

static void test_partitions__each_stands_behind_its_last_offset(void **state) {
    (void)state;
    struct archive_partition *all = NULL;
    size_t count = 0;
    assert_ok(archive_partitions(m.f.archive, &all, &count, &err));
    assert_int_equal(count, TOPICS * PARTITIONS);
    for (size_t i = 0; i < count; i++) {
        int64_t next = 0;
        for (int k = 0; k < EVENTS; k++)
            next += m.all[k].partition == all[i].partition && bf_slice_eq(m.all[k].topic, bf_slice_str(all[i].topic));
        assert_int_equal(all[i].next_offset, next);
        assert_int_equal(all[i].epoch, 1);
        assert_memory_equal(&all[i].owner, &m.f.owner, sizeof m.f.owner);
    }
    free(all);
}

static void test_reader__cannot_write(void **state) {
    (void)state;
    struct event ev = fixture_event(&m.f, topics[0], 0, 100000, 999999);
    struct hot_chunk c = fixture_chunk(&m.f, &ev, 1);
    struct bf_err failure = {0};
    assert_int_not_equal(archive_write(m.f.archive, &m.f.owner, &c, &failure), BF_OK);
    assert_int_equal(test_pg_number(m.f.conninfo, "select count(*) from capsule.events"), EVENTS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetch__any_question_in_any_order_page_by_page),
        cmocka_unit_test(test_fetch__a_limit_of_nothing_gives_nothing),
        cmocka_unit_test(test_fetch__text_that_no_column_can_hold_matches_nothing),
        cmocka_unit_test(test_fetch__values_are_never_sql),
        cmocka_unit_test(test_world__as_of_and_known_by_as_the_model_says),
        cmocka_unit_test(test_sql__state_as_of_is_the_model_s),
        cmocka_unit_test(test_sql__settings_of_the_session_make_the_views_travel),
        cmocka_unit_test(test_rebuild__ids_and_intervals_of_all_and_of_each_partition),
        cmocka_unit_test(test_rebuild__a_callback_that_fails_ends_it_and_the_connection_goes_on),
        cmocka_unit_test(test_partitions__each_stands_behind_its_last_offset),
        cmocka_unit_test(test_reader__cannot_write),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
