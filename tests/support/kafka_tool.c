/* The tests' own hand on Kafka, apart from the project's library: commands on standard input, one a line, answers on standard output.
 *
 *   send TOPIC PARTITION KEYHEX VALUEHEX [NAME=HEX]…  queue a record ("-": null; partition -1: by key); answered at delivery with
 *                                                     "sent NUMBER PARTITION OFFSET" or "lost NUMBER WHY", NUMBER counting sends from 0
 *   flush                      wait for all deliveries
 *   begin, commit, abort       a transaction (the second argument of the program is the transactional id)
 *   create TOPIC N [K=V]…      delete TOPIC      grow TOPIC N      trim TOPIC PARTITION OFFSET (DeleteRecords)
 *
 * Each command but send is answered with "ok" or "error WHY", after the deliveries it waited for. Keeps the order of its commands. */
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES ((size_t)64 << 20)
#define TIMEOUT_MS 30000
#define HEADERS_MAX 32

static rd_kafka_t *rk;
static long sends;

static void delivered(rd_kafka_t *from, const rd_kafka_message_t *msg, void *opaque) {
    (void)from, (void)opaque;
    long number = (long)(intptr_t)msg->_private;
    if (msg->err)
        printf("lost %ld %s\n", number, rd_kafka_err2name(msg->err));
    else
        printf("sent %ld %d %lld\n", number, msg->partition, (long long)msg->offset);
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value) {
    char why[256];
    if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
}

static void answer(const char *why) {
    if (why)
        printf("error %s\n", why);
    else
        printf("ok\n");
    fflush(stdout);
}

/* ---- records ---- */

static int nibble(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; "-" is null. */
static void *unhex(char *text, size_t *len) {
    *len = 0;
    if (strcmp(text, "-") == 0)
        return NULL;
    for (char *c = text; nibble(c[0]) >= 0 && nibble(c[1]) >= 0; c += 2)
        text[(*len)++] = (char)(nibble(c[0]) << 4 | nibble(c[1]));
    return text;
}

static void send_record(char *rest) {
    char *topic = strsep(&rest, " "), *partition = strsep(&rest, " "), *key = strsep(&rest, " "), *value = strsep(&rest, " ");
    rd_kafka_vu_t vus[6];
    rd_kafka_headers_t *headers = rd_kafka_headers_new(HEADERS_MAX);
    size_t key_len, value_len, len;
    void *key_data = unhex(key, &key_len), *value_data = unhex(value, &value_len);
    for (char *h; (h = strsep(&rest, " ")) != NULL;) {
        char *text = strchr(h, '=');
        if (!text)
            continue;
        *text++ = 0;
        void *data = unhex(text, &len);
        rd_kafka_header_add(headers, h, -1, data, (ssize_t)len);
    }
    vus[0] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic};
    vus[1] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = atoi(partition)};
    vus[2] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key_data, key_len}};
    vus[3] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {value_data, value_len}};
    vus[4] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers};
    vus[5] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(intptr_t)sends};
    for (;;) {
        /* MSGFLAGS comes as a vu too: copy, because the line's memory is used again. */
        rd_kafka_vu_t all[7];
        memcpy(all, vus, sizeof vus);
        all[6] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY};
        rd_kafka_error_t *error = rd_kafka_produceva(rk, all, 7);
        if (!error)
            break;
        rd_kafka_resp_err_t code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            rd_kafka_poll(rk, 100);
            continue;
        }
        printf("lost %ld %s\n", sends, rd_kafka_err2name(code));
        rd_kafka_headers_destroy(headers);
        break;
    }
    sends++;
    rd_kafka_poll(rk, 0);
}

/* ---- transactions ---- */

static void transaction(const char *command) {
    static bool ready;
    rd_kafka_error_t *error = ready ? NULL : rd_kafka_init_transactions(rk, TIMEOUT_MS);
    ready = true;
    if (!error)
        error = strcmp(command, "begin") == 0    ? rd_kafka_begin_transaction(rk)
                : strcmp(command, "commit") == 0 ? rd_kafka_commit_transaction(rk, TIMEOUT_MS)
                                                 : rd_kafka_abort_transaction(rk, TIMEOUT_MS);
    answer(error ? rd_kafka_error_string(error) : NULL);
    rd_kafka_error_destroy(error);
}

/* ---- admin ---- */

