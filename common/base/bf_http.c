/* libmicrohttpd. The life of a request: on_uri (the request line is read) → first call of on_request (the head is
 * read: checked, routed, but not answered, because an answer now would close the connection) → calls with pieces of the body → last
 * call: the handler answers → on_completed. With event loops the last call of a request that may wait suspends the connection; a worker handles it,
 * and resumes; then on_request is called once more and queues the worker's answer. Libmicrohttpd is only called by the loop, but for
 * MHD_resume_connection(). */
#include "bf_http_internal.h"

#include "bf_loop.h"
#include "bf_time.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define POOL_BYTES ((size_t)56 * 1024) /* per connection: head, and pieces of streams on their way out; cleared for each request, so not too large */
#define STACK_BYTES ((size_t)512 * 1024)

/* ---- taking a request in ---- */

static void set_error(struct bf_http_request *req, int status, const char *detail, const char *param) {
    req->error_status = status;
    snprintf(req->error_detail, sizeof req->error_detail, "%.*s", (int)sizeof req->error_detail - 1, detail);
    snprintf(req->error_param, sizeof req->error_param, "%.*s", (int)sizeof req->error_param - 1, param != NULL ? param : "");
}

static void find_route(struct bf_http_request *req) {
    struct bf_err err;
    char allow[128], detail[200];
    enum bf_code code = bf_target_parse(req->target, req->space, &req->parts, &err);
    if (code != BF_OK) {
        set_error(req, code == BF_NOMEM ? 414 : 400, err.msg, NULL);
        return;
    }
    req->route = bf_target_route(req->server->routes, req->method, &req->parts, allow, sizeof allow);
    if (req->route == NULL && allow[0] == '\0') {
        set_error(req, 404, "there is nothing at this path", NULL);
    } else if (req->route == NULL) {
        bf_http_add_header(req, "Allow", allow);
        set_error(req, 405, "this path does not answer that method", NULL);
    } else {
        const char *unknown = bf_target_unknown(&req->parts, req->route);
        if (unknown != NULL) {
            snprintf(detail, sizeof detail, "unknown query parameter \"%.100s\"", unknown);
            set_error(req, 400, detail, unknown);
        }
    }
}

static enum MHD_Result answer_error(struct bf_http_request *req) {
    char detail[sizeof req->error_detail], param[sizeof req->error_param];
    memcpy(detail, req->error_detail, sizeof detail);
    memcpy(param, req->error_param, sizeof param);
    bf_http_error(req, req->error_status, detail, param[0] != '\0' ? param : NULL);
    return req->queued;
}

static enum MHD_Result on_head(struct bf_http_request *req, const char *method, const char *version) {
    struct bf_http_head check = {0};
    req->head_seen = true;
    req->began_us = bf_time_monotonic_us();
    req->http_1_1 = strcmp(version, "HTTP/1.1") == 0;
    size_t method_len = strnlen(method, sizeof req->method - 1);
    memcpy(req->method, method, method_len);
    req->method[method_len] = '\0';
    const char *fault = method[method_len] == '\0' ? bf_http_head_fault(req, method, version, &check) : "unknown method";
    if (fault != NULL) {
        set_error(req, 400, fault, NULL);
        req->must_close = true;
        return answer_error(req);
    }
    if (req->wire_uri_len > BF_TARGET_BYTES_MAX) {
        set_error(req, 414, "the request target is longer than 8192 bytes", NULL);
        req->must_close = true;
        return answer_error(req);
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info == NULL || info->header_size > BF_HEAD_BYTES_MAX) {
        set_error(req, 431, "the request's head is longer than 32 KiB", NULL);
        req->must_close = true;
        return answer_error(req);
    }
    find_route(req);
    bool has_body = check.encodings > 0 || (check.length != NULL && strspn(check.length, "0") != strlen(check.length));
    size_t body_max = req->route != NULL ? req->route->body_max_bytes : 0;
    if (has_body && req->error_status == 0 &&
        (body_max == 0 || (check.length != NULL && strtoull(check.length, NULL, 10) > body_max))) {
        set_error(req, 413, body_max == 0 ? "this path takes no body" : "the body is too large", NULL);
    }
    if (has_body && req->error_status != 0) {
        req->must_close = true; /* whoever sends a body for nothing does not get us to read it */
        return answer_error(req);
    }
    bf_buf_fini(&req->body);
    bf_buf_init(&req->body, body_max);
    bf_conn_phase(bf_conn_of(req), has_body ? CONN_PHASE_BODY : CONN_PHASE_WORK, 0);
    return MHD_YES;
}

