#include "archive_replays.h"

#include "archive_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = {"running", "paused", "cancelled", "done", "failed"};
static const char *const order_names[] = {"event_time", "recorded", "offset"};

const char *replay_state_name(enum replay_state s) {
    return state_names[s];
}

#define COLUMNS                                                                                                                  \
    "id, name, topics, node, node_prefix, ordering, from_us, to_us, partition, known_by, rate, partitions, state, created_at, started_at,"  \
    " ended_at, events_sent, first_place, last_place, place, detail"

static void copy_text(char *dst, size_t bytes, struct bf_slice s) {
    snprintf(dst, bytes, "%.*s", (int)s.len, s.data ? (const char *)s.data : "");
}

static int place_of(const char *const *names, size_t count, struct bf_slice name) {
    for (size_t i = 0; i < count; i++)
        if (bf_slice_eq(name, bf_slice_str(names[i])))
            return (int)i;
    return 0;
}

static void job_from_row(const PGresult *r, int row, struct replay_job *job) {
    memset(job, 0, sizeof *job);
    pg_uuid(r, row, 0, &job->id);
    copy_text(job->name, sizeof job->name, pg_bytes(r, row, 1));
    copy_text(job->topics, sizeof job->topics, pg_bytes(r, row, 2));
    copy_text(job->node, sizeof job->node, pg_bytes(r, row, 3));
    copy_text(job->node_prefix, sizeof job->node_prefix, pg_bytes(r, row, 4));
    job->has_prefix = pg_bytes(r, row, 4).data != NULL;
    job->order = (enum event_order)place_of(order_names, 3, pg_bytes(r, row, 5));
    job->from = pg_int8(r, row, 6);
    job->to = pg_int8(r, row, 7);
    job->partition = pg_int4(r, row, 8);
    job->known_by_us = pg_time(r, row, 9);
    job->rate = pg_int8(r, row, 10);
    job->partitions = pg_int4(r, row, 11);
    job->state = (enum replay_state)place_of(state_names, 5, pg_bytes(r, row, 12));
    job->created_at_us = pg_time(r, row, 13);
    job->started_at_us = pg_time(r, row, 14);
    job->ended_at_us = pg_time(r, row, 15);
    job->sent = pg_int8(r, row, 16);
    job->first_place = pg_int8(r, row, 17);
    job->last_place = pg_int8(r, row, 18);
    job->has_place = pg_bytes(r, row, 19).data != NULL;
    job->place = pg_int8(r, row, 19);
    copy_text(job->detail, sizeof job->detail, pg_bytes(r, row, 20));
}

void replay_job_query(const struct replay_job *job, struct event_query *q) {
    event_query_init(q);
    for (const char *at = job->topics; *at; at += at[strcspn(at, ",")] ? strcspn(at, ",") + 1 : strlen(at))
        if (q->topic_count < EVENT_TOPICS_MAX)
            q->topics[q->topic_count++] = (struct bf_slice){at, strcspn(at, ",")};
    q->node = job->node[0] ? bf_slice_str(job->node) : BF_SLICE_NONE;
    q->node_prefix = job->has_prefix ? bf_slice_str(job->node_prefix) : BF_SLICE_NONE;
    q->order = job->order;
    q->known_by_us = job->known_by_us;
    if (job->order == ORDER_EVENT_TIME) {
        q->from_us = job->from;
        q->to_us = job->to;
    } else if (job->order == ORDER_RECORDED) {
        q->recorded_from_us = job->from;
        q->recorded_to_us = job->to;
    } else {
        q->by_partition = true;
        q->partition = job->partition;
        q->offset_from = job->from;
        q->offset_to = job->to;
    }
}

static void null_if(struct params *p, int number, bool none) {
    if (none)
        p->lengths[number - 1] = -1;
}

enum bf_code archive_replay_put(struct archive *a, const struct replay_job *job, struct bf_err *err) {
    struct params *p = &a->params;
    params_clear(p);
    params_uuid(p, &job->id);
    params_text(p, bf_slice_str(job->name));
    params_text(p, bf_slice_str(job->topics));
    params_text(p, job->node[0] ? bf_slice_str(job->node) : BF_SLICE_NONE);
    params_text(p, job->has_prefix ? bf_slice_str(job->node_prefix) : BF_SLICE_NONE);
    params_text(p, bf_slice_str(order_names[job->order]));
    params_int8(p, job->from);
    params_int8(p, job->to);
    null_if(p, params_int4(p, job->partition), job->order != ORDER_OFFSET);
    params_time(p, job->known_by_us);
    params_int8(p, job->rate);
    params_int4(p, job->partitions);
    params_int8(p, job->first_place);
    params_int8(p, job->last_place);
    return archive_exec(a,
                        "insert into capsule.replay_jobs (id, name, topics, node, node_prefix, ordering, from_us, to_us, partition, known_by, rate,"
                        " partitions, state, first_place, last_place)"
                        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'running', $13, $14) on conflict (id) do nothing",
                        "keeping a replay", NULL, err);
}

