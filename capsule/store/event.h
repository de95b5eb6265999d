/* The event as both stores hold it, and what else the line keeps: duplicates seen, poison, coverage.
 *
 * struct event is a view: all slices are borrowed from whoever filled it (a batch's arena, a page's arena). The sort orders are total:
 * by event time: (event_time_us, recorded_at_us); by record: recorded_at_us; by offset within one partition.
 */
#ifndef EVENT_H
#define EVENT_H

#include "bf_buf.h"
#include "bf_err.h"
#include "bf_event_id.h"

#include <stdbool.h>
#include <stdint.h>

enum disposition { DISPOSITION_STORED, DISPOSITION_DUPLICATE, DISPOSITION_QUARANTINED, DISPOSITION_CONTROL, DISPOSITION_LOST };
const char *disposition_name(enum disposition d); /* "stored", "duplicate", "quarantined", "control", "lost-before-read" */
bool disposition_parse(const char *name, enum disposition *out);

struct event {
    struct bf_slice topic; /* name, not NUL-terminated */
    struct bf_slice node_id;
    struct bf_uuid id;
    uint32_t revision; /* 1, 2 … ; 0 while not stored */
    int32_t partition;
    int64_t offset;
    int64_t event_time_us, kafka_time_us, recorded_at_us;
    int32_t schema_id; /* 0: a tombstone has none */
    bool has_cause;
    struct bf_uuid cause_id;
    struct bf_slice trace_id, source_id; /* absent: data NULL */
    struct bf_slice key, value;          /* as they were in Kafka, framing included; value absent: tombstone */
    struct bf_slice headers;             /* packed, see headers_pack.h; absent: none */
    bool redriven;                       /* it was in quarantine first, and was taken in later than its neighbours */
    uint8_t content_hash[16];            /* hot_content_hash(), as the hot store keeps it beside the event; elsewhere not set */
};

/* The same event came again (other coordinates, same content). */
struct duplicate {
    struct bf_slice topic;
    struct bf_uuid id;
    uint32_t revision; /* the one it equals */
    int32_t partition;
    int64_t offset, kafka_time_us, recorded_at_us;
};

enum poison_reason { POISON_AVRO, POISON_FRAMING, POISON_SCHEMA, POISON_NODE_ID, POISON_UTF8, POISON_LIMIT, POISON_REFUSED };
const char *poison_reason_name(enum poison_reason r); /* "avro", "framing", "schema", "node_id", "utf8", "limit", "refused" */
bool poison_reason_parse(const char *name, enum poison_reason *out);

struct poison {
    struct bf_slice topic;
    int32_t partition;
    int64_t offset, kafka_time_us, recorded_at_us; /* recorded_at is quarantined_at */
    int64_t redriven_at_us;                        /* 0: not */
    enum poison_reason reason;
    int32_t schema_id; /* 0: unknown */
    struct bf_slice detail, key, value, headers;
};

/* Offsets [from, to) of a partition, all with one disposition. */
struct interval {
    struct bf_slice topic;
    int32_t partition;
    int64_t from, to;
    enum disposition disposition;
};

/* A page of events: copied rows, independent of the store they came from. */
struct event_page {
    struct event *events;
    size_t count, capacity;
    struct arena_block *arena; /* owns what the slices point at */
    size_t bytes;
};
void event_page_init(struct event_page *p);
void event_page_clear(struct event_page *p);
void event_page_fini(struct event_page *p);
/* Copy *ev, and what it points at, to the end of the page. */
BF_MUST_CHECK enum bf_code event_page_add(struct event_page *p, const struct event *ev, struct bf_err *err);

enum event_order { ORDER_EVENT_TIME, ORDER_RECORDED, ORDER_OFFSET };

/* A place in an order; a fetch gives what lies strictly after it (before it when descending). ORDER_EVENT_TIME compares (primary = event
 * time, recorded_at_us); ORDER_RECORDED compares recorded_at_us; ORDER_OFFSET compares primary = offset. */
struct event_pos {
    int64_t primary, recorded_at_us;
};
struct event_pos event_pos_of(const struct event *ev, enum event_order order);
/* <0, 0, >0 in ascending order. */
int event_pos_compare(const struct event_pos *a, const struct event_pos *b, enum event_order order);

#define EVENT_TOPICS_MAX 64

/* Instances share no clock: two of them can record at one microsecond, and then two events share a place. Among themselves they are in the order of topic,
 * partition and offset. A page never ends between them, because the next one begins behind the last one's place: it ends before them or, when it has
 * nothing else, holds them all. */
size_t event_page_alike(const struct event_page *p, size_t at, enum event_order order); /* how many from `at` on share its place */
void event_page_order_alike(struct event_page *p, size_t start, enum event_order order, bool descending);
bool event_page_ends_with(const struct event_page *p, const struct event *ev, enum event_order order); /* the last event shares ev's place */
/* p's events from `start` on are `limit` and some that share the last one's place: take away what would part them. True: something was. */
bool event_page_end_between(struct event_page *p, size_t start, size_t limit, enum event_order order);

/* What is asked for; all conditions must hold. Absent strings have data NULL. Times are half-open; known_by is inclusive. */
struct event_query {
    struct bf_slice topics[EVENT_TOPICS_MAX]; /* any of these; topic_count 0: every topic */
    size_t topic_count;
    struct bf_slice domain;
    struct bf_slice node, node_prefix;
    int64_t from_us, to_us;                   /* event time; INT64_MIN, INT64_MAX: open */
    int64_t recorded_from_us, recorded_to_us; /* recorded_at, half-open */
    int64_t known_by_us;                      /* recorded_at <= this; INT64_MAX: open */
    struct bf_slice trace;
    bool has_cause, has_id;
    struct bf_uuid cause, id;                 /* has_id: all revisions of this id (in all topics, unless topics say which) */
    bool by_partition;                        /* only with exactly one topic */
    int32_t partition;
    int64_t offset_from, offset_to;           /* half-open, with by_partition */
    enum event_order order;
    bool descending;
};
void event_query_init(struct event_query *q);
/* Does an event fit all conditions (order aside)? The reference for both stores; they may use it as the last filter. */
bool event_query_matches(const struct event_query *q, const struct event *ev);
/* Its topic and domain conditions alone. */
bool event_query_allows_topic(const struct event_query *q, struct bf_slice topic);

#endif
