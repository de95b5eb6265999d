/* The schema is held twice: as avro-c's, which makes the bytes, and as our own graph, which knows what avro-c drops (defaults, logical
 * types). `fill` walks both together with the JSON value. The path to where we are is a linked list on the stack: only a failure reads it.
 *
 * Values have the form that the decoder writes: bytes and fixed in base64, decimals as text, NaN and the infinities as strings. Defaults have
 * the form that the specification gives them: bytes as a string of code points up to 255, a union's default for its first branch. */
#include "bf_avro_encode.h"

#include "bf_avro_program.h"

#include <avro.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct bf_avro_encoder {
    json_t *json; /* the defaults are borrowed from it */
    struct avro_arena arena;
    const struct avro_type *type;
    avro_schema_t schema;
    avro_value_iface_t *iface;
    avro_value_t value;
    bool value_made;
    avro_writer_t writer;
    uint8_t *scratch; /* of base64 */
    size_t scratch_bytes;
};

struct step {
    const struct step *up;
    const char *name; /* NULL: index */
    size_t index;
};

struct walk {
    struct bf_avro_encoder *e;
    struct bf_err *err;
    bool fallback; /* the value at hand is a default */
};

static enum bf_code fill(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, avro_value_t *dst);

/* ---- failures ---- */

static size_t put_path(char *dst, size_t room, const struct step *at) {
    if (at == NULL) {
        return 0;
    }
    size_t n = put_path(dst, room, at->up);
    int more = at->name != NULL ? snprintf(dst + n, room - n, "%s%.100s", n > 0 ? "." : "", at->name)
                                : snprintf(dst + n, room - n, "[%zu]", at->index);
    return more < 0 ? n : n + (size_t)more < room ? n + (size_t)more : room - 1;
}

static const char *kind_of(const json_t *v) {
    switch (v == NULL ? JSON_NULL : json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    default: return "null";
    }
}

static enum bf_code wrong(struct walk *w, const struct step *at, const char *what) {
    char path[256] = "";
    put_path(path, sizeof(path), at);
    return bf_fail(w->err, BF_INVALID, 0, "%s: %s", path[0] != '\0' ? path : "value", what);
}

static enum bf_code expected(struct walk *w, const struct step *at, const char *what, const json_t *v) {
    char text[160];
    snprintf(text, sizeof(text), "expected %s, got %s", what, kind_of(v));
    return wrong(w, at, text);
}

static enum bf_code avro_failed(struct walk *w, const struct step *at, int rc) {
    return rc == 0 ? BF_OK : rc == ENOMEM ? bf_fail(w->err, BF_NOMEM, rc, "no memory for an Avro value") : wrong(w, at, avro_strerror());
}

/* ---- single values ---- */

static bool integer_of(const json_t *v, int64_t *out) {
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return true;
    }
    double d = json_real_value(v);
    if (!json_is_real(v) || d != floor(d) || fabs(d) > 9007199254740992.0) {
        return false;
    }
    *out = (int64_t)d; /* 1e3 and 5.0 are integers too */
    return true;
}

static bool real_of(const json_t *v, double *out) {
    const char *s = json_string_value(v);
    if (json_is_number(v)) {
        *out = json_number_value(v);
        return true;
    }
    if (s == NULL) {
        return false;
    }
    if (strcmp(s, "NaN") == 0) {
        *out = NAN;
    } else if (strcmp(s, "Infinity") == 0) {
        *out = INFINITY;
    } else if (strcmp(s, "-Infinity") == 0) {
        *out = -INFINITY;
    } else {
        return false;
    }
    return true;
}

static enum bf_code fill_integer(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, avro_value_t *dst) {
    int64_t i;
    if (!integer_of(v, &i)) {
        return expected(w, at, "an integer", v);
    }
    if (t->kind == AVRO_T_LONG) {
        return avro_failed(w, at, avro_value_set_long(dst, i));
    }
    if (i < INT32_MIN || i > INT32_MAX) {
        return wrong(w, at, "does not fit 32 bits");
    }
    return avro_failed(w, at, avro_value_set_int(dst, (int32_t)i));
}

static enum bf_code fill_real(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, avro_value_t *dst) {
    double d;
    if (!real_of(v, &d)) {
        return expected(w, at, "a number", v);
    }
    if (t->kind == AVRO_T_FLOAT && isfinite(d) && fabs(d) > 3.4028234663852886e38) {
        return wrong(w, at, "does not fit a float");
    }
    return avro_failed(w, at, t->kind == AVRO_T_DOUBLE ? avro_value_set_double(dst, d) : avro_value_set_float(dst, (float)d));
}

