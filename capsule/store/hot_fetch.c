/* hot_fetch: pick the index that answers the question in its own order, walk it, and take the events that fit.
 *
 * Two ways. *Streaming*: one source, or several merged, give places in the asked order, and the walk stops at `limit`. *Collecting*: where no
 * index has the asked order (all revisions of an id; a node's history by recorded_at; a trace by event time), every candidate is looked at
 * and the best `limit` are kept. event_query_matches() is always the last word, on a view into the log; only what fits is copied out. */
#include "hot_fetch.h"
#include "bf_room.h"
#include "hot_hash.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX_NODES_MAX 64 /* with more nodes than this a prefix is answered by a scan over time */

static struct source_range range_of(const struct fetch *f) {
    const struct event_query *q = f->q;
    struct source_range r = {q->from_us, q->to_us == INT64_MAX ? INT64_MAX : q->to_us - 1, f->recorded_from_us, f->recorded_through_us};
    if (q->to_us == INT64_MIN)
        r.event_through_us = r.recorded_through_us = INT64_MIN;
    return r;
}

/* ---- one candidate ---- */

static bool is_after(const struct fetch *f, const struct event_pos *pos) {
    if (f->after == NULL)
        return true;
    int c = event_pos_compare(pos, f->after, f->q->order);
    return f->q->descending ? c < 0 : c > 0;
}

/* Places that are asked for one after the other often lie on one page of the log: a cursor that stands there finds them without a search from the
 * root. It is kept for the whole fetch. */
static enum bf_code record_at(struct fetch *f, int64_t recorded_at_us, struct bf_slice *record, struct bf_err *err) {
    struct hot_key key = key_recorded(recorded_at_us);
    MDB_val k = key_val(&key), v;
    int rc = f->log ? MDB_SUCCESS : mdb_cursor_open(f->txn, f->h->db[DB_LOG], &f->log);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_get(f->log, &k, &v, MDB_SET);
    if (rc == MDB_NOTFOUND)
        return hot_corrupt(err, "an index names a record that is not there");
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading the log");
    *record = (struct bf_slice){v.mv_data, v.mv_size};
    return BF_OK;
}

enum bf_code fetch_view(struct fetch *f, int64_t recorded_at_us, struct event *ev, struct bf_err *err) {
    struct bf_slice record;
    enum bf_code code = record_at(f, recorded_at_us, &record, err);
    return code == BF_OK ? hot_event_of_record(f->h, recorded_at_us, record, ev, err) : code;
}

static bool is_within(const struct fetch *f, int64_t recorded_at_us) {
    return recorded_at_us >= f->recorded_from_us && recorded_at_us <= f->recorded_through_us;
}

/* Take it when it fits. */
static enum bf_code offer_event(struct fetch *f, const struct event *ev, struct bf_err *err) {
    if (!event_query_matches(f->q, ev))
        return BF_OK;
    struct event_pos pos = event_pos_of(ev, f->q->order);
    if (!is_after(f, &pos))
        return BF_OK;
    if (f->taken == f->limit) {
        f->more = true;
        return BF_OK;
    }
    f->taken++;
    return event_page_add(f->page, ev, err);
}

enum bf_code fetch_offer(struct fetch *f, int64_t recorded_at_us, struct bf_err *err) {
    struct event ev;
    if (!is_within(f, recorded_at_us))
        return BF_OK;
    enum bf_code code = fetch_view(f, recorded_at_us, &ev, err);
    return code == BF_OK ? offer_event(f, &ev, err) : code;
}

static enum bf_code offer_record(struct fetch *f, int64_t recorded_at_us, struct bf_slice record, struct bf_err *err) {
    struct event ev;
    if (!is_within(f, recorded_at_us))
        return BF_OK;
    enum bf_code code = hot_event_of_record(f->h, recorded_at_us, record, &ev, err);
    return code == BF_OK ? offer_event(f, &ev, err) : code;
}

/* ---- streaming ---- */

/* Keys alone rule out most of what does not fit: topic (in the value of the time index) and recorded_at. */
static bool worth_a_look(const struct fetch *f, const struct source *s) {
    if (s->recorded_at_us < f->recorded_from_us || s->recorded_at_us > f->recorded_through_us)
        return false;
    if (s->value.mv_size != sizeof(uint32_t))
        return true;
    uint32_t topic_no;
    memcpy(&topic_no, s->value.mv_data, sizeof topic_no);
    return topic_filter_allows(&f->topics, topic_no);
}

