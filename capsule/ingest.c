/* The loop and its waits:
 *   blocked   the registry is away: a partition whose next record needs it waits and is read again later; the others go on
 *   full      the hot store is at its limit and nothing more can be evicted: fetching paused, the batch is kept
 *   assigned  partitions wait (inside the consumer) until the archive could be asked
 * Every one of them goes on polling, so that the group membership stays.
 *
 * per partition: `expected` is the next offset; what Kafka skips up to the next message or the end is a control interval.
 */
#include "ingest_internal.h"

#include "archiver.h"
#include "bf_failpoint.h"
#include "bf_log.h"
#include "bf_room.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "dlq.h"
#include "recover.h"
#include "schema_source.h"

#include <stdlib.h>
#include <string.h>

#define POLL_IDLE_MS 100
#define BLOCK_FIRST_MS 50
#define BLOCK_MOST_MS 5000
#define SAVE_EVERY_US INT64_C(1000000)
#define RETRY_EVERY_US INT64_C(500000)
#define REVOKE_FLUSH_MS 10000
#define REBUILD_RETRY_MS 1000

#define SERIES_REVISION 5

/* ---- topics and partitions in hand ---- */

static enum bf_code topic_index(struct ingest *in, const char *name, uint32_t *out, struct bf_err *err) {
    static const char *const labels[] = {"stored", "duplicate", "quarantined", "control", "lost", "revision"};
    for (size_t i = 0; i < in->topic_count; i++)
        if (strcmp(in->topics[i].name, name) == 0) {
            *out = (uint32_t)i;
            return BF_OK;
        }
    struct ingest_topic *grown = realloc(in->topics, (in->topic_count + 1) * sizeof *grown);
    if (!grown)
        return bf_fail(err, BF_NOMEM, 0, "no memory for topic %s", name);
    in->topics = grown;
    struct ingest_topic *t = &grown[in->topic_count];
    memset(t, 0, sizeof *t);
    strncpy(t->name, name, BF_TOPIC_MAX);
    t->way = bf_topics_find(in->c->topics, name);
    for (size_t d = 0; d < sizeof labels / sizeof *labels; d++)
        t->series[d] = bf_metrics_series(in->c->metrics, M_RECORDS, t->name, labels[d], NULL);
    *out = (uint32_t)in->topic_count++;
    return BF_OK;
}

struct ingest_partition *ingest_find_part(struct ingest *in, const char *topic, int32_t partition) {
    for (size_t i = 0; i < in->part_count; i++)
        if (in->parts[i].partition == partition && strcmp(in->topics[in->parts[i].topic].name, topic) == 0)
            return &in->parts[i];
    return NULL;
}

static enum bf_code add_part(struct ingest *in, const struct bf_tp *tp, struct bf_err *err) {
    struct ingest_partition *p = ingest_find_part(in, tp->topic, tp->partition);
    if (!p) {
        struct ingest_partition *grown = realloc(in->parts, (in->part_count + 1) * sizeof *grown);
        if (!grown)
            return bf_fail(err, BF_NOMEM, 0, "no memory for partition %s/%d", tp->topic, tp->partition);
        in->parts = grown;
        p = &grown[in->part_count];
        p->partition = tp->partition;
        enum bf_code code = topic_index(in, tp->topic, &p->topic, err);
        if (code != BF_OK)
            return code;
        in->part_count++;
    }
    p->expected = tp->offset;
    p->block_ms = p->short_since_us = 0;
    p->cutting = false;
    return BF_OK;
}

static void drop_part(struct ingest *in, const char *topic, int32_t partition) {
    struct ingest_partition *p = ingest_find_part(in, topic, partition);
    if (p)
        *p = in->parts[--in->part_count];
}

/* ---- the end of everything: stop with a reason ---- */

void ingest_fatal(struct ingest *in, const char *event, const struct bf_err *err, int exit_code) {
    bf_log_err(BF_LOG_ERROR, event, err, "action=stop exit_code=%d", exit_code);
    if (hot_is_corrupt(err))
        hot_condemn(in->c->hot);
    atomic_store(&in->c->fatal, exit_code);
    bf_stop_request();
}

