/* The handlers only set flags and write to an eventfd, which is all that is safe in a signal handler. */
#include "bf_stop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static atomic_bool stop_flag, reload_flag;
static atomic_int stop_event = -1;

static void raise_stop(void) {
    atomic_store(&stop_flag, true);
    int fd = atomic_load(&stop_event);
    if (fd >= 0) {
        uint64_t one = 1;
        ssize_t n = write(fd, &one, sizeof one);
        (void)n; /* a full counter is readable all the same */
    }
}

static void on_stop_signal(int sig) {
    (void)sig;
    int saved = errno;
    if (atomic_load(&stop_flag)) {
        _exit(130);
    }
    raise_stop();
    errno = saved;
}

static void on_reload_signal(int sig) {
    (void)sig;
    atomic_store(&reload_flag, true);
}

static enum bf_code on_signal(int sig, void (*handler)(int), struct bf_err *err) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(sig, &action, NULL) != 0) {
        return bf_fail(err, BF_BROKEN, errno, "cannot catch signal %d: %s", sig, strerror(errno));
    }
    return BF_OK;
}

enum bf_code bf_stop_install(struct bf_err *err) {
    if (atomic_load(&stop_event) < 0) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0) {
            return bf_fail(err, BF_BROKEN, errno, "no eventfd: %s", strerror(errno));
        }
        atomic_store(&stop_event, fd);
    }
    static const struct {
        int sig;
        void (*handler)(int);
    } table[] = {{SIGINT, on_stop_signal}, {SIGTERM, on_stop_signal}, {SIGHUP, on_reload_signal}, {SIGPIPE, SIG_IGN}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        enum bf_code code = on_signal(table[i].sig, table[i].handler, err);
        if (code != BF_OK) {
            return code;
        }
    }
    return BF_OK;
}

bool bf_stop_requested(void) {
    return atomic_load_explicit(&stop_flag, memory_order_relaxed);
}

void bf_stop_request(void) {
    raise_stop();
}

int bf_stop_fd(void) {
    return atomic_load(&stop_event);
}

bool bf_reload_requested(void) {
    return atomic_exchange(&reload_flag, false);
}
