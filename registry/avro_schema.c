/* Parsing follows the JSON from the outside in, in document order, because that is the order in which names become
 * known. Nodes, names and arrays come from the arena; docs, symbols, defaults and properties are borrowed from the
 * parsed JSON, which the schema keeps. A named type is entered under its full name before its body is read, so that it
 * can refer to itself. */
#include "avro_schema.h"

#include "avro_arena.h"
#include "bf_json.h"

#include <stdlib.h>
#include <string.h>

struct avro_schema {
    struct avro_arena arena;
    json_t *documents; /* what was parsed, references first */
    json_t *names;     /* full name to index in `named` */
    struct avro_node **named;
    size_t named_count, named_cap;
    const struct avro_node *root;
    size_t type_count;
    int depth;
    bool in_reference;
};

static enum bf_code parse_type(struct avro_schema *s, json_t *json, const char *space, const struct avro_node **out,
                               struct bf_err *err);

static const char *const type_names[] = {"null",   "boolean", "int",  "long",  "float", "double", "bytes",
                                         "string", "record",  "enum", "array", "map",   "union",  "fixed"};

const char *avro_type_name(enum avro_type t) {
    return type_names[t];
}

bool avro_node_is_named(const struct avro_node *n) {
    return n->type == AVRO_RECORD || n->type == AVRO_ENUM || n->type == AVRO_FIXED;
}

const struct avro_node *avro_schema_root(const struct avro_schema *s) {
    return s->root;
}

const struct avro_field *avro_node_field(const struct avro_node *record, const char *name) {
    json_t *index = json_object_get(record->field_index, name);
    return index == NULL ? NULL : &record->fields[json_integer_value(index)];
}

static bool is_primitive(const char *name, enum avro_type *type) {
    for (int t = AVRO_NULL; t <= AVRO_STRING; t++) {
        if (strcmp(name, type_names[t]) == 0) {
            *type = (enum avro_type)t;
            return true;
        }
    }
    return false;
}

static enum bf_code no_memory(struct bf_err *err) {
    return bf_fail(err, BF_NOMEM, 0, "out of memory for a schema");
}

/* A quoted piece of the author's text for messages, cut so that it fits. */
static const char *shown(const json_t *json, char dst[81]) {
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    strncpy(dst, text == NULL ? "?" : text, 80);
    dst[80] = '\0';
    free(text);
    return dst;
}

/* ---- names ---- */

static bool name_ok(const char *s, size_t len) {
    if (len == 0) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9')) {
            return false;
        }
    }
    return true;
}

static enum bf_code check_space(const char *space, size_t len, struct bf_err *err) {
    for (size_t start = 0; start <= len;) {
        const char *dot = memchr(space + start, '.', len - start);
        size_t end = dot == NULL ? len : (size_t)(dot - space);
        if (!name_ok(space + start, end - start)) {
            return bf_fail(err, BF_INVALID, 0, "Illegal namespace: %.100s", space);
        }
        start = end + 1;
    }
    return BF_OK;
}

/* Split a name as written into simple name and namespace; a name with dots brings its own, otherwise `space` holds (may
 * be NULL). */
static enum bf_code split_name(struct avro_schema *s, const char *written, const char *space, const char **name,
                               const char **own_space, const char **full, struct bf_err *err) {
    const char *dot = strrchr(written, '.');
    const char *simple = dot == NULL ? written : dot + 1;
    size_t space_len = dot != NULL ? (size_t)(dot - written) : space == NULL ? 0 : strlen(space);
    const char *space_text = dot != NULL ? written : space;
    if (!name_ok(simple, strlen(simple))) {
        return bf_fail(err, BF_INVALID, 0, "Illegal character or empty part in name: %.100s", written);
    }
    if (space_len > 0 && check_space(space_text, space_len, err) != BF_OK) {
        return err->code;
    }
    size_t name_len = strlen(simple);
    char *f = avro_arena_alloc(&s->arena, space_len + name_len + 2);
    char *sp = space_len == 0 ? NULL : avro_arena_strndup(&s->arena, space_text, space_len);
    if (f == NULL || (space_len > 0 && sp == NULL)) {
        return no_memory(err);
    }
    if (space_len > 0) {
        memcpy(f, space_text, space_len);
        f[space_len] = '.';
        memcpy(f + space_len + 1, simple, name_len);
    } else {
        memcpy(f, simple, name_len);
    }
    *full = f;
    *own_space = sp;
    *name = space_len > 0 ? f + space_len + 1 : f;
    return BF_OK;
}

