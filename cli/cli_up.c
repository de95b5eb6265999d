/* up: start the stack of one folder and stay as its supervisor; a child that dies is started again, unless its exit code says that this is
 * of no use. Phases: open (lock the folder, end leftovers) → start → serve → stop. With --detach the caller's process returns after `start`
 * and a child of it stays.
 */
#include "cli.h"
#include "stack.h"

#include "bf_log.h"
#include "bf_stop.h"
#include "bf_time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_LEAST_MS 500
#define STEADY_US INT64_C(60000000) /* having run so long, a service's backoff begins anew */

#define F(name) offsetof(struct stack_settings, name)
static const struct bf_setting table[] = {
    {"dir", BF_SETTING_STRING, F(dir), NULL, 0, 0, true, false, NULL, "Everything is kept in this folder; made when missing"},
    {"detach", BF_SETTING_BOOL, F(detach), "false", 0, 0, false, false, NULL, "Return when everything serves; stop it with 'butterfly down'"},
    {"once", BF_SETTING_BOOL, F(once), "false", 0, 0, false, false, NULL, "Start, print the endpoints, stop again"},
    {"kafka", BF_SETTING_STRING, F(kafka), NULL, 0, 0, false, false, NULL, "Use this Kafka (host:port) in place of the embedded broker"},
    {"registry", BF_SETTING_STRING, F(registry), NULL, 0, 0, false, false, NULL, "Use the schema registry at this URL in place of the embedded one"},
    {"postgres", BF_SETTING_STRING, F(postgres), NULL, 0, 0, false, true, NULL, "Use the PostgreSQL of this connection string in place of a private cluster"},
    {"http-port", BF_SETTING_INT, F(http_port), "8480", 0, 65535, false, false, NULL, "CAPSULE's port; when it is taken, a free one"},
    {"without", BF_SETTING_STRING, F(without), NULL, 0, 0, false, false, NULL, "Leave these out: odyssey, plato, perception, separated by commas"},
    {"home", BF_SETTING_STRING, F(home), NULL, 0, 0, false, false, NULL,
     "Folder of schemas/, migrations/ and tools/ (default: two levels above the programs)"},
    {"start-timeout", BF_SETTING_MS, F(start_timeout_ms), "120s", 1000, INT64_C(86400000), false, false, "ms", "A program that is not ready after so long ends the start"},
    {"restart-wait-max", BF_SETTING_MS, F(restart_wait_max_ms), "30s", 1, INT64_C(86400000), false, false, "ms",
     "A program that dies is started again after half a second, then after twice as long each time, up to this"},
    {"stop-timeout", BF_SETTING_MS, F(stop_timeout_ms), "60s", 1000, INT64_C(86400000), false, false, "ms", "A program that does not stop within this is killed"},
    {NULL, BF_SETTING_STRING, 0, NULL, 0, 0, false, false, NULL, NULL},
};
static const struct bf_settings_program program = {
    "butterfly", "up --dir D [options]",
    "Starts PostgreSQL, a broker, a schema registry, CAPSULE, ODYSSEY, PLATO and PERCEPTION in one folder and keeps them running until Ctrl-C.",
    "D/endpoints.json tells the addresses, D/log/ what the programs said. Exit codes: 0 ok, 1 it runs already, 2 usage, 3 settings,\n"
    "4 a dependency is missing, 5 local state is corrupt, 70 internal.",
    table, false};

static bool without_is_known(const char *without) {
    static const char *const names[] = {"odyssey", "plato", "perception"};
    char *copy = strdup(without), *rest = copy;
    bool known = true;
    for (char *one; known && rest != NULL && (one = strsep(&rest, ",")) != NULL;) {
        known = false;
        for (size_t i = 0; i < 3; i++)
            known = known || strcmp(one, names[i]) == 0;
    }
    free(copy);
    return known;
}

/* ---- serve ---- */

