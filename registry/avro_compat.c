/* Each pair of types (reader's node, writer's node) is compared once; while it is being compared it counts as
 * compatible, which ends the recursion of recursive types. The order of comparisons is that of Java's class, because
 * with such pairs the order can decide.
 *
 * Conflicts pile up in one list. A comparison that is only a try (a branch of the reader's union) cuts the list back. A
 * pair that was found incompatible in a try keeps its first conflict, so that it can be told when the pair comes up
 * again in earnest. */
#include "avro_compat.h"

#include <stdlib.h>
#include <string.h>

enum verdict { IN_PROGRESS, COMPATIBLE, INCOMPATIBLE };

struct pair {
    const struct avro_node *reader, *writer;
    enum verdict verdict;
    struct avro_conflict first; /* of an INCOMPATIBLE pair; path and detail owned */
};

struct checker {
    struct pair **slots; /* open addressing; size is a power of two, at most half full */
    size_t slot_count, pair_count;
    struct avro_conflict *list;
    size_t count, cap;
    struct bf_buf path;
    int depth;
    bool undecided, nomem;
};

#define DEPTH_MAX 1000

static const char *const kind_names[] = {"NAME_MISMATCH",
                                         "FIXED_SIZE_MISMATCH",
                                         "MISSING_ENUM_SYMBOLS",
                                         "READER_FIELD_MISSING_DEFAULT_VALUE",
                                         "TYPE_MISMATCH",
                                         "MISSING_UNION_BRANCH",
                                         "UNDECIDED"};

const char *avro_conflict_name(enum avro_conflict_kind kind) {
    return kind_names[kind];
}

static bool compare(struct checker *c, const struct avro_node *reader, const struct avro_node *writer);

/* ---- pairs ---- */

static size_t slot_of(const struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    uint64_t h = (uint64_t)(uintptr_t)reader * UINT64_C(0x9E3779B97F4A7C15) ^
                 (uint64_t)(uintptr_t)writer * UINT64_C(0xC2B2AE3D27D4EB4F);
    size_t i = (size_t)(h >> 20) & (c->slot_count - 1);
    while (c->slots[i] != NULL && (c->slots[i]->reader != reader || c->slots[i]->writer != writer)) {
        i = (i + 1) & (c->slot_count - 1);
    }
    return i;
}

static bool grow(struct checker *c) {
    size_t old_count = c->slot_count;
    struct pair **old = c->slots;
    c->slot_count = old_count == 0 ? 256 : old_count * 2;
    c->slots = calloc(c->slot_count, sizeof *c->slots);
    if (c->slots == NULL) {
        c->slots = old;
        c->slot_count = old_count;
        return false;
    }
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] != NULL) {
            c->slots[slot_of(c, old[i]->reader, old[i]->writer)] = old[i];
        }
    }
    free(old);
    return true;
}

/* The pair's place, made IN_PROGRESS when it is new (*is_new). NULL: out of memory. */
static struct pair *enter(struct checker *c, const struct avro_node *reader, const struct avro_node *writer,
                          bool *is_new) {
    if ((c->pair_count + 1) * 2 > c->slot_count && !grow(c)) {
        return NULL;
    }
    size_t i = slot_of(c, reader, writer);
    *is_new = c->slots[i] == NULL;
    if (*is_new) {
        c->slots[i] = calloc(1, sizeof **c->slots);
        if (c->slots[i] == NULL) {
            return NULL;
        }
        c->slots[i]->reader = reader;
        c->slots[i]->writer = writer;
        c->pair_count++;
    }
    return c->slots[i];
}

/* ---- conflicts ---- */

static void conflict_fini(struct avro_conflict *x) {
    free(x->path);
    free(x->detail);
}

static void cut_back(struct checker *c, size_t count) {
    while (c->count > count) {
        conflict_fini(&c->list[--c->count]);
    }
}

static void add(struct checker *c, enum avro_conflict_kind kind, const char *path, const char *detail) {
    if (c->count == AVRO_CONFLICTS_MAX) {
        return;
    }
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 8 : c->cap * 2;
        struct avro_conflict *bigger = realloc(c->list, cap * sizeof *bigger);
        if (bigger == NULL) {
            c->nomem = true;
            return;
        }
        c->list = bigger;
        c->cap = cap;
    }
    struct avro_conflict x = {kind, strdup(path), strdup(detail)};
    if (x.path == NULL || x.detail == NULL) {
        conflict_fini(&x);
        c->nomem = true;
        return;
    }
    c->list[c->count++] = x;
}

/* A conflict at the current path plus `step`. */
static void conflict(struct checker *c, enum avro_conflict_kind kind, const char *step, const char *detail) {
    size_t len = c->path.len;
    if (step != NULL) {
        bf_buf_printf(&c->path, "/%s", step);
    }
    bf_buf_putc(&c->path, '\0');
    if (c->path.failed) {
        c->nomem = true;
        return;
    }
    add(c, kind, c->path.len == 1 ? "/" : c->path.data, detail);
    c->path.len = len;
}

