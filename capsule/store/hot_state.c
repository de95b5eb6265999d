/* State: for each topic of the node the newest event time that counts, then back over what was not known by then or what a newer revision had
 * replaced by then. The node's row says where its last event lies; that is the state as of now, mostly. The world is that for one node after the
 * other, in one transaction and with one set of cursors. */
#include "hot_fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct state_topic {
    uint32_t no;
    struct bf_slice name;
    struct node_topic_row row;
};

struct state {
    struct hot *h;
    MDB_txn *txn;
    MDB_cursor *node_topics;
    MDB_cursor *by_node, *in_run[NODE_RUNS_MAX]; /* once they are needed */
    struct node_runs runs;
    const struct event_query *q;
    struct topic_filter filter;
    struct state_topic *topics; /* of the node at hand; as many as there are topics */
    size_t topic_count, looked;
    int64_t as_of_us, hot_from_us;
};

static enum bf_code state_begin(struct state *s, struct hot *h, const struct event_query *q, int64_t as_of_us, struct bf_err *err) {
    *s = (struct state){.h = h, .q = q, .as_of_us = as_of_us};
    enum bf_code code = hot_read_begin(h, &s->txn, err);
    if (code != BF_OK)
        return code;
    int rc = hot_meta_get_i64(h, s->txn, "hot_from", &s->hot_from_us);
    if (rc == MDB_SUCCESS)
        rc = node_runs_get(h, s->txn, &s->runs);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_open(s->txn, h->db[DB_NODE_TOPICS], &s->node_topics);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading state");
    code = topic_filter_init(&s->filter, h, q, err);
    if (code == BF_OK && (s->topics = malloc((s->filter.count + 1) * sizeof *s->topics)) == NULL)
        code = bf_fail(err, BF_NOMEM, 0, "no memory for %u topics", s->filter.count);
    return code;
}

static void state_end(struct state *s) {
    free(s->topics);
    topic_filter_fini(&s->filter);
    for (size_t i = 0; i < NODE_RUNS_MAX; i++) {
        if (s->in_run[i] != NULL)
            mdb_cursor_close(s->in_run[i]);
    }
    if (s->by_node != NULL)
        mdb_cursor_close(s->by_node);
    if (s->node_topics != NULL)
        mdb_cursor_close(s->node_topics);
    if (s->txn != NULL)
        hot_read_end(s->h, s->txn);
}

static int by_name(const void *a, const void *b) {
    const struct bf_slice *x = &((const struct state_topic *)a)->name, *y = &((const struct state_topic *)b)->name;
    int c = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static int read_topics(struct state *s, uint32_t node_no) {
    struct hot_key prefix = {.len = 0};
    key_u32(&prefix, node_no);
    MDB_val key = key_val(&prefix), value;
    int rc = mdb_cursor_get(s->node_topics, &key, &value, MDB_SET_RANGE);
    s->topic_count = 0;
    for (; rc == MDB_SUCCESS && key_has_prefix(&key, &prefix); rc = mdb_cursor_get(s->node_topics, &key, &value, MDB_NEXT)) {
        uint32_t no = bf_get_be32((const char *)key.mv_data + 4);
        if (!topic_filter_allows(&s->filter, no) || s->topic_count == s->filter.count)
            continue;
        struct state_topic *t = &s->topics[s->topic_count++];
        if (value.mv_size != sizeof t->row)
            return MDB_CORRUPTED;
        t->no = no;
        t->name = hot_topic_name(s->h, no);
        memcpy(&t->row, value.mv_data, sizeof t->row);
    }
    if (s->topic_count > 1)
        qsort(s->topics, s->topic_count, sizeof *s->topics, by_name);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* Is it what was asked for, and was it still so by then? */
static int judge(struct state *s, uint32_t topic_no, const struct event *ev, bool *found) {
    bool replaced = false;
    int rc = MDB_SUCCESS;
    if (event_query_matches(s->q, ev)) {
        rc = hot_is_replaced(s->h, s->txn, topic_no, ev, s->q->known_by_us, &replaced);
        *found = rc == MDB_SUCCESS && !replaced;
    }
    return rc;
}

/* The node's last event, when the question reaches so far and it lies there still. */
static int last_event(struct state *s, const struct state_topic *t, struct bf_slice node, struct event *ev, bool *found) {
    struct bf_slice record;
    struct record_peek peek;
    struct bf_err ignored;
    int64_t at = t->row.last_recorded_at_us;
    if (t->row.last_event_time_us > s->as_of_us || at < s->hot_from_us || at > s->q->known_by_us)
        return MDB_SUCCESS;
    int rc = hot_log_get(s->h, s->txn, at, &record);
    if (rc != MDB_SUCCESS)
        return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    if (!record_peek(record, &peek) || peek.topic_no != t->no || hot_event_of_record(s->h, at, record, ev, &ignored) != BF_OK ||
        ev->event_time_us != t->row.last_event_time_us || !bf_slice_eq(ev->node_id, node))
        return MDB_SUCCESS;
    return judge(s, t->no, ev, found);
}

/* Newest first, in BY_NODE and in what is not there yet. */
static int open_history(struct state *s, uint32_t node_no, const struct state_topic *t, struct source sources[1 + NODE_RUNS_MAX], size_t *count) {
    struct hot_key prefix = key_pair(node_no, t->no);
    struct source_range r = {INT64_MIN, s->as_of_us, s->hot_from_us, INT64_MAX};
    int rc = s->by_node == NULL ? mdb_cursor_open(s->txn, s->h->db[DB_BY_NODE], &s->by_node) : MDB_SUCCESS;
    if (rc == MDB_SUCCESS)
        rc = source_open_at(&sources[0], s->by_node, &prefix, true, &r, true);
    *count = 1;
    uint32_t in_runs = node_runs_of(&s->runs, &t->row, node_no, t->no);
    for (uint32_t run = 0; in_runs >> run != 0 && rc == MDB_SUCCESS; run++) {
        if ((in_runs >> run & 1) == 0)
            continue;
        MDB_cursor **cur = &s->in_run[run];
        prefix = node_run_prefix(run, node_no, t->no);
        if (*cur == NULL)
            rc = mdb_cursor_open(s->txn, s->h->db[DB_NODE_RUNS], cur);
        if (rc == MDB_SUCCESS)
            rc = source_open_at(&sources[(*count)++], *cur, &prefix, true, &r, true);
    }
    return rc;
}

static struct source *latest_of(struct source *sources, size_t count) {
    struct source *latest = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!sources[i].done && (latest == NULL || source_before(&sources[i], latest, true)))
            latest = &sources[i];
    }
    return latest;
}

