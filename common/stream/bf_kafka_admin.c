/* What is asked of a cluster without producing or consuming: topics, presence, another group's offsets. And the mock cluster. */
#include "bf_kafka.h"

#include "bf_kafka_rd.h"
#include "bf_time.h"

#include <librdkafka/rdkafka_mock.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum bf_code open_handle(rd_kafka_type_t type, const char *bootstrap, const char *group, rd_kafka_t **out,
                                struct bf_err *err) {
    rd_kafka_conf_t *conf = NULL;
    const struct bf_kafka_property properties[] = {
        {"bootstrap.servers", bootstrap}, {"group.id", group}, {"socket.nagle.disable", "true"}, {NULL, NULL}};
    enum bf_code code = bf_rd_conf(properties, NULL, &conf, err);

    if (code == BF_OK) code = bf_rd_handle(type, &conf, out, err);
    if (conf != NULL) rd_kafka_conf_destroy(conf);
    return code;
}

/* ---- topics ---- */

static enum bf_code create_result(rd_kafka_event_t *event, const char *topic, struct bf_err *err) {
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    rd_kafka_resp_err_t native = rd_kafka_event_error(event);
    size_t count = 0;

    if (native == RD_KAFKA_RESP_ERR_NO_ERROR && result != NULL) {
        const rd_kafka_topic_result_t **topics = rd_kafka_CreateTopics_result_topics(result, &count);
        if (count > 0) native = rd_kafka_topic_result_error(topics[0]);
    }
    return native == RD_KAFKA_RESP_ERR_NO_ERROR ? BF_OK : bf_rd_fail(err, native, "creating topic %s", topic);
}

static enum bf_code new_topic(const char *topic, int partitions, int64_t retention_ms, rd_kafka_NewTopic_t **out, struct bf_err *err) {
    char text[BF_KAFKA_NATIVE_TEXT_MAX] = "", retention[24];
    rd_kafka_NewTopic_t *made = rd_kafka_NewTopic_new(topic, partitions, -1, text, sizeof text);

    if (made == NULL) return bf_fail(err, BF_INVALID, RD_KAFKA_RESP_ERR__INVALID_ARG, "topic %s: %s", topic, text);
    if (retention_ms > 0) {
        snprintf(retention, sizeof retention, "%lld", (long long)retention_ms);
        (void)rd_kafka_NewTopic_set_config(made, "retention.ms", retention);
    }
    *out = made;
    return BF_OK;
}

/* The mock cluster has no admin API, and librdkafka would wait for a controller until the timeout. */
static enum bf_code refuse_mock(rd_kafka_t *rk, const char *topic, int timeout_ms, struct bf_err *err) {
    char *id = rd_kafka_clusterid(rk, timeout_ms);

    if (id == NULL) return bf_rd_fail(err, RD_KAFKA_RESP_ERR__TIMED_OUT, "creating topic %s", topic);
    bool mock = bf_kafka_is_mock_cluster(id);
    rd_kafka_mem_free(rk, id);
    return mock ? bf_rd_fail(err, RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, "creating topic %s at the embedded broker", topic) : BF_OK;
}

enum bf_code bf_kafka_create_topic(const char *bootstrap, const char *topic, int partitions, int64_t retention_ms, int timeout_ms,
                                   struct bf_err *err) {
    rd_kafka_t *rk = NULL;
    rd_kafka_queue_t *queue = NULL;
    rd_kafka_NewTopic_t *made = NULL;
    rd_kafka_AdminOptions_t *options = NULL;
    rd_kafka_event_t *event = NULL;
    char text[BF_KAFKA_NATIVE_TEXT_MAX];
    enum bf_code code = open_handle(RD_KAFKA_PRODUCER, bootstrap, NULL, &rk, err);

    if (code == BF_OK) code = refuse_mock(rk, topic, timeout_ms, err);
    if (code == BF_OK) code = new_topic(topic, partitions, retention_ms, &made, err);
    if (code != BF_OK) goto done;
    queue = rd_kafka_queue_new(rk);
    options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, text, sizeof text);
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, timeout_ms, text, sizeof text);
    rd_kafka_CreateTopics(rk, &made, 1, options, queue);
    event = rd_kafka_queue_poll(queue, timeout_ms + 1000);
    code = event != NULL ? create_result(event, topic, err)
                         : bf_rd_fail(err, RD_KAFKA_RESP_ERR__TIMED_OUT, "creating topic %s", topic);
done:
    if (event != NULL) rd_kafka_event_destroy(event);
    if (options != NULL) rd_kafka_AdminOptions_destroy(options);
    if (made != NULL) rd_kafka_NewTopic_destroy(made);
    if (queue != NULL) rd_kafka_queue_destroy(queue);
    if (rk != NULL) rd_kafka_destroy(rk);
    return code;
}

enum bf_code bf_kafka_ping(const char *bootstrap, int timeout_ms, struct bf_err *err) {
    rd_kafka_t *rk = NULL;
    const struct rd_kafka_metadata *md = NULL;
    enum bf_code code = open_handle(RD_KAFKA_PRODUCER, bootstrap, NULL, &rk, err);

    if (code != BF_OK) return code;
    rd_kafka_resp_err_t native = rd_kafka_metadata(rk, 0, NULL, &md, timeout_ms);
    if (native == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_metadata_destroy(md);
    } else {
        (void)bf_rd_fail(err, native, "no broker answers at %s", bootstrap);
        code = err->code = BF_AGAIN;
    }
    rd_kafka_destroy(rk);
    return code;
}

/* ---- another group's position ---- */

struct bf_group_view {
    rd_kafka_t *rk;
};

