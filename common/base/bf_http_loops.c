/* Event loops: threads that each run a libmicrohttpd of their own. The first one accepts connections, for whichever loop has the fewest.
 *
 * The threads are ours because libmicrohttpd 0.9.75's own wait once too often: when exactly 128 events came (all there is room for), they wait for more
 * before they look at them, and when all clients wait for answers nothing more comes. Here poll() waits, and MHD_run() never does. */
#include "bf_http_internal.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ACCEPT_AT_A_TIME 64
#define REST_MS 100 /* without descriptors or memory for a connection */

enum order { GO_ON, QUIESCE, STOP };

struct newcomer {
    struct newcomer *next;
    int fd;
    struct sockaddr_storage addr;
    socklen_t len;
};

struct loop {
    struct bf_loops *all;
    struct MHD_Daemon *daemon;
    pthread_t thread;
    bool runs;
    int wake_fd; /* readable: a connection was resumed, there are newcomers, or an order */
    _Atomic int order; /* enum order */
    atomic_int connections;
    struct newcomer *newcomers; /* under all->lock */
};

struct bf_loops {
    struct bf_http *h;
    pthread_mutex_t lock;
    int count;
    struct loop loop[];
};

static _Thread_local struct loop *own;

int bf_loops_own_wake_fd(void) {
    return own != NULL ? own->wake_fd : -1;
}

void bf_loops_closed(void) {
    if (own != NULL) {
        atomic_fetch_sub(&own->connections, 1);
    }
}

/* ---- connections ---- */

/* Takes the socket. */
static void add(struct loop *l, const struct newcomer *n) {
    if (MHD_add_connection(l->daemon, n->fd, (const struct sockaddr *)&n->addr, n->len) == MHD_NO) { /* refused, and closed */
        atomic_fetch_sub(&l->connections, 1);
    }
}

static struct newcomer *take_newcomers(struct loop *l) {
    pthread_mutex_lock(&l->all->lock);
    struct newcomer *list = l->newcomers;
    l->newcomers = NULL;
    pthread_mutex_unlock(&l->all->lock);
    return list;
}

static void add_newcomers(struct loop *l) {
    for (struct newcomer *n = take_newcomers(l), *next; n != NULL; n = next) {
        next = n->next;
        add(l, n);
        free(n);
    }
}

static void send_to(struct loop *l, const struct newcomer *n) {
    struct newcomer *copy = malloc(sizeof *copy);
    if (copy == NULL) {
        close(n->fd);
        atomic_fetch_sub(&l->connections, 1);
        return;
    }
    *copy = *n;
    pthread_mutex_lock(&l->all->lock);
    copy->next = l->newcomers;
    l->newcomers = copy;
    pthread_mutex_unlock(&l->all->lock);
    (void)eventfd_write(l->wake_fd, 1);
}

static struct loop *least_busy(struct bf_loops *all) {
    struct loop *least = &all->loop[0];
    for (int i = 1; i < all->count; i++) {
        if (atomic_load(&all->loop[i].connections) < atomic_load(&least->connections)) {
            least = &all->loop[i];
        }
    }
    return least;
}

/* False: there is nothing to have a connection with; try again later. */
static bool accept_some(struct loop *l) {
    for (int i = 0; i < ACCEPT_AT_A_TIME; i++) {
        struct newcomer n = {.len = sizeof n.addr};
        n.fd = accept4(l->all->h->listen_fd, (struct sockaddr *)&n.addr, &n.len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (n.fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                return false;
            }
            if (errno == EAGAIN) {
                return true;
            }
            continue; /* it has left already */
        }
        struct loop *least = least_busy(l->all);
        atomic_fetch_add(&least->connections, 1);
        if (least == l) {
            add(l, &n);
        } else {
            send_to(least, &n);
        }
    }
    return true;
}

/* ---- the threads ---- */

static int patience_ms(struct loop *l, bool resting) {
    MHD_UNSIGNED_LONG_LONG ms = 0;
    if (MHD_get_timeout(l->daemon, &ms) == MHD_NO) {
        return resting ? REST_MS : -1;
    }
    return ms < REST_MS ? (int)ms : REST_MS;
}

