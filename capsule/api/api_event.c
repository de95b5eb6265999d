/* One event by id: its revisions, and every place in Kafka where it was seen. */
#include "api_internal.h"

#include <stdlib.h>
#include <string.h>

#define REVISIONS_MAX 10000
#define DUPLICATES_FIRST 16
#define DUPLICATES_MAX 10000
#define TOPICS_SHOWN_MAX 8

/* All revisions of the id that are known by then, oldest first. */
static enum bf_code fetch_revisions(struct api_call *call, struct event_query *q, struct bf_err *err) {
    struct event_page *page = &call->scratch->page;
    struct event_pos after;
    bool exhausted = false;
    q->order = ORDER_RECORDED;
    while (!exhausted && page->count < REVISIONS_MAX) {
        size_t before = page->count;
        if (before > 0) {
            after = event_pos_of(&page->events[before - 1], ORDER_RECORDED);
        }
        if (store_fetch(call->capsule->store, q, before > 0 ? &after : NULL, REVISIONS_MAX - before, page, &exhausted, err) != BF_OK) {
            return err->code;
        }
    }
    return BF_OK;
}

/* The id is in more than one topic and none was named: 409, with their names. */
static void ambiguous(struct api_call *call) {
    const struct event_page *page = &call->scratch->page;
    struct bf_slice seen[TOPICS_SHOWN_MAX];
    size_t count = 0;
    struct bf_buf *names = &call->scratch->text;
    for (size_t i = 0; i < page->count && count < TOPICS_SHOWN_MAX; i++) {
        bool known = false;
        for (size_t k = 0; k < count; k++) {
            known = known || bf_slice_eq(seen[k], page->events[i].topic);
        }
        if (!known) {
            bf_buf_printf(names, "%s%.*s", count > 0 ? ", " : "", (int)page->events[i].topic.len, (const char *)page->events[i].topic.data);
            seen[count++] = page->events[i].topic;
        }
    }
    bf_http_problem(call->req, 409, "topic", "this id is in several topics, say which: %.*s", (int)names->len, names->data);
}

static bool one_topic(const struct event_page *page) {
    for (size_t i = 1; i < page->count; i++) {
        if (!bf_slice_eq(page->events[i].topic, page->events[0].topic)) {
            return false;
        }
    }
    return true;
}

/* The revisions asked for are in the scratch's page afterwards, at least one. False: answered already. */
static bool find_event(struct api_call *call, struct api_known *known) {
    const char *id = bf_http_path(call->req, "event_id");
    struct event_query q;
    struct bf_err err;
    if (strlen(id) > API_PARAM_BYTES_MAX) {
        bf_http_problem(call->req, 400, "event_id", "longer than %d bytes", API_PARAM_BYTES_MAX);
        return false;
    }
    event_query_init(&q);
    q.has_id = true;
    q.id = bf_event_id_from_text(bf_slice_str(id), NULL);
    if (!api_param_topic(call, "topic", &q.topics[0]) || !api_known_by(call, NULL, known)) {
        return false;
    }
    q.topic_count = q.topics[0].data ? 1 : 0;
    q.known_by_us = known->known_by_us;
    if (fetch_revisions(call, &q, &err) != BF_OK) {
        api_fail(call, &err);
        return false;
    }
    /* All revisions of an id are of one node in practice, but nothing says so: one that may not be seen hides the event. */
    bool visible = call->scratch->page.count > 0;
    for (size_t i = 0; visible && i < call->scratch->page.count; i++) {
        visible = api_may_see_node(call, call->scratch->page.events[i].node_id);
    }
    if (!visible) {
        bf_http_problem(call->req, 404, "event_id", "no event with this id is recorded%s", q.topic_count ? " in this topic" : "");
        return false;
    }
    if (!one_topic(&call->scratch->page)) {
        ambiguous(call);
        return false;
    }
    return true;
}

/* ---- seen ---- */

struct sight {
    int64_t recorded_at_us, kafka_time_us, offset;
    int32_t partition;
    enum disposition disposition;
};

static int by_recorded(const void *a, const void *b) {
    const struct sight *x = a, *y = b;
    return x->recorded_at_us < y->recorded_at_us ? -1 : x->recorded_at_us > y->recorded_at_us;
}

/* Nearly every event was seen once: a few are asked for first, and all of them only where that was not enough. */
static enum bf_code fetch_duplicates(struct api_call *call, size_t max, struct duplicate **out, size_t *count, struct bf_err *err) {
    const struct event *ev = &call->scratch->page.events[0];
    struct duplicate *dups = malloc(max * sizeof(*dups));
    if (!dups) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for the places of an event");
    }
    enum bf_code code = store_duplicates(call->capsule->store, ev->topic, &ev->id, max, dups, count, err);
    if (code == BF_OK && *count == max && max < DUPLICATES_MAX) {
        free(dups);
        return fetch_duplicates(call, DUPLICATES_MAX, out, count, err);
    }
    if (code != BF_OK) {
        free(dups);
        return code;
    }
    *out = dups;
    return BF_OK;
}

