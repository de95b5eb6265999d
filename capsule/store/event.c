/* Names of dispositions and reasons, the order of events, and the reference meaning of a query. */
#include "event.h"

#include <string.h>

static const char *const disposition_names[] = {"stored", "duplicate", "quarantined", "control", "lost-before-read"};
static const char *const reason_names[] = {"avro", "framing", "schema", "node_id", "utf8", "limit", "refused"};

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

static bool name_parse(const char *const *names, size_t count, const char *name, size_t *out) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

const char *disposition_name(enum disposition d) {
    return (size_t)d < COUNT_OF(disposition_names) ? disposition_names[d] : "unknown";
}

bool disposition_parse(const char *name, enum disposition *out) {
    size_t i;
    if (!name_parse(disposition_names, COUNT_OF(disposition_names), name, &i))
        return false;
    *out = (enum disposition)i;
    return true;
}

const char *poison_reason_name(enum poison_reason r) {
    return (size_t)r < COUNT_OF(reason_names) ? reason_names[r] : "unknown";
}

bool poison_reason_parse(const char *name, enum poison_reason *out) {
    size_t i;
    if (!name_parse(reason_names, COUNT_OF(reason_names), name, &i))
        return false;
    *out = (enum poison_reason)i;
    return true;
}

struct event_pos event_pos_of(const struct event *ev, enum event_order order) {
    struct event_pos pos = {ev->event_time_us, ev->recorded_at_us};
    if (order == ORDER_RECORDED)
        pos.primary = ev->recorded_at_us;
    else if (order == ORDER_OFFSET)
        pos.primary = ev->offset;
    return pos;
}

static int compare_i64(int64_t a, int64_t b) {
    return (a > b) - (a < b);
}

int event_pos_compare(const struct event_pos *a, const struct event_pos *b, enum event_order order) {
    if (order == ORDER_RECORDED)
        return compare_i64(a->recorded_at_us, b->recorded_at_us);
    int c = compare_i64(a->primary, b->primary);
    if (c != 0 || order == ORDER_OFFSET)
        return c;
    return compare_i64(a->recorded_at_us, b->recorded_at_us);
}

void event_query_init(struct event_query *q) {
    memset(q, 0, sizeof *q);
    q->from_us = INT64_MIN;
    q->to_us = INT64_MAX;
    q->recorded_from_us = INT64_MIN;
    q->recorded_to_us = INT64_MAX;
    q->known_by_us = INT64_MAX;
    q->offset_to = INT64_MAX;
}

bool event_query_allows_topic(const struct event_query *q, struct bf_slice topic) {
    if (q->domain.data != NULL) {
        const char *name = topic.data;
        if (topic.len <= q->domain.len || name[q->domain.len] != '.' || memcmp(name, q->domain.data, q->domain.len) != 0)
            return false;
    }
    for (size_t i = 0; i < q->topic_count; i++) {
        if (bf_slice_eq(q->topics[i], topic))
            return true;
    }
    return q->topic_count == 0;
}

static bool matches_node(const struct event_query *q, struct bf_slice node) {
    if (q->node.data != NULL && !bf_slice_eq(q->node, node))
        return false;
    if (q->node_prefix.data == NULL)
        return true;
    return node.len >= q->node_prefix.len && memcmp(node.data, q->node_prefix.data, q->node_prefix.len) == 0;
}

/* An end of INT64_MAX is open, so that the last microsecond there is can be asked for. */
static bool within(int64_t t, int64_t from, int64_t to) {
    return t >= from && (t < to || to == INT64_MAX);
}

bool event_query_matches(const struct event_query *q, const struct event *ev) {
    if (!within(ev->event_time_us, q->from_us, q->to_us) ||
        !within(ev->recorded_at_us, q->recorded_from_us, q->recorded_to_us) || ev->recorded_at_us > q->known_by_us)
        return false;
    if (q->by_partition && (ev->partition != q->partition || !within(ev->offset, q->offset_from, q->offset_to)))
        return false;
    if (q->has_id && memcmp(&q->id, &ev->id, sizeof q->id) != 0)
        return false;
    if (q->has_cause && (!ev->has_cause || memcmp(&q->cause, &ev->cause_id, sizeof q->cause) != 0))
        return false;
    if (q->trace.data != NULL && (ev->trace_id.data == NULL || !bf_slice_eq(q->trace, ev->trace_id)))
        return false;
    return event_query_allows_topic(q, ev->topic) && matches_node(q, ev->node_id);
}
