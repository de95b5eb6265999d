/* The thin layer over LMDB: what its codes mean to callers, rows, and transactions.
 *
 * Read transactions are kept reset in a pool: renewing one costs no system call and no slot in the reader table. The writer's part of
 * struct hot is published only after mdb_txn_commit() has said yes. */
#include "hot_internal.h"

#include "bf_cond.h"
#include "bf_failpoint.h"
#include "bf_loop.h"
#include "bf_room.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    int rc;
    enum bf_code code;
} codes[] = {
    {MDB_SUCCESS, BF_OK},
    {MDB_NOTFOUND, BF_NOT_FOUND},
    {MDB_KEYEXIST, BF_EXISTS},
    {MDB_MAP_FULL, BF_NOMEM},
    {MDB_TXN_FULL, BF_NOMEM},
    {ENOMEM, BF_NOMEM},
    {MDB_READERS_FULL, BF_AGAIN},
};

enum bf_code hot_code_of(int rc) {
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i].rc == rc)
            return codes[i].code;
    }
    return BF_BROKEN;
}

enum bf_code hot_fail_at(struct bf_err *err, int rc, const char *file, int line, const char *fmt, ...) {
    char what[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return bf_err_set(err, hot_code_of(rc), rc, file, line, "hot store: %s: %s", what, mdb_strerror(rc));
}

/* ---- rows ---- */

int hot_put(MDB_txn *txn, MDB_dbi db, const struct hot_key *key, const void *data, size_t len) {
    MDB_val k = key_val(key), v = {len, (void *)(uintptr_t)data};
    return mdb_put(txn, db, &k, &v, 0);
}

int hot_del(MDB_txn *txn, MDB_dbi db, const struct hot_key *key) {
    MDB_val k = key_val(key);
    int rc = mdb_del(txn, db, &k, NULL);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

int hot_get(MDB_txn *txn, MDB_dbi db, const struct hot_key *key, void *row, size_t len) {
    MDB_val k = key_val(key), v;
    int rc = mdb_get(txn, db, &k, &v);
    if (rc != MDB_SUCCESS)
        return rc;
    if (v.mv_size != len)
        return MDB_CORRUPTED;
    if (len > 0)
        memcpy(row, v.mv_data, len);
    return MDB_SUCCESS;
}

int hot_log_get(struct hot *h, MDB_txn *txn, int64_t recorded_at_us, struct bf_slice *record) {
    struct hot_key key = key_recorded(recorded_at_us);
    MDB_val k = key_val(&key), v;
    int rc = mdb_get(txn, h->db[DB_LOG], &k, &v);
    if (rc == MDB_SUCCESS)
        *record = (struct bf_slice){v.mv_data, v.mv_size};
    return rc;
}

int hot_meta_put(struct hot *h, MDB_txn *txn, const char *name, const void *data, size_t len) {
    struct hot_key key = {.len = 0};
    key_raw(&key, name, strlen(name));
    return hot_put(txn, h->db[DB_META], &key, data, len);
}

int hot_meta_get_i64(struct hot *h, MDB_txn *txn, const char *name, int64_t *value) {
    struct hot_key key = {.len = 0};
    key_raw(&key, name, strlen(name));
    int rc = hot_get(txn, h->db[DB_META], &key, value, sizeof *value);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* ---- transactions ---- */

enum bf_code hot_read_begin(struct hot *h, MDB_txn **txn, struct bf_err *err) {
    MDB_txn *taken = NULL;
    pthread_mutex_lock(&h->pool_lock);
    if (h->idle_count > 0)
        taken = h->idle[--h->idle_count];
    pthread_mutex_unlock(&h->pool_lock);
    int rc = taken != NULL ? mdb_txn_renew(taken) : mdb_txn_begin(h->env, NULL, MDB_RDONLY, &taken);
    if (rc != MDB_SUCCESS) {
        if (taken != NULL)
            mdb_txn_abort(taken);
        return hot_fail(err, rc, "beginning to read");
    }
    *txn = taken;
    return BF_OK;
}

static bool pool_give(struct hot *h, MDB_txn *txn) {
    if (!bf_room(h->idle, h->idle_count, h->idle_capacity, 16))
        return false;
    h->idle[h->idle_count++] = txn;
    return true;
}

void hot_read_end(struct hot *h, MDB_txn *txn) {
    if (txn == NULL)
        return;
    mdb_txn_reset(txn);
    pthread_mutex_lock(&h->pool_lock);
    bool kept = pool_give(h, txn);
    pthread_mutex_unlock(&h->pool_lock);
    if (!kept)
        mdb_txn_abort(txn);
}

enum bf_code hot_write_begin(struct hot *h, MDB_txn **txn, struct bf_err *err) {
    int rc = mdb_txn_begin(h->env, NULL, 0, txn);
    return rc == MDB_SUCCESS ? BF_OK : hot_fail(err, rc, "beginning to write");
}

/* LMDB keeps freed pages as a tree of its own, database 0: each entry begins with the number of pages it lists. */
int hot_bytes_used(struct hot *h, MDB_txn *txn, uint64_t *bytes) {
    MDB_cursor *cur = NULL;
    MDB_envinfo info;
    MDB_val key, value;
    uint64_t free_pages = 0;
    int rc = mdb_env_info(h->env, &info);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_open(txn, 0, &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    while ((rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        size_t pages;
        memcpy(&pages, value.mv_data, sizeof pages);
        free_pages += pages;
    }
    mdb_cursor_close(cur);
    uint64_t pages = (uint64_t)info.me_last_pgno + 1;
    *bytes = (pages > free_pages ? pages - free_pages : 0) * h->page_bytes;
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* Figures for people and for the refusal of commits; when they cannot be had now, the old ones stay. */
static void measure(struct hot *h) {
    struct bf_err ignored;
    MDB_txn *txn;
    MDB_stat stat;
    uint64_t bytes;
    if (hot_read_begin(h, &txn, &ignored) != BF_OK)
        return;
    if (hot_bytes_used(h, txn, &bytes) == MDB_SUCCESS)
        atomic_store(&h->bytes_used, bytes);
    if (mdb_stat(txn, h->db[DB_LOG], &stat) == MDB_SUCCESS)
        atomic_store(&h->log_records, stat.ms_entries);
    hot_read_end(h, txn);
}

static void raise_to(atomic_int_least64_t *at, int64_t value) {
    if (value > atomic_load(at))
        atomic_store(at, value);
}

static void publish_changes(struct hot *h, const struct hot_publish *publish) {
    raise_to(&h->recorded_through_us, publish->recorded_through_us);
    raise_to(&h->hot_from_us, publish->hot_from_us);
    measure(h);
    if (publish->committed_us == 0)
        return;
    pthread_mutex_lock(&h->wait_lock);
    raise_to(&h->committed_us, publish->committed_us);
    pthread_cond_broadcast(&h->newer);
    pthread_mutex_unlock(&h->wait_lock);
}

enum bf_code hot_write_end(struct hot *h, MDB_txn *txn, enum bf_code code, const struct hot_publish *publish, struct bf_err *err) {
    struct hot_note written[HOT_NOTES_MAX];
    size_t count = 0;
    int rc = MDB_SUCCESS;
    if (code == BF_OK && (rc = hot_topics_persist(h, txn)) == MDB_SUCCESS)
        rc = hot_notes_write(h, txn, written, &count);
    int64_t dated_us = atomic_load(&h->dated_through_us);
    if (code == BF_OK && rc == MDB_SUCCESS && dated_us != h->dated_saved_us)
        rc = hot_meta_put(h, txn, "dated_through", &dated_us, sizeof dated_us);
    if (code != BF_OK || rc != MDB_SUCCESS) {
        node_cache_clear(h->nodes); /* it may name nodes that are now not there */
        mdb_txn_abort(txn);
    } else {
        bf_failpoint("hot.before-commit");
        rc = mdb_txn_commit(txn);
        bf_failpoint("hot.after-commit");
    }
    if (code != BF_OK)
        return code;
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "committing");
    hot_topics_persisted(h);
    h->dated_saved_us = dated_us;
    hot_notes_written(h, written, count);
    publish_changes(h, publish);
    return BF_OK;
}

bool hot_wait_newer(struct hot *h, int64_t after_us, int timeout_ms) {
    if (atomic_load(&h->committed_us) > after_us || bf_loop_refuses())
        return atomic_load(&h->committed_us) > after_us;
    struct timespec until = bf_cond_in_ms(timeout_ms);
    bool in_time = true;
    pthread_mutex_lock(&h->wait_lock);
    while (atomic_load(&h->committed_us) <= after_us && in_time)
        in_time = bf_cond_wait_until(&h->newer, &h->wait_lock, &until);
    pthread_mutex_unlock(&h->wait_lock);
    return atomic_load(&h->committed_us) > after_us;
}
