/* One chunk of the hot log into PostgreSQL, in one transaction.
 *
 * Phases: partitions exist (transactions of their own, harmless if we then fail); begin; the fence, first, because it also locks the
 * partitions' rows against a taker; events by COPY; duplicates, quarantine, ledger, revisions, nodes; archived_through; commit. When the
 * connection goes during commit, archived_through tells whether it counted.
 *
 * An id that is in the table already can only come after an unusual recovery, for the hot store knows every id: then the same chunk goes
 * through a staging table, and what is there already becomes a duplicate or the next revision.
 */
#include "archive_internal.h"

#include "bf_failpoint.h"

#include <stdlib.h>
#include <string.h>

#define STAGED "pg_temp.staged_events"

struct write {
    struct archive *a;
    const struct bf_uuid *owner;
    const struct hot_chunk *chunk;
    bool staged;
    struct interval *again; /* staged: offsets whose events were there already, from elsewhere; malloc'd, topics borrowed from the chunk */
    size_t again_count;
};

/* ---- the fence ---- */

/* The owner's own earlier epochs count: records of before a restart are still its, and nobody else moved next_offset since. */
static const char *const fence_sql =
    "update capsule.partition_state s set next_offset = c.after, updated_at = now()"
    " from unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[]) as c (topic, part, epoch, before, after)"
    " where s.topic = c.topic and s.kafka_partition = c.part and s.owner = $1 and s.epoch >= c.epoch"
    " and (s.next_offset = c.before or s.next_offset = -1)";

static void fence_params(struct params *p, const struct write *w) {
    const struct hot_chunk_partition *parts = w->chunk->partitions;
    size_t n = w->chunk->partition_count;
    params_clear(p);
    params_uuid(p, w->owner);
    params_array(p, PG_TEXT_ARRAY);
    for (size_t i = 0; i < n; i++)
        params_array_text(p, parts[i].topic);
    params_array_end(p);
    params_array(p, PG_INT4_ARRAY);
    for (size_t i = 0; i < n; i++)
        params_array_int4(p, parts[i].partition);
    params_array_end(p);
    params_array(p, PG_INT8_ARRAY);
    for (size_t i = 0; i < n; i++)
        params_array_int8(p, parts[i].epoch);
    params_array_end(p);
    params_array(p, PG_INT8_ARRAY);
    for (size_t i = 0; i < n; i++)
        params_array_int8(p, parts[i].offset_before);
    params_array_end(p);
    params_array(p, PG_INT8_ARRAY);
    for (size_t i = 0; i < n; i++)
        params_array_int8(p, parts[i].offset_after);
    params_array_end(p);
}

static enum bf_code put_fence(struct write *w, struct bf_err *err) {
    PGresult *r = NULL;
    if (w->chunk->partition_count == 0)
        return BF_OK;
    fence_params(&w->a->params, w);
    enum bf_code code = archive_exec(w->a, fence_sql, "moving the offsets", &r, err);
    if (code == BF_OK && strtoull(PQcmdTuples(r), NULL, 10) != w->chunk->partition_count) {
        code = bf_fail(err, BF_BROKEN, 1, "the fence is lost: %s of %zu partitions are still ours and where we left them", PQcmdTuples(r),
                       w->chunk->partition_count);
        err->sqlstate[0] = 0;
    }
    PQclear(r);
    return code;
}

/* ---- events ---- */

