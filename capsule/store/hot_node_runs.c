/* The node index is written in two steps, because events of one commit belong to thousands of nodes, and each node's end is a page of its own: put there at
 * once, nearly every event costs a copied page. A large commit's entries go, sorted, to the end of NODE_RUNS instead; sixteen such runs are put into BY_NODE
 * together, so that a page is copied once for all of them. Small commits write BY_NODE directly.
 *
 * A reader looks into BY_NODE and into those runs that the node's row names. Merging takes several transactions, node by node: below merged_to BY_NODE has
 * everything and the runs are not asked; the last transaction empties NODE_RUNS. Nothing else is written to the runs until then, so a merge that was
 * interrupted is just begun again at merged_to. */
#include "bf_failpoint.h"
#include "hot_internal.h"

#include <string.h>

#define ENTRIES_MAX 262144 /* in all runs: what one merge is to take at most */

static const char name[] = "node_runs";

static uint64_t pair_of(uint32_t node_no, uint32_t topic_no) {
    return (uint64_t)node_no << 32 | topic_no;
}

static struct hot_key key_in_run(uint32_t run, const struct sort_key *k) {
    struct hot_key key = {.len = 0};
    key_u32(&key, run);
    key_u64(&key, k->w[0]);
    key_u64(&key, k->w[1]);
    key_u64(&key, k->w[2]);
    return key;
}

/* ---- reading ---- */

