/* A schema's JSON to a graph of types (Avro 1.11, "Schema Declaration"). A named type is entered into the names before its fields are read,
 * so that it may refer to itself. Logical types that do not fit what they annotate are ignored, as the specification asks. */
#include "bf_avro_program.h"

#include "bf_room.h"

#include <stdlib.h>
#include <string.h>

#define NESTING_MAX 100
#define NAMES_MAX 20000
#define NAME_BYTES_MAX 1024
#define FIXED_BYTES_MAX (64 << 20)

struct reader {
    struct avro_arena *arena;
    struct avro_names *names;
    struct bf_err *err;
    bool again_ok;
    int depth;
};

/* ---- arena ---- */

struct avro_arena_block {
    struct avro_arena_block *next;
    max_align_t data[];
};

void *avro_arena_alloc(struct avro_arena *a, size_t bytes) {
    size_t need = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (a->blocks == NULL || a->size - a->used < need) {
        size_t size = need > 8192 ? need : 8192;
        struct avro_arena_block *block = calloc(1, sizeof(*block) + size);
        if (block == NULL) {
            return NULL;
        }
        block->next = a->blocks;
        a->blocks = block;
        a->size = size;
        a->used = 0;
    }
    void *p = (char *)a->blocks->data + a->used;
    a->used += need;
    return p;
}

char *avro_arena_strdup(struct avro_arena *a, const char *s, size_t len) {
    char *copy = avro_arena_alloc(a, len + 1);
    if (copy != NULL) {
        memcpy(copy, s, len);
    }
    return copy;
}

void avro_arena_fini(struct avro_arena *a) {
    while (a->blocks != NULL) {
        struct avro_arena_block *block = a->blocks;
        a->blocks = block->next;
        free(block);
    }
}

/* ---- names ---- */

void avro_names_fini(struct avro_names *n) {
    free(n->types);
    *n = (struct avro_names){0};
}

static const struct avro_type *find_name(const struct avro_names *n, const char *name) {
    for (size_t i = 0; i < n->count; i++) {
        if (strcmp(n->types[i]->name, name) == 0) {
            return n->types[i];
        }
    }
    return NULL;
}

static enum bf_code nomem(struct reader *r) {
    return bf_fail(r->err, BF_NOMEM, 0, "no memory for an Avro schema");
}

static enum bf_code add_name(struct reader *r, const struct avro_type *t) {
    struct avro_names *n = r->names;
    if (n->count == NAMES_MAX) {
        return bf_fail(r->err, BF_INVALID, 0, "the schema has more than %d named types", NAMES_MAX);
    }
    if (!bf_room(n->types, n->count, n->capacity, 16)) {
        return nomem(r);
    }
    n->types[n->count++] = t;
    return BF_OK;
}

static bool valid_name(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++) {
        bool letter = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || s[i] == '_';
        if (!letter && (i == 0 || s[i] < '0' || s[i] > '9')) {
            return false;
        }
    }
    return len > 0;
}

/* Dotted names, each part valid. */
static bool valid_full_name(const char *s) {
    for (;;) {
        size_t len = strcspn(s, ".");
        if (!valid_name(s, len)) {
            return false;
        }
        if (s[len] == '\0') {
            return true;
        }
        s += len + 1;
    }
}

/* "space.name", or the name alone when it has a dot or there is no space. */
static enum bf_code join_name(struct reader *r, const char *space, const char *name, const char **out) {
    size_t space_len = strlen(space), name_len = strlen(name);
    if (space_len + name_len > NAME_BYTES_MAX) {
        return bf_fail(r->err, BF_INVALID, 0, "a name in the schema is longer than %d bytes", NAME_BYTES_MAX);
    }
    bool alone = space_len == 0 || strchr(name, '.') != NULL;
    char *full = avro_arena_alloc(r->arena, space_len + name_len + 2);
    if (full == NULL) {
        return nomem(r);
    }
    if (!alone) {
        memcpy(full, space, space_len);
        full[space_len] = '.';
    }
    memcpy(full + (alone ? 0 : space_len + 1), name, name_len);
    *out = full;
    return BF_OK;
}

