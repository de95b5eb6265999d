/* The consumer whose offsets live elsewhere. The group gives partitions; where each begins the caller says; what librdkafka then hands
 * over is checked against what is expected (bf_kafka_parts.h), so that a rebalance, a pause or a rewind can neither lose nor repeat.
 *
 * Everything happens on the polling thread: librdkafka calls on_rebalance() and on_error() from inside rd_kafka_consumer_poll(). What
 * they cannot return is kept as `trouble` and returned by the poll. A rebalance is always answered at once, if need be with nothing,
 * so that membership is kept while a position is not known yet. New positions are set by unassign and assign, never by seek, because a
 * partition that the broker refused stays stopped after a seek. */
#include "bf_kafka.h"

#include "bf_kafka_parts.h"
#include "bf_kafka_rd.h"
#include "bf_time.h"
#include "bf_topics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS 200
#define ASK_TIMEOUT_MS 5000
#define QUEUE_BYTES_MAX ((size_t)16 << 20)
#define QUEUE_KIB_MAX "16384"
#define LOOK_EVERY_BYTES ((size_t)256 << 10)
#define WAKE_TIMEOUT_MS 200
#define POSITION_RETRIES_MAX 50 /* times RETRY_MS: a broker that has just come up may not know its log's end yet */

struct bf_consumer {
    rd_kafka_t *rk;
    struct bf_consumer_calls calls;
    int64_t (*cut_back)(void *ctx, const char *topic, int32_t partition, int64_t from, int64_t low, int64_t high);
    char **topics; /* NULL-ended copy of the subscription */
    struct bf_parts parts;
    bool paused;
    int64_t retry_at_us; /* 0: nothing waits */
    bool fatal, has_trouble;
    struct bf_err trouble;
    rd_kafka_message_t *current; /* behind `view` */
    struct bf_message view;
    struct bf_header *headers;
    size_t headers_max;
    /* See keep_fetching(). */
    rd_kafka_queue_t *queue;
    size_t seen_messages, seen_bytes;
    bool was_full;
};

static void keep_trouble(struct bf_consumer *c, const struct bf_err *err) {
    if (c->has_trouble && c->trouble.code == BF_BROKEN) return;
    c->trouble = *err;
    c->has_trouble = true;
    if (err->code == BF_BROKEN) c->fatal = true;
}

static void retry_soon(struct bf_consumer *c) {
    if (c->retry_at_us == 0) c->retry_at_us = bf_time_monotonic_us() + RETRY_MS * 1000;
}

static void retry_at(struct bf_consumer *c, int64_t at_us) {
    if (c->retry_at_us == 0 || at_us < c->retry_at_us) c->retry_at_us = at_us;
}

/* An exact name is wanted whatever it is; what a pattern found must be a topic of events. */
static bool wanted(const struct bf_consumer *c, const char *topic) {
    for (char **t = c->topics; *t != NULL; t++) {
        if (**t != '^' && strcmp(*t, topic) == 0) return true;
    }
    return bf_topic_is_event(topic);
}

/* ---- telling librdkafka ---- */

static enum bf_code take_error(rd_kafka_error_t *error, const char *what, struct bf_err *err) {
    if (error == NULL) return BF_OK;
    rd_kafka_resp_err_t native = rd_kafka_error_code(error);
    (void)bf_fail(err, rd_kafka_error_is_fatal(error) ? BF_BROKEN : BF_AGAIN, native, "%s: %s", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return err->code;
}

/* Fetch these from the offsets in the list; all of them count as READING then. */
static enum bf_code begin_reading(struct bf_consumer *c, rd_kafka_topic_partition_list_t *list, struct bf_err *err) {
    enum bf_code code = take_error(rd_kafka_incremental_assign(c->rk, list), "taking partitions", err);

