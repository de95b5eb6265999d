/* Fitting a default walks the value and, where a record's default leaves out fields, those fields' own defaults. That
 * second way can double at each level of nesting, so the walk has a budget; a default that uses it up does not fit. */
#include "avro_schema.h"

#define STEPS_MAX 1000000

static bool fits(const struct avro_node *type, const json_t *value, int *steps);

static bool record_fits(const struct avro_node *type, const json_t *value, int *steps) {
    if (!json_is_object(value)) {
        return false;
    }
    if (!type->complete) {
        *steps = 0; /* nothing can be said before its fields are known: no other branch of a union may take the default
                       either */
        return false;
    }
    for (size_t i = 0; i < type->field_count; i++) {
        const struct avro_field *f = &type->fields[i];
        const json_t *given = json_object_get(value, f->name);
        if (given == NULL) {
            given = f->deflt;
        }
        if (given == NULL || !fits(f->type, given, steps)) {
            return false;
        }
    }
    return true;
}

static bool array_fits(const struct avro_node *items, const json_t *value, int *steps) {
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!fits(items, json_array_get(value, i), steps)) {
            return false;
        }
    }
    return json_is_array(value);
}

static bool map_fits(const struct avro_node *values, const json_t *value, int *steps) {
    const char *key;
    json_t *entry;
    json_object_foreach((json_t *)(uintptr_t)value, key, entry) {
        if (!fits(values, entry, steps)) {
            return false;
        }
    }
    return json_is_object(value);
}

static bool union_fits(const struct avro_node *type, const json_t *value, int *steps) {
    for (size_t i = 0; i < type->branch_count; i++) {
        if (fits(type->branches[i], value, steps)) {
            return true;
        }
    }
    return false;
}

static bool fits(const struct avro_node *type, const json_t *value, int *steps) {
    if (--*steps < 0) {
        return false;
    }
    json_int_t const number = json_integer_value(value);
    switch (type->type) {
    case AVRO_NULL: return json_is_null(value);
    case AVRO_BOOLEAN: return json_is_boolean(value);
    case AVRO_INT: return json_is_integer(value) && number >= INT32_MIN && number <= INT32_MAX;
    case AVRO_LONG: return json_is_integer(value);
    case AVRO_FLOAT:
    case AVRO_DOUBLE: return json_is_number(value);
    case AVRO_BYTES:
    case AVRO_STRING:
    case AVRO_FIXED:
    case AVRO_ENUM: return json_is_string(value);
    case AVRO_ARRAY: return array_fits(type->branches[0], value, steps);
    case AVRO_MAP: return map_fits(type->branches[0], value, steps);
    case AVRO_UNION: return union_fits(type, value, steps);
    case AVRO_RECORD: return record_fits(type, value, steps);
    }
    return false;
}

bool avro_default_fits(const struct avro_node *type, const json_t *value) {
    int steps = STEPS_MAX;
    return fits(type, value, &steps);
}
