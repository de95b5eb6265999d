/* One job. A session: producer, fence, place -> rounds of {page, transaction, place} -> the end. Whatever fails that waiting may cure ends
 * the session, and the next one begins at the place that Kafka has; so does a session of another process after a kill. */
#include "replays_internal.h"

#include "bf_failpoint.h"
#include "bf_log.h"
#include "bf_time.h"
#include "headers_pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUND_EVENTS 2000
#define TELL_US 500000
#define RETRY_MS 1000
#define KAFKA_MS 5000 /* a session that cannot begin is begun again: this is how long a stop may have to wait */
#define COMMIT_MS 15000
#define DELIVERY_MS 30000
#define HEADERS_MAX 80
#define OWN_HEADERS 9
#define NAMES_BYTES_MAX ((size_t)1 << 20)

struct session {
    struct replays *r;
    struct replay_job *job;
    struct event_query q;
    struct bf_producer *producer;
    char topic[BF_TOPIC_MAX + 1], group[80];
    struct event_pos after;
    bool have_after;
    struct event_page page;
    struct bf_buf names;
    int64_t began_us, told_us; /* of this session, monotonic */
    int64_t sent_before;
    bool failed; /* a delivery report said so */
};

static void delivered(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset) {
    struct session *s = ctx;
    (void)opaque;
    (void)err;
    (void)partition;
    (void)offset;
    s->failed = s->failed || code != BF_OK;
}

/* ---- one event ---- */

struct texts {
    char partition[16], offset[24], id[BF_UUID_TEXT_LEN + 1], revision[16], replay[BF_UUID_TEXT_LEN + 1];
    char event_time[BF_TIME_TEXT_LEN + 1], kafka_time[BF_TIME_TEXT_LEN + 1], recorded_at[BF_TIME_TEXT_LEN + 1];
};

static size_t own_headers(const struct session *s, const struct event *ev, struct texts *t, struct bf_header *h) {
    snprintf(t->partition, sizeof t->partition, "%" PRId32, ev->partition);
    snprintf(t->offset, sizeof t->offset, "%" PRId64, ev->offset);
    snprintf(t->revision, sizeof t->revision, "%" PRIu32, ev->revision);
    bf_uuid_format(t->id, &ev->id);
    bf_uuid_format(t->replay, &s->job->id);
    bf_time_format(t->event_time, ev->event_time_us);
    bf_time_format(t->kafka_time, ev->kafka_time_us);
    bf_time_format(t->recorded_at, ev->recorded_at_us);
    const struct bf_header all[OWN_HEADERS] = {
        {"capsule-replay-id", bf_slice_str(t->replay)},
        {"capsule-topic", ev->topic},
        {"capsule-partition", bf_slice_str(t->partition)},
        {"capsule-offset", bf_slice_str(t->offset)},
        {"capsule-event-id", bf_slice_str(t->id)},
        {"capsule-revision", bf_slice_str(t->revision)},
        {"capsule-event-time", bf_slice_str(t->event_time)},
        {"capsule-kafka-time", bf_slice_str(t->kafka_time)},
        {"capsule-recorded-at", bf_slice_str(t->recorded_at)},
    };
    memcpy(h, all, sizeof all);
    return OWN_HEADERS;
}

/* The original's, names copied into s->names. */
static enum bf_code original_headers(struct session *s, const struct event *ev, struct bf_header *h, size_t *count, struct bf_err *err) {
    struct bf_slice name, value;
    size_t at = 0, starts[HEADERS_MAX];
    bf_buf_clear(&s->names);
    *count = 0;
    while (ev->headers.data && *count < HEADERS_MAX && headers_next(ev->headers, &at, &name, &value)) {
        starts[*count] = s->names.len;
        bf_buf_append(&s->names, name.data, name.len);
        bf_buf_putc(&s->names, '\0');
        h[(*count)++].value = value;
    }
    for (size_t i = 0; i < *count && !s->names.failed; i++)
        h[i].name = s->names.data + starts[i];
    return s->names.failed ? bf_fail(err, BF_NOMEM, 0, "no memory for an event's headers") : BF_OK;
}

static enum bf_code send_event(struct session *s, const struct event *ev, struct bf_err *err) {
    struct bf_header headers[HEADERS_MAX + OWN_HEADERS];
    struct texts texts;
    size_t n = 0;
    enum bf_code code = original_headers(s, ev, headers, &n, err);
    if (code != BF_OK)
        return code;
    n += own_headers(s, ev, &texts, headers + n);
    while ((code = bf_producer_send(s->producer, s->topic, s->job->partitions == 1 ? 0 : -1, ev->key, ev->value, headers, n,
                                    ev->kafka_time_us / 1000, NULL, err)) == BF_AGAIN &&
           !s->failed && !replays_stopping(s->r))
        bf_producer_poll(s->producer, 50);
    return code;
}

