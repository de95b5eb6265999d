/* Where somebody waits or bytes are counted, a small record (struct flight) goes with the message to Kafka and back; its report tells them and
 * frees it. Every report counts. */
#include "publish.h"

#include "bf_kafka.h"
#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "hold_back.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_STEP_MS 10
#define SAY_EVERY_US 5000000
#define MOCK_HOLD_BACK_BYTES (INT64_C(3) << 20)
#define MESSAGE_OVERHEAD_BYTES 24 /* about what a record's own fields take in a batch */

struct publish_waiter {
    pthread_mutex_t lock;
    pthread_cond_t done;
    int64_t waiting, failed;
    struct bf_err first;
    int64_t reserved; /* the sender's alone: room in the queue that is kept for it */
};

struct flight {
    struct publish_waiter *waiter; /* NULL: nobody waits */
    size_t bytes;
};

struct publish {
    struct bf_producer *producer;
    struct hold_back *hold_back; /* NULL: never */
    char *bootstrap, *topic, *group;
    int64_t in_flight_max, hold_back_bytes;
    struct publish_counts counts;
    atomic_llong in_flight; /* handed to the producer, no report yet */
    atomic_bool last_failed;
    pthread_mutex_t lock; /* over the one below */
    struct bf_err last_err;
};

/* ---- waiters ---- */

enum bf_code publish_waiter_new(struct publish_waiter **out, struct bf_err *err) {
    struct publish_waiter *w = calloc(1, sizeof *w);

    if (w == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for waiting");
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->done, NULL);
    *out = w;
    return BF_OK;
}

int64_t publish_waiter_wait(struct publish_waiter *w, struct bf_err *first) {
    pthread_mutex_lock(&w->lock);
    while (w->waiting > 0) pthread_cond_wait(&w->done, &w->lock);
    int64_t failed = w->failed;
    if (failed > 0) *first = w->first;
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->done);
    free(w);
    return failed;
}

bool publish_waiter_done(struct publish_waiter *w, int64_t *failed) {
    pthread_mutex_lock(&w->lock);
    bool done = w->waiting == 0;
    *failed = w->failed;
    pthread_mutex_unlock(&w->lock);
    return done;
}

static void waiter_more(struct publish_waiter *w, int64_t n) {
    if (w == NULL) return;
    pthread_mutex_lock(&w->lock);
    w->waiting += n;
    pthread_mutex_unlock(&w->lock);
}

