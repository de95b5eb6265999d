/* The registry's REST calls and what its answers mean for the caller. References are fetched depth first, each once, so that the list comes
 * out in the order in which it must be compiled; a registry that refers in circles or without end is refused. */
#include "bf_registry.h"

#include "bf_buf.h"
#include "bf_event_id.h"
#include "bf_http_client.h"
#include "bf_json.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES_MAX (16u << 20)
#define REFERENCES_MAX 256
#define REFERENCE_DEPTH_MAX 32
#define CONTENT_TYPE "application/vnd.schemaregistry.v1+json"

enum { CODE_NO_SUBJECT = 40401, CODE_NO_VERSION = 40402, CODE_NO_SCHEMA = 40403 };

struct bf_registry {
    struct bf_http_client *http;
    struct bf_buf url, answer;
    size_t base_len; /* of url: what every call begins with */
};

enum bf_code bf_registry_new(const char *base_url, int64_t timeout_ms, struct bf_registry **out, struct bf_err *err) {
    enum bf_code code;
    struct bf_registry *r = calloc(1, sizeof *r);

    if (r == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a registry client");
    bf_buf_init(&r->url, 16384);
    bf_buf_init(&r->answer, ANSWER_BYTES_MAX);
    bf_buf_puts(&r->url, base_url);
    while (r->url.len > 0 && r->url.data[r->url.len - 1] == '/') r->url.len--;
    r->base_len = r->url.len;
    code = r->base_len > 0 ? BF_OK : bf_fail(err, BF_INVALID, 0, "the registry's address is empty");
    if (code == BF_OK) code = bf_http_client_new(timeout_ms, &r->http, err);
    if (code == BF_OK) code = bf_http_client_header(r->http, "Accept: " CONTENT_TYPE ", application/json", err);
    if (code != BF_OK) {
        bf_registry_free(r);
        return code;
    }
    *out = r;
    return BF_OK;
}

void bf_registry_free(struct bf_registry *r) {
    if (r == NULL) return;
    bf_http_client_free(r->http);
    bf_buf_fini(&r->url);
    bf_buf_fini(&r->answer);
    free(r);
}

void bf_registry_schema_free(struct bf_registry_schema *s) {
    if (s == NULL) return;
    for (size_t i = 0; i < s->ref_count; i++) {
        free(s->refs[i].name);
        free(s->refs[i].subject);
        free(s->refs[i].schema);
    }
    free(s->refs);
    free(s->type);
    free(s->schema);
    free(s);
}

/* ---- calls ---- */

static void url_begin(struct bf_registry *r) { r->url.len = r->base_len; }

static enum bf_code refused(int status, const json_t *body, struct bf_err *err) {
    const char *message = json_string_value(json_object_get(body, "message"));
    int error_code = (int)json_integer_value(json_object_get(body, "error_code"));
    enum bf_code code = BF_AGAIN; /* 5xx, 429, 401, 403, and a 404 that is some proxy's: the registry has not judged */

    if (status == 404 && (error_code == CODE_NO_SUBJECT || error_code == CODE_NO_VERSION || error_code == CODE_NO_SCHEMA)) {
        code = BF_NOT_FOUND;
    } else if (status == 409) {
        code = BF_REJECTED;
    } else if (status == 400 || status == 422) {
        code = BF_INVALID;
    }
    return bf_fail(err, code, error_code != 0 ? error_code : status, "the registry answers %d: %s", status,
                   message != NULL ? message : "no reason given");
}

/* Call what is in r->url; *out (the caller's) is the object of a 200. */
static enum bf_code call(struct bf_registry *r, const char *method, struct bf_slice body, json_t **out, struct bf_err *err) {
    int status = 0;
    json_t *json = NULL;

