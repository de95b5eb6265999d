/* Phases: history (pages of the question, known_by fixed) -> with follow: live (pages by recorded_at between what was answered for and what is
 * recorded by now). Live begins exactly where history's known_by ends, and each round ends at a watermark below which nothing new can
 * appear: no gap, no repeat. */
#include "api_replay.h"

#include "api_replay_ahead.h"

#include "bf_time.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_MS 50            /* how long a stop or a vanished client may go unseen */
#define AHEAD_ROWS 500        /* a page as large as this is worth a thread that fetches the next one meanwhile */
#define WAKE_EARLY_US 100     /* the scheduler takes about that long */

struct replay {
    struct replay_settings s; /* the strings of s.q lie in `text` */
    struct event_query q;     /* of the phase */
    char *text;
    bool live, exact_node;    /* exact_node: q asks for a prefix, but this is the whole id */
    int64_t seam_us;
    struct event_pos after;
    struct event_pos begun; /* events of this place were given already: */
    size_t beyond;          /* so many; 0: none, or all */
    bool whole;          /* all offsets that were asked for are recorded, at or before whole_at_us */
    int64_t whole_at_us;
    bool have_after, exhausted; /* there are no more within q.known_by_us */
    bool last_round;            /* what is asked for was complete when this round began */
    struct event_page page;
    size_t at; /* in page */
    struct replay_ahead *ahead; /* NULL: not yet */
    int64_t due_us, clock_us; /* pace: when the last event was due (monotonic), and its own time */
    bool pacing;
    int64_t sent_us; /* when something was last written */
};

bool replay_has_seam(const struct replay_settings *s) {
    return s->follow && s->q.order != ORDER_RECORDED;
}

static void replay_free(void *source) {
    struct replay *r = source;
    replay_ahead_free(r->ahead);
    event_page_fini(&r->page);
    free(r->text);
    free(r);
}

/* The first event of the page's at the place of the one being written. A page holds all events of a place, and never so many that a byte would not do. */
static size_t place_begins(const struct replay *r) {
    size_t first = r->at;
    while (first > 0 && event_page_alike(&r->page, first - 1, r->q.order) > 1) {
        first--;
    }
    return first;
}

static void replay_cursor(void *source, const struct event *ev, char dst[CURSOR_ENCODED_MAX]) {
    const struct replay *r = source;
    struct event_pos pos = event_pos_of(ev, r->s.q.order);
    bool seam = replay_has_seam(&r->s);
    struct api_cursor c = {.kind = seam ? CURSOR_FOLLOW : CURSOR_REPLAY, .primary = pos.primary, .recorded_at_us = pos.recorded_at_us,
                           .known_by_us = seam ? r->seam_us : 0};
    uint8_t beyond = 0;
    if (seam) {
        c.recorded_at_us = ev->recorded_at_us; /* beyond the seam it says where live goes on */
    }
    if (event_page_alike(&r->page, r->at, r->q.order) > 1) { /* the event's place has more: how many of them were before */
        beyond = (uint8_t)(r->at + 1 - place_begins(r));
        c.text = (struct bf_slice){&beyond, 1};
    }
    api_cursor_encode(&c, r->s.filter, dst);
}

/* ---- pages ---- */

/* Only while there surely is more: then nothing changes the question before the next page is taken. Without a thread each page is fetched when it is
 * wanted. */
static void look_ahead(struct replay *r, struct api_stream *st) {
    struct bf_err ignored;
    if (r->exhausted || r->live || r->s.speed > 0 || r->page.count < AHEAD_ROWS) {
        return;
    }
    if (r->ahead || replay_ahead_new(api_stream_api(st)->capsule->store, &r->ahead, &ignored) == BF_OK) {
        replay_ahead_begin(r->ahead, &r->q, &r->after, api_stream_rows(st));
    }
}

/* The place within which the last answer ended comes first, whole. */
static void leave_out_given(struct replay *r) {
    struct event_pos first = event_pos_of(&r->page.events[0], r->q.order);
    if (r->beyond > 0 && event_pos_compare(&first, &r->begun, r->q.order) == 0) {
        size_t there = event_page_alike(&r->page, 0, r->q.order);
        r->at = r->beyond < there ? r->beyond : there;
    }
    r->beyond = 0;
}

static enum bf_code fetch(struct replay *r, struct api_stream *st, struct bf_err *err) {
    struct store *store = api_stream_api(st)->capsule->store;
    enum bf_code code = BF_OK;
    event_page_clear(&r->page);
    r->at = 0;
    if (!r->ahead || !replay_ahead_take(r->ahead, &r->page, &r->exhausted, &code, err)) {
        code = store_fetch(store, &r->q, r->have_after ? &r->after : NULL, api_stream_rows(st), &r->page, &r->exhausted, err);
    }
    if (code != BF_OK) {
        return code;
    }
    if (r->page.count > 0) {
        r->after = event_pos_of(&r->page.events[r->page.count - 1], r->q.order);
        r->have_after = true;
        leave_out_given(r);
    }
    look_ahead(r, st);
    return BF_OK;
}