static enum MHD_Result on_body(struct bf_http_request *req, const char *data, size_t *len) {
    req->body_bytes += (int64_t)*len;
    bf_buf_append(&req->body, data, *len);
    *len = 0;
    bf_conn_phase(bf_conn_of(req), CONN_PHASE_BODY, req->body_bytes);
    if (req->body.failed) { /* only a chunked body gets here; read a little more so that the answer can be seen, then cut */
        return req->body_bytes > (int64_t)req->body.max * 2 + 1048576 ? MHD_NO : MHD_YES;
    }
    return MHD_YES;
}

/* libmicrohttpd wakes only threads of its own. */
void bf_conn_resume(struct bf_conn *conn) {
    MHD_resume_connection(conn->req.mhd);
    (void)eventfd_write(conn->wake_fd, 1);
}

static void handle(struct bf_http_request *req) {
    req->route->handler(req, req->server->ctx);
    if (!req->replied) {
        bf_http_error(req, 500, "the request was not answered", NULL);
    }
}

static void forget_answer(struct bf_http_request *req) {
    bf_buf_clear(&req->headers);
    req->etag[0] = '\0';
    req->replied = false;
    req->queued = MHD_NO;
    req->status = 0;
}

static bool is_quick(const struct bf_http_request *req) {
    bf_http_handler *const *quick = req->server->settings.quick;
    while (quick != NULL && *quick != NULL && *quick != req->route->handler) {
        quick++;
    }
    return quick != NULL && *quick != NULL;
}

/* False: it has to wait, and nothing was answered. */
static bool handle_on_loop(struct bf_http_request *req) {
    bf_loop_enter();
    handle(req);
    if (!bf_loop_leave() || req->queued == MHD_YES) {
        return true;
    }
    forget_answer(req);
    return false;
}

static enum MHD_Result suspend(struct bf_http_request *req) {
    struct bf_conn *conn = bf_conn_of(req);
    req->on_worker = true;
    MHD_suspend_connection(req->mhd);
    if (!bf_workers_take(req->server->workers, conn)) {
        bf_http_error(req, 503, "no thread for this request", NULL);
        bf_conn_resume(conn);
    }
    return MHD_YES;
}

void bf_http_handle(struct bf_conn *conn) {
    struct bf_http_request *req = &conn->req;
    handle(req);
    struct bf_pump *pump = conn->pump;
    bf_conn_resume(conn); /* from here on the request is the loop's */
    if (pump != NULL) {
        bf_pump_run(pump);
    }
}

/* What a worker has answered. */
static enum MHD_Result queue_answer(struct bf_http_request *req) {
    struct MHD_Response *response = req->response;
    req->response = NULL;
    if (response == NULL) {
        return MHD_NO;
    }
    enum MHD_Result queued = MHD_queue_response(req->mhd, (unsigned)req->status, response);
    MHD_destroy_response(response);
    bf_conn_phase(bf_conn_of(req), CONN_PHASE_SEND, req->response_bytes);
    return queued;
}

