#include "registry_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_MEMORY(err) bf_fail(err, BF_NOMEM, 0, "out of memory")

/* Gathers an array while a page's offset and limit are counted off. */
struct gather {
    struct registry_txn *txn;
    json_t *array;
    struct registry_page page;
    enum registry_deleted deleted;
    bool latest_only, as_versions;
    int64_t passed;
    char subject[REGISTRY_SUBJECT_BYTES_MAX + 1]; /* the one being seen */
    bool any_undeleted, any;
    struct registry_version last; /* newest of it that counts */
    bool has_last;
    enum bf_code code;
    struct bf_err *err;
};

static bool counts(enum registry_deleted wanted, bool deleted) {
    return wanted == REGISTRY_WITH_DELETED || (wanted == REGISTRY_ONLY_DELETED) == deleted;
}

/* Put a value into the page; takes it. False when the page is full or memory is out. */
static bool push(struct gather *g, json_t *value) {
    int64_t at = g->passed++;
    if (value == NULL) {
        g->code = NO_MEMORY(g->err);
        return false;
    }
    if (at < g->page.offset) {
        json_decref(value);
        return true;
    }
    if (g->page.limit >= 0 && at - g->page.offset >= g->page.limit) {
        json_decref(value);
        return false;
    }
    if (json_array_append_new(g->array, value) != 0) {
        g->code = NO_MEMORY(g->err);
        return false;
    }
    return true;
}

static bool push_described(struct gather *g, const char *subject, const struct registry_version *v) {
    json_t *one = NULL;
    g->code = registry_describe(g->txn, subject, v, &one, g->err);
    return g->code == BF_OK && push(g, one);
}

static enum bf_code finish(struct gather *g, enum bf_code code, json_t **out) {
    code = code == BF_OK ? g->code : code;
    if (code != BF_OK) {
        json_decref(g->array);
        return code;
    }
    *out = g->array;
    return BF_OK;
}

/* ---- subjects ---- */

static bool end_subject(struct gather *g) {
    bool shown = g->any && counts(g->deleted, !g->any_undeleted);
    g->any = g->any_undeleted = false;
    return !shown || push(g, json_string(g->subject));
}

static bool each_subject(void *ctx, const char *subject, const struct registry_version *v) {
    struct gather *g = ctx;
    if (strcmp(subject, g->subject) != 0) {
        if (!end_subject(g)) {
            return false;
        }
        snprintf(g->subject, sizeof g->subject, "%s", subject);
    }
    g->any = true;
    g->any_undeleted |= !v->deleted;
    return true;
}

enum bf_code registry_subjects(struct registry *r, const char *prefix, enum registry_deleted deleted,
                               struct registry_page page, REGISTRY_OUT) {
    (void)no;
    struct gather g = {.array = json_array(), .page = page, .deleted = deleted, .err = err};
    if (g.array == NULL || registry_txn_begin(r->store, false, &g.txn, err) != BF_OK) {
        json_decref(g.array);
        return g.array == NULL ? NO_MEMORY(err) : err->code;
    }
    enum bf_code code = strlen(prefix) > REGISTRY_SUBJECT_BYTES_MAX
                            ? BF_OK
                            : registry_versions_each(g.txn, prefix, each_subject, &g, err);
    if (code == BF_OK && g.code == BF_OK) {
        end_subject(&g);
    }
    registry_txn_abort(g.txn);
    return finish(&g, code, out);
}

/* ---- versions of one subject ---- */

enum bf_code registry_list_versions(struct registry *r, const char *subject, enum registry_deleted deleted,
                                    struct registry_page page, REGISTRY_OUT) {
    struct gather g = {.array = json_array(), .page = page, .err = err};
    struct registry_version *list = NULL;
    size_t count = 0;
    bool any = false;
    if (registry_check_subject(subject, no, err) != BF_OK || g.array == NULL ||
        registry_txn_begin(r->store, false, &g.txn, err) != BF_OK) {
        json_decref(g.array);
        return g.array == NULL ? NO_MEMORY(err) : err->code;
    }
    enum bf_code code = registry_versions(g.txn, subject, &list, &count, err);
    registry_txn_abort(g.txn);
    for (size_t i = 0; i < count && g.code == BF_OK; i++) {
        any |= deleted != REGISTRY_UNDELETED || !list[i].deleted;
        if (counts(deleted, list[i].deleted) && !push(&g, json_integer(list[i].version))) {
            break;
        }
    }
    free(list);
    if (code == BF_OK && g.code == BF_OK && !any) {
        code = registry_refuse(no, err, 40401, "Subject '%s' not found.", subject);
    }
    return finish(&g, code, out);
}

