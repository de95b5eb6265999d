/* Taking in quarantined records after all, in place: with their original coordinates and in their order, after a fix, a late schema, or by hand.
 * An HTTP thread asks, ingest does it between two batches, because it alone opens envelopes and writes the hot store. One job at a time.
 */
#ifndef REDRIVE_H
#define REDRIVE_H

#include "capsule.h"
#include "envelope.h"

enum redrive_kind {
    REDRIVE_PENDING,   /* not looked at in time */
    REDRIVE_STORED, REDRIVE_REVISION, REDRIVE_DUPLICATE, /* it was taken in; dry run: STORED means that it could be */
    REDRIVE_REFUSED,   /* it still cannot: reason and detail */
    REDRIVE_NOT_HELD,  /* its partition is another instance's */
    REDRIVE_GONE,      /* it is not in quarantine any more */
};

struct redrive_outcome {
    enum redrive_kind kind;
    struct bf_uuid id;
    uint32_t revision;
    int64_t recorded_at_us;
    enum poison_reason reason;
    char detail[256];
};

struct redrive_job {
    const struct poison *list; /* by topic, partition, offset */
    size_t count, next;
    bool dry_run;
    struct redrive_outcome *outcomes; /* one for each, zeroed */
};

struct redrive; /* the place where they meet; made by main */
BF_MUST_CHECK enum bf_code redrive_new(struct redrive **out, struct bf_err *err);
void redrive_free(struct redrive *r);

/* Any thread: hand it in and wait until it is through. BF_AGAIN: not all of it within timeout_ms (the outcomes say how far), or another one runs. */
BF_MUST_CHECK enum bf_code redrive_ask(struct redrive *r, struct redrive_job *job, int timeout_ms, struct bf_err *err);

/* Ingest: work on what was handed in. open() makes an event of a record: BF_AGAIN: later; BF_REJECTED: why is in env->poison; BF_NOT_FOUND: not held. */
struct redrive_calls {
    enum bf_code (*open)(void *ctx, const struct poison *p, const struct event **ev, const struct poison **why, struct bf_err *err);
    void (*done)(void *ctx, const struct poison *p, const struct redrive_outcome *outcome);
    void *ctx;
};
BF_MUST_CHECK enum bf_code redrive_step(struct redrive *r, struct hot *hot, const struct redrive_calls *calls, struct bf_err *err);

#endif
