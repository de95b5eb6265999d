/* Strict reading of a JSON file that people write (rules, policies): every message names the place in the file, what was found there and what would
 * be right. Pure. */
#ifndef BF_PLACE_H
#define BF_PLACE_H

#include "bf_err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bf_place {
    const json_t *object;
    char where[160]; /* "rules[3].of[0]" */
};

BF_MUST_CHECK enum bf_code bf_place_init(struct bf_place *p, const json_t *value, struct bf_err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Members other than those in the NULL-ended list are errors. */
BF_MUST_CHECK enum bf_code bf_place_only(const struct bf_place *p, const char *const *allowed, struct bf_err *err);

/* Each leaves *out alone when the member is missing; *there (may be NULL) says whether it was there. */
BF_MUST_CHECK enum bf_code bf_place_number(const struct bf_place *p, const char *name, double *out, bool *there, struct bf_err *err);
BF_MUST_CHECK enum bf_code bf_place_duration(const struct bf_place *p, const char *name, int64_t least_us, int64_t *out_us, struct bf_err *err);
BF_MUST_CHECK enum bf_code bf_place_int(const struct bf_place *p, const char *name, int64_t least, int64_t most, int64_t *out, struct bf_err *err);
/* Borrowed from the JSON. */
BF_MUST_CHECK enum bf_code bf_place_text(const struct bf_place *p, const char *name, bool required, const char **out, struct bf_err *err);
/* One text or a list of at most `most` texts; out[*count …] get duplicates from malloc, also when it fails later on. */
BF_MUST_CHECK enum bf_code bf_place_texts(const struct bf_place *p, const char *name, size_t most, char **out, size_t *count, struct bf_err *err);
/* The index of the member's text in the NULL-ended list. */
BF_MUST_CHECK enum bf_code bf_place_choice(const struct bf_place *p, const char *name, const char *const *choices, int *out, struct bf_err *err);

#endif
