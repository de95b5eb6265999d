/* The loop: read a chunk, keep the schemas it needs, write it, tell everybody how far it goes. While there is a backlog, the rows of the next chunk are
 * copied over a second connection meanwhile (archive_ahead.h), so that both of PostgreSQL's processes have something to do.
 *
 * A chunk is kept and tried again until it is in: PostgreSQL may be away for as long as it likes. Waiting grows from 100 ms to archive-retry-max and is logged
 * once for each failure. Kafka's committed offset is set after PostgreSQL's commit and is a hint for lag tools only.
 */
#include "archiver.h"

#include "archive_ahead.h"
#include "bf_cond.h"
#include "bf_failpoint.h"
#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_WAIT_MS 100
#define PING_EVERY_US INT64_C(5000000)
#define BACKOFF_LEAST_MS 100
#define FENCE_TRIES 20
#define FENCE_WAIT_MS 500
#define SEEN_EVERY_US INT64_C(60000000)  /* alone: others may take one for gone after ten minutes */
#define SHARED_EVERY_US INT64_C(200000) /* with others: their answers wait for this instance's word */
#define FOLLOWED_US INT64_C(60000000)    /* so far ahead another instance's clock is followed; one that is further off is wrong */
#define GONE_EVERY_US INT64_C(10000000)
#define GONE_BYTES_MAX ((size_t)1 << 20)
#define KAFKA_WAIT_MS 3000
#define GATHER_MS 100 /* a transaction of a few rows costs PostgreSQL as much as one of a thousand */

struct archiver {
    struct capsule *c;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    int64_t through_us;
    int waiting; /* who waits for through_us to grow */
    bool stop;
    /* the thread's own */
    struct archive_lane *lane;
    struct archive_ahead *ahead; /* NULL: one connection only */
    uint32_t ahead_turn;         /* c->tail_turn when it began */
    struct bf_uuid owner;
    int64_t backoff_ms, pinged_us, seen_us, schemas;
    int64_t others_us;  /* the latest that others have archived, by their clocks */
    struct bf_buf gone; /* topics that others hold and Kafka has no more, NUL-separated */
    int64_t gone_us;    /* when that was last asked */
    int fence_losses;
    bool said_shared;       /* what the log was told last */
    char last_failure[512]; /* said once */
};

/* ---- waiting ---- */

/* `while_nobody_waits`: it ends, too, when somebody waits for through_us. False: stop was asked for. */
static bool pause_for(struct archiver *ar, int64_t ms, bool while_nobody_waits) {
    struct timespec until = bf_cond_in_ms(ms);
    pthread_mutex_lock(&ar->lock);
    while (!ar->stop && !(while_nobody_waits && ar->waiting > 0) && bf_cond_wait_until(&ar->changed, &ar->lock, &until))
        ;
    bool go_on = !ar->stop;
    pthread_mutex_unlock(&ar->lock);
    return go_on;
}

static bool pause_ms(struct archiver *ar, int64_t ms) {
    return pause_for(ar, ms, false);
}

static bool stopping(struct archiver *ar) {
    pthread_mutex_lock(&ar->lock);
    bool stop = ar->stop;
    pthread_mutex_unlock(&ar->lock);
    return stop;
}

static void say_postgres(struct archiver *ar, bool up) {
    atomic_store(&ar->c->dependency_up[DEPENDENCY_POSTGRES], up);
    bf_series_set(bf_metrics_series(ar->c->metrics, M_DEPENDENCY_UP, "postgres", NULL, NULL), up);
    ar->pinged_us = bf_time_monotonic_us();
}

static void came_back(struct archiver *ar) {
    if (ar->backoff_ms)
        bf_log(BF_LOG_INFO, "archive_back", "instance=%s", ar->c->instance);
    ar->backoff_ms = 0;
    ar->last_failure[0] = 0;
    say_postgres(ar, true);
}