    if (code != BF_OK) return code;
    for (int i = 0; i < list->cnt; i++) {
        struct bf_part *part = bf_parts_find(&c->parts, list->elems[i].topic, list->elems[i].partition);
        bf_part_position(part, list->elems[i].offset);
        part->phase = BF_PART_READING;
    }
    if (c->paused && list->cnt > 0) (void)rd_kafka_pause_partitions(c->rk, list);
    return BF_OK;
}

/* Stop fetching and keep `part` WAITING at its expected offset. */
static void stop_reading(struct bf_consumer *c, struct bf_part *part) {
    struct bf_err err = {0};

    if (part->phase != BF_PART_READING) return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, part->topic, part->partition);
    if (take_error(rd_kafka_incremental_unassign(c->rk, list), "stopping a partition", &err) == BF_BROKEN) keep_trouble(c, &err);
    rd_kafka_topic_partition_list_destroy(list);
    part->phase = BF_PART_WAITING;
}

/* Fetch from `offset`, whatever was fetched so far. */
static void read_from(struct bf_consumer *c, struct bf_part *part, int64_t offset) {
    struct bf_err err = {0};

    stop_reading(c, part);
    bf_part_position(part, offset);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, part->topic, part->partition)->offset = offset;
    if (begin_reading(c, list, &err) != BF_OK) {
        keep_trouble(c, &err);
        retry_soon(c);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* ---- positions ---- */

static enum bf_code ask_watermarks(struct bf_consumer *c, const char *topic, int32_t partition, int timeout_ms, int64_t *low,
                                   int64_t *high, struct bf_err *err) {
    rd_kafka_resp_err_t native = rd_kafka_query_watermark_offsets(c->rk, topic, partition, low, high, timeout_ms);

    if (native == RD_KAFKA_RESP_ERR_NO_ERROR) return BF_OK;
    (void)bf_rd_fail(err, native, "watermarks of %s [%d]", topic, (int)partition);
    return err->code = BF_AGAIN;
}

/* The caller may say EARLIEST or COMMITTED: make it an offset. */
static enum bf_code resolve(struct bf_consumer *c, struct bf_tp *tp, int64_t committed, struct bf_err *err) {
    int64_t low, high;

    if (tp->offset >= 0) return BF_OK;
    if (tp->offset == BF_CONSUMER_COMMITTED && committed >= 0) {
        tp->offset = committed;
        return BF_OK;
    }
    enum bf_code code = ask_watermarks(c, tp->topic, tp->partition, ASK_TIMEOUT_MS, &low, &high, err);
    if (code == BF_OK) tp->offset = low;
    return code;
}

/* Learn what the group committed, once for each partition: nobody else commits while we hold it, and later, while the group is joining
 * again, the coordinator's answer would be stuck behind the join. */
static enum bf_code learn_committed(struct bf_consumer *c, const rd_kafka_topic_partition_list_t *list, struct bf_err *err) {
    rd_kafka_resp_err_t native = RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_topic_partition_list_t *unknown = rd_kafka_topic_partition_list_new(list->cnt);

    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *e = &list->elems[i];
        if (bf_parts_find(&c->parts, e->topic, e->partition)->committed != BF_PART_UNKNOWN) continue;
        rd_kafka_topic_partition_list_add(unknown, e->topic, e->partition);
    }
    if (unknown->cnt > 0) native = rd_kafka_committed(c->rk, unknown, ASK_TIMEOUT_MS);
    for (int i = 0; i < unknown->cnt && native == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        const rd_kafka_topic_partition_t *e = &unknown->elems[i];
        bf_parts_find(&c->parts, e->topic, e->partition)->committed = e->offset >= 0 ? e->offset : -1;
    }
    rd_kafka_topic_partition_list_destroy(unknown);
    if (native == RD_KAFKA_RESP_ERR_NO_ERROR) return BF_OK;
    (void)bf_rd_fail(err, native, "committed offsets");
    return err->code = BF_AGAIN;
}

