#include "redrive.h"

#include "bf_cond.h"
#include "bf_failpoint.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct redrive {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct redrive_job *job; /* under lock; NULL: none. Ingest keeps the lock while it works on it */
};

enum bf_code redrive_new(struct redrive **out, struct bf_err *err) {
    struct redrive *r = calloc(1, sizeof *r);
    if (!r)
        return bf_fail(err, BF_NOMEM, 0, "no memory for redrives");
    pthread_mutex_init(&r->lock, NULL);
    bf_cond_init(&r->changed);
    *out = r;
    return BF_OK;
}

void redrive_free(struct redrive *r) {
    if (!r)
        return;
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

enum bf_code redrive_ask(struct redrive *r, struct redrive_job *job, int timeout_ms, struct bf_err *err) {
    enum bf_code code = BF_OK;
    if (!r)
        return bf_fail(err, BF_AGAIN, 0, "nothing is taken in here at the moment");
    struct timespec until = bf_cond_in_ms(timeout_ms);
    pthread_mutex_lock(&r->lock);
    if (r->job) {
        code = bf_fail(err, BF_AGAIN, 0, "another redrive is running");
    } else if (job->count > 0) {
        r->job = job;
        while (r->job == job && bf_cond_wait_until(&r->changed, &r->lock, &until))
            ;
        if (r->job == job) {
            r->job = NULL;
            code = bf_fail(err, BF_AGAIN, 0, "only %zu of %zu records were looked at in time", job->next, job->count);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return code;
}

static enum bf_code take_in(struct redrive *r, struct hot *hot, const struct poison *p, const struct event *ev, struct redrive_outcome *out,
                            struct bf_err *err) {
    struct hot_redriven done;
    out->id = ev->id;
    if (r->job->dry_run) {
        out->kind = REDRIVE_STORED;
        return BF_OK;
    }
    enum bf_code code = hot_redrive(hot, ev, p->recorded_at_us, &done, err);
    bf_failpoint("redrive.after-hot");
    if (code == BF_EXISTS || code == BF_NOT_FOUND) {
        out->kind = REDRIVE_GONE;
        return BF_OK;
    }
    if (code != BF_OK)
        return code;
    out->revision = done.revision;
    out->recorded_at_us = done.recorded_at_us;
    out->kind = done.disposition == DISPOSITION_DUPLICATE ? REDRIVE_DUPLICATE : done.revision > 1 ? REDRIVE_REVISION : REDRIVE_STORED;
    return BF_OK;
}

static enum bf_code one(struct redrive *r, struct hot *hot, const struct redrive_calls *calls, const struct poison *p, struct redrive_outcome *out,
                        struct bf_err *err) {
    const struct event *ev = NULL;
    const struct poison *why = NULL;
    enum bf_code code = calls->open(calls->ctx, p, &ev, &why, err);
    if (code == BF_OK) {
        code = take_in(r, hot, p, ev, out, err);
    } else if (code == BF_REJECTED) {
        out->kind = REDRIVE_REFUSED;
        out->reason = why->reason;
        snprintf(out->detail, sizeof out->detail, "%.*s", (int)(why->detail.len < 250 ? why->detail.len : 250), (const char *)why->detail.data);
        code = BF_OK;
    } else if (code == BF_NOT_FOUND) {
        out->kind = REDRIVE_NOT_HELD;
        code = BF_OK;
    }
    if (code == BF_OK && !r->job->dry_run)
        calls->done(calls->ctx, p, out);
    return code;
}

enum bf_code redrive_step(struct redrive *r, struct hot *hot, const struct redrive_calls *calls, struct bf_err *err) {
    enum bf_code code = BF_OK;
    pthread_mutex_lock(&r->lock);
    struct redrive_job *job = r->job;
    while (job && code == BF_OK && job->next < job->count) {
        code = one(r, hot, calls, &job->list[job->next], &job->outcomes[job->next], err);
        job->next += code == BF_OK;
    }
    if (job && job->next == job->count) {
        r->job = NULL;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return code == BF_AGAIN || code == BF_NOMEM ? BF_OK : code;
}