enum bf_code archive_replay_get(struct archive *a, const struct bf_uuid *id, struct replay_job *out, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_uuid(&a->params, id);
    enum bf_code code = archive_exec(a, "select " COLUMNS " from capsule.replay_jobs where id = $1", "reading a replay", &r, err);
    if (code != BF_OK)
        return code;
    if (PQntuples(r) == 1)
        job_from_row(r, 0, out);
    else
        code = bf_fail(err, BF_NOT_FOUND, 0, "there is no such replay");
    PQclear(r);
    return code;
}

enum bf_code archive_replay_list(struct archive *a, size_t limit, struct replay_job **out, size_t *count, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_int8(&a->params, (int64_t)limit);
    enum bf_code code = archive_exec(a, "select " COLUMNS " from capsule.replay_jobs order by created_at desc, id limit $1", "reading replays", &r,
                                     err);
    if (code != BF_OK)
        return code;
    size_t n;
    struct replay_job *all = archive_rows_room(r, sizeof *all, &n, err);
    if (!all)
        return err->code;
    for (size_t i = 0; i < n; i++)
        job_from_row(r, (int)i, &all[i]);
    PQclear(r);
    *out = all;
    *count = n;
    return BF_OK;
}

enum bf_code archive_replay_move(struct archive *a, const struct bf_uuid *id, enum replay_state to, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_uuid(&a->params, id);
    params_text(&a->params, bf_slice_str(state_names[to]));
    enum bf_code code = archive_exec(a,
                                     "with moved as (update capsule.replay_jobs set state = $2,"
                                     " ended_at = case when $2 = 'cancelled' then now() else ended_at end"
                                     " where id = $1 and (state = $2 or ($2 = 'paused' and state = 'running') or"
                                     " ($2 = 'running' and state = 'paused') or ($2 = 'cancelled' and state in ('running', 'paused'))) returning id)"
                                     " select (select count(*) from moved), state from capsule.replay_jobs where id = $1",
                                     "moving a replay", &r, err);
    if (code != BF_OK)
        return code;
    if (PQntuples(r) == 0)
        code = bf_fail(err, BF_NOT_FOUND, 0, "there is no such replay");
    else if (pg_int8(r, 0, 0) == 0)
        code = bf_fail(err, BF_EXISTS, 0, "the replay is %.*s", (int)pg_bytes(r, 0, 1).len, (const char *)pg_bytes(r, 0, 1).data);
    PQclear(r);
    return code;
}

enum bf_code archive_replay_take(struct archive *a, const struct bf_uuid *owner, int64_t lease_ms, const struct bf_uuid *others,
                                 size_t other_count, struct replay_job *out, struct bf_err *err) {
    PGresult *r = NULL;
    struct params *p = &a->params;
    params_clear(p);
    params_uuid(p, owner);
    params_int8(p, lease_ms);
    params_array(p, PG_UUID_ARRAY);
    for (size_t i = 0; i < other_count; i++)
        params_array_uuid(p, &others[i]);
    params_array_end(p);
    enum bf_code code = archive_exec(a,
                                     "update capsule.replay_jobs set owner = $1, heartbeat_at = now(), started_at = coalesce(started_at, now())"
                                     " where id = (select id from capsule.replay_jobs where state = 'running' and id <> all ($3)"
                                     " and (owner is null or owner = $1 or heartbeat_at < now() - $2 * interval '1 millisecond')"
                                     " order by created_at limit 1 for update skip locked) returning " COLUMNS,
                                     "taking a replay", &r, err);
    if (code != BF_OK)
        return code;
    if (PQntuples(r) == 1)
        job_from_row(r, 0, out);
    else
        code = bf_fail(err, BF_NOT_FOUND, 0, "no replay waits");
    PQclear(r);
    return code;
}

enum bf_code archive_replay_progress(struct archive *a, const struct bf_uuid *owner, const struct replay_job *job, enum replay_state *state,
                                     struct bf_err *err) {
    PGresult *r = NULL;
    struct params *p = &a->params;
    bool ends = job->state == REPLAY_DONE || job->state == REPLAY_FAILED;
    params_clear(p);
    params_uuid(p, &job->id);
    params_uuid(p, owner);
    params_int8(p, job->sent);
    null_if(p, params_int8(p, job->place), !job->has_place);
    params_text(p, job->detail[0] ? bf_slice_str(job->detail) : BF_SLICE_NONE);
    params_text(p, ends ? bf_slice_str(state_names[job->state]) : BF_SLICE_NONE);
    enum bf_code code = archive_exec(a,
                                     "update capsule.replay_jobs set events_sent = $3, place = coalesce($4, place), detail = $5, heartbeat_at = now(),"
                                     " state = case when state = 'running' then coalesce($6, state) else state end,"
                                     " ended_at = case when $6 is null then ended_at else coalesce(ended_at, now()) end"
                                     " where id = $1 and owner = $2 returning state",
                                     "telling a replay's progress", &r, err);
    if (code != BF_OK)
        return code;
    if (PQntuples(r) == 1)
        *state = (enum replay_state)place_of(state_names, 5, pg_bytes(r, 0, 0));
    else
        code = bf_fail(err, BF_NOT_FOUND, 0, "another instance runs this replay");
    PQclear(r);
    return code;
}