static const char *const unstage_sql[] = {
    "insert into capsule.events (" ARCHIVE_EVENT_COLUMNS ")"
    " select distinct on (event_id, revision, topic, event_time) " ARCHIVE_EVENT_COLUMNS " from " STAGED
    " order by event_id, revision, topic, event_time on conflict do nothing",
    /* there already with the same content, from elsewhere: seen again */
    "insert into capsule.duplicates (topic, event_id, revision, kafka_partition, kafka_offset, kafka_time, recorded_at)"
    " select s.topic, s.event_id, s.revision, s.kafka_partition, s.kafka_offset, s.kafka_time, s.recorded_at"
    " from " STAGED " s join capsule.events e using (event_id, revision, topic, event_time)"
    " where (s.kafka_partition, s.kafka_offset) <> (e.kafka_partition, e.kafka_offset) and s.content_hash = e.content_hash"
    " on conflict do nothing returning topic, kafka_partition, kafka_offset",
    /* there already with other content: the next revision */
    "with more as (insert into capsule.events (" ARCHIVE_EVENT_COLUMNS ")"
    " select s.event_id, n.newest + row_number() over (partition by s.topic, s.event_id order by s.recorded_at), s.kafka_partition,"
    " s.kafka_offset, s.event_time, s.kafka_time, s.recorded_at, s.schema_id, s.topic, s.rim_node_id, s.trace_id, s.cause_id, s.source_id,"
    " s.payload, s.content_hash, s.\"key\", s.headers, s.raw, s.redriven"
    " from " STAGED " s join capsule.events e using (event_id, revision, topic, event_time),"
    " lateral (select max(x.revision) as newest from capsule.events x where x.topic = s.topic and x.event_id = s.event_id) n"
    " where (s.kafka_partition, s.kafka_offset) <> (e.kafka_partition, e.kafka_offset) and s.content_hash <> e.content_hash"
    " returning topic, event_id, revision, recorded_at)"
    " insert into capsule.revisions (topic, event_id, revision, recorded_at) select * from more on conflict do nothing",
};

/* The hot store took them for new: the ledger has to say otherwise. Other statements return no rows. */
static enum bf_code keep_again(struct write *w, const PGresult *r, struct bf_err *err) {
    int rows = PQntuples(r);
    if (rows == 0)
        return BF_OK;
    struct interval *again = realloc(w->again, (w->again_count + (size_t)rows) * sizeof *again);
    if (!again)
        return bf_fail(err, BF_NOMEM, 0, "no memory for %d intervals", rows);
    w->again = again;
    for (int i = 0; i < rows; i++) {
        struct interval iv = {pg_bytes(r, i, 0), pg_int4(r, i, 1), pg_int8(r, i, 2), pg_int8(r, i, 2) + 1, DISPOSITION_DUPLICATE};
        for (size_t k = 0; k < w->chunk->event_count; k++)
            if (bf_slice_eq(w->chunk->events[k].topic, iv.topic)) {
                iv.topic = w->chunk->events[k].topic; /* which outlives the result */
                break;
            }
        again[w->again_count++] = iv;
    }
    return BF_OK;
}

static enum bf_code put_staged(struct write *w, struct bf_err *err) {
    struct archive *a = w->a;
    w->again_count = 0;
    enum bf_code code = archive_script(a, "create temp table staged_events (like capsule.events) on commit drop", "staging", err);
    if (code == BF_OK)
        code = archive_copy_events(a, STAGED, w->chunk->events, 0, w->chunk->event_count, err);
    for (size_t i = 0; code == BF_OK && i < sizeof unstage_sql / sizeof *unstage_sql; i++) {
        PGresult *r = NULL;
        params_clear(&a->params);
        code = archive_exec(a, unstage_sql[i], "unstaging", &r, err);
        if (code == BF_OK)
            code = keep_again(w, r, err);
        PQclear(r);
    }
    return code;
}

static enum bf_code put_events(struct write *w, struct bf_err *err) {
    if (w->staged)
        return put_staged(w, err);
    return archive_copy_events(w->a, "capsule.events", w->chunk->events, 0, w->chunk->event_count, err);
}

