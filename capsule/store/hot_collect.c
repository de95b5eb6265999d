/* The collecting half of hot_fetch, and the walk along a partition's offsets.
 *
 * A collection holds at most twice what is asked for: when it is full it is sorted and its worse half dropped, so memory is bounded by the
 * page and not by the number of candidates. */
#include "hot_fetch.h"

#include "bf_room.h"

#include <stdlib.h>
#include <string.h>

struct best {
    struct event_pos *places;
    size_t count, capacity, wanted; /* wanted: one more than the limit, to know whether there is more */
    enum event_order order;
    bool descending;
};

static int compare_places(const void *a, const void *b, void *context) {
    const struct best *best = context;
    int c = event_pos_compare(a, b, best->order);
    return best->descending ? -c : c;
}

static void best_trim(struct best *best) {
    if (best->count > 1)
        qsort_r(best->places, best->count, sizeof *best->places, compare_places, best);
    if (best->count > best->wanted)
        best->count = best->wanted;
}

static bool best_add(struct best *best, const struct event_pos *pos) {
    if (best->count == best->capacity && best->count / 2 >= best->wanted)
        best_trim(best);
    if (!bf_room(best->places, best->count, best->capacity, 64))
        return false;
    best->places[best->count++] = *pos;
    return true;
}

static void best_init(struct best *best, const struct fetch *f) {
    *best = (struct best){.wanted = f->limit == SIZE_MAX ? SIZE_MAX : f->limit + 1, .order = f->q->order, .descending = f->q->descending};
}

/* Look at one candidate and remember its place when it fits. */
static enum bf_code best_offer(struct best *best, struct fetch *f, int64_t recorded_at_us, struct bf_err *err) {
    struct event ev;
    if (recorded_at_us < f->recorded_from_us || recorded_at_us > f->recorded_through_us)
        return BF_OK;
    enum bf_code code = fetch_view(f, recorded_at_us, &ev, err);
    if (code != BF_OK || !event_query_matches(f->q, &ev))
        return code;
    struct event_pos pos = event_pos_of(&ev, f->q->order);
    pos.recorded_at_us = recorded_at_us;
    int c = f->after == NULL ? 0 : event_pos_compare(&pos, f->after, f->q->order);
    if (f->after != NULL && (f->q->descending ? c >= 0 : c <= 0))
        return BF_OK;
    return best_add(best, &pos) ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for %zu candidates", best->count);
}

/* Hand the best over in their order and free. */
static enum bf_code best_finish(struct best *best, struct fetch *f, enum bf_code code, struct bf_err *err) {
    if (code == BF_OK)
        best_trim(best);
    for (size_t i = 0; i < best->count && code == BF_OK; i++)
        code = fetch_offer(f, best->places[i].recorded_at_us, err);
    free(best->places);
    return code;
}

enum bf_code fetch_collect_sources(struct fetch *f, struct source *sources, size_t count, struct bf_err *err) {
    struct best best;
    enum bf_code code = BF_OK;
    best_init(&best, f);
    for (size_t i = 0; i < count && code == BF_OK; i++) {
        while (!sources[i].done && (code = look(&f->looked, err)) == BF_OK) {
            code = best_offer(&best, f, sources[i].recorded_at_us, err);
            int rc = code == BF_OK ? source_next(&sources[i]) : MDB_SUCCESS;
            if (rc != MDB_SUCCESS)
                code = hot_fail(err, rc, "walking an index");
        }
    }
    return best_finish(&best, f, code, err);
}

struct offer {
    struct best *best;
    struct fetch *f;
    enum bf_code code;
    struct bf_err *err;
};

/* What was learned from the archive, or is evicted, is not in the log. */
static int offer_revision(void *ctx, const struct id_known *known) {
    struct offer *o = ctx;
    struct bf_slice record;
    int rc = hot_log_get(o->f->h, o->f->txn, known->recorded_at_us, &record);
    if (rc == MDB_SUCCESS && (o->code = look(&o->f->looked, o->err)) == BF_OK)
        o->code = best_offer(o->best, o->f, known->recorded_at_us, o->err);
    return rc == MDB_NOTFOUND || o->code != BF_OK ? MDB_SUCCESS : rc;
}

enum bf_code fetch_id(struct fetch *f, struct bf_err *err) {
    struct best best;
    struct offer o = {.best = &best, .f = f, .code = BF_OK, .err = err};
    best_init(&best, f);
    for (uint32_t no = 0; no < f->topics.count && o.code == BF_OK; no++) {
        int rc = topic_filter_allows(&f->topics, no) ? ids_each(f->h, f->txn, no, &f->q->id, offer_revision, &o) : MDB_SUCCESS;
        if (rc != MDB_SUCCESS)
            o.code = hot_fail(err, rc, "reading ids");
    }
    return best_finish(&best, f, o.code, err);
}

/* ---- offsets ---- */

struct offset_walk {
    struct fetch *f;
    struct best *best; /* NULL: stream */
    int64_t low, high; /* inclusive */
};

static int offset_at(struct fetch *f, int64_t recorded_at_us, int64_t *offset, bool *is_event) {
    struct bf_slice record;
    struct record_peek peek;
    int rc = hot_log_get(f->h, f->txn, recorded_at_us, &record);
    if (rc != MDB_SUCCESS)
        return rc;
    if (!record_peek(record, &peek))
        return MDB_CORRUPTED;
    *offset = peek.offset;
    *is_event = peek.type == RECORD_EVENT;
    return MDB_SUCCESS;
}

