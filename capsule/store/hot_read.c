/* The small reads: watermarks, ids, nodes, other places of an event, quarantine. */
#include "hot_internal.h"

#include "bf_room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void hot_watermarks(const struct hot *h, struct hot_watermarks *out) {
    *out = (struct hot_watermarks){
        .recorded_through_us = atomic_load(&h->recorded_through_us),
        .hot_from_us = atomic_load(&h->hot_from_us),
        .dated_through_us = atomic_load(&h->dated_through_us),
        .bytes_used = atomic_load(&h->bytes_used),
        .bytes_max = h->bytes_max,
        .log_records = atomic_load(&h->log_records),
        .id_bytes = id_map_bytes(h->ids),
    };
}

/* ---- ids ---- */

struct newest {
    int64_t known_by_us;
    struct id_known of;
};

static int keep_newest(void *ctx, const struct id_known *known) {
    struct newest *n = ctx;
    if (known->recorded_at_us <= n->known_by_us && known->revision > n->of.revision)
        n->of = *known;
    return MDB_SUCCESS;
}

enum bf_code hot_id_newest(struct hot *h, struct bf_slice topic, const struct bf_uuid *id, int64_t known_by_us, uint32_t *revision,
                           int64_t *recorded_at_us, struct bf_err *err) {
    uint32_t topic_no;
    MDB_txn *txn;
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    struct newest n = {.known_by_us = known_by_us};
    int rc = hot_topic_find(h, topic, &topic_no) ? ids_each(h, txn, topic_no, id, keep_newest, &n) : MDB_SUCCESS;
    hot_read_end(h, txn);
    if (rc != MDB_SUCCESS || n.of.revision == 0)
        return hot_fail(err, rc == MDB_SUCCESS ? MDB_NOTFOUND : rc, "the newest revision");
    *revision = n.of.revision;
    *recorded_at_us = n.of.recorded_at_us;
    return BF_OK;
}

struct whereabouts {
    int64_t hot_from_us;
    bool first_is_hot, some_are_not;
};

static int note_where(void *ctx, const struct id_known *known) {
    struct whereabouts *w = ctx;
    bool is_hot = known->recorded_at_us >= w->hot_from_us;
    w->first_is_hot = w->first_is_hot || (is_hot && known->revision == 1);
    w->some_are_not = w->some_are_not || !is_hot;
    return MDB_SUCCESS;
}

enum bf_code hot_id_is_hot(struct hot *h, const struct event_query *q, bool *all_hot, struct bf_err *err) {
    struct topic_filter topics;
    struct whereabouts w = {.hot_from_us = 0};
    MDB_txn *txn;
    enum bf_code code = topic_filter_init(&topics, h, q, err);
    if (code != BF_OK)
        return code;
    code = hot_read_begin(h, &txn, err);
    if (code == BF_OK) {
        int rc = hot_meta_get_i64(h, txn, "hot_from", &w.hot_from_us);
        for (uint32_t no = 0; no < atomic_load(&h->topic_count) && rc == MDB_SUCCESS; no++) {
            if (topic_filter_allows(&topics, no))
                rc = ids_each(h, txn, no, &q->id, note_where, &w);
        }
        hot_read_end(h, txn);
        code = rc == MDB_SUCCESS ? BF_OK : hot_fail(err, rc, "reading ids");
    }
    topic_filter_fini(&topics);
    if (code == BF_OK)
        *all_hot = w.first_is_hot && !w.some_are_not;
    return code;
}

/* ---- nodes ---- */

static int walk_settle(struct node_walk *w, int rc, const MDB_val *key, const MDB_val *value) {
    w->done = true;
    if (rc != MDB_SUCCESS)
        return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    if (key->mv_size < w->prefix.len || (w->prefix.len > 0 && memcmp(key->mv_data, w->prefix.data, w->prefix.len) != 0))
        return MDB_SUCCESS;
    if (value->mv_size != sizeof w->no)
        return MDB_CORRUPTED;
    memcpy(&w->no, value->mv_data, sizeof w->no);
    w->name = (struct bf_slice){key->mv_data, key->mv_size};
    w->done = false;
    return MDB_SUCCESS;
}