/* False: stop was asked for. */
static bool wait_for_postgres(struct archiver *ar, const struct bf_err *err) {
    ar->backoff_ms = ar->backoff_ms == 0 ? BACKOFF_LEAST_MS : ar->backoff_ms * 2;
    if (ar->backoff_ms > ar->c->settings->archive_retry_max_ms)
        ar->backoff_ms = ar->c->settings->archive_retry_max_ms;
    if (strcmp(ar->last_failure, err->msg) != 0)
        bf_log_err(BF_LOG_WARN, "archive_wait", err, "retry_in_ms=%lld", (long long)ar->backoff_ms);
    snprintf(ar->last_failure, sizeof ar->last_failure, "%s", err->msg);
    bf_series_add(bf_metrics_series(ar->c->metrics, M_WAITS, "postgres", NULL, NULL), 1);
    say_postgres(ar, false);
    return pause_ms(ar, ar->backoff_ms);
}

static void fatal(struct archiver *ar, const char *event, const struct bf_err *err) {
    bf_log_err(BF_LOG_ERROR, event, err, "action=stop");
    if (hot_is_corrupt(err))
        hot_condemn(ar->c->hot);
    atomic_store(&ar->c->fatal, err->code == BF_BROKEN ? BF_EXIT_STATE : BF_EXIT_INTERNAL);
    bf_stop_request();
}

/* ---- how far it goes ---- */

/* Whoever waits for it finds it in the store, too. */
static void set_through(struct archiver *ar, int64_t through_us) {
    store_set_archived_through(ar->c->store, through_us);
    bf_series_set(bf_metrics_series(ar->c->metrics, M_ARCHIVED_THROUGH, NULL, NULL, NULL), (double)through_us / 1e6);
    pthread_mutex_lock(&ar->lock);
    ar->through_us = through_us;
    pthread_cond_broadcast(&ar->changed);
    pthread_mutex_unlock(&ar->lock);
}

enum bf_code archiver_wait_through(struct archiver *ar, int64_t recorded_at_us, int64_t timeout_ms) {
    struct timespec until = bf_cond_in_ms(timeout_ms);
    bool in_time = true;
    pthread_mutex_lock(&ar->lock);
    ar->waiting++;
    pthread_cond_broadcast(&ar->changed);
    while (ar->through_us < recorded_at_us && !ar->stop && in_time)
        in_time = bf_cond_wait_until(&ar->changed, &ar->lock, &until);
    ar->waiting--;
    bool reached = ar->through_us >= recorded_at_us;
    pthread_mutex_unlock(&ar->lock);
    return reached ? BF_OK : BF_AGAIN;
}

static void observe(struct bf_series *e2e, int64_t late_us, size_t times) {
    bf_series_observe(e2e, late_us > 0 ? (double)late_us / 1e6 : 0, times);
}

/* `chunk`: as it was written, without what was refused. */
static void count_events(struct archiver *ar, const struct hot_chunk *chunk) {
    struct bf_series *e2e = bf_metrics_series(ar->c->metrics, M_E2E, "archived", NULL, NULL), *archived = NULL;
    int64_t now = bf_time_now_us();
    char topic[BF_TOPIC_MAX + 1];
    for (size_t i = 0, end; i < chunk->event_count; i = end) {
        const struct bf_slice name = chunk->events[i].topic;
        size_t alike = i; /* from there on: of one millisecond of the broker's clock, observed together */
        for (end = i; end < chunk->event_count && bf_slice_eq(chunk->events[end].topic, name); end++) {
            if (chunk->events[end].kafka_time_us != chunk->events[alike].kafka_time_us) {
                observe(e2e, now - chunk->events[alike].kafka_time_us, end - alike);
                alike = end;
            }
        }
        observe(e2e, now - chunk->events[alike].kafka_time_us, end - alike);
        snprintf(topic, sizeof topic, "%.*s", (int)name.len, (const char *)name.data);
        archived = bf_metrics_series(ar->c->metrics, M_ARCHIVED, topic, NULL, NULL);
        bf_series_add(archived, end - i);
    }
}

/* A hint: nobody reads it back, so nothing is done when it fails. */
static void hint_to_kafka(struct archiver *ar) {
    const struct hot_chunk *chunk = &ar->lane->chunk;
    struct bf_err ignored;
    if (!atomic_load(&ar->c->ingesting) || chunk->partition_count == 0)
        return;
    struct bf_tp *tps = calloc(chunk->partition_count, sizeof *tps);
    char(*names)[BF_TOPIC_MAX + 1] = calloc(chunk->partition_count, sizeof *names);
    for (size_t i = 0; tps && names && i < chunk->partition_count; i++) {
        const struct hot_chunk_partition *p = &chunk->partitions[i];
        snprintf(names[i], sizeof names[i], "%.*s", (int)p->topic.len, (const char *)p->topic.data);
        tps[i] = (struct bf_tp){.topic = names[i], .partition = p->partition, .offset = p->offset_after};
    }
    if (tps && names)
        (void)!bf_consumer_commit(ar->c->consumer, tps, chunk->partition_count, false, &ignored);
    free(tps);
    free(names);
}

