/* Two clocks: what was true at one moment, as it was known at another, against an oracle that looks at everything. The same questions while the
 * data is hot, archived, half evicted, evicted, after the hot store was lost and rebuilt, and when late data and revisions come to that; from the
 * merged read and from psql. Late data and revisions are the rule here, not the exception: event times are random, and a third of the
 * ids come again, at other times and other nodes.
 *
 * 20,000 questions; with BF_TORTURE=1 a million and more.
 */
#include "api_archive.h"
#include "bf_log.h"
#include "test_pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NODES 60
#define EVENTS 3000
#define BASE_US INT64_C(1700000000000000)
#define SPAN_MS 5000

static struct fx fx;
#define F (&fx)

static struct fx_archive side;
static char *conninfo;
static unsigned seed = 20260101;
static long asked;

static unsigned below(unsigned n) {
    return (unsigned)rand_r(&seed) % n;
}

static long torture(void) {
    const char *text = getenv("BF_TORTURE");
    return text && *text && strcmp(text, "0") != 0 ? 55 : 1;
}

/* ---- the data ---- */

static void node_name(unsigned i, char dst[64]) {
    snprintf(dst, 64, "rim:%s:clocks:N%02u", i % 3 ? "metric" : "entity", i);
}

static void fill(size_t n) {
    for (size_t i = 0; i < n; i++) {
        char node[64], id[40];
        unsigned of = below(NODES);
        node_name(of, node);
        snprintf(id, sizeof(id), "id-%u", below(EVENTS));
        fx_put(F, below(4) ? FAST : REFLEX, (int32_t)(of % 3), node, below(3) ? NULL : id, BASE_US + (int64_t)below(SPAN_MS) * 1000,
               (double)below(1000) / 8, NULL, NULL);
        if (below(29) == 0) {
            fx_commit(F);
        }
    }
    fx_commit(F);
}

/* ---- the oracle ---- */

struct fact { /* one revision; replaced_us: when the next one of its id became known */
    const struct told *t;
    int64_t replaced_us;
};
static struct fact *facts[NODES][2]; /* [node][FAST, REFLEX] */
static size_t fact_count[NODES][2], facts_seen;

static int64_t replaced_at(const struct told *t) {
    int64_t at = INT64_MAX;
    for (size_t i = 0; i < fx.committed; i++) {
        const struct told *o = &fx.told[i];
        if (o->disposition == DISPOSITION_STORED && o->revision > t->revision && o->recorded_at_us < at &&
            memcmp(&o->uuid, &t->uuid, sizeof(t->uuid)) == 0 && strcmp(o->topic, t->topic) == 0) {
            at = o->recorded_at_us;
        }
    }
    return at;
}

static void learn_facts(void) {
    memset(fact_count, 0, sizeof(fact_count));
    for (facts_seen = 0; facts_seen < fx.committed; facts_seen++) {
        const struct told *t = &fx.told[facts_seen];
        size_t node = (size_t)atoi(strrchr(t->node, 'N') + 1), topic = strcmp(t->topic, REFLEX) == 0;
        if (t->disposition == DISPOSITION_STORED) {
            struct fact **list = &facts[node][topic];
            *list = realloc(*list, (fact_count[node][topic] + 1) * sizeof(**list));
            assert_non_null(*list);
            (*list)[fact_count[node][topic]++] = (struct fact){t, replaced_at(t)};
        }
    }
}

static const struct told *oracle(size_t node, size_t topic, int64_t as_of_us, int64_t known_by_us) {
    const struct told *best = NULL;
    for (size_t i = 0; i < fact_count[node][topic]; i++) {
        const struct fact *f = &facts[node][topic][i];
        bool replaced = f->replaced_us != INT64_MAX && f->replaced_us <= known_by_us;
        if (f->t->event_time_us <= as_of_us && f->t->recorded_at_us <= known_by_us && !replaced &&
            (!best || f->t->event_time_us > best->event_time_us ||
             (f->t->event_time_us == best->event_time_us && f->t->recorded_at_us > best->recorded_at_us))) {
            best = f->t;
        }
    }
    return best;
}

/* ---- asking ---- */

static int64_t any_as_of(void) {
    return BASE_US + ((int64_t)below(SPAN_MS + 40) - 20) * 1000 + (int64_t)below(3) - 1;
}

/* Just before, at and just after something was recorded. */
static int64_t any_known_by(void) {
    return below(8) == 0 ? INT64_MAX : fx.told[below((unsigned)fx.committed)].recorded_at_us + (int64_t)below(3) - 1;
}

static void same(const struct event *ev, const struct told *t, const char *stage, int64_t as_of_us, int64_t known_by_us) {
    if (ev->recorded_at_us != t->recorded_at_us || ev->event_time_us != t->event_time_us || ev->revision != t->revision ||
        ev->offset != t->offset || ev->partition != t->partition || memcmp(&ev->id, &t->uuid, sizeof(t->uuid)) != 0) {
        fail_msg("%s: %s as of %lld known by %lld: recorded_at %lld where %lld is right", stage, t->node, (long long)as_of_us,
                 (long long)known_by_us, (long long)ev->recorded_at_us, (long long)t->recorded_at_us);
    }
}