static void waiter_one_done(struct publish_waiter *w, enum bf_code code, const struct bf_err *err) {
    if (w == NULL) return;
    pthread_mutex_lock(&w->lock);
    if (code != BF_OK && w->failed++ == 0) w->first = *err;
    if (--w->waiting == 0) pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

/* ---- reports ---- */

static void note_failure(struct publish *p, enum bf_code code, const struct bf_err *err) {
    pthread_mutex_lock(&p->lock);
    if (code != BF_OK) p->last_err = *err;
    bool first = atomic_exchange(&p->last_failed, code != BF_OK) != (code != BF_OK) && code != BF_OK;
    pthread_mutex_unlock(&p->lock);
    if (first) bf_log_err(BF_LOG_WARN, "delivery_failed", err, "next=count");
}

static void on_delivered(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset) {
    struct publish *p = ctx;
    struct flight *flight = opaque;

    atomic_fetch_add(code == BF_OK ? &p->counts.published : &p->counts.failed, 1);
    atomic_fetch_sub(&p->in_flight, 1);
    if (code != BF_OK || atomic_load(&p->last_failed)) note_failure(p, code, err);
    if (flight == NULL) return;
    if (p->hold_back != NULL) hold_back_delivered(p->hold_back, partition, code == BF_OK ? offset : -1, flight->bytes);
    waiter_one_done(flight->waiter, code, err);
    free(flight);
}

bool publish_last_failed(struct publish *p, struct bf_err *err) {
    pthread_mutex_lock(&p->lock);
    bool failed = atomic_load(&p->last_failed);
    if (failed) *err = p->last_err;
    pthread_mutex_unlock(&p->lock);
    return failed;
}

/* ---- life ---- */

enum bf_code publish_open(const struct publish_settings *settings, struct publish **out, struct bf_err *err) {
    enum bf_code code;
    struct publish *p = calloc(1, sizeof *p);

    if (p == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for publishing");
    pthread_mutex_init(&p->lock, NULL);
    p->bootstrap = strdup(settings->bootstrap);
    p->topic = strdup(settings->topic);
    p->group = strdup(settings->hold_back_group);
    p->in_flight_max = settings->in_flight_max;
    p->hold_back_bytes = settings->hold_back_bytes;
    struct bf_producer_settings producer = {.bootstrap = settings->bootstrap,
                                            .client_id = "perception",
                                            .linger_ms = settings->linger_ms,
                                            .delivery_timeout_ms = settings->delivery_timeout_ms,
                                            .delivered = on_delivered,
                                            .ctx = p};
    code = p->bootstrap != NULL && p->topic != NULL && p->group != NULL ? bf_producer_open(&producer, &p->producer, err)
                                                                        : bf_fail(err, BF_NOMEM, 0, "no memory for publishing");
    if (code != BF_OK) {
        publish_close(p);
        return code;
    }
    *out = p;
    return BF_OK;
}

void publish_close(struct publish *p) {
    if (p == NULL) return;
    bf_producer_close(p->producer);
    hold_back_free(p->hold_back);
    pthread_mutex_destroy(&p->lock);
    free(p->bootstrap);
    free(p->topic);
    free(p->group);
    free(p);
}

enum bf_code publish_warm(struct publish *p, int timeout_ms, struct bf_err *err) {
    char *cluster = NULL;
    enum bf_code code = bf_producer_warm(p->producer, p->topic, timeout_ms, err);

    if (code == BF_OK && p->hold_back_bytes < 0) {
        code = bf_producer_cluster_id(p->producer, timeout_ms, &cluster, err);
        if (code != BF_OK) return code;
        p->hold_back_bytes = bf_kafka_is_mock_cluster(cluster) ? MOCK_HOLD_BACK_BYTES : 0;
        free(cluster);
    }
    if (code == BF_OK && p->hold_back_bytes > 0 && p->hold_back == NULL) {
        code = hold_back_new(p->bootstrap, p->group, p->topic, p->hold_back_bytes, &p->hold_back, err);
    }
    return code;
}

bool publish_holds_back(const struct publish *p) { return p->hold_back != NULL; }
struct publish_counts *publish_counts(struct publish *p) { return &p->counts; }
int64_t publish_queued(const struct publish *p) { return atomic_load(&p->in_flight); }
void publish_poll(struct publish *p, int timeout_ms) { (void)bf_producer_poll(p->producer, timeout_ms); }

void publish_drain(struct publish *p) {
    while (publish_queued(p) > 0) publish_poll(p, 100);
}

/* ---- sending ---- */

static void wait_for_group(struct publish *p) {
    int64_t said_us = p->hold_back != NULL ? bf_time_monotonic_us() : 0;
    bool waited = false;

    while (p->hold_back != NULL && !hold_back_may_send(p->hold_back) && !bf_stop_requested()) {
        int64_t now_us = bf_time_monotonic_us();
        waited = true;
        if (now_us - said_us >= SAY_EVERY_US) {
            said_us = now_us;
            bf_log(BF_LOG_WARN, "holding_back", "group=%s bytes=%lld reason=\"the broker forgets what the group has not read\"", p->group,
                   (long long)hold_back_bytes(p->hold_back));
        }
        publish_poll(p, WAIT_STEP_MS);
    }
    if (waited) atomic_fetch_add(&p->counts.waits_group, 1);
}

/* Room for n, at once or not at all. */
static bool take_room(struct publish *p, int64_t n) {
    long long has = atomic_load(&p->in_flight);
    do {
        if (has > 0 && has + n > p->in_flight_max) return false;
    } while (!atomic_compare_exchange_weak(&p->in_flight, &has, has + n));
    return true;
}

enum bf_code publish_reserve(struct publish *p, struct publish_waiter *w, int64_t n, int timeout_ms, struct bf_err *err) {
    int64_t give_up_us = bf_time_monotonic_us() + (int64_t)timeout_ms * 1000;

    for (;;) {
        bool behind = p->hold_back != NULL && !hold_back_may_send(p->hold_back);
        if (!behind && take_room(p, n)) break;
        if (bf_time_monotonic_us() >= give_up_us || bf_stop_requested()) {
            atomic_fetch_add(&p->counts.refused, 1);
            return behind ? bf_fail(err, BF_AGAIN, 0, "group %s has not read yet what the broker would forget", p->group)
                          : bf_fail(err, BF_AGAIN, 0, "%lld signals wait for Kafka, which is as many as may", (long long)atomic_load(&p->in_flight));
        }
        publish_poll(p, WAIT_STEP_MS);
    }
    w->reserved = n;
    return BF_OK;
}

void publish_unreserve(struct publish *p, struct publish_waiter *w) {
    atomic_fetch_sub(&p->in_flight, w->reserved);
    w->reserved = 0;
}

/* Set where somebody wants to know; on failure nothing is made. */
static enum bf_code make_flight(struct publish *p, size_t bytes, struct publish_waiter *w, struct flight **out, struct bf_err *err) {
    *out = NULL;
    if (w == NULL && p->hold_back == NULL) return BF_OK;
    if ((*out = malloc(sizeof **out)) == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a signal");
    **out = (struct flight){w, bytes};
    waiter_more(w, 1);
    if (p->hold_back != NULL) hold_back_queued(p->hold_back, bytes);
    return BF_OK;
}

static void unmake_flight(struct publish *p, struct flight *flight) {
    if (flight == NULL) return;
    waiter_more(flight->waiter, -1);
    if (p->hold_back != NULL) hold_back_delivered(p->hold_back, -1, -1, flight->bytes);
    free(flight);
}

/* Counted in in_flight afterwards; true: it had to wait. */
static bool wait_for_room(struct publish *p, struct publish_waiter *w) {
    bool waited = false;

    if (w != NULL && w->reserved > 0) {
        w->reserved--;
        return false;
    }
    while (!take_room(p, 1)) {
        waited = true;
        publish_poll(p, WAIT_STEP_MS);
    }
    return waited;
}

enum bf_code publish_send(struct publish *p, struct bf_slice key, struct bf_slice value, struct publish_waiter *w, struct bf_err *err) {
    struct flight *flight;

    wait_for_group(p);
    bool waited = wait_for_room(p, w);
    enum bf_code code = make_flight(p, key.len + value.len + MESSAGE_OVERHEAD_BYTES, w, &flight, err);
    while (code == BF_OK &&
           (code = bf_producer_send(p->producer, p->topic, -1, key, value, NULL, 0, 0, flight, err)) == BF_AGAIN) {
        waited = true;
        publish_poll(p, WAIT_STEP_MS);
        code = BF_OK;
    }
    if (waited) atomic_fetch_add(&p->counts.waits_full, 1);
    if (code == BF_OK) return BF_OK;
    atomic_fetch_sub(&p->in_flight, 1);
    unmake_flight(p, flight);
    return code;
}
