/* A hash of bytes for tables in memory and for finding torn pages: eight bytes at a time, multiplied and folded. Not keyed, and nothing that guards:
 * who chooses the bytes can make them collide.
 *
 * Its values are kept in files (CAPSULE's log of reads): it does not change.
 */
#ifndef BF_HASH_H
#define BF_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t bf_hash(const void *data, size_t len) {
    const uint8_t *p = (const uint8_t *)data;
    uint64_t h = UINT64_C(0x9E3779B97F4A7C15) ^ len, word;
    for (; len >= sizeof word; p += sizeof word, len -= sizeof word) {
        memcpy(&word, p, sizeof word);
        h = (h ^ word) * UINT64_C(0xFF51AFD7ED558CCD);
        h ^= h >> 32;
    }
    word = 0;
    if (len > 0) {
        memcpy(&word, p, len);
    }
    h = (h ^ word) * UINT64_C(0xC4CEB9FE1A85EC53);
    return h ^ h >> 32;
}

#endif
