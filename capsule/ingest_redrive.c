/* Quarantined records that somebody wants taken in: each is opened again as it came from Kafka. */
#include "ingest_internal.h"

#include "bf_log.h"
#include "headers_pack.h"
#include "redrive.h"

#include <stdio.h>

/* The record as it came from Kafka; names of headers live in in->redrive_names. */
static void message_of(struct ingest *in, const struct poison *p, const char *topic, struct bf_message *msg) {
    size_t at = 0, n = 0, starts[INGEST_REDRIVE_HEADERS_MAX];
    struct bf_slice name, value;
    bf_buf_clear(&in->redrive_names);
    while (n < INGEST_REDRIVE_HEADERS_MAX && headers_next(p->headers, &at, &name, &value)) {
        starts[n] = in->redrive_names.len;
        bf_buf_append(&in->redrive_names, name.data, name.len);
        bf_buf_putc(&in->redrive_names, '\0');
        in->redrive_headers[n++].value = value;
    }
    for (size_t i = 0; i < n; i++)
        in->redrive_headers[i].name = in->redrive_names.failed ? "" : in->redrive_names.data + starts[i];
    *msg = (struct bf_message){.topic = topic, .partition = p->partition, .offset = p->offset, .timestamp_ms = p->kafka_time_us / 1000,
                               .key = p->key, .value = p->value, .headers = in->redrive_headers, .header_count = n};
}

static enum bf_code open_again(void *ctx, const struct poison *p, const struct event **ev, const struct poison **why, struct bf_err *err) {
    struct ingest *in = ctx;
    struct bf_message msg;
    char topic[BF_TOPIC_MAX + 1];
    snprintf(topic, sizeof topic, "%.*s", (int)p->topic.len, (const char *)p->topic.data);
    struct ingest_partition *part = ingest_find_part(in, topic, p->partition);
    if (!part)
        return bf_fail(err, BF_NOT_FOUND, 0, "%s/%d is not held here", topic, p->partition);
    message_of(in, p, in->topics[part->topic].name, &msg);
    enum bf_code code = envelope_open(&in->envelope, in->topics[part->topic].way, &msg, err);
    *ev = &in->envelope.ev;
    *why = &in->envelope.poison;
    return code;
}

static void count_redriven(void *ctx, const struct poison *p, const struct redrive_outcome *o) {
    static const char *const labels[] = {[REDRIVE_STORED] = "stored", [REDRIVE_REVISION] = "revision", [REDRIVE_DUPLICATE] = "duplicate"};
    struct ingest *in = ctx;
    char topic[BF_TOPIC_MAX + 1];
    snprintf(topic, sizeof topic, "%.*s", (int)p->topic.len, (const char *)p->topic.data);
    bool taken = o->kind >= REDRIVE_STORED && o->kind <= REDRIVE_DUPLICATE;
    bf_log(BF_LOG_INFO, "redrive", "topic=%s partition=%d offset=%lld taken=%d", topic, p->partition, (long long)p->offset, taken);
    if (taken)
        bf_series_add(bf_metrics_series(in->c->metrics, M_RECORDS, topic, labels[o->kind], NULL), 1);
}

void ingest_take_redrive(struct ingest *in) {
    struct bf_err err;
    const struct redrive_calls calls = {open_again, count_redriven, in};
    if (in->row_count > 0 || in->gaps_pending || !in->c->redrive)
        return;
    if (redrive_step(in->c->redrive, in->c->hot, &calls, &err) != BF_OK)
        ingest_fatal(in, "redrive_failed", &err, BF_EXIT_STATE);
}