enum bf_code bf_group_view_open(const char *bootstrap, const char *group, struct bf_group_view **out, struct bf_err *err) {
    struct bf_group_view *v = calloc(1, sizeof *v);

    if (v == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a group's view");
    enum bf_code code = open_handle(RD_KAFKA_CONSUMER, bootstrap, group, &v->rk, err);
    if (code != BF_OK) {
        free(v);
        return code;
    }
    *out = v;
    return BF_OK;
}

void bf_group_view_close(struct bf_group_view *v) {
    if (v == NULL) return;
    rd_kafka_destroy(v->rk);
    free(v);
}

enum bf_code bf_group_view_committed(struct bf_group_view *v, struct bf_tp *tps, size_t count, int timeout_ms, struct bf_err *err) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);

    for (size_t i = 0; i < count; i++) rd_kafka_topic_partition_list_add(list, tps[i].topic, tps[i].partition);
    rd_kafka_resp_err_t native = rd_kafka_committed(v->rk, list, timeout_ms);
    for (size_t i = 0; i < count && native == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        const rd_kafka_topic_partition_t *e = rd_kafka_topic_partition_list_find(list, tps[i].topic, tps[i].partition);
        tps[i].offset = e != NULL && e->offset >= 0 ? e->offset : -1;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return native == RD_KAFKA_RESP_ERR_NO_ERROR ? BF_OK : bf_rd_fail(err, native, "committed offsets");
}

/* ---- the mock cluster ---- */

struct bf_mock_cluster {
    rd_kafka_t *rk; /* the mock's own client; it does nothing else */
    rd_kafka_mock_cluster_t *mock;
    rd_kafka_t *client; /* of the cluster, once somebody asks for the ends */
};

bool bf_kafka_is_mock_cluster(const char *cluster_id) { return strncmp(cluster_id, "mockCluster", strlen("mockCluster")) == 0; }

enum bf_code bf_mock_cluster_open(int brokers, struct bf_mock_cluster **out, struct bf_err *err) {
    enum bf_code code;
    struct bf_mock_cluster *m = calloc(1, sizeof *m);

    if (m == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a mock cluster");
    code = open_handle(RD_KAFKA_PRODUCER, NULL, NULL, &m->rk, err);
    if (code == BF_OK) {
        m->mock = rd_kafka_mock_cluster_new(m->rk, brokers);
        if (m->mock == NULL) code = bf_fail(err, BF_NOMEM, 0, "librdkafka makes no mock cluster of %d brokers", brokers);
    }
    if (code != BF_OK) {
        bf_mock_cluster_close(m);
        return code;
    }
    *out = m;
    return BF_OK;
}

const char *bf_mock_cluster_bootstrap(const struct bf_mock_cluster *m) { return rd_kafka_mock_cluster_bootstraps(m->mock); }

enum bf_code bf_mock_cluster_topic(struct bf_mock_cluster *m, const char *topic, int partitions, struct bf_err *err) {
    rd_kafka_resp_err_t native = rd_kafka_mock_topic_create(m->mock, topic, partitions, 1);
    return native == RD_KAFKA_RESP_ERR_NO_ERROR ? BF_OK : bf_rd_fail(err, native, "making topic %s", topic);
}

/* One request for all partitions: as a time, RD_KAFKA_OFFSET_END asks for the end. */
static enum bf_code ask_ends(rd_kafka_t *rk, const struct rd_kafka_metadata *md, int timeout_ms, rd_kafka_topic_partition_list_t *list,
                             struct bf_err *err) {
    for (int t = 0; t < md->topic_cnt; t++) {
        for (int p = 0; p < md->topics[t].partition_cnt; p++) {
            rd_kafka_topic_partition_list_add(list, md->topics[t].topic, md->topics[t].partitions[p].id)->offset = RD_KAFKA_OFFSET_END;
        }
    }
    rd_kafka_resp_err_t native = list->cnt > 0 ? rd_kafka_offsets_for_times(rk, list, timeout_ms) : RD_KAFKA_RESP_ERR_NO_ERROR;
    return native == RD_KAFKA_RESP_ERR_NO_ERROR ? BF_OK : bf_rd_fail(err, native, "the ends of the partitions");
}

enum bf_code bf_mock_cluster_ends(struct bf_mock_cluster *m, int timeout_ms,
                                  void (*each)(void *ctx, const char *topic, int32_t partition, int64_t end), void *ctx, struct bf_err *err) {
    const struct rd_kafka_metadata *md = NULL;
    enum bf_code code = m->client != NULL ? BF_OK : open_handle(RD_KAFKA_PRODUCER, bf_mock_cluster_bootstrap(m), NULL, &m->client, err);

    if (code != BF_OK) return code;
    rd_kafka_resp_err_t native = rd_kafka_metadata(m->client, 1, NULL, &md, timeout_ms);
    if (native != RD_KAFKA_RESP_ERR_NO_ERROR) return bf_rd_fail(err, native, "the topics of the cluster");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(64);
    code = ask_ends(m->client, md, timeout_ms, list, err);
    for (int i = 0; code == BF_OK && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *tp = &list->elems[i];
        if (tp->err == RD_KAFKA_RESP_ERR_NO_ERROR && tp->offset >= 0) each(ctx, tp->topic, tp->partition, tp->offset);
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_metadata_destroy(md);
    return code;
}

void bf_mock_cluster_close(struct bf_mock_cluster *m) {
    if (m == NULL) return;
    if (m->client != NULL) rd_kafka_destroy(m->client);
    if (m->mock != NULL) rd_kafka_mock_cluster_destroy(m->mock);
    if (m->rk != NULL) rd_kafka_destroy(m->rk);
    free(m);
}
