#include "bf_room.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool bf_room_more(void *items, size_t *capacity, size_t item_bytes, size_t at_first) {
    size_t more = *capacity == 0 ? at_first : *capacity * 2;
    void *old, *grown;
    memcpy(&old, items, sizeof old); /* whatever it points to: all object pointers are alike here */
    grown = more <= SIZE_MAX / 2 / item_bytes ? realloc(old, more * item_bytes) : NULL;
    if (grown == NULL)
        return false;
    memcpy(items, &grown, sizeof grown);
    *capacity = more;
    return true;
}
