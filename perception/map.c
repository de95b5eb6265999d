/* The map's file is checked once, the names become column numbers at the header, and a row is then a few lookups. */
#include "map.h"

#include "bf_buf.h"
#include "bf_json.h"
#include "bf_time.h"
#include "map_time.h"
#include "schema_field.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEMPLATE_BYTES_MAX 4096
#define NO_COLUMN SIZE_MAX

struct map {
    json_t *json;
    const struct bf_topic *topic;
    const json_t *schema;
    bool wide, repeatable;
    char delimiter;
    const char *node, *event_id, *value; /* borrowed from json */
    struct map_time time;
    const char *node_path, *id_path, *time_path;
    /* from the header */
    char **names;
    size_t name_count, time_column;
    bool *is_value;      /* wide */
    size_t *field_column; /* long: by the position in "fields" */
    struct bf_buf text, id_text;
};

static enum bf_code wrong(const char *member, const char *what, struct bf_err *err) {
    return bf_fail(err, BF_INVALID, 0, "map: \"%s\" %s", member, what);
}

/* The members' kinds: text, bool (true or false), list (of texts), object; "time" is looked at by map_time. */
static const struct {
    const char *name, *kind;
} members[] = {{"comment", "any"},  {"shape", "any"},    {"delimiter", "any"}, {"newest_first", "bool"}, {"missing", "list"},
               {"time", "object"},  {"node", "text"},    {"event_id", "text"}, {"columns", "list"},      {"value", "text"},
               {"fields", "object"}, {"constants", "object"}, {"repeatable", "bool"}};

static bool is_list_of_texts(const json_t *value) {
    size_t i;
    const json_t *item;

    json_array_foreach(value, i, item) {
        if (!json_is_string(item)) return false;
    }
    return json_is_array(value);
}

static enum bf_code check_member(const char *key, const char *kind, const json_t *value, struct bf_err *err) {
    if (strcmp(kind, "text") == 0 && !json_is_string(value)) return wrong(key, "is no text", err);
    if (strcmp(kind, "bool") == 0 && !json_is_boolean(value)) return wrong(key, "is neither true nor false", err);
    if (strcmp(kind, "list") == 0 && !is_list_of_texts(value)) return wrong(key, "is no list of texts", err);
    if (strcmp(kind, "object") == 0 && !json_is_object(value)) return wrong(key, "is no object", err);
    return BF_OK;
}

static enum bf_code check_members(const json_t *json, struct bf_err *err) {
    const char *key;
    json_t *value;

    if (!json_is_object(json)) return bf_fail(err, BF_INVALID, 0, "map: it is no JSON object");
    json_object_foreach((json_t *)(uintptr_t)json, key, value) {
        size_t i = 0, count = sizeof members / sizeof members[0];
        while (i < count && strcmp(members[i].name, key) != 0) i++;
        if (i == count) return wrong(key, "is not known", err);
        if (check_member(key, members[i].kind, value, err) != BF_OK) return err->code;
    }
    return BF_OK;
}

static enum bf_code check_target(const struct map *m, const char *member, const char *path, struct bf_err *err) {
    enum schema_field kind = schema_field(m->schema, path);
    if (kind != SCHEMA_FIELD_NONE && kind != SCHEMA_FIELD_OTHER) return BF_OK;
    return bf_fail(err, BF_INVALID, 0, "map: \"%s\": the schema of %s has no plain field \"%s\"", member, m->topic->name, path);
}

/* The catalogue may name several places; the one that the schema has counts. NULL: none. */
static const char *first_in_schema(const struct map *m, const char *const *paths) {
    for (size_t i = 0; paths != NULL && paths[i] != NULL; i++) {
        if (schema_field(m->schema, paths[i]) != SCHEMA_FIELD_NONE) return paths[i];
    }
    return NULL;
}

/* The text members, and the paths in the value that the topic gives. */
static enum bf_code read_texts(struct map *m, struct bf_err *err) {
    const char *shape = json_string_value(json_object_get(m->json, "shape"));
    const char *delimiter = json_string_value(json_object_get(m->json, "delimiter"));

