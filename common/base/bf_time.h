/* Time: int64 microseconds since 1970-01-01T00:00:00Z (UTC, no leap seconds) inside, RFC 3339 outside. Thread-safe. */
#ifndef BF_TIME_H
#define BF_TIME_H

#include "bf_err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BF_TIME_TEXT_LEN 27 /* 2024-06-01T10:00:00.000000Z */

/* What every clock of an event must lie in: years 0001 to 9999, as RFC 3339 can say it. */
#define BF_TIME_MIN_US INT64_C(-62135596800000000)
#define BF_TIME_MAX_US INT64_C(253402300799999999)

int64_t bf_time_now_us(void);       /* wall clock */
int64_t bf_time_monotonic_us(void); /* never steps */

/* Write BF_TIME_TEXT_LEN characters and a NUL; t within the bounds above. */
void bf_time_format(char dst[BF_TIME_TEXT_LEN + 1], int64_t t_us);

/* RFC 3339 with any offset and up to 9 fraction digits (cut to micros), or a plain date (midnight UTC), or an integer of
 * microseconds since the epoch. BF_INVALID says what is wrong. */
BF_MUST_CHECK enum bf_code bf_time_parse(const char *text, int64_t *t_us, struct bf_err *err);

/* "250ms", "30s", "15m", "12h", "7d", or a bare number of milliseconds. */
BF_MUST_CHECK enum bf_code bf_duration_parse(const char *text, int64_t *ms, struct bf_err *err);

/* Sleep, but wake at once when bf_stop is asked for (see bf_stop.h). False: stop was asked for. */
bool bf_sleep_ms(int64_t ms);

#endif
