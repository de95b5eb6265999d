/* A quarantined record that is taken in after all: a commit of its own that holds one record, at a new recorded_at and with the original
 * coordinates. Offsets do not move; the ledger's one offset changes, and the commit's row says so to the archiver.
 *
 * RUNS find records by offset and must not overlap, so the run that the poison lies in is split around it. */
#include "bf_hash.h"
#include "hot_hash.h"
#include "hot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct redrive {
    struct hot *h;
    MDB_txn *txn;
    const struct event *ev;
    uint32_t topic_no;
    int64_t at_us;
    struct partition_row row;
    struct hot_redriven *result;
    uint8_t content_hash[16];
};

static int check_ledger(struct redrive *r, bool *quarantined) {
    struct hot_key key = key_pair(r->topic_no, (uint32_t)r->ev->partition), at = key_offset(r->topic_no, r->ev->partition, r->ev->offset + 1);
    MDB_val k = key_val(&at), v;
    MDB_cursor *cur;
    struct ledger_row held;
    *quarantined = false;
    int rc = hot_get(r->txn, r->h->db[DB_PARTITIONS], &key, &r->row, sizeof r->row);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_open(r->txn, r->h->db[DB_LEDGER], &cur);
    if (rc != MDB_SUCCESS)
        return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    rc = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE);
    rc = mdb_cursor_get(cur, &k, &v, rc == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
    if (rc == MDB_SUCCESS && key_has_prefix(&k, &key) && v.mv_size == sizeof held) {
        memcpy(&held, v.mv_data, sizeof held);
        *quarantined = held.to > r->ev->offset && held.disposition == DISPOSITION_QUARANTINED;
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* ---- the record ---- */

static int put_id(struct redrive *r) {
    struct id_seek s = {.hash = id_map_hash(r->h->ids, r->topic_no, &r->ev->id), .topic_no = r->topic_no, .id = r->ev->id};
    struct id_known newest;
    int rc = ids_seek(r->h, r->txn, &s, &newest);
    if (rc != MDB_SUCCESS)
        return rc;
    id_map_reach(r->h->ids, r->at_us + 1);
    hot_content_hash(r->ev, r->content_hash);
    r->result->revision = newest.revision;
    if (newest.revision > 0 && memcmp(r->content_hash, newest.content_hash, sizeof newest.content_hash) == 0) {
        r->result->disposition = DISPOSITION_DUPLICATE;
        return MDB_SUCCESS;
    }
    r->result->disposition = DISPOSITION_STORED;
    struct id_known fresh = {.revision = ++r->result->revision, .recorded_at_us = r->at_us};
    memcpy(fresh.content_hash, r->content_hash, sizeof fresh.content_hash);
    return ids_put(r->h, r->txn, &s, &fresh);
}

static int put_node(struct redrive *r) {
    struct node_topic_row row;
    uint32_t node_no;
    int64_t t = r->ev->event_time_us;
    int rc = hot_node_intern(r->h, r->txn, r->ev->node_id, bf_hash(r->ev->node_id.data, r->ev->node_id.len), &node_no);
    if (rc != MDB_SUCCESS)
        return rc;
    struct hot_key by_node = key_node(node_no, r->topic_no, t, r->at_us), of = key_pair(node_no, r->topic_no);
    if ((rc = hot_put(r->txn, r->h->db[DB_BY_NODE], &by_node, NULL, 0)) != MDB_SUCCESS)
        return rc;
    rc = hot_get(r->txn, r->h->db[DB_NODE_TOPICS], &of, &row, sizeof row);
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        return rc;
    node_topic_count(r->h, &row, rc == MDB_SUCCESS, 1, t, t, r->at_us);
    return hot_put(r->txn, r->h->db[DB_NODE_TOPICS], &of, &row, sizeof row);
}

static int put_links(struct redrive *r) {
    int rc = MDB_SUCCESS;
    if (r->ev->has_cause) {
        struct hot_key key = key_link(LINK_CAUSE, r->ev->cause_id.b, r->at_us);
        rc = hot_put(r->txn, r->h->db[DB_LINKS], &key, NULL, 0);
    }
    if (rc == MDB_SUCCESS && r->ev->trace_id.data != NULL) {
        uint8_t trace[16];
        hot_trace_hash(r->ev->trace_id, trace);
        struct hot_key key = key_link(LINK_TRACE, trace, r->at_us);
        rc = hot_put(r->txn, r->h->db[DB_LINKS], &key, NULL, 0);
    }
    return rc;
}

static int put_event(struct redrive *r) {
    struct event ev = *r->ev;
    struct hot_key at = key_recorded(r->at_us), by_time = key_time_at(r->ev->event_time_us, r->at_us);
    MDB_val k = key_val(&at), v = {record_event_size(r->ev), NULL};
    int rc = mdb_put(r->txn, r->h->db[DB_LOG], &k, &v, MDB_APPEND | MDB_RESERVE);
    if (rc != MDB_SUCCESS)
        return rc;
    ev.redriven = true;
    record_event_put(v.mv_data, r->topic_no, &ev, r->content_hash);
    record_event_set_revision(v.mv_data, r->result->revision);
    rc = hot_put(r->txn, r->h->db[DB_BY_TIME], &by_time, &r->topic_no, sizeof r->topic_no);
    if (rc == MDB_SUCCESS)
        rc = put_node(r);
    return rc == MDB_SUCCESS ? put_links(r) : rc;
}

static int put_duplicate(struct redrive *r) {
    char record[RECORD_DUPLICATE_BYTES];
    const struct duplicate dup = {.id = r->ev->id, .revision = r->result->revision, .partition = r->ev->partition, .offset = r->ev->offset,
                                  .kafka_time_us = r->ev->kafka_time_us};
    struct hot_key at = key_recorded(r->at_us), seen = key_id_prefix(r->topic_no, &r->ev->id);
    record_duplicate_put(record, r->topic_no, &dup);
    key_u64(&seen, (uint64_t)r->at_us);
    int rc = hot_put(r->txn, r->h->db[DB_LOG], &at, record, sizeof record);
    return rc == MDB_SUCCESS ? hot_put(r->txn, r->h->db[DB_SEEN], &seen, NULL, 0) : rc;
}

/* ---- what else says where the offset is ---- */

/* The poison, where it is still hot, says since when it is no more in quarantine. */
static int mark_poison(struct redrive *r, int64_t poison_us) {
    struct bf_slice record;
    struct poison p;
    int rc = hot_log_get(r->h, r->txn, poison_us, &record);
    if (rc != MDB_SUCCESS)
        return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    if (!record_poison_get(record, &p))
        return MDB_CORRUPTED;
    p.redriven_at_us = r->at_us;
    size_t len = record_poison_size(&p);
    char *copy = malloc(len);
    if (copy == NULL)
        return ENOMEM;
    record_poison_put(copy, r->topic_no, &p);
    struct hot_key at = key_recorded(poison_us);
    rc = hot_put(r->txn, r->h->db[DB_LOG], &at, copy, len);
    free(copy);
    return rc;
}

static int put_run(struct redrive *r, int64_t first_offset, const struct run_row *run) {
    struct hot_key key = key_offset(r->topic_no, r->ev->partition, first_offset);
    return hot_put(r->txn, r->h->db[DB_RUNS], &key, run, sizeof *run);
}

/* The part of a run between two of its moments; nothing when there is none, or when its records are evicted. */
static int put_part(struct redrive *r, int64_t first_us, int64_t last_us) {
    struct bf_slice first, last;
    struct record_peek a, b;
    while (first_us <= last_us && hot_log_get(r->h, r->txn, first_us, &first) == MDB_NOTFOUND)
        first_us++;
    if (first_us > last_us || hot_log_get(r->h, r->txn, last_us, &last) != MDB_SUCCESS || hot_log_get(r->h, r->txn, first_us, &first) != MDB_SUCCESS)
        return MDB_SUCCESS;
    if (!record_peek(first, &a) || !record_peek(last, &b))
        return MDB_CORRUPTED;
    return put_run(r, a.offset, &(struct run_row){b.offset, first_us, last_us});
}

static int split_run(struct redrive *r, int64_t poison_us) {
    struct hot_key prefix = key_pair(r->topic_no, (uint32_t)r->ev->partition), after = key_offset(r->topic_no, r->ev->partition, r->ev->offset + 1);
    MDB_val key = key_val(&after), value;
    MDB_cursor *cur;
    struct run_row run = {0};
    int rc = mdb_cursor_open(r->txn, r->h->db[DB_RUNS], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    rc = mdb_cursor_get(cur, &key, &value, rc == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
    bool covers = rc == MDB_SUCCESS && key_has_prefix(&key, &prefix) && value.mv_size == sizeof run;
    if (covers) {
        memcpy(&run, value.mv_data, sizeof run);
        covers = run.last_offset >= r->ev->offset;
    }
    rc = covers ? mdb_cursor_del(cur, 0) : rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    if (rc == MDB_SUCCESS && covers)
        rc = put_part(r, run.first_us, poison_us - 1);
    if (rc == MDB_SUCCESS && covers)
        rc = put_part(r, poison_us + 1, run.last_us);
    return rc == MDB_SUCCESS ? put_run(r, r->ev->offset, &(struct run_row){r->ev->offset, r->at_us, r->at_us}) : rc;
}

static int put_commit(struct redrive *r) {
    const struct event *ev = r->ev;
    bool stored = r->result->disposition == DISPOSITION_STORED;
    struct {
        struct commit_row head;
        struct commit_partition part;
        struct commit_interval interval;
    } row;
    memset(&row, 0, sizeof row);
    row.head = (struct commit_row){.first_us = r->at_us, .log_bytes = record_event_size(ev), .events = stored, .duplicates = !stored, .partitions = 1,
                                   .intervals = 1};
    row.part = (struct commit_partition){r->topic_no, ev->partition, r->row.epoch, r->row.next_offset, r->row.next_offset};
    row.interval = (struct commit_interval){r->topic_no, ev->partition, (int32_t)r->result->disposition, COMMIT_INTERVAL_REDRIVEN, ev->offset,
                                            ev->offset + 1};
    _Static_assert(sizeof row == sizeof row.head + sizeof row.part + sizeof row.interval, "the three lie side by side");
    struct hot_key of = key_pair(r->topic_no, (uint32_t)ev->partition), at = key_recorded(r->at_us + 1);
    int64_t commit_us = r->at_us + 1;
    int rc = ledger_set(r->h, r->txn, r->topic_no, ev->partition, ev->offset, ev->offset + 1, (int)r->result->disposition, &r->row);
    if (rc == MDB_SUCCESS)
        rc = hot_put(r->txn, r->h->db[DB_PARTITIONS], &of, &r->row, sizeof r->row);
    if (rc == MDB_SUCCESS)
        rc = hot_put(r->txn, r->h->db[DB_COMMITS], &at, &row, sizeof row);
    return rc == MDB_SUCCESS ? hot_meta_put(r->h, r->txn, "recorded_through", &commit_us, sizeof commit_us) : rc;
}

static int redrive(struct redrive *r, int64_t poison_us) {
    int rc = put_id(r);
    if (rc == MDB_SUCCESS)
        rc = r->result->disposition == DISPOSITION_STORED ? put_event(r) : put_duplicate(r);
    if (rc == MDB_SUCCESS)
        rc = split_run(r, poison_us);
    if (rc == MDB_SUCCESS)
        rc = mark_poison(r, poison_us);
    return rc == MDB_SUCCESS ? put_commit(r) : rc;
}

static enum bf_code take_in(struct hot *h, const struct event *ev, int64_t poison_us, struct hot_redriven *result, struct bf_err *err) {
    struct hot_redriven done = {.revision = 0};
    struct redrive r = {.h = h, .ev = ev, .result = &done};
    bool quarantined = false;
    if (!hot_topic_find(h, ev->topic, &r.topic_no))
        return bf_fail(err, BF_NOT_FOUND, 0, "nothing is known of topic %.*s", (int)ev->topic.len, (const char *)ev->topic.data);
    enum bf_code code = hot_write_begin(h, &r.txn, err);
    if (code != BF_OK)
        return code;
    hot_note_set(h, HOT_NOTE_REDRIVEN, 1);
    r.at_us = done.recorded_at_us = hot_next_recorded_at(h);
    int rc = check_ledger(&r, &quarantined);
    if (rc == MDB_SUCCESS && !quarantined)
        code = bf_fail(err, BF_EXISTS, 0, "offset %lld is not in quarantine any more", (long long)ev->offset);
    else if (rc == MDB_SUCCESS)
        rc = redrive(&r, poison_us);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "taking in a quarantined record");
    struct hot_publish publish = {.recorded_through_us = r.at_us + 1, .committed_us = r.at_us + 1};
    code = hot_write_end(h, r.txn, code, &publish, err);
    if (code != BF_OK)
        return code;
    h->last_us = r.at_us + 1;
    *result = done;
    return BF_OK;
}

enum bf_code hot_redrive(struct hot *h, const struct event *ev, int64_t poison_us, struct hot_redriven *result, struct bf_err *err) {
    atomic_store(&h->recording, true);
    enum bf_code code = take_in(h, ev, poison_us, result, err);
    atomic_store(&h->recording, false);
    return code;
}
