/* What a SQLSTATE (PostgreSQL 15, appendix A) lets the caller do. Pure. */
#ifndef ARCHIVE_SQLSTATE_H
#define ARCHIVE_SQLSTATE_H

#include "bf_err.h"

#include <stddef.h>

struct archive_sqlstate {
    const char *prefix; /* a class (2 characters) or a whole state (5) */
    enum bf_code code;
    const char *why;
};

/* The table, most specific first; what fits no row is BF_BROKEN. */
extern const struct archive_sqlstate archive_sqlstates[];
extern const size_t archive_sqlstate_count;

/* sqlstate NULL or "": the connection failed before the server could say anything: BF_AGAIN. */
enum bf_code archive_sqlstate_code(const char *sqlstate);

#endif