/* ---- rounds ---- */

static enum bf_code commit(struct session *s, struct bf_err *err) {
    char note[BF_TXN_NOTE_MAX + 1];
    const struct event *last = &s->page.events[s->page.count - 1];
    struct event_pos pos = event_pos_of(last, s->q.order);
    snprintf(note, sizeof note, "%" PRId64 " %" PRId64, pos.primary, pos.recorded_at_us);
    bf_failpoint("replay.before-commit");
    enum bf_code code = bf_txn_commit(s->producer, s->group, s->topic, s->job->sent + (int64_t)s->page.count, note, COMMIT_MS, err);
    bf_failpoint("replay.after-commit");
    if (code != BF_OK)
        return code;
    s->job->sent += (int64_t)s->page.count;
    s->job->place = pos.primary;
    s->job->has_place = true;
    s->after = pos;
    s->have_after = true;
    return BF_OK;
}

static enum bf_code send_page(struct session *s, struct bf_err *err) {
    enum bf_code code = bf_txn_begin(s->producer, err);
    if (code != BF_OK)
        return code;
    s->failed = false;
    for (size_t i = 0; code == BF_OK && i < s->page.count; i++)
        code = send_event(s, &s->page.events[i], err);
    if (code == BF_OK)
        code = commit(s, err);
    if (code != BF_OK && code != BF_BROKEN)
        bf_txn_abort(s->producer, 5000);
    return code;
}

/* At most so many events a round, that a slow rate still says how far it is. */
static size_t round_events(const struct replay_job *job) {
    int64_t half_a_second = job->rate / 2 + 1;
    return job->rate > 0 && half_a_second < ROUND_EVENTS ? (size_t)half_a_second : ROUND_EVENTS;
}

/* Wait until what was sent fits the rate. */
static void keep_rate(struct session *s) {
    while (s->job->rate > 0 && !replays_stopping(s->r)) {
        int64_t due = s->began_us + (int64_t)((double)(s->job->sent - s->sent_before) / (double)s->job->rate * 1e6);
        int64_t left_ms = (due - bf_time_monotonic_us()) / 1000;
        if (left_ms <= 0)
            return;
        bf_sleep_ms(left_ms < 100 ? left_ms : 100);
    }
}

/* BF_CANCELLED: it is not to go on. */
static enum bf_code tell(struct session *s, bool at_once, struct bf_err *err) {
    enum replay_state wanted = REPLAY_RUNNING;
    int64_t now = bf_time_monotonic_us();
    if (!at_once && now - s->told_us < TELL_US)
        return BF_OK;
    enum bf_code code = replays_progress(s->r, s->job, &wanted, err);
    if (code == BF_AGAIN)
        return BF_OK; /* PostgreSQL is away: the place is in Kafka */
    if (code == BF_OK)
        s->told_us = now;
    if (code == BF_NOT_FOUND || (code == BF_OK && wanted != REPLAY_RUNNING))
        return bf_fail(err, BF_CANCELLED, 0, "not to go on");
    return code;
}

static enum bf_code rounds(struct session *s, struct bf_err *err) {
    bool exhausted = false;
    enum bf_code code = tell(s, true, err);
    while (code == BF_OK && !exhausted) {
        if (replays_stopping(s->r))
            return bf_fail(err, BF_CANCELLED, 0, "stopped");
        event_page_clear(&s->page);
        code = store_fetch(s->r->c->store, &s->q, s->have_after ? &s->after : NULL, round_events(s->job), &s->page, &exhausted, err);
        if (code == BF_OK && s->page.count > 0)
            code = send_page(s, err);
        if (code == BF_OK)
            code = tell(s, false, err);
        if (code == BF_OK && !exhausted)
            keep_rate(s);
    }
    return code;
}

/* ---- a session ---- */