/* ---- the batch ---- */

static void count_alike(struct ingest *in) {
    struct rows_alike *a = &in->alike;
    if (a->count == 0)
        return;
    bf_series_add(a->series, a->count);
    if (a->stored)
        bf_series_observe(in->e2e, (double)(a->recorded_at_us - a->kafka_time_us) / 1e6, a->count);
    a->count = 0;
}

/* Rows of one millisecond of the broker's clock are counted together, as late as the last of them. */
static void count_row(void *ctx, size_t index, enum disposition d, uint32_t revision, int64_t recorded_at_us) {
    struct ingest *in = ctx;
    struct rows_alike *a = &in->alike;
    const struct batch_row *row = &in->rows[index];
    bool revised = d == DISPOSITION_STORED && revision > 1;
    struct bf_series *series = in->topics[row->topic].series[revised ? SERIES_REVISION : (int)d];
    if (a->count > 0 && (a->series != series || a->kafka_time_us != row->kafka_time_us))
        count_alike(in);
    *a = (struct rows_alike){series, row->kafka_time_us, recorded_at_us, a->count + 1, d == DISPOSITION_STORED};
}

static void count_gaps(struct ingest *in) {
    for (size_t i = 0; i < in->topic_count; i++)
        for (int d = DISPOSITION_CONTROL; d <= DISPOSITION_LOST; d++) {
            bf_series_add(in->topics[i].series[d], in->topics[i].gaps[d]);
            in->topics[i].gaps[d] = 0;
        }
}

enum bf_code ingest_commit(struct ingest *in, struct bf_err *err) {
    if (in->row_count == 0 && !in->gaps_pending)
        return BF_OK;
    struct hot_commit_result done = {0};
    in->committing = true;
    bf_failpoint("ingest.before-commit");
    enum bf_code code = hot_batch_commit(in->batch, &done, count_row, in, err);
    in->committing = false;
    bf_failpoint("ingest.after-commit");
    if (code == BF_NOMEM) {
        if (!in->full)
            bf_log_err(BF_LOG_WARN, "hot_store_full", err, "action=pause");
        in->full = true;
        return code;
    }
    if (code != BF_OK)
        return code;
    count_alike(in);
    count_gaps(in);
    in->row_count = 0;
    in->gaps_pending = false;
    in->full = false;
    if (done.quarantined)
        dlq_wake(in->c->dlq);
    return BF_OK;
}

static enum bf_code add_row(struct ingest *in, uint32_t topic, int64_t kafka_time_us, struct bf_err *err) {
    if (!bf_room(in->rows, in->row_count, in->row_capacity, 4096))
        return bf_fail(err, BF_NOMEM, 0, "no memory for a batch of %zu records", in->row_count);
    in->rows[in->row_count++] = (struct batch_row){topic, kafka_time_us};
    return BF_OK;
}

static enum bf_code add_gap(struct ingest *in, struct ingest_partition *p, int64_t to, enum disposition d, struct bf_err *err) {
    struct ingest_topic *t = &in->topics[p->topic];
    struct interval gap = {bf_slice_str(t->name), p->partition, p->expected, to, d};
    enum bf_code code = hot_batch_gap(in->batch, &gap, err);
    if (code == BF_OK) {
        t->gaps[d] += (uint64_t)(to - p->expected);
        in->gaps_pending = true;
        p->expected = to;
    }
    return code;
}

/* ---- one message ---- */

static void block(struct ingest *in, struct ingest_partition *p, const struct bf_message *msg, const struct bf_err *why) {
    struct bf_tp tp = {msg->topic, msg->partition, msg->offset};
    if (p->block_ms == 0)
        bf_series_add(bf_metrics_series(in->c->metrics, M_PAUSES, "schema", NULL, NULL), 1);
    p->block_ms = p->block_ms ? p->block_ms * 2 : BLOCK_FIRST_MS;
    if (p->block_ms > BLOCK_MOST_MS)
        p->block_ms = BLOCK_MOST_MS;
    bf_log_err(BF_LOG_WARN, "schema_wait", why, "topic=%s partition=%d offset=%lld retry_in_ms=%lld", msg->topic, msg->partition,
               (long long)msg->offset, (long long)p->block_ms);
    bf_series_add(bf_metrics_series(in->c->metrics, M_WAITS, "registry", NULL, NULL), 1);
    bf_consumer_later(in->c->consumer, &tp, p->block_ms);
}