/* Something ended: start it again later, or say how to leave. */
static int on_end(struct stack *s, enum service which) {
    struct service_state *service = &s->services[which];
    int code = service->process.exit_code;
    char words[400], quoted[500];
    int64_t now = bf_time_monotonic_us();
    stack_last_words(s, which, words, sizeof words);
    bf_log_quote(quoted, sizeof quoted, words, strlen(words));
    if (code == BF_EXIT_SETTINGS || code == BF_EXIT_STATE) {
        bf_log(BF_LOG_ERROR, "service_ended", "name=%s exit_code=%d last_words=%s action=stop_all", service_names[which], code, quoted);
        return code;
    }
    bool steady = now - service->started_us > STEADY_US;
    service->backoff_ms = steady || service->backoff_ms == 0 ? BACKOFF_LEAST_MS : service->backoff_ms * 2;
    if (service->backoff_ms > s->settings->restart_wait_max_ms)
        service->backoff_ms = s->settings->restart_wait_max_ms;
    service->restart_at_us = now + service->backoff_ms * 1000;
    service->restarts++;
    bf_log(BF_LOG_WARN, "service_ended", "name=%s exit_code=%d last_words=%s restart_in_ms=%lld restarts=%d", service_names[which], code,
           quoted, (long long)service->backoff_ms, service->restarts);
    return BF_EXIT_OK;
}

/* The broker's memory and address are new after a restart: everything behind it starts again, too. */
static int restart(struct stack *s, enum service which) {
    struct bf_err err;
    int exit_code = BF_EXIT_OK;
    enum bf_code code;
    if (which == SERVICE_BROKER) {
        stack_stop(s, SERVICE_REGISTRY, false);
        code = stack_start(s, SERVICE_BROKER, &exit_code, &err);
    } else {
        code = stack_restart(s, which, &err);
    }
    if (code == BF_OK)
        code = stack_write_endpoints(s, &err);
    if (code == BF_OK || code == BF_CANCELLED)
        return BF_EXIT_OK;
    bf_log_err(BF_LOG_ERROR, "restart_failed", &err, "name=%s", service_names[which]);
    return exit_code != BF_EXIT_OK ? exit_code : BF_EXIT_INTERNAL;
}

static int watch_once(struct stack *s) {
    struct pollfd fds[SERVICES + 1] = {{.fd = bf_stop_fd(), .events = POLLIN}};
    int64_t now = bf_time_monotonic_us(), wake_us = now + INT64_C(1000000);
    for (int i = 0; i < SERVICES; i++) {
        fds[i + 1] = (struct pollfd){.fd = s->services[i].process.watch, .events = POLLIN};
        if (s->services[i].restart_at_us != 0 && s->services[i].restart_at_us < wake_us)
            wake_us = s->services[i].restart_at_us;
    }
    poll(fds, SERVICES + 1, wake_us > now ? (int)((wake_us - now) / 1000) + 1 : 0);
    int exit_code = BF_EXIT_OK;
    for (int i = 0; i < SERVICES && exit_code == BF_EXIT_OK && !bf_stop_requested(); i++) {
        struct service_state *service = &s->services[i];
        if (service->process.pid != 0 && process_ended(&service->process))
            exit_code = on_end(s, (enum service)i);
        else if (service->restart_at_us != 0 && bf_time_monotonic_us() >= service->restart_at_us)
            exit_code = restart(s, (enum service)i);
    }
    return exit_code;
}

static int serve(struct stack *s) {
    int exit_code = BF_EXIT_OK;
    while (exit_code == BF_EXIT_OK && !bf_stop_requested())
        exit_code = watch_once(s);
    return exit_code;
}

/* ---- start ---- */

static void print_addresses(const struct stack *s) {
    printf("CAPSULE     %s\n", s->services[SERVICE_CAPSULE].url);
    if (s->services[SERVICE_PERCEPTION].wanted)
        printf("PERCEPTION  %s\n", s->services[SERVICE_PERCEPTION].url);
    printf("Kafka       %s%s\n", s->kafka, s->services[SERVICE_BROKER].wanted ? "  (embedded: keeps the last 5 MiB of a partition)" : "");
    printf("registry    %s\n", s->registry);
    printf("endpoints   %s/endpoints.json (PostgreSQL's, too)\n", s->dir);
    fflush(stdout);
}

/* Tell the one who waits in the parent how the start went, and let go of its terminal. */
static void let_go(struct stack *s, int report_fd, int exit_code) {
    unsigned char byte = (unsigned char)exit_code;
    char log[4200];
    if (report_fd < 0)
        return;
    snprintf(log, sizeof log, "%s/log/butterfly.log", s->dir);
    fflush(stdout);
    fflush(stderr);
    int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (log_fd >= 0) {
        dup2(log_fd, 1);
        dup2(log_fd, 2);
        close(log_fd);
    }
    if (write(report_fd, &byte, 1) != 1)
        bf_log(BF_LOG_WARN, "parent_gone", "what=\"nobody waited for the start\"");
    close(report_fd);
}