/* ---- one chunk ---- */

/* Begin with what follows the chunk in hand, when that was as large as chunks get. */
static void look_ahead(struct archiver *ar) {
    if (!ar->ahead || !archive_lane_is_full(ar->lane))
        return;
    ar->ahead_turn = ar->c->tail_turn;
    archive_ahead_begin(ar->ahead, ar->lane->chunk.through_us);
}

static bool take_ahead(struct archiver *ar, int64_t after_us) {
    /* What was read before a tail was forgotten counts no more. */
    return ar->ahead && archive_ahead_take(ar->ahead, ar->ahead_turn == ar->c->tail_turn ? after_us : INT64_MIN, &ar->lane);
}

/* Under tail_lock. BF_NOT_FOUND: there is nothing after it. */
static enum bf_code write_next(struct archiver *ar, int64_t after_us, struct bf_err *err) {
    if (take_ahead(ar, after_us))
        return archive_settle(ar->lane->archive, &ar->owner, &ar->lane->chunk, err);
    enum bf_code code = archive_lane_read(ar->lane, after_us, err);
    if (code != BF_OK)
        return code;
    look_ahead(ar);
    code = archive_lane_keep_schemas(ar->lane, err);
    return code == BF_OK ? archive_write(ar->lane->archive, &ar->owner, &ar->lane->chunk, err) : code;
}

static bool is_posted(struct refusal *r) {
    pthread_mutex_lock(&r->lock);
    bool posted = r->posted;
    pthread_mutex_unlock(&r->lock);
    return posted;
}

/* One row is refused: ingest quarantines it where it is recorded, then the log is read again and the rest is written. False: give up. */
static bool refused(struct archiver *ar, const struct bf_err *err) {
    struct refusal *r = &ar->c->refusal;
    if (err->native < 0 || (size_t)err->native >= ar->lane->chunk.event_count) {
        fatal(ar, "archive_failed", err);
        return false;
    }
    const struct event *ev = &ar->lane->chunk.events[err->native];
    pthread_mutex_lock(&r->lock);
    r->posted = true;
    r->recorded_at_us = ev->recorded_at_us;
    snprintf(r->topic, sizeof r->topic, "%.*s", (int)ev->topic.len, (const char *)ev->topic.data);
    snprintf(r->detail, sizeof r->detail, "%s", err->msg);
    pthread_mutex_unlock(&r->lock);
    bf_log_err(BF_LOG_WARN, "archive_refused", err, "topic=%s partition=%d offset=%lld action=quarantine", r->topic, ev->partition,
               (long long)ev->offset);
    while (is_posted(r))
        if (!pause_ms(ar, 10))
            return false;
    return true;
}

/* Ingest looks at who owns what and forgets what is not ours any more; then the log is read again. False: give up. */
static bool fence_lost(struct archiver *ar, const struct bf_err *err) {
    /* Until partitions were given to us again, the archive may say what was before the last stop. */
    ar->fence_losses = atomic_load(&ar->c->ingesting) || ar->fence_losses == 0 ? ar->fence_losses + 1 : ar->fence_losses;
    if (ar->fence_losses > FENCE_TRIES) {
        fatal(ar, "fence_lost", err);
        return false;
    }
    bf_log_err(BF_LOG_WARN, "fence_lost", err, "action=reconcile");
    atomic_store(&ar->c->fence_lost, true);
    for (int i = 0; i < FENCE_WAIT_MS / 50 && atomic_load(&ar->c->fence_lost); i++)
        if (!pause_ms(ar, 50))
            return false;
    return true;
}

