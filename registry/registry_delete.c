/* Deleting goes in two steps: softly (the version is hidden, its number and id stay taken) and permanently (gone; a
 * schema that no version uses any more goes with it, its id is never given again). What another schema refers to cannot
 * be deleted. */
#include "registry_parts.h"

#include <stdlib.h>

static bool each_use_any(void *ctx, const char *subject, const struct registry_version *v) {
    (void)subject;
    ((bool *)ctx)[0] = true;
    ((bool *)ctx)[1] |= !v->deleted;
    return true;
}

/* Refuse when a schema that is in use refers to this version. */
static enum bf_code check_unreferenced(struct registry_txn *t, const char *subject, const struct registry_version *v,
                                       struct registry_refusal *no, struct bf_err *err) {
    int32_t *ids = NULL;
    size_t count = 0;
    enum bf_code code = registry_referrers(t, subject, v->version, &ids, &count, err);
    for (size_t i = 0; i < count && code == BF_OK; i++) {
        bool used[2] = {false, false};
        code = registry_uses_each(t, ids[i], each_use_any, used, err);
        if (code == BF_OK && used[1]) {
            code = registry_refuse(no, err, 42206,
                                   "One or more references exist to the schema {subject=%s,version=%d}: schema %d",
                                   subject, v->version, ids[i]);
        }
    }
    free(ids);
    return code;
}

static enum bf_code optional(enum bf_code code, const struct bf_err *e, struct bf_err *err) {
    if (code != BF_OK && code != BF_NOT_FOUND) {
        *err = *e;
        return code;
    }
    return BF_OK;
}

/* Forget a content, when its id is the one that is known for it. */
static enum bf_code forget_digest(struct registry_txn *t, struct bf_slice digest, int32_t id, struct bf_err *err) {
    struct bf_err e;
    int32_t known = 0;
    enum bf_code code = registry_digest_get(t, digest, &known, &e);
    if (code == BF_OK && known == id) {
        return registry_digest_delete(t, digest, err);
    }
    return optional(code, &e, err);
}

static enum bf_code drop_unused_schema(struct registry_txn *t, int32_t id, struct bf_err *err) {
    bool used[2] = {false, false};
    struct registry_content c = {0};
    if (registry_uses_each(t, id, each_use_any, used, err) != BF_OK) {
        return err->code;
    }
    if (used[0]) {
        return BF_OK;
    }
    enum bf_code code = registry_content_load_text(t, id, &c, err);
    if (code == BF_OK) {
        code = forget_digest(t, REGISTRY_DIGEST(&c), id, err);
    }
    if (code == BF_OK) {
        code = forget_digest(t, REGISTRY_GUID(&c), id, err);
    }
    for (size_t i = 0; i < json_array_size(c.references) && code == BF_OK; i++) {
        json_t *ref = json_array_get(c.references, i);
        struct bf_err e;
        code = optional(registry_referrer_delete(t, json_string_value(json_object_get(ref, "subject")),
                                                 (int32_t)json_integer_value(json_object_get(ref, "version")), id, &e),
                        &e, err);
    }
    registry_content_fini(&c);
    return code == BF_OK ? registry_schema_delete(t, id, err) : code;
}

static enum bf_code delete_one(struct registry_txn *t, const char *subject, const struct registry_version *v,
                               bool permanent, struct registry_refusal *no, struct bf_err *err) {
    if (check_unreferenced(t, subject, v, no, err) != BF_OK) {
        return err->code;
    }
    if (!permanent) {
        struct registry_version hidden = *v;
        hidden.deleted = true;
        return registry_version_put(t, subject, &hidden, err);
    }
    if (registry_version_delete(t, subject, v, err) != BF_OK) {
        return err->code;
    }
    return drop_unused_schema(t, v->id, err);
}

