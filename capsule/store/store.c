/* The merged read. Every question goes to the hot store first, whose answer names the hot_from of its snapshot; the archive is then asked for
 * recorded_at below that. Eviction only ever moves records that the archive has, so this order can neither miss nor double one: what
 * went between the two questions is still in the first answer, and it is not below the line that the second one draws.
 */
#include "store_tiers.h"

#include <stdlib.h>
#include <string.h>

#define POOL_MAX_DEFAULT 4
#define POOL_WAIT_MS_DEFAULT 2000

enum bf_code store_open(const struct store_settings *settings, struct store **out, struct bf_err *err) {
    struct store *s = calloc(1, sizeof(*s));
    if (!s) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for the store");
    }
    s->hot = settings->hot;
    s->schemas = settings->schemas;
    int pool_max = settings->pool_max > 0 ? settings->pool_max : POOL_MAX_DEFAULT;
    int64_t wait_ms = settings->pool_wait_ms > 0 ? settings->pool_wait_ms : POOL_WAIT_MS_DEFAULT;
    if (store_pool_new(&settings->archive, pool_max, wait_ms, &s->pool, err) != BF_OK) {
        free(s);
        return err->code;
    }
    *out = s;
    return BF_OK;
}

void store_close(struct store *s) {
    if (!s) {
        return;
    }
    store_pool_free(s->pool);
    free(s);
}

struct hot *store_hot(const struct store *s) {
    return s->hot;
}

struct schema_cache *store_schemas(const struct store *s) {
    return s->schemas;
}

/* ---- the archive's side ---- */

bool store_asks(struct store_ask *ask, enum bf_code *code, struct bf_err *err) {
    struct store_pool *pool = ask->store->pool;
    if (!ask->archive) {
        *code = store_pool_take(pool, &ask->archive, err);
        return *code == BF_OK;
    }
    if (*code != BF_OK && !ask->again && store_pool_stale(err)) {
        ask->again = true;
        return true;
    }
    store_pool_give(pool, ask->archive);
    if (*code != BF_OK && *code != BF_NOT_FOUND) {
        *code = bf_err_prepend(err, "archive");
    }
    return false;
}

enum bf_code store_archive_fetch(struct store *s, const struct event_query *q, int64_t below_us, const struct event_pos *after,
                                 size_t limit, struct event_page *page, bool *exhausted, struct bf_err *err) {
    struct store_ask ask = {.store = s};
    enum bf_code code = BF_OK;
    size_t start = page->count;
    while (store_asks(&ask, &code, err)) {
        page->count = start;
        code = archive_fetch(ask.archive, q, below_us, after, limit, page, exhausted, err);
    }
    return code;
}

enum bf_code store_archive_world(struct store *s, const struct event_query *q, int64_t as_of_us, int64_t below_us,
                                 struct bf_slice after_node, size_t limit_nodes, struct event_page *page, bool *exhausted,
                                 struct bf_err *err) {
    struct store_ask ask = {.store = s};
    enum bf_code code = BF_OK;
    size_t start = page->count;
    while (store_asks(&ask, &code, err)) {
        page->count = start;
        code = archive_world(ask.archive, q, as_of_us, below_us, after_node, limit_nodes, page, exhausted, err);
    }
    return code;
}

enum bf_code store_archive_ping(struct store *s, struct bf_err *err) {
    struct store_ask ask = {.store = s};
    enum bf_code code = BF_OK;
    while (store_asks(&ask, &code, err)) {
        code = archive_ping(ask.archive, err);
    }
    return code;
}

bool store_reaches_archive(const struct event_query *q, int64_t hot_from_us) {
    return hot_from_us > 0 && q->recorded_from_us < hot_from_us;
}

/* ---- events of both tiers in one order ---- */

struct tier {
    struct event_page page;
    size_t at;
    bool exhausted;
};

struct merge {
    struct store *s;
    const struct event_query *q;
    struct event_page *page;
    size_t filled, limit;
    struct event_pos after;
    bool have_after;
    struct tier hot, archive;
};

static bool tier_has(const struct tier *t) {
    return t->at < t->page.count;
}

/* It may have more than it handed out: the merge must not go past what it knows. */
static bool tier_runs_dry(const struct tier *t) {
    return !tier_has(t) && !t->exhausted;
}