static enum bf_code fill_string(struct walk *w, const struct step *at, const json_t *v, avro_value_t *dst) {
    size_t len = json_string_length(v);
    if (!json_is_string(v)) {
        return expected(w, at, "a string", v);
    }
    if (memchr(json_string_value(v), '\0', len) != NULL) {
        return wrong(w, at, "a string with U+0000 cannot be written"); /* avro-c would cut it there */
    }
    return avro_failed(w, at, avro_value_set_string_len(dst, json_string_value(v), len + 1));
}

static enum bf_code fill_enum(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, avro_value_t *dst) {
    struct bf_slice s = bf_slice_str(json_string_value(v));
    if (s.data == NULL) {
        return expected(w, at, "a symbol", v);
    }
    for (size_t i = 0; i < t->count; i++) {
        if (bf_slice_eq(t->symbols[i], s)) {
            return avro_failed(w, at, avro_value_set_enum(dst, (int)i));
        }
    }
    char text[160];
    snprintf(text, sizeof(text), "\"%.80s\" is no symbol of %.40s", (const char *)s.data, t->name);
    return wrong(w, at, text);
}

static int sextet(char c) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c != '\0' ? strchr(alphabet, c) : NULL;
    return p != NULL ? (int)(p - alphabet) : -1;
}

/* Padded base64 (RFC 4648 §4) into dst, which has room for 3 bytes a group. */
static bool base64_read(const char *s, size_t len, uint8_t *dst, size_t *out) {
    size_t pad = 0, n = 0;
    if (len % 4 != 0) {
        return false;
    }
    while (pad < 2 && pad < len && s[len - 1 - pad] == '=') {
        pad++;
    }
    for (size_t i = 0; i < len; i += 4) {
        uint32_t v = 0;
        size_t digits = i + 4 == len ? 4 - pad : 4;
        for (size_t k = 0; k < 4; k++) {
            int six = k < digits ? sextet(s[i + k]) : 0;
            if (six < 0) {
                return false;
            }
            v = v << 6 | (uint32_t)six;
        }
        if ((digits == 2 && (v & 0xffff) != 0) || (digits == 3 && (v & 0xff) != 0)) {
            return false;
        }
        for (size_t k = 0; k < digits - 1; k++) {
            dst[n++] = (uint8_t)(v >> (16 - 8 * k));
        }
    }
    *out = n;
    return true;
}

/* A default's bytes: each code point up to 255 is one. */
static bool code_points_read(const char *s, size_t len, uint8_t *dst, size_t *out) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)s[i];
        if (c >= 0x80) {
            if ((c & 0xfc) != 0xc0 || ++i == len) {
                return false;
            }
            c = (uint8_t)(c << 6 | ((uint8_t)s[i] & 0x3f));
        }
        dst[n++] = c;
    }
    *out = n;
    return true;
}

/* The number in the bytes of a fixed: the sign goes on to the left. */
static bool widen(uint8_t *bytes, size_t *len, size_t size) {
    if (*len > size) {
        return false;
    }
    memmove(bytes + (size - *len), bytes, *len);
    memset(bytes, *len > 0 && size > 0 && (bytes[size - *len] & 0x80) != 0 ? 0xff : 0, size - *len);
    *len = size;
    return true;
}

static enum bf_code read_bytes(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, size_t *len) {
    struct bf_avro_encoder *e = w->e;
    const char *s = json_string_value(v);
    size_t need = json_string_length(v) + AVRO_DECIMAL_BYTES_MAX + 4;
    if (s == NULL) {
        return expected(w, at, t->decimal && !w->fallback ? "a decimal string" : "a string in base64", v);
    }
    if (e->scratch_bytes < need) {
        uint8_t *more = realloc(e->scratch, need);
        if (more == NULL) {
            return bf_fail(w->err, BF_NOMEM, 0, "no memory for %zu bytes", need);
        }
        e->scratch = more;
        e->scratch_bytes = need;
    }
    if (w->fallback) {
        return code_points_read(s, json_string_length(v), e->scratch, len) ? BF_OK : wrong(w, at, "the default is no bytes");
    }
    if (!t->decimal) {
        return base64_read(s, json_string_length(v), e->scratch, len) ? BF_OK : wrong(w, at, "is not base64");
    }
    if (!avro_decimal_parse(s, t->scale, e->scratch, len)) {
        return wrong(w, at, "is no decimal of the schema's scale");
    }
    return t->kind != AVRO_T_FIXED || widen(e->scratch, len, t->size) ? BF_OK : wrong(w, at, "the decimal does not fit");
}

