/* What is on its way is counted by interceptors: up when librdkafka takes a message, down on its broker thread when the broker did; delivery
 * reports would wait until somebody polls. What is held is pushed by whoever fills the batch, else by our own thread, which acknowledgements
 * and the oldest message's deadline wake.
 *
 * All under `lock`, but the two atomics: interceptors may run inside a call of ours, so they take no lock. No wake-up is lost: whoever lets a
 * message wait sets `watching` first and looks at `on_the_way` then, and the interceptor does it the other way round. */
#include "bf_kafka_adaptive.h"

#include "bf_time.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PUSH_AGAIN_US 2000 /* while librdkafka's queue is full */
#define HELD_MAX (2 * ADAPTIVE_BATCH)

struct held {
    struct held *next;
    struct bf_adaptive_message m; /* its key lies behind, its value is malloc'ed */
    char key[];
};

struct bf_adaptive {
    rd_kafka_t *rk;
    bf_adaptive_refused *refused;
    void *ctx;
    atomic_long on_the_way;
    atomic_bool watching; /* somebody wants to know when on_the_way falls */
    atomic_bool stopping;
    sem_t wake;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    struct held *first, **last;
    size_t count, bytes;
    int64_t oldest_us;
};

/* ---- counting what is on its way ---- */

static rd_kafka_resp_err_t on_send(rd_kafka_t *rk, rd_kafka_message_t *rkm, void *opaque) {
    struct bf_adaptive *a = opaque;
    (void)rk, (void)rkm;
    atomic_fetch_add(&a->on_the_way, 1);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_acknowledgement(rd_kafka_t *rk, rd_kafka_message_t *rkm, void *opaque) {
    struct bf_adaptive *a = opaque;
    (void)rk, (void)rkm;
    if (atomic_fetch_sub(&a->on_the_way, 1) - 1 < ADAPTIVE_FREE && atomic_exchange(&a->watching, false)) (void)sem_post(&a->wake);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *text, size_t text_size) {
    (void)conf, (void)text, (void)text_size;
    rd_kafka_resp_err_t native = rd_kafka_interceptor_add_on_send(rk, "bf_adaptive", on_send, opaque);
    return native == RD_KAFKA_RESP_ERR_NO_ERROR ? rd_kafka_interceptor_add_on_acknowledgement(rk, "bf_adaptive", on_acknowledgement, opaque)
                                                : native;
}

/* ---- sending ---- */

rd_kafka_resp_err_t bf_rd_produce(rd_kafka_t *rk, const struct bf_adaptive_message *m, int flags) {
    rd_kafka_vu_t vus[8];
    size_t n = 0;

    if (m->headers == NULL && m->timestamp_ms == 0) { /* the usual case, and the cheapest call */
        void *value = (void *)(uintptr_t)m->value.data;
        return rd_kafka_produce(m->topic, m->partition, flags, value, m->value.len, m->key.data, m->key.len, m->opaque) == 0
                   ? RD_KAFKA_RESP_ERR_NO_ERROR
                   : rd_kafka_last_error();
    }
    vus[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = m->topic};
    vus[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = m->partition};
    vus[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = flags};
    vus[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = m->opaque};
    if (m->key.data != NULL) {
        vus[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)m->key.data, m->key.len}};
    }
    if (m->value.data != NULL) {
        vus[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)m->value.data, m->value.len}};
    }
    if (m->timestamp_ms > 0) vus[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = m->timestamp_ms};
    if (m->headers != NULL) vus[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = m->headers};
    rd_kafka_error_t *error = rd_kafka_produceva(rk, vus, n);
    rd_kafka_resp_err_t native = error != NULL ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (error != NULL) rd_kafka_error_destroy(error);
    return native;
}

static void free_held(struct held *h) {
    free((void *)(uintptr_t)h->m.value.data);
    if (h->m.headers != NULL) rd_kafka_headers_destroy(h->m.headers);
    free(h);
}

/* Under the lock. Those that librdkafka refuses for good go to *refused, to be told when the lock is free. */
static bool push_all(struct bf_adaptive *a, struct held **refused) {
    while (a->first != NULL) {
        struct held *h = a->first;
        rd_kafka_resp_err_t native = bf_rd_produce(a->rk, &h->m, RD_KAFKA_MSG_F_FREE);
        if (native == RD_KAFKA_RESP_ERR__QUEUE_FULL) return false;
        if ((a->first = h->next) == NULL) a->last = &a->first;
        a->count--;
        a->bytes -= h->m.value.len;
        if (native == RD_KAFKA_RESP_ERR_NO_ERROR) {
            free(h);
        } else {
            h->m.partition = (int32_t)native;
            h->next = *refused;
            *refused = h;
        }
    }
    return true;
}

static void tell_refused(struct bf_adaptive *a, struct held *refused) {
    while (refused != NULL) {
        struct held *next = refused->next;
        a->refused(a->ctx, refused->m.opaque, (rd_kafka_resp_err_t)refused->m.partition);
        free_held(refused);
        refused = next;
    }
}

