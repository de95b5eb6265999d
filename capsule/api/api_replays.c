/* Replays into Kafka: ask for one, look at it, pause, resume, cancel it. The question is that of /v1/replay; known_by is cut at the archived
 * watermark, so that any instance can run the job to the same end. */
#include "api_replay.h"

#include "bf_time.h"
#include "replays.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE_MAX INT64_C(10000000)
#define PARTITIONS_MAX 1000
#define COUNT_ROWS 2000

static bool there(struct api_call *call) {
    struct bf_err err;
    if (call->capsule->replays) {
        return true;
    }
    bf_fail(&err, BF_AGAIN, 0, "replays into Kafka are not running here");
    bf_http_problem_err(call->req, &err, NULL);
    return false;
}

/* ---- a job as JSON ---- */

/* How much of the range is behind: by its clock, which is what there is without counting. */
static double progress_of(const struct replay_job *job) {
    if (job->state == REPLAY_DONE) {
        return 1;
    }
    if (!job->has_place || job->last_place <= job->first_place) {
        return 0;
    }
    double p = ((double)job->place - (double)job->first_place) / ((double)job->last_place - (double)job->first_place);
    return p < 0 ? 0 : p > 1 ? 1 : p;
}

static void member_time(struct bf_json *j, const char *key, int64_t t_us) {
    if (t_us != 0) {
        bf_json_member_time(j, key, t_us);
    } else {
        bf_json_key(j, key);
        bf_json_null(j);
    }
}

static void member_eta(struct bf_json *j, const struct replay_job *job, double progress) {
    double elapsed = (double)(bf_time_now_us() - job->started_at_us) / 1e6;
    bf_json_key(j, "eta_seconds");
    if (job->state == REPLAY_RUNNING && job->started_at_us != 0 && progress > 0.001) {
        bf_json_int(j, (int64_t)(elapsed * (1 - progress) / progress));
    } else {
        bf_json_null(j);
    }
}

static void write_topics(struct bf_json *j, const char *topics) {
    bf_json_key(j, "topics");
    bf_json_array(j);
    for (const char *at = topics; *at;) {
        size_t len = strcspn(at, ",");
        bf_json_string_n(j, at, len);
        at += at[len] ? len + 1 : len;
    }
    bf_json_array_end(j);
}

static void member_bound(struct bf_json *j, const char *key, const struct replay_job *job, int64_t v) {
    bf_json_key(j, key);
    if (v == INT64_MIN || v == INT64_MAX) {
        bf_json_null(j);
    } else if (job->order == ORDER_OFFSET) {
        bf_json_int(j, v);
    } else {
        char text[BF_TIME_TEXT_LEN + 1];
        bf_time_format(text, v);
        bf_json_string(j, text);
    }
}

static void write_question(struct bf_json *j, const struct replay_job *job) {
    static const char *const orders[] = {"event_time", "recorded", "offset"};
    char topic[REPLAY_NAME_MAX + 8];
    snprintf(topic, sizeof(topic), "replay.%s", job->name);
    bf_json_member_string(j, "name", job->name);
    bf_json_member_string(j, "topic", topic);
    write_topics(j, job->topics);
    bf_json_member_string(j, "node", job->node[0] ? job->node : NULL);
    bf_json_member_string(j, "node_prefix", job->has_prefix ? job->node_prefix : NULL);
    bf_json_member_string(j, "by", orders[job->order]);
    member_bound(j, "from", job, job->from);
    member_bound(j, "to", job, job->to);
    if (job->order == ORDER_OFFSET) {
        bf_json_member_int(j, "partition", job->partition);
    }
    bf_json_member_time(j, "known_by", job->known_by_us);
    bf_json_member_int(j, "rate", job->rate);
    bf_json_member_int(j, "partitions", job->partitions);
}

static void write_members(struct bf_json *j, const struct replay_job *job) {
    char id[BF_UUID_TEXT_LEN + 1];
    double progress = progress_of(job);
    bf_uuid_format(id, &job->id);
    bf_json_member_string(j, "id", id);
    bf_json_member_string(j, "state", replay_state_name(job->state));
    write_question(j, job);
    bf_json_member_int(j, "events_sent", job->sent);
    bf_json_key(j, "progress");
    bf_json_double(j, progress);
    member_eta(j, job, progress);
    member_time(j, "created_at", job->created_at_us);
    member_time(j, "started_at", job->started_at_us);
    member_time(j, "ended_at", job->ended_at_us);
    bf_json_member_string(j, "detail", job->detail[0] ? job->detail : NULL);
}

/* Ends the object of an answer. */
static void answer(struct api_call *call, int status) {
    int64_t through = store_recorded_through(call->capsule->store);
    bf_json_member_time(&call->json, "recorded_through", through);
    bf_json_object_end(&call->json);
    api_reply(call, status, through);
}

