/* What the files of the hot store share: the databases, their keys and rows, and how a transaction is begun and ended.
 *
 * Keys are big-endian, so that bytes sort as numbers do; event times have their sign bit turned. Rows are memcpy'd structs in native
 * order. In keys a topic and a node are numbers (meta: given once, never reused).
 *
 *   LOG         recorded_at                              -> record (hot_record.h)
 *   COMMITS     recorded_at of the commit                -> struct commit_row, its partitions, its intervals
 *   IDS         topic, id 16, revision                   -> struct id_row: all of ids that ascend, else revisions after the first; never evicted
 *   GONE        recorded_at, topic, id 16                -> struct gone_row: first revisions, of ids that do not ascend, that are in the archive only;
 *                                                           recorded here or elsewhere, so two may have one recorded_at
 *   BY_NODE     node, topic, event time, recorded_at     -> nothing
 *   NODE_RUNS   run, node, topic, event time, recorded_at -> nothing: entries of BY_NODE that are not there yet (hot_node_runs.c)
 *   BY_TIME     event time, recorded_at                  -> topic
 *   RUNS        topic, partition, first offset           -> struct run_row: records of one commit, recorded_at without a hole
 *   LINKS       kind, 16 bytes, recorded_at              -> nothing
 *   SEEN        topic, id 16, recorded_at                -> nothing (a duplicate of that id is in the log there)
 *   POISON_AT   recorded_at                              -> topic
 *   POISON_OF   topic, partition, offset, recorded_at    -> nothing
 *   NODES       name                                     -> number
 *   NODE_TOPICS node, topic                              -> struct node_topic_row; never evicted
 *   PARTITIONS  topic, partition                         -> struct partition_row; never evicted
 *   LEDGER      topic, partition, from                   -> struct ledger_row; never evicted
 *
 * Threads: fields of struct hot are split below by who may touch them.
 */
#ifndef HOT_INTERNAL_H
#define HOT_INTERNAL_H

#include "hot.h"
#include "hot_record.h"
#include "hot_sort.h"
#include "id_map.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

enum hot_db {
    DB_META, DB_LOG, DB_COMMITS, DB_IDS, DB_GONE, DB_BY_NODE, DB_NODE_RUNS, DB_BY_TIME, DB_RUNS, DB_LINKS, DB_SEEN, DB_POISON_AT, DB_POISON_OF,
    DB_TOPICS, DB_NODES, DB_NODE_TOPICS, DB_PARTITIONS, DB_LEDGER, DB_SCHEMAS, DB_NOTES, DBS
};

#define HOT_TOPICS_MAX 65536
#define HOT_NODE_MAX 255
#define HOT_NOTES_MAX 64
#define HOT_NOTE_REDRIVEN "redriven" /* 1: some record was taken in after all */
#define HOT_NOTE_NAME_MAX 63
#define HOT_KEY_MAX 40        /* of the keys that are made here */
#define HOT_KEY_BYTES_MAX 511 /* LMDB looks up nothing longer */

enum link_kind { LINK_CAUSE = 'c', LINK_TRACE = 't' };

struct id_row {
    int64_t recorded_at_us;
    uint8_t content_hash[16];
};
struct gone_row {
    uint8_t content_hash[16];
};
struct run_row {
    int64_t last_offset, first_us, last_us;
};
struct node_topic_row {
    uint64_t events;
    int64_t first_event_time_us, last_event_time_us;
    int64_t archived_last_us; /* no event of it that is in the archive only is later; NOTHING_ARCHIVED */
    int64_t last_recorded_at_us; /* of the last by (event time, recorded_at), which may have been evicted, refused or forgotten since */
    uint32_t runs_generation, runs; /* a bit for each run of that generation that has some of them */
};
#define NODE_RUNS_MAX 16
struct node_runs { /* a row of META */
    uint32_t generation, count;
    uint64_t entries;
    uint64_t merged_to; /* node and topic: those below are merged already; 0: none */
};
#define NOTHING_ARCHIVED INT64_MIN
/* Count so many more events; the last of them by (event time, recorded_at) is named. !found: there is no row yet. */
void node_topic_count(struct hot *h, struct node_topic_row *row, bool found, size_t events, int64_t first_us, int64_t last_us, int64_t last_recorded_at_us);
struct partition_row {
    int64_t epoch, next_offset, first_offset; /* offsets -1: not known yet */
    int64_t newest_event_time_us, newest_kafka_time_us;
    uint64_t by_disposition[5];
};
struct ledger_row {
    int64_t to;
    int32_t disposition, unused;
};
struct commit_row {
    int64_t first_us; /* of its records; the commit's own key when it has none */
    uint64_t log_bytes;
    uint32_t events, duplicates, poisons, partitions, intervals, unused;
};
struct commit_partition {
    uint32_t topic_no;
    int32_t partition;
    int64_t epoch, offset_before, offset_after;
};
#define COMMIT_INTERVAL_REDRIVEN 1 /* it changes what was archived, instead of adding to it */
struct commit_interval {
    uint32_t topic_no;
    int32_t partition, disposition, flags;
    int64_t from, to;
};