/* The first record of a run with an offset of at least `offset` (its end when there is none). Within a run recorded_at has no hole and
 * offsets ascend; what is gone is gone from the front. */
static int run_find(struct fetch *f, const struct run_row *run, int64_t offset, int64_t *at_us) {
    int64_t low = run->first_us, high = run->last_us + 1, found;
    bool is_event;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int rc = offset_at(f, middle, &found, &is_event);
        if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
            return rc;
        if (rc == MDB_NOTFOUND || found < offset)
            low = middle + 1;
        else
            high = middle;
    }
    *at_us = low;
    return MDB_SUCCESS;
}

static enum bf_code walk_run(struct offset_walk *w, const struct run_row *run, struct bf_err *err) {
    struct fetch *f = w->f;
    bool down = w->best == NULL && f->q->descending;
    int64_t begin = 0, end = 0, offset = 0;
    int rc = run_find(f, run, w->low, &begin);
    if (rc == MDB_SUCCESS)
        rc = w->high == INT64_MAX ? (end = run->last_us + 1, MDB_SUCCESS) : run_find(f, run, w->high + 1, &end);
    enum bf_code code = BF_OK;
    for (int64_t i = 0; rc == MDB_SUCCESS && code == BF_OK && i < end - begin && !f->more; i++) {
        int64_t at = down ? end - 1 - i : begin + i;
        bool is_event = false;
        rc = offset_at(f, at, &offset, &is_event);
        if (rc == MDB_SUCCESS && is_event)
            code = w->best != NULL ? best_offer(w->best, f, at, err) : fetch_offer(f, at, err);
    }
    return rc == MDB_SUCCESS ? code : hot_fail(err, rc, "walking a partition");
}

/* Put the cursor on the run where the walk begins: up, the one that holds `low` or the next; down, the last that begins by `high`. */
static int first_run(MDB_cursor *cur, const struct offset_walk *w, bool down, uint32_t topic_no, MDB_val *key, MDB_val *value) {
    const struct event_query *q = w->f->q;
    struct hot_key prefix = key_pair(topic_no, (uint32_t)q->partition), start = key_offset(topic_no, q->partition, down ? w->high : w->low);
    *key = key_val(&start);
    int rc = mdb_cursor_get(cur, key, value, MDB_SET_RANGE);
    if (rc == MDB_SUCCESS && key->mv_size == start.len && memcmp(key->mv_data, start.bytes, start.len) == 0)
        return MDB_SUCCESS;
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        return rc;
    rc = mdb_cursor_get(cur, key, value, rc == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
    if (down || (rc == MDB_SUCCESS && key_has_prefix(key, &prefix)))
        return rc;
    return mdb_cursor_get(cur, key, value, rc == MDB_SUCCESS ? MDB_NEXT : MDB_FIRST);
}

static enum bf_code walk_offsets(struct offset_walk *w, uint32_t topic_no, struct bf_err *err) {
    const struct event_query *q = w->f->q;
    struct hot_key prefix = key_pair(topic_no, (uint32_t)q->partition);
    bool down = w->best == NULL && q->descending;
    MDB_cursor *cur;
    MDB_val key, value;
    enum bf_code code = BF_OK;
    int rc = mdb_cursor_open(w->f->txn, w->f->h->db[DB_RUNS], &cur);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading runs");
    rc = first_run(cur, w, down, topic_no, &key, &value);
    while (rc == MDB_SUCCESS && code == BF_OK && !w->f->more && key_has_prefix(&key, &prefix)) {
        struct run_row run;
        int64_t first = (int64_t)bf_get_be64((const char *)key.mv_data + prefix.len);
        memcpy(&run, value.mv_data, sizeof run);
        if (down ? run.last_offset < w->low : first > w->high)
            break;
        code = walk_run(w, &run, err);
        rc = mdb_cursor_get(cur, &key, &value, down ? MDB_PREV : MDB_NEXT);
    }
    mdb_cursor_close(cur);
    return rc == MDB_SUCCESS || rc == MDB_NOTFOUND || code != BF_OK ? code : hot_fail(err, rc, "reading runs");
}

enum bf_code fetch_offsets(struct fetch *f, struct bf_err *err) {
    const struct event_query *q = f->q;
    bool streaming = q->order == ORDER_OFFSET;
    struct best best;
    struct offset_walk w = {.f = f, .low = q->offset_from < 0 ? 0 : q->offset_from, .high = INT64_MAX};
    uint32_t topic_no;
    if (q->offset_to != INT64_MAX)
        w.high = q->offset_to <= 0 ? -1 : q->offset_to - 1;
    if (streaming && f->after != NULL && !q->descending && f->after->primary >= w.low)
        w.low = f->after->primary == INT64_MAX ? INT64_MAX : f->after->primary + 1;
    if (streaming && f->after != NULL && q->descending && f->after->primary <= w.high)
        w.high = f->after->primary - 1;
    if (w.low > w.high || !hot_topic_find(f->h, q->topics[0], &topic_no))
        return BF_OK;
    if (streaming)
        return walk_offsets(&w, topic_no, err);
    best_init(&best, f);
    w.best = &best;
    return best_finish(&best, f, walk_offsets(&w, topic_no, err), err);
}
