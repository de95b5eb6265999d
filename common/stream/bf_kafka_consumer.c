/* The consumer whose offsets live elsewhere. The group gives partitions; where each begins the caller says; what librdkafka then hands
 * over is checked against what is expected (bf_kafka_parts.h), so that a rebalance, a pause or a rewind can neither lose nor repeat.
 *
 * Everything happens on the polling thread: librdkafka calls bf_position_rebalance() and on_error() from inside rd_kafka_consumer_poll(). What
 * they cannot return is kept as `trouble` and returned by the poll. */
#include "bf_kafka.h"

#include "bf_kafka_position.h"
#include "bf_time.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_BYTES_MAX ((size_t)16 << 20)
#define QUEUE_KIB_MAX "16384"
#define LOOK_EVERY_BYTES ((size_t)256 << 10)
#define WAKE_TIMEOUT_MS 200

/* ---- life ---- */

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
    bf_consumer_trouble(c, &err);
}

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
    rd_kafka_conf_set_rebalance_cb(conf, bf_position_rebalance);
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

/* Before 2.3, librdkafka ends the process when a handle is destroyed between the group's answer to its first join and its first assignment (its issue 4312).
 * Nobody can tell whether it is there just now: a handle that never had an assignment leaves the group and then stays until the process ends. */
static bool may_be_destroyed(const struct bf_consumer *c) { return c->was_assigned || rd_kafka_version() >= 0x02030000; }

void bf_consumer_close(struct bf_consumer *c) {
    if (c == NULL) return;
    release_current(c);
    if (c->rk != NULL) {
        if (c->queue != NULL) rd_kafka_queue_destroy(c->queue);
        (void)rd_kafka_consumer_close(c->rk);
        if (may_be_destroyed(c)) rd_kafka_destroy(c->rk);
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
    case BF_PART_READ_AGAIN: bf_position_read_from(c, part, part->expected); return false;
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
        if (part != NULL && part->phase == BF_PART_READING) bf_position_refused(c, part);
        return;
    default:
        (void)bf_fail(&err, bf_rd_code(rkm->err) == BF_BROKEN ? BF_BROKEN : BF_AGAIN, rkm->err, "%s%s%s",
                      topic != NULL ? topic : "", topic != NULL ? ": " : "", rd_kafka_message_errstr(rkm));
        bf_consumer_trouble(c, &err);
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
        if (c->retry_at_us != 0 && bf_time_monotonic_us() >= c->retry_at_us) bf_position_begin_waiting(c, false);
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
        bf_position_read_from(c, part, tps[i].offset);
    }
    return BF_OK;
}

void bf_consumer_later(struct bf_consumer *c, const struct bf_tp *tp, int64_t delay_ms) {
    struct bf_part *part = bf_parts_find(&c->parts, tp->topic, tp->partition);

    if (part == NULL || part->phase == BF_PART_IGNORED || tp->offset < 0) return;
    bf_position_stop(c, part);
    bf_part_position(part, tp->offset);
    part->not_before_us = bf_time_monotonic_us() + delay_ms * 1000;
    bf_position_retry_at(c, part->not_before_us);
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
    enum bf_code code = bf_position_ask_watermarks(c, topic, partition, timeout_ms, &l, &h, err);

    if (code != BF_OK) return code;
    *low = l;
    *high = h;
    return BF_OK;
}

static bool has_topic(const struct rd_kafka_metadata *md, const char *topic) {
    for (int i = 0; i < md->topic_cnt; i++) {
        if (strcmp(md->topics[i].topic, topic) == 0) return true;
    }
    return false;
}

enum bf_code bf_consumer_missing_topics(struct bf_consumer *c, struct bf_slice topics, int timeout_ms, struct bf_buf *missing, struct bf_err *err) {
    const struct rd_kafka_metadata *md = NULL;
    const char *name = topics.data;
    rd_kafka_resp_err_t native = rd_kafka_metadata(c->rk, 1, NULL, &md, timeout_ms); /* all of them: to be asked for by name makes some brokers make it */

    if (native != RD_KAFKA_RESP_ERR_NO_ERROR) return bf_rd_fail(err, native, "the topics of the cluster");
    bf_buf_clear(missing);
    for (size_t left = topics.len, bytes; left > 0; left -= bytes, name += bytes) {
        bytes = strlen(name) + 1;
        if (!has_topic(md, name)) bf_buf_append(missing, name, bytes);
    }
    rd_kafka_metadata_destroy(md);
    return missing->failed ? bf_fail(err, BF_NOMEM, 0, "no memory for names of topics") : BF_OK;
}