static const char *upper_name(enum avro_type t, char dst[16]) {
    const char *name = avro_type_name(t);
    size_t i = 0;
    for (; name[i] != '\0'; i++) {
        dst[i] = (char)(name[i] - 'a' + 'A');
    }
    dst[i] = '\0';
    return dst;
}

static bool type_mismatch(struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    char detail[100], r[16], w[16];
    snprintf(detail, sizeof detail, "reader type: %s not compatible with writer type: %s", upper_name(reader->type, r),
             upper_name(writer->type, w));
    conflict(c, AVRO_CONFLICT_TYPE_MISMATCH, NULL, detail);
    return false;
}

static bool missing_branch(struct checker *c, const struct avro_node *writer) {
    char detail[64], w[16];
    snprintf(detail, sizeof detail, "reader union lacking writer type: %s", upper_name(writer->type, w));
    conflict(c, AVRO_CONFLICT_MISSING_UNION_BRANCH, NULL, detail);
    return false;
}

/* ---- comparing ---- */

/* compare() one step further down. */
static bool below(struct checker *c, const struct avro_node *reader, const struct avro_node *writer, const char *fmt,
                  size_t index) {
    size_t len = c->path.len;
    char step[48];
    if (strcmp(fmt, "index") == 0) {
        snprintf(step, sizeof step, "/%zu", index);
    } else if (strcmp(fmt, "field") == 0) {
        snprintf(step, sizeof step, "/fields/%zu/type", index);
    } else {
        snprintf(step, sizeof step, "/%s", fmt);
    }
    bf_buf_puts(&c->path, step);
    bool ok = compare(c, reader, writer);
    c->path.len = len;
    return ok;
}

static bool names_match(struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    if (strcmp(reader->name, writer->name) == 0) {
        return true;
    }
    for (size_t i = 0; i < reader->alias_count; i++) {
        if (strcmp(reader->aliases[i], writer->full) == 0) {
            return true;
        }
    }
    char detail[600];
    snprintf(detail, sizeof detail, "expected: %.500s", writer->full);
    conflict(c, AVRO_CONFLICT_NAME_MISMATCH, "name", detail);
    return false;
}

