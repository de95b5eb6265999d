/* Pages of events: search and history.
 *
 * Exact while data arrives: the first page fixes known_by at the recorded watermark, its cursor carries that on, and within a fixed
 * known_by the order never changes. One row more than asked for is looked at, so that `next` is null exactly at the end.
 */
#include "api_internal.h"
#include "bf_loop.h"

#define ROWS_AT_A_TIME 512
#define ROWS_QUICK 200 /* more of them are not rendered on an event loop */
#define PAGE_BYTES_SOFT ((size_t)16 << 20) /* a page of huge events ends early, with a `next` */

struct page_job {
    struct api_call *call;
    const struct event_query *q;
    size_t limit, rendered;
    struct event_pos after; /* of the last row rendered, or the cursor's */
    bool have_after, more;
};

static bool is_full(const struct page_job *job, size_t more_rows) {
    return job->rendered > 0 && (job->rendered + more_rows > job->limit || job->call->scratch->out.len > PAGE_BYTES_SOFT);
}

/* Render up to `limit` rows of one fetch; what comes after them says that there is more. */
static enum bf_code render_rows(struct page_job *job, const struct event_page *page, struct bf_err *err) {
    size_t group_end = 0;
    for (size_t i = 0; i < page->count; i++) {
        const struct event *ev = &page->events[i];
        if (i == group_end) {
            size_t alike = event_page_alike(page, i, job->q->order);
            if (is_full(job, alike)) {
                job->more = true;
                return BF_OK;
            }
            group_end = i + alike;
        }
        if (event_json_write(&job->call->json, ev, job->call->capsule->schemas, NULL, NULL, err) != BF_OK) {
            return err->code;
        }
        job->after = event_pos_of(ev, job->q->order);
        job->have_after = true;
        job->rendered++;
    }
    return BF_OK;
}

static enum bf_code render_events(struct page_job *job, struct bf_err *err) {
    struct event_page *page = &job->call->scratch->page;
    bool exhausted = false;
    while (!exhausted && !job->more) {
        size_t want = job->limit - job->rendered + 1;
        want = want < ROWS_AT_A_TIME ? want : ROWS_AT_A_TIME;
        event_page_clear(page);
        enum bf_code code = store_fetch(job->call->capsule->store, job->q, job->have_after ? &job->after : NULL, want, page,
                                        &exhausted, err);
        if (code == BF_OK) {
            code = render_rows(job, page, err);
        }
        if (code != BF_OK) {
            return code;
        }
    }
    return BF_OK;
}

/* The whole answer onto the call's buffer. */
static enum bf_code render_page(struct page_job *job, uint64_t filter, enum api_cursor_kind kind, const struct api_known *known,
                                struct bf_err *err) {
    struct bf_json *j = &job->call->json;
    char next[CURSOR_ENCODED_MAX];
    bf_json_object(j);
    bf_json_key(j, "events");
    bf_json_array(j);
    if (render_events(job, err) != BF_OK) {
        return err->code;
    }
    bf_json_array_end(j);
    if (job->more) {
        struct api_cursor c = {.kind = kind, .primary = job->after.primary,
                               .recorded_at_us = job->after.recorded_at_us, .known_by_us = known->known_by_us};
        api_cursor_encode(&c, filter, next);
    }
    api_page_end(job->call, job->more ? next : NULL, known->known_by_us);
    bf_json_object_end(j);
    return BF_OK;
}

/* A history without any event is 404 only where nothing at all was known of the node by then. */
static bool node_is_there(struct api_call *call, const struct event_query *q) {
    struct bf_err err;
    bool known = false;
    if (api_rebuilding(call)) {
        return false;
    }
    if (api_node_known(call, q->node, q->known_by_us, &known, &err) != BF_OK) {
        api_fail(call, &err);
        return false;
    }
    if (!known) {
        bf_http_problem(call->req, 404, "id", "nothing is known of node %.*s", (int)q->node.len, (const char *)q->node.data);
    }
    return known;
}

static void answer_page(struct api_call *call, struct event_query *q, enum api_cursor_kind kind) {
    struct api_place place;
    struct api_known known;
    int64_t limit = API_LIMIT_DEFAULT;
    struct bf_err err;
    uint64_t filter = api_seal(call, api_filter_hash(kind, q));
    if (!api_param_int(call, "limit", 1, API_LIMIT_MAX, &limit) || !api_place_read(call, kind, filter, &place) ||
        !api_known_by(call, &place, &known)) {
        return;
    }
    if (limit > ROWS_QUICK && bf_loop_refuses()) {
        return;
    }
    q->known_by_us = known.known_by_us;
    if (api_closed_range(call, q->known_by_us, NULL, 0)) {
        return;
    }
    struct page_job job = {.call = call, .q = q, .limit = (size_t)limit};
    if (place.given) {
        job.after = (struct event_pos){place.cursor.primary, place.cursor.recorded_at_us};
        job.have_after = true;
    }
    if (render_page(&job, filter, kind, &known, &err) != BF_OK) {
        api_fail(call, &err);
        return;
    }
    if (kind == CURSOR_HISTORY && job.rendered == 0 && !place.given && !node_is_there(call, q)) {
        return;
    }
    call->rows = (int64_t)job.rendered;
    api_reply(call, 200, known.known_by_us);
}

void api_get_events(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct event_query q;
    event_query_init(&q);
    if (api_begin(&call, req, ctx, NULL) && api_filter(&call, &q)) {
        answer_page(&call, &q, CURSOR_EVENTS);
    }
}

void api_get_history(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct event_query q;
    event_query_init(&q);
    q.descending = true;
    if (api_begin(&call, req, ctx, NULL) && api_path_node(&call, &q.node) && api_filter(&call, &q)) {
        answer_page(&call, &q, CURSOR_HISTORY);
    }
}
