/* The store against itself: every record of the log must be in every index that names it, every index entry must name such a record, and the
 * ledger must add up. For tests after a kill and for operators who doubt; walks everything in one read transaction. */
#include "hot_hash.h"
#include "hot_internal.h"

#include <string.h>

struct check {
    struct hot *h;
    MDB_txn *txn;
    int64_t hot_from_us;
    struct node_runs runs;
    uint64_t expected[DBS]; /* entries that the log calls for */
    struct bf_err *err;
};

#define FAIL(c, ...) bf_fail((c)->err, BF_BROKEN, MDB_CORRUPTED, __VA_ARGS__)

static enum bf_code must_have(struct check *c, enum hot_db db, const struct hot_key *key, const char *what, int64_t at) {
    MDB_val k = key_val(key), v;
    int rc = mdb_get(c->txn, c->h->db[db], &k, &v);
    c->expected[db]++;
    return rc == MDB_SUCCESS ? BF_OK : FAIL(c, "the record at %lld is not in the index of %s", (long long)at, what);
}

/* ---- records ---- */

static enum bf_code check_run(struct check *c, const struct record_peek *peek, int64_t at) {
    struct hot_key prefix = key_pair(peek->topic_no, (uint32_t)peek->partition);
    struct hot_key after = key_offset(peek->topic_no, peek->partition, peek->offset + 1);
    MDB_cursor *cur;
    MDB_val key = key_val(&after), value;
    struct run_row run = {0};
    int rc = mdb_cursor_open(c->txn, c->h->db[DB_RUNS], &cur);
    if (rc != MDB_SUCCESS)
        return hot_fail(c->err, rc, "reading runs");
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    rc = mdb_cursor_get(cur, &key, &value, rc == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
    bool good = rc == MDB_SUCCESS && key_has_prefix(&key, &prefix) && value.mv_size == sizeof run;
    if (good)
        memcpy(&run, value.mv_data, sizeof run);
    mdb_cursor_close(cur);
    good = good && run.last_offset >= peek->offset && run.first_us <= at && run.last_us >= at;
    return good ? BF_OK : FAIL(c, "no run holds offset %lld, recorded at %lld", (long long)peek->offset, (long long)at);
}

/* at 0: anywhere */
static bool is_mapped(struct check *c, uint32_t topic_no, const struct bf_uuid *id, int64_t at) {
    int64_t hits[ID_MAP_HITS_MAX];
    size_t count = id_map_find(c->h->ids, id_map_hash(c->h->ids, topic_no, id), hits);
    bool found = at == 0 && count > 0;
    for (size_t i = 0; i < count; i++)
        found = found || hits[i] == at;
    return found;
}

/* Is its entry still in a run that its node's row names? */
static bool is_in_run(struct check *c, uint32_t node_no, uint32_t topic_no, const struct hot_key *by_node) {
    struct node_topic_row row;
    struct hot_key pair = key_pair(node_no, topic_no);
    uint32_t in_runs = hot_get(c->txn, c->h->db[DB_NODE_TOPICS], &pair, &row, sizeof row) == MDB_SUCCESS ? node_runs_of(&c->runs, &row, node_no, topic_no) : 0;
    for (uint32_t run = 0; in_runs >> run != 0; run++) {
        struct hot_key key = {.len = 0};
        key_u32(&key, run);
        key_raw(&key, by_node->bytes, by_node->len);
        if ((in_runs >> run & 1) != 0 && hot_get(c->txn, c->h->db[DB_NODE_RUNS], &key, NULL, 0) == MDB_SUCCESS) {
            c->expected[DB_NODE_RUNS]++;
            return true;
        }
    }
    return false;
}

static enum bf_code check_event(struct check *c, uint32_t topic_no, int64_t at, struct bf_slice record) {
    struct event ev;
    struct id_row row;
    uint32_t node_no;
    uint8_t hash[16];
    if (!record_event_get(record, &ev))
        return FAIL(c, "the event at %lld cannot be decoded", (long long)at);
    if (hot_node_find(c->h, c->txn, ev.node_id, &node_no) != MDB_SUCCESS)
        return FAIL(c, "the node of the event at %lld has no number", (long long)at);
    struct hot_key id = key_id(topic_no, &ev.id, ev.revision), by_time = key_time_at(ev.event_time_us, at);
    struct hot_key by_node = key_node(node_no, topic_no, ev.event_time_us, at), node_topic = key_pair(node_no, topic_no);
    hot_content_hash(&ev, hash);
    if (memcmp(ev.content_hash, hash, sizeof hash) != 0)
        return FAIL(c, "the event at %lld has another content", (long long)at);
    if (ev.revision == 1 && !id_ascends(&ev.id) ? !is_mapped(c, topic_no, &ev.id, at)
                         : hot_get(c->txn, c->h->db[DB_IDS], &id, &row, sizeof row) != MDB_SUCCESS || row.recorded_at_us != at ||
                               memcmp(row.content_hash, hash, sizeof hash) != 0)
        return FAIL(c, "the id of the event at %lld does not lead to it", (long long)at);
    enum bf_code code = is_in_run(c, node_no, topic_no, &by_node) ? BF_OK : must_have(c, DB_BY_NODE, &by_node, "nodes", at);
    if (code == BF_OK)
        code = must_have(c, DB_BY_TIME, &by_time, "times", at);
    if (code == BF_OK)
        code = must_have(c, DB_NODE_TOPICS, &node_topic, "a node's topics", at);
    if (code == BF_OK && ev.has_cause) {
        struct hot_key key = key_link(LINK_CAUSE, ev.cause_id.b, at);
        code = must_have(c, DB_LINKS, &key, "causes", at);
    }
    if (code == BF_OK && ev.trace_id.data != NULL) {
        hot_trace_hash(ev.trace_id, hash);
        struct hot_key key = key_link(LINK_TRACE, hash, at);
        code = must_have(c, DB_LINKS, &key, "traces", at);
    }
    return code;
}

static enum bf_code check_duplicate(struct check *c, uint32_t topic_no, int64_t at, struct bf_slice record) {
    struct duplicate dup;
    if (!record_duplicate_get(record, &dup))
        return FAIL(c, "the duplicate at %lld cannot be decoded", (long long)at);
    struct hot_key key = key_id_prefix(topic_no, &dup.id);
    key_u64(&key, (uint64_t)at);
    return must_have(c, DB_SEEN, &key, "places", at);
}

static enum bf_code check_poison(struct check *c, const struct record_peek *peek, int64_t at) {
    struct hot_key key = key_recorded(at), of = key_offset(peek->topic_no, peek->partition, peek->offset);
    key_u64(&of, (uint64_t)at);
    enum bf_code code = must_have(c, DB_POISON_AT, &key, "quarantine", at);
    return code == BF_OK ? must_have(c, DB_POISON_OF, &of, "quarantine by offset", at) : code;
}

static enum bf_code check_record(struct check *c, int64_t at, struct bf_slice record) {
    struct record_peek peek;
    if (!record_peek(record, &peek) || hot_topic_name(c->h, peek.topic_no).data == NULL)
        return FAIL(c, "the record at %lld has no head", (long long)at);
    struct poison p;
    bool left_run = peek.type == RECORD_POISON && record_poison_get(record, &p) && p.redriven_at_us != 0; /* its offset is another record's now */
    enum bf_code code = left_run ? BF_OK : check_run(c, &peek, at);
    if (code != BF_OK)
        return code;
    switch (peek.type) {
    case RECORD_EVENT: return check_event(c, peek.topic_no, at, record);
    case RECORD_DUPLICATE: return check_duplicate(c, peek.topic_no, at, record);
    case RECORD_POISON: return check_poison(c, &peek, at);
    }
    return FAIL(c, "the record at %lld has no type", (long long)at);
}

static enum bf_code check_log(struct check *c) {
    struct source s;
    struct hot_key none = {.len = 0};
    struct source_range all = {0, 0, 0, INT64_MAX};
    enum bf_code code = BF_OK;
    int rc = source_open(&s, c->txn, c->h->db[DB_LOG], &none, false, &all, false);
    while (rc == MDB_SUCCESS && code == BF_OK && !s.done) {
        code = check_record(c, s.recorded_at_us, (struct bf_slice){s.value.mv_data, s.value.mv_size});
        rc = source_next(&s);
    }
    source_close(&s);
    return rc == MDB_SUCCESS ? code : hot_fail(c->err, rc, "walking the log");
}

/* What is merged already may still lie in its run, too. */
static enum bf_code check_runs(struct check *c) {
    MDB_cursor *cur;
    MDB_val key, value;
    uint64_t open = 0;
    int rc = mdb_cursor_open(c->txn, c->h->db[DB_NODE_RUNS], &cur);
    if (rc != MDB_SUCCESS)
        return hot_fail(c->err, rc, "opening the runs");
    while ((rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        if (key.mv_size != 28 || bf_get_be32(key.mv_data) >= c->runs.count)
            break;
        open += bf_get_be64((const char *)key.mv_data + 4) >= c->runs.merged_to;
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND && open == c->expected[DB_NODE_RUNS] ? BF_OK : FAIL(c, "the runs of the node index have other entries than the log calls for");
}

/* As every record has its entries, equal numbers mean that there are no others. */
static enum bf_code check_counts(struct check *c) {
    static const struct {
        enum hot_db db;
        const char *what;
    } exact[] = {{DB_BY_NODE, "nodes"}, {DB_BY_TIME, "times"}, {DB_LINKS, "links"},
                 {DB_SEEN, "places"},   {DB_POISON_AT, "quarantine"}, {DB_POISON_OF, "quarantine by offset"}};
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        MDB_stat stat;
        if (mdb_stat(c->txn, c->h->db[exact[i].db], &stat) != MDB_SUCCESS || stat.ms_entries != c->expected[exact[i].db])
            return FAIL(c, "the index of %s has %zu entries, the log calls for %llu", exact[i].what, stat.ms_entries,
                        (unsigned long long)c->expected[exact[i].db]);
    }
    return check_runs(c);
}

/* ---- rows that outlive records ---- */

typedef enum bf_code (*row_check)(struct check *c, const MDB_val *key, const MDB_val *value);

static enum bf_code each_row(struct check *c, enum hot_db db, row_check check) {
    MDB_cursor *cur;
    MDB_val key, value;
    enum bf_code code = BF_OK;
    int rc = mdb_cursor_open(c->txn, c->h->db[db], &cur);
    if (rc != MDB_SUCCESS)
        return hot_fail(c->err, rc, "opening a database");
    while (code == BF_OK && (rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) == MDB_SUCCESS)
        code = check(c, &key, &value);
    mdb_cursor_close(cur);
    return code != BF_OK || rc == MDB_NOTFOUND ? code : hot_fail(c->err, rc, "walking a database");
}

/* An id that is not below hot_from must be in the log. */
static enum bf_code check_id(struct check *c, const MDB_val *key, const MDB_val *value) {
    struct id_row row;
    struct bf_slice record;
    if (key->mv_size != 24 || value->mv_size != sizeof row)
        return FAIL(c, "an id's row has another size");
    memcpy(&row, value->mv_data, sizeof row);
    if (row.recorded_at_us >= c->hot_from_us && hot_log_get(c->h, c->txn, row.recorded_at_us, &record) != MDB_SUCCESS)
        return FAIL(c, "an id names the record at %lld, which is not there", (long long)row.recorded_at_us);
    if (bf_get_be32((const char *)key->mv_data + 20) > 1 && !hot_topic_has_revisions(c->h, bf_get_be32(key->mv_data)))
        return FAIL(c, "a topic does not know of its later revisions");
    struct bf_uuid id;
    memcpy(&id, (const char *)key->mv_data + 4, sizeof id);
    return id_ascends(&id) || is_mapped(c, bf_get_be32(key->mv_data), &id, 0) ? BF_OK : FAIL(c, "a later revision's id, recorded at %lld, is not in the map of ids",
                                                                          (long long)row.recorded_at_us);
}

static enum bf_code check_gone(struct check *c, const MDB_val *key, const MDB_val *value) {
    struct bf_slice record;
    struct record_id of;
    struct bf_uuid id;
    if (key->mv_size != 28 || value->mv_size != sizeof(struct gone_row))
        return FAIL(c, "the row of an id that is gone has another size");
    int64_t at = (int64_t)bf_get_be64(key->mv_data);
    uint32_t topic_no = bf_get_be32((const char *)key->mv_data + 8);
    memcpy(&id, (const char *)key->mv_data + 12, sizeof id);
    if (!is_mapped(c, topic_no, &id, at))
        return FAIL(c, "the id that was recorded at %lld and is gone does not lead there", (long long)at);
    bool there = hot_log_get(c->h, c->txn, at, &record) == MDB_SUCCESS && record_event_id(record, &of) && of.revision == 1 &&
                 of.topic_no == topic_no && memcmp(&of.id, &id, sizeof id) == 0;
    return there ? FAIL(c, "the record at %lld is gone and is there", (long long)at) : BF_OK;
}

static enum bf_code check_run_row(struct check *c, const MDB_val *key, const MDB_val *value) {
    struct run_row run;
    if (key->mv_size != 16 || value->mv_size != sizeof run)
        return FAIL(c, "a run's row has another size");
    memcpy(&run, value->mv_data, sizeof run);
    for (int64_t at = run.last_us, last = INT64_MAX; at >= run.first_us; at--) {
        struct bf_slice record;
        struct record_peek peek;
        int rc = hot_log_get(c->h, c->txn, at, &record);
        if (rc == MDB_NOTFOUND && at < run.last_us)
            break; /* evicted from the front */
        if (rc != MDB_SUCCESS || !record_peek(record, &peek) || peek.offset >= last || peek.topic_no != bf_get_be32(key->mv_data) ||
            (uint32_t)peek.partition != bf_get_be32((const char *)key->mv_data + 4))
            return FAIL(c, "a run says that %lld is one of its records", (long long)at);
        last = peek.offset;
    }
    return BF_OK;
}

static enum bf_code check_node_topic(struct check *c, const MDB_val *key, const MDB_val *value) {
    struct node_topic_row row;
    struct source s;
    struct hot_key prefix;
    struct source_range all = {INT64_MIN, INT64_MAX, 0, INT64_MAX};
    uint64_t events = 0;
    memcpy(&row, value->mv_data, sizeof row);
    uint32_t node_no = bf_get_be32(key->mv_data), topic_no = bf_get_be32((const char *)key->mv_data + 4);
    uint32_t in_runs = node_runs_of(&c->runs, &row, node_no, topic_no);
    bool inside = true;
    int rc = MDB_SUCCESS;
    if (row.last_event_time_us > atomic_load(&c->h->dated_through_us))
        return FAIL(c, "a node's last event is dated later than all events");
    for (int run = -1; run < NODE_RUNS_MAX && rc == MDB_SUCCESS; run++) { /* -1: BY_NODE */
        if (run >= 0 && (in_runs >> run & 1) == 0)
            continue;
        prefix = run < 0 ? key_pair(node_no, topic_no) : node_run_prefix((uint32_t)run, node_no, topic_no);
        rc = source_open(&s, c->txn, c->h->db[run < 0 ? DB_BY_NODE : DB_NODE_RUNS], &prefix, true, &all, false);
        for (; rc == MDB_SUCCESS && !s.done; rc = source_next(&s), events++) {
            int64_t t = key_time_back(s.event_time_key);
            inside = inside && t >= row.first_event_time_us &&
                     (t < row.last_event_time_us || (t == row.last_event_time_us && s.recorded_at_us <= row.last_recorded_at_us));
        }
        source_close(&s);
    }
    if (rc != MDB_SUCCESS)
        return hot_fail(c->err, rc, "walking a node");
    if (!inside || row.events < events || (c->hot_from_us == 0 && row.events != events))
        return FAIL(c, "a node counts %llu events in a topic, %llu are there", (unsigned long long)row.events, (unsigned long long)events);
    return BF_OK;
}

static enum bf_code check_partition(struct check *c, const MDB_val *key, const MDB_val *value) {
    struct partition_row row;
    struct hot_key prefix = {.len = 0};
    uint64_t sums[5] = {0};
    MDB_cursor *cur;
    if (value->mv_size != sizeof row)
        return FAIL(c, "a partition's row has another size");
    memcpy(&row, value->mv_data, sizeof row);
    key_raw(&prefix, key->mv_data, key->mv_size);
    MDB_val k = key_val(&prefix), v;
    int64_t end = -1, disposition = -1;
    int rc = mdb_cursor_open(c->txn, c->h->db[DB_LEDGER], &cur);
    if (rc != MDB_SUCCESS)
        return hot_fail(c->err, rc, "reading the ledger");
    bool good = true;
    rc = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE);
    for (; rc == MDB_SUCCESS && key_has_prefix(&k, &prefix) && good; rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
        struct ledger_row held;
        int64_t from = (int64_t)bf_get_be64((const char *)k.mv_data + 8);
        memcpy(&held, v.mv_data, sizeof held);
        good = held.to > from && from >= end && !(from == end && held.disposition == disposition) && held.disposition >= 0 &&
               held.disposition <= DISPOSITION_LOST;
        if (good)
            sums[held.disposition] += (uint64_t)(held.to - from);
        end = held.to;
        disposition = held.disposition;
    }
    mdb_cursor_close(cur);
    if (!good || end > row.next_offset)
        return FAIL(c, "the ledger of a partition overlaps or reaches beyond its next offset %lld", (long long)row.next_offset);
    if (memcmp(sums, row.by_disposition, sizeof sums) != 0)
        return FAIL(c, "a partition's counts are not the sum of its ledger");
    return BF_OK;
}

enum bf_code hot_check(struct hot *h, struct bf_err *err) {
    struct check c = {.h = h, .err = err};
    enum bf_code code = hot_read_begin(h, &c.txn, err);
    if (code != BF_OK)
        return code;
    int rc = hot_meta_get_i64(h, c.txn, "hot_from", &c.hot_from_us);
    if (rc == MDB_SUCCESS)
        rc = node_runs_get(h, c.txn, &c.runs);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "reading where hot begins");
    if (code == BF_OK)
        code = check_log(&c);
    if (code == BF_OK)
        code = check_counts(&c);
    if (code == BF_OK)
        code = each_row(&c, DB_IDS, check_id);
    if (code == BF_OK)
        code = each_row(&c, DB_GONE, check_gone);
    if (code == BF_OK)
        code = each_row(&c, DB_RUNS, check_run_row);
    if (code == BF_OK)
        code = each_row(&c, DB_NODE_TOPICS, check_node_topic);
    if (code == BF_OK)
        code = each_row(&c, DB_PARTITIONS, check_partition);
    hot_read_end(h, c.txn);
    return code;
}
