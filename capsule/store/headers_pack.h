/* Kafka headers packed for keeping: for each: name length (u16 BE), name, value length (i32 BE, -1: null), value. No header: absent slice.
 * Pure; thread-safe. */
#ifndef HEADERS_PACK_H
#define HEADERS_PACK_H

#include "bf_buf.h"
#include "bf_err.h"
#include "bf_kafka.h"

#include <stdbool.h>

void headers_pack(const struct bf_header *headers, size_t count, struct bf_buf *out);

/* Walk: *at starts at 0; false at the end or at the first malformed byte. name is not NUL-terminated. */
bool headers_next(struct bf_slice packed, size_t *at, struct bf_slice *name, struct bf_slice *value);
/* The first header of that name; false when absent. */
bool headers_find(struct bf_slice packed, const char *name, struct bf_slice *value);

#endif
