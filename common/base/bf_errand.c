/* Phases: IDLE ──begin──► WANTED ──the thread──► DONE ──wait──► IDLE. */
#include "bf_errand.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum errand_phase { ERRAND_IDLE, ERRAND_WANTED, ERRAND_DONE };

struct bf_errand {
    void (*run)(void *ctx);
    void *ctx;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    enum errand_phase phase;
    bool stop;
};

static void *serve(void *arg) {
    struct bf_errand *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->stop) {
        if (e->phase != ERRAND_WANTED) {
            pthread_cond_wait(&e->changed, &e->lock);
            continue;
        }
        pthread_mutex_unlock(&e->lock);
        e->run(e->ctx);
        pthread_mutex_lock(&e->lock);
        e->phase = ERRAND_DONE;
        pthread_cond_broadcast(&e->changed);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

static void destroy(struct bf_errand *e) {
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

enum bf_code bf_errand_new(void (*run)(void *ctx), void *ctx, struct bf_errand **out, struct bf_err *err) {
    struct bf_errand *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for a helping thread");
    }
    e->run = run;
    e->ctx = ctx;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    int rc = pthread_create(&e->thread, NULL, serve, e);
    if (rc != 0) {
        destroy(e);
        return bf_fail(err, BF_NOMEM, rc, "no helping thread: %s", strerror(rc));
    }
    *out = e;
    return BF_OK;
}

void bf_errand_free(struct bf_errand *e) {
    if (e == NULL) {
        return;
    }
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    destroy(e);
}

void bf_errand_begin(struct bf_errand *e) {
    pthread_mutex_lock(&e->lock);
    bf_assert(e->phase == ERRAND_IDLE);
    e->phase = ERRAND_WANTED;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

bool bf_errand_wait(struct bf_errand *e) {
    pthread_mutex_lock(&e->lock);
    while (e->phase == ERRAND_WANTED) {
        pthread_cond_wait(&e->changed, &e->lock);
    }
    bool any = e->phase == ERRAND_DONE;
    e->phase = ERRAND_IDLE;
    pthread_mutex_unlock(&e->lock);
    return any;
}
