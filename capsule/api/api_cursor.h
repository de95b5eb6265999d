/* Cursors: a place in one answer's order, opaque to clients, bound to the filter it was made for. Pure; thread-safe.
 *
 * A version byte, the kind of answer, the place, known_by, free text and a MAC over all of it (SipHash-2-4, Aumasson and Bernstein 2012), as
 * base64url without padding. The MAC's key comes from the filter's hash and a key that lies in the archive (api_seal), so that every instance
 * of one archive accepts the cursor and nobody else can make one.
 */
#ifndef API_CURSOR_H
#define API_CURSOR_H

#include "bf_buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum api_cursor_kind { CURSOR_EVENTS = 1, CURSOR_HISTORY, CURSOR_REPLAY, CURSOR_WORLD, CURSOR_NODES, CURSOR_QUARANTINE, CURSOR_FOLLOW, CURSOR_READS };

#define CURSOR_TEXT_MAX 640
#define CURSOR_ENCODED_MAX 1024 /* with its NUL */

struct api_cursor {
    enum api_cursor_kind kind;
    int64_t primary, recorded_at_us; /* as in struct event_pos */
    int64_t known_by_us;             /* what the first page fixed; 0 where lines must not depend on it */
    struct bf_slice text;            /* a node, or node NUL topic; decoded: borrowed from the caller's buffer */
};

/* Returns the length; dst is NUL-terminated. */
size_t api_cursor_encode(const struct api_cursor *c, uint64_t seal, char dst[CURSOR_ENCODED_MAX]);
/* False: altered, of another kind of answer, or made for another filter. */
bool api_cursor_decode(const char *encoded, enum api_cursor_kind kind, uint64_t seal, struct api_cursor *out,
                       uint8_t buffer[CURSOR_ENCODED_MAX]);

#define CURSOR_KEY_BYTES 16
uint64_t api_siphash(const uint8_t key[CURSOR_KEY_BYTES], const void *data, size_t len);
/* A 64-bit hash of what a filter says. */
uint64_t api_cursor_hash(uint64_t seed, const void *data, size_t len);

#endif
