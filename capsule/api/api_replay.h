/* What a replay walks through: history in the order asked for, at a pace if one is asked for, then, with follow, what is recorded from then on.
 * Private to this folder.
 *
 * The order with follow: up to the seam (known_by, or what was recorded when it began) as asked; from there on by recorded_at, whatever the
 * event's time. By recorded_at it is one order throughout, so there cursors are those of a replay without follow; else they carry the seam.
 */
#ifndef API_REPLAY_H
#define API_REPLAY_H

#include "api_stream.h"

#define REPLAY_SPEED_MIN 0.1
#define REPLAY_SPEED_MAX 1000.0

struct replay_settings {
    struct event_query q; /* known_by_us: the end, or with follow the seam */
    uint64_t filter;
    bool follow;
    double speed;          /* 0: as fast as possible */
    int64_t max_gap_us;    /* with speed: never wait longer between two events; INT64_MAX: open */
    int64_t heartbeat_us;  /* with follow */
    bool have_after;       /* go on behind this */
    struct event_pos after;
    size_t beyond; /* 0: behind all at that place; else behind so many of them */
};

/* topic…, node, node_prefix, and by, from, to or partition and offsets. False: answered already. */
bool replay_read_question(struct api_call *call, struct event_query *q);

extern const struct api_stream_ops replay_ops;
/* Copies what the query borrows; NULL: no memory. The source for replay_ops, freed by them. */
struct replay *replay_new(const struct replay_settings *settings);
/* Does this question's order need the seam in its cursors? */
bool replay_has_seam(const struct replay_settings *settings);

#endif