static enum MHD_Result on_complete_request(struct bf_http_request *req) {
    bf_conn_phase(bf_conn_of(req), CONN_PHASE_WORK, 0);
    if (req->error_status == 0 && req->body.failed) {
        set_error(req, 413, "the body is too large", NULL);
        req->must_close = true;
    }
    if (req->error_status != 0) {
        return answer_error(req);
    }
    if (req->server->workers == NULL) {
        handle(req);
        return req->queued;
    }
    if (is_quick(req) && handle_on_loop(req)) {
        return req->queued;
    }
    /* Who stops looks at phases after it has said so, and this one was set before: either it waits for this connection, or it is not lent to anybody. */
    if (atomic_load(&req->server->stopping)) {
        bf_http_error(req, 503, "this server is stopping", NULL);
        return req->queued;
    }
    return suspend(req);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
                                  const char *data, size_t *len, void **req_cls) {
    (void)cls;
    (void)url; /* cut at the question mark; the raw target is what counts */
    struct bf_http_request *req = *req_cls;
    if (req == NULL) {
        return MHD_NO;
    }
    req->mhd = mhd;
    if (!req->head_seen) {
        return on_head(req, method, version);
    }
    if (*len > 0) {
        return on_body(req, data, len);
    }
    if (req->on_worker) {
        return queue_answer(req);
    }
    return on_complete_request(req);
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mhd) {
    (void)cls;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct bf_conn *conn = info != NULL ? info->socket_context : NULL;
    if (conn == NULL) {
        return NULL;
    }
    struct bf_http_request *req = &conn->req;
    req->mhd = mhd;
    req->wire_uri = uri;
    req->wire_uri_len = strlen(uri);
    size_t keep = req->wire_uri_len <= BF_TARGET_BYTES_MAX ? req->wire_uri_len : BF_TARGET_BYTES_MAX;
    memcpy(req->target, uri, keep);
    req->target[keep] = '\0';
    req->route = NULL;
    req->parts.segment_count = req->parts.query_count = 0;
    bf_buf_clear(&req->headers);
    req->etag[0] = '\0';
    req->head_seen = req->must_close = req->replied = req->on_worker = false;
    conn->pump = NULL;
    req->queued = MHD_NO;
    req->status = req->error_status = 0;
    req->body_bytes = 0;
    return req;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **req_cls, enum MHD_RequestTerminationCode why) {
    (void)mhd;
    (void)why;
    struct bf_http *h = cls;
    struct bf_http_request *req = *req_cls;
    *req_cls = NULL;
    if (req != NULL && req->response != NULL) { /* the client has left before its answer was queued */
        MHD_destroy_response(req->response);
        req->response = NULL;
    }
    if (req == NULL || !req->head_seen) {
        return;
    }
    if (h->settings.observe != NULL && req->status != 0) {
        h->settings.observe(h->ctx, req->method, req->route != NULL ? req->route->pattern : "other", req->status,
                            (double)(bf_time_monotonic_us() - req->began_us) / 1e6);
    }
    bf_buf_fini(&req->body);
    bf_conn_phase(bf_conn_of(req), CONN_PHASE_IDLE, 0);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context, enum MHD_ConnectionNotificationCode what) {
    struct bf_http *h = cls;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_context = info != NULL ? bf_conn_new(h, info->connect_fd) : NULL;
    } else {
        bf_loops_closed();
        bf_conn_closed(h, *socket_context);
        *socket_context = NULL;
    }
}

/* Targets are decoded by us, part by part. */
static size_t leave_escaped(void *cls, struct MHD_Connection *mhd, char *s) {
    (void)cls;
    (void)mhd;
    return strlen(s);
}

/* ---- reading the request ---- */

const char *bf_http_method(const struct bf_http_request *req) {
    return req->method;
}

const char *bf_http_target(const struct bf_http_request *req) {
    return req->target;
}

const char *bf_http_path(const struct bf_http_request *req, const char *name) {
    return req->route == NULL ? NULL : bf_target_path(&req->parts, req->route->pattern, name);
}

const char *bf_http_query(const struct bf_http_request *req, const char *name) {
    for (size_t i = 0; i < req->parts.query_count; i++) {
        if (strcmp(req->parts.query[i].name, name) == 0) {
            return req->parts.query[i].value;
        }
    }
    return NULL;
}

size_t bf_http_query_count(const struct bf_http_request *req) {
    return req->parts.query_count;
}

void bf_http_query_at(const struct bf_http_request *req, size_t index, const char **name, const char **value) {
    bf_assert(index < req->parts.query_count);
    *name = req->parts.query[index].name;
    *value = req->parts.query[index].value;
}

const char *bf_http_header(const struct bf_http_request *req, const char *name) {
    return MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, name);
}

struct bf_slice bf_http_body(const struct bf_http_request *req) {
    return req->body.data == NULL ? BF_SLICE_NONE : (struct bf_slice){req->body.data, req->body.len};
}

struct bf_http *bf_http_server(const struct bf_http_request *req) {
    return req->server;
}

const struct bf_http_route *bf_http_route_of(const struct bf_http_request *req) {
    return req->route;
}

const char *bf_http_peer(const struct bf_http_request *req) {
    return ((const struct bf_conn *)(const void *)req)->peer;
}

/* ---- the server ---- */

static enum MHD_Result on_accept(void *cls, const struct sockaddr *addr, socklen_t len) {
    return bf_conn_room(cls, addr, len) ? MHD_YES : MHD_NO;
}