/* Which side is next: <0 hot, >0 archive, 0 the same record in both. */
static int compare_heads(const struct merge *m) {
    if (!tier_has(&m->archive)) {
        return -1;
    }
    if (!tier_has(&m->hot)) {
        return 1;
    }
    struct event_pos h = event_pos_of(&m->hot.page.events[m->hot.at], m->q->order);
    struct event_pos a = event_pos_of(&m->archive.page.events[m->archive.at], m->q->order);
    int c = event_pos_compare(&h, &a, m->q->order);
    return m->q->descending ? -c : c;
}

/* Of rows that share a place the archive's page has all or none. */
static bool next_is_alike(const struct merge *m) {
    return m->filled > 0 && tier_has(&m->archive) && event_page_ends_with(m->page, &m->archive.page.events[m->archive.at], m->q->order);
}

/* Move rows over as long as the next one is certain. */
static enum bf_code merge_known(struct merge *m, struct bf_err *err) {
    while ((m->filled < m->limit || next_is_alike(m)) && (tier_has(&m->hot) || tier_has(&m->archive)) && !tier_runs_dry(&m->hot) &&
           !tier_runs_dry(&m->archive)) {
        int c = compare_heads(m);
        struct tier *t = c <= 0 ? &m->hot : &m->archive;
        const struct event *ev = &t->page.events[t->at++];
        if (c == 0) {
            m->archive.at++;
        }
        if (event_page_add(m->page, ev, err) != BF_OK) {
            return err->code;
        }
        m->after = event_pos_of(ev, m->q->order);
        m->have_after = true;
        m->filled++;
    }
    return BF_OK;
}

static void tier_reset(struct tier *t) {
    event_page_clear(&t->page);
    t->at = 0;
    t->exhausted = false;
}

/* Can the archive have nothing that belongs to this answer? What is only there is older than hot_from; of an id and of a node the hot store also
 * remembers when it went. Only where the hot store has something: then it has learned all there was to learn. */
static enum bf_code spares_archive(struct store *s, const struct event_query *q, const struct event_pos *after, const struct event_page *hot,
                                   bool exhausted, bool *spares, struct bf_err *err) {
    struct hot_node_topic topics[EVENT_TOPICS_MAX];
    int64_t from_us = q->from_us;
    size_t count = 0;
    *spares = false;
    if (hot->count == 0)
        return BF_OK;
    if (q->has_id)
        return hot_id_is_hot(s->hot, q, spares, err);
    if (!q->node.data || q->order != ORDER_EVENT_TIME)
        return BF_OK;
    if (!q->descending && after != NULL && after->primary > from_us)
        from_us = after->primary;
    if (q->descending && !exhausted && hot->events[hot->count - 1].event_time_us > from_us)
        from_us = hot->events[hot->count - 1].event_time_us;
    enum bf_code code = hot_node(s->hot, q->node, topics, EVENT_TOPICS_MAX, &count, err);
    if (code != BF_OK)
        return code == BF_NOT_FOUND ? BF_OK : code;
    *spares = count < EVENT_TOPICS_MAX; /* else there may be more of them */
    for (size_t i = 0; i < count; i++)
        *spares = *spares && topics[i].archived_last_us < from_us;
    return BF_OK;
}

/* In recorded order the tiers lie one behind the other: a full answer of the first spares the second. */
static enum bf_code fill_tiers(struct merge *m, struct bf_err *err) {
    const struct event_pos *after = m->have_after ? &m->after : NULL;
    size_t want = m->limit - m->filled;
    bool recorded = m->q->order == ORDER_RECORDED;
    tier_reset(&m->hot);
    tier_reset(&m->archive);
    struct hot_watermarks w;
    hot_watermarks(m->s->hot, &w);
    if (recorded && !m->q->descending && m->have_after && m->after.recorded_at_us < w.hot_from_us) {
        if (store_archive_fetch(m->s, m->q, w.hot_from_us, after, want, &m->archive.page, &m->archive.exhausted, err) != BF_OK) {
            return err->code;
        }
        if (m->archive.page.count >= want) {
            m->hot.exhausted = true; /* not looked at: what it has lies behind */
            m->archive.exhausted = false;
            return BF_OK;
        }
        tier_reset(&m->archive);
    }
    int64_t hot_from_us = 0;
    if (hot_fetch(m->s->hot, m->q, after, want, &m->hot.page, &m->hot.exhausted, &hot_from_us, err) != BF_OK) {
        return err->code;
    }
    if (!store_reaches_archive(m->q, hot_from_us)) {
        m->archive.exhausted = true;
        return BF_OK;
    }
    bool spares = false;
    if (spares_archive(m->s, m->q, after, &m->hot.page, m->hot.exhausted, &spares, err) != BF_OK) {
        return err->code;
    }
    if (spares || (recorded && m->q->descending && m->hot.page.count >= want)) {
        m->archive.exhausted = true;
        m->hot.exhausted = m->hot.exhausted && spares;
        return BF_OK;
    }
    return store_archive_fetch(m->s, m->q, hot_from_us, after, want, &m->archive.page, &m->archive.exhausted, err);
}

