/* The archiver: one thread that follows the hot log by recorded_at and ships it to PostgreSQL, chunk by chunk.
 *
 * It alone waits for PostgreSQL; nothing else of the line does. What PostgreSQL refuses is found and quarantined (reason "refused"); a lost
 * fence is handed to ingest, which forgets what is others' now; only when that does not help does it stop the process (c->fatal).
 */
#ifndef ARCHIVER_H
#define ARCHIVER_H

#include "capsule.h"

/* c->store, c->hot, c->schemas and c->metrics must be there. */
BF_MUST_CHECK enum bf_code archiver_start(struct capsule *c, struct archiver **out, struct bf_err *err);
/* Stop after the transaction in hand and join. NULL is fine. */
void archiver_stop(struct archiver *ar);

/* Block until everything recorded at or before recorded_at_us is in PostgreSQL. BF_AGAIN: it was not within timeout_ms. Any thread. */
BF_MUST_CHECK enum bf_code archiver_wait_through(struct archiver *ar, int64_t recorded_at_us, int64_t timeout_ms);

#endif
