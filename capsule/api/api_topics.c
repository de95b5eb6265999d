/* What is held of each topic and partition, and how far it lies behind Kafka. */
#include "api_internal.h"

#include "bf_time.h"
#include "bf_topics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first row of one partition by this query; false: there is none. */
static bool first_row(struct hot *hot, const struct event_query *q, struct event *out) {
    struct event_page page;
    struct bf_err err;
    bool exhausted = false;
    int64_t hot_from_us = 0;
    event_page_init(&page);
    bool found = hot_fetch(hot, q, NULL, 1, &page, &exhausted, &hot_from_us, &err) == BF_OK && page.count > 0;
    if (found) {
        *out = page.events[0]; /* only its numbers are used */
    }
    event_page_fini(&page);
    return found;
}

/* Every event below it is in PostgreSQL: the offset of the first one that is not. What is no longer hot is archived. */
static int64_t archived_offset(const struct capsule *c, const struct hot_partition *p) {
    int64_t through = store_archived_through(c->store);
    struct event_query q;
    struct event ev;
    event_query_init(&q);
    q.topics[0] = bf_slice_str(p->topic);
    q.topic_count = 1;
    q.by_partition = true;
    q.partition = p->partition;
    q.offset_from = 0;
    q.offset_to = INT64_MAX;
    q.order = ORDER_OFFSET;
    q.descending = true;
    if (!first_row(c->hot, &q, &ev) || ev.recorded_at_us <= through) {
        return p->next_offset;
    }
    q.order = ORDER_RECORDED;
    q.descending = false;
    q.recorded_from_us = through + 1;
    return first_row(c->hot, &q, &ev) ? ev.offset : p->next_offset;
}

void api_lag_of(const struct capsule *c, const struct hot_partition *p, struct api_lag *out) {
    int64_t low = 0;
    memset(out, 0, sizeof(*out));
    out->known = c->consumer && bf_consumer_watermarks(c->consumer, p->topic, p->partition, &low, &out->high);
    if (out->known) {
        int64_t next = p->next_offset > low ? p->next_offset : low;
        out->messages = out->high > next ? out->high - next : 0;
    }
    if (out->messages > 0 && p->newest_kafka_time_us > 0) {
        double age = (double)(bf_time_now_us() - p->newest_kafka_time_us) / 1e6;
        out->seconds = age > 0 ? age : 0;
    }
}

static void member_known(struct bf_json *j, const char *key, bool known, int64_t value) {
    bf_json_key(j, key);
    if (known) {
        bf_json_int(j, value);
    } else {
        bf_json_null(j);
    }
}

static void member_time_known(struct bf_json *j, const char *key, int64_t time_us) {
    if (time_us != 0) {
        bf_json_member_time(j, key, time_us);
    } else {
        bf_json_key(j, key);
        bf_json_null(j);
    }
}

/* Who holds a partition knows how far Kafka is. Returns the messages that are still to come. */
static int64_t write_lag(struct api_call *call, const struct store_partition *p) {
    struct bf_json *j = &call->json;
    struct api_lag lag = {.known = false};
    if (!p->elsewhere) {
        api_lag_of(call->capsule, &p->held, &lag);
    }
    member_known(j, "high_watermark", lag.known, lag.high);
    member_known(j, "lag_messages", lag.known, lag.messages);
    bf_json_key(j, "lag_seconds");
    if (p->elsewhere) {
        bf_json_null(j);
    } else {
        bf_json_double(j, lag.seconds);
    }
    bf_json_member_int(j, "archived_offset", p->elsewhere ? p->held.next_offset : archived_offset(call->capsule, &p->held));
    return lag.messages;
}

static void write_dispositions(struct bf_json *j, const uint64_t by[5]) {
    bf_json_key(j, "dispositions");
    bf_json_object(j);
    for (int d = DISPOSITION_STORED; d <= DISPOSITION_LOST; d++) {
        bf_json_member_int(j, disposition_name((enum disposition)d), (int64_t)by[d]);
    }
    bf_json_object_end(j);
}

static void write_watermarks(struct api_call *call, int64_t through) {
    bf_json_member_time(&call->json, "recorded_through", through);
    bf_json_member_time(&call->json, "archived_through", store_archived_through(call->capsule->store));
}

