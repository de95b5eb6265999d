/* down: end the supervisor of a folder and wait until all it ran is gone; also when the supervisor itself was killed. */
#include "cli.h"
#include "process.h"
#include "stack.h"

#include "bf_time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <unistd.h>

struct down_settings {
    char *dir, *home;
    int64_t timeout_ms;
};

#define F(name) offsetof(struct down_settings, name)
static const struct bf_setting table[] = {
    {"dir", BF_SETTING_STRING, F(dir), NULL, 0, 0, true, false, NULL, "The folder given to 'butterfly up'"},
    {"home", BF_SETTING_STRING, F(home), NULL, 0, 0, false, false, NULL, "Folder of tools/ (default: two levels above the programs)"},
    {"timeout", BF_SETTING_MS, F(timeout_ms), "5m", 1000, INT64_C(86400000), false, false, "ms", "Give up waiting after this"},
    {NULL, BF_SETTING_STRING, 0, NULL, 0, 0, false, false, NULL, NULL},
};
static const struct bf_settings_program program = {"butterfly", "down --dir D [options]",
                                                   "Stops what 'butterfly up' runs in a folder, in order. Nothing is lost.", NULL, table, false};

/* The supervisor holds the lock for as long as it lives: signal it, then wait for the lock. */
static int stop_supervisor(int lock_fd, const char *dir, int64_t timeout_ms) {
    char text[32] = "";
    if (pread(lock_fd, text, sizeof text - 1, 0) <= 0 || atoi(text) <= 1) {
        cli_error("%s/supervisor.pid names no process, but somebody holds it", dir);
        return BF_EXIT_FAILED;
    }
    pid_t pid = (pid_t)atoi(text);
    int watch = pidfd_open(pid, 0);
    if (watch >= 0 ? pidfd_send_signal(watch, SIGTERM, NULL, 0) != 0 : kill(pid, SIGTERM) != 0)
        if (errno != ESRCH) {
            cli_error("supervisor %d cannot be signalled: %s", (int)pid, strerror(errno));
            return BF_EXIT_FAILED;
        }
    fprintf(stderr, "stopping: supervisor %d\n", (int)pid);
    int64_t give_up = bf_time_monotonic_us() + timeout_ms * 1000;
    while (flock(lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (bf_time_monotonic_us() > give_up) {
            cli_error("it did not stop within %lld s: see %s/log/butterfly.log", (long long)(timeout_ms / 1000), dir);
            return BF_EXIT_FAILED;
        }
        struct pollfd fd = {.fd = watch, .events = POLLIN};
        poll(&fd, watch >= 0 ? 1 : 0, 100);
    }
    if (watch >= 0)
        close(watch);
    return BF_EXIT_OK;
}

int cli_down(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    struct down_settings o = {0};
    struct bf_err err;
    char **left, *dir = NULL, path[4200];
    int left_count, exit_code, lock_fd = -1;
    bool killed = false;
    if (!cli_load(&program, argc, argv, 0, 0, &o, &left, &left_count, &exit_code))
        goto done;
    dir = realpath(o.dir, NULL);
    snprintf(path, sizeof path, "%.4000s/supervisor.pid", dir != NULL ? dir : o.dir);
    lock_fd = dir != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (lock_fd < 0) {
        fprintf(stderr, "nothing was ever started in %s\n", o.dir);
        goto done; /* it is down */
    }
    killed = flock(lock_fd, LOCK_EX | LOCK_NB) == 0;
    if (!killed)
        exit_code = stop_supervisor(lock_fd, dir, o.timeout_ms);
    if (exit_code == BF_EXIT_OK) { /* now the lock is ours: nobody starts anything here meanwhile */
        stack_stop_leftovers(dir, 60000);
        snprintf(path, sizeof path, "%.4000s/endpoints.json", dir);
        unlink(path);
        if (stack_stop_postgres(dir, o.home, &err) != BF_OK) {
            cli_error("%s", err.msg);
            exit_code = BF_EXIT_FAILED;
        }
    }
    if (exit_code == BF_EXIT_OK)
        fprintf(stderr, "%s\n", killed ? "nothing runs" : "stopped");
done:
    if (lock_fd >= 0)
        close(lock_fd);
    free(dir);
    bf_settings_fini(&program, &o);
    return exit_code;
}
