/* A record's bytes are its fields' bytes one after the other, so a tree of records is a flat row of slots in schema order. Reading fills slots in
 * whatever order the text has; writing walks them once. The next member is most often the next field, which is tried first. */
#include "bf_avro_text.h"

#include "bf_avro_program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MAX = 256, DEPTH_MAX = 8, ENTRIES_MAX = 32, VARINT_MAX = 10 };

struct text_slot {
    enum avro_type_kind kind; /* of the value, of an entry's value in a map */
    bool map, optional;
    uint8_t null_branch;      /* of an optional one: 0 or 1 */
    bool has_default;
    struct bf_buf fallback; /* its bytes */
    /* of the text at hand */
    struct bf_avro_field value;
    size_t entries_at, entries_len; /* a map's, in `entries` */
    int64_t entry_count;
};

struct text_member {
    const char *name;
    size_t len;
    const char *quoted; /* "name": as it most often stands in the text */
    struct text_record *record; /* NULL: a slot */
    int slot;
};

struct text_record {
    struct text_member *members;
    size_t count;
    bool seen;
    struct text_record *next; /* of all */
};

struct bf_avro_text {
    struct avro_arena arena;
    json_t *json;
    struct text_record *root, *records;
    struct text_slot slots[SLOTS_MAX];
    int slot_count;
    struct bf_buf entries;
};

struct cursor {
    const char *p, *end;
};

/* ---- the schema ---- */

static size_t put_long(uint8_t dst[VARINT_MAX], int64_t v) {
    uint64_t z = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    size_t n = 0;
    for (; z > 127; z >>= 7) dst[n++] = (uint8_t)(z | 128);
    dst[n++] = (uint8_t)z;
    return n;
}

static void append_long(struct bf_buf *out, int64_t v) {
    if (!bf_buf_reserve(out, VARINT_MAX)) return;
    out->len += put_long((uint8_t *)out->data + out->len, v);
}

static void append_string(struct bf_buf *out, struct bf_slice s) {
    append_long(out, (int64_t)s.len);
    bf_buf_append(out, s.data, s.len);
}

static bool is_plain(enum avro_type_kind kind) {
    return kind == AVRO_T_STRING || kind == AVRO_T_LONG || kind == AVRO_T_INT || kind == AVRO_T_DOUBLE || kind == AVRO_T_BOOLEAN;
}

/* The default's bytes; false: of a kind that is left to the long way. */
static bool read_default(struct text_slot *slot, const json_t *v) {
    struct bf_buf *out = &slot->fallback;
    bf_buf_init(out, 1 << 16);
    slot->has_default = v != NULL || slot->optional;
    if (!slot->has_default) return true;
    if (slot->optional) { /* null is the only default, in whichever branch it is */
        append_long(out, slot->null_branch);
        return v == NULL || (json_is_null(v) && slot->null_branch == 0);
    }
    if (slot->map) append_long(out, 0);
    else if (slot->kind == AVRO_T_STRING && json_is_string(v)) append_string(out, (struct bf_slice){json_string_value(v), json_string_length(v)});
    else if ((slot->kind == AVRO_T_LONG || slot->kind == AVRO_T_INT) && json_is_integer(v)) append_long(out, json_integer_value(v));
    else if (slot->kind == AVRO_T_DOUBLE && json_is_number(v)) bf_buf_append(out, &(double){json_number_value(v)}, sizeof(double));
    else if (slot->kind == AVRO_T_BOOLEAN && json_is_boolean(v)) bf_buf_putc(out, json_is_true(v));
    else return false;
    return !slot->map || (json_is_object(v) && json_object_size(v) == 0);
}

static bool add_slot(struct bf_avro_text *t, const struct avro_record_field *field, int *index) {
    const struct avro_type *type = field->type;
    if (t->slot_count == SLOTS_MAX) return false;
    struct text_slot *slot = &t->slots[*index = t->slot_count++];
    if (type->kind == AVRO_T_UNION) {
        if (type->count != 2) return false;
        bool first = type->branches[0]->kind == AVRO_T_NULL;
        slot->optional = true;
        slot->null_branch = first ? 0 : 1;
        if (type->branches[slot->null_branch]->kind != AVRO_T_NULL) return false;
        type = type->branches[first ? 1 : 0];
    } else if (type->kind == AVRO_T_MAP) {
        slot->map = true;
        type = type->item;
    }
    slot->kind = type->kind;
    return is_plain(type->kind) && read_default(slot, field->fallback);
}

