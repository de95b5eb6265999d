/* The threads beside the event loops: each handles one request to its end, however long it waits. There is one more whenever a request comes and none
 * is free, so there are never more than connections; who has had nothing to do for ten seconds leaves. */
#include "bf_cond.h"
#include "bf_http_internal.h"

#include <stdlib.h>

#define IDLE_MS 10000
#define STACK_BYTES ((size_t)512 * 1024)

struct bf_workers {
    pthread_mutex_t lock;
    pthread_cond_t work, ended;
    /* under lock */
    struct bf_conn *first, *last; /* waiting for a thread that is on its way */
    size_t waiting, idle, threads;
    bool over;
};

enum bf_code bf_workers_new(struct bf_workers **out, struct bf_err *err) {
    struct bf_workers *w = calloc(1, sizeof *w);
    if (w == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory for the HTTP server");
    }
    bf_cond_init(&w->work);
    pthread_cond_init(&w->ended, NULL);
    pthread_mutex_init(&w->lock, NULL);
    *out = w;
    return BF_OK;
}

void bf_workers_free(struct bf_workers *w) {
    if (w == NULL) {
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->over = true;
    pthread_cond_broadcast(&w->work);
    while (w->threads > 0) {
        pthread_cond_wait(&w->ended, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->ended);
    pthread_cond_destroy(&w->work);
    free(w);
}

/* Under lock. False: nothing came for a while, or nothing will come any more. */
static bool await_work(struct bf_workers *w) {
    struct timespec until = bf_cond_in_ms(IDLE_MS);
    bool in_time = true;
    w->idle++;
    while (w->first == NULL && !w->over && in_time) {
        in_time = bf_cond_wait_until(&w->work, &w->lock, &until);
    }
    w->idle--;
    return w->first != NULL;
}

static void *work(void *arg) {
    struct bf_workers *w = arg;
    pthread_mutex_lock(&w->lock);
    while (await_work(w)) {
        struct bf_conn *conn = w->first;
        w->first = conn->waiting_next;
        w->last = w->first != NULL ? w->last : NULL;
        w->waiting--;
        pthread_mutex_unlock(&w->lock);
        bf_http_handle(conn);
        bf_conn_unref(conn);
        pthread_mutex_lock(&w->lock);
    }
    w->threads--;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Under lock. */
static bool add_thread(struct bf_workers *w) {
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    bool there = pthread_create(&thread, &attr, work, w) == 0;
    pthread_attr_destroy(&attr);
    w->threads += there;
    return there;
}

bool bf_workers_take(struct bf_workers *w, struct bf_conn *conn) {
    pthread_mutex_lock(&w->lock);
    bool taken = w->idle > w->waiting || add_thread(w);
    if (taken) {
        conn->waiting_next = NULL;
        bf_conn_ref(conn);
        *(w->last != NULL ? &w->last->waiting_next : &w->first) = conn;
        w->last = conn;
        w->waiting++;
        pthread_cond_signal(&w->work);
    }
    pthread_mutex_unlock(&w->lock);
    return taken;
}
