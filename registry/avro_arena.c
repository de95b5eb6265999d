#include "avro_arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 8192

struct avro_arena_block {
    struct avro_arena_block *next;
    size_t used, size;
    alignas(max_align_t) char data[];
};

void *avro_arena_alloc(struct avro_arena *a, size_t bytes) {
    size_t const align = alignof(max_align_t);
    bytes = (bytes + align - 1) / align * align;
    struct avro_arena_block *b = a->blocks;
    if (b == NULL || b->size - b->used < bytes) {
        size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        b = calloc(1, sizeof *b + size);
        if (b == NULL) {
            return NULL;
        }
        b->size = size;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += bytes;
    return p;
}

char *avro_arena_strndup(struct avro_arena *a, const char *s, size_t len) {
    char *p = avro_arena_alloc(a, len + 1);
    if (p != NULL) {
        memcpy(p, s, len);
    }
    return p;
}

void avro_arena_fini(struct avro_arena *a) {
    while (a->blocks != NULL) {
        struct avro_arena_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
}
