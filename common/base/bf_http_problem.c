/* RFC 9457 bodies, and the one table from our codes to HTTP status. */
#include "bf_http_internal.h"

#include "bf_json.h"

#include <stdarg.h>
#include <stdio.h>

const char *bf_http_status_title(int status) {
    static const struct {
        int status;
        const char *title;
    } titles[] = {{400, "Bad Request"},          {401, "Unauthorized"},          {403, "Forbidden"},
                  {404, "Not Found"},            {405, "Method Not Allowed"},    {406, "Not Acceptable"},
                  {409, "Conflict"},             {410, "Gone"},                  {412, "Precondition Failed"},
                  {413, "Content Too Large"},    {414, "URI Too Long"},          {415, "Unsupported Media Type"},
                  {416, "Range Not Satisfiable"}, {422, "Unprocessable Content"}, {429, "Too Many Requests"},
                  {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {501, "Not Implemented"},
                  {502, "Bad Gateway"},          {503, "Service Unavailable"},   {504, "Gateway Timeout"}};
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        if (titles[i].status == status) {
            return titles[i].title;
        }
    }
    return status >= 500 ? "Server Error" : "Error";
}

void bf_http_problem(struct bf_http_request *req, int status, const char *param, const char *fmt, ...) {
    char detail[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof detail ? (size_t)n : sizeof detail - 1;
    while (len > 0 && !bf_utf8_valid(detail, len)) { /* cut within a character */
        detail[--len] = '\0';
    }
    struct bf_buf body;
    struct bf_json j;
    bf_buf_init(&body, 65536);
    bf_json_init(&j, &body);
    bf_json_object(&j);
    bf_json_member_string(&j, "type", "about:blank");
    bf_json_member_string(&j, "title", bf_http_status_title(status));
    bf_json_member_int(&j, "status", status);
    bf_json_key(&j, "detail");
    bf_json_string_n(&j, detail, len);
    if (param != NULL) {
        bf_json_member_string(&j, "pointer", param);
    }
    bf_json_object_end(&j);
    bf_http_reply_take(req, status, "application/problem+json", &body);
}

static int status_of(enum bf_code code) {
    switch (code) {
    case BF_INVALID: return 400;
    case BF_NOT_FOUND: return 404;
    case BF_EXISTS: return 409;
    case BF_AGAIN: return 503;
    case BF_NOMEM: return 413;
    case BF_OK:
    case BF_REJECTED:
    case BF_CANCELLED:
    case BF_BROKEN: break;
    }
    return 500;
}

void bf_http_problem_err(struct bf_http_request *req, const struct bf_err *err, const char *param) {
    int status = status_of(err->code);
    if (status == 503) {
        bf_http_add_header(req, "Retry-After", "1");
    }
    bf_http_problem(req, status, param, "%s", status == 500 ? "something went wrong here; the log says more" : err->msg);
}

void bf_http_error(struct bf_http_request *req, int status, const char *detail, const char *param) {
    if (req->server->settings.on_error != NULL) {
        req->server->settings.on_error(req, status, detail, param);
    }
    if (!req->replied) {
        bf_http_problem(req, status, param, "%s", detail);
    }
}
