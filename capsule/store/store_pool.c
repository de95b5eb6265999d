/* Idle connections lie on a stack, so that the warmest is used first; opening one costs nothing until its first question. Who has to wait stands in a
 * queue, and a connection that is given back goes to its head: else the thread that gave it back would mostly have it again, and of a thousand others some
 * would wait until their time is over. */
#include "store_pool.h"

#include "bf_cond.h"
#include "bf_loop.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct waiter {
    struct waiter *next;
    pthread_cond_t served;
    struct archive *connection;
};

struct store_pool {
    struct archive_settings settings;
    char *conninfo, *application; /* copies that settings points at */
    int64_t wait_ms;
    int connections_max;
    /* under the lock */
    pthread_mutex_t lock;
    struct waiter *first, *last; /* NULL: nobody waits */
    struct archive **idle;       /* none while somebody waits */
    int idle_count, open_count;
};

enum bf_code store_pool_new(const struct archive_settings *settings, int connections_max, int64_t wait_ms, struct store_pool **out,
                            struct bf_err *err) {
    struct store_pool *p = calloc(1, sizeof(*p));
    if (!p) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for the archive pool");
    }
    pthread_mutex_init(&p->lock, NULL);
    p->connections_max = connections_max;
    p->wait_ms = wait_ms;
    p->settings = *settings;
    p->settings.read_only = true;
    p->conninfo = strdup(settings->conninfo ? settings->conninfo : "");
    p->application = strdup(settings->application ? settings->application : "capsule-read");
    p->idle = calloc((size_t)connections_max, sizeof(*p->idle));
    if (!p->conninfo || !p->application || !p->idle) {
        store_pool_free(p);
        return bf_fail(err, BF_NOMEM, 0, "no memory for the archive pool");
    }
    p->settings.conninfo = p->conninfo;
    p->settings.application = p->application;
    *out = p;
    return BF_OK;
}

void store_pool_free(struct store_pool *p) {
    if (!p) {
        return;
    }
    bf_assert(p->idle_count == p->open_count);
    for (int i = 0; i < p->idle_count; i++) {
        archive_close(p->idle[i]);
    }
    pthread_mutex_destroy(&p->lock);
    free(p->idle);
    free(p->conninfo);
    free(p->application);
    free(p);
}

static void leave_queue(struct store_pool *p, const struct waiter *w) {
    struct waiter **at = &p->first, *before = NULL;
    while (*at != w) {
        before = *at;
        at = &before->next;
    }
    *at = w->next;
    if (p->last == w) {
        p->last = before;
    }
}

/* Under the lock. NULL: the time is over. */
static struct archive *wait_turn(struct store_pool *p) {
    struct timespec deadline = bf_cond_in_ms(p->wait_ms);
    struct waiter w = {0};
    bf_cond_init(&w.served);
    *(p->last ? &p->last->next : &p->first) = &w;
    p->last = &w;
    bool in_time = true;
    while (!w.connection && in_time) {
        in_time = bf_cond_wait_until(&w.served, &p->lock, &deadline);
    }
    if (!w.connection) {
        leave_queue(p, &w);
    }
    pthread_cond_destroy(&w.served);
    return w.connection;
}

enum bf_code store_pool_take(struct store_pool *p, struct archive **out, struct bf_err *err) {
    enum bf_code code = BF_OK;
    if (bf_loop_refuses()) {
        return bf_fail(err, BF_AGAIN, 0, "an event loop does not wait for the archive");
    }
    pthread_mutex_lock(&p->lock);
    if (p->idle_count > 0) {
        *out = p->idle[--p->idle_count];
    } else if (p->open_count == p->connections_max) {
        *out = wait_turn(p);
        code = *out ? BF_OK : bf_fail(err, BF_AGAIN, 0, "all %d archive connections are busy", p->connections_max);
    } else {
        code = archive_open(&p->settings, out, err);
        p->open_count += code == BF_OK;
    }
    pthread_mutex_unlock(&p->lock);
    return code;
}

void store_pool_give(struct store_pool *p, struct archive *a) {
    pthread_mutex_lock(&p->lock);
    struct waiter *w = p->first;
    if (w) {
        p->first = w->next;
        p->last = p->first ? p->last : NULL;
        w->connection = a;
        pthread_cond_signal(&w->served);
    } else {
        p->idle[p->idle_count++] = a;
    }
    pthread_mutex_unlock(&p->lock);
}

size_t store_pool_waiting(struct store_pool *p) {
    size_t count = 0;
    pthread_mutex_lock(&p->lock);
    for (const struct waiter *w = p->first; w; w = w->next) {
        count++;
    }
    pthread_mutex_unlock(&p->lock);
    return count;
}

bool store_pool_stale(const struct bf_err *err) {
    return err->code == BF_AGAIN &&
           (err->sqlstate[0] == '\0' || strncmp(err->sqlstate, "08", 2) == 0 || strncmp(err->sqlstate, "57P", 3) == 0);
}