static const char *quote(struct bf_avro_text *t, const struct text_member *m) {
    char *text = avro_arena_alloc(&t->arena, m->len + 4);
    if (text != NULL) sprintf(text, "\"%s\":", m->name);
    return text;
}

/* False: not flat (or no memory, which the long way will find out about). */
static bool add_record(struct bf_avro_text *t, const struct avro_type *type, int depth, struct text_record **out) {
    struct text_record *r = avro_arena_alloc(&t->arena, sizeof *r);
    if (type->kind != AVRO_T_RECORD || depth > DEPTH_MAX || r == NULL) return false;
    r->members = avro_arena_alloc(&t->arena, (type->count + 1) * sizeof *r->members);
    if (r->members == NULL) return false;
    r->next = t->records;
    t->records = r;
    for (; r->count < type->count; r->count++) {
        const struct avro_record_field *field = &type->fields[r->count];
        struct text_member *m = &r->members[r->count];
        *m = (struct text_member){.name = field->name, .len = strlen(field->name), .slot = -1};
        if ((m->quoted = quote(t, m)) == NULL) return false;
        bool good = field->type->kind == AVRO_T_RECORD ? field->fallback == NULL && add_record(t, field->type, depth + 1, &m->record)
                                                       : add_slot(t, field, &m->slot);
        if (!good) return false;
    }
    *out = r;
    return true;
}

enum bf_code bf_avro_text_new(const char *schema_json, struct bf_avro_text **out, struct bf_err *err) {
    struct avro_names names = {0};
    const struct avro_type *type = NULL;
    struct bf_avro_text *t = calloc(1, sizeof *t);