    if (shape == NULL || (strcmp(shape, "wide") != 0 && strcmp(shape, "long") != 0)) return wrong("shape", "is neither wide nor long", err);
    m->wide = strcmp(shape, "wide") == 0;
    if (delimiter != NULL && (strlen(delimiter) != 1 || strchr("\"\r\n", *delimiter) != NULL)) return wrong("delimiter", "is not one character", err);
    m->delimiter = delimiter != NULL ? *delimiter : ',';
    m->node = json_string_value(json_object_get(m->json, "node"));
    if (m->node == NULL) return wrong("node", "is missing", err);
    m->event_id = json_string_value(json_object_get(m->json, "event_id"));
    m->value = json_string_value(json_object_get(m->json, "value"));
    m->repeatable = json_is_true(json_object_get(m->json, "repeatable"));
    m->node_path = first_in_schema(m, m->topic->node_paths);
    m->id_path = first_in_schema(m, m->topic->event_id_paths);
    m->time_path = first_in_schema(m, m->topic->event_time_paths);
    if (m->time_path == NULL || m->node_path == NULL) {
        return bf_fail(err, BF_INVALID, 0, "map: the schema of %s has none of the fields that the catalogue names for time and node", m->topic->name);
    }
    if (m->event_id != NULL && m->id_path == NULL) return wrong("event_id", "has no place in this topic", err);
    return BF_OK;
}

static enum bf_code read_constants(const struct map *m, struct bf_err *err) {
    const char *path;
    json_t *value;

    json_object_foreach(json_object_get(m->json, "constants"), path, value) {
        if (check_target(m, "constants", path, err) != BF_OK) return err->code;
    }
    return BF_OK;
}

static enum bf_code read_fields(const struct map *m, struct bf_err *err) {
    const char *path;
    json_t *value;
    json_t *fields = json_object_get(m->json, "fields");

    if (m->wide) {
        if (m->value == NULL) return wrong("value", "is missing: which field do the cells go to?", err);
        if (fields != NULL) return wrong("fields", "is for long tables", err);
        return check_target(m, "value", m->value, err);
    }
    if (json_object_get(m->json, "columns") != NULL) return wrong("columns", "is for wide tables", err);
    if (json_object_size(fields) == 0) return wrong("fields", "is missing: which column is which field?", err);
    json_object_foreach(fields, path, value) {
        if (!json_is_string(value)) return wrong("fields", "has a value that is no column's name", err);
        if (check_target(m, "fields", path, err) != BF_OK) return err->code;
    }
    return BF_OK;
}

enum bf_code map_load(const char *path, const struct bf_topic *topic, const json_t *schema, struct map **out, struct bf_err *err) {
    struct map *m = calloc(1, sizeof *m);
    enum bf_code code;

    if (m == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a map");
    m->topic = topic;
    m->schema = schema;
    bf_buf_init(&m->text, TEMPLATE_BYTES_MAX);
    bf_buf_init(&m->id_text, TEMPLATE_BYTES_MAX);
    code = bf_json_load_file(path, &m->json, err);
    if (code == BF_OK) code = check_members(m->json, err);
    if (code == BF_OK) code = read_texts(m, err);
    if (code == BF_OK) code = read_fields(m, err);
    if (code == BF_OK) code = read_constants(m, err);
    if (code == BF_OK) code = map_time_read(json_object_get(m->json, "time"), &m->time, err);
    if (code != BF_OK) {
        map_free(m);
        return err->code = BF_INVALID;
    }
    *out = m;
    return BF_OK;
}

static void forget_header(struct map *m) {
    for (size_t i = 0; i < m->name_count; i++) free(m->names[i]);
    free(m->names);
    free(m->is_value);
    free(m->field_column);
    m->names = NULL;
    m->is_value = NULL;
    m->field_column = NULL;
    m->name_count = 0;
}

void map_free(struct map *m) {
    if (m == NULL) return;
    forget_header(m);
    bf_buf_fini(&m->text);
    bf_buf_fini(&m->id_text);
    json_decref(m->json);
    free(m);
}

char map_delimiter(const struct map *m) { return m->delimiter; }
bool map_newest_first(const struct map *m) { return json_is_true(json_object_get(m->json, "newest_first")); }

/* ---- the header ---- */

static size_t find_column(const struct map *m, const char *name, size_t len) {
    for (size_t i = 0; i < m->name_count; i++) {
        if (strlen(m->names[i]) == len && memcmp(m->names[i], name, len) == 0) return i;
    }
    return NO_COLUMN;
}

static enum bf_code need_column(const struct map *m, const char *name, size_t *out, struct bf_err *err) {
    *out = find_column(m, name, strlen(name));
    return *out != NO_COLUMN ? BF_OK : bf_fail(err, BF_INVALID, 0, "the table has no column \"%s\", which the map wants", name);
}

static enum bf_code check_template(const struct map *m, const char *template, bool with_node, struct bf_err *err) {
    for (const char *p = strchr(template, '{'); p != NULL; p = strchr(p + 1, '{')) {
        const char *end = strchr(p, '}');
        if (end == NULL) return bf_fail(err, BF_INVALID, 0, "map: \"%s\": a { has no }", template);
        size_t len = (size_t)(end - p - 1);
        if (m->wide && len == 6 && memcmp(p + 1, "column", 6) == 0) continue;
        if (with_node && len == 4 && memcmp(p + 1, "node", 4) == 0) continue;
        if (find_column(m, p + 1, len) == NO_COLUMN) {
            return bf_fail(err, BF_INVALID, 0, "the table has no column \"%.*s\", which the map wants", (int)len, p + 1);
        }
    }
    return BF_OK;
}

static enum bf_code choose_values(struct map *m, struct bf_err *err) {
    size_t i, column;
    const json_t *item;
    const json_t *columns = json_object_get(m->json, "columns");

