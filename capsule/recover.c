#include "recover.h"

#include "bf_failpoint.h"
#include "bf_log.h"
#include "bf_time.h"

#include <stdlib.h>
#include <string.h>

#define NOTE_REBUILT "rebuilt"
#define WATERMARK_TIMEOUT_MS 5000

struct learning {
    struct capsule *c;
    uint64_t ids;
    int64_t logged_us;
};

static enum bf_code learn_ids(void *ctx, const struct hot_known_id *ids, size_t count, struct bf_err *err) {
    struct learning *l = ctx;
    l->ids += count;
    bf_failpoint("rebuild.ids");
    int64_t now = bf_time_monotonic_us();
    if (now - l->logged_us > 2000000) {
        bf_log(BF_LOG_INFO, "rebuild_progress", "ids=%llu", (unsigned long long)l->ids);
        l->logged_us = now;
    }
    return hot_learn_ids(l->c->hot, ids, count, err);
}

static enum bf_code learn_intervals(void *ctx, const struct interval *iv, size_t count, struct bf_err *err) {
    struct learning *l = ctx;
    return hot_learn_intervals(l->c->hot, iv, count, err);
}

static enum bf_code learn_schema(void *ctx, int32_t id, struct bf_slice type, struct bf_slice schema, struct bf_slice refs, struct bf_err *err) {
    struct learning *l = ctx;
    return hot_schema_put(l->c->hot, id, type, schema, refs, err);
}

enum bf_code recover_rebuild(struct capsule *c, struct archive *a, struct bf_err *err) {
    if (hot_note_get(c->hot, NOTE_REBUILT, 0) == 1)
        return BF_OK;
    struct learning l = {.c = c, .logged_us = bf_time_monotonic_us()};
    int64_t newest;
    enum bf_code code;
    if ((code = archive_newest(a, &newest, err)) != BF_OK || (code = archive_schema_each(a, learn_schema, &l, err)) != BF_OK ||
        (code = archive_ids_each(a, BF_SLICE_NONE, 0, learn_ids, &l, err)) != BF_OK ||
        (code = archive_intervals_each(a, BF_SLICE_NONE, 0, learn_intervals, &l, err)) != BF_OK)
        return bf_err_prepend(err, "rebuilding the hot store from the archive");
    if (newest > 0) {
        hot_reserve_clock(c->hot, newest);
        if ((code = hot_set_hot_from(c->hot, newest + 1, err)) != BF_OK)
            return code;
    }
    bf_failpoint("rebuild.before-mark");
    hot_note_set(c->hot, NOTE_REBUILT, 1);
    if (l.ids)
        bf_log(BF_LOG_INFO, "hot_store_rebuilt", "ids=%llu from=archive", (unsigned long long)l.ids);
    return hot_sync(c->hot, err);
}

static enum bf_code find_partition(const struct archive_partition *all, size_t count, const struct hot_partition *hp,
                                   const struct archive_partition **out) {
    for (size_t i = 0; i < count; i++)
        if (all[i].partition == hp->partition && strcmp(all[i].topic, hp->topic) == 0) {
            *out = &all[i];
            return BF_OK;
        }
    return BF_NOT_FOUND;
}

/* Partitions of ours that somebody else holds in the archive: what we have of them beyond the archive is theirs to record again. */
enum bf_code recover_reconcile(struct capsule *c, struct archive *a, struct bf_err *err) {
    struct archive_partition *theirs = NULL;
    struct hot_partition *ours = NULL;
    size_t their_count = 0, our_count = 0;
    int64_t through;
    struct bf_uuid me = hot_instance_id(c->hot);
    enum bf_code code = archive_partitions(a, &theirs, &their_count, err);
    if (code == BF_OK)
        code = archive_through(a, &me, &through, err);
    if (code == BF_OK)
        code = hot_partitions(c->hot, &ours, &our_count, err);
    for (size_t i = 0; code == BF_OK && i < our_count; i++) {
        const struct archive_partition *p;
        if (find_partition(theirs, their_count, &ours[i], &p) != BF_OK || memcmp(&p->owner, &me, sizeof me) == 0)
            continue;
        bf_log(BF_LOG_WARN, "partition_tail_forgotten", "topic=%s partition=%d why=\"another instance owns it\"", ours[i].topic,
               ours[i].partition);
        code = hot_forget_partition(c->hot, bf_slice_str(ours[i].topic), ours[i].partition, through, err);
    }
    free(theirs);
    free(ours);
    return code;
}

