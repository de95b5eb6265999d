/* State: for each topic of the node one seek to the newest event time that counts, then back over what was not known by then or what a
 * newer revision had replaced by then. */
#include "hot_internal.h"

#include <stdlib.h>
#include <string.h>

struct state_topic {
    uint32_t no;
    struct bf_slice name;
};

struct state {
    struct hot *h;
    MDB_txn *txn;
    const struct event_query *q;
    struct topic_filter topics;
    int64_t as_of_us, hot_from_us;
};

static int by_name(const void *a, const void *b) {
    const struct bf_slice *x = &((const struct state_topic *)a)->name, *y = &((const struct state_topic *)b)->name;
    int c = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static int node_topics(struct state *s, uint32_t node_no, struct state_topic *list, size_t max, size_t *count) {
    struct hot_key prefix = {.len = 0};
    key_u32(&prefix, node_no);
    MDB_cursor *cur;
    MDB_val key = key_val(&prefix), value;
    int rc = mdb_cursor_open(s->txn, s->h->db[DB_NODE_TOPICS], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    *count = 0;
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    for (; rc == MDB_SUCCESS && key_has_prefix(&key, &prefix) && *count < max; rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) {
        uint32_t no = bf_get_be32((const char *)key.mv_data + 4);
        if (topic_filter_allows(&s->topics, no))
            list[(*count)++] = (struct state_topic){no, hot_topic_name(s->h, no)};
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static enum bf_code topic_state(struct state *s, uint32_t node_no, uint32_t topic_no, struct event_page *page, struct bf_err *err) {
    struct source src;
    struct hot_key prefix = key_pair(node_no, topic_no);
    struct source_range r = {INT64_MIN, s->as_of_us, s->hot_from_us, INT64_MAX};
    enum bf_code code = BF_OK;
    bool found = false;
    int rc = source_open(&src, s->txn, s->h->db[DB_BY_NODE], &prefix, true, &r, true);
    while (rc == MDB_SUCCESS && code == BF_OK && !src.done && !found) {
        struct event ev;
        bool replaced = false;
        if (src.recorded_at_us >= s->hot_from_us && src.recorded_at_us <= s->q->known_by_us) {
            code = hot_event_view(s->h, s->txn, src.recorded_at_us, &ev, err);
            if (code == BF_OK && event_query_matches(s->q, &ev)) {
                rc = hot_is_replaced(s->h, s->txn, topic_no, &ev, s->q->known_by_us, &replaced);
                found = rc == MDB_SUCCESS && !replaced;
            }
        }
        if (found && code == BF_OK)
            code = event_page_add(page, &ev, err);
        else if (code == BF_OK && rc == MDB_SUCCESS)
            rc = source_next(&src);
    }
    source_close(&src);
    return rc == MDB_SUCCESS ? code : hot_fail(err, rc, "reading a node's state");
}

static enum bf_code node_state(struct state *s, struct bf_slice node, struct event_page *page, struct bf_err *err) {
    uint32_t node_no;
    size_t count = 0;
    int rc = hot_node_find(s->h, s->txn, node, &node_no);
    if (rc == MDB_NOTFOUND)
        return BF_OK;
    struct state_topic few[16], *list = s->topics.count <= 16 ? few : malloc(s->topics.count * sizeof *list);
    if (list == NULL)
        return bf_fail(err, BF_NOMEM, 0, "no memory for %u topics", s->topics.count);
    if (rc == MDB_SUCCESS)
        rc = node_topics(s, node_no, list, s->topics.count, &count);
    enum bf_code code = rc == MDB_SUCCESS ? BF_OK : hot_fail(err, rc, "reading a node");
    if (count > 1)
        qsort(list, count, sizeof *list, by_name);
    for (size_t i = 0; i < count && code == BF_OK; i++)
        code = topic_state(s, node_no, list[i].no, page, err);
    if (list != few)
        free(list);
    return code;
}

enum bf_code hot_state(struct hot *h, struct bf_slice node, const struct event_query *q, int64_t as_of_us, struct event_page *page,
                       int64_t *hot_from_us, struct bf_err *err) {
    struct state s = {.h = h, .q = q, .as_of_us = as_of_us};
    enum bf_code code = hot_read_begin(h, &s.txn, err);
    if (code != BF_OK)
        return code;
    int rc = hot_meta_get_i64(h, s.txn, "hot_from", &s.hot_from_us);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "reading where hot begins");
    if (code == BF_OK)
        code = topic_filter_init(&s.topics, h, q, err);
    if (code == BF_OK)
        code = node_state(&s, node, page, err);
    topic_filter_fini(&s.topics);
    hot_read_end(h, s.txn);
    if (code == BF_OK)
        *hot_from_us = s.hot_from_us;
    return code;
}
