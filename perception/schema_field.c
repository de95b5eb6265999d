#include "schema_field.h"

#include <string.h>

static const json_t *branch(const json_t *type) {
    size_t i;
    const json_t *item;

    if (!json_is_array(type)) return type;
    json_array_foreach(type, i, item) {
        if (!json_is_string(item) || strcmp(json_string_value(item), "null") != 0) return item;
    }
    return NULL;
}

static const char *name_of(const json_t *type) {
    while (json_is_object(type)) type = json_object_get(type, "type");
    return json_is_string(type) ? json_string_value(type) : "";
}

static const json_t *member(const json_t *record, const char *name, size_t len) {
    size_t i;
    const json_t *field;

    json_array_foreach(json_object_get(record, "fields"), i, field) {
        const char *has = json_string_value(json_object_get(field, "name"));
        if (has != NULL && strlen(has) == len && memcmp(has, name, len) == 0) return branch(json_object_get(field, "type"));
    }
    return NULL;
}

static enum schema_field kind(const json_t *type) {
    static const struct {
        const char *name;
        enum schema_field kind;
    } rows[] = {{"string", SCHEMA_FIELD_STRING}, {"enum", SCHEMA_FIELD_STRING},  {"int", SCHEMA_FIELD_LONG},
                {"long", SCHEMA_FIELD_LONG},     {"float", SCHEMA_FIELD_DOUBLE}, {"double", SCHEMA_FIELD_DOUBLE},
                {"boolean", SCHEMA_FIELD_BOOLEAN}};
    const char *name = name_of(type);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) == 0) return rows[i].kind;
    }
    return SCHEMA_FIELD_OTHER;
}

enum schema_field schema_field(const json_t *schema, const char *path) {
    const json_t *type = branch(schema);

    while (*path != '\0' && type != NULL) {
        size_t len = strcspn(path, ".");
        while (json_is_object(type) && json_is_object(json_object_get(type, "type"))) type = json_object_get(type, "type");
        if (strcmp(name_of(type), "map") == 0) {
            if (path[len] == '.') return SCHEMA_FIELD_NONE; /* a path cannot say a key with a dot in it */
            type = branch(json_object_get(type, "values"));
        } else if (strcmp(name_of(type), "record") == 0) {
            type = member(type, path, len);
        } else {
            return SCHEMA_FIELD_NONE;
        }
        path += len + (path[len] == '.');
    }
    return type != NULL ? kind(type) : SCHEMA_FIELD_NONE;
}

int schema_field_set(json_t *object, const char *path, json_t *value) {
    char part[256];

    for (;;) {
        size_t len = strcspn(path, ".");
        if (len >= sizeof part || !json_is_object(object)) {
            json_decref(value);
            return -1;
        }
        memcpy(part, path, len);
        part[len] = '\0';
        if (path[len] == '\0') return json_object_set_new(object, part, value);
        json_t *next = json_object_get(object, part);
        if (next == NULL) {
            next = json_object();
            if (json_object_set_new(object, part, next) != 0) {
                json_decref(value);
                return -1;
            }
        }
        object = next;
        path += len + 1;
    }
}

json_t *schema_field_get(const json_t *object, const char *path) {
    char part[256];

    for (;;) {
        size_t len = strcspn(path, ".");
        if (len >= sizeof part) return NULL;
        memcpy(part, path, len);
        part[len] = '\0';
        json_t *next = json_object_get(object, part);
        if (path[len] == '\0' || next == NULL) return next;
        object = next;
        path += len + 1;
    }
}
