/* Gathering a batch: each record is encoded into the batch's arena when it is added, so that commit only sorts and writes. What a
 * partition's next offset is comes from the store when the partition is first named, and is looked at again at commit. */
#include "arena.h"
#include "bf_hash.h"
#include "bf_room.h"
#include "hot_hash.h"
#include "hot_internal.h"

#include <stdlib.h>
#include <string.h>

enum bf_code hot_batch_new(struct hot *h, struct hot_batch **out, struct bf_err *err) {
    struct hot_batch *b = calloc(1, sizeof *b);
    if (b == NULL)
        return bf_fail(err, BF_NOMEM, 0, "no memory for a batch");
    b->h = h;
    *out = b;
    return BF_OK;
}

void hot_batch_free(struct hot_batch *b) {
    if (b == NULL)
        return;
    arena_fini(&b->arena);
    free(b->items);
    free(b->slots);
    free(b->order);
    free(b->keys);
    free(b->spare);
    free(b);
}

size_t hot_batch_count(const struct hot_batch *b) {
    return b->records;
}

size_t hot_batch_bytes(const struct hot_batch *b) {
    return b->bytes;
}

/* ---- slots: the partitions of this batch ---- */

static enum bf_code slot_load(struct hot *h, struct slot *s, struct bf_err *err) {
    struct partition_row row;
    MDB_txn *txn;
    struct hot_key key = key_pair(s->topic_no, (uint32_t)s->partition);
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = hot_get(txn, h->db[DB_PARTITIONS], &key, &row, sizeof row);
    hot_read_end(h, txn);
    if (rc == MDB_NOTFOUND)
        partition_row_init(&row);
    else if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading a partition");
    s->epoch = row.epoch;
    s->stored_offset = s->base_offset = s->next_offset = row.next_offset;
    return BF_OK;
}

static bool slot_is(const struct hot_batch *b, const struct slot *s, struct bf_slice topic, int32_t partition) {
    const struct hot_topic *t = b->h->topics[s->topic_no];
    return s->partition == partition && t->len == topic.len && memcmp(t->name, topic.data, topic.len) == 0;
}

/* Messages of a partition come in runs, so the last slot is looked at first. */
static enum bf_code slot_find(struct hot_batch *b, struct bf_slice topic, int32_t partition, struct slot **out, struct bf_err *err) {
    if (b->slot_last < b->slot_count && slot_is(b, &b->slots[b->slot_last], topic, partition)) {
        *out = &b->slots[b->slot_last];
        return BF_OK;
    }
    for (size_t i = 0; i < b->slot_count; i++) {
        if (slot_is(b, &b->slots[i], topic, partition)) {
            b->slot_last = i;
            *out = &b->slots[i];
            return BF_OK;
        }
    }
    struct slot s = {.partition = partition};
    if (partition < 0)
        return bf_fail(err, BF_INVALID, 0, "partition %d", partition);
    enum bf_code code = hot_topic_intern(b->h, topic, &s.topic_no, err);
    if (code == BF_OK)
        code = slot_load(b->h, &s, err);
    if (code == BF_OK && !bf_room(b->slots, b->slot_count, b->slot_capacity, 16))
        code = bf_fail(err, BF_NOMEM, 0, "no memory for a batch of %zu partitions", b->slot_count);
    if (code != BF_OK)
        return code;
    b->slot_last = b->slot_count;
    b->slots[b->slot_count++] = s;
    *out = &b->slots[b->slot_last];
    return BF_OK;
}

static enum bf_code check_offset(const struct hot_batch *b, const struct slot *s, int64_t offset, struct bf_err *err) {
    if (offset >= 0 && offset >= s->next_offset)
        return BF_OK;
    return bf_fail(err, BF_INVALID, 0, "%s/%d: offset %lld was added after %lld", b->h->topics[s->topic_no]->name, s->partition,
                   (long long)offset, (long long)s->next_offset - 1);
}

/* Find the partition, check that the offset ascends, make room: the item is added when everything else has worked. */
static enum bf_code item_prepare(struct hot_batch *b, struct bf_slice topic, int32_t partition, int64_t offset, struct slot **slot,
                                 struct bf_err *err) {
    enum bf_code code = slot_find(b, topic, partition, slot, err);
    if (code == BF_OK)
        code = check_offset(b, *slot, offset, err);
    if (code == BF_OK && (b->item_count == UINT32_MAX || !bf_room(b->items, b->item_count, b->item_capacity, 1024)))
        code = bf_fail(err, BF_NOMEM, 0, "no memory for a batch of %zu records", b->item_count);
    return code;
}