static bool fixed_match(struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    bool ok = names_match(c, reader, writer);
    if (reader->fixed_size != writer->fixed_size) {
        char detail[80];
        snprintf(detail, sizeof detail, "expected: %lld, found: %lld", (long long)writer->fixed_size,
                 (long long)reader->fixed_size);
        conflict(c, AVRO_CONFLICT_FIXED_SIZE_MISMATCH, "size", detail);
        ok = false;
    }
    return ok;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool enums_match(struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    bool ok = names_match(c, reader, writer);
    const char **missing = calloc(writer->symbol_count + 1, sizeof *missing);
    struct bf_buf detail;
    size_t count = 0;
    if (missing == NULL) {
        c->nomem = true;
        return false;
    }
    for (size_t i = 0; i < writer->symbol_count; i++) {
        if (json_object_get(reader->symbol_index, writer->symbols[i]) == NULL) {
            missing[count++] = writer->symbols[i];
        }
    }
    if (count > 0 && reader->enum_default == NULL) {
        qsort(missing, count, sizeof *missing, by_text);
        bf_buf_init(&detail, AVRO_SCHEMA_BYTES_MAX * 2);
        for (size_t i = 0; i < count; i++) {
            bf_buf_printf(&detail, "%s%s", i == 0 ? "[" : ", ", missing[i]);
        }
        bf_buf_puts(&detail, "]");
        bf_buf_putc(&detail, '\0');
        conflict(c, AVRO_CONFLICT_MISSING_ENUM_SYMBOLS, "symbols", detail.failed ? "" : detail.data);
        bf_buf_fini(&detail);
        ok = false;
    }
    free(missing);
    return ok;
}

/* The writer's field for the reader's, by name or by the reader's aliases. More than one: undecided. */
static const struct avro_field *writer_field(struct checker *c, const struct avro_node *writer,
                                             const struct avro_field *f) {
    const struct avro_field *found = avro_node_field(writer, f->name);
    for (size_t i = 0; i < f->alias_count; i++) {
        const struct avro_field *other = avro_node_field(writer, f->aliases[i]);
        if (other != NULL && found != NULL) {
            c->undecided = true;
        }
        found = other != NULL ? other : found;
    }
    return found;
}

static bool records_match(struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    bool ok = names_match(c, reader, writer);
    for (size_t i = 0; i < reader->field_count && !c->undecided; i++) {
        const struct avro_field *f = &reader->fields[i], *from = writer_field(c, writer, f);
        if (c->undecided) {
            conflict(c, AVRO_CONFLICT_UNDECIDED, "fields",
                     "a field and its aliases match several fields of the writer");
            return false;
        }
        if (from != NULL) {
            ok &= below(c, f->type, from->type, "field", i);
        } else if (f->deflt == NULL) {
            char step[40];
            snprintf(step, sizeof step, "fields/%zu", i);
            conflict(c, AVRO_CONFLICT_READER_FIELD_MISSING_DEFAULT_VALUE, step, f->name);
            ok = false;
        }
    }
    return ok;
}

static bool same_kind(struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    switch (reader->type) {
    case AVRO_ARRAY: return below(c, reader->branches[0], writer->branches[0], "items", 0);
    case AVRO_MAP: return below(c, reader->branches[0], writer->branches[0], "values", 0);
    case AVRO_FIXED: return fixed_match(c, reader, writer);
    case AVRO_ENUM: return enums_match(c, reader, writer);
    case AVRO_RECORD: return records_match(c, reader, writer);
    default: return true;
    }
}

/* The writer is a union: each of its branches must be readable. */
static bool writer_union(struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    bool ok = true;
    for (size_t i = 0; i < writer->branch_count && !c->undecided; i++) {
        size_t count = c->count;
        bool fits = below(c, reader, writer->branches[i], "index", i);
        if (!fits && reader->type == AVRO_UNION) {
            char step[32];
            size_t len = c->path.len;
            cut_back(c, count);
            snprintf(step, sizeof step, "/%zu", i);
            bf_buf_puts(&c->path, step);
            missing_branch(c, writer->branches[i]);
            c->path.len = len;
        }
        ok &= fits;
    }
    return ok;
}

/* Only the reader is a union: one branch must do. */
static bool reader_union(struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    size_t count = c->count;
    for (size_t i = 0; i < reader->branch_count && !c->undecided; i++) {
        bool fits = compare(c, reader->branches[i], writer);
        cut_back(c, count);
        if (fits) {
            return true;
        }
    }
    return missing_branch(c, writer);
}

static bool promotes(enum avro_type writer, enum avro_type reader) {
    switch (reader) {
    case AVRO_LONG: return writer == AVRO_INT;
    case AVRO_FLOAT: return writer == AVRO_INT || writer == AVRO_LONG;
    case AVRO_DOUBLE: return writer == AVRO_INT || writer == AVRO_LONG || writer == AVRO_FLOAT;
    case AVRO_BYTES: return writer == AVRO_STRING;
    case AVRO_STRING: return writer == AVRO_BYTES;
    default: return false;
    }
}

static bool compare_new(struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    if (writer->type == AVRO_UNION) {
        return writer_union(c, reader, writer);
    }
    if (reader->type == AVRO_UNION) {
        return reader_union(c, reader, writer);
    }
    if (reader->type == writer->type) {
        return same_kind(c, reader, writer);
    }
    return promotes(writer->type, reader->type) || type_mismatch(c, reader, writer);
}

static bool compare(struct checker *c, const struct avro_node *reader, const struct avro_node *writer) {
    bool is_new;
    if (c->undecided || c->nomem) {
        return false;
    }
    if (c->pair_count >= AVRO_COMPAT_PAIRS_MAX || c->depth >= DEPTH_MAX) {
        conflict(c, AVRO_CONFLICT_UNDECIDED, NULL, "the two schemas are too large to be compared");
        c->undecided = true;
        return false;
    }
    struct pair *p = enter(c, reader, writer, &is_new);
    if (p == NULL) {
        c->nomem = true;
        return false;
    }
    if (!is_new) {
        if (p->verdict == INCOMPATIBLE && p->first.path != NULL) {
            add(c, p->first.kind, p->first.path, p->first.detail);
        }
        return p->verdict != INCOMPATIBLE;
    }
    size_t count = c->count;
    c->depth++;
    bool ok = compare_new(c, reader, writer);
    c->depth--;
    p->verdict = ok ? COMPATIBLE : INCOMPATIBLE;
    if (!ok && c->count > count) {
        p->first = c->list[count];
        p->first.path = strdup(c->list[count].path);
        p->first.detail = strdup(c->list[count].detail);
        c->nomem |= p->first.path == NULL || p->first.detail == NULL;
    }
    return ok;
}

/* ---- whole ---- */

enum bf_code avro_compat_check(const struct avro_schema *reader, const struct avro_schema *writer,
                               struct avro_compat *out, struct bf_err *err) {
    struct checker c = {0};
    bf_buf_init(&c.path, 1 << 20);
    bool ok = compare(&c, avro_schema_root(reader), avro_schema_root(writer));
    for (size_t i = 0; i < c.slot_count; i++) {
        if (c.slots[i] != NULL) {
            conflict_fini(&c.slots[i]->first);
            free(c.slots[i]);
        }
    }
    free(c.slots);
    bf_buf_fini(&c.path);
    struct avro_compat result = {ok && !c.undecided, c.undecided, c.list, c.count};
    if (c.nomem) {
        avro_compat_fini(&result);
        return bf_fail(err, BF_NOMEM, 0, "out of memory while comparing schemas");
    }
    *out = result;
    return BF_OK;
}

void avro_compat_fini(struct avro_compat *c) {
    for (size_t i = 0; i < c->count; i++) {
        conflict_fini(&c->conflicts[i]);
    }
    free(c->conflicts);
    *c = (struct avro_compat){0};
}
