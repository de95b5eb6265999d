/* libcurl's easy interface: one handle, so one connection kept alive per peer. Signals are off because threads use it. */
#include "bf_http_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define ANSWER_HEADERS_BYTES_MAX 65536

struct bf_http_client {
    CURL *curl;
    struct curl_slist *headers; /* of every call */
    struct bf_buf answer_headers; /* name NUL value NUL … */
    int64_t timeout_ms;
    char *ca; /* NULL: the system's */
    char error[CURL_ERROR_SIZE];
};

struct receive { /* one call */
    CURL *curl;
    struct bf_buf *answer;
    bool (*sink)(void *ctx, const char *data, size_t len);
    void *ctx;
    bool cancelled;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void init_curl(void) {
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

enum bf_code bf_http_client_new(int64_t timeout_ms, struct bf_http_client **out, struct bf_err *err) {
    pthread_once(&curl_once, init_curl);
    struct bf_http_client *c = calloc(1, sizeof *c);
    if (c == NULL || curl_ready != CURLE_OK || (c->curl = curl_easy_init()) == NULL) {
        free(c);
        return bf_fail(err, BF_NOMEM, 0, "no HTTP client: out of memory or libcurl does not start");
    }
    c->timeout_ms = timeout_ms;
    bf_buf_init(&c->answer_headers, ANSWER_HEADERS_BYTES_MAX);
    *out = c;
    return BF_OK;
}

void bf_http_client_free(struct bf_http_client *c) {
    if (c == NULL) {
        return;
    }
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    bf_buf_fini(&c->answer_headers);
    free(c->ca);
    free(c);
}

enum bf_code bf_http_client_ca(struct bf_http_client *c, const char *path, struct bf_err *err) {
    if (access(path, R_OK) != 0) {
        return bf_fail(err, BF_INVALID, errno, "%s: %s", path, strerror(errno));
    }
    free(c->ca);
    c->ca = strdup(path);
    return c->ca != NULL ? BF_OK : bf_fail(err, BF_NOMEM, 0, "out of memory for an HTTP client");
}

enum bf_code bf_http_client_header(struct bf_http_client *c, const char *line, struct bf_err *err) {
    if (strchr(line, ':') == NULL || strpbrk(line, "\r\n") != NULL) {
        return bf_fail(err, BF_INVALID, 0, "not a header line");
    }
    struct curl_slist *list = curl_slist_append(c->headers, line);
    if (list == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory for a header");
    }
    c->headers = list;
    return BF_OK;
}

static size_t on_data(char *data, size_t size, size_t count, void *cls) {
    struct receive *r = cls;
    size_t len = size * count;
    long status = 0;
    curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
    if (r->sink != NULL && status == 200) {
        if (!r->sink(r->ctx, data, len)) {
            r->cancelled = true;
            return CURL_WRITEFUNC_ERROR;
        }
        return len;
    }
    bf_buf_append(r->answer, data, len);
    return r->answer->failed ? CURL_WRITEFUNC_ERROR : len;
}

static size_t on_header_line(char *data, size_t size, size_t count, void *cls) {
    struct bf_buf *out = cls;
    size_t len = size * count;
    if (len > 5 && strncmp(data, "HTTP/", 5) == 0) {
        bf_buf_clear(out); /* of the last answer only, when there were several (100 Continue) */
        return len;
    }
    const char *colon = memchr(data, ':', len);
    if (colon == NULL) {
        return len;
    }
    const char *value = colon + 1, *end = data + len;
    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    while (end > value && strchr(" \t\r\n", end[-1]) != NULL) {
        end--;
    }
    if (memchr(data, '\0', len) == NULL) {
        bf_buf_append(out, data, (size_t)(colon - data));
        bf_buf_putc(out, '\0');
        bf_buf_append(out, value, (size_t)(end - value));
        bf_buf_putc(out, '\0');
    }
    return len;
}

const char *bf_http_client_answer_header(const struct bf_http_client *c, const char *name) {
    if (c->answer_headers.failed) {
        return NULL;
    }
    const char *p = c->answer_headers.data, *end = p + c->answer_headers.len;
    while (p < end) {
        const char *value = p + strlen(p) + 1;
        if (strcasecmp(p, name) == 0) {
            return value;
        }
        p = value + strlen(value) + 1;
    }
    return NULL;
}

static void set_common(struct bf_http_client *c, const char *url, struct receive *r) {
    CURL *curl = c->curl;
    curl_easy_reset(curl); /* keeps the connections */
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    if (c->ca != NULL) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)c->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header_line);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &c->answer_headers);
    bf_buf_clear(&c->answer_headers);
    c->error[0] = '\0';
    r->curl = curl;
}

