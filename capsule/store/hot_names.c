/* Topics and nodes as numbers. Topics are few: they live in memory, in an array that only grows, and readers see one no later than
 * the commit that uses it. Nodes may be many: their truth is the database, and the writer has a cache of it that can be emptied at any time. */
#include "hot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NODE_CACHE_MAX ((size_t)1 << 21)

/* ---- topics ---- */

bool hot_topic_find(const struct hot *h, struct bf_slice name, uint32_t *no) {
    unsigned count = atomic_load(&h->topic_count);
    for (unsigned i = 0; i < count; i++) {
        const struct hot_topic *t = h->topics[i];
        if (t->len == name.len && memcmp(t->name, name.data, name.len) == 0) {
            *no = i;
            return true;
        }
    }
    return false;
}

struct bf_slice hot_topic_name(const struct hot *h, uint32_t no) {
    if (no >= atomic_load(&h->topic_count))
        return BF_SLICE_NONE;
    return (struct bf_slice){h->topics[no]->name, h->topics[no]->len};
}

static struct hot_topic *topic_new(uint32_t no, struct bf_slice name) {
    struct hot_topic *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->no = no;
    t->len = name.len;
    memcpy(t->name, name.data, name.len);
    return t;
}

enum bf_code hot_topic_intern(struct hot *h, struct bf_slice name, uint32_t *no, struct bf_err *err) {
    if (hot_topic_find(h, name, no))
        return BF_OK;
    uint32_t count = atomic_load(&h->topic_count);
    if (name.data == NULL || name.len == 0 || name.len >= sizeof(((struct hot_topic *)NULL)->name))
        return bf_fail(err, BF_INVALID, 0, "a topic's name has 1 to 249 characters, not %zu", name.len);
    if (count == HOT_TOPICS_MAX)
        return bf_fail(err, BF_BROKEN, 0, "more than %d topics", HOT_TOPICS_MAX);
    struct hot_topic *t = topic_new(count, name);
    if (t == NULL)
        return bf_fail(err, BF_NOMEM, 0, "no memory for a topic");
    h->topics[count] = t;
    atomic_store(&h->topic_count, count + 1);
    *no = count;
    return BF_OK;
}

static struct hot_key revised_key(uint32_t no) {
    struct hot_key key = {.len = 0};
    key_raw(&key, "revised", 7);
    key_u32(&key, no);
    return key;
}

void hot_topic_revised(struct hot *h, uint32_t no) {
    if (!atomic_load_explicit(&h->topics[no]->revised, memory_order_relaxed)) {
        atomic_store(&h->topics[no]->revised, true);
        h->revised_unsaved = true;
    }
}

bool hot_topic_has_revisions(const struct hot *h, uint32_t no) {
    return atomic_load_explicit(&h->topics[no]->revised, memory_order_acquire);
}

static int persist_revised(struct hot *h, MDB_txn *txn) {
    int rc = MDB_SUCCESS;
    for (uint32_t i = 0; i < atomic_load(&h->topic_count) && rc == MDB_SUCCESS; i++) {
        struct hot_key key = revised_key(i);
        if (h->topics[i]->revised && !h->topics[i]->revised_persisted)
            rc = hot_put(txn, h->db[DB_META], &key, NULL, 0);
    }
    return rc;
}

int hot_topics_persist(struct hot *h, MDB_txn *txn) {
    int rc = h->revised_unsaved ? persist_revised(h, txn) : MDB_SUCCESS;
    uint32_t count = atomic_load(&h->topic_count);
    for (uint32_t i = count; i > 0 && !h->topics[i - 1]->persisted && rc == MDB_SUCCESS; i--) {
        struct hot_key key = {.len = 0};
        key_u32(&key, i - 1);
        rc = hot_put(txn, h->db[DB_TOPICS], &key, h->topics[i - 1]->name, h->topics[i - 1]->len);
    }
    return rc;
}

void hot_topics_persisted(struct hot *h) {
    for (uint32_t i = atomic_load(&h->topic_count); i > 0 && !h->topics[i - 1]->persisted; i--)
        h->topics[i - 1]->persisted = true;
    for (uint32_t i = 0; h->revised_unsaved && i < atomic_load(&h->topic_count); i++)
        h->topics[i]->revised_persisted = h->topics[i]->revised;
    h->revised_unsaved = false;
}