    bf_buf_putc(&r->url, '\0');
    if (r->url.failed) return bf_fail(err, BF_INVALID, 0, "the registry's address is too long");
    enum bf_code code =
        bf_http_call(r->http, method, r->url.data, body.data != NULL ? CONTENT_TYPE : NULL, body, &status, &r->answer, err);
    if (code != BF_OK) return bf_err_prepend(err, "registry");
    struct bf_err parse_err = {0};
    code = bf_json_parse(r->answer.data, r->answer.len, &json, &parse_err);
    if (status == 200 && code == BF_OK && json_is_object(json)) {
        *out = json;
        return BF_OK;
    }
    if (status == 200) {
        code = bf_fail(err, BF_AGAIN, 0, "the registry's answer is no JSON object");
    } else {
        code = refused(status, json, err);
    }
    json_decref(json);
    return code;
}

enum bf_code bf_registry_ping(struct bf_registry *r, struct bf_err *err) {
    int status = 0;
    url_begin(r);
    bf_buf_puts(&r->url, "/config");
    bf_buf_putc(&r->url, '\0');
    if (r->url.failed) return bf_fail(err, BF_INVALID, 0, "the registry's address is too long");
    enum bf_code code = bf_http_call(r->http, "GET", r->url.data, NULL, BF_SLICE_NONE, &status, &r->answer, err);
    if (code != BF_OK) return bf_err_prepend(err, "registry");
    return status < 500 ? BF_OK : bf_fail(err, BF_AGAIN, status, "the registry answers %d", status);
}

static enum bf_code bad_answer(const char *what, struct bf_err *err) {
    return bf_fail(err, BF_AGAIN, 0, "the registry's answer has no usable %s", what);
}

/* ---- references ---- */

static enum bf_code add_references(struct bf_registry *r, const json_t *list, int depth, struct bf_registry_schema *s, struct bf_err *err);

static bool have_reference(const struct bf_registry_schema *s, const char *name) {
    for (size_t i = 0; i < s->ref_count; i++) {
        if (strcmp(s->refs[i].name, name) == 0) return true;
    }
    return false;
}

static enum bf_code push_reference(struct bf_registry_schema *s, const char *name, const char *subject, int32_t version,
                                   const char *schema, struct bf_err *err) {
    if (s->ref_count >= REFERENCES_MAX) return bf_fail(err, BF_INVALID, 0, "the schema has more than %d references", REFERENCES_MAX);
    struct bf_registry_reference *grown = realloc(s->refs, (s->ref_count + 1) * sizeof *grown);
    if (grown == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for references");
    s->refs = grown;
    s->refs[s->ref_count++] = (struct bf_registry_reference){strdup(name), strdup(subject), strdup(schema), version};
    const struct bf_registry_reference *ref = &s->refs[s->ref_count - 1];
    if (ref->name == NULL || ref->subject == NULL || ref->schema == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for references");
    return BF_OK;
}

/* One reference: first what it refers to itself, then it. */
static enum bf_code add_reference(struct bf_registry *r, const json_t *item, int depth, struct bf_registry_schema *s,
                                  struct bf_err *err) {
    enum bf_code code;
    json_t *json = NULL;
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *subject = json_string_value(json_object_get(item, "subject"));
    int32_t version = (int32_t)json_integer_value(json_object_get(item, "version"));

    if (name == NULL || subject == NULL || version < 1) return bad_answer("reference", err);
    if (have_reference(s, name)) return BF_OK;
    url_begin(r);
    bf_buf_puts(&r->url, "/subjects/");
    bf_url_encode(&r->url, subject);
    bf_buf_printf(&r->url, "/versions/%d?deleted=true", (int)version);
    code = call(r, "GET", BF_SLICE_NONE, &json, err);
    if (code != BF_OK) return bf_err_prepend(err, "reference %s", name);
    const char *schema = json_string_value(json_object_get(json, "schema"));
    if (schema == NULL) {
        code = bad_answer("schema", err);
    } else {
        code = add_references(r, json_object_get(json, "references"), depth + 1, s, err);
        if (code == BF_OK && !have_reference(s, name)) code = push_reference(s, name, subject, version, schema, err);
    }
    json_decref(json);
    return code;
}

static enum bf_code add_references(struct bf_registry *r, const json_t *list, int depth, struct bf_registry_schema *s,
                                   struct bf_err *err) {
    enum bf_code code = BF_OK;

    if (json_array_size(list) > 0 && depth > REFERENCE_DEPTH_MAX) {
        return bf_fail(err, BF_INVALID, 0, "the schema's references go deeper than %d", REFERENCE_DEPTH_MAX);
    }
    for (size_t i = 0; i < json_array_size(list) && code == BF_OK; i++) {
        code = add_reference(r, json_array_get(list, i), depth, s, err);
    }
    return code;
}

/* ---- the public calls ---- */

static enum bf_code get_schema(struct bf_registry *r, int32_t id, struct bf_registry_schema **out, struct bf_err *err) {
    json_t *json = NULL;
    struct bf_registry_schema *s = NULL;
    enum bf_code code = call(r, "GET", BF_SLICE_NONE, &json, err);

    if (code != BF_OK) return code;
    const char *schema = json_string_value(json_object_get(json, "schema"));
    const char *type = json_string_value(json_object_get(json, "schemaType"));
    if (schema == NULL) {
        code = bad_answer("schema", err);
        goto done;
    }
    s = calloc(1, sizeof *s);
    if (s == NULL || (s->schema = strdup(schema)) == NULL || (s->type = strdup(type != NULL ? type : "AVRO")) == NULL) {
        code = bf_fail(err, BF_NOMEM, 0, "no memory for a schema");
        goto done;
    }
    s->id = id > 0 ? id : (int32_t)json_integer_value(json_object_get(json, "id"));
    code = add_references(r, json_object_get(json, "references"), 1, s, err);
    if (code != BF_OK) goto done;
    *out = s;
    s = NULL;
done:
    bf_registry_schema_free(s);
    json_decref(json);
    return code;
}

enum bf_code bf_registry_get(struct bf_registry *r, int32_t id, struct bf_registry_schema **out, struct bf_err *err) {
    url_begin(r);
    bf_buf_printf(&r->url, "/schemas/ids/%d", (int)id);
    enum bf_code code = get_schema(r, id, out, err);
    return code == BF_OK ? BF_OK : bf_err_prepend(err, "schema id %d", (int)id);
}

enum bf_code bf_registry_get_guid(struct bf_registry *r, const uint8_t guid[16], struct bf_registry_schema **out, struct bf_err *err) {
    char text[BF_UUID_TEXT_LEN + 1];
    struct bf_uuid id;

    memcpy(id.b, guid, sizeof id.b);
    bf_uuid_format(text, &id);
    url_begin(r);
    bf_buf_printf(&r->url, "/schemas/guids/%s", text);
    enum bf_code code = get_schema(r, 0, out, err);
    return code == BF_OK ? BF_OK : bf_err_prepend(err, "schema guid %s", text);
}

enum bf_code bf_registry_register(struct bf_registry *r, const char *subject, const char *schema_json, int32_t *id,
                                  struct bf_err *err) {
    struct bf_buf body;
    struct bf_json j;
    json_t *json = NULL;
    enum bf_code code;

    bf_buf_init(&body, ANSWER_BYTES_MAX);
    bf_json_init(&j, &body);
    bf_json_object(&j);
    bf_json_member_string(&j, "schema", schema_json);
    bf_json_object_end(&j);
    url_begin(r);
    bf_buf_puts(&r->url, "/subjects/");
    bf_url_encode(&r->url, subject);
    bf_buf_puts(&r->url, "/versions");
    code = body.failed ? bf_fail(err, BF_NOMEM, 0, "the schema is too large")
                       : call(r, "POST", (struct bf_slice){body.data, body.len}, &json, err);
    if (code == BF_OK) {
        json_int_t got = json_integer_value(json_object_get(json, "id"));
        if (got > 0 && got <= INT32_MAX) {
            *id = (int32_t)got;
        } else {
            code = bad_answer("id", err);
        }
    }
    if (code != BF_OK) (void)bf_err_prepend(err, "subject %s", subject);
    json_decref(json);
    bf_buf_fini(&body);
    return code;
}