/* Ask the caller where the partitions of `list` begin, and write it into the list. */
static enum bf_code ask_caller(struct bf_consumer *c, rd_kafka_topic_partition_list_t *list, struct bf_err *err) {
    size_t count = (size_t)list->cnt;
    enum bf_code code = learn_committed(c, list, err);
    struct bf_tp *tps = code == BF_OK ? calloc(count, sizeof *tps) : NULL;

    if (code != BF_OK) return code;
    if (tps == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for %zu partitions", count);
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_topic_partition_t *e = &list->elems[i];
        tps[i] = (struct bf_tp){e->topic, e->partition, bf_parts_find(&c->parts, e->topic, e->partition)->committed};
    }
    if (c->calls.assigned != NULL) {
        code = c->calls.assigned(c->calls.ctx, tps, count, err);
    } else {
        for (size_t i = 0; i < count; i++) tps[i].offset = BF_CONSUMER_COMMITTED;
    }
    for (size_t i = 0; i < count && code == BF_OK; i++) {
        code = resolve(c, &tps[i], bf_parts_find(&c->parts, tps[i].topic, tps[i].partition)->committed, err);
        if (code == BF_OK) list->elems[i].offset = tps[i].offset;
    }
    free(tps);
    return code;
}

/* Begin with everything that is WAITING. `answer`: librdkafka waits for our word on a rebalance, so say at least "nothing". */
static void begin_waiting(struct bf_consumer *c, bool answer) {
    struct bf_err err = {0};
    rd_kafka_topic_partition_list_t *known = rd_kafka_topic_partition_list_new(8);
    rd_kafka_topic_partition_list_t *unknown = rd_kafka_topic_partition_list_new(8);

    int64_t now_us = bf_time_monotonic_us();

    c->retry_at_us = 0;
    for (struct bf_part *part = bf_parts_next(&c->parts, NULL); part != NULL; part = bf_parts_next(&c->parts, part)) {
        if (part->phase != BF_PART_WAITING) continue;
        if (part->not_before_us > now_us) {
            retry_at(c, part->not_before_us);
            continue;
        }
        rd_kafka_topic_partition_list_add(part->expected >= 0 ? known : unknown, part->topic, part->partition)->offset =
            part->expected >= 0 ? part->expected : RD_KAFKA_OFFSET_INVALID;
    }
    if (unknown->cnt > 0) {
        enum bf_code code = ask_caller(c, unknown, &err);
        if (code == BF_OK) {
            for (int i = 0; i < unknown->cnt; i++) {
                const rd_kafka_topic_partition_t *e = &unknown->elems[i];
                rd_kafka_topic_partition_list_add(known, e->topic, e->partition)->offset = e->offset;
            }
        } else {
            if (code != BF_AGAIN && code != BF_NOMEM) err.code = BF_BROKEN;
            keep_trouble(c, &err);
            retry_soon(c);
        }
    }
    if (known->cnt > 0 || answer) {
        if (begin_reading(c, known, &err) != BF_OK) {
            keep_trouble(c, &err);
            retry_soon(c);
        }
    }
    rd_kafka_topic_partition_list_destroy(known);
    rd_kafka_topic_partition_list_destroy(unknown);
}

/* False: the caller does not know where to go on. */
static bool cut_back(struct bf_consumer *c, struct bf_part *part, int64_t from, int64_t low, int64_t high) {
    int64_t on = c->cut_back != NULL && from > high ? c->cut_back(c->calls.ctx, part->topic, part->partition, from, low, high) : -1;

    if (on >= 0) read_from(c, part, on);
    return on >= 0;
}

