/* Is this a signal that may go out? Fills in what only we can say, checks what the schema cannot say, and encodes it. One thread at
 * a time.
 *
 * Checked: the node id; the event id's length; event times within the years 0001 to 9999; for RimFastEvent stress within 0 to 1. Then the
 * schema: types, unknown members, missing ones. Filled in where missing and in the schema: event_id (UUIDv7), ingest_ts_ms, logical_clock.
 */
#ifndef PERCEPTION_SIGNAL_CHECK_H
#define PERCEPTION_SIGNAL_CHECK_H

#include "bf_avro_encode.h"
#include "bf_topics.h"

#include <jansson.h>

#define SIGNAL_EVENT_ID_MAX 1024

struct signal_check;

/* `topic` must outlive it. */
BF_MUST_CHECK enum bf_code signal_check_new(const struct bf_topic *topic, const char *schema_json, struct signal_check **out,
                                            struct bf_err *err);
void signal_check_free(struct signal_check *sc);
void signal_check_set_schema_id(struct signal_check *sc, int32_t schema_id);
const json_t *signal_check_schema(const struct signal_check *sc); /* borrowed */

/* `value` is completed in place; `framed` gets the message's value; `key` points into `value`. BF_INVALID is the signal's fault. */
BF_MUST_CHECK enum bf_code signal_check_encode(struct signal_check *sc, json_t *value, struct bf_buf *framed, struct bf_slice *key,
                                               struct bf_err *err);

#endif
