/* Reading partitions and coverage, and learning coverage from the archive. */
#include "hot_internal.h"

#include <stdlib.h>
#include <string.h>

static void partition_view(const struct hot *h, uint32_t topic_no, int32_t partition, const struct partition_row *row,
                           struct hot_partition *out) {
    struct bf_slice topic = hot_topic_name(h, topic_no);
    memset(out, 0, sizeof *out);
    memcpy(out->topic, topic.data, topic.len);
    out->partition = partition;
    out->epoch = row->epoch;
    out->next_offset = row->next_offset;
    out->first_offset = row->first_offset;
    out->newest_event_time_us = row->newest_event_time_us;
    out->newest_kafka_time_us = row->newest_kafka_time_us;
    memcpy(out->by_disposition, row->by_disposition, sizeof out->by_disposition);
    out->events = row->by_disposition[DISPOSITION_STORED];
}

static enum bf_code list_partitions(struct hot *h, MDB_txn *txn, struct hot_partition **out, size_t *count, struct bf_err *err) {
    MDB_stat stat;
    MDB_cursor *cur = NULL;
    MDB_val key, value;
    size_t n = 0;
    int rc = mdb_stat(txn, h->db[DB_PARTITIONS], &stat);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_open(txn, h->db[DB_PARTITIONS], &cur);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "listing partitions");
    struct hot_partition *list = calloc(stat.ms_entries + 1, sizeof *list);
    if (list == NULL) {
        mdb_cursor_close(cur);
        return bf_fail(err, BF_NOMEM, 0, "no memory for %zu partitions", stat.ms_entries);
    }
    while ((rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        struct partition_row row;
        uint32_t topic_no = bf_get_be32(key.mv_data);
        if (value.mv_size != sizeof row || hot_topic_name(h, topic_no).data == NULL) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&row, value.mv_data, sizeof row);
        partition_view(h, topic_no, (int32_t)bf_get_be32((const char *)key.mv_data + 4), &row, &list[n++]);
    }
    mdb_cursor_close(cur);
    if (rc != MDB_NOTFOUND) {
        free(list);
        return hot_fail(err, rc, "listing partitions");
    }
    *out = list;
    *count = n;
    return BF_OK;
}

static int compare_partitions(const void *a, const void *b) {
    const struct hot_partition *x = a, *y = b;
    int c = strcmp(x->topic, y->topic);
    return c != 0 ? c : (x->partition > y->partition) - (x->partition < y->partition);
}

enum bf_code hot_partitions(struct hot *h, struct hot_partition **out, size_t *count, struct bf_err *err) {
    MDB_txn *txn;
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    code = list_partitions(h, txn, out, count, err);
    hot_read_end(h, txn);
    if (code == BF_OK)
        qsort(*out, *count, sizeof **out, compare_partitions);
    return code;
}

enum bf_code hot_partition(struct hot *h, struct bf_slice topic, int32_t partition, struct hot_partition *out, struct bf_err *err) {
    struct partition_row row;
    uint32_t topic_no;
    MDB_txn *txn;
    if (!hot_topic_find(h, topic, &topic_no))
        return bf_fail(err, BF_NOT_FOUND, 0, "no partition of %.*s is known", (int)topic.len, (const char *)topic.data);
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    struct hot_key key = key_pair(topic_no, (uint32_t)partition);
    int rc = hot_get(txn, h->db[DB_PARTITIONS], &key, &row, sizeof row);
    hot_read_end(h, txn);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "partition %d of %.*s", partition, (int)topic.len, (const char *)topic.data);
    partition_view(h, topic_no, partition, &row, out);
    return BF_OK;
}