/* The broker does not have `expected`: it is gone (go on after the gap), or not there yet (ask again). */
static void position_refused(struct bf_consumer *c, struct bf_part *part) {
    struct bf_err err = {0};
    int64_t low, high, from = part->expected;

    stop_reading(c, part);
    if (ask_watermarks(c, part->topic, part->partition, ASK_TIMEOUT_MS, &low, &high, &err) != BF_OK) {
        keep_trouble(c, &err);
        retry_soon(c);
    } else if (from < low) {
        part->position_retries = 0;
        if (c->calls.lost_range != NULL) c->calls.lost_range(c->calls.ctx, part->topic, part->partition, from, low);
        read_from(c, part, low);
    } else if (++part->position_retries > POSITION_RETRIES_MAX && cut_back(c, part, from, low, high)) {
        part->position_retries = 0;
    } else if (part->position_retries > POSITION_RETRIES_MAX) {
        (void)bf_fail(&err, BF_BROKEN, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
                      "%s [%d] has no offset %lld: it goes from %lld to %lld; was the topic made anew or cut back?", part->topic,
                      (int)part->partition, (long long)from, (long long)low, (long long)high);
        keep_trouble(c, &err);
    } else {
        retry_soon(c);
    }
}

/* ---- rebalances ---- */

static void partitions_given(struct bf_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *e = &list->elems[i];
        if (bf_parts_find(&c->parts, e->topic, e->partition) != NULL) continue;
        struct bf_part *part = bf_parts_add(&c->parts, e->topic, e->partition);
        bf_assert(part != NULL); /* a few hundred bytes; without them nothing can be kept in order */
        if (!wanted(c, e->topic)) part->phase = BF_PART_IGNORED;
    }
    begin_waiting(c, true);
}

static void partitions_taken(struct bf_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    struct bf_err err = {0};
    bool lost = rd_kafka_assignment_lost(c->rk) != 0;
    size_t told = 0;
    struct bf_tp *tps = calloc((size_t)list->cnt + 1, sizeof *tps);
    rd_kafka_topic_partition_list_t *reading = rd_kafka_topic_partition_list_new(list->cnt);

    bf_assert(tps != NULL);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *e = &list->elems[i];
        struct bf_part *part = bf_parts_find(&c->parts, e->topic, e->partition);
        if (part == NULL) continue;
        if (part->phase == BF_PART_READING) rd_kafka_topic_partition_list_add(reading, e->topic, e->partition);
        if (part->phase != BF_PART_IGNORED && part->expected >= 0) {
            tps[told++] = (struct bf_tp){.topic = e->topic, .partition = e->partition, .offset = part->expected};
        }
        bf_parts_remove(&c->parts, part);
    }
    if (told > 0 && c->calls.revoked != NULL) c->calls.revoked(c->calls.ctx, tps, told, lost);
    if (take_error(rd_kafka_incremental_unassign(c->rk, reading), "giving partitions back", &err) != BF_OK) keep_trouble(c, &err);
    rd_kafka_topic_partition_list_destroy(reading);
    free(tps);
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t native, rd_kafka_topic_partition_list_t *list, void *opaque) {
    struct bf_consumer *c = opaque;
    struct bf_err err = {0};

    switch (native) {
    case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS: partitions_given(c, list); break;
    case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS: partitions_taken(c, list); break;
    default:
        (void)bf_rd_fail(&err, native, "rebalance");
        keep_trouble(c, &err);
        (void)rd_kafka_assign(rk, NULL);
    }
}

static void on_error(rd_kafka_t *rk, int native, const char *reason, void *opaque) {
    struct bf_consumer *c = opaque;
    struct bf_err err = {0};
    char text[BF_KAFKA_NATIVE_TEXT_MAX] = "";

    if (native == RD_KAFKA_RESP_ERR__FATAL) {
        rd_kafka_resp_err_t cause = rd_kafka_fatal_error(rk, text, sizeof text);
        (void)bf_fail(&err, BF_BROKEN, cause, "the consumer cannot go on: %s", text);
    } else if (native == RD_KAFKA_RESP_ERR__TRANSPORT) {
        return; /* one of several brokers: _ALL_BROKERS_DOWN follows when it was the last */
    } else {
        (void)bf_fail(&err, BF_AGAIN, native, "%s", reason);
    }
    keep_trouble(c, &err);
}

/* ---- life ---- */

