/* What of a replay's file is whole: its lines, records or blocks, and the cursor behind the last of them. The file may have been cut anywhere, and may hold
 * anything: nothing in it is trusted further than its length.
 */
#ifndef REPLAY_UNITS_H
#define REPLAY_UNITS_H

#include "bf_buf.h"
#include "bf_err.h"

enum replay_format { REPLAY_NDJSON, REPLAY_CSV, REPLAY_AVRO };

struct replay_units {
    size_t whole;         /* bytes from the start that hold whole units; NDJSON's last line, the end's, is not among them */
    uint64_t events;      /* in them */
    struct bf_slice end;  /* NDJSON: the end's line without its newline; absent: not there */
    struct bf_buf cursor; /* behind the last event, NUL-ended; len 0: at the start */
};

void replay_units_init(struct replay_units *u);
void replay_units_fini(struct replay_units *u);
/* BF_INVALID: this is no such file. `u` may have been used before. u->end borrows from data. */
BF_MUST_CHECK enum bf_code replay_units_scan(enum replay_format format, const char *data, size_t len, struct replay_units *u, struct bf_err *err);

#endif