static enum bf_code define(struct avro_schema *s, struct avro_node *n, struct bf_err *err) {
    enum avro_type primitive;
    if (is_primitive(n->name, &primitive) && n->space == NULL) {
        return bf_fail(err, BF_INVALID, 0, "Schemas may not be named after primitives: %s", n->full);
    }
    if (json_object_get(s->names, n->full) != NULL) {
        return bf_fail(err, BF_INVALID, 0, "Can't redefine: %.200s", n->full);
    }
    if (s->named_count == s->named_cap) {
        size_t cap = s->named_cap == 0 ? 16 : s->named_cap * 2;
        struct avro_node **bigger = realloc(s->named, cap * sizeof *bigger);
        if (bigger == NULL) {
            return no_memory(err);
        }
        s->named = bigger;
        s->named_cap = cap;
    }
    if (json_object_set_new(s->names, n->full, json_integer((json_int_t)s->named_count)) != 0) {
        return no_memory(err);
    }
    s->named[s->named_count++] = n;
    return BF_OK;
}

/* A name in the place of a type: a full name, or one of the namespace that holds there. */
static enum bf_code resolve(struct avro_schema *s, const char *written, const char *space, const struct avro_node **out,
                            struct bf_err *err) {
    const char *name, *own_space, *full;
    if (split_name(s, written, space, &name, &own_space, &full, err) != BF_OK) {
        return err->code;
    }
    json_t *index = json_object_get(s->names, full);
    if (index == NULL) {
        return bf_fail(err, BF_INVALID, 0, "Undefined name: \"%.200s\"", full);
    }
    *out = s->named[json_integer_value(index)];
    return BF_OK;
}

/* ---- pieces of a definition ---- */

static enum bf_code read_strings(struct avro_schema *s, json_t *array, const char *what, const char ***out,
                                 size_t *count, struct bf_err *err) {
    char text[81];
    if (!json_is_array(array)) {
        return bf_fail(err, BF_INVALID, 0, "%s is not an array: %s", what, shown(array, text));
    }
    size_t n = json_array_size(array);
    const char **list = avro_arena_alloc(&s->arena, (n + 1) * sizeof *list);
    if (list == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_array_get(array, i);
        if (!json_is_string(item)) {
            return bf_fail(err, BF_INVALID, 0, "%s: not a string: %s", what, shown(item, text));
        }
        list[i] = json_string_value(item);
    }
    *out = list;
    *count = n;
    return BF_OK;
}

static void drop_repeated(const char **list, size_t *count) {
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        size_t j = 0;
        while (j < kept && strcmp(list[j], list[i]) != 0) {
            j++;
        }
        if (j == kept) {
            list[kept++] = list[i];
        }
    }
    *count = kept;
}

/* Aliases of a type: full names, in the type's namespace where they have none. */
static enum bf_code read_aliases(struct avro_schema *s, struct avro_node *n, struct bf_err *err) {
    json_t *json = json_object_get(n->object, "aliases");
    if (json == NULL) {
        return BF_OK;
    }
    const char **list;
    size_t count;
    if (read_strings(s, json, "aliases", &list, &count, err) != BF_OK) {
        return err->code;
    }
    if (count > 1000) {
        return bf_fail(err, BF_INVALID, 0, "more than 1000 aliases of %s", n->full);
    }
    for (size_t i = 0; i < count; i++) {
        const char *name, *space;
        if (split_name(s, list[i], n->space, &name, &space, &list[i], err) != BF_OK) {
            return err->code;
        }
    }
    drop_repeated(list, &count);
    n->aliases = list;
    n->alias_count = count;
    return BF_OK;
}