    for (i = 0; columns == NULL && i < m->name_count; i++) m->is_value[i] = m->names[i][0] != '\0' && i != m->time_column;
    json_array_foreach(columns, i, item) {
        if (need_column(m, json_string_value(item), &column, err) != BF_OK) return err->code;
        m->is_value[column] = true;
    }
    return BF_OK;
}

static enum bf_code choose_fields(struct map *m, struct bf_err *err) {
    const char *path;
    json_t *column;
    size_t i = 0;

    json_object_foreach(json_object_get(m->json, "fields"), path, column) {
        if (need_column(m, json_string_value(column), &m->field_column[i++], err) != BF_OK) return err->code;
    }
    return BF_OK;
}

enum bf_code map_header(struct map *m, const char *const *fields, size_t count, struct bf_err *err) {
    enum bf_code code;

    forget_header(m);
    m->names = calloc(count + 1, sizeof *m->names);
    m->is_value = calloc(count + 1, sizeof *m->is_value);
    m->field_column = calloc(json_object_size(json_object_get(m->json, "fields")) + 1, sizeof *m->field_column);
    if (m->names == NULL || m->is_value == NULL || m->field_column == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for the columns");
    for (; m->name_count < count; m->name_count++) {
        m->names[m->name_count] = strdup(fields[m->name_count]);
        if (m->names[m->name_count] == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for the columns");
    }
    code = need_column(m, m->time.column, &m->time_column, err);
    if (code == BF_OK) code = check_template(m, m->node, false, err);
    if (code == BF_OK && m->event_id != NULL) code = check_template(m, m->event_id, true, err);
    if (code == BF_OK) code = m->wide ? choose_values(m, err) : choose_fields(m, err);
    return code;
}

/* ---- rows ---- */

static bool is_missing(const struct map *m, const char *cell) {
    size_t i;
    const json_t *item;
    const json_t *missing = json_object_get(m->json, "missing");

    if (missing == NULL) return *cell == '\0';
    json_array_foreach(missing, i, item) {
        if (json_is_string(item) && strcmp(json_string_value(item), cell) == 0) return true;
    }
    return false;
}

/* Text as a number: all of it, decimal, finite. */
static enum bf_code parse_double(const char *cell, double *out, struct bf_err *err) {
    char *end = NULL;

    if (*cell == '\0' || cell[strspn(cell, "0123456789+-.eE")] != '\0') return bf_fail(err, BF_INVALID, 0, "\"%.64s\" is no number", cell);
    *out = strtod(cell, &end);
    if (*end != '\0') return bf_fail(err, BF_INVALID, 0, "\"%.64s\" is no number", cell);
    return isfinite(*out) ? BF_OK : bf_fail(err, BF_INVALID, 0, "\"%.64s\" is beyond a double's range", cell);
}

static enum bf_code parse_long(const char *cell, json_int_t *out, struct bf_err *err) {
    char *end = NULL;

    errno = 0;
    *out = strtoll(cell, &end, 10);
    if (*cell == '\0' || *end != '\0' || errno != 0 || cell[strspn(cell, "+-0123456789")] != '\0') {
        return bf_fail(err, BF_INVALID, 0, "\"%.64s\" is no integer", cell);
    }
    return BF_OK;
}

static enum bf_code set_cell(const struct map *m, json_t *value, const char *path, const char *cell, struct bf_err *err) {
    double d = 0;
    json_int_t l = 0;
    json_t *made = NULL;
    enum bf_code code = BF_OK;

    switch (schema_field(m->schema, path)) {
    case SCHEMA_FIELD_DOUBLE:
        if ((code = parse_double(cell, &d, err)) == BF_OK) made = json_real(d);
        break;
    case SCHEMA_FIELD_LONG:
        if ((code = parse_long(cell, &l, err)) == BF_OK) made = json_integer(l);
        break;
    case SCHEMA_FIELD_BOOLEAN:
        if (strcmp(cell, "true") != 0 && strcmp(cell, "false") != 0) code = bf_fail(err, BF_INVALID, 0, "\"%.64s\" is neither true nor false", cell);
        else made = json_boolean(strcmp(cell, "true") == 0);
        break;
    default:
        made = json_string(cell);
        if (made == NULL) code = bf_fail(err, BF_INVALID, 0, "it is not UTF-8");
    }
    if (code != BF_OK) return bf_err_prepend(err, "%s", path);
    return schema_field_set(value, path, made) == 0 ? BF_OK : bf_fail(err, BF_INVALID, 0, "%s cannot be set", path);
}

static const char *expand(struct map *m, struct bf_buf *into, const char *template, const char *const *fields, const char *column,
                          const char *node) {
    bf_buf_clear(into);
    while (*template != '\0') {
        size_t len = strcspn(template, "{");
        bf_buf_append(into, template, len);
        template += len;
        if (*template == '\0') break;
        len = strcspn(template, "}") - 1;
        if (column != NULL && len == 6 && memcmp(template + 1, "column", 6) == 0) bf_buf_puts(into, column);
        else if (node != NULL && len == 4 && memcmp(template + 1, "node", 4) == 0) bf_buf_puts(into, node);
        else bf_buf_puts(into, fields[find_column(m, template + 1, len)]);
        template += len + 2;
    }
    bf_buf_putc(into, '\0');
    return into->failed ? NULL : into->data;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* What every event of the map has: node, id, time, constants. */
static enum bf_code begin_value(struct map *m, const char *const *fields, const char *column, int64_t time_us, json_t *value,
                                struct bf_err *err) {
    const char *path;
    json_t *constant;
    int64_t unit = m->topic->event_time_unit_us;
    const char *node = expand(m, &m->text, m->node, fields, column, NULL);
    const char *id = node != NULL && m->event_id != NULL ? expand(m, &m->id_text, m->event_id, fields, column, node) : NULL;
    int bad = 0;

    if (node == NULL || (m->event_id != NULL && id == NULL)) return bf_fail(err, BF_INVALID, 0, "its name is longer than %d bytes", TEMPLATE_BYTES_MAX);
    json_object_foreach(json_object_get(m->json, "constants"), path, constant) bad |= schema_field_set(value, path, json_incref(constant));
    bad |= schema_field_set(value, m->node_path, json_string(node));
    if (id != NULL) bad |= schema_field_set(value, m->id_path, json_string(id));
    bad |= schema_field_set(value, m->time_path, json_integer(floor_div(time_us, unit)));
    if (m->repeatable && schema_field(m->schema, "vector_timestamp.ingest_ts_ms") == SCHEMA_FIELD_LONG) {
        bad |= schema_field_set(value, "vector_timestamp.ingest_ts_ms", json_integer(floor_div(time_us, 1000)));
        bad |= schema_field_set(value, "vector_timestamp.logical_clock", json_integer(0));
    }
    return bad == 0 ? BF_OK : bf_fail(err, BF_INVALID, 0, "its node or id is not UTF-8");
}

static bool emit_wide(struct map *m, const char *const *fields, int64_t time_us, map_emit *emit, void *ctx) {
    for (size_t i = 0; i < m->name_count; i++) {
        if (!m->is_value[i] || is_missing(m, fields[i])) continue;
        struct bf_err err = {0};
        json_t *value = json_object();
        enum bf_code code = begin_value(m, fields, m->names[i], time_us, value, &err);
        if (code == BF_OK) code = set_cell(m, value, m->value, fields[i], &err);
        if (code != BF_OK) (void)bf_err_prepend(&err, "column %s", m->names[i]);
        bool go_on = emit(ctx, code == BF_OK ? value : NULL, &err);
        json_decref(value);
        if (!go_on) return false;
    }
    return true;
}

static bool emit_long(struct map *m, const char *const *fields, int64_t time_us, map_emit *emit, void *ctx) {
    struct bf_err err = {0};
    const char *path;
    json_t *column;
    size_t i = 0;
    json_t *value = json_object();
    enum bf_code code = begin_value(m, fields, NULL, time_us, value, &err);

    json_object_foreach(json_object_get(m->json, "fields"), path, column) {
        const char *cell = fields[m->field_column[i++]];
        if (code == BF_OK && !is_missing(m, cell)) code = set_cell(m, value, path, cell, &err);
    }
    bool go_on = emit(ctx, code == BF_OK ? value : NULL, &err);
    json_decref(value);
    return go_on;
}

bool map_row(struct map *m, const char *const *fields, size_t count, map_emit *emit, void *ctx) {
    struct bf_err err = {0};
    int64_t time_us;

    if (count != m->name_count) {
        (void)bf_fail(&err, BF_INVALID, 0, "the row has %zu fields, the header %zu", count, m->name_count);
        return emit(ctx, NULL, &err);
    }
    if (map_time_parse(&m->time, fields[m->time_column], &time_us, &err) != BF_OK) return emit(ctx, NULL, &err);
    return m->wide ? emit_wide(m, fields, time_us, emit, ctx) : emit_long(m, fields, time_us, emit, ctx);
}