/* The namespace that a full name gives to what is inside. */
static enum bf_code space_of(struct reader *r, const char *full, const char **out) {
    const char *dot = strrchr(full, '.');
    *out = dot == NULL ? "" : avro_arena_strdup(r->arena, full, (size_t)(dot - full));
    return *out == NULL ? nomem(r) : BF_OK;
}

/* ---- types ---- */

static const char *const primitive_names[] = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"};

static const struct avro_type primitives[] = {
    {.kind = AVRO_T_NULL},  {.kind = AVRO_T_BOOLEAN}, {.kind = AVRO_T_INT},   {.kind = AVRO_T_LONG},
    {.kind = AVRO_T_FLOAT}, {.kind = AVRO_T_DOUBLE},  {.kind = AVRO_T_BYTES}, {.kind = AVRO_T_STRING},
};

static enum bf_code read_type(struct reader *r, const json_t *json, const char *space, const struct avro_type **out);

static const struct avro_type *primitive_of(const char *name) {
    for (size_t i = 0; i < sizeof(primitives) / sizeof(primitives[0]); i++) {
        if (strcmp(primitive_names[i], name) == 0) {
            return &primitives[i];
        }
    }
    return NULL;
}

static enum bf_code read_reference(struct reader *r, const char *name, const char *space, const struct avro_type **out) {
    const struct avro_type *t = primitive_of(name);
    const char *full;
    if (t == NULL) {
        enum bf_code code = join_name(r, space, name, &full);
        if (code != BF_OK) {
            return code;
        }
        t = find_name(r->names, full);
    }
    if (t == NULL) {
        t = find_name(r->names, name); /* as other readers do: a name of no namespace */
    }
    if (t == NULL) {
        return bf_fail(r->err, BF_INVALID, 0, "type \"%.200s\" is not known", name);
    }
    *out = t;
    return BF_OK;
}

static enum bf_code read_union(struct reader *r, const json_t *json, const char *space, const struct avro_type **out) {
    size_t count = json_array_size(json);
    struct avro_type *t = avro_arena_alloc(r->arena, sizeof(*t));
    const struct avro_type **branches = avro_arena_alloc(r->arena, (count + 1) * sizeof(*branches));
    if (t == NULL || branches == NULL) {
        return nomem(r);
    }
    for (size_t i = 0; i < count; i++) {
        enum bf_code code = read_type(r, json_array_get(json, i), space, &branches[i]);
        if (code != BF_OK) {
            return bf_err_prepend(r->err, "branch %zu", i);
        }
        if (branches[i]->kind == AVRO_T_UNION) {
            return bf_fail(r->err, BF_INVALID, 0, "a union stands directly in a union");
        }
        bool named = branches[i]->name != NULL;
        for (size_t k = 0; k < i; k++) {
            if (branches[k] == branches[i] || (!named && branches[k]->kind == branches[i]->kind)) {
                return bf_fail(r->err, BF_INVALID, 0, "a union has the same type twice, branches %zu and %zu", k, i);
            }
        }
    }
    t->kind = AVRO_T_UNION;
    t->branches = branches;
    t->count = count;
    *out = t;
    return BF_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The first name that stands there twice, or NULL; BF_NOMEM aside. */
static enum bf_code check_repeats(struct reader *r, const char **names, size_t count, const char *what) {
    if (count < 2) {
        return BF_OK;
    }
    qsort(names, count, sizeof(*names), compare_names);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            return bf_fail(r->err, BF_INVALID, 0, "%s \"%.200s\" stands there twice", what, names[i]);
        }
    }
    return BF_OK;
}

