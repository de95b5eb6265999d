/* Waiting for a group: how many bytes of ours lie in a partition that the group has not committed yet. For a broker that forgets (the
 * embedded one keeps the last 5 MiB of a partition), so that nothing is overwritten before it was read. Thread-safe. */
#ifndef PERCEPTION_HOLD_BACK_H
#define PERCEPTION_HOLD_BACK_H

#include "bf_err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hold_back;

BF_MUST_CHECK enum bf_code hold_back_new(const char *bootstrap, const char *group, const char *topic, int64_t bytes_max,
                                         struct hold_back **out, struct bf_err *err);
void hold_back_free(struct hold_back *h);

void hold_back_queued(struct hold_back *h, size_t bytes);
/* The broker has it, at this place; or it failed (offset < 0). */
void hold_back_delivered(struct hold_back *h, int32_t partition, int64_t offset, size_t bytes);

/* May the next one go? Asks the group at most every 50 ms; false: wait a little. */
bool hold_back_may_send(struct hold_back *h);
/* What the fullest partition holds, with everything on its way. */
int64_t hold_back_bytes(struct hold_back *h);

#endif
