/* Start, restart and stop, in order. */
#include "stack.h"

#include "bf_stop.h"
#include "bf_time.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const service_names[SERVICES] = {"devbroker", "registry", "capsule", "odyssey", "plato", "perception"};

void stack_say(const char *who, const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    fprintf(stderr, "%-11s %s\n", who, line);
}

void stack_stop_leftovers(const char *dir, int64_t timeout_ms) {
    for (int i = SERVICES - 1; i >= 0; i--)
        for (pid_t pid; (pid = process_find(service_names[i], dir)) != 0;) {
            stack_say(service_names[i], "left behind by a supervisor that was killed: stopping %d", (int)pid);
            process_stop_foreign(pid, dir, timeout_ms);
        }
}

/* ---- postgres ---- */

static enum bf_code run_postgres(const char *home, const char *below, const char *command, struct bf_buf *out, struct bf_err *err) {
    char program[4200], dir[4200], log[4200];
    int exit_code = 0;
    snprintf(program, sizeof program, "%s/tools/postgres", home);
    snprintf(dir, sizeof dir, "%s/postgres", below);
    snprintf(log, sizeof log, "%s/log/postgres.log", below);
    char *argv[] = {program, (char *)(uintptr_t)command, dir, NULL};
    enum bf_code code = process_run(argv, log, out, &exit_code, err);
    if (code == BF_OK && exit_code != 0)
        code = bf_fail(err, BF_AGAIN, exit_code, "tools/postgres %s ended with exit code %d: see %s", command, exit_code, log);
    return code;
}

enum bf_code stack_stop_postgres(const char *dir, const char *home, struct bf_err *err) {
    char bin[4096], real_home[4096], data[4200];
    snprintf(data, sizeof data, "%s/postgres/data", dir);
    if (access(data, F_OK) != 0)
        return BF_OK;
    enum bf_code code = stack_find_home(home, bin, real_home, err);
    return code == BF_OK ? run_postgres(real_home, dir, "stop", NULL, err) : code;
}

static enum bf_code start_postgres(struct stack *s, struct bf_err *err) {
    struct bf_buf out;
    if (s->settings->postgres != NULL) {
        snprintf(s->postgres, sizeof s->postgres, "%s", s->settings->postgres);
        return BF_OK;
    }
    stack_say("postgres", "starting");
    bf_buf_init(&out, sizeof s->postgres - 1);
    enum bf_code code = run_postgres(s->home, s->dir, "start", &out, err);
    while (out.len > 0 && (out.data[out.len - 1] == '\n'))
        out.len--;
    if (code == BF_OK && (out.len == 0 || out.failed))
        code = bf_fail(err, BF_AGAIN, 0, "tools/postgres start did not say how to connect");
    if (code == BF_OK) {
        const char *line = memrchr(out.data, '\n', out.len);
        line = line != NULL ? line + 1 : out.data;
        snprintf(s->postgres, sizeof s->postgres, "%.*s", (int)(out.data + out.len - line), line);
        s->own_postgres = true;
        const char *port = strstr(s->postgres, "port=");
        stack_say("postgres", "ready, %.*s", port != NULL ? (int)strcspn(port, " ") : 0, port != NULL ? port : "");
    }
    bf_buf_fini(&out);
    return code;
}

/* ---- services ---- */

static enum bf_code launch(struct stack *s, enum service which, bool again, struct bf_err *err) {
    struct service_state *service = &s->services[which];
    char log[4200], own[4200];
    snprintf(log, sizeof log, "%s/log/%s.log", s->dir, service_names[which]);
    snprintf(own, sizeof own, "%s/run/%s.json", s->dir, service_names[which]);
    unlink(own); /* what it said before it ended */
    char **args = stack_args(s, which, again);
    enum bf_code code = process_start(&service->process, args, log, s->dir, err);
    stack_args_free(args);
    service->started_us = bf_time_monotonic_us();
    service->restart_at_us = 0;
    return code;
}

enum bf_code stack_restart(struct stack *s, enum service which, struct bf_err *err) {
    return launch(s, which, true, err);
}

static enum bf_code start_one(struct stack *s, enum service which, int *exit_code, struct bf_err *err) {
    struct service_state *service = &s->services[which];
    *exit_code = BF_EXIT_DEPENDENCY;
    if (!service->wanted)
        return BF_OK;
    int64_t start = bf_time_monotonic_us();
    stack_say(service_names[which], "starting");
    enum bf_code code = launch(s, which, service->url[0] != '\0', err);
    if (code == BF_OK)
        code = stack_wait_ready(s, which, exit_code, err);
    if (code == BF_OK)
        stack_say(service_names[which], "ready after %.1f s, %s", (double)(bf_time_monotonic_us() - start) / 1e6, service->url);
    return code;
}

static void learn_backbone(struct stack *s) {
    snprintf(s->kafka, sizeof s->kafka, "%s", s->settings->kafka != NULL ? s->settings->kafka : s->services[SERVICE_BROKER].url);
    snprintf(s->registry, sizeof s->registry, "%s", s->settings->registry != NULL ? s->settings->registry : s->services[SERVICE_REGISTRY].url);
}

enum bf_code stack_start(struct stack *s, enum service first, int *exit_code, struct bf_err *err) {
    *exit_code = BF_EXIT_DEPENDENCY;
    enum bf_code code = s->postgres[0] == '\0' ? start_postgres(s, err) : BF_OK;
    for (int i = first; code == BF_OK && i < SERVICES; i++) {
        code = start_one(s, (enum service)i, exit_code, err);
        learn_backbone(s);
        if (code == BF_OK && i == SERVICE_REGISTRY)
            code = stack_prepare(s, exit_code, err);
        if (code == BF_OK && bf_stop_requested())
            code = bf_fail(err, BF_CANCELLED, 0, "stopped");
    }
    return code;
}

static void stop_one(struct stack *s, enum service which) {
    struct process *p = &s->services[which].process;
    if (p->pid == 0)
        return;
    int64_t start = bf_time_monotonic_us();
    bool gently = process_stop(p, s->settings->stop_timeout_ms);
    stack_say(service_names[which], "%s after %.1f s", gently ? "stopped" : "killed: it did not stop",
              (double)(bf_time_monotonic_us() - start) / 1e6);
}

void stack_stop(struct stack *s, enum service last, bool all) {
    static const enum service order[] = {SERVICE_PERCEPTION, SERVICE_ODYSSEY, SERVICE_PLATO, SERVICE_CAPSULE, SERVICE_REGISTRY, SERVICE_BROKER};
    struct bf_err err;
    for (size_t i = 0; i < SERVICES; i++) {
        if (order[i] >= last)
            stop_one(s, order[i]);
        if (order[i] == SERVICE_PERCEPTION && all && s->services[SERVICE_BROKER].process.pid != 0 && !stack_drain(s, s->settings->stop_timeout_ms))
            stack_say("capsule", "could not read the embedded broker to its end: what it did not read is lost with the broker");
    }
    if (all && s->own_postgres) {
        if (run_postgres(s->home, s->dir, "stop", NULL, &err) == BF_OK)
            stack_say("postgres", "stopped");
        else
            stack_say("postgres", "%s", err.msg);
    }
}
