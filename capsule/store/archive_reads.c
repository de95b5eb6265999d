/* The reads of history that were recorded: put in batches, never changed. Those that were whole at once go into one row a batch; streams, which are
 * few, into rows of their own, because their ends come later. */
#include "archive_internal.h"

#include "bf_json.h"

#include <string.h>

static void begin_row(struct params *p, const struct archive_read *x, int column) {
    switch (column) {
    case 0: params_array_int8(p, x->id); break;
    case 1: params_array_text(p, x->who); break;
    case 2: params_array_text(p, x->peer); break;
    case 3: params_array_text(p, x->method); break;
    case 4: params_array_text(p, x->route); break;
    case 5: params_array_text(p, x->question); break;
    case 6: params_array_int4(p, x->status); break;
    case 7: params_array_int4(p, x->finished); break;
    case 8: params_array_int8(p, x->rows); break;
    case 9: params_array_int8(p, x->bytes); break;
    default: params_array_text(p, x->digest); break;
    }
}

static void end_row(struct params *p, const struct archive_read *x, int column) {
    switch (column) {
    case 0: params_array_int8(p, x->of_id); break;
    case 1: params_array_int8(p, x->id); break;
    case 2: params_array_int4(p, x->finished); break;
    case 3: params_array_int8(p, x->rows); break;
    case 4: params_array_int8(p, x->bytes); break;
    default: params_array_text(p, x->digest); break;
    }
}

#define BLOCK_BYTES_MAX ((size_t)256 << 20)

static void member(struct bf_json *j, const char *key, struct bf_slice s) {
    if (s.data) {
        bf_json_key(j, key);
        bf_json_string_n(j, s.data, s.len);
    }
}

static void block_entry(struct bf_json *j, const struct archive_read *x) {
    bf_json_object(j);
    bf_json_member_int(j, "i", x->id);
    member(j, "w", x->who);
    member(j, "p", x->peer);
    member(j, "m", x->method);
    member(j, "r", x->route);
    member(j, "q", x->question);
    bf_json_member_int(j, "s", x->status);
    bf_json_member_int(j, "n", x->rows);
    bf_json_member_int(j, "b", x->bytes);
    member(j, "d", x->digest);
    bf_json_object_end(j);
}

static enum bf_code put_block(struct archive *a, const struct bf_uuid *instance, const struct archive_read *reads, size_t count,
                              struct bf_err *err) {
    struct bf_buf text;
    struct bf_json j;
    int64_t first = 0, last = 0;
    int32_t in_block = 0;
    bf_buf_init(&text, BLOCK_BYTES_MAX);
    bf_json_init(&j, &text);
    bf_json_array(&j);
    for (size_t i = 0; i < count; i++) {
        if (!reads[i].end && reads[i].finished) {
            first = in_block++ == 0 ? reads[i].id : first;
            last = reads[i].id;
            block_entry(&j, &reads[i]);
        }
    }
    bf_json_array_end(&j);
    enum bf_code code = BF_OK;
    if (text.failed) {
        code = bf_fail(err, BF_NOMEM, 0, "no memory for a block of reads");
    } else if (in_block > 0) {
        params_clear(&a->params);
        params_uuid(&a->params, instance);
        params_int8(&a->params, first);
        params_int8(&a->params, last);
        params_time(&a->params, first);
        params_time(&a->params, last);
        params_int4(&a->params, in_block);
        params_text(&a->params, (struct bf_slice){text.data, text.len});
        code = archive_exec(a,
                            "insert into capsule.read_blocks (instance, first_id, last_id, first_at, last_at, read_count, entries)"
                            " values ($1, $2, $3, $4, $5, $6, $7)",
                            "writing a block of reads", NULL, err);
    }
    bf_buf_fini(&text);
    return code;
}

/* All columns of those that are ends, or that are streams' beginnings; returns how many there are. */
static size_t put_columns(struct archive *a, const struct bf_uuid *instance, const struct archive_read *reads, size_t count, bool ends) {
    static const enum pg_oid begin_types[] = {PG_INT8_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY,
                                              PG_INT4_ARRAY, PG_INT4_ARRAY, PG_INT8_ARRAY, PG_INT8_ARRAY, PG_TEXT_ARRAY};
    static const enum pg_oid end_types[] = {PG_INT8_ARRAY, PG_INT8_ARRAY, PG_INT4_ARRAY, PG_INT8_ARRAY, PG_INT8_ARRAY, PG_TEXT_ARRAY};
    int columns = ends ? (int)(sizeof end_types / sizeof *end_types) : (int)(sizeof begin_types / sizeof *begin_types);
    size_t found = 0;
    params_clear(&a->params);
    params_uuid(&a->params, instance);
    for (int c = 0; c < columns; c++) {
        found = 0;
        params_array(&a->params, ends ? end_types[c] : begin_types[c]);
        for (size_t i = 0; i < count; i++) {
            if (reads[i].end != ends || (!ends && reads[i].finished))
                continue;
            (ends ? end_row : begin_row)(&a->params, &reads[i], c);
            found++;
        }
        params_array_end(&a->params);
    }
    return found;
}