int node_walk_open(struct node_walk *w, struct hot *h, MDB_txn *txn, struct bf_slice prefix, struct bf_slice after) {
    MDB_val key, value;
    *w = (struct node_walk){.prefix = prefix, .done = true};
    if (prefix.len > HOT_NODE_MAX || after.len > HOT_KEY_BYTES_MAX)
        return MDB_SUCCESS;
    int rc = mdb_cursor_open(txn, h->db[DB_NODES], &w->cur);
    if (rc != MDB_SUCCESS)
        return rc;
    size_t common = prefix.len < after.len ? prefix.len : after.len;
    bool from_prefix = after.len == 0 || (prefix.len > 0 && memcmp(prefix.data, after.data, common) > 0) ||
                       (prefix.len > after.len && memcmp(prefix.data, after.data, common) == 0);
    struct bf_slice start = from_prefix ? prefix : after;
    key = (MDB_val){start.len, (void *)(uintptr_t)start.data};
    rc = mdb_cursor_get(w->cur, &key, &value, start.len > 0 ? MDB_SET_RANGE : MDB_FIRST);
    if (rc == MDB_SUCCESS && after.len > 0 && key.mv_size == after.len && memcmp(key.mv_data, after.data, after.len) == 0)
        rc = mdb_cursor_get(w->cur, &key, &value, MDB_NEXT);
    return walk_settle(w, rc, &key, &value);
}

int node_walk_next(struct node_walk *w) {
    MDB_val key, value;
    int rc = mdb_cursor_get(w->cur, &key, &value, MDB_NEXT);
    return walk_settle(w, rc, &key, &value);
}

void node_walk_close(struct node_walk *w) {
    if (w->cur != NULL)
        mdb_cursor_close(w->cur);
    w->cur = NULL;
}

static int list_names(struct hot *h, MDB_txn *txn, struct bf_slice prefix, struct bf_slice after, size_t limit, struct bf_buf *names,
                      size_t *count) {
    struct node_walk w;
    int rc = node_walk_open(&w, h, txn, prefix, after);
    for (; rc == MDB_SUCCESS && !w.done && *count < limit; rc = node_walk_next(&w), ++*count) {
        bf_buf_append(names, w.name.data, w.name.len);
        bf_buf_putc(names, '\0');
    }
    node_walk_close(&w);
    return rc == MDB_SUCCESS && names->failed ? ENOMEM : rc;
}

enum bf_code hot_nodes(struct hot *h, struct bf_slice prefix, struct bf_slice after, size_t limit, struct bf_buf *names, size_t *count,
                       struct bf_err *err) {
    MDB_txn *txn;
    *count = 0;
    bf_buf_clear(names);
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = list_names(h, txn, prefix, after, limit, names, count);
    hot_read_end(h, txn);
    return rc == MDB_SUCCESS ? BF_OK : hot_fail(err, rc, "listing nodes");
}

static int list_node_topics(struct hot *h, MDB_txn *txn, uint32_t node_no, struct hot_node_topic *topics, size_t max, size_t *count) {
    struct hot_key prefix = {.len = 0};
    key_u32(&prefix, node_no);
    MDB_cursor *cur;
    MDB_val key = key_val(&prefix), value;
    size_t n = 0;
    int rc = mdb_cursor_open(txn, h->db[DB_NODE_TOPICS], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    for (; rc == MDB_SUCCESS && n < max && key_has_prefix(&key, &prefix); rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) {
        struct node_topic_row row;
        struct bf_slice name = hot_topic_name(h, bf_get_be32((const char *)key.mv_data + 4));
        if (value.mv_size != sizeof row || name.data == NULL) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&row, value.mv_data, sizeof row);
        memset(topics[n].topic, 0, sizeof topics[n].topic);
        memcpy(topics[n].topic, name.data, name.len);
        topics[n].events = row.events;
        topics[n].first_event_time_us = row.first_event_time_us;
        topics[n].archived_last_us = row.archived_last_us;
        topics[n++].last_event_time_us = row.last_event_time_us;
    }
    mdb_cursor_close(cur);
    *count = n;
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static int compare_node_topics(const void *a, const void *b) {
    return strcmp(((const struct hot_node_topic *)a)->topic, ((const struct hot_node_topic *)b)->topic);
}

enum bf_code hot_node(struct hot *h, struct bf_slice node, struct hot_node_topic *topics, size_t topics_max, size_t *count,
                      struct bf_err *err) {
    uint32_t node_no;
    size_t found = 0;
    MDB_txn *txn;
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = hot_node_find(h, txn, node, &node_no);
    if (rc == MDB_SUCCESS)
        rc = list_node_topics(h, txn, node_no, topics, topics_max, &found);
    hot_read_end(h, txn);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "node %.*s", (int)node.len, (const char *)node.data);
    if (found > 1)
        qsort(topics, found, sizeof *topics, compare_node_topics);
    *count = found;
    return BF_OK;
}

/* ---- duplicates ---- */