static enum bf_code find_place(struct session *s, struct bf_err *err) {
    char note[BF_TXN_NOTE_MAX + 1];
    int64_t sent = 0;
    enum bf_code code = bf_txn_place(s->r->c->settings->bootstrap, s->group, s->topic, KAFKA_MS, &sent, note, err);
    if (code == BF_NOT_FOUND) { /* nothing was committed yet, or it is the embedded broker: then what was last told must do */
        s->after = (struct event_pos){s->job->place, s->q.order == ORDER_RECORDED ? s->job->place : 0};
        s->have_after = s->job->has_place;
        return BF_OK;
    }
    if (code != BF_OK)
        return code;
    if (sscanf(note, "%" SCNd64 " %" SCNd64, &s->after.primary, &s->after.recorded_at_us) != 2)
        return bf_fail(err, BF_INVALID, 0, "the place in Kafka is none of ours: '%s'", note);
    s->have_after = true;
    s->job->sent = sent;
    s->job->place = s->after.primary;
    s->job->has_place = true;
    return BF_OK;
}

static enum bf_code open_session(struct session *s, struct bf_err *err) {
    char id[BF_UUID_TEXT_LEN + 1];
    const char *bootstrap = s->r->c->settings->bootstrap;
    bf_uuid_format(id, &s->job->id);
    snprintf(s->topic, sizeof s->topic, "replay.%s", s->job->name);
    snprintf(s->group, sizeof s->group, "capsule-replay-%s", id);
    const struct bf_producer_settings settings = {.bootstrap = bootstrap, .client_id = "capsule-replay", .linger_ms = 5,
                                                  .delivery_timeout_ms = DELIVERY_MS, .transactional_id = s->group, .delivered = delivered,
                                                  .ctx = s, .extra = "transaction.timeout.ms=60000"};
    enum bf_code code = bf_kafka_create_topic(bootstrap, s->topic, s->job->partitions, INT64_MAX, KAFKA_MS, err); /* old times must not expire */
    if (code != BF_OK && code != BF_EXISTS && code != BF_INVALID) /* INVALID: the embedded broker makes topics when they are asked for */
        return code;
    if ((code = bf_producer_open(&settings, &s->producer, err)) != BF_OK || (code = bf_producer_warm(s->producer, s->topic, KAFKA_MS, err)) != BF_OK)
        return code;
    if ((code = bf_txn_init(s->producer, KAFKA_MS, err)) != BF_OK)
        return code;
    return find_place(s, err); /* after the fence: nobody else can move it any more */
}

static enum bf_code session(struct replays *r, struct replay_job *job, struct bf_err *err) {
    struct session s = {.r = r, .job = job};
    replay_job_query(job, &s.q);
    event_page_init(&s.page);
    bf_buf_init(&s.names, NAMES_BYTES_MAX);
    enum bf_code code = open_session(&s, err);
    s.began_us = bf_time_monotonic_us();
    s.sent_before = job->sent;
    if (code == BF_OK)
        code = rounds(&s, err);
    bf_producer_close(s.producer);
    bf_buf_fini(&s.names);
    event_page_fini(&s.page);
    return code;
}

/* Say how it ended, until somebody hears it. */
static void tell_end(struct replays *r, const struct replay_job *job) {
    struct bf_err err;
    enum replay_state wanted;
    while (replays_progress(r, job, &wanted, &err) == BF_AGAIN && replays_wait(r, RETRY_MS))
        ;
}

void replay_run(struct replays *r, struct replay_job *job) {
    struct bf_err err;
    char id[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(id, &job->id);
    bf_log(BF_LOG_INFO, "replay_begins", "id=%s topic=replay.%s", id, job->name);
    for (;;) {
        enum bf_code code = session(r, job, &err);
        if (code == BF_CANCELLED && err.native == 0)
            break; /* paused, cancelled, taken over, or we stop: whoever said so knows */
        job->detail[0] = '\0';
        if (code == BF_OK) {
            job->state = REPLAY_DONE;
            tell_end(r, job);
            break;
        }
        snprintf(job->detail, sizeof job->detail, "%s", err.msg);
        if (code == BF_INVALID || code == BF_REJECTED) {
            job->state = REPLAY_FAILED;
            tell_end(r, job);
            break;
        }
        bf_log_err(BF_LOG_WARN, "replay_wait", &err, "id=%s sent=%" PRId64 " retry_in_ms=%d", id, job->sent, RETRY_MS);
        enum replay_state wanted = REPLAY_RUNNING;
        code = replays_progress(r, job, &wanted, &err);
        if (code == BF_NOT_FOUND || (code == BF_OK && wanted != REPLAY_RUNNING) || !replays_wait(r, RETRY_MS))
            break;
    }
    bf_log(BF_LOG_INFO, "replay_ends", "id=%s sent=%" PRId64 " state=%s", id, job->sent, replay_state_name(job->state));
}
