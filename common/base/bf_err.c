/* The message is cut, never grown: an error must be reportable when memory is out. */
#include "bf_err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum bf_code bf_err_set(struct bf_err *err, enum bf_code code, int native, const char *file, int line, const char *fmt,
                        ...) {
    /* The arguments may point into err->msg itself (a rewritten message), so format beside it. */
    char msg[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    err->code = code;
    err->native = native;
    err->sqlstate[0] = '\0';
    err->file = file;
    err->line = line;
    memcpy(err->msg, msg, sizeof msg);
    return code;
}

enum bf_code bf_err_prepend(struct bf_err *err, const char *fmt, ...) {
    char msg[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    size_t used = n < 0 ? 0 : (size_t)n;
    if (used < sizeof msg - 3) {
        memcpy(msg + used, ": ", 2);
        size_t room = sizeof msg - used - 3, len = strnlen(err->msg, room);
        memcpy(msg + used + 2, err->msg, len);
        msg[used + 2 + len] = '\0';
    }
    memcpy(err->msg, msg, sizeof msg);
    return err->code;
}

const char *bf_code_name(enum bf_code code) {
    switch (code) {
    case BF_OK: return "ok";
    case BF_NOT_FOUND: return "not_found";
    case BF_INVALID: return "invalid";
    case BF_REJECTED: return "rejected";
    case BF_EXISTS: return "exists";
    case BF_AGAIN: return "again";
    case BF_NOMEM: return "nomem";
    case BF_CANCELLED: return "cancelled";
    case BF_BROKEN: return "broken";
    }
    return "unknown";
}

void bf_assert_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "assertion failed: %s at %s:%d\n", cond, file, line);
    abort();
}
