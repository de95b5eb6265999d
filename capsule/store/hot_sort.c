/* Keys in few ascending runs are merged, run by run, from one array into the other. Keys in no order go into buckets by the range of their first word
 * first: one pass takes the place of most merging passes, and what is left lies close together. */
#include "hot_sort.h"

#include <stdbool.h>
#include <string.h>

#define BUCKETS 2048
#define BUCKETS_FROM 512 /* keys; below, merging is as fast */
#define RUNS_FEW 16      /* keys a run on average, that merging copes with well */
#define INSERT_MAX 32    /* keys, that are sorted in place */

static inline bool key_less(const struct sort_key *a, const struct sort_key *b) {
    if (a->w[0] != b->w[0])
        return a->w[0] < b->w[0];
    if (a->w[1] != b->w[1])
        return a->w[1] < b->w[1];
    return a->w[2] < b->w[2];
}

/* ---- merging ---- */

static size_t run_end(const struct sort_key *keys, size_t from, size_t n) {
    size_t i = from + 1;
    while (i < n && !key_less(&keys[i], &keys[i - 1]))
        i++;
    return i < n ? i : n;
}

static void merge(const struct sort_key *a, size_t a_count, const struct sort_key *b, size_t b_count, struct sort_key *to) {
    while (a_count > 0 && b_count > 0) {
        if (key_less(b, a)) {
            *to++ = *b++;
            b_count--;
        } else {
            *to++ = *a++;
            a_count--;
        }
    }
    memcpy(to, a, a_count * sizeof *a);
    memcpy(to + a_count, b, b_count * sizeof *b);
}

static struct sort_key *merge_runs(struct sort_key *keys, struct sort_key *spare, size_t n) {
    for (;;) {
        if (run_end(keys, 0, n) == n)
            return keys;
        for (size_t at = 0; at < n;) {
            size_t middle = run_end(keys, at, n);
            size_t end = middle < n ? run_end(keys, middle, n) : n;
            merge(keys + at, middle - at, keys + middle, end - middle, spare + at);
            at = end;
        }
        struct sort_key *sorted = spare;
        spare = keys;
        keys = sorted;
    }
}

/* ---- buckets ---- */

static void insert_sort(struct sort_key *keys, size_t n) {
    for (size_t i = 1; i < n; i++) {
        struct sort_key key = keys[i];
        size_t at = i;
        for (; at > 0 && key_less(&key, &keys[at - 1]); at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
}

/* Stable; the result is in `spare`. */
static void sort_by_buckets(struct sort_key *keys, struct sort_key *spare, size_t n, uint64_t low, uint64_t high) {
    uint32_t ends[BUCKETS + 1] = {0};
    unsigned shift = 0;
    while ((high - low) >> shift >= BUCKETS)
        shift++;
    for (size_t i = 0; i < n; i++)
        ends[((keys[i].w[0] - low) >> shift) + 1]++;
    for (size_t b = 1; b <= BUCKETS; b++)
        ends[b] += ends[b - 1];
    for (size_t i = 0; i < n; i++) /* ends[b] is where bucket b begins, and in the end where it ends */
        spare[ends[(keys[i].w[0] - low) >> shift]++] = keys[i];
    for (size_t b = 0, from = 0; b < BUCKETS; from = ends[b++]) {
        size_t count = ends[b] - from;
        if (count <= INSERT_MAX)
            insert_sort(spare + from, count);
        else if (merge_runs(spare + from, keys + from, count) != spare + from)
            memcpy(spare + from, keys + from, count * sizeof *keys);
    }
}

struct sort_key *hot_sort(struct sort_key *keys, struct sort_key *spare, size_t n) {
    if (n < 2)
        return keys;
    uint64_t low = keys[0].w[0], high = low;
    size_t runs = 1;
    for (size_t i = 1; i < n; i++) {
        runs += key_less(&keys[i], &keys[i - 1]);
        low = keys[i].w[0] < low ? keys[i].w[0] : low;
        high = keys[i].w[0] > high ? keys[i].w[0] : high;
    }
    if (runs == 1)
        return keys;
    if (n < BUCKETS_FROM || n > UINT32_MAX || runs * RUNS_FEW < n || low == high)
        return merge_runs(keys, spare, n);
    sort_by_buckets(keys, spare, n, low, high);
    return spare;
}
