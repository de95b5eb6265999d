/* The archive: PostgreSQL 15+, schema `capsule`. The only place that knows libpq.
 *
 * struct archive is one connection and belongs to one thread at a time. Errors: BF_AGAIN for everything that waiting may cure (SQLSTATE
 * 08, 57, 53, 40, 25006, 55P03, no connection): the connection is closed and reopened by the next call; BF_REJECTED for a row that
 * PostgreSQL refuses (22, 23, 54); BF_BROKEN for a lost fence or a schema that is not ours. libpq's results never leave this file.
 */
#ifndef ARCHIVE_H
#define ARCHIVE_H

#include "bf_kafka.h"
#include "bf_topics.h"
#include "event.h"
#include "hot.h"

struct archive;
struct schema_cache;

struct archive_settings {
    const char *conninfo;
    const char *application; /* shown in pg_stat_activity */
    const struct bf_topics *topics; /* how each topic is cut */
    struct schema_cache *schemas;   /* archive_write decodes payloads with it; readers need none */
    int64_t connect_timeout_ms, statement_timeout_ms;
    int64_t plan_age_max_us; /* how old a kept plan may be; 0: 5 s */
    bool read_only; /* readers: SET default_transaction_read_only */
};

/* The name under which pg_stat_activity shows the sessions that write: which instance's is told behind it. Another instance that waits for locks of theirs
 * knows them by it. */
#define ARCHIVE_ARCHIVER "capsule archiver"
#define ARCHIVE_INGEST "capsule ingest"
#define ARCHIVE_APPLICATION_MAX 64
void archive_application(char dst[ARCHIVE_APPLICATION_MAX], const char *kind, const struct bf_uuid *owner);

/* Never connects by itself: the first call does. */
BF_MUST_CHECK enum bf_code archive_open(const struct archive_settings *settings, struct archive **out, struct bf_err *err);
void archive_close(struct archive *a);
/* Connected and answering? */
BF_MUST_CHECK enum bf_code archive_ping(struct archive *a, struct bf_err *err);

/* Apply migrations/NNNN_name.sql in order under an advisory lock, each in its own transaction, its SHA-256 kept. A changed
 * or an unknown newer one: BF_BROKEN, nothing done. */
BF_MUST_CHECK enum bf_code archive_migrate(struct archive *a, const char *migrations_dir, int *applied, struct bf_err *err);

/* Bind this database to a Kafka cluster at first use; another one recorded there gives BF_BROKEN. */
BF_MUST_CHECK enum bf_code archive_bind_cluster(struct archive *a, const char *cluster_id, struct bf_err *err);

/* The key of that name, `len` bytes of it, shared by all instances of this archive. */
BF_MUST_CHECK enum bf_code archive_secret(struct archive *a, const char *name, uint8_t *out, size_t len, struct bf_err *err);
/* Which database this is: random, made with it; a restored backup says the same. */
BF_MUST_CHECK enum bf_code archive_identity(struct archive *a, struct bf_uuid *id, struct bf_err *err);

struct archive_partition {
    char topic[250];
    int32_t partition;
    struct bf_uuid owner;
    int64_t epoch, next_offset;
};
/* Every partition the archive knows; free(*out). */
BF_MUST_CHECK enum bf_code archive_partitions(struct archive *a, struct archive_partition **out, size_t *count, struct bf_err *err);

/* One partition as the ledger has it: the ranges of capsule.coverage added up. Newest times are not among it (0). */
struct archive_ledger {
    struct bf_uuid owner;
    struct hot_partition partition;
};
/* Of every partition; free(*out). */
BF_MUST_CHECK enum bf_code archive_ledgers(struct archive *a, struct archive_ledger **out, size_t *count, struct bf_err *err);
/* As hot_coverage(). */
BF_MUST_CHECK enum bf_code archive_coverage(struct archive *a, struct bf_slice topic, int32_t partition, int64_t from, size_t limit,
                                            struct interval *out, size_t *count, struct bf_err *err);

struct archive_cut {
    struct bf_slice topic;
    int32_t partition;
    int64_t from, to, cut_at_us;
};

/* Take partitions: for each raise the epoch and set the owner in one transaction (rows are made when missing, next_offset -1). out[i] belongs to
 * tps[i]; previous_owner tells whether somebody else held it since. */
struct archive_taken {
    int64_t epoch, next_offset; /* next_offset -1: never archived */
    struct bf_uuid previous_owner;
    int64_t previous_epoch;     /* 0: none */
    int64_t through_us;         /* how far this owner's log is archived, as of the moment of taking; 0: nothing */
};
BF_MUST_CHECK enum bf_code archive_take(struct archive *a, const struct bf_uuid *owner, const struct bf_tp *tps, size_t count,
                                        struct archive_taken *out, struct bf_err *err);
