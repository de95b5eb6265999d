/* Connections and their deadlines. libmicrohttpd's own timeout restarts with every byte and also counts the time a handler takes, so it is
 * off and a watchdog looks at each connection four times a second: one that has used up its phase's time is shut down, which wakes
 * whoever waits for it. The descriptor cannot be another's by then: a connection leaves the list before it is closed. */
#include "bf_http_internal.h"

#include "bf_time.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 250
#define DRAIN_TICK_MS 5
#define DRAIN_SEND_MS 3000            /* how long a client may take for the rest of its answer when we stop */
#define US_PER_BYTE 61                /* 16 KiB a second is the least that a body may crawl */

static void name_address(const struct sockaddr *addr, socklen_t len, char name[PEER_BYTES]) {
    if (len == 0 || getnameinfo(addr, len, name, PEER_BYTES, NULL, 0, NI_NUMERICHOST) != 0) {
        snprintf(name, PEER_BYTES, "unknown");
    }
}

static void name_peer(struct bf_conn *conn) {
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    bool known = getpeername(conn->fd, (struct sockaddr *)&addr, &len) == 0;
    name_address((struct sockaddr *)&addr, known ? len : 0, conn->peer);
}

bool bf_conn_room(struct bf_http *h, const struct sockaddr *addr, socklen_t len) {
    char name[PEER_BYTES];
    int alike = 0;
    bool counted = h->settings.connections_per_address_max < h->settings.connections_max;
    if (counted) {
        name_address(addr, len, name);
    }
    pthread_mutex_lock(&h->lock);
    for (const struct bf_conn *conn = counted ? h->conns : NULL; conn != NULL; conn = conn->next) {
        alike += strcmp(conn->peer, name) == 0;
    }
    bool room = h->conn_count < h->settings.connections_max && (!counted || alike < h->settings.connections_per_address_max);
    pthread_mutex_unlock(&h->lock);
    return room;
}

struct bf_conn *bf_conn_new(struct bf_http *h, int fd) {
    struct bf_conn *conn = calloc(1, sizeof *conn);
    char *text = malloc(2 * (BF_TARGET_BYTES_MAX + 4));
    if (conn == NULL || text == NULL) {
        free(conn);
        free(text);
        return NULL;
    }
    conn->fd = fd;
    conn->wake_fd = bf_loops_own_wake_fd();
    atomic_init(&conn->refs, 1);
    conn->req.server = h;
    conn->req.target = text;
    conn->req.space = text + BF_TARGET_BYTES_MAX + 4;
    bf_buf_init(&conn->req.headers, 65536);
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    name_peer(conn);
    bf_conn_phase(conn, CONN_PHASE_HEAD, 0);
    pthread_mutex_lock(&h->lock);
    conn->next = h->conns;
    conn->prev = &h->conns;
    if (conn->next != NULL) {
        conn->next->prev = &conn->next;
    }
    h->conns = conn;
    h->conn_count++;
    pthread_mutex_unlock(&h->lock);
    return conn;
}

void bf_conn_ref(struct bf_conn *conn) {
    atomic_fetch_add(&conn->refs, 1);
}

void bf_conn_unref(struct bf_conn *conn) {
    if (atomic_fetch_sub(&conn->refs, 1) > 1) {
        return;
    }
    bf_buf_fini(&conn->req.body);
    bf_buf_fini(&conn->req.headers);
    free(conn->req.target);
    free(conn);
}

void bf_conn_closed(struct bf_http *h, struct bf_conn *conn) {
    if (conn == NULL) {
        return;
    }
    pthread_mutex_lock(&h->lock);
    *conn->prev = conn->next;
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    h->conn_count--;
    pthread_mutex_unlock(&h->lock);
    bf_conn_unref(conn);
}