static enum bf_code stream(struct fetch *f, struct source *sources, size_t count, struct bf_err *err) {
    while (!f->more) {
        struct source *next = NULL;
        for (size_t i = 0; i < count; i++) {
            if (!sources[i].done && (next == NULL || source_before(&sources[i], next, f->q->descending)))
                next = &sources[i];
        }
        if (next == NULL)
            return BF_OK;
        enum bf_code code = look(&f->looked, err);
        if (code == BF_OK && worth_a_look(f, next))
            code = fetch_offer(f, next->recorded_at_us, err);
        if (code != BF_OK)
            return code;
        int rc = source_next(next);
        if (rc != MDB_SUCCESS)
            return hot_fail(err, rc, "walking an index");
    }
    return BF_OK;
}

/* Begin where the last page ended instead of at the start. */
static struct source_range range_after(const struct fetch *f, bool timed) {
    struct source_range r = range_of(f);
    if (f->after == NULL)
        return r;
    const struct event_pos *a = f->after;
    if (timed && f->q->descending && a->primary < r.event_through_us)
        r.event_through_us = a->primary;
    else if (timed && !f->q->descending && a->primary > r.event_from_us)
        r.event_from_us = a->primary;
    else if (!timed && f->q->descending && a->recorded_at_us <= r.recorded_through_us)
        r.recorded_through_us = a->recorded_at_us - 1;
    else if (!timed && !f->q->descending && a->recorded_at_us >= r.recorded_from_us)
        r.recorded_from_us = a->recorded_at_us == INT64_MAX ? INT64_MAX : a->recorded_at_us + 1;
    return r;
}

static enum bf_code stream_one(struct fetch *f, enum hot_db db, const struct hot_key *prefix, bool timed, struct bf_err *err) {
    struct source s;
    struct source_range r = range_after(f, timed);
    int rc = source_open(&s, f->txn, f->h->db[db], prefix, timed, &r, f->q->descending);
    enum bf_code code = rc == MDB_SUCCESS ? stream(f, &s, 1, err) : hot_fail(err, rc, "opening an index");
    source_close(&s);
    return code;
}

/* By recorded_at: the log itself. Other records than events pass by unopened. */
static enum bf_code stream_log(struct fetch *f, struct bf_err *err) {
    struct source s;
    struct hot_key none = {.len = 0};
    struct source_range r = range_after(f, false);
    int rc = source_open(&s, f->txn, f->h->db[DB_LOG], &none, false, &r, f->q->descending);
    enum bf_code code = BF_OK;
    while (rc == MDB_SUCCESS && code == BF_OK && !s.done && !f->more) {
        struct record_peek peek;
        struct bf_slice record = {s.value.mv_data, s.value.mv_size};
        code = look(&f->looked, err);
        if (code == BF_OK && !record_peek(record, &peek))
            code = hot_corrupt(err, "a record's head");
        else if (code == BF_OK && peek.type == RECORD_EVENT && topic_filter_allows(&f->topics, peek.topic_no))
            code = offer_record(f, s.recorded_at_us, record, err);
        if (code == BF_OK)
            rc = source_next(&s);
    }
    source_close(&s);
    return rc == MDB_SUCCESS ? code : hot_fail(err, rc, "walking the log");
}

/* ---- nodes: one source for each topic of each node ---- */

struct source_list {
    struct source *sources;
    size_t count, capacity;
    uint64_t events; /* in the node's topics, as counted */
};

static void list_fini(struct source_list *list) {
    for (size_t i = 0; i < list->count; i++)
        source_close(&list->sources[i]);
    free(list->sources);
}

static enum bf_code list_add(struct fetch *f, struct source_list *list, enum hot_db db, const struct hot_key *prefix, const struct source_range *r,
                             struct bf_err *err) {
    if (!bf_room(list->sources, list->count, list->capacity, 8))
        return bf_fail(err, BF_NOMEM, 0, "no memory to merge %zu histories", list->count);
    struct source *s = &list->sources[list->count++];
    int rc = source_open(s, f->txn, f->h->db[db], prefix, true, r, f->q->order == ORDER_EVENT_TIME && f->q->descending);
    return rc == MDB_SUCCESS ? BF_OK : hot_fail(err, rc, "opening a node's history");
}