/* The first commit after through_us that touched the partition says where it stood before. */
static int find_before(struct hot *h, MDB_txn *txn, uint32_t topic_no, int32_t partition, int64_t through_us, int64_t *next_offset) {
    struct hot_key start = key_recorded(through_us < 0 ? 0 : through_us + 1);
    MDB_val key = key_val(&start), value;
    MDB_cursor *cur;
    bool found = false;
    int rc = mdb_cursor_open(txn, h->db[DB_COMMITS], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    for (; rc == MDB_SUCCESS && !found; rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) {
        struct commit_row head;
        if (value.mv_size < sizeof head)
            return mdb_cursor_close(cur), MDB_CORRUPTED;
        memcpy(&head, value.mv_data, sizeof head);
        const char *at = (const char *)value.mv_data + sizeof head;
        for (uint32_t i = 0; i < head.partitions && !found; i++, at += sizeof(struct commit_partition)) {
            struct commit_partition part;
            memcpy(&part, at, sizeof part);
            found = part.topic_no == topic_no && part.partition == partition;
            *next_offset = found ? part.offset_before : *next_offset;
        }
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

enum bf_code hot_partition_at(struct hot *h, struct bf_slice topic, int32_t partition, int64_t through_us, int64_t *next_offset,
                              struct bf_err *err) {
    struct partition_row row;
    uint32_t topic_no;
    MDB_txn *txn;
    if (!hot_topic_find(h, topic, &topic_no))
        return bf_fail(err, BF_NOT_FOUND, 0, "no partition of %.*s is known", (int)topic.len, (const char *)topic.data);
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    struct hot_key key = key_pair(topic_no, (uint32_t)partition);
    int rc = hot_get(txn, h->db[DB_PARTITIONS], &key, &row, sizeof row);
    if (rc == MDB_SUCCESS)
        rc = find_before(h, txn, topic_no, partition, through_us, &row.next_offset);
    hot_read_end(h, txn);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "partition %d of %.*s", partition, (int)topic.len, (const char *)topic.data);
    *next_offset = row.next_offset;
    return BF_OK;
}

static int read_coverage(struct hot *h, MDB_txn *txn, struct interval *out, uint32_t topic_no, int64_t from, size_t limit, size_t *count) {
    struct interval first = *out; /* carries topic and partition */
    struct hot_key prefix = key_pair(topic_no, (uint32_t)first.partition), start = key_offset(topic_no, first.partition, from < 0 ? 0 : from);
    MDB_val key = key_val(&start), value;
    MDB_cursor *cur;
    size_t n = 0;
    int rc = mdb_cursor_open(txn, h->db[DB_LEDGER], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    if (rc == MDB_SUCCESS || rc == MDB_NOTFOUND) { /* the one before may reach into what is asked for */
        int back = mdb_cursor_get(cur, &key, &value, rc == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
        struct ledger_row row;
        if (back == MDB_SUCCESS && key_has_prefix(&key, &prefix) && value.mv_size == sizeof row &&
            (memcpy(&row, value.mv_data, sizeof row), row.to > from))
            rc = MDB_SUCCESS;
        else
            rc = mdb_cursor_get(cur, &key, &value, back == MDB_SUCCESS ? MDB_NEXT : MDB_FIRST);
    }
    for (; rc == MDB_SUCCESS && n < limit && key_has_prefix(&key, &prefix); rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) {
        struct ledger_row row;
        if (value.mv_size != sizeof row) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&row, value.mv_data, sizeof row);
        int64_t begin = (int64_t)bf_get_be64((const char *)key.mv_data + prefix.len);
        out[n] = first;
        out[n].from = begin > from ? begin : from;
        out[n].to = row.to;
        out[n++].disposition = (enum disposition)row.disposition;
    }
    mdb_cursor_close(cur);
    *count = n;
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

enum bf_code hot_coverage(struct hot *h, struct bf_slice topic, int32_t partition, int64_t from, size_t limit, struct interval *out,
                          size_t *count, struct bf_err *err) {
    uint32_t topic_no;
    MDB_txn *txn;
    *count = 0;
    if (limit == 0 || !hot_topic_find(h, topic, &topic_no))
        return BF_OK;
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    out[0] = (struct interval){.topic = topic, .partition = partition};
    int rc = read_coverage(h, txn, out, topic_no, from, limit, count);
    hot_read_end(h, txn);
    return rc == MDB_SUCCESS ? BF_OK : hot_fail(err, rc, "reading coverage");
}

static int learn_interval(struct hot *h, MDB_txn *txn, uint32_t topic_no, const struct interval *iv) {
    struct partition_row row;
    struct hot_key key = key_pair(topic_no, (uint32_t)iv->partition);
    int rc = hot_get(txn, h->db[DB_PARTITIONS], &key, &row, sizeof row);
    if (rc == MDB_NOTFOUND) {
        partition_row_init(&row);
        rc = MDB_SUCCESS;
    }
    if (rc == MDB_SUCCESS)
        rc = ledger_set(h, txn, topic_no, iv->partition, iv->from, iv->to, (int)iv->disposition, &row);
    if (rc != MDB_SUCCESS)
        return rc;
    if (row.first_offset < 0 || iv->from < row.first_offset)
        row.first_offset = iv->from;
    if (iv->to > row.next_offset)
        row.next_offset = iv->to;
    return hot_put(txn, h->db[DB_PARTITIONS], &key, &row, sizeof row);
}

enum bf_code hot_learn_intervals(struct hot *h, const struct interval *intervals, size_t count, struct bf_err *err) {
    MDB_txn *txn;
    enum bf_code code = hot_write_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    for (size_t i = 0; i < count && code == BF_OK; i++) {
        uint32_t topic_no;
        if (intervals[i].from < 0 || intervals[i].to <= intervals[i].from || intervals[i].partition < 0)
            code = bf_fail(err, BF_INVALID, 0, "an interval from %lld to %lld", (long long)intervals[i].from, (long long)intervals[i].to);
        if (code == BF_OK)
            code = hot_topic_intern(h, intervals[i].topic, &topic_no, err);
        int rc = code == BF_OK ? learn_interval(h, txn, topic_no, &intervals[i]) : MDB_SUCCESS;
        if (rc != MDB_SUCCESS)
            code = hot_fail(err, rc, "learning coverage");
    }
    return hot_write_end(h, txn, code, &(struct hot_publish){0}, err);
}