static enum bf_code merge_run(struct merge *m, bool *exhausted, struct bf_err *err) {
    enum bf_code code = BF_OK;
    bool ended = false;
    while (m->filled < m->limit && !ended) {
        size_t before = m->filled;
        code = fill_tiers(m, err);
        if (code == BF_OK) {
            code = merge_known(m, err);
        }
        if (code != BF_OK) {
            return code;
        }
        ended = !tier_has(&m->hot) && m->hot.exhausted && !tier_has(&m->archive) && m->archive.exhausted;
        if (!ended && m->filled == before) {
            return bf_fail(err, BF_BROKEN, 0, "a tier says that there is more and gives nothing");
        }
    }
    bool cut = event_page_end_between(m->page, m->page->count - m->filled, m->limit, m->q->order);
    *exhausted = ended && !cut;
    return BF_OK;
}

static enum bf_code fetch_merged(struct store *s, const struct event_query *q, const struct event_pos *after, size_t limit,
                                 struct event_page *page, bool *exhausted, struct bf_err *err) {
    struct merge m = {.s = s, .q = q, .page = page, .limit = limit};
    if (after) {
        m.after = *after;
        m.have_after = true;
    }
    event_page_init(&m.hot.page);
    event_page_init(&m.archive.page);
    enum bf_code code = merge_run(&m, exhausted, err);
    event_page_fini(&m.archive.page);
    event_page_fini(&m.hot.page);
    return code;
}

enum bf_code store_fetch(struct store *s, const struct event_query *q, const struct event_pos *after, size_t limit,
                         struct event_page *page, bool *exhausted, struct bf_err *err) {
    struct hot_watermarks w;
    if (store_is_shared(s)) {
        return store_archive_fetch(s, q, INT64_MAX, after, limit, page, exhausted, err);
    }
    hot_watermarks(s->hot, &w);
    if (store_reaches_archive(q, w.hot_from_us)) {
        return fetch_merged(s, q, after, limit, page, exhausted, err);
    }
    size_t start = page->count;
    int64_t hot_from_us = 0;
    bool all = false;
    if (hot_fetch(s->hot, q, after, limit, page, &all, &hot_from_us, err) != BF_OK) {
        return err->code;
    }
    if (store_reaches_archive(q, hot_from_us)) { /* the first eviction came in between */
        page->count = start;
        return fetch_merged(s, q, after, limit, page, exhausted, err);
    }
    *exhausted = all;
    return BF_OK;
}

/* ---- duplicates ---- */

static bool known_duplicate(const struct duplicate *list, size_t count, const struct duplicate *d) {
    for (size_t i = 0; i < count; i++) {
        if (list[i].partition == d->partition && list[i].offset == d->offset) {
            return true;
        }
    }
    return false;
}

static int by_recorded(const void *a, const void *b) {
    const struct duplicate *x = a, *y = b;
    return x->recorded_at_us < y->recorded_at_us ? -1 : x->recorded_at_us > y->recorded_at_us;
}

static enum bf_code archive_duplicates_pooled(struct store *s, struct bf_slice topic, const struct bf_uuid *id, int64_t below_us,
                                              size_t max, struct duplicate *out, size_t *count, struct bf_err *err) {
    struct store_ask ask = {.store = s};
    enum bf_code code = BF_OK;
    while (store_asks(&ask, &code, err)) {
        code = archive_duplicates(ask.archive, topic, id, below_us, max, out, count, err);
    }
    return code;
}

