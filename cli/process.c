#include "process.h"

#include "bf_buf.h"
#include "bf_time.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Between fork and exec: only calls that are safe there. */
_Noreturn static void become(char *const *argv, int log_fd, int out_fd, bool supervised, pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    setpgid(0, 0);
    if (supervised) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent) /* it died before the line above */
            _exit(127);
    }
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0)
        dup2(null_fd, 0);
    if (out_fd >= 0)
        dup2(out_fd, 1);
    if (log_fd >= 0)
        dup2(log_fd, 2);
    execv(argv[0], argv);
    static const char failed[] = "error: the program cannot be executed\n";
    if (write(2, failed, sizeof failed - 1) < 0)
        _exit(126);
    _exit(127);
}

enum bf_code process_start(struct process *p, char *const *argv, const char *log_path, const char *mark_dir, struct bf_err *err) {
    if (access(argv[0], X_OK) != 0)
        return bf_fail(err, BF_NOT_FOUND, errno, "%s: %s (run tools/build)", argv[0], strerror(errno));
    int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (log_fd < 0)
        return bf_fail(err, BF_INVALID, errno, "%s: %s", log_path, strerror(errno));
    setenv(PROCESS_MARK, mark_dir, 1);
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        unsetenv(PROCESS_MARK); /* only children that are supervised carry it */
    if (pid == 0)
        become(argv, log_fd, log_fd, true, parent);
    int fork_errno = errno;
    close(log_fd);
    if (pid < 0)
        return bf_fail(err, BF_AGAIN, fork_errno, "fork: %s", strerror(fork_errno));
    p->pid = pid;
    p->watch = pidfd_open(pid, 0);
    p->exit_code = 0;
    return BF_OK;
}

static int exit_code_of(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool process_ended(struct process *p) {
    int status;
    if (p->pid == 0)
        return true;
    pid_t got = waitpid(p->pid, &status, WNOHANG);
    if (got == 0)
        return false;
    p->exit_code = got == p->pid ? exit_code_of(status) : BF_EXIT_INTERNAL;
    p->pid = 0;
    if (p->watch >= 0)
        close(p->watch);
    p->watch = -1;
    return true;
}

/* Wait for the descriptor of a process; without one (an old kernel) look every 20 ms. */
static void wait_watch(int watch, int64_t ms) {
    struct pollfd fd = {.fd = watch, .events = POLLIN};
    poll(&fd, watch >= 0 ? 1 : 0, (int)(watch >= 0 || ms < 20 ? ms : 20));
}

bool process_stop(struct process *p, int64_t timeout_ms) {
    int64_t give_up = bf_time_monotonic_us() + timeout_ms * 1000;
    bool gently = true;
    if (process_ended(p))
        return true;
    kill(p->pid, SIGTERM);
    while (!process_ended(p)) {
        int64_t left_ms = (give_up - bf_time_monotonic_us()) / 1000;
        if (left_ms <= 0) {
            kill(p->pid, SIGKILL);
            gently = false;
            left_ms = 1000;
        }
        wait_watch(p->watch, left_ms);
    }
    return gently;
}

bool process_is_ours(pid_t pid, const char *mark_dir) {
    char path[64];
    struct bf_buf environment;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    FILE *f = pid > 0 ? fopen(path, "r") : NULL;
    if (f == NULL)
        return false;
    bf_buf_init(&environment, 4 << 20);
    for (size_t n = 1; n > 0 && bf_buf_reserve(&environment, 4096); environment.len += n)
        n = fread(environment.data + environment.len, 1, 4096, f);
    fclose(f);
    bf_buf_putc(&environment, '\0');
    const size_t mark_len = sizeof PROCESS_MARK - 1;
    for (const char *p = environment.data; !environment.failed && !found && p < environment.data + environment.len; p += strlen(p) + 1)
        found = strncmp(p, PROCESS_MARK, mark_len) == 0 && p[mark_len] == '=' && strcmp(p + mark_len + 1, mark_dir) == 0;
    bf_buf_fini(&environment);
    return found;
}

static bool program_is(pid_t pid, const char *name) {
    char path[64], command[4096] = "";
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    size_t n = fread(command, 1, sizeof command - 1, f);
    fclose(f);
    command[n] = '\0';
    const char *slash = strrchr(command, '/');
    return strcmp(slash != NULL ? slash + 1 : command, name) == 0;
}

pid_t process_find(const char *name, const char *mark_dir) {
    pid_t found = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc != NULL && found == 0 && (entry = readdir(proc)) != NULL;) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && program_is(pid, name) && process_is_ours(pid, mark_dir))
            found = pid;
    }
    if (proc != NULL)
        closedir(proc);
    return found;
}

void process_stop_foreign(pid_t pid, const char *mark_dir, int64_t timeout_ms) {
    int64_t give_up = bf_time_monotonic_us() + timeout_ms * 1000;
    int watch = pidfd_open(pid, 0), signal_number = SIGTERM;
    /* The descriptor holds on to this very process: what is checked now is what is signalled. */
    while (process_is_ours(pid, mark_dir)) {
        if (signal_number != 0 && (watch >= 0 ? pidfd_send_signal(watch, signal_number, NULL, 0) : kill(pid, signal_number)) != 0)
            break;
        signal_number = bf_time_monotonic_us() < give_up ? 0 : SIGKILL;
        wait_watch(watch, 100);
    }
    if (watch >= 0)
        close(watch);
}

enum bf_code process_run(char *const *argv, const char *log_path, struct bf_buf *out, int *exit_code, struct bf_err *err) {
    int ends[2] = {-1, -1}, status = 0;
    int log_fd = log_path != NULL ? open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640) : -1;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return bf_fail(err, BF_AGAIN, errno, "pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        become(argv, log_fd, ends[1], false, 0);
    int fork_errno = errno;
    close(ends[1]);
    if (log_fd >= 0)
        close(log_fd);
    if (pid < 0) {
        close(ends[0]);
        return bf_fail(err, BF_AGAIN, fork_errno, "fork: %s", strerror(fork_errno));
    }
    char piece[4096];
    for (ssize_t n; (n = read(ends[0], piece, sizeof piece)) != 0;)
        if (n > 0 && out != NULL)
            bf_buf_append(out, piece, (size_t)n);
        else if (n < 0 && errno != EINTR)
            break;
    close(ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    *exit_code = exit_code_of(status);
    return BF_OK;
}
