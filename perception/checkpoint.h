/* How far a file was published, in a small file of its own: written every second, and at the end, beside and moved into place. After a kill the
 * next run goes on behind the last record that Kafka had acknowledged; what it publishes again has the same bytes, because what is
 * filled in comes from the checkpoint and the record's number. One thread.
 *
 *   {"version":1,"id":UUID,"begun_ms":…,"topic":…,"newest_first":false,"head_bytes":N,"head":UUID,"size":…,"done":records}
 *
 * "head" is a hash of the file's first bytes: another file is refused. A file may have grown, unless its newest record is first. */
#ifndef PERCEPTION_CHECKPOINT_H
#define PERCEPTION_CHECKPOINT_H

#include "bf_err.h"
#include "bf_event_id.h"

#include <stdbool.h>
#include <stdint.h>

struct checkpoint {
    const char *path, *topic; /* borrowed */
    struct bf_uuid id, head;
    int64_t begun_ms, head_bytes, size, done;
    bool newest_first;
};

/* Read what `path` says about `file`, or begin (and write) a new one. BF_INVALID: it is of something else, or no checkpoint. */
BF_MUST_CHECK enum bf_code checkpoint_open(const char *path, const char *file, const char *topic, bool newest_first, struct checkpoint *out,
                                           struct bf_err *err);
/* BF_BROKEN: it cannot be written. */
BF_MUST_CHECK enum bf_code checkpoint_save(const struct checkpoint *c, struct bf_err *err);
/* The id of the record's nth signal, where the input gives none. */
struct bf_uuid checkpoint_event_id(const struct checkpoint *c, int64_t record, int64_t nth);

#endif
