#include "registry_http.h"

#include "bf_json.h"
#include "bf_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONTENT_TYPE "application/vnd.schemaregistry.v1+json"
#define BODY_BYTES_MAX (8u << 20)

const struct bf_metric_def registry_metric_defs[REGISTRY_METRICS] = {
    [REGISTRY_METRIC_REQUESTS] =
        {"registry_http_request_seconds", "Time to answer a request.", BF_METRIC_HISTOGRAM, {"route", "code"}, NULL},
    [REGISTRY_METRIC_REFUSALS] = {"registry_refusals_total",
                                  "Requests refused, by Confluent's error code.",
                                  BF_METRIC_COUNTER,
                                  {"error_code"},
                                  NULL},
    [REGISTRY_METRIC_FAILURES] = {"registry_failures_total",
                                  "Requests that failed through no fault of the client.",
                                  BF_METRIC_COUNTER,
                                  {NULL},
                                  NULL},
    [REGISTRY_METRIC_REGISTERED] = {"registry_registrations_total",
                                    "Registrations acknowledged, repeated ones included.",
                                    BF_METRIC_COUNTER,
                                    {NULL},
                                    NULL},
};

/* One request on its way: what every handler needs. */
struct call {
    struct bf_http_request *req;
    struct registry *registry;
    struct bf_metrics *metrics;
    json_t *body, *out;
    struct registry_refusal no;
    struct bf_err err;
};

/* ---- answers ---- */

static void reply_json(struct bf_http_request *req, int status, const json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL) {
        bf_http_reply(req, 500, CONTENT_TYPE, "{\"error_code\":50001,\"message\":\"out of memory\"}", 44);
        return;
    }
    bf_http_reply(req, status, CONTENT_TYPE, text, strlen(text));
    free(text);
}

static void reply_error(struct bf_http_request *req, int status, int error_code, const char *message, size_t len) {
    json_t *body = json_pack("{s:i, s:o}", "error_code", error_code, "message",
                             bf_utf8_valid(message, len) ? json_stringn(message, len) : json_string("not valid UTF-8"));
    reply_json(req, status, body);
    json_decref(body);
}

void registry_http_error(struct bf_http_request *req, int status, const char *detail, const char *param) {
    char message[600];
    snprintf(message, sizeof message, "HTTP %d: %s%s%s", status, detail == NULL ? "refused" : detail,
             param == NULL ? "" : ": ", param == NULL ? "" : param);
    reply_error(req, status, status, message, strlen(message));
}

static void call_init(struct call *c, struct bf_http_request *req, void *ctx) {
    struct registry_http *h = ctx;
    *c = (struct call){.req = req, .registry = h->registry, .metrics = h->metrics};
    registry_refusal_init(&c->no);
}

static void call_fini(struct call *c) {
    registry_refusal_fini(&c->no);
    json_decref(c->body);
    json_decref(c->out);
}

static void reply_refusal(struct call *c) {
    char label[16];
    int status = c->no.code;
    while (status >= 1000) {
        status /= 10;
    }
    snprintf(label, sizeof label, "%d", c->no.code);
    bf_series_add(bf_metrics_series(c->metrics, REGISTRY_METRIC_REFUSALS, label, NULL, NULL), 1);
    reply_error(c->req, status, c->no.code, c->no.message.data == NULL ? "" : c->no.message.data, c->no.message.len);
}

static void reply_failure(struct call *c) {
    static const char message[] = "Error in the backend data store";
    bf_series_add(bf_metrics_series(c->metrics, REGISTRY_METRIC_FAILURES, NULL, NULL, NULL), 1);
    bf_log_err(BF_LOG_ERROR, "request_failed", &c->err, "target_answered=500");
    reply_error(c->req, 500, 50001, message, strlen(message));
}

/* Answer by the outcome: the JSON, or only its text member `raw` as it is. */
static void done(struct call *c, enum bf_code code, const char *raw) {
    if (code == BF_INVALID) {
        reply_refusal(c);
    } else if (code != BF_OK) {
        reply_failure(c);
    } else if (raw != NULL) {
        const char *text = json_string_value(json_object_get(c->out, raw));
        bf_http_reply(c->req, 200, CONTENT_TYPE, text, strlen(text));
    } else {
        reply_json(c->req, 200, c->out);
    }
    call_fini(c);
}

#define RESULT(c) &(c)->out, &(c)->no, &(c)->err

/* ---- parts of the request ---- */

static bool flag(const struct call *c, const char *name) {
    const char *v = bf_http_query(c->req, name);
    return v != NULL && strcasecmp(v, "true") == 0;
}

static enum registry_deleted deleted_filter(const struct call *c) {
    return flag(c, "deletedOnly") ? REGISTRY_ONLY_DELETED
           : flag(c, "deleted")   ? REGISTRY_WITH_DELETED
                                  : REGISTRY_UNDELETED;
}