bool bf_conn_gone(const struct bf_conn *conn) {
    struct pollfd p = {.fd = conn->fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

struct bf_conn *bf_conn_of(struct bf_http_request *req) {
    return (struct bf_conn *)(void *)((char *)req - offsetof(struct bf_conn, req));
}

/* `bytes`: how large the answer is (SEND) or how much of the body came by now (BODY). */
void bf_conn_phase(struct bf_conn *conn, enum conn_phase phase, int64_t bytes) {
    const struct bf_http_settings *s = &conn->req.server->settings;
    int64_t deadline = INT64_MAX;
    if (phase == CONN_PHASE_HEAD) {
        deadline = bf_time_monotonic_us() + s->head_timeout_ms * 1000;
    } else if (phase == CONN_PHASE_BODY) {
        deadline = conn->req.began_us + s->idle_timeout_ms * 1000 + bytes * US_PER_BYTE;
    } else if (phase != CONN_PHASE_WORK) {
        deadline = bf_time_monotonic_us() + s->idle_timeout_ms * 1000 + bytes * US_PER_BYTE;
    }
    atomic_store_explicit(&conn->deadline_us, deadline, memory_order_relaxed);
    if (atomic_exchange(&conn->phase, (int)phase) != (int)phase) { /* in one order with bf_http.stopping, see on_complete_request() */
        atomic_fetch_add_explicit(&conn->turn, 1, memory_order_relaxed);
    }
}

static uint64_t bytes_received(int fd) {
    struct tcp_info info;
    socklen_t len = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0) {
        return 0;
    }
    return info.tcpi_bytes_received;
}

/* Between requests the head's time begins when the kernel has counted the first bytes of the next one. */
static void watch_idle(struct bf_conn *conn, int64_t now, int64_t head_timeout_us) {
    uint32_t turn = atomic_load(&conn->turn);
    uint64_t bytes = bytes_received(conn->fd);
    if (turn != conn->seen_turn) {
        conn->seen_turn = turn;
        conn->seen_bytes = bytes;
        conn->head_began = false;
    } else if (!conn->head_began && bytes > conn->seen_bytes) {
        conn->head_began = true;
        int64_t old = atomic_load(&conn->deadline_us);
        if (now + head_timeout_us < old) {
            atomic_compare_exchange_strong(&conn->deadline_us, &old, now + head_timeout_us);
        }
    }
}

void *bf_conn_watchdog(void *server) {
    struct bf_http *h = server;
    while (!atomic_load(&h->watchdog_over)) {
        nanosleep(&(struct timespec){.tv_nsec = TICK_MS * 1000000L}, NULL);
        pthread_mutex_lock(&h->lock);
        int64_t now = bf_time_monotonic_us();
        for (struct bf_conn *conn = h->conns; conn != NULL; conn = conn->next) {
            if (atomic_load(&conn->phase) == CONN_PHASE_IDLE) {
                watch_idle(conn, now, h->settings.head_timeout_ms * 1000);
            }
            if (now > atomic_load(&conn->deadline_us)) {
                shutdown(conn->fd, SHUT_RDWR);
            }
        }
        pthread_mutex_unlock(&h->lock);
    }
    return NULL;
}

/* One look when stopping: who waits for a request is closed, who works is left to end. Returns how many still work. */
static size_t drain_once(struct bf_http *h, bool patience_over) {
    size_t busy = 0;
    pthread_mutex_lock(&h->lock);
    for (struct bf_conn *conn = h->conns; conn != NULL; conn = conn->next) {
        int phase = atomic_load(&conn->phase);
        if (phase == CONN_PHASE_HEAD || phase == CONN_PHASE_IDLE) {
            shutdown(conn->fd, SHUT_RD);
        } else {
            busy++; /* until it is closed: a stream's thread has to give the connection back first */
            if (phase != CONN_PHASE_WORK && patience_over) {
                shutdown(conn->fd, SHUT_RDWR);
            }
        }
    }
    pthread_mutex_unlock(&h->lock);
    return busy;
}

void bf_conn_drain(struct bf_http *h) {
    int64_t patience_us = bf_time_monotonic_us() + DRAIN_SEND_MS * 1000;
    while (drain_once(h, bf_time_monotonic_us() > patience_us) > 0) {
        nanosleep(&(struct timespec){.tv_nsec = DRAIN_TICK_MS * 1000000L}, NULL);
    }
}

static int bind_one(const struct addrinfo *ai) {
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol), one = 1;
    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, 511) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static int port_of(int fd) {
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0) {
        return 0;
    }
    uint16_t port = addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port : ((struct sockaddr_in *)&addr)->sin_port;
    return ntohs(port);
}

enum bf_code bf_http_listen(const char *host, int port, bool port_or_free, int *fd, int *bound_port, struct bf_err *err) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0) {
        return bf_fail(err, BF_INVALID, rc, "cannot listen on \"%s\": %s", host, gai_strerror(rc));
    }
    int sock = -1;
    for (const struct addrinfo *ai = list; ai != NULL && sock < 0; ai = ai->ai_next) {
        sock = bind_one(ai);
    }
    int saved = errno;
    freeaddrinfo(list);
    if (sock < 0 && port_or_free && port != 0 && (saved == EADDRINUSE || saved == EACCES)) {
        return bf_http_listen(host, 0, false, fd, bound_port, err);
    }
    if (sock < 0) {
        return bf_fail(err, saved == EADDRINUSE ? BF_AGAIN : BF_INVALID, saved, "cannot listen on %s port %d: %s", host, port,
                       strerror(saved));
    }
    *fd = sock;
    *bound_port = port_of(sock);
    return BF_OK;
}
