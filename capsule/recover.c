#include "recover.h"

#include "archiver.h"
#include "bf_failpoint.h"
#include "bf_log.h"
#include "bf_stop.h"
#include "log_proof.h"
#include "bf_time.h"

#include <stdlib.h>
#include <string.h>

#define NOTE_REBUILT "rebuilt"
#define NOTE_ARCHIVE_HIGH "archive_id_high"
#define NOTE_ARCHIVE_LOW "archive_id_low"
#define WATERMARK_TIMEOUT_MS 5000
#define ARCHIVE_WAIT_MS 5000

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

static enum bf_code learn_new_schema(void *ctx, int32_t id, struct bf_slice type, struct bf_slice schema, struct bf_slice refs,
                                     struct bf_err *err) {
    struct learning *l = ctx;
    const struct bf_avro *known;
    enum bf_code code = schema_cache_get(l->c->schemas, id, &known, err);
    return code == BF_NOT_FOUND ? hot_schema_put(l->c->hot, id, type, schema, refs, err) : code;
}

enum bf_code recover_learn_schemas(struct capsule *c, struct archive *a, struct bf_err *err) {
    struct learning l = {.c = c};
    return archive_schema_each(a, learn_new_schema, &l, err);
}

static enum bf_code learn_some_ids(void *ctx, const struct hot_known_id *ids, size_t count, struct bf_err *err) {
    struct learning *l = ctx;
    if (bf_stop_requested())
        return bf_fail(err, BF_CANCELLED, 0, "stopped while rebuilding");
    enum bf_code code = learn_ids(ctx, ids, count, err);
    atomic_store(&l->c->rebuilt_ids, (int_least64_t)l->ids);
    return code;
}

enum bf_code recover_begin_rebuild(struct capsule *c, struct archive *a, struct bf_err *err) {
    if (hot_note_get(c->hot, NOTE_REBUILT, 0) == 1)
        return BF_OK;
    struct learning l = {.c = c, .logged_us = bf_time_monotonic_us()};
    int64_t newest;
    enum bf_code code;
    if ((code = archive_newest(a, &newest, err)) != BF_OK || (code = archive_schema_each(a, learn_schema, &l, err)) != BF_OK ||
        (code = archive_intervals_each(a, BF_SLICE_NONE, 0, learn_intervals, &l, err)) != BF_OK)
        return bf_err_prepend(err, "rebuilding the hot store from the archive");
    if (newest > 0) {
        hot_reserve_clock(c->hot, newest);
        if ((code = hot_set_hot_from(c->hot, newest + 1, err)) != BF_OK)
            return code;
        bf_log(BF_LOG_INFO, "rebuild_begins", "from=archive what=\"answers come from the archive meanwhile\"");
    }
    atomic_store(&c->rebuilding, true);
    return BF_OK;
}

enum bf_code recover_rebuild(struct capsule *c, struct archive *a, struct bf_err *err) {
    if (hot_note_get(c->hot, NOTE_REBUILT, 0) == 1)
        return BF_OK;
    struct learning l = {.c = c, .logged_us = bf_time_monotonic_us()};
    enum bf_code code = archive_ids_each(a, BF_SLICE_NONE, 0, learn_some_ids, &l, err);
    if (code != BF_OK || bf_stop_requested())
        return code != BF_OK ? bf_err_prepend(err, "rebuilding the hot store from the archive")
                             : bf_fail(err, BF_CANCELLED, 0, "stopped while rebuilding");
    bf_failpoint("rebuild.before-mark");
    hot_note_set(c->hot, NOTE_REBUILT, 1);
    if (l.ids)
        bf_log(BF_LOG_INFO, "hot_store_rebuilt", "ids=%llu from=archive", (unsigned long long)l.ids);
    code = hot_sync(c->hot, err);
    atomic_store(&c->rebuilding, code != BF_OK);
    return code;
}

