/* Nodes: their names, one of them, and its state. */
#include "api_internal.h"

#include "bf_node_id.h"
#include "bf_time.h"

#include <string.h>

/* ---- names ---- */

static void write_names(struct api_call *call, const struct bf_buf *names, size_t count, const char **last) {
    const char *name = names->data;
    bf_json_key(&call->json, "nodes");
    bf_json_array(&call->json);
    for (size_t i = 0; i < count; i++, name += strlen(name) + 1) {
        bf_json_object(&call->json);
        bf_json_member_string(&call->json, "rim_node_id", name);
        bf_json_object_end(&call->json);
        *last = name;
    }
    bf_json_array_end(&call->json);
}

void api_get_nodes(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct api_place place;
    struct event_query q;
    struct bf_err err;
    int64_t limit = API_LIMIT_DEFAULT;
    const char *last = NULL;
    char next[CURSOR_ENCODED_MAX];
    size_t count = 0;
    event_query_init(&q);
    if (!api_begin(&call, req, ctx, NULL) || !api_param_prefix(&call, "prefix", &q.node_prefix) ||
        !api_param_int(&call, "limit", 1, API_LIMIT_MAX, &limit)) {
        return;
    }
    if (api_rebuilding(&call)) {
        return;
    }
    uint64_t filter = api_seal(&call, api_filter_hash(CURSOR_NODES, &q));
    if (!api_place_read(&call, CURSOR_NODES, filter, &place)) {
        return;
    }
    struct bf_slice after = place.given ? place.cursor.text : BF_SLICE_NONE;
    int64_t through = store_recorded_through(call.capsule->store);
    if (store_nodes(call.capsule->store, q.node_prefix, after, (size_t)limit + 1, &call.scratch->text, &count, &err) != BF_OK) {
        api_fail(&call, &err);
        return;
    }
    bool more = count > (size_t)limit;
    bf_json_object(&call.json);
    write_names(&call, &call.scratch->text, more ? (size_t)limit : count, &last);
    if (more) {
        struct api_cursor c = {.kind = CURSOR_NODES, .text = bf_slice_str(last)};
        api_cursor_encode(&c, filter, next);
    }
    call.rows = more ? limit : (int64_t)count;
    api_page_end(&call, more ? next : NULL, through);
    bf_json_object_end(&call.json);
    api_reply(&call, 200, through);
}

/* ---- one node ---- */

static void write_topics(struct bf_json *j, const struct hot_node_topic *topics, size_t count) {
    int64_t first = INT64_MAX, last = INT64_MIN, events = 0;
    for (size_t i = 0; i < count; i++) {
        first = topics[i].first_event_time_us < first ? topics[i].first_event_time_us : first;
        last = topics[i].last_event_time_us > last ? topics[i].last_event_time_us : last;
        events += (int64_t)topics[i].events;
    }
    bf_json_member_int(j, "events", events);
    if (count > 0) {
        bf_json_member_time(j, "first_event_time", first);
        bf_json_member_time(j, "last_event_time", last);
    }
    bf_json_key(j, "topics");
    bf_json_array(j);
    for (size_t i = 0; i < count; i++) {
        bf_json_object(j);
        bf_json_member_string(j, "topic", topics[i].topic);
        bf_json_member_int(j, "events", (int64_t)topics[i].events);
        bf_json_member_time(j, "first_event_time", topics[i].first_event_time_us);
        bf_json_member_time(j, "last_event_time", topics[i].last_event_time_us);
        bf_json_object_end(j);
    }
    bf_json_array_end(j);
}

/* The node's first or last event by event time; null where there is none. */
static enum bf_code write_end(struct api_call *call, const char *key, struct bf_slice node, bool last, int64_t known_by_us,
                              struct bf_err *err) {
    struct event_page *page = &call->scratch->page;
    struct event_query q;
    bool exhausted = false;
    event_query_init(&q);
    q.node = node;
    q.known_by_us = known_by_us;
    q.descending = last;
    event_page_clear(page);
    if (store_fetch(call->capsule->store, &q, NULL, 1, page, &exhausted, err) != BF_OK) {
        return err->code;
    }
    bf_json_key(&call->json, key);
    if (page->count == 0) {
        bf_json_null(&call->json);
        return BF_OK;
    }
    return event_json_write(&call->json, &page->events[0], call->capsule->schemas, NULL, NULL, err);
}

