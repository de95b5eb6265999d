/* What the archive knows and this store does not: ids and nodes, after a rebuild or when a partition is taken over. */
#include "bf_hash.h"
#include "hot_internal.h"

#include <string.h>

static int learn_node(struct hot *h, MDB_txn *txn, uint32_t topic_no, const struct hot_known_id *known) {
    struct node_topic_row row;
    uint32_t node_no;
    int64_t t = known->event_time_us;
    int rc = hot_node_intern(h, txn, known->node_id, bf_hash(known->node_id.data, known->node_id.len), &node_no);
    if (rc != MDB_SUCCESS)
        return rc;
    struct hot_key key = key_pair(node_no, topic_no);
    rc = hot_get(txn, h->db[DB_NODE_TOPICS], &key, &row, sizeof row);
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        return rc;
    node_topic_count(h, &row, rc == MDB_SUCCESS, 1, t, t, known->recorded_at_us);
    row.archived_last_us = t > row.archived_last_us ? t : row.archived_last_us;
    return hot_put(txn, h->db[DB_NODE_TOPICS], &key, &row, sizeof row);
}

struct lookup {
    uint32_t revision;
    bool found;
};

static int note_revision(void *ctx, const struct id_known *known) {
    struct lookup *l = ctx;
    l->found = l->found || known->revision == l->revision;
    return MDB_SUCCESS;
}

static int put_gone(struct hot *h, MDB_txn *txn, uint32_t topic_no, const struct hot_known_id *known) {
    struct hot_key key = key_gone(known->recorded_at_us, topic_no, &known->id);
    struct gone_row gone;
    memcpy(gone.content_hash, known->content_hash, sizeof gone.content_hash);
    return hot_put(txn, h->db[DB_GONE], &key, &gone, sizeof gone);
}

/* An id that is there already was counted then. */
static int learn_id(struct hot *h, MDB_txn *txn, uint32_t topic_no, const struct hot_known_id *known) {
    struct id_seek s = {.hash = id_map_hash(h->ids, topic_no, &known->id), .topic_no = topic_no, .id = known->id};
    struct id_known newest, fresh = {known->revision, known->recorded_at_us, {0}};
    struct lookup l = {.revision = known->revision};
    int rc = ids_seek(h, txn, &s, &newest);
    if (rc == MDB_SUCCESS && newest.revision > 0)
        rc = ids_each(h, txn, topic_no, &known->id, note_revision, &l);
    if (rc != MDB_SUCCESS || l.found)
        return rc;
    memcpy(fresh.content_hash, known->content_hash, sizeof fresh.content_hash);
    rc = ids_put(h, txn, &s, &fresh);
    if (rc == MDB_SUCCESS && known->revision == 1 && !id_ascends(&known->id))
        rc = put_gone(h, txn, topic_no, known);
    return rc == MDB_SUCCESS ? learn_node(h, txn, topic_no, known) : rc;
}

enum bf_code hot_learn_ids(struct hot *h, const struct hot_known_id *ids, size_t count, struct bf_err *err) {
    MDB_txn *txn;
    int64_t newest = 0;
    enum bf_code code = hot_write_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    for (size_t i = 0; i < count && code == BF_OK; i++) {
        uint32_t topic_no;
        if (ids[i].revision == 0 || ids[i].node_id.len == 0 || ids[i].node_id.len > HOT_NODE_MAX)
            code = bf_fail(err, BF_INVALID, 0, "a known id needs a revision and a node");
        if (code == BF_OK)
            code = hot_topic_intern(h, ids[i].topic, &topic_no, err);
        int rc = code == BF_OK ? learn_id(h, txn, topic_no, &ids[i]) : MDB_SUCCESS;
        if (rc != MDB_SUCCESS)
            code = hot_fail(err, rc, "learning ids");
        newest = ids[i].recorded_at_us > newest ? ids[i].recorded_at_us : newest;
    }
    code = hot_write_end(h, txn, code, &(struct hot_publish){0}, err);
    if (code == BF_OK)
        hot_reserve_clock(h, newest);
    return code;
}

enum bf_code hot_set_hot_from(struct hot *h, int64_t hot_from_us, struct bf_err *err) {
    MDB_txn *txn;
    int64_t was = 0, through = 0;
    enum bf_code code = hot_write_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = hot_meta_get_i64(h, txn, "hot_from", &was);
    if (rc == MDB_SUCCESS)
        rc = hot_meta_get_i64(h, txn, "recorded_through", &through);
    struct hot_publish publish = {.hot_from_us = hot_from_us > was ? hot_from_us : was,
                                  .recorded_through_us = hot_from_us - 1 > through ? hot_from_us - 1 : through};
    if (rc == MDB_SUCCESS)
        rc = hot_meta_put(h, txn, "hot_from", &publish.hot_from_us, sizeof publish.hot_from_us);
    if (rc == MDB_SUCCESS)
        rc = hot_meta_put(h, txn, "recorded_through", &publish.recorded_through_us, sizeof publish.recorded_through_us);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "noting where hot begins");
    code = hot_write_end(h, txn, code, &publish, err);
    if (code == BF_OK)
        hot_reserve_clock(h, hot_from_us);
    return code;
}