/* The store's identity lies in it as two notes. */
enum bf_code recover_check_archive(struct capsule *c, struct archive *a, struct bf_err *err) {
    struct bf_uuid id;
    enum bf_code code = archive_identity(a, &id, err);
    if (code != BF_OK)
        return code;
    int64_t high = (int64_t)bf_get_be64(id.b), low = (int64_t)bf_get_be64(id.b + 8);
    int64_t held_high = hot_note_get(c->hot, NOTE_ARCHIVE_HIGH, 0), held_low = hot_note_get(c->hot, NOTE_ARCHIVE_LOW, 0);
    if (held_high == high && held_low == low)
        return BF_OK;
    if ((held_high || held_low) && !c->settings->adopt_archive)
        return bf_fail(err, BF_BROKEN, 0,
                       "the hot store in %s was filled beside another database. Connect to that one; or, if it is lost for good, start once with "
                       "--adopt-archive: what is still hot is archived here",
                       c->settings->dir);
    hot_note_set(c->hot, NOTE_ARCHIVE_HIGH, high);
    hot_note_set(c->hot, NOTE_ARCHIVE_LOW, low);
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

/* The archiver has no chunk in hand meanwhile: what it read before could still be written though it is forgotten here and will be read again. */
static enum bf_code forget_tail(struct capsule *c, struct archive *a, const char *topic, int32_t partition, struct bf_err *err) {
    struct bf_uuid me = hot_instance_id(c->hot);
    int64_t through;
    pthread_mutex_lock(&c->tail_lock);
    c->tail_turn++;
    enum bf_code code = archive_through(a, &me, &through, err);
    if (code == BF_OK)
        code = hot_forget_partition(c->hot, bf_slice_str(topic), partition, through, err);
    pthread_mutex_unlock(&c->tail_lock);
    bf_failpoint("take.after-forget");
    return code;
}

/* Partitions of ours that somebody else holds in the archive: what we have of them beyond the archive is theirs to record again. */
enum bf_code recover_reconcile(struct capsule *c, struct archive *a, struct bf_err *err) {
    struct archive_partition *theirs = NULL;
    struct hot_partition *ours = NULL;
    size_t their_count = 0, our_count = 0;
    struct bf_uuid me = hot_instance_id(c->hot);
    enum bf_code code = archive_partitions(a, &theirs, &their_count, err);
    if (code == BF_OK)
        code = hot_partitions(c->hot, &ours, &our_count, err);
    for (size_t i = 0; code == BF_OK && i < our_count; i++) {
        const struct archive_partition *p;
        if (ours[i].epoch == 0 || find_partition(theirs, their_count, &ours[i], &p) != BF_OK || memcmp(&p->owner, &me, sizeof me) == 0)
            continue;
        bf_log(BF_LOG_WARN, "partition_tail_forgotten", "topic=%s partition=%d why=\"another instance owns it\"", ours[i].topic,
               ours[i].partition);
        code = forget_tail(c, a, ours[i].topic, ours[i].partition, err);
    }
    free(theirs);
    free(ours);
    return code;
}

/* From here on the archive answers for all that was recorded so far: what is only here must be there first. */
static enum bf_code leave_past_to_archive(struct capsule *c, struct archive *a, struct bf_err *err) {
    int64_t newest, recorded = 0;
    if (c->archiver && c->store) {
        recorded = store_own_recorded_through(c->store);
        if (archiver_wait_through(c->archiver, recorded, ARCHIVE_WAIT_MS) != BF_OK)
            return bf_fail(err, BF_AGAIN, 0, "what is recorded here is not archived yet");
    }
    enum bf_code code = archive_newest(a, &newest, err);
    if (code != BF_OK || newest <= 0)
        return code;
    hot_reserve_clock(c->hot, newest);
    return hot_set_hot_from(c->hot, newest + 1, err);
}

/* Somebody else recorded it since, or it is new to us: begin where the archive ends. */
static enum bf_code adopt(struct capsule *c, struct archive *a, const struct bf_tp *tp, bool had, struct bf_err *err) {
    struct bf_slice topic = bf_slice_str(tp->topic);
    struct learning l = {.c = c, .logged_us = bf_time_monotonic_us()};
    enum bf_code code = had ? forget_tail(c, a, tp->topic, tp->partition, err) : BF_OK;
    if (code == BF_OK)
        code = archive_ids_each(a, topic, tp->partition, learn_ids, &l, err);
    if (code == BF_OK)
        code = archive_intervals_each(a, topic, tp->partition, learn_intervals, &l, err);
    return code == BF_OK ? leave_past_to_archive(c, a, err) : code;
}

static enum bf_code older_than_hot(const struct bf_tp *tp, int64_t archived, int64_t ours, struct bf_err *err) {
    return bf_fail(err, BF_BROKEN, 0,
                   "%s/%d: the archive ends at offset %lld, but the hot store has dropped records up to %lld because they were archived: the database "
                   "was restored from an older backup, or is another one. Restore a newer one; or remove the hot store's folder, so that "
                   "everything is read again from where the archive ends, as far as Kafka still has it",
                   tp->topic, tp->partition, (long long)archived, (long long)ours);
}

/* The log was cut back and the process ended before the hot store followed. */
static enum bf_code finish_cut(struct capsule *c, struct archive *a, const struct archive_taken *taken, struct bf_tp *tp, int64_t archived,
                               int64_t ours, struct bf_err *err) {
    struct archive_cut last = {.topic = bf_slice_str(tp->topic), .partition = tp->partition};
    enum bf_code code = archive_last_cut(a, &last, err);
    if (code == BF_OK && (last.from != archived || last.to != ours))
        return BF_NOT_FOUND;
    if (code == BF_OK)
        code = log_proof_cut_hot(c, tp->topic, tp->partition, archived, taken->through_us, err);
    if (code == BF_OK)
        tp->offset = archived;
    return code;
}

/* Our tail goes on where the archive ends, or it does not count. The fence lets nobody write but where the archive ends, so equal offsets mean
 * that nobody wrote in between, whoever held the partition. */
static enum bf_code begin_offset(struct capsule *c, struct archive *a, struct bf_consumer *consumer, const struct archive_taken *taken,
                                 const struct hot_partition *hp, struct bf_tp *tp, struct bf_err *err) {
    int64_t high, archived = taken->next_offset, ours = -1;
    bool had = hp->epoch > 0;
    enum bf_code code = had ? hot_partition_at(c->hot, bf_slice_str(tp->topic), tp->partition, taken->through_us, &ours, err) : BF_OK;
    if (code != BF_OK)
        return code;
    if (had && (archived == ours || (archived < 0 && ours <= hp->first_offset))) {
        tp->offset = hp->next_offset;
        return BF_OK;
    }
    if (had && archived < ours && (code = finish_cut(c, a, taken, tp, archived, ours, err)) != BF_NOT_FOUND)
        return code;
    if (had && archived < ours)
        return older_than_hot(tp, archived, ours, err);
    if ((had || archived >= 0) && (code = adopt(c, a, tp, had, err)) != BF_OK)
        return code;
    tp->offset = archived;
    return archived >= 0 ? BF_OK
                         : bf_consumer_query_watermarks(consumer, tp->topic, tp->partition, WATERMARK_TIMEOUT_MS, &tp->offset, &high, err);
}

/* What the hot store says of each partition; epoch 0: nothing. */
static enum bf_code look_at_hot(struct capsule *c, const struct bf_tp *tps, size_t count, struct hot_partition *hps, int64_t *epochs,
                                struct bf_err *err) {
    for (size_t i = 0; i < count; i++) {
        enum bf_code code = hot_partition(c->hot, bf_slice_str(tps[i].topic), tps[i].partition, &hps[i], err);
        if (code == BF_NOT_FOUND)
            hps[i] = (struct hot_partition){.epoch = 0};
        else if (code != BF_OK)
            return code;
        epochs[i] = hps[i].epoch;
    }
    return BF_OK;
}

enum bf_code recover_take(struct capsule *c, struct archive *a, struct bf_consumer *consumer, struct bf_tp *tps, size_t count,
                          struct bf_err *err) {
    struct bf_uuid me = hot_instance_id(c->hot);
    struct hot_batch *batch = NULL;
    struct hot_commit_result done;
    struct archive_taken *taken = calloc(count + 1, sizeof *taken);
    struct hot_partition *hps = calloc(count + 1, sizeof *hps);
    int64_t *epochs = calloc(count + 1, sizeof *epochs);
    int64_t newest = 0;
    bool room = taken && hps && epochs;
    enum bf_code code = room ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory to take %zu partitions", count);
    if (code == BF_OK)
        code = look_at_hot(c, tps, count, hps, epochs, err);
    if (code == BF_OK)
        code = archive_take_above(a, &me, tps, epochs, count, taken, err);
    if (code == BF_OK)
        code = archive_newest(a, &newest, err);
    if (code == BF_OK) /* nothing is recorded below what anybody, we too, has said to be archived: whatever this machine's clock says */
        hot_reserve_clock(c->hot, newest);
    bf_failpoint("take.after-archive");
    if (code == BF_OK)
        code = hot_batch_new(c->hot, &batch, err);
    for (size_t i = 0; code == BF_OK && i < count; i++) {
        code = begin_offset(c, a, consumer, &taken[i], &hps[i], &tps[i], err);
        if (code == BF_OK)
            code = hot_batch_partition(batch, bf_slice_str(tps[i].topic), tps[i].partition, taken[i].epoch, tps[i].offset, err);
    }
    if (code == BF_OK)
        code = hot_batch_commit(batch, &done, NULL, NULL, err);
    bf_failpoint("take.after-hot");
    hot_batch_free(batch);
    free(taken);
    free(hps);
    free(epochs);
    return code;
}