struct hot_topic {
    uint32_t no;
    bool persisted, revised_persisted; /* writer only */
    atomic_bool revised;               /* some id has a second revision; published before the commit that makes it so */
    size_t len;
    char name[250];
};

struct hot_note {
    char name[HOT_NOTE_NAME_MAX + 1];
    int64_t value;
    bool dirty;
};

struct node_cache; /* hot_names.c: name -> number, filled as names come */

struct hot {
    /* set at open, constant */
    MDB_env *env;
    MDB_dbi db[DBS];
    int lock_fd;
    char *dir;
    bool sync_every_commit;
    atomic_bool condemned; /* set by whoever found it corrupt */
    bool left_in_order;    /* at close: everything is on the disk */
    uint64_t bytes_max, bytes_full; /* commits are refused beyond bytes_full, so that forgetting has room to work in */
    unsigned page_bytes;
    struct bf_uuid instance;
    /* published by the writer after a commit, read by all */
    atomic_int_least64_t recorded_through_us, committed_us, hot_from_us;
    atomic_uint_least64_t bytes_used, log_records;
    atomic_uint topic_count; /* published before the commit that uses them */
    struct hot_topic *topics[HOT_TOPICS_MAX];
    atomic_int_least64_t reserved_us;
    atomic_int_least64_t dated_through_us; /* raised before what it counts is published */
    atomic_bool recording; /* a clock was read for what is not published yet */
    struct id_map *ids; /* its own threads' rules */
    /* writer only */
    struct node_cache *nodes;
    uint32_t next_node_no;
    int64_t last_us;
    bool revised_unsaved; /* some topic's `revised` is not persisted yet */
    int64_t dated_saved_us; /* dated_through_us as persisted */
    size_t node_run_min, node_merge_pairs; /* as in the settings */
    struct node_runs node_runs; /* as committed */
    /* under pool_lock: reset read transactions, ready to be renewed */
    pthread_mutex_t pool_lock;
    MDB_txn **idle;
    size_t idle_count, idle_capacity;
    /* under wait_lock */
    pthread_mutex_t wait_lock;
    pthread_cond_t newer; /* committed_us has grown */
    /* under note_lock */
    pthread_mutex_t note_lock;
    struct hot_note notes[HOT_NOTES_MAX];
    size_t note_count;
};

