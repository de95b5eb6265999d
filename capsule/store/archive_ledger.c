/* What is kept beside the events: duplicates, quarantine, schemas, and the ids that a new hot store learns. */
#include "archive_internal.h"

#include "bf_room.h"

#include <stdlib.h>
#include <string.h>

/* ---- duplicates ---- */

enum bf_code archive_duplicates(struct archive *a, struct bf_slice topic, const struct bf_uuid *id, int64_t below_us, size_t max,
                                struct duplicate *out, size_t *count, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_text(&a->params, topic);
    params_uuid(&a->params, id);
    params_time(&a->params, below_us);
    params_int8(&a->params, (int64_t)max);
    enum bf_code code = archive_exec_kept(a,
                                          "select revision, kafka_partition, kafka_offset, kafka_time, recorded_at from capsule.duplicates"
                                          " where topic = $1 and event_id = $2 and recorded_at < $3 order by recorded_at limit $4",
                                          "reading duplicates", &r, err);
    if (code != BF_OK)
        return code;
    *count = (size_t)PQntuples(r);
    for (int i = 0; i < PQntuples(r); i++)
        out[i] = (struct duplicate){.topic = topic, .id = *id, .revision = (uint32_t)pg_int4(r, i, 0), .partition = pg_int4(r, i, 1),
                                    .offset = pg_int8(r, i, 2), .kafka_time_us = pg_time(r, i, 3), .recorded_at_us = pg_time(r, i, 4)};
    PQclear(r);
    return BF_OK;
}

/* ---- quarantine ---- */

struct poisons {
    struct poison *all;
    size_t count, capacity;
};

static enum bf_code keep_poison(void *ctx, const PGresult *r, struct bf_err *err) {
    struct poisons *p = ctx;
    char reason[32];
    struct bf_slice name = pg_bytes(r, 0, 6);
    struct poison x = {.topic = pg_bytes(r, 0, 0), .partition = pg_int4(r, 0, 1), .offset = pg_int8(r, 0, 2), .kafka_time_us = pg_time(r, 0, 3),
                       .recorded_at_us = pg_time(r, 0, 4), .redriven_at_us = pg_time(r, 0, 5), .schema_id = pg_int4(r, 0, 7),
                       .detail = pg_bytes(r, 0, 8), .key = pg_bytes(r, 0, 9), .headers = pg_bytes(r, 0, 10), .value = pg_bytes(r, 0, 11)};
    size_t n = name.len < sizeof reason ? name.len : sizeof reason - 1;
    memcpy(reason, name.data, n);
    reason[n] = 0;
    if (!poison_reason_parse(reason, &x.reason))
        return bf_fail(err, BF_BROKEN, 0, "the archive has a reason of quarantine that is not known: %s", reason);
    if (!bf_room(p->all, p->count, p->capacity, 64))
        return bf_fail(err, BF_NOMEM, 0, "no memory for %zu quarantined records", p->count);
    enum bf_code code = poison_copy(&p->all[p->count], &x, err);
    p->count += code == BF_OK;
    return code;
}

/* An open condition is a null: the constant SQL serves every filter. */
static const char *const quarantine_sql =
    "select topic, kafka_partition, kafka_offset, kafka_time, quarantined_at, redriven_at, reason, schema_id, detail, \"key\", headers, raw"
    " from capsule.quarantine where ($1::text is null or topic = $1) and ($2::text is null or reason = $2) and ($3::int is null or schema_id = $3)"
    " and ($4::int is null or kafka_partition = $4) and ($5::bigint is null or kafka_offset = $5)"
    " and ($6::boolean is null or (redriven_at is not null) = $6)"
    " and quarantined_at > $7 and quarantined_at < $8 order by quarantined_at limit $9";

static void null_if(struct params *p, int number, bool open) {
    if (open)
        p->lengths[number - 1] = -1;
}