    if (t == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for an Avro encoder");
    bf_buf_init(&t->entries, 64 << 20);
    enum bf_code code = bf_json_parse(schema_json, strlen(schema_json), &t->json, err);
    if (code == BF_OK) code = avro_schema_read(t->json, false, &t->arena, &names, &type, err);
    if (code == BF_OK && !add_record(t, type, 0, &t->root)) code = bf_fail(err, BF_NOT_FOUND, 0, "the schema is not flat");
    avro_names_fini(&names);
    if (code != BF_OK) {
        bf_avro_text_free(t);
        return code;
    }
    *out = t;
    return BF_OK;
}

void bf_avro_text_free(struct bf_avro_text *t) {
    if (t == NULL) return;
    for (int i = 0; i < t->slot_count; i++) bf_buf_fini(&t->slots[i].fallback);
    bf_buf_fini(&t->entries);
    json_decref(t->json);
    avro_arena_fini(&t->arena);
    free(t);
}

int bf_avro_text_slot(const struct bf_avro_text *t, const char *path) {
    const struct text_record *r = t->root;
    while (r != NULL) {
        size_t len = strcspn(path, "."), i = 0;
        while (i < r->count && !(r->members[i].len == len && memcmp(r->members[i].name, path, len) == 0)) i++;
        if (i == r->count) return -1;
        if (path[len] == '\0') return r->members[i].slot < 0 || t->slots[r->members[i].slot].map ? -1 : r->members[i].slot;
        r = r->members[i].record;
        path += len + 1;
    }
    return -1;
}

/* ---- the text ---- */

static void skip_blanks(struct cursor *c) {
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r')) c->p++;
}

/* The character, and blanks before and behind it. */
static bool take(struct cursor *c, char wanted) {
    skip_blanks(c);
    if (c->p == c->end || *c->p != wanted) return false;
    c->p++;
    skip_blanks(c);
    return true;
}

static bool take_word(struct cursor *c, const char *word, size_t len) {
    if ((size_t)(c->end - c->p) < len || memcmp(c->p, word, len) != 0) return false;
    c->p += len;
    return true;
}

/* Which of the eight bytes end or forbid a plain run: a quote, a backslash, a control character, one above 0x7f. */
static uint64_t special(uint64_t w) {
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t quotes = w ^ (ones * '"'), slashes = w ^ (ones * '\\');
    return (((quotes - ones) & ~quotes) | ((slashes - ones) & ~slashes) | (w - ones * 0x20) | w) & highs;
}

/* A string without escapes; the cursor is at its quote. */
static bool take_string(struct cursor *c, struct bf_slice *out) {
    uint64_t word;
    unsigned char high = 0;
    if (c->p == c->end || *c->p != '"') return false;
    const char *begin = ++c->p, *p = begin;
    while (c->end - p >= 8 && (memcpy(&word, p, 8), special(word) == 0)) p += 8;
    for (; p < c->end && *p != '"'; p++) {
        if ((unsigned char)*p < 0x20 || *p == '\\') return false;
        high |= (unsigned char)*p;
    }
    if (p == c->end) return false;
    *out = (struct bf_slice){begin, (size_t)(p - begin)};
    c->p = p + 1;
    return high < 0x80 || bf_utf8_valid(out->data, out->len);
}

struct number {
    const char *begin;
    bool negative, real;
    uint64_t mantissa; /* of all digits; nonsense when there are more than 19 */
    int digits, exponent;
};

static bool take_digits(struct cursor *c, struct number *n) {
    const char *p = c->p;
    uint64_t mantissa = n->mantissa;
    for (; p < c->end && *p >= '0' && *p <= '9'; p++) mantissa = mantissa * 10 + (uint64_t)(*p - '0');
    int count = p - c->p < 1000 ? (int)(p - c->p) : 1000;
    n->mantissa = mantissa;
    n->digits += count;
    c->p = p;
    return count > 0;
}

static bool take_exponent(struct cursor *c, struct number *n) {
    int value = 0;
    c->p++;
    bool negative = c->p < c->end && *c->p == '-';
    if (c->p < c->end && (*c->p == '-' || *c->p == '+')) c->p++;
    const char *begin = c->p;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9' && value < 10000; c->p++) value = value * 10 + (*c->p - '0');
    n->exponent += negative ? -value : value;
    n->real = true;
    return c->p > begin && value < 10000;
}

/* A number as RFC 8259 §6 writes it, with something behind it. */
static bool take_number(struct cursor *c, struct number *n) {
    *n = (struct number){.begin = c->p};
    if (c->p < c->end && *c->p == '-') {
        n->negative = true;
        c->p++;
    }
    bool zero = c->p < c->end && *c->p == '0';
    const char *begin = c->p;
    if (!take_digits(c, n) || (zero && c->p - begin > 1)) return false;
    if (c->p < c->end && *c->p == '.') {
        const char *point = c->p++;
        n->real = true;
        if (!take_digits(c, n)) return false;
        n->exponent = -(int)(c->p - point - 1);
    }
    if (c->p < c->end && (*c->p == 'e' || *c->p == 'E') && !take_exponent(c, n)) return false;
    return c->p < c->end;
}

static bool to_long(const struct number *n, int64_t *out) {
    if (n->real || n->digits > 18) return false;
    *out = n->negative ? -(int64_t)n->mantissa : (int64_t)n->mantissa;
    return true;
}

/* Exact where mantissa and power of ten both are (Clinger, "How to Read Floating Point Numbers Accurately", 1990); else strtod. */
static bool to_double(const struct number *n, double *out) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int64_t whole;
    if (!n->real) {
        if (!to_long(n, &whole)) return false;
        *out = (double)whole;
        return true;
    }
    if (n->digits > 19 || n->mantissa > UINT64_C(1) << 53 || n->exponent < -22 || n->exponent > 22) {
        *out = strtod(n->begin, NULL); /* ends at whatever lies behind the number */
        return isfinite(*out);
    }
    double d = (double)n->mantissa;
    d = n->exponent < 0 ? d / powers[-n->exponent] : d * powers[n->exponent];
    *out = n->negative ? -d : d;
    return true;
}

