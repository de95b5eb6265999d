/* Replays into Kafka, as the archive keeps them (capsule.replay_jobs). Errors and threads as in archive.h. */
#ifndef ARCHIVE_REPLAYS_H
#define ARCHIVE_REPLAYS_H

#include "archive.h"
#include "bf_node_id.h"

enum replay_state { REPLAY_RUNNING, REPLAY_PAUSED, REPLAY_CANCELLED, REPLAY_DONE, REPLAY_FAILED };
const char *replay_state_name(enum replay_state s);

#define REPLAY_NAME_MAX 200
#define REPLAY_TOPICS_BYTES (EVENT_TOPICS_MAX * (BF_TOPIC_MAX + 1))

struct replay_job {
    struct bf_uuid id;
    char name[REPLAY_NAME_MAX + 1];
    char topics[REPLAY_TOPICS_BYTES]; /* separated by commas; empty: all */
    char node[BF_NODE_ID_MAX + 1], node_prefix[BF_NODE_ID_MAX + 1];
    bool has_prefix;
    enum event_order order;
    int64_t from, to;   /* event time, recorded_at or offset, by the order */
    int32_t partition;  /* with ORDER_OFFSET */
    int64_t known_by_us, rate;
    int32_t partitions;
    enum replay_state state;
    int64_t created_at_us, started_at_us, ended_at_us; /* 0: not yet */
    int64_t sent, first_place, last_place, place;
    bool has_place;
    char detail[512];
};

/* The job's question; its strings are borrowed from the job. */
void replay_job_query(const struct replay_job *job, struct event_query *q);

BF_MUST_CHECK enum bf_code archive_replay_put(struct archive *a, const struct replay_job *job, struct bf_err *err);
BF_MUST_CHECK enum bf_code archive_replay_get(struct archive *a, const struct bf_uuid *id, struct replay_job *out, struct bf_err *err);
/* Newest first; free(*out). */
BF_MUST_CHECK enum bf_code archive_replay_list(struct archive *a, size_t limit, struct replay_job **out, size_t *count, struct bf_err *err);
/* From running to paused, from paused to running, from either to cancelled. BF_EXISTS: its state does not allow that. BF_NOT_FOUND. */
BF_MUST_CHECK enum bf_code archive_replay_move(struct archive *a, const struct bf_uuid *id, enum replay_state to, struct bf_err *err);
/* One running job that is this owner's or nobody's (any more), other than those; its heartbeat is set. BF_NOT_FOUND: none. */
BF_MUST_CHECK enum bf_code archive_replay_take(struct archive *a, const struct bf_uuid *owner, int64_t lease_ms, const struct bf_uuid *others,
                                               size_t other_count, struct replay_job *out, struct bf_err *err);
/* Say how far it is (sent, place, detail, state when it ends); *state is what people want of it. BF_NOT_FOUND: it is another owner's now. */
BF_MUST_CHECK enum bf_code archive_replay_progress(struct archive *a, const struct bf_uuid *owner, const struct replay_job *job,
                                                   enum replay_state *state, struct bf_err *err);

#endif
