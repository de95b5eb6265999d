/* The graph of types to a flat program. Values are laid out in place; a record becomes a routine that is called, one for each pair of
 * (record, place in the tree of paths), so that recursive schemas end and a path is looked up once, here, and never while decoding.
 * Phases: read references and schema, build the tree of paths, emit the value and then the routines it asked for, set the calls' targets. */
#include "bf_avro_program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPS_MAX (1u << 22)
#define PATH_NODES_MAX 512
#define NO_NODE (-1)

struct path_node {
    struct bf_slice part;
    int parent;
    uint8_t slot;
};

struct routine {
    const struct avro_type *type;
    int node;
    uint32_t begin;
};

struct compiler {
    struct bf_avro *a;
    struct bf_err *err;
    struct path_node nodes[PATH_NODES_MAX];
    int node_count;
    struct routine *routines;
    uint32_t routine_count;
};

/* Where a value stands: the node of the paths' tree, the field it is picked into, its name, and whether JSON wants that name first. */
struct place {
    int node;
    uint8_t slot;
    bool keyed;
    uint32_t name;
};

/* ---- growing lists: the capacity is the next power of two ---- */

static bool make_room(void *list, uint32_t count, size_t item_bytes) {
    void **data = list;
    if (count >= 16 ? (count & (count - 1)) != 0 : count != 0) {
        return true;
    }
    void *more = realloc(*data, (count == 0 ? 16 : (size_t)count * 2) * item_bytes);
    if (more == NULL) {
        return false;
    }
    *data = more;
    return true;
}

static enum bf_code nomem(struct compiler *c) {
    return bf_fail(c->err, BF_NOMEM, 0, "no memory for an Avro program");
}

/* ---- paths ---- */

static int find_child(const struct compiler *c, int parent, struct bf_slice part) {
    for (int i = 1; parent != NO_NODE && i < c->node_count; i++) {
        if (c->nodes[i].parent == parent && bf_slice_eq(c->nodes[i].part, part)) {
            return i;
        }
    }
    return NO_NODE;
}

static enum bf_code add_path(struct compiler *c, const char *path, uint8_t index) {
    int node = 0;
    for (const char *p = path; p != NULL;) {
        const char *dot = strchr(p, '.');
        struct bf_slice part = {p, dot != NULL ? (size_t)(dot - p) : strlen(p)};
        int child = find_child(c, node, part);
        if (child == NO_NODE) {
            if (c->node_count == PATH_NODES_MAX) {
                return bf_fail(c->err, BF_INVALID, 0, "the paths have more than %d parts", PATH_NODES_MAX);
            }
            child = c->node_count++;
            c->nodes[child] = (struct path_node){.part = part, .parent = node, .slot = AVRO_SLOT_NONE};
        }
        node = child;
        p = dot != NULL ? dot + 1 : NULL;
    }
    if (c->nodes[node].slot == AVRO_SLOT_NONE) {
        c->nodes[node].slot = index;
    }
    c->a->same_path[index] = c->nodes[node].slot;
    c->a->repeats = c->a->repeats || c->nodes[node].slot != index;
    return BF_OK;
}

static enum bf_code add_paths(struct compiler *c, const char *const *paths, size_t count) {
    enum bf_code code = BF_OK;
    if (count > BF_AVRO_PATHS_MAX) {
        return bf_fail(c->err, BF_INVALID, 0, "%zu paths asked for, at most %d can be", count, BF_AVRO_PATHS_MAX);
    }
    c->nodes[0] = (struct path_node){.part = BF_SLICE_NONE, .parent = NO_NODE, .slot = AVRO_SLOT_NONE};
    c->node_count = 1;
    for (size_t i = 0; code == BF_OK && i < count; i++) {
        code = add_path(c, paths[i], (uint8_t)i);
    }
    c->a->path_count = count;
    return code;
}

/* ---- emitting ---- */

static enum bf_code emit_value(struct compiler *c, const struct avro_type *t, struct place at);

