/* Forgetting records: their keys in every index are gathered first and then deleted index by index in ascending order, as they were written. */
#include "bf_hash.h"
#include "bf_room.h"
#include "hot_hash.h"
#include "hot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int forget_key(struct forget *f, enum hot_db db, const struct hot_key *key) {
    struct forget_keys *of = &f->of[db];
    if (!bf_room(of->keys, of->count, of->capacity, 256))
        return ENOMEM;
    of->keys[of->count++] = *key;
    return MDB_SUCCESS;
}

/* Only where the id goes, too: the counts of a node survive eviction. First and last times stay as wide as they were. */
static int uncount_node_topic(struct forget *f, uint32_t node_no, uint32_t topic_no) {
    struct node_topic_row row;
    struct hot_key key = key_pair(node_no, topic_no);
    int rc = hot_get(f->txn, f->h->db[DB_NODE_TOPICS], &key, &row, sizeof row);
    if (rc != MDB_SUCCESS)
        return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
    if (--row.events == 0)
        return hot_del(f->txn, f->h->db[DB_NODE_TOPICS], &key);
    return hot_put(f->txn, f->h->db[DB_NODE_TOPICS], &key, &row, sizeof row);
}

static int leave_node(struct forget *f, uint32_t node_no, uint32_t topic_no, int64_t event_time_us) {
    if (!bf_room(f->nodes, f->node_count, f->node_capacity, 256))
        return ENOMEM;
    f->nodes[f->node_count++] = (struct node_gone){node_no, topic_no, event_time_us};
    return MDB_SUCCESS;
}

static int compare_nodes(const void *a, const void *b) {
    const struct node_gone *x = a, *y = b;
    if (x->node_no != y->node_no)
        return x->node_no < y->node_no ? -1 : 1;
    if (x->topic_no != y->topic_no)
        return x->topic_no < y->topic_no ? -1 : 1;
    return (x->event_time_us > y->event_time_us) - (x->event_time_us < y->event_time_us);
}

/* Each node's row says how late the latest of what has gone is. */
static int note_gone(struct forget *f) {
    int rc = MDB_SUCCESS;
    if (f->node_count > 1)
        qsort(f->nodes, f->node_count, sizeof *f->nodes, compare_nodes);
    for (size_t i = 0; i < f->node_count && rc == MDB_SUCCESS; i++) {
        const struct node_gone *n = &f->nodes[i];
        struct node_topic_row row;
        if (i + 1 < f->node_count && n[1].node_no == n->node_no && n[1].topic_no == n->topic_no)
            continue;
        struct hot_key key = key_pair(n->node_no, n->topic_no);
        rc = hot_get(f->txn, f->h->db[DB_NODE_TOPICS], &key, &row, sizeof row);
        if (rc != MDB_SUCCESS || n->event_time_us <= row.archived_last_us)
            continue;
        row.archived_last_us = n->event_time_us;
        rc = hot_put(f->txn, f->h->db[DB_NODE_TOPICS], &key, &row, sizeof row);
    }
    return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
}

static int forget_links(struct forget *f, const struct event *ev, int64_t recorded_at_us) {
    int rc = MDB_SUCCESS;
    if (ev->has_cause) {
        struct hot_key key = key_link(LINK_CAUSE, ev->cause_id.b, recorded_at_us);
        rc = forget_key(f, DB_LINKS, &key);
    }
    if (rc == MDB_SUCCESS && ev->trace_id.data != NULL) {
        uint8_t trace[16];
        hot_trace_hash(ev->trace_id, trace);
        struct hot_key key = key_link(LINK_TRACE, trace, recorded_at_us);
        rc = forget_key(f, DB_LINKS, &key);
    }
    return rc;
}

/* The record goes, what identifies the event stays. */
static int leave_id(struct forget *f, uint32_t topic_no, int64_t recorded_at_us, const struct event *ev) {
    struct hot_key key = key_gone(recorded_at_us, topic_no, &ev->id);
    struct gone_row gone;
    int rc = f->gone.cur == NULL ? index_writer_open(&f->gone, f->txn, f->h->db[DB_GONE]) : MDB_SUCCESS;
    memcpy(gone.content_hash, ev->content_hash, sizeof gone.content_hash);
    return rc == MDB_SUCCESS ? index_writer_put(&f->gone, &key, &gone, sizeof gone) : rc;
}

