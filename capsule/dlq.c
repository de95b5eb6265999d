/* The quarantine index is the queue; the note "dlq_through" says how far it was acknowledged. One page at a time: send, flush, note. A record that Kafka refuses
 * for its size goes out without its value, and says so. */
#include "dlq.h"

#include "bf_cond.h"
#include "bf_failpoint.h"
#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "headers_pack.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTE_THROUGH "dlq_through"
#define PAGE 64
#define FLUSH_MS 10000
#define LAST_FLUSH_MS 3000
#define HEADERS_MAX 80
#define CONNECT_HEADERS 9

struct dlq {
    struct capsule *c;
    struct bf_producer *producer;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool awake, stopping;    /* under lock */
    int64_t again_us;        /* under lock; 0: nothing to be published again */
    size_t failed, too_large; /* of the page in flight; the sending thread only */
    bool without_value[PAGE];
};

static void delivered(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset) {
    struct dlq *d = ctx;
    (void)partition;
    (void)offset;
    if (code == BF_OK)
        return;
    size_t index = (size_t)(uintptr_t)opaque;
    d->failed++;
    if (code == BF_REJECTED || code == BF_INVALID) {
        d->without_value[index] = true;
        d->too_large++;
    }
    bf_log_err(BF_LOG_WARN, "dlq_refused", err, "action=%s", code == BF_AGAIN ? "retry" : "\"send without value\"");
}

/* Text headers live in `text` until the send copied them. */
struct connect_texts {
    char partition[16], offset[24], class[48], message[1100];
};

static size_t connect_headers(const struct poison *p, const char *topic, bool no_value, struct connect_texts *t, struct bf_header *h) {
    snprintf(t->partition, sizeof t->partition, "%d", p->partition);
    snprintf(t->offset, sizeof t->offset, "%lld", (long long)p->offset);
    snprintf(t->class, sizeof t->class, "capsule.%s", poison_reason_name(p->reason));
    snprintf(t->message, sizeof t->message, "%.*s%s", (int)(p->detail.len < 1000 ? p->detail.len : 1000),
             p->detail.data ? (const char *)p->detail.data : "", no_value ? " (value left out: too large for this topic)" : "");
    const struct bf_header all[CONNECT_HEADERS] = {
        {"__connect.errors.topic", bf_slice_str(topic)},
        {"__connect.errors.partition", bf_slice_str(t->partition)},
        {"__connect.errors.offset", bf_slice_str(t->offset)},
        {"__connect.errors.connector.name", bf_slice_str("capsule")},
        {"__connect.errors.task.id", bf_slice_str("0")},
        {"__connect.errors.stage", bf_slice_str(p->reason == POISON_NODE_ID ? "KEY_CONVERTER" : "VALUE_CONVERTER")},
        {"__connect.errors.class.name", bf_slice_str("capsule.ingest")},
        {"__connect.errors.exception.class.name", bf_slice_str(t->class)},
        {"__connect.errors.exception.message", bf_slice_str(t->message)},
    };
    memcpy(h, all, sizeof all);
    return CONNECT_HEADERS;
}

/* The record's own headers, names copied into `names`. */
static size_t own_headers(const struct poison *p, struct bf_header *h, size_t max, struct bf_buf *names) {
    size_t at = 0, n = 0;
    struct bf_slice name, value;
    size_t starts[HEADERS_MAX];
    while (n < max && headers_next(p->headers, &at, &name, &value)) {
        starts[n] = names->len;
        bf_buf_append(names, name.data, name.len);
        bf_buf_putc(names, '\0');
        h[n++].value = value;
    }
    for (size_t i = 0; i < n && !names->failed; i++)
        h[i].name = names->data + starts[i];
    return names->failed ? 0 : n;
}

static enum bf_code send_one(struct dlq *d, const struct poison *p, size_t index, struct bf_err *err) {
    char topic[256], letter_topic[270];
    struct bf_header headers[HEADERS_MAX + CONNECT_HEADERS];
    struct connect_texts texts;
    struct bf_buf names;
    bf_buf_init(&names, 1u << 20);
    snprintf(topic, sizeof topic, "%.*s", (int)p->topic.len, (const char *)p->topic.data);
    snprintf(letter_topic, sizeof letter_topic, "%s.dlq", topic);
    bool no_value = d->without_value[index];
    size_t n = own_headers(p, headers, HEADERS_MAX, &names);
    n += connect_headers(p, topic, no_value, &texts, headers + n);
    enum bf_code code;
    while ((code = bf_producer_send(d->producer, letter_topic, -1, p->key, no_value ? BF_SLICE_NONE : p->value, headers, n, 0,
                                    (void *)(uintptr_t)index, err)) == BF_AGAIN &&
           !bf_stop_requested())
        bf_producer_poll(d->producer, 100);
    bf_buf_fini(&names);
    if ((code == BF_INVALID || code == BF_REJECTED) && !no_value) { /* refused on the spot */
        d->without_value[index] = true;
        d->too_large++;
        return BF_OK;
    }
    return code;
}