static enum bf_code put_revisions(struct write *w, struct bf_err *err) {
    const struct event *events = w->chunk->events;
    struct params *p = &w->a->params;
    size_t n = w->chunk->event_count;
    if (w->chunk->revised == 0)
        return BF_OK;
    params_clear(p);
    params_array(p, PG_TEXT_ARRAY);
    for (size_t i = 0; i < n; i++)
        if (events[i].revision > 1)
            params_array_text(p, events[i].topic);
    params_array_end(p);
    params_array(p, PG_UUID_ARRAY);
    for (size_t i = 0; i < n; i++)
        if (events[i].revision > 1)
            params_array_uuid(p, &events[i].id);
    params_array_end(p);
    params_array(p, PG_INT4_ARRAY);
    for (size_t i = 0; i < n; i++)
        if (events[i].revision > 1)
            params_array_int4(p, (int32_t)events[i].revision);
    params_array_end(p);
    params_array(p, PG_TIMESTAMPTZ_ARRAY);
    for (size_t i = 0; i < n; i++)
        if (events[i].revision > 1)
            params_array_time(p, events[i].recorded_at_us);
    params_array_end(p);
    return archive_exec(w->a,
                        "insert into capsule.revisions (topic, event_id, revision, recorded_at)"
                        " select * from unnest($1::text[], $2::uuid[], $3::int[], $4::timestamptz[]) on conflict do nothing",
                        "keeping revisions", NULL, err);
}

/* ---- duplicates and quarantine ---- */

static enum bf_code put_duplicates(struct write *w, struct bf_err *err) {
    const struct duplicate *d = w->chunk->duplicates;
    struct params *p = &w->a->params;
    size_t n = w->chunk->duplicate_count;
    if (n == 0)
        return BF_OK;
    params_clear(p);
#define COLUMN(type, add, what)                                                                                                  \
    params_array(p, type);                                                                                                       \
    for (size_t i = 0; i < n; i++)                                                                                               \
        add(p, what);                                                                                                            \
    params_array_end(p)
    COLUMN(PG_TEXT_ARRAY, params_array_text, d[i].topic);
    COLUMN(PG_UUID_ARRAY, params_array_uuid, &d[i].id);
    COLUMN(PG_INT4_ARRAY, params_array_int4, (int32_t)d[i].revision);
    COLUMN(PG_INT4_ARRAY, params_array_int4, d[i].partition);
    COLUMN(PG_INT8_ARRAY, params_array_int8, d[i].offset);
    COLUMN(PG_TIMESTAMPTZ_ARRAY, params_array_time, d[i].kafka_time_us);
    COLUMN(PG_TIMESTAMPTZ_ARRAY, params_array_time, d[i].recorded_at_us);
    return archive_exec(w->a,
                        "insert into capsule.duplicates (topic, event_id, revision, kafka_partition, kafka_offset, kafka_time, recorded_at)"
                        " select * from unnest($1::text[], $2::uuid[], $3::int[], $4::int[], $5::bigint[], $6::timestamptz[], $7::timestamptz[])"
                        " on conflict do nothing",
                        "keeping duplicates", NULL, err);
}

/* One by one: their values may be as large as anything, and there are few. */
static enum bf_code put_poisons(struct write *w, struct bf_err *err) {
    struct params *p = &w->a->params;
    enum bf_code code = BF_OK;
    for (size_t i = 0; code == BF_OK && i < w->chunk->poison_count; i++) {
        const struct poison *x = &w->chunk->poisons[i];
        params_clear(p);
        params_text(p, x->topic);
        params_int4(p, x->partition);
        params_int8(p, x->offset);
        params_time(p, x->kafka_time_us);
        params_time(p, x->recorded_at_us);
        params_text(p, bf_slice_str(poison_reason_name(x->reason)));
        params_int4(p, x->schema_id);
        params_text(p, x->detail.data ? x->detail : bf_slice_str(""));
        params_bytea(p, x->key);
        params_bytea(p, x->headers);
        params_bytea(p, x->value);
        code = archive_exec(w->a,
                            "insert into capsule.quarantine (topic, kafka_partition, kafka_offset, kafka_time, quarantined_at, reason, schema_id,"
                            " detail, \"key\", headers, raw) values ($1, $2, $3, $4, $5, $6, nullif($7, 0), $8, $9, $10, $11) on conflict do nothing",
                            "keeping quarantined records", NULL, err);
    }
    return code;
}

/* ---- the ledger ---- */

