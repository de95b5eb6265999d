/* State over both tiers. Per node and topic there is at most one candidate of each tier; the later in (event_time, recorded_at) is the
 * state. The archive cannot know that a hot revision replaced its candidate: the hot store keeps every id for ever and says so, and
 * then the archive is asked for the next one.
 */
#include "store_tiers.h"

#include <stdlib.h>
#include <string.h>

#define CANDIDATES_AT_A_TIME 4
#define FEW_NODES 50 /* up to one in so many is asked for by itself, in place of the whole page */

static int by_topic(const void *a, const void *b) {
    const struct event *x = a, *y = b;
    size_t n = x->topic.len < y->topic.len ? x->topic.len : y->topic.len;
    int c = memcmp(x->topic.data, y->topic.data, n);
    return c != 0 ? c : (x->topic.len > y->topic.len) - (x->topic.len < y->topic.len);
}

static void sort_topics(struct event_page *page, size_t start) {
    if (page->count - start > 1) {
        qsort(page->events + start, page->count - start, sizeof(*page->events), by_topic);
    }
}

/* Does a revision that was known by then stand in for this one? */
static enum bf_code replaced(struct store *s, const struct event *ev, int64_t known_by_us, bool *out, struct bf_err *err) {
    uint32_t revision = 0;
    int64_t recorded_at_us = 0;
    enum bf_code code = hot_id_newest(store_hot(s), ev->topic, &ev->id, known_by_us, &revision, &recorded_at_us, err);
    if (code == BF_NOT_FOUND) {
        *out = false;
        return BF_OK;
    }
    if (code == BF_OK) {
        *out = revision > ev->revision;
    }
    return code;
}

/* What is asked of one node in one topic, below hot_from. */
struct cold_ask {
    struct event_query q; /* node, one topic, event time up to as_of, newest first */
    int64_t below_us;
};

static void cold_ask_init(struct cold_ask *ask, const struct event_query *q, struct bf_slice node, struct bf_slice topic, int64_t as_of_us,
                          int64_t below_us, const struct event *hot) {
    ask->q = *q;
    ask->q.node = node;
    ask->q.node_prefix = BF_SLICE_NONE;
    ask->q.topics[0] = topic;
    ask->q.topic_count = 1;
    ask->q.order = ORDER_EVENT_TIME;
    ask->q.descending = true;
    ask->q.to_us = as_of_us == INT64_MAX ? INT64_MAX : as_of_us + 1;
    /* On the same event time the hot one was recorded later, and wins. */
    ask->q.from_us = hot ? hot->event_time_us + 1 : INT64_MIN;
    ask->below_us = below_us;
}

/* The archive's newest that nothing replaces, appended to `page`; nothing when there is none. */
static enum bf_code cold_candidate(struct store *s, const struct cold_ask *ask, struct event_page *page, bool *found, struct bf_err *err) {
    struct event_page some;
    event_page_init(&some);
    struct event_pos after;
    bool exhausted = ask->q.from_us >= ask->q.to_us, have_after = false;
    enum bf_code code = BF_OK;
    *found = false;
    while (code == BF_OK && !*found && !exhausted) {
        event_page_clear(&some);
        code = store_archive_fetch(s, &ask->q, ask->below_us, have_after ? &after : NULL, CANDIDATES_AT_A_TIME, &some, &exhausted, err);
        for (size_t i = 0; code == BF_OK && i < some.count && !*found; i++) {
            bool gone = false;
            code = replaced(s, &some.events[i], ask->q.known_by_us, &gone, err);
            if (code == BF_OK && !gone) {
                code = event_page_add(page, &some.events[i], err);
                *found = code == BF_OK;
            }
        }
        if (code == BF_OK && some.count > 0) {
            after = event_pos_of(&some.events[some.count - 1], ORDER_EVENT_TIME);
            have_after = true;
        } else if (some.count == 0) {
            exhausted = true;
        }
    }
    event_page_fini(&some);
    return code;
}

static const struct event *of_topic(const struct event *events, size_t count, struct bf_slice topic) {
    for (size_t i = 0; i < count; i++) {
        if (bf_slice_eq(events[i].topic, topic)) {
            return &events[i];
        }
    }
    return NULL;
}

static bool topic_wanted(const struct event_query *q, struct bf_slice topic) {
    if (q->domain.data && !(topic.len > q->domain.len && memcmp(topic.data, q->domain.data, q->domain.len) == 0 &&
                            ((const char *)topic.data)[q->domain.len] == '.')) {
        return false;
    }
    for (size_t i = 0; i < q->topic_count; i++) {
        if (bf_slice_eq(q->topics[i], topic)) {
            return true;
        }
    }
    return q->topic_count == 0;
}