static enum bf_code write_node(struct api_call *call, struct bf_slice node, int64_t through, struct bf_err *err) {
    struct hot_node_topic topics[EVENT_TOPICS_MAX];
    struct bf_node_id id;
    size_t count = 0;
    struct bf_json *j = &call->json;
    if (store_node(call->capsule->store, node, topics, EVENT_TOPICS_MAX, &count, err) != BF_OK ||
        bf_node_id_parse(node, &id, err) != BF_OK) {
        return err->code;
    }
    bf_json_object(j);
    api_member_slice(j, "rim_node_id", node);
    api_member_slice(j, "node_type", id.type);
    api_member_slice(j, "namespace", id.space);
    api_member_slice(j, "local_id", id.local);
    write_topics(j, topics, count);
    if (write_end(call, "first_event", node, false, through, err) != BF_OK ||
        write_end(call, "last_event", node, true, through, err) != BF_OK) {
        return err->code;
    }
    bf_json_member_time(j, "recorded_through", through);
    bf_json_object_end(j);
    return BF_OK;
}

static void no_such_node(struct api_call *call, struct bf_slice node) {
    bf_http_problem(call->req, 404, "id", "nothing is known of node %.*s", (int)node.len, (const char *)node.data);
}

void api_get_node(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct bf_slice node;
    struct bf_err err;
    if (!api_begin(&call, req, ctx, NULL) || !api_path_node(&call, &node)) {
        return;
    }
    if (api_rebuilding(&call)) {
        return;
    }
    int64_t through = store_recorded_through(call.capsule->store);
    enum bf_code code = write_node(&call, node, through, &err);
    if (code == BF_NOT_FOUND) {
        no_such_node(&call, node);
    } else if (code != BF_OK) {
        api_fail(&call, &err);
    } else {
        api_reply(&call, 200, through);
    }
}

/* ---- state ---- */

static enum bf_code write_state(struct api_call *call, struct bf_slice node, int64_t as_of_us, int64_t known_by_us, struct bf_err *err) {
    const struct event_page *page = &call->scratch->page;
    struct bf_json *j = &call->json;
    bf_json_object(j);
    api_member_slice(j, "rim_node_id", node);
    bf_json_member_time(j, "as_of", as_of_us);
    bf_json_member_time(j, "known_by", known_by_us);
    bf_json_member_time(j, "recorded_through", known_by_us);
    bf_json_key(j, "states");
    bf_json_array(j);
    for (size_t i = 0; i < page->count; i++) {
        if (event_json_write(j, &page->events[i], call->capsule->schemas, NULL, NULL, err) != BF_OK) {
            return err->code;
        }
    }
    bf_json_array_end(j);
    bf_json_object_end(j);
    return BF_OK;
}

bool api_as_of(struct api_call *call, const struct api_known *known, int64_t *as_of_us) {
    bool as_known = bf_http_query(call->req, "known_by") || store_all_dated_by(call->capsule->store, known->known_by_us);
    int64_t now_us = bf_time_now_us(); /* earlier than what was recorded when the clock was set back */
    *as_of_us = as_known || now_us < known->known_by_us ? known->known_by_us : now_us;
    return api_param_time(call, "as_of", as_of_us);
}

void api_get_state(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct api_known known;
    struct event_query q;
    struct bf_slice node;
    struct bf_err err;
    int64_t as_of_us = 0;
    bool there = true;
    event_query_init(&q);
    if (!api_begin(&call, req, ctx, NULL) || !api_path_node(&call, &node) || !api_filter(&call, &q) ||
        !api_known_by(&call, NULL, &known) || !api_as_of(&call, &known, &as_of_us) || api_rebuilding(&call)) {
        return;
    }
    q.known_by_us = known.known_by_us;
    if (api_closed_range(&call, q.known_by_us, &as_of_us, 1)) {
        return;
    }
    enum bf_code code = store_state(call.capsule->store, node, &q, as_of_us, &call.scratch->page, &err);
    if (code == BF_OK && call.scratch->page.count == 0) {
        code = api_node_known(&call, node, known.known_by_us, &there, &err);
    }
    if (code == BF_OK && there) {
        code = write_state(&call, node, as_of_us, known.known_by_us, &err);
    }
    if (code != BF_OK) {
        api_fail(&call, &err);
    } else if (!there) {
        no_such_node(&call, node);
    } else {
        call.rows = (int64_t)call.scratch->page.count;
        api_reply(&call, 200, known.known_by_us);
    }
}
