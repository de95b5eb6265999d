/* What the replays' two files share. */
#ifndef REPLAYS_INTERNAL_H
#define REPLAYS_INTERNAL_H

#include "replays.h"

#define REPLAY_SLOTS 4

struct replay_slot {
    struct replays *replays;
    pthread_t thread;
    struct replay_job job; /* the thread's while it runs */
    bool taken;            /* the supervisor's */
    bool over;             /* under lock */
};

struct replays {
    struct capsule *c;
    struct bf_uuid owner;
    pthread_t supervisor;
    struct replay_slot slots[REPLAY_SLOTS];
    pthread_mutex_t archive_lock;
    struct archive *archive; /* under archive_lock */
    pthread_mutex_t lock;
    pthread_cond_t wake; /* monotonic */
    bool awake, stopping; /* under lock */
};

/* Run a job until it ends, is paused or cancelled, is another instance's, or we stop. */
void replay_run(struct replays *r, struct replay_job *job);

BF_MUST_CHECK enum bf_code replays_progress(struct replays *r, const struct replay_job *job, enum replay_state *state, struct bf_err *err);
bool replays_stopping(struct replays *r);
/* Up to so long; sooner when something happened. False: stop. */
bool replays_wait(struct replays *r, int64_t ms);

#endif