int hot_topics_load(struct hot *h, MDB_txn *txn) {
    MDB_cursor *cur;
    MDB_val key, value;
    uint32_t count = 0;
    int rc = mdb_cursor_open(txn, h->db[DB_TOPICS], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    while ((rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        if (key.mv_size != 4 || bf_get_be32(key.mv_data) != count || count == HOT_TOPICS_MAX || value.mv_size > 249) {
            rc = MDB_CORRUPTED;
            break;
        }
        struct hot_topic *t = topic_new(count, (struct bf_slice){value.mv_data, value.mv_size});
        if (t == NULL) {
            rc = ENOMEM;
            break;
        }
        struct hot_key revised = revised_key(count);
        rc = hot_get(txn, h->db[DB_META], &revised, NULL, 0);
        t->persisted = true;
        t->revised = t->revised_persisted = rc == MDB_SUCCESS;
        h->topics[count] = t;
        atomic_store(&h->topic_count, ++count);
        if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
            break;
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* ---- nodes ---- */

struct node_entry {
    uint64_t hash;
    uint32_t no;
    uint8_t len; /* 0: free */
    char *name;
};
struct node_cache {
    struct node_entry *entries;
    size_t count, capacity; /* capacity: a power of two */
};

struct node_cache *node_cache_new(void) {
    struct node_cache *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->capacity = 1024;
    c->entries = calloc(c->capacity, sizeof *c->entries);
    if (c->entries == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

void node_cache_clear(struct node_cache *c) {
    for (size_t i = 0; i < c->capacity; i++)
        free(c->entries[i].name);
    memset(c->entries, 0, c->capacity * sizeof *c->entries);
    c->count = 0;
}

void node_cache_free(struct node_cache *c) {
    if (c == NULL)
        return;
    node_cache_clear(c);
    free(c->entries);
    free(c);
}

static struct node_entry *cache_slot(const struct node_cache *c, struct bf_slice name, uint64_t hash) {
    for (size_t i = (size_t)hash & (c->capacity - 1);; i = (i + 1) & (c->capacity - 1)) {
        struct node_entry *e = &c->entries[i];
        if (e->len == 0 || (e->hash == hash && e->len == name.len && memcmp(e->name, name.data, name.len) == 0))
            return e;
    }
}

static bool cache_grow(struct node_cache *c) {
    struct node_cache bigger = {calloc(c->capacity * 2, sizeof *c->entries), c->count, c->capacity * 2};
    if (bigger.entries == NULL)
        return false;
    for (size_t i = 0; i < c->capacity; i++) {
        const struct node_entry *e = &c->entries[i];
        if (e->len > 0)
            *cache_slot(&bigger, (struct bf_slice){e->name, e->len}, e->hash) = *e;
    }
    free(c->entries);
    *c = bigger;
    return true;
}

static int cache_add(struct node_cache *c, struct bf_slice name, uint64_t hash, uint32_t no) {
    if (c->count >= NODE_CACHE_MAX)
        node_cache_clear(c);
    if (c->count * 2 >= c->capacity && !cache_grow(c))
        return ENOMEM;
    char *copy = malloc(name.len);
    if (copy == NULL)
        return ENOMEM;
    memcpy(copy, name.data, name.len);
    *cache_slot(c, name, hash) = (struct node_entry){hash, no, (uint8_t)name.len, copy};
    c->count++;
    return MDB_SUCCESS;
}

int hot_node_find(struct hot *h, MDB_txn *txn, struct bf_slice name, uint32_t *no) {
    if (name.len == 0 || name.len > HOT_NODE_MAX)
        return MDB_NOTFOUND;
    MDB_val key = {name.len, (void *)(uintptr_t)name.data}, value;
    int rc = mdb_get(txn, h->db[DB_NODES], &key, &value);
    if (rc == MDB_SUCCESS && value.mv_size != sizeof *no)
        return MDB_CORRUPTED;
    if (rc == MDB_SUCCESS)
        memcpy(no, value.mv_data, sizeof *no);
    return rc;
}

int hot_node_intern(struct hot *h, MDB_txn *txn, struct bf_slice name, uint64_t hash, uint32_t *no) {
    const struct node_entry *e = cache_slot(h->nodes, name, hash);
    if (e->len > 0) {
        *no = e->no;
        return MDB_SUCCESS;
    }
    int rc = hot_node_find(h, txn, name, no);
    if (rc == MDB_NOTFOUND) {
        uint32_t fresh = h->next_node_no;
        int64_t next = (int64_t)fresh + 1;
        MDB_val key = {name.len, (void *)(uintptr_t)name.data}, value = {sizeof fresh, &fresh};
        rc = mdb_put(txn, h->db[DB_NODES], &key, &value, 0);
        if (rc == MDB_SUCCESS)
            rc = hot_meta_put(h, txn, "next_node", &next, sizeof next);
        if (rc == MDB_SUCCESS) {
            h->next_node_no = fresh + 1;
            *no = fresh;
        }
    }
    return rc == MDB_SUCCESS ? cache_add(h->nodes, name, hash, *no) : rc;
}
