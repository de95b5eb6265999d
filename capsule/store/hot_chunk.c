/* The archiver's way through the log: whole commits, found by the rows that close them.
 *
 * A chunk has one entry for each partition, so it ends before a commit that does not go on where the chunk stands: another epoch, or
 * another offset (the partition was away in between). */
#include "arena.h"
#include "hot_internal.h"

#include "bf_room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct chunk_plan {
    int64_t first_us, through_us;
    struct commit_row total;
};

static bool commit_parse(const MDB_val *value, struct commit_row *row, const char **partitions, const char **intervals) {
    if (value->mv_size < sizeof *row)
        return false;
    memcpy(row, value->mv_data, sizeof *row);
    *partitions = (const char *)value->mv_data + sizeof *row;
    *intervals = *partitions + row->partitions * sizeof(struct commit_partition);
    return value->mv_size == sizeof *row + row->partitions * sizeof(struct commit_partition) + row->intervals * sizeof(struct commit_interval);
}

/* ---- what goes into the chunk ---- */

struct seen_partition {
    uint32_t topic_no;
    int32_t partition;
    int64_t epoch, offset_after;
};

struct planner {
    struct hot_chunk *chunk; /* for its arena */
    struct seen_partition *seen;
    size_t seen_count, seen_capacity;
};

static struct seen_partition *planner_find(const struct planner *p, const struct commit_partition *part) {
    for (size_t i = 0; i < p->seen_count; i++) {
        if (p->seen[i].topic_no == part->topic_no && p->seen[i].partition == part->partition)
            return &p->seen[i];
    }
    return NULL;
}

static bool planner_fits(const struct planner *p, const char *partitions, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct commit_partition part;
        memcpy(&part, partitions + i * sizeof part, sizeof part);
        const struct seen_partition *seen = planner_find(p, &part);
        if (seen != NULL && (seen->epoch != part.epoch || seen->offset_after != part.offset_before))
            return false;
    }
    return true;
}

static bool planner_take(struct planner *p, const char *partitions, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct commit_partition part;
        memcpy(&part, partitions + i * sizeof part, sizeof part);
        struct seen_partition *seen = planner_find(p, &part);
        if (seen == NULL) {
            if (p->seen_count == p->seen_capacity) {
                size_t capacity = p->seen_capacity == 0 ? 64 : p->seen_capacity * 2;
                struct seen_partition *grown = arena_alloc(&p->chunk->arena, capacity * sizeof *grown);
                if (grown == NULL)
                    return false;
                if (p->seen_count > 0)
                    memcpy(grown, p->seen, p->seen_count * sizeof *grown);
                p->seen = grown;
                p->seen_capacity = capacity;
            }
            seen = &p->seen[p->seen_count++];
        }
        *seen = (struct seen_partition){part.topic_no, part.partition, part.epoch, part.offset_after};
    }
    return true;
}

static int plan(struct hot_chunk *chunk, MDB_cursor *cur, int64_t after_us, size_t max_events, size_t max_bytes, struct chunk_plan *out) {
    struct planner planner = {.chunk = chunk};
    struct hot_key start = key_recorded(after_us < 0 ? 0 : after_us + 1);
    MDB_val key = key_val(&start), value;
    struct commit_row *total = &out->total;
    memset(out, 0, sizeof *out);
    int rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    for (; rc == MDB_SUCCESS; rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) {
        struct commit_row row;
        const char *partitions, *intervals;
        if (!commit_parse(&value, &row, &partitions, &intervals))
            return MDB_CORRUPTED;
        bool first = out->through_us == 0;
        if (!first && (total->events + (uint64_t)row.events > max_events || total->log_bytes + row.log_bytes > max_bytes ||
                       !planner_fits(&planner, partitions, row.partitions)))
            break;
        if (!planner_take(&planner, partitions, row.partitions))
            return ENOMEM;
        if (first)
            out->first_us = row.first_us;
        out->through_us = (int64_t)bf_get_be64(key.mv_data);
        total->events += row.events;
        total->duplicates += row.duplicates;
        total->poisons += row.poisons;
        total->partitions += row.partitions;
        total->intervals += row.intervals;
        total->log_bytes += row.log_bytes;
    }
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        return rc;
    return out->through_us == 0 ? MDB_NOTFOUND : MDB_SUCCESS;
}

