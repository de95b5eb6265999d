/* The hot store: an LMDB log keyed by recorded_at and small composite-key indexes onto it. The only place that knows LMDB.
 *
 * What is in it: event records, duplicates, quarantine, the coverage ledger, the partitions' next offsets, schemas, node names,
 * and for every event ever recorded its id (kept after eviction: idempotence for ever). It can be rebuilt from the archive.
 *
 * Threads: one writer thread calls hot_batch_*, hot_evict and the rebuild; any thread may read. No read transaction outlives a call:
 * everything is copied out. A crash of the process loses nothing committed; after an unclean end of the machine, or when the files are
 * corrupt, hot_open() says BF_REJECTED and the caller deletes and rebuilds.
 *
 * recorded_at: microseconds, given at commit, strictly increasing for the life of the store (and above anything hot_reserve_clock() named).
 * Within one commit the records of a partition lie together, in offset order.
 */
#ifndef HOT_H
#define HOT_H

#include "event.h"

#include <stddef.h>

struct hot;
struct hot_batch;

struct hot_settings {
    const char *dir;        /* made when missing */
    int64_t map_bytes_max;  /* sparse; the most the store may hold */
    const char *cluster_id; /* of Kafka; another one recorded inside gives BF_BROKEN */
    size_t node_run_min;    /* commits of so many events write the node index as a sorted run, merged later (hot_settle); 0: never */
    size_t node_merge_pairs; /* of node and topic that one transaction of a merge moves; 0: 8192, which copies 70 MB of pages at most */
    bool sync_every_commit; /* fdatasync at each commit; off: when it is closed, and when the kernel sees fit */
};

BF_MUST_CHECK enum bf_code hot_open(const struct hot_settings *settings, struct hot **out, struct bf_err *err);
void hot_close(struct hot *h); /* syncs and leaves the mark of a clean end */
/* Does this failure mean that what is in the store cannot be trusted? Then condemn it: the next hot_open() says BF_REJECTED. */
bool hot_is_corrupt(const struct bf_err *err);
void hot_condemn(struct hot *h);
/* Delete the files of a store that is closed. */
BF_MUST_CHECK enum bf_code hot_destroy(const char *dir, struct bf_err *err);

/* A stable random identity of this store, made at first open: the "owner" in the archive's fencing. */
struct bf_uuid hot_instance_id(const struct hot *h);

/* ---- writer ---- */

/* Gather one batch in memory (no transaction is open until commit). */
BF_MUST_CHECK enum bf_code hot_batch_new(struct hot *h, struct hot_batch **out, struct bf_err *err);
void hot_batch_free(struct hot_batch *b);
/* Copies. Offsets of a partition must be added in ascending order, over all of these calls. */
BF_MUST_CHECK enum bf_code hot_batch_event(struct hot_batch *b, const struct event *ev, struct bf_err *err);
BF_MUST_CHECK enum bf_code hot_batch_poison(struct hot_batch *b, const struct poison *p, struct bf_err *err);
BF_MUST_CHECK enum bf_code hot_batch_gap(struct hot_batch *b, const struct interval *gap, struct bf_err *err); /* CONTROL or LOST */
/* Say where a partition stands and under which epoch it is held, without any record (assignment), before any record of it is added to this batch.
 * next_offset -1: where it stood. */
BF_MUST_CHECK enum bf_code hot_batch_partition(struct hot_batch *b, struct bf_slice topic, int32_t partition, int64_t epoch,
                                               int64_t next_offset, struct bf_err *err);
size_t hot_batch_count(const struct hot_batch *b); /* events + poison */
size_t hot_batch_bytes(const struct hot_batch *b);

struct hot_commit_result {
    int64_t recorded_through_us;
    uint64_t stored, revisions, duplicates, quarantined, control, lost; /* offsets; revisions are counted in stored, too */
};
/* Write everything in one transaction: dedupe against the ids (also within the batch), revisions, indexes, ledger, offsets.
 * The batch is empty afterwards and may be used again. BF_NOMEM: the map is full, nothing was written, the batch is kept: make
 * room and call again. BF_BROKEN: stop. `per_event` (may be NULL) is called for each event and poison in the order added. */
BF_MUST_CHECK enum bf_code hot_batch_commit(struct hot_batch *b, struct hot_commit_result *result,
                                            void (*per_event)(void *ctx, size_t index, enum disposition d, uint32_t revision,
                                                              int64_t recorded_at_us),
                                            void *ctx, struct bf_err *err);