static void answer_job(struct api_call *call, int status, const struct replay_job *job) {
    bf_json_object(&call->json);
    write_members(&call->json, job);
    answer(call, status);
}

/* ---- asking for one ---- */

static bool read_name(struct api_call *call, char dst[REPLAY_NAME_MAX + 1]) {
    const char *text = bf_http_query(call->req, "name");
    char topic[REPLAY_NAME_MAX + 3];
    if (!text) {
        bf_http_problem(call->req, 400, "name", "is missing: the events go into the Kafka topic replay.{name}");
        return false;
    }
    snprintf(topic, sizeof(topic), "x.%s", text);
    if (strlen(text) > REPLAY_NAME_MAX || strchr(text, '.') || !bf_topic_is_event(topic)) {
        bf_http_problem(call->req, 400, "name", "must be [a-z0-9]+(-[a-z0-9]+)*, at most %d characters", REPLAY_NAME_MAX);
        return false;
    }
    strcpy(dst, text);
    return true;
}

static void copy_slice(char *dst, struct bf_slice s) {
    if (s.data) {
        memcpy(dst, s.data, s.len);
        dst[s.len] = '\0';
    }
}

static void take_question(struct replay_job *job, const struct event_query *q) {
    size_t at = 0;
    for (size_t i = 0; i < q->topic_count; i++) {
        at += (size_t)snprintf(job->topics + at, sizeof(job->topics) - at, "%s%.*s", i > 0 ? "," : "", (int)q->topics[i].len,
                               (const char *)q->topics[i].data);
    }
    copy_slice(job->node, q->node);
    copy_slice(job->node_prefix, q->node_prefix);
    job->has_prefix = q->node_prefix.data != NULL;
    job->order = q->order;
    job->from = q->order == ORDER_EVENT_TIME ? q->from_us : q->order == ORDER_RECORDED ? q->recorded_from_us : q->offset_from;
    job->to = q->order == ORDER_EVENT_TIME ? q->to_us : q->order == ORDER_RECORDED ? q->recorded_to_us : q->offset_to;
    job->partition = q->partition;
    job->known_by_us = q->known_by_us;
}

/* Where the range begins and ends; *empty when nothing is in it. */
static enum bf_code find_ends(struct api_call *call, const struct event_query *q, struct replay_job *job, bool *empty, struct bf_err *err) {
    struct event_page *page = &call->scratch->page;
    bool exhausted;
    for (int end = 0; end < 2; end++) {
        struct event_query one = *q;
        one.descending = end == 1;
        event_page_clear(page);
        if (store_fetch(call->capsule->store, &one, NULL, 1, page, &exhausted, err) != BF_OK) {
            return err->code;
        }
        *empty = page->count == 0;
        if (*empty) {
            return BF_OK;
        }
        *(end == 0 ? &job->first_place : &job->last_place) = event_pos_of(&page->events[0], q->order).primary;
    }
    return BF_OK;
}

/* What would be sent: counted, not sent. */
static void dry_run(struct api_call *call, const struct event_query *q, const struct replay_job *job) {
    struct event_page *page = &call->scratch->page;
    struct event_pos after;
    struct bf_err err;
    bool exhausted = false, have_after = false;
    int64_t events = 0, bytes = 0;
    while (!exhausted) {
        event_page_clear(page);
        if (store_fetch(call->capsule->store, q, have_after ? &after : NULL, COUNT_ROWS, page, &exhausted, &err) != BF_OK) {
            api_fail(call, &err);
            return;
        }
        for (size_t i = 0; i < page->count; i++) {
            bytes += (int64_t)(page->events[i].key.len + page->events[i].value.len);
        }
        events += (int64_t)page->count;
        if (page->count > 0) {
            after = event_pos_of(&page->events[page->count - 1], q->order);
            have_after = true;
        }
        if (bf_http_stopping(bf_http_server(call->req)) || bf_http_gone(call->req)) {
            bf_http_problem(call->req, 503, NULL, "stopped while counting");
            return;
        }
    }
    bf_json_object(&call->json);
    bf_json_member_bool(&call->json, "dry_run", true);
    write_question(&call->json, job);
    bf_json_member_int(&call->json, "events", events);
    bf_json_member_int(&call->json, "bytes", bytes);
    answer(call, 200);
}

