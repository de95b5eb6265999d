/* Quarantine, to read: the list, one record, its bytes. */
#include "api_internal.h"

#include "bf_time.h"

#include <string.h>

static void write_text(struct bf_json *j, const char *key, struct bf_slice s) {
    bf_json_key(j, key);
    if (bf_utf8_valid(s.data, s.len)) {
        bf_json_string_n(j, s.data, s.len);
    } else {
        bf_json_base64(j, s.data, s.len);
    }
}

static void write_members(struct bf_json *j, const struct poison *p) {
    api_member_slice(j, "topic", p->topic);
    bf_json_member_int(j, "partition", p->partition);
    bf_json_member_int(j, "offset", p->offset);
    bf_json_member_time(j, "kafka_time", p->kafka_time_us);
    bf_json_member_time(j, "quarantined_at", p->recorded_at_us);
    bf_json_member_string(j, "reason", poison_reason_name(p->reason));
    write_text(j, "detail", p->detail);
    if (p->schema_id != 0) {
        bf_json_member_int(j, "schema_id", p->schema_id);
    }
    if (p->redriven_at_us != 0) {
        bf_json_member_time(j, "redriven_at", p->redriven_at_us);
    }
}

static bool read_query(struct api_call *call, struct poison_query *q) {
    static const char *const reasons[] = {"avro", "framing", "schema", "node_id", "utf8", "limit", "refused", NULL};
    int reason = -1;
    int64_t schema_id = 0;
    if (!api_param_topic(call, "topic", &q->topic) || !api_param_choice(call, "reason", reasons, &reason) ||
        !api_param_int(call, "schema_id", 1, INT32_MAX, &schema_id) || !api_param_bool(call, "redriven", &q->has_redriven, &q->redriven)) {
        return false;
    }
    if (reason >= 0) {
        q->has_reason = true;
        bf_assert(poison_reason_parse(reasons[reason], &q->reason));
    }
    q->schema_id = (int32_t)schema_id;
    return true;
}

/* What a cursor is bound to; spread over a query's free fields. */
static uint64_t filter_of(const struct poison_query *q) {
    struct event_query f;
    event_query_init(&f);
    f.topics[0] = q->topic;
    f.topic_count = q->topic.data ? 1 : 0;
    f.from_us = q->has_reason ? (int64_t)q->reason : -1;
    f.to_us = q->schema_id;
    f.offset_from = q->has_redriven ? (int64_t)q->redriven : -1;
    return api_filter_hash(CURSOR_QUARANTINE, &f);
}

static void write_page(struct api_call *call, const struct poison *list, size_t count, size_t limit, uint64_t filter,
                       const struct api_known *known) {
    struct bf_json *j = &call->json;
    char next[CURSOR_ENCODED_MAX];
    bool more = count > limit;
    count = more ? limit : count;
    bf_json_object(j);
    bf_json_key(j, "quarantined");
    bf_json_array(j);
    for (size_t i = 0; i < count; i++) {
        bf_json_object(j);
        write_members(j, &list[i]);
        bf_json_object_end(j);
    }
    bf_json_array_end(j);
    if (more) {
        struct api_cursor c = {.kind = CURSOR_QUARANTINE, .primary = list[count - 1].recorded_at_us,
                               .known_by_us = known->known_by_us};
        api_cursor_encode(&c, filter, next);
    }
    api_page_end(call, more ? next : NULL, known->known_by_us);
    bf_json_object_end(j);
}

void api_get_quarantine(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct poison_query q;
    struct api_place place;
    struct api_known known;
    struct poison *list = NULL;
    struct bf_err err;
    size_t count = 0;
    int64_t limit = API_LIMIT_DEFAULT;
    poison_query_init(&q);
    if (!api_begin(&call, req, ctx, NULL) || !read_query(&call, &q) || !api_param_int(&call, "limit", 1, API_LIMIT_MAX, &limit)) {
        return;
    }
    uint64_t filter = api_seal(&call, filter_of(&q));
    if (!api_place_read(&call, CURSOR_QUARANTINE, filter, &place) || !api_known_by(&call, &place, &known)) {
        return;
    }
    q.below_us = known.known_by_us + 1;
    if (place.given) {
        q.after_us = place.cursor.primary;
    }
    if (store_quarantine(call.capsule->store, &q, (size_t)limit + 1, &list, &count, &err) != BF_OK) {
        api_fail(&call, &err);
        return;
    }
    write_page(&call, list, count, (size_t)limit, filter, &known);
    poison_free(list, count);
    call.rows = (int64_t)(count > (size_t)limit ? (size_t)limit : count);
    api_reply(&call, 200, known.known_by_us);
}

/* ---- one record ---- */

/* The caller frees *out with poison_free(…, 1). False: answered already. */
static bool find_poison(struct api_call *call, struct poison **out) {
    struct poison_query q;
    struct bf_err err;
    size_t count = 0;
    int64_t partition = 0, offset = 0;
    poison_query_init(&q);
    if (!api_path_topic(call, &q.topic) || !api_path_int(call, "partition", 0, INT32_MAX, &partition) ||
        !api_path_int(call, "offset", 0, INT64_MAX, &offset)) {
        return false;
    }
    q.has_partition = true;
    q.partition = (int32_t)partition;
    q.offset = offset;
    if (store_quarantine(call->capsule->store, &q, 1, out, &count, &err) != BF_OK) {
        api_fail(call, &err);
        return false;
    }
    if (count == 0) {
        poison_free(*out, 0);
        bf_http_problem(call->req, 404, "offset", "no record with these coordinates is in quarantine");
        return false;
    }
    return true;
}

static void write_bytes(struct bf_json *j, const char *key, struct bf_slice s) {
    bf_json_key(j, key);
    if (s.data) {
        bf_json_base64(j, s.data, s.len);
    } else {
        bf_json_null(j);
    }
}

void api_get_poison(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct poison *p = NULL;
    if (!api_begin(&call, req, ctx, NULL) || !find_poison(&call, &p)) {
        return;
    }
    int64_t through = store_recorded_through(call.capsule->store);
    struct bf_json *j = &call.json;
    bf_json_object(j);
    write_members(j, p);
    write_bytes(j, "key", p->key);
    bf_json_key(j, "value_bytes");
    bf_json_int(j, (int64_t)p->value.len);
    bf_json_key(j, "headers");
    api_headers_json(j, p->headers);
    bf_json_member_time(j, "recorded_through", through);
    bf_json_object_end(j);
    poison_free(p, 1);
    api_reply(&call, 200, through);
}

void api_get_poison_raw(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct poison *p = NULL;
    if (!api_begin(&call, req, ctx, NULL) || !find_poison(&call, &p)) {
        return;
    }
    api_watermark_headers(&call, store_recorded_through(call.capsule->store));
    api_reply_part(&call, p->value, p->key, p->headers);
    poison_free(p, 1);
}
