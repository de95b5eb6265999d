/* The model of an Avro schema (Avro 1.12 specification, "Schema Declaration"): parsed strictly, kept whole, written
 * back in one form.
 *
 * For comparing and storing schemas, not for data. Strict: names are ASCII, a name is defined before it is used,
 * defaults fit their type, nothing is redefined. Bounded: text, nesting and the number of types have limits, so any
 * input ends quickly. A schema is immutable once parsed and may be read by many threads. Everything it holds lives
 * until avro_schema_free().
 */
#ifndef AVRO_SCHEMA_H
#define AVRO_SCHEMA_H

#include "bf_buf.h"
#include "bf_err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AVRO_SCHEMA_BYTES_MAX (4u << 20) /* one schema's text */
#define AVRO_SCHEMA_DEPTH_MAX 64         /* nesting of definitions */
#define AVRO_SCHEMA_TYPES_MAX 100000     /* types in one schema, references included */

enum avro_type {
    AVRO_NULL,
    AVRO_BOOLEAN,
    AVRO_INT,
    AVRO_LONG,
    AVRO_FLOAT,
    AVRO_DOUBLE,
    AVRO_BYTES,
    AVRO_STRING,
    AVRO_RECORD,
    AVRO_ENUM,
    AVRO_ARRAY,
    AVRO_MAP,
    AVRO_UNION,
    AVRO_FIXED
};

struct avro_node;

struct avro_field {
    const char *name, *doc; /* doc NULL: none */
    const char *order;      /* "ascending", "descending", "ignore" */
    const struct avro_node *type;
    json_t *deflt; /* NULL: none; JSON null is a default */
    const char **aliases;
    size_t alias_count;
    json_t *object; /* the field as it was written, for its other properties */
};

/* A type. Each place where a primitive, array, map or union is written is a node of its own; a named type is one node
 * however often it is referred to. */
struct avro_node {
    enum avro_type type;
    bool error;                            /* a record written as "error" */
    bool referenced;                       /* defined by a reference, not by the schema itself */
    bool complete;                         /* RECORD: all fields are known (false only while parsing) */
    const char *name, *space, *full, *doc; /* named types; space NULL: none */
    const char **aliases;                  /* full names */
    size_t alias_count;
    struct avro_field *fields; /* RECORD */
    size_t field_count;
    json_t *field_index;  /* RECORD: field name to index */
    const char **symbols; /* ENUM */
    size_t symbol_count;
    json_t *symbol_index;
    const char *enum_default; /* NULL: none */
    int64_t fixed_size;
    const struct avro_node **branches; /* UNION all; ARRAY items and MAP values as the only one */
    size_t branch_count;
    json_t *object; /* as it was written, for the other properties; NULL where it was only a name */
};

struct avro_schema;

/* A schema that this one refers to by the names defined in it; parsed before it. */
struct avro_schema_reference {
    const char *text;
    size_t len;
};

/* BF_INVALID: err says what is wrong, in words for the schema's author. */
BF_MUST_CHECK enum bf_code avro_schema_parse(const char *text, size_t len, const struct avro_schema_reference *refs,
                                             size_t ref_count, struct avro_schema **out, struct bf_err *err);
void avro_schema_free(struct avro_schema *s);
const struct avro_node *avro_schema_root(const struct avro_schema *s);

const char *avro_type_name(enum avro_type t);                                               /* "record" … */
const struct avro_field *avro_node_field(const struct avro_node *record, const char *name); /* NULL: no such field */
bool avro_node_is_named(const struct avro_node *n);

/* Write the schema on one line in the order of attributes that Java's Schema.toString() uses: two texts that differ in
 * white space or in the order of attributes become one. Types of references are written by name. `normalize`: also full
 * names, other properties and aliases sorted, empty docs left out. */
void avro_schema_write(const struct avro_schema *s, bool normalize, struct bf_buf *out);

/* Does a JSON value fit as the default of a field of this type? A record that is still being read takes no default. */
bool avro_default_fits(const struct avro_node *type, const json_t *value);

#endif
