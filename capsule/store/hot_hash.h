/* The hot store's digests. Pure; thread-safe. */
#ifndef HOT_HASH_H
#define HOT_HASH_H

#include "bf_buf.h"

/* The first 16 bytes of SHA-256: what stands for a trace id in a key of fixed length. */
void hot_trace_hash(struct bf_slice trace, uint8_t hash[16]);

#endif
