/* Blocks are chained newest first; a request that does not fit opens a new block of at least twice the last one's size, so that the
 * number of blocks grows with the logarithm of what was asked for. */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK_MIN ((size_t)4096)
#define ARENA_BLOCK_MAX ((size_t)16 << 20) /* larger than any batch under load: the one that is kept then holds the next, whose pages are there */

struct arena_block {
    struct arena_block *older;
    size_t used, size;
    _Alignas(16) char bytes[];
};

static struct arena_block *arena_grow(struct arena_block **arena, size_t size) {
    size_t want = *arena == NULL ? ARENA_BLOCK_MIN : (*arena)->size * 2;
    if (want > ARENA_BLOCK_MAX)
        want = ARENA_BLOCK_MAX;
    if (want < size)
        want = size;
    if (want > SIZE_MAX - sizeof(struct arena_block))
        return NULL;
    struct arena_block *block = malloc(sizeof *block + want);
    if (block == NULL)
        return NULL;
    block->older = *arena;
    block->used = 0;
    block->size = want;
    *arena = block;
    return block;
}

void *arena_alloc(struct arena_block **arena, size_t size) {
    if (size > SIZE_MAX - (ARENA_ALIGNMENT - 1))
        return NULL;
    size = (size + ARENA_ALIGNMENT - 1) & ~(ARENA_ALIGNMENT - 1);
    struct arena_block *block = *arena;
    if (block == NULL || block->size - block->used < size)
        block = arena_grow(arena, size);
    if (block == NULL)
        return NULL;
    void *p = block->bytes + block->used;
    block->used += size;
    return p;
}

bool arena_copy(struct arena_block **arena, struct bf_slice from, struct bf_slice *to) {
    if (from.data == NULL) {
        *to = BF_SLICE_NONE;
        return true;
    }
    void *p = arena_alloc(arena, from.len == 0 ? 1 : from.len);
    if (p == NULL)
        return false;
    memcpy(p, from.data, from.len);
    *to = (struct bf_slice){p, from.len};
    return true;
}

void arena_clear(struct arena_block **arena) {
    struct arena_block *kept = *arena;
    if (kept == NULL)
        return;
    struct arena_block *block = kept->older;
    kept->older = NULL;
    kept->used = 0;
    arena_fini(&block);
}

bool arena_restart(struct arena_block **arena, size_t size) {
    arena_clear(arena);
    if (*arena != NULL && ((*arena)->size < size || (*arena)->size / 8 > (size > ARENA_BLOCK_MIN ? size : ARENA_BLOCK_MIN)))
        arena_fini(arena);
    return *arena != NULL || arena_grow(arena, size + size / 4) != NULL; /* what is not written to costs nothing, and the next one is not quite alike */
}

void arena_fini(struct arena_block **arena) {
    for (struct arena_block *block = *arena, *older; block != NULL; block = older) {
        older = block->older;
        free(block);
    }
    *arena = NULL;
}
