/* What the archive's files share: the connection, how statements run, the caches. Not for anybody else. */
#ifndef ARCHIVE_INTERNAL_H
#define ARCHIVE_INTERNAL_H

#include "archive.h"
#include "archive_params.h"

#define ARCHIVE_NAME_MAX 64 /* PostgreSQL's identifiers, with the NUL */
/* A check constraint is named when a row violates it. Without a name it is that no partition takes the row, which is not the row's fault: BF_AGAIN. */
#define ARCHIVE_NO_PARTITION "23514"

/* Ranges of event time that have a partition, per topic. */
struct archive_range {
    int64_t from_us, to_us;
};
struct archive_topic {
    char topic[BF_TOPIC_MAX + 1];
    struct archive_range *ranges; /* ascending */
    size_t count, capacity, hint;
    int64_t ahead_checked_us; /* when the partitions ahead of now were last seen to */
};

struct archive_table { /* a topic's table, for readers */
    char topic[BF_TOPIC_MAX + 1];
    char domain[BF_TOPIC_MAX + 1];
    char table[ARCHIVE_NAME_MAX];
};

struct archive_statements; /* those that this connection keeps */
struct archive_nodes; /* (topic, node) pairs known to be in capsule.node_topics */

struct archive {
    char *conninfo, *application;
    struct archive_settings s; /* strings point at the copies above */
    PGconn *pg;                /* NULL: not connected */
    bool in_transaction;
    struct params params;      /* of the statement being put together */
    struct bf_buf copy, sql;
    struct archive_topic *topics;
    size_t topic_count;
    struct archive_table *tables;
    size_t table_count;
    struct archive_nodes *nodes;
    struct archive_statements *statements; /* NULL: none yet */
};

/* ---- archive_connect.c ---- */

/* Connect unless connected. */
BF_MUST_CHECK enum bf_code archive_ready(struct archive *a, struct bf_err *err);
void archive_disconnect(struct archive *a);
/* Say what a failed result (NULL: the connection) means. BF_AGAIN closes the connection. Does not clear r. */
enum bf_code archive_fail(struct archive *a, const PGresult *r, const char *doing, struct bf_err *err);
/* One statement with a->params, binary result; *out (may be NULL) is the caller's to PQclear. `doing` goes into the message. */
BF_MUST_CHECK enum bf_code archive_exec(struct archive *a, const char *sql, const char *doing, PGresult **out, struct bf_err *err);
/* Zeroed room for each row of an answer: free(). NULL: no memory (err says so), and the answer is cleared. */
void *archive_rows_room(PGresult *r, size_t row_bytes, size_t *count, struct bf_err *err);
/* The same, with the rows one by one as they come. The callback may stop it with BF_CANCELLED, which is no failure. */
typedef enum bf_code (*archive_row_fn)(void *ctx, const PGresult *r, struct bf_err *err);
BF_MUST_CHECK enum bf_code archive_stream(struct archive *a, const char *sql, const char *doing, archive_row_fn row, void *ctx,
                                          struct bf_err *err);
/* Both for a statement that comes again and again and whose plan does not hang on its values: it is kept prepared. Outside of transactions. */
BF_MUST_CHECK enum bf_code archive_exec_kept(struct archive *a, const char *sql, const char *doing, PGresult **out, struct bf_err *err);
BF_MUST_CHECK enum bf_code archive_stream_kept(struct archive *a, const char *sql, const char *doing, archive_row_fn row, void *ctx,
                                               struct bf_err *err);
/* A whole script without parameters; results are thrown away. */
BF_MUST_CHECK enum bf_code archive_script(struct archive *a, const char *sql, const char *doing, struct bf_err *err);
BF_MUST_CHECK enum bf_code archive_begin(struct archive *a, struct bf_err *err);
/* The same; a lock that is not had within ARCHIVE_PATIENCE_MS is BF_AGAIN with 55P03. */
#define ARCHIVE_PATIENCE_MS 10000
BF_MUST_CHECK enum bf_code archive_begin_impatient(struct archive *a, struct bf_err *err);
void archive_rollback(struct archive *a);
/* BF_AGAIN with *unknown set: the connection went before the answer came. */
BF_MUST_CHECK enum bf_code archive_commit(struct archive *a, bool *unknown, struct bf_err *err);
/* COPY … FROM STDIN in pieces; the server's verdict comes at the end. */
BF_MUST_CHECK enum bf_code archive_copy_begin(struct archive *a, const char *sql, struct bf_err *err);
BF_MUST_CHECK enum bf_code archive_copy_put(struct archive *a, const struct bf_buf *piece, struct bf_err *err);
/* *line (may be NULL): the row the server complains of, from 1; 0: it does not say. */
BF_MUST_CHECK enum bf_code archive_copy_end(struct archive *a, int64_t *line, struct bf_err *err);

/* Role of this connection: what the settings call for, as far as the login may take it. */
BF_MUST_CHECK enum bf_code archive_take_role(struct archive *a, struct bf_err *err);

/* ---- archive_fence.c ---- */
/* After a transaction: when it waited for a lock in vain, end those sessions of other instances' that hold theirs and do not move. Nothing that fails
 * here matters: the caller tries again whatever happens. */
void archive_end_frozen_after(struct archive *a, enum bf_code code, const struct bf_err *err);

/* ---- archive_statements.c ---- */
#define ARCHIVE_STATEMENT_MAX 24
enum archive_statement_state { STATEMENT_ONCE, STATEMENT_TO_PREPARE, STATEMENT_READY };
/* How to ask this: as it is, or by name, preparing it first. Gives up another when there are too many, so outside of any result. */
BF_MUST_CHECK enum bf_code archive_statement(struct archive *a, const char *sql, enum archive_statement_state *state,
                                             char name[ARCHIVE_STATEMENT_MAX], struct bf_err *err);
void archive_statements_forget(struct archive *a); /* the connection, or the server's memory of them, is gone */

/* ---- archive_partitions.c ---- */
/* Every event's topic and range has a partition afterwards. Own transactions: call outside of one. */
BF_MUST_CHECK enum bf_code archive_ensure(struct archive *a, const struct hot_chunk *chunk, struct bf_err *err);
/* The topic's table is there afterwards, and partitions for now. */
BF_MUST_CHECK enum bf_code archive_ensure_topic(struct archive *a, const char *topic, struct bf_err *err);
void archive_forget_partitions(struct archive *a);

/* ---- archive_nodes.c ---- */
/* Insert the pairs of these events that are not known yet, in the open transaction. */
BF_MUST_CHECK enum bf_code archive_nodes_put(struct archive *a, const struct event *events, size_t count, struct bf_err *err);
void archive_nodes_settle(struct archive *a, bool committed);
void archive_nodes_free(struct archive *a);

/* ---- archive_copy.c ---- */
#define ARCHIVE_EVENT_COLUMNS                                                                                                    \
    "event_id, revision, kafka_partition, kafka_offset, event_time, kafka_time, recorded_at, schema_id, topic, rim_node_id, "    \
    "trace_id, cause_id, source_id, payload, content_hash, \"key\", headers, raw, redriven"
/* COPY events[from, to) into `table` ("capsule.events" or the staging table). BF_REJECTED: native is the event's index or -1. */
BF_MUST_CHECK enum bf_code archive_copy_events(struct archive *a, const char *table, const struct event *events, size_t from, size_t to,
                                               struct bf_err *err);

/* ---- archive_read.c ---- */
/* The topics' tables, read again. */
BF_MUST_CHECK enum bf_code archive_tables_load(struct archive *a, struct bf_err *err);

#endif