/* The first interval of a partition may lengthen the last one that is there; within a chunk neighbours are one already. */
static const char *const coverage_sql =
    "with added as (select * from unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::text[])"
    "   as i (topic, kafka_partition, from_offset, to_offset, disposition)),"
    " grown as (update capsule.coverage c set to_offset = i.to_offset from added i"
    "   where c.topic = i.topic and c.kafka_partition = i.kafka_partition and c.to_offset = i.from_offset and c.disposition = i.disposition"
    "   returning i.topic, i.kafka_partition, i.from_offset)"
    " insert into capsule.coverage (topic, kafka_partition, from_offset, to_offset, disposition)"
    " select * from added i where not exists (select from grown g where (g.topic, g.kafka_partition, g.from_offset) ="
    "   (i.topic, i.kafka_partition, i.from_offset))";

static size_t merge_end(const struct interval *iv, size_t i, size_t n) {
    size_t k = i + 1;
    while (k < n && bf_slice_eq(iv[k].topic, iv[i].topic) && iv[k].partition == iv[i].partition && iv[k].from == iv[k - 1].to &&
           iv[k].disposition == iv[i].disposition)
        k++;
    return k;
}

static int by_place(const void *a, const void *b) {
    const struct interval *x = a, *y = b;
    size_t least = x->topic.len < y->topic.len ? x->topic.len : y->topic.len;
    int c = memcmp(x->topic.data, y->topic.data, least);
    if (c == 0)
        c = (x->topic.len > y->topic.len) - (x->topic.len < y->topic.len);
    if (c == 0)
        c = (x->partition > y->partition) - (x->partition < y->partition);
    return c != 0 ? c : (x->from > y->from) - (x->from < y->from);
}

/* Take one offset out of the interval that holds it; iv has room for two more. */
static size_t split_out(struct interval *iv, size_t n, const struct interval *one) {
    for (size_t i = 0; i < n; i++) {
        struct interval *whole = &iv[i], rest = *whole;
        if (!bf_slice_eq(whole->topic, one->topic) || whole->partition != one->partition || one->from < whole->from || one->from >= whole->to)
            continue;
        rest.from = one->to;
        whole->to = one->from;
        if (whole->from == whole->to)
            *whole = *one;
        else
            iv[n++] = *one;
        if (rest.from < rest.to)
            iv[n++] = rest;
        break;
    }
    return n;
}

static void coverage_params(struct params *p, const struct interval *iv, size_t n) {
    params_clear(p);
#define MERGED(type, add, what)                                                                                                  \
    params_array(p, type);                                                                                                       \
    for (size_t i = 0, end; i < n; i = end) {                                                                                    \
        end = merge_end(iv, i, n);                                                                                               \
        add(p, what);                                                                                                            \
    }                                                                                                                            \
    params_array_end(p)
    MERGED(PG_TEXT_ARRAY, params_array_text, iv[i].topic);
    MERGED(PG_INT4_ARRAY, params_array_int4, iv[i].partition);
    MERGED(PG_INT8_ARRAY, params_array_int8, iv[i].from);
    MERGED(PG_INT8_ARRAY, params_array_int8, iv[end - 1].to);
    MERGED(PG_TEXT_ARRAY, params_array_text, bf_slice_str(disposition_name(iv[i].disposition)));
}

static int64_t recorded_at_of(const struct hot_chunk *chunk, const struct interval *iv) {
    for (size_t i = 0; i < chunk->event_count; i++)
        if (chunk->events[i].offset == iv->from && chunk->events[i].partition == iv->partition && bf_slice_eq(chunk->events[i].topic, iv->topic))
            return chunk->events[i].recorded_at_us;
    for (size_t i = 0; i < chunk->duplicate_count; i++)
        if (chunk->duplicates[i].offset == iv->from && chunk->duplicates[i].partition == iv->partition &&
            bf_slice_eq(chunk->duplicates[i].topic, iv->topic))
            return chunk->duplicates[i].recorded_at_us;
    return chunk->through_us;
}

