#include "registry.h"

#include "bf_json.h"
#include "registry_parts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES_MAX (16u << 20)

void registry_refusal_init(struct registry_refusal *no) {
    no->code = 0;
    bf_buf_init(&no->message, MESSAGE_BYTES_MAX);
}

void registry_refusal_fini(struct registry_refusal *no) {
    bf_buf_fini(&no->message);
}

enum bf_code registry_refuse(struct registry_refusal *no, struct bf_err *err, int code, const char *fmt, ...) {
    va_list ap;
    char *text = NULL;
    va_start(ap, fmt);
    int len = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (len < 0) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    bf_buf_clear(&no->message);
    bf_buf_append(&no->message, text, (size_t)len);
    no->code = code;
    free(text);
    return bf_fail(err, BF_INVALID, code, "refused with %d", code);
}

enum bf_code registry_open(const char *dir, int64_t map_bytes_max, struct registry **out, struct bf_err *err) {
    struct registry *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    if (registry_store_open(dir, map_bytes_max, &r->store, err) != BF_OK) {
        free(r);
        return err->code;
    }
    *out = r;
    return BF_OK;
}

void registry_close(struct registry *r) {
    if (r != NULL) {
        registry_store_close(r->store);
        free(r);
    }
}

enum bf_code registry_check_subject(const char *subject, struct registry_refusal *no, struct bf_err *err) {
    size_t len = strlen(subject);
    bool ok = len > 0 && len <= REGISTRY_SUBJECT_BYTES_MAX && strcmp(subject, "__GLOBAL") != 0 &&
              strcmp(subject, "__EMPTY") != 0;
    for (size_t i = 0; i < len && ok; i++) {
        ok = (unsigned char)subject[i] >= 0x20 && subject[i] != 0x7f;
    }
    return ok ? BF_OK : registry_refuse(no, err, 42208, "The specified subject '%s' is not a valid one.", subject);
}

enum bf_code registry_parse_version(const char *text, int32_t *version, struct registry_refusal *no,
                                    struct bf_err *err) {
    if (strcmp(text, "latest") == 0 || strcmp(text, "-1") == 0) {
        *version = 0;
        return BF_OK;
    }
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] < '0' || text[0] > '9' || v < 1 || v > INT32_MAX) {
        return registry_refuse(
            no, err, 42202,
            "The specified version '%s' is not a valid version id. Allowed values are between [1, 2^31-1] and the "
            "string \"latest\"",
            text);
    }
    *version = (int32_t)v;
    return BF_OK;
}

enum bf_code registry_find_version(struct registry_txn *t, const char *subject, int32_t version, bool deleted,
                                   struct registry_version *out, struct registry_refusal *no, struct bf_err *err) {
    struct registry_version *list = NULL;
    size_t count = 0;
    const struct registry_version *found = NULL;
    bool any = false;
    if (registry_versions(t, subject, &list, &count, err) != BF_OK) {
        return err->code;
    }
    for (size_t i = 0; i < count; i++) {
        if (list[i].deleted && !deleted) {
            continue;
        }
        any = true;
        if (version == 0 || list[i].version == version) {
            found = &list[i];
        }
    }
    if (found != NULL) {
        *out = *found;
    }
    free(list);
    if (found != NULL) {
        return BF_OK;
    }
    return any ? registry_refuse(no, err, 40402, "Version %d not found.", version)
               : registry_refuse(no, err, 40401, "Subject '%s' not found.", subject);
}

enum bf_code registry_describe(struct registry_txn *t, const char *subject, const struct registry_version *v,
                               json_t **out, struct bf_err *err) {
    json_t *schema = NULL;
    if (registry_schema_get(t, v->id, &schema, err) != BF_OK) {
        return bf_fail(err, BF_BROKEN, 0, "schema %d of a version is missing", v->id);
    }
    json_t *answer =
        json_pack("{s:s, s:i, s:i, s:O, s:O*, s:O, s:I}", "subject", subject, "version", v->version, "id", v->id,
                  "guid", json_object_get(schema, "guid"), "references", json_object_get(schema, "references"),
                  "schema", json_object_get(schema, "schema"), "ts", (json_int_t)(v->registered_us / 1000));
    json_decref(schema);
    if (answer == NULL || (v->deleted && json_object_set_new(answer, "deleted", json_true()) != 0)) {
        json_decref(answer);
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    *out = answer;
    return BF_OK;
}
