/* What the Avro files share and nobody else sees: the schema as a graph of types, and the flat program it is compiled into.
 *
 * bf_avro_schema.c reads JSON into the graph, bf_avro_compile.c turns the graph into a program, bf_avro_decode.c runs it; the encoder walks
 * the graph. Types and strings live in one arena and are freed together. Immutable once built.
 */
#ifndef BF_AVRO_PROGRAM_H
#define BF_AVRO_PROGRAM_H

#include "bf_avro.h"
#include "bf_json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- arena ---- */

struct avro_arena {
    struct avro_arena_block *blocks;
    size_t used, size; /* of the newest block */
};
void *avro_arena_alloc(struct avro_arena *a, size_t bytes); /* zeroed; NULL when memory ran out */
char *avro_arena_strdup(struct avro_arena *a, const char *s, size_t len);
void avro_arena_fini(struct avro_arena *a);

/* ---- types ---- */

enum avro_type_kind {
    AVRO_T_NULL, AVRO_T_BOOLEAN, AVRO_T_INT, AVRO_T_LONG, AVRO_T_FLOAT, AVRO_T_DOUBLE, AVRO_T_BYTES, AVRO_T_STRING, /* by name */
    AVRO_T_RECORD, AVRO_T_ENUM, AVRO_T_FIXED,                                                                        /* named */
    AVRO_T_ARRAY, AVRO_T_MAP, AVRO_T_UNION
};

/* Unscaled values are at most this long; a schema's precision that needs more makes the type plain bytes. */
#define AVRO_DECIMAL_BYTES_MAX 1024
#define AVRO_DECIMAL_DIGITS_MAX 2466

struct avro_record_field {
    const char *name;
    const char *doc; /* NULL: none */
    const struct avro_type *type;
    const json_t *fallback; /* the default; NULL: none. Borrowed from the schema's JSON: only while that is kept */
};

struct avro_type {
    enum avro_type_kind kind;
    enum bf_avro_logical logical;
    bool decimal; /* of bytes or fixed */
    uint32_t scale;
    uint32_t size;    /* fixed */
    const char *name; /* full name of the named ones */
    size_t count;     /* of fields, symbols or branches */
    struct avro_record_field *fields;
    struct bf_slice *symbols;
    const struct avro_type **branches;
    const struct avro_type *item; /* array, map */
};

/* Named types known so far, in the order of their definition. */
struct avro_names {
    const struct avro_type **types;
    size_t count, capacity;
};
void avro_names_fini(struct avro_names *n);

/* Read one schema; names it defines are added to *names. With `again_ok` a name that is there already is skipped instead of an error (two
 * references may bring the same type). Everything lands in *arena, also on failure. */
BF_MUST_CHECK enum bf_code avro_schema_read(const json_t *json, bool again_ok, struct avro_arena *arena, struct avro_names *names,
                                            const struct avro_type **out, struct bf_err *err);

/* ---- program ---- */

enum avro_op_code {
    /* One value each. */
    OP_NULL, OP_BOOLEAN, OP_INT, OP_LONG, OP_FLOAT, OP_DOUBLE, OP_BYTES, OP_STRING,
    OP_FIXED,         /* a: size */
    OP_ENUM,          /* a: which of enums, b: count */
    OP_DECIMAL_BYTES, /* a: scale */
    OP_DECIMAL_FIXED, /* a: scale, b: size */
    /* Structure. */
    OP_UNION,     /* a: first target, b: count; the branch's code ends with OP_JUMP or falls out */
    OP_OPTIONAL,  /* union of null and one other; a: where it ends, b: index of null; else the code follows */
    OP_JUMP,      /* a: where to */
    OP_CALL,      /* a record; a: its code, b: its weight */
    OP_RECORD,    /* the record's begin */
    OP_RETURN,    /* the record's end */
    OP_ARRAY,     /* a: behind the loop; b: 1 when an item takes at least a byte, else 0 */
    OP_ARRAY_END, /* a: the loop's begin */
    OP_MAP,       /* a: behind the loop */
    OP_MAP_KEY,   /* a: first watched key, b: count */
    OP_MAP_END,   /* a: the loop's begin */
    OP_STOP
};

#define AVRO_SLOT_NONE 0xff
#define AVRO_SLOT_KEY 0xfe /* what the last OP_MAP_KEY found */

struct avro_op {
    uint8_t code;
    uint8_t slot; /* which field is picked here */
    uint8_t logical;
    bool keyed; /* in JSON, write the name first */
    uint32_t name; /* index of the nearest field's name, also for messages */
    uint32_t a, b;
};
_Static_assert(sizeof(struct avro_op) == 16, "four to a cache line");

struct avro_watched_key {
    struct bf_slice key;
    uint8_t slot;
};

struct avro_name {
    const char *text;
    const char *ready; /* as bf_json_key_ready() wants it */
    size_t ready_len;
};

struct bf_avro {
    struct avro_arena arena;
    struct avro_op *ops;
    struct avro_name *names; /* [0] is "value" */
    const struct avro_type **enums;
    uint32_t *targets;
    struct avro_watched_key *keys;
    uint32_t op_count, name_count, enum_count, target_count, key_count;
    size_t path_count;
    uint8_t same_path[BF_AVRO_PATHS_MAX]; /* the first path of the same text: its own index unless it is a repeat */
    bool repeats;
    struct bf_avro_column *columns;
    size_t column_count;
};

/* ---- decimals ---- */

/* Room for `len` <= AVRO_DECIMAL_BYTES_MAX bytes' digits, sign, point and the zeros of a scale <= AVRO_DECIMAL_DIGITS_MAX. */
#define AVRO_DECIMAL_TEXT_MAX 2500
/* Two's-complement big-endian to decimal text, not NUL-terminated; returns its length. No bytes are zero. */
size_t avro_decimal_format(char dst[AVRO_DECIMAL_TEXT_MAX], const uint8_t *bytes, size_t len, uint32_t scale);
/* Decimal text to the shortest such bytes; false when it is no decimal, has more digits behind the point than scale or is too long. */
bool avro_decimal_parse(const char *text, uint32_t scale, uint8_t dst[AVRO_DECIMAL_BYTES_MAX], size_t *len);

#endif