static enum bf_code list_topic(struct fetch *f, struct source_list *list, uint32_t node_no, uint32_t topic_no, const struct node_topic_row *row,
                               const struct source_range *r, struct bf_err *err) {
    struct hot_key prefix = key_pair(node_no, topic_no);
    uint32_t in_runs = node_runs_of(&f->runs, row, node_no, topic_no);
    enum bf_code code = list_add(f, list, DB_BY_NODE, &prefix, r, err);
    for (uint32_t run = 0; in_runs >> run != 0 && code == BF_OK; run++) {
        prefix = node_run_prefix(run, node_no, topic_no);
        if ((in_runs >> run & 1) != 0)
            code = list_add(f, list, DB_NODE_RUNS, &prefix, r, err);
    }
    return code;
}

static enum bf_code list_node(struct fetch *f, struct source_list *list, uint32_t node_no, const struct source_range *r, struct bf_err *err) {
    struct hot_key prefix = {.len = 0};
    key_u32(&prefix, node_no);
    MDB_cursor *cur;
    MDB_val key = key_val(&prefix), value;
    enum bf_code code = BF_OK;
    int rc = mdb_cursor_open(f->txn, f->h->db[DB_NODE_TOPICS], &cur);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading a node's topics");
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    while (rc == MDB_SUCCESS && code == BF_OK && key_has_prefix(&key, &prefix)) {
        struct node_topic_row row;
        uint32_t topic_no = bf_get_be32((const char *)key.mv_data + 4);
        memcpy(&row, value.mv_data, sizeof row);
        list->events += row.events;
        if (topic_filter_allows(&f->topics, topic_no))
            code = list_topic(f, list, node_no, topic_no, &row, r, err);
        rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cur);
    return rc == MDB_SUCCESS || rc == MDB_NOTFOUND || code != BF_OK ? code : hot_fail(err, rc, "reading a node's topics");
}

/* Is walking the whole log to a page's end cheaper than looking at every event of the node? */
static bool log_is_shorter(const struct fetch *f, uint64_t node_events) {
    double log = (double)atomic_load(&f->h->log_records), n = (double)node_events;
    return n > 10000 && n * n > ((double)f->limit + 1) * log;
}

static enum bf_code fetch_node(struct fetch *f, struct bf_err *err) {
    struct source_list list = {0};
    uint32_t node_no;
    bool streaming = f->q->order == ORDER_EVENT_TIME;
    int rc = hot_node_find(f->h, f->txn, f->q->node, &node_no);
    if (rc != MDB_SUCCESS)
        return rc == MDB_NOTFOUND ? BF_OK : hot_fail(err, rc, "finding a node");
    struct source_range r = streaming ? range_after(f, true) : range_of(f);
    enum bf_code code = list_node(f, &list, node_no, &r, err);
    if (code == BF_OK && streaming)
        code = stream(f, list.sources, list.count, err);
    else if (code == BF_OK && f->q->order == ORDER_RECORDED && log_is_shorter(f, list.events))
        code = stream_log(f, err);
    else if (code == BF_OK)
        code = fetch_collect_sources(f, list.sources, list.count, err);
    list_fini(&list);
    return code;
}

