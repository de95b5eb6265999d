/* The gate on schemas/: what a topic's subject would refuse must not be built.
 *
 * For every topic of DIR/topics.json that names a schema: it parses, and it can read what the newest released copy
 * wrote (DIR/released/TOPIC.N.avsc, N counted from 1 without holes); each release can read the one before it; and the
 * released copies are the ones that DIR/released/SHA256SUMS names. */
#ifndef SCHEMA_GATE_H
#define SCHEMA_GATE_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stddef.h>

/* Complaints, one a line, go to `complaints`; the count is returned in *count, the number of comparisons made in
 * *compared. */
BF_MUST_CHECK enum bf_code schema_gate_check(const char *dir, struct bf_buf *complaints, size_t *count,
                                             size_t *compared, struct bf_err *err);

#endif
