/* The records of the hot log as bytes: event, duplicate, poison. Pure; thread-safe.
 *
 * Native byte order and memcpy'd heads: the log never leaves its machine. Decoding checks every length; false means that the
 * store is corrupt. Views borrow from the record's bytes; topics are numbers here and named by the caller.
 */
#ifndef HOT_RECORD_H
#define HOT_RECORD_H

#include "event.h"

enum record_type { RECORD_EVENT = 1, RECORD_DUPLICATE, RECORD_POISON };

/* What stands at the same place in all three. */
struct record_peek {
    enum record_type type;
    uint32_t topic_no;
    int32_t partition;
    int64_t offset;
};
bool record_peek(struct bf_slice record, struct record_peek *out);

size_t record_event_size(const struct event *ev);
void record_event_put(char *dst, uint32_t topic_no, const struct event *ev, const uint8_t content_hash[16]); /* revision as in ev */
void record_event_set_revision(char *record, uint32_t revision);
struct bf_slice record_event_node(struct bf_slice record);              /* of one that was just put */
/* Whose an event's record is; false: it is not an event's. */
struct record_id {
    uint32_t topic_no, revision;
    struct bf_uuid id;
    uint8_t content_hash[16];
};
bool record_event_id(struct bf_slice record, struct record_id *out);
/* Everything but topic and recorded_at. */
bool record_event_get(struct bf_slice record, struct event *out);

#define RECORD_DUPLICATE_BYTES 48
void record_duplicate_put(char dst[RECORD_DUPLICATE_BYTES], uint32_t topic_no, const struct duplicate *dup);
bool record_duplicate_get(struct bf_slice record, struct duplicate *out);

size_t record_poison_size(const struct poison *p);
void record_poison_put(char *dst, uint32_t topic_no, const struct poison *p);
bool record_poison_get(struct bf_slice record, struct poison *out);

#endif