static enum bf_code read_field(struct reader *r, const json_t *json, const char *space, struct avro_record_field *f) {
    const char *name = json_string_value(json_object_get(json, "name"));
    const char *doc = json_string_value(json_object_get(json, "doc"));
    const json_t *type = json_object_get(json, "type");
    if (name == NULL || !valid_name(name, strlen(name))) {
        return bf_fail(r->err, BF_INVALID, 0, "\"%.200s\" is no name for a field", name == NULL ? "" : name);
    }
    if (strlen(name) > NAME_BYTES_MAX) {
        return bf_fail(r->err, BF_INVALID, 0, "a field's name is longer than %d bytes", NAME_BYTES_MAX);
    }
    f->name = avro_arena_strdup(r->arena, name, strlen(name));
    f->doc = doc == NULL ? NULL : avro_arena_strdup(r->arena, doc, strlen(doc));
    f->fallback = json_object_get(json, "default");
    if (f->name == NULL || (doc != NULL && f->doc == NULL)) {
        return nomem(r);
    }
    if (type == NULL) {
        return bf_fail(r->err, BF_INVALID, 0, "field %.200s has no type", name);
    }
    enum bf_code code = read_type(r, type, space, &f->type);
    return code == BF_OK ? BF_OK : bf_err_prepend(r->err, "%.60s", name);
}

static enum bf_code read_record(struct reader *r, const json_t *json, struct avro_type *t) {
    const json_t *fields = json_object_get(json, "fields");
    size_t count = json_array_size(fields);
    const char *space;
    if (!json_is_array(fields)) {
        return bf_fail(r->err, BF_INVALID, 0, "record %.200s has no list of fields", t->name);
    }
    t->fields = avro_arena_alloc(r->arena, (count + 1) * sizeof(*t->fields));
    const char **names = avro_arena_alloc(r->arena, (count + 1) * sizeof(*names));
    if (t->fields == NULL || names == NULL) {
        return nomem(r);
    }
    enum bf_code code = space_of(r, t->name, &space);
    for (size_t i = 0; code == BF_OK && i < count; i++) {
        code = read_field(r, json_array_get(fields, i), space, &t->fields[i]);
        names[i] = t->fields[i].name;
    }
    t->count = count;
    return code != BF_OK ? code : check_repeats(r, names, count, "field");
}

static enum bf_code read_enum(struct reader *r, const json_t *json, struct avro_type *t) {
    const json_t *symbols = json_object_get(json, "symbols");
    size_t count = json_array_size(symbols);
    if (!json_is_array(symbols)) {
        return bf_fail(r->err, BF_INVALID, 0, "enum %.200s has no list of symbols", t->name);
    }
    t->symbols = avro_arena_alloc(r->arena, (count + 1) * sizeof(*t->symbols));
    const char **names = avro_arena_alloc(r->arena, (count + 1) * sizeof(*names));
    if (t->symbols == NULL || names == NULL) {
        return nomem(r);
    }
    for (size_t i = 0; i < count; i++) {
        const char *s = json_string_value(json_array_get(symbols, i));
        if (s == NULL || !valid_name(s, strlen(s))) {
            return bf_fail(r->err, BF_INVALID, 0, "enum %.200s: symbol %zu is no name", t->name, i);
        }
        char *copy = avro_arena_strdup(r->arena, s, strlen(s));
        if (copy == NULL) {
            return nomem(r);
        }
        t->symbols[i] = bf_slice_str(copy);
        names[i] = copy;
    }
    t->count = count;
    return check_repeats(r, names, count, "symbol");
}

static enum bf_code read_fixed(struct reader *r, const json_t *json, struct avro_type *t) {
    const json_t *size = json_object_get(json, "size");
    if (!json_is_integer(size) || json_integer_value(size) < 0 || json_integer_value(size) > FIXED_BYTES_MAX) {
        return bf_fail(r->err, BF_INVALID, 0, "fixed %.200s: size is not between 0 and %d", t->name, FIXED_BYTES_MAX);
    }
    t->size = (uint32_t)json_integer_value(size);
    return BF_OK;
}

