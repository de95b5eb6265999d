/* One commit: order, clock, dedupe, log, indexes, ledger, offsets, in one LMDB transaction.
 *
 * Order: by partition, and within it by offset, which is the order added; so each partition's records have recorded_at without a hole, and
 * one row of RUNS finds any of them by offset. The clock is read once; record i of the commit gets first_us + i, the commit itself the
 * next one, so an archiver that stands at a commit's number has all of it. */
#include "arena.h"
#include "bf_time.h"
#include "hot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What indexes and rows cost beside the record itself, to refuse a commit before it fills the map to the brim. */
#define INDEX_BYTES_PER_RECORD 256

/* ---- puts of ascending keys ---- */

int index_writer_open(struct index_writer *w, MDB_txn *txn, MDB_dbi db) {
    MDB_val key, value;
    memset(w, 0, sizeof *w);
    int rc = mdb_cursor_open(txn, db, &w->cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_cursor_get(w->cur, &key, &value, MDB_LAST);
    if (rc == MDB_NOTFOUND) {
        w->appending = true;
        return MDB_SUCCESS;
    }
    if (rc == MDB_SUCCESS && key.mv_size > sizeof w->last)
        rc = MDB_CORRUPTED;
    if (rc == MDB_SUCCESS) {
        memcpy(w->last, key.mv_data, key.mv_size);
        w->last_len = key.mv_size;
    }
    return rc;
}

bool index_writer_is_new(const struct index_writer *w, const struct hot_key *key) {
    if (w->appending)
        return true;
    size_t len = key->len < w->last_len ? key->len : w->last_len;
    int c = memcmp(key->bytes, w->last, len);
    return c > 0 || (c == 0 && key->len > w->last_len);
}

static int put(struct index_writer *w, const struct hot_key *key, MDB_val *value, unsigned where_others_are) {
    MDB_val k = key_val(key);
    w->appending = index_writer_is_new(w, key);
    return mdb_cursor_put(w->cur, &k, value, w->appending ? MDB_APPEND : where_others_are);
}

int index_writer_put(struct index_writer *w, const struct hot_key *key, const void *data, size_t len) {
    MDB_val value = {len, (void *)(uintptr_t)data};
    return put(w, key, &value, 0);
}

int index_writer_add(struct index_writer *w, const struct hot_key *key, const void *data, size_t len, MDB_val *there) {
    *there = (MDB_val){len, (void *)(uintptr_t)data};
    return put(w, key, there, MDB_NOOVERWRITE);
}

/* ---- preparing ---- */

static void count_item(struct commit *c, const struct item *item) {
    c->ascending += item->kind == ITEM_EVENT && id_ascends(&item->id);
    c->hashed += item->kind == ITEM_EVENT && !id_ascends(&item->id);
    c->linked += item->kind == ITEM_EVENT && item->linked;
    c->poisons += item->kind == ITEM_POISON;
}

static enum bf_code scratch_room(struct hot_batch *b, struct bf_err *err) {
    if (b->scratch_capacity >= b->item_count)
        return BF_OK;
    size_t capacity = b->item_capacity;
    free(b->order);
    free(b->keys);
    free(b->spare);
    b->order = malloc(capacity * sizeof *b->order);
    b->keys = malloc(capacity * sizeof *b->keys);
    b->spare = malloc(capacity * sizeof *b->spare);
    bool ok = b->order != NULL && b->keys != NULL && b->spare != NULL;
    b->scratch_capacity = ok ? capacity : 0;
    return ok ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory to commit %zu records", b->item_count);
}

int64_t hot_next_recorded_at(struct hot *h) {
    int64_t at = bf_time_now_us(), reserved = atomic_load(&h->reserved_us);
    if (at <= h->last_us)
        at = h->last_us + 1;
    if (at <= reserved)
        at = reserved + 1;
    int64_t through = atomic_load(&h->recorded_through_us);
    return at > through ? at : through + 1;
}

/* Order items by slot, stable, count them, and give each record its recorded_at. */
static enum bf_code arrange(struct commit *c, struct bf_err *err) {
    struct hot_batch *b = c->b;
    enum bf_code code = scratch_room(b, err);
    if (code != BF_OK)
        return code;
    size_t *next = malloc((b->slot_count + 1) * sizeof *next);
    if (next == NULL)
        return bf_fail(err, BF_NOMEM, 0, "no memory to commit %zu partitions", b->slot_count);
    next[0] = 0;
    for (size_t i = 0; i < b->slot_count; i++)
        next[i + 1] = next[i] + b->slots[i].items;
    for (size_t i = 0; i < b->item_count; i++)
        b->order[next[b->items[i].slot]++] = (uint32_t)i;
    free(next);
    c->first_us = c->commit_us = hot_next_recorded_at(c->h);
    for (size_t i = 0; i < b->item_count; i++) {
        struct item *item = &b->items[b->order[i]];
        item->revision = 0;
        count_item(c, item);
        if (item->kind != ITEM_GAP)
            item->recorded_at_us = c->commit_us++;
    }
    return BF_OK;
}

/* Offsets that are said again although their records are here would be found twice. */
static int has_records_from(struct hot *h, MDB_txn *txn, const struct slot *s, bool *found) {
    MDB_cursor *cur;
    struct hot_key prefix = key_pair(s->topic_no, (uint32_t)s->partition), end = key_offset(s->topic_no, s->partition, INT64_MAX);
    MDB_val key = key_val(&end), value;
    *found = false;
    int rc = mdb_cursor_open(txn, h->db[DB_RUNS], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    rc = mdb_cursor_get(cur, &key, &value, rc == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
    if (rc == MDB_SUCCESS && key_has_prefix(&key, &prefix)) {
        struct run_row run;
        memcpy(&run, value.mv_data, sizeof run);
        *found = run.last_offset >= s->base_offset;
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static enum bf_code check_slots(struct commit *c, struct bf_err *err) {
    for (size_t i = 0; i < c->b->slot_count; i++) {
        const struct slot *s = &c->b->slots[i];
        struct partition_row row;
        bool found = false;
        struct hot_key key = key_pair(s->topic_no, (uint32_t)s->partition);
        int rc = hot_get(c->txn, c->h->db[DB_PARTITIONS], &key, &row, sizeof row);
        if (rc == MDB_NOTFOUND) {
            partition_row_init(&row);
            rc = MDB_SUCCESS;
        }
        if (rc == MDB_SUCCESS && s->stated && s->base_offset < row.next_offset)
            rc = has_records_from(c->h, c->txn, s, &found);
        if (rc != MDB_SUCCESS)
            return hot_fail(err, rc, "reading a partition");
        if (!s->stated && row.next_offset != s->stored_offset)
            return bf_fail(err, BF_INVALID, 0, "%s/%d moved from %lld to %lld while the batch was gathered",
                           c->h->topics[s->topic_no]->name, s->partition, (long long)s->stored_offset, (long long)row.next_offset);
        if (found)
            return bf_fail(err, BF_INVALID, 0, "%s/%d cannot begin at %lld again: its records are here up to %lld",
                           c->h->topics[s->topic_no]->name, s->partition, (long long)s->base_offset, (long long)row.next_offset);
    }
    return BF_OK;
}

/* ---- the commit ---- */

static enum bf_code write_all(struct commit *c, struct bf_err *err) {
    static const struct {
        int (*run)(struct commit *c);
        const char *what;
    } steps[] = {
        {commit_dedupe, "ids"},  {commit_log, "the log"}, {commit_nodes, "the node index"},   {commit_times, "the time index"},
        {commit_links, "links"}, {commit_seen, "places"}, {commit_partitions, "partitions"},
    };
    enum bf_code code = check_slots(c, err);
    if (code != BF_OK)
        return code;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        int rc = steps[i].run(c);
        if (rc != MDB_SUCCESS)
            return hot_fail(err, rc, "writing %s", steps[i].what);
    }
    int rc = hot_meta_put(c->h, c->txn, "recorded_through", &c->commit_us, sizeof c->commit_us);
    return rc == MDB_SUCCESS ? BF_OK : hot_fail(err, rc, "writing the clock");
}

static void count_result(struct commit *c) {
    struct hot_commit_result *r = &c->result;
    r->recorded_through_us = c->commit_us;
    for (size_t i = 0; i < c->b->item_count; i++) {
        const struct item *item = &c->b->items[i];
        uint64_t offsets = (uint64_t)(item->end_offset - item->offset);
        switch ((enum disposition)item->disposition) {
        case DISPOSITION_STORED:
            r->stored += offsets;
            r->revisions += item->revision > 1 ? 1 : 0;
            break;
        case DISPOSITION_DUPLICATE: r->duplicates += offsets; break;
        case DISPOSITION_QUARANTINED: r->quarantined += offsets; break;
        case DISPOSITION_CONTROL: r->control += offsets; break;
        case DISPOSITION_LOST: r->lost += offsets; break;
        }
    }
}

static void tell_each(const struct hot_batch *b,
                      void (*per_event)(void *ctx, size_t index, enum disposition d, uint32_t revision, int64_t recorded_at_us), void *ctx) {
    size_t index = 0;
    for (size_t i = 0; i < b->item_count; i++) {
        const struct item *item = &b->items[i];
        if (item->kind != ITEM_GAP)
            per_event(ctx, index++, (enum disposition)item->disposition, item->revision, item->recorded_at_us);
    }
}

static void batch_clear(struct hot_batch *b) {
    arena_clear(&b->arena);
    b->item_count = b->records = b->slot_count = b->slot_last = b->bytes = 0;
}

static bool nothing_to_say(const struct hot_batch *b) {
    bool stated = false;
    for (size_t i = 0; i < b->slot_count; i++)
        stated = stated || b->slots[i].stated;
    return b->item_count == 0 && !stated;
}

static enum bf_code check_room(const struct hot_batch *b, struct bf_err *err) {
    uint64_t used = atomic_load(&b->h->bytes_used), more = b->bytes + b->records * INDEX_BYTES_PER_RECORD;
    if (b->records == 0 || used + more <= b->h->bytes_full)
        return BF_OK;
    return bf_fail(err, BF_NOMEM, MDB_MAP_FULL, "the hot store is full: %llu bytes used of %llu", (unsigned long long)used,
                   (unsigned long long)b->h->bytes_max);
}

static enum bf_code commit_batch(struct hot_batch *b, struct hot_commit_result *result,
                                 void (*per_event)(void *ctx, size_t index, enum disposition d, uint32_t revision, int64_t recorded_at_us),
                                 void *ctx, struct bf_err *err) {
    struct commit c = {.h = b->h, .b = b};
    enum bf_code code = BF_OK;
    if (nothing_to_say(b)) {
        batch_clear(b);
        *result = (struct hot_commit_result){.recorded_through_us = atomic_load(&b->h->recorded_through_us)};
        return BF_OK;
    }
    if (b->item_count > 0 && node_runs_due(b->h, b->records))
        code = hot_settle(b->h, err);
    if (code == BF_OK)
        code = check_room(b, err);
    c.runs = b->h->node_runs;
    if (code == BF_OK)
        code = arrange(&c, err);
    if (code == BF_OK)
        code = hot_write_begin(b->h, &c.txn, err);
    if (code != BF_OK)
        return code;
    code = write_all(&c, err);
    struct hot_publish publish = {.recorded_through_us = c.commit_us, .committed_us = c.commit_us};
    code = hot_write_end(b->h, c.txn, code, &publish, err);
    if (code != BF_OK)
        return code;
    b->h->last_us = c.commit_us;
    b->h->node_runs = c.runs;
    count_result(&c);
    if (per_event != NULL)
        tell_each(b, per_event, ctx);
    batch_clear(b);
    *result = c.result;
    return BF_OK;
}

enum bf_code hot_batch_commit(struct hot_batch *b, struct hot_commit_result *result,
                              void (*per_event)(void *ctx, size_t index, enum disposition d, uint32_t revision, int64_t recorded_at_us),
                              void *ctx, struct bf_err *err) {
    atomic_store(&b->h->recording, true);
    enum bf_code code = commit_batch(b, result, per_event, ctx, err);
    atomic_store(&b->h->recording, false);
    return code;
}
