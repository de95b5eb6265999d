/* Phases: IDLE ──begin──► WANTED ──the thread──► DONE ──take──► IDLE. The lane belongs to the thread while WANTED, else to the archiver. */
#include "archive_ahead.h"

#include <stdlib.h>
#include <string.h>

enum ahead_phase { AHEAD_IDLE, AHEAD_WANTED, AHEAD_DONE };

struct archive_ahead {
    struct archive_lane *lane;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    enum ahead_phase phase;
    bool stop;
    int64_t after_us;
    bool staged; /* DONE: worth taking */
};

/* Failures are not told: the archiver meets them again when it goes the plain way. */
static bool stage(struct archive_ahead *ahead, int64_t after_us) {
    struct archive_lane *lane = ahead->lane;
    struct bf_err err;
    return archive_lane_read(lane, after_us, &err) == BF_OK && archive_lane_keep_schemas(lane, &err) == BF_OK &&
           archive_stage(lane->archive, &lane->chunk, &err) == BF_OK;
}

static void *run(void *arg) {
    struct archive_ahead *ahead = arg;
    pthread_mutex_lock(&ahead->lock);
    while (!ahead->stop) {
        if (ahead->phase != AHEAD_WANTED) {
            pthread_cond_wait(&ahead->changed, &ahead->lock);
            continue;
        }
        int64_t after_us = ahead->after_us;
        pthread_mutex_unlock(&ahead->lock);
        bool staged = stage(ahead, after_us);
        pthread_mutex_lock(&ahead->lock);
        ahead->staged = staged;
        ahead->phase = AHEAD_DONE;
        pthread_cond_broadcast(&ahead->changed);
    }
    pthread_mutex_unlock(&ahead->lock);
    return NULL;
}

void archive_ahead_begin(struct archive_ahead *ahead, int64_t after_us) {
    pthread_mutex_lock(&ahead->lock);
    bf_assert(ahead->phase == AHEAD_IDLE);
    ahead->phase = AHEAD_WANTED;
    ahead->after_us = after_us;
    pthread_cond_broadcast(&ahead->changed);
    pthread_mutex_unlock(&ahead->lock);
}

bool archive_ahead_take(struct archive_ahead *ahead, int64_t after_us, struct archive_lane **lane) {
    pthread_mutex_lock(&ahead->lock);
    while (ahead->phase == AHEAD_WANTED)
        pthread_cond_wait(&ahead->changed, &ahead->lock);
    bool any = ahead->phase == AHEAD_DONE, taken = any && ahead->staged && ahead->after_us == after_us;
    ahead->phase = AHEAD_IDLE;
    pthread_mutex_unlock(&ahead->lock);
    if (taken) {
        struct archive_lane *mine = *lane;
        *lane = ahead->lane;
        ahead->lane = mine;
    } else if (any) {
        archive_unstage(ahead->lane->archive);
    }
    return taken;
}

static void ahead_free(struct archive_ahead *ahead) {
    archive_lane_free(ahead->lane);
    pthread_cond_destroy(&ahead->changed);
    pthread_mutex_destroy(&ahead->lock);
    free(ahead);
}

enum bf_code archive_ahead_start(struct capsule *c, struct archive_ahead **out, struct bf_err *err) {
    struct archive_ahead *ahead = calloc(1, sizeof *ahead);
    if (!ahead)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the archiver");
    pthread_mutex_init(&ahead->lock, NULL);
    pthread_cond_init(&ahead->changed, NULL);
    enum bf_code code = archive_lane_new(c, &ahead->lane, err);
    if (code == BF_OK) {
        int rc = pthread_create(&ahead->thread, NULL, run, ahead);
        if (rc != 0)
            code = bf_fail(err, BF_NOMEM, rc, "no thread for the archiver: %s", strerror(rc));
    }
    if (code != BF_OK) {
        ahead_free(ahead);
        return code;
    }
    *out = ahead;
    return BF_OK;
}

void archive_ahead_stop(struct archive_ahead *ahead) {
    if (!ahead)
        return;
    pthread_mutex_lock(&ahead->lock);
    ahead->stop = true;
    pthread_cond_broadcast(&ahead->changed);
    pthread_mutex_unlock(&ahead->lock);
    pthread_join(ahead->thread, NULL);
    ahead_free(ahead);
}