/* Put the node index in order after large commits: answers about a node are faster then. Done by itself while commits come; call it when none do. Takes
 * as long as a large commit or two; nothing to do after small ones. BF_NOMEM: the map is full, it stays as it is. */
BF_MUST_CHECK enum bf_code hot_settle(struct hot *h, struct bf_err *err);

/* Everything, notes too, is on the disk afterwards. Takes as long as the disk does: not for a loop that others wait for. */
BF_MUST_CHECK enum bf_code hot_sync(struct hot *h, struct bf_err *err);
/* Never give a recorded_at at or below this. */
void hot_reserve_clock(struct hot *h, int64_t recorded_at_us);
/* From now on nothing is recorded at or before this moment; true: and nothing is just being. What was recorded so far says hot_watermarks(), asked
 * afterwards. Any thread. */
bool hot_promise(struct hot *h, int64_t at_us);

/* Forget events, duplicates and poison (not ids, not nodes, not the ledger) with recorded_at <= through_us, oldest first, at most `max`;
 * they must be archived. Moves hot_from. Returns how many went in *evicted. */
BF_MUST_CHECK enum bf_code hot_evict(struct hot *h, int64_t through_us, size_t max, size_t *evicted, struct bf_err *err);
/* Forget all of one partition that is above archived_through_us (another instance recorded it again): ids, indexes, ledger, offset. */
BF_MUST_CHECK enum bf_code hot_forget_partition(struct hot *h, struct bf_slice topic, int32_t partition, int64_t archived_through_us,
                                                struct bf_err *err);

/* The partition's log holds other records from `from` on: forget the ledger beyond it and stand there. Its records must be evicted. */
BF_MUST_CHECK enum bf_code hot_cut_partition(struct hot *h, struct bf_slice topic, int32_t partition, int64_t from, struct bf_err *err);

/* The event recorded at this moment is refused by the archive: it becomes a quarantined record (reason refused) in its place, its id is forgotten.
 * Something else or nothing is there: BF_OK, nothing changes. */
BF_MUST_CHECK enum bf_code hot_refuse(struct hot *h, int64_t recorded_at_us, const char *detail, struct bf_err *err);

/* A quarantined record (quarantined at poison_us; hot or evicted) is taken in after all: ev has its original coordinates; id and content decide between
 * an event, a revision and a duplicate, as in a commit. BF_EXISTS: the ledger does not call it quarantined (any more). */
struct hot_redriven {
    enum disposition disposition;
    uint32_t revision;
    int64_t recorded_at_us;
};
BF_MUST_CHECK enum bf_code hot_redrive(struct hot *h, const struct event *ev, int64_t poison_us, struct hot_redriven *result, struct bf_err *err);

/* Rebuild and takeover: ids, nodes and ledger that the archive knows, in any order; one transaction per call. Idempotent. */
struct hot_known_id {
    struct bf_slice topic, node_id;
    struct bf_uuid id;
    uint32_t revision;
    int64_t recorded_at_us, event_time_us;
    uint8_t content_hash[16]; /* hot_content_hash() */
};
BF_MUST_CHECK enum bf_code hot_learn_ids(struct hot *h, const struct hot_known_id *ids, size_t count, struct bf_err *err);
BF_MUST_CHECK enum bf_code hot_learn_intervals(struct hot *h, const struct interval *intervals, size_t count, struct bf_err *err);
/* After a rebuild: what was recorded before this is in the archive only. Nothing will be recorded at or below it; recorded_through rises to it. */
BF_MUST_CHECK enum bf_code hot_set_hot_from(struct hot *h, int64_t hot_from_us, struct bf_err *err);

/* What "same content" means: 16 bytes over key, value bytes, node id and event time (not headers, not coordinates). */
void hot_content_hash(const struct event *ev, uint8_t hash[16]);

/* ---- readers, any thread ---- */

struct hot_watermarks {
    int64_t recorded_through_us; /* the newest committed; 0: nothing yet */
    int64_t hot_from_us;         /* records with recorded_at >= this are here; below: archive only */
    int64_t dated_through_us;    /* no event_time is later, of all that an earlier recorded_through covers; INT64_MIN: there is none */
    uint64_t bytes_used, bytes_max;
    uint64_t log_records;
    uint64_t id_bytes; /* of the map of ids, which lies beside LMDB's */
};
void hot_watermarks(const struct hot *h, struct hot_watermarks *out);