enum bf_code archive_quarantine(struct archive *a, const struct poison_query *q, size_t limit, struct poison **out, size_t *count,
                                struct bf_err *err) {
    struct params *p = &a->params;
    struct poisons found = {0};
    params_clear(p);
    params_text(p, q->topic);
    params_text(p, q->has_reason ? bf_slice_str(poison_reason_name(q->reason)) : BF_SLICE_NONE);
    null_if(p, params_int4(p, q->schema_id), q->schema_id == 0);
    null_if(p, params_int4(p, q->partition), !q->has_partition);
    null_if(p, params_int8(p, q->offset), !q->has_partition || q->offset < 0);
    null_if(p, params_bool(p, q->redriven), !q->has_redriven);
    params_time(p, q->after_us);
    params_time(p, q->below_us);
    params_int8(p, (int64_t)limit);
    enum bf_code code = archive_stream(a, quarantine_sql, "reading quarantined records", keep_poison, &found, err);
    if (code == BF_OK && !found.all && !(found.all = calloc(1, sizeof *found.all)))
        code = bf_fail(err, BF_NOMEM, 0, "no memory for quarantined records");
    if (code != BF_OK) {
        poison_free(found.all, found.count);
        return code;
    }
    *out = found.all;
    *count = found.count;
    return BF_OK;
}

/* ---- for a new hot store ---- */

#define IDS_AT_A_TIME 5000

struct ids {
    struct hot_known_id ids[IDS_AT_A_TIME];
    size_t count;
    enum bf_code (*each)(void *ctx, const struct hot_known_id *ids, size_t count, struct bf_err *err);
    void *ctx;
    struct bf_buf names;
    size_t node_at[IDS_AT_A_TIME], topic_at[IDS_AT_A_TIME];
};

static enum bf_code hand_over(struct ids *x, struct bf_err *err) {
    if (x->names.failed)
        return bf_fail(err, BF_NOMEM, 0, "no memory for %zu ids", x->count);
    for (size_t i = 0; i < x->count; i++) { /* only now does the buffer stay where it is */
        x->ids[i].topic.data = x->names.data + x->topic_at[i];
        x->ids[i].node_id.data = x->names.data + x->node_at[i];
    }
    enum bf_code code = x->count > 0 ? x->each(x->ctx, x->ids, x->count, err) : BF_OK;
    x->count = 0;
    bf_buf_clear(&x->names);
    return code;
}

static size_t keep_name(struct bf_buf *names, struct bf_slice s) {
    size_t at = names->len;
    bf_buf_append(names, s.data, s.len);
    return at;
}

static enum bf_code keep_id(void *ctx, const PGresult *r, struct bf_err *err) {
    struct ids *x = ctx;
    struct hot_known_id *id = &x->ids[x->count];
    struct bf_slice topic = pg_bytes(r, 0, 0), node = pg_bytes(r, 0, 1), hash = pg_bytes(r, 0, 6);
    memset(id, 0, sizeof *id);
    x->topic_at[x->count] = keep_name(&x->names, topic);
    x->node_at[x->count] = keep_name(&x->names, node);
    id->topic.len = topic.len;
    id->node_id.len = node.len;
    pg_uuid(r, 0, 2, &id->id);
    id->revision = (uint32_t)pg_int4(r, 0, 3);
    id->recorded_at_us = pg_time(r, 0, 4);
    id->event_time_us = pg_time(r, 0, 5);
    if (hash.len != sizeof id->content_hash)
        return bf_fail(err, BF_BROKEN, 0, "a content hash of %zu bytes in the archive", hash.len);
    memcpy(id->content_hash, hash.data, hash.len);
    return ++x->count == IDS_AT_A_TIME ? hand_over(x, err) : BF_OK;
}