/* Somebody else held it, or nobody says that our tail counts: begin where the archive ends. */
static enum bf_code adopt(struct capsule *c, struct archive *a, const struct bf_tp *tp, bool had, struct bf_err *err) {
    struct bf_slice topic = bf_slice_str(tp->topic);
    struct learning l = {.c = c, .logged_us = bf_time_monotonic_us()};
    struct bf_uuid me = hot_instance_id(c->hot);
    int64_t through, newest;
    enum bf_code code = archive_through(a, &me, &through, err);
    if (code == BF_OK && had)
        code = hot_forget_partition(c->hot, topic, tp->partition, through, err);
    if (code == BF_OK)
        code = archive_ids_each(a, topic, tp->partition, learn_ids, &l, err);
    if (code == BF_OK)
        code = archive_intervals_each(a, topic, tp->partition, learn_intervals, &l, err);
    if (code == BF_OK)
        code = archive_newest(a, &newest, err);
    if (code == BF_OK && newest > 0) {
        hot_reserve_clock(c->hot, newest);
        code = hot_set_hot_from(c->hot, newest + 1, err);
    }
    return code;
}

static enum bf_code begin_offset(struct capsule *c, struct archive *a, struct bf_consumer *consumer, const struct archive_taken *taken,
                                 struct bf_tp *tp, struct bf_err *err) {
    struct bf_uuid me = hot_instance_id(c->hot);
    struct hot_partition hp = {0};
    enum bf_code code = hot_partition(c->hot, bf_slice_str(tp->topic), tp->partition, &hp, err);
    if (code != BF_OK && code != BF_NOT_FOUND)
        return code;
    bool had = code == BF_OK && hp.epoch > 0;
    if (had && taken->previous_epoch < hp.epoch)
        return bf_fail(err, BF_BROKEN, 0,
                       "%s/%d: the archive is older than the hot store (epoch %lld < %lld): it was restored from a backup; "
                       "remove the hot store's folder to rebuild it from the archive",
                       tp->topic, tp->partition, (long long)taken->previous_epoch, (long long)hp.epoch);
    if (had && taken->previous_epoch == hp.epoch && memcmp(&taken->previous_owner, &me, sizeof me) == 0) {
        tp->offset = hp.next_offset;
        return BF_OK;
    }
    if (had || taken->next_offset >= 0)
        if ((code = adopt(c, a, tp, had, err)) != BF_OK)
            return code;
    tp->offset = taken->next_offset;
    if (tp->offset < 0) {
        int64_t high;
        code = bf_consumer_query_watermarks(consumer, tp->topic, tp->partition, WATERMARK_TIMEOUT_MS, &tp->offset, &high, err);
    } else {
        code = BF_OK;
    }
    return code;
}

enum bf_code recover_take(struct capsule *c, struct archive *a, struct bf_consumer *consumer, struct bf_tp *tps, size_t count,
                          struct bf_err *err) {
    struct bf_uuid me = hot_instance_id(c->hot);
    struct hot_batch *batch = NULL;
    struct hot_commit_result done;
    struct archive_taken *taken = calloc(count ? count : 1, sizeof *taken);
    if (!taken)
        return bf_fail(err, BF_NOMEM, 0, "no memory to take %zu partitions", count);
    enum bf_code code = archive_take(a, &me, tps, count, taken, err);
    bf_failpoint("take.after-archive");
    if (code == BF_OK)
        code = hot_batch_new(c->hot, &batch, err);
    for (size_t i = 0; code == BF_OK && i < count; i++) {
        code = begin_offset(c, a, consumer, &taken[i], &tps[i], err);
        if (code == BF_OK)
            code = hot_batch_partition(batch, bf_slice_str(tps[i].topic), tps[i].partition, taken[i].epoch, tps[i].offset, err);
    }
    if (code == BF_OK)
        code = hot_batch_commit(batch, &done, NULL, NULL, err);
    bf_failpoint("take.after-hot");
    hot_batch_free(batch);
    free(taken);
    return code;
}
