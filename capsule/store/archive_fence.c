/* Who holds which partition, and how far it is archived. */
#include "archive_internal.h"

#include "bf_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tps_params(struct params *p, const struct bf_uuid *owner, const struct bf_tp *tps, const int64_t *least_epochs, size_t count) {
    params_clear(p);
    params_array(p, PG_TEXT_ARRAY);
    for (size_t i = 0; i < count; i++)
        params_array_text(p, bf_slice_str(tps[i].topic));
    params_array_end(p);
    params_array(p, PG_INT4_ARRAY);
    for (size_t i = 0; i < count; i++)
        params_array_int4(p, tps[i].partition);
    params_array_end(p);
    if (!owner)
        return;
    params_uuid(p, owner);
    params_array(p, PG_INT8_ARRAY);
    for (size_t i = 0; i < count; i++)
        params_array_int8(p, least_epochs ? least_epochs[i] : 0);
    params_array_end(p);
}

/* Takers of overlapping sets meet in one order: that of the rows' key. */
static const char *const make_sql =
    "insert into capsule.partition_state (topic, kafka_partition)"
    " select * from unnest($1::text[], $2::int[]) as t (topic, part) order by topic collate \"C\", part on conflict do nothing";
static const char *const held_sql =
    "select t.i, s.owner, s.epoch, s.next_offset from capsule.partition_state s"
    " join unnest($1::text[], $2::int[]) with ordinality as t (topic, part, i) on s.topic = t.topic and s.kafka_partition = t.part"
    " order by s.topic, s.kafka_partition for update of s";
static const char *const take_sql =
    "update capsule.partition_state s set owner = $3, epoch = greatest(s.epoch, t.least) + 1, taken_at = now()"
    " from unnest($1::text[], $2::int[], $4::bigint[]) as t (topic, part, least) where s.topic = t.topic and s.kafka_partition = t.part";
/* After the rows above are locked: whatever this owner was archiving of them has ended. */
static const char *const sign_in_sql =
    "insert into capsule.instances (owner) values ($1) on conflict (owner) do update set last_seen_at = now() returning archived_through";

static enum bf_code read_held(struct archive *a, const int64_t *least_epochs, size_t count, struct archive_taken *taken, struct bf_err *err) {
    PGresult *r = NULL;
    enum bf_code code = archive_exec(a, held_sql, "looking at who holds the partitions", &r, err);
    if (code == BF_OK && (size_t)PQntuples(r) != count)
        code = bf_fail(err, BF_INVALID, 0, "%zu partitions to take, %d found: one is named twice", count, PQntuples(r));
    for (int row = 0; code == BF_OK && row < PQntuples(r); row++) {
        size_t i = (size_t)pg_int8(r, row, 0) - 1;
        struct archive_taken *t = &taken[i];
        int64_t least = least_epochs ? least_epochs[i] : 0;
        pg_uuid(r, row, 1, &t->previous_owner);
        t->previous_epoch = pg_int8(r, row, 2);
        t->epoch = (t->previous_epoch > least ? t->previous_epoch : least) + 1;
        t->next_offset = pg_int8(r, row, 3);
    }
    PQclear(r);
    return code;
}

static enum bf_code sign_in(struct archive *a, const struct bf_uuid *owner, size_t count, struct archive_taken *taken, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_uuid(&a->params, owner);
    enum bf_code code = archive_exec(a, sign_in_sql, "signing in", &r, err);
    for (size_t i = 0; code == BF_OK && i < count; i++)
        taken[i].through_us = PQgetisnull(r, 0, 0) ? 0 : pg_time(r, 0, 0);
    PQclear(r);
    return code;
}

/* ---- who holds what we wait for and does not move ---- */

/* A process that froze, or whose machine was cut off, keeps its transaction open and all that it has locked until PostgreSQL's own limits end it, after a
 * minute. It is told by what its session does: nothing, in a transaction as old as our patience, the server waiting for its client. One that
 * is only slow loses a transaction and does it again. Sessions of other logins are left alone. */
static const char *const end_frozen_sql =
    "select count(*) filter (where pg_terminate_backend(s.pid)) from pg_stat_activity s"
    " where s.datname = current_database() and s.usename = session_user and starts_with(s.application_name, $1) and s.application_name <> $2"
    " and s.xact_start < clock_timestamp() - $3::bigint * interval '1 millisecond' and s.wait_event = 'ClientRead'";