static int forget_event(struct forget *f, uint32_t topic_no, int64_t recorded_at_us, struct bf_slice record, bool ids_too) {
    struct event ev;
    uint32_t node_no;
    if (!record_event_get(record, &ev))
        return MDB_CORRUPTED;
    int rc = hot_node_intern(f->h, f->txn, ev.node_id, bf_hash(ev.node_id.data, ev.node_id.len), &node_no);
    if (rc != MDB_SUCCESS)
        return rc;
    struct hot_key by_node = key_node(node_no, topic_no, ev.event_time_us, recorded_at_us);
    struct hot_key by_time = key_time_at(ev.event_time_us, recorded_at_us);
    struct hot_key id = key_id(topic_no, &ev.id, ev.revision);
    rc = forget_key(f, DB_BY_NODE, &by_node);
    if (rc == MDB_SUCCESS)
        rc = forget_key(f, DB_BY_TIME, &by_time);
    if (rc == MDB_SUCCESS)
        rc = forget_links(f, &ev, recorded_at_us);
    if (rc == MDB_SUCCESS && ids_too && (ev.revision > 1 || id_ascends(&ev.id)))
        rc = forget_key(f, DB_IDS, &id);
    if (rc == MDB_SUCCESS && !ids_too && ev.revision == 1 && !id_ascends(&ev.id))
        rc = leave_id(f, topic_no, recorded_at_us, &ev);
    if (rc == MDB_SUCCESS && !ids_too)
        rc = leave_node(f, node_no, topic_no, ev.event_time_us);
    return rc == MDB_SUCCESS && ids_too ? uncount_node_topic(f, node_no, topic_no) : rc;
}

static int forget_duplicate(struct forget *f, uint32_t topic_no, int64_t recorded_at_us, struct bf_slice record) {
    struct duplicate dup;
    if (!record_duplicate_get(record, &dup))
        return MDB_CORRUPTED;
    struct hot_key key = key_id_prefix(topic_no, &dup.id);
    key_u64(&key, (uint64_t)recorded_at_us);
    return forget_key(f, DB_SEEN, &key);
}

static int forget_poison(struct forget *f, const struct record_peek *peek, int64_t recorded_at_us) {
    struct hot_key at = key_recorded(recorded_at_us), of = key_offset(peek->topic_no, peek->partition, peek->offset);
    key_u64(&of, (uint64_t)recorded_at_us);
    int rc = forget_key(f, DB_POISON_AT, &at);
    return rc == MDB_SUCCESS ? forget_key(f, DB_POISON_OF, &of) : rc;
}

int forget_record(struct forget *f, int64_t recorded_at_us, struct bf_slice record, bool ids_too) {
    struct record_peek peek;
    struct hot_key key = key_recorded(recorded_at_us);
    if (!record_peek(record, &peek))
        return MDB_CORRUPTED;
    int rc = forget_key(f, DB_LOG, &key);
    if (rc != MDB_SUCCESS)
        return rc;
    switch (peek.type) {
    case RECORD_EVENT: return forget_event(f, peek.topic_no, recorded_at_us, record, ids_too);
    case RECORD_DUPLICATE: return forget_duplicate(f, peek.topic_no, recorded_at_us, record);
    case RECORD_POISON: return forget_poison(f, &peek, recorded_at_us);
    }
    return MDB_CORRUPTED;
}

