/* Partitions, their coverage ledger, and the row that closes each commit.
 *
 * Invariant of the ledger, per partition: intervals ascend, do not overlap, and neighbours that touch differ in disposition; by_disposition
 * of the partition's row is the sum of their lengths. */
#include "hot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void partition_row_init(struct partition_row *row) {
    memset(row, 0, sizeof *row);
    row->next_offset = row->first_offset = -1;
}

/* ---- the ledger ---- */

struct held { /* one interval as it stands in the ledger */
    int64_t from, to;
    int disposition;
};

/* The first interval of the partition that begins at or after `at`; before it when `before` is set. */
static int ledger_seek(MDB_cursor *cur, uint32_t topic_no, int32_t partition, int64_t at, bool before, struct held *out) {
    struct hot_key prefix = key_pair(topic_no, (uint32_t)partition), key = key_offset(topic_no, partition, at);
    MDB_val k = key_val(&key), v;
    int rc = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE);
    if (before && (rc == MDB_SUCCESS || rc == MDB_NOTFOUND))
        rc = mdb_cursor_get(cur, &k, &v, rc == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
    if (rc != MDB_SUCCESS)
        return rc;
    if (!key_has_prefix(&k, &prefix))
        return MDB_NOTFOUND;
    struct ledger_row row;
    if (v.mv_size != sizeof row)
        return MDB_CORRUPTED;
    memcpy(&row, v.mv_data, sizeof row);
    *out = (struct held){(int64_t)bf_get_be64((const char *)k.mv_data + prefix.len), row.to, row.disposition};
    return row.disposition >= 0 && row.disposition <= DISPOSITION_LOST ? MDB_SUCCESS : MDB_CORRUPTED;
}

struct ledger_edit {
    struct hot *h;
    MDB_txn *txn;
    uint32_t topic_no;
    int32_t partition;
    struct held merged; /* what will stand there */
};

static int ledger_put(const struct ledger_edit *e, int64_t from, int64_t to, int disposition) {
    struct ledger_row row = {to, disposition, 0};
    struct hot_key key = key_offset(e->topic_no, e->partition, from);
    return from < to ? hot_put(e->txn, e->h->db[DB_LEDGER], &key, &row, sizeof row) : MDB_SUCCESS;
}

static int64_t overlap(const struct held *a, int64_t from, int64_t to) {
    int64_t low = a->from > from ? a->from : from, high = a->to < to ? a->to : to;
    return high > low ? high - low : 0;
}

/* Take out of one interval what lies in [from, to), or swallow it whole when it has the same disposition. */
static int ledger_cut(struct ledger_edit *e, const struct held *was, int64_t from, int64_t to, struct partition_row *row) {
    struct hot_key key = key_offset(e->topic_no, e->partition, was->from);
    int64_t common = overlap(was, from, to);
    row->by_disposition[was->disposition] -= (uint64_t)common;
    if (was->disposition == e->merged.disposition) {
        e->merged.from = was->from < e->merged.from ? was->from : e->merged.from;
        e->merged.to = was->to > e->merged.to ? was->to : e->merged.to;
        return hot_del(e->txn, e->h->db[DB_LEDGER], &key);
    }
    if (common == 0)
        return MDB_SUCCESS;
    int rc = hot_del(e->txn, e->h->db[DB_LEDGER], &key);
    if (rc == MDB_SUCCESS)
        rc = ledger_put(e, was->from, from, was->disposition);
    return rc == MDB_SUCCESS ? ledger_put(e, to, was->to, was->disposition) : rc;
}