/* The same; each new epoch also lies above least_epochs[i] (NULL: none): a database that was restored from a backup has forgotten some. */
BF_MUST_CHECK enum bf_code archive_take_above(struct archive *a, const struct bf_uuid *owner, const struct bf_tp *tps, const int64_t *least_epochs,
                                              size_t count, struct archive_taken *out, struct bf_err *err);

/* The partition's log holds other records than before from `from` on; `to` is how far it was read and archived. BF_BROKEN with native 1: it is not
 * this owner's, or not archived up to there. */
BF_MUST_CHECK enum bf_code archive_cut(struct archive *a, const struct bf_uuid *owner, const struct archive_cut *cut, struct bf_err *err);
/* The newest cut of a partition (topic and partition in *cut are set by the caller); BF_NOT_FOUND: there is none. */
BF_MUST_CHECK enum bf_code archive_last_cut(struct archive *a, struct archive_cut *cut, struct bf_err *err);

/* Write one chunk in one transaction: rows by COPY, duplicates, quarantine, coverage, and every partition's next_offset fenced by
 * (owner, epoch, offset_before). Also archived_through of this owner. BF_BROKEN with sqlstate "" and native 1: the fence was lost, nothing was written.
 * An unknown outcome of COMMIT is resolved by reading the stored offsets again. BF_REJECTED: a row is refused; native = index of the event. */
BF_MUST_CHECK enum bf_code archive_write(struct archive *a, const struct bf_uuid *owner, const struct hot_chunk *chunk, struct bf_err *err);

/* The same in two steps, so that the rows of one chunk can be copied over one connection while another is written over a second one: stage leaves
 * the transaction open, with all but fence, ledger and offsets in it; settle adds these and commits, unstage rolls back. The errors are those
 * of archive_write, except that stage gives BF_REJECTED (23505) for an id that is there already: go the plain way then. */
BF_MUST_CHECK enum bf_code archive_stage(struct archive *a, const struct hot_chunk *chunk, struct bf_err *err);
BF_MUST_CHECK enum bf_code archive_settle(struct archive *a, const struct bf_uuid *owner, const struct hot_chunk *chunk, struct bf_err *err);
void archive_unstage(struct archive *a);

/* How far this owner's log is archived; 0: nothing. */
BF_MUST_CHECK enum bf_code archive_through(struct archive *a, const struct bf_uuid *owner, int64_t *through_us, struct bf_err *err);
/* The highest recorded_at anybody archived; 0: nothing. */
BF_MUST_CHECK enum bf_code archive_newest(struct archive *a, int64_t *recorded_at_us, struct bf_err *err);

/* Names of nodes in byte order after `after` (absent: from the start), NUL-separated, at most `limit`. As hot_nodes(). */
BF_MUST_CHECK enum bf_code archive_node_names(struct archive *a, struct bf_slice prefix, struct bf_slice after, size_t limit, struct bf_buf *names,
                                              size_t *count, struct bf_err *err);
/* What there is of one node, by topic. As hot_node(): BF_NOT_FOUND when nothing is known of it. */
BF_MUST_CHECK enum bf_code archive_node(struct archive *a, struct bf_slice node, struct hot_node_topic *topics, size_t topics_max, size_t *count,
                                        struct bf_err *err);

/* What other instances do here. One counts that was seen within ten minutes: each writes at least once a minute. */
struct archive_others {
    bool hold;           /* some other one holds a partition */
    int64_t archived_us; /* the highest recorded_at that others archived; 0: none did */
    int64_t schemas;     /* how many the archive keeps */
    int64_t closed_us;   /* nothing more will come that anybody recorded at or before this; 0: nothing is certain */
};
/* Ask after this owner's own commit: who takes a partition later records above it. `gone` (NUL-separated names): topics that Kafka has no more; who holds
 * those only holds nothing. */
BF_MUST_CHECK enum bf_code archive_others(struct archive *a, const struct bf_uuid *owner, struct bf_slice gone, struct archive_others *out,
                                          struct bf_err *err);
/* The topics of which others hold partitions, NUL-separated. */
BF_MUST_CHECK enum bf_code archive_topics_of_others(struct archive *a, const struct bf_uuid *owner, struct bf_buf *names, struct bf_err *err);
/* Where a partition ends in the archive, and how far its owner is archived. BF_NOT_FOUND: nobody ever held it. */
BF_MUST_CHECK enum bf_code archive_partition_end(struct archive *a, struct bf_slice topic, int32_t partition, int64_t *next_offset,
                                                 int64_t *through_us, struct bf_err *err);