static enum bf_code emit(struct compiler *c, enum avro_op_code code, const struct avro_type *t, struct place at, uint32_t a, uint32_t b) {
    struct bf_avro *avro = c->a;
    if (avro->op_count == OPS_MAX) {
        return bf_fail(c->err, BF_INVALID, 0, "the schema needs more than %u steps", OPS_MAX);
    }
    if (!make_room(&avro->ops, avro->op_count, sizeof(*avro->ops))) {
        return nomem(c);
    }
    avro->ops[avro->op_count++] = (struct avro_op){.code = (uint8_t)code,
                                                   .slot = at.slot,
                                                   .logical = (uint8_t)(t != NULL ? t->logical : BF_AVRO_PLAIN),
                                                   .keyed = at.keyed,
                                                   .name = at.name,
                                                   .a = a,
                                                   .b = b};
    return BF_OK;
}

static enum bf_code add_name(struct compiler *c, const char *name, uint32_t *out) {
    struct bf_avro *a = c->a;
    if (!make_room(&a->names, a->name_count, sizeof(*a->names))) {
        return nomem(c);
    }
    size_t len = strlen(name), room = (len + 3 + BF_JSON_READY_PAD - 1) / BF_JSON_READY_PAD * BF_JSON_READY_PAD;
    char *ready = avro_arena_alloc(&a->arena, room + 1);
    if (ready == NULL) {
        return nomem(c);
    }
    snprintf(ready, room + 1, "\"%s\":", name); /* an Avro name needs no escape */
    a->names[a->name_count] = (struct avro_name){.text = name, .ready = ready, .ready_len = len + 3};
    *out = a->name_count++;
    return BF_OK;
}

static enum bf_code emit_call(struct compiler *c, const struct avro_type *t, struct place at) {
    uint32_t i = 0;
    while (i < c->routine_count && (c->routines[i].type != t || c->routines[i].node != at.node)) {
        i++;
    }
    if (i == c->routine_count) {
        if (!make_room(&c->routines, c->routine_count, sizeof(*c->routines))) {
            return nomem(c);
        }
        c->routines[c->routine_count++] = (struct routine){.type = t, .node = at.node};
    }
    at.slot = AVRO_SLOT_NONE;
    return emit(c, OP_CALL, NULL, at, i, (uint32_t)t->count + 1);
}

/* Does each value take at least one byte? False also when that is hard to say. */
static bool takes_bytes(const struct avro_type *t, int *looks) {
    if (--*looks < 0 || t->kind == AVRO_T_NULL || (t->kind == AVRO_T_FIXED && t->size == 0)) {
        return false;
    }
    if (t->kind != AVRO_T_RECORD) {
        return true;
    }
    for (size_t i = 0; i < t->count; i++) {
        if (takes_bytes(t->fields[i].type, looks)) {
            return true;
        }
    }
    return false;
}

static enum bf_code emit_array(struct compiler *c, const struct avro_type *t, struct place at) {
    uint32_t begin = c->a->op_count;
    struct place inside = {.node = NO_NODE, .slot = AVRO_SLOT_NONE, .name = at.name};
    int looks = 64;
    at.slot = AVRO_SLOT_NONE;
    enum bf_code code = emit(c, OP_ARRAY, NULL, at, 0, takes_bytes(t->item, &looks));
    if (code == BF_OK) {
        code = emit_value(c, t->item, inside);
    }
    if (code == BF_OK) {
        code = emit(c, OP_ARRAY_END, NULL, inside, begin + 1, 0);
    }
    if (code == BF_OK) {
        c->a->ops[begin].a = c->a->op_count;
    }
    return code;
}

