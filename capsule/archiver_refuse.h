/* A chunk without the events that PostgreSQL refused: those stand in it as quarantined records, and the ledger says so. */
#ifndef ARCHIVER_REFUSE_H
#define ARCHIVER_REFUSE_H

#include "hot.h"

struct refusal {
    struct hot_chunk chunk; /* arrays of its own; everything they point at is the original's */
    char topic[250];        /* of the last one refused */
    char **details;
    size_t detail_count;
};

void refusal_init(struct refusal *r, const struct hot_chunk *original);
/* Event `index` of r->chunk (before the first call: of the original) is refused because of `why` (copied). */
BF_MUST_CHECK enum bf_code refusal_add(struct refusal *r, size_t index, const char *why, struct bf_err *err);
void refusal_fini(struct refusal *r);

#endif
