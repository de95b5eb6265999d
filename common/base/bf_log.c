/* A line is made in a local buffer and leaves with one write(2), so lines of several threads never mix. */
#include "bf_log.h"

#include "bf_time.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096

static struct {
    const char *service;
    enum bf_log_level least;
} logger = {"butterfly", BF_LOG_INFO};

void bf_log_init(const char *service, enum bf_log_level least) {
    logger.service = service;
    logger.least = least;
}

/* Append to line[*len]; what does not fit is cut. One byte stays free for the newline. */
__attribute__((format(printf, 3, 0))) static void add(char *line, size_t *len, const char *fmt, va_list ap) {
    size_t room = LINE_MAX_BYTES - 1 - *len;
    int n = vsnprintf(line + *len, room, fmt, ap);
    if (n > 0) {
        *len += (size_t)n < room ? (size_t)n : room - 1;
    }
}

__attribute__((format(printf, 3, 4))) static void addf(char *line, size_t *len, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    add(line, len, fmt, ap);
    va_end(ap);
}

static void head(char *line, size_t *len, enum bf_log_level level, const char *event) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char now[BF_TIME_TEXT_LEN + 1];
    bf_time_format(now, bf_time_now_us());
    addf(line, len, "%s %s %s event=%s", now, names[level], logger.service, event);
}

static void emit(char *line, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (line[i] == '\n' || line[i] == '\r') {
            line[i] = ' ';
        }
    }
    line[len++] = '\n';
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(STDERR_FILENO, line + done, len - done);
        if (n <= 0) {
            return; /* nowhere to say it */
        }
        done += (size_t)n;
    }
}

void bf_log(enum bf_log_level level, const char *event, const char *fmt, ...) {
    if (level < logger.least) {
        return;
    }
    char line[LINE_MAX_BYTES];
    size_t len = 0;
    head(line, &len, level, event);
    if (fmt != NULL && fmt[0] != '\0') {
        addf(line, &len, " ");
        va_list ap;
        va_start(ap, fmt);
        add(line, &len, fmt, ap);
        va_end(ap);
    }
    emit(line, len);
}

static const char *base_name(const char *path) {
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    return slash != NULL ? slash + 1 : path == NULL ? "?" : path;
}

void bf_log_err(enum bf_log_level level, const char *event, const struct bf_err *err, const char *fmt, ...) {
    if (level < logger.least) {
        return;
    }
    char line[LINE_MAX_BYTES], quoted[2 * sizeof err->msg];
    size_t len = 0;
    head(line, &len, level, event);
    addf(line, &len, " err=%s code=%s", bf_log_quote(quoted, sizeof quoted, err->msg, strlen(err->msg)),
         bf_code_name(err->code));
    if (err->native != 0) {
        addf(line, &len, " native=%d", err->native);
    }
    if (err->sqlstate[0] != '\0') {
        addf(line, &len, " sqlstate=%s", err->sqlstate);
    }
    addf(line, &len, " at=%s:%d", base_name(err->file), err->line);
    if (fmt != NULL && fmt[0] != '\0') {
        addf(line, &len, " ");
        va_list ap;
        va_start(ap, fmt);
        add(line, &len, fmt, ap);
        va_end(ap);
    }
    emit(line, len);
}

const char *bf_log_quote(char *dst, size_t dst_bytes, const char *s, size_t len) {
    bf_assert(dst_bytes >= 8);
    size_t at = 0, limit = dst_bytes - 5; /* room for an escape, the closing quote and NUL is always left */
    dst[at++] = '"';
    size_t i = 0;
    for (; i < len && at + 4 <= limit; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') {
            dst[at++] = '\\';
            dst[at++] = (char)c;
        } else if (c < 0x20 || c == 0x7f) {
            at += (size_t)snprintf(dst + at, 5, "\\x%02x", c);
        } else {
            dst[at++] = (char)c;
        }
    }
    if (i < len) { /* cut, and not within a character */
        while (at > 1 && ((unsigned char)dst[at - 1] & 0xc0) == 0x80) {
            at--;
        }
        if (at > 1 && ((unsigned char)dst[at - 1] & 0xc0) == 0xc0) {
            at--;
        }
        memcpy(dst + at, "...", 3);
        at += 3;
    }
    dst[at++] = '"';
    dst[at] = '\0';
    return dst;
}