static enum bf_code fill_bytes(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, avro_value_t *dst) {
    size_t len;
    enum bf_code code = read_bytes(w, at, t, v, &len);
    if (code != BF_OK) {
        return code;
    }
    if (t->kind == AVRO_T_BYTES) {
        return avro_failed(w, at, avro_value_set_bytes(dst, w->e->scratch, len));
    }
    if (len != t->size) {
        return wrong(w, at, "has another length than the fixed");
    }
    return avro_failed(w, at, avro_value_set_fixed(dst, w->e->scratch, len));
}

/* ---- structure ---- */

/* Is there a member of the object that the record does not have? */
static enum bf_code check_members(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, size_t used) {
    const char *key;
    const json_t *value;
    if (used == json_object_size(v)) {
        return BF_OK;
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, value) {
        bool known = false;
        for (size_t i = 0; i < t->count && !known; i++) {
            known = strcmp(t->fields[i].name, key) == 0;
        }
        if (!known) {
            struct step here = {.up = at, .name = key};
            return wrong(w, &here, "the schema has no such field");
        }
    }
    return BF_OK;
}

static bool takes_null(const struct avro_type *t) {
    for (size_t i = 0; t->kind == AVRO_T_UNION && i < t->count; i++) {
        if (t->branches[i]->kind == AVRO_T_NULL) {
            return true;
        }
    }
    return t->kind == AVRO_T_NULL;
}

static enum bf_code fill_field(struct walk *w, const struct step *here, const struct avro_record_field *f, const json_t *v,
                               avro_value_t *dst) {
    bool outer = w->fallback;
    if (v == NULL && f->fallback != NULL) {
        v = f->fallback;
        w->fallback = true;
    } else if (v == NULL && !takes_null(f->type)) {
        return wrong(w, here, "is missing and has no default");
    } else if (v == NULL) { /* nullable: null, in whichever branch that is */
        w->fallback = false;
    }
    enum bf_code code = fill(w, here, f->type, v, dst);
    w->fallback = outer;
    return code;
}

static enum bf_code fill_record(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, avro_value_t *dst) {
    enum bf_code code = BF_OK;
    size_t used = 0;
    if (!json_is_object(v)) {
        return expected(w, at, "an object", v);
    }
    for (size_t i = 0; code == BF_OK && i < t->count; i++) {
        struct step here = {.up = at, .name = t->fields[i].name};
        const json_t *member = json_object_get(v, t->fields[i].name);
        avro_value_t field;
        used += member != NULL;
        code = avro_failed(w, &here, avro_value_get_by_index(dst, i, &field, NULL));
        if (code == BF_OK) {
            code = fill_field(w, &here, &t->fields[i], member, &field);
        }
    }
    return code == BF_OK ? check_members(w, at, t, v, used) : code;
}

static enum bf_code fill_array(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, avro_value_t *dst) {
    enum bf_code code = BF_OK;
    if (!json_is_array(v)) {
        return expected(w, at, "a list", v);
    }
    for (size_t i = 0; code == BF_OK && i < json_array_size(v); i++) {
        struct step here = {.up = at, .index = i};
        avro_value_t item;
        code = avro_failed(w, &here, avro_value_append(dst, &item, NULL));
        if (code == BF_OK) {
            code = fill(w, &here, t->item, json_array_get(v, i), &item);
        }
    }
    return code;
}

static enum bf_code fill_map(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, avro_value_t *dst) {
    const char *key;
    const json_t *value;
    if (!json_is_object(v)) {
        return expected(w, at, "an object", v);
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, value) {
        struct step here = {.up = at, .name = key};
        avro_value_t entry;
        enum bf_code code = avro_failed(w, &here, avro_value_add(dst, key, &entry, NULL, NULL));
        if (code == BF_OK) {
            code = fill(w, &here, t->item, value, &entry);
        }
        if (code != BF_OK) {
            return code;
        }
    }
    return BF_OK;
}

