/* Registering is tried twice: first in a reading transaction, because nearly all registrations repeat one that is there
 * (every producer registers when it starts) and should not wait for the disk; then, from the beginning, in the writing
 * transaction, which is alone. So two that register the same content at once end with one id. */
#include "avro_compat.h"
#include "bf_time.h"
#include "registry_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- compatibility ---- */

static const char *conflict_words(enum avro_conflict_kind kind) {
    switch (kind) {
    case AVRO_CONFLICT_NAME_MISMATCH: return "The name of the %s schema does not match the %s schema (path '%s')";
    case AVRO_CONFLICT_FIXED_SIZE_MISMATCH:
        return "The size of a FIXED type in the %s schema differs from the %s schema (path '%s')";
    case AVRO_CONFLICT_MISSING_ENUM_SYMBOLS:
        return "The %s schema lacks enum symbols of the %s schema and has no default (path '%s')";
    case AVRO_CONFLICT_READER_FIELD_MISSING_DEFAULT_VALUE:
        return "A field of the %s schema has no default value and is missing in the %s schema (path '%s')";
    case AVRO_CONFLICT_TYPE_MISMATCH: return "A type in the %s schema does not match the %s schema (path '%s')";
    case AVRO_CONFLICT_MISSING_UNION_BRANCH:
        return "A union in the %s schema lacks a type of the %s schema (path '%s')";
    case AVRO_CONFLICT_UNDECIDED: return "The %s schema cannot be compared with the %s schema (path '%s')";
    }
    return "%s %s %s";
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static enum bf_code tell(const struct avro_compat *result, bool reader_is_new, json_t *messages, struct bf_err *err) {
    const char *reader = reader_is_new ? "new" : "old", *writer = reader_is_new ? "old" : "new";
    for (size_t i = 0; i < result->count; i++) {
        const struct avro_conflict *x = &result->conflicts[i];
        json_t *words = json_sprintf(conflict_words(x->kind), reader, writer, x->path);
        json_t *line =
            json_sprintf("{errorType:'%s', description:'%s', additionalInfo:'%s'}", avro_conflict_name(x->kind),
                         words == NULL ? "" : json_string_value(words), x->detail);
        json_decref(words);
        if (line == NULL || json_array_append_new(messages, line) != 0) {
            return bf_fail(err, BF_NOMEM, 0, "out of memory");
        }
    }
    return BF_OK;
}
#pragma GCC diagnostic pop

/* One direction. *ok becomes false when the reader cannot read what the writer writes. */
static enum bf_code check_one(const struct avro_schema *reader, const struct avro_schema *writer, bool reader_is_new,
                              bool *ok, json_t *messages, struct bf_err *err) {
    struct avro_compat result;
    if (avro_compat_check(reader, writer, &result, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = BF_OK;
    if (!result.compatible) {
        *ok = false;
        code = tell(&result, reader_is_new, messages, err);
    }
    avro_compat_fini(&result);
    return code;
}

static bool looks_back(enum registry_level l) {
    return l == REGISTRY_BACKWARD || l == REGISTRY_BACKWARD_TRANSITIVE || l == REGISTRY_FULL ||
           l == REGISTRY_FULL_TRANSITIVE;
}

static bool looks_forward(enum registry_level l) {
    return l == REGISTRY_FORWARD || l == REGISTRY_FORWARD_TRANSITIVE || l == REGISTRY_FULL ||
           l == REGISTRY_FULL_TRANSITIVE;
}

static bool is_transitive(enum registry_level l) {
    return l == REGISTRY_BACKWARD_TRANSITIVE || l == REGISTRY_FORWARD_TRANSITIVE || l == REGISTRY_FULL_TRANSITIVE;
}

static enum bf_code check_version(struct registry_txn *t, const struct registry_content *c, enum registry_level level,
                                  const struct registry_version *v, bool *ok, json_t *messages, struct bf_err *err) {
    struct registry_content old = {0};
    enum bf_code code = registry_content_load(t, v->id, &old, err);
    if (code == BF_OK && looks_back(level)) {
        code = check_one(c->schema, old.schema, true, ok, messages, err);
    }
    if (code == BF_OK && looks_forward(level)) {
        code = check_one(old.schema, c->schema, false, ok, messages, err);
    }
    if (code == BF_OK && !*ok) {
        json_array_append_new(messages, json_sprintf("{oldSchemaVersion: %d}", v->version));
        json_array_append_new(messages, json_sprintf("{oldSchema: '%s'}", old.text.data));
        json_array_append_new(messages, json_sprintf("{compatibility: '%s'}", registry_level_name(level)));
    }
    registry_content_fini(&old);
    return code;
}

enum bf_code registry_check_level(struct registry_txn *t, const struct registry_content *c, enum registry_level level,
                                  const struct registry_version *versions, size_t count, bool *compatible,
                                  json_t *messages, struct bf_err *err) {
    *compatible = true;
    for (size_t i = count; i > 0 && *compatible && level != REGISTRY_NONE; i--) {
        if (versions[i - 1].deleted) {
            continue;
        }
        if (check_version(t, c, level, &versions[i - 1], compatible, messages, err) != BF_OK) {
            return err->code;
        }
        if (!is_transitive(level)) {
            break;
        }
    }
    return BF_OK;
}

static enum bf_code refuse_incompatible(const char *subject, const json_t *messages, struct registry_refusal *no,
                                        struct bf_err *err) {
    struct bf_buf all;
    bf_buf_init(&all, 16u << 20);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        bf_buf_puts(&all, i == 0 ? "" : ", ");
        bf_buf_puts(&all, json_string_value(json_array_get(messages, i)));
    }
    bf_buf_putc(&all, '\0');
    enum bf_code code = registry_refuse(
        no, err, 409,
        "Schema being registered is incompatible with an earlier schema for subject \"%s\", details: [%s]", subject,
        all.failed ? "" : all.data);
    bf_buf_fini(&all);
    return code;
}

/* ---- register ---- */

struct registration {
    const char *subject;
    const json_t *request;
    bool normalize;
    int64_t asked_id, asked_version; /* -1, 0: not asked for */
    struct registry_content content;
    struct registry_version *versions;
    size_t count;
    enum registry_mode mode;
    enum registry_level level;
};

static enum bf_code read_number(const json_t *request, const char *key, int64_t least, int64_t none, int64_t *out,
                                struct registry_refusal *no, struct bf_err *err) {
    json_t *value = json_object_get(request, key);
    *out = none;
    if (value == NULL || json_is_null(value) || (json_is_integer(value) && json_integer_value(value) == none)) {
        return BF_OK;
    }
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > INT32_MAX) {
        return registry_refuse(no, err, 422, "\"%s\" is not a number from %lld to 2147483647", key, (long long)least);
    }
    *out = json_integer_value(value);
    return BF_OK;
}

static enum bf_code check_mode(const struct registration *g, struct registry_refusal *no, struct bf_err *err) {
    if (g->mode == REGISTRY_READONLY || g->mode == REGISTRY_READONLY_OVERRIDE) {
        return registry_refuse(no, err, 42205, "Subject %s is in read-only mode", g->subject);
    }
    if (g->asked_id >= 0 && g->mode != REGISTRY_IMPORT) {
        return registry_refuse(no, err, 42205, "Subject %s is not in import mode", g->subject);
    }
    if (g->asked_id < 0 && g->mode == REGISTRY_IMPORT) {
        return registry_refuse(no, err, 42205, "Subject %s is not in read-write mode", g->subject);
    }
    return BF_OK;
}

/* The id that this content has already, 0 when it is new. */
static enum bf_code known_id(struct registry_txn *t, const struct registration *g, int32_t *id, struct bf_err *err) {
    struct bf_err missing;
    enum bf_code code = registry_digest_get(t, REGISTRY_DIGEST(&g->content), id, &missing);
    if (code == BF_NOT_FOUND) {
        *id = 0;
        return BF_OK;
    }
    if (code != BF_OK) {
        *err = missing;
    }
    return code;
}

/* Import: the asked id must be free or hold this very content. */
static enum bf_code check_asked_id(struct registry_txn *t, const struct registration *g, struct registry_refusal *no,
                                   struct bf_err *err) {
    struct registry_content there = {0};
    struct bf_err missing;
    int32_t id = (int32_t)g->asked_id;
    enum bf_code code = registry_content_load_text(t, id, &there, &missing);
    if (code == BF_NOT_FOUND) {
        code = BF_OK;
    } else if (code != BF_OK) {
        *err = missing;
    } else if (memcmp(there.digest, g->content.digest, sizeof there.digest) != 0) {
        code = registry_refuse(no, err, 42205, "Overwrite new schema with id %d is not permitted.", id);
    }
    registry_content_fini(&there);
    return code;
}

static enum bf_code store_content(struct registry_txn *t, const struct registration *g, int32_t id, bool first,
                                  struct bf_err *err) {
    char guid[37];
    const struct registry_content *c = &g->content;
    registry_guid_text(c->guid, guid);
    json_t *record = json_pack("{s:s%, s:s}", "schema", c->text.data, c->text.len, "guid", guid);
    if (record != NULL && json_array_size(c->references) > 0) {
        json_object_set(record, "references", c->references);
    }
    enum bf_code code =
        record == NULL ? bf_fail(err, BF_NOMEM, 0, "out of memory") : registry_schema_put(t, id, record, err);
    json_decref(record);
    if (code == BF_OK && first) {
        code = registry_digest_put(t, REGISTRY_DIGEST(c), id, err);
    }
    if (code == BF_OK && first) {
        code = registry_digest_put(t, REGISTRY_GUID(c), id, err);
    }
    for (size_t i = 0; i < json_array_size(c->references) && code == BF_OK; i++) {
        json_t *ref = json_array_get(c->references, i);
        code = registry_referrer_put(t, json_string_value(json_object_get(ref, "subject")),
                                     (int32_t)json_integer_value(json_object_get(ref, "version")), id, err);
    }
    return code == BF_OK ? registry_id_seen(t, id, err) : code;
}

static enum bf_code choose_version(const struct registration *g, int32_t *version, struct registry_refusal *no,
                                   struct bf_err *err) {
    int32_t next = g->count == 0 ? 1 : g->versions[g->count - 1].version + 1;
    *version = g->asked_version > 0 ? (int32_t)g->asked_version : next;
    if (*version == next) {
        return BF_OK;
    }
    if (g->mode != REGISTRY_IMPORT) {
        return registry_refuse(no, err, 42201, "Invalid schema: version %d is not the next one, %d", *version, next);
    }
    for (size_t i = 0; i < g->count; i++) {
        if (g->versions[i].version == *version) {
            return registry_refuse(no, err, 42205, "Subject %s has a version %d already", g->subject, *version);
        }
    }
    return BF_OK;
}

static enum bf_code add_version(struct registry_txn *t, struct registration *g, int32_t known,
                                struct registry_version *added, struct registry_refusal *no, struct bf_err *err) {
    bool compatible = true;
    json_t *messages = json_array();
    enum bf_code code = messages == NULL ? bf_fail(err, BF_NOMEM, 0, "out of memory") : BF_OK;
    if (code == BF_OK && g->mode != REGISTRY_IMPORT) {
        code = registry_check_level(t, &g->content, g->level, g->versions, g->count, &compatible, messages, err);
    }
    if (code == BF_OK && !compatible) {
        code = refuse_incompatible(g->subject, messages, no, err);
    }
    json_decref(messages);
    struct registry_version v = {.registered_us = bf_time_now_us()};
    if (code == BF_OK) {
        code = choose_version(g, &v.version, no, err);
    }
    if (code == BF_OK && g->asked_id >= 0) {
        v.id = (int32_t)g->asked_id;
        code = check_asked_id(t, g, no, err);
    } else if (code == BF_OK && known != 0) {
        v.id = known;
    } else if (code == BF_OK) {
        code = registry_id_next(t, &v.id, err);
    }
    if (code == BF_OK) {
        code = store_content(t, g, v.id, known == 0, err);
    }
    if (code == BF_OK) {
        code = registry_version_put(t, g->subject, &v, err);
    }
    if (code == BF_OK) {
        *added = v;
    }
    return code;
}

/* Everything but begin and commit. *found false: a writing transaction is needed. */
static enum bf_code attempt(struct registry_txn *t, bool write, struct registration *g, bool *found,
                            struct registry_version *v, struct registry_refusal *no, struct bf_err *err) {
    bool normalize;
    int32_t known;
    *found = false;
    if (registry_mode_in_force(t, g->subject, &g->mode, err) != BF_OK || check_mode(g, no, err) != BF_OK ||
        registry_config_in_force(t, g->subject, &g->level, &normalize, err) != BF_OK ||
        registry_content_read(t, g->request, g->normalize || normalize, &g->content, no, err) != BF_OK ||
        known_id(t, g, &known, err) != BF_OK ||
        registry_versions(t, g->subject, &g->versions, &g->count, err) != BF_OK) {
        return err->code;
    }
    int32_t wanted = g->asked_id >= 0 ? (int32_t)g->asked_id : known;
    for (size_t i = g->count; i > 0 && known != 0; i--) {
        const struct registry_version *old = &g->versions[i - 1];
        if (old->id == wanted && !old->deleted && (g->asked_version <= 0 || g->asked_version == old->version)) {
            struct registry_content same = {0};
            enum bf_code code = registry_content_load_text(t, old->id, &same, err);
            *found = code == BF_OK && memcmp(same.digest, g->content.digest, sizeof same.digest) == 0;
            *v = *old;
            registry_content_fini(&same);
            if (code != BF_OK || *found) {
                return code;
            }
        }
    }
    if (!write) {
        return BF_OK;
    }
    *found = true;
    return add_version(t, g, known, v, no, err);
}

static void registration_clear(struct registration *g) {
    registry_content_fini(&g->content);
    free(g->versions);
    g->content = (struct registry_content){0};
    g->versions = NULL;
    g->count = 0;
}

static enum bf_code attempt_in_txn(struct registry *r, bool write, struct registration *g, bool *found, REGISTRY_OUT) {
    struct registry_txn *t = NULL;
    struct registry_version v;
    json_t *answer = NULL;
    if (registry_txn_begin(r->store, write, &t, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = attempt(t, write, g, found, &v, no, err);
    if (code == BF_OK && *found) {
        code = registry_describe(t, g->subject, &v, &answer, err);
    }
    if (code == BF_OK && write) {
        code = registry_txn_commit(&t, err);
    }
    registry_txn_abort(t);
    registration_clear(g);
    if (code != BF_OK) {
        json_decref(answer);
    } else if (*found) {
        json_object_del(answer, "subject");
        *out = answer;
    }
    return code;
}

enum bf_code registry_register(struct registry *r, const char *subject, const json_t *request, bool normalize,
                               REGISTRY_OUT) {
    struct registration g = {.subject = subject, .request = request, .normalize = normalize};
    bool found = false;
    if (registry_check_subject(subject, no, err) != BF_OK ||
        read_number(request, "id", 1, -1, &g.asked_id, no, err) != BF_OK ||
        read_number(request, "version", 1, 0, &g.asked_version, no, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = attempt_in_txn(r, false, &g, &found, out, no, err);
    if (code == BF_OK && !found) {
        code = attempt_in_txn(r, true, &g, &found, out, no, err);
    }
    return code;
}

/* ---- lookup ---- */

static enum bf_code lookup(struct registry_txn *t, struct registration *g, bool deleted, REGISTRY_OUT) {
    bool normalize, any = false;
    int32_t known;
    if (registry_versions(t, g->subject, &g->versions, &g->count, err) != BF_OK) {
        return err->code;
    }
    for (size_t i = 0; i < g->count; i++) {
        any |= deleted || !g->versions[i].deleted;
    }
    if (!any) {
        return registry_refuse(no, err, 40401, "Subject '%s' not found.", g->subject);
    }
    if (registry_config_in_force(t, g->subject, &g->level, &normalize, err) != BF_OK ||
        registry_content_read(t, g->request, g->normalize || normalize, &g->content, no, err) != BF_OK ||
        known_id(t, g, &known, err) != BF_OK) {
        return err->code;
    }
    for (size_t i = g->count; i > 0 && known != 0; i--) {
        const struct registry_version *v = &g->versions[i - 1];
        if (v->id == known && (deleted || !v->deleted)) {
            return registry_describe(t, g->subject, v, out, err);
        }
    }
    return registry_refuse(no, err, 40403, "Schema not found");
}

enum bf_code registry_lookup(struct registry *r, const char *subject, const json_t *request, bool normalize,
                             bool deleted, REGISTRY_OUT) {
    struct registration g = {.subject = subject, .request = request, .normalize = normalize, .asked_id = -1};
    struct registry_txn *t = NULL;
    if (registry_check_subject(subject, no, err) != BF_OK || registry_txn_begin(r->store, false, &t, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = lookup(t, &g, deleted, out, no, err);
    registration_clear(&g);
    registry_txn_abort(t);
    return code;
}

/* ---- asking about compatibility ---- */

static enum bf_code ask(struct registry_txn *t, struct registration *g, const char *version, bool *compatible,
                        json_t *messages, struct registry_refusal *no, struct bf_err *err) {
    bool normalize;
    int32_t wanted = 0;
    if ((version != NULL && registry_parse_version(version, &wanted, no, err) != BF_OK) ||
        registry_config_in_force(t, g->subject, &g->level, &normalize, err) != BF_OK ||
        registry_content_read(t, g->request, g->normalize || normalize, &g->content, no, err) != BF_OK) {
        return err->code;
    }
    if (version == NULL) {
        if (registry_versions(t, g->subject, &g->versions, &g->count, err) != BF_OK) {
            return err->code;
        }
        return registry_check_level(t, &g->content, g->level, g->versions, g->count, compatible, messages, err);
    }
    struct registry_version v;
    enum bf_code code = registry_find_version(t, g->subject, wanted, false, &v, no, err);
    if (code == BF_INVALID && wanted == 0) {
        return BF_OK; /* the first version of a subject is compatible with nothing in the way */
    }
    if (code == BF_INVALID) {
        return registry_refuse(no, err, 40402, "Version %d not found.", wanted);
    }
    return code != BF_OK ? code : registry_check_level(t, &g->content, g->level, &v, 1, compatible, messages, err);
}

enum bf_code registry_compatibility(struct registry *r, const char *subject, const char *version, const json_t *request,
                                    bool normalize, bool verbose, REGISTRY_OUT) {
    struct registration g = {.subject = subject, .request = request, .normalize = normalize, .asked_id = -1};
    struct registry_txn *t = NULL;
    bool compatible = true;
    json_t *messages = json_array();
    enum bf_code code =
        messages == NULL ? bf_fail(err, BF_NOMEM, 0, "out of memory") : registry_check_subject(subject, no, err);
    if (code == BF_OK) {
        code = registry_txn_begin(r->store, false, &t, err);
    }
    if (code == BF_OK) {
        code = ask(t, &g, version, &compatible, messages, no, err);
    }
    registration_clear(&g);
    registry_txn_abort(t);
    if (code == BF_OK) {
        *out = json_pack("{s:b}", "is_compatible", compatible);
        if (verbose && *out != NULL) {
            json_object_set(*out, "messages", messages);
        }
        code = *out == NULL ? bf_fail(err, BF_NOMEM, 0, "out of memory") : BF_OK;
    }
    json_decref(messages);
    return code;
}