static enum bf_code take_message(struct ingest *in, const struct bf_message *msg, struct bf_err *err) {
    struct ingest_partition *p = ingest_find_part(in, msg->topic, msg->partition);
    if (!p || msg->offset < p->expected)
        return BF_OK; /* taken from us, or had already */
    enum bf_code code = BF_OK;
    bool held = false;
    if (p->proof.on && ((code = ingest_prove(in, p, msg, &held, err)) != BF_OK || held))
        return code;
    if (ingest_is_filler(msg))
        return add_gap(in, p, msg->offset + 1, DISPOSITION_CONTROL, err);
    code = envelope_open(&in->envelope, in->topics[p->topic].way, msg, err);
    if (code == BF_AGAIN) {
        block(in, p, msg, err);
        return BF_OK;
    }
    if (code != BF_OK && code != BF_REJECTED)
        return code;
    bool good = code == BF_OK;
    code = msg->offset > p->expected ? add_gap(in, p, msg->offset, DISPOSITION_CONTROL, err) : BF_OK;
    if (code == BF_OK)
        code = good ? hot_batch_event(in->batch, &in->envelope.ev, err) : hot_batch_poison(in->batch, &in->envelope.poison, err);
    if (code == BF_OK)
        code = add_row(in, p->topic, good ? in->envelope.ev.kafka_time_us : in->envelope.poison.kafka_time_us, err);
    if (code == BF_OK)
        p->expected = msg->offset + 1;
    p->block_ms = 0;
    return code;
}

/* ---- called back from the consumer's poll ---- */

/* Reading begins at the last event that is held, to see whether it is still there. */
static enum bf_code begin_part(struct ingest *in, struct bf_tp *tp, struct bf_err *err) {
    struct log_proof proof = {.topic = tp->topic, .partition = tp->partition};
    int64_t begin;
    enum bf_code code = log_proof_begin(in->c, in->archive, tp->offset, &proof, &begin, err);
    if (code == BF_OK) {
        tp->offset = begin;
        code = add_part(in, tp, err);
    }
    if (code == BF_OK)
        ingest_find_part(in, tp->topic, tp->partition)->proof = proof;
    return code;
}

static enum bf_code on_assigned(void *ctx, struct bf_tp *tps, size_t count, struct bf_err *err) {
    struct ingest *in = ctx;
    enum bf_code code = recover_take(in->c, in->archive, in->c->consumer, tps, count, err);
    if (code == BF_AGAIN)
        bf_series_add(bf_metrics_series(in->c->metrics, M_WAITS, "postgres", NULL, NULL), 1);
    for (size_t i = 0; code == BF_OK && i < count; i++)
        code = begin_part(in, &tps[i], err);
    if (code == BF_OK) {
        bf_log(BF_LOG_INFO, "assigned", "partitions=%zu", count);
        atomic_store(&in->c->ingesting, true);
    } else if (code == BF_AGAIN) {
        bf_log_err(BF_LOG_WARN, "assign_wait", err, "partitions=%zu", count);
    } else {
        ingest_fatal(in, "assign_failed", err, code == BF_BROKEN ? BF_EXIT_STATE : BF_EXIT_INTERNAL);
    }
    return code;
}

static void on_revoked(void *ctx, const struct bf_tp *tps, size_t count, bool lost) {
    struct ingest *in = ctx;
    struct bf_err err;
    if (!in->committing && ingest_commit(in, &err) != BF_OK)
        bf_log_err(BF_LOG_WARN, "revoke_commit_failed", &err, "partitions=%zu", count);
    if (!lost && in->c->archiver &&
        archiver_wait_through(in->c->archiver, store_own_recorded_through(in->c->store), REVOKE_FLUSH_MS) != BF_OK)
        bf_log(BF_LOG_WARN, "revoked_unarchived", "partitions=%zu what=\"the next owner records the rest again\"", count);
    for (size_t i = 0; i < count; i++)
        drop_part(in, tps[i].topic, tps[i].partition);
    if (lost)
        atomic_store(&in->c->fence_lost, true);
    bf_log(BF_LOG_INFO, "revoked", "partitions=%zu lost=%d", count, lost);
}