/* hot: the node's candidates in the hot store; the answer goes to the end of `page`. */
static enum bf_code merge_node(struct store *s, struct bf_slice node, const struct event_query *q, int64_t as_of_us, int64_t below_us,
                               const struct event *hot, size_t hot_count, struct event_page *page, struct bf_err *err) {
    struct hot_node_topic topics[EVENT_TOPICS_MAX];
    size_t count = 0;
    enum bf_code code = hot_node(store_hot(s), node, topics, EVENT_TOPICS_MAX, &count, err);
    if (code == BF_NOT_FOUND) {
        return BF_OK;
    }
    for (size_t i = 0; code == BF_OK && i < count; i++) {
        struct bf_slice topic = bf_slice_str(topics[i].topic);
        if (!topic_wanted(q, topic)) {
            continue;
        }
        const struct event *mine = of_topic(hot, hot_count, topic);
        bool found = false;
        if (!mine || mine->event_time_us < topics[i].archived_last_us) {
            struct cold_ask ask;
            cold_ask_init(&ask, q, node, topic, as_of_us, below_us, mine);
            code = cold_candidate(s, &ask, page, &found, err);
        }
        if (code == BF_OK && !found && mine) {
            code = event_page_add(page, mine, err);
        }
    }
    return code;
}

/* Take the rows from `start` on out of the page; their bytes stay in its arena. */
static enum bf_code lift_rows(struct event_page *page, size_t start, struct event **out, size_t *count, struct bf_err *err) {
    size_t n = page->count - start;
    struct event *rows = calloc(n + 1, sizeof(*rows));
    if (!rows) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for %zu rows", n);
    }
    if (n > 0) {
        memcpy(rows, page->events + start, n * sizeof(*rows));
    }
    page->count = start;
    *out = rows;
    *count = n;
    return BF_OK;
}

static enum bf_code shared_state(struct store *s, struct bf_slice node, const struct event_query *q, int64_t as_of_us, struct event_page *page,
                                 struct bf_err *err) {
    struct event_query of_node = *q;
    bool exhausted = false;
    of_node.node = node;
    of_node.node_prefix = BF_SLICE_NONE;
    return store_archive_world(s, &of_node, as_of_us, INT64_MAX, BF_SLICE_NONE, 1, page, &exhausted, err);
}

enum bf_code store_state(struct store *s, struct bf_slice node, const struct event_query *q, int64_t as_of_us, struct event_page *page,
                         struct bf_err *err) {
    size_t start = page->count, hot_count = 0;
    int64_t hot_from_us = 0;
    struct event *hot = NULL;
    if (store_is_shared(s)) {
        return shared_state(s, node, q, as_of_us, page, err);
    }
    enum bf_code code = hot_state(store_hot(s), node, q, as_of_us, page, &hot_from_us, err);
    if (code == BF_OK && store_reaches_archive(q, hot_from_us)) {
        code = lift_rows(page, start, &hot, &hot_count, err);
        if (code == BF_OK) {
            code = merge_node(s, node, q, as_of_us, hot_from_us, hot, hot_count, page, err);
        }
        free(hot);
    }
    if (code == BF_OK) {
        sort_topics(page, start);
    }
    return code;
}

/* ---- the world ---- */

/* One page of nodes: the names, and where each one's hot rows end. */
struct world {
    struct store *s;
    const struct event_query *q;
    int64_t as_of_us, hot_from_us;
    struct bf_buf names; /* NUL-separated */
    size_t count;
    struct hot_world_node *nodes;
};

/* The archive's row for (node, topic) against the hot one: the later counts; a replaced one is asked for again. */
static enum bf_code world_cold_row(struct world *w, struct bf_slice node, const struct event *cold, const struct event *hot,
                                   struct event_page *page, struct bf_err *err) {
    bool gone = false, found = false;
    if (hot && hot->event_time_us >= cold->event_time_us) {
        return event_page_add(page, hot, err);
    }
    if (replaced(w->s, cold, w->q->known_by_us, &gone, err) != BF_OK) {
        return err->code;
    }
    if (!gone) {
        return event_page_add(page, cold, err);
    }
    struct cold_ask ask;
    cold_ask_init(&ask, w->q, node, cold->topic, w->as_of_us, w->hot_from_us, hot);
    enum bf_code code = cold_candidate(w->s, &ask, page, &found, err);
    return code == BF_OK && !found && hot ? event_page_add(page, hot, err) : code;
}

/* One node: its archive rows cold[0..cold_count) against its hot rows. */
static enum bf_code world_node(struct world *w, struct bf_slice node, const struct event *cold, size_t cold_count, const struct event *hot,
                               size_t hot_count, struct event_page *page, struct bf_err *err) {
    size_t start = page->count;
    enum bf_code code = BF_OK;
    for (size_t i = 0; code == BF_OK && i < cold_count; i++) {
        code = world_cold_row(w, node, &cold[i], of_topic(hot, hot_count, cold[i].topic), page, err);
    }
    for (size_t i = 0; code == BF_OK && i < hot_count; i++) {
        if (!of_topic(cold, cold_count, hot[i].topic)) {
            code = event_page_add(page, &hot[i], err);
        }
    }
    if (code == BF_OK) {
        sort_topics(page, start);
    }
    return code;
}

