/* What each program is called with. Ports: the usual one or, when it is taken, a free one; started again, the one it had. */
#include "stack.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = 40, REGISTRY_PORT = 8081 };

struct args {
    char **list;
    size_t count;
};

static void add(struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct args *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    bf_assert(a->count + 1 < ARGS_MAX && vasprintf(&a->list[a->count], fmt, ap) >= 0);
    va_end(ap);
    a->count++;
}

/* The port at the end of "http://host:port" or "host:port"; 0: none. */
static int port_of(const char *url) {
    const char *colon = strrchr(url, ':');
    return colon != NULL ? (int)strtol(colon + 1, NULL, 10) : 0;
}

static void add_port(struct args *a, const struct stack *s, enum service which, const char *flag, int64_t usual, bool or_free, bool again) {
    bool fixed = again && port_of(s->services[which].url) != 0;
    add(a, "--%s=%d", flag, fixed ? port_of(s->services[which].url) : (int)usual);
    if (or_free && !fixed)
        add(a, "--%s-or-free", flag);
}

static void add_files(struct args *a, const struct stack *s, enum service which, const char *state_flag) {
    add(a, "--endpoints-file=%s/run/%s.json", s->dir, service_names[which]);
    if (state_flag != NULL)
        add(a, "--%s=%s/%s", state_flag, s->dir, service_names[which]);
}

static void add_backbone(struct args *a, const struct stack *s) {
    add(a, "--bootstrap=%s", s->kafka);
    add(a, "--registry=%s", s->registry);
}

/* Where nodes' pasts and evidence come from: ready before those who ask. */
static void add_capsule(struct args *a, const struct stack *s) {
    if (s->services[SERVICE_CAPSULE].url[0] != '\0')
        add(a, "--capsule=%s", s->services[SERVICE_CAPSULE].url);
}

static void capsule_args(struct args *a, const struct stack *s, bool again) {
    add(a, "--bootstrap=%s", s->kafka);
    add(a, "--registry-url=%s", s->registry);
    add(a, "--schemas-dir=%s/schemas", s->home);
    add(a, "--migrations-dir=%s/migrations", s->home);
    add_port(a, s, SERVICE_CAPSULE, "http-port", s->settings->http_port, true, again);
    add_files(a, s, SERVICE_CAPSULE, "dir");
    /* The connection string may hold a password: it goes through the environment, which only the same user can read. */
    setenv("CAPSULE_POSTGRES", s->postgres, 1);
}

char **stack_args(const struct stack *s, enum service which, bool again) {
    struct args a = {calloc(ARGS_MAX, sizeof(char *)), 0};
    bf_assert(a.list != NULL);
    add(&a, "%s/%s", s->bin, service_names[which]);
    switch (which) {
    case SERVICE_BROKER:
        add(&a, "--schemas-dir=%s/schemas", s->home);
        add_files(&a, s, which, "dir");
        break;
    case SERVICE_REGISTRY:
        add_port(&a, s, which, "port", REGISTRY_PORT, true, again);
        add_files(&a, s, which, "dir");
        break;
    case SERVICE_CAPSULE: capsule_args(&a, s, again); break;
    case SERVICE_ODYSSEY:
        add_backbone(&a, s);
        add_capsule(&a, s);
        add(&a, "--rules=%s/odyssey/rules.json", s->home);
        add_port(&a, s, which, "http-port", 0, false, again);
        add_files(&a, s, which, "state-dir");
        break;
    case SERVICE_PLATO:
        add_backbone(&a, s);
        add_capsule(&a, s);
        add(&a, "--policies=%s/plato/policies.json", s->home);
        add_port(&a, s, which, "http-port", 0, false, again);
        add_files(&a, s, which, "state-dir");
        break;
    case SERVICE_PERCEPTION:
        add_backbone(&a, s);
        add(&a, "--topic=rim.fast-path");
        add(&a, "--listen=127.0.0.1:%d", again ? port_of(s->services[which].url) : 0);
        add_files(&a, s, which, NULL);
        break;
    case SERVICES: bf_assert(!"a service"); break;
    }
    return a.list;
}

void stack_args_free(char **args) {
    for (size_t i = 0; args != NULL && args[i] != NULL; i++)
        free(args[i]);
    free(args);
}
