/* Two rows' worth of numbers: for every index the keys lie in LMDB in the order of what they are made of, a longer key behind its prefix, and what a reader
 * takes out of a key is what was put in. */
#include "fuzz.h"

#include "hot_internal.h"

#include <string.h>

struct row {
    uint32_t topic_no, node_no, partition, revision;
    int64_t event_time_us, recorded_at_us, offset;
    struct bf_uuid id;
};

static uint64_t take(const uint8_t **at, const uint8_t *end, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        v = v << 8 | (*at < end ? *(*at)++ : 0);
    }
    return v;
}

/* Offsets and recorded_at are never negative; event times are. */
static struct row read_row(const uint8_t **at, const uint8_t *end) {
    struct row r = {.topic_no = (uint32_t)take(at, end, 4), .node_no = (uint32_t)take(at, end, 4), .partition = (uint32_t)take(at, end, 4) & INT32_MAX,
                    .revision = (uint32_t)take(at, end, 4), .event_time_us = (int64_t)take(at, end, 8),
                    .recorded_at_us = (int64_t)(take(at, end, 8) & INT64_MAX), .offset = (int64_t)(take(at, end, 8) & INT64_MAX)};
    for (size_t i = 0; i < sizeof r.id.b; i++) {
        r.id.b[i] = (uint8_t)take(at, end, 1);
    }
    return r;
}

#define CMP(field) ((a->field > b->field) - (a->field < b->field))
#define THEN(c, next) ((c) != 0 ? (c) : (next))

static int by_id(const struct row *a, const struct row *b) {
    int c = memcmp(a->id.b, b->id.b, sizeof a->id.b);
    return (c > 0) - (c < 0);
}

/* LMDB's order of two keys. */
static int order(const struct hot_key *x, const struct hot_key *y) {
    int c = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    return c != 0 ? (c > 0) - (c < 0) : (x->len > y->len) - (x->len < y->len);
}

static void check(struct hot_key x, struct hot_key y, int expected) {
    bf_assert(order(&x, &y) == expected);
}

static void check_pair(const struct row *a, const struct row *b) {
    check(key_recorded(a->recorded_at_us), key_recorded(b->recorded_at_us), CMP(recorded_at_us));
    check(key_time_at(a->event_time_us, a->recorded_at_us), key_time_at(b->event_time_us, b->recorded_at_us),
          THEN(CMP(event_time_us), CMP(recorded_at_us)));
    check(key_node(a->node_no, a->topic_no, a->event_time_us, a->recorded_at_us), key_node(b->node_no, b->topic_no, b->event_time_us, b->recorded_at_us),
          THEN(THEN(CMP(node_no), CMP(topic_no)), THEN(CMP(event_time_us), CMP(recorded_at_us))));
    check(key_offset(a->topic_no, (int32_t)a->partition, a->offset), key_offset(b->topic_no, (int32_t)b->partition, b->offset),
          THEN(THEN(CMP(topic_no), CMP(partition)), CMP(offset)));
    check(key_id(a->topic_no, &a->id, a->revision), key_id(b->topic_no, &b->id, b->revision), THEN(THEN(CMP(topic_no), by_id(a, b)), CMP(revision)));
    check(key_gone(a->recorded_at_us, a->topic_no, &a->id), key_gone(b->recorded_at_us, b->topic_no, &b->id),
          THEN(THEN(CMP(recorded_at_us), CMP(topic_no)), by_id(a, b)));
    check(key_link(LINK_CAUSE, a->id.b, a->recorded_at_us), key_link(LINK_CAUSE, b->id.b, b->recorded_at_us), THEN(by_id(a, b), CMP(recorded_at_us)));
    check(key_link(LINK_CAUSE, a->id.b, a->recorded_at_us), key_link(LINK_TRACE, b->id.b, b->recorded_at_us), LINK_CAUSE < LINK_TRACE ? -1 : 1);
}

/* A prefix comes before whatever begins with it, and only that begins with it. */
static void check_prefixes(const struct row *a, const struct row *b) {
    struct hot_key prefix = key_pair(a->node_no, a->topic_no), of_a = key_node(a->node_no, a->topic_no, a->event_time_us, a->recorded_at_us);
    struct hot_key of_b = key_node(b->node_no, b->topic_no, b->event_time_us, b->recorded_at_us), id = key_id_prefix(a->topic_no, &a->id);
    struct hot_key id_of_b = key_id(b->topic_no, &b->id, b->revision);
    const MDB_val x = key_val(&of_a), y = key_val(&of_b), z = key_val(&id_of_b);
    bf_assert(order(&prefix, &of_a) < 0 && key_has_prefix(&x, &prefix));
    bf_assert(key_has_prefix(&y, &prefix) == (a->node_no == b->node_no && a->topic_no == b->topic_no));
    bf_assert(key_has_prefix(&z, &id) == (a->topic_no == b->topic_no && by_id(a, b) == 0));
    bf_assert(key_time_back(bf_get_be64(of_a.bytes + prefix.len)) == a->event_time_us);
    bf_assert((int64_t)bf_get_be64(of_a.bytes + prefix.len + 8) == a->recorded_at_us && of_a.len == prefix.len + 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = data + size;
    struct row a = read_row(&data, end), b = read_row(&data, end);
    check_pair(&a, &b);
    check_pair(&a, &a);
    check_prefixes(&a, &b);
    return 0;
}
