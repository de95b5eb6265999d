/* How offsets wait for outputs: every output belongs to one of two generations. To commit, the positions of all partitions are written down and
 * the generation is changed; what is written down goes to Kafka when the old generation has no unacknowledged output left. Then the same again.
 * So one counter a generation is enough, whatever the order in which acknowledgements come, and a commit never runs ahead of an output. */
#include "bf_transform.h"

#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MS 20
#define SETTLE_STEP_MS 100
#define STOP_SETTLE_MS 15000
#define SAY_EVERY_US 5000000
#define REPORTS_EVERY 64                    /* messages between two looks at delivery reports under load */
#define DELIVERY_TIMEOUT_MS INT64_C(2147483647) /* an outage is waited out: the offset waits too */

struct part {
    _Atomic int64_t next; /* the first offset not done; -1: not held */
    int64_t pending;      /* what the commit under way says; -1: nothing */
    int64_t committed;
};

struct bf_transform {
    struct bf_transform_settings s;
    char *topic_in;
    struct bf_consumer *consumer;
    _Atomic(struct bf_consumer *) seen; /* the same, for other threads */
    struct bf_producer *producer;
    struct bf_transform_counts counts;
    struct part *parts;      /* BF_TRANSFORM_PARTITIONS_MAX of them */
    int32_t parts_used;      /* indexes are below this */
    atomic_llong outstanding[2]; /* by generation */
    int generation;          /* of what is sent now */
    bool committing;         /* the other one is waited for */
    bool moved;              /* some position moved since the last commit began */
    int64_t next_commit_us, next_tick_us, said_us;
    pthread_mutex_t lock;    /* the one below; reports may come from the producer's own thread */
    struct bf_err broken;    /* code BF_OK: none */
};

/* ---- delivery ---- */

static void on_delivered(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset) {
    struct bf_transform *t = ctx;

    (void)partition, (void)offset;
    if (code == BF_OK) {
        atomic_fetch_sub(&t->outstanding[opaque != NULL], 1);
        atomic_fetch_add(&t->counts.acknowledged, 1);
    } else if (code != BF_CANCELLED) {
        pthread_mutex_lock(&t->lock);
        if (t->broken.code == BF_OK) t->broken = *err;
        t->broken.code = BF_BROKEN;
        pthread_mutex_unlock(&t->lock);
    }
}

static enum bf_code check(struct bf_transform *t, struct bf_err *err) {
    pthread_mutex_lock(&t->lock);
    enum bf_code code = t->broken.code;
    if (code != BF_OK) *err = t->broken;
    pthread_mutex_unlock(&t->lock);
    return code;
}

/* Until nothing is unacknowledged, give_up_us (monotonic) or a failure. */
static enum bf_code settle(struct bf_transform *t, int64_t give_up_us, struct bf_err *err) {
    while (check(t, err) == BF_OK && bf_producer_queued(t->producer) > 0) {
        if (bf_producer_flush(t->producer, SETTLE_STEP_MS, err) == BF_OK) continue;
        if (bf_time_monotonic_us() >= give_up_us)
            return bf_fail(err, BF_AGAIN, 0, "%zu messages are not acknowledged", bf_producer_queued(t->producer));
    }
    return check(t, err);
}

enum bf_code bf_transform_send(struct bf_transform *t, const char *topic, struct bf_slice key, struct bf_slice value,
                               const struct bf_header *headers, size_t header_count, struct bf_err *err) {
    void *generation = t->generation != 0 ? t : NULL;
    bool waited = false;
    enum bf_code code;

    atomic_fetch_add(&t->outstanding[t->generation], 1); /* before its report can come */
    for (;;) {
        if ((code = check(t, err)) != BF_OK) break;
        bool full = bf_producer_queued(t->producer) >= t->s.in_flight_max;
        code = full ? BF_AGAIN : bf_producer_send(t->producer, topic, -1, key, value, headers, header_count, 0, generation, err);
        if (code != BF_AGAIN) break;
        if (bf_stop_requested()) {
            code = bf_fail(err, BF_CANCELLED, 0, "stopped while the queue to Kafka is full");
            break;
        }
        if (!waited) atomic_fetch_add(&t->counts.waits_full, 1);
        waited = true;
        (void)bf_producer_poll(t->producer, POLL_MS);
    }
    if (code != BF_OK) atomic_fetch_sub(&t->outstanding[t->generation], 1);
    else atomic_fetch_add(&t->counts.sent, 1);
    return code;
}