/* The keys below this node that are asked for; returns how many. */
static enum bf_code add_keys(struct compiler *c, int node, uint32_t *count) {
    struct bf_avro *a = c->a;
    for (int i = 1; node != NO_NODE && i < c->node_count; i++) {
        if (c->nodes[i].parent != node || c->nodes[i].slot == AVRO_SLOT_NONE) {
            continue;
        }
        char *key = avro_arena_strdup(&a->arena, c->nodes[i].part.data, c->nodes[i].part.len);
        if (key == NULL || !make_room(&a->keys, a->key_count, sizeof(*a->keys))) {
            return nomem(c);
        }
        a->keys[a->key_count++] = (struct avro_watched_key){.key = {key, c->nodes[i].part.len}, .slot = c->nodes[i].slot};
        *count += 1;
    }
    return BF_OK;
}

static enum bf_code emit_map(struct compiler *c, const struct avro_type *t, struct place at) {
    uint32_t begin = c->a->op_count, first_key = c->a->key_count, keys = 0;
    struct place inside = {.node = NO_NODE, .slot = AVRO_SLOT_NONE, .name = at.name};
    enum bf_code code = add_keys(c, at.node, &keys);
    at.slot = AVRO_SLOT_NONE;
    if (code == BF_OK) {
        code = emit(c, OP_MAP, NULL, at, 0, 1);
    }
    if (code == BF_OK) {
        code = emit(c, OP_MAP_KEY, NULL, inside, first_key, keys);
    }
    if (code == BF_OK) {
        inside.slot = keys > 0 ? AVRO_SLOT_KEY : AVRO_SLOT_NONE;
        code = emit_value(c, t->item, inside);
    }
    if (code == BF_OK) {
        inside.slot = AVRO_SLOT_NONE;
        code = emit(c, OP_MAP_END, NULL, inside, begin + 1, 0);
    }
    if (code == BF_OK) {
        c->a->ops[begin].a = c->a->op_count;
    }
    return code;
}

/* [null, X] and [X, null]: most unions are. */
static enum bf_code emit_optional(struct compiler *c, const struct avro_type *t, struct place at) {
    uint32_t begin = c->a->op_count, null_index = t->branches[0]->kind == AVRO_T_NULL ? 0 : 1;
    enum bf_code code = emit(c, OP_OPTIONAL, NULL, at, 0, null_index);
    at.keyed = false;
    if (code == BF_OK) {
        code = emit_value(c, t->branches[1 - null_index], at);
    }
    if (code == BF_OK) {
        c->a->ops[begin].a = c->a->op_count;
    }
    return code;
}

static enum bf_code emit_union(struct compiler *c, const struct avro_type *t, struct place at) {
    struct bf_avro *a = c->a;
    uint32_t first = a->target_count, count = (uint32_t)t->count;
    for (uint32_t i = 0; i < count; i++) {
        if (!make_room(&a->targets, a->target_count, sizeof(*a->targets))) {
            return nomem(c);
        }
        a->targets[a->target_count++] = 0;
    }
    enum bf_code code = emit(c, OP_UNION, NULL, at, first, count);
    at.keyed = false;
    for (uint32_t i = 0; code == BF_OK && i < count; i++) {
        a->targets[first + i] = a->op_count;
        code = emit_value(c, t->branches[i], at);
        if (code == BF_OK) {
            code = emit(c, OP_JUMP, NULL, at, 0, 0);
        }
    }
    /* Each branch's jump stands right before the next branch; all of them lead behind the last. */
    for (uint32_t i = 0; code == BF_OK && i < count; i++) {
        uint32_t next = i + 1 < count ? a->targets[first + i + 1] : a->op_count;
        a->ops[next - 1].a = a->op_count;
    }
    return code;
}

static enum bf_code emit_enum(struct compiler *c, const struct avro_type *t, struct place at) {
    struct bf_avro *a = c->a;
    if (!make_room(&a->enums, a->enum_count, sizeof(*a->enums))) {
        return nomem(c);
    }
    a->enums[a->enum_count++] = t;
    return emit(c, OP_ENUM, t, at, a->enum_count - 1, (uint32_t)t->count);
}

