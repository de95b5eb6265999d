/* Recording appends under a short lock; the shipper reads behind without it (an entry never changes once it is there), and takes the lock only to move
 * the positions. A segment is dropped when all of it is in the archive and a newer one takes the entries. */
#include "reads.h"

#include "bf_cond.h"
#include "bf_log.h"
#include "bf_time.h"
#include "reads_file.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_MAX 2000
#define BATCH_BYTES_MAX ((size_t)4 << 20)
#define SHIP_EVERY_MS 500
#define SYNC_EVERY_US INT64_C(1000000)
#define BACKOFF_MAX_MS 10000
#define QUESTION_BYTES_MAX 9000 /* a target has at most 8,192 */

struct reads {
    char *dir;
    int64_t bytes_max;
    struct bf_uuid instance;
    struct archive *archive; /* the shipper's */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    struct reads_segment *first, *last; /* first: where the shipper is */
    int64_t last_id, shipped_id, waiting_bytes;
    bool stop, hurry;
    int64_t give_up_us; /* once stop is set */
};

/* ---- shipping ---- */

struct batch {
    struct archive_read reads[BATCH_MAX]; /* views into the maps */
    size_t count;
    struct reads_segment *segment; /* where to go on */
    size_t at;
    int64_t bytes;
};

/* What lies behind `at`, up to a batch. The newest segment's end is a snapshot: beyond it another thread may be writing. */
static void gather(struct reads *r, struct reads_segment *segment, size_t at, struct batch *b) {
    b->count = 0;
    b->bytes = 0;
    b->segment = segment;
    b->at = at;
    for (;;) {
        pthread_mutex_lock(&r->lock);
        size_t end = b->segment->end;
        struct reads_segment *next = b->segment->next;
        pthread_mutex_unlock(&r->lock);
        while (b->at < end && b->count < BATCH_MAX && b->bytes < (int64_t)BATCH_BYTES_MAX) {
            size_t before = b->at;
            bf_assert(reads_segment_next(b->segment, &b->at, &b->reads[b->count]));
            b->count++;
            b->bytes += (int64_t)(b->at - before);
        }
        if (b->at < end || !next) {
            return;
        }
        b->segment = next;
        b->at = 0;
    }
}

static void settle(struct reads *r, const struct batch *b) {
    pthread_mutex_lock(&r->lock);
    if (b->count > 0 && b->reads[b->count - 1].id > r->shipped_id) {
        r->shipped_id = b->reads[b->count - 1].id;
    }
    r->waiting_bytes -= b->bytes;
    struct reads_segment *done = r->first == b->segment ? NULL : r->first;
    r->first = b->segment;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    while (done && done != b->segment) {
        struct reads_segment *next = done->next;
        reads_segment_drop(r->dir, done);
        done = next;
    }
}

/* Entries that the archive has from before this start. */
static size_t drop_known(struct batch *b, int64_t through) {
    size_t known = 0;
    while (known < b->count && b->reads[known].id <= through) {
        known++;
    }
    return known;
}

/* Wait for work, for at most wait_ms. False: leave. */
static bool await(struct reads *r, int64_t wait_ms) {
    struct timespec until = bf_cond_in_ms(wait_ms);
    pthread_mutex_lock(&r->lock);
    if (!r->stop && !r->hurry) {
        (void)bf_cond_wait_until(&r->changed, &r->lock, &until);
    }
    r->hurry = false;
    bool leave = r->stop && (r->waiting_bytes == 0 || bf_time_monotonic_us() >= r->give_up_us);
    bool stopping = r->stop;
    pthread_mutex_unlock(&r->lock);
    if (stopping && !leave) {
        usleep(20000);
    }
    return !leave;
}

struct shipper {
    struct reads *r;
    struct batch batch;
    struct reads_segment *segment;
    size_t at;
    int64_t through, synced_us, backoff_ms;
    bool knows_through;
};

static enum bf_code ship_once(struct shipper *s, struct bf_err *err) {
    struct reads *r = s->r;
    if (!s->knows_through && archive_reads_through(r->archive, &r->instance, &s->through, err) != BF_OK) {
        return err->code;
    }
    s->knows_through = true;
    for (;;) {
        gather(r, s->segment, s->at, &s->batch);
        size_t known = drop_known(&s->batch, s->through);
        if (s->batch.count > known &&
            archive_reads_put(r->archive, &r->instance, s->batch.reads + known, s->batch.count - known, err) != BF_OK) {
            return err->code;
        }
        bool any = s->batch.count > 0;
        s->segment = s->batch.segment;
        s->at = s->batch.at;
        settle(r, &s->batch);
        if (!any) {
            return BF_OK;
        }
    }
}

static void sync_now_and_then(struct shipper *s) {
    int64_t now = bf_time_monotonic_us();
    if (now - s->synced_us >= SYNC_EVERY_US) {
        pthread_mutex_lock(&s->r->lock);
        int fd = dup(s->r->last->fd);
        pthread_mutex_unlock(&s->r->lock);
        if (fd >= 0) {
            fdatasync(fd);
            close(fd);
        }
        s->synced_us = now;
    }
}