static void on_gap(struct ingest *in, const char *topic, int32_t partition, int64_t to, enum disposition d) {
    struct bf_err err;
    struct ingest_partition *p = ingest_find_part(in, topic, partition);
    if (p && p->proof.on && to >= p->proof.known_end && !p->cutting) { /* what was to be compared is gone: it cannot be */
        p->expected = p->proof.known_end;
        p->proof.on = false;
    } else if (p && p->proof.on) {
        p->expected = to > p->expected ? to : p->expected;
        p->proof.same_end = p->proof.same_end < to ? to : p->proof.same_end;
    }
    if (p && !p->proof.on && to > p->expected && add_gap(in, p, to, d, &err) != BF_OK)
        ingest_fatal(in, "ledger_failed", &err, BF_EXIT_INTERNAL);
}

static void on_end(void *ctx, const char *topic, int32_t partition, int64_t offset) {
    struct ingest *in = ctx;
    struct bf_err err;
    struct ingest_partition *p = ingest_find_part(in, topic, partition);
    enum bf_code code = p && p->proof.on ? ingest_prove_end(in, p, offset, &err) : BF_OK;
    if (code != BF_OK)
        ingest_fatal(in, "proof_failed", &err, code == BF_BROKEN ? BF_EXIT_STATE : BF_EXIT_INTERNAL);
    else if (p && !p->proof.on)
        on_gap(ctx, topic, partition, offset, DISPOSITION_CONTROL);
}

static int64_t on_cut_back(void *ctx, const char *topic, int32_t partition, int64_t from, int64_t low, int64_t high) {
    struct ingest *in = ctx;
    struct ingest_partition *p = ingest_find_part(in, topic, partition);
    if (!p)
        return -1;
    bf_log(BF_LOG_WARN, "log_too_short", "topic=%s partition=%d read=%lld low=%lld high=%lld", topic, partition, (long long)from, (long long)low,
           (long long)high);
    ingest_read_whole(in, p, low);
    p->short_since_us = bf_time_monotonic_us() - INGEST_SHORT_BELIEVED_US; /* it was believed already */
    return low;
}

static void on_lost(void *ctx, const char *topic, int32_t partition, int64_t from, int64_t to) {
    bf_log(BF_LOG_ERROR, "records_lost", "topic=%s partition=%d from=%lld to=%lld why=\"the broker no longer has them\"", topic,
           partition, (long long)from, (long long)to);
    on_gap(ctx, topic, partition, to, DISPOSITION_LOST);
}

/* ---- the loop ---- */

static void set_paused(struct ingest *in, bool paused) {
    struct bf_err err;
    if (atomic_load(&in->c->paused) == paused)
        return;
    enum bf_code code = paused ? bf_consumer_pause(in->c->consumer, &err) : bf_consumer_resume(in->c->consumer, &err);
    if (code != BF_OK) {
        ingest_fatal(in, "pause_failed", &err, BF_EXIT_INTERNAL);
        return;
    }
    if (paused)
        bf_series_add(bf_metrics_series(in->c->metrics, M_PAUSES, "full", NULL, NULL), 1);
    bf_log(BF_LOG_INFO, paused ? "paused" : "resumed", "why=\"hot store\"");
    atomic_store(&in->c->paused, paused);
}

