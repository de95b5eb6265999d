/* Event identity: UUIDv7 for what we make (RFC 9562 §5.7), version-8 UUIDs for what is derived (§5.8). Thread-safe. */
#ifndef BF_EVENT_ID_H
#define BF_EVENT_ID_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdbool.h>
#include <stdint.h>

#define BF_UUID_TEXT_LEN 36

struct bf_uuid {
    uint8_t b[16];
};

/* Time-ordered within the process: same millisecond, still ascending. */
struct bf_uuid bf_uuid_v7(void);

/* Lower-case text, NUL-terminated. */
void bf_uuid_format(char dst[BF_UUID_TEXT_LEN + 1], const struct bf_uuid *id);
/* True when text is a UUID in the 8-4-4-4-12 form, either case, any version. */
bool bf_uuid_parse(struct bf_slice text, struct bf_uuid *out);

/* What an event id given as text means: itself when it is a UUID; else the version-8 UUID of the first 16 bytes of
 * SHA-256("butterfly:event-id:" + text), version and variant bits set. *is_source (may be NULL) says that text is kept as source_id. */
struct bf_uuid bf_event_id_from_text(struct bf_slice text, bool *is_source);

/* For a message without any id: the version-8 UUID of SHA-256 over topic, key, event time (8 bytes, big-endian) and value, each prefixed
 * by its length as 8 bytes, big-endian; a part that is absent (data NULL) has length 2^64-1 and no bytes. */
struct bf_uuid bf_event_id_derive(struct bf_slice topic, struct bf_slice key, int64_t event_time_us, struct bf_slice value);

/* For an event that another one caused: SHA-256 over cause id (16 bytes), rule name and a discriminator (may be NULL: absent), each
 * prefixed as above. Reprocessing makes the same. */
struct bf_uuid bf_event_id_caused(const struct bf_uuid *cause, const char *rule, const char *discriminator);

#endif
