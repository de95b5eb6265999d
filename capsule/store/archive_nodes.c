/* Which (topic, node) pairs capsule.node_topics has: a set in memory, so that only new pairs cost a row. What one transaction adds
 * counts once it has committed; after a rollback the whole set is forgotten, for the next insert does nothing where a pair is there. */
#include "archive_internal.h"
#include "bf_hash.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX 2000000 /* pairs; then the set starts anew */

struct archive_nodes {
    struct bf_buf bytes; /* per pair: topic length (2 bytes), node length (2), topic, node */
    uint32_t *slots;     /* position in bytes + 1; 0: free */
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

static bool pair_is(const struct archive_nodes *n, uint32_t at, struct bf_slice topic, struct bf_slice node) {
    const char *p = n->bytes.data + at;
    return bf_get_be16(p) == topic.len && bf_get_be16(p + 2) == node.len && memcmp(p + 4, topic.data, topic.len) == 0 &&
           memcmp(p + 4 + topic.len, node.data, node.len) == 0;
}

static bool grow(struct archive_nodes *n) {
    size_t wanted = n->slot_count ? n->slot_count * 2 : 8192;
    uint32_t *slots = calloc(wanted, sizeof *slots);
    if (!slots)
        return false;
    for (size_t at = 0; at < n->bytes.len;) {
        const char *p = n->bytes.data + at;
        const struct bf_slice topic = {p + 4, bf_get_be16(p)}, node = {p + 4 + topic.len, bf_get_be16(p + 2)};
        size_t i = pair_hash(topic, node) & (wanted - 1);
        while (slots[i])
            i = (i + 1) & (wanted - 1);
        slots[i] = (uint32_t)at + 1;
        at += 4 + topic.len + node.len;
    }
    free(n->slots);
    n->slots = slots;
    n->slot_count = wanted;
    return true;
}

/* True: it was new and is in the set now. False: known. Memory that runs out shows in bytes.failed. */
static bool add(struct archive_nodes *n, struct bf_slice topic, struct bf_slice node) {
    if (n->count * 2 >= n->slot_count && !grow(n)) {
        n->bytes.failed = true;
        return false;
    }
    size_t i = pair_hash(topic, node) & (n->slot_count - 1);
    for (; n->slots[i]; i = (i + 1) & (n->slot_count - 1))
        if (pair_is(n, n->slots[i] - 1, topic, node))
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
    n->slots[i] = (uint32_t)at + 1;
    n->count++;
    return true;
}

static enum bf_code prepare(struct archive *a, struct bf_err *err) {
    if (a->nodes && a->nodes->count >= NODES_MAX)
        archive_nodes_free(a);
    if (!a->nodes) {
        a->nodes = calloc(1, sizeof *a->nodes);
        if (!a->nodes)
            return bf_fail(err, BF_NOMEM, 0, "no memory for the set of nodes");
        bf_buf_init(&a->nodes->bytes, UINT32_MAX / 2);
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
    for (size_t i = 0; i < count; i++)
        if (add(a->nodes, events[i].topic, events[i].node_id))
            at[fresh++] = i;
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
