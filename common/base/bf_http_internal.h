/* What the files of bf_http share; nobody else includes it. */
#ifndef BF_HTTP_INTERNAL_H
#define BF_HTTP_INTERNAL_H

#include "bf_compress.h"
#include "bf_http.h"
#include "bf_http_target.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

struct MHD_Connection;
struct MHD_Daemon;
struct MHD_Response;
struct bf_loops;
struct bf_pump;
struct bf_workers;

#define BF_ETAG_OPAQUE_MAX 64
#define PEER_BYTES 64
#define BF_ETAG_BYTES (BF_ETAG_OPAQUE_MAX + 16)

/* Where a connection is; each phase has its own deadline (bf_http_conn.c). */
enum conn_phase {
    CONN_PHASE_HEAD, /* new: the first request's head must be whole by the deadline */
    CONN_PHASE_IDLE, /* between requests; the first byte of the next one starts a head's deadline */
    CONN_PHASE_BODY, /* a body is coming in; each byte moves the deadline a little */
    CONN_PHASE_WORK, /* a handler or a stream's read() runs: no deadline, it has to look at bf_http_stopping() */
    CONN_PHASE_SEND  /* an answer goes out; the client must take it by the deadline */
};

struct bf_http_request { /* owned by the thread that handles it; its memory is used again by the connection's next request */
    struct bf_http *server;
    struct MHD_Connection *mhd;
    const struct bf_http_route *route; /* NULL: none matched */
    char *target;                      /* raw, BF_TARGET_BYTES_MAX + 2 bytes */
    char *space;                       /* decoded parts */
    const char *wire_uri;              /* where it lies in libmicrohttpd's buffer, to see what surrounds it */
    size_t wire_uri_len;
    struct bf_target parts;
    char method[32];
    struct bf_buf body;
    bool body_too_large;
    struct bf_buf headers; /* for the answer: name NUL value NUL … */
    char etag[BF_ETAG_OPAQUE_MAX + 1]; /* for the answer; empty: none */
    bool head_seen, must_close, replied;
    bool http_1_1;  /* not 1.0, which has no chunks */
    bool on_worker; /* a thread beside the event loops handles it: what is answered is queued by the loop */
    struct MHD_Response *response; /* such an answer */
    int64_t response_bytes;        /* 0: a stream */
    int queued; /* what libmicrohttpd said about the answer */
    int status; /* 0: none yet */
    int error_status; /* an error found in the head, answered once the request is complete */
    char error_detail[256];
    char error_param[128];
    int64_t began_us, body_bytes;
};

struct bf_conn {
    struct bf_http_request req;
    int fd;
    int wake_fd;                  /* its loop's; -1: there are none */
    atomic_int refs;              /* libmicrohttpd's, and that of the thread which handles its request */
    struct bf_conn *waiting_next; /* under the workers' lock */
    struct bf_pump *pump;         /* of the stream that answers; the reading thread's */
    char peer[PEER_BYTES];
    _Atomic int phase;
    _Atomic int64_t deadline_us; /* monotonic; INT64_MAX: none */
    _Atomic uint32_t turn;       /* counts changes of phase */
    /* the watchdog's own */
    uint32_t seen_turn;
    uint64_t seen_bytes;
    bool head_began;
    /* under bf_http.lock */
    struct bf_conn *next, **prev;
};

struct bf_http {
    struct bf_http_settings settings; /* immutable after start */
    char *host;
    char *tls_cert, *tls_key; /* what is in the files; NULL: plain */
    const struct bf_http_route *routes;
    void *ctx;
    int listen_fd, port;
    struct MHD_Daemon *daemon;  /* one thread per connection; NULL: there are loops */
    struct bf_loops *loops;
    struct bf_workers *workers; /* beside the loops */
    pthread_t watchdog;
    bool watchdog_runs;
    atomic_bool stopping, watchdog_over;
    pthread_mutex_t lock; /* the list of connections */
    struct bf_conn *conns;
    int conn_count;
};

