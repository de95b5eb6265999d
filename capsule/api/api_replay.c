/* Replay: a range of events, of any topics and nodes, merged into one total order, as NDJSON.
 *
 * A line's cursor names the event's place and the filter, nothing else, so that the same event always carries the same bytes. It does not
 * carry known_by: who resumes by event time while data arrives gives the known_by that the first answer's header said.
 */
#include "api_stream.h"

#include <stdlib.h>
#include <string.h>

struct replay {
    struct event_query q; /* its strings lie in `text` */
    char *text;
    uint64_t filter;
    struct event_pos after;
    bool have_after;
    struct event_page page;
};

static void replay_free(void *source) {
    struct replay *r = source;
    event_page_fini(&r->page);
    free(r->text);
    free(r);
}

static void replay_cursor(void *source, const struct event *ev, char dst[CURSOR_ENCODED_MAX]) {
    const struct replay *r = source;
    struct event_pos pos = event_pos_of(ev, r->q.order);
    struct api_cursor c = {.kind = CURSOR_REPLAY, .primary = pos.primary, .recorded_at_us = pos.recorded_at_us};
    api_cursor_encode(&c, r->filter, dst);
}

static enum bf_code replay_more(void *source, struct api_stream *st, bool *exhausted, struct bf_err *err) {
    struct replay *r = source;
    struct store *store = api_stream_api(st)->capsule->store;
    event_page_clear(&r->page);
    if (store_fetch(store, &r->q, r->have_after ? &r->after : NULL, api_stream_rows(st), &r->page, exhausted, err) != BF_OK) {
        return err->code;
    }
    for (size_t i = 0; i < r->page.count; i++) {
        if (api_stream_event(st, &r->page.events[i], err) != BF_OK) {
            return err->code;
        }
    }
    if (r->page.count > 0) {
        r->after = event_pos_of(&r->page.events[r->page.count - 1], r->q.order);
        r->have_after = true;
    }
    return BF_OK;
}

static const struct api_stream_ops replay_ops = {replay_more, replay_cursor, replay_free};

/* ---- the question ---- */

static bool read_topics(struct api_call *call, struct event_query *q) {
    for (size_t i = 0; i < bf_http_query_count(call->req); i++) {
        const char *name = NULL, *value = NULL;
        bf_http_query_at(call->req, i, &name, &value);
        if (strcmp(name, "topic") != 0) {
            continue;
        }
        if (q->topic_count == EVENT_TOPICS_MAX) {
            bf_http_problem(call->req, 400, "topic", "given more than %d times", EVENT_TOPICS_MAX);
            return false;
        }
        if (strlen(value) > BF_TOPIC_MAX || !bf_topic_is_event(value)) {
            bf_http_problem(call->req, 400, "topic", "'%.100s' is not the name of an event topic", value);
            return false;
        }
        q->topics[q->topic_count++] = bf_slice_str(value);
    }
    api_sort_topics(q);
    return true;
}

/* Offsets of one partition; absent ends are open. */
static bool read_offsets(struct api_call *call, struct event_query *q) {
    static const char *const contrary[] = {"by", "from", "to"};
    int64_t partition = 0, from = 0, to = INT64_MAX;
    for (size_t i = 0; i < sizeof(contrary) / sizeof(*contrary); i++) {
        if (bf_http_query(call->req, contrary[i])) {
            bf_http_problem(call->req, 400, contrary[i], "contradicts partition: a replay is by offsets or by time");
            return false;
        }
    }
    if (q->topic_count != 1) {
        bf_http_problem(call->req, 400, "topic", "a replay by offsets needs exactly one");
        return false;
    }
    if (!api_param_int(call, "partition", 0, INT32_MAX, &partition) || !api_param_int(call, "from_offset", 0, INT64_MAX, &from) ||
        !api_param_int(call, "to_offset", 0, INT64_MAX, &to)) {
        return false;
    }
    if (from > to) {
        bf_http_problem(call->req, 400, "to_offset", "lies before from_offset");
        return false;
    }
    q->by_partition = true;
    q->partition = (int32_t)partition;
    q->offset_from = from;
    q->offset_to = to;
    q->order = ORDER_OFFSET;
    return true;
}