static enum bf_code delete_all(struct registry_txn *t, const char *subject, bool permanent, json_t *deleted,
                               struct registry_refusal *no, struct bf_err *err) {
    struct registry_version *list = NULL;
    size_t count = 0, undeleted = 0;
    enum bf_code code = registry_versions(t, subject, &list, &count, err);
    for (size_t i = 0; i < count; i++) {
        undeleted += !list[i].deleted;
    }
    if (code == BF_OK && count == 0) {
        code = registry_refuse(no, err, 40401, "Subject '%s' not found.", subject);
    } else if (code == BF_OK && !permanent && undeleted == 0) {
        code = registry_refuse(no, err, 40404,
                               "Subject '%s' was soft deleted. Set permanent=true to delete permanently", subject);
    } else if (code == BF_OK && permanent && undeleted > 0) {
        code = registry_refuse(no, err, 40405, "Subject '%s' was not deleted first before being permanently deleted",
                               subject);
    }
    for (size_t i = 0; i < count && code == BF_OK; i++) {
        if (permanent || !list[i].deleted) {
            code = delete_one(t, subject, &list[i], permanent, no, err);
            json_array_append_new(deleted, json_integer(list[i].version));
        }
    }
    free(list);
    return code == BF_OK ? registry_settings_drop(t, subject, err) : code;
}

enum bf_code registry_delete_subject(struct registry *r, const char *subject, bool permanent, REGISTRY_OUT) {
    struct registry_txn *t = NULL;
    json_t *deleted = json_array();
    enum bf_code code =
        deleted == NULL ? bf_fail(err, BF_NOMEM, 0, "out of memory") : registry_check_subject(subject, no, err);
    if (code == BF_OK) {
        code = registry_txn_begin(r->store, true, &t, err);
    }
    if (code == BF_OK) {
        code = registry_check_writable(t, subject, no, err);
    }
    if (code == BF_OK) {
        code = delete_all(t, subject, permanent, deleted, no, err);
    }
    if (code == BF_OK) {
        code = registry_txn_commit(&t, err);
    }
    registry_txn_abort(t);
    if (code != BF_OK) {
        json_decref(deleted);
        return code;
    }
    *out = deleted;
    return BF_OK;
}

static enum bf_code delete_wanted(struct registry_txn *t, const char *subject, int32_t wanted, bool permanent,
                                  int32_t *deleted, struct registry_refusal *no, struct bf_err *err) {
    struct registry_version v, *list = NULL;
    size_t count = 0;
    bool left = false;
    if (registry_find_version(t, subject, wanted, wanted != 0 || permanent, &v, no, err) != BF_OK) {
        return err->code;
    }
    if (v.deleted && !permanent) {
        return registry_refuse(no, err, 40406,
                               "Subject '%s' Version %d was soft deleted. Set permanent=true to delete permanently",
                               subject, v.version);
    }
    if (!v.deleted && permanent) {
        return registry_refuse(no, err, 40407,
                               "Subject '%s' Version %d was not deleted first before being permanently deleted",
                               subject, v.version);
    }
    if (delete_one(t, subject, &v, permanent, no, err) != BF_OK ||
        registry_versions(t, subject, &list, &count, err) != BF_OK) {
        return err->code;
    }
    for (size_t i = 0; i < count; i++) {
        left |= !list[i].deleted;
    }
    free(list);
    *deleted = v.version;
    return left ? BF_OK : registry_settings_drop(t, subject, err);
}

enum bf_code registry_delete_version(struct registry *r, const char *subject, const char *version, bool permanent,
                                     REGISTRY_OUT) {
    struct registry_txn *t = NULL;
    int32_t wanted, deleted = 0;
    if (registry_check_subject(subject, no, err) != BF_OK ||
        registry_parse_version(version, &wanted, no, err) != BF_OK ||
        registry_txn_begin(r->store, true, &t, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = registry_check_writable(t, subject, no, err);
    if (code == BF_OK) {
        code = delete_wanted(t, subject, wanted, permanent, &deleted, no, err);
    }
    if (code == BF_OK) {
        code = registry_txn_commit(&t, err);
    }
    registry_txn_abort(t);
    if (code != BF_OK) {
        return code;
    }
    *out = json_integer(deleted);
    return *out == NULL ? bf_fail(err, BF_NOMEM, 0, "out of memory") : BF_OK;
}