static bool take_plain(struct cursor *c, enum avro_type_kind kind, struct bf_avro_field *out) {
    struct number n;
    *out = (struct bf_avro_field){.kind = BF_AVRO_LONG};
    switch (kind) {
    case AVRO_T_STRING:
        out->kind = BF_AVRO_STRING;
        return take_string(c, &out->s);
    case AVRO_T_DOUBLE:
        out->kind = BF_AVRO_DOUBLE;
        return take_number(c, &n) && to_double(&n, &out->d);
    case AVRO_T_LONG: return take_number(c, &n) && to_long(&n, &out->l);
    case AVRO_T_INT: return take_number(c, &n) && to_long(&n, &out->l) && out->l >= INT32_MIN && out->l <= INT32_MAX;
    default:
        out->kind = BF_AVRO_BOOLEAN;
        out->l = take_word(c, "true", 4);
        return out->l != 0 || take_word(c, "false", 5);
    }
}

static void append_value(struct bf_buf *out, const struct bf_avro_field *v) {
    switch (v->kind) {
    case BF_AVRO_STRING: append_string(out, v->s); break;
    case BF_AVRO_DOUBLE: bf_buf_append(out, &v->d, sizeof v->d); break; /* little-endian, as every machine we run on */
    case BF_AVRO_LONG: append_long(out, v->l); break;
    default: bf_buf_putc(out, (char)v->l);
    }
}

static bool take_map(struct bf_avro_text *t, struct cursor *c, struct text_slot *slot) {
    struct bf_slice keys[ENTRIES_MAX];
    struct bf_avro_field value;
    slot->entries_at = t->entries.len;
    slot->entry_count = 0;
    if (!take(c, '{')) return false;
    bool more = c->p < c->end && *c->p != '}';
    while (more) {
        struct bf_slice *key = &keys[slot->entry_count];
        if (slot->entry_count == ENTRIES_MAX || !take_string(c, key) || !take(c, ':') || !take_plain(c, slot->kind, &value)) return false;
        for (int64_t i = 0; i < slot->entry_count; i++) {
            if (bf_slice_eq(keys[i], *key)) return false;
        }
        slot->entry_count++;
        append_string(&t->entries, *key);
        append_value(&t->entries, &value);
        more = take(c, ',');
    }
    slot->entries_len = t->entries.len - slot->entries_at;
    slot->value.kind = BF_AVRO_STRING; /* not absent */
    return take(c, '}') && !t->entries.failed;
}

static bool take_slot(struct bf_avro_text *t, struct cursor *c, struct text_slot *slot) {
    if (slot->value.kind != BF_AVRO_ABSENT) return false; /* twice */
    if (slot->map) return take_map(t, c, slot);
    if (slot->optional && take_word(c, "null", 4)) {
        slot->value.kind = BF_AVRO_NULL;
        return true;
    }
    return take_plain(c, slot->kind, &slot->value);
}

/* The name and its colon; `expected` is tried as it most often stands there. NULL: no such member. */
static const struct text_member *take_member(struct cursor *c, const struct text_record *r, size_t expected) {
    struct bf_slice name;
    const struct text_member *m = &r->members[expected];
    if (expected < r->count && (size_t)(c->end - c->p) > m->len + 3 && memcmp(c->p, m->quoted, m->len + 3) == 0) {
        c->p += m->len + 3;
        skip_blanks(c);
        return m;
    }
    if (!take_string(c, &name) || !take(c, ':')) return NULL;
    for (size_t i = 0; i < r->count; i++) {
        m = &r->members[(expected + i) % r->count];
        if (m->len == name.len && memcmp(m->name, name.data, name.len) == 0) return m;
    }
    return NULL;
}

