/* The steps of a commit that write records and indexes. Each sorts what it writes by the index's key, so that neighbours in the tree are
 * put one after the other and a page is copied once per commit. */
#include "hot_hash.h"
#include "hot_internal.h"

#include <string.h>

/* ---- ids: duplicates and revisions ---- */

#define IDS_AHEAD 8

static size_t keys_of_duplicates(struct commit *c) {
    size_t n = 0;
    for (size_t i = 0; n < c->duplicates; i++) {
        uint32_t at = c->b->order[i];
        const struct item *item = &c->b->items[at];
        if (item->kind == ITEM_EVENT && item->disposition == DISPOSITION_DUPLICATE)
            c->b->keys[n++] = (struct sort_key){{item->topic_no, bf_get_be64(item->id.b), bf_get_be64(item->id.b + 8)}, at};
    }
    return n;
}

/* Of ids that do not ascend; equal words are one topic's one id. In this order the map of ids is walked from its front to its back. */
static size_t keys_by_hash(struct commit *c) {
    size_t n = 0;
    for (size_t i = 0; n < c->hashed; i++) {
        uint32_t at = c->b->order[i];
        const struct item *item = &c->b->items[at];
        if (item->kind == ITEM_EVENT && !id_ascends(&item->id))
            c->b->keys[n++] = (struct sort_key){
                {id_map_hash(c->h->ids, item->topic_no, &item->id), bf_get_be64(item->id.b), bf_get_be64(item->id.b + 8)}, at};
    }
    return n;
}

static size_t keys_of_ascending(struct commit *c) {
    size_t n = 0;
    for (size_t i = 0; n < c->ascending; i++) {
        uint32_t at = c->b->order[i];
        const struct item *item = &c->b->items[at];
        if (item->kind == ITEM_EVENT && id_ascends(&item->id))
            c->b->keys[n++] = (struct sort_key){{item->topic_no, bf_get_be64(item->id.b), bf_get_be64(item->id.b + 8)}, at};
    }
    return n;
}

/* A duplicate of the newest, or the next revision, which is the newest then; true: to be stored. */
static bool judge(struct commit *c, struct item *item, struct id_known *newest) {
    bool same = newest->revision > 0 && memcmp(newest->content_hash, item->content_hash, sizeof item->content_hash) == 0;
    item->disposition = same ? DISPOSITION_DUPLICATE : DISPOSITION_STORED;
    if (!same) {
        newest->revision++;
        newest->recorded_at_us = item->recorded_at_us;
        memcpy(newest->content_hash, item->content_hash, sizeof newest->content_hash);
    }
    item->revision = newest->revision;
    c->duplicates += same;
    return !same;
}

static int dedupe_by_hash(struct commit *c) {
    size_t n = keys_by_hash(c);
    const struct sort_key *keys = hot_sort(c->b->keys, c->b->spare, n);
    struct id_known newest = {0};
    struct id_seek s = {.hash = 0};
    int rc = MDB_SUCCESS;
    for (size_t i = 0; i < n && rc == MDB_SUCCESS; i++) {
        struct item *item = &c->b->items[keys[i].item];
        bool same_hash = i > 0 && keys[i].w[0] == keys[i - 1].w[0];
        if (i + IDS_AHEAD < n)
            id_map_prefetch(c->h->ids, keys[i + IDS_AHEAD].w[0]);
        if (!same_hash || memcmp(keys[i].w, keys[i - 1].w, sizeof keys[i].w) != 0) {
            s = (struct id_seek){.hash = keys[i].w[0], .topic_no = item->topic_no, .id = item->id};
            rc = ids_seek(c->h, c->txn, &s, &newest);
            if (same_hash)
                s.stale_us = 0; /* it may be this batch's: its record is not written yet */
        }
        if (rc == MDB_SUCCESS && judge(c, item, &newest))
            rc = ids_put(c->h, c->txn, &s, &newest);
    }
    return rc;
}