static const char *subject_of(const struct call *c) {
    return bf_http_path(c->req, "subject");
}

static const char *version_of(const struct call *c) {
    return bf_http_path(c->req, "version");
}

static int64_t number(const struct call *c, const char *name, int64_t none) {
    const char *text = bf_http_query(c->req, name);
    char *end;
    if (text == NULL) {
        return none;
    }
    errno = 0;
    long long v = strtoll(text, &end, 10);
    return errno != 0 || *end != '\0' || end == text || v < 0 ? none : v;
}

static struct registry_page page(const struct call *c) {
    return (struct registry_page){number(c, "offset", 0), number(c, "limit", -1)};
}

/* The body as a JSON object, whatever content type it was sent with. */
static enum bf_code read_body(struct call *c) {
    struct bf_slice body = bf_http_body(c->req);
    json_error_t where;
    c->body = body.len == 0 ? NULL : json_loadb(body.data, body.len, 0, &where);
    if (!json_is_object(c->body)) {
        c->no.code = 422;
        bf_buf_printf(&c->no.message, "The request's body is not a JSON object%s%s",
                      body.len == 0 || c->body != NULL ? "" : ": ", body.len == 0 || c->body != NULL ? "" : where.text);
        return BF_INVALID;
    }
    return BF_OK;
}

/* ---- handlers: subjects ---- */

static void get_subjects(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    const char *prefix = bf_http_query(req, "subjectPrefix");
    if (prefix == NULL || strcmp(prefix, ":*:") == 0) {
        prefix = "";
    }
    done(&c, registry_subjects(c.registry, prefix, deleted_filter(&c), page(&c), RESULT(&c)), NULL);
}

static void post_subject(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    enum bf_code code = read_body(&c);
    if (code == BF_OK) {
        code =
            registry_lookup(c.registry, subject_of(&c), c.body, flag(&c, "normalize"), flag(&c, "deleted"), RESULT(&c));
    }
    done(&c, code, NULL);
}

static void delete_subject(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_delete_subject(c.registry, subject_of(&c), flag(&c, "permanent"), RESULT(&c)), NULL);
}

static void get_versions(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_list_versions(c.registry, subject_of(&c), deleted_filter(&c), page(&c), RESULT(&c)), NULL);
}

static void post_version(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    enum bf_code code = read_body(&c);
    if (code == BF_OK) {
        code = registry_register(c.registry, subject_of(&c), c.body, flag(&c, "normalize"), RESULT(&c));
    }
    if (code == BF_OK) {
        bf_series_add(bf_metrics_series(c.metrics, REGISTRY_METRIC_REGISTERED, NULL, NULL, NULL), 1);
    }
    done(&c, code, NULL);
}

static void get_version(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_version(c.registry, subject_of(&c), version_of(&c), flag(&c, "deleted"), RESULT(&c)), NULL);
}

static void get_version_schema(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_version(c.registry, subject_of(&c), version_of(&c), flag(&c, "deleted"), RESULT(&c)), "schema");
}

static void get_referenced_by(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_referenced_by(c.registry, subject_of(&c), version_of(&c), RESULT(&c)), NULL);
}

static void delete_version(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_delete_version(c.registry, subject_of(&c), version_of(&c), flag(&c, "permanent"), RESULT(&c)),
         NULL);
}

/* ---- schemas ---- */

static void get_schemas(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    const char *prefix = bf_http_query(req, "subjectPrefix");
    prefix = prefix == NULL || strcmp(prefix, ":*:") == 0 ? "" : prefix;
    done(&c, registry_schemas(c.registry, prefix, flag(&c, "deleted"), flag(&c, "latestOnly"), page(&c), RESULT(&c)),
         NULL);
}

static void get_types(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    bf_http_reply(req, 200, CONTENT_TYPE, "[\"AVRO\"]", 8);
}

static void get_id(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_by_id(c.registry, bf_http_path(req, "id"), flag(&c, "fetchMaxId"), RESULT(&c)), NULL);
}

static void get_id_schema(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_by_id(c.registry, bf_http_path(req, "id"), false, RESULT(&c)), "schema");
}

static void get_id_subjects(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_uses_of_id(c.registry, bf_http_path(req, "id"), false, flag(&c, "deleted"), RESULT(&c)), NULL);
}

static void get_id_versions(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_uses_of_id(c.registry, bf_http_path(req, "id"), true, flag(&c, "deleted"), RESULT(&c)), NULL);
}

static void get_guid(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_by_guid(c.registry, bf_http_path(req, "guid"), RESULT(&c)), NULL);
}

static void get_guid_ids(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_ids_of_guid(c.registry, bf_http_path(req, "guid"), RESULT(&c)), NULL);
}

/* ---- compatibility, config, mode; without {subject} the global settings are meant ---- */

static void post_compatibility(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    enum bf_code code = read_body(&c);
    if (code == BF_OK) {
        code = registry_compatibility(c.registry, subject_of(&c), version_of(&c), c.body, flag(&c, "normalize"),
                                      flag(&c, "verbose"), RESULT(&c));
    }
    done(&c, code, NULL);
}

