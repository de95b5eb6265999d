/* A rebalance is always answered at once, if need be with nothing, so that membership is kept while a position is not known yet. New positions are set
 * by unassign and assign, never by seek, because a partition that the broker refused stays stopped after a seek. */
#include "bf_kafka_position.h"

#include "bf_time.h"
#include "bf_topics.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_MS 200
#define ASK_TIMEOUT_MS 5000
#define POSITION_RETRIES_MAX 50 /* times RETRY_MS: a broker that has just come up may not know its log's end yet */

void bf_consumer_trouble(struct bf_consumer *c, const struct bf_err *err) {
    if (c->has_trouble && c->trouble.code == BF_BROKEN) return;
    c->trouble = *err;
    c->has_trouble = true;
    if (err->code == BF_BROKEN) c->fatal = true;
}

static void retry_soon(struct bf_consumer *c) {
    if (c->retry_at_us == 0) c->retry_at_us = bf_time_monotonic_us() + RETRY_MS * 1000;
}

void bf_position_retry_at(struct bf_consumer *c, int64_t at_us) {
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

void bf_position_stop(struct bf_consumer *c, struct bf_part *part) {
    struct bf_err err = {0};

    if (part->phase != BF_PART_READING) return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, part->topic, part->partition);
    if (take_error(rd_kafka_incremental_unassign(c->rk, list), "stopping a partition", &err) == BF_BROKEN) bf_consumer_trouble(c, &err);
    rd_kafka_topic_partition_list_destroy(list);
    part->phase = BF_PART_WAITING;
}

void bf_position_read_from(struct bf_consumer *c, struct bf_part *part, int64_t offset) {
    struct bf_err err = {0};

    bf_position_stop(c, part);
    bf_part_position(part, offset);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, part->topic, part->partition)->offset = offset;
    if (begin_reading(c, list, &err) != BF_OK) {
        bf_consumer_trouble(c, &err);
        retry_soon(c);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* ---- positions ---- */

enum bf_code bf_position_ask_watermarks(struct bf_consumer *c, const char *topic, int32_t partition, int timeout_ms, int64_t *low,
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
    enum bf_code code = bf_position_ask_watermarks(c, tp->topic, tp->partition, ASK_TIMEOUT_MS, &low, &high, err);
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

void bf_position_begin_waiting(struct bf_consumer *c, bool answer) {
    struct bf_err err = {0};
    rd_kafka_topic_partition_list_t *known = rd_kafka_topic_partition_list_new(8);
    rd_kafka_topic_partition_list_t *unknown = rd_kafka_topic_partition_list_new(8);

    int64_t now_us = bf_time_monotonic_us();

    c->retry_at_us = 0;
    for (struct bf_part *part = bf_parts_next(&c->parts, NULL); part != NULL; part = bf_parts_next(&c->parts, part)) {
        if (part->phase != BF_PART_WAITING) continue;
        if (part->not_before_us > now_us) {
            bf_position_retry_at(c, part->not_before_us);
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
            bf_consumer_trouble(c, &err);
            retry_soon(c);
        }
    }
    if (known->cnt > 0 || answer) {
        if (begin_reading(c, known, &err) != BF_OK) {
            bf_consumer_trouble(c, &err);
            retry_soon(c);
        }
    }
    rd_kafka_topic_partition_list_destroy(known);
    rd_kafka_topic_partition_list_destroy(unknown);
}

/* False: the caller does not know where to go on. */
static bool cut_back(struct bf_consumer *c, struct bf_part *part, int64_t from, int64_t low, int64_t high) {
    int64_t on = c->cut_back != NULL && from > high ? c->cut_back(c->calls.ctx, part->topic, part->partition, from, low, high) : -1;

    if (on >= 0) bf_position_read_from(c, part, on);
    return on >= 0;
}

void bf_position_refused(struct bf_consumer *c, struct bf_part *part) {
    struct bf_err err = {0};
    int64_t low, high, from = part->expected;

    bf_position_stop(c, part);
    if (bf_position_ask_watermarks(c, part->topic, part->partition, ASK_TIMEOUT_MS, &low, &high, &err) != BF_OK) {
        bf_consumer_trouble(c, &err);
        retry_soon(c);
    } else if (from < low) {
        part->position_retries = 0;
        if (c->calls.lost_range != NULL) c->calls.lost_range(c->calls.ctx, part->topic, part->partition, from, low);
        bf_position_read_from(c, part, low);
    } else if (++part->position_retries > POSITION_RETRIES_MAX && cut_back(c, part, from, low, high)) {
        part->position_retries = 0;
    } else if (part->position_retries > POSITION_RETRIES_MAX) {
        (void)bf_fail(&err, BF_BROKEN, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
                      "%s [%d] has no offset %lld: it goes from %lld to %lld; was the topic made anew or cut back?", part->topic,
                      (int)part->partition, (long long)from, (long long)low, (long long)high);
        bf_consumer_trouble(c, &err);
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
    bf_position_begin_waiting(c, true);
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
    if (take_error(rd_kafka_incremental_unassign(c->rk, reading), "giving partitions back", &err) != BF_OK) bf_consumer_trouble(c, &err);
    rd_kafka_topic_partition_list_destroy(reading);
    free(tps);
}

void bf_position_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t native, rd_kafka_topic_partition_list_t *list, void *opaque) {
    struct bf_consumer *c = opaque;
    struct bf_err err = {0};

    switch (native) {
    case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
        c->was_assigned = true;
        partitions_given(c, list);
        break;
    case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS: partitions_taken(c, list); break;
    default:
        (void)bf_rd_fail(&err, native, "rebalance");
        bf_consumer_trouble(c, &err);
        (void)rd_kafka_assign(rk, NULL);
    }
}