static enum bf_code emit_value(struct compiler *c, const struct avro_type *t, struct place at) {
    switch (t->kind) {
    case AVRO_T_NULL: return emit(c, OP_NULL, t, at, 0, 0);
    case AVRO_T_BOOLEAN: return emit(c, OP_BOOLEAN, t, at, 0, 0);
    case AVRO_T_INT: return emit(c, OP_INT, t, at, 0, 0);
    case AVRO_T_LONG: return emit(c, OP_LONG, t, at, 0, 0);
    case AVRO_T_FLOAT: return emit(c, OP_FLOAT, t, at, 0, 0);
    case AVRO_T_DOUBLE: return emit(c, OP_DOUBLE, t, at, 0, 0);
    case AVRO_T_BYTES: return emit(c, t->decimal ? OP_DECIMAL_BYTES : OP_BYTES, t, at, t->scale, 0);
    case AVRO_T_STRING: return emit(c, OP_STRING, t, at, 0, 0);
    case AVRO_T_FIXED:
        return t->decimal ? emit(c, OP_DECIMAL_FIXED, t, at, t->scale, t->size) : emit(c, OP_FIXED, t, at, t->size, 0);
    case AVRO_T_ENUM: return emit_enum(c, t, at);
    case AVRO_T_RECORD: return emit_call(c, t, at);
    case AVRO_T_ARRAY: return emit_array(c, t, at);
    case AVRO_T_MAP: return emit_map(c, t, at);
    case AVRO_T_UNION: break;
    }
    bool optional = t->count == 2 && (t->branches[0]->kind == AVRO_T_NULL || t->branches[1]->kind == AVRO_T_NULL);
    return optional ? emit_optional(c, t, at) : emit_union(c, t, at);
}

static enum bf_code emit_routine(struct compiler *c, uint32_t index) {
    struct routine r = c->routines[index];
    struct place at = {.node = NO_NODE, .slot = AVRO_SLOT_NONE};
    c->routines[index].begin = c->a->op_count;
    enum bf_code code = emit(c, OP_RECORD, NULL, at, 0, 0);
    for (size_t i = 0; code == BF_OK && i < r.type->count; i++) {
        const struct avro_record_field *f = &r.type->fields[i];
        struct place field = {.node = find_child(c, r.node, bf_slice_str(f->name)), .keyed = true};
        field.slot = field.node == NO_NODE ? AVRO_SLOT_NONE : c->nodes[field.node].slot;
        code = add_name(c, f->name, &field.name);
        if (code == BF_OK) {
            code = emit_value(c, f->type, field);
        }
    }
    return code == BF_OK ? emit(c, OP_RETURN, NULL, at, 0, 0) : code;
}

static enum bf_code emit_program(struct compiler *c, const struct avro_type *root) {
    struct place at = {.node = 0, .slot = AVRO_SLOT_NONE};
    enum bf_code code = add_name(c, "value", &at.name);
    if (code == BF_OK) {
        code = emit_value(c, root, at);
    }
    if (code == BF_OK) {
        code = emit(c, OP_STOP, NULL, at, 0, 0);
    }
    for (uint32_t i = 0; code == BF_OK && i < c->routine_count; i++) { /* routines ask for more of them */
        code = emit_routine(c, i);
    }
    for (uint32_t i = 0; code == BF_OK && i < c->a->op_count; i++) {
        if (c->a->ops[i].code == OP_CALL) {
            c->a->ops[i].a = c->routines[c->a->ops[i].a].begin;
        }
    }
    return code;
}

/* ---- columns ---- */

static enum bf_avro_kind column_kind(const struct avro_type *t) {
    switch (t->kind) {
    case AVRO_T_NULL: return BF_AVRO_NULL;
    case AVRO_T_BOOLEAN: return BF_AVRO_BOOLEAN;
    case AVRO_T_INT:
    case AVRO_T_LONG: return BF_AVRO_LONG;
    case AVRO_T_FLOAT:
    case AVRO_T_DOUBLE: return BF_AVRO_DOUBLE;
    case AVRO_T_STRING:
    case AVRO_T_ENUM: return BF_AVRO_STRING;
    case AVRO_T_BYTES:
    case AVRO_T_FIXED: return BF_AVRO_BYTES;
    default: return BF_AVRO_ABSENT;
    }
}

