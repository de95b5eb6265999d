/* Phases: IDLE ──begin──► WANTED ──the thread──► DONE ──take──► IDLE. */
#include "api_replay_ahead.h"

#include <pthread.h>
#include <stdlib.h>

enum ahead_phase { AHEAD_IDLE, AHEAD_WANTED, AHEAD_DONE };

struct replay_ahead {
    struct store *store;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    enum ahead_phase phase;
    bool stop;
    /* the thread's while WANTED, else the caller's */
    struct event_query q;
    struct event_pos after;
    size_t rows;
    struct event_page page;
    bool exhausted;
    enum bf_code code;
    struct bf_err err;
};

static void *run(void *arg) {
    struct replay_ahead *a = arg;
    pthread_mutex_lock(&a->lock);
    while (!a->stop) {
        if (a->phase != AHEAD_WANTED) {
            pthread_cond_wait(&a->changed, &a->lock);
            continue;
        }
        pthread_mutex_unlock(&a->lock);
        event_page_clear(&a->page);
        a->code = store_fetch(a->store, &a->q, &a->after, a->rows, &a->page, &a->exhausted, &a->err);
        pthread_mutex_lock(&a->lock);
        a->phase = AHEAD_DONE;
        pthread_cond_broadcast(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

struct replay_ahead *replay_ahead_new(struct store *store) {
    struct replay_ahead *a = calloc(1, sizeof(*a));
    if (!a) {
        return NULL;
    }
    a->store = store;
    event_page_init(&a->page);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    return a;
}

void replay_ahead_free(struct replay_ahead *a) {
    if (!a) {
        return;
    }
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    if (a->started) {
        pthread_join(a->thread, NULL);
    }
    event_page_fini(&a->page);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

bool replay_ahead_begin(struct replay_ahead *a, const struct event_query *q, const struct event_pos *after, size_t rows) {
    if (!a->started && pthread_create(&a->thread, NULL, run, a) != 0) {
        return false;
    }
    a->started = true;
    pthread_mutex_lock(&a->lock);
    bf_assert(a->phase == AHEAD_IDLE);
    a->q = *q;
    a->after = *after;
    a->rows = rows;
    a->phase = AHEAD_WANTED;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    return true;
}

bool replay_ahead_take(struct replay_ahead *a, struct event_page *page, bool *exhausted, enum bf_code *code, struct bf_err *err) {
    pthread_mutex_lock(&a->lock);
    while (a->phase == AHEAD_WANTED) {
        pthread_cond_wait(&a->changed, &a->lock);
    }
    bool any = a->phase == AHEAD_DONE;
    a->phase = AHEAD_IDLE;
    pthread_mutex_unlock(&a->lock);
    if (!any) {
        return false;
    }
    struct event_page mine = *page;
    *page = a->page;
    a->page = mine;
    *exhausted = a->exhausted;
    *code = a->code;
    if (a->code != BF_OK) {
        *err = a->err;
    }
    return true;
}
