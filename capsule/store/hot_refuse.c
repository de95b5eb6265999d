/* An event that the archive refuses becomes a quarantined record in its own place: same recorded_at, same offset, so that runs and the order of
 * the log stay as they are; the indexes, the ledger and the row that closes its commit follow in the same transaction. */
#include "hot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct refused {
    struct hot *h;
    MDB_txn *txn;
    int64_t recorded_at_us;
    struct record_peek peek;
    char *record; /* the poison that takes the event's place */
    size_t record_len;
};

static int make_poison(struct refused *r, struct bf_slice event, const char *detail) {
    struct event ev;
    if (!record_event_get(event, &ev))
        return MDB_CORRUPTED;
    const struct poison p = {.partition = ev.partition, .offset = ev.offset, .kafka_time_us = ev.kafka_time_us, .reason = POISON_REFUSED,
                             .schema_id = ev.schema_id, .detail = bf_slice_str(detail), .key = ev.key, .value = ev.value, .headers = ev.headers};
    r->record_len = record_poison_size(&p);
    r->record = malloc(r->record_len);
    if (r->record == NULL)
        return ENOMEM;
    record_poison_put(r->record, r->peek.topic_no, &p);
    return MDB_SUCCESS;
}

static int forget_event(struct refused *r, struct bf_slice event) {
    struct forget f = {.h = r->h, .txn = r->txn};
    int rc = forget_record(&f, r->recorded_at_us, event, true);
    if (rc == MDB_SUCCESS)
        rc = forget_apply(&f);
    forget_fini(&f);
    return rc;
}

static int put_poison(struct refused *r) {
    struct hot_key at = key_recorded(r->recorded_at_us), of = key_offset(r->peek.topic_no, r->peek.partition, r->peek.offset);
    key_u64(&of, (uint64_t)r->recorded_at_us);
    int rc = hot_put(r->txn, r->h->db[DB_LOG], &at, r->record, r->record_len);
    if (rc == MDB_SUCCESS)
        rc = hot_put(r->txn, r->h->db[DB_POISON_AT], &at, &r->peek.topic_no, sizeof r->peek.topic_no);
    return rc == MDB_SUCCESS ? hot_put(r->txn, r->h->db[DB_POISON_OF], &of, NULL, 0) : rc;
}

static int change_ledger(struct refused *r) {
    struct partition_row row;
    struct hot_key key = key_pair(r->peek.topic_no, (uint32_t)r->peek.partition);
    int rc = hot_get(r->txn, r->h->db[DB_PARTITIONS], &key, &row, sizeof row);
    if (rc == MDB_SUCCESS)
        rc = ledger_set(r->h, r->txn, r->peek.topic_no, r->peek.partition, r->peek.offset, r->peek.offset + 1, DISPOSITION_QUARANTINED, &row);
    return rc == MDB_SUCCESS ? hot_put(r->txn, r->h->db[DB_PARTITIONS], &key, &row, sizeof row) : rc;
}

/* The interval that holds the offset becomes up to three; the others are copied. */
static uint32_t split_intervals(const struct refused *r, const char *from, uint32_t count, char *to) {
    uint32_t made = 0;
    for (uint32_t i = 0; i < count; i++, from += sizeof(struct commit_interval)) {
        struct commit_interval whole, parts[3];
        size_t n = 0;
        memcpy(&whole, from, sizeof whole);
        bool holds = whole.topic_no == r->peek.topic_no && whole.partition == r->peek.partition && whole.from <= r->peek.offset &&
                     r->peek.offset < whole.to;
        if (!holds) {
            parts[n++] = whole;
        } else {
            if (whole.from < r->peek.offset)
                parts[n] = whole, parts[n++].to = r->peek.offset;
            parts[n++] = (struct commit_interval){whole.topic_no, whole.partition, DISPOSITION_QUARANTINED, 0, r->peek.offset, r->peek.offset + 1};
            if (r->peek.offset + 1 < whole.to)
                parts[n] = whole, parts[n++].from = r->peek.offset + 1;
        }
        memcpy(to + made * sizeof *parts, parts, n * sizeof *parts);
        made += (uint32_t)n;
    }
    return made;
}

/* The row that closes the commit comes right after its last record. */
static int change_commit(struct refused *r) {
    struct hot_key start = key_recorded(r->recorded_at_us);
    MDB_val key = key_val(&start), value;
    MDB_cursor *cur;
    struct commit_row head;
    int rc = mdb_cursor_open(r->txn, r->h->db[DB_COMMITS], &cur);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    if (rc != MDB_SUCCESS || value.mv_size < sizeof head)
        return rc == MDB_NOTFOUND || rc == MDB_SUCCESS ? MDB_CORRUPTED : rc;
    char *copy = malloc(value.mv_size + 2 * sizeof(struct commit_interval));
    if (copy == NULL)
        return ENOMEM;
    memcpy(&head, value.mv_data, sizeof head);
    size_t before = sizeof head + head.partitions * sizeof(struct commit_partition);
    memcpy(copy, value.mv_data, before);
    head.intervals = split_intervals(r, (const char *)value.mv_data + before, head.intervals, copy + before);
    head.events--;
    head.poisons++;
    memcpy(copy, &head, sizeof head);
    struct hot_key at = key_recorded((int64_t)bf_get_be64(key.mv_data));
    rc = hot_put(r->txn, r->h->db[DB_COMMITS], &at, copy, before + head.intervals * sizeof(struct commit_interval));
    free(copy);
    return rc;
}

static int refuse(struct refused *r, const char *detail) {
    struct bf_slice event;
    int rc = hot_log_get(r->h, r->txn, r->recorded_at_us, &event);
    if (rc != MDB_SUCCESS)
        return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    if (!record_peek(event, &r->peek))
        return MDB_CORRUPTED;
    if (r->peek.type != RECORD_EVENT)
        return MDB_SUCCESS;
    if ((rc = make_poison(r, event, detail)) == MDB_SUCCESS && (rc = forget_event(r, event)) == MDB_SUCCESS &&
        (rc = put_poison(r)) == MDB_SUCCESS && (rc = change_ledger(r)) == MDB_SUCCESS)
        rc = change_commit(r);
    return rc;
}

enum bf_code hot_refuse(struct hot *h, int64_t recorded_at_us, const char *detail, struct bf_err *err) {
    struct refused r = {.h = h, .recorded_at_us = recorded_at_us};
    enum bf_code code = hot_write_begin(h, &r.txn, err);
    if (code != BF_OK)
        return code;
    int rc = refuse(&r, detail);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "quarantining what the archive refuses");
    free(r.record);
    return hot_write_end(h, r.txn, code, &(struct hot_publish){0}, err);
}