enum bf_code archive_ids_each(struct archive *a, struct bf_slice topic, int32_t partition,
                              enum bf_code (*each)(void *ctx, const struct hot_known_id *ids, size_t count, struct bf_err *err), void *ctx,
                              struct bf_err *err) {
    struct ids *x = calloc(1, sizeof *x);
    if (!x)
        return bf_fail(err, BF_NOMEM, 0, "no memory for ids");
    x->each = each;
    x->ctx = ctx;
    bf_buf_init(&x->names, IDS_AT_A_TIME * 600);
    enum bf_code code = archive_script(a, "set statement_timeout = 0", "reading ids", err); /* as long as it takes; it streams */
    params_clear(&a->params);
    params_text(&a->params, topic);
    params_int4(&a->params, partition);
    if (code == BF_OK)
        code = archive_stream(a,
                              topic.data ? "select topic, rim_node_id, event_id, revision, recorded_at, event_time, content_hash"
                                           " from capsule.events where topic = $1 and kafka_partition = $2"
                                         : "select topic, rim_node_id, event_id, revision, recorded_at, event_time, content_hash"
                                           " from capsule.events where $1::text is null and $2::int is not null",
                              "reading ids", keep_id, x, err);
    if (code == BF_OK)
        code = hand_over(x, err);
    bf_buf_fini(&x->names);
    free(x);
    if (code != BF_OK)
        archive_disconnect(a);
    params_clear(&a->params);
    params_int8(&a->params, a->s.statement_timeout_ms);
    return code != BF_OK ? code
                         : archive_exec(a, "select set_config('statement_timeout', ($1::bigint)::text, false)", "setting the timeout", NULL, err);
}

/* ---- schemas ---- */

enum bf_code archive_schema_put(struct archive *a, int32_t id, struct bf_slice type, struct bf_slice schema, struct bf_slice refs_json,
                                const char *topic, struct bf_err *err) {
    PGresult *r = NULL;
    if (topic && archive_ensure_topic(a, topic, err) != BF_OK)
        return err->code;
    params_clear(&a->params);
    params_int4(&a->params, id);
    params_text(&a->params, type.data ? type : bf_slice_str("AVRO"));
    params_text(&a->params, schema);
    params_text(&a->params, refs_json);
    enum bf_code code = archive_exec(a, "insert into capsule.schemas (schema_id, type, schema, refs) values ($1, $2, $3, $4) on conflict do nothing",
                                     "keeping a schema", NULL, err);
    if (code != BF_OK || !topic)
        return code;
    params_clear(&a->params);
    params_int4(&a->params, id);
    params_text(&a->params, bf_slice_str(topic));
    code = archive_exec(a,
                        "insert into capsule.schema_topics (schema_id, topic) values ($1, $2) on conflict do nothing",
                        "keeping a schema", NULL, err);
    if (code != BF_OK)
        return code;
    params_clear(&a->params);
    params_text(&a->params, bf_slice_str(topic));
    code = archive_exec(a, "select capsule.refresh_typed_view($1)", "making a typed view", &r, err);
    PQclear(r);
    return code;
}

struct schemas {
    enum bf_code (*each)(void *ctx, int32_t id, struct bf_slice type, struct bf_slice schema, struct bf_slice refs_json, struct bf_err *err);
    void *ctx;
};

static enum bf_code hand_schema(void *ctx, const PGresult *r, struct bf_err *err) {
    struct schemas *x = ctx;
    return x->each(x->ctx, pg_int4(r, 0, 0), pg_bytes(r, 0, 1), pg_bytes(r, 0, 2), pg_bytes(r, 0, 3), err);
}

enum bf_code archive_schema_each(struct archive *a,
                                 enum bf_code (*each)(void *ctx, int32_t id, struct bf_slice type, struct bf_slice schema,
                                                      struct bf_slice refs_json, struct bf_err *err),
                                 void *ctx, struct bf_err *err) {
    struct schemas x = {each, ctx};
    params_clear(&a->params);
    return archive_stream(a, "select schema_id, type, schema, refs from capsule.schemas order by schema_id", "reading schemas", hand_schema, &x, err);
}
