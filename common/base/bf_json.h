/* A fast JSON writer onto a bf_buf (RFC 8259), and strict reading through jansson.
 *
 * The writer puts commas itself, never fails by itself (see bf_buf.failed) and nests at most BF_JSON_DEPTH_MAX deep (deeper is
 * a failure of the buffer). Strings must be valid UTF-8; `"`, `\` and control characters are escaped, all else goes through.
 * Doubles come in the shortest form that reads back equal; NaN and the infinities become the strings "NaN", "Infinity",
 * "-Infinity". Not thread-safe.
 */
#ifndef BF_JSON_H
#define BF_JSON_H

#include "bf_buf.h"
#include "bf_err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define BF_JSON_DEPTH_MAX 250

struct bf_json {
    struct bf_buf *out;
    int depth;
    bool comma;     /* the next value in the current container needs a comma */
};

void bf_json_init(struct bf_json *j, struct bf_buf *out);
void bf_json_object(struct bf_json *j);     /* { */
void bf_json_object_end(struct bf_json *j); /* } */
void bf_json_array(struct bf_json *j);
void bf_json_array_end(struct bf_json *j);
void bf_json_key(struct bf_json *j, const char *key); /* key needs no escaping */
void bf_json_key_n(struct bf_json *j, const char *key, size_t len); /* any key */
/* A key with its quotes and colon, made beforehand; the text can be read up to the next multiple of BF_JSON_READY_PAD. */
#define BF_JSON_READY_PAD ((size_t)16)
void bf_json_key_ready(struct bf_json *j, const char *text, size_t len);
void bf_json_string(struct bf_json *j, const char *s); /* NULL writes null */
void bf_json_string_n(struct bf_json *j, const char *s, size_t len);
void bf_json_int(struct bf_json *j, int64_t v);
void bf_json_double(struct bf_json *j, double v);
void bf_json_bool(struct bf_json *j, bool v);
void bf_json_null(struct bf_json *j);
void bf_json_base64(struct bf_json *j, const void *data, size_t len); /* RFC 4648 §4, padded */
void bf_json_raw(struct bf_json *j, const char *json, size_t len);    /* a complete value, written as it is */

/* Shorthands for members. */
void bf_json_member_string(struct bf_json *j, const char *key, const char *s);
void bf_json_member_int(struct bf_json *j, const char *key, int64_t v);
void bf_json_member_bool(struct bf_json *j, const char *key, bool v);
void bf_json_time(struct bf_json *j, int64_t time_us);
void bf_json_member_time(struct bf_json *j, const char *key, int64_t time_us); /* RFC 3339, six digits, Z */

/* Strict reading: duplicates rejected, one value only. The caller owns *out (json_decref). */
BF_MUST_CHECK enum bf_code bf_json_parse(const char *text, size_t len, json_t **out, struct bf_err *err);
BF_MUST_CHECK enum bf_code bf_json_load_file(const char *path, json_t **out, struct bf_err *err);

/* Well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool bf_utf8_valid(const void *data, size_t len);

/* The shortest decimal that reads back as v (finite); returns the length; not NUL-terminated. */
#define BF_DOUBLE_TEXT_MAX ((size_t)32)
size_t bf_double_format(char dst[BF_DOUBLE_TEXT_MAX], double v);

#endif