static int compare_keys(const void *a, const void *b) {
    const struct hot_key *x = a, *y = b;
    int c = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static int delete_all(const struct forget *f, int db) {
    const struct forget_keys *of = &f->of[db];
    MDB_cursor *cur;
    MDB_val value;
    int rc = mdb_cursor_open(f->txn, f->h->db[db], &cur);
    for (size_t i = 0; i < of->count && rc == MDB_SUCCESS; i++) {
        MDB_val key = key_val(&of->keys[i]);
        rc = mdb_cursor_get(cur, &key, &value, MDB_SET);
        if (rc == MDB_SUCCESS)
            rc = mdb_cursor_del(cur, 0);
        else if (rc == MDB_NOTFOUND && db == DB_BY_NODE)
            rc = node_run_delete(f->h, f->txn, &of->keys[i]);
        rc = rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
    }
    return rc;
}

int forget_apply(struct forget *f) {
    int rc = MDB_SUCCESS;
    for (int db = 0; db < DBS && rc == MDB_SUCCESS; db++) {
        struct forget_keys *of = &f->of[db];
        if (of->count == 0)
            continue;
        qsort(of->keys, of->count, sizeof *of->keys, compare_keys);
        rc = delete_all(f, db);
    }
    return rc == MDB_SUCCESS ? note_gone(f) : rc;
}

void forget_fini(struct forget *f) {
    for (int db = 0; db < DBS; db++)
        free(f->of[db].keys);
    free(f->nodes);
}

/* ---- one partition, from a place on ---- */

struct tail {
    struct forget f;
    uint32_t topic_no;
    int32_t partition;
    int64_t through_us;  /* this and below stays */
    int64_t next_offset; /* where the partition stood before what goes; -1: nothing goes */
    bool found;
};

static int forget_run(struct tail *t, const struct run_row *run) {
    int rc = MDB_SUCCESS;
    int64_t first = run->first_us > t->through_us ? run->first_us : t->through_us + 1;
    for (int64_t at = first; at <= run->last_us && rc == MDB_SUCCESS; at++) {
        struct bf_slice record;
        rc = hot_log_get(t->f.h, t->f.txn, at, &record);
        if (rc == MDB_SUCCESS)
            rc = forget_record(&t->f, at, record, true);
        else if (rc == MDB_NOTFOUND) /* evicted */
            rc = MDB_SUCCESS;
    }
    return rc;
}

/* A run that begins before the place and ends after it keeps its front. */
static int shorten_run(struct tail *t, MDB_cursor *cur, const MDB_val *key, struct run_row *run) {
    struct bf_slice record;
    struct record_peek peek;
    int rc = run->first_us > t->through_us ? MDB_NOTFOUND : hot_log_get(t->f.h, t->f.txn, t->through_us, &record);
    if (rc == MDB_NOTFOUND)
        return mdb_cursor_del(cur, 0);
    if (rc != MDB_SUCCESS || !record_peek(record, &peek))
        return rc != MDB_SUCCESS ? rc : MDB_CORRUPTED;
    run->last_us = t->through_us;
    run->last_offset = peek.offset;
    struct hot_key copy = {.len = 0};
    key_raw(&copy, key->mv_data, key->mv_size);
    MDB_val k = key_val(&copy), v = {sizeof *run, run};
    return mdb_cursor_put(cur, &k, &v, MDB_CURRENT);
}

static int forget_runs(struct tail *t) {
    struct hot_key prefix = key_pair(t->topic_no, (uint32_t)t->partition);
    MDB_cursor *cur;
    MDB_val key = key_val(&prefix), value;
    int rc = mdb_cursor_open(t->f.txn, t->f.h->db[DB_RUNS], &cur);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    while (rc == MDB_SUCCESS && key_has_prefix(&key, &prefix)) {
        struct run_row run;
        memcpy(&run, value.mv_data, sizeof run);
        if (run.last_us > t->through_us) {
            rc = forget_run(t, &run);
            if (rc == MDB_SUCCESS)
                rc = shorten_run(t, cur, &key, &run);
        }
        if (rc == MDB_SUCCESS)
            rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT);
    }
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* Take the partition out of a commit's closing row. Its counts stay: they say how many records there are at most. */
static int strip_commit(struct tail *t, MDB_cursor *cur, int64_t commit_us, const MDB_val *value, struct partition_row *row) {
    struct hot_key key = key_recorded(commit_us);
    struct commit_row head;
    bool here = false;
    int rc = MDB_SUCCESS;
    char *copy = malloc(value->mv_size);
    if (copy == NULL)
        return ENOMEM;
    char *to = copy + sizeof head;
    memcpy(copy, value->mv_data, value->mv_size);
    memcpy(&head, copy, sizeof head);
    const char *from = copy + sizeof head;
    uint32_t partitions = head.partitions, intervals = head.intervals;
    for (uint32_t i = 0; i < partitions; i++, from += sizeof(struct commit_partition)) {
        struct commit_partition part;
        memcpy(&part, from, sizeof part);
        if (part.topic_no == t->topic_no && part.partition == t->partition) {
            if (!t->found)
                t->next_offset = part.offset_before;
            t->found = here = true;
            head.partitions--;
            continue;
        }
        memmove(to, from, sizeof part);
        to += sizeof part;
    }
    for (uint32_t i = 0; i < intervals && rc == MDB_SUCCESS; i++, from += sizeof(struct commit_interval)) {
        struct commit_interval iv;
        memcpy(&iv, from, sizeof iv);
        if (iv.topic_no == t->topic_no && iv.partition == t->partition) {
            rc = ledger_set(t->f.h, t->f.txn, t->topic_no, t->partition, iv.from, iv.to,
                            iv.flags & COMMIT_INTERVAL_REDRIVEN ? DISPOSITION_QUARANTINED : -1, row);
            head.intervals--;
            continue;
        }
        memmove(to, from, sizeof iv);
        to += sizeof iv;
    }
    memcpy(copy, &head, sizeof head);
    if (rc == MDB_SUCCESS && here) {
        MDB_val k = key_val(&key), v = {(size_t)(to - copy), copy};
        rc = mdb_cursor_put(cur, &k, &v, MDB_CURRENT);
    }
    free(copy);
    return rc;
}

static int forget_commits(struct tail *t) {
    struct partition_row row;
    struct hot_key start = key_recorded(t->through_us < 0 ? 0 : t->through_us + 1);
    struct hot_key row_key = key_pair(t->topic_no, (uint32_t)t->partition);
    MDB_cursor *cur;
    MDB_val key = key_val(&start), value;
    int rc = hot_get(t->f.txn, t->f.h->db[DB_PARTITIONS], &row_key, &row, sizeof row);
    if (rc != MDB_SUCCESS)
        return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    rc = mdb_cursor_open(t->f.txn, t->f.h->db[DB_COMMITS], &cur);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    while (rc == MDB_SUCCESS) {
        rc = strip_commit(t, cur, (int64_t)bf_get_be64(key.mv_data), &value, &row);
        if (rc == MDB_SUCCESS)
            rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT);
    }
    if (rc != MDB_NOTFOUND)
        return rc;
    if (t->found)
        row.next_offset = t->next_offset;
    return hot_put(t->f.txn, t->f.h->db[DB_PARTITIONS], &row_key, &row, sizeof row);
}

