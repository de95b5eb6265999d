/* Eviction: the oldest records leave the log and all that points at them; ids, nodes, ledger and offsets stay. Each step is a transaction of
 * its own and bounded, so that it also works in the room that a full map leaves; when even that is too little, the step is made smaller. */
#include "hot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEP_RECORDS 16384

struct eviction {
    struct forget f;
    int64_t through_us;
    size_t max, count;
    int64_t last_us;    /* the newest record that goes */
    bool any_redriven;  /* then runs of a partition need not be old first */
    bool all;           /* nothing at or below through_us is left */
    struct hot_key *of; /* (topic, partition) of what goes */
    size_t of_count, of_capacity;
};

static bool note_partition(struct eviction *e, const struct record_peek *peek) {
    struct hot_key key = key_pair(peek->topic_no, (uint32_t)peek->partition);
    for (size_t i = e->of_count; i-- > 0;) {
        if (memcmp(e->of[i].bytes, key.bytes, key.len) == 0)
            return true;
    }
    if (e->of_count == e->of_capacity) {
        size_t capacity = e->of_capacity == 0 ? 32 : e->of_capacity * 2;
        struct hot_key *of = realloc(e->of, capacity * sizeof *of);
        if (of == NULL)
            return false;
        e->of = of;
        e->of_capacity = capacity;
    }
    e->of[e->of_count++] = key;
    return true;
}

static int gather(struct eviction *e) {
    MDB_cursor *cur;
    MDB_val key, value;
    int rc = mdb_cursor_open(e->f.txn, e->f.h->db[DB_LOG], &cur);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_get(cur, &key, &value, MDB_FIRST);
    for (; rc == MDB_SUCCESS && e->count < e->max; rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) {
        int64_t at = (int64_t)bf_get_be64(key.mv_data);
        struct bf_slice record = {value.mv_data, value.mv_size};
        struct record_peek peek;
        if (at > e->through_us)
            break;
        if (!record_peek(record, &peek))
            return MDB_CORRUPTED;
        if (!note_partition(e, &peek))
            return ENOMEM;
        if ((rc = forget_record(&e->f, at, record, false)) != MDB_SUCCESS)
            return rc;
        e->last_us = at;
        e->count++;
    }
    e->all = rc == MDB_NOTFOUND || e->count < e->max;
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* Runs whose last record is gone; a partition's runs are old first. */
static int evict_runs(struct eviction *e, const struct hot_key *prefix) {
    MDB_cursor *cur;
    MDB_val key = key_val(prefix), value;
    int rc = mdb_cursor_open(e->f.txn, e->f.h->db[DB_RUNS], &cur);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    while (rc == MDB_SUCCESS && key_has_prefix(&key, prefix)) {
        struct run_row run;
        memcpy(&run, value.mv_data, sizeof run);
        bool stays = run.last_us > e->last_us;
        if (stays && !e->any_redriven)
            break;
        rc = stays ? MDB_SUCCESS : mdb_cursor_del(cur, 0);
        if (rc == MDB_SUCCESS)
            rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* A commit's row comes right after its last record. */
static int evict_commits(struct eviction *e) {
    MDB_cursor *cur;
    MDB_val key, value;
    int64_t through = e->all ? e->through_us : e->last_us;
    int rc = mdb_cursor_open(e->f.txn, e->f.h->db[DB_COMMITS], &cur);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_get(cur, &key, &value, MDB_FIRST);
    while (rc == MDB_SUCCESS && (int64_t)bf_get_be64(key.mv_data) <= through) {
        rc = mdb_cursor_del(cur, 0);
        if (rc == MDB_SUCCESS)
            rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT);
    }
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static int evict_all(struct eviction *e) {
    int64_t hot_from = 0;
    int rc = gather(e);
    if (rc == MDB_SUCCESS)
        rc = forget_apply(&e->f);
    for (size_t i = 0; i < e->of_count && rc == MDB_SUCCESS; i++)
        rc = evict_runs(e, &e->of[i]);
    if (rc == MDB_SUCCESS)
        rc = evict_commits(e);
    if (rc == MDB_SUCCESS)
        rc = hot_meta_get_i64(e->f.h, e->f.txn, "hot_from", &hot_from);
    if (rc != MDB_SUCCESS || e->count == 0 || e->last_us < hot_from)
        return rc;
    hot_from = e->last_us + 1;
    return hot_meta_put(e->f.h, e->f.txn, "hot_from", &hot_from, sizeof hot_from);
}

static enum bf_code evict_step(struct hot *h, int64_t through_us, size_t max, size_t *count, struct bf_err *err) {
    struct eviction e = {.f = {.h = h}, .through_us = through_us, .max = max, .last_us = -1,
                         .any_redriven = hot_note_get(h, HOT_NOTE_REDRIVEN, 0) != 0};
    enum bf_code code = hot_write_begin(h, &e.f.txn, err);
    if (code != BF_OK)
        return code;
    int rc = evict_all(&e);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "evicting");
    struct hot_publish publish = {.hot_from_us = e.count > 0 ? e.last_us + 1 : 0};
    code = hot_write_end(h, e.f.txn, code, &publish, err);
    forget_fini(&e.f);
    free(e.of);
    if (code == BF_OK)
        *count = e.count;
    return code;
}

enum bf_code hot_evict(struct hot *h, int64_t through_us, size_t max, size_t *evicted, struct bf_err *err) {
    size_t total = 0, step = STEP_RECORDS;
    while (total < max) {
        size_t count = 0, wanted = max - total < step ? max - total : step;
        enum bf_code code = evict_step(h, through_us, wanted, &count, err);
        if (code == BF_NOMEM && err->native == MDB_MAP_FULL && wanted > 1) {
            step = wanted / 8 > 0 ? wanted / 8 : 1;
            continue;
        }
        if (code != BF_OK)
            return code;
        total += count;
        if (count < wanted)
            break;
    }
    *evicted = total;
    return BF_OK;
}
