/* The state of every node, as a stream: in byte order of node, then topic. A line's cursor names its node and topic. */
#include "api_stream.h"

#include "bf_errand.h"
#include "bf_time.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_BYTES_MAX 1024

struct world {
    struct store *store;
    struct event_query q; /* its strings lie in prefix and topic */
    char prefix[256], topic[BF_TOPIC_MAX + 1];
    uint64_t filter;
    int64_t as_of_us;
    struct bf_buf node;          /* the last node looked at; empty: none yet */
    bool inside;                 /* the rest of that node's topics is still to come */
    char inside_topic[CURSOR_TEXT_MAX];
    struct event_page page;      /* being written, from `at` on */
    size_t at;
    bool exhausted; /* it is the last one */
    struct bf_errand *errand;    /* fetches `next` meanwhile; NULL: not yet */
    struct world_next {
        struct event_page page;
        struct bf_buf last; /* its last node */
        size_t rows;
        bool exhausted;
        enum bf_code code;
        struct bf_err err;
    } next;
};

static void world_free(void *source) {
    struct world *w = source;
    bf_errand_free(w->errand);
    bf_buf_fini(&w->node);
    bf_buf_fini(&w->next.last);
    event_page_fini(&w->page);
    event_page_fini(&w->next.page);
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

/* What of the page fits into the piece. */
static enum bf_code write_rows(struct world *w, struct api_stream *st, const char *after_topic, struct bf_err *err) {
    for (; w->at < w->page.count && !api_stream_full(st); w->at++) {
        const struct event *ev = &w->page.events[w->at];
        if (after_topic && compare_topic(ev->topic, after_topic) <= 0) {
            continue;
        }
        if (api_stream_event(st, ev, err) != BF_OK) {
            return err->code;
        }
    }
    return BF_OK;
}

static struct bf_slice last_node(const struct world *w) {
    return w->node.len > 0 ? (struct bf_slice){w->node.data, w->node.len} : BF_SLICE_NONE;
}

static void fetch(void *ctx) {
    struct world *w = ctx;
    struct world_next *n = &w->next;
    event_page_clear(&n->page);
    bf_buf_clear(&n->last);
    n->code = store_world(w->store, &w->q, w->as_of_us, last_node(w), n->rows, &n->page, &n->last, &n->exhausted, &n->err);
}

/* Nodes behind the last are looked up while the last ones are written; where there is no thread for that, later. */
static void fetch_ahead(struct world *w, struct api_stream *st) {
    struct bf_err ignored;
    if (w->errand || bf_errand_new(fetch, w, &w->errand, &ignored) == BF_OK) {
        w->next.rows = api_stream_rows(st);
        bf_errand_begin(w->errand);
    }
}

static enum bf_code next_page(struct world *w, struct api_stream *st, struct bf_err *err) {
    if (!w->errand || !bf_errand_wait(w->errand)) {
        w->next.rows = api_stream_rows(st);
        fetch(w);
    }
    struct event_page page = w->page;
    w->page = w->next.page;
    w->next.page = page;
    w->at = 0;
    if (w->next.code != BF_OK) {
        *err = w->next.err;
        return err->code;
    }
    w->exhausted = w->next.exhausted;
    if (w->next.last.len > 0) {
        bf_buf_clear(&w->node);
        bf_buf_append(&w->node, w->next.last.data, w->next.last.len);
    }
    if (!w->exhausted && api_stream_began(st)) {
        fetch_ahead(w, st);
    }
    return BF_OK;
}

/* The rest of the node within which the last answer ended. */
static enum bf_code finish_node(struct world *w, struct api_stream *st, struct bf_err *err) {
    if (w->at == w->page.count && store_state(w->store, last_node(w), &w->q, w->as_of_us, &w->page, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = write_rows(w, st, w->inside_topic, err);
    w->inside = w->at < w->page.count;
    return code;
}

static enum bf_code world_more(void *source, struct api_stream *st, bool *exhausted, struct bf_err *err) {
    struct world *w = source;
    if (w->inside) {
        return finish_node(w, st, err);
    }
    if (w->at == w->page.count && next_page(w, st, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = write_rows(w, st, NULL, err);
    *exhausted = w->exhausted && w->at == w->page.count;
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

static struct world *world_new(struct store *store, const struct event_query *q, uint64_t filter, int64_t as_of_us) {
    struct world *w = calloc(1, sizeof(*w));
    if (!w) {
        return NULL;
    }
    w->store = store;
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
    bf_buf_init(&w->next.last, NAMES_BYTES_MAX);
    event_page_init(&w->page);
    event_page_init(&w->next.page);
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
    struct world *w = world_new(call.capsule->store, &q, filter, as_of_us);
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
