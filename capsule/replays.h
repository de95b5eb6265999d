/* Replays into Kafka: jobs, kept in the archive, run here, each on a thread of its own (a few at a time; the others wait).
 *
 * A job sends its events into `replay.{name}` in transactions, and each transaction carries the place it got to. A job that is killed anywhere is
 * taken up again by this instance at its next start, or by another one when it is silent for half a minute, and read_committed readers see
 * each event once. Headers: those of the original, and capsule-replay-id, capsule-topic, capsule-partition, capsule-offset, capsule-event-id,
 * capsule-revision, capsule-event-time, capsule-kafka-time, capsule-recorded-at (RFC 3339). Key and value are as they were; the timestamp is
 * the original one.
 */
#ifndef REPLAYS_H
#define REPLAYS_H

#include "archive_replays.h"
#include "capsule.h"

struct replays;

BF_MUST_CHECK enum bf_code replays_start(struct capsule *c, struct replays **out, struct bf_err *err);
/* Leaves running jobs as they are, to be taken up at the next start; joins. NULL is fine. */
void replays_stop(struct replays *r);

/* For the API, any thread. */
BF_MUST_CHECK enum bf_code replays_add(struct replays *r, const struct replay_job *job, struct bf_err *err);
BF_MUST_CHECK enum bf_code replays_get(struct replays *r, const struct bf_uuid *id, struct replay_job *out, struct bf_err *err);
BF_MUST_CHECK enum bf_code replays_list(struct replays *r, size_t limit, struct replay_job **out, size_t *count, struct bf_err *err);
BF_MUST_CHECK enum bf_code replays_move(struct replays *r, const struct bf_uuid *id, enum replay_state to, struct replay_job *out,
                                        struct bf_err *err);

#endif
