/* The archiver's second connection: while one chunk is written, the rows of the next one are copied already, in a transaction that is left
 * open. Whoever takes it adds fence, ledger and offsets and commits, so chunks are committed one after the other all the same.
 *
 * A thread of its own; the calls below are the archiver's. What was prepared is a guess: it is thrown away whenever the log, the fence or the
 * connection is not as it was.
 */
#ifndef ARCHIVE_AHEAD_H
#define ARCHIVE_AHEAD_H

#include "archive_lane.h"

struct archive_ahead;

BF_MUST_CHECK enum bf_code archive_ahead_start(struct capsule *c, struct archive_ahead **out, struct bf_err *err);
void archive_ahead_stop(struct archive_ahead *ahead); /* NULL is fine */

/* Begin with the commits after `after_us`; nothing may be prepared or under way. */
void archive_ahead_begin(struct archive_ahead *ahead, int64_t after_us);
/* Wait for what was begun. True: the commits after `after_us` are staged, and *lane was exchanged for the lane that holds them. False: nothing is
 * prepared (any more). */
bool archive_ahead_take(struct archive_ahead *ahead, int64_t after_us, struct archive_lane **lane);

#endif
