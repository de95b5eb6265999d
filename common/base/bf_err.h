/* Errors: a code that says what the caller may do now, and a record of what happened and where.
 *
 * Every fallible function returns enum bf_code and takes `struct bf_err *err` (never NULL) last. On BF_OK err is
 * untouched; on failure it is filled once where the failure was seen, and callers only prepend context.
 * Outputs are set only on BF_OK. No allocation; safe from any thread as long as each has its own struct.
 */
#ifndef BF_ERR_H
#define BF_ERR_H

enum bf_code {
    BF_OK = 0,
    BF_NOT_FOUND, /* the thing asked for is not there */
    BF_INVALID,   /* the caller's input is wrong: tell them, change nothing */
    BF_REJECTED,  /* this record is poison: keep it with evidence, go on with the next */
    BF_EXISTS,    /* it is there already */
    BF_AGAIN,     /* a dependency is away or a queue is full: wait, then the same call again */
    BF_NOMEM,     /* memory or a stated limit is used up */
    BF_CANCELLED, /* somebody asked us to stop */
    BF_BROKEN     /* stop the process: going on could be wrong */
};

struct bf_err {
    enum bf_code code;
    int native;       /* errno, rd_kafka_resp_err_t, MDB_*, CURLcode …; 0 when there is none */
    char sqlstate[6]; /* PostgreSQL's, or "" */
    const char *file; /* where it was born; static storage */
    int line;
    char msg[512]; /* a sentence for people, without trailing newline */
};

#define BF_MUST_CHECK __attribute__((warn_unused_result))

/* Fill `err` and return `code`; use through bf_fail(). */
enum bf_code bf_err_set(struct bf_err *err, enum bf_code code, int native, const char *file, int line, const char *fmt,
                        ...) __attribute__((format(printf, 6, 7)));

/* return bf_fail(err, BF_INVALID, 0, "port %d is taken", port); */
#define bf_fail(err, code, native, ...) bf_err_set((err), (code), (native), __FILE__, __LINE__, __VA_ARGS__)

/* Put "context: " before the message and return err->code. */
enum bf_code bf_err_prepend(struct bf_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Stable lower-case name: "ok", "not_found", "again" … */
const char *bf_code_name(enum bf_code code);

/* The exit codes of every program. */
enum bf_exit {
    BF_EXIT_OK = 0,
    BF_EXIT_FAILED = 1, /* it ran, and the answer is no (rejected signals, not healthy, differs …) */
    BF_EXIT_USAGE = 2,
    BF_EXIT_SETTINGS = 3,
    BF_EXIT_DEPENDENCY = 4, /* a dependency is missing at start */
    BF_EXIT_STATE = 5,      /* local state is corrupt or belongs to another cluster */
    BF_EXIT_INTERNAL = 70
};

/* Programmers' errors only; stays on in release builds: prints and aborts. */
#define bf_assert(cond) ((cond) ? (void)0 : bf_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void bf_assert_failed(const char *cond, const char *file, int line);

#endif
