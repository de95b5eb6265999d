/* Identity: which revisions of an id are recorded, and where.
 *
 * UUIDv7 ids ascend and are rows of a tree, IDS. Of all others, first revisions, which nearly all are, have no row of their own while they are hot:
 * the map of ids (id_map.h) says where the record is, and the record says whose it is. An evicted one leaves a row in GONE, written in the order of recording, and the map goes on pointing there. Later revisions are
 * rows of IDS. So such an event costs a slot of 16 bytes, and no page of a tree is copied for it. */
#include "bf_failpoint.h"
#include "bf_log.h"
#include "bf_time.h"
#include "hot_internal.h"

#include <errno.h>
#include <string.h>

#define SAY_ROWS 65536
#define SAY_US INT64_C(5000000)

enum verdict { MATCHES, IS_ANOTHERS, IS_STALE };

static enum verdict compare(const struct hot *h, const struct id_seek *s, uint32_t topic_no, const struct bf_uuid *id) {
    if (topic_no == s->topic_no && memcmp(id, &s->id, sizeof *id) == 0)
        return MATCHES;
    return id_map_hash(h->ids, topic_no, id) == s->hash ? IS_ANOTHERS : IS_STALE;
}

/* Does some id with the same hash lie in GONE at that moment? */
static int is_anothers_in_gone(struct hot *h, MDB_txn *txn, const struct id_seek *s, int64_t at_us, bool *anothers) {
    struct hot_key prefix = key_recorded(at_us);
    MDB_cursor *cur;
    MDB_val key = key_val(&prefix), value;
    int rc = mdb_cursor_open(txn, h->db[DB_GONE], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    for (; rc == MDB_SUCCESS && key_has_prefix(&key, &prefix) && !*anothers; rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) {
        struct bf_uuid id;
        memcpy(&id, (const char *)key.mv_data + 12, sizeof id);
        *anothers = id_map_hash(h->ids, bf_get_be32((const char *)key.mv_data + 8), &id) == s->hash;
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* Is it this id's first revision that lies at that moment? What other instances recorded has their clocks: at one moment there may be a record of ours and
 * any number of theirs. */
static int look_at(struct hot *h, MDB_txn *txn, const struct id_seek *s, int64_t at_us, enum verdict *verdict, struct id_known *known) {
    struct bf_slice record;
    struct record_id of;
    struct gone_row gone;
    int rc = hot_log_get(h, txn, at_us, &record);
    *verdict = IS_STALE;
    known->revision = 1;
    known->recorded_at_us = at_us;
    if (rc == MDB_SUCCESS && record_event_id(record, &of) && of.revision == 1)
        *verdict = compare(h, s, of.topic_no, &of.id);
    if (*verdict == MATCHES)
        memcpy(known->content_hash, of.content_hash, sizeof known->content_hash);
    if (*verdict == MATCHES || (rc != MDB_SUCCESS && rc != MDB_NOTFOUND))
        return rc;
    struct hot_key key = key_gone(at_us, s->topic_no, &s->id);
    rc = hot_get(txn, h->db[DB_GONE], &key, &gone, sizeof gone);
    if (rc == MDB_SUCCESS) {
        *verdict = MATCHES;
        memcpy(known->content_hash, gone.content_hash, sizeof known->content_hash);
    }
    if (rc != MDB_NOTFOUND)
        return rc;
    bool anothers = *verdict == IS_ANOTHERS;
    rc = anothers ? MDB_SUCCESS : is_anothers_in_gone(h, txn, s, at_us, &anothers);
    *verdict = anothers ? IS_ANOTHERS : IS_STALE;
    return rc;
}

static int each_row(struct hot *h, MDB_txn *txn, const struct id_seek *s, int (*each)(void *ctx, const struct id_known *known), void *ctx) {
    struct hot_key prefix = key_id_prefix(s->topic_no, &s->id);
    MDB_cursor *cur;
    MDB_val key = key_val(&prefix), value;
    int rc = mdb_cursor_open(txn, h->db[DB_IDS], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
    while (rc == MDB_SUCCESS && key_has_prefix(&key, &prefix)) {
        struct id_row row;
        struct id_known known = {.revision = bf_get_be32((const char *)key.mv_data + prefix.len)};
        if (value.mv_size != sizeof row) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&row, value.mv_data, sizeof row);
        known.recorded_at_us = row.recorded_at_us;
        memcpy(known.content_hash, row.content_hash, sizeof known.content_hash);
        rc = each(ctx, &known);
        if (rc == MDB_SUCCESS)
            rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static int each_of(struct hot *h, MDB_txn *txn, struct id_seek *s, const int64_t *hits, int (*each)(void *ctx, const struct id_known *known),
                   void *ctx) {
    int rc = MDB_SUCCESS;
    for (size_t i = 0; i < s->hits && rc == MDB_SUCCESS; i++) {
        enum verdict verdict;
        struct id_known known;
        rc = look_at(h, txn, s, hits[i], &verdict, &known);
        if (rc == MDB_SUCCESS && verdict == MATCHES)
            rc = each(ctx, &known);
        if (verdict == IS_STALE)
            s->stale_us = hits[i];
    }
    return rc == MDB_SUCCESS && s->hits > 0 ? each_row(h, txn, s, each, ctx) : rc;
}

int ids_each(struct hot *h, MDB_txn *txn, uint32_t topic_no, const struct bf_uuid *id, int (*each)(void *ctx, const struct id_known *known),
             void *ctx) {
    int64_t hits[ID_MAP_HITS_MAX];
    struct id_seek s = {.hash = id_map_hash(h->ids, topic_no, id), .topic_no = topic_no, .id = *id};
    if (id_ascends(id))
        return each_row(h, txn, &s, each, ctx);
    s.hits = id_map_find(h->ids, s.hash, hits);
    return each_of(h, txn, &s, hits, each, ctx);
}

static int keep_newest(void *ctx, const struct id_known *known) {
    struct id_known *newest = ctx;
    if (known->revision > newest->revision)
        *newest = *known;
    return MDB_SUCCESS;
}

int ids_seek(struct hot *h, MDB_txn *txn, struct id_seek *s, struct id_known *newest) {
    int64_t hits[ID_MAP_HITS_MAX];
    newest->revision = 0;
    s->stale_us = 0;
    s->hits = 0;
    if (id_ascends(&s->id))
        return each_row(h, txn, s, keep_newest, newest);
    s->hits = id_map_find_as_writer(h->ids, s->hash, hits);
    return s->hits == 0 ? MDB_SUCCESS : each_of(h, txn, s, hits, keep_newest, newest);
}

static int point_at(struct hot *h, struct id_seek *s, int64_t recorded_at_us) {
    int error = 0;
    if (s->stale_us != 0)
        id_map_move(h->ids, s->hash, s->stale_us, recorded_at_us);
    else
        error = id_map_put(h->ids, s->hash, recorded_at_us);
    s->hits++;
    s->stale_us = 0;
    return error;
}

int ids_put(struct hot *h, MDB_txn *txn, struct id_seek *s, const struct id_known *known) {
    bool mapped = !id_ascends(&s->id);
    if (known->revision == 1 && mapped)
        return point_at(h, s, known->recorded_at_us);
    if (known->revision > 1)
        hot_topic_revised(h, s->topic_no);
    struct hot_key key = key_id(s->topic_no, &s->id, known->revision);
    struct id_row row = {.recorded_at_us = known->recorded_at_us};
    memcpy(row.content_hash, known->content_hash, sizeof row.content_hash);
    int rc = hot_put(txn, h->db[DB_IDS], &key, &row, sizeof row);
    return rc == MDB_SUCCESS && mapped && s->hits == 0 ? point_at(h, s, known->recorded_at_us) : rc; /* whoever looks for it must find something */
}

/* ---- the map, made from what LMDB has ---- */

static int put_hash(struct hot *h, uint32_t topic_no, const struct bf_uuid *id, int64_t recorded_at_us) {
    return id_map_put(h->ids, id_map_hash(h->ids, topic_no, id), recorded_at_us);
}

static int put_record(struct hot *h, const MDB_val *key, const MDB_val *value) {
    struct record_id of;
    int64_t at = (int64_t)bf_get_be64(key->mv_data);
    bool first = record_event_id((struct bf_slice){value->mv_data, value->mv_size}, &of) && of.revision == 1;
    return first && !id_ascends(&of.id) ? put_hash(h, of.topic_no, &of.id, at) : MDB_SUCCESS;
}

static int put_gone(struct hot *h, const MDB_val *key, const MDB_val *value) {
    struct bf_uuid id;
    if (key->mv_size != 28 || value->mv_size != sizeof(struct gone_row))
        return MDB_CORRUPTED;
    memcpy(&id, (const char *)key->mv_data + 12, sizeof id);
    return put_hash(h, bf_get_be32((const char *)key->mv_data + 8), &id, (int64_t)bf_get_be64(key->mv_data));
}

static int put_later(struct hot *h, const MDB_val *key, const MDB_val *value) {
    struct bf_uuid id;
    struct id_row row;
    int64_t hits[ID_MAP_HITS_MAX];
    if (key->mv_size != 24 || value->mv_size != sizeof row)
        return MDB_CORRUPTED;
    memcpy(&id, (const char *)key->mv_data + 4, sizeof id);
    memcpy(&row, value->mv_data, sizeof row);
    uint32_t topic_no = bf_get_be32(key->mv_data);
    if (id_ascends(&id))
        return MDB_SUCCESS;
    bool there = id_map_find_as_writer(h->ids, id_map_hash(h->ids, topic_no, &id), hits) > 0;
    return there ? MDB_SUCCESS : put_hash(h, topic_no, &id, row.recorded_at_us);
}

struct rebuild {
    uint64_t done, total;
    int64_t said_us;
};

/* Fifty million rows take a minute or so: a line every few seconds says how far it is. */
static void say_how_far(struct rebuild *r) {
    if (++r->done % SAY_ROWS != 0 || bf_time_monotonic_us() - r->said_us < SAY_US)
        return;
    r->said_us = bf_time_monotonic_us();
    bf_log(BF_LOG_INFO, "id_map_progress", "rows=%llu of=%llu", (unsigned long long)r->done, (unsigned long long)r->total);
}

int ids_rebuild(struct hot *h, MDB_txn *txn) {
    static const struct {
        enum hot_db db;
        int (*put)(struct hot *h, const MDB_val *key, const MDB_val *value);
    } sources[] = {{DB_LOG, put_record}, {DB_GONE, put_gone}, {DB_IDS, put_later}};
    struct rebuild r = {.said_us = bf_time_monotonic_us()};
    int rc = MDB_SUCCESS;
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        MDB_stat stat;
        r.total += mdb_stat(txn, h->db[sources[i].db], &stat) == MDB_SUCCESS ? stat.ms_entries : 0;
    }
    for (size_t i = 0; i < sizeof sources / sizeof sources[0] && rc == MDB_SUCCESS; i++) {
        MDB_cursor *cur;
        MDB_val key, value;
        if ((rc = mdb_cursor_open(txn, h->db[sources[i].db], &cur)) != MDB_SUCCESS)
            return rc;
        while ((rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
            bf_failpoint("ids.in-rebuild");
            if ((rc = key.mv_size < 8 ? MDB_CORRUPTED : sources[i].put(h, &key, &value)) != MDB_SUCCESS)
                break;
            say_how_far(&r);
        }
        mdb_cursor_close(cur);
        rc = rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    }
    return rc;
}