/* This owner is there, and all that it recorded at or before `through_us` (0: unsaid) is archived. */
BF_MUST_CHECK enum bf_code archive_promise(struct archive *a, const struct bf_uuid *owner, int64_t through_us, struct bf_err *err);

/* Schemas: put is idempotent; the typed view of `topic` (may be absent) is made or replaced from it. */
BF_MUST_CHECK enum bf_code archive_schema_put(struct archive *a, int32_t id, struct bf_slice type, struct bf_slice schema,
                                              struct bf_slice refs_json, const char *topic, struct bf_err *err);
BF_MUST_CHECK enum bf_code archive_schema_each(struct archive *a,
                                               enum bf_code (*each)(void *ctx, int32_t id, struct bf_slice type, struct bf_slice schema,
                                                                    struct bf_slice refs_json, struct bf_err *err),
                                               void *ctx, struct bf_err *err);

/* For rebuild and takeover: every id of a partition (topic absent: of everything), streamed in batches. */
BF_MUST_CHECK enum bf_code archive_ids_each(struct archive *a, struct bf_slice topic, int32_t partition,
                                            enum bf_code (*each)(void *ctx, const struct hot_known_id *ids, size_t count, struct bf_err *err),
                                            void *ctx, struct bf_err *err);
BF_MUST_CHECK enum bf_code archive_intervals_each(struct archive *a, struct bf_slice topic, int32_t partition,
                                                  enum bf_code (*each)(void *ctx, const struct interval *iv, size_t count, struct bf_err *err),
                                                  void *ctx, struct bf_err *err);

/* Readers: the same question as hot_fetch, among recorded_at < below_us. */
BF_MUST_CHECK enum bf_code archive_fetch(struct archive *a, const struct event_query *q, int64_t below_us, const struct event_pos *after,
                                         size_t limit, struct event_page *page, bool *exhausted, struct bf_err *err);
/* State of every node (with prefix) among recorded_at < below_us: rows in byte order of node id, then topic. Replaced revisions are left out as
 * far as the archive knows. */
BF_MUST_CHECK enum bf_code archive_world(struct archive *a, const struct event_query *q, int64_t as_of_us, int64_t below_us,
                                         struct bf_slice after_node, size_t limit_nodes, struct event_page *page, bool *exhausted,
                                         struct bf_err *err);
BF_MUST_CHECK enum bf_code archive_duplicates(struct archive *a, struct bf_slice topic, const struct bf_uuid *id, int64_t below_us, size_t max,
                                              struct duplicate *out, size_t *count, struct bf_err *err);
BF_MUST_CHECK enum bf_code archive_quarantine(struct archive *a, const struct poison_query *q, size_t limit, struct poison **out,
                                              size_t *count, struct bf_err *err);

/* ---- who read what ---- */

#define ARCHIVE_DIGEST_TEXT 71 /* "sha256:" and 64 digits */

/* One entry of an instance's log of reads: a read, or (end) how a stream ended. Strings are borrowed. */
struct archive_read {
    int64_t id;      /* ascending within an instance; a time in microseconds, made distinct */
    int64_t of_id;   /* end: the read that ended */
    bool end;
    bool finished;   /* a read: the whole answer is known; an end: the stream was complete */
    int32_t status;
    int64_t rows, bytes;
    struct bf_slice who, peer, method, route, question, digest; /* who, digest: may be absent */
};
/* In one transaction; ids ascend, and lie above archive_reads_through(): ask again after any failure. */
BF_MUST_CHECK enum bf_code archive_reads_put(struct archive *a, const struct bf_uuid *instance, const struct archive_read *reads, size_t count,
                                             struct bf_err *err);
/* The highest id of this instance that is here; 0: none. */
BF_MUST_CHECK enum bf_code archive_reads_through(struct archive *a, const struct bf_uuid *instance, int64_t *through, struct bf_err *err);

struct archive_reads_query {
    int64_t from_us, to_us;       /* read_at in [from, to) */
    struct bf_slice who;          /* absent: everybody */
    bool has_after;
    int64_t after_id;             /* with after_instance: behind this one */
    struct bf_uuid after_instance;
};
struct archive_read_row {
    struct bf_uuid instance;
    struct archive_read read;     /* id, status, strings; rows, bytes, digest as known */
    int64_t read_at_us, ended_at_us; /* ended_at_us 0: not known */
    bool known, complete;         /* known: how it ended */
};
/* In the order of (read_at, instance, id), at most limit. */
BF_MUST_CHECK enum bf_code archive_reads_list(struct archive *a, const struct archive_reads_query *q, size_t limit,
                                              enum bf_code (*row)(void *ctx, const struct archive_read_row *row, struct bf_err *err), void *ctx,
                                              struct bf_err *err);

#endif
