/* Bytes of a file or of standard input, unpacked when they are gzip (RFC 1952, several members too), in bounded pieces. A wait for
 * input ends when a stop is asked for: that reads as the end. One thread. */
#ifndef PERCEPTION_INPUT_H
#define PERCEPTION_INPUT_H

#include "bf_buf.h"
#include "bf_err.h"

struct input;

/* path NULL: standard input. */
BF_MUST_CHECK enum bf_code input_open(const char *path, struct input **out, struct bf_err *err);
void input_close(struct input *in);

/* The bytes at hand, at least one; BF_NOT_FOUND at the end. Borrowed until input_use() or the next call. */
BF_MUST_CHECK enum bf_code input_peek(struct input *in, struct bf_slice *out, struct bf_err *err);
/* `n` of the bytes at hand are done with. */
void input_use(struct input *in, size_t n);

/* The next line without its newline (a CR before it goes too), NUL-terminated in `line` and one shorter in line->len. BF_REJECTED: it
 * passes line->max and was skipped. BF_NOT_FOUND: the end. */
/* `*out` is the line: in the input's own bytes where it lies there whole, else in `line`; borrowed until the next call. */
BF_MUST_CHECK enum bf_code input_next_line(struct input *in, struct bf_buf *line, struct bf_slice *out, struct bf_err *err);
BF_MUST_CHECK enum bf_code input_line(struct input *in, struct bf_buf *line, struct bf_err *err);

/* How many bytes were read from the source, before unpacking. */
int64_t input_bytes(const struct input *in);

#endif
