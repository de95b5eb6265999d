/* Who read what: recorded before the first byte, and GET /v1/reads. */
#include "api_internal.h"

#include "bf_log.h"
#include "bf_loop.h"
#include "bf_sha256.h"
#include "bf_time.h"
#include "bf_token.h"
#include "reads.h"

#include <stdio.h>
#include <string.h>

#define FLUSH_MS 3000

/* ---- recording ---- */

static bool wanted(const struct api_call *call) {
    return call->capsule->reads && call->policy && (call->policy->needs & API_HISTORY);
}

static void digest_text(struct bf_slice body, char dst[ARCHIVE_DIGEST_TEXT + 1]) {
    uint8_t sum[BF_SHA256_BYTES];
    _Static_assert(ARCHIVE_DIGEST_TEXT == BF_SHA256_TEXT_LEN, "what the archive keeps");
    bf_sha256_of(body.data, body.len, sum);
    bf_sha256_text(dst, sum);
}

/* A target may hold any byte above 0x20; the log wants text. */
static struct bf_slice question_of(struct api_call *call, char *space) {
    const char *target = bf_http_target(call->req);
    struct bf_slice s = bf_slice_str(target);
    bool plain = true;
    for (size_t i = 0; i < s.len; i++) {
        plain = plain && (signed char)target[i] > 0;
        space[i] = (signed char)target[i] > 0 ? target[i] : '?';
    }
    return plain ? s : (struct bf_slice){space, s.len};
}

static bool record(struct api_call *call, struct archive_read *read) {
    char space[8200];
    struct bf_err err;
    read->who = call->grant ? bf_slice_str(call->grant->name) : BF_SLICE_NONE;
    read->peer = bf_slice_str(bf_http_peer(call->req));
    read->method = bf_slice_str(bf_http_method(call->req));
    read->route = bf_slice_str(call->policy->pattern);
    read->question = question_of(call, space);
    if (reads_record(call->capsule->reads, read, &err) == BF_OK) {
        return true;
    }
    bf_log_err(BF_LOG_ERROR, "read_refused", &err, "route=%s", call->policy->pattern);
    return false;
}

static bool refuse(struct api_call *call) {
    bf_http_add_header(call->req, "Retry-After", "5");
    bf_http_problem(call->req, 503, NULL, "reads of history are recorded, and the record cannot be written now");
    return false;
}

bool api_read_record(struct api_call *call, int status, struct bf_slice body) {
    char digest[ARCHIVE_DIGEST_TEXT + 1];
    if (!wanted(call) || status >= 400 || bf_loop_refused()) { /* refused: it is not this answer that is sent */
        return true;
    }
    struct archive_read read = {.finished = true, .status = status, .rows = call->rows, .bytes = (int64_t)body.len};
    if (status == 200) {
        digest_text(body, digest);
        read.digest = (struct bf_slice){digest, ARCHIVE_DIGEST_TEXT};
    }
    return record(call, &read) || status == 304 || refuse(call);
}

bool api_read_begin(struct api_call *call, int64_t *id) {
    struct archive_read read = {.status = 200};
    *id = 0;
    if (!wanted(call)) {
        return true;
    }
    if (!record(call, &read)) {
        return refuse(call);
    }
    *id = read.id;
    return true;
}

void api_read_end(struct api *api, int64_t id, int64_t rows, int64_t bytes, const char *digest, bool complete) {
    struct bf_err err;
    struct archive_read read = {.end = true, .of_id = id, .finished = complete, .rows = rows, .bytes = bytes};
    read.digest = complete ? bf_slice_str(digest) : BF_SLICE_NONE;
    if (id != 0 && reads_record(api->capsule->reads, &read, &err) != BF_OK) {
        bf_log_err(BF_LOG_ERROR, "read_end_not_recorded", &err, "read_id=%lld", (long long)id);
    }
}

/* ---- GET /v1/reads ---- */

struct listing {
    struct api_call *call;
    size_t limit, count;
    bool more;
    int64_t last_id;
    struct bf_uuid last_instance;
};

static void member_or_null(struct bf_json *j, const char *key, struct bf_slice s) {
    bf_json_key(j, key);
    if (s.data) {
        bf_json_string_n(j, s.data, s.len);
    } else {
        bf_json_null(j);
    }
}

