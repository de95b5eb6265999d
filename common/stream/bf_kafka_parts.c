/* A hash table of partitions, and the judgement which messages fit. A gap above the expected offset is legal (transaction markers,
 * compaction), so the only way to tell it from a message left over in librdkafka's queue is to look twice. */
#include "bf_kafka_parts.h"

#include <stdlib.h>
#include <string.h>

static size_t bucket_of(const char *topic, int32_t partition) {
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
    for (const unsigned char *p = (const unsigned char *)topic; *p != '\0'; p++) h = (h ^ *p) * UINT64_C(1099511628211);
    h = (h ^ (uint32_t)partition) * UINT64_C(1099511628211);
    return (size_t)((h ^ (h >> 32)) % BF_PARTS_BUCKETS);
}

static bool is(const struct bf_part *part, const char *topic, int32_t partition) {
    return part->partition == partition && strcmp(part->topic, topic) == 0;
}

struct bf_part *bf_parts_find(struct bf_parts *parts, const char *topic, int32_t partition) {
    if (parts->last != NULL && is(parts->last, topic, partition)) return parts->last;
    struct bf_part *part = parts->buckets[bucket_of(topic, partition)];
    while (part != NULL && !is(part, topic, partition)) part = part->next_in_bucket;
    if (part != NULL) parts->last = part;
    return part;
}

struct bf_part *bf_parts_add(struct bf_parts *parts, const char *topic, int32_t partition) {
    struct bf_part *part = calloc(1, sizeof *part);

    if (part == NULL || (part->topic = strdup(topic)) == NULL) {
        free(part);
        return NULL;
    }
    size_t bucket = bucket_of(topic, partition);
    part->partition = partition;
    part->phase = BF_PART_WAITING;
    part->expected = part->seen_once = -1;
    part->committed = BF_PART_UNKNOWN;
    part->next_in_bucket = parts->buckets[bucket];
    parts->buckets[bucket] = part;
    parts->count++;
    return part;
}

void bf_parts_remove(struct bf_parts *parts, struct bf_part *part) {
    struct bf_part **link = &parts->buckets[bucket_of(part->topic, part->partition)];

    while (*link != part) link = &(*link)->next_in_bucket;
    *link = part->next_in_bucket;
    if (parts->last == part) parts->last = NULL;
    parts->count--;
    free(part->topic);
    free(part);
}

void bf_parts_clear(struct bf_parts *parts) {
    struct bf_part *part;
    while ((part = bf_parts_next(parts, NULL)) != NULL) bf_parts_remove(parts, part);
}

struct bf_part *bf_parts_next(const struct bf_parts *parts, const struct bf_part *part) {
    size_t bucket = 0;

    if (part != NULL) {
        if (part->next_in_bucket != NULL) return part->next_in_bucket;
        bucket = bucket_of(part->topic, part->partition) + 1;
    }
    while (bucket < BF_PARTS_BUCKETS && parts->buckets[bucket] == NULL) bucket++;
    return bucket < BF_PARTS_BUCKETS ? parts->buckets[bucket] : NULL;
}

void bf_part_position(struct bf_part *part, int64_t offset) {
    if (part->expected != offset) part->seen_once = -1;
    part->expected = offset;
    part->unproven = true;
}

enum bf_part_verdict bf_part_judge(struct bf_part *part, int64_t offset) {
    if (part->phase != BF_PART_READING || offset < part->expected) return BF_PART_STALE;
    if (part->unproven && offset > part->expected && offset != part->seen_once) {
        part->seen_once = offset;
        return BF_PART_READ_AGAIN;
    }
    part->unproven = false;
    part->seen_once = -1;
    part->position_retries = 0;
    return BF_PART_TAKE;
}