/* The one branch that is not null; the union itself when there are several. */
static const struct avro_type *plain_branch(const struct avro_type *t) {
    const struct avro_type *found = NULL;
    if (t->kind != AVRO_T_UNION) {
        return t;
    }
    for (size_t i = 0; i < t->count; i++) {
        if (t->branches[i]->kind != AVRO_T_NULL) {
            if (found != NULL) {
                return t;
            }
            found = t->branches[i];
        }
    }
    return found != NULL ? found : t;
}

static enum bf_code list_columns(struct compiler *c, const struct avro_type *root) {
    struct bf_avro *a = c->a;
    if (root->kind != AVRO_T_RECORD) {
        return BF_OK;
    }
    a->columns = avro_arena_alloc(&a->arena, (root->count + 1) * sizeof(*a->columns));
    if (a->columns == NULL) {
        return nomem(c);
    }
    for (size_t i = 0; i < root->count; i++) {
        const struct avro_type *t = plain_branch(root->fields[i].type);
        a->columns[i] = (struct bf_avro_column){
            .name = root->fields[i].name, .kind = column_kind(t), .logical = t->logical, .doc = root->fields[i].doc};
    }
    a->column_count = root->count;
    return BF_OK;
}

size_t bf_avro_columns(const struct bf_avro *a, const struct bf_avro_column **out) {
    *out = a->columns;
    return a->column_count;
}

/* ---- the whole ---- */

static enum bf_code read_one(struct bf_avro *a, const char *text, size_t len, bool again_ok, struct avro_names *names,
                             const struct avro_type **out, struct bf_err *err) {
    json_t *json;
    enum bf_code code = bf_json_parse(text, len, &json, err);
    if (code == BF_OK) {
        code = avro_schema_read(json, again_ok, &a->arena, names, out, err);
        json_decref(json);
    }
    return code;
}

enum bf_code bf_avro_compile(const char *schema_json, size_t len, const struct bf_avro_reference *refs, size_t ref_count,
                             const char *const *paths, size_t path_count, struct bf_avro **out, struct bf_err *err) {
    struct avro_names names = {0};
    const struct avro_type *root = NULL;
    enum bf_code code = BF_OK;
    struct bf_avro *a = calloc(1, sizeof(*a));
    struct compiler *c = calloc(1, sizeof(*c));
    if (a == NULL || c == NULL) {
        code = bf_fail(err, BF_NOMEM, 0, "no memory for an Avro program");
        goto done;
    }
    c->a = a;
    c->err = err;
    for (size_t i = 0; code == BF_OK && i < ref_count; i++) {
        code = read_one(a, refs[i].schema_json, strlen(refs[i].schema_json), true, &names, &root, err);
        if (code != BF_OK) {
            bf_err_prepend(err, "reference %.100s", refs[i].name);
        }
    }
    if (code == BF_OK) {
        code = read_one(a, schema_json, len, false, &names, &root, err);
    }
    if (code == BF_OK) {
        code = add_paths(c, paths, path_count);
    }
    if (code == BF_OK) {
        code = emit_program(c, root);
    }
    if (code == BF_OK) {
        code = list_columns(c, root);
    }
done:
    avro_names_fini(&names);
    if (c != NULL) {
        free(c->routines);
        free(c);
    }
    if (code != BF_OK) {
        bf_avro_free(a);
        return bf_err_prepend(err, "Avro schema");
    }
    *out = a;
    return BF_OK;
}

void bf_avro_free(struct bf_avro *a) {
    if (a == NULL) {
        return;
    }
    free(a->ops);
    free(a->names);
    free(a->enums);
    free(a->targets);
    free(a->keys);
    avro_arena_fini(&a->arena);
    free(a);
}