static int node_compare(struct bf_slice a, struct bf_slice b) {
    int c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

/* start: where the page's hot rows begin. */
static enum bf_code world_merge(struct world *w, struct bf_slice after_node, struct event_page *page, size_t start, struct bf_err *err) {
    size_t hot_count = 0, at = 0, first = 0;
    struct event *hot = NULL;
    struct event_page cold;
    bool exhausted = false;
    event_page_init(&cold);
    enum bf_code code = lift_rows(page, start, &hot, &hot_count, err);
    if (code == BF_OK) { /* the archive's nodes are some of those named, so as many reach at least as far */
        code = store_archive_world(w->s, w->q, w->as_of_us, w->hot_from_us, after_node, w->count, &cold, &exhausted, err);
    }
    const char *name = w->names.data;
    for (size_t i = 0; code == BF_OK && i < w->count; i++, name += strlen(name) + 1) {
        struct bf_slice node = bf_slice_str(name);
        while (at < cold.count && node_compare(cold.events[at].node_id, node) < 0) {
            at++;
        }
        size_t from = at;
        while (at < cold.count && bf_slice_eq(cold.events[at].node_id, node)) {
            at++;
        }
        code = world_node(w, node, cold.events + from, at - from, hot + first, w->nodes[i].end - first, page, err);
        first = w->nodes[i].end;
    }
    free(hot);
    event_page_fini(&cold);
    return code;
}

static void remember_last(const struct world *w, struct bf_buf *last_node) {
    const char *name = w->names.data;
    for (size_t i = 1; i < w->count; i++) {
        name += strlen(name) + 1;
    }
    bf_buf_clear(last_node);
    bf_buf_puts(last_node, name);
}

/* The archive is asked about few nodes, one by one. */
static enum bf_code world_few(struct world *w, struct event_page *page, size_t start, struct bf_err *err) {
    size_t hot_count = 0, first = 0;
    struct event *hot = NULL;
    const char *name = w->names.data;
    enum bf_code code = lift_rows(page, start, &hot, &hot_count, err);
    for (size_t i = 0; code == BF_OK && i < w->count; i++, name += strlen(name) + 1) {
        const struct hot_world_node *n = &w->nodes[i];
        size_t from = page->count;
        if (n->needs_archive) {
            code = merge_node(w->s, bf_slice_str(name), w->q, w->as_of_us, w->hot_from_us, hot + first, n->end - first, page, err);
            sort_topics(page, from);
        }
        for (size_t k = first; code == BF_OK && !n->needs_archive && k < n->end; k++) {
            code = event_page_add(page, &hot[k], err);
        }
        first = n->end;
    }
    free(hot);
    return code;
}

static enum bf_code world_below(struct world *w, struct bf_slice after_node, struct event_page *page, size_t start, struct bf_err *err) {
    size_t needy = 0;
    for (size_t i = 0; i < w->count; i++) {
        needy += w->nodes[i].needs_archive;
    }
    return needy == 0                         ? BF_OK
           : needy <= w->count / FEW_NODES ? world_few(w, page, start, err)
                                           : world_merge(w, after_node, page, start, err);
}

static enum bf_code shared_world(struct store *s, const struct event_query *q, int64_t as_of_us, struct bf_slice after_node, size_t limit_nodes,
                                 struct event_page *page, struct bf_buf *last_node, bool *exhausted, struct bf_err *err) {
    size_t start = page->count;
    enum bf_code code = store_archive_world(s, q, as_of_us, INT64_MAX, after_node, limit_nodes, page, exhausted, err);
    bf_buf_clear(last_node);
    if (code == BF_OK && page->count > start) {
        bf_buf_append(last_node, page->events[page->count - 1].node_id.data, page->events[page->count - 1].node_id.len);
    }
    return code;
}

enum bf_code store_world(struct store *s, const struct event_query *q, int64_t as_of_us, struct bf_slice after_node, size_t limit_nodes,
                         struct event_page *page, struct bf_buf *last_node, bool *exhausted, struct bf_err *err) {
    struct world w = {.s = s, .q = q, .as_of_us = as_of_us};
    size_t start = page->count;
    if (store_is_shared(s)) {
        return shared_world(s, q, as_of_us, after_node, limit_nodes, page, last_node, exhausted, err);
    }
    bf_buf_init(&w.names, limit_nodes * 256 + 256);
    w.nodes = calloc(limit_nodes + 1, sizeof(*w.nodes));
    enum bf_code code = w.nodes ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for %zu nodes", limit_nodes);
    if (code == BF_OK) {
        code = hot_world(store_hot(s), q, as_of_us, after_node, limit_nodes, &w.names, w.nodes, &w.count, page, &w.hot_from_us, err);
    }
    if (code == BF_OK && w.count > 0 && store_reaches_archive(q, w.hot_from_us)) {
        code = world_below(&w, after_node, page, start, err);
    }
    if (code == BF_OK && w.count > 0) {
        remember_last(&w, last_node);
    }
    if (code == BF_OK) {
        *exhausted = w.count < limit_nodes;
    }
    free(w.nodes);
    bf_buf_fini(&w.names);
    return code;
}