static void get_config(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_config_get(c.registry, subject_of(&c), flag(&c, "defaultToGlobal"), RESULT(&c)), NULL);
}

static void put_config(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    enum bf_code code = read_body(&c);
    done(&c, code == BF_OK ? registry_config_put(c.registry, subject_of(&c), c.body, RESULT(&c)) : code, NULL);
}

static void delete_config(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_config_delete(c.registry, subject_of(&c), RESULT(&c)), NULL);
}

static void get_mode(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_mode_get(c.registry, subject_of(&c), flag(&c, "defaultToGlobal"), RESULT(&c)), NULL);
}

static void put_mode(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    enum bf_code code = read_body(&c);
    done(&c,
         code == BF_OK ? registry_mode_put(c.registry, subject_of(&c), c.body, flag(&c, "force"), RESULT(&c)) : code,
         NULL);
}

static void delete_mode(struct bf_http_request *req, void *ctx) {
    struct call c;
    call_init(&c, req, ctx);
    done(&c, registry_mode_delete(c.registry, subject_of(&c), RESULT(&c)), NULL);
}

/* ---- the rest ---- */

static void get_root(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    bf_http_reply(req, 200, CONTENT_TYPE, "{}", 2);
}

static void get_contexts(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    bf_http_reply(req, 200, CONTENT_TYPE, "[\".\"]", 5);
}

static void get_livez(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    bf_http_reply(req, 200, "text/plain; charset=utf-8", "ok\n", 3);
}

static void get_metrics(struct bf_http_request *req, void *ctx) {
    struct registry_http *h = ctx;
    struct bf_buf text;
    bf_buf_init(&text, 16u << 20);
    bf_metrics_render(h->metrics, &text);
    bf_http_reply_take(req, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

static const struct bf_http_route routes[] = {
    {"GET", "/", get_root, NULL, 0},
    {"GET", "/livez", get_livez, NULL, 0},
    {"GET", "/metrics", get_metrics, NULL, 0},
    {"GET", "/contexts", get_contexts, NULL, 0},
    {"GET", "/subjects", get_subjects, NULL, 0},
    {"POST", "/subjects/{subject}", post_subject, NULL, BODY_BYTES_MAX},
    {"DELETE", "/subjects/{subject}", delete_subject, NULL, 1024},
    {"GET", "/subjects/{subject}/versions", get_versions, NULL, 0},
    {"POST", "/subjects/{subject}/versions", post_version, NULL, BODY_BYTES_MAX},
    {"GET", "/subjects/{subject}/versions/{version}", get_version, NULL, 0},
    {"DELETE", "/subjects/{subject}/versions/{version}", delete_version, NULL, 1024},
    {"GET", "/subjects/{subject}/versions/{version}/schema", get_version_schema, NULL, 0},
    {"GET", "/subjects/{subject}/versions/{version}/referencedby", get_referenced_by, NULL, 0},
    {"GET", "/schemas", get_schemas, NULL, 0},
    {"GET", "/schemas/types", get_types, NULL, 0},
    {"GET", "/schemas/ids/{id}", get_id, NULL, 0},
    {"GET", "/schemas/ids/{id}/schema", get_id_schema, NULL, 0},
    {"GET", "/schemas/ids/{id}/subjects", get_id_subjects, NULL, 0},
    {"GET", "/schemas/ids/{id}/versions", get_id_versions, NULL, 0},
    {"GET", "/schemas/guids/{guid}", get_guid, NULL, 0},
    {"GET", "/schemas/guids/{guid}/ids", get_guid_ids, NULL, 0},
    {"POST", "/compatibility/subjects/{subject}/versions", post_compatibility, NULL, BODY_BYTES_MAX},
    {"POST", "/compatibility/subjects/{subject}/versions/{version}", post_compatibility, NULL, BODY_BYTES_MAX},
    {"GET", "/config", get_config, NULL, 0},
    {"PUT", "/config", put_config, NULL, 65536},
    {"DELETE", "/config", delete_config, NULL, 1024},
    {"GET", "/config/{subject}", get_config, NULL, 0},
    {"PUT", "/config/{subject}", put_config, NULL, 65536},
    {"DELETE", "/config/{subject}", delete_config, NULL, 1024},
    {"GET", "/mode", get_mode, NULL, 0},
    {"PUT", "/mode", put_mode, NULL, 65536},
    {"DELETE", "/mode", delete_mode, NULL, 1024},
    {"GET", "/mode/{subject}", get_mode, NULL, 0},
    {"PUT", "/mode/{subject}", put_mode, NULL, 65536},
    {"DELETE", "/mode/{subject}", delete_mode, NULL, 1024},
    {NULL, NULL, NULL, NULL, 0},
};

const struct bf_http_route *registry_http_routes(void) {
    return routes;
}