static enum bf_code copy_topics(struct bf_consumer *c, const char *const *topics, struct bf_err *err) {
    size_t count = 0;

    while (topics[count] != NULL) count++;
    c->topics = calloc(count + 1, sizeof *c->topics);
    for (size_t i = 0; c->topics != NULL && i < count; i++) {
        if ((c->topics[i] = strdup(topics[i])) == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for topic names");
    }
    return c->topics != NULL ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for topic names");
}

static enum bf_code subscribe(struct bf_consumer *c, struct bf_err *err) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(4);

    for (char **t = c->topics; *t != NULL; t++) rd_kafka_topic_partition_list_add(list, *t, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t native = rd_kafka_subscribe(c->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return native == RD_KAFKA_RESP_ERR_NO_ERROR ? BF_OK : bf_rd_fail(err, native, "subscribing");
}

static enum bf_code make_conf(const struct bf_consumer_settings *settings, rd_kafka_conf_t **out, struct bf_err *err) {
    const struct bf_kafka_property properties[] = {
        {"bootstrap.servers", settings->bootstrap},
        {"group.id", settings->group},
        {"client.id", settings->client_id},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "error"}, /* so that a range that retention deleted is seen */
        {"enable.partition.eof", "true"},
        {"check.crcs", "true"},
        {"partition.assignment.strategy", "cooperative-sticky"},
        /* How long a killed member's partitions stay with it; heartbeats have a thread of their own. The mock cluster also waits
         * that long, less a second, in every rebalance. */
        {"session.timeout.ms", "6000"},
        {"heartbeat.interval.ms", "1500"},
        {"topic.metadata.refresh.interval.ms", "5000"}, /* new topics of a pattern */
        {"allow.auto.create.topics", "false"},
        {"statistics.interval.ms", "10000"}, /* only with it is the low watermark kept */
        {"queued.max.messages.kbytes", QUEUE_KIB_MAX},
        {"queued.min.messages", "1000000"},
        {"fetch.wait.max.ms", "10"},
        {"fetch.error.backoff.ms", "0"},
        {"message.max.bytes", BF_KAFKA_MESSAGE_BYTES_MAX},
        {"socket.nagle.disable", "true"},
        {NULL, NULL},
    };
    if (settings->extra != NULL && strstr(settings->extra, "partition.assignment.strategy") != NULL) {
        return bf_fail(err, BF_INVALID, 0, "partition.assignment.strategy is cooperative-sticky, not settable");
    }
    return bf_rd_conf(properties, settings->extra, out, err);
}

enum bf_code bf_consumer_open(const struct bf_consumer_settings *settings, struct bf_consumer **out, struct bf_err *err) {
    rd_kafka_conf_t *conf = NULL;
    enum bf_code code;
    struct bf_consumer *c = calloc(1, sizeof *c);

