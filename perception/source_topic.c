/* Another Kafka topic, one signal in plain JSON a message. Offsets are committed only when Kafka has acknowledged the signals, so after any end the
 * next run reads again whatever may not have gone through; the same message then gives the same bytes, because what is filled in comes from
 * its place: the id from a header (event_id, ce_id), else from topic, partition, offset and value; the ingest time is the message's; the clock is
 * its offset. What is bad is logged, counted and passed by.
 *
 * Messages are gathered in batches; a batch's token is where each partition goes on behind it. Before partitions are given up everything on its
 * way is waited for, so no batch outlives an assignment. */
#include "acked.h"
#include "bf_event_id.h"
#include "bf_kafka.h"
#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "source.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_MESSAGES 1000
#define COMMIT_EVERY_US 200000
#define REJECTS_LOGGED_A_SECOND 10

struct place {
    int32_t partition;
    int64_t next;
    bool moved; /* since the last batch was closed */
};

/* A batch's token. */
struct reached {
    size_t count;
    struct bf_tp tps[];
};

struct source {
    const struct source_env *env;
    struct bf_consumer *consumer;
    struct acked *acked;
    struct signal signal;
    struct place *places;
    size_t place_count;
    int64_t gathered, looked_us; /* messages in the open batch; when it was last looked what is through */
    int64_t reject_second;
    int rejects_logged;
    struct bf_err broken; /* code not OK: it cannot go on */
};

static enum bf_code open_source(const struct source_env *env, struct source **out, struct bf_err *err) {
    struct source *s = calloc(1, sizeof *s);

    if (s == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a source");
    s->env = env;
    signal_init(&s->signal);
    *out = s;
    return BF_OK;
}

static void close_source(struct source *s) {
    if (s == NULL) return;
    signal_fini(&s->signal);
    free(s->places);
    free(s);
}

/* ---- how far ---- */

static enum bf_code note_place(struct source *s, int32_t partition, int64_t next, struct bf_err *err) {
    size_t i = 0;

    while (i < s->place_count && s->places[i].partition != partition) i++;
    if (i == s->place_count) {
        struct place *grown = realloc(s->places, (i + 1) * sizeof *grown);
        if (grown == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a partition");
        s->places = grown;
        s->place_count++;
    }
    s->places[i] = (struct place){partition, next, true};
    return BF_OK;
}

static enum bf_code close_batch(struct source *s, struct bf_err *err) {
    struct reached *r = calloc(1, sizeof *r + s->place_count * sizeof r->tps[0]);

    if (r == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a batch");
    for (size_t i = 0; i < s->place_count; i++) {
        if (!s->places[i].moved) continue;
        r->tps[r->count++] = (struct bf_tp){s->env->settings->from_topic, s->places[i].partition, s->places[i].next};
        s->places[i].moved = false;
    }
    s->gathered = 0;
    return acked_close(s->acked, r, err);
}

/* Commit what is through. */
static enum bf_code commit(struct source *s, bool sync, struct bf_err *err) {
    enum bf_code code = BF_OK;
    struct reached *r;

    s->looked_us = bf_time_monotonic_us();
    while (code == BF_OK && (r = acked_next(s->acked)) != NULL) {
        if (r->count > 0) code = bf_consumer_commit(s->consumer, r->tps, r->count, sync, err);
        free(r);
    }
    if (code != BF_OK) bf_log_err(BF_LOG_WARN, "commit_failed", err, "next=\"read again after a restart\"");
    return BF_OK;
}

/* Everything on its way comes to its end and is committed. */
static enum bf_code settle(struct source *s, bool lost, struct bf_err *err) {
    enum bf_code code = close_batch(s, err);

    publish_drain(s->env->publish);
    if (code == BF_OK && !lost) code = commit(s, true, err);
    if (code == BF_OK && publish_last_failed(s->env->publish, err)) code = err->code = BF_BROKEN;
    s->place_count = 0;
    return code;
}

static enum bf_code on_assigned(void *ctx, struct bf_tp *tps, size_t count, struct bf_err *err) {
    (void)ctx, (void)err;
    for (size_t i = 0; i < count; i++) tps[i].offset = BF_CONSUMER_COMMITTED;
    return BF_OK;
}

static void on_revoked(void *ctx, const struct bf_tp *tps, size_t count, bool lost) {
    struct source *s = ctx;
    struct bf_err err = {0};

    (void)tps, (void)count;
    if (settle(s, lost, &err) != BF_OK) s->broken = err;
}

/* ---- one message ---- */

static void reject(struct source *s, const struct bf_message *msg, const struct bf_err *why) {
    int64_t second = bf_time_monotonic_us() / 1000000;

    atomic_fetch_add(&publish_counts(s->env->publish)->rejected, 1);
    if (second != s->reject_second) {
        s->reject_second = second;
        s->rejects_logged = 0;
    }
    if (s->rejects_logged++ < REJECTS_LOGGED_A_SECOND) {
        bf_log_err(BF_LOG_WARN, "rejected", why, "topic=%s partition=%d offset=%lld", msg->topic, msg->partition, (long long)msg->offset);
    }
    if (s->env->settings->strict) {
        (void)bf_fail(&s->broken, BF_REJECTED, 0, "%s, partition %d, offset %lld: %s", msg->topic, msg->partition, (long long)msg->offset, why->msg);
    }
}

static struct bf_slice header_id(const struct bf_message *msg) {
    for (size_t i = 0; i < msg->header_count; i++) {
        const struct bf_header *h = &msg->headers[i];
        bool named = strcmp(h->name, "event_id") == 0 || strcmp(h->name, "ce_id") == 0;
        if (named && h->value.len > 0 && h->value.len <= SIGNAL_EVENT_ID_MAX) return h->value;
    }
    return BF_SLICE_NONE;
}

static struct signal_origin origin_of(const struct bf_message *msg, char id[BF_UUID_TEXT_LEN + 1]) {
    uint8_t place[12];
    struct bf_slice given = header_id(msg);

