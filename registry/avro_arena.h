/* Memory that is freed all at once: what a parsed schema is made of. Not thread-safe. */
#ifndef AVRO_ARENA_H
#define AVRO_ARENA_H

#include <stddef.h>

struct avro_arena {
    struct avro_arena_block *blocks;
};

/* Zeroed memory, NULL when there is none left. */
void *avro_arena_alloc(struct avro_arena *a, size_t bytes);
char *avro_arena_strndup(struct avro_arena *a, const char *s, size_t len);
void avro_arena_fini(struct avro_arena *a);

#endif
