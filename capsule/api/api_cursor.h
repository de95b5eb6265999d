/* Cursors: a place in one answer's order, opaque to clients, bound to the filter it was made for. Pure; thread-safe.
 *
 * A version byte, the kind of answer, the place, known_by, free text and a checksum over all of it and the filter's hash, as base64url
 * without padding. The checksum finds accidents and mix-ups; it is no secret, and nothing is guarded by it.
 */
#ifndef API_CURSOR_H
#define API_CURSOR_H

#include "bf_buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum api_cursor_kind { CURSOR_EVENTS = 1, CURSOR_HISTORY, CURSOR_REPLAY, CURSOR_WORLD, CURSOR_NODES, CURSOR_QUARANTINE };

#define CURSOR_TEXT_MAX 640
#define CURSOR_ENCODED_MAX 1024 /* with its NUL */

struct api_cursor {
    enum api_cursor_kind kind;
    int64_t primary, recorded_at_us; /* as in struct event_pos */
    int64_t known_by_us;             /* what the first page fixed; 0 where lines must not depend on it */
    struct bf_slice text;            /* a node, or node NUL topic; decoded: borrowed from the caller's buffer */
};

/* Returns the length; dst is NUL-terminated. */
size_t api_cursor_encode(const struct api_cursor *c, uint64_t filter, char dst[CURSOR_ENCODED_MAX]);
/* False: altered, of another kind of answer, or made for another filter. */
bool api_cursor_decode(const char *encoded, enum api_cursor_kind kind, uint64_t filter, struct api_cursor *out,
                       uint8_t buffer[CURSOR_ENCODED_MAX]);

/* A 64-bit hash of what a filter says, for the two above. */
uint64_t api_cursor_hash(uint64_t seed, const void *data, size_t len);

#endif