/* How well a bare value fits a branch: 0 not at all, more is better. */
static int fit(const struct avro_type *t, const json_t *v) {
    int64_t i;
    double d;
    switch (t->kind) {
    case AVRO_T_NULL: return v == NULL || json_is_null(v) ? 9 : 0;
    case AVRO_T_BOOLEAN: return json_is_boolean(v) ? 9 : 0;
    case AVRO_T_INT: return integer_of(v, &i) && i >= INT32_MIN && i <= INT32_MAX ? (json_is_integer(v) ? 9 : 5) : 0;
    case AVRO_T_LONG: return integer_of(v, &i) ? (json_is_integer(v) ? 8 : 4) : 0;
    case AVRO_T_DOUBLE: return json_is_number(v) ? 7 : real_of(v, &d) ? 3 : 0;
    case AVRO_T_FLOAT: return json_is_number(v) ? 6 : real_of(v, &d) ? 2 : 0;
    case AVRO_T_STRING: return json_is_string(v) ? 8 : 0;
    case AVRO_T_ENUM:
        for (size_t k = 0; json_is_string(v) && k < t->count; k++) {
            if (bf_slice_eq(t->symbols[k], bf_slice_str(json_string_value(v)))) {
                return 9;
            }
        }
        return 0;
    case AVRO_T_BYTES:
    case AVRO_T_FIXED: return json_is_string(v) ? 1 : 0;
    case AVRO_T_ARRAY: return json_is_array(v) ? 9 : 0;
    case AVRO_T_MAP: return json_is_object(v) ? 1 : 0;
    case AVRO_T_RECORD:
        for (size_t k = 0; json_is_object(v) && k < t->count; k++) {
            if (json_object_get(v, t->fields[k].name) == NULL && t->fields[k].fallback == NULL && !takes_null(t->fields[k].type)) {
                return 0;
            }
        }
        return json_is_object(v) ? 2 : 0;
    case AVRO_T_UNION: break;
    }
    return 0;
}

/* Records of a union are told apart by what they have: the one with the fewest members of the object unknown. */
static size_t known_members(const struct avro_type *t, const json_t *v) {
    size_t known = 0;
    for (size_t i = 0; t->kind == AVRO_T_RECORD && i < t->count; i++) {
        known += json_object_get(v, t->fields[i].name) != NULL;
    }
    return known;
}

static enum bf_code fill_union(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, avro_value_t *dst) {
    size_t best = 0;
    int best_fit = 0;
    avro_value_t branch;
    if (w->fallback && t->count > 0 && fit(t->branches[0], v) > 0) {
        best_fit = 1; /* a default is the first branch's */
    } else {
        for (size_t i = 0; i < t->count; i++) {
            int f = fit(t->branches[i], v);
            bool fuller = f > 0 && f == best_fit && known_members(t->branches[i], v) > known_members(t->branches[best], v);
            if (f > best_fit || fuller) {
                best = i;
                best_fit = f;
            }
        }
    }
    if (best_fit == 0 && t->count == 2 && takes_null(t)) { /* let the only other branch say what is wrong */
        best = t->branches[0]->kind == AVRO_T_NULL ? 1 : 0;
    } else if (best_fit == 0) {
        return expected(w, at, "a value of one of the union's types", v);
    }
    enum bf_code code = avro_failed(w, at, avro_value_set_branch(dst, (int)best, &branch));
    return code == BF_OK ? fill(w, at, t->branches[best], v, &branch) : code;
}

static enum bf_code fill(struct walk *w, const struct step *at, const struct avro_type *t, const json_t *v, avro_value_t *dst) {
    switch (t->kind) {
    case AVRO_T_NULL:
        return v == NULL || json_is_null(v) ? avro_failed(w, at, avro_value_set_null(dst)) : expected(w, at, "null", v);
    case AVRO_T_BOOLEAN:
        return json_is_boolean(v) ? avro_failed(w, at, avro_value_set_boolean(dst, json_is_true(v))) : expected(w, at, "a boolean", v);
    case AVRO_T_INT:
    case AVRO_T_LONG: return fill_integer(w, at, t, v, dst);
    case AVRO_T_FLOAT:
    case AVRO_T_DOUBLE: return fill_real(w, at, t, v, dst);
    case AVRO_T_STRING: return fill_string(w, at, v, dst);
    case AVRO_T_ENUM: return fill_enum(w, at, t, v, dst);
    case AVRO_T_BYTES:
    case AVRO_T_FIXED: return fill_bytes(w, at, t, v, dst);
    case AVRO_T_RECORD: return fill_record(w, at, t, v, dst);
    case AVRO_T_ARRAY: return fill_array(w, at, t, v, dst);
    case AVRO_T_MAP: return fill_map(w, at, t, v, dst);
    case AVRO_T_UNION: break;
    }
    return fill_union(w, at, t, v, dst);
}

/* ---- the encoder ---- */

#define RECORDS_DEEP_MAX 100
#define RECORDS_MAX 10000