static enum bf_code fetch_prefix(struct fetch *f, struct bf_err *err) {
    struct source_list list = {0};
    struct hot_key none = {.len = 0};
    struct bf_slice prefix = f->q->node_prefix;
    MDB_cursor *cur;
    MDB_val key = {prefix.len, (void *)(uintptr_t)prefix.data}, value;
    enum bf_code code = BF_OK;
    size_t nodes = 0;
    struct source_range r = range_after(f, true);
    int rc = mdb_cursor_open(f->txn, f->h->db[DB_NODES], &cur);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading nodes");
    rc = mdb_cursor_get(cur, &key, &value, prefix.len > 0 ? MDB_SET_RANGE : MDB_FIRST);
    while (rc == MDB_SUCCESS && code == BF_OK && nodes <= PREFIX_NODES_MAX && key.mv_size >= prefix.len &&
           (prefix.len == 0 || memcmp(key.mv_data, prefix.data, prefix.len) == 0)) {
        uint32_t node_no;
        memcpy(&node_no, value.mv_data, sizeof node_no);
        if (++nodes <= PREFIX_NODES_MAX)
            code = list_node(f, &list, node_no, &r, err);
        rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cur);
    if (code == BF_OK && rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        code = hot_fail(err, rc, "reading nodes");
    if (code == BF_OK && nodes <= PREFIX_NODES_MAX)
        code = stream(f, list.sources, list.count, err);
    else if (code == BF_OK)
        code = stream_one(f, DB_BY_TIME, &none, true, err);
    list_fini(&list);
    return code;
}

static enum bf_code fetch_linked(struct fetch *f, enum link_kind kind, const uint8_t what[16], struct bf_err *err) {
    struct hot_key prefix = {.len = 0};
    key_u8(&prefix, (uint8_t)kind);
    key_raw(&prefix, what, 16);
    if (f->q->order == ORDER_RECORDED)
        return stream_one(f, DB_LINKS, &prefix, false, err);
    struct source s;
    struct source_range r = range_of(f);
    int rc = source_open(&s, f->txn, f->h->db[DB_LINKS], &prefix, false, &r, false);
    enum bf_code code = rc == MDB_SUCCESS ? fetch_collect_sources(f, &s, 1, err) : hot_fail(err, rc, "opening links");
    source_close(&s);
    return code;
}

/* ---- choosing ---- */

static enum bf_code fetch_by_plan(struct fetch *f, struct bf_err *err) {
    const struct event_query *q = f->q;
    struct hot_key none = {.len = 0};
    uint8_t trace[16];
    if (q->has_id)
        return fetch_id(f, err);
    if (q->by_partition && q->order == ORDER_OFFSET)
        return fetch_offsets(f, err);
    if (q->has_cause)
        return fetch_linked(f, LINK_CAUSE, q->cause.b, err);
    if (q->trace.data != NULL) {
        hot_trace_hash(q->trace, trace);
        return fetch_linked(f, LINK_TRACE, trace, err);
    }
    if (q->node.data != NULL)
        return fetch_node(f, err);
    if (q->order == ORDER_RECORDED)
        return stream_log(f, err);
    if (q->by_partition)
        return fetch_offsets(f, err);
    return q->node_prefix.data != NULL ? fetch_prefix(f, err) : stream_one(f, DB_BY_TIME, &none, true, err);
}

/* What is recorded below hot_from may still lie here for a while, but the archive answers for it. */
static void fetch_bounds(struct fetch *f, int64_t hot_from_us) {
    const struct event_query *q = f->q;
    f->recorded_from_us = q->recorded_from_us > hot_from_us ? q->recorded_from_us : hot_from_us;
    f->recorded_through_us = q->known_by_us;
    if (q->recorded_to_us != INT64_MAX && q->recorded_to_us <= q->known_by_us)
        f->recorded_through_us = q->recorded_to_us == INT64_MIN ? INT64_MIN : q->recorded_to_us - 1;
}

enum bf_code hot_fetch(struct hot *h, const struct event_query *q, const struct event_pos *after, size_t limit, struct event_page *page,
                       bool *exhausted, int64_t *hot_from_us, struct bf_err *err) {
    struct fetch f = {.h = h, .q = q, .after = after, .limit = limit, .page = page};
    int64_t hot_from = 0;
    if (q->by_partition && q->topic_count != 1)
        return bf_fail(err, BF_INVALID, 0, "a partition needs exactly one topic");
    if (q->order == ORDER_OFFSET && !q->by_partition)
        return bf_fail(err, BF_INVALID, 0, "the order by offset needs a partition");
    enum bf_code code = hot_read_begin(h, &f.txn, err);
    if (code != BF_OK)
        return code;
    int rc = hot_meta_get_i64(h, f.txn, "hot_from", &hot_from);
    if (rc == MDB_SUCCESS)
        rc = node_runs_get(h, f.txn, &f.runs);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "reading where hot begins");
    fetch_bounds(&f, hot_from);
    if (code == BF_OK)
        code = topic_filter_init(&f.topics, h, q, err);
    if (code == BF_OK)
        code = fetch_by_plan(&f, err);
    topic_filter_fini(&f.topics);
    if (f.log)
        mdb_cursor_close(f.log);
    hot_read_end(h, f.txn);
    if (code != BF_OK)
        return code;
    *exhausted = !f.more;
    *hot_from_us = hot_from;
    return BF_OK;
}
