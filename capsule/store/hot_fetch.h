/* How far an answer may search, and the fetch in progress, shared by its two files. Lives on one thread's stack, inside one read transaction. */
#ifndef HOT_FETCH_H
#define HOT_FETCH_H

#include "bf_loop.h"
#include "hot_internal.h"

#define LOOKS_QUICK 4096 /* places that an event loop may look at for one answer; with more of them it is another thread's work */

/* Before the next place is looked at; *looked: for this answer so far. */
static inline enum bf_code look(size_t *looked, struct bf_err *err) {
    return ++*looked > LOOKS_QUICK && bf_loop_refuses() ? bf_fail(err, BF_AGAIN, 0, "a long search") : BF_OK;
}

struct fetch {
    struct hot *h;
    MDB_txn *txn;
    MDB_cursor *log; /* where it was read last; NULL: not yet */
    const struct event_query *q;
    const struct event_pos *after;
    size_t limit, taken, looked;
    struct event_page *page;
    struct topic_filter topics;
    struct node_runs runs;
    int64_t recorded_from_us, recorded_through_us; /* inclusive: what query and hot_from leave */
    bool more; /* something fits beyond the limit */
};


/* A view of the event recorded then, into the store: good as long as the transaction. */
BF_MUST_CHECK enum bf_code fetch_view(struct fetch *f, int64_t recorded_at_us, struct event *ev, struct bf_err *err);
/* Take the event recorded then, if it fits; sets `more` when the page is full. Candidates must come in the asked order. */
BF_MUST_CHECK enum bf_code fetch_offer(struct fetch *f, int64_t recorded_at_us, struct bf_err *err);

/* Collecting: candidates in any order, the best `limit` in order afterwards. */
BF_MUST_CHECK enum bf_code fetch_collect_sources(struct fetch *f, struct source *sources, size_t count, struct bf_err *err);
BF_MUST_CHECK enum bf_code fetch_id(struct fetch *f, struct bf_err *err);
/* A range of one partition's offsets: streams when that is the order, else collects. */
BF_MUST_CHECK enum bf_code fetch_offsets(struct fetch *f, struct bf_err *err);

#endif