/* Send a page until all of it is acknowledged. */
static enum bf_code send_page(struct dlq *d, const struct poison *page, size_t count, int flush_ms, struct bf_err *err) {
    memset(d->without_value, 0, sizeof d->without_value);
    for (int round = 0; round < 3; round++) {
        d->failed = d->too_large = 0;
        enum bf_code code = BF_OK;
        for (size_t i = 0; code == BF_OK && i < count; i++)
            if (round == 0 || d->without_value[i])
                code = send_one(d, &page[i], i, err);
        if (code == BF_OK)
            code = bf_producer_flush(d->producer, flush_ms, err);
        if (code != BF_OK)
            return code;
        if (d->failed > d->too_large)
            return bf_fail(err, BF_AGAIN, 0, "%zu dead letters were not taken", d->failed);
        if (d->too_large == 0)
            return BF_OK;
    }
    return bf_fail(err, BF_REJECTED, 0, "dead letters are refused even without their values");
}

/* Where to go on: usually the note; or what appeared before it. */
static int64_t begin_after(struct dlq *d) {
    int64_t through = hot_note_get(d->c->hot, NOTE_THROUGH, 0);
    pthread_mutex_lock(&d->lock);
    if (d->again_us > 0 && d->again_us <= through)
        hot_note_set(d->c->hot, NOTE_THROUGH, through = d->again_us - 1);
    d->again_us = 0;
    pthread_mutex_unlock(&d->lock);
    return through;
}

static enum bf_code publish(struct dlq *d, int flush_ms, bool *more, struct bf_err *err) {
    struct poison_query q;
    struct poison *page = NULL;
    size_t count = 0;
    int64_t hot_from;
    poison_query_init(&q);
    q.after_us = begin_after(d);
    enum bf_code code = hot_quarantine(d->c->hot, &q, PAGE, &page, &count, &hot_from, err);
    *more = count == PAGE;
    if (code == BF_OK && count > 0) {
        bf_failpoint("dlq.before-send");
        code = send_page(d, page, count, flush_ms, err);
        bf_failpoint("dlq.after-send");
    }
    if (code == BF_OK && count > 0) {
        hot_note_set(d->c->hot, NOTE_THROUGH, page[count - 1].recorded_at_us);
        for (size_t i = 0; i < count; i++) {
            char topic[256];
            snprintf(topic, sizeof topic, "%.*s", (int)page[i].topic.len, (const char *)page[i].topic.data);
            bf_series_add(bf_metrics_series(d->c->metrics, M_DLQ, topic, NULL, NULL), 1);
        }
    }
    poison_free(page, count);
    return code;
}

static bool wait_for_work(struct dlq *d, int ms) {
    struct timespec until = bf_cond_in_ms(ms);
    pthread_mutex_lock(&d->lock);
    while (!d->awake && !d->stopping && bf_cond_wait_until(&d->wake, &d->lock, &until))
        ;
    d->awake = false;
    bool go_on = !d->stopping;
    pthread_mutex_unlock(&d->lock);
    return go_on;
}

static void *run(void *arg) {
    struct dlq *d = arg;
    struct bf_err err;
    bool more = true, waiting = false;
    while (more || wait_for_work(d, 1000)) {
        enum bf_code code = publish(d, FLUSH_MS, &more, &err);
        if (code != BF_OK) {
            more = false;
            if (!waiting)
                bf_log_err(BF_LOG_WARN, "dlq_wait", &err, "retry_in_ms=1000");
        }
        waiting = code != BF_OK;
        if (bf_stop_requested())
            more = false;
    }
    if (publish(d, LAST_FLUSH_MS, &more, &err) != BF_OK)
        bf_log_err(BF_LOG_WARN, "dlq_left", &err, "what=\"published at the next start\"");
    return NULL;
}

enum bf_code dlq_start(struct capsule *c, struct dlq **out, struct bf_err *err) {
    struct dlq *d = calloc(1, sizeof *d);
    if (!d)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the dead letters");
    d->c = c;
    const struct bf_producer_settings settings = {.bootstrap = c->settings->bootstrap, .client_id = "capsule-dlq", .linger_ms = 5,
                                                  .delivered = delivered, .ctx = d};
    enum bf_code code = bf_producer_open(&settings, &d->producer, err);
    if (code != BF_OK) {
        free(d);
        return code;
    }
    pthread_mutex_init(&d->lock, NULL);
    bf_cond_init(&d->wake);
    if (pthread_create(&d->thread, NULL, run, d) != 0) {
        bf_producer_close(d->producer);
        free(d);
        return bf_fail(err, BF_NOMEM, 0, "the dead letter thread did not start");
    }
    *out = d;
    return BF_OK;
}

void dlq_wake(struct dlq *d) {
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->awake = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
}

void dlq_again_from(struct dlq *d, int64_t recorded_at_us) {
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    if (d->again_us == 0 || recorded_at_us < d->again_us)
        d->again_us = recorded_at_us;
    d->awake = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
}

void dlq_stop(struct dlq *d) {
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    bf_producer_close(d->producer);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->wake);
    free(d);
}