/* ---- errors ---- */
enum bf_code hot_code_of(int rc); /* MDB_* and errno to what the caller may do */
#define hot_fail(err, rc, ...) hot_fail_at((err), (rc), __FILE__, __LINE__, __VA_ARGS__)
enum bf_code hot_fail_at(struct bf_err *err, int rc, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
#define hot_corrupt(err, what) bf_fail((err), BF_BROKEN, MDB_CORRUPTED, "the hot store is corrupt: %s", (what))

/* ---- transactions ---- */
BF_MUST_CHECK enum bf_code hot_read_begin(struct hot *h, MDB_txn **txn, struct bf_err *err);
void hot_read_end(struct hot *h, MDB_txn *txn);
BF_MUST_CHECK enum bf_code hot_write_begin(struct hot *h, MDB_txn **txn, struct bf_err *err);
/* Commit, or abort when `code` is not BF_OK; gives the outcome. Dirty notes go along. Publishes what has changed. */
struct hot_publish {
    int64_t recorded_through_us, committed_us, hot_from_us; /* 0: as it was */
};
enum bf_code hot_write_end(struct hot *h, MDB_txn *txn, enum bf_code code, const struct hot_publish *publish, struct bf_err *err);
/* Put dirty notes into an open transaction; mark them clean once it is committed. */
int hot_notes_write(struct hot *h, MDB_txn *txn, struct hot_note *written, size_t *count);
void hot_notes_written(struct hot *h, const struct hot_note *written, size_t count);
int hot_notes_load(struct hot *h, MDB_txn *txn);
/* Bytes in pages that are not free, from an open read transaction. */
int hot_bytes_used(struct hot *h, MDB_txn *txn, uint64_t *bytes);

int hot_meta_put(struct hot *h, MDB_txn *txn, const char *name, const void *data, size_t len);
int hot_meta_get_i64(struct hot *h, MDB_txn *txn, const char *name, int64_t *value); /* untouched when absent */

/* ---- keys ---- */
struct hot_key {
    uint8_t bytes[HOT_KEY_MAX];
    size_t len;
};
static inline uint64_t key_time(int64_t t) { return (uint64_t)t ^ (UINT64_C(1) << 63); }
static inline int64_t key_time_back(uint64_t k) { return (int64_t)(k ^ (UINT64_C(1) << 63)); }
static inline void key_u8(struct hot_key *k, uint8_t v) { k->bytes[k->len++] = v; }
static inline void key_u32(struct hot_key *k, uint32_t v) { bf_put_be32(k->bytes + k->len, v), k->len += 4; }
static inline void key_u64(struct hot_key *k, uint64_t v) { bf_put_be64(k->bytes + k->len, v), k->len += 8; }
static inline void key_raw(struct hot_key *k, const void *data, size_t len) {
    bf_assert(k->len + len <= sizeof k->bytes);
    __builtin_memcpy(k->bytes + k->len, data, len);
    k->len += len;
}
static inline struct hot_key key_recorded(int64_t recorded_at_us) {
    struct hot_key k;
    k.len = 0;
    key_u64(&k, (uint64_t)recorded_at_us);
    return k;
}
static inline struct hot_key key_id_prefix(uint32_t topic_no, const struct bf_uuid *id) {
    struct hot_key k;
    k.len = 0;
    key_u32(&k, topic_no);
    key_raw(&k, id, sizeof *id);
    return k;
}
static inline struct hot_key key_id(uint32_t topic_no, const struct bf_uuid *id, uint32_t revision) {
    struct hot_key k = key_id_prefix(topic_no, id);
    key_u32(&k, revision);
    return k;
}
static inline struct hot_key key_gone(int64_t recorded_at_us, uint32_t topic_no, const struct bf_uuid *id) {
    struct hot_key k = key_recorded(recorded_at_us);
    key_u32(&k, topic_no);
    key_raw(&k, id, sizeof *id);
    return k;
}
static inline struct hot_key key_pair(uint32_t a, uint32_t b) { /* (node, topic) or (topic, partition) */
    struct hot_key k;
    k.len = 0;
    key_u32(&k, a);
    key_u32(&k, b);
    return k;
}
static inline struct hot_key key_node(uint32_t node_no, uint32_t topic_no, int64_t event_time_us, int64_t recorded_at_us) {
    struct hot_key k = key_pair(node_no, topic_no);
    key_u64(&k, key_time(event_time_us));
    key_u64(&k, (uint64_t)recorded_at_us);
    return k;
}
static inline struct hot_key key_time_at(int64_t event_time_us, int64_t recorded_at_us) {
    struct hot_key k;
    k.len = 0;
    key_u64(&k, key_time(event_time_us));
    key_u64(&k, (uint64_t)recorded_at_us);
    return k;
}
static inline struct hot_key key_offset(uint32_t topic_no, int32_t partition, int64_t offset) {
    struct hot_key k = key_pair(topic_no, (uint32_t)partition);
    key_u64(&k, (uint64_t)offset);
    return k;
}
static inline struct hot_key key_link(enum link_kind kind, const uint8_t what[16], int64_t recorded_at_us) {
    struct hot_key k;
    k.len = 0;
    key_u8(&k, (uint8_t)kind);
    key_raw(&k, what, 16);
    key_u64(&k, (uint64_t)recorded_at_us);
    return k;
}
static inline MDB_val key_val(const struct hot_key *k) { return (MDB_val){k->len, (void *)(uintptr_t)k->bytes}; }
static inline bool key_has_prefix(const MDB_val *key, const struct hot_key *prefix) {
    return key->mv_size >= prefix->len && __builtin_memcmp(key->mv_data, prefix->bytes, prefix->len) == 0;
}
int hot_put(MDB_txn *txn, MDB_dbi db, const struct hot_key *key, const void *data, size_t len);
int hot_del(MDB_txn *txn, MDB_dbi db, const struct hot_key *key); /* absent is fine */
/* Copy a row of exactly `len` bytes; MDB_NOTFOUND, MDB_CORRUPTED. */
int hot_get(MDB_txn *txn, MDB_dbi db, const struct hot_key *key, void *row, size_t len);
int hot_log_get(struct hot *h, MDB_txn *txn, int64_t recorded_at_us, struct bf_slice *record);

/* ---- names ---- */
bool hot_topic_find(const struct hot *h, struct bf_slice name, uint32_t *no); /* any thread */
struct bf_slice hot_topic_name(const struct hot *h, uint32_t no);             /* data NULL: no such number */
BF_MUST_CHECK enum bf_code hot_topic_intern(struct hot *h, struct bf_slice name, uint32_t *no, struct bf_err *err); /* writer */
void hot_topic_revised(struct hot *h, uint32_t no);     /* writer: a revision after the first is being written */
bool hot_topic_has_revisions(const struct hot *h, uint32_t no); /* false: IDS has no revision of it after the first */
int hot_topics_persist(struct hot *h, MDB_txn *txn);    /* what is new of them, before the commit */
void hot_topics_persisted(struct hot *h);               /* after it */
int hot_topics_load(struct hot *h, MDB_txn *txn);
struct node_cache *node_cache_new(void);
void node_cache_free(struct node_cache *c);
void node_cache_clear(struct node_cache *c);
int hot_node_intern(struct hot *h, MDB_txn *txn, struct bf_slice name, uint64_t hash, uint32_t *no); /* writer */
int hot_node_find(struct hot *h, MDB_txn *txn, struct bf_slice name, uint32_t *no);                  /* MDB_NOTFOUND */

/* ---- ids ---- */
/* UUIDv7 (RFC 9562): their tree grows at its end, where a page is copied once for a hundred of them. All others are as good as random and found by their hash. */
static inline bool id_ascends(const struct bf_uuid *id) { return id->b[6] >> 4 == 7; }
struct id_known {
    uint32_t revision; /* 0: none */
    int64_t recorded_at_us;
    uint8_t content_hash[16];
};
/* Every revision that is recorded, evicted ones too; the later ones in order. Stops when each() does not say MDB_SUCCESS. */
int ids_each(struct hot *h, MDB_txn *txn, uint32_t topic_no, const struct bf_uuid *id, int (*each)(void *ctx, const struct id_known *known),
             void *ctx);
struct id_seek { /* writer: hash, topic and id are given */
    uint64_t hash;
    uint32_t topic_no;
    struct bf_uuid id;
    size_t hits;      /* slots of that hash */
    int64_t stale_us; /* what one of them says that is nobody's; 0: none */
};
int ids_seek(struct hot *h, MDB_txn *txn, struct id_seek *s, struct id_known *newest); /* revision 0 when there is none */
int ids_put(struct hot *h, MDB_txn *txn, struct id_seek *s, const struct id_known *known); /* after ids_seek() */
int ids_rebuild(struct hot *h, MDB_txn *txn);                                              /* into a map that is empty */

/* ---- batch ---- */
enum item_kind { ITEM_EVENT, ITEM_POISON, ITEM_GAP };
struct item {
    uint8_t kind, disposition;
    bool linked; /* has a cause or a trace */
    uint32_t slot, topic_no, node_no, revision;
    uint32_t record_len;
    int64_t offset, end_offset; /* [offset, end_offset): one, but for a gap */
    int64_t event_time_us, kafka_time_us, recorded_at_us;
    struct bf_uuid id;
    uint8_t content_hash[16];
    uint64_t node_hash;
    struct bf_slice node; /* in the record */
    char *record;         /* in the arena; revision 0 */
};
/* One partition that the batch touches. */
struct slot {
    uint32_t topic_no;
    int32_t partition;
    bool stated; /* hot_batch_partition() said epoch and next_offset */
    int64_t epoch, base_offset; /* as stated, else as the store had it when the slot was made; base -1: unknown */
    int64_t stored_offset;      /* as the store had it */
    int64_t next_offset;        /* after what was added */
    size_t items;
};
struct hot_batch {
    struct hot *h;
    struct arena_block *arena;
    struct item *items;
    size_t item_count, item_capacity, records; /* records: events and poison */
    struct slot *slots;
    size_t slot_count, slot_capacity, slot_last;
    size_t bytes;
    /* for commit, as large as items */
    uint32_t *order;
    struct sort_key *keys, *spare;
    size_t scratch_capacity;
};

int64_t hot_next_recorded_at(struct hot *h); /* writer: above everything given so far */

/* ---- writing, inside a commit ---- */
struct index_writer { /* puts ascending keys; appends once they are beyond the last */
    MDB_cursor *cur;
    uint8_t last[HOT_KEY_MAX];
    size_t last_len;
    bool appending;
};
int index_writer_open(struct index_writer *w, MDB_txn *txn, MDB_dbi db);
int index_writer_put(struct index_writer *w, const struct hot_key *key, const void *data, size_t len);
int index_writer_add(struct index_writer *w, const struct hot_key *key, const void *data, size_t len, MDB_val *there); /* MDB_KEYEXIST: what is there */
bool index_writer_is_new(const struct index_writer *w, const struct hot_key *key); /* certainly beyond all that is there */

struct commit {
    struct hot *h;
    struct hot_batch *b;
    MDB_txn *txn;
    int64_t first_us, commit_us;
    uint64_t log_bytes;
    size_t ascending, hashed, linked, poisons; /* items: events by the kind of their id, those with links, quarantined ones */
    size_t duplicates;                         /* once commit_dedupe() has been */
    struct node_runs runs; /* after this commit */
    struct hot_commit_result result;
};
/* Each step writes one kind of thing for the whole batch; an MDB code. Items are in b->order by slot and offset. */
int commit_dedupe(struct commit *c);     /* revisions and dispositions; the map of ids, IDS */
int commit_log(struct commit *c);        /* LOG */
int commit_nodes(struct commit *c);      /* NODES, BY_NODE, NODE_TOPICS */
int commit_times(struct commit *c);      /* BY_TIME */
int commit_links(struct commit *c);      /* LINKS */
int commit_seen(struct commit *c);       /* SEEN, POISON_AT, POISON_OF */
int commit_partitions(struct commit *c); /* RUNS, LEDGER, PARTITIONS, COMMITS */

/* ---- the node index in runs ---- */
int node_runs_get(struct hot *h, MDB_txn *txn, struct node_runs *runs);
/* The runs, a bit each, that have entries of this node and topic. */
uint32_t node_runs_of(const struct node_runs *runs, const struct node_topic_row *row, uint32_t node_no, uint32_t topic_no);
struct hot_key node_run_prefix(uint32_t run, uint32_t node_no, uint32_t topic_no);
bool node_runs_wanted(const struct hot *h, size_t entries); /* by a commit of so many */
bool node_runs_due(const struct hot *h, size_t entries);    /* hot_settle() must come before such a commit */
int node_run_write(struct commit *c, const struct sort_key *keys, size_t n); /* sorted as in BY_NODE */
void node_run_mark(const struct node_runs *runs, uint32_t run, struct node_topic_row *row);
int node_run_delete(struct hot *h, MDB_txn *txn, const struct hot_key *by_node); /* MDB_NOTFOUND */

/* ---- ledger ---- */
/* Give [from, to) this disposition (-1: forget it), whatever it had; keeps by_disposition in step. */
int ledger_set(struct hot *h, MDB_txn *txn, uint32_t topic_no, int32_t partition, int64_t from, int64_t to, int disposition,
               struct partition_row *row);
void partition_row_init(struct partition_row *row);

/* ---- forgetting ---- */
struct forget { /* gathers keys to delete, then deletes them sorted, index by index */
    struct hot *h;
    MDB_txn *txn;
    struct index_writer gone;
    struct node_gone {
        uint32_t node_no, topic_no;
        int64_t event_time_us;
    } *nodes; /* whose events leave for the archive */
    size_t node_count, node_capacity;
    struct forget_keys {
        struct hot_key *keys;
        size_t count, capacity;
    } of[DBS];
};
int forget_record(struct forget *f, int64_t recorded_at_us, struct bf_slice record, bool ids_too);
int forget_apply(struct forget *f);
void forget_fini(struct forget *f);

/* ---- sources: keys of an index in order, between bounds ---- */
struct source {
    MDB_cursor *cur;
    struct hot_key prefix, low, high; /* whole keys, both inclusive */
    bool timed;                       /* after the prefix: event time and recorded_at; else recorded_at alone */
    bool descending, done;
    uint64_t event_time_key;
    int64_t recorded_at_us;
    MDB_val value; /* of the entry it stands on */
};
struct source_range {
    int64_t event_from_us, event_through_us;       /* inclusive; for timed ones */
    int64_t recorded_from_us, recorded_through_us; /* inclusive */
};
int source_open(struct source *s, MDB_txn *txn, MDB_dbi db, const struct hot_key *prefix, bool timed, const struct source_range *range,
                bool descending);
int source_next(struct source *s);
void source_close(struct source *s);
bool source_before(const struct source *a, const struct source *b, bool descending); /* where they stand */
/* The same with a cursor of the caller's, who closes it in place of source_close(). */
int source_open_at(struct source *s, MDB_cursor *cur, const struct hot_key *prefix, bool timed, const struct source_range *range, bool descending);

/* The nodes with a prefix, in byte order, from `after` on (exclusive; both may be absent); `name` is LMDB's. */
struct node_walk {
    MDB_cursor *cur;
    struct bf_slice prefix, name;
    uint32_t no;
    bool done;
};
int node_walk_open(struct node_walk *w, struct hot *h, MDB_txn *txn, struct bf_slice prefix, struct bf_slice after);
int node_walk_next(struct node_walk *w);
void node_walk_close(struct node_walk *w);

/* Which topics a query means, by number. */
struct topic_filter {
    bool all;
    uint32_t count;
    uint8_t *allowed; /* one byte for each topic; malloc'd unless all */
};
BF_MUST_CHECK enum bf_code topic_filter_init(struct topic_filter *f, const struct hot *h, const struct event_query *q, struct bf_err *err);
void topic_filter_fini(struct topic_filter *f);
static inline bool topic_filter_allows(const struct topic_filter *f, uint32_t no) {
    return f->all || (no < f->count && f->allowed[no] != 0);
}

/* An event of the log as a view into it, topic and recorded_at included. */
BF_MUST_CHECK enum bf_code hot_event_view(struct hot *h, MDB_txn *txn, int64_t recorded_at_us, struct event *ev, struct bf_err *err);
BF_MUST_CHECK enum bf_code hot_event_of_record(struct hot *h, int64_t recorded_at_us, struct bf_slice record, struct event *ev, struct bf_err *err);
/* Is there a newer revision recorded by known_by? */
int hot_is_replaced(struct hot *h, MDB_txn *txn, uint32_t topic_no, const struct event *ev, int64_t known_by_us, bool *replaced);

/* ---- for tests ---- */
/* Compare the log with every index, both ways, and the ledger with the partitions; BF_BROKEN says what does not fit. */
BF_MUST_CHECK enum bf_code hot_check(struct hot *h, struct bf_err *err);

#endif
