/* CSV records (RFC 4180): quotes, doubled quotes, newlines inside quotes, CRLF or LF, a byte order mark. One thread. */
#ifndef PERCEPTION_CSV_H
#define PERCEPTION_CSV_H

#include "bf_buf.h"
#include "bf_err.h"
#include "input.h"

#include <stdint.h>

#define CSV_FIELDS_MAX 4096

struct csv {
    struct input *in; /* borrowed */
    char delimiter;
    int64_t line; /* of the input, the next to be read */
    bool begun;
};

struct csv_record {
    int64_t line;     /* where it begins, from 1 */
    size_t count;     /* fields */
    struct bf_buf text; /* the fields one after the other, each with a NUL behind it */
};

void csv_init(struct csv *csv, struct input *in, char delimiter);

/* The next record that is not an empty line. BF_REJECTED: it is malformed or passes text.max; `line` is set and the next call
 * goes on behind it. BF_NOT_FOUND: the end. */
BF_MUST_CHECK enum bf_code csv_next(struct csv *csv, struct csv_record *record, struct bf_err *err);

/* Point at the fields of `text`; returns how many (at most max). */
size_t csv_fields(const char *text, size_t count, const char **fields, size_t max);

#endif
