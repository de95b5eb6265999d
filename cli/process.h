/* One child process of the supervisor: started with its output in a log, watched through a descriptor, stopped with a deadline.
 *
 * Children are in a process group of their own (a Ctrl-C at the terminal reaches only the supervisor), get SIGTERM when the supervisor dies,
 * and carry PROCESS_MARK in their environment, so that a pid read from a file can be checked before it is signalled.
 * Single-threaded: start and reap from the thread that owns the children.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include "bf_err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_MARK "BF_SUPERVISED_DIR"

struct process {
    const char *name;
    pid_t pid;   /* 0: not running */
    int watch;   /* readable when it ended; -1 while not running */
    int exit_code; /* of its last end; 128 + signal when it was killed */
};

/* argv ends with NULL; stderr and stdout are appended to log_path. */
BF_MUST_CHECK enum bf_code process_start(struct process *p, char *const *argv, const char *log_path, const char *mark_dir, struct bf_err *err);
/* True when it is not running (any more); exit_code is set. Never blocks. */
bool process_ended(struct process *p);
/* SIGTERM, then SIGKILL after timeout_ms; returns when it is gone. False: it had to be killed. */
bool process_stop(struct process *p, int64_t timeout_ms);

/* Is this pid a process that was started with this mark? */
bool process_is_ours(pid_t pid, const char *mark_dir);
/* The pid of a process of this program name with this mark; 0: there is none. */
pid_t process_find(const char *name, const char *mark_dir);
/* Stop a marked process that is not our child: SIGTERM, then SIGKILL after timeout_ms. */
void process_stop_foreign(pid_t pid, const char *mark_dir, int64_t timeout_ms);

/* Run a program to its end; its standard output goes to out (may be NULL), its standard error to log_path (NULL: ours). */
struct bf_buf;
BF_MUST_CHECK enum bf_code process_run(char *const *argv, const char *log_path, struct bf_buf *out, int *exit_code, struct bf_err *err);

#endif