static void item_add(struct hot_batch *b, struct slot *slot, const struct item *item) {
    struct item *added = &b->items[b->item_count++];
    *added = *item;
    added->slot = (uint32_t)(slot - b->slots);
    added->topic_no = slot->topic_no;
    slot->next_offset = item->end_offset;
    slot->items++;
    b->bytes += item->record_len + sizeof *item;
    if (item->kind != ITEM_GAP)
        b->records++;
}

static enum bf_code record_room(struct hot_batch *b, size_t size, struct item *item, struct bf_err *err) {
    item->record = size <= INT32_MAX ? arena_alloc(&b->arena, size) : NULL;
    item->record_len = (uint32_t)size;
    return item->record != NULL ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for a record of %zu bytes", size);
}

enum bf_code hot_batch_event(struct hot_batch *b, const struct event *ev, struct bf_err *err) {
    struct slot *slot;
    if (ev->node_id.data == NULL || ev->node_id.len == 0 || ev->node_id.len > HOT_NODE_MAX)
        return bf_fail(err, BF_INVALID, 0, "a node id has 1 to %d bytes, not %zu", HOT_NODE_MAX, ev->node_id.len);
    enum bf_code code = item_prepare(b, ev->topic, ev->partition, ev->offset, &slot, err);
    struct item item = {
        .kind = ITEM_EVENT,
        .linked = ev->has_cause || ev->trace_id.data != NULL,
        .offset = ev->offset,
        .end_offset = ev->offset + 1,
        .event_time_us = ev->event_time_us,
        .kafka_time_us = ev->kafka_time_us,
        .id = ev->id,
    };
    if (code == BF_OK)
        code = record_room(b, record_event_size(ev), &item, err);
    if (code != BF_OK)
        return code;
    hot_content_hash(ev, item.content_hash);
    record_event_put(item.record, slot->topic_no, ev, item.content_hash);
    item.node = record_event_node((struct bf_slice){item.record, item.record_len});
    item.node_hash = bf_hash(item.node.data, item.node.len);
    item_add(b, slot, &item);
    return BF_OK;
}

enum bf_code hot_batch_poison(struct hot_batch *b, const struct poison *p, struct bf_err *err) {
    struct slot *slot;
    enum bf_code code = item_prepare(b, p->topic, p->partition, p->offset, &slot, err);
    struct item item = {
        .kind = ITEM_POISON,
        .disposition = DISPOSITION_QUARANTINED,
        .offset = p->offset,
        .end_offset = p->offset + 1,
        .kafka_time_us = p->kafka_time_us,
    };
    if (code == BF_OK)
        code = record_room(b, record_poison_size(p), &item, err);
    if (code != BF_OK)
        return code;
    record_poison_put(item.record, slot->topic_no, p);
    item_add(b, slot, &item);
    return BF_OK;
}

enum bf_code hot_batch_gap(struct hot_batch *b, const struct interval *gap, struct bf_err *err) {
    struct slot *slot;
    if (gap->disposition != DISPOSITION_CONTROL && gap->disposition != DISPOSITION_LOST)
        return bf_fail(err, BF_INVALID, 0, "a gap is control or lost, not %s", disposition_name(gap->disposition));
    if (gap->to <= gap->from)
        return bf_fail(err, BF_INVALID, 0, "a gap from %lld to %lld", (long long)gap->from, (long long)gap->to);
    enum bf_code code = item_prepare(b, gap->topic, gap->partition, gap->from, &slot, err);
    if (code != BF_OK)
        return code;
    item_add(b, slot, &(struct item){.kind = ITEM_GAP, .disposition = (uint8_t)gap->disposition, .offset = gap->from, .end_offset = gap->to});
    return BF_OK;
}

enum bf_code hot_batch_partition(struct hot_batch *b, struct bf_slice topic, int32_t partition, int64_t epoch, int64_t next_offset,
                                 struct bf_err *err) {
    struct slot *slot;
    enum bf_code code = slot_find(b, topic, partition, &slot, err);
    if (code != BF_OK)
        return code;
    if (slot->items > 0)
        return bf_fail(err, BF_INVALID, 0, "%s/%d has records in this batch already: commit them under their epoch first",
                       b->h->topics[slot->topic_no]->name, partition);
    slot->stated = true;
    slot->epoch = epoch;
    if (next_offset >= 0)
        slot->base_offset = slot->next_offset = next_offset;
    return BF_OK;
}