/* avro-c makes a record's records at once (those of unions, arrays and maps only when they come), so one that must contain itself, whose
 * values never end, would take the stack. `path`: the records around t; *left: how many more are looked at. */
static bool has_end(const struct avro_type *t, const struct avro_type **path, size_t depth, int *left) {
    if (t->kind != AVRO_T_RECORD) {
        return true;
    }
    if (depth == RECORDS_DEEP_MAX || --*left < 0) {
        return false;
    }
    for (size_t i = 0; i < depth; i++) {
        if (path[i] == t) {
            return false;
        }
    }
    path[depth] = t;
    for (size_t i = 0; i < t->count; i++) {
        if (!has_end(t->fields[i].type, path, depth + 1, left)) {
            return false;
        }
    }
    return true;
}

static enum bf_code check_ends(const struct avro_names *names, struct bf_err *err) {
    const struct avro_type *path[RECORDS_DEEP_MAX];
    for (size_t i = 0; i < names->count; i++) {
        int left = RECORDS_MAX;
        if (!has_end(names->types[i], path, 0, &left)) {
            return bf_fail(err, BF_INVALID, 0, "record '%.200s' contains itself without end, or too many others", names->types[i]->name);
        }
    }
    return BF_OK;
}

static enum bf_code open_schema(struct bf_avro_encoder *e, const char *text, struct bf_err *err) {
    struct avro_names names = {0};
    size_t len = strlen(text);
    enum bf_code code = bf_json_parse(text, len, &e->json, err);
    if (code == BF_OK) {
        code = avro_schema_read(e->json, false, &e->arena, &names, &e->type, err);
    }
    if (code == BF_OK) {
        code = check_ends(&names, err);
    }
    avro_names_fini(&names);
    if (code != BF_OK) {
        return code;
    }
    if (avro_schema_from_json_length(text, len, &e->schema) != 0) {
        return bf_fail(err, BF_INVALID, 0, "%s", avro_strerror());
    }
    e->iface = avro_generic_class_from_schema(e->schema);
    if (e->iface == NULL || avro_generic_value_new(e->iface, &e->value) != 0) {
        return bf_fail(err, BF_NOMEM, 0, "%s", avro_strerror());
    }
    e->value_made = true;
    e->writer = avro_writer_memory(NULL, 0);
    return e->writer != NULL ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for an Avro writer");
}

enum bf_code bf_avro_encoder_new(const char *schema_json, struct bf_avro_encoder **out, struct bf_err *err) {
    struct bf_avro_encoder *e = calloc(1, sizeof(*e));
    if (e == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for an Avro encoder");
    }
    enum bf_code code = open_schema(e, schema_json, err);
    if (code != BF_OK) {
        bf_avro_encoder_free(e);
        return bf_err_prepend(err, "Avro schema");
    }
    *out = e;
    return BF_OK;
}

void bf_avro_encoder_free(struct bf_avro_encoder *e) {
    if (e == NULL) {
        return;
    }
    if (e->writer != NULL) {
        avro_writer_free(e->writer);
    }
    if (e->value_made) {
        avro_value_decref(&e->value);
    }
    if (e->iface != NULL) {
        avro_value_iface_decref(e->iface);
    }
    if (e->schema != NULL) {
        avro_schema_decref(e->schema);
    }
    json_decref(e->json);
    avro_arena_fini(&e->arena);
    free(e->scratch);
    free(e);
}

enum bf_code bf_avro_encode(struct bf_avro_encoder *e, const json_t *value, struct bf_buf *out, struct bf_err *err) {
    struct walk w = {.e = e, .err = err};
    size_t size;
    enum bf_code code = avro_failed(&w, NULL, avro_value_reset(&e->value));
    if (code == BF_OK) {
        code = fill(&w, NULL, e->type, value, &e->value);
    }
    if (code == BF_OK) {
        code = avro_failed(&w, NULL, avro_value_sizeof(&e->value, &size));
    }
    if (code != BF_OK) {
        return code;
    }
    if (!bf_buf_reserve(out, size + 1)) { /* never no room at all: avro-c wants a place to write to */
        return bf_fail(err, BF_NOMEM, 0, "no room for %zu bytes of Avro", size);
    }
    avro_writer_memory_set_dest(e->writer, out->data + out->len, (int64_t)size);
    code = avro_failed(&w, NULL, avro_value_write(e->writer, &e->value));
    if (code == BF_OK) {
        out->len += (size_t)avro_writer_tell(e->writer);
    }
    return code;
}