static void begin_job(struct api_call *call, const struct event_query *q, struct replay_job *job) {
    struct bf_err err;
    char location[64], id[BF_UUID_TEXT_LEN + 1];
    bool empty = false;
    job->id = bf_uuid_v7();
    bf_uuid_format(id, &job->id);
    enum bf_code code = find_ends(call, q, job, &empty, &err);
    if (code == BF_OK) {
        code = replays_add(call->capsule->replays, job, &err);
    }
    if (code == BF_OK) {
        code = replays_get(call->capsule->replays, &job->id, job, &err);
    }
    if (code != BF_OK) {
        api_fail(call, &err);
        return;
    }
    snprintf(location, sizeof(location), "/v1/replays/%s", id);
    bf_http_add_header(call->req, "Location", location);
    answer_job(call, 201, job);
}

static bool read_job(struct api_call *call, struct event_query *q, struct replay_job *job, bool *dry) {
    struct api_known known;
    int64_t partitions = 1;
    bool given;
    if (!read_name(call, job->name) || !replay_read_question(call, q) || !api_known_by(call, NULL, &known) ||
        !api_param_int(call, "rate", 0, RATE_MAX, &job->rate) || !api_param_int(call, "partitions", 1, PARTITIONS_MAX, &partitions) ||
        !api_param_bool(call, "dry_run", &given, dry)) {
        return false;
    }
    int64_t archived = store_archived_through(call->capsule->store);
    q->known_by_us = known.known_by_us < archived ? known.known_by_us : archived;
    job->partitions = (int32_t)partitions;
    take_question(job, q);
    return true;
}

void api_post_replays(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct event_query q;
    bool dry = false;
    struct replay_job *job = calloc(1, sizeof(*job));
    event_query_init(&q);
    if (!job) {
        bf_http_problem(req, 503, NULL, "out of memory");
        return;
    }
    if (api_begin(&call, req, ctx, "topic") && read_job(&call, &q, job, &dry)) {
        if (dry) {
            dry_run(&call, &q, job);
        } else if (there(&call)) {
            begin_job(&call, &q, job);
        }
    }
    free(job);
}

/* ---- looking, moving ---- */

void api_get_replays(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct bf_err err;
    struct replay_job *jobs = NULL;
    size_t count = 0;
    int64_t limit = API_LIMIT_DEFAULT;
    if (!api_begin(&call, req, ctx, NULL) || !api_param_int(&call, "limit", 1, 1000, &limit) || !there(&call)) {
        return;
    }
    if (replays_list(call.capsule->replays, (size_t)limit, &jobs, &count, &err) != BF_OK) {
        api_fail(&call, &err);
        return;
    }
    bf_json_object(&call.json);
    bf_json_key(&call.json, "replays");
    bf_json_array(&call.json);
    for (size_t i = 0; i < count; i++) {
        bf_json_object(&call.json);
        write_members(&call.json, &jobs[i]);
        bf_json_object_end(&call.json);
    }
    bf_json_array_end(&call.json);
    free(jobs);
    answer(&call, 200);
}

static bool path_id(struct api_call *call, struct bf_uuid *out) {
    if (!bf_uuid_parse(bf_slice_str(bf_http_path(call->req, "id")), out)) {
        bf_http_problem(call->req, 400, "id", "is no UUID");
        return false;
    }
    return true;
}

static void not_done(struct api_call *call, const struct bf_err *err) {
    if (err->code == BF_NOT_FOUND || err->code == BF_EXISTS) {
        bf_http_problem(call->req, err->code == BF_NOT_FOUND ? 404 : 409, "id", "%s", err->msg);
    } else {
        api_fail(call, err);
    }
}

void api_get_replay_job(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct bf_uuid id;
    struct bf_err err;
    struct replay_job *job = malloc(sizeof(*job));
    if (job && api_begin(&call, req, ctx, NULL) && path_id(&call, &id) && there(&call)) {
        if (replays_get(call.capsule->replays, &id, job, &err) == BF_OK) {
            answer_job(&call, 200, job);
        } else {
            not_done(&call, &err);
        }
    }
    free(job);
}

static void move(struct bf_http_request *req, void *ctx, enum replay_state to) {
    struct api_call call;
    struct bf_uuid id;
    struct bf_err err;
    struct replay_job *job = malloc(sizeof(*job));
    if (job && api_begin(&call, req, ctx, NULL) && path_id(&call, &id) && there(&call)) {
        if (replays_move(call.capsule->replays, &id, to, job, &err) == BF_OK) {
            answer_job(&call, 200, job);
        } else {
            not_done(&call, &err);
        }
    }
    free(job);
}

void api_pause_replay(struct bf_http_request *req, void *ctx) {
    move(req, ctx, REPLAY_PAUSED);
}

void api_resume_replay(struct bf_http_request *req, void *ctx) {
    move(req, ctx, REPLAY_RUNNING);
}

void api_cancel_replay(struct bf_http_request *req, void *ctx) {
    move(req, ctx, REPLAY_CANCELLED);
}