enum bf_code registry_version(struct registry *r, const char *subject, const char *version, bool deleted,
                              REGISTRY_OUT) {
    struct registry_txn *t = NULL;
    struct registry_version v;
    int32_t wanted;
    if (registry_check_subject(subject, no, err) != BF_OK ||
        registry_parse_version(version, &wanted, no, err) != BF_OK ||
        registry_txn_begin(r->store, false, &t, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = registry_find_version(t, subject, wanted, deleted, &v, no, err);
    if (code == BF_OK) {
        code = registry_describe(t, subject, &v, out, err);
    }
    registry_txn_abort(t);
    return code;
}

static bool each_use_undeleted(void *ctx, const char *subject, const struct registry_version *v) {
    (void)subject;
    *(bool *)ctx |= !v->deleted;
    return !*(bool *)ctx;
}

enum bf_code registry_referenced_by(struct registry *r, const char *subject, const char *version, REGISTRY_OUT) {
    struct registry_txn *t = NULL;
    struct registry_version v;
    int32_t wanted, *ids = NULL;
    size_t count = 0;
    json_t *array = json_array();
    if (array == NULL) {
        return NO_MEMORY(err);
    }
    enum bf_code code = registry_check_subject(subject, no, err);
    if (code == BF_OK) {
        code = registry_parse_version(version, &wanted, no, err);
    }
    if (code == BF_OK) {
        code = registry_txn_begin(r->store, false, &t, err);
    }
    if (code == BF_OK) {
        code = registry_find_version(t, subject, wanted, true, &v, no, err);
    }
    if (code == BF_OK) {
        code = registry_referrers(t, subject, v.version, &ids, &count, err);
    }
    for (size_t i = 0; i < count && code == BF_OK; i++) {
        bool used = false;
        code = registry_uses_each(t, ids[i], each_use_undeleted, &used, err);
        if (code == BF_OK && used && json_array_append_new(array, json_integer(ids[i])) != 0) {
            code = NO_MEMORY(err);
        }
    }
    free(ids);
    registry_txn_abort(t);
    if (code != BF_OK) {
        json_decref(array);
        return code;
    }
    *out = array;
    return BF_OK;
}

/* ---- all schemas ---- */

static bool each_schema(void *ctx, const char *subject, const struct registry_version *v) {
    struct gather *g = ctx;
    bool shown = counts(g->deleted, v->deleted);
    if (!g->latest_only) {
        return !shown || push_described(g, subject, v);
    }
    if (g->has_last && strcmp(subject, g->subject) != 0) {
        if (!push_described(g, g->subject, &g->last)) {
            g->has_last = false;
            return false;
        }
        g->has_last = false;
    }
    if (shown) {
        snprintf(g->subject, sizeof g->subject, "%s", subject);
        g->last = *v;
        g->has_last = true;
    }
    return true;
}

enum bf_code registry_schemas(struct registry *r, const char *prefix, bool deleted, bool latest_only,
                              struct registry_page page, REGISTRY_OUT) {
    (void)no;
    struct gather g = {.array = json_array(), .page = page, .latest_only = latest_only, .err = err};
    g.deleted = deleted ? REGISTRY_WITH_DELETED : REGISTRY_UNDELETED;
    if (g.array == NULL || registry_txn_begin(r->store, false, &g.txn, err) != BF_OK) {
        json_decref(g.array);
        return g.array == NULL ? NO_MEMORY(err) : err->code;
    }
    enum bf_code code = strlen(prefix) > REGISTRY_SUBJECT_BYTES_MAX
                            ? BF_OK
                            : registry_versions_each(g.txn, prefix, each_schema, &g, err);
    if (code == BF_OK && g.code == BF_OK && g.has_last) {
        push_described(&g, g.subject, &g.last);
    }
    registry_txn_abort(g.txn);
    return finish(&g, code, out);
}

/* ---- by id and guid ---- */

static enum bf_code parse_id(const char *text, int32_t *id, struct registry_refusal *no, struct bf_err *err) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v < INT32_MIN || v > INT32_MAX) {
        return registry_refuse(no, err, 404, "HTTP 404 Not Found");
    }
    *id = (int32_t)v;
    return BF_OK;
}