/* bf_http_conn.c */
struct bf_conn *bf_conn_new(struct bf_http *h, int fd);
void bf_conn_closed(struct bf_http *h, struct bf_conn *conn);
void bf_conn_ref(struct bf_conn *conn);
void bf_conn_unref(struct bf_conn *conn);
/* Is there room for one more from there? */
bool bf_conn_room(struct bf_http *h, const struct sockaddr *addr, socklen_t len);
bool bf_conn_gone(const struct bf_conn *conn); /* has the client closed its side? */
void bf_conn_phase(struct bf_conn *conn, enum conn_phase phase, int64_t bytes);
struct bf_conn *bf_conn_of(struct bf_http_request *req);
void *bf_conn_watchdog(void *server);
void bf_conn_drain(struct bf_http *h);
BF_MUST_CHECK enum bf_code bf_http_listen(const char *host, int port, bool port_or_free, int *fd, int *bound_port,
                                          struct bf_err *err);

/* bf_http.c */
void bf_http_handle(struct bf_conn *conn); /* on a worker, to the end of the request */
void bf_conn_resume(struct bf_conn *conn); /* after MHD_suspend_connection(); from any thread */
/* NULL: see bf_http_not_started(). listen_fd is to be quiesced before the daemon is stopped, and stays the caller's; -1: it does not listen. */
struct MHD_Daemon *bf_http_daemon(struct bf_http *h, unsigned flags, int listen_fd);
enum bf_code bf_http_not_started(const struct bf_http *h, struct bf_err *err);

/* bf_http_loops.c */
BF_MUST_CHECK enum bf_code bf_loops_start(struct bf_http *h, struct bf_err *err);
void bf_loops_quiesce(struct bf_loops *l); /* no new connections */
void bf_loops_stop(struct bf_loops *l);    /* after that, when no connection is lent to a worker any more; closes the others and frees */
int bf_loops_own_wake_fd(void);            /* of the loop that calls; -1: it is none */
void bf_loops_closed(void);                /* by the loop: a connection of its own is */

/* bf_http_workers.c */
BF_MUST_CHECK enum bf_code bf_workers_new(struct bf_workers **out, struct bf_err *err);
void bf_workers_free(struct bf_workers *w); /* waits for all of them; NULL is fine */
/* Have the (suspended) connection's request handled by a thread that may wait. False: there is none. */
BF_MUST_CHECK bool bf_workers_take(struct bf_workers *w, struct bf_conn *conn);

/* bf_http_pump.c */
/* NULL: no memory. The response takes one side of it, the caller has the other and must run it. */
struct bf_pump *bf_pump_new(struct bf_conn *conn, struct bf_http_stream calls, struct MHD_Response **response);
void bf_pump_run(struct bf_pump *p); /* until the source ends or nobody wants more; frees */
bool bf_pump_gone(struct bf_pump *p);

/* bf_http_head.c */
#define BF_HEAD_BYTES_MAX ((size_t)32 * 1024)
struct bf_http_head {
    const char *end; /* where the part before this one ended in the buffer */
    size_t hosts, lengths, encodings;
    const char *length;
    const char *fault;
};
/* NULL when the head is sound; `head` (zeroed) then says what was in it. */
const char *bf_http_head_fault(struct bf_http_request *req, const char *method, const char *version, struct bf_http_head *head);
/* RFC 9110, 5.6.2 and 5.5 */
bool bf_http_is_token(const char *s, size_t len);
bool bf_http_is_field_value(const char *s, size_t len);

/* bf_http_tls.c */
BF_MUST_CHECK enum bf_code bf_http_tls_load(struct bf_http *h, struct bf_err *err);

/* bf_http_encode.c: both add Vary, Content-Encoding and ETag to the answer's headers. */
/* True: *out (the caller's to free) is the body to send instead. */
bool bf_http_encode_body(struct bf_http_request *req, const char *content_type, struct bf_slice body, struct bf_buf *out);
void bf_http_encode_stream(struct bf_http_request *req, const char *content_type, struct bf_http_stream *stream);
/* Of an Accept-Encoding header (may be NULL). */
enum bf_coding bf_http_accepted_coding(const char *accept_encoding);

/* bf_http_problem.c */
const char *bf_http_status_title(int status);
void bf_http_error(struct bf_http_request *req, int status, const char *detail, const char *param);

#endif
