/* What a schema says about a field, found by dotted path: enough to turn text into the right kind of value. Pure. */
#ifndef PERCEPTION_SCHEMA_FIELD_H
#define PERCEPTION_SCHEMA_FIELD_H

#include <jansson.h>

enum schema_field { SCHEMA_FIELD_NONE, SCHEMA_FIELD_STRING, SCHEMA_FIELD_LONG, SCHEMA_FIELD_DOUBLE, SCHEMA_FIELD_BOOLEAN, SCHEMA_FIELD_OTHER };

/* The one part below a map is an entry's key. Unions count as their first branch that is not null. */
enum schema_field schema_field(const json_t *schema, const char *path);

/* Walk or make the objects on the way and set the last part; `value` is taken, also on failure. 0, or -1 when the way is blocked. */
int schema_field_set(json_t *object, const char *path, json_t *value);
/* Borrowed; NULL when it is not there. */
json_t *schema_field_get(const json_t *object, const char *path);

#endif
