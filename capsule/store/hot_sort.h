/* Sorting of index keys before they go into a tree: neighbours in the tree are then neighbours in time, and a page is touched once. Pure. */
#ifndef HOT_SORT_H
#define HOT_SORT_H

#include <stddef.h>
#include <stdint.h>

struct sort_key {
    uint64_t w[3];
    uint32_t item; /* not compared */
};

/* Stable, ascending by w. `spare` has room for n, too; the result is in the one of both that is returned. Keys that come in few
 * ascending runs cost n log(runs), others about n, when their first words are spread. */
struct sort_key *hot_sort(struct sort_key *keys, struct sort_key *spare, size_t n);

#endif