int ledger_set(struct hot *h, MDB_txn *txn, uint32_t topic_no, int32_t partition, int64_t from, int64_t to, int disposition,
               struct partition_row *row) {
    struct ledger_edit e = {h, txn, topic_no, partition, {from, to, disposition}};
    struct held was;
    MDB_cursor *cur;
    int rc = mdb_cursor_open(txn, h->db[DB_LEDGER], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = ledger_seek(cur, topic_no, partition, from, true, &was);
    if (rc == MDB_SUCCESS && was.to >= from)
        rc = ledger_cut(&e, &was, from, to, row);
    for (int64_t at = from; rc == MDB_SUCCESS || rc == MDB_NOTFOUND; at = was.from + 1) {
        rc = ledger_seek(cur, topic_no, partition, at, false, &was);
        if (rc != MDB_SUCCESS || was.from > to)
            break;
        rc = ledger_cut(&e, &was, from, to, row);
    }
    mdb_cursor_close(cur);
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        return rc;
    if (disposition < 0)
        return MDB_SUCCESS;
    row->by_disposition[disposition] += (uint64_t)(to - from);
    return ledger_put(&e, e.merged.from, e.merged.to, disposition);
}

/* ---- closing a commit ---- */

struct closing { /* the commit row, grown piece by piece */
    struct commit_row row;
    struct bf_buf partitions, intervals;
};

static int close_interval(struct commit *c, struct closing *closing, const struct slot *s, const struct held *held,
                          struct partition_row *row) {
    struct commit_interval interval = {s->topic_no, s->partition, held->disposition, 0, held->from, held->to};
    bf_buf_append(&closing->intervals, &interval, sizeof interval);
    closing->row.intervals++;
    return ledger_set(c->h, c->txn, s->topic_no, s->partition, held->from, held->to, held->disposition, row);
}

static void newest_times(const struct item *item, struct partition_row *row) {
    if (item->kind != ITEM_EVENT || item->disposition != DISPOSITION_STORED)
        return;
    if (row->newest_event_time_us == 0 || item->event_time_us > row->newest_event_time_us)
        row->newest_event_time_us = item->event_time_us;
    if (item->kafka_time_us > row->newest_kafka_time_us)
        row->newest_kafka_time_us = item->kafka_time_us;
}

/* The items of one slot, which ascend: as few intervals as they make. */
static int close_ledger(struct commit *c, struct closing *closing, const struct slot *s, const uint32_t *order, struct partition_row *row) {
    struct held held = {0, 0, -1};
    int rc = MDB_SUCCESS;
    for (size_t i = 0; i < s->items && rc == MDB_SUCCESS; i++) {
        const struct item *item = &c->b->items[order[i]];
        newest_times(item, row);
        if (held.disposition == item->disposition && held.to == item->offset) {
            held.to = item->end_offset;
            continue;
        }
        if (held.disposition >= 0)
            rc = close_interval(c, closing, s, &held, row);
        held = (struct held){item->offset, item->end_offset, item->disposition};
    }
    return rc == MDB_SUCCESS && held.disposition >= 0 ? close_interval(c, closing, s, &held, row) : rc;
}

static int close_run(struct commit *c, const struct slot *s, const uint32_t *order) {
    const struct item *first = NULL, *last = NULL;
    for (size_t i = 0; i < s->items; i++) {
        const struct item *item = &c->b->items[order[i]];
        if (item->kind == ITEM_GAP)
            continue;
        first = first == NULL ? item : first;
        last = item;
    }
    if (first == NULL)
        return MDB_SUCCESS;
    struct run_row run = {last->offset, first->recorded_at_us, last->recorded_at_us};
    struct hot_key key = key_offset(s->topic_no, s->partition, first->offset);
    return hot_put(c->txn, c->h->db[DB_RUNS], &key, &run, sizeof run);
}

static int close_slot(struct commit *c, struct closing *closing, const struct slot *s, const uint32_t *order) {
    struct partition_row row;
    struct hot_key key = key_pair(s->topic_no, (uint32_t)s->partition);
    int rc = hot_get(c->txn, c->h->db[DB_PARTITIONS], &key, &row, sizeof row);
    if (rc == MDB_NOTFOUND) {
        partition_row_init(&row);
        rc = MDB_SUCCESS;
    }
    if (rc == MDB_SUCCESS)
        rc = close_ledger(c, closing, s, order, &row);
    if (rc == MDB_SUCCESS)
        rc = close_run(c, s, order);
    if (rc != MDB_SUCCESS)
        return rc;
    int64_t begin = s->items > 0 ? c->b->items[order[0]].offset : s->base_offset;
    if (row.first_offset < 0 || (s->items > 0 && begin < row.first_offset))
        row.first_offset = begin;
    row.epoch = s->epoch;
    row.next_offset = s->next_offset;
    struct commit_partition part = {s->topic_no, s->partition, s->epoch, s->base_offset, s->next_offset};
    bf_buf_append(&closing->partitions, &part, sizeof part);
    closing->row.partitions++;
    return hot_put(c->txn, c->h->db[DB_PARTITIONS], &key, &row, sizeof row);
}

static int close_commit(struct commit *c, struct closing *closing) {
    struct hot_key key = key_recorded(c->commit_us);
    struct bf_buf *tail = &closing->partitions;
    bf_buf_append(tail, closing->intervals.data, closing->intervals.len);
    if (tail->failed || closing->intervals.failed)
        return ENOMEM;
    closing->row.first_us = c->first_us;
    closing->row.log_bytes = c->log_bytes;
    for (size_t i = 0; i < c->b->item_count; i++) {
        const struct item *item = &c->b->items[i];
        closing->row.events += item->kind == ITEM_EVENT && item->disposition == DISPOSITION_STORED;
        closing->row.duplicates += item->kind == ITEM_EVENT && item->disposition == DISPOSITION_DUPLICATE;
        closing->row.poisons += item->kind == ITEM_POISON;
    }
    MDB_val k = key_val(&key), v = {sizeof closing->row + tail->len, NULL};
    int rc = mdb_put(c->txn, c->h->db[DB_COMMITS], &k, &v, MDB_APPEND | MDB_RESERVE);
    if (rc != MDB_SUCCESS)
        return rc;
    memcpy(v.mv_data, &closing->row, sizeof closing->row);
    if (tail->len > 0)
        memcpy((char *)v.mv_data + sizeof closing->row, tail->data, tail->len);
    return MDB_SUCCESS;
}

int commit_partitions(struct commit *c) {
    struct closing closing = {0};
    size_t at = 0;
    int rc = MDB_SUCCESS;
    bf_buf_init(&closing.partitions, SIZE_MAX / 2);
    bf_buf_init(&closing.intervals, SIZE_MAX / 2);
    for (size_t i = 0; i < c->b->slot_count && rc == MDB_SUCCESS; i++) {
        const struct slot *s = &c->b->slots[i];
        if (s->items > 0 || s->stated)
            rc = close_slot(c, &closing, s, c->b->order + at);
        at += s->items;
    }
    if (rc == MDB_SUCCESS)
        rc = close_commit(c, &closing);
    bf_buf_fini(&closing.partitions);
    bf_buf_fini(&closing.intervals);
    return rc;
}