enum bf_code hot_forget_partition(struct hot *h, struct bf_slice topic, int32_t partition, int64_t archived_through_us, struct bf_err *err) {
    struct tail t = {.f = {.h = h}, .partition = partition, .through_us = archived_through_us, .next_offset = -1};
    if (!hot_topic_find(h, topic, &t.topic_no))
        return BF_OK;
    enum bf_code code = hot_write_begin(h, &t.f.txn, err);
    if (code != BF_OK)
        return code;
    int rc = forget_runs(&t);
    if (rc == MDB_SUCCESS)
        rc = forget_apply(&t.f);
    if (rc == MDB_SUCCESS)
        rc = forget_commits(&t);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "forgetting %.*s/%d", (int)topic.len, (const char *)topic.data, partition);
    forget_fini(&t.f);
    return hot_write_end(h, t.f.txn, code, &(struct hot_publish){0}, err);
}

enum bf_code hot_cut_partition(struct hot *h, struct bf_slice topic, int32_t partition, int64_t from, struct bf_err *err) {
    struct partition_row row;
    uint32_t topic_no;
    MDB_txn *txn;
    if (!hot_topic_find(h, topic, &topic_no))
        return BF_OK;
    struct hot_key key = key_pair(topic_no, (uint32_t)partition);
    enum bf_code code = hot_write_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = hot_get(txn, h->db[DB_PARTITIONS], &key, &row, sizeof row);
    if (rc == MDB_SUCCESS && from < row.next_offset) {
        rc = ledger_set(h, txn, topic_no, partition, from, row.next_offset, -1, &row);
        row.next_offset = from;
        if (from < row.first_offset)
            row.first_offset = from;
        if (rc == MDB_SUCCESS)
            rc = hot_put(txn, h->db[DB_PARTITIONS], &key, &row, sizeof row);
    }
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        code = hot_fail(err, rc, "cutting back %.*s/%d", (int)topic.len, (const char *)topic.data, partition);
    return hot_write_end(h, txn, code, &(struct hot_publish){0}, err);
}
