/* Two orders of attributes. The plain one is that of Java's Schema.toString(): type, name, namespace, doc, the kind's
 * own, other properties as they came, aliases. The normal one writes full names, sorts what has no order of its own,
 * and puts logicalType before the other properties. A named type is written out where it first stands, by name after
 * that. */
#include "avro_schema.h"

#include "bf_json.h"

#include <stdlib.h>
#include <string.h>

struct writer {
    struct bf_json j;
    json_t *written; /* full names that are out already */
    bool normalize;
};

static void write_node(struct writer *w, const struct avro_node *n, const char *space);

/* Any JSON value, in the order it has. Reals keep a mark of being real. */
static void write_value(struct writer *w, const json_t *v) {
    const char *key;
    json_t *entry;
    char number[40];
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        bf_json_object(&w->j);
        json_object_foreach((json_t *)(uintptr_t)v, key, entry) {
            bf_json_key_n(&w->j, key, strlen(key));
            write_value(w, entry);
        }
        bf_json_object_end(&w->j);
        break;
    case JSON_ARRAY:
        bf_json_array(&w->j);
        for (size_t i = 0; i < json_array_size(v); i++) {
            write_value(w, json_array_get(v, i));
        }
        bf_json_array_end(&w->j);
        break;
    case JSON_STRING: bf_json_string_n(&w->j, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER: bf_json_int(&w->j, json_integer_value(v)); break;
    case JSON_REAL: {
        size_t len = bf_double_format(number, json_real_value(v));
        if (memchr(number, '.', len) == NULL && memchr(number, 'e', len) == NULL && memchr(number, 'E', len) == NULL) {
            memcpy(number + len, ".0", 2);
            len += 2;
        }
        bf_json_raw(&w->j, number, len);
        break;
    }
    case JSON_TRUE: bf_json_bool(&w->j, true); break;
    case JSON_FALSE: bf_json_bool(&w->j, false); break;
    case JSON_NULL: bf_json_null(&w->j); break;
    }
}

/* ---- other properties ---- */

static bool in_list(const char *const *list, const char *key) {
    while (*list != NULL && strcmp(*list, key) != 0) {
        list++;
    }
    return *list != NULL;
}

static const char *const type_words[] = {"type",   "name",    "namespace", "doc",     "fields", "items",
                                         "values", "symbols", "size",      "aliases", NULL};
static const char *const field_words[] = {"type", "name", "doc", "default", "order", "aliases", NULL};

static bool is_property(const struct avro_node *n, const char *key) {
    return n == NULL ? !in_list(field_words, key)
                     : !in_list(type_words, key) && !(n->type == AVRO_ENUM && strcmp(key, "default") == 0);
}

