/* Logging: one line = time, level, service, event= and key=value pairs, to stderr. Thread-safe, one write(2) a line.
 *
 * Loops and main log; library code returns errors instead. Event names are stable. User data goes in as %s through bf_log_quote().
 *
 *   2026-11-24T03:47:06.123456Z info capsule event=archive_wait err="connection refused" retry_in_ms=500
 */
#ifndef BF_LOG_H
#define BF_LOG_H

#include "bf_err.h"

#include <stddef.h>

enum bf_log_level { BF_LOG_DEBUG, BF_LOG_INFO, BF_LOG_WARN, BF_LOG_ERROR };

void bf_log_init(const char *service, enum bf_log_level least); /* service: static storage */
void bf_log(enum bf_log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Log a failure with its message and origin, then the extra pairs: bf_log_err(BF_LOG_WARN, "archive_wait", &err, "retry_in_ms=%d", 500). */
void bf_log_err(enum bf_log_level level, const char *event, const struct bf_err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Copy s into dst as "quoted", escaped and cut to fit; returns dst. */
const char *bf_log_quote(char *dst, size_t dst_bytes, const char *s, size_t len);

#endif