/* What to do about a failure. True: go on with the same question; false: leave the loop. */
static bool go_on_after(struct archiver *ar, enum bf_code code, const struct bf_err *err) {
    if (code == BF_AGAIN || code == BF_NOMEM)
        return wait_for_postgres(ar, err);
    if (code == BF_BROKEN && err->native == 1 && !*err->sqlstate)
        return fence_lost(ar, err);
    if (code == BF_REJECTED)
        return refused(ar, err);
    fatal(ar, "archive_failed", err);
    return false;
}

/* ---- others ---- */

/* A lost hot store's owner is still written beside partitions of topics that were deleted, where nobody takes them any more. */
static enum bf_code find_gone(struct archiver *ar, struct bf_err *err) {
    struct bf_buf held;
    struct bf_err ignored;
    bf_buf_init(&held, GONE_BYTES_MAX);
    enum bf_code code = archive_topics_of_others(ar->lane->archive, &ar->owner, &held, err);
    if (code == BF_OK && bf_consumer_missing_topics(ar->c->consumer, (struct bf_slice){held.data, held.len}, KAFKA_WAIT_MS, &ar->gone, &ignored) != BF_OK)
        bf_buf_clear(&ar->gone); /* what is not certain counts */
    bf_buf_fini(&held);
    return code;
}

/* Answers go as far as all have archived: whoever's clock is behind would hold them up by as much, and so follows the others'. */
static int64_t common_now(const struct archiver *ar) {
    int64_t now_us = bf_time_now_us();
    return ar->others_us > now_us && ar->others_us - now_us <= FOLLOWED_US ? ar->others_us : now_us;
}

static enum bf_code look_around(struct archiver *ar, struct bf_err *err) {
    struct archive_others others;
    int64_t now_us = bf_time_monotonic_us();
    enum bf_code code = archive_others(ar->lane->archive, &ar->owner, (struct bf_slice){ar->gone.data, ar->gone.len}, &others, err);
    if (code == BF_OK && others.hold && atomic_load(&ar->c->ingesting) && now_us - ar->gone_us > GONE_EVERY_US) {
        ar->gone_us = now_us;
        if ((code = find_gone(ar, err)) == BF_OK)
            code = archive_others(ar->lane->archive, &ar->owner, (struct bf_slice){ar->gone.data, ar->gone.len}, &others, err);
    }
    if (code != BF_OK)
        return code;
    ar->others_us = others.archived_us;
    hot_reserve_clock(ar->c->hot, common_now(ar)); /* what is recorded from now on, too */
    if (others.schemas != ar->schemas && (others.hold || others.archived_us > 0)) {
        ar->schemas = others.schemas;
        atomic_store(&ar->c->schemas_to_learn, true);
    }
    if (atomic_load(&ar->c->schemas_to_learn)) /* first they must be here: what is answered for is also shown */
        return BF_OK;
    store_set_others(ar->c->store, &others);
    bool shared = store_is_shared(ar->c->store); /* also since a partition was taken over, which moved hot_from */
    if (shared != ar->said_shared)
        bf_log(BF_LOG_INFO, shared ? "not_alone" : "alone", "what=\"%s\"", shared ?
               "other instances record, too: answers come from the archive, as far as all have archived" : "answers come from the hot store again");
    ar->said_shared = shared;
    return BF_OK;
}

/* Nothing is left to archive: say that it is so up to now, for the others' sake. */
static enum bf_code promise(struct archiver *ar, struct bf_err *err) {
    int64_t now_us = common_now(ar);
    bool all = hot_promise(ar->c->hot, now_us) && store_own_recorded_through(ar->c->store) <= ar->through_us;
    enum bf_code code = archive_promise(ar->lane->archive, &ar->owner, all ? now_us : 0, err);
    if (code == BF_OK)
        ar->seen_us = bf_time_monotonic_us();
    return code;
}

/* *found: a chunk was there and is in the archive now. */
static enum bf_code step(struct archiver *ar, bool *found, struct bf_err *err) {
    int64_t after_us = ar->through_us; /* only this thread writes it */
    int64_t recorded_us = store_own_recorded_through(ar->c->store);
    *found = false;
    pthread_mutex_lock(&ar->c->tail_lock);
    enum bf_code code = write_next(ar, after_us, err);
    pthread_mutex_unlock(&ar->c->tail_lock);
    if (code == BF_NOT_FOUND) { /* what was recorded till then is archived, also what others recorded before a takeover */
        if (recorded_us > after_us)
            set_through(ar, recorded_us);
        return BF_OK;
    }
    if (code != BF_OK)
        return code;
    *found = true;
    count_events(ar, &ar->lane->chunk);
    bf_failpoint("archive.after-write");
    ar->fence_losses = 0;
    ar->seen_us = bf_time_monotonic_us();
    code = look_around(ar, err); /* before anybody is told that it is archived: who is not seen now records later than that */
    set_through(ar, ar->lane->chunk.through_us);
    hint_to_kafka(ar);
    bf_failpoint("archive.after-offsets");
    return code;
}