static enum bf_code code_of(CURLcode rc) {
    switch (rc) {
    case CURLE_OK: return BF_OK;
    case CURLE_OUT_OF_MEMORY: return BF_NOMEM;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL: return BF_INVALID;
    default: return BF_AGAIN;
    }
}

/* Do the call that was set up; `headers` was made for it alone. */
static enum bf_code perform(struct bf_http_client *c, const char *url, struct receive *r, int *status, struct bf_err *err) {
    CURLcode rc = curl_easy_perform(c->curl);
    if (r->cancelled) {
        return bf_fail(err, BF_CANCELLED, 0, "the reader had enough");
    }
    if (r->answer->failed) {
        return bf_fail(err, BF_NOMEM, 0, "%s: the answer is larger than %zu bytes", url, r->answer->max);
    }
    if (rc != CURLE_OK) {
        return bf_fail(err, code_of(rc), (int)rc, "%s: %s", url, c->error[0] != '\0' ? c->error : curl_easy_strerror(rc));
    }
    long http = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &http);
    *status = (int)http;
    return BF_OK;
}

/* The headers of one call: those of every call, then its own. The caller frees *out. */
static enum bf_code call_headers(const struct bf_http_client *c, const char *content_type, struct curl_slist **out,
                                 struct bf_err *err) {
    char line[256] = "Content-Type:";
    struct curl_slist *list = NULL;
    for (const struct curl_slist *h = c->headers; h != NULL; h = h->next) {
        struct curl_slist *more = curl_slist_append(list, h->data);
        if (more == NULL) {
            goto nomem;
        }
        list = more;
    }
    if (content_type != NULL) {
        snprintf(line, sizeof line, "Content-Type: %s", content_type);
    }
    static const char no_expect[] = "Expect:"; /* no waiting for 100 Continue */
    for (int i = 0; i < 2; i++) {
        struct curl_slist *more = curl_slist_append(list, i == 0 ? line : no_expect);
        if (more == NULL) {
            goto nomem;
        }
        list = more;
    }
    *out = list;
    return BF_OK;
nomem:
    curl_slist_free_all(list);
    return bf_fail(err, BF_NOMEM, 0, "out of memory for headers");
}

enum bf_code bf_http_call(struct bf_http_client *c, const char *method, const char *url, const char *content_type,
                          struct bf_slice body, int *status, struct bf_buf *answer, struct bf_err *err) {
    struct curl_slist *headers = NULL;
    struct receive r = {.answer = answer};
    enum bf_code code = call_headers(c, content_type, &headers, err);
    if (code != BF_OK) {
        return code;
    }
    bf_buf_clear(answer);
    set_common(c, url, &r);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(c->curl, CURLOPT_NOBODY, 1L);
    } else if (body.data != NULL || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body.data != NULL ? body.data : "");
    }
    if (strcmp(method, "HEAD") != 0) {
        curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    }
    code = perform(c, url, &r, status, err);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return code;
}

enum bf_code bf_http_get_stream(struct bf_http_client *c, const char *url, int *status, struct bf_buf *answer,
                                bool (*sink)(void *ctx, const char *data, size_t len), void *ctx, struct bf_err *err) {
    struct receive r = {.answer = answer, .sink = sink, .ctx = ctx};
    bf_buf_clear(answer);
    set_common(c, url, &r);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, (long)((c->timeout_ms + 999) / 1000));
    return perform(c, url, &r, status, err);
}

void bf_url_encode(struct bf_buf *out, const char *text) {
    static const char digits[] = "0123456789ABCDEF";
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' ||
                     c == '_' || c == '~';
        if (plain) {
            bf_buf_putc(out, (char)c);
        } else {
            char esc[3] = {'%', digits[c >> 4], digits[c & 15]};
            bf_buf_append(out, esc, 3);
        }
    }
}