static enum bf_code list_duplicates(struct hot *h, MDB_txn *txn, uint32_t topic_no, struct bf_slice topic, const struct bf_uuid *id,
                                    size_t max, struct duplicate *out, size_t *count, struct bf_err *err) {
    struct source s;
    struct hot_key prefix = key_id_prefix(topic_no, id);
    struct source_range r = {0, 0, 0, INT64_MAX};
    enum bf_code code = BF_OK;
    int rc = hot_meta_get_i64(h, txn, "hot_from", &r.recorded_from_us);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading where hot begins");
    rc = source_open(&s, txn, h->db[DB_SEEN], &prefix, false, &r, false);
    while (rc == MDB_SUCCESS && code == BF_OK && !s.done && *count < max) {
        struct bf_slice record;
        rc = hot_log_get(h, txn, s.recorded_at_us, &record);
        if (rc == MDB_SUCCESS && !record_duplicate_get(record, &out[*count]))
            code = hot_corrupt(err, "a duplicate's record");
        if (rc != MDB_SUCCESS || code != BF_OK)
            break;
        out[*count].topic = topic;
        out[(*count)++].recorded_at_us = s.recorded_at_us;
        rc = source_next(&s);
    }
    source_close(&s);
    return rc == MDB_SUCCESS ? code : hot_fail(err, rc, "reading duplicates");
}

enum bf_code hot_duplicates(struct hot *h, struct bf_slice topic, const struct bf_uuid *id, size_t max, struct duplicate *out,
                            size_t *count, struct bf_err *err) {
    uint32_t topic_no;
    MDB_txn *txn;
    *count = 0;
    if (!hot_topic_find(h, topic, &topic_no))
        return BF_OK;
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    code = list_duplicates(h, txn, topic_no, topic, id, max, out, count, err);
    hot_read_end(h, txn);
    return code;
}

/* ---- quarantine ---- */

static bool poison_fits(const struct poison_query *q, const struct poison *p) {
    return (q->topic.data == NULL || bf_slice_eq(q->topic, p->topic)) && (!q->has_reason || q->reason == p->reason) &&
           (!q->has_partition || (q->partition == p->partition && (q->offset < 0 || q->offset == p->offset))) &&
           (!q->has_redriven || q->redriven == (p->redriven_at_us != 0)) && (q->schema_id == 0 || q->schema_id == p->schema_id);
}

struct poison_list {
    struct poison *list;
    size_t count, capacity;
};

static enum bf_code poison_take(struct poison_list *l, const struct poison *p, struct bf_err *err) {
    if (!bf_room(l->list, l->count, l->capacity, 8))
        return bf_fail(err, BF_NOMEM, 0, "no memory for %zu quarantined records", l->count);
    enum bf_code code = poison_copy(&l->list[l->count], p, err);
    l->count += code == BF_OK;
    return code;
}

static enum bf_code list_poison(struct hot *h, MDB_txn *txn, const struct poison_query *q, const struct source_range *r, size_t limit,
                                struct poison_list *l, struct bf_err *err) {
    struct source s;
    struct hot_key none = {.len = 0};
    enum bf_code code = BF_OK;
    int rc = source_open(&s, txn, h->db[DB_POISON_AT], &none, false, r, false);
    while (rc == MDB_SUCCESS && code == BF_OK && !s.done && l->count < limit) {
        struct bf_slice record;
        struct poison p;
        uint32_t topic_no;
        if ((rc = hot_log_get(h, txn, s.recorded_at_us, &record)) != MDB_SUCCESS)
            break;
        memcpy(&topic_no, s.value.mv_data, sizeof topic_no);
        if (!record_poison_get(record, &p))
            code = hot_corrupt(err, "a quarantined record");
        p.topic = hot_topic_name(h, topic_no);
        p.recorded_at_us = s.recorded_at_us;
        if (code == BF_OK && poison_fits(q, &p))
            code = poison_take(l, &p, err);
        if (code == BF_OK)
            rc = source_next(&s);
    }
    source_close(&s);
    return rc == MDB_SUCCESS ? code : hot_fail(err, rc, "reading the quarantine");
}

enum bf_code hot_quarantine(struct hot *h, const struct poison_query *q, size_t limit, struct poison **out, size_t *count,
                            int64_t *hot_from_us, struct bf_err *err) {
    struct poison_list l = {0};
    int64_t hot_from = 0;
    MDB_txn *txn;
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = hot_meta_get_i64(h, txn, "hot_from", &hot_from);
    struct source_range r = {0, 0, q->after_us == INT64_MAX ? INT64_MAX : q->after_us + 1,
                             q->below_us == INT64_MAX || q->below_us == INT64_MIN ? q->below_us : q->below_us - 1};
    if (r.recorded_from_us < hot_from)
        r.recorded_from_us = hot_from;
    code = rc == MDB_SUCCESS ? list_poison(h, txn, q, &r, limit, &l, err) : hot_fail(err, rc, "reading where hot begins");
    hot_read_end(h, txn);
    if (code != BF_OK) {
        poison_free(l.list, l.count);
        return code;
    }
    *out = l.list;
    *count = l.count;
    *hot_from_us = hot_from;
    return BF_OK;
}
