/* Take quarantined records in after all: choose them, hand them to ingest, say what became of each. */
#include "api_internal.h"

#include "redrive.h"

#include <stdlib.h>
#include <string.h>

#define REDRIVE_TIMEOUT_MS 30000

static const char *const kinds[] = {"pending", "stored", "revision", "duplicate", "refused", "not_held", "gone"};

static int by_place(const void *a, const void *b) {
    const struct poison *x = a, *y = b;
    size_t least = x->topic.len < y->topic.len ? x->topic.len : y->topic.len;
    int c = memcmp(x->topic.data, y->topic.data, least);
    if (c == 0)
        c = (x->topic.len > y->topic.len) - (x->topic.len < y->topic.len);
    if (c == 0)
        c = (x->partition > y->partition) - (x->partition < y->partition);
    return c != 0 ? c : (x->offset > y->offset) - (x->offset < y->offset);
}

static bool read_query(struct api_call *call, struct poison_query *q, bool *dry_run, int64_t *limit) {
    static const char *const reasons[] = {"avro", "framing", "schema", "node_id", "utf8", "limit", "refused", NULL};
    int reason = -1;
    int64_t schema_id = 0, partition = -1, offset = -1;
    bool given = false;
    poison_query_init(q);
    if (!api_param_topic(call, "topic", &q->topic) || !api_param_int(call, "partition", 0, INT32_MAX, &partition) ||
        !api_param_int(call, "offset", 0, INT64_MAX, &offset) || !api_param_choice(call, "reason", reasons, &reason) ||
        !api_param_int(call, "schema_id", 1, INT32_MAX, &schema_id) || !api_param_bool(call, "dry_run", &given, dry_run) ||
        !api_param_int(call, "limit", 1, API_LIMIT_MAX, limit)) {
        return false;
    }
    if ((partition >= 0 && !q->topic.data) || (offset >= 0 && partition < 0)) {
        bf_http_problem(call->req, 400, offset >= 0 ? "offset" : "partition", "needs %s", offset >= 0 ? "partition" : "topic");
        return false;
    }
    if (reason >= 0) {
        q->has_reason = true;
        bf_assert(poison_reason_parse(reasons[reason], &q->reason));
    }
    q->schema_id = (int32_t)schema_id;
    q->has_partition = partition >= 0;
    q->partition = (int32_t)partition;
    q->offset = offset;
    q->has_redriven = true;
    q->redriven = false;
    return true;
}

static void write_outcome(struct bf_json *j, const struct poison *p, const struct redrive_outcome *o, bool dry_run) {
    bf_json_object(j);
    api_member_slice(j, "topic", p->topic);
    bf_json_member_int(j, "partition", p->partition);
    bf_json_member_int(j, "offset", p->offset);
    bf_json_member_string(j, "outcome", kinds[o->kind]);
    if (o->kind >= REDRIVE_STORED && o->kind <= REDRIVE_DUPLICATE) {
        char id[BF_UUID_TEXT_LEN + 1];
        bf_uuid_format(id, &o->id);
        bf_json_member_string(j, "event_id", id);
        if (!dry_run) {
            bf_json_member_int(j, "revision", o->revision);
            bf_json_member_time(j, "recorded_at", o->recorded_at_us);
        }
    }
    if (o->kind == REDRIVE_REFUSED) {
        bf_json_member_string(j, "reason", poison_reason_name(o->reason));
        bf_json_member_string(j, "detail", o->detail);
    }
    bf_json_object_end(j);
}

static void write_answer(struct api_call *call, const struct redrive_job *job, bool more) {
    struct bf_json *j = &call->json;
    int64_t taken = 0;
    for (size_t i = 0; i < job->count; i++) {
        taken += job->outcomes[i].kind >= REDRIVE_STORED && job->outcomes[i].kind <= REDRIVE_DUPLICATE;
    }
    int64_t through = store_recorded_through(call->capsule->store);
    bf_json_object(j);
    bf_json_member_bool(j, "dry_run", job->dry_run);
    bf_json_member_int(j, "found", (int64_t)job->count);
    bf_json_member_int(j, "redriven", taken);
    bf_json_member_bool(j, "more", more);
    bf_json_key(j, "results");
    bf_json_array(j);
    for (size_t i = 0; i < job->count; i++) {
        write_outcome(j, &job->list[i], &job->outcomes[i], job->dry_run);
    }
    bf_json_array_end(j);
    bf_json_member_time(j, "recorded_through", through);
    bf_json_object_end(j);
    call->rows = (int64_t)job->count;
    api_reply(call, 200, through);
}

void api_post_redrive(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct poison_query q;
    struct poison *list = NULL;
    struct bf_err err;
    size_t count = 0;
    int64_t limit = 1000;
    bool dry_run = false;
    if (!api_begin(&call, req, ctx, NULL) || !read_query(&call, &q, &dry_run, &limit)) {
        return;
    }
    if (store_quarantine(call.capsule->store, &q, (size_t)limit + 1, &list, &count, &err) != BF_OK) {
        api_fail(&call, &err);
        return;
    }
    bool more = count > (size_t)limit;
    struct redrive_job job = {.list = list, .count = more ? (size_t)limit : count, .dry_run = dry_run};
    job.outcomes = calloc(job.count + 1, sizeof *job.outcomes);
    if (job.count > 1) {
        qsort(list, job.count, sizeof *list, by_place);
    }
    enum bf_code code = job.outcomes ? redrive_ask(call.capsule->redrive, &job, REDRIVE_TIMEOUT_MS, &err)
                                     : bf_fail(&err, BF_NOMEM, 0, "no memory for %zu records", job.count);
    if (code == BF_OK || (code == BF_AGAIN && job.next > 0)) {
        write_answer(&call, &job, more || code == BF_AGAIN);
    } else {
        bf_http_problem_err(req, &err, NULL); /* our own words, not a dependency's */
    }
    free(job.outcomes);
    poison_free(list, count);
}