int node_runs_get(struct hot *h, MDB_txn *txn, struct node_runs *runs) {
    struct hot_key key = {.len = 0};
    key_raw(&key, name, strlen(name));
    int rc = hot_get(txn, h->db[DB_META], &key, runs, sizeof *runs);
    if (rc == MDB_NOTFOUND)
        *runs = (struct node_runs){0};
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

uint32_t node_runs_of(const struct node_runs *runs, const struct node_topic_row *row, uint32_t node_no, uint32_t topic_no) {
    return row->runs_generation == runs->generation && pair_of(node_no, topic_no) >= runs->merged_to ? row->runs : 0;
}

struct hot_key node_run_prefix(uint32_t run, uint32_t node_no, uint32_t topic_no) {
    struct hot_key key = {.len = 0};
    key_u32(&key, run);
    key_u32(&key, node_no);
    key_u32(&key, topic_no);
    return key;
}

/* ---- writing, inside a commit ---- */

bool node_runs_wanted(const struct hot *h, size_t entries) {
    return h->node_run_min > 0 && entries >= h->node_run_min;
}

static int put_state(struct hot *h, MDB_txn *txn, const struct node_runs *runs) {
    return hot_meta_put(h, txn, name, runs, sizeof *runs);
}

int node_run_write(struct commit *c, const struct sort_key *keys, size_t n) {
    struct index_writer w;
    int rc = index_writer_open(&w, c->txn, c->h->db[DB_NODE_RUNS]);
    for (size_t i = 0; i < n && rc == MDB_SUCCESS; i++) {
        struct hot_key key = key_in_run(c->runs.count, &keys[i]);
        rc = index_writer_put(&w, &key, NULL, 0);
    }
    if (rc != MDB_SUCCESS)
        return rc;
    c->runs.count++;
    c->runs.entries += n;
    return put_state(c->h, c->txn, &c->runs);
}

void node_run_mark(const struct node_runs *runs, uint32_t run, struct node_topic_row *row) {
    if (row->runs_generation != runs->generation)
        row->runs = 0;
    row->runs_generation = runs->generation;
    row->runs |= UINT32_C(1) << run;
}

int node_run_delete(struct hot *h, MDB_txn *txn, const struct hot_key *by_node) {
    struct node_runs runs;
    int rc = node_runs_get(h, txn, &runs);
    for (uint32_t i = 0; i < runs.count && rc == MDB_SUCCESS; i++) {
        struct hot_key key = {.len = 0};
        key_u32(&key, i);
        key_raw(&key, by_node->bytes, by_node->len);
        MDB_val k = key_val(&key);
        if ((rc = mdb_del(txn, h->db[DB_NODE_RUNS], &k, NULL)) == MDB_SUCCESS)
            return MDB_SUCCESS;
        rc = rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    }
    return rc == MDB_SUCCESS ? MDB_NOTFOUND : rc;
}

/* ---- merging ---- */

/* Where a run stands; its key lies in LMDB's page, which stays as it is until the runs are dropped. */
struct run_head {
    MDB_cursor *cur;
    uint32_t run;
    uint64_t w[3]; /* node and topic, event time, recorded_at */
    const char *entry; /* the key of BY_NODE */
};
struct merge {
    struct run_head heads[NODE_RUNS_MAX]; /* a binary heap: the least is first */
    size_t count;
};

bool node_runs_due(const struct hot *h, size_t entries) {
    const struct node_runs *r = &h->node_runs;
    return r->merged_to != 0 ||
           (r->count > 0 && (r->count == NODE_RUNS_MAX || r->entries + entries > ENTRIES_MAX || !node_runs_wanted(h, entries)));
}

static bool stands_before(const struct run_head *a, const struct run_head *b) {
    if (a->w[0] != b->w[0])
        return a->w[0] < b->w[0];
    return a->w[1] != b->w[1] ? a->w[1] < b->w[1] : a->w[2] < b->w[2];
}

static void sink(struct merge *m, size_t at) {
    struct run_head head = m->heads[at];
    for (size_t child; (child = 2 * at + 1) < m->count; at = child) {
        child += child + 1 < m->count && stands_before(&m->heads[child + 1], &m->heads[child]);
        if (!stands_before(&m->heads[child], &head))
            break;
        m->heads[at] = m->heads[child];
    }
    m->heads[at] = head;
}

/* MDB_NOTFOUND: the run has nothing more. */
static int head_read(struct run_head *head, MDB_val *key, MDB_cursor_op op) {
    MDB_val value;
    int rc = mdb_cursor_get(head->cur, key, &value, op);
    if (rc != MDB_SUCCESS)
        return rc;
    if (key->mv_size != 28)
        return MDB_CORRUPTED;
    if (bf_get_be32(key->mv_data) != head->run)
        return MDB_NOTFOUND;
    head->entry = (const char *)key->mv_data + 4;
    for (size_t i = 0; i < 3; i++)
        head->w[i] = bf_get_be64(head->entry + 8 * i);
    return MDB_SUCCESS;
}

static int merge_open(struct merge *m, struct hot *h, MDB_txn *txn, const struct node_runs *runs) {
    int rc = MDB_SUCCESS;
    m->count = 0;
    for (uint32_t run = 0; run < runs->count && rc == MDB_SUCCESS; run++) {
        struct run_head *head = &m->heads[m->count];
        struct hot_key first = {.len = 0};
        key_u32(&first, run);
        key_u64(&first, runs->merged_to);
        MDB_val key = key_val(&first);
        head->run = run;
        if ((rc = mdb_cursor_open(txn, h->db[DB_NODE_RUNS], &head->cur)) != MDB_SUCCESS) /* closed with its transaction */
            break;
        rc = head_read(head, &key, MDB_SET_RANGE);
        m->count += rc == MDB_SUCCESS;
        rc = rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
    }
    for (size_t at = m->count / 2; at-- > 0;)
        sink(m, at);
    return rc;
}

static int merge_next(struct merge *m) {
    MDB_val key;
    int rc = head_read(&m->heads[0], &key, MDB_NEXT);
    if (rc == MDB_NOTFOUND) {
        m->heads[0] = m->heads[--m->count];
        rc = MDB_SUCCESS;
    }
    if (m->count > 0)
        sink(m, 0);
    return rc;
}

/* The entries of so many pairs of node and topic, from merged_to on. */
static int put_pairs(struct hot *h, MDB_txn *txn, size_t pairs, struct node_runs *runs) {
    struct index_writer w;
    struct merge m;
    uint64_t pair = 0;
    int rc = merge_open(&m, h, txn, runs);
    if (rc == MDB_SUCCESS)
        rc = index_writer_open(&w, txn, h->db[DB_BY_NODE]);
    for (bool first = true; rc == MDB_SUCCESS && m.count > 0; first = false) {
        struct hot_key key = {.len = 0};
        if (!first && m.heads[0].w[0] != pair && --pairs == 0)
            break;
        pair = m.heads[0].w[0];
        key_raw(&key, m.heads[0].entry, 24);
        rc = index_writer_put(&w, &key, NULL, 0);
        if (rc == MDB_SUCCESS)
            rc = merge_next(&m);
    }
    if (rc == MDB_SUCCESS && m.count == 0) {
        rc = mdb_drop(txn, h->db[DB_NODE_RUNS], 0);
        *runs = (struct node_runs){.generation = runs->generation + 1};
    } else if (rc == MDB_SUCCESS) {
        runs->merged_to = m.heads[0].w[0];
    }
    return rc == MDB_SUCCESS ? put_state(h, txn, runs) : rc;
}

static enum bf_code merge_slice(struct hot *h, size_t pairs, struct bf_err *err) {
    struct node_runs runs = h->node_runs;
    MDB_txn *txn;
    enum bf_code code = hot_write_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = put_pairs(h, txn, pairs, &runs);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "merging the node index");
    code = hot_write_end(h, txn, code, &(struct hot_publish){0}, err);
    if (code == BF_OK) {
        h->node_runs = runs;
        bf_failpoint("hot.in-merge");
    }
    return code;
}

enum bf_code hot_settle(struct hot *h, struct bf_err *err) {
    size_t pairs = h->node_merge_pairs;
    enum bf_code code = BF_OK;
    while (code == BF_OK && h->node_runs.count > 0) {
        code = merge_slice(h, pairs, err);
        if (code == BF_NOMEM && err->native == MDB_MAP_FULL && pairs > 1) { /* in the room that there is */
            pairs = pairs / 8 > 0 ? pairs / 8 : 1;
            code = BF_OK;
        }
    }
    return code;
}
