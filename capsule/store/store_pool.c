/* Idle connections lie on a stack, so that the warmest is used first; opening one costs nothing until its first question. */
#include "store_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct store_pool {
    struct archive_settings settings;
    char *conninfo, *application; /* copies that settings points at */
    int64_t wait_ms;
    int connections_max;
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t given;
    struct archive **idle;
    int idle_count, open_count;
};

enum bf_code store_pool_new(const struct archive_settings *settings, int connections_max, int64_t wait_ms, struct store_pool **out,
                            struct bf_err *err) {
    struct store_pool *p = calloc(1, sizeof(*p));
    if (!p) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for the archive pool");
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->given, &attr);
    pthread_condattr_destroy(&attr);
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
    pthread_cond_destroy(&p->given);
    pthread_mutex_destroy(&p->lock);
    free(p->idle);
    free(p->conninfo);
    free(p->application);
    free(p);
}

static struct timespec deadline_after(int64_t ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

enum bf_code store_pool_take(struct store_pool *p, struct archive **out, struct bf_err *err) {
    struct timespec deadline = deadline_after(p->wait_ms);
    struct archive *a = NULL;
    enum bf_code code = BF_OK;
    pthread_mutex_lock(&p->lock);
    while (p->idle_count == 0 && p->open_count == p->connections_max) {
        if (pthread_cond_timedwait(&p->given, &p->lock, &deadline) == ETIMEDOUT) {
            code = bf_fail(err, BF_AGAIN, 0, "all %d archive connections are busy", p->connections_max);
            goto done;
        }
    }
    if (p->idle_count > 0) {
        a = p->idle[--p->idle_count];
    } else {
        code = archive_open(&p->settings, &a, err);
        if (code == BF_OK) {
            p->open_count++;
        }
    }
done:
    pthread_mutex_unlock(&p->lock);
    if (code == BF_OK) {
        *out = a;
    }
    return code;
}

void store_pool_give(struct store_pool *p, struct archive *a) {
    pthread_mutex_lock(&p->lock);
    p->idle[p->idle_count++] = a;
    pthread_cond_signal(&p->given);
    pthread_mutex_unlock(&p->lock);
}

bool store_pool_stale(const struct bf_err *err) {
    return err->code == BF_AGAIN &&
           (err->sqlstate[0] == '\0' || strncmp(err->sqlstate, "08", 2) == 0 || strncmp(err->sqlstate, "57P", 3) == 0);
}