enum bf_code bf_transform_warm(struct bf_transform *t, const char *topic_out, int timeout_ms, struct bf_err *err) {
    return bf_producer_warm(t->producer, topic_out, timeout_ms, err);
}

/* ---- offsets ---- */

static void begin_commit(struct bf_transform *t) {
    if (!t->moved) return;
    for (int32_t i = 0; i < t->parts_used; i++) {
        int64_t next = atomic_load_explicit(&t->parts[i].next, memory_order_relaxed);
        t->parts[i].pending = next > t->parts[i].committed ? next : -1;
    }
    t->generation = !t->generation;
    t->committing = true;
    t->moved = false;
}

/* Commit what is written down for `only` (NULL: all of it). */
static enum bf_code commit_pending(struct bf_transform *t, bool sync, struct bf_err *err) {
    struct bf_tp *tps = calloc((size_t)t->parts_used + 1, sizeof *tps);
    size_t count = 0;

    if (tps == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a commit");
    for (int32_t i = 0; i < t->parts_used; i++)
        if (t->parts[i].pending >= 0) tps[count++] = (struct bf_tp){t->topic_in, i, t->parts[i].pending};
    enum bf_code code = count > 0 ? bf_consumer_commit(t->consumer, tps, count, sync, err) : BF_OK;
    for (size_t i = 0; i < count; i++) {
        struct part *part = &t->parts[tps[i].partition];
        if (code == BF_OK) part->committed = part->pending;
        part->pending = -1;
    }
    free(tps);
    if (code == BF_OK && count > 0) atomic_fetch_add(&t->counts.commits, 1);
    if (code != BF_OK) t->moved = true; /* once more with the next */
    t->committing = false;
    return code;
}

static void commit_when_due(struct bf_transform *t, int64_t now_us) {
    struct bf_err err = {0};

    if (t->committing && atomic_load(&t->outstanding[!t->generation]) == 0 && commit_pending(t, false, &err) != BF_OK)
        bf_log_err(BF_LOG_WARN, "commit_failed", &err, "next=\"again with the next commit\"");
    if (t->committing || now_us < t->next_commit_us) return;
    t->next_commit_us = now_us + t->s.commit_interval_ms * 1000;
    begin_commit(t);
}

/* Everything sent is acknowledged and what is done is committed, or the reason why not. */
static enum bf_code settle_and_commit(struct bf_transform *t, struct bf_err *err) {
    enum bf_code code = settle(t, bf_time_monotonic_us() + STOP_SETTLE_MS * INT64_C(1000), err);

    if (code != BF_OK) return code;
    t->moved = true;
    begin_commit(t);
    return commit_pending(t, true, err);
}

/* ---- partitions ---- */

static enum bf_code begin_of(struct bf_transform *t, struct bf_tp *tp, struct bf_err *err) {
    int64_t low, high;

    if (tp->partition >= BF_TRANSFORM_PARTITIONS_MAX)
        return bf_fail(err, BF_BROKEN, 0, "%s has more than %d partitions", tp->topic, BF_TRANSFORM_PARTITIONS_MAX);
    if (tp->offset >= 0) return BF_OK;
    enum bf_code code = bf_consumer_query_watermarks(t->consumer, tp->topic, tp->partition, 5000, &low, &high, err);
    if (code == BF_OK) tp->offset = low;
    return code;
}

static enum bf_code on_assigned(void *ctx, struct bf_tp *tps, size_t count, struct bf_err *err) {
    struct bf_transform *t = ctx;
    enum bf_code code = BF_OK;

