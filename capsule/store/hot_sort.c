/* Natural merge sort: each pass merges neighbouring ascending runs from one array into the other, until there is one run. */
#include "hot_sort.h"

#include <stdbool.h>
#include <string.h>

static inline bool key_less(const struct sort_key *a, const struct sort_key *b) {
    if (a->w[0] != b->w[0])
        return a->w[0] < b->w[0];
    if (a->w[1] != b->w[1])
        return a->w[1] < b->w[1];
    return a->w[2] < b->w[2];
}

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

struct sort_key *hot_sort(struct sort_key *keys, struct sort_key *spare, size_t n) {
    if (n < 2)
        return keys;
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
