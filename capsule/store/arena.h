/* A chain of memory blocks that is filled from the front and emptied as a whole: for what lives as long as a batch or a page.
 *
 * The handle is a pointer that starts NULL. Pointers into it stay good until clear or fini. Not thread-safe.
 */
#ifndef ARENA_H
#define ARENA_H

#include "bf_buf.h"

#include <stddef.h>

struct arena_block;

/* `size` bytes aligned to 8; NULL when memory ran out. */
void *arena_alloc(struct arena_block **arena, size_t size);
/* A copy of the bytes; an absent slice stays absent. False when memory ran out. */
bool arena_copy(struct arena_block **arena, struct bf_slice from, struct bf_slice *to);
void arena_clear(struct arena_block **arena); /* keeps one block for the next use */
void arena_fini(struct arena_block **arena);

#endif