/* One by one: there are few, and each changes what is there. */
static enum bf_code put_redriven(struct write *w, struct bf_err *err) {
    struct params *p = &w->a->params;
    enum bf_code code = BF_OK;
    for (size_t i = 0; code == BF_OK && i < w->chunk->redriven_count; i++) {
        const struct interval *iv = &w->chunk->redriven[i];
        params_clear(p);
        params_text(p, iv->topic);
        params_int4(p, iv->partition);
        params_int8(p, iv->from);
        params_text(p, bf_slice_str(disposition_name(iv->disposition)));
        params_time(p, recorded_at_of(w->chunk, iv));
        code = archive_exec(w->a, "select capsule.mark_redriven($1, $2, $3, $4, $5)", "marking redriven records", NULL, err);
    }
    return code;
}

static enum bf_code put_coverage(struct write *w, struct bf_err *err) {
    size_t n = w->chunk->interval_count;
    if (n == 0)
        return BF_OK;
    /* One commit after another lays the partitions side by side: neighbours lie together only once sorted. */
    struct interval *iv = malloc((n + 2 * w->again_count) * sizeof *iv);
    if (!iv)
        return bf_fail(err, BF_NOMEM, 0, "no memory for %zu intervals", n);
    memcpy(iv, w->chunk->intervals, n * sizeof *iv);
    for (size_t i = 0; i < w->again_count; i++)
        n = split_out(iv, n, &w->again[i]);
    qsort(iv, n, sizeof *iv, by_place);
    coverage_params(&w->a->params, iv, n);
    free(iv);
    return archive_exec(w->a, coverage_sql, "keeping the ledger", NULL, err);
}

/* ---- the transaction ---- */

static enum bf_code put_through(struct write *w, struct bf_err *err) {
    params_clear(&w->a->params);
    params_uuid(&w->a->params, w->owner);
    params_time(&w->a->params, w->chunk->through_us);
    return archive_exec(w->a,
                        "insert into capsule.instances (owner, archived_through) values ($1, $2) on conflict (owner) do update"
                        " set archived_through = greatest(capsule.instances.archived_through, excluded.archived_through), last_seen_at = now()",
                        "keeping how far it goes", NULL, err);
}

/* What else can be refused is no row's fault. */
static enum bf_code beside_events(enum bf_code code, struct bf_err *err) {
    if (code == BF_REJECTED)
        code = err->code = BF_BROKEN;
    return code;
}

/* What no other transaction of ours touches. */
static enum bf_code put_rows(struct write *w, struct bf_err *err) {
    enum bf_code code = put_events(w, err);
    if (code != BF_OK)
        return code;
    bf_failpoint("archive.after-copy");
    if ((code = put_revisions(w, err)) == BF_OK && (code = put_duplicates(w, err)) == BF_OK)
        code = put_poisons(w, err);
    return beside_events(code, err);
}

static enum bf_code put_books(struct write *w, struct bf_err *err) {
    enum bf_code code = archive_nodes_put(w->a, w->chunk->events, w->chunk->event_count, err);
    if (code == BF_OK && (code = put_coverage(w, err)) == BF_OK && (code = put_redriven(w, err)) == BF_OK)
        code = put_through(w, err);
    return beside_events(code, err);
}

static enum bf_code put_all(struct write *w, struct bf_err *err) {
    enum bf_code code = put_fence(w, err);
    bf_failpoint("archive.after-fence");
    if (code == BF_OK)
        code = put_rows(w, err);
    return code == BF_OK ? put_books(w, err) : code;
}

/* Is the chunk in already? Asked when the answer to COMMIT did not come, or when an earlier try may have counted. The row of this owner is locked by that transaction as long as it is undecided: wait for it. */
static enum bf_code resolve(struct write *w, struct bf_err *err) {
    PGresult *r = NULL;
    struct bf_err lost = *err;
    params_clear(&w->a->params);
    params_uuid(&w->a->params, w->owner);
    enum bf_code code = archive_exec(w->a, "select archived_through from capsule.instances where owner = $1 for update",
                                     "asking whether a commit counted", &r, err);
    if (code != BF_OK)
        return code;
    bool counted = PQntuples(r) == 1 && !PQgetisnull(r, 0, 0) && pg_time(r, 0, 0) >= w->chunk->through_us;
    PQclear(r);
    if (counted)
        return BF_OK;
    *err = lost;
    return err->code;
}

