/* Which (topic, node) pairs capsule.node_topics has: a set in memory, so that only new pairs cost a row. What one transaction adds
 * counts once it has committed; after a rollback the whole set is forgotten, for the next insert does nothing where a pair is there. */
#include "archive_internal.h"
#include "bf_hash.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX 2000000 /* pairs; then the set starts anew */

struct node_slot {
    uint32_t tag; /* of the hash: another pair is hardly ever looked at */
    uint32_t at;  /* position in bytes + 1; 0: free */
};
struct archive_nodes {
    struct bf_buf bytes; /* per pair: topic length (2 bytes), node length (2), topic, node */
    struct node_slot *slots;
    size_t slot_count, count;
};

void archive_nodes_free(struct archive *a) {
    if (!a->nodes)
        return;
    bf_buf_fini(&a->nodes->bytes);
    free(a->nodes->slots);
    free(a->nodes);
    a->nodes = NULL;
}

static uint64_t pair_hash(struct bf_slice topic, struct bf_slice node) {
    return bf_hash(node.data, node.len) + bf_hash(topic.data, topic.len);
}

static uint32_t tag_of(uint64_t hash) {
    return (uint32_t)(hash >> 32);
}

static bool pair_is(const struct archive_nodes *n, uint32_t at, struct bf_slice topic, struct bf_slice node) {
    const char *p = n->bytes.data + at;
    return bf_get_be16(p) == topic.len && bf_get_be16(p + 2) == node.len && memcmp(p + 4, topic.data, topic.len) == 0 &&
           memcmp(p + 4 + topic.len, node.data, node.len) == 0;
}

static bool grow(struct archive_nodes *n) {
    size_t wanted = n->slot_count ? n->slot_count * 2 : 8192;
    struct node_slot *slots = calloc(wanted, sizeof *slots);
    if (!slots)
        return false;
    for (size_t at = 0; at < n->bytes.len;) {
        const char *p = n->bytes.data + at;
        const struct bf_slice topic = {p + 4, bf_get_be16(p)}, node = {p + 4 + topic.len, bf_get_be16(p + 2)};
        uint64_t hash = pair_hash(topic, node);
        size_t i = hash & (wanted - 1);
        while (slots[i].at)
            i = (i + 1) & (wanted - 1);
        slots[i] = (struct node_slot){tag_of(hash), (uint32_t)at + 1};
        at += 4 + topic.len + node.len;
    }
    free(n->slots);
    n->slots = slots;
    n->slot_count = wanted;
    return true;
}

/* True: it was new and is in the set now. False: known. Memory that runs out shows in bytes.failed. */
static bool add(struct archive_nodes *n, uint64_t hash, struct bf_slice topic, struct bf_slice node) {
    if (n->count * 2 >= n->slot_count && !grow(n)) {
        n->bytes.failed = true;
        return false;
    }
    size_t i = hash & (n->slot_count - 1);
    for (; n->slots[i].at; i = (i + 1) & (n->slot_count - 1))
        if (n->slots[i].tag == tag_of(hash) && pair_is(n, n->slots[i].at - 1, topic, node))
            return false;
    uint8_t head[4];
    bf_put_be16(head, (uint16_t)topic.len);
    bf_put_be16(head + 2, (uint16_t)node.len);
    size_t at = n->bytes.len;
    bf_buf_append(&n->bytes, head, sizeof head);
    bf_buf_append(&n->bytes, topic.data, topic.len);
    bf_buf_append(&n->bytes, node.data, node.len);
    if (n->bytes.failed)
        return false;
    n->slots[i] = (struct node_slot){tag_of(hash), (uint32_t)at + 1};
    n->count++;
    return true;
}

/* The events' pairs that are new, by index. Each event's memory is known long before it is looked at, so that it is not waited for: the event, its node,
 * the slot, the bytes. */