/* Append to `page` up to `limit` events that match and lie after `after` (NULL: from the start), in the query's order. *exhausted: there
 * are no more. *hot_from_us: taken in the same snapshot, so that an archive read below it misses and doubles nothing. */
BF_MUST_CHECK enum bf_code hot_fetch(struct hot *h, const struct event_query *q, const struct event_pos *after, size_t limit,
                                     struct event_page *page, bool *exhausted, int64_t *hot_from_us, struct bf_err *err);

/* Recorded_at of a revision, from the ids (evicted ones too); BF_NOT_FOUND. newest: the highest revision recorded by known_by. */
BF_MUST_CHECK enum bf_code hot_id_newest(struct hot *h, struct bf_slice topic, const struct bf_uuid *id, int64_t known_by_us,
                                         uint32_t *revision, int64_t *recorded_at_us, struct bf_err *err);

/* State: per topic (q->topics or all) the newest event of the node with event_time <= as_of and recorded_at <= known_by that no
 * revision known by then replaces. Only what is hot. */
BF_MUST_CHECK enum bf_code hot_state(struct hot *h, struct bf_slice node, const struct event_query *q, int64_t as_of_us,
                                     struct event_page *page, int64_t *hot_from_us, struct bf_err *err);

/* The world: the same for every node with this prefix, in byte order from `after` (exclusive; absent: from the start), at most `limit` nodes. Names are
 * copied to `names` separated by NUL; nodes[i].end is where node i's rows end, counted from the page's first new one. */
struct hot_world_node {
    size_t end;
    bool needs_archive; /* something of it that is in the archive only is later than what is here */
};
BF_MUST_CHECK enum bf_code hot_world(struct hot *h, const struct event_query *q, int64_t as_of_us, struct bf_slice after, size_t limit,
                                     struct bf_buf *names, struct hot_world_node *nodes, size_t *count, struct event_page *page,
                                     int64_t *hot_from_us, struct bf_err *err);

/* Nodes: names in byte order from `after` (exclusive; absent: from the start) with this prefix. Names are copied to `names` separated by NUL. */
BF_MUST_CHECK enum bf_code hot_nodes(struct hot *h, struct bf_slice prefix, struct bf_slice after, size_t limit, struct bf_buf *names,
                                     size_t *count, struct bf_err *err);
struct hot_node_topic {
    char topic[250];
    uint64_t events; /* revisions, as recorded */
    int64_t first_event_time_us, last_event_time_us;
    int64_t archived_last_us; /* of those that are in the archive only; INT64_MIN: there are none */
};
BF_MUST_CHECK enum bf_code hot_node(struct hot *h, struct bf_slice node, struct hot_node_topic *topics, size_t topics_max, size_t *count,
                                    struct bf_err *err);

/* Whether all revisions of the query's id, in the topics that it means, lie at or above hot_from (and there is one). */
BF_MUST_CHECK enum bf_code hot_id_is_hot(struct hot *h, const struct event_query *q, bool *all_hot, struct bf_err *err);

/* Partitions and coverage. */
struct hot_partition {
    char topic[250];
    int32_t partition;
    int64_t epoch, next_offset, first_offset;
    int64_t newest_event_time_us, newest_kafka_time_us; /* of stored ones; 0: none */
    uint64_t by_disposition[5]; /* offsets per enum disposition */
    uint64_t events;            /* stored offsets */
};
BF_MUST_CHECK enum bf_code hot_partitions(struct hot *h, struct hot_partition **out, size_t *count, struct bf_err *err); /* free() */
BF_MUST_CHECK enum bf_code hot_partition(struct hot *h, struct bf_slice topic, int32_t partition, struct hot_partition *out, struct bf_err *err);
/* Where the partition stood when everything up to through_us was recorded and nothing after it: what an archive that holds as much must say.
 * BF_NOT_FOUND: it is not known here. */
BF_MUST_CHECK enum bf_code hot_partition_at(struct hot *h, struct bf_slice topic, int32_t partition, int64_t through_us, int64_t *next_offset,
                                            struct bf_err *err);
/* Intervals of one partition in order, from offset `from` on; merged where neighbours have one disposition. topic is borrowed from the argument. */
BF_MUST_CHECK enum bf_code hot_coverage(struct hot *h, struct bf_slice topic, int32_t partition, int64_t from, size_t limit,
                                        struct interval *out, size_t *count, struct bf_err *err);

