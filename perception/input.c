/* Two buffers: what was read, and what came out of zlib. Without gzip the first is handed out as it is. */
#include "input.h"

#include "bf_stop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 256 * 1024 };

enum input_kind { INPUT_UNKNOWN, INPUT_PLAIN, INPUT_GZIP };

struct input {
    int fd;
    enum input_kind kind;
    bool ended, in_member;
    int64_t bytes;
    z_stream z;
    bool z_open;
    unsigned char raw[CHUNK], plain[CHUNK];
    size_t raw_at, raw_len, plain_at, plain_len;
};

enum bf_code input_open(const char *path, struct input **out, struct bf_err *err) {
    struct input *in = calloc(1, sizeof *in);

    if (in == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for reading");
    in->fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (in->fd < 0) {
        (void)bf_fail(err, BF_INVALID, errno, "%s: %s", path, strerror(errno));
        free(in);
        return err->code;
    }
    *out = in;
    return BF_OK;
}

void input_close(struct input *in) {
    if (in == NULL) return;
    if (in->z_open) (void)inflateEnd(&in->z);
    if (in->fd != STDIN_FILENO) close(in->fd);
    free(in);
}

int64_t input_bytes(const struct input *in) { return in->bytes; }

/* More raw bytes behind those at hand; sets `ended` when there are none. */
static enum bf_code read_more(struct input *in, struct bf_err *err) {
    struct pollfd fds[] = {{.fd = in->fd, .events = POLLIN}, {.fd = bf_stop_fd(), .events = POLLIN}};

    memmove(in->raw, in->raw + in->raw_at, in->raw_len - in->raw_at);
    in->raw_len -= in->raw_at;
    in->raw_at = 0;
    for (;;) {
        if (bf_stop_requested()) {
            in->ended = true;
            return BF_OK;
        }
        if (poll(fds, bf_stop_fd() >= 0 ? 2 : 1, -1) < 0 && errno != EINTR) break;
        if (fds[0].revents == 0) continue;
        ssize_t n = read(in->fd, in->raw + in->raw_len, CHUNK - in->raw_len);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n < 0) break;
        in->ended = n == 0;
        in->raw_len += (size_t)n;
        in->bytes += n;
        return BF_OK;
    }
    return bf_fail(err, BF_BROKEN, errno, "reading: %s", strerror(errno));
}

static enum bf_code recognise(struct input *in, struct bf_err *err) {
    while (in->raw_len < 2 && !in->ended) {
        enum bf_code code = read_more(in, err);
        if (code != BF_OK) return code;
    }
    in->kind = in->raw_len >= 2 && in->raw[0] == 0x1f && in->raw[1] == 0x8b ? INPUT_GZIP : INPUT_PLAIN;
    if (in->kind == INPUT_PLAIN) return BF_OK;
    if (inflateInit2(&in->z, 15 + 16) != Z_OK) return bf_fail(err, BF_NOMEM, 0, "no memory for unpacking");
    in->z_open = in->in_member = true;
    return BF_OK;
}

/* Fill `plain` with at least one byte, unless the end comes. */
static enum bf_code unpack(struct input *in, struct bf_err *err) {
    in->plain_at = in->plain_len = 0;
    while (in->plain_len == 0) {
        if (in->raw_at == in->raw_len && !in->ended) {
            enum bf_code code = read_more(in, err);
            if (code != BF_OK) return code;
        }
        if (in->raw_at == in->raw_len && in->ended) {
            if (in->in_member && !bf_stop_requested()) return bf_fail(err, BF_INVALID, 0, "the gzip data is cut off");
            return BF_OK;
        }
        if (!in->in_member) { /* another member follows */
            (void)inflateReset(&in->z);
            in->in_member = true;
        }
        in->z.next_in = in->raw + in->raw_at;
        in->z.avail_in = (uInt)(in->raw_len - in->raw_at);
        in->z.next_out = in->plain;
        in->z.avail_out = CHUNK;
        int rc = inflate(&in->z, Z_NO_FLUSH);
        in->raw_at = in->raw_len - in->z.avail_in;
        in->plain_len = CHUNK - in->z.avail_out;
        if (rc == Z_STREAM_END) in->in_member = false;
        else if (rc != Z_OK && rc != Z_BUF_ERROR) return bf_fail(err, BF_INVALID, rc, "the gzip data is damaged");
    }
    return BF_OK;
}

enum bf_code input_peek(struct input *in, struct bf_slice *out, struct bf_err *err) {
    enum bf_code code = in->kind == INPUT_UNKNOWN ? recognise(in, err) : BF_OK;

    if (code == BF_OK && in->kind == INPUT_GZIP && in->plain_at == in->plain_len) code = unpack(in, err);
    if (code == BF_OK && in->kind == INPUT_PLAIN && in->raw_at == in->raw_len && !in->ended) code = read_more(in, err);
    if (code != BF_OK) return code;
    *out = in->kind == INPUT_GZIP ? (struct bf_slice){in->plain + in->plain_at, in->plain_len - in->plain_at}
                                  : (struct bf_slice){in->raw + in->raw_at, in->raw_len - in->raw_at};
    return out->len > 0 ? BF_OK : bf_fail(err, BF_NOT_FOUND, 0, "the input ends");
}

void input_use(struct input *in, size_t n) {
    if (in->kind == INPUT_GZIP) in->plain_at += n;
    else in->raw_at += n;
}

enum bf_code input_line(struct input *in, struct bf_buf *line, struct bf_err *err) {
    bool any = false, newline = false;

    bf_buf_clear(line);
    while (!newline) {
        struct bf_slice have;
        enum bf_code code = input_peek(in, &have, err);
        if (code == BF_NOT_FOUND && any && !bf_stop_requested()) break; /* the last line has no newline */
        if (code != BF_OK) return code;
        const char *end = memchr(have.data, '\n', have.len);
        size_t n = end != NULL ? (size_t)(end - (const char *)have.data) : have.len;
        bf_buf_append(line, have.data, n);
        newline = end != NULL;
        any = true;
        input_use(in, n + newline);
    }
    if (!line->failed && line->len > 0 && line->data[line->len - 1] == '\r') line->len--;
    size_t len = line->len;
    bf_buf_putc(line, '\0');
    line->len = len;
    if (line->failed) return bf_fail(err, BF_REJECTED, 0, "the line is longer than %zu bytes", line->max - 1);
    return BF_OK;
}

enum bf_code input_next_line(struct input *in, struct bf_buf *line, struct bf_slice *out, struct bf_err *err) {
    struct bf_slice have;
    enum bf_code code = input_peek(in, &have, err);
    const char *end = code == BF_OK ? memchr(have.data, '\n', have.len) : NULL;

    if (code != BF_OK) return code;
    if (end == NULL) {
        code = input_line(in, line, err);
        if (code == BF_OK) *out = (struct bf_slice){line->data, line->len};
        return code;
    }
    size_t len = (size_t)(end - (const char *)have.data);
    input_use(in, len + 1);
    if (len > 0 && end[-1] == '\r') len--;
    if (len >= line->max) return bf_fail(err, BF_REJECTED, 0, "the line is longer than %zu bytes", line->max - 1);
    *out = (struct bf_slice){have.data, len};
    return BF_OK;
}
