/* The node index is written in two steps, because events of one commit belong to thousands of nodes, and each node's end is a page of its own: put there at
 * once, nearly every event costs a copied page. A large commit's entries go, sorted, to the end of NODE_RUNS instead; sixteen such runs are put into BY_NODE
 * together, so that a page is copied once for all of them. Small commits write BY_NODE directly.
 *
 * A reader looks into BY_NODE and into those runs that the node's row names. Merging takes several transactions, node by node: below merged_to BY_NODE has
 * everything and the runs are not asked; the last transaction empties NODE_RUNS. Nothing else is written to the runs until then, so a merge that was
 * interrupted is just begun again at merged_to. */
#include "bf_failpoint.h"
#include "hot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 262144 /* in all runs; a merge sorts them in memory, 64 bytes each */

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

struct merge {
    struct hot *h;
    struct sort_key *keys, *spare, *sorted;
    size_t count, done;
};

bool node_runs_due(const struct hot *h, size_t entries) {
    const struct node_runs *r = &h->node_runs;
    return r->merged_to != 0 ||
           (r->count > 0 && (r->count == NODE_RUNS_MAX || r->entries + entries > ENTRIES_MAX || !node_runs_wanted(h, entries)));
}

static int gather(struct merge *m, MDB_txn *txn) {
    MDB_cursor *cur;
    MDB_val key, value;
    MDB_stat stat;
    int rc = mdb_stat(txn, m->h->db[DB_NODE_RUNS], &stat);
    if (rc != MDB_SUCCESS)
        return rc;
    m->keys = malloc((stat.ms_entries + 1) * sizeof *m->keys);
    m->spare = malloc((stat.ms_entries + 1) * sizeof *m->spare);
    if (m->keys == NULL || m->spare == NULL)
        return ENOMEM;
    if ((rc = mdb_cursor_open(txn, m->h->db[DB_NODE_RUNS], &cur)) != MDB_SUCCESS)
        return rc;
    while ((rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) == MDB_SUCCESS && key.mv_size == 28) {
        const char *at = (const char *)key.mv_data + 4;
        struct sort_key k = {{bf_get_be64(at), bf_get_be64(at + 8), bf_get_be64(at + 16)}, 0};
        if (k.w[0] >= m->h->node_runs.merged_to)
            m->keys[m->count++] = k;
    }
    mdb_cursor_close(cur);
    m->sorted = hot_sort(m->keys, m->spare, m->count);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc == MDB_SUCCESS ? MDB_CORRUPTED : rc;
}

/* As many as fit into one transaction; pairs stay whole. */
static size_t slice_end(const struct merge *m, size_t pairs) {
    size_t i = m->done;
    for (; i < m->count; i++) {
        if (i > m->done && m->sorted[i].w[0] != m->sorted[i - 1].w[0] && --pairs == 0)
            break;
    }
    return i;
}

static int put_slice(struct merge *m, MDB_txn *txn, size_t end, struct node_runs *runs) {
    struct index_writer w;
    int rc = index_writer_open(&w, txn, m->h->db[DB_BY_NODE]);
    for (size_t i = m->done; i < end && rc == MDB_SUCCESS; i++) {
        const struct sort_key *k = &m->sorted[i];
        struct hot_key key = {.len = 0};
        key_u64(&key, k->w[0]);
        key_u64(&key, k->w[1]);
        key_u64(&key, k->w[2]);
        rc = index_writer_put(&w, &key, NULL, 0);
    }
    if (rc == MDB_SUCCESS && end == m->count) {
        rc = mdb_drop(txn, m->h->db[DB_NODE_RUNS], 0);
        *runs = (struct node_runs){.generation = runs->generation + 1};
    } else {
        runs->merged_to = m->sorted[end].w[0];
    }
    return rc == MDB_SUCCESS ? put_state(m->h, txn, runs) : rc;
}

static enum bf_code merge_slice(struct merge *m, size_t pairs, struct bf_err *err) {
    struct node_runs runs = m->h->node_runs;
    MDB_txn *txn;
    enum bf_code code = hot_write_begin(m->h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = m->sorted == NULL ? gather(m, txn) : MDB_SUCCESS;
    size_t end = rc == MDB_SUCCESS ? slice_end(m, pairs) : 0;
    if (rc == MDB_SUCCESS)
        rc = put_slice(m, txn, end, &runs);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "merging the node index");
    code = hot_write_end(m->h, txn, code, &(struct hot_publish){0}, err);
    if (code == BF_OK) {
        m->h->node_runs = runs;
        m->done = end;
        bf_failpoint("hot.in-merge");
    }
    return code;
}

enum bf_code hot_settle(struct hot *h, struct bf_err *err) {
    struct merge m = {.h = h};
    size_t pairs = h->node_merge_pairs;
    enum bf_code code = BF_OK;
    while (code == BF_OK && h->node_runs.count > 0) {
        code = merge_slice(&m, pairs, err);
        if (code == BF_NOMEM && err->native == MDB_MAP_FULL && pairs > 1) { /* in the room that there is */
            pairs = pairs / 8 > 0 ? pairs / 8 : 1;
            code = BF_OK;
        }
    }
    free(m.keys);
    free(m.spare);
    return code;
}