/* Other places where this event was seen. Copies into out (topic borrowed from the argument). */
BF_MUST_CHECK enum bf_code hot_duplicates(struct hot *h, struct bf_slice topic, const struct bf_uuid *id, size_t max,
                                          struct duplicate *out, size_t *count, struct bf_err *err);

/* Quarantine, newest last. The caller frees *out with poison_free(). */
struct poison_query {
    struct bf_slice topic;
    bool has_reason, has_partition, has_redriven, redriven;
    enum poison_reason reason;
    int32_t schema_id, partition; /* schema_id 0: any */
    int64_t offset;               /* with has_partition; -1: any */
    int64_t after_us;             /* recorded_at > this */
    int64_t below_us;             /* recorded_at < this; INT64_MAX: open */
};
void poison_query_init(struct poison_query *q);
BF_MUST_CHECK enum bf_code hot_quarantine(struct hot *h, const struct poison_query *q, size_t limit, struct poison **out, size_t *count,
                                          int64_t *hot_from_us, struct bf_err *err);
void poison_free(struct poison *p, size_t count);
/* A deep copy into one element of an array that poison_free() will free (both stores fill their answers with it). */
BF_MUST_CHECK enum bf_code poison_copy(struct poison *dst, const struct poison *src, struct bf_err *err);

/* Schemas as kept: the text, and the references as a JSON array [{"name","schema"}] in compile order. Writer thread: put (own transaction). */
BF_MUST_CHECK enum bf_code hot_schema_put(struct hot *h, int32_t id, struct bf_slice type, struct bf_slice schema, struct bf_slice refs_json,
                                          struct bf_err *err);
BF_MUST_CHECK enum bf_code hot_schema_get(struct hot *h, int32_t id, struct bf_buf *type, struct bf_buf *schema, struct bf_buf *refs_json,
                                          struct bf_err *err);
BF_MUST_CHECK enum bf_code hot_schema_ids(struct hot *h, int32_t **ids, size_t *count, struct bf_err *err); /* free() */

/* Small durable notes of the loops, written with the next commit or by hot_save_notes(): e.g. how far the DLQ was published. */
void hot_note_set(struct hot *h, const char *name, int64_t value); /* any thread */
int64_t hot_note_get(struct hot *h, const char *name, int64_t deflt);
BF_MUST_CHECK enum bf_code hot_save_notes(struct hot *h, struct bf_err *err); /* as durable as a commit; nothing to do when none changed */

/* ---- the archiver's way through the log ---- */

/* One ingest commit after another, whole: what the archive needs for one or more of its transactions. */
struct hot_chunk {
    struct event *events;
    size_t event_count;
    size_t revised; /* events of a revision after the first */
    struct hot_chunk_kind {
        struct bf_slice topic;
        int32_t schema_id;                 /* 0: tombstones */
        int64_t first_time_us, last_time_us; /* of event */
    } *kinds; /* of the events, one for each topic and schema: so that nobody walks them to learn it */
    size_t kind_count, kind_capacity, kind_last;
    struct duplicate *duplicates;
    size_t duplicate_count;
    struct poison *poisons;
    size_t poison_count;
    struct interval *intervals; /* ledger entries of these commits, per partition in order */
    size_t interval_count;
    struct interval *redriven; /* single offsets that are in quarantine no more */
    size_t redriven_count;
    struct hot_chunk_partition {
        struct bf_slice topic;
        int32_t partition;
        int64_t epoch, offset_before, offset_after; /* before -1: the partition was new here */
    } *partitions; /* one for each partition touched; a chunk ends where epoch or offset jump */
    size_t partition_count;
    int64_t through_us; /* the last record's recorded_at */
    struct arena_block *arena;
};
/* An event that the chunk has: to its kind and to `revised`. False: no memory. For whoever fills a chunk by hand. */
BF_MUST_CHECK bool hot_chunk_count(struct hot_chunk *chunk, const struct event *ev);
/* Read the commits after `after_us`, as many as fit into about max_events and max_bytes (at least one). BF_NOT_FOUND: nothing new. The
 * chunk's memory is reused: init once with zeroes, fini at the end. */
BF_MUST_CHECK enum bf_code hot_chunk_read(struct hot *h, int64_t after_us, size_t max_events, size_t max_bytes, struct hot_chunk *chunk,
                                          struct bf_err *err);
void hot_chunk_fini(struct hot_chunk *chunk);
/* Block until something newer than after_us is committed, or timeout. */
bool hot_wait_newer(struct hot *h, int64_t after_us, int timeout_ms);

#endif