static void *run(void *arg) {
    struct loop *l = arg;
    own = l;
    enum { DAEMON, WAKE, LISTEN };
    struct pollfd fds[] = {[DAEMON] = {.fd = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, .events = POLLIN},
                           [WAKE] = {.fd = l->wake_fd, .events = POLLIN},
                           [LISTEN] = {.fd = -1, .events = POLLIN}};
    bool resting = false;
    for (int order; (order = atomic_load(&l->order)) != STOP;) {
        eventfd_t ignored;
        bool listens = l == &l->all->loop[0] && order == GO_ON && !resting;
        fds[LISTEN].fd = listens ? l->all->h->listen_fd : -1;
        int n = poll(fds, sizeof fds / sizeof *fds, patience_ms(l, resting));
        resting = false;
        if (n > 0 && fds[WAKE].revents != 0) {
            (void)eventfd_read(l->wake_fd, &ignored); /* before what it stands for is looked at */
            add_newcomers(l);
        }
        if (n > 0 && listens && fds[LISTEN].revents != 0) {
            resting = !accept_some(l);
        }
        (void)MHD_run(l->daemon);
    }
    return NULL;
}

static enum bf_code start_one(struct bf_http *h, struct loop *l, struct bf_err *err) {
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0) {
        return bf_fail(err, BF_BROKEN, errno, "no descriptor for the HTTP server: %s", strerror(errno));
    }
    l->daemon = bf_http_daemon(h, MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, -1);
    if (l->daemon == NULL) {
        return bf_http_not_started(h, err);
    }
    return BF_OK;
}

/* Once all of them are there: the first hands connections to the others. */
static enum bf_code run_all(struct bf_loops *l, struct bf_err *err) {
    for (int i = l->count - 1; i >= 0; i--) {
        int rc = pthread_create(&l->loop[i].thread, NULL, run, &l->loop[i]);
        l->loop[i].runs = rc == 0;
        if (rc != 0) {
            return bf_fail(err, BF_BROKEN, rc, "no thread for the HTTP server: %s", strerror(rc));
        }
    }
    return BF_OK;
}

enum bf_code bf_loops_start(struct bf_http *h, struct bf_err *err) {
    int count = h->settings.loops;
    struct bf_loops *l = calloc(1, sizeof *l + (size_t)count * sizeof *l->loop);
    enum bf_code code = l != NULL ? bf_workers_new(&h->workers, err) : bf_fail(err, BF_NOMEM, 0, "out of memory for the HTTP server");
    if (code != BF_OK) {
        free(l);
        return code;
    }
    h->loops = l;
    l->h = h;
    pthread_mutex_init(&l->lock, NULL);
    while (l->count < count && code == BF_OK) {
        struct loop *next = &l->loop[l->count++];
        next->all = l;
        code = start_one(h, next, err);
    }
    if (code == BF_OK) {
        code = run_all(l, err);
    }
    if (code != BF_OK) {
        bf_loops_stop(l);
        h->loops = NULL;
    }
    return code;
}

static void give_order(struct bf_loops *l, enum order order) {
    for (int i = 0; i < l->count; i++) {
        atomic_store(&l->loop[i].order, order);
        if (l->loop[i].wake_fd >= 0) {
            (void)eventfd_write(l->loop[i].wake_fd, 1);
        }
    }
}

void bf_loops_quiesce(struct bf_loops *l) {
    give_order(l, QUIESCE);
}

static void turn_away(struct loop *l) {
    for (struct newcomer *n = take_newcomers(l), *next; n != NULL; n = next) {
        next = n->next;
        close(n->fd);
        free(n);
    }
}

void bf_loops_stop(struct bf_loops *l) {
    give_order(l, STOP);
    for (int i = 0; i < l->count; i++) {
        if (l->loop[i].runs) {
            pthread_join(l->loop[i].thread, NULL);
        }
    }
    for (int i = 0; i < l->count; i++) {
        turn_away(&l->loop[i]);
        if (l->loop[i].daemon != NULL) {
            MHD_stop_daemon(l->loop[i].daemon);
        }
    }
    bf_workers_free(l->h->workers);
    for (int i = 0; i < l->count; i++) {
        if (l->loop[i].wake_fd >= 0) {
            close(l->loop[i].wake_fd);
        }
    }
    pthread_mutex_destroy(&l->lock);
    free(l);
}
