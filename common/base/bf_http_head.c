/* What libmicrohttpd lets through although it could smuggle a request is found by comparing where the parts of the head lie in its buffer: they must
 * follow each other exactly as CRLF lines do (RFC 9112, 2.2 and 5). */
#include "bf_http_internal.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

bool bf_http_is_token(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
            return false;
        }
    }
    return len > 0;
}

bool bf_http_is_field_value(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool is_length(const char *s) {
    size_t digits = strspn(s, "0123456789");
    return digits > 0 && digits <= 18 && s[digits] == '\0';
}

/* The gap must be what CRLF leaves, two NULs; white space that was cut off a value lies before them. */
static bool crlf_between(const char *end, const char *next) {
    if (next < end + 2 || next > end + BF_HEAD_BYTES_MAX) {
        return false;
    }
    for (const char *p = end; p < next - 2; p++) {
        if (*p != ' ' && *p != '\t') {
            return false;
        }
    }
    return next[-1] == '\0' && next[-2] == '\0';
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len, const char *value,
                                 size_t value_len) {
    (void)kind;
    struct bf_http_head *c = cls;
    if (value == NULL) {
        value = key + key_len;
        value_len = 0;
    }
    if (!bf_http_is_token(key, key_len)) {
        c->fault = "a header's name is malformed";
    } else if (!bf_http_is_field_value(value, value_len)) {
        c->fault = "a header's value has control characters";
    } else if (!crlf_between(c->end, key)) {
        c->fault = "lines must end with CR LF and must not be folded";
    }
    c->end = value + value_len;
    if (strcasecmp(key, "Host") == 0) {
        c->hosts++;
    } else if (strcasecmp(key, "Content-Length") == 0) {
        c->lengths++;
        c->length = value;
        if (!is_length(value)) {
            c->fault = "Content-Length is not a number";
        }
    } else if (strcasecmp(key, "Transfer-Encoding") == 0) {
        c->encodings++;
        if (strcasecmp(value, "chunked") != 0) {
            c->fault = "the only Transfer-Encoding is chunked";
        }
    }
    return c->fault == NULL ? MHD_YES : MHD_NO;
}

const char *bf_http_head_fault(struct bf_http_request *req, const char *method, const char *version, struct bf_http_head *c) {
    bool v11 = strcmp(version, "HTTP/1.1") == 0;
    if (!v11 && strcmp(version, "HTTP/1.0") != 0) {
        return "only HTTP/1.1 and HTTP/1.0 are spoken here";
    }
    if (req->wire_uri != method + strlen(method) + 1 || version != req->wire_uri + req->wire_uri_len + 1) {
        return "the request line is malformed";
    }
    c->end = version + strlen(version);
    (void)MHD_get_connection_values_n(req->mhd, MHD_HEADER_KIND, on_header, c);
    if (c->fault != NULL) {
        return c->fault;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info == NULL || !crlf_between(c->end, method + info->header_size - 2)) {
        return "lines must end with CR LF and must not be folded";
    }
    if (c->hosts > 1 || (v11 && c->hosts == 0)) {
        return "a request has exactly one Host header";
    }
    if (c->lengths > 1) {
        return "more than one Content-Length";
    }
    if (c->encodings > 1 || (c->encodings > 0 && (c->lengths > 0 || !v11))) {
        return "Transfer-Encoding does not go with Content-Length, HTTP/1.0 or itself";
    }
    return NULL;
}