/* All of it in one block, which the next chunk of that size finds again. */
static bool make_room(struct hot_chunk *chunk, const struct commit_row *total) {
    size_t records = total->events + total->duplicates + total->poisons;
    if (!arena_restart(&chunk->arena, total->events * sizeof *chunk->events + total->duplicates * sizeof *chunk->duplicates +
                                          total->poisons * sizeof *chunk->poisons + total->partitions * sizeof *chunk->partitions +
                                          total->intervals * (sizeof *chunk->intervals + sizeof *chunk->redriven) + total->log_bytes +
                                          records * ARENA_ALIGNMENT + 6 * ARENA_ALIGNMENT))
        return false;
    chunk->events = arena_alloc(&chunk->arena, total->events * sizeof *chunk->events);
    chunk->duplicates = arena_alloc(&chunk->arena, total->duplicates * sizeof *chunk->duplicates);
    chunk->poisons = arena_alloc(&chunk->arena, total->poisons * sizeof *chunk->poisons);
    chunk->partitions = arena_alloc(&chunk->arena, total->partitions * sizeof *chunk->partitions);
    chunk->intervals = arena_alloc(&chunk->arena, total->intervals * sizeof *chunk->intervals);
    chunk->redriven = arena_alloc(&chunk->arena, total->intervals * sizeof *chunk->redriven);
    return chunk->events != NULL && chunk->duplicates != NULL && chunk->poisons != NULL && chunk->partitions != NULL &&
           chunk->intervals != NULL && chunk->redriven != NULL;
}

/* ---- filling it ---- */

/* Topics are compared by where their names lie first: those of the store's own chunks are the store's. */
static bool is_kind(const struct hot_chunk_kind *k, const struct event *ev) {
    return k->schema_id == ev->schema_id && (k->topic.data == ev->topic.data || bf_slice_eq(k->topic, ev->topic));
}

/* Events of a kind come in runs, so the last one is looked at first. */
static struct hot_chunk_kind *kind_find(struct hot_chunk *chunk, const struct event *ev) {
    if (chunk->kind_last < chunk->kind_count && is_kind(&chunk->kinds[chunk->kind_last], ev))
        return &chunk->kinds[chunk->kind_last];
    for (size_t i = 0; i < chunk->kind_count; i++)
        if (is_kind(&chunk->kinds[i], ev)) {
            chunk->kind_last = i;
            return &chunk->kinds[i];
        }
    return NULL;
}

static struct hot_chunk_kind *kind_new(struct hot_chunk *chunk, const struct event *ev) {
    if (!bf_room(chunk->kinds, chunk->kind_count, chunk->kind_capacity, 16))
        return NULL;
    chunk->kind_last = chunk->kind_count++;
    struct hot_chunk_kind *k = &chunk->kinds[chunk->kind_last];
    *k = (struct hot_chunk_kind){ev->topic, ev->schema_id, ev->event_time_us, ev->event_time_us};
    return k;
}

bool hot_chunk_count(struct hot_chunk *chunk, const struct event *ev) {
    struct hot_chunk_kind *k = kind_find(chunk, ev);
    if (k == NULL && (k = kind_new(chunk, ev)) == NULL)
        return false;
    k->first_time_us = ev->event_time_us < k->first_time_us ? ev->event_time_us : k->first_time_us;
    k->last_time_us = ev->event_time_us > k->last_time_us ? ev->event_time_us : k->last_time_us;
    chunk->revised += ev->revision > 1;
    return true;
}

/* A topic's name as the store keeps it: constant until the store is closed. */
static void take_partition(struct hot *h, struct hot_chunk *chunk, const struct commit_partition *part) {
    struct bf_slice topic = hot_topic_name(h, part->topic_no);
    for (size_t i = 0; i < chunk->partition_count; i++) {
        struct hot_chunk_partition *p = &chunk->partitions[i];
        if (p->topic.data == topic.data && p->partition == part->partition) {
            p->offset_after = part->offset_after;
            return;
        }
    }
    chunk->partitions[chunk->partition_count++] =
        (struct hot_chunk_partition){topic, part->partition, part->epoch, part->offset_before, part->offset_after};
}

static void take_interval(struct hot *h, struct hot_chunk *chunk, const struct commit_interval *from) {
    struct bf_slice topic = hot_topic_name(h, from->topic_no);
    if (from->flags & COMMIT_INTERVAL_REDRIVEN) {
        chunk->redriven[chunk->redriven_count++] =
            (struct interval){topic, from->partition, from->from, from->to, (enum disposition)from->disposition};
        return;
    }
    for (size_t i = chunk->interval_count; i-- > 0;) {
        struct interval *iv = &chunk->intervals[i];
        if (iv->topic.data != topic.data || iv->partition != from->partition)
            continue;
        if (iv->disposition == (enum disposition)from->disposition && iv->to == from->from) {
            iv->to = from->to;
            return;
        }
        break;
    }
    chunk->intervals[chunk->interval_count++] =
        (struct interval){topic, from->partition, from->from, from->to, (enum disposition)from->disposition};
}

