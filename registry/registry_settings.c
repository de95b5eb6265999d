#include "registry_parts.h"

#include <string.h>
#include <strings.h>

#define KIND_CONFIG 'c'
#define KIND_MODE 'm'

static const char *const level_names[] = {
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE", NULL};
static const char *const mode_names[] = {"READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT", NULL};

const char *registry_level_name(enum registry_level level) {
    return level_names[level];
}

static int find_name(const char *const *names, const char *text) {
    for (int i = 0; text != NULL && names[i] != NULL; i++) {
        if (strcasecmp(names[i], text) == 0) {
            return i;
        }
    }
    return -1;
}

static const char *scope(const char *subject) {
    return subject == NULL ? "" : subject;
}

static enum bf_code check_scope(const char *subject, struct registry_refusal *no, struct bf_err *err) {
    return subject == NULL ? BF_OK : registry_check_subject(subject, no, err);
}

/* A setting as stored, or *out NULL when there is none. */
static enum bf_code stored(struct registry_txn *t, char kind, const char *subject, json_t **out, struct bf_err *err) {
    struct bf_err missing;
    enum bf_code code = registry_setting_get(t, kind, subject, out, &missing);
    if (code == BF_NOT_FOUND) {
        *out = NULL;
        return BF_OK;
    }
    if (code != BF_OK) {
        *err = missing;
    }
    return code;
}

/* ---- in force ---- */

enum bf_code registry_config_in_force(struct registry_txn *t, const char *subject, enum registry_level *level,
                                      bool *normalize, struct bf_err *err) {
    const char *const scopes[] = {"", subject};
    *level = REGISTRY_BACKWARD;
    *normalize = false;
    for (size_t i = 0; i < 2; i++) {
        json_t *config = NULL;
        if (stored(t, KIND_CONFIG, scopes[i], &config, err) != BF_OK) {
            return err->code;
        }
        int l = find_name(level_names, json_string_value(json_object_get(config, "compatibilityLevel")));
        if (l >= 0) {
            *level = (enum registry_level)l;
        }
        json_t *n = json_object_get(config, "normalize");
        if (json_is_boolean(n)) {
            *normalize = json_is_true(n);
        }
        json_decref(config);
    }
    return BF_OK;
}

enum bf_code registry_mode_in_force(struct registry_txn *t, const char *subject, enum registry_mode *mode,
                                    struct bf_err *err) {
    const char *const scopes[] = {"", subject};
    *mode = REGISTRY_READWRITE;
    for (size_t i = 0; i < 2 && *mode != REGISTRY_READONLY_OVERRIDE; i++) {
        json_t *value = NULL;
        if (stored(t, KIND_MODE, scopes[i], &value, err) != BF_OK) {
            return err->code;
        }
        int m = find_name(mode_names, json_string_value(json_object_get(value, "mode")));
        if (m >= 0) {
            *mode = (enum registry_mode)m;
        }
        json_decref(value);
    }
    return BF_OK;
}

enum bf_code registry_check_writable(struct registry_txn *t, const char *subject, struct registry_refusal *no,
                                     struct bf_err *err) {
    enum registry_mode mode;
    if (registry_mode_in_force(t, subject, &mode, err) != BF_OK) {
        return err->code;
    }
    if (mode == REGISTRY_READONLY || mode == REGISTRY_READONLY_OVERRIDE) {
        return registry_refuse(no, err, 42205, "Subject %s is in read-only mode", subject);
    }
    return BF_OK;
}

enum bf_code registry_settings_drop(struct registry_txn *t, const char *subject, struct bf_err *err) {
    static const char kinds[] = {KIND_CONFIG, KIND_MODE};
    for (size_t i = 0; i < sizeof kinds; i++) {
        struct bf_err e;
        enum bf_code code = registry_setting_delete(t, kinds[i], subject, &e);
        if (code != BF_OK && code != BF_NOT_FOUND) {
            *err = e;
            return code;
        }
    }
    return BF_OK;
}

/* ---- config ---- */

static enum bf_code get_setting(struct registry *r, char kind, const char *subject, bool default_to_global,
                                json_t **out, struct bf_err *err) {
    struct registry_txn *t = NULL;
    json_t *found = NULL;
    if (registry_txn_begin(r->store, false, &t, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = stored(t, kind, scope(subject), &found, err);
    if (code == BF_OK && found == NULL && subject != NULL && default_to_global) {
        code = stored(t, kind, "", &found, err);
        subject = NULL;
    }
    registry_txn_abort(t);
    if (code == BF_OK && found == NULL && subject == NULL) {
        found = kind == KIND_CONFIG ? json_pack("{s:s}", "compatibilityLevel", "BACKWARD")
                                    : json_pack("{s:s}", "mode", "READWRITE");
    }
    *out = found;
    return code;
}

enum bf_code registry_config_get(struct registry *r, const char *subject, bool default_to_global, REGISTRY_OUT) {
    if (check_scope(subject, no, err) != BF_OK ||
        get_setting(r, KIND_CONFIG, subject, default_to_global, out, err) != BF_OK) {
        return err->code;
    }
    return *out != NULL ? BF_OK
                        : registry_refuse(no, err, 40408,
                                          "Subject '%s' does not have subject-level compatibility configured", subject);
}

static enum bf_code put_setting(struct registry *r, char kind, const char *subject, const json_t *value,
                                struct bf_err *err) {
    struct registry_txn *t = NULL;
    if (registry_txn_begin(r->store, true, &t, err) != BF_OK) {
        return err->code;
    }
    if (registry_setting_put(t, kind, scope(subject), value, err) != BF_OK) {
        registry_txn_abort(t);
        return err->code;
    }
    return registry_txn_commit(&t, err);
}

enum bf_code registry_config_put(struct registry *r, const char *subject, const json_t *request, REGISTRY_OUT) {
    json_t *given = json_object_get(request, "compatibility"), *normalize = json_object_get(request, "normalize");
    json_t *value = NULL;
    int level = find_name(level_names, json_string_value(given));
    if (check_scope(subject, no, err) != BF_OK) {
        return err->code;
    }
    if ((level < 0 && given != NULL) || (given == NULL && !json_is_boolean(normalize))) {
        return registry_refuse(
            no, err, 42203,
            "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, "
            "forward_transitive, and full_transitive");
    }
    if (get_setting(r, KIND_CONFIG, subject, false, &value, err) != BF_OK) {
        return err->code;
    }
    value = value == NULL ? json_object() : value;
    json_t *answer = json_object();
    if (level >= 0) {
        json_object_set_new(value, "compatibilityLevel", json_string(level_names[level]));
        json_object_set_new(answer, "compatibility", json_string(level_names[level]));
    }
    if (json_is_boolean(normalize)) {
        json_object_set(value, "normalize", normalize);
        json_object_set(answer, "normalize", normalize);
    }
    enum bf_code code = value == NULL || answer == NULL ? bf_fail(err, BF_NOMEM, 0, "out of memory")
                                                        : put_setting(r, KIND_CONFIG, subject, value, err);
    json_decref(value);
    if (code != BF_OK) {
        json_decref(answer);
        return code;
    }
    *out = answer;
    return BF_OK;
}

/* Remove a setting and answer with what it was. */
static enum bf_code delete_setting(struct registry *r, char kind, const char *subject, json_t **out,
                                   struct registry_refusal *no, struct bf_err *err) {
    struct registry_txn *t = NULL;
    json_t *was = NULL;
    if (check_scope(subject, no, err) != BF_OK || registry_txn_begin(r->store, true, &t, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = stored(t, kind, scope(subject), &was, err);
    if (code == BF_OK && was == NULL) {
        registry_txn_abort(t);
        if (subject != NULL) {
            return registry_refuse(no, err, 40401, "Subject '%s' not found.", subject);
        }
        return get_setting(r, kind, NULL, false, out, err);
    }
    if (code == BF_OK) {
        code = registry_setting_delete(t, kind, scope(subject), err);
    }
    if (code == BF_OK) {
        code = registry_txn_commit(&t, err);
    } else {
        registry_txn_abort(t);
    }
    if (code != BF_OK) {
        json_decref(was);
        return code;
    }
    *out = was;
    return BF_OK;
}

enum bf_code registry_config_delete(struct registry *r, const char *subject, REGISTRY_OUT) {
    return delete_setting(r, KIND_CONFIG, subject, out, no, err);
}

/* ---- mode ---- */

enum bf_code registry_mode_get(struct registry *r, const char *subject, bool default_to_global, REGISTRY_OUT) {
    if (check_scope(subject, no, err) != BF_OK ||
        get_setting(r, KIND_MODE, subject, default_to_global, out, err) != BF_OK) {
        return err->code;
    }
    return *out != NULL
               ? BF_OK
               : registry_refuse(no, err, 40409, "Subject '%s' does not have subject-level mode configured", subject);
}

static bool any_undeleted(void *ctx, const char *subject, const struct registry_version *v) {
    const char *wanted = ((const char **)ctx)[0];
    bool mine = wanted == NULL || strcmp(wanted, subject) == 0;
    if (mine && !v->deleted) {
        ((const char **)ctx)[1] = "found";
        return false;
    }
    return true;
}

/* IMPORT gives ids from outside, so what is there already would be in the way. */
static enum bf_code check_import(struct registry *r, const char *subject, struct registry_refusal *no,
                                 struct bf_err *err) {
    const char *ctx[2] = {subject, NULL};
    struct registry_txn *t = NULL;
    if (registry_txn_begin(r->store, false, &t, err) != BF_OK) {
        return err->code;
    }
    enum bf_code code = registry_versions_each(t, scope(subject), any_undeleted, ctx, err);
    registry_txn_abort(t);
    if (code == BF_OK && ctx[1] != NULL) {
        return registry_refuse(no, err, 42205, "Cannot import since found existing subjects");
    }
    return code;
}

enum bf_code registry_mode_put(struct registry *r, const char *subject, const json_t *request, bool force,
                               REGISTRY_OUT) {
    int mode = find_name(mode_names, json_string_value(json_object_get(request, "mode")));
    if (check_scope(subject, no, err) != BF_OK) {
        return err->code;
    }
    if (mode < 0) {
        return registry_refuse(no, err, 42204,
                               "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT");
    }
    if (mode == REGISTRY_READONLY_OVERRIDE && subject != NULL) {
        return registry_refuse(no, err, 42204, "Invalid mode: READONLY_OVERRIDE is for the global mode only");
    }
    if (mode == REGISTRY_IMPORT && !force && check_import(r, subject, no, err) != BF_OK) {
        return err->code;
    }
    json_t *value = json_pack("{s:s}", "mode", mode_names[mode]);
    enum bf_code code =
        value == NULL ? bf_fail(err, BF_NOMEM, 0, "out of memory") : put_setting(r, KIND_MODE, subject, value, err);
    if (code != BF_OK) {
        json_decref(value);
        return code;
    }
    *out = value;
    return BF_OK;
}

enum bf_code registry_mode_delete(struct registry *r, const char *subject, REGISTRY_OUT) {
    return delete_setting(r, KIND_MODE, subject, out, no, err);
}
