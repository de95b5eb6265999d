/* A whole input into Kafka: NDJSON lines or CSV rows, checked, paced, published; bad ones reported. One thread. */
#ifndef PERCEPTION_FEED_H
#define PERCEPTION_FEED_H

#include "checkpoint.h"
#include "input.h"
#include "map.h"
#include "publish.h"
#include "signal_check.h"

struct feed_settings {
    struct input *in;
    struct map *map; /* NULL: NDJSON */
    struct signal_check *check;
    struct publish *publish;
    double rate; /* a second; 0: no pacing */
    bool strict;
    size_t line_bytes_max;
    struct checkpoint *checkpoint; /* goes on behind it, and keeps it; NULL: none */
};

/* When the nth signal (from 0) of a paced input is due, in µs after the first. Pure. */
int64_t feed_due_us(int64_t n, double rate);

/* Until the input ends, a stop is asked for, or (strict) something is bad; then until everything is through. The counts say what came of it.
 * An error is about the input as a whole (it cannot be read; no column as the map wants it) or the producer (BF_BROKEN). */
BF_MUST_CHECK enum bf_code feed_run(const struct feed_settings *settings, struct bf_err *err);

#endif
