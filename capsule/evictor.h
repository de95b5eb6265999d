/* What may leave the hot store: archived and older than the hot window, or archived at all when the store runs full. Runs on
 * ingest's thread, a small step at a time. */
#ifndef EVICTOR_H
#define EVICTOR_H

#include "capsule.h"

enum evictor_pressure { EVICTOR_CALM, EVICTOR_TIGHT, EVICTOR_FULL };

struct evictor {
    int64_t next_us; /* monotonic: the next look while calm */
    bool full;       /* hysteresis: from FULL back only when clearly below */
};

/* Drop at most one step's worth. FULL: so little is left that fetching must pause. `store_full`: a commit just did not fit. */
enum evictor_pressure evictor_step(struct evictor *e, struct capsule *c, bool store_full);

#endif
