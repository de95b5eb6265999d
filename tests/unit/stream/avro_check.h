/* Short ways to compile a schema, make Avro bytes by hand and say what they must decode to. */
#ifndef AVRO_CHECK_H
#define AVRO_CHECK_H

#include "bf_avro.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A slice of a string literal, NULs and all. */
#define BYTES(literal) ((struct bf_slice){literal, sizeof(literal) - 1})

struct bf_avro *compile(const char *schema);
struct bf_avro *compile_paths(const char *schema, const char *const *paths, size_t count);

/* The schema's decoder makes exactly this JSON of the bytes, and refuses every prefix of them and them with a byte more. */
void expect_json(const char *schema, struct bf_slice bytes, const char *json);
/* Only the first half of it: where a prefix may be a value of its own. */
void expect_json_only(const char *schema, struct bf_slice bytes, const char *json);
/* It refuses them, for this reason, with these words somewhere in the message; with and without JSON. */
void expect_fault(const char *schema, struct bf_slice bytes, enum bf_avro_fault fault, const char *words);
void expect_fault_within(const struct bf_avro *a, struct bf_slice bytes, const struct bf_avro_limits *limits, enum bf_avro_fault fault,
                         const char *words);
/* The schema is refused with these words. */
void expect_bad_schema(const char *schema, const char *words);

/* Avro binary by hand. */
void put_long(struct bf_buf *b, int64_t v);
void put_text(struct bf_buf *b, const char *s);
void put_double(struct bf_buf *b, double v);
struct bf_slice bytes_of(const struct bf_buf *b);

#endif