static int start_and_serve(struct stack *s, int report_fd) {
    struct bf_err err;
    char pid[32];
    int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid()), exit_code = BF_EXIT_OK;
    if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, pid, (size_t)n, 0) != n)
        cli_error("%s/supervisor.pid cannot be written: %s", s->dir, strerror(errno));
    stack_stop_leftovers(s->dir, s->settings->stop_timeout_ms);
    stack_remove_endpoints(s);
    enum bf_code code = stack_start(s, (enum service)0, &exit_code, &err);
    if (code == BF_OK && (code = stack_write_endpoints(s, &err)) != BF_OK)
        exit_code = BF_EXIT_SETTINGS;
    if (code == BF_OK) {
        exit_code = BF_EXIT_OK;
        print_addresses(s);
        let_go(s, report_fd, BF_EXIT_OK);
        report_fd = -1;
        if (!s->settings->once)
            exit_code = serve(s);
    } else if (code == BF_CANCELLED) {
        exit_code = BF_EXIT_OK;
        stack_say("butterfly", "stopped while starting");
    } else {
        cli_error("%s", err.msg);
    }
    stack_stop(s, SERVICE_BROKER, true);
    stack_remove_endpoints(s);
    if (report_fd >= 0)
        let_go(s, report_fd, exit_code == BF_EXIT_OK ? BF_EXIT_FAILED : exit_code);
    return exit_code;
}

/* The parent's part of --detach: its exit code is how the start went. */
static int wait_for_start(int report_fd, pid_t supervisor) {
    unsigned char byte;
    struct pollfd fds[2] = {{.fd = report_fd, .events = POLLIN}, {.fd = bf_stop_fd(), .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 || fds[0].revents == 0)
        if (fds[1].revents != 0) { /* Ctrl-C while it starts */
            kill(supervisor, SIGTERM);
            fds[1] = (struct pollfd){.fd = -1};
        }
    ssize_t n = read(report_fd, &byte, 1);
    close(report_fd);
    if (n == 1)
        return byte;
    int status = 0;
    waitpid(supervisor, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : BF_EXIT_INTERNAL;
}

static int run(struct stack *s) {
    struct bf_err err;
    int ends[2];
    if (!s->settings->detach)
        return bf_stop_install(&err) == BF_OK ? start_and_serve(s, -1) : BF_EXIT_INTERNAL;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        cli_error("pipe: %s", strerror(errno));
        return BF_EXIT_INTERNAL;
    }
    fflush(stdout);
    pid_t supervisor = fork();
    if (supervisor == 0) {
        close(ends[0]);
        setsid();
        int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (null_fd >= 0)
            dup2(null_fd, 0);
        return bf_stop_install(&err) == BF_OK ? start_and_serve(s, ends[1]) : BF_EXIT_INTERNAL;
    }
    close(ends[1]);
    if (supervisor < 0 || bf_stop_install(&err) != BF_OK) {
        cli_error("fork: %s", strerror(errno));
        close(ends[0]);
        return BF_EXIT_INTERNAL;
    }
    return wait_for_start(ends[0], supervisor);
}

int cli_up(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    static struct stack stack;
    struct stack_settings settings = {0};
    struct bf_err err;
    char **left;
    int left_count, exit_code;
    stack.lock_fd = -1;
    bf_log_init("butterfly", BF_LOG_INFO);
    if (!cli_load(&program, argc, argv, 0, 0, &settings, &left, &left_count, &exit_code))
        goto done;
    exit_code = BF_EXIT_SETTINGS;
    if (settings.without != NULL && !without_is_known(settings.without)) {
        cli_error("without: '%s' is no list of odyssey, plato, perception", settings.without);
        goto done;
    }
    enum bf_code code = stack_open(&stack, &settings, &err);
    if (code != BF_OK) {
        cli_error("%s", err.msg);
        exit_code = code == BF_EXISTS ? BF_EXIT_FAILED : BF_EXIT_SETTINGS;
        goto done;
    }
    exit_code = run(&stack);
done:
    stack_close(&stack);
    bf_settings_fini(&program, &settings);
    return exit_code;
}