/* All partitions, sorted; false: answered with the failure. The caller frees *out. */
static bool list_partitions(struct api_call *call, struct store_partition **out, size_t *count) {
    struct bf_err err;
    if (store_partitions(call->capsule->store, out, count, &err) != BF_OK) {
        api_fail(call, &err);
        return false;
    }
    return true;
}

void api_member_instance(struct bf_json *j, const struct store_partition *p) {
    if (p->elsewhere) {
        char text[BF_UUID_TEXT_LEN + 1];
        bf_uuid_format(text, &p->owner);
        bf_json_member_string(j, "instance", text);
    }
}

void api_get_lag(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct store_partition *parts = NULL;
    size_t count = 0;
    int64_t total = 0;
    if (!api_begin(&call, req, ctx, NULL)) {
        return;
    }
    int64_t through = store_recorded_through(call.capsule->store);
    if (!list_partitions(&call, &parts, &count)) {
        return;
    }
    struct bf_json *j = &call.json;
    bf_json_object(j);
    bf_json_key(j, "lag");
    bf_json_array(j);
    for (size_t i = 0; i < count; i++) {
        bf_json_object(j);
        bf_json_member_string(j, "topic", parts[i].held.topic);
        bf_json_member_int(j, "partition", parts[i].held.partition);
        api_member_instance(j, &parts[i]);
        bf_json_member_int(j, "next_offset", parts[i].held.next_offset);
        total += write_lag(&call, &parts[i]);
        bf_json_object_end(j);
    }
    bf_json_array_end(j);
    free(parts);
    bf_json_member_int(j, "lag_messages", total);
    write_watermarks(&call, through);
    bf_json_object_end(j);
    api_reply(&call, 200, through);
}

/* parts[0..count) are one topic's. */
static void write_topic(struct bf_json *j, const struct store_partition *parts, size_t count) {
    struct bf_slice domain, type;
    uint64_t by[5] = {0};
    int64_t events = 0, event_time = 0, kafka_time = 0;
    bool told = true; /* the newest times of all */
    for (size_t i = 0; i < count; i++) {
        const struct hot_partition *p = &parts[i].held;
        for (int d = 0; d < 5; d++) {
            by[d] += p->by_disposition[d];
        }
        events += (int64_t)p->events;
        if (p->newest_event_time_us != 0 && (event_time == 0 || p->newest_event_time_us > event_time)) {
            event_time = p->newest_event_time_us;
        }
        kafka_time = p->newest_kafka_time_us > kafka_time ? p->newest_kafka_time_us : kafka_time;
        told = told && (!parts[i].elsewhere || p->events == 0);
    }
    bf_topic_split(parts[0].held.topic, &domain, &type);
    bf_json_member_string(j, "topic", parts[0].held.topic);
    api_member_slice(j, "domain", domain);
    api_member_slice(j, "event_type", type);
    bf_json_member_int(j, "events", events);
    write_dispositions(j, by);
    member_time_known(j, "newest_event_time", told ? event_time : 0);
    member_time_known(j, "newest_kafka_time", told ? kafka_time : 0);
}

static size_t same_topic(const struct store_partition *parts, size_t count) {
    size_t n = 1;
    while (n < count && strcmp(parts[n].held.topic, parts[0].held.topic) == 0) {
        n++;
    }
    return n;
}

void api_get_topics(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct store_partition *parts = NULL;
    size_t count = 0;
    if (!api_begin(&call, req, ctx, NULL)) {
        return;
    }
    int64_t through = store_recorded_through(call.capsule->store);
    if (!list_partitions(&call, &parts, &count)) {
        return;
    }
    struct bf_json *j = &call.json;
    bf_json_object(j);
    bf_json_key(j, "topics");
    bf_json_array(j);
    for (size_t i = 0; i < count;) {
        size_t n = same_topic(parts + i, count - i);
        bf_json_object(j);
        write_topic(j, parts + i, n);
        bf_json_member_int(j, "partitions", (int64_t)n);
        bf_json_object_end(j);
        i += n;
    }
    bf_json_array_end(j);
    free(parts);
    write_watermarks(&call, through);
    bf_json_object_end(j);
    api_reply(&call, 200, through);
}