static bool read_range(struct api_call *call, struct event_query *q) {
    static const char *const ways[] = {"event_time", "recorded", NULL};
    int by = 0;
    if (bf_http_query(call->req, "partition")) {
        return read_offsets(call, q);
    }
    const char *stray = bf_http_query(call->req, "from_offset") ? "from_offset" : bf_http_query(call->req, "to_offset") ? "to_offset" : NULL;
    if (stray) {
        bf_http_problem(call->req, 400, stray, "needs topic and partition");
        return false;
    }
    if (!api_param_choice(call, "by", ways, &by)) {
        return false;
    }
    bool recorded = by == 1;
    q->order = recorded ? ORDER_RECORDED : ORDER_EVENT_TIME;
    return api_param_time(call, "from", recorded ? &q->recorded_from_us : &q->from_us) &&
           api_param_time(call, "to", recorded ? &q->recorded_to_us : &q->to_us) && api_filter_ranges(call, q);
}

static bool read_nodes(struct api_call *call, struct event_query *q) {
    if (!api_param_node(call, "node", &q->node) || !api_param_prefix(call, "node_prefix", &q->node_prefix)) {
        return false;
    }
    if (q->node.data && q->node_prefix.data) {
        bf_http_problem(call->req, 400, "node_prefix", "contradicts node: give one of them");
        return false;
    }
    return true;
}

static void move_slice(struct bf_slice *s, char **at) {
    if (s->data) {
        memcpy(*at, s->data, s->len);
        s->data = *at;
        *at += s->len;
    }
}

/* The stream outlives the request: copy what the query borrows from it. */
static bool own_strings(struct replay *r) {
    size_t bytes = r->q.node.len + r->q.node_prefix.len + 1;
    for (size_t i = 0; i < r->q.topic_count; i++) {
        bytes += r->q.topics[i].len;
    }
    r->text = malloc(bytes);
    if (!r->text) {
        return false;
    }
    char *at = r->text;
    move_slice(&r->q.node, &at);
    move_slice(&r->q.node_prefix, &at);
    for (size_t i = 0; i < r->q.topic_count; i++) {
        move_slice(&r->q.topics[i], &at);
    }
    return true;
}

static struct replay *replay_new(const struct event_query *q, const struct api_place *place, uint64_t filter) {
    struct replay *r = calloc(1, sizeof(*r));
    if (!r) {
        return NULL;
    }
    r->q = *q;
    r->filter = filter;
    event_page_init(&r->page);
    if (place->given) {
        r->after = (struct event_pos){place->cursor.primary, place->cursor.recorded_at_us};
        r->have_after = true;
    }
    if (!own_strings(r)) {
        replay_free(r);
        return NULL;
    }
    return r;
}

void api_get_replay(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct event_query q;
    struct api_place place;
    struct api_known known;
    enum api_format format;
    event_query_init(&q);
    if (!api_begin(&call, req, ctx, "topic") || !read_topics(&call, &q) || !read_nodes(&call, &q) || !read_range(&call, &q) ||
        !api_stream_format(&call, false, &format) || !api_known_by(&call, NULL, &known)) {
        return;
    }
    uint64_t filter = api_filter_hash(CURSOR_REPLAY, &q);
    if (!api_place_read(&call, CURSOR_REPLAY, filter, &place)) {
        return;
    }
    q.known_by_us = known.known_by_us;
    struct replay *r = replay_new(&q, &place, filter);
    if (!r) {
        bf_http_problem(req, 503, NULL, "out of memory");
        return;
    }
    api_stream_reply(&call, format, &replay_ops, r, bf_http_query(req, "cursor"), known.known_by_us, NULL);
}