/* `code`: of what was put so far. */
static enum bf_code finish(struct write *w, enum bf_code code, struct bf_err *err) {
    bool unknown = false;
    bf_failpoint("archive.before-commit");
    if (code == BF_OK)
        code = archive_commit(w->a, &unknown, err);
    bf_failpoint("archive.after-commit");
    archive_rollback(w->a);
    if (code != BF_OK && unknown)
        code = resolve(w, err);
    archive_nodes_settle(w->a, code == BF_OK);
    return code;
}

static enum bf_code transaction(struct write *w, struct bf_err *err) {
    enum bf_code code = archive_begin_impatient(w->a, err);
    if (code == BF_OK)
        code = put_all(w, err);
    return finish(w, code, err);
}

/* What else a failure tells. */
static enum bf_code look_again(struct write *w, enum bf_code code, struct bf_err *err) {
    if (code == BF_AGAIN && strcmp(err->sqlstate, ARCHIVE_NO_PARTITION) == 0) /* one that we remember was dropped */
        archive_forget_partitions(w->a);
    archive_end_frozen_after(w->a, code, err);
    if (code == BF_BROKEN && err->native == 1 && !*err->sqlstate) /* or is it that this very chunk is written already? */
        code = resolve(w, err);
    return code;
}

enum bf_code archive_write(struct archive *a, const struct bf_uuid *owner, const struct hot_chunk *chunk, struct bf_err *err) {
    struct write w = {.a = a, .owner = owner, .chunk = chunk};
    enum bf_code code = archive_ensure(a, chunk, err);
    bf_failpoint("archive.after-partitions");
    if (code == BF_OK)
        code = transaction(&w, err);
    if (code == BF_REJECTED && strcmp(err->sqlstate, "23505") == 0) {
        w.staged = true;
        code = transaction(&w, err);
        if (code == BF_REJECTED && strcmp(err->sqlstate, "23505") == 0) /* somebody wrote the same id at the same moment */
            code = err->code = BF_AGAIN;
        free(w.again);
    }
    return look_again(&w, code, err);
}

enum bf_code archive_stage(struct archive *a, const struct hot_chunk *chunk, struct bf_err *err) {
    struct write w = {.a = a, .chunk = chunk};
    enum bf_code code = archive_ensure(a, chunk, err);
    if (code == BF_OK)
        code = archive_begin_impatient(a, err);
    if (code == BF_OK)
        code = put_rows(&w, err);
    if (code != BF_OK)
        archive_unstage(a);
    return code == BF_AGAIN ? look_again(&w, code, err) : code;
}

enum bf_code archive_settle(struct archive *a, const struct bf_uuid *owner, const struct hot_chunk *chunk, struct bf_err *err) {
    struct write w = {.a = a, .owner = owner, .chunk = chunk};
    enum bf_code code = put_fence(&w, err);
    if (code == BF_OK)
        code = put_books(&w, err);
    return look_again(&w, finish(&w, code, err), err);
}

void archive_unstage(struct archive *a) {
    archive_rollback(a);
}

enum bf_code archive_through(struct archive *a, const struct bf_uuid *owner, int64_t *through_us, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_uuid(&a->params, owner);
    enum bf_code code = archive_exec(a, "select archived_through from capsule.instances where owner = $1", "reading how far it goes", &r, err);
    if (code == BF_OK)
        *through_us = PQntuples(r) == 1 ? pg_time(r, 0, 0) : 0;
    PQclear(r);
    return code;
}

enum bf_code archive_newest(struct archive *a, int64_t *recorded_at_us, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    enum bf_code code = archive_exec(a, "select max(archived_through) from capsule.instances", "reading how far it goes", &r, err);
    if (code == BF_OK)
        *recorded_at_us = pg_time(r, 0, 0);
    PQclear(r);
    return code;
}