#define AHEAD 8 /* events, from one of them to the next */
#define RING (4 * AHEAD)
static size_t add_all(struct archive_nodes *n, const struct event *events, size_t count, size_t *at) {
    uint64_t hashes[RING];
    size_t fresh = 0;
    for (size_t i = 0; i < count + 3 * AHEAD; i++) {
        if (i + AHEAD < count)
            __builtin_prefetch(&events[i + AHEAD]);
        if (i < count)
            __builtin_prefetch(events[i].node_id.data);
        if (i >= AHEAD && i - AHEAD < count) {
            const struct event *ev = &events[i - AHEAD];
            hashes[(i - AHEAD) % RING] = pair_hash(ev->topic, ev->node_id);
            __builtin_prefetch(&n->slots[hashes[(i - AHEAD) % RING] & (n->slot_count - 1)]);
        }
        if (i >= 2 * AHEAD && i - 2 * AHEAD < count) {
            const struct node_slot *slot = &n->slots[hashes[(i - 2 * AHEAD) % RING] & (n->slot_count - 1)];
            if (slot->at)
                __builtin_prefetch(n->bytes.data + slot->at);
        }
        if (i < 3 * AHEAD)
            continue;
        const struct event *ev = &events[i - 3 * AHEAD];
        if (add(n, hashes[(i - 3 * AHEAD) % RING], ev->topic, ev->node_id))
            at[fresh++] = i - 3 * AHEAD;
    }
    return fresh;
}

static enum bf_code prepare(struct archive *a, struct bf_err *err) {
    if (a->nodes && a->nodes->count >= NODES_MAX)
        archive_nodes_free(a);
    if (!a->nodes) {
        a->nodes = calloc(1, sizeof *a->nodes);
        if (!a->nodes)
            return bf_fail(err, BF_NOMEM, 0, "no memory for the set of nodes");
        bf_buf_init(&a->nodes->bytes, UINT32_MAX / 2);
        if (!grow(a->nodes)) {
            archive_nodes_free(a);
            return bf_fail(err, BF_NOMEM, 0, "no memory for the set of nodes");
        }
    }
    return BF_OK;
}

enum bf_code archive_nodes_put(struct archive *a, const struct event *events, size_t count, struct bf_err *err) {
    enum bf_code code = prepare(a, err);
    size_t fresh = 0;
    size_t *at = code == BF_OK ? malloc((count ? count : 1) * sizeof *at) : NULL;
    if (code != BF_OK || !at) {
        code = code != BF_OK ? code : bf_fail(err, BF_NOMEM, 0, "no memory for %zu nodes", count);
        goto done;
    }
    fresh = add_all(a->nodes, events, count, at);
    if (a->nodes->bytes.failed) {
        code = bf_fail(err, BF_NOMEM, 0, "no memory for the set of nodes");
        goto done;
    }
    if (fresh == 0)
        goto done;
    params_clear(&a->params);
    params_array(&a->params, PG_TEXT_ARRAY);
    for (size_t i = 0; i < fresh; i++)
        params_array_text(&a->params, events[at[i]].node_id);
    params_array_end(&a->params);
    params_array(&a->params, PG_TEXT_ARRAY);
    for (size_t i = 0; i < fresh; i++)
        params_array_text(&a->params, events[at[i]].topic);
    params_array_end(&a->params);
    params_array(&a->params, PG_TIMESTAMPTZ_ARRAY);
    for (size_t i = 0; i < fresh; i++)
        params_array_time(&a->params, events[at[i]].recorded_at_us);
    params_array_end(&a->params);
    /* Sorted: writers that insert the same nodes must meet in one order. */
    code = archive_exec(a,
                        "insert into capsule.node_topics (rim_node_id, topic, first_recorded_at)"
                        " select * from unnest($1::text[], $2::text[], $3::timestamptz[]) as n (node, topic, at)"
                        " order by node collate \"C\", topic collate \"C\" on conflict do nothing",
                        "keeping nodes", NULL, err);
done:
    free(at);
    return code;
}

void archive_nodes_settle(struct archive *a, bool committed) {
    if (!committed)
        archive_nodes_free(a);
}