static void write_partition(struct api_call *call, const struct store_partition *part) {
    struct bf_json *j = &call->json;
    const struct hot_partition *p = &part->held;
    bf_json_object(j);
    bf_json_member_int(j, "partition", p->partition);
    api_member_instance(j, part);
    bf_json_member_int(j, "epoch", p->epoch);
    bf_json_member_int(j, "first_offset", p->first_offset);
    bf_json_member_int(j, "next_offset", p->next_offset);
    (void)write_lag(call, part);
    bf_json_member_int(j, "events", (int64_t)p->events);
    write_dispositions(j, p->by_disposition);
    member_time_known(j, "newest_event_time", p->newest_event_time_us);
    member_time_known(j, "newest_kafka_time", p->newest_kafka_time_us);
    bf_json_object_end(j);
}

void api_get_topic(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct store_partition *parts = NULL;
    struct bf_slice topic;
    size_t count = 0, first = 0;
    if (!api_begin(&call, req, ctx, NULL) || !api_path_topic(&call, &topic)) {
        return;
    }
    int64_t through = store_recorded_through(call.capsule->store);
    if (!list_partitions(&call, &parts, &count)) {
        return;
    }
    while (first < count && !bf_slice_eq(bf_slice_str(parts[first].held.topic), topic)) {
        first++;
    }
    if (first == count) {
        bf_http_problem(req, 404, "topic", "nothing is held of topic %.*s", (int)topic.len, (const char *)topic.data);
    } else {
        size_t n = same_topic(parts + first, count - first);
        struct bf_json *j = &call.json;
        bf_json_object(j);
        write_topic(j, parts + first, n);
        bf_json_key(j, "partitions");
        bf_json_array(j);
        for (size_t i = first; i < first + n; i++) {
            write_partition(&call, &parts[i]);
        }
        bf_json_array_end(j);
        write_watermarks(&call, through);
        bf_json_object_end(j);
        api_reply(&call, 200, through);
    }
    free(parts);
}

void api_refresh_gauges(struct api *api) {
    struct capsule *c = api->capsule;
    struct hot_partition *parts = NULL;
    struct hot_watermarks w;
    struct bf_err err;
    size_t count = 0;
    hot_watermarks(c->hot, &w);
    bf_series_set(bf_metrics_series(c->metrics, M_RECORDED_THROUGH, NULL, NULL, NULL), (double)w.recorded_through_us / 1e6);
    bf_series_set(bf_metrics_series(c->metrics, M_ARCHIVED_THROUGH, NULL, NULL, NULL), (double)store_own_archived_through(c->store) / 1e6);
    bf_series_set(bf_metrics_series(c->metrics, M_HOT_BYTES, NULL, NULL, NULL), (double)w.bytes_used);
    bf_series_set(bf_metrics_series(c->metrics, M_HOT_BYTES_MAX, NULL, NULL, NULL), (double)w.bytes_max);
    bf_series_set(bf_metrics_series(c->metrics, M_HOT_ID_BYTES, NULL, NULL, NULL), (double)w.id_bytes);
    static const char *const names[DEPENDENCIES] = {"kafka", "registry", "postgres"};
    for (int d = 0; d < DEPENDENCIES; d++) {
        bf_series_set(bf_metrics_series(c->metrics, M_DEPENDENCY_UP, names[d], NULL, NULL), atomic_load(&c->dependency_up[d]) ? 1 : 0);
    }
    if (hot_partitions(c->hot, &parts, &count, &err) != BF_OK) {
        return; /* the gauges keep what they had; the loops report the store */
    }
    for (size_t i = 0; i < count; i++) {
        struct api_lag lag;
        char partition[16];
        api_lag_of(c, &parts[i], &lag);
        snprintf(partition, sizeof(partition), "%d", (int)parts[i].partition);
        bf_series_set(bf_metrics_series(c->metrics, M_LAG_MESSAGES, parts[i].topic, partition, NULL), (double)lag.messages);
        bf_series_set(bf_metrics_series(c->metrics, M_LAG_SECONDS, parts[i].topic, partition, NULL), lag.seconds);
    }
    free(parts);
}
