/* A head of fixed size, then the variable parts in the order of the head's lengths. A key that equals the node id (the rule: the message
 * key is the rim_node_id) is not written twice. */
#include "hot_record.h"

#include <stddef.h>
#include <string.h>

enum record_flag {
    HAS_CAUSE = 1,
    HAS_TRACE = 2,
    HAS_SOURCE = 4,
    HAS_KEY = 8,
    HAS_VALUE = 16,
    HAS_HEADERS = 32,
    HAS_DETAIL = 64, /* a poison's */
    REDRIVEN = 64,   /* an event's */
    KEY_IS_NODE = 128
};

struct event_head {
    uint8_t type, flags;
    uint16_t node_len;
    uint32_t topic_no;
    int32_t partition;
    uint32_t revision;
    int64_t offset, event_time_us, kafka_time_us;
    struct bf_uuid id;
    uint8_t content_hash[16];
    int32_t schema_id;
    uint32_t trace_len, source_len, key_len, headers_len, value_len;
};

struct duplicate_head {
    uint8_t type, flags;
    uint16_t unused;
    uint32_t topic_no;
    int32_t partition;
    uint32_t revision;
    int64_t offset, kafka_time_us;
    struct bf_uuid id;
};

struct poison_head {
    uint8_t type, flags;
    uint16_t reason;
    uint32_t topic_no;
    int32_t partition, schema_id;
    int64_t offset, kafka_time_us, redriven_at_us;
    uint32_t detail_len, key_len, headers_len, value_len;
};

_Static_assert(sizeof(struct duplicate_head) == RECORD_DUPLICATE_BYTES, "the header says so");
_Static_assert(offsetof(struct event_head, offset) == offsetof(struct duplicate_head, offset) &&
                   offsetof(struct event_head, offset) == offsetof(struct poison_head, offset) &&
                   offsetof(struct event_head, partition) == offsetof(struct poison_head, partition) &&
                   offsetof(struct event_head, partition) == offsetof(struct duplicate_head, partition),
               "record_peek() reads all three alike");

bool record_peek(struct bf_slice record, struct record_peek *out) {
    struct duplicate_head head;
    if (record.len < sizeof head)
        return false;
    memcpy(&head, record.data, sizeof head);
    *out = (struct record_peek){(enum record_type)head.type, head.topic_no, head.partition, head.offset};
    return head.type >= RECORD_EVENT && head.type <= RECORD_POISON;
}

static char *put_part(char *at, struct bf_slice part) {
    if (part.len > 0)
        memcpy(at, part.data, part.len);
    return at + part.len;
}

/* A cursor over the rest of a record; `broken` once something was longer than what is left. */
struct parts {
    const char *at;
    size_t left;
    bool broken;
};

static struct bf_slice take_part(struct parts *parts, bool present, size_t len) {
    if (!present)
        return BF_SLICE_NONE;
    if (len > parts->left) {
        parts->broken = true;
        return BF_SLICE_NONE;
    }
    struct bf_slice part = {parts->at, len};
    parts->at += len;
    parts->left -= len;
    return part;
}

static bool key_is_node(const struct event *ev) {
    return ev->key.data != NULL && bf_slice_eq(ev->key, ev->node_id);
}

size_t record_event_size(const struct event *ev) {
    return sizeof(struct event_head) + ev->node_id.len + (ev->has_cause ? sizeof ev->cause_id : 0) + ev->trace_id.len +
           ev->source_id.len + (key_is_node(ev) ? 0 : ev->key.len) + ev->headers.len + ev->value.len;
}