static void go_live(struct replay *r) {
    r->live = true;
    if (r->s.q.order == ORDER_RECORDED) {
        return;
    }
    r->q.order = ORDER_RECORDED;
    if (r->q.recorded_from_us <= r->seam_us) {
        r->q.recorded_from_us = r->seam_us + 1;
    }
    r->have_after = false;
    if (r->q.node.data) { /* the log's tail is shorter than a node's history */
        r->q.node_prefix = r->q.node;
        r->q.node = BF_SLICE_NONE;
        r->exact_node = true;
    }
}

/* Offsets up to the end asked for: is everything there? */
static enum bf_code offsets_complete(struct replay *r, struct api_stream *st, bool *complete, struct bf_err *err) {
    struct store *store = api_stream_api(st)->capsule->store;
    int64_t next_offset = 0, through_us = 0;
    *complete = false;
    if (!r->s.q.by_partition || r->s.q.offset_to == INT64_MAX) {
        return BF_OK;
    }
    enum bf_code code = r->whole ? BF_OK : store_partition_end(store, r->q.topics[0], r->q.partition, &next_offset, &through_us, err);
    if (code != BF_OK) {
        return code == BF_NOT_FOUND ? BF_OK : code;
    }
    if (next_offset >= r->s.q.offset_to) {
        r->whole = true;
        r->whole_at_us = through_us;
    }
    *complete = r->whole && store_recorded_through(store) >= r->whole_at_us;
    return BF_OK;
}

/* Can nothing more come? */
static enum bf_code is_over(struct replay *r, struct api_stream *st, bool *over, struct bf_err *err) {
    if (!r->s.follow || r->last_round) {
        *over = true;
        return BF_OK;
    }
    if (r->s.q.order == ORDER_RECORDED) {
        *over = r->q.recorded_to_us != INT64_MAX && r->q.known_by_us >= r->q.recorded_to_us - 1;
        return BF_OK;
    }
    if (offsets_complete(r, st, over, err) != BF_OK) {
        return err->code;
    }
    *over = *over && store_recorded_through(api_stream_api(st)->capsule->store) <= r->q.known_by_us;
    return BF_OK;
}

/* Wait for something new. False: nothing yet, and the caller is wanted elsewhere (a heartbeat, a stop, the first piece). */
static bool wait_newer(struct replay *r, struct api_stream *st) {
    const struct api *api = api_stream_api(st);
    while (!store_wait_newer(api->capsule->store, r->q.known_by_us, api_stream_began(st) ? WAIT_MS : 0)) {
        int64_t now = bf_time_monotonic_us();
        if (!api_stream_began(st) || now - r->sent_us >= r->s.heartbeat_us) {
            r->sent_us = now;
            api_stream_heartbeat(st, r->q.known_by_us);
            return false;
        }
        if (!api_stream_may_wait(st)) {
            return false;
        }
    }
    return true;
}

/* The page is used up and was the last one of this round. */
static enum bf_code next_round(struct replay *r, struct api_stream *st, bool *over, bool *again, struct bf_err *err) {
    *again = false;
    if (is_over(r, st, over, err) != BF_OK || *over) {
        return *over ? BF_OK : err->code;
    }
    if (!r->live) {
        go_live(r);
    }
    if (wait_newer(r, st)) {
        if (offsets_complete(r, st, &r->last_round, err) != BF_OK) { /* before the watermark is read, which then covers it */
            return err->code;
        }
        r->q.known_by_us = store_recorded_through(api_stream_api(st)->capsule->store);
        api_stream_set_through(st, r->q.known_by_us);
        r->exhausted = false;
        *again = true;
    }
    return BF_OK;
}

/* ---- pace ---- */

static int64_t clock_of(const struct replay *r, const struct event *ev) {
    switch (r->s.q.order) {
    case ORDER_RECORDED: return ev->recorded_at_us;
    case ORDER_OFFSET: return ev->kafka_time_us;
    case ORDER_EVENT_TIME: break;
    }
    return ev->event_time_us;
}

/* When this event is due; the first one at once. Reckoned from when the last one was due, not from when it was sent, so that errors do not add up. */
static int64_t due_at(const struct replay *r, const struct event *ev) {
    if (!r->pacing) {
        return bf_time_monotonic_us();
    }
    int64_t gap = clock_of(r, ev) - r->clock_us;
    gap = gap < 0 ? 0 : (int64_t)((double)gap / r->s.speed);
    return r->due_us + (gap < r->s.max_gap_us ? gap : r->s.max_gap_us);
}