    if (c == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a consumer");
    c->calls = settings->calls;
    c->cut_back = settings->cut_back;
    code = copy_topics(c, settings->topics, err);
    if (code == BF_OK) code = make_conf(settings, &conf, err);
    if (code != BF_OK) goto done;
    rd_kafka_conf_set_opaque(conf, c);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_error_cb(conf, on_error);
    code = bf_rd_handle(RD_KAFKA_CONSUMER, &conf, &c->rk, err);
    if (code != BF_OK) goto done;
    (void)rd_kafka_poll_set_consumer(c->rk);
    c->queue = rd_kafka_queue_get_consumer(c->rk);
    code = subscribe(c, err);
    if (code != BF_OK) goto done;
    *out = c;
    c = NULL;
done:
    if (conf != NULL) rd_kafka_conf_destroy(conf);
    bf_consumer_close(c);
    return code;
}

static void release_current(struct bf_consumer *c) {
    if (c->current != NULL) rd_kafka_message_destroy(c->current);
    c->current = NULL;
}

void bf_consumer_close(struct bf_consumer *c) {
    if (c == NULL) return;
    release_current(c);
    if (c->rk != NULL) {
        if (c->queue != NULL) rd_kafka_queue_destroy(c->queue);
        (void)rd_kafka_consumer_close(c->rk);
        rd_kafka_destroy(c->rk);
    }
    for (char **t = c->topics; t != NULL && *t != NULL; t++) free(*t);
    free(c->topics);
    free(c->headers);
    bf_parts_clear(&c->parts);
    free(c);
}

/* ---- keeping the local queue filled ---- */

/* A full local queue stops librdkafka's fetching, and its broker thread then sleeps for up to a second whatever is taken out of the queue
 * meanwhile, unless something arrives for it. So once it was full and little is left, it is asked something small. That allows a queue of
 * a tenth of a second's peak traffic in place of more than one second's. */
static void keep_fetching(struct bf_consumer *c, const struct bf_part *part, size_t message_bytes) {
    int64_t low, high;

    c->seen_messages++;
    if ((c->seen_bytes += message_bytes) < LOOK_EVERY_BYTES) return;
    size_t queued_bytes = rd_kafka_queue_length(c->queue) * (c->seen_bytes / c->seen_messages);
    c->seen_bytes = c->seen_messages = 0;
    if (queued_bytes > QUEUE_BYTES_MAX / 4 * 3) c->was_full = true;
    if (!c->was_full || queued_bytes > QUEUE_BYTES_MAX / 4 || c->paused) return;
    c->was_full = false;
    (void)rd_kafka_query_watermark_offsets(c->rk, part->topic, part->partition, &low, &high, WAKE_TIMEOUT_MS);
}

/* ---- messages ---- */

static enum bf_code view_headers(struct bf_consumer *c, rd_kafka_message_t *rkm, struct bf_err *err) {
    rd_kafka_headers_t *headers = NULL;