void archive_application(char dst[ARCHIVE_APPLICATION_MAX], const char *kind, const struct bf_uuid *owner) {
    char id[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(id, owner);
    snprintf(dst, ARCHIVE_APPLICATION_MAX, "%s %s", kind, id);
}

static enum bf_code end_sessions(struct archive *a, const char *kind, const char *own, int64_t *ended, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_text(&a->params, bf_slice_str(kind));
    params_text(&a->params, bf_slice_str(own));
    params_int8(&a->params, ARCHIVE_PATIENCE_MS);
    enum bf_code code = archive_exec(a, end_frozen_sql, "ending who does not move", &r, err);
    if (code == BF_OK)
        *ended += pg_int8(r, 0, 0);
    PQclear(r);
    return code;
}

static void end_frozen(struct archive *a) {
    static const char *const kinds[] = {ARCHIVE_ARCHIVER, ARCHIVE_INGEST};
    struct bf_err err;
    char own[ARCHIVE_APPLICATION_MAX];
    int64_t ended = 0;
    const char *mine = strrchr(a->application, ' ');
    enum bf_code code = archive_ready(a, &err);
    if (code == BF_OK)
        code = archive_script(a, "reset role", "looking for who does not move", &err); /* a writer may end nobody; the login may end its like */
    for (size_t i = 0; code == BF_OK && i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(own, sizeof own, "%s%s", kinds[i], mine ? mine : "");
        code = end_sessions(a, kinds[i], own, &ended, &err);
    }
    if (code != BF_OK)
        bf_log_err(BF_LOG_WARN, "frozen_owner_not_ended", &err, "what=\"PostgreSQL ends it after a minute\"");
    else if (ended > 0)
        bf_log(BF_LOG_WARN, "frozen_owner_ended", "sessions=%lld", (long long)ended);
    archive_disconnect(a); /* a session without its role is not used again */
}

void archive_end_frozen_after(struct archive *a, enum bf_code code, const struct bf_err *err) {
    if (code == BF_AGAIN && strcmp(err->sqlstate, "55P03") == 0)
        end_frozen(a);
}

/* ---- taking ---- */

enum bf_code archive_take(struct archive *a, const struct bf_uuid *owner, const struct bf_tp *tps, size_t count, struct archive_taken *out,
                          struct bf_err *err) {
    return archive_take_above(a, owner, tps, NULL, count, out, err);
}

enum bf_code archive_take_above(struct archive *a, const struct bf_uuid *owner, const struct bf_tp *tps, const int64_t *least_epochs, size_t count,
                                struct archive_taken *out, struct bf_err *err) {
    bool unknown;
    if (count == 0)
        return BF_OK;
    struct archive_taken *taken = calloc(count, sizeof *taken);
    if (!taken)
        return bf_fail(err, BF_NOMEM, 0, "no memory to take %zu partitions", count);
    enum bf_code code = archive_begin_impatient(a, err);
    if (code != BF_OK)
        goto done;
    tps_params(&a->params, NULL, tps, NULL, count);
    if ((code = archive_exec(a, make_sql, "taking partitions", NULL, err)) != BF_OK)
        goto done;
    if ((code = read_held(a, least_epochs, count, taken, err)) != BF_OK)
        goto done;
    tps_params(&a->params, owner, tps, least_epochs, count);
    if ((code = archive_exec(a, take_sql, "taking partitions", NULL, err)) != BF_OK)
        goto done;
    code = sign_in(a, owner, count, taken, err);
    if (code == BF_OK)
        code = archive_commit(a, &unknown, err); /* unknown: the caller takes again, which raises the epoch once more */
    if (code == BF_OK)
        memcpy(out, taken, count * sizeof *out);
done:
    archive_rollback(a);
    archive_end_frozen_after(a, code, err);
    free(taken);
    return code;
}

enum bf_code archive_cut(struct archive *a, const struct bf_uuid *owner, const struct archive_cut *cut, struct bf_err *err) {
    struct params *p = &a->params;
    PGresult *r = NULL;
    params_clear(p);
    params_text(p, cut->topic);
    params_int4(p, cut->partition);
    params_int8(p, cut->from);
    params_int8(p, cut->to);
    params_time(p, cut->cut_at_us);
    params_uuid(p, owner);
    enum bf_code code = archive_exec(a, "select capsule.cut_partition($1, $2, $3, $4, $5, $6)::int", "noting that a log was cut back", &r, err);
    if (code == BF_OK && pg_int4(r, 0, 0) == 0)
        code = bf_fail(err, BF_BROKEN, 1, "%.*s/%d is not ours, or not archived up to %lld", (int)cut->topic.len, (const char *)cut->topic.data,
                       cut->partition, (long long)cut->to);
    PQclear(r);
    return code;
}

enum bf_code archive_last_cut(struct archive *a, struct archive_cut *cut, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_text(&a->params, cut->topic);
    params_int4(&a->params, cut->partition);
    enum bf_code code = archive_exec(a,
                                     "select from_offset, to_offset, cut_at from capsule.log_cuts where topic = $1 and kafka_partition = $2"
                                     " order by cut_at desc limit 1",
                                     "reading where a log was cut back", &r, err);
    if (code == BF_OK && PQntuples(r) == 0)
        code = bf_fail(err, BF_NOT_FOUND, 0, "it was never cut back");
    if (code == BF_OK) {
        cut->from = pg_int8(r, 0, 0);
        cut->to = pg_int8(r, 0, 1);
        cut->cut_at_us = pg_time(r, 0, 2);
    }
    PQclear(r);
    return code;
}

enum bf_code archive_partitions(struct archive *a, struct archive_partition **out, size_t *count, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    enum bf_code code = archive_exec(a,
                                     "select topic, kafka_partition, owner, epoch, next_offset from capsule.partition_state"
                                     " order by topic, kafka_partition",
                                     "reading the partitions", &r, err);
    if (code != BF_OK)
        return code;
    size_t n;
    struct archive_partition *all = archive_rows_room(r, sizeof *all, &n, err);
    if (!all)
        return err->code;
    for (size_t i = 0; i < n; i++) {
        struct bf_slice topic = pg_bytes(r, (int)i, 0);
        snprintf(all[i].topic, sizeof all[i].topic, "%.*s", (int)topic.len, (const char *)topic.data);
        all[i].partition = pg_int4(r, (int)i, 1);
        pg_uuid(r, (int)i, 2, &all[i].owner);
        all[i].epoch = pg_int8(r, (int)i, 3);
        all[i].next_offset = pg_int8(r, (int)i, 4);
    }
    PQclear(r);
    *out = all;
    *count = n;
    return BF_OK;
}

/* ---- several instances ---- */

static const char *const others_sql =
    "select count(*) filter (where i.owner <> $1 and i.holds and i.lives), max(i.archived_through) filter (where i.owner <> $1),"
    " min(coalesce(i.archived_through, '-infinity')) filter (where i.holds and (i.lives or i.owner = $1)),"
    " (select count(*) from capsule.schemas)"
    " from (select x.owner, x.archived_through, x.last_seen_at > now() - interval '10 minutes' as lives,"
    " exists (select from capsule.partition_state s where s.owner = x.owner"
    "         and not (s.topic = any ($2) and s.taken_at < now() - interval '30 seconds')) as holds from capsule.instances x) i"; /* it may be there again */

static int64_t time_or_none(const PGresult *r, int column) {
    int64_t at_us = PQgetisnull(r, 0, column) ? 0 : pg_time(r, 0, column);
    return at_us > 0 ? at_us : 0;
}

enum bf_code archive_topics_of_others(struct archive *a, const struct bf_uuid *owner, struct bf_buf *names, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_uuid(&a->params, owner);
    enum bf_code code = archive_exec(a, "select distinct topic from capsule.partition_state where owner <> $1", "looking at what others hold", &r, err);
    bf_buf_clear(names);
    for (int row = 0; code == BF_OK && row < PQntuples(r); row++) {
        struct bf_slice name = pg_bytes(r, row, 0);
        bf_buf_append(names, name.data, name.len);
        bf_buf_putc(names, '\0');
    }
    PQclear(r);
    return code == BF_OK && names->failed ? bf_fail(err, BF_NOMEM, 0, "no memory for names of topics") : code;
}

enum bf_code archive_others(struct archive *a, const struct bf_uuid *owner, struct bf_slice gone, struct archive_others *out,
                            struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_uuid(&a->params, owner);
    params_array(&a->params, PG_TEXT_ARRAY);
    for (const char *name = gone.data, *end = name + gone.len; gone.len > 0 && name < end; name += strlen(name) + 1)
        params_array_text(&a->params, bf_slice_str(name));
    params_array_end(&a->params);
    enum bf_code code = archive_exec_kept(a, others_sql, "looking at the other instances", &r, err);
    if (code == BF_OK)
        *out = (struct archive_others){.hold = pg_int8(r, 0, 0) > 0, .archived_us = time_or_none(r, 1), .closed_us = time_or_none(r, 2),
                                       .schemas = pg_int8(r, 0, 3)};
    PQclear(r);
    return code;
}

enum bf_code archive_promise(struct archive *a, const struct bf_uuid *owner, int64_t through_us, struct bf_err *err) {
    params_clear(&a->params);
    params_uuid(&a->params, owner);
    params_time(&a->params, through_us > 0 ? through_us : INT64_MIN);
    return archive_exec_kept(a,
                             "update capsule.instances set last_seen_at = now(), archived_through = greatest(archived_through, nullif($2, '-infinity'))"
                             " where owner = $1",
                             "saying that all is archived", NULL, err);
}

enum bf_code archive_partition_end(struct archive *a, struct bf_slice topic, int32_t partition, int64_t *next_offset, int64_t *through_us,
                                   struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_text(&a->params, topic);
    params_int4(&a->params, partition);
    enum bf_code code = archive_exec_kept(a,
                                          "select s.next_offset, i.archived_through from capsule.partition_state s left join capsule.instances i"
                                          " on i.owner = s.owner where s.topic = $1 and s.kafka_partition = $2",
                                          "reading where a partition ends", &r, err);
    if (code == BF_OK && PQntuples(r) == 0)
        code = bf_fail(err, BF_NOT_FOUND, 0, "nobody ever held %.*s/%d", (int)topic.len, (const char *)topic.data, partition);
    if (code == BF_OK) {
        *next_offset = pg_int8(r, 0, 0);
        *through_us = time_or_none(r, 1);
    }
    PQclear(r);
    return code;
}
