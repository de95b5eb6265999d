/* Ingest: one thread, the only writer of the hot store. Polls Kafka, opens envelopes, commits batches. Never waits for PostgreSQL while it
 * holds partitions; asks it only when partitions change hands.
 *
 * A batch is committed when it is full or when nothing more is waiting, so it is large under load and small when idle.
 */
#ifndef INGEST_H
#define INGEST_H

#include "capsule.h"

/* Makes c->consumer (it must be NULL) and starts the thread. */
BF_MUST_CHECK enum bf_code ingest_start(struct capsule *c, struct ingest **out, struct bf_err *err);
/* Commits what is in hand, leaves the group, joins. NULL is fine. c->consumer stays until ingest_free(). */
void ingest_stop(struct ingest *in);
void ingest_free(struct ingest *in);

#endif