static enum bf_code look(struct archiver *ar, struct bf_err *err) {
    bool shared = store_is_shared(ar->c->store);
    int64_t now_us = bf_time_monotonic_us();
    if (now_us - ar->pinged_us < (shared ? SHARED_EVERY_US : PING_EVERY_US))
        return BF_OK;
    enum bf_code code = shared || now_us - ar->seen_us >= SEEN_EVERY_US ? promise(ar, err) : BF_OK;
    if (code == BF_OK)
        code = look_around(ar, err);
    if (code == BF_OK)
        came_back(ar);
    return code;
}

static bool begin(struct archiver *ar) {
    struct bf_err err;
    int64_t through_us;
    enum bf_code code;
    while ((code = archive_through(ar->lane->archive, &ar->owner, &through_us, &err)) != BF_OK)
        if (!go_on_after(ar, code, &err))
            return false;
    while ((code = look_around(ar, &err)) != BF_OK)
        if (!go_on_after(ar, code, &err))
            return false;
    set_through(ar, through_us);
    came_back(ar);
    return true;
}

static void *run(void *arg) {
    struct archiver *ar = arg;
    struct bf_err err;
    bool found = false;
    if (!begin(ar))
        return NULL;
    atomic_store(&ar->c->archiving, true);
    while (!stopping(ar)) {
        enum bf_code code = step(ar, &found, &err);
        if (code == BF_OK && found) {
            came_back(ar);
            if (!archive_lane_is_full(ar->lane)) /* there was little to write: let more come */
                pause_for(ar, GATHER_MS, true);
        }
        if (code == BF_OK && !found) {
            hot_wait_newer(ar->c->hot, ar->through_us, IDLE_WAIT_MS);
            code = look(ar, &err);
        }
        if (code != BF_OK && !go_on_after(ar, code, &err))
            break;
        if (code != BF_OK && ar->fence_losses > 0 && !begin(ar))
            break;
    }
    atomic_store(&ar->c->archiving, false);
    return NULL;
}

/* ---- life ---- */

static void archiver_free(struct archiver *ar) {
    archive_ahead_stop(ar->ahead);
    bf_buf_fini(&ar->gone);
    archive_lane_free(ar->lane);
    pthread_cond_destroy(&ar->changed);
    pthread_mutex_destroy(&ar->lock);
    free(ar);
}

enum bf_code archiver_start(struct capsule *c, struct archiver **out, struct bf_err *err) {
    struct archiver *ar = calloc(1, sizeof *ar);
    if (!ar)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the archiver");
    bf_cond_init(&ar->changed);
    pthread_mutex_init(&ar->lock, NULL);
    bf_buf_init(&ar->gone, GONE_BYTES_MAX);
    ar->c = c;
    ar->owner = hot_instance_id(c->hot);
    enum bf_code code = archive_lane_new(c, &ar->lane, err);
    if (code == BF_OK && c->settings->archive_connections > 1)
        code = archive_ahead_start(c, &ar->ahead, err);
    if (code == BF_OK) {
        int rc = pthread_create(&ar->thread, NULL, run, ar);
        if (rc != 0)
            code = bf_fail(err, BF_AGAIN, rc, "no thread for the archiver: %s", strerror(rc));
    }
    if (code != BF_OK) {
        archiver_free(ar);
        return code;
    }
    *out = ar;
    return BF_OK;
}

void archiver_stop(struct archiver *ar) {
    if (!ar)
        return;
    pthread_mutex_lock(&ar->lock);
    ar->stop = true;
    pthread_cond_broadcast(&ar->changed);
    pthread_mutex_unlock(&ar->lock);
    pthread_join(ar->thread, NULL);
    archiver_free(ar);
}