static void ask_one(const char *stage, struct event_page *page) {
    static const char *const topics[] = {FAST, REFLEX};
    int64_t as_of_us = any_as_of(), known_by_us = any_known_by();
    unsigned node = below(NODES), only = below(4);
    char name[64];
    struct event_query q;
    size_t at = 0;
    node_name(node, name);
    event_query_init(&q);
    q.known_by_us = known_by_us;
    if (only < 2) {
        q.topics[q.topic_count++] = bf_slice_str(topics[only]);
    }
    event_page_clear(page);
    if (store_state(fx.capsule.store, bf_slice_str(name), &q, as_of_us, page, &fx.err) != BF_OK) {
        fail_msg("%s: %s", stage, fx.err.msg);
    }
    for (size_t k = 2; k-- > 0;) { /* in name order: odyssey before rim */
        const struct told *t = only < 2 && only != k ? NULL : oracle(node, k, as_of_us, known_by_us);
        if (t) {
            if (at == page->count) {
                fail_msg("%s: %s as of %lld known by %lld: %s is missing", stage, name, (long long)as_of_us, (long long)known_by_us, topics[k]);
            }
            same(&page->events[at++], t, stage, as_of_us, known_by_us);
        }
    }
    assert_int_equal(at, page->count);
    asked++;
}

static void ask(const char *stage, long questions) {
    struct event_page page;
    event_page_init(&page);
    for (long i = 0; i < questions * torture(); i++) {
        ask_one(stage, &page);
    }
    event_page_fini(&page);
}

/* ---- psql ---- */

static void add_row(struct bf_buf *rows, const struct told *t) {
    char uuid[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(uuid, &t->uuid);
    bf_buf_printf(rows, "%s %s %s %u %lld,", t->node, t->topic, uuid, t->revision, (long long)t->offset);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The world by the oracle, in byte order of node, then topic. */
static void oracle_world(int64_t as_of_us, int64_t known_by_us, struct bf_buf *rows) {
    static char names[NODES][64];
    const char *sorted[NODES];
    for (unsigned i = 0; i < NODES; i++) {
        node_name(i, names[i]);
        sorted[i] = names[i];
    }
    qsort(sorted, NODES, sizeof(*sorted), by_name);
    for (size_t i = 0; i < NODES; i++) {
        size_t node = (size_t)atoi(strrchr(sorted[i], 'N') + 1);
        for (size_t k = 2; k-- > 0;) {
            const struct told *t = oracle(node, k, as_of_us, known_by_us);
            if (t) {
                add_row(rows, t);
            }
        }
    }
    bf_buf_putc(rows, '\0');
}

static void ask_psql(const char *stage, long questions) {
    for (long i = 0; i < questions * torture(); i++) {
        int64_t as_of_us = any_as_of(), known_by_us = any_known_by();
        struct bf_buf rows;
        bf_buf_init(&rows, 1 << 20);
        oracle_world(as_of_us, known_by_us, &rows);
        char known[120] = "'infinity'", sql[900];
        if (known_by_us != INT64_MAX) {
            snprintf(known, sizeof(known), "timestamptz 'epoch' + %lld * interval '1 microsecond'", (long long)known_by_us);
        }
        snprintf(sql, sizeof(sql),
                 "select coalesce(string_agg(rim_node_id || ' ' || topic || ' ' || event_id || ' ' || revision || ' ' || kafka_offset || ',', ''"
                 " order by rim_node_id collate \"C\", topic collate \"C\"), '') from capsule.state_as_of(timestamptz 'epoch' + %lld * interval"
                 " '1 microsecond', %s)", (long long)as_of_us, known);
        char *answer = test_pg_value(conninfo, sql);
        if (strcmp(answer, rows.data) != 0) {
            fail_msg("psql, %s: as of %lld known by %lld:\n%s\nwhere this is right:\n%s", stage, (long long)as_of_us, (long long)known_by_us,
                     answer, rows.data);
        }
        free(answer);
        bf_buf_fini(&rows);
        asked++;
    }
}

/* ---- stages ---- */

static int setup(void **state) {
    (void)state;
    conninfo = test_pg_database();
    fx_open(F, conninfo);
    fx_archive_open(&side, F, conninfo);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (size_t i = 0; i < NODES; i++) {
        free(facts[i][0]);
        free(facts[i][1]);
    }
    fx_archive_close(&side);
    fx_close(F);
    test_pg_drop(conninfo);
    return 0;
}

static void test_state__of_two_clocks_is_the_same_wherever_the_data_lies(void **state) {
    (void)state;
    fill(EVENTS);
    learn_facts();
    ask("all hot", 9000);
    fx_archive_all(&side, F);
    ask("archived, all hot", 2500);
    ask_psql("archived", 20);
    fx_archive_evict(F, fx.told[EVENTS / 2].recorded_at_us);
    ask("half evicted", 4000);
    fx_archive_evict(F, fx_newest(F));
    ask("all evicted", 2000);
    fx_lose_hot(F);
    fx_archive_rebuild(&side, F, conninfo);
    ask("rebuilt", 1500);
    fill(EVENTS / 5); /* late data and revisions of what only the archive has */
    learn_facts();
    ask("rebuilt, with late data on top", 1000);
    fx_archive_all(&side, F);
    fx_archive_evict(F, fx_newest(F));
    ask("late data archived", 500);
    ask_psql("late data archived", 20);
    assert_true(asked >= 20000);
    print_message("%ld questions\n", asked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state__of_two_clocks_is_the_same_wherever_the_data_lies),
    };
    bf_log_init("test", BF_LOG_WARN);
    return cmocka_run_group_tests(tests, setup, teardown);
}
