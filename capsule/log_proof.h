/* Is a partition's log still the one that was read? An unclean election may cut it back, a topic may be deleted and made anew, and librdkafka 2.0
 * sees neither. So reading begins at the last event that is held, and the record found there must be that event.
 *
 * If it is not, or if the log ends before it, the log is read from its beginning and compared, record by record, with what is held; from the
 * first one on that is not known to be the same, its offsets belong to other records: the ledger beyond goes aside (capsule.log_cuts says where and
 * when), and reading goes on there. Events are never forgotten; those that come again are duplicates.
 *
 * A record that cannot be compared (a duplicate, poison, a transaction's mark) proves nothing either way. Ingest's thread only.
 */
#ifndef LOG_PROOF_H
#define LOG_PROOF_H

#include "archive.h"
#include "capsule.h"

struct log_proof { /* of one partition; all zero but topic and partition: nothing to prove */
    const char *topic; /* borrowed from whoever keeps the proof */
    int32_t partition;
    bool on, whole;    /* whole: from the log's beginning, not only the last event */
    int64_t known_end; /* offsets below are held already */
    int64_t begin;     /* where reading began */
    int64_t same_end;  /* offsets below hold the same records as before */
    struct archive_cut last_cut; /* cut_at_us 0: none */
};

/* What to do with something that lies below known_end. */
enum proof_verdict {
    PROOF_SKIP,  /* it is held: go on behind it */
    PROOF_WHOLE, /* it is another: read the log from its beginning, after log_proof_whole() */
    PROOF_CUT,   /* it is another, and same_end is where the log differs: log_proof_cut() */
};

/* Where to begin reading so that the last event below next_offset is met: at most next_offset. BF_AGAIN: the archive is away. */
BF_MUST_CHECK enum bf_code log_proof_begin(struct capsule *c, struct archive *a, int64_t next_offset, struct log_proof *proof, int64_t *begin,
                                           struct bf_err *err);
/* From low on, all that is held up to known_end. */
void log_proof_whole(struct log_proof *proof, int64_t low, int64_t known_end);
BF_MUST_CHECK enum bf_code log_proof_record(struct capsule *c, struct log_proof *proof, const struct bf_message *msg, enum proof_verdict *verdict,
                                            struct bf_err *err);
/* The log ends at an offset below known_end: PROOF_WHOLE or PROOF_CUT. */
enum proof_verdict log_proof_end(const struct log_proof *proof);
/* Everything is recorded; archive the rest, set the ledgers back to same_end. BF_AGAIN: not everything is archived yet, or the archive is away. */
BF_MUST_CHECK enum bf_code log_proof_cut(struct capsule *c, struct archive *a, struct log_proof *proof, struct bf_err *err);
/* Evict all that is archived, and stand at `from`: also what is left to do when the process ended in between. */
BF_MUST_CHECK enum bf_code log_proof_cut_hot(struct capsule *c, const char *topic, int32_t partition, int64_t from, int64_t archived_through_us,
                                             struct bf_err *err);

#endif
