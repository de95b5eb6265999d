/* JSON text straight to Avro binary: the quick way for producers whose signals come as text. It takes only what it is sure of, and says no to
 * the rest; what it takes has the bytes that bf_json_parse() and bf_avro_encode() give (held together by a differential test). So whoever uses it
 * keeps the long way behind it, which also knows how to say what is wrong.
 *
 * Schemas: records of strings, longs, ints, doubles, booleans, each perhaps in a union with null, of maps of those, and of records of the same.
 * Text: no escapes in strings, no member twice, no more than 32 entries in a map. One thread at a time.
 */
#ifndef BF_AVRO_TEXT_H
#define BF_AVRO_TEXT_H

#include "bf_avro.h"
#include "bf_buf.h"
#include "bf_err.h"

#include <stdbool.h>
#include <stdint.h>

struct bf_avro_text;

/* BF_NOT_FOUND: the schema is not of that kind. BF_INVALID: it is none. */
BF_MUST_CHECK enum bf_code bf_avro_text_new(const char *schema_json, struct bf_avro_text **out, struct bf_err *err);
void bf_avro_text_free(struct bf_avro_text *t);

/* The number of the field at this dotted path, -1: there is none (a map and what is in it has none). */
int bf_avro_text_slot(const struct bf_avro_text *t, const char *path);

/* Read one object, which the text is; false: not for us. Values are borrowed from the text until the next read. */
bool bf_avro_text_read(struct bf_avro_text *t, struct bf_slice text);
/* What was read or set: BF_AVRO_ABSENT, NULL, BOOLEAN, LONG, DOUBLE, STRING. */
const struct bf_avro_field *bf_avro_text_value(const struct bf_avro_text *t, int slot);
/* Give a long or a string (borrowed until the next read) a value in place of what it had; false: the field is no such. */
bool bf_avro_text_set_long(struct bf_avro_text *t, int slot, int64_t value);
bool bf_avro_text_set_string(struct bf_avro_text *t, int slot, struct bf_slice value);
/* Append the Avro bytes; false: something that has no default is missing, or `out` is full. */
bool bf_avro_text_write(const struct bf_avro_text *t, struct bf_buf *out);

#endif