static enum bf_code search_back(struct state *s, uint32_t node_no, const struct state_topic *t, struct event *ev, bool *found, struct bf_err *err) {
    struct source sources[1 + NODE_RUNS_MAX], *src;
    size_t count = 0;
    enum bf_code code = BF_OK;
    int rc = open_history(s, node_no, t, sources, &count);
    while (rc == MDB_SUCCESS && code == BF_OK && !*found && (src = latest_of(sources, count)) != NULL) {
        code = look(&s->looked, err);
        if (code == BF_OK && src->recorded_at_us >= s->hot_from_us && src->recorded_at_us <= s->q->known_by_us) {
            code = hot_event_view(s->h, s->txn, src->recorded_at_us, ev, err);
            if (code == BF_OK)
                rc = judge(s, t->no, ev, found);
        }
        if (code == BF_OK && rc == MDB_SUCCESS && !*found)
            rc = source_next(src);
    }
    return rc == MDB_SUCCESS ? code : hot_fail(err, rc, "reading a node's state");
}

static bool archive_is_later(const struct node_topic_row *row, const struct event *ev) {
    return row->archived_last_us != NOTHING_ARCHIVED && (ev == NULL || ev->event_time_us < row->archived_last_us);
}

/* needs_archive may be NULL. */
static enum bf_code node_state(struct state *s, uint32_t node_no, struct bf_slice node, struct event_page *page, bool *needs_archive,
                               struct bf_err *err) {
    int rc = read_topics(s, node_no);
    enum bf_code code = rc == MDB_SUCCESS ? BF_OK : hot_fail(err, rc, "reading a node");
    for (size_t i = 0; i < s->topic_count && code == BF_OK; i++) {
        const struct state_topic *t = &s->topics[i];
        struct event ev;
        bool found = false;
        rc = last_event(s, t, node, &ev, &found);
        if (rc != MDB_SUCCESS)
            code = hot_fail(err, rc, "reading a node's last event");
        if (code == BF_OK && !found)
            code = search_back(s, node_no, t, &ev, &found, err);
        if (code == BF_OK && found)
            code = event_page_add(page, &ev, err);
        if (needs_archive != NULL)
            *needs_archive = *needs_archive || archive_is_later(&t->row, found ? &ev : NULL);
    }
    return code;
}

enum bf_code hot_state(struct hot *h, struct bf_slice node, const struct event_query *q, int64_t as_of_us, struct event_page *page,
                       int64_t *hot_from_us, struct bf_err *err) {
    struct state s;
    uint32_t node_no;
    enum bf_code code = state_begin(&s, h, q, as_of_us, err);
    int rc = code == BF_OK ? hot_node_find(h, s.txn, node, &node_no) : MDB_NOTFOUND;
    if (rc == MDB_SUCCESS)
        code = node_state(&s, node_no, node, page, NULL, err);
    else if (rc != MDB_NOTFOUND)
        code = hot_fail(err, rc, "reading a node");
    if (code == BF_OK)
        *hot_from_us = s.hot_from_us;
    state_end(&s);
    return code;
}

/* ---- the world ---- */

enum bf_code hot_world(struct hot *h, const struct event_query *q, int64_t as_of_us, struct bf_slice after, size_t limit, struct bf_buf *names,
                       struct hot_world_node *nodes, size_t *count, struct event_page *page, int64_t *hot_from_us, struct bf_err *err) {
    struct state s;
    struct node_walk walk = {.done = true};
    size_t first = page->count;
    *count = 0;
    bf_buf_clear(names);
    enum bf_code code = state_begin(&s, h, q, as_of_us, err);
    int rc = code == BF_OK ? node_walk_open(&walk, h, s.txn, q->node_prefix, after) : MDB_SUCCESS;
    while (code == BF_OK && rc == MDB_SUCCESS && !walk.done && *count < limit) {
        struct hot_world_node *n = &nodes[(*count)++];
        n->needs_archive = false;
        code = node_state(&s, walk.no, walk.name, page, &n->needs_archive, err);
        n->end = page->count - first;
        bf_buf_append(names, walk.name.data, walk.name.len);
        bf_buf_putc(names, '\0');
        if (code == BF_OK)
            rc = node_walk_next(&walk);
    }
    node_walk_close(&walk);
    if (code == BF_OK && rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "walking the nodes");
    if (code == BF_OK && names->failed)
        code = bf_fail(err, BF_NOMEM, 0, "no memory for the names of %zu nodes", *count);
    if (code == BF_OK)
        *hot_from_us = s.hot_from_us;
    state_end(&s);
    return code;
}