/* False: it is not due yet, and there is something to send or somebody who wants to know. */
static bool wait_due(struct replay *r, struct api_stream *st, const struct event *ev) {
    if (r->s.speed <= 0 || r->live) {
        return true;
    }
    int64_t due = due_at(r, ev);
    for (int64_t now; (now = bf_time_monotonic_us()) < due - WAKE_EARLY_US;) {
        if (api_stream_bytes(st) > 0 || !api_stream_began(st) || !api_stream_may_wait(st)) {
            return false;
        }
        if (r->s.follow && now - r->sent_us >= r->s.heartbeat_us) {
            r->sent_us = now;
            api_stream_heartbeat(st, r->q.known_by_us);
            return false;
        }
        int64_t step = due - WAKE_EARLY_US - now;
        step = step < WAIT_MS * 1000 ? step : WAIT_MS * 1000;
        nanosleep(&(struct timespec){step / 1000000, step % 1000000 * 1000}, NULL);
    }
    r->due_us = due;
    r->clock_us = clock_of(r, ev);
    r->pacing = true;
    return true;
}

/* ---- the source ---- */

static bool is_wanted(const struct replay *r, const struct event *ev) {
    return !r->exact_node || ev->node_id.len == r->q.node_prefix.len;
}

/* What of the page is due. */
static enum bf_code write_page(struct replay *r, struct api_stream *st, struct bf_err *err) {
    for (; r->at < r->page.count; r->at++) {
        const struct event *ev = &r->page.events[r->at];
        if (!is_wanted(r, ev)) {
            continue;
        }
        if (api_stream_full(st) || !wait_due(r, st, ev)) {
            return BF_OK;
        }
        if (api_stream_event(st, ev, err) != BF_OK) {
            return err->code;
        }
    }
    return BF_OK;
}

static enum bf_code replay_more(void *source, struct api_stream *st, bool *exhausted, struct bf_err *err) {
    struct replay *r = source;
    size_t before = api_stream_bytes(st);
    bool again = true;
    while (again && r->at == r->page.count) {
        if (!r->exhausted) {
            if (fetch(r, st, err) != BF_OK) {
                return err->code;
            }
            again = r->page.count == 0 && r->exhausted;
        } else if (next_round(r, st, exhausted, &again, err) != BF_OK || *exhausted) {
            return *exhausted ? BF_OK : err->code;
        }
    }
    if (write_page(r, st, err) != BF_OK) {
        return err->code;
    }
    if (api_stream_bytes(st) > before) {
        r->sent_us = bf_time_monotonic_us();
    }
    if (r->at == r->page.count && r->exhausted && !r->s.follow) {
        *exhausted = true;
    }
    return BF_OK;
}

const struct api_stream_ops replay_ops = {replay_more, replay_cursor, replay_free};

/* ---- making one ---- */

static void move_slice(struct bf_slice *s, char **at) {
    if (s->data) {
        memcpy(*at, s->data, s->len);
        s->data = *at;
        *at += s->len;
    }
}

/* The stream outlives the request: copy what the query borrows from it. */
static bool own_strings(struct replay *r) {
    struct event_query *q = &r->s.q;
    size_t bytes = q->node.len + q->node_prefix.len + 1;
    for (size_t i = 0; i < q->topic_count; i++) {
        bytes += q->topics[i].len;
    }
    r->text = malloc(bytes);
    if (!r->text) {
        return false;
    }
    char *at = r->text;
    move_slice(&q->node, &at);
    move_slice(&q->node_prefix, &at);
    for (size_t i = 0; i < q->topic_count; i++) {
        move_slice(&q->topics[i], &at);
    }
    return true;
}

/* A cursor from beyond the seam: history is over. One from within a place: the place is taken up anew. */
static void resume(struct replay *r) {
    bool within = r->s.beyond > 0;
    r->after = r->s.after;
    r->have_after = r->s.have_after;
    r->beyond = r->s.beyond;
    r->begun = r->after;
    r->after.recorded_at_us -= within;
    r->after.primary -= within && r->q.order == ORDER_RECORDED;
    if (!replay_has_seam(&r->s) || !r->have_after || r->begun.recorded_at_us <= r->seam_us) {
        return;
    }
    int64_t recorded_at_us = r->after.recorded_at_us;
    go_live(r);
    r->after = (struct event_pos){.recorded_at_us = recorded_at_us};
    r->have_after = true;
    r->q.known_by_us = recorded_at_us;
    r->exhausted = true; /* of this round: the next one goes up to what is recorded by now */
}

struct replay *replay_new(const struct replay_settings *settings) {
    struct replay *r = calloc(1, sizeof(*r));
    if (!r) {
        return NULL;
    }
    r->s = *settings;
    event_page_init(&r->page);
    if (!own_strings(r)) {
        replay_free(r);
        return NULL;
    }
    r->q = r->s.q;
    r->seam_us = r->s.q.known_by_us;
    r->sent_us = bf_time_monotonic_us();
    resume(r);
    return r;
}