    for (size_t i = 0; i < count && code == BF_OK; i++) code = begin_of(t, &tps[i], err);
    if (code == BF_OK && t->s.calls.assigned != NULL) code = t->s.calls.assigned(t->s.calls.ctx, tps, count, err);
    for (size_t i = 0; i < count && code == BF_OK; i++) {
        struct part *part = &t->parts[tps[i].partition];
        atomic_store(&part->next, tps[i].offset);
        part->pending = -1;
        part->committed = tps[i].offset;
        if (tps[i].partition >= t->parts_used) t->parts_used = tps[i].partition + 1;
        atomic_fetch_add(&t->counts.partitions, 1);
    }
    return code;
}

static void on_revoked(void *ctx, const struct bf_tp *tps, size_t count, bool lost) {
    struct bf_transform *t = ctx;
    struct bf_err err = {0};

    if (!lost && settle_and_commit(t, &err) != BF_OK)
        bf_log_err(BF_LOG_WARN, "revoked_uncommitted", &err, "next=\"whoever takes the partitions does the last messages again\"");
    if (t->s.calls.revoked != NULL) t->s.calls.revoked(t->s.calls.ctx, tps, count);
    for (size_t i = 0; i < count; i++) {
        struct part *part = &t->parts[tps[i].partition];
        if (atomic_exchange(&part->next, -1) >= 0) atomic_fetch_sub(&t->counts.partitions, 1);
        part->pending = -1;
    }
}

static void on_lost_range(void *ctx, const char *topic, int32_t partition, int64_t from, int64_t to) {
    struct bf_transform *t = ctx;

    bf_log(BF_LOG_ERROR, "lost_before_read", "topic=%s partition=%d from=%lld to=%lld", topic, (int)partition, (long long)from, (long long)to);
    if (t->s.calls.lost != NULL) t->s.calls.lost(t->s.calls.ctx, partition, from, to);
}

/* The end may lie beyond the last message: transaction markers. */
static void on_reached_end(void *ctx, const char *topic, int32_t partition, int64_t offset) {
    struct bf_transform *t = ctx;
    struct part *part = &t->parts[partition];

    (void)topic;
    if (offset > atomic_load(&part->next)) {
        atomic_store(&part->next, offset);
        t->moved = true;
    }
    if (t->s.calls.caught_up != NULL) t->s.calls.caught_up(t->s.calls.ctx, partition, offset);
}

/* ---- life ---- */

enum bf_code bf_transform_open(const struct bf_transform_settings *settings, struct bf_transform **out, struct bf_err *err) {
    struct bf_transform *t = calloc(1, sizeof *t);
    enum bf_code code = BF_OK;

    if (t == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a transform");
    pthread_mutex_init(&t->lock, NULL);
    t->s = *settings;
    t->topic_in = strdup(settings->topic_in);
    t->parts = calloc(BF_TRANSFORM_PARTITIONS_MAX, sizeof *t->parts);
    if (t->topic_in == NULL || t->parts == NULL) code = bf_fail(err, BF_NOMEM, 0, "no memory for a transform");
    for (int32_t i = 0; code == BF_OK && i < BF_TRANSFORM_PARTITIONS_MAX; i++) t->parts[i] = (struct part){-1, -1, -1};
    const struct bf_producer_settings producer = {.bootstrap = settings->bootstrap,
                                                  .client_id = settings->client_id,
                                                  .linger_ms = settings->linger_ms,
                                                  .delivery_timeout_ms = DELIVERY_TIMEOUT_MS,
                                                  .delivered = on_delivered,
                                                  .ctx = t};
    if (code == BF_OK) code = bf_producer_open(&producer, &t->producer, err);
    if (code != BF_OK) {
        bf_transform_close(t);
        return code;
    }
    *out = t;
    return BF_OK;
}

void bf_transform_close(struct bf_transform *t) {
    if (t == NULL) return;
    bf_consumer_close(t->consumer);
    bf_producer_close(t->producer);
    pthread_mutex_destroy(&t->lock);
    free(t->parts);
    free(t->topic_in);
    free(t);
}

/* ---- the loop ---- */

/* Not now: everything is paused, and whatever still comes is put back, until it may be tried again. */
static enum bf_code wait_for_dependency(struct bf_transform *t, struct bf_tp again, struct bf_err *err) {
    const struct bf_message *msg = NULL;
    int64_t until_us = bf_time_monotonic_us() + t->s.retry_ms * 1000;
    enum bf_code code = bf_consumer_pause(t->consumer, err);

    atomic_fetch_add(&t->counts.waits_dependency, 1);
    atomic_store(&t->counts.waiting, true);
    if (code == BF_OK) code = bf_consumer_rewind(t->consumer, &again, 1, err);
    while (code == BF_OK && bf_time_monotonic_us() < until_us && !bf_stop_requested()) {
        code = bf_consumer_poll(t->consumer, POLL_MS, &msg, err);
        if (code == BF_OK) {
            const struct bf_tp back = {t->topic_in, msg->partition, msg->offset};
            code = bf_consumer_rewind(t->consumer, &back, 1, err);
        } else if (code == BF_NOT_FOUND || code == BF_AGAIN) {
            code = BF_OK;
        }
        (void)bf_producer_poll(t->producer, 0);
        commit_when_due(t, bf_time_monotonic_us());
    }
    if (code == BF_OK) code = bf_consumer_resume(t->consumer, err);
    return code;
}

static enum bf_code do_message(struct bf_transform *t, const struct bf_message *msg, struct bf_err *err) {
    const struct bf_tp here = {t->topic_in, msg->partition, msg->offset};
    enum bf_code code = t->s.calls.message(t->s.calls.ctx, msg, err);