static int fill_coverage(struct hot *h, MDB_cursor *cur, int64_t after_us, const struct chunk_plan *p, struct hot_chunk *chunk) {
    struct hot_key start = key_recorded(after_us < 0 ? 0 : after_us + 1);
    MDB_val key = key_val(&start), value;
    int rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    for (; rc == MDB_SUCCESS && (int64_t)bf_get_be64(key.mv_data) <= p->through_us; rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) {
        struct commit_row row;
        const char *partitions, *intervals;
        if (!commit_parse(&value, &row, &partitions, &intervals))
            return MDB_CORRUPTED;
        for (uint32_t i = 0; i < row.partitions; i++) {
            struct commit_partition part;
            memcpy(&part, partitions + i * sizeof part, sizeof part);
            take_partition(h, chunk, &part);
        }
        for (uint32_t i = 0; i < row.intervals; i++) {
            struct commit_interval interval;
            memcpy(&interval, intervals + i * sizeof interval, sizeof interval);
            take_interval(h, chunk, &interval);
        }
    }
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static int take_record(struct hot *h, struct hot_chunk *chunk, const struct commit_row *total, int64_t recorded_at_us, const MDB_val *value) {
    struct bf_slice copy;
    struct record_peek peek;
    if (!arena_copy(&chunk->arena, (struct bf_slice){value->mv_data, value->mv_size}, &copy))
        return ENOMEM;
    if (!record_peek(copy, &peek))
        return MDB_CORRUPTED;
    struct bf_slice topic = hot_topic_name(h, peek.topic_no);
    bool good = topic.data != NULL;
    if (peek.type == RECORD_EVENT && chunk->event_count < total->events) {
        struct event *ev = &chunk->events[chunk->event_count++];
        good = good && record_event_get(copy, ev);
        ev->topic = topic;
        ev->recorded_at_us = recorded_at_us;
        if (good && !hot_chunk_count(chunk, ev))
            return ENOMEM;
    } else if (peek.type == RECORD_DUPLICATE && chunk->duplicate_count < total->duplicates) {
        struct duplicate *dup = &chunk->duplicates[chunk->duplicate_count++];
        good = good && record_duplicate_get(copy, dup);
        dup->topic = topic;
        dup->recorded_at_us = recorded_at_us;
    } else if (peek.type == RECORD_POISON && chunk->poison_count < total->poisons) {
        struct poison *p = &chunk->poisons[chunk->poison_count++];
        good = good && record_poison_get(copy, p);
        p->topic = topic;
        p->recorded_at_us = recorded_at_us;
    } else {
        good = false;
    }
    return good ? MDB_SUCCESS : MDB_CORRUPTED;
}

static int fill_records(struct hot *h, MDB_txn *txn, int64_t after_us, const struct chunk_plan *p, struct hot_chunk *chunk) {
    MDB_cursor *cur;
    struct hot_key start = key_recorded(p->first_us > after_us ? p->first_us : after_us + 1);
    MDB_val key = key_val(&start), value;
    int rc = mdb_cursor_open(txn, h->db[DB_LOG], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    while (rc == MDB_SUCCESS) {
        int64_t recorded_at_us = (int64_t)bf_get_be64(key.mv_data);
        if (recorded_at_us > p->through_us)
            break;
        rc = take_record(h, chunk, &p->total, recorded_at_us, &value);
        if (rc == MDB_SUCCESS)
            rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static void chunk_clear(struct hot_chunk *chunk) {
    const struct hot_chunk kept = *chunk;
    memset(chunk, 0, sizeof *chunk);
    chunk->arena = kept.arena;
    chunk->kinds = kept.kinds;
    chunk->kind_capacity = kept.kind_capacity;
    arena_clear(&chunk->arena);
}

enum bf_code hot_chunk_read(struct hot *h, int64_t after_us, size_t max_events, size_t max_bytes, struct hot_chunk *chunk,
                            struct bf_err *err) {
    struct chunk_plan p;
    MDB_cursor *cur = NULL;
    MDB_txn *txn;
    chunk_clear(chunk);
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = mdb_cursor_open(txn, h->db[DB_COMMITS], &cur);
    if (rc == MDB_SUCCESS)
        rc = plan(chunk, cur, after_us, max_events, max_bytes, &p);
    if (rc == MDB_NOTFOUND && !arena_restart(&chunk->arena, 0)) /* no backlog: what it took is given back */
        rc = ENOMEM;
    if (rc == MDB_SUCCESS)
        rc = make_room(chunk, &p.total) ? MDB_SUCCESS : ENOMEM;
    if (rc == MDB_SUCCESS)
        rc = fill_coverage(h, cur, after_us, &p, chunk);
    if (rc == MDB_SUCCESS)
        rc = fill_records(h, txn, after_us, &p, chunk);
    if (cur != NULL)
        mdb_cursor_close(cur);
    hot_read_end(h, txn);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading the log");
    chunk->through_us = p.through_us;
    return BF_OK;
}

void hot_chunk_fini(struct hot_chunk *chunk) {
    arena_fini(&chunk->arena);
    free(chunk->kinds);
    memset(chunk, 0, sizeof *chunk);
}