/* Name and namespace of a definition; *out is NULL when it is there already and that is fine. */
static enum bf_code define(struct reader *r, const json_t *json, const char *space, enum avro_type_kind kind,
                           struct avro_type **out, const struct avro_type **known) {
    const char *name = json_string_value(json_object_get(json, "name"));
    const char *own_space = json_string_value(json_object_get(json, "namespace"));
    const char *full;
    *out = NULL;
    if (name == NULL) {
        return bf_fail(r->err, BF_INVALID, 0, "a record, enum or fixed has no name");
    }
    enum bf_code code = join_name(r, own_space != NULL ? own_space : space, name, &full);
    if (code != BF_OK) {
        return code;
    }
    if (!valid_full_name(full) || primitive_of(full) != NULL) {
        return bf_fail(r->err, BF_INVALID, 0, "\"%.200s\" is no name for a type", full);
    }
    *known = find_name(r->names, full);
    if (*known != NULL) {
        return r->again_ok ? BF_OK : bf_fail(r->err, BF_INVALID, 0, "type %.200s is defined twice", full);
    }
    struct avro_type *t = avro_arena_alloc(r->arena, sizeof(*t));
    if (t == NULL) {
        return nomem(r);
    }
    t->kind = kind;
    t->name = full;
    code = add_name(r, t);
    if (code == BF_OK) {
        *out = t;
    }
    return code;
}

/* The digits that any number of so many bytes has room for: floor(log10(2^(8 size - 1))). */
static json_int_t fixed_digits(uint32_t size) {
    return size == 0 ? 0 : (json_int_t)((8.0 * size - 1) * 0.30102999566398120);
}

static bool fits_decimal(const json_t *json, struct avro_type *t) {
    const json_t *precision = json_object_get(json, "precision"), *scale = json_object_get(json, "scale");
    json_int_t p = json_integer_value(precision), s = json_integer_value(scale);
    if (!json_is_integer(precision) || (scale != NULL && !json_is_integer(scale)) || p < 1 || s < 0 || s > p ||
        p > AVRO_DECIMAL_DIGITS_MAX ||
        (t->kind == AVRO_T_FIXED && (t->size > AVRO_DECIMAL_BYTES_MAX || p > fixed_digits(t->size)))) {
        return false;
    }
    t->decimal = true;
    t->scale = (uint32_t)s;
    return true;
}

static void read_logical(const json_t *json, struct avro_type *t) {
    static const struct {
        const char *name;
        enum avro_type_kind of;
        enum bf_avro_logical logical;
    } known[] = {
        {"timestamp-millis", AVRO_T_LONG, BF_AVRO_TIMESTAMP_MILLIS},
        {"timestamp-micros", AVRO_T_LONG, BF_AVRO_TIMESTAMP_MICROS},
        {"timestamp-nanos", AVRO_T_LONG, BF_AVRO_TIMESTAMP_NANOS},
        {"local-timestamp-millis", AVRO_T_LONG, BF_AVRO_OTHER_LOGICAL},
        {"local-timestamp-micros", AVRO_T_LONG, BF_AVRO_OTHER_LOGICAL},
        {"local-timestamp-nanos", AVRO_T_LONG, BF_AVRO_OTHER_LOGICAL},
        {"time-micros", AVRO_T_LONG, BF_AVRO_OTHER_LOGICAL},
        {"time-millis", AVRO_T_INT, BF_AVRO_OTHER_LOGICAL},
        {"date", AVRO_T_INT, BF_AVRO_OTHER_LOGICAL},
        {"uuid", AVRO_T_STRING, BF_AVRO_OTHER_LOGICAL},
    };
    const char *name = json_string_value(json_object_get(json, "logicalType"));
    if (name == NULL) {
        return;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (t->kind == known[i].of && strcmp(name, known[i].name) == 0) {
            t->logical = known[i].logical;
        }
    }
    if (strcmp(name, "decimal") == 0 && (t->kind == AVRO_T_BYTES || t->kind == AVRO_T_FIXED) && fits_decimal(json, t)) {
        t->logical = BF_AVRO_OTHER_LOGICAL;
    }
}