static bool has_properties(const struct avro_node *n) {
    const char *key;
    json_t *value;
    json_object_foreach(n->object, key, value) {
        if (is_property(n, key)) {
            return true;
        }
    }
    return false;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void write_property(struct writer *w, json_t *object, const char *key) {
    bf_json_key_n(&w->j, key, strlen(key));
    write_value(w, json_object_get(object, key));
}

static void write_properties_sorted(struct writer *w, const struct avro_node *n, json_t *object) {
    const char **keys = calloc(json_object_size(object) + 1, sizeof *keys);
    const char *key;
    json_t *value;
    size_t count = 0;
    if (keys == NULL) {
        w->j.out->failed = true;
        return;
    }
    json_object_foreach(object, key, value) {
        if (is_property(n, key)) {
            keys[count++] = key;
        }
    }
    qsort(keys, count, sizeof *keys, by_text);
    bool logical = n != NULL && json_is_string(json_object_get(object, "logicalType"));
    if (logical) {
        write_property(w, object, "logicalType");
    }
    for (size_t i = 0; i < count; i++) {
        if (!logical || strcmp(keys[i], "logicalType") != 0) {
            write_property(w, object, keys[i]);
        }
    }
    free(keys);
}

/* n NULL: of a field. */
static void write_properties(struct writer *w, const struct avro_node *n, json_t *object) {
    const char *key;
    json_t *value;
    if (w->normalize) {
        write_properties_sorted(w, n, object);
        return;
    }
    json_object_foreach(object, key, value) {
        if (is_property(n, key)) {
            write_property(w, object, key);
        }
    }
}

/* ---- names ---- */

static const char *relative(const char *full, const char *space) {
    const char *dot = strrchr(full, '.');
    size_t len = dot == NULL ? 0 : (size_t)(dot - full);
    bool same = dot != NULL && space != NULL && strlen(space) == len && memcmp(space, full, len) == 0;
    return same ? dot + 1 : full;
}

static void write_aliases(struct writer *w, const char *const *aliases, size_t count, const char *space) {
    if (count == 0) {
        return;
    }
    const char **list = calloc(count, sizeof *list);
    if (list == NULL) {
        w->j.out->failed = true;
        return;
    }
    memcpy(list, aliases, count * sizeof *list);
    if (w->normalize) {
        qsort(list, count, sizeof *list, by_text);
    }
    bf_json_key(&w->j, "aliases");
    bf_json_array(&w->j);
    for (size_t i = 0; i < count; i++) {
        bf_json_string(&w->j, space == NULL ? list[i] : relative(list[i], space));
    }
    bf_json_array_end(&w->j);
    free(list);
}

static bool write_reference(struct writer *w, const struct avro_node *n, const char *space) {
    if (!n->referenced && json_object_get(w->written, n->full) == NULL) {
        return false;
    }
    bf_json_string(&w->j, relative(n->full, space));
    return true;
}

static void write_name(struct writer *w, const struct avro_node *n, const char *space) {
    bf_json_member_string(&w->j, "name", n->name);
    if (n->space != NULL) {
        if (space == NULL || strcmp(n->space, space) != 0) {
            bf_json_member_string(&w->j, "namespace", n->space);
        }
    } else if (space != NULL) {
        bf_json_member_string(&w->j, "namespace", "");
    }
}

/* ---- the kinds of types ---- */

static void write_field(struct writer *w, const struct avro_field *f, const char *space) {
    bf_json_object(&w->j);
    bf_json_member_string(&w->j, "name", f->name);
    bf_json_key(&w->j, "type");
    write_node(w, f->type, space);
    if (f->doc != NULL) {
        bf_json_member_string(&w->j, "doc", f->doc);
    }
    if (f->deflt != NULL) {
        bf_json_key(&w->j, "default");
        write_value(w, f->deflt);
    }
    if (strcmp(f->order, "ascending") != 0) {
        bf_json_member_string(&w->j, "order", f->order);
    }
    write_aliases(w, f->aliases, f->alias_count, NULL);
    write_properties(w, NULL, f->object);
    bf_json_object_end(&w->j);
}

static void write_fields(struct writer *w, const struct avro_node *n) {
    bf_json_key(&w->j, "fields");
    bf_json_array(&w->j);
    for (size_t i = 0; i < n->field_count; i++) {
        write_field(w, &n->fields[i], n->space);
    }
    bf_json_array_end(&w->j);
}

static void write_symbols(struct writer *w, const struct avro_node *n) {
    bf_json_key(&w->j, "symbols");
    bf_json_array(&w->j);
    for (size_t i = 0; i < n->symbol_count; i++) {
        bf_json_string(&w->j, n->symbols[i]);
    }
    bf_json_array_end(&w->j);
    if (n->enum_default != NULL) {
        bf_json_member_string(&w->j, "default", n->enum_default);
    }
}

static void write_named(struct writer *w, const struct avro_node *n, const char *space) {
    if (write_reference(w, n, space)) {
        return;
    }
    json_object_set_new(w->written, n->full, json_true());
    bf_json_object(&w->j);
    bf_json_member_string(&w->j, "type", n->error ? "error" : avro_type_name(n->type));
    write_name(w, n, space);
    if (n->doc != NULL && !(w->normalize && n->doc[0] == '\0')) {
        bf_json_member_string(&w->j, "doc", n->doc);
    }
    if (n->type == AVRO_RECORD) {
        write_fields(w, n);
    } else if (n->type == AVRO_ENUM) {
        write_symbols(w, n);
    } else {
        bf_json_member_int(&w->j, "size", n->fixed_size);
    }
    write_properties(w, n, n->object);
    write_aliases(w, n->aliases, n->alias_count, n->space);
    bf_json_object_end(&w->j);
}

static void write_union(struct writer *w, const struct avro_node *n, const char *space) {
    bf_json_array(&w->j);
    for (size_t i = 0; i < n->branch_count; i++) {
        write_node(w, n->branches[i], space);
    }
    bf_json_array_end(&w->j);
}

static void write_node(struct writer *w, const struct avro_node *n, const char *space) {
    bool container = n->type == AVRO_ARRAY || n->type == AVRO_MAP;
    if (avro_node_is_named(n)) {
        write_named(w, n, space);
    } else if (n->type == AVRO_UNION) {
        write_union(w, n, space);
    } else if (!container && !has_properties(n)) {
        bf_json_string(&w->j, avro_type_name(n->type));
    } else {
        bf_json_object(&w->j);
        bf_json_member_string(&w->j, "type", avro_type_name(n->type));
        if (container) {
            bf_json_key(&w->j, n->type == AVRO_ARRAY ? "items" : "values");
            write_node(w, n->branches[0], space);
        }
        write_properties(w, n, n->object);
        bf_json_object_end(&w->j);
    }
}

void avro_schema_write(const struct avro_schema *s, bool normalize, struct bf_buf *out) {
    struct writer w = {.written = json_object(), .normalize = normalize};
    bf_json_init(&w.j, out);
    if (w.written == NULL) {
        out->failed = true;
        return;
    }
    write_node(&w, avro_schema_root(s), NULL);
    json_decref(w.written);
}
