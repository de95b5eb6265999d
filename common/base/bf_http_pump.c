/* A stream between two threads: the one that handled the request reads from the stream's source, which may wait, into two blocks in turn; the event loop
 * sends them. When there is nothing to send the connection is suspended, which only the reading thread ends, so that a suspended connection's
 * descriptor stays its own. Who of the two comes last frees. */
#include "bf_http_internal.h"

#include <microhttpd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)32 * 1024)
#define TRAILERS_BYTES_MAX ((size_t)64 * 1024)

struct block {
    char *data;
    size_t len, at;
};

struct bf_pump {
    struct bf_http_stream calls; /* the reading thread's */
    struct bf_conn *conn;
    struct MHD_Connection *mhd;
    struct MHD_Response *response; /* libmicrohttpd's; it outlives its side of the pump */
    pthread_mutex_t lock;
    pthread_cond_t taken;
    /* under lock; a block's bytes belong to the reader until it is filled, then to the sender until it is empty */
    struct block blocks[2];
    unsigned fill, send, filled;
    bool suspended;
    bool ended, failed; /* the source */
    bool closed;        /* libmicrohttpd has let go of it */
    int sides;
    struct bf_buf trailers; /* name NUL value NUL …; complete when ended */
};

static void drop_side(struct bf_pump *p) {
    pthread_mutex_lock(&p->lock);
    bool last = --p->sides == 0;
    pthread_mutex_unlock(&p->lock);
    if (last) {
        pthread_mutex_destroy(&p->lock);
        pthread_cond_destroy(&p->taken);
        free(p->blocks[0].data);
        bf_buf_fini(&p->trailers);
        free(p);
    }
}

/* ---- the event loop's side ---- */

static ssize_t put_trailers(const struct bf_pump *p) {
    const char *at = p->trailers.data, *end = at + p->trailers.len;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        (void)MHD_add_response_footer(p->response, at, value);
        at = value + strlen(value) + 1;
    }
    return p->failed ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
}

/* Under lock. */
static size_t take_bytes(struct bf_pump *p, char *dst, size_t max) {
    struct block *b = &p->blocks[p->send];
    size_t n = b->len - b->at < max ? b->len - b->at : max;
    memcpy(dst, b->data + b->at, n);
    b->at += n;
    if (b->at == b->len) {
        p->send ^= 1;
        p->filled--;
        pthread_cond_signal(&p->taken);
    }
    return n;
}

static ssize_t send_more(void *cls, uint64_t pos, char *dst, size_t max) {
    (void)pos;
    struct bf_pump *p = cls;
    ssize_t n = 0;
    pthread_mutex_lock(&p->lock);
    if (p->filled > 0) {
        n = (ssize_t)take_bytes(p, dst, max);
        bf_conn_phase(p->conn, CONN_PHASE_SEND, n);
    } else if (p->ended) {
        n = put_trailers(p);
        bf_conn_phase(p->conn, CONN_PHASE_SEND, 0);
    } else {
        bf_conn_phase(p->conn, CONN_PHASE_WORK, 0);
        p->suspended = true;
        MHD_suspend_connection(p->mhd);
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

static void let_go(void *cls) {
    struct bf_pump *p = cls;
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    pthread_cond_signal(&p->taken);
    pthread_mutex_unlock(&p->lock);
    drop_side(p);
}

/* ---- the reading thread's side ---- */

struct bf_pump *bf_pump_new(struct bf_conn *conn, struct bf_http_stream calls, struct MHD_Response **response) {
    struct bf_pump *p = calloc(1, sizeof *p);
    char *blocks = malloc(2 * BLOCK_BYTES);
    if (p == NULL || blocks == NULL) {
        free(p);
        free(blocks);
        return NULL;
    }
    *p = (struct bf_pump){.calls = calls, .conn = conn, .mhd = conn->req.mhd, .blocks = {{.data = blocks}, {.data = blocks + BLOCK_BYTES}}, .sides = 2};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->taken, NULL);
    bf_buf_init(&p->trailers, TRAILERS_BYTES_MAX);
    p->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 2 * BLOCK_BYTES, send_more, p, let_go);
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

/* Under lock: there is something to send. */
static void wake_sender(struct bf_pump *p) {
    if (p->suspended) {
        p->suspended = false;
        bf_conn_phase(p->conn, CONN_PHASE_SEND, (int64_t)BLOCK_BYTES);
        bf_conn_resume(p->conn);
    }
}

/* NULL: nobody wants more. */
static struct block *await_room(struct bf_pump *p) {
    pthread_mutex_lock(&p->lock);
    while (p->filled == 2 && !p->closed) {
        pthread_cond_wait(&p->taken, &p->lock);
    }
    struct block *b = p->closed ? NULL : &p->blocks[p->fill];
    pthread_mutex_unlock(&p->lock);
    return b;
}

static void hand_over(struct bf_pump *p, struct block *b, size_t len) {
    pthread_mutex_lock(&p->lock);
    b->len = len;
    b->at = 0;
    p->fill ^= 1;
    p->filled++;
    wake_sender(p);
    pthread_mutex_unlock(&p->lock);
}

void bf_pump_run(struct bf_pump *p) {
    struct block *b;
    ssize_t n = -1;
    while ((b = await_room(p)) != NULL && (n = p->calls.read(p->calls.ctx, b->data, BLOCK_BYTES)) > 0) {
        bf_assert(n <= (ssize_t)BLOCK_BYTES);
        hand_over(p, b, (size_t)n);
    }
    if (b != NULL && n == 0 && p->calls.trailers != NULL) {
        p->calls.trailers(p->calls.ctx, put_trailer, p);
    }
    if (p->calls.close != NULL) {
        p->calls.close(p->calls.ctx); /* before the end is known: after it the connection's next request begins */
    }
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    p->failed = n < 0 || p->trailers.failed;
    wake_sender(p);
    pthread_mutex_unlock(&p->lock);
    drop_side(p);
}

bool bf_pump_gone(struct bf_pump *p) {
    pthread_mutex_lock(&p->lock);
    bool gone = p->closed || (p->suspended && bf_conn_gone(p->conn)); /* else libmicrohttpd looks after it, and may close the descriptor */
    pthread_mutex_unlock(&p->lock);
    return gone;
}
