/* A hot store in a temporary folder, random batches, and the model they are compared with: plain arrays, searched by brute force.
 *
 * The model keeps its own copies of everything it was told and works out by itself what is a duplicate, a revision and a coverage interval. */
#ifndef HOT_FIXTURE_H
#define HOT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arena.h"
#include "hot.h"

#define FIXTURE_MAP_BYTES ((int64_t)64 << 20)

/* Reports err->msg when it is not what was wanted. */
#define assert_code(expected, call) fixture_assert_code((expected), (call), &err, __FILE__, __LINE__)
#define assert_ok(call) assert_code(BF_OK, call)
void fixture_assert_code(enum bf_code expected, enum bf_code code, const struct bf_err *err, const char *file, int line);

char *fixture_dir(void);             /* a new folder; fixture_dir_remove() */
void fixture_dir_remove(char *dir);
extern size_t fixture_node_run_min; /* for fixture_open(): some commits write runs of the node index, some do not */
struct hot *fixture_open(const char *dir, int64_t map_bytes);

/* xorshift64*: the same numbers for the same seed, everywhere */
uint64_t rnd(uint64_t *state);
int64_t rnd_below(uint64_t *state, int64_t n);

struct bf_slice text(const char *s);
struct bf_uuid uuid_of(uint64_t n);
/* A plain event of `rim.fast-path`; its strings are static or must outlive it. */
struct event plain_event(const char *topic, int32_t partition, int64_t offset, uint64_t id, const char *node, int64_t event_time_us,
                         const char *value);

#define MODEL_TOPICS 3
#define MODEL_PARTITIONS 3
#define MODEL_OFFSETS 4096
#define MODEL_NODES 12

struct model {
    struct arena_block *arena;
    struct event *events; /* as stored, in recorded order */
    size_t event_count;
    struct duplicate *duplicates;
    size_t duplicate_count;
    struct poison *poisons;
    size_t poison_count;
    size_t capacity; /* of each of the three */
    int8_t coverage[MODEL_TOPICS][MODEL_PARTITIONS][MODEL_OFFSETS]; /* disposition; -1: none */
    int64_t next[MODEL_TOPICS][MODEL_PARTITIONS];
    uint64_t seed;
    int64_t hot_from_us;
};
extern const char *const model_topics[MODEL_TOPICS];
extern const char *const model_nodes[MODEL_NODES];

void model_init(struct model *m, uint64_t seed);
void model_fini(struct model *m);
/* Add about `size` random things to the store and to the model, commit, and compare the outcome of each. */
void model_batch(struct model *m, struct hot *h, size_t size);
/* A random question, borrowed from the model and static text. */
void model_question(struct model *m, struct event_query *q);

void assert_same_event(const struct event *a, const struct event *b);

#endif