static uint8_t event_flags(const struct event *ev) {
    unsigned flags = 0;
    flags |= ev->has_cause ? HAS_CAUSE : 0;
    flags |= ev->trace_id.data != NULL ? HAS_TRACE : 0;
    flags |= ev->source_id.data != NULL ? HAS_SOURCE : 0;
    flags |= ev->key.data != NULL ? HAS_KEY : 0;
    flags |= ev->value.data != NULL ? HAS_VALUE : 0;
    flags |= ev->headers.data != NULL ? HAS_HEADERS : 0;
    flags |= key_is_node(ev) ? KEY_IS_NODE : 0;
    flags |= ev->redriven ? REDRIVEN : 0;
    return (uint8_t)flags;
}

void record_event_put(char *dst, uint32_t topic_no, const struct event *ev, const uint8_t content_hash[16]) {
    struct event_head head = {
        .type = RECORD_EVENT,
        .flags = event_flags(ev),
        .node_len = (uint16_t)ev->node_id.len,
        .topic_no = topic_no,
        .partition = ev->partition,
        .revision = ev->revision,
        .offset = ev->offset,
        .event_time_us = ev->event_time_us,
        .kafka_time_us = ev->kafka_time_us,
        .id = ev->id,
        .schema_id = ev->schema_id,
        .trace_len = (uint32_t)ev->trace_id.len,
        .source_len = (uint32_t)ev->source_id.len,
        .key_len = (uint32_t)ev->key.len,
        .headers_len = (uint32_t)ev->headers.len,
        .value_len = (uint32_t)ev->value.len,
    };
    memcpy(head.content_hash, content_hash, sizeof head.content_hash);
    memcpy(dst, &head, sizeof head);
    char *at = put_part(dst + sizeof head, ev->node_id);
    if (ev->has_cause)
        at = put_part(at, (struct bf_slice){&ev->cause_id, sizeof ev->cause_id});
    at = put_part(at, ev->trace_id);
    at = put_part(at, ev->source_id);
    if ((head.flags & KEY_IS_NODE) == 0)
        at = put_part(at, ev->key);
    at = put_part(at, ev->headers);
    put_part(at, ev->value);
}

void record_event_set_revision(char *record, uint32_t revision) {
    memcpy(record + offsetof(struct event_head, revision), &revision, sizeof revision);
}

struct bf_slice record_event_node(struct bf_slice record) {
    struct event_head head;
    memcpy(&head, record.data, sizeof head);
    return (struct bf_slice){(const char *)record.data + sizeof head, head.node_len};
}

bool record_event_id(struct bf_slice record, struct record_id *out) {
    struct event_head head;
    if (record.len < sizeof head)
        return false;
    memcpy(&head, record.data, sizeof head);
    *out = (struct record_id){.topic_no = head.topic_no, .revision = head.revision, .id = head.id};
    memcpy(out->content_hash, head.content_hash, sizeof out->content_hash);
    return head.type == RECORD_EVENT;
}

bool record_event_get(struct bf_slice record, struct event *out) {
    struct event_head head;
    if (record.len < sizeof head)
        return false;
    memcpy(&head, record.data, sizeof head);
    struct parts parts = {(const char *)record.data + sizeof head, record.len - sizeof head, head.type != RECORD_EVENT};
    struct event ev = {
        .id = head.id,
        .revision = head.revision,
        .partition = head.partition,
        .offset = head.offset,
        .event_time_us = head.event_time_us,
        .kafka_time_us = head.kafka_time_us,
        .schema_id = head.schema_id,
        .has_cause = (head.flags & HAS_CAUSE) != 0,
        .redriven = (head.flags & REDRIVEN) != 0,
    };
    memcpy(ev.content_hash, head.content_hash, sizeof ev.content_hash);
    ev.node_id = take_part(&parts, true, head.node_len);
    struct bf_slice cause = take_part(&parts, ev.has_cause, sizeof ev.cause_id);
    if (cause.data != NULL)
        memcpy(&ev.cause_id, cause.data, sizeof ev.cause_id);
    ev.trace_id = take_part(&parts, (head.flags & HAS_TRACE) != 0, head.trace_len);
    ev.source_id = take_part(&parts, (head.flags & HAS_SOURCE) != 0, head.source_len);
    if ((head.flags & KEY_IS_NODE) != 0)
        ev.key = ev.node_id;
    else
        ev.key = take_part(&parts, (head.flags & HAS_KEY) != 0, head.key_len);
    ev.headers = take_part(&parts, (head.flags & HAS_HEADERS) != 0, head.headers_len);
    ev.value = take_part(&parts, (head.flags & HAS_VALUE) != 0, head.value_len);
    if (parts.broken || parts.left != 0)
        return false;
    *out = ev;
    return true;
}

