/* Room for one more at the end of an array that doubles. */
#ifndef BF_ROOM_H
#define BF_ROOM_H

#include "bf_err.h"

#include <stdbool.h>
#include <stddef.h>

/* May items[count] be written? The array (allocated, or NULL with a capacity of 0) is made larger when it is full; false: there is no memory, and nothing has
 * changed. at_first: how many it has room for then. `items`, `count` and `capacity` are expressions without side effects. */
#define bf_room(items, count, capacity, at_first) \
    ((count) < (capacity) || bf_room_more(&(items), &(capacity), sizeof *(items), (at_first)))

/* `items`: where the pointer to the array is. */
BF_MUST_CHECK bool bf_room_more(void *items, size_t *capacity, size_t item_bytes, size_t at_first);

#endif
