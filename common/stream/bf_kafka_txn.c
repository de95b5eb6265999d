/* Transactions. The place of a reader-writer is kept as a consumer group's committed offset, which Kafka writes in the same transaction
 * (TxnOffsetCommit, KIP-98): a number in the offset, the rest in its metadata. librdkafka says of each error whether it may be tried again or the
 * transaction must be aborted; what is left is fatal. */
#include "bf_kafka.h"

#include "bf_kafka_rd.h"
#include "bf_time.h"

#include <stdio.h>
#include <string.h>

#define STEP_MS 5000

/* Consumes the error; NULL is fine. */
static enum bf_code txn_fail(rd_kafka_error_t *error, const char *doing, struct bf_err *err) {
    if (error == NULL) return BF_OK;
    rd_kafka_resp_err_t native = rd_kafka_error_code(error);
    enum bf_code code = rd_kafka_error_is_fatal(error) || native == RD_KAFKA_RESP_ERR__FENCED || native == RD_KAFKA_RESP_ERR__STATE ? BF_BROKEN
                        : rd_kafka_error_txn_requires_abort(error)                                                                  ? BF_CANCELLED
                        : rd_kafka_error_is_retriable(error)                                                                        ? BF_AGAIN
                                                                                                                                    : bf_rd_code(native);
    bf_fail(err, code, native, "%s: %s", doing, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return code;
}

static int step_of(int64_t deadline_us) {
    int64_t left_ms = (deadline_us - bf_time_monotonic_us()) / 1000;
    return left_ms < 1 ? 1 : left_ms > STEP_MS ? STEP_MS : (int)left_ms;
}

enum bf_code bf_txn_init(struct bf_producer *p, int timeout_ms, struct bf_err *err) {
    return txn_fail(rd_kafka_init_transactions(bf_rd_of_producer(p), timeout_ms), "beginning to use transactions", err);
}

enum bf_code bf_txn_begin(struct bf_producer *p, struct bf_err *err) {
    return txn_fail(rd_kafka_begin_transaction(bf_rd_of_producer(p)), "beginning a transaction", err);
}

static enum bf_code put_place(struct bf_producer *p, const char *group, const char *topic, int64_t number, const char *note,
                              int64_t deadline_us, struct bf_err *err) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_add(list, topic, 0);
    rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata_new(group);
    enum bf_code code;

    tp->offset = number;
    tp->metadata = strdup(note);
    tp->metadata_size = strlen(note);
    do {
        code = txn_fail(rd_kafka_send_offsets_to_transaction(bf_rd_of_producer(p), list, metadata, step_of(deadline_us)), "putting the place",
                        err);
    } while (code == BF_AGAIN && bf_time_monotonic_us() < deadline_us);
    rd_kafka_consumer_group_metadata_destroy(metadata);
    rd_kafka_topic_partition_list_destroy(list); /* frees the note */
    return code;
}

enum bf_code bf_txn_commit(struct bf_producer *p, const char *group, const char *topic, int64_t number, const char *note, int timeout_ms,
                           struct bf_err *err) {
    int64_t deadline_us = bf_time_monotonic_us() + (int64_t)timeout_ms * 1000;

    bf_assert(strlen(note) <= BF_TXN_NOTE_MAX);
    enum bf_code code = put_place(p, group, topic, number, note, deadline_us, err);
    if (code != BF_OK) return code;
    do {
        code = txn_fail(rd_kafka_commit_transaction(bf_rd_of_producer(p), step_of(deadline_us)), "committing", err);
    } while (code == BF_AGAIN && bf_time_monotonic_us() < deadline_us);
    return code;
}

void bf_txn_abort(struct bf_producer *p, int timeout_ms) {
    int64_t deadline_us = bf_time_monotonic_us() + (int64_t)timeout_ms * 1000;
    struct bf_err ignored; /* then the broker's timeout aborts it, or the next init */

    while (txn_fail(rd_kafka_abort_transaction(bf_rd_of_producer(p), step_of(deadline_us)), "aborting", &ignored) == BF_AGAIN &&
           bf_time_monotonic_us() < deadline_us) {}
}

enum bf_code bf_txn_place(const char *bootstrap, const char *group, const char *topic, int timeout_ms, int64_t *number,
                          char note[BF_TXN_NOTE_MAX + 1], struct bf_err *err) {
    const struct bf_kafka_property properties[] = {{"bootstrap.servers", bootstrap}, {"group.id", group},
                                                   {"isolation.level", "read_committed"}, {NULL, NULL}};
    rd_kafka_conf_t *conf = NULL;
    rd_kafka_t *rk = NULL;
    enum bf_code code = bf_rd_conf(properties, NULL, &conf, err);
    if (code == BF_OK) code = bf_rd_handle(RD_KAFKA_CONSUMER, &conf, &rk, err);
    if (conf != NULL) rd_kafka_conf_destroy(conf);
    if (code != BF_OK) return code;

    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_add(list, topic, 0);
    rd_kafka_resp_err_t native = rd_kafka_committed(rk, list, timeout_ms);
    if (native == RD_KAFKA_RESP_ERR_NO_ERROR) native = tp->err;
    if (native != RD_KAFKA_RESP_ERR_NO_ERROR) {
        code = bf_rd_fail(err, native, "asking for the place of group %s", group);
    } else if (tp->offset < 0) {
        code = bf_fail(err, BF_NOT_FOUND, 0, "group %s has no place in %s", group, topic);
    } else if (tp->metadata_size > BF_TXN_NOTE_MAX) {
        code = bf_fail(err, BF_INVALID, 0, "group %s has a foreign note", group);
    } else {
        *number = tp->offset;
        if (tp->metadata_size > 0) memcpy(note, tp->metadata, tp->metadata_size);
        note[tp->metadata_size] = '\0';
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return code;
}
