/* Is this a signal that may go out? Fills in what only we can say, checks what the schema cannot say, and encodes it. One thread at
 * a time.
 *
 * Checked: the node id; the event id's length; event times within the years 0001 to 9999; for RimFastEvent stress within 0 to 1. Then the
 * schema: types, unknown members, missing ones. Filled in where missing and in the schema: event_id (UUIDv7), ingest_ts_ms, logical_clock.
 */
#ifndef PERCEPTION_SIGNAL_CHECK_H
#define PERCEPTION_SIGNAL_CHECK_H

#include "bf_buf.h"
#include "bf_err.h"
#include "bf_node_id.h"
#include "bf_topics.h"

#include <jansson.h>

#define SIGNAL_EVENT_ID_MAX 1024

struct signal_check;

/* `topic` and `schema_json` must outlive it. */
BF_MUST_CHECK enum bf_code signal_check_new(const struct bf_topic *topic, const char *schema_json, struct signal_check **out,
                                            struct bf_err *err);
/* Another one like it, for another thread. */
BF_MUST_CHECK enum bf_code signal_check_copy(const struct signal_check *sc, struct signal_check **out, struct bf_err *err);
void signal_check_free(struct signal_check *sc);
void signal_check_set_schema_id(struct signal_check *sc, int32_t schema_id);
const json_t *signal_check_schema(const struct signal_check *sc); /* borrowed */

/* A signal ready to go. Its buffer is used again and again. */
struct signal {
    struct bf_buf framed; /* the message's value */
    char key[BF_NODE_ID_MAX];
    size_t key_len;
};
void signal_init(struct signal *s);
void signal_fini(struct signal *s);
static inline struct bf_slice signal_key(const struct signal *s) { return (struct bf_slice){s->key, s->key_len}; }
static inline struct bf_slice signal_value(const struct signal *s) { return (struct bf_slice){s->framed.data, s->framed.len}; }

/* What is filled in where a signal says nothing. NULL in its place: UUIDv7, now, the process's own counter. From a source that can be read again
 * it is a function of the place, so that the same signal has the same bytes each time. */
struct signal_origin {
    struct bf_slice event_id; /* borrowed; not empty, at most SIGNAL_EVENT_ID_MAX */
    int64_t ingest_ts_ms, logical_clock;
};

/* `value` is completed in place. BF_INVALID is the signal's fault. */
BF_MUST_CHECK enum bf_code signal_check_value(struct signal_check *sc, json_t *value, const struct signal_origin *origin, struct signal *out,
                                              struct bf_err *err);
/* The same from JSON text. */
BF_MUST_CHECK enum bf_code signal_check_text(struct signal_check *sc, struct bf_slice text, const struct signal_origin *origin,
                                             struct signal *out, struct bf_err *err);

#endif