    if (given.data == NULL) {
        bf_put_be32(place, (uint32_t)msg->partition);
        bf_put_be64(place + 4, (uint64_t)msg->offset);
        struct bf_uuid made = bf_event_id_derive(bf_slice_str(msg->topic), (struct bf_slice){place, sizeof place}, 0, msg->value);
        bf_uuid_format(id, &made);
        given = (struct bf_slice){id, BF_UUID_TEXT_LEN};
    }
    return (struct signal_origin){given, msg->timestamp_ms >= 0 ? msg->timestamp_ms : 0, msg->offset};
}

static enum bf_code take(struct source *s, const struct bf_message *msg, struct bf_err *err) {
    char id[BF_UUID_TEXT_LEN + 1];
    struct bf_err why = {0};
    const struct signal_origin origin = origin_of(msg, id);
    struct publish_counts *counts = publish_counts(s->env->publish);
    enum bf_code code = msg->value.data == NULL ? bf_fail(&why, BF_INVALID, 0, "it has no value")
                                                : signal_check_text(s->env->check, msg->value, &origin, &s->signal, &why);

    if (code == BF_OK) {
        struct publish_waiter *w = acked_waiter(s->acked);
        if (w == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a batch");
        code = publish_send(s->env->publish, signal_key(&s->signal), signal_value(&s->signal), w, &why);
    }
    if (code == BF_OK) atomic_fetch_add(&counts->accepted, 1);
    else if (code == BF_INVALID) reject(s, msg, &why);
    else *err = why;
    if (code != BF_OK && code != BF_INVALID) return code;
    s->gathered++;
    return note_place(s, msg->partition, msg->offset + 1, err);
}

/* ---- the loop ---- */

static enum bf_code loop(struct source *s, struct bf_err *err) {
    enum bf_code code = BF_OK;
    const struct bf_message *msg;

    while (code == BF_OK && s->broken.code == BF_OK && !bf_stop_requested()) {
        code = bf_consumer_poll(s->consumer, 50, &msg, err);
        if (code == BF_OK) code = take(s, msg, err);
        else if (code == BF_NOT_FOUND || code == BF_AGAIN) code = BF_OK; /* nothing there, or brokers are away and looked for */
        bool due = bf_time_monotonic_us() - s->looked_us >= COMMIT_EVERY_US;
        if (code == BF_OK && s->gathered > 0 && (due || s->gathered >= BATCH_MESSAGES)) code = close_batch(s, err);
        publish_poll(s->env->publish, 0);
        if (code == BF_OK && due) code = commit(s, false, err);
        if (code == BF_OK && publish_last_failed(s->env->publish, err)) code = err->code = BF_BROKEN; /* it is read again by the next run */
    }
    return code;
}

static enum bf_code run(struct source *s, struct bf_err *err) {
    const struct perception_settings *settings = s->env->settings;
    const char *const topics[] = {settings->from_topic, NULL};
    const struct bf_consumer_settings consumer = {.bootstrap = settings->from_bootstrap != NULL ? settings->from_bootstrap : settings->bootstrap,
                                                  .group = settings->group,
                                                  .client_id = "perception",
                                                  .topics = topics,
                                                  .calls = {.assigned = on_assigned, .revoked = on_revoked, .ctx = s}};
    enum bf_code code = acked_new(&s->acked, err);

    if (code == BF_OK) code = bf_consumer_open(&consumer, &s->consumer, err);
    if (code == BF_OK) {
        bf_log(BF_LOG_INFO, "reading", "topic=%s group=%s", settings->from_topic, settings->group);
        code = loop(s, err);
        bf_consumer_close(s->consumer); /* gives the partitions back, which settles */
    }
    publish_drain(s->env->publish);
    acked_free(s->acked);
    if (code == BF_OK && s->broken.code != BF_OK) {
        *err = s->broken;
        code = s->broken.code;
    }
    return code;
}

const struct source_kind source_topic = {.name = "topic", .open = open_source, .run = run, .close = close_source};