void record_duplicate_put(char dst[RECORD_DUPLICATE_BYTES], uint32_t topic_no, const struct duplicate *dup) {
    struct duplicate_head head = {
        .type = RECORD_DUPLICATE,
        .topic_no = topic_no,
        .partition = dup->partition,
        .revision = dup->revision,
        .offset = dup->offset,
        .kafka_time_us = dup->kafka_time_us,
        .id = dup->id,
    };
    memcpy(dst, &head, sizeof head);
}

bool record_duplicate_get(struct bf_slice record, struct duplicate *out) {
    struct duplicate_head head;
    if (record.len != sizeof head)
        return false;
    memcpy(&head, record.data, sizeof head);
    *out = (struct duplicate){
        .id = head.id,
        .revision = head.revision,
        .partition = head.partition,
        .offset = head.offset,
        .kafka_time_us = head.kafka_time_us,
    };
    return head.type == RECORD_DUPLICATE;
}

size_t record_poison_size(const struct poison *p) {
    return sizeof(struct poison_head) + p->detail.len + p->key.len + p->headers.len + p->value.len;
}

void record_poison_put(char *dst, uint32_t topic_no, const struct poison *p) {
    struct poison_head head = {
        .type = RECORD_POISON,
        .flags = (uint8_t)((p->detail.data != NULL ? HAS_DETAIL : 0) | (p->key.data != NULL ? HAS_KEY : 0) |
                           (p->headers.data != NULL ? HAS_HEADERS : 0) | (p->value.data != NULL ? HAS_VALUE : 0)),
        .reason = (uint16_t)p->reason,
        .topic_no = topic_no,
        .partition = p->partition,
        .schema_id = p->schema_id,
        .offset = p->offset,
        .kafka_time_us = p->kafka_time_us,
        .redriven_at_us = p->redriven_at_us,
        .detail_len = (uint32_t)p->detail.len,
        .key_len = (uint32_t)p->key.len,
        .headers_len = (uint32_t)p->headers.len,
        .value_len = (uint32_t)p->value.len,
    };
    memcpy(dst, &head, sizeof head);
    char *at = put_part(dst + sizeof head, p->detail);
    at = put_part(at, p->key);
    at = put_part(at, p->headers);
    put_part(at, p->value);
}

bool record_poison_get(struct bf_slice record, struct poison *out) {
    struct poison_head head;
    if (record.len < sizeof head)
        return false;
    memcpy(&head, record.data, sizeof head);
    struct parts parts = {(const char *)record.data + sizeof head, record.len - sizeof head, head.type != RECORD_POISON};
    struct poison p = {
        .partition = head.partition,
        .offset = head.offset,
        .kafka_time_us = head.kafka_time_us,
        .redriven_at_us = head.redriven_at_us,
        .reason = (enum poison_reason)head.reason,
        .schema_id = head.schema_id,
    };
    p.detail = take_part(&parts, (head.flags & HAS_DETAIL) != 0, head.detail_len);
    p.key = take_part(&parts, (head.flags & HAS_KEY) != 0, head.key_len);
    p.headers = take_part(&parts, (head.flags & HAS_HEADERS) != 0, head.headers_len);
    p.value = take_part(&parts, (head.flags & HAS_VALUE) != 0, head.value_len);
    if (parts.broken || parts.left != 0)
        return false;
    *out = p;
    return true;
}
