/* A stream beside the event loops. The loop sends the head of the answer and suspends the connection where the body would begin; from there until the end
 * the socket is this thread's, which reads from the source, which may wait, and sends by itself, in the chunks of RFC 9112 §7.1. Then it resumes, and
 * libmicrohttpd, which knows of no byte of it, ends the body: the last chunk, the trailers. So a stream costs no copy and no task switch. */
#include "bf_http_internal.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)48 * 1024) /* with 64 a chunk no longer fits into one segment of the loopback: a tenth slower */
#define CHUNK_HEAD_BYTES 10 /* a size in hexadecimal, CR LF */
#define CHUNK_TAIL_BYTES 2
#define TRAILERS_BYTES_MAX ((size_t)64 * 1024)

struct bf_pump {
    struct bf_http_stream calls; /* the reading thread's */
    struct bf_conn *conn;
    struct MHD_Connection *mhd;
    struct MHD_Response *response; /* libmicrohttpd's; it outlives its side of the pump */
    bool chunked;
    char *block; /* room for a chunk's head, BLOCK_BYTES, its tail */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    bool ours;          /* the socket: the connection is suspended */
    bool ended, failed; /* the source */
    bool closed;        /* libmicrohttpd has let go of the response */
    int sides;
    struct bf_buf trailers; /* name NUL value NUL …; complete when ended */
};

static void drop_side(struct bf_pump *p) {
    pthread_mutex_lock(&p->lock);
    bool last = --p->sides == 0;
    pthread_mutex_unlock(&p->lock);
    if (last) {
        pthread_mutex_destroy(&p->lock);
        pthread_cond_destroy(&p->changed);
        bf_buf_fini(&p->trailers);
        free(p->block);
        free(p);
    }
}

/* ---- the event loop's side ---- */

static ssize_t put_end(const struct bf_pump *p) {
    const char *at = p->trailers.data, *end = at + p->trailers.len;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        (void)MHD_add_response_footer(p->response, at, value);
        at = value + strlen(value) + 1;
    }
    bf_conn_phase(p->conn, CONN_PHASE_SEND, 0);
    return p->failed ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
}

/* libmicrohttpd asks for the body: its head is sent. */
static ssize_t lend_or_end(void *cls, uint64_t pos, char *dst, size_t max) {
    (void)pos;
    (void)dst;
    (void)max;
    struct bf_pump *p = cls;
    ssize_t n = 0;
    pthread_mutex_lock(&p->lock);
    if (p->ended) {
        n = put_end(p);
    } else {
        bf_conn_phase(p->conn, CONN_PHASE_WORK, 0);
        p->ours = true;
        MHD_suspend_connection(p->mhd);
        pthread_cond_signal(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

static void let_go(void *cls) {
    struct bf_pump *p = cls;
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    drop_side(p);
}

/* ---- the reading thread's side ---- */

struct bf_pump *bf_pump_new(struct bf_conn *conn, struct bf_http_stream calls, struct MHD_Response **response) {
    struct bf_pump *p = calloc(1, sizeof *p);
    char *block = malloc(CHUNK_HEAD_BYTES + BLOCK_BYTES + CHUNK_TAIL_BYTES);
    if (p == NULL || block == NULL) {
        free(p);
        free(block);
        return NULL;
    }
    *p = (struct bf_pump){.calls = calls, .conn = conn, .mhd = conn->req.mhd, .chunked = conn->req.http_1_1, .block = block, .sides = 2};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    bf_buf_init(&p->trailers, TRAILERS_BYTES_MAX);
    p->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1024, lend_or_end, p, let_go);
    if (p->response == NULL) {
        p->sides = 1;
        drop_side(p);
        return NULL;
    }
    *response = p->response;
    return p;
}

static void put_trailer(void *to, const char *name, const char *value) {
    struct bf_pump *p = to;
    if (bf_http_is_token(name, strlen(name)) && bf_http_is_field_value(value, strlen(value))) {
        bf_buf_append(&p->trailers, name, strlen(name) + 1);
        bf_buf_append(&p->trailers, value, strlen(value) + 1);
    }
}

/* False: the client has left before the body began. */
static bool await_socket(struct bf_pump *p) {
    pthread_mutex_lock(&p->lock);
    while (!p->ours && !p->closed) {
        pthread_cond_wait(&p->changed, &p->lock);
    }
    bool ours = p->ours;
    pthread_mutex_unlock(&p->lock);
    return ours;
}

/* False: the client has left, or the watchdog has cut it because it did not take its answer. */
static bool send_all(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            (void)poll(&p, 1, -1);
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

static bool send_block(struct bf_pump *p, size_t len) {
    char *data = p->block + CHUNK_HEAD_BYTES, head[CHUNK_HEAD_BYTES + 1];
    if (!await_socket(p)) {
        return false;
    }
    bf_conn_phase(p->conn, CONN_PHASE_SEND, (int64_t)len);
    if (p->chunked) {
        size_t head_len = (size_t)snprintf(head, sizeof head, "%zx\r\n", len);
        memcpy(data + len, "\r\n", CHUNK_TAIL_BYTES);
        data -= head_len;
        memcpy(data, head, head_len);
        len += head_len + CHUNK_TAIL_BYTES;
    }
    bool sent = send_all(p->conn->fd, data, len);
    bf_conn_phase(p->conn, CONN_PHASE_WORK, 0);
    return sent;
}

void bf_pump_run(struct bf_pump *p) {
    ssize_t n = -1;
    bool sent = true;
    while (sent && (n = p->calls.read(p->calls.ctx, p->block + CHUNK_HEAD_BYTES, BLOCK_BYTES)) > 0) {
        bf_assert(n <= (ssize_t)BLOCK_BYTES);
        sent = send_block(p, (size_t)n);
    }
    if (n == 0 && p->calls.trailers != NULL) {
        p->calls.trailers(p->calls.ctx, put_trailer, p);
    }
    if (p->calls.close != NULL) {
        p->calls.close(p->calls.ctx); /* before the end is known: after it the connection's next request begins */
    }
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    p->failed = n != 0 || !sent || p->trailers.failed;
    if (p->ours) {
        p->ours = false;
        bf_conn_resume(p->conn);
    }
    pthread_mutex_unlock(&p->lock);
    drop_side(p);
}

bool bf_pump_gone(struct bf_pump *p) {
    pthread_mutex_lock(&p->lock);
    bool gone = p->closed || (p->ours && bf_conn_gone(p->conn)); /* else libmicrohttpd looks after it, and may close the descriptor */
    pthread_mutex_unlock(&p->lock);
    return gone;
}