struct MHD_Daemon *bf_http_daemon(struct bf_http *h, unsigned flags, int listen_fd) {
    const struct bf_http_settings *s = &h->settings;
    const struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, h->tls_cert}, {MHD_OPTION_HTTPS_MEM_KEY, 0, h->tls_key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"}, {MHD_OPTION_END, 0, NULL}};
    const struct MHD_OptionItem listens[] = {{MHD_OPTION_LISTEN_SOCKET, listen_fd, NULL}, {MHD_OPTION_END, 0, NULL}};
    const struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
    flags |= h->tls_cert != NULL ? MHD_USE_TLS : 0;
    /* on_accept() limits; libmicrohttpd's own limit, which stops it from listening, is never reached */
    return MHD_start_daemon(
        flags, 0, on_accept, h, on_request, h, MHD_OPTION_ARRAY, listen_fd >= 0 ? listens : plain, MHD_OPTION_URI_LOG_CALLBACK, on_uri, h,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
        MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, h, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)(s->connections_max + s->loops + 1), MHD_OPTION_CONNECTION_TIMEOUT, 0U, MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES,
        MHD_OPTION_THREAD_STACK_SIZE, STACK_BYTES, MHD_OPTION_ARRAY, h->tls_cert != NULL ? tls : plain, MHD_OPTION_END);
}

static enum bf_code start_thread_per_connection(struct bf_http *h, struct bf_err *err) {
    h->daemon = bf_http_daemon(h, MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC | MHD_USE_POLL, h->listen_fd);
    return h->daemon != NULL ? BF_OK : bf_http_not_started(h, err);
}

enum bf_code bf_http_not_started(const struct bf_http *h, struct bf_err *err) {
    if (h->tls_cert != NULL) {
        return bf_fail(err, BF_INVALID, 0, "%s and %s are no certificate and its key", h->settings.tls_cert, h->settings.tls_key);
    }
    return bf_fail(err, BF_BROKEN, errno, "libmicrohttpd does not start: %s", strerror(errno));
}

static void set_defaults(struct bf_http_settings *s) {
    s->connections_max = s->connections_max != 0 ? s->connections_max : 1024;
    s->connections_per_address_max = s->connections_per_address_max != 0 ? s->connections_per_address_max : 1024;
    s->head_timeout_ms = s->head_timeout_ms != 0 ? s->head_timeout_ms : 10000;
    s->idle_timeout_ms = s->idle_timeout_ms != 0 ? s->idle_timeout_ms : 60000;
}

static void destroy(struct bf_http *h) {
    if (h->listen_fd >= 0) {
        close(h->listen_fd);
    }
    pthread_mutex_destroy(&h->lock);
    free(h->tls_cert);
    free(h->tls_key);
    free(h->host);
    free(h);
}

enum bf_code bf_http_start(const struct bf_http_settings *settings, const struct bf_http_route *routes, void *ctx,
                           struct bf_http **out, struct bf_err *err) {
    struct bf_http *h = calloc(1, sizeof *h);
    if (h == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory for the HTTP server");
    }
    h->settings = *settings;
    set_defaults(&h->settings);
    h->routes = routes;
    h->ctx = ctx;
    h->listen_fd = -1;
    pthread_mutex_init(&h->lock, NULL);
    h->host = strdup(settings->host != NULL ? settings->host : "127.0.0.1");
    enum bf_code code = h->host == NULL ? bf_fail(err, BF_NOMEM, 0, "out of memory for the HTTP server")
                                        : bf_http_listen(h->host, settings->port, settings->port_or_free, &h->listen_fd,
                                                         &h->port, err);
    if (code == BF_OK) {
        code = bf_http_tls_load(h, err);
    }
    if (code == BF_OK) {
        code = h->settings.loops > 0 && h->tls_cert == NULL ? bf_loops_start(h, err) : start_thread_per_connection(h, err);
    }
    if (code != BF_OK) {
        destroy(h);
        return code;
    }
    int rc = pthread_create(&h->watchdog, NULL, bf_conn_watchdog, h);
    if (rc != 0) {
        code = bf_fail(err, BF_BROKEN, rc, "no thread for the HTTP server: %s", strerror(rc));
        bf_http_stop(h);
        return code;
    }
    h->watchdog_runs = true;
    *out = h;
    return BF_OK;
}

int bf_http_port(const struct bf_http *h) {
    return h->port;
}

bool bf_http_stopping(const struct bf_http *h) {
    return atomic_load_explicit(&h->stopping, memory_order_relaxed);
}

void bf_http_stop(struct bf_http *h) {
    if (h == NULL) {
        return;
    }
    atomic_store(&h->stopping, true);
    if (h->daemon != NULL) {
        (void)MHD_quiesce_daemon(h->daemon); /* the socket stays ours: closed by destroy() */
    } else {
        bf_loops_quiesce(h->loops);
    }
    bf_conn_drain(h);
    if (h->daemon != NULL) {
        MHD_stop_daemon(h->daemon);
    } else {
        bf_loops_stop(h->loops);
    }
    if (h->watchdog_runs) {
        atomic_store(&h->watchdog_over, true);
        pthread_join(h->watchdog, NULL);
    }
    destroy(h);
}
