/* Can a reader's schema read everything that a writer's schema writes? (Avro 1.12 specification, "Schema Resolution".)
 *
 * The verdict is the one that Java's SchemaCompatibility gives, also where that is more lenient than the specification:
 * names match unqualified, pairs that are being compared count as compatible. Pure; bounded by the number of pairs of
 * types.
 */
#ifndef AVRO_COMPAT_H
#define AVRO_COMPAT_H

#include "avro_schema.h"

enum avro_conflict_kind {
    AVRO_CONFLICT_NAME_MISMATCH,
    AVRO_CONFLICT_FIXED_SIZE_MISMATCH,
    AVRO_CONFLICT_MISSING_ENUM_SYMBOLS,
    AVRO_CONFLICT_READER_FIELD_MISSING_DEFAULT_VALUE,
    AVRO_CONFLICT_TYPE_MISMATCH,
    AVRO_CONFLICT_MISSING_UNION_BRANCH,
    AVRO_CONFLICT_UNDECIDED /* two fields fit one, or the comparison is too large */
};

struct avro_conflict {
    enum avro_conflict_kind kind;
    char *path;   /* where in the reader, as a JSON pointer */
    char *detail; /* what it is about, in words */
};

#define AVRO_CONFLICTS_MAX 100 /* more than these are counted, not kept */
#define AVRO_COMPAT_PAIRS_MAX 500000

struct avro_compat {
    bool compatible;
    bool undecided; /* not compatible, because it cannot be said (two fields fit one, or too large) */
    struct avro_conflict *conflicts;
    size_t count;
};

/* BF_OK whatever the verdict. The caller owns what is in *out: avro_compat_fini(). */
BF_MUST_CHECK enum bf_code avro_compat_check(const struct avro_schema *reader, const struct avro_schema *writer,
                                             struct avro_compat *out, struct bf_err *err);
void avro_compat_fini(struct avro_compat *c);

const char *avro_conflict_name(enum avro_conflict_kind kind); /* "NAME_MISMATCH" … */

#endif