/* What the archiver says PostgreSQL refuses. Not while a batch could not be written: there is no room to write in then. */
static void take_refusal(struct ingest *in) {
    struct refusal *r = &in->c->refusal;
    struct bf_err err;
    pthread_mutex_lock(&r->lock);
    enum bf_code code = r->posted ? hot_refuse(in->c->hot, r->recorded_at_us, r->detail, &err) : BF_NOT_FOUND;
    if (code == BF_OK) {
        dlq_again_from(in->c->dlq, r->recorded_at_us);
        bf_series_add(bf_metrics_series(in->c->metrics, M_RECORDS, r->topic, "quarantined", NULL), 1);
        r->posted = false;
    }
    pthread_mutex_unlock(&r->lock);
    if (code != BF_OK && code != BF_NOT_FOUND && code != BF_NOMEM)
        ingest_fatal(in, "hot_store_failed", &err, BF_EXIT_STATE);
}

/* What the archiver asked for, until it has worked once. */
static void catch_up(struct ingest *in, atomic_bool *wanted, int64_t *at_us, enum bf_code (*work)(struct capsule *, struct archive *, struct bf_err *),
                     const char *waits) {
    struct bf_err err;
    int64_t now = bf_time_monotonic_us();
    if (!atomic_load(wanted) || now < *at_us)
        return;
    *at_us = now + RETRY_EVERY_US;
    if (work(in->c, in->archive, &err) == BF_OK)
        atomic_store(wanted, false);
    else
        bf_log_err(BF_LOG_WARN, waits, &err, "retry_in_ms=%d", (int)(RETRY_EVERY_US / 1000));
}

/* Between batches: eviction, notes, fences. */
static void housekeeping(struct ingest *in) {
    struct bf_err err;
    int64_t now = bf_time_monotonic_us();
    enum evictor_pressure pressure = evictor_step(&in->evictor, in->c, in->full);
    set_paused(in, in->full || pressure == EVICTOR_FULL);
    take_refusal(in);
    ingest_take_redrive(in);
    if (now - in->saved_us > SAVE_EVERY_US) {
        if (hot_save_notes(in->c->hot, &err) != BF_OK)
            ingest_fatal(in, "hot_store_failed", &err, BF_EXIT_STATE);
        in->saved_us = now;
    }
    catch_up(in, &in->c->schemas_to_learn, &in->learn_at_us, recover_learn_schemas, "schemas_wait");
    catch_up(in, &in->c->fence_lost, &in->reconcile_at_us, recover_reconcile, "reconcile_wait");
}

static bool batch_full(const struct ingest *in) {
    return hot_batch_count(in->batch) >= (size_t)in->c->settings->batch_events_max ||
           hot_batch_bytes(in->batch) >= (size_t)in->c->settings->batch_bytes_max;
}

/* Nothing has come for a while: what large commits left for later is done now. */
static void settle(struct ingest *in) {
    struct bf_err err;
    enum bf_code code = hot_settle(in->c->hot, &err);
    if (code != BF_OK && code != BF_NOMEM)
        ingest_fatal(in, "hot_store_failed", &err, BF_EXIT_STATE);
}

/* One poll and what follows from it. */
static enum bf_code step(struct ingest *in, struct bf_err *err) {
    const struct bf_message *msg;
    bool pending = in->row_count > 0 || in->gaps_pending;
    enum bf_code code = bf_consumer_poll(in->c->consumer, pending && !in->full ? 0 : POLL_IDLE_MS, &msg, err);
    atomic_store(&in->c->dependency_up[DEPENDENCY_KAFKA], code != BF_AGAIN);
    if (code == BF_OK) {
        code = take_message(in, msg, err);
        if (code != BF_OK || !batch_full(in))
            return code;
    } else if (code != BF_NOT_FOUND && code != BF_AGAIN) {
        return code;
    }
    bool idle = code == BF_NOT_FOUND && !pending;
    code = ingest_commit(in, err);
    housekeeping(in);
    if (idle)
        settle(in);
    return code == BF_NOMEM ? BF_OK : code;
}

/* Before the first record: every id must be known. False: stop was asked for. */
static bool rebuild(struct ingest *in) {
    struct bf_err err;
    enum bf_code code;
    while ((code = recover_rebuild(in->c, in->archive, &err)) != BF_OK) {
        if (code == BF_CANCELLED || bf_stop_requested())
            return false;
        if (code != BF_AGAIN) {
            ingest_fatal(in, "rebuild_failed", &err, code == BF_BROKEN ? BF_EXIT_STATE : BF_EXIT_INTERNAL);
            return false;
        }
        bf_log_err(BF_LOG_WARN, "rebuild_wait", &err, "retry_in_ms=%d", REBUILD_RETRY_MS);
        if (!bf_sleep_ms(REBUILD_RETRY_MS))
            return false;
    }
    return true;
}

