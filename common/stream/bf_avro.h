/* The bounded Avro decoder: a writer's schema compiled once into a flat program; one pass turns Avro bytes into JSON and
 * picks out the fields asked for (Avro 1.11 specification, "Binary Encoding").
 *
 * For bytes from outside: every length, count, depth and total is checked before it is used; nothing is allocated per
 * message besides what goes to `json`. A compiled schema is immutable and may be used by many threads.
 *
 * JSON form: unions bare; bytes and fixed as base64; decimal as a decimal string; NaN, Infinity, -Infinity as strings; other logical
 * types stay the number or string that Avro carries; members in schema order; map entries in the order of the bytes.
 */
#ifndef BF_AVRO_H
#define BF_AVRO_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdbool.h>
#include <stdint.h>

struct bf_avro_limits {
    int depth_max;          /* nesting of records, arrays and maps; 0: 64; at most 250 */
    int64_t items_max;      /* array items and map entries in one message, all together; 0: 1,000,000 */
    int64_t json_bytes_max; /* 0: 64 MiB */
};

/* A named schema that the schema refers to (registry "references"), compiled in before it, in order. */
struct bf_avro_reference {
    const char *name;
    const char *schema_json;
};

enum bf_avro_kind { BF_AVRO_ABSENT, BF_AVRO_NULL, BF_AVRO_BOOLEAN, BF_AVRO_LONG, BF_AVRO_DOUBLE, BF_AVRO_STRING, BF_AVRO_BYTES };
enum bf_avro_logical { BF_AVRO_PLAIN, BF_AVRO_TIMESTAMP_MILLIS, BF_AVRO_TIMESTAMP_MICROS, BF_AVRO_TIMESTAMP_NANOS, BF_AVRO_OTHER_LOGICAL };

/* A value picked out by path. int is LONG, float is DOUBLE, enum is STRING (its symbol), fixed is BYTES. BYTES with OTHER_LOGICAL is a
 * decimal (its unscaled bytes), nothing else is. Where a map has a key twice, the last one counts. Structures are ABSENT. Slices are
 * borrowed from the message or from the schema. */
struct bf_avro_field {
    enum bf_avro_kind kind;
    enum bf_avro_logical logical;
    int64_t l; /* LONG; BOOLEAN 0 or 1 */
    double d;
    struct bf_slice s;
};

#define BF_AVRO_PATHS_MAX 32

struct bf_avro;

/* Compile. `paths` are dotted field paths ("vector_timestamp.event_ts_ms"; a last part below a map is an entry's key); fields[i] of a
 * decode belongs to paths[i]. Paths that are not in the schema are ABSENT for ever. BF_INVALID says where the schema is wrong.
 * Recursive schemas are fine. A path through an array is never found. */
BF_MUST_CHECK enum bf_code bf_avro_compile(const char *schema_json, size_t len, const struct bf_avro_reference *refs,
                                           size_t ref_count, const char *const *paths, size_t path_count,
                                           struct bf_avro **out, struct bf_err *err);
void bf_avro_free(struct bf_avro *a);

/* What a rejection was about, for quarantine's `reason`; in err->native of BF_REJECTED. */
enum bf_avro_fault { BF_AVRO_FAULT_AVRO = 1, BF_AVRO_FAULT_UTF8, BF_AVRO_FAULT_LIMIT };

/* Decode one message, all of it (left-over bytes are a fault). json may be NULL: then only checked and picked. `json` gets one JSON
 * value appended; on failure it is cut back to where it was; a JSON that does not fit json->max is a fault of LIMIT like one beyond
 * json_bytes_max. `fields` has room for path_count entries; on failure all of them are ABSENT. */
BF_MUST_CHECK enum bf_code bf_avro_decode(const struct bf_avro *a, struct bf_slice bytes, const struct bf_avro_limits *limits,
                                          struct bf_buf *json, struct bf_avro_field *fields, struct bf_err *err);

/* Field names and their kinds at the top level of a record, for typed views; returns the count, 0 when it is no record. */
struct bf_avro_column {
    const char *name;
    enum bf_avro_kind kind; /* of the non-null branch; ABSENT: a structure, seen as JSON */
    enum bf_avro_logical logical;
    const char *doc; /* NULL when none */
};
size_t bf_avro_columns(const struct bf_avro *a, const struct bf_avro_column **out);

#endif