static enum bf_code load_schema(struct registry_txn *t, int32_t id, json_t **out, struct registry_refusal *no,
                                struct bf_err *err) {
    enum bf_code code = registry_schema_get(t, id, out, err);
    return code == BF_NOT_FOUND ? registry_refuse(no, err, 40403, "Schema %d not found", id) : code;
}

enum bf_code registry_by_id(struct registry *r, const char *id, bool max_id, REGISTRY_OUT) {
    struct registry_txn *t = NULL;
    json_t *schema = NULL;
    int32_t n, last = 0;
    if (parse_id(id, &n, no, err) != BF_OK || registry_txn_begin(r->store, false, &t, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = load_schema(t, n, &schema, no, err);
    if (code == BF_OK && max_id) {
        code = registry_id_last(t, &last, err);
    }
    registry_txn_abort(t);
    if (code == BF_OK && max_id) {
        json_object_set_new(schema, "maxId", json_integer(last));
    }
    if (code != BF_OK) {
        json_decref(schema);
        return code;
    }
    *out = schema;
    return BF_OK;
}

static bool parse_guid(const char *text, uint8_t guid[16]) {
    size_t n = 0;
    for (; *text != '\0'; text++) {
        const char *hex = "0123456789abcdef", *at = strchr(hex, *text | 0x20);
        if (*text == '-') {
            continue;
        }
        if (at == NULL || n == 32) {
            return false;
        }
        guid[n / 2] = (uint8_t)(n % 2 == 0 ? (at - hex) << 4 : guid[n / 2] | (at - hex));
        n++;
    }
    return n == 32;
}

static enum bf_code id_of_guid(struct registry *r, const char *text, int32_t *id, json_t **schema,
                               struct registry_refusal *no, struct bf_err *err) {
    uint8_t guid[16];
    struct registry_txn *t = NULL;
    if (!parse_guid(text, guid)) {
        return registry_refuse(no, err, 40403, "Schema %.100s not found", text);
    }
    if (registry_txn_begin(r->store, false, &t, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = registry_digest_get(t, (struct bf_slice){guid, sizeof guid}, id, err);
    if (code == BF_OK) {
        code = load_schema(t, *id, schema, no, err);
    } else if (code == BF_NOT_FOUND) {
        code = registry_refuse(no, err, 40403, "Schema %.100s not found", text);
    }
    registry_txn_abort(t);
    return code;
}

enum bf_code registry_by_guid(struct registry *r, const char *guid, REGISTRY_OUT) {
    int32_t id;
    if (id_of_guid(r, guid, &id, out, no, err) != BF_OK) {
        return err->code;
    }
    json_object_set_new(*out, "id", json_integer(id));
    return BF_OK;
}

enum bf_code registry_ids_of_guid(struct registry *r, const char *guid, REGISTRY_OUT) {
    int32_t id;
    json_t *schema = NULL;
    if (id_of_guid(r, guid, &id, &schema, no, err) != BF_OK) {
        return err->code;
    }
    json_decref(schema);
    *out = json_pack("[{s:s, s:i}]", "context", ".", "id", id);
    return *out == NULL ? NO_MEMORY(err) : BF_OK;
}

static bool each_use(void *ctx, const char *subject, const struct registry_version *v) {
    struct gather *g = ctx;
    if (!counts(g->deleted, v->deleted)) {
        return true;
    }
    if (g->as_versions) {
        return push(g, json_pack("{s:s, s:i}", "subject", subject, "version", v->version));
    }
    if (strcmp(subject, g->subject) == 0) {
        return true;
    }
    snprintf(g->subject, sizeof g->subject, "%s", subject);
    return push(g, json_string(subject));
}

enum bf_code registry_uses_of_id(struct registry *r, const char *id, bool versions, bool deleted, REGISTRY_OUT) {
    struct gather g = {.array = json_array(), .page = {0, -1}, .as_versions = versions, .err = err};
    json_t *schema = NULL;
    int32_t n;
    g.deleted = deleted ? REGISTRY_WITH_DELETED : REGISTRY_UNDELETED;
    if (parse_id(id, &n, no, err) != BF_OK || g.array == NULL ||
        registry_txn_begin(r->store, false, &g.txn, err) != BF_OK) {
        json_decref(g.array);
        return g.array == NULL ? NO_MEMORY(err) : err->code;
    }
    enum bf_code code = load_schema(g.txn, n, &schema, no, err);
    json_decref(code == BF_OK ? schema : NULL);
    if (code == BF_OK) {
        code = registry_uses_each(g.txn, n, each_use, &g, err);
    }
    registry_txn_abort(g.txn);
    return finish(&g, code, out);
}