static void *run(void *arg) {
    struct ingest *in = arg;
    struct bf_err err;
    if (!rebuild(in))
        return NULL;
    while (!bf_stop_requested()) {
        enum bf_code code = step(in, &err);
        if (code != BF_OK && code != BF_CANCELLED) {
            ingest_fatal(in, "ingest_failed", &err, code == BF_BROKEN ? BF_EXIT_STATE : BF_EXIT_INTERNAL);
            break;
        }
    }
    if (ingest_commit(in, &err) != BF_OK)
        bf_log_err(BF_LOG_WARN, "last_commit_failed", &err, "what=\"read again from Kafka at the next start\"");
    atomic_store(&in->c->ingesting, false);
    return NULL;
}

/* ---- life ---- */

static enum bf_code open_parts(struct ingest *in, struct bf_err *err) {
    static const char *const topics[] = {BF_TOPIC_PATTERN, NULL};
    struct capsule *c = in->c;
    char application[ARCHIVE_APPLICATION_MAX];
    const struct bf_uuid me = hot_instance_id(c->hot);
    const struct archive_settings archive = {.conninfo = c->settings->postgres, .application = application, .topics = c->topics,
                                             .connect_timeout_ms = 5000, .statement_timeout_ms = 0};
    const struct bf_consumer_settings consumer = {
        .bootstrap = c->settings->bootstrap, .group = c->settings->group, .client_id = "capsule", .topics = topics,
        .calls = {on_assigned, on_revoked, on_end, on_lost, in}, .cut_back = on_cut_back};
    enum bf_code code;
    archive_application(application, ARCHIVE_INGEST, &me);
    if ((code = archive_open(&archive, &in->archive, err)) != BF_OK || (code = schema_source_new(c, &in->schemas, err)) != BF_OK ||
        (code = hot_batch_new(c->hot, &in->batch, err)) != BF_OK)
        return code;
    in->envelope_settings = (struct envelope_settings){.schemas = c->schemas, .value_bytes_max = c->settings->value_bytes_max,
                                                       .depth_max = (int)c->settings->depth_max,
                                                       .resolve = schema_source_resolve, .ctx = in->schemas};
    envelope_init(&in->envelope, &in->envelope_settings);
    in->e2e = bf_metrics_series(c->metrics, M_E2E, "recorded", NULL, NULL);
    return bf_consumer_open(&consumer, &c->consumer, err);
}

enum bf_code ingest_start(struct capsule *c, struct ingest **out, struct bf_err *err) {
    struct ingest *in = calloc(1, sizeof *in);
    if (!in)
        return bf_fail(err, BF_NOMEM, 0, "no memory for ingest");
    in->c = c;
    bf_buf_init(&in->redrive_names, 1u << 20);
    enum bf_code code = open_parts(in, err);
    if (code == BF_OK && pthread_create(&in->thread, NULL, run, in) != 0)
        code = bf_fail(err, BF_NOMEM, 0, "the ingest thread did not start");
    if (code != BF_OK) {
        ingest_free(in);
        return code;
    }
    in->running = true;
    *out = in;
    return BF_OK;
}

void ingest_stop(struct ingest *in) {
    if (!in || !in->running)
        return;
    pthread_join(in->thread, NULL);
    in->running = false;
}

void ingest_free(struct ingest *in) {
    if (!in)
        return;
    bf_consumer_close(in->c->consumer); /* calls revoked() on this thread: the thread above is gone */
    in->c->consumer = NULL;
    hot_batch_free(in->batch);
    bf_buf_fini(&in->redrive_names);
    envelope_fini(&in->envelope);
    schema_source_free(in->schemas);
    archive_close(in->archive);
    free(in->rows);
    free(in->topics);
    free(in->parts);
    free(in);
}