#define US_TO_TIME(column) "timestamptz 'epoch' + " column " * interval '1 microsecond'"

static const char *const begin_sql =
    "insert into capsule.read_begins (instance, read_id, read_at, who, peer, method, route, question, status, finished, row_count, bytes, digest)"
    " select $1, id, " US_TO_TIME("id") ", who, peer, method, route, question, status, finished <> 0, rows, bytes, digest"
    " from unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::int[], $10::bigint[], $11::bigint[],"
    " $12::text[]) as t (id, who, peer, method, route, question, status, finished, rows, bytes, digest) on conflict do nothing";
static const char *const end_sql =
    "insert into capsule.read_ends (instance, read_id, end_id, ended_at, complete, row_count, bytes, digest)"
    " select $1, of_id, id, " US_TO_TIME("id") ", complete <> 0, rows, bytes, digest"
    " from unnest($2::bigint[], $3::bigint[], $4::int[], $5::bigint[], $6::bigint[], $7::text[]) as t (of_id, id, complete, rows, bytes, digest)"
    " on conflict do nothing";

enum bf_code archive_reads_put(struct archive *a, const struct bf_uuid *instance, const struct archive_read *reads, size_t count,
                               struct bf_err *err) {
    bool unknown = false;
    enum bf_code code = archive_begin(a, err);
    if (code == BF_OK)
        code = put_block(a, instance, reads, count, err);
    if (code == BF_OK && put_columns(a, instance, reads, count, false) > 0)
        code = archive_exec(a, begin_sql, "writing who read what", NULL, err);
    if (code == BF_OK && put_columns(a, instance, reads, count, true) > 0)
        code = archive_exec(a, end_sql, "writing how reads ended", NULL, err);
    if (code == BF_OK)
        return archive_commit(a, &unknown, err); /* unknown: the caller asks how far it got */
    archive_rollback(a);
    return code;
}

enum bf_code archive_reads_through(struct archive *a, const struct bf_uuid *instance, int64_t *through, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_uuid(&a->params, instance);
    enum bf_code code = archive_exec(a,
                                     "select greatest(coalesce((select max(read_id) from capsule.read_begins where instance = $1), 0),"
                                     " coalesce((select max(end_id) from capsule.read_ends where instance = $1), 0),"
                                     " coalesce((select max(last_id) from capsule.read_blocks where instance = $1), 0))",
                                     "asking how far the log of reads is written", &r, err);
    if (code == BF_OK)
        *through = pg_int8(r, 0, 0);
    PQclear(r);
    return code;
}

/* ---- asking ---- */

struct listing {
    enum bf_code (*row)(void *ctx, const struct archive_read_row *row, struct bf_err *err);
    void *ctx;
};

static enum bf_code one_row(void *ctx, const PGresult *r, struct bf_err *err) {
    const struct listing *l = ctx;
    struct archive_read_row row = {.known = !PQgetisnull(r, 0, 13)};
    (void)pg_uuid(r, 0, 0, &row.instance);
    row.read = (struct archive_read){.id = pg_int8(r, 0, 1), .who = pg_bytes(r, 0, 3), .peer = pg_bytes(r, 0, 4), .method = pg_bytes(r, 0, 5),
                                     .route = pg_bytes(r, 0, 6), .question = pg_bytes(r, 0, 7), .status = pg_int4(r, 0, 8),
                                     .rows = pg_int8(r, 0, 9), .bytes = pg_int8(r, 0, 10), .digest = pg_bytes(r, 0, 11)};
    row.read_at_us = pg_time(r, 0, 2);
    row.ended_at_us = PQgetisnull(r, 0, 12) ? 0 : pg_time(r, 0, 12);
    row.complete = row.known && pg_int4(r, 0, 13) != 0;
    return l->row(l->ctx, &row, err);
}

enum bf_code archive_reads_list(struct archive *a, const struct archive_reads_query *q, size_t limit,
                                enum bf_code (*row)(void *ctx, const struct archive_read_row *row, struct bf_err *err), void *ctx,
                                struct bf_err *err) {
    struct listing l = {row, ctx};
    params_clear(&a->params);
    params_time(&a->params, q->from_us);
    params_time(&a->params, q->to_us);
    params_text(&a->params, q->who);
    params_time(&a->params, q->has_after ? q->after_id : INT64_MIN);
    params_uuid(&a->params, &q->after_instance);
    params_int8(&a->params, (int64_t)limit);
    return archive_stream(a,
                          "select instance, read_id, read_at, who, peer, method, route, question, status, row_count, bytes, digest, ended_at,"
                          " complete::int from capsule.reads_between(greatest($1, $4), $2) where ($3::text is null or who = $3)"
                          " and (read_at, instance) > ($4, $5) order by read_at, instance, read_id limit $6",
                          "listing reads", one_row, &l, err);
}
