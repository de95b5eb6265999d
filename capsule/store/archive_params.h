/* Parameters of a statement in PostgreSQL's binary form, and values out of binary results. For the files that own libpq only.
 *
 * A value appended lives in one buffer; nothing has to be freed one by one. Each adder returns the parameter's number ($1 is 1).
 * Times are our microseconds; what lies before year 1 or after 9999 becomes -infinity or infinity.
 */
#ifndef ARCHIVE_PARAMS_H
#define ARCHIVE_PARAMS_H

#include "bf_buf.h"
#include "bf_event_id.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#define PARAMS_MAX 40

/* pg_type.dat: these oids are the same in every PostgreSQL. */
enum pg_oid {
    PG_BOOL = 16, PG_BYTEA = 17, PG_INT8 = 20, PG_INT4 = 23, PG_TEXT = 25, PG_TIMESTAMPTZ = 1184, PG_UUID = 2950,
    PG_INT4_ARRAY = 1007, PG_TEXT_ARRAY = 1009, PG_INT8_ARRAY = 1016, PG_TIMESTAMPTZ_ARRAY = 1185, PG_UUID_ARRAY = 2951
};

struct params {
    int count;
    Oid types[PARAMS_MAX];
    size_t at[PARAMS_MAX];
    int lengths[PARAMS_MAX]; /* -1: null */
    struct bf_buf bytes;
    size_t array_at; /* where the open array's header begins */
};

void params_init(struct params *p);
void params_fini(struct params *p);
void params_clear(struct params *p);

int params_text(struct params *p, struct bf_slice text); /* absent: null */
int params_bytea(struct params *p, struct bf_slice bytes); /* absent: null */
int params_bool(struct params *p, bool v);
int params_int4(struct params *p, int32_t v);
int params_int8(struct params *p, int64_t v);
int params_time(struct params *p, int64_t time_us);
int params_uuid(struct params *p, const struct bf_uuid *id);

/* One array at a time: begin with its type, add the elements, end. */
int params_array(struct params *p, enum pg_oid array_type);
void params_array_text(struct params *p, struct bf_slice text);
void params_array_int4(struct params *p, int32_t v);
void params_array_int8(struct params *p, int64_t v);
void params_array_time(struct params *p, int64_t time_us);
void params_array_uuid(struct params *p, const struct bf_uuid *id);
void params_array_end(struct params *p);

/* Text that a text column takes: U+0000 as U+FFFD, and when it is no UTF-8, every byte above 0x7f as '?'. Appends. */
void pg_put_text(struct bf_buf *out, struct bf_slice text);
/* A value of a COPY row or an array element: length and bytes. */
void pg_put_field(struct bf_buf *out, const void *data, size_t len);
void pg_put_null(struct bf_buf *out);
int64_t pg_time_from_us(int64_t time_us);
int64_t pg_time_to_us(int64_t pg);

/* Results; columns in binary form and, but for the slices, not null (0 when null). Slices are borrowed from the result. */
int32_t pg_int4(const PGresult *r, int row, int col);
int64_t pg_int8(const PGresult *r, int row, int col);
int64_t pg_time(const PGresult *r, int row, int col);
bool pg_uuid(const PGresult *r, int row, int col, struct bf_uuid *out); /* false: null */
struct bf_slice pg_bytes(const PGresult *r, int row, int col);          /* text and bytea; absent: null */

#endif
