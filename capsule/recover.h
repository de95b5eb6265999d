/* What must be settled between the hot store, the archive and Kafka before ingest may go on. Called from the thread that writes the hot
 * store (main before the loops start, ingest afterwards).
 *
 *   another database               recover_check_archive: BF_BROKEN unless adopt-archive says that it may be
 *   hot store new or lost          recover_begin_rebuild: ledger and schemas from the archive, reads go to the archive from now on; then, while
 *                                  it serves already, recover_rebuild: ids and nodes. Ingest begins after that
 *   partition given to us          recover_take: raises the epoch; decides where to begin
 *     the archive ends where our     goes on at hot's next offset; the tail is valid. So it is after a restart, and after a restore of an
 *     unarchived tail begins         older backup as long as all that the database forgot is still hot: it is archived again
 *     the archive ends beyond that   somebody else wrote: forgets the tail, learns the ids, goes on at the archive's next offset
 *     the archive ends before that   BF_BROKEN: it was restored from a backup older than what hot still has
 *     nobody ever held it            the log's beginning
 *   a fence that does not hold     recover_reconcile: forgets the tails of partitions that others own now
 */
#ifndef RECOVER_H
#define RECOVER_H

#include "archive.h"
#include "capsule.h"

BF_MUST_CHECK enum bf_code recover_check_archive(struct capsule *c, struct archive *a, struct bf_err *err);
BF_MUST_CHECK enum bf_code recover_begin_rebuild(struct capsule *c, struct archive *a, struct bf_err *err);
/* BF_CANCELLED: stop was asked for. Calling again begins anew and is harmless. */
BF_MUST_CHECK enum bf_code recover_rebuild(struct capsule *c, struct archive *a, struct bf_err *err);
/* Schemas that other instances brought to the archive. Ingest's thread. */
BF_MUST_CHECK enum bf_code recover_learn_schemas(struct capsule *c, struct archive *a, struct bf_err *err);
BF_MUST_CHECK enum bf_code recover_reconcile(struct capsule *c, struct archive *a, struct bf_err *err);

/* Raises the epochs, sets tps[i].offset to where each begins, and says both to the hot store in one commit. BF_AGAIN: Kafka or the archive is
 * away; calling again is harmless. */
BF_MUST_CHECK enum bf_code recover_take(struct capsule *c, struct archive *a, struct bf_consumer *consumer, struct bf_tp *tps, size_t count,
                                        struct bf_err *err);

#endif