static bool take_record(struct bf_avro_text *t, struct cursor *c, struct text_record *r) {
    size_t expected = 0;
    if (r->seen || !take(c, '{')) return false;
    r->seen = true;
    bool more = c->p < c->end && *c->p != '}';
    while (more) {
        const struct text_member *m = take_member(c, r, expected);
        if (m == NULL || !(m->record != NULL ? take_record(t, c, m->record) : take_slot(t, c, &t->slots[m->slot]))) return false;
        expected = (size_t)(m - r->members) + 1;
        more = take(c, ',');
    }
    return take(c, '}');
}

bool bf_avro_text_read(struct bf_avro_text *t, struct bf_slice text) {
    struct cursor c = {text.data, (const char *)text.data + text.len};
    for (int i = 0; i < t->slot_count; i++) t->slots[i].value.kind = BF_AVRO_ABSENT;
    for (struct text_record *r = t->records; r != NULL; r = r->next) r->seen = false;
    bf_buf_clear(&t->entries);
    if (text.len == 0 || !take_record(t, &c, t->root) || c.p != c.end) return false;
    for (const struct text_record *r = t->records; r != NULL; r = r->next) {
        if (!r->seen) return false;
    }
    return true;
}

/* ---- values ---- */

const struct bf_avro_field *bf_avro_text_value(const struct bf_avro_text *t, int slot) { return &t->slots[slot].value; }

bool bf_avro_text_set_long(struct bf_avro_text *t, int slot, int64_t value) {
    if (t->slots[slot].kind != AVRO_T_LONG) return false;
    t->slots[slot].value = (struct bf_avro_field){.kind = BF_AVRO_LONG, .l = value};
    return true;
}

bool bf_avro_text_set_string(struct bf_avro_text *t, int slot, struct bf_slice value) {
    if (t->slots[slot].kind != AVRO_T_STRING) return false;
    t->slots[slot].value = (struct bf_avro_field){.kind = BF_AVRO_STRING, .s = value};
    return true;
}

/* At least as many bytes as the slot takes. */
static size_t slot_room(const struct text_slot *slot) {
    if (slot->value.kind == BF_AVRO_ABSENT) return slot->fallback.len;
    return 2 * VARINT_MAX + 1 + (slot->map ? slot->entries_len : slot->value.kind == BF_AVRO_STRING ? slot->value.s.len : sizeof(double));
}

static uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t len) {
    if (len > 0) memcpy(p, bytes, len);
    return p + len;
}

static uint8_t *write_slot(const struct bf_avro_text *t, const struct text_slot *slot, uint8_t *p) {
    const struct bf_avro_field *v = &slot->value;
    if (v->kind == BF_AVRO_ABSENT) return put_bytes(p, slot->fallback.data, slot->fallback.len);
    if (slot->map) {
        if (slot->entry_count > 0) p += put_long(p, slot->entry_count);
        if (slot->entries_len > 0) p = put_bytes(p, t->entries.data + slot->entries_at, slot->entries_len);
        *p++ = 0;
        return p;
    }
    if (slot->optional) *p++ = (uint8_t)(2 * (v->kind == BF_AVRO_NULL ? slot->null_branch : 1 - slot->null_branch));
    switch (v->kind) {
    case BF_AVRO_NULL: return p;
    case BF_AVRO_STRING:
        p += put_long(p, (int64_t)v->s.len);
        return put_bytes(p, v->s.data, v->s.len);
    case BF_AVRO_DOUBLE: return put_bytes(p, &v->d, sizeof v->d); /* little-endian, as every machine we run on */
    case BF_AVRO_LONG: return p + put_long(p, v->l);
    default: *p = (uint8_t)v->l; return p + 1;
    }
}

bool bf_avro_text_write(const struct bf_avro_text *t, struct bf_buf *out) {
    size_t room = 0;
    for (int i = 0; i < t->slot_count; i++) {
        if (t->slots[i].value.kind == BF_AVRO_ABSENT && !t->slots[i].has_default) return false;
        room += slot_room(&t->slots[i]);
    }
    if (!bf_buf_reserve(out, room)) return false;
    uint8_t *p = (uint8_t *)out->data + out->len;
    for (int i = 0; i < t->slot_count; i++) p = write_slot(t, &t->slots[i], p);
    out->len = (size_t)(p - (uint8_t *)out->data);
    return true;
}