static enum bf_code gather_sights(struct api_call *call, int64_t known_by_us, struct sight **out, size_t *count, struct bf_err *err) {
    const struct event_page *page = &call->scratch->page;
    size_t dup_count = 0, n = 0;
    struct duplicate *dups = NULL;
    if (fetch_duplicates(call, DUPLICATES_FIRST, &dups, &dup_count, err) != BF_OK) {
        return err->code;
    }
    struct sight *sights = malloc((dup_count + page->count) * sizeof(*sights));
    if (!sights) {
        free(dups);
        return bf_fail(err, BF_NOMEM, 0, "no memory for the places of an event");
    }
    for (size_t i = 0; i < page->count; i++) {
        const struct event *ev = &page->events[i];
        sights[n++] = (struct sight){ev->recorded_at_us, ev->kafka_time_us, ev->offset, ev->partition, DISPOSITION_STORED};
    }
    for (size_t i = 0; i < dup_count; i++) {
        if (dups[i].recorded_at_us <= known_by_us) {
            sights[n++] = (struct sight){dups[i].recorded_at_us, dups[i].kafka_time_us, dups[i].offset, dups[i].partition,
                                         DISPOSITION_DUPLICATE};
        }
    }
    qsort(sights, n, sizeof(*sights), by_recorded);
    *out = sights;
    *count = n;
    free(dups);
    return BF_OK;
}

/* ---- the answer ---- */

struct provenance {
    struct api_call *call;
    const struct sight *sights;
    size_t sight_count;
    int64_t known_by_us;
    enum bf_code code; /* of rendering the revisions */
    struct bf_err *err;
};

static void write_provenance(struct bf_json *j, void *ctx) {
    struct provenance *p = ctx;
    const struct event_page *page = &p->call->scratch->page;
    bf_json_key(j, "revisions");
    bf_json_array(j);
    for (size_t i = 0; i < page->count && p->code == BF_OK; i++) {
        p->code = event_json_write(j, &page->events[i], p->call->capsule->schemas, NULL, NULL, p->err);
    }
    bf_json_array_end(j);
    bf_json_key(j, "seen");
    bf_json_array(j);
    for (size_t i = 0; i < p->sight_count; i++) {
        bf_json_object(j);
        api_member_slice(j, "topic", page->events[0].topic);
        bf_json_member_int(j, "partition", p->sights[i].partition);
        bf_json_member_int(j, "offset", p->sights[i].offset);
        bf_json_member_time(j, "kafka_time", p->sights[i].kafka_time_us);
        bf_json_member_string(j, "disposition", disposition_name(p->sights[i].disposition));
        bf_json_object_end(j);
    }
    bf_json_array_end(j);
    bf_json_member_time(j, "recorded_through", p->known_by_us);
}

void api_get_event(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct api_known known;
    struct bf_err err;
    struct sight *sights = NULL;
    if (!api_begin(&call, req, ctx, NULL) || !find_event(&call, &known)) {
        return;
    }
    struct provenance p = {.call = &call, .known_by_us = known.known_by_us, .err = &err};
    enum bf_code code = gather_sights(&call, known.known_by_us, &sights, &p.sight_count, &err);
    if (code == BF_OK) {
        const struct event_page *page = &call.scratch->page;
        p.sights = sights;
        code = event_json_write(&call.json, &page->events[page->count - 1], call.capsule->schemas, write_provenance, &p, &err);
        code = p.code != BF_OK ? p.code : code;
    }
    free(sights);
    if (code != BF_OK) {
        api_fail(&call, &err);
        return;
    }
    api_reply(&call, 200, known.known_by_us);
}

void api_get_event_raw(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct api_known known;
    int64_t revision = 0;
    if (!api_begin(&call, req, ctx, NULL) || !api_param_int(&call, "revision", 1, UINT32_MAX, &revision) || !find_event(&call, &known)) {
        return;
    }
    const struct event_page *page = &call.scratch->page;
    const struct event *ev = revision == 0 ? &page->events[page->count - 1] : NULL;
    for (size_t i = 0; i < page->count && !ev; i++) {
        ev = (int64_t)page->events[i].revision == revision ? &page->events[i] : NULL;
    }
    if (!ev) {
        bf_http_problem(req, 404, "revision", "this event has no revision %lld", (long long)revision);
        return;
    }
    api_watermark_headers(&call, known.known_by_us);
    api_reply_part(&call, ev->value, ev->key, ev->headers);
}