static const char *topic_error(rd_kafka_event_t *event, rd_kafka_event_type_t type) {
    static char why[512];
    size_t n = 0;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const rd_kafka_topic_result_t **topics = NULL;
    if (code) {
        snprintf(why, sizeof why, "%s", rd_kafka_event_error_string(event));
        return why;
    }
    if (type == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
        topics = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
    else if (type == RD_KAFKA_EVENT_DELETETOPICS_RESULT)
        topics = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &n);
    else if (type == RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT)
        topics = rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event), &n);
    for (size_t i = 0; i < n; i++)
        if (rd_kafka_topic_result_error(topics[i])) {
            snprintf(why, sizeof why, "%s", rd_kafka_topic_result_error_string(topics[i]) ? rd_kafka_topic_result_error_string(topics[i]) : "?");
            return why;
        }
    return NULL;
}

static void wait_admin(rd_kafka_queue_t *queue) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, TIMEOUT_MS);
    answer(event ? topic_error(event, rd_kafka_event_type(event)) : "no answer");
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
}

static void create_topic(char *rest) {
    char why[256];
    char *topic = strsep(&rest, " "), *count = strsep(&rest, " ");
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_NewTopic_t *made = rd_kafka_NewTopic_new(topic, atoi(count), 1, why, sizeof why);
    for (char *pair; (pair = strsep(&rest, " ")) != NULL;) {
        char *value = strchr(pair, '=');
        if (value) {
            *value++ = 0;
            rd_kafka_NewTopic_set_config(made, pair, value);
        }
    }
    rd_kafka_CreateTopics(rk, &made, 1, NULL, queue);
    wait_admin(queue);
    rd_kafka_NewTopic_destroy(made);
}

static void delete_topic(char *rest) {
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopic_t *gone = rd_kafka_DeleteTopic_new(strsep(&rest, " "));
    rd_kafka_DeleteTopics(rk, &gone, 1, NULL, queue);
    wait_admin(queue);
    rd_kafka_DeleteTopic_destroy(gone);
}

static void grow_topic(char *rest) {
    char why[256];
    char *topic = strsep(&rest, " "), *count = strsep(&rest, " ");
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_NewPartitions_t *more = rd_kafka_NewPartitions_new(topic, (size_t)atoi(count), why, sizeof why);
    rd_kafka_CreatePartitions(rk, &more, 1, NULL, queue);
    wait_admin(queue);
    rd_kafka_NewPartitions_destroy(more);
}

static void trim_topic(char *rest) {
    char *topic = strsep(&rest, " "), *partition = strsep(&rest, " "), *offset = strsep(&rest, " ");
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, atoi(partition))->offset = atoll(offset);
    rd_kafka_DeleteRecords_t *gone = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(rk, &gone, 1, NULL, queue);
    wait_admin(queue);
    rd_kafka_DeleteRecords_destroy(gone);
    rd_kafka_topic_partition_list_destroy(list);
}

/* ---- the loop ---- */

static void obey(char *line) {
    char *rest = line, *command = strsep(&rest, " ");
    if (strcmp(command, "send") == 0)
        send_record(rest);
    else if (strcmp(command, "flush") == 0)
        answer(rd_kafka_flush(rk, TIMEOUT_MS * 4) ? "not all were delivered" : NULL);
    else if (strcmp(command, "begin") == 0 || strcmp(command, "commit") == 0 || strcmp(command, "abort") == 0)
        transaction(command);
    else if (strcmp(command, "create") == 0)
        create_topic(rest);
    else if (strcmp(command, "delete") == 0)
        delete_topic(rest);
    else if (strcmp(command, "grow") == 0)
        grow_topic(rest);
    else if (strcmp(command, "trim") == 0)
        trim_topic(rest);
    else
        answer("unknown command");
}

int main(int argc, char **argv) {
    char why[256], *line = NULL;
    size_t size = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: kafka_tool BOOTSTRAP [TRANSACTIONAL-ID]\n");
        return 2;
    }
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[1]);
    set(conf, "enable.idempotence", "true");
    set(conf, "linger.ms", "2");
    set(conf, "socket.nagle.disable", "true");
    set(conf, "message.max.bytes", "20000000");
    set(conf, "partitioner", "murmur2_random");
    if (argc > 2)
        set(conf, "transactional.id", argv[2]);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!rk) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    for (ssize_t n; (n = getline(&line, &size, stdin)) > 0 && (size_t)n < LINE_MAX_BYTES;) {
        if (line[n - 1] == '\n')
            line[n - 1] = 0;
        obey(line);
    }
    rd_kafka_flush(rk, TIMEOUT_MS);
    rd_kafka_destroy(rk);
    free(line);
    return 0;
}