static const char *optional_text(json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

/* ---- the kinds of types ---- */

static enum bf_code parse_field(struct avro_schema *s, struct avro_node *record, size_t i, json_t *json,
                                const char *space, struct bf_err *err) {
    struct avro_field *f = &record->fields[i];
    char text[81];
    if (!json_is_object(json)) {
        return bf_fail(err, BF_INVALID, 0, "a field of %s is not an object: %s", record->full, shown(json, text));
    }
    f->object = json;
    f->name = optional_text(json, "name");
    if (f->name == NULL) {
        return bf_fail(err, BF_INVALID, 0, "No field name: %s", shown(json, text));
    }
    if (!name_ok(f->name, strlen(f->name))) {
        return bf_fail(err, BF_INVALID, 0, "Illegal character or empty field name: %.100s", f->name);
    }
    if (json_object_get(record->field_index, f->name) != NULL) {
        return bf_fail(err, BF_INVALID, 0, "Duplicate field %s in record %s", f->name, record->full);
    }
    if (json_object_set_new(record->field_index, f->name, json_integer((json_int_t)i)) != 0) {
        return no_memory(err);
    }
    f->doc = optional_text(json, "doc");
    json_t *type = json_object_get(json, "type");
    if (type == NULL) {
        return bf_fail(err, BF_INVALID, 0, "No field type: %s", shown(json, text));
    }
    if (parse_type(s, type, space, &f->type, err) != BF_OK) {
        return bf_err_prepend(err, "field %.60s", f->name);
    }
    const char *order = optional_text(json, "order");
    f->order = order == NULL ? "ascending" : order;
    if (strcmp(f->order, "ascending") != 0 && strcmp(f->order, "descending") != 0 && strcmp(f->order, "ignore") != 0) {
        return bf_fail(err, BF_INVALID, 0,
                       "field %s: order is \"ascending\", \"descending\" or \"ignore\", not \"%.40s\"", f->name, order);
    }
    f->deflt = json_object_get(json, "default");
    if (f->deflt != NULL && !avro_default_fits(f->type, f->deflt)) {
        return bf_fail(err, BF_INVALID, 0, "Invalid default for field %s: %s is not a %s", f->name,
                       shown(f->deflt, text),
                       avro_node_is_named(f->type) ? f->type->full : avro_type_name(f->type->type));
    }
    json_t *aliases = json_object_get(json, "aliases");
    if (aliases != NULL) {
        if (read_strings(s, aliases, "aliases", &f->aliases, &f->alias_count, err) != BF_OK) {
            return err->code;
        }
        if (f->alias_count > 1000) {
            return bf_fail(err, BF_INVALID, 0, "more than 1000 aliases of field %s", f->name);
        }
        drop_repeated(f->aliases, &f->alias_count);
    }
    return BF_OK;
}

static enum bf_code parse_record(struct avro_schema *s, struct avro_node *n, const char *space, struct bf_err *err) {
    json_t *fields = json_object_get(n->object, "fields");
    if (!json_is_array(fields)) {
        return bf_fail(err, BF_INVALID, 0, "Record has no fields: %s", n->full);
    }
    /* A name without namespace leaves the one around it in force for what is inside. */
    const char *inner = n->space != NULL ? n->space : space;
    n->field_count = json_array_size(fields);
    n->fields = avro_arena_alloc(&s->arena, (n->field_count + 1) * sizeof *n->fields);
    n->field_index = json_object();
    if (n->fields == NULL || n->field_index == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n->field_count; i++) {
        if (parse_field(s, n, i, json_array_get(fields, i), inner, err) != BF_OK) {
            return err->code == BF_INVALID ? bf_err_prepend(err, "%.60s", n->full) : err->code;
        }
    }
    n->complete = true;
    return BF_OK;
}

static enum bf_code parse_enum(struct avro_schema *s, struct avro_node *n, struct bf_err *err) {
    json_t *symbols = json_object_get(n->object, "symbols");
    if (symbols == NULL) {
        return bf_fail(err, BF_INVALID, 0, "Enum has no symbols: %s", n->full);
    }
    if (read_strings(s, symbols, "symbols", &n->symbols, &n->symbol_count, err) != BF_OK) {
        return err->code;
    }
    n->symbol_index = json_object();
    for (size_t i = 0; i < n->symbol_count; i++) {
        if (!name_ok(n->symbols[i], strlen(n->symbols[i]))) {
            return bf_fail(err, BF_INVALID, 0, "Illegal symbol in enum %s: %.100s", n->full, n->symbols[i]);
        }
        if (json_object_get(n->symbol_index, n->symbols[i]) != NULL) {
            return bf_fail(err, BF_INVALID, 0, "Duplicate enum symbol: %s in %s", n->symbols[i], n->full);
        }
        if (json_object_set_new(n->symbol_index, n->symbols[i], json_integer((json_int_t)i)) != 0) {
            return no_memory(err);
        }
    }
    n->enum_default = optional_text(n->object, "default");
    if (n->enum_default != NULL && json_object_get(n->symbol_index, n->enum_default) == NULL) {
        return bf_fail(err, BF_INVALID, 0, "The Enum Default: %.100s is not in the enum symbol set of %s",
                       n->enum_default, n->full);
    }
    return BF_OK;
}

static enum bf_code parse_named(struct avro_schema *s, struct avro_node *n, const char *space, struct bf_err *err) {
    const char *written = optional_text(n->object, "name");
    char text[81];
    if (written == NULL) {
        return bf_fail(err, BF_INVALID, 0, "No name in schema: %s", shown(n->object, text));
    }
    const char *own = optional_text(n->object, "namespace");
    if (own != NULL) {
        space = own[0] == '\0' ? NULL : own;
    }
    /* An explicit empty namespace counts for the name only; see parse_record(). */
    if (split_name(s, written, space, &n->name, &n->space, &n->full, err) != BF_OK) {
        return err->code;
    }
    n->doc = optional_text(n->object, "doc");
    n->referenced = s->in_reference;
    if (define(s, n, err) != BF_OK || read_aliases(s, n, err) != BF_OK) {
        return err->code;
    }
    if (n->type == AVRO_ENUM) {
        return parse_enum(s, n, err);
    }
    if (n->type == AVRO_RECORD) {
        return parse_record(s, n, space, err);
    }
    json_t *size = json_object_get(n->object, "size");
    if (!json_is_integer(size) || json_integer_value(size) < 0 || json_integer_value(size) > INT32_MAX) {
        return bf_fail(err, BF_INVALID, 0, "Invalid or no size: fixed %s", n->full);
    }
    n->fixed_size = json_integer_value(size);
    return BF_OK;
}

static enum bf_code parse_union(struct avro_schema *s, struct avro_node *n, json_t *array, const char *space,
                                struct bf_err *err) {
    n->branch_count = json_array_size(array);
    n->branches = avro_arena_alloc(&s->arena, (n->branch_count + 1) * sizeof *n->branches);
    json_t *seen = json_object();
    if (n->branches == NULL || seen == NULL) {
        json_decref(seen);
        return no_memory(err);
    }
    enum bf_code code = BF_OK;
    for (size_t i = 0; i < n->branch_count && code == BF_OK; i++) {
        code = parse_type(s, json_array_get(array, i), space, &n->branches[i], err);
        if (code != BF_OK) {
            break;
        }
        const struct avro_node *b = n->branches[i];
        const char *key = avro_node_is_named(b) ? b->full : avro_type_name(b->type);
        if (b->type == AVRO_UNION) {
            code = bf_fail(err, BF_INVALID, 0, "Nested union");
        } else if (json_object_get(seen, key) != NULL) {
            code = bf_fail(err, BF_INVALID, 0, "Duplicate in union: %s", key);
        } else if (json_object_set_new(seen, key, json_true()) != 0) {
            code = no_memory(err);
        }
    }
    json_decref(seen);
    return code;
}

/* {"type": "array", …}: the kinds that have one type inside. */
static enum bf_code parse_container(struct avro_schema *s, struct avro_node *n, const char *space, struct bf_err *err) {
    const char *key = n->type == AVRO_ARRAY ? "items" : "values";
    json_t *inner = json_object_get(n->object, key);
    if (inner == NULL) {
        return bf_fail(err, BF_INVALID, 0, "No %s type in %s", key, avro_type_name(n->type));
    }
    n->branches = avro_arena_alloc(&s->arena, sizeof *n->branches);
    n->branch_count = 1;
    return n->branches == NULL ? no_memory(err) : parse_type(s, inner, space, &n->branches[0], err);
}

static enum bf_code parse_object(struct avro_schema *s, struct avro_node *n, json_t *json, const char *space,
                                 const struct avro_node **out, struct bf_err *err) {
    char text[81];
    const char *type = optional_text(json, "type");
    if (type == NULL) {
        return bf_fail(err, BF_INVALID, 0, "No type: %s", shown(json, text));
    }
    n->object = json;
    *out = n;
    if (is_primitive(type, &n->type)) {
        return BF_OK;
    }
    n->error = strcmp(type, "error") == 0;
    if (n->error || strcmp(type, "record") == 0) {
        n->type = AVRO_RECORD;
    } else if (strcmp(type, "enum") == 0) {
        n->type = AVRO_ENUM;
    } else if (strcmp(type, "fixed") == 0) {
        n->type = AVRO_FIXED;
    } else if (strcmp(type, "array") == 0 || strcmp(type, "map") == 0) {
        n->type = strcmp(type, "array") == 0 ? AVRO_ARRAY : AVRO_MAP;
        return parse_container(s, n, space, err);
    } else {
        return resolve(s, type, space, out, err);
    }
    return parse_named(s, n, space, err);
}

static enum bf_code parse_type(struct avro_schema *s, json_t *json, const char *space, const struct avro_node **out,
                               struct bf_err *err) {
    char text[81];
    if (++s->type_count > AVRO_SCHEMA_TYPES_MAX) {
        return bf_fail(err, BF_INVALID, 0, "more than %d types in one schema", AVRO_SCHEMA_TYPES_MAX);
    }
    if (s->depth >= AVRO_SCHEMA_DEPTH_MAX) {
        return bf_fail(err, BF_INVALID, 0, "types are nested deeper than %d", AVRO_SCHEMA_DEPTH_MAX);
    }
    struct avro_node *n = avro_arena_alloc(&s->arena, sizeof *n);
    if (n == NULL) {
        return no_memory(err);
    }
    s->depth++;
    enum bf_code code;
    if (json_is_string(json)) {
        if (is_primitive(json_string_value(json), &n->type)) {
            *out = n;
            code = BF_OK;
        } else {
            code = resolve(s, json_string_value(json), space, out, err);
        }
    } else if (json_is_object(json)) {
        code = parse_object(s, n, json, space, out, err);
    } else if (json_is_array(json)) {
        n->type = AVRO_UNION;
        *out = n;
        code = parse_union(s, n, json, space, err);
    } else {
        code = bf_fail(err, BF_INVALID, 0, "a type is a name, an object or an array, not: %s", shown(json, text));
    }
    s->depth--;
    return code;
}

/* ---- whole ---- */

static enum bf_code parse_document(struct avro_schema *s, const char *text, size_t len, struct bf_err *err) {
    json_error_t where;
    if (len > AVRO_SCHEMA_BYTES_MAX) {
        return bf_fail(err, BF_INVALID, 0, "the schema has %zu bytes; %u is the most", len, AVRO_SCHEMA_BYTES_MAX);
    }
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (json == NULL) {
        /* A bare name without quotes is how some clients write primitives. */
        enum avro_type type;
        char word[16];
        if (len >= sizeof word) {
            return bf_fail(err, BF_INVALID, 0, "not JSON: %s at line %d column %d", where.text, where.line,
                           where.column);
        }
        memcpy(word, text, len);
        word[len] = '\0';
        json = is_primitive(word, &type) ? json_string(word) : NULL;
        if (json == NULL) {
            return bf_fail(err, BF_INVALID, 0, "not JSON: %s at line %d column %d", where.text, where.line,
                           where.column);
        }
    }
    if (json_array_append_new(s->documents, json) != 0) {
        return no_memory(err);
    }
    return parse_type(s, json, NULL, &s->root, err);
}

enum bf_code avro_schema_parse(const char *text, size_t len, const struct avro_schema_reference *refs, size_t ref_count,
                               struct avro_schema **out, struct bf_err *err) {
    struct avro_schema *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return no_memory(err);
    }
    enum bf_code code = BF_OK;
    s->documents = json_array();
    s->names = json_object();
    if (s->documents == NULL || s->names == NULL) {
        code = no_memory(err);
        goto done;
    }
    s->in_reference = true;
    for (size_t i = 0; i < ref_count; i++) {
        code = parse_document(s, refs[i].text, refs[i].len, err);
        if (code != BF_OK) {
            bf_err_prepend(err, "reference %zu", i + 1);
            goto done;
        }
    }
    s->in_reference = false;
    code = parse_document(s, text, len, err);
    if (code == BF_OK) {
        *out = s;
        s = NULL;
    }
done:
    avro_schema_free(s);
    return code;
}

void avro_schema_free(struct avro_schema *s) {
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->named_count; i++) {
        json_decref(s->named[i]->field_index);
        json_decref(s->named[i]->symbol_index);
    }
    free(s->named);
    json_decref(s->names);
    json_decref(s->documents);
    avro_arena_fini(&s->arena);
    free(s);
}