static enum bf_code read_named(struct reader *r, const json_t *json, const char *space, enum avro_type_kind kind,
                               const struct avro_type **out) {
    struct avro_type *t = NULL;
    const struct avro_type *known = NULL;
    enum bf_code code = define(r, json, space, kind, &t, &known);
    if (code != BF_OK) {
        return code;
    }
    if (t == NULL) {
        *out = known;
        return BF_OK;
    }
    code = kind == AVRO_T_RECORD ? read_record(r, json, t) : kind == AVRO_T_ENUM ? read_enum(r, json, t) : read_fixed(r, json, t);
    if (code != BF_OK) {
        return code;
    }
    read_logical(json, t);
    *out = t;
    return BF_OK;
}

static enum bf_code read_collection(struct reader *r, const json_t *json, const char *space, enum avro_type_kind kind,
                                    const struct avro_type **out) {
    const json_t *item = json_object_get(json, kind == AVRO_T_ARRAY ? "items" : "values");
    struct avro_type *t = avro_arena_alloc(r->arena, sizeof(*t));
    if (t == NULL) {
        return nomem(r);
    }
    if (item == NULL) {
        return bf_fail(r->err, BF_INVALID, 0, kind == AVRO_T_ARRAY ? "an array has no items" : "a map has no values");
    }
    t->kind = kind;
    enum bf_code code = read_type(r, item, space, &t->item);
    if (code == BF_OK) {
        *out = t;
    }
    return code;
}

static enum bf_code read_object(struct reader *r, const json_t *json, const char *space, const struct avro_type **out) {
    const json_t *type = json_object_get(json, "type");
    const char *name = json_string_value(type);
    if (json_is_object(type) || json_is_array(type)) {
        return read_type(r, type, space, out);
    }
    if (name == NULL) {
        return bf_fail(r->err, BF_INVALID, 0, "a type has no \"type\"");
    }
    if (strcmp(name, "record") == 0 || strcmp(name, "error") == 0) {
        return read_named(r, json, space, AVRO_T_RECORD, out);
    }
    if (strcmp(name, "enum") == 0) {
        return read_named(r, json, space, AVRO_T_ENUM, out);
    }
    if (strcmp(name, "fixed") == 0) {
        return read_named(r, json, space, AVRO_T_FIXED, out);
    }
    if (strcmp(name, "array") == 0 || strcmp(name, "map") == 0) {
        return read_collection(r, json, space, name[0] == 'a' ? AVRO_T_ARRAY : AVRO_T_MAP, out);
    }
    const struct avro_type *primitive = primitive_of(name);
    if (primitive == NULL) {
        return read_reference(r, name, space, out);
    }
    struct avro_type *t = avro_arena_alloc(r->arena, sizeof(*t));
    if (t == NULL) {
        return nomem(r);
    }
    *t = *primitive;
    read_logical(json, t);
    *out = t;
    return BF_OK;
}

static enum bf_code read_type(struct reader *r, const json_t *json, const char *space, const struct avro_type **out) {
    enum bf_code code;
    if (++r->depth > NESTING_MAX) {
        return bf_fail(r->err, BF_INVALID, 0, "the schema nests more than %d deep", NESTING_MAX);
    }
    if (json_is_string(json)) {
        code = read_reference(r, json_string_value(json), space, out);
    } else if (json_is_array(json)) {
        code = read_union(r, json, space, out);
    } else if (json_is_object(json)) {
        code = read_object(r, json, space, out);
    } else {
        code = bf_fail(r->err, BF_INVALID, 0, "a type is neither a name nor an object nor a list");
    }
    r->depth--;
    return code;
}

enum bf_code avro_schema_read(const json_t *json, bool again_ok, struct avro_arena *arena, struct avro_names *names,
                              const struct avro_type **out, struct bf_err *err) {
    struct reader r = {.arena = arena, .names = names, .err = err, .again_ok = again_ok};
    return read_type(&r, json, "", out);
}
