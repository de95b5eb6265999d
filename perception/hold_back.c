/* For each partition a queue of marks (offset, bytes of ours up to it), one for about every 16 KiB; what the group committed pops
 * them. Which partition a queued message goes to is not known before it is delivered, so all that is on its way counts against each. */
#include "hold_back.h"

#include "bf_kafka.h"
#include "bf_time.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ASK_EVERY_US 50000
#define ASK_TIMEOUT_MS 2000
#define MARK_BYTES 16384
#define PARTITIONS_MAX 10000

struct mark {
    int64_t offset, bytes; /* delivered up to and with this offset */
};

struct lane {
    struct mark *marks;
    size_t first, count, max;
    int64_t delivered, committed; /* bytes */
};

struct hold_back {
    struct bf_group_view *view; /* under ask_lock */
    pthread_mutex_t ask_lock;
    char *topic;
    int64_t bytes_max;
    pthread_mutex_t lock; /* all below */
    struct lane *lanes;
    int32_t lane_count;
    int64_t on_the_way, asked_at_us;
};

enum bf_code hold_back_new(const char *bootstrap, const char *group, const char *topic, int64_t bytes_max, struct hold_back **out,
                           struct bf_err *err) {
    struct hold_back *h = calloc(1, sizeof *h);

    if (h == NULL || (h->topic = strdup(topic)) == NULL) {
        free(h);
        return bf_fail(err, BF_NOMEM, 0, "no memory for holding back");
    }
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->ask_lock, NULL);
    h->bytes_max = bytes_max;
    enum bf_code code = bf_group_view_open(bootstrap, group, &h->view, err);
    if (code != BF_OK) {
        hold_back_free(h);
        return code;
    }
    *out = h;
    return BF_OK;
}

void hold_back_free(struct hold_back *h) {
    if (h == NULL) return;
    bf_group_view_close(h->view);
    for (int32_t i = 0; i < h->lane_count; i++) free(h->lanes[i].marks);
    free(h->lanes);
    free(h->topic);
    pthread_mutex_destroy(&h->lock);
    pthread_mutex_destroy(&h->ask_lock);
    free(h);
}

void hold_back_queued(struct hold_back *h, size_t bytes) {
    pthread_mutex_lock(&h->lock);
    h->on_the_way += (int64_t)bytes;
    pthread_mutex_unlock(&h->lock);
}

static struct lane *lane_of(struct hold_back *h, int32_t partition) {
    if (partition >= h->lane_count) {
        struct lane *grown = partition < PARTITIONS_MAX ? realloc(h->lanes, (size_t)(partition + 1) * sizeof *grown) : NULL;
        bf_assert(grown != NULL);
        memset(grown + h->lane_count, 0, (size_t)(partition + 1 - h->lane_count) * sizeof *grown);
        h->lanes = grown;
        h->lane_count = partition + 1;
    }
    return &h->lanes[partition];
}

static void push_mark(struct lane *lane, struct mark mark) {
    if (lane->first > 0 && lane->first + lane->count == lane->max) {
        memmove(lane->marks, lane->marks + lane->first, lane->count * sizeof *lane->marks);
        lane->first = 0;
    }
    if (lane->count == lane->max) {
        size_t max = lane->max > 0 ? lane->max * 2 : 256;
        struct mark *grown = realloc(lane->marks, max * sizeof *grown);
        bf_assert(grown != NULL);
        lane->marks = grown;
        lane->max = max;
    }
    lane->marks[lane->first + lane->count++] = mark;
}

void hold_back_delivered(struct hold_back *h, int32_t partition, int64_t offset, size_t bytes) {
    pthread_mutex_lock(&h->lock);
    h->on_the_way -= (int64_t)bytes;
    if (partition >= 0 && offset >= 0) {
        struct lane *lane = lane_of(h, partition);
        struct mark *last = lane->count > 0 ? &lane->marks[lane->first + lane->count - 1] : NULL;
        const struct mark *before = lane->count > 1 ? last - 1 : NULL;
        lane->delivered += (int64_t)bytes;
        if (last != NULL && last->bytes - (before != NULL ? before->bytes : lane->committed) < MARK_BYTES) {
            *last = (struct mark){offset, lane->delivered};
        } else {
            push_mark(lane, (struct mark){offset, lane->delivered});
        }
    }
    pthread_mutex_unlock(&h->lock);
}

static void pop_marks(struct lane *lane, int64_t committed) {
    while (lane->count > 0 && lane->marks[lane->first].offset < committed) {
        lane->committed = lane->marks[lane->first].bytes;
        lane->first++;
        lane->count--;
    }
    if (lane->count == 0) lane->first = 0;
}

/* Ask how far the group is; an error leaves everything as it was, and so holds back. */
static void ask(struct hold_back *h) {
    struct bf_err err;
    struct bf_tp *tps = NULL;
    int32_t count;

    pthread_mutex_lock(&h->ask_lock);
    pthread_mutex_lock(&h->lock);
    count = h->lane_count;
    pthread_mutex_unlock(&h->lock);
    if (count > 0) tps = calloc((size_t)count, sizeof *tps);
    for (int32_t i = 0; tps != NULL && i < count; i++) tps[i] = (struct bf_tp){h->topic, i, -1};
    if (tps != NULL && bf_group_view_committed(h->view, tps, (size_t)count, ASK_TIMEOUT_MS, &err) == BF_OK) {
        pthread_mutex_lock(&h->lock);
        for (int32_t i = 0; i < count; i++) pop_marks(&h->lanes[i], tps[i].offset);
        pthread_mutex_unlock(&h->lock);
    }
    free(tps);
    pthread_mutex_unlock(&h->ask_lock);
}

static int64_t fullest(const struct hold_back *h) {
    int64_t most = 0;
    for (int32_t i = 0; i < h->lane_count; i++) {
        int64_t held = h->lanes[i].delivered - h->lanes[i].committed;
        if (held > most) most = held;
    }
    return most + h->on_the_way;
}

int64_t hold_back_bytes(struct hold_back *h) {
    pthread_mutex_lock(&h->lock);
    int64_t bytes = fullest(h);
    pthread_mutex_unlock(&h->lock);
    return bytes;
}

bool hold_back_may_send(struct hold_back *h) {
    bool due, may;
    int64_t now_us = bf_time_monotonic_us();

    pthread_mutex_lock(&h->lock);
    may = fullest(h) < h->bytes_max;
    due = !may && now_us - h->asked_at_us >= ASK_EVERY_US;
    if (due) h->asked_at_us = now_us;
    pthread_mutex_unlock(&h->lock);
    if (!due) return may;
    ask(h);
    return hold_back_bytes(h) < h->bytes_max;
}
