/* Where each partition ended, kept over restarts (docs/adr/0005): a broker that begins at offset 0 again would contradict everybody who wrote down an
 * offset. One thread. */
#ifndef DEVBROKER_OFFSETS_H
#define DEVBROKER_OFFSETS_H

#include "bf_kafka.h"

#include <stdbool.h>

struct offsets;

/* Reads DIR/offsets (and makes DIR); a file that is not there is an empty one. */
BF_MUST_CHECK enum bf_code offsets_open(const char *dir, struct offsets **out, struct bf_err *err);
void offsets_close(struct offsets *o);
/* Make the topics that are known and fill their partitions with null records that carry the header `butterfly-filler`, up to where they ended. */
BF_MUST_CHECK enum bf_code offsets_fill(struct offsets *o, struct bf_mock_cluster *cluster, struct bf_err *err);
/* Write down where partitions end. Unless it is the last time, a margin is added, so that an end without a last time does not give an offset
 * twice: then some offsets stay unused. */
BF_MUST_CHECK enum bf_code offsets_save(struct offsets *o, struct bf_mock_cluster *cluster, bool last, struct bf_err *err);

#endif
