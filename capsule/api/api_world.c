/* The state of every node, as a stream: in byte order of node, then topic. A line's cursor names its node and topic. */
#include "api_stream.h"

#include "bf_time.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_BYTES_MAX 1024

struct world {
    struct event_query q; /* its strings lie in prefix and topic */
    char prefix[256], topic[BF_TOPIC_MAX + 1];
    uint64_t filter;
    int64_t as_of_us;
    struct bf_buf node;          /* the last node looked at; empty: none yet */
    bool inside;                 /* the rest of that node's topics is still to come */
    char inside_topic[CURSOR_TEXT_MAX];
    struct event_page page;
};

static void world_free(void *source) {
    struct world *w = source;
    bf_buf_fini(&w->node);
    event_page_fini(&w->page);
    free(w);
}

static void world_cursor(void *source, const struct event *ev, char dst[CURSOR_ENCODED_MAX]) {
    const struct world *w = source;
    char text[CURSOR_TEXT_MAX];
    memcpy(text, ev->node_id.data, ev->node_id.len);
    text[ev->node_id.len] = '\0';
    memcpy(text + ev->node_id.len + 1, ev->topic.data, ev->topic.len);
    struct api_cursor c = {.kind = CURSOR_WORLD, .text = {text, ev->node_id.len + 1 + ev->topic.len}};
    api_cursor_encode(&c, w->filter, dst);
}

static int compare_topic(struct bf_slice topic, const char *text) {
    size_t len = strlen(text);
    int c = memcmp(topic.data, text, topic.len < len ? topic.len : len);
    return c != 0 ? c : (topic.len > len) - (topic.len < len);
}

static enum bf_code write_rows(struct world *w, struct api_stream *st, const char *after_topic, struct bf_err *err) {
    for (size_t i = 0; i < w->page.count; i++) {
        if (after_topic && compare_topic(w->page.events[i].topic, after_topic) <= 0) {
            continue;
        }
        if (api_stream_event(st, &w->page.events[i], err) != BF_OK) {
            return err->code;
        }
    }
    return BF_OK;
}

static enum bf_code world_more(void *source, struct api_stream *st, bool *exhausted, struct bf_err *err) {
    struct world *w = source;
    struct store *store = api_stream_api(st)->capsule->store;
    struct bf_slice node = w->node.len > 0 ? (struct bf_slice){w->node.data, w->node.len} : BF_SLICE_NONE;
    event_page_clear(&w->page);
    if (w->inside) {
        if (store_state(store, node, &w->q, w->as_of_us, &w->page, err) != BF_OK) {
            return err->code;
        }
        w->inside = false;
        return write_rows(w, st, w->inside_topic, err);
    }
    struct bf_buf last;
    bf_buf_init(&last, NAMES_BYTES_MAX);
    enum bf_code code = store_world(store, &w->q, w->as_of_us, node, api_stream_rows(st), &w->page, &last, exhausted, err);
    if (code == BF_OK) {
        code = write_rows(w, st, NULL, err);
    }
    if (code == BF_OK && last.len > 0) {
        bf_buf_clear(&w->node);
        bf_buf_append(&w->node, last.data, last.len);
    }
    bf_buf_fini(&last);
    return code;
}

static const struct api_stream_ops world_ops = {world_more, world_cursor, world_free};

/* Go on behind the cursor's node and topic. False: the text is none of ours. */
static bool resume(struct world *w, struct bf_slice text) {
    const char *zero = text.data && text.len > 0 ? memchr(text.data, '\0', text.len) : NULL;
    if (!zero) {
        return false;
    }
    size_t node = (size_t)(zero - (const char *)text.data);
    bf_buf_append(&w->node, text.data, node);
    memcpy(w->inside_topic, zero + 1, text.len - node - 1);
    w->inside_topic[text.len - node - 1] = '\0';
    w->inside = true;
    return true;
}

static struct world *world_new(const struct event_query *q, uint64_t filter, int64_t as_of_us) {
    struct world *w = calloc(1, sizeof(*w));
    if (!w) {
        return NULL;
    }
    w->q = *q;
    if (q->node_prefix.data) {
        memcpy(w->prefix, q->node_prefix.data, q->node_prefix.len);
        w->q.node_prefix.data = w->prefix;
    }
    if (q->topic_count == 1) {
        memcpy(w->topic, q->topics[0].data, q->topics[0].len);
        w->q.topics[0].data = w->topic;
    }
    w->filter = filter;
    w->as_of_us = as_of_us;
    bf_buf_init(&w->node, NAMES_BYTES_MAX);
    event_page_init(&w->page);
    return w;
}

/* The members before the list, for format=json. */
static void write_opening(struct api_call *call, int64_t as_of_us, int64_t known_by_us) {
    char as_of[BF_TIME_TEXT_LEN + 1], known_by[BF_TIME_TEXT_LEN + 1];
    bf_time_format(as_of, as_of_us);
    bf_time_format(known_by, known_by_us);
    bf_http_add_header(call->req, "Capsule-As-Of", as_of);
    bf_buf_printf(&call->scratch->out, "\"as_of\":\"%s\",\"known_by\":\"%s\",\"recorded_through\":\"%s\"", as_of, known_by, known_by);
}

void api_get_world(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct event_query q;
    struct api_place place;
    struct api_known known;
    enum api_format format;
    int64_t as_of_us = 0;
    event_query_init(&q);
    if (!api_begin(&call, req, ctx, NULL) || !api_filter(&call, &q) || !api_param_prefix(&call, "prefix", &q.node_prefix) ||
        !api_stream_format(&call, API_OFFER(API_NDJSON) | API_OFFER(API_JSON), &format) || !api_known_by(&call, NULL, &known) ||
        !api_as_of(&call, &known, &as_of_us) || api_rebuilding(&call)) {
        return;
    }
    uint64_t filter = api_seal(&call, api_filter_hash(CURSOR_WORLD, &q));
    if (!api_place_read(&call, CURSOR_WORLD, filter, &place)) {
        return;
    }
    q.known_by_us = known.known_by_us;
    if (api_closed_range(&call, q.known_by_us, (const int64_t[]){as_of_us, format}, 2)) {
        return;
    }
    struct world *w = world_new(&q, filter, as_of_us);
    if (!w) {
        bf_http_problem(req, 503, NULL, "out of memory");
        return;
    }
    if (place.given && !resume(w, place.cursor.text)) {
        bf_http_problem(req, 400, "cursor", "is not a cursor of this question");
        world_free(w);
        return;
    }
    write_opening(&call, as_of_us, known.known_by_us);
    const struct api_stream_settings settings = {.format = format, .resumed = bf_http_query(req, "cursor"),
                                                 .recorded_through_us = known.known_by_us, .opening = &call.scratch->out};
    api_stream_reply(&call, &settings, &world_ops, w);
}