static int newest_in_tree(struct index_writer *w, uint32_t topic_no, const struct bf_uuid *id, struct id_known *newest) {
    struct hot_key prefix = key_id_prefix(topic_no, id), first = key_id(topic_no, id, 0);
    MDB_val key = key_val(&first), value;
    newest->revision = 0;
    int rc = mdb_cursor_get(w->cur, &key, &value, MDB_SET_RANGE);
    while (rc == MDB_SUCCESS && key_has_prefix(&key, &prefix)) {
        struct id_row row;
        if (value.mv_size != sizeof row)
            return MDB_CORRUPTED;
        memcpy(&row, value.mv_data, sizeof row);
        newest->revision = bf_get_be32((const char *)key.mv_data + prefix.len);
        memcpy(newest->content_hash, row.content_hash, sizeof newest->content_hash);
        rc = mdb_cursor_get(w->cur, &key, &value, MDB_NEXT);
    }
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* Most ids are new, and no topic without revisions has more than one row of an id: the put itself tells, then, what is there. */
static int put_first(struct commit *c, struct index_writer *w, struct item *item, struct id_known *newest, bool *stored) {
    struct hot_key key = key_id(item->topic_no, &item->id, 1);
    struct id_row row = {.recorded_at_us = item->recorded_at_us};
    MDB_val there;
    *stored = false;
    if (hot_topic_has_revisions(c->h, item->topic_no) && !index_writer_is_new(w, &key))
        return newest_in_tree(w, item->topic_no, &item->id, newest);
    memcpy(row.content_hash, item->content_hash, sizeof row.content_hash);
    int rc = index_writer_add(w, &key, &row, sizeof row, &there);
    newest->revision = 0;
    if (rc == MDB_SUCCESS) {
        *stored = judge(c, item, newest);
    } else if (rc == MDB_KEYEXIST && there.mv_size == sizeof row) {
        memcpy(&row, there.mv_data, sizeof row);
        *newest = (struct id_known){.revision = 1, .recorded_at_us = row.recorded_at_us};
        memcpy(newest->content_hash, row.content_hash, sizeof newest->content_hash);
        rc = MDB_SUCCESS;
    }
    return rc == MDB_KEYEXIST ? MDB_CORRUPTED : rc;
}

static int dedupe_in_tree(struct commit *c) {
    size_t n = keys_of_ascending(c);
    const struct sort_key *keys = hot_sort(c->b->keys, c->b->spare, n);
    struct index_writer w;
    struct id_known newest = {0};
    int rc = n > 0 ? index_writer_open(&w, c->txn, c->h->db[DB_IDS]) : MDB_SUCCESS;
    for (size_t i = 0; i < n && rc == MDB_SUCCESS; i++) {
        struct item *item = &c->b->items[keys[i].item];
        bool stored = false;
        if (i == 0 || memcmp(keys[i].w, keys[i - 1].w, sizeof keys[i].w) != 0)
            rc = put_first(c, &w, item, &newest, &stored);
        if (rc != MDB_SUCCESS || stored || !judge(c, item, &newest))
            continue;
        if (item->revision > 1)
            hot_topic_revised(c->h, item->topic_no);
        struct hot_key key = key_id(item->topic_no, &item->id, item->revision);
        struct id_row row = {.recorded_at_us = item->recorded_at_us};
        memcpy(row.content_hash, item->content_hash, sizeof row.content_hash);
        rc = index_writer_put(&w, &key, &row, sizeof row);
    }
    return rc;
}

int commit_dedupe(struct commit *c) {
    id_map_reach(c->h->ids, c->commit_us);
    int rc = dedupe_by_hash(c);
    return rc == MDB_SUCCESS ? dedupe_in_tree(c) : rc;
}

/* ---- log ---- */

static int log_put(MDB_cursor *cur, struct item *item) {
    char duplicate[RECORD_DUPLICATE_BYTES];
    struct hot_key key = key_recorded(item->recorded_at_us);
    MDB_val k = key_val(&key), v = {item->record_len, item->record};
    if (item->kind == ITEM_EVENT && item->disposition == DISPOSITION_DUPLICATE) {
        struct record_peek peek;
        if (!record_peek((struct bf_slice){item->record, item->record_len}, &peek))
            return MDB_CORRUPTED;
        struct duplicate dup = {.id = item->id, .revision = item->revision, .partition = peek.partition, .offset = item->offset,
                                .kafka_time_us = item->kafka_time_us};
        record_duplicate_put(duplicate, item->topic_no, &dup);
        v = (MDB_val){sizeof duplicate, duplicate};
    } else if (item->kind == ITEM_EVENT) {
        record_event_set_revision(item->record, item->revision);
    }
    return mdb_cursor_put(cur, &k, &v, MDB_APPEND);
}

int commit_log(struct commit *c) {
    MDB_cursor *cur;
    int rc = mdb_cursor_open(c->txn, c->h->db[DB_LOG], &cur);
    for (size_t i = 0; i < c->b->item_count && rc == MDB_SUCCESS; i++) {
        struct item *item = &c->b->items[c->b->order[i]];
        if (item->kind == ITEM_GAP)
            continue;
        rc = log_put(cur, item);
        c->log_bytes += item->disposition == DISPOSITION_DUPLICATE ? RECORD_DUPLICATE_BYTES : item->record_len;
    }
    return rc;
}

/* ---- nodes ---- */

static int keys_by_node(struct commit *c, size_t *count) {
    size_t n = 0;
    int rc = MDB_SUCCESS;
    for (size_t i = 0; i < c->b->item_count && rc == MDB_SUCCESS; i++) {
        uint32_t at = c->b->order[i];
        struct item *item = &c->b->items[at];
        if (item->kind != ITEM_EVENT || item->disposition != DISPOSITION_STORED)
            continue;
        rc = hot_node_intern(c->h, c->txn, item->node, item->node_hash, &item->node_no);
        c->b->keys[n++] = (struct sort_key){
            {(uint64_t)item->node_no << 32 | item->topic_no, key_time(item->event_time_us), (uint64_t)item->recorded_at_us}, at};
    }
    *count = n;
    return rc;
}

void node_topic_count(struct hot *h, struct node_topic_row *row, bool found, size_t events, int64_t first_us, int64_t last_us, int64_t last_recorded_at_us) {
    if (last_us > atomic_load(&h->dated_through_us))
        atomic_store(&h->dated_through_us, last_us);
    if (!found)
        *row = (struct node_topic_row){.first_event_time_us = first_us, .last_event_time_us = INT64_MIN, .archived_last_us = NOTHING_ARCHIVED};
    row->events += events;
    row->first_event_time_us = first_us < row->first_event_time_us ? first_us : row->first_event_time_us;
    if (last_us > row->last_event_time_us || (last_us == row->last_event_time_us && last_recorded_at_us > row->last_recorded_at_us)) {
        row->last_event_time_us = last_us;
        row->last_recorded_at_us = last_recorded_at_us;
    }
}

/* The keys of one node and topic: their times ascend. run -1: they are in BY_NODE. */
static int count_node_topic(struct commit *c, const struct sort_key *keys, size_t n, int run) {
    struct node_topic_row row;
    struct hot_key key = key_pair((uint32_t)(keys[0].w[0] >> 32), (uint32_t)keys[0].w[0]);
    int64_t first = key_time_back(keys[0].w[1]), last = key_time_back(keys[n - 1].w[1]);
    int rc = hot_get(c->txn, c->h->db[DB_NODE_TOPICS], &key, &row, sizeof row);
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        return rc;
    node_topic_count(c->h, &row, rc == MDB_SUCCESS, n, first, last, (int64_t)keys[n - 1].w[2]);
    if (run >= 0)
        node_run_mark(&c->runs, (uint32_t)run, &row);
    return hot_put(c->txn, c->h->db[DB_NODE_TOPICS], &key, &row, sizeof row);
}

static int put_by_node(struct commit *c, const struct sort_key *keys, size_t n) {
    struct index_writer w;
    int rc = index_writer_open(&w, c->txn, c->h->db[DB_BY_NODE]);
    for (size_t i = 0; i < n && rc == MDB_SUCCESS; i++) {
        const struct item *item = &c->b->items[keys[i].item];
        struct hot_key key = key_node(item->node_no, item->topic_no, item->event_time_us, item->recorded_at_us);
        rc = index_writer_put(&w, &key, NULL, 0);
    }
    return rc;
}

int commit_nodes(struct commit *c) {
    size_t n, group = 0;
    int run = -1, rc = keys_by_node(c, &n);
    const struct sort_key *keys = rc == MDB_SUCCESS ? hot_sort(c->b->keys, c->b->spare, n) : NULL;
    if (rc == MDB_SUCCESS && node_runs_wanted(c->h, n) && c->runs.count < NODE_RUNS_MAX && c->runs.merged_to == 0) {
        run = (int)c->runs.count;
        rc = node_run_write(c, keys, n);
    } else if (rc == MDB_SUCCESS) {
        rc = put_by_node(c, keys, n);
    }
    for (size_t i = 0; i < n && rc == MDB_SUCCESS; i++) {
        if (i + 1 == n || keys[i + 1].w[0] != keys[i].w[0]) {
            rc = count_node_topic(c, keys + group, i + 1 - group, run);
            group = i + 1;
        }
    }
    return rc;
}

/* ---- times ---- */

int commit_times(struct commit *c) {
    struct index_writer w;
    size_t n = 0;
    for (size_t i = 0; i < c->b->item_count; i++) {
        uint32_t at = c->b->order[i];
        const struct item *item = &c->b->items[at];
        if (item->kind == ITEM_EVENT && item->disposition == DISPOSITION_STORED)
            c->b->keys[n++] = (struct sort_key){{key_time(item->event_time_us), (uint64_t)item->recorded_at_us, 0}, at};
    }
    const struct sort_key *keys = hot_sort(c->b->keys, c->b->spare, n);
    int rc = index_writer_open(&w, c->txn, c->h->db[DB_BY_TIME]);
    for (size_t i = 0; i < n && rc == MDB_SUCCESS; i++) {
        const struct item *item = &c->b->items[keys[i].item];
        struct hot_key key = key_time_at(item->event_time_us, item->recorded_at_us);
        rc = index_writer_put(&w, &key, &item->topic_no, sizeof item->topic_no);
    }
    return rc;
}

/* ---- links ---- */

static bool link_of(const struct item *item, enum link_kind kind, uint8_t what[16]) {
    struct event ev;
    if (!record_event_get((struct bf_slice){item->record, item->record_len}, &ev))
        return false;
    if (kind == LINK_CAUSE && ev.has_cause)
        memcpy(what, &ev.cause_id, 16);
    else if (kind == LINK_TRACE && ev.trace_id.data != NULL)
        hot_trace_hash(ev.trace_id, what);
    else
        return false;
    return true;
}

static int put_links(struct commit *c, struct index_writer *w, enum link_kind kind) {
    size_t n = 0, seen = 0;
    uint8_t what[16];
    int rc = MDB_SUCCESS;
    for (size_t i = 0; seen < c->linked; i++) {
        const struct item *item = &c->b->items[c->b->order[i]];
        if (item->kind != ITEM_EVENT || !item->linked)
            continue;
        seen++;
        if (item->disposition == DISPOSITION_STORED && link_of(item, kind, what))
            c->b->keys[n++] = (struct sort_key){{bf_get_be64(what), bf_get_be64(what + 8), (uint64_t)item->recorded_at_us}, 0};
    }
    const struct sort_key *keys = hot_sort(c->b->keys, c->b->spare, n);
    for (size_t i = 0; i < n && rc == MDB_SUCCESS; i++) {
        bf_put_be64(what, keys[i].w[0]);
        bf_put_be64(what + 8, keys[i].w[1]);
        struct hot_key key = key_link(kind, what, (int64_t)keys[i].w[2]);
        rc = index_writer_put(w, &key, NULL, 0);
    }
    return rc;
}

int commit_links(struct commit *c) {
    struct index_writer w;
    int rc = index_writer_open(&w, c->txn, c->h->db[DB_LINKS]);
    if (rc == MDB_SUCCESS)
        rc = put_links(c, &w, LINK_CAUSE);
    return rc == MDB_SUCCESS ? put_links(c, &w, LINK_TRACE) : rc;
}

/* ---- places: duplicates and poison ---- */

static int put_poison_places(struct commit *c) {
    struct index_writer w;
    size_t seen = 0;
    int rc = index_writer_open(&w, c->txn, c->h->db[DB_POISON_AT]);
    for (size_t i = 0; seen < c->poisons && rc == MDB_SUCCESS; i++) {
        const struct item *item = &c->b->items[c->b->order[i]];
        if (item->kind != ITEM_POISON)
            continue;
        seen++;
        struct hot_key at = key_recorded(item->recorded_at_us);
        struct hot_key of = key_offset(item->topic_no, c->b->slots[item->slot].partition, item->offset);
        key_u64(&of, (uint64_t)item->recorded_at_us);
        rc = index_writer_put(&w, &at, &item->topic_no, sizeof item->topic_no);
        if (rc == MDB_SUCCESS)
            rc = hot_put(c->txn, c->h->db[DB_POISON_OF], &of, NULL, 0);
    }
    return rc;
}

int commit_seen(struct commit *c) {
    struct index_writer w;
    size_t n = keys_of_duplicates(c);
    const struct sort_key *keys = hot_sort(c->b->keys, c->b->spare, n);
    int rc = index_writer_open(&w, c->txn, c->h->db[DB_SEEN]);
    for (size_t i = 0; i < n && rc == MDB_SUCCESS; i++) {
        const struct item *item = &c->b->items[keys[i].item];
        struct hot_key key = key_id_prefix(item->topic_no, &item->id);
        key_u64(&key, (uint64_t)item->recorded_at_us);
        rc = index_writer_put(&w, &key, NULL, 0);
    }
    return rc == MDB_SUCCESS ? put_poison_places(c) : rc;
}