static void *ship(void *arg) {
    struct shipper *s = arg;
    struct bf_err err;
    bool said = false;
    do {
        sync_now_and_then(s);
        if (ship_once(s, &err) == BF_OK) {
            s->backoff_ms = 0;
            said = false;
            continue;
        }
        s->knows_through = false; /* a commit may have gone through although its answer did not come */
        s->backoff_ms = s->backoff_ms == 0 ? 200 : s->backoff_ms * 2 < BACKOFF_MAX_MS ? s->backoff_ms * 2 : BACKOFF_MAX_MS;
        if (!said) {
            bf_log_err(BF_LOG_WARN, "reads_not_shipped", &err, "waiting_bytes=%lld action=\"kept and tried again\"",
                       (long long)reads_waiting_bytes(s->r));
            said = true;
        }
    } while (await(s->r, s->backoff_ms > 0 ? s->backoff_ms : SHIP_EVERY_MS));
    free(s);
    return NULL;
}

/* ---- life ---- */

static int64_t waiting_of(const struct reads_segment *s) {
    int64_t bytes = 0;
    for (; s; s = s->next) {
        bytes += (int64_t)s->end;
    }
    return bytes;
}

static void init_lock(struct reads *r) {
    bf_cond_init(&r->changed);
    pthread_mutex_init(&r->lock, NULL);
}

static void destroy(struct reads *r) {
    reads_segments_close(r->first);
    archive_close(r->archive);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r->dir);
    free(r);
}

static enum bf_code start(struct reads *r, struct bf_err *err) {
    struct shipper *s = calloc(1, sizeof *s);
    if (!s) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for the log of reads");
    }
    s->r = r;
    s->segment = r->first;
    int rc = pthread_create(&r->thread, NULL, ship, s);
    if (rc != 0) {
        free(s);
        return bf_fail(err, BF_BROKEN, rc, "no thread for the log of reads: %s", strerror(rc));
    }
    r->started = true;
    return BF_OK;
}

enum bf_code reads_open(const struct reads_settings *settings, struct reads **out, struct bf_err *err) {
    struct reads *r = calloc(1, sizeof *r);
    if (!r) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for the log of reads");
    }
    init_lock(r);
    r->bytes_max = settings->bytes_max;
    r->instance = settings->instance;
    r->dir = strdup(settings->dir);
    enum bf_code code = r->dir ? reads_segments_open(r->dir, &r->first, &r->last, &r->last_id, err)
                               : bf_fail(err, BF_NOMEM, 0, "no memory for the log of reads");
    if (code == BF_OK) {
        r->waiting_bytes = waiting_of(r->first);
        code = archive_open(&settings->archive, &r->archive, err);
    }
    if (code == BF_OK) {
        code = start(r, err);
    }
    if (code != BF_OK) {
        destroy(r);
        return bf_err_prepend(err, "log of reads");
    }
    *out = r;
    return BF_OK;
}

void reads_close(struct reads *r, int64_t patience_ms) {
    if (!r) {
        return;
    }
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    r->give_up_us = bf_time_monotonic_us() + patience_ms * 1000;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    destroy(r);
}

/* ---- recording ---- */

/* Room for one more entry. Under lock. */
static enum bf_code append(struct reads *r, const struct archive_read *read, struct bf_err *err) {
    struct reads_segment *more = NULL;
    size_t before = r->last->end;
    if (reads_segment_append(r->last, read)) {
        r->waiting_bytes += (int64_t)(r->last->end - before);
        return BF_OK;
    }
    if (reads_segment_add(r->dir, r->last->number + 1, &more, err) != BF_OK) {
        return err->code;
    }
    bf_assert(reads_segment_append(more, read));
    r->waiting_bytes += (int64_t)more->end;
    r->last->next = more;
    r->last = more;
    return BF_OK;
}

enum bf_code reads_record(struct reads *r, struct archive_read *read, struct bf_err *err) {
    enum bf_code code = BF_OK;
    int64_t now = bf_time_now_us();
    if (read->question.len > QUESTION_BYTES_MAX) {
        read->question.len = QUESTION_BYTES_MAX;
    }
    pthread_mutex_lock(&r->lock);
    read->id = now > r->last_id ? now : r->last_id + 1;
    if (r->waiting_bytes >= r->bytes_max && !read->end) {
        code = bf_fail(err, BF_AGAIN, 0, "reads cannot be recorded: %lld bytes of them wait for the archive", (long long)r->waiting_bytes);
    } else {
        code = append(r, read, err);
    }
    if (code == BF_OK) {
        r->last_id = read->id;
    }
    pthread_mutex_unlock(&r->lock);
    return code;
}

enum bf_code reads_flush(struct reads *r, int64_t timeout_ms, struct bf_err *err) {
    struct timespec until = bf_cond_in_ms(timeout_ms);
    bool in_time = true;
    pthread_mutex_lock(&r->lock);
    int64_t wanted = r->last_id;
    r->hurry = true;
    pthread_cond_broadcast(&r->changed);
    while (r->waiting_bytes > 0 && r->shipped_id < wanted && in_time) {
        in_time = bf_cond_wait_until(&r->changed, &r->lock, &until);
    }
    bool there = r->waiting_bytes == 0 || r->shipped_id >= wanted;
    pthread_mutex_unlock(&r->lock);
    return there ? BF_OK : bf_fail(err, BF_AGAIN, 0, "the archive is away, and the newest reads are not in it yet");
}

int64_t reads_waiting_bytes(struct reads *r) {
    pthread_mutex_lock(&r->lock);
    int64_t bytes = r->waiting_bytes;
    pthread_mutex_unlock(&r->lock);
    return bytes;
}
