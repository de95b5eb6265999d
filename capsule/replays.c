/* A supervisor takes jobs from the archive, as many as there are slots, and gives each to a thread (replay_run.c). One connection serves everybody
 * here, under a lock: what is asked of it is short. */
#include "replays_internal.h"

#include "bf_cond.h"
#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_MS 1000
#define LEASE_MS 30000

static enum bf_code again(enum bf_code code) {
    return code == BF_AGAIN ? BF_OK : code;
}

/* Do `call` once more when the connection had died meanwhile. */
#define WITH_ARCHIVE(r, call)                                                                                                    \
    do {                                                                                                                         \
        pthread_mutex_lock(&(r)->archive_lock);                                                                                  \
        code = (call);                                                                                                           \
        if (code != BF_OK && again(code) == BF_OK)                                                                               \
            code = (call);                                                                                                       \
        pthread_mutex_unlock(&(r)->archive_lock);                                                                                \
    } while (0)

static void wake(struct replays *r) {
    pthread_mutex_lock(&r->lock);
    r->awake = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

enum bf_code replays_add(struct replays *r, const struct replay_job *job, struct bf_err *err) {
    enum bf_code code;
    WITH_ARCHIVE(r, archive_replay_put(r->archive, job, err));
    wake(r);
    return code;
}

enum bf_code replays_get(struct replays *r, const struct bf_uuid *id, struct replay_job *out, struct bf_err *err) {
    enum bf_code code;
    WITH_ARCHIVE(r, archive_replay_get(r->archive, id, out, err));
    return code;
}

enum bf_code replays_list(struct replays *r, size_t limit, struct replay_job **out, size_t *count, struct bf_err *err) {
    enum bf_code code;
    WITH_ARCHIVE(r, archive_replay_list(r->archive, limit, out, count, err));
    return code;
}

enum bf_code replays_move(struct replays *r, const struct bf_uuid *id, enum replay_state to, struct replay_job *out, struct bf_err *err) {
    enum bf_code code;
    WITH_ARCHIVE(r, archive_replay_move(r->archive, id, to, err));
    if (code != BF_OK)
        return code;
    wake(r);
    return replays_get(r, id, out, err);
}

enum bf_code replays_progress(struct replays *r, const struct replay_job *job, enum replay_state *state, struct bf_err *err) {
    enum bf_code code;
    WITH_ARCHIVE(r, archive_replay_progress(r->archive, &r->owner, job, state, err));
    return code;
}

bool replays_stopping(struct replays *r) {
    pthread_mutex_lock(&r->lock);
    bool stopping = r->stopping;
    pthread_mutex_unlock(&r->lock);
    return stopping;
}

bool replays_wait(struct replays *r, int64_t ms) {
    struct timespec until = bf_cond_in_ms(ms);
    pthread_mutex_lock(&r->lock);
    while (!r->stopping && !r->awake && bf_cond_wait_until(&r->wake, &r->lock, &until))
        ;
    bool go_on = !r->stopping;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

/* ---- the supervisor ---- */

static void *run_slot(void *arg) {
    struct replay_slot *slot = arg;
    replay_run(slot->replays, &slot->job);
    pthread_mutex_lock(&slot->replays->lock);
    slot->over = true;
    slot->replays->awake = true;
    pthread_cond_broadcast(&slot->replays->wake);
    pthread_mutex_unlock(&slot->replays->lock);
    return NULL;
}

/* Join what is over; a free slot, or NULL. *others: the ids that run. Only the supervisor changes `taken`. */
static struct replay_slot *reap(struct replays *r, struct bf_uuid others[REPLAY_SLOTS], size_t *count) {
    struct replay_slot *vacant = NULL;
    *count = 0;
    for (size_t i = 0; i < REPLAY_SLOTS; i++) {
        struct replay_slot *slot = &r->slots[i];
        pthread_mutex_lock(&r->lock);
        bool over = slot->taken && slot->over;
        pthread_mutex_unlock(&r->lock);
        if (over) {
            pthread_join(slot->thread, NULL);
            slot->taken = false;
        }
        if (slot->taken)
            others[(*count)++] = slot->job.id;
        else
            vacant = slot;
    }
    return vacant;
}

/* True: a job was begun, there may be more. */
static bool take_one(struct replays *r, bool *waiting) {
    struct bf_uuid others[REPLAY_SLOTS];
    struct bf_err err;
    size_t count;
    enum bf_code code;
    struct replay_slot *slot = reap(r, others, &count);
    if (!slot)
        return false;
    WITH_ARCHIVE(r, archive_replay_take(r->archive, &r->owner, LEASE_MS, others, count, &slot->job, &err));
    if (code != BF_OK) {
        if (code != BF_NOT_FOUND && !*waiting)
            bf_log_err(BF_LOG_WARN, "replays_wait", &err, "retry_in_ms=%d", LOOK_MS);
        *waiting = code != BF_NOT_FOUND;
        return false;
    }
    *waiting = false;
    slot->replays = r;
    slot->over = false;
    slot->taken = pthread_create(&slot->thread, NULL, run_slot, slot) == 0;
    return slot->taken;
}

static void *supervise(void *arg) {
    struct replays *r = arg;
    bool waiting = false;
    do {
        pthread_mutex_lock(&r->lock);
        r->awake = false;
        pthread_mutex_unlock(&r->lock);
        while (!replays_stopping(r) && take_one(r, &waiting))
            ;
    } while (replays_wait(r, LOOK_MS));
    for (size_t i = 0; i < REPLAY_SLOTS; i++)
        if (r->slots[i].taken)
            pthread_join(r->slots[i].thread, NULL);
    return NULL;
}

enum bf_code replays_start(struct capsule *c, struct replays **out, struct bf_err *err) {
    struct replays *r = calloc(1, sizeof *r);
    if (!r)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the replays");
    r->c = c;
    r->owner = hot_instance_id(c->hot);
    const struct archive_settings settings = {.conninfo = c->settings->postgres, .application = "capsule replays", .topics = c->topics,
                                              .connect_timeout_ms = 3000, .statement_timeout_ms = 30000};
    if (archive_open(&settings, &r->archive, err) != BF_OK) {
        free(r);
        return err->code;
    }
    bf_cond_init(&r->wake);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->archive_lock, NULL);
    if (pthread_create(&r->supervisor, NULL, supervise, r) != 0) {
        archive_close(r->archive);
        free(r);
        return bf_fail(err, BF_NOMEM, 0, "the replays' thread did not start");
    }
    *out = r;
    return BF_OK;
}

void replays_stop(struct replays *r) {
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->supervisor, NULL);
    archive_close(r->archive);
    pthread_mutex_destroy(&r->archive_lock);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->wake);
    free(r);
}