    if (code == BF_AGAIN) {
        int64_t now_us = bf_time_monotonic_us();
        if (now_us - t->said_us > SAY_EVERY_US)
            bf_log_err(BF_LOG_WARN, "waiting", err, "partition=%d offset=%lld retry_in_ms=%lld", (int)here.partition, (long long)here.offset,
                       (long long)t->s.retry_ms);
        if (now_us - t->said_us > SAY_EVERY_US) t->said_us = now_us;
        return wait_for_dependency(t, here, err);
    }
    atomic_store_explicit(&t->counts.waiting, false, memory_order_relaxed);
    if (code != BF_OK) return code;
    atomic_store_explicit(&t->parts[here.partition].next, here.offset + 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->counts.consumed, 1, memory_order_relaxed);
    t->moved = true;
    return BF_OK;
}

/* Brokers are away, or a partition's beginning is not known yet: librdkafka goes on trying, and so do we. */
static void say_trouble(struct bf_transform *t, const struct bf_err *err) {
    int64_t now_us = bf_time_monotonic_us();
    if (now_us - t->said_us <= SAY_EVERY_US) return;
    bf_log_err(BF_LOG_WARN, "waiting", err, "next=\"trying on\"");
    t->said_us = now_us;
}

static enum bf_code housekeeping(struct bf_transform *t, int64_t now_us, struct bf_err *err) {
    (void)bf_producer_poll(t->producer, 0);
    commit_when_due(t, now_us);
    if (t->s.calls.tick == NULL || now_us < t->next_tick_us) return check(t, err);
    t->next_tick_us = now_us + t->s.tick_ms * 1000;
    enum bf_code code = t->s.calls.tick(t->s.calls.ctx, err);
    return code == BF_OK ? check(t, err) : code;
}

static enum bf_code loop(struct bf_transform *t, struct bf_err *err) {
    const struct bf_message *msg = NULL;
    enum bf_code code = BF_OK;

    for (unsigned n = 0; code == BF_OK && !bf_stop_requested();) {
        code = bf_consumer_poll(t->consumer, POLL_MS, &msg, err);
        bool idle = code != BF_OK;
        if (code == BF_OK) code = do_message(t, msg, err);
        else if (code == BF_AGAIN) say_trouble(t, err);
        if (code == BF_NOT_FOUND || code == BF_AGAIN) code = BF_OK;
        if (code == BF_OK && (idle || ++n % REPORTS_EVERY == 0)) code = housekeeping(t, bf_time_monotonic_us(), err);
    }
    return code;
}

enum bf_code bf_transform_run(struct bf_transform *t, struct bf_err *err) {
    const char *const topics[] = {t->topic_in, NULL};
    const struct bf_consumer_settings settings = {
        .bootstrap = t->s.bootstrap,
        .group = t->s.group,
        .client_id = t->s.client_id,
        .topics = topics,
        .calls = {.assigned = on_assigned, .revoked = on_revoked, .reached_end = on_reached_end, .lost_range = on_lost_range, .ctx = t}};
    struct bf_err last = {0};
    enum bf_code code = bf_consumer_open(&settings, &t->consumer, err);

    atomic_store(&t->seen, t->consumer);
    if (code == BF_OK) code = loop(t, err);
    if (code == BF_CANCELLED) code = BF_OK; /* stopped in the middle of a message: it comes again at the next start */
    if (code == BF_OK && settle_and_commit(t, &last) != BF_OK)
        bf_log_err(BF_LOG_WARN, "stopped_uncommitted", &last, "next=\"the last messages are done again at the next start\"");
    return code;
}

struct bf_transform_counts *bf_transform_counts(struct bf_transform *t) { return &t->counts; }

int64_t bf_transform_position(const struct bf_transform *t, int32_t partition) { return atomic_load(&t->parts[partition].next); }

bool bf_transform_lag(struct bf_transform *t, int32_t partition, int64_t *messages) {
    int64_t low, high, next = atomic_load(&t->parts[partition].next);
    struct bf_consumer *c = atomic_load(&t->seen);

    if (next < 0 || c == NULL || !bf_consumer_watermarks(c, t->topic_in, partition, &low, &high)) return false;
    *messages = high > next ? high - next : 0;
    return true;
}