static void write_read(struct bf_json *j, const struct archive_read_row *row) {
    char instance[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(instance, &row->instance);
    bf_json_object(j);
    bf_json_member_string(j, "instance", instance);
    bf_json_member_int(j, "read_id", row->read.id);
    bf_json_member_time(j, "read_at", row->read_at_us);
    member_or_null(j, "who", row->read.who);
    api_member_slice(j, "peer", row->read.peer);
    api_member_slice(j, "method", row->read.method);
    api_member_slice(j, "route", row->read.route);
    api_member_slice(j, "question", row->read.question);
    bf_json_member_int(j, "status", row->read.status);
    if (row->known) {
        bf_json_member_int(j, "rows", row->read.rows);
        bf_json_member_int(j, "bytes", row->read.bytes);
        bf_json_member_time(j, "ended_at", row->ended_at_us);
        bf_json_member_bool(j, "complete", row->complete);
    }
    if (row->read.digest.data) {
        api_member_slice(j, "digest", row->read.digest);
    }
    bf_json_object_end(j);
}

static enum bf_code on_row(void *ctx, const struct archive_read_row *row, struct bf_err *err) {
    struct listing *l = ctx;
    if (l->count == l->limit) {
        l->more = true;
        return bf_fail(err, BF_CANCELLED, 0, "the page is full");
    }
    write_read(&l->call->json, row);
    l->count++;
    l->last_id = row->read.id;
    l->last_instance = row->instance;
    return BF_OK;
}

static bool read_query(struct api_call *call, struct archive_reads_query *q, int64_t *limit) {
    const char *who = bf_http_query(call->req, "who");
    *q = (struct archive_reads_query){.from_us = BF_TIME_MIN_US, .to_us = BF_TIME_MAX_US, .who = bf_slice_str(who)};
    if (!api_param_time(call, "from", &q->from_us) || !api_param_time(call, "to", &q->to_us) ||
        !api_param_int(call, "limit", 1, API_LIMIT_MAX, limit)) {
        return false;
    }
    if (who && strlen(who) > BF_TOKEN_NAME_MAX) {
        bf_http_problem(call->req, 400, "who", "longer than %d bytes", BF_TOKEN_NAME_MAX);
        return false;
    }
    if (q->from_us > q->to_us) {
        bf_http_problem(call->req, 400, "to", "lies before from");
        return false;
    }
    return true;
}

static uint64_t filter_of(const struct archive_reads_query *q) {
    uint64_t h = api_cursor_hash(CURSOR_READS, &q->from_us, sizeof(q->from_us));
    h = api_cursor_hash(h, &q->to_us, sizeof(q->to_us));
    return q->who.data ? api_cursor_hash(h + 1, q->who.data, q->who.len) : h;
}

static bool resume(struct api_call *call, uint64_t seal, struct archive_reads_query *q) {
    struct api_place place;
    if (!api_place_read(call, CURSOR_READS, seal, &place)) {
        return false;
    }
    if (place.given && place.cursor.text.len == sizeof(q->after_instance.b)) {
        q->has_after = true;
        q->after_id = place.cursor.primary;
        memcpy(q->after_instance.b, place.cursor.text.data, sizeof(q->after_instance.b));
    }
    return true;
}

static void end_page(struct api_call *call, const struct listing *l, uint64_t seal) {
    char next[CURSOR_ENCODED_MAX];
    struct api_cursor c = {.kind = CURSOR_READS, .primary = l->last_id, .text = {l->last_instance.b, sizeof(l->last_instance.b)}};
    int64_t through = store_recorded_through(call->capsule->store);
    if (l->more) {
        api_cursor_encode(&c, seal, next);
    }
    bf_json_array_end(&call->json);
    api_page_end(call, l->more ? next : NULL, through);
    bf_json_object_end(&call->json);
    call->rows = (int64_t)l->count;
    api_reply(call, 200, through);
}

/* All of the archive's; what this instance recorded before the question is shipped first, so that it is among them. */
void api_get_reads(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct archive_reads_query q;
    struct bf_err err;
    int64_t limit = API_LIMIT_DEFAULT;
    if (!api_begin(&call, req, ctx, NULL) || !read_query(&call, &q, &limit)) {
        return;
    }
    uint64_t seal = api_seal(&call, filter_of(&q));
    if (!resume(&call, seal, &q)) {
        return;
    }
    if (call.capsule->reads && reads_flush(call.capsule->reads, FLUSH_MS, &err) != BF_OK) {
        api_fail(&call, &err);
        return;
    }
    struct listing l = {.call = &call, .limit = (size_t)limit};
    bf_json_object(&call.json);
    bf_json_key(&call.json, "reads");
    bf_json_array(&call.json);
    enum bf_code code = store_reads(call.capsule->store, &q, (size_t)limit + 1, on_row, &l, &err);
    if (code != BF_OK) {
        api_fail(&call, &err);
        return;
    }
    end_page(&call, &l, seal);
}
