/* The programs that `butterfly up` runs in one folder: what they are called with, when they are ready, in which order they come and go.
 *
 *   postgres (a private cluster) → broker → registry → schemas and topics → capsule → odyssey → plato → perception
 *
 * and back: perception, odyssey, plato, capsule, registry, broker, postgres. With the embedded broker, whose memory goes with it, what it
 * holds is first read to its end. Files below DIR: supervisor.pid (locked while the supervisor lives), endpoints.json, log/NAME.log,
 * run/NAME.json (each program's own address), and a folder of state for each program. Owned by one thread.
 */
#ifndef STACK_H
#define STACK_H

#include "bf_buf.h"
#include "bf_err.h"
#include "process.h"

#include <stdbool.h>
#include <stdint.h>

enum service { SERVICE_BROKER, SERVICE_REGISTRY, SERVICE_CAPSULE, SERVICE_ODYSSEY, SERVICE_PLATO, SERVICE_PERCEPTION, SERVICES };

struct stack_settings {
    char *dir, *home, *kafka, *registry, *postgres, *without;
    int64_t http_port, start_timeout_ms, stop_timeout_ms, restart_wait_max_ms;
    bool detach, once;
};

struct service_state {
    struct process process;
    bool wanted;
    char url[256];         /* its own address once it was ready ("127.0.0.1:9092" for the broker) */
    int restarts;
    int64_t started_us, restart_at_us, backoff_ms; /* monotonic */
};

struct stack {
    const struct stack_settings *settings;
    char dir[4096], home[4096], bin[4096]; /* absolute */
    char kafka[1024], registry[1024], postgres[4096];
    bool own_postgres;
    int lock_fd; /* supervisor.pid */
    struct service_state services[SERVICES];
};

extern const char *const service_names[SERVICES]; /* the programs' names */

/* Resolve folders, make DIR, take its lock. BF_EXISTS: another supervisor holds it. BF_INVALID: err names the setting. */
BF_MUST_CHECK enum bf_code stack_open(struct stack *s, const struct stack_settings *settings, struct bf_err *err);
void stack_close(struct stack *s);

/* End what a supervisor that was killed left behind in DIR (an absolute path). */
void stack_stop_leftovers(const char *dir, int64_t timeout_ms);
/* Stop the private cluster below DIR, if there is one that runs. home may be NULL. */
BF_MUST_CHECK enum bf_code stack_stop_postgres(const char *dir, const char *home, struct bf_err *err);

/* Start everything from `first` on and wait until it is ready. On failure what runs is left to stack_stop(); *exit_code says how to leave. */
BF_MUST_CHECK enum bf_code stack_start(struct stack *s, enum service first, int *exit_code, struct bf_err *err);
/* Start one service again with the address that it had. */
BF_MUST_CHECK enum bf_code stack_restart(struct stack *s, enum service which, struct bf_err *err);
/* Stop in order, down to and with `last` (SERVICE_BROKER: all); postgres too when `all`. */
void stack_stop(struct stack *s, enum service last, bool all);

/* DIR/endpoints.json as it is now, written atomically, for the owner's eyes. */
BF_MUST_CHECK enum bf_code stack_write_endpoints(const struct stack *s, struct bf_err *err);
void stack_remove_endpoints(const struct stack *s);

/* stack_dir.c: the folder of this executable, and `told` or two levels above it, where schemas/ and tools/ are; each 4096 bytes. */
BF_MUST_CHECK enum bf_code stack_find_home(const char *told, char bin[4096], char home[4096], struct bf_err *err);
/* The last line of a service's log, for error messages; dst is always terminated. */
void stack_last_words(const struct stack *s, enum service which, char *dst, size_t dst_bytes);

/* A line of progress for people on stderr. */
void stack_say(const char *who, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* stack_args.c: the command line of a service, NULL-ended, from malloc; free with stack_args_free(). `again`: keep the port it had. */
char **stack_args(const struct stack *s, enum service which, bool again);
void stack_args_free(char **args);

/* stack_ready.c */
/* Wait until a started service says its address and answers. *exit_code as for stack_start. */
BF_MUST_CHECK enum bf_code stack_wait_ready(struct stack *s, enum service which, int *exit_code, struct bf_err *err);
/* The project's schemas into the registry, the catalogue's topics into a real Kafka. */
BF_MUST_CHECK enum bf_code stack_prepare(struct stack *s, int *exit_code, struct bf_err *err);
/* Wait until CAPSULE has read and archived all that the broker holds; false: not within timeout_ms. */
bool stack_drain(struct stack *s, int64_t timeout_ms);

#endif