    c->view.headers = NULL;
    c->view.header_count = 0;
    if (rd_kafka_message_headers(rkm, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return BF_OK;
    size_t count = rd_kafka_header_cnt(headers);
    if (count > c->headers_max) {
        struct bf_header *grown = realloc(c->headers, count * sizeof *grown);
        if (grown == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for %zu headers", count);
        c->headers = grown;
        c->headers_max = count;
    }
    for (size_t i = 0; i < count; i++) {
        struct bf_header *h = &c->headers[i];
        (void)rd_kafka_header_get_all(headers, i, &h->name, &h->value.data, &h->value.len);
    }
    c->view.headers = c->headers;
    c->view.header_count = count;
    return BF_OK;
}

static enum bf_code view_message(struct bf_consumer *c, rd_kafka_message_t *rkm, struct bf_err *err) {
    rd_kafka_timestamp_type_t type;

    c->view.topic = rd_kafka_topic_name(rkm->rkt);
    c->view.partition = rkm->partition;
    c->view.offset = rkm->offset;
    c->view.timestamp_ms = rd_kafka_message_timestamp(rkm, &type);
    c->view.key = (struct bf_slice){rkm->key, rkm->key_len};
    c->view.value = (struct bf_slice){rkm->payload, rkm->len};
    return view_headers(c, rkm, err);
}

/* Messages and ends of partitions alike: does it count? Sets what is expected next. */
static bool admits(struct bf_consumer *c, const rd_kafka_message_t *rkm, int64_t expected_next) {
    struct bf_part *part = bf_parts_find(&c->parts, rd_kafka_topic_name(rkm->rkt), rkm->partition);

    if (part == NULL) return false;
    switch (bf_part_judge(part, rkm->offset)) {
    case BF_PART_STALE: return false;
    case BF_PART_READ_AGAIN: read_from(c, part, part->expected); return false;
    case BF_PART_TAKE:
        part->expected = expected_next;
        keep_fetching(c, part, rkm->len + rkm->key_len);
        return true;
    }
    return false;
}

/* What is no message: the end of a partition, a refused position, an error. */
static void handle_event(struct bf_consumer *c, const rd_kafka_message_t *rkm) {
    struct bf_err err = {0};
    const char *topic = rkm->rkt != NULL ? rd_kafka_topic_name(rkm->rkt) : NULL;
    struct bf_part *part = topic != NULL ? bf_parts_find(&c->parts, topic, rkm->partition) : NULL;

    switch (rkm->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if (part != NULL && admits(c, rkm, rkm->offset) && c->calls.reached_end != NULL) {
            c->calls.reached_end(c->calls.ctx, topic, rkm->partition, rkm->offset);
        }
        return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (part != NULL && part->phase == BF_PART_READING) position_refused(c, part);
        return;
    default:
        (void)bf_fail(&err, bf_rd_code(rkm->err) == BF_BROKEN ? BF_BROKEN : BF_AGAIN, rkm->err, "%s%s%s",
                      topic != NULL ? topic : "", topic != NULL ? ": " : "", rd_kafka_message_errstr(rkm));
        keep_trouble(c, &err);
    }
}

static int wait_ms(const struct bf_consumer *c, int64_t deadline_us) {
    int64_t now_us = bf_time_monotonic_us(), until_us = deadline_us;

    if (c->retry_at_us != 0 && c->retry_at_us < until_us) until_us = c->retry_at_us;
    return until_us > now_us ? (int)((until_us - now_us + 999) / 1000) : 0;
}

enum bf_code bf_consumer_poll(struct bf_consumer *c, int timeout_ms, const struct bf_message **out, struct bf_err *err) {
    int64_t deadline_us = INT64_MIN; /* not reckoned yet: under load the next message is there, and the clock is not asked for it */

    release_current(c);
    for (;;) {
        if (c->retry_at_us != 0 && bf_time_monotonic_us() >= c->retry_at_us) begin_waiting(c, false);
        if (c->has_trouble) {
            c->has_trouble = c->fatal; /* a fatal one stays */
            *err = c->trouble;
            return err->code;
        }
        rd_kafka_message_t *rkm = rd_kafka_consumer_poll(c->rk, deadline_us == INT64_MIN ? 0 : wait_ms(c, deadline_us));
        if (rkm == NULL && deadline_us == INT64_MIN) {
            deadline_us = bf_time_monotonic_us() + (int64_t)timeout_ms * 1000;
            if (timeout_ms > 0) continue;
        }
        if (rkm == NULL) {
            if (!c->has_trouble && bf_time_monotonic_us() >= deadline_us) return bf_fail(err, BF_NOT_FOUND, 0, "no message");
            continue;
        }
        if (rkm->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            handle_event(c, rkm);
        } else if (admits(c, rkm, rkm->offset + 1)) {
            c->current = rkm;
            enum bf_code code = view_message(c, rkm, err);
            if (code == BF_OK) *out = &c->view;
            return code;
        }
        rd_kafka_message_destroy(rkm);
    }
}

/* ---- what the caller asks for ---- */

static rd_kafka_topic_partition_list_t *reading_list(struct bf_consumer *c) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)c->parts.count);

    for (struct bf_part *part = bf_parts_next(&c->parts, NULL); part != NULL; part = bf_parts_next(&c->parts, part)) {
        if (part->phase == BF_PART_READING) rd_kafka_topic_partition_list_add(list, part->topic, part->partition);
    }
    return list;
}

enum bf_code bf_consumer_pause(struct bf_consumer *c, struct bf_err *err) {
    rd_kafka_topic_partition_list_t *list = reading_list(c);
    rd_kafka_resp_err_t native = rd_kafka_pause_partitions(c->rk, list);

    rd_kafka_topic_partition_list_destroy(list);
    c->paused = true;
    return native == RD_KAFKA_RESP_ERR_NO_ERROR ? BF_OK : bf_rd_fail(err, native, "pausing");
}

enum bf_code bf_consumer_resume(struct bf_consumer *c, struct bf_err *err) {
    rd_kafka_topic_partition_list_t *list = reading_list(c);
    rd_kafka_resp_err_t native = rd_kafka_resume_partitions(c->rk, list);