/* Under the lock. */
static rd_kafka_resp_err_t hold(struct bf_adaptive *a, const struct bf_adaptive_message *m) {
    struct held *h = malloc(sizeof *h + m->key.len);
    char *value = m->value.data != NULL ? malloc(m->value.len + 1) : NULL;

    if (h == NULL || (m->value.data != NULL && value == NULL)) {
        free(h);
        free(value);
        return RD_KAFKA_RESP_ERR__QUEUE_FULL;
    }
    h->m = *m;
    h->next = NULL;
    if (m->key.data != NULL) h->m.key = (struct bf_slice){memcpy(h->key, m->key.data, m->key.len), m->key.len};
    if (value != NULL) h->m.value = (struct bf_slice){memcpy(value, m->value.data, m->value.len), m->value.len};
    if (m->timestamp_ms == 0) h->m.timestamp_ms = bf_time_now_us() / 1000;
    if (a->first == NULL) a->oldest_us = bf_time_monotonic_us();
    *a->last = h;
    a->last = &h->next;
    a->count++;
    a->bytes += m->value.len;
    atomic_store(&a->watching, true);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t bf_adaptive_send(struct bf_adaptive *a, const struct bf_adaptive_message *m) {
    rd_kafka_resp_err_t native;
    struct held *refused = NULL;

    pthread_mutex_lock(&a->lock);
    bool was_empty = a->first == NULL;
    if (was_empty && (atomic_load(&a->on_the_way) < ADAPTIVE_FREE || m->value.len >= ADAPTIVE_BYTES)) {
        native = bf_rd_produce(a->rk, m, RD_KAFKA_MSG_F_COPY);
    } else if (m->value.len >= ADAPTIVE_BYTES) {
        native = push_all(a, &refused) ? bf_rd_produce(a->rk, m, RD_KAFKA_MSG_F_COPY) : RD_KAFKA_RESP_ERR__QUEUE_FULL;
    } else {
        native = a->count < HELD_MAX ? hold(a, m) : RD_KAFKA_RESP_ERR__QUEUE_FULL;
        if (a->count >= ADAPTIVE_BATCH || a->bytes >= ADAPTIVE_BYTES || atomic_load(&a->on_the_way) < ADAPTIVE_FREE) (void)push_all(a, &refused);
        if (was_empty && a->first != NULL) (void)sem_post(&a->wake); /* a deadline to watch */
    }
    pthread_mutex_unlock(&a->lock);
    tell_refused(a, refused);
    return native;
}

bool bf_adaptive_push(struct bf_adaptive *a) {
    struct held *refused = NULL;

    pthread_mutex_lock(&a->lock);
    bool all = push_all(a, &refused);
    pthread_mutex_unlock(&a->lock);
    tell_refused(a, refused);
    return all;
}

size_t bf_adaptive_held(struct bf_adaptive *a) {
    pthread_mutex_lock(&a->lock);
    size_t count = a->count;
    pthread_mutex_unlock(&a->lock);
    return count;
}

/* ---- the thread ---- */

/* Look at what is held; returns when to look again (monotonic µs), 0: when woken. */
static int64_t look(struct bf_adaptive *a) {
    struct held *refused = NULL;
    int64_t now_us = bf_time_monotonic_us(), again_us = 0;

    pthread_mutex_lock(&a->lock);
    if (a->first != NULL) {
        atomic_store(&a->watching, true);
        if (atomic_load(&a->on_the_way) >= ADAPTIVE_FREE && now_us < a->oldest_us + ADAPTIVE_WAIT_MAX_US) {
            again_us = a->oldest_us + ADAPTIVE_WAIT_MAX_US;
        } else if (!push_all(a, &refused)) {
            again_us = now_us + PUSH_AGAIN_US;
        }
    }
    pthread_mutex_unlock(&a->lock);
    tell_refused(a, refused);
    return again_us;
}

static void *run(void *ctx) {
    struct bf_adaptive *a = ctx;

    while (!atomic_load(&a->stopping)) {
        int64_t again_us = look(a);
        struct timespec at = {.tv_sec = again_us / 1000000, .tv_nsec = again_us % 1000000 * 1000};
        if (again_us == 0) (void)sem_wait(&a->wake);
        else (void)sem_clockwait(&a->wake, CLOCK_MONOTONIC, &at);
    }
    return NULL;
}

/* ---- life ---- */

enum bf_code bf_adaptive_new(rd_kafka_conf_t *conf, bf_adaptive_refused *refused, void *ctx, struct bf_adaptive **out, struct bf_err *err) {
    struct bf_adaptive *a = calloc(1, sizeof *a);

    if (a == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a producer");
    a->refused = refused;
    a->ctx = ctx;
    a->last = &a->first;
    pthread_mutex_init(&a->lock, NULL);
    bf_assert(sem_init(&a->wake, 0, 0) == 0);
    rd_kafka_resp_err_t native = rd_kafka_conf_interceptor_add_on_new(conf, "bf_adaptive", on_new, a);
    if (native != RD_KAFKA_RESP_ERR_NO_ERROR) {
        bf_adaptive_free(a);
        return bf_rd_fail(err, native, "watching acknowledgements");
    }
    *out = a;
    return BF_OK;
}

enum bf_code bf_adaptive_start(struct bf_adaptive *a, rd_kafka_t *rk, struct bf_err *err) {
    a->rk = rk;
    a->started = pthread_create(&a->thread, NULL, run, a) == 0;
    return a->started ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no thread for a producer");
}

void bf_adaptive_stop(struct bf_adaptive *a) {
    struct held *refused = NULL;

    if (a == NULL || !a->started) return;
    atomic_store(&a->stopping, true);
    (void)sem_post(&a->wake);
    (void)pthread_join(a->thread, NULL);
    a->started = false;
    (void)push_all(a, &refused);
    tell_refused(a, refused);
    while (a->first != NULL) { /* the queue is full: they never were on their way */
        struct held *h = a->first;
        a->first = h->next;
        a->refused(a->ctx, h->m.opaque, RD_KAFKA_RESP_ERR__PURGE_QUEUE);
        free_held(h);
    }
    a->last = &a->first;
    a->count = a->bytes = 0;
}

void bf_adaptive_free(struct bf_adaptive *a) {
    if (a == NULL) return;
    (void)sem_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    free(a);
}
