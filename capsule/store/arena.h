/* A chain of memory blocks that is filled from the front and emptied as a whole: for what lives as long as a batch or a page.
 *
 * The handle is a pointer that starts NULL. Pointers into it stay good until clear or fini. Not thread-safe.
 */
#ifndef ARENA_H
#define ARENA_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stddef.h>

struct arena_block;

#define ARENA_ALIGNMENT ((size_t)8)

/* `size` bytes, aligned to ARENA_ALIGNMENT; NULL when memory ran out. */
void *arena_alloc(struct arena_block **arena, size_t size);
/* A copy of the bytes; an absent slice stays absent. False when memory ran out. */
bool arena_copy(struct arena_block **arena, struct bf_slice from, struct bf_slice *to);
void arena_clear(struct arena_block **arena); /* keeps one block for the next use */
/* Empty it, and have one block of at least `size` bytes for what comes: the same as before, whose pages are there, as long as that is enough and not far too
 * much. False when memory ran out. */
BF_MUST_CHECK bool arena_restart(struct arena_block **arena, size_t size);
void arena_fini(struct arena_block **arena);

#endif