    rd_kafka_topic_partition_list_destroy(list);
    c->paused = false;
    for (struct bf_part *part = bf_parts_next(&c->parts, NULL); part != NULL; part = bf_parts_next(&c->parts, part)) {
        part->unproven = true;
    }
    return native == RD_KAFKA_RESP_ERR_NO_ERROR ? BF_OK : bf_rd_fail(err, native, "resuming");
}

enum bf_code bf_consumer_rewind(struct bf_consumer *c, const struct bf_tp *tps, size_t count, struct bf_err *err) {
    for (size_t i = 0; i < count; i++) {
        struct bf_part *part = bf_parts_find(&c->parts, tps[i].topic, tps[i].partition);
        if (tps[i].offset < 0) return bf_fail(err, BF_INVALID, 0, "%s [%d]: no offset", tps[i].topic, (int)tps[i].partition);
        if (part == NULL || part->phase == BF_PART_IGNORED || part->expected < 0) continue; /* taken, or asked for anyway */
        part->position_retries = 0;
        read_from(c, part, tps[i].offset);
    }
    return BF_OK;
}

void bf_consumer_later(struct bf_consumer *c, const struct bf_tp *tp, int64_t delay_ms) {
    struct bf_part *part = bf_parts_find(&c->parts, tp->topic, tp->partition);

    if (part == NULL || part->phase == BF_PART_IGNORED || tp->offset < 0) return;
    stop_reading(c, part);
    bf_part_position(part, tp->offset);
    part->not_before_us = bf_time_monotonic_us() + delay_ms * 1000;
    retry_at(c, part->not_before_us);
}

enum bf_code bf_consumer_commit(struct bf_consumer *c, const struct bf_tp *tps, size_t count, bool sync, struct bf_err *err) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);

    for (size_t i = 0; i < count; i++) {
        rd_kafka_topic_partition_list_add(list, tps[i].topic, tps[i].partition)->offset = tps[i].offset;
    }
    rd_kafka_resp_err_t native = rd_kafka_commit(c->rk, list, sync ? 0 : 1);
    for (int i = 0; sync && i < list->cnt && native == RD_KAFKA_RESP_ERR_NO_ERROR; i++) native = list->elems[i].err;
    rd_kafka_topic_partition_list_destroy(list);
    if (native == RD_KAFKA_RESP_ERR_NO_ERROR || native == RD_KAFKA_RESP_ERR__NO_OFFSET) return BF_OK;
    return bf_rd_fail(err, native, "committing offsets");
}

bool bf_consumer_watermarks(struct bf_consumer *c, const char *topic, int32_t partition, int64_t *low, int64_t *high) {
    int64_t l, h;

    if (rd_kafka_get_watermark_offsets(c->rk, topic, partition, &l, &h) != RD_KAFKA_RESP_ERR_NO_ERROR || h < 0) return false;
    *low = l >= 0 ? l : -1;
    *high = h;
    return true;
}

enum bf_code bf_consumer_query_watermarks(struct bf_consumer *c, const char *topic, int32_t partition, int timeout_ms, int64_t *low,
                                          int64_t *high, struct bf_err *err) {
    int64_t l, h;
    enum bf_code code = ask_watermarks(c, topic, partition, timeout_ms, &l, &h, err);

    if (code != BF_OK) return code;
    *low = l;
    *high = h;
    return BF_OK;
}

enum bf_code bf_consumer_cluster_id(struct bf_consumer *c, int timeout_ms, char **out, struct bf_err *err) {
    char *id = rd_kafka_clusterid(c->rk, timeout_ms);

    if (id == NULL) return bf_fail(err, BF_AGAIN, RD_KAFKA_RESP_ERR__TIMED_OUT, "the cluster does not say its id");
    *out = strdup(id);
    rd_kafka_mem_free(c->rk, id);
    return *out != NULL ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for a cluster id");
}
