/* An event as its public JSON (the contract's §3), decoded from the raw value, so that both tiers give the same bytes. Thread-safe as long as
 * each thread has its own buffer. */
#ifndef EVENT_JSON_H
#define EVENT_JSON_H

#include "bf_json.h"
#include "event.h"
#include "schema_cache.h"

/* Write the event's object. `extra` (may be NULL) is called before the closing brace to add members (cursor, revisions …). */
BF_MUST_CHECK enum bf_code event_json_write(struct bf_json *j, const struct event *ev, struct schema_cache *schemas,
                                            void (*extra)(struct bf_json *j, void *ctx), void *ctx, struct bf_err *err);
/* Only the payload: null for a tombstone. */
BF_MUST_CHECK enum bf_code event_json_payload(struct bf_buf *out, const struct event *ev, struct schema_cache *schemas, struct bf_err *err);

#endif
