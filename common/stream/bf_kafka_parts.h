/* The partitions a consumer was given, and where each one stands. Private to the consumer; one thread.
 *
 * Phases of a partition:   given ──► WAITING ──(the caller said where)──► READING ──► taken (removed)
 *                                       ▲                                    │
 *                                       └──── position refused, try later ───┘
 * WAITING: a member of the group holds it, nothing is fetched. READING: librdkafka fetches from `expected`.
 * IGNORED: the group gave it to us although its topic is none of ours; it stays with us, unread.
 */
#ifndef BF_KAFKA_PARTS_H
#define BF_KAFKA_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BF_PART_UNKNOWN = -2 };
enum bf_part_phase { BF_PART_WAITING, BF_PART_READING, BF_PART_IGNORED };

struct bf_part {
    struct bf_part *next_in_bucket;
    char *topic;
    int32_t partition;
    enum bf_part_phase phase;
    int64_t committed;   /* by the group when it was given; -1: nothing; BF_PART_UNKNOWN: not asked yet */
    int64_t expected;    /* READING: the next offset to hand out; WAITING with retries > 0: where to read again */
    /* Nothing was read since the position was set, so an offset above `expected` may as well be left over from before: it
     * counts only when reading from `expected` once more gives the same. */
    bool unproven;
    int64_t seen_once;   /* that offset; -1: none yet */
    int64_t not_before_us; /* WAITING: do not read before this (monotonic) */
    int position_retries; /* how often in a row the broker refused `expected` although it should have it */
};

enum { BF_PARTS_BUCKETS = 512 };

struct bf_parts {
    struct bf_part *buckets[BF_PARTS_BUCKETS];
    struct bf_part *last; /* found last: messages come in runs */
    size_t count;
};

/* The partition or NULL; borrowed until it is removed. */
struct bf_part *bf_parts_find(struct bf_parts *parts, const char *topic, int32_t partition);
/* Add one, WAITING; it must not be there. NULL when memory is out. */
struct bf_part *bf_parts_add(struct bf_parts *parts, const char *topic, int32_t partition);
void bf_parts_remove(struct bf_parts *parts, struct bf_part *part);
void bf_parts_clear(struct bf_parts *parts);
/* All of them: start with NULL; the one handed out may not be removed before the next call. */
struct bf_part *bf_parts_next(const struct bf_parts *parts, const struct bf_part *part);

/* The position is now `offset`, and nothing was read from it. */
void bf_part_position(struct bf_part *part, int64_t offset);

enum bf_part_verdict { BF_PART_TAKE, BF_PART_STALE, BF_PART_READ_AGAIN };
/* What to do with something that came at `offset`: take it (the caller then sets expected), drop it, or read from expected once more. */
enum bf_part_verdict bf_part_judge(struct bf_part *part, int64_t offset);

#endif