enum bf_code store_duplicates(struct store *s, struct bf_slice topic, const struct bf_uuid *id, size_t max, struct duplicate *out,
                              size_t *count, struct bf_err *err) {
    size_t hot_count = 0, cold_count = 0;
    if (store_is_shared(s)) {
        return archive_duplicates_pooled(s, topic, id, INT64_MAX, max, out, count, err);
    }
    if (hot_duplicates(s->hot, topic, id, max, out, &hot_count, err) != BF_OK) {
        return err->code;
    }
    struct hot_watermarks w; /* after the hot read: what went since is in both, and told apart by its coordinates */
    hot_watermarks(s->hot, &w);
    struct event_query q;
    bool all_hot = false; /* then its duplicates are, which came later */
    event_query_init(&q);
    q.id = *id;
    q.topics[q.topic_count++] = topic;
    if (w.hot_from_us > 0 && hot_count < max && hot_id_is_hot(s->hot, &q, &all_hot, err) != BF_OK) {
        return err->code;
    }
    if (w.hot_from_us > 0 && hot_count < max && !all_hot) {
        struct duplicate *cold = calloc(max, sizeof(*cold));
        enum bf_code code = cold ? archive_duplicates_pooled(s, topic, id, w.hot_from_us, max, cold, &cold_count, err)
                                 : bf_fail(err, BF_NOMEM, 0, "no memory for %zu duplicates", max);
        for (size_t i = 0; code == BF_OK && i < cold_count && hot_count < max; i++) {
            if (!known_duplicate(out, hot_count, &cold[i])) {
                out[hot_count] = cold[i];
                out[hot_count++].topic = topic;
            }
        }
        free(cold);
        if (code != BF_OK) {
            return code;
        }
    }
    qsort(out, hot_count, sizeof(*out), by_recorded);
    *count = hot_count;
    return BF_OK;
}

/* ---- quarantine: oldest first, so the archive's part comes first ---- */

static enum bf_code archive_quarantine_pooled(struct store *s, const struct poison_query *q, size_t limit, struct poison **out,
                                              size_t *count, struct bf_err *err) {
    struct store_ask ask = {.store = s};
    enum bf_code code = BF_OK;
    while (store_asks(&ask, &code, err)) {
        code = archive_quarantine(ask.archive, q, limit, out, count, err);
    }
    return code;
}

/* Append the hot part to the cold one, at most `limit` together; the rest is freed. Consumes both. */
static enum bf_code join_poison(struct poison *cold, size_t cold_count, struct poison *hot, size_t hot_count, size_t limit,
                                struct poison **out, size_t *count, struct bf_err *err) {
    size_t take = hot_count < limit - cold_count ? hot_count : limit - cold_count;
    struct poison *all = realloc(cold, (cold_count + take + 1) * sizeof(*all));
    if (!all) {
        poison_free(cold, cold_count);
        poison_free(hot, hot_count);
        return bf_fail(err, BF_NOMEM, 0, "no memory for %zu quarantined records", cold_count + take);
    }
    for (size_t i = 0; i < take; i++) {
        if (poison_copy(&all[cold_count + i], &hot[i], err) != BF_OK) {
            poison_free(all, cold_count + i);
            poison_free(hot, hot_count);
            return err->code;
        }
    }
    poison_free(hot, hot_count);
    *out = all;
    *count = cold_count + take;
    return BF_OK;
}

enum bf_code store_quarantine(struct store *s, const struct poison_query *q, size_t limit, struct poison **out, size_t *count,
                              struct bf_err *err) {
    struct poison *hot = NULL, *cold = NULL;
    size_t hot_count = 0, cold_count = 0;
    int64_t hot_from_us = 0;
    if (store_is_shared(s)) {
        return archive_quarantine_pooled(s, q, limit, out, count, err);
    }
    if (hot_quarantine(s->hot, q, limit, &hot, &hot_count, &hot_from_us, err) != BF_OK) {
        return err->code;
    }
    if (hot_from_us <= 0 || q->after_us >= hot_from_us - 1) {
        *out = hot;
        *count = hot_count;
        return BF_OK;
    }
    struct poison_query below = *q;
    below.below_us = below.below_us < hot_from_us ? below.below_us : hot_from_us;
    if (archive_quarantine_pooled(s, &below, limit, &cold, &cold_count, err) != BF_OK) {
        poison_free(hot, hot_count);
        return err->code;
    }
    return join_poison(cold, cold_count, hot, hot_count, limit, out, count, err);
}

/* ---- who read what: the archive's alone ---- */

enum bf_code store_reads(struct store *s, const struct archive_reads_query *q, size_t limit,
                         enum bf_code (*row)(void *ctx, const struct archive_read_row *row, struct bf_err *err), void *ctx, struct bf_err *err) {
    struct archive *a = NULL;
    if (store_pool_take(s->pool, &a, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = archive_ping(a, err); /* one that died in the pool is found before rows are handed over */
    if (code != BF_OK && store_pool_stale(err)) {
        code = archive_ping(a, err);
    }
    if (code == BF_OK) {
        code = archive_reads_list(a, q, limit, row, ctx, err);
    }
    store_pool_give(s->pool, a);
    return code == BF_OK ? BF_OK : bf_err_prepend(err, "archive");
}
