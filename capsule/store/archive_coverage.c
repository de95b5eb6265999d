/* What became of every offset: the intervals of capsule.coverage, and each partition's sums of them. */
#include "archive_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERVAL_SELECT "select topic, kafka_partition, from_offset, to_offset, disposition from capsule.coverage "

static enum bf_code interval_from_row(const PGresult *r, int row, struct interval *iv, struct bf_err *err) {
    char name[32];
    struct bf_slice d = pg_bytes(r, row, 4);
    *iv = (struct interval){.topic = pg_bytes(r, row, 0), .partition = pg_int4(r, row, 1), .from = pg_int8(r, row, 2), .to = pg_int8(r, row, 3)};
    snprintf(name, sizeof name, "%.*s", (int)d.len, (const char *)d.data);
    return disposition_parse(name, &iv->disposition) ? BF_OK : bf_fail(err, BF_BROKEN, 0, "the archive has a disposition that is not known: %s", name);
}

struct intervals {
    enum bf_code (*each)(void *ctx, const struct interval *iv, size_t count, struct bf_err *err);
    void *ctx;
};

static enum bf_code hand_interval(void *ctx, const PGresult *r, struct bf_err *err) {
    struct intervals *x = ctx;
    struct interval iv;
    return interval_from_row(r, 0, &iv, err) == BF_OK ? x->each(x->ctx, &iv, 1, err) : err->code;
}

enum bf_code archive_intervals_each(struct archive *a, struct bf_slice topic, int32_t partition,
                                    enum bf_code (*each)(void *ctx, const struct interval *iv, size_t count, struct bf_err *err), void *ctx,
                                    struct bf_err *err) {
    struct intervals x = {each, ctx};
    params_clear(&a->params);
    params_text(&a->params, topic);
    params_int4(&a->params, partition);
    return archive_stream(a, INTERVAL_SELECT "where $1::text is null or (topic = $1 and kafka_partition = $2) order by topic, kafka_partition, from_offset",
                          "reading the ledger", hand_interval, &x, err);
}

enum bf_code archive_coverage(struct archive *a, struct bf_slice topic, int32_t partition, int64_t from, size_t limit, struct interval *out,
                              size_t *count, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_text(&a->params, topic);
    params_int4(&a->params, partition);
    params_int8(&a->params, from);
    params_int8(&a->params, (int64_t)limit);
    enum bf_code code = archive_exec(a, INTERVAL_SELECT "where topic = $1 and kafka_partition = $2 and to_offset > $3 order by to_offset limit $4",
                                     "reading the ledger", &r, err);
    if (code != BF_OK)
        return code;
    *count = (size_t)PQntuples(r);
    for (size_t i = 0; i < *count && code == BF_OK; i++) {
        code = interval_from_row(r, (int)i, &out[i], err);
        out[i].topic = topic;
    }
    PQclear(r);
    return code;
}

static const char *const ledgers_sql =
    "select s.topic, s.kafka_partition, s.owner, s.epoch, s.next_offset, coalesce(min(c.from_offset), -1),"
    " coalesce(sum(c.to_offset - c.from_offset) filter (where c.disposition = 'stored'), 0)::bigint,"
    " coalesce(sum(c.to_offset - c.from_offset) filter (where c.disposition = 'duplicate'), 0)::bigint,"
    " coalesce(sum(c.to_offset - c.from_offset) filter (where c.disposition = 'quarantined'), 0)::bigint,"
    " coalesce(sum(c.to_offset - c.from_offset) filter (where c.disposition = 'control'), 0)::bigint,"
    " coalesce(sum(c.to_offset - c.from_offset) filter (where c.disposition = 'lost-before-read'), 0)::bigint"
    " from capsule.partition_state s left join capsule.coverage c on c.topic = s.topic and c.kafka_partition = s.kafka_partition"
    " group by s.topic, s.kafka_partition order by s.topic, s.kafka_partition";

enum bf_code archive_ledgers(struct archive *a, struct archive_ledger **out, size_t *count, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    enum bf_code code = archive_exec(a, ledgers_sql, "adding up the ledger", &r, err);
    if (code != BF_OK)
        return code;
    size_t n;
    struct archive_ledger *all = archive_rows_room(r, sizeof *all, &n, err);
    if (!all)
        return err->code;
    for (size_t i = 0; i < n; i++) {
        struct hot_partition *p = &all[i].partition;
        struct bf_slice topic = pg_bytes(r, (int)i, 0);
        snprintf(p->topic, sizeof p->topic, "%.*s", (int)topic.len, (const char *)topic.data);
        p->partition = pg_int4(r, (int)i, 1);
        pg_uuid(r, (int)i, 2, &all[i].owner);
        p->epoch = pg_int8(r, (int)i, 3);
        p->next_offset = pg_int8(r, (int)i, 4);
        p->first_offset = pg_int8(r, (int)i, 5);
        for (int d = DISPOSITION_STORED; d <= DISPOSITION_LOST; d++)
            p->by_disposition[d] = (uint64_t)pg_int8(r, (int)i, 6 + d);
        p->events = p->by_disposition[DISPOSITION_STORED];
        if (p->next_offset < 0) /* taken, and nothing of it archived */
            p->next_offset = 0;
    }
    PQclear(r);
    *out = all;
    *count = n;
    return BF_OK;
}
