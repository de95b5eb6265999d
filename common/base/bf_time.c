/* Calendar arithmetic by days since 1970-03-01-shifted eras (proleptic Gregorian), because gmtime and timegm know the locale's zone
 * tables and refuse years we allow. */
#include "bf_time.h"

#include "bf_digits.h"
#include "bf_stop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#define SECOND_US INT64_C(1000000)
#define DAY_US (86400 * SECOND_US)

static int64_t clock_us(clockid_t clock) {
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * SECOND_US + ts.tv_nsec / 1000;
}

int64_t bf_time_now_us(void) {
    return clock_us(CLOCK_REALTIME);
}

int64_t bf_time_monotonic_us(void) {
    return clock_us(CLOCK_MONOTONIC);
}

/* Days since the epoch of a date; a year begins in March, so that the leap day is its last. */
static int64_t days_from_date(int64_t year, int month, int day) {
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_from_days(int64_t days, int *year, int *month, int *day) {
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t of_era = shifted - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
    int64_t mp = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = (int)(y + era * 400 + (*month <= 2 ? 1 : 0));
}

/* Times that are written one after the other are mostly of one day. */
static void put_date(char dst[10], int64_t days) {
    static _Thread_local int64_t last_days = INT64_MIN;
    static _Thread_local char last[10];
    if (days != last_days) {
        int year, month, day;
        date_from_days(days, &year, &month, &day);
        bf_digits_pair(last, (unsigned)(year / 100));
        bf_digits_pair(last + 2, (unsigned)(year % 100));
        last[4] = last[7] = '-';
        bf_digits_pair(last + 5, (unsigned)month);
        bf_digits_pair(last + 8, (unsigned)day);
        last_days = days;
    }
    memcpy(dst, last, sizeof last);
}

void bf_time_format(char dst[BF_TIME_TEXT_LEN + 1], int64_t t_us) {
    bf_assert(t_us >= BF_TIME_MIN_US && t_us <= BF_TIME_MAX_US);
    int64_t days = t_us / DAY_US, rest = t_us % DAY_US;
    if (rest < 0) {
        rest += DAY_US;
        days--;
    }
    int seconds = (int)(rest / SECOND_US), micros = (int)(rest % SECOND_US);
    put_date(dst, days);
    dst[10] = 'T';
    bf_digits_pair(dst + 11, (unsigned)(seconds / 3600));
    dst[13] = dst[16] = ':';
    bf_digits_pair(dst + 14, (unsigned)(seconds / 60 % 60));
    bf_digits_pair(dst + 17, (unsigned)(seconds % 60));
    dst[19] = '.';
    bf_digits_pair(dst + 20, (unsigned)(micros / 10000));
    bf_digits_pair(dst + 22, (unsigned)(micros / 100 % 100));
    bf_digits_pair(dst + 24, (unsigned)(micros % 100));
    dst[26] = 'Z';
    dst[27] = '\0';
}

/* Exactly n digits; false when there are not. */
static bool take_digits(const char **p, int n, int *out) {
    int v = 0;
    for (int i = 0; i < n; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9') {
            return false;
        }
        v = v * 10 + (c - '0');
    }
    *p += n;
    *out = v;
    return true;
}

static bool take_char(const char **p, char c) {
    if (**p != c) {
        return false;
    }
    (*p)++;
    return true;
}

static int days_in_month(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

static enum bf_code take_date(const char **p, int64_t *t_us, struct bf_err *err) {
    int year, month, day;
    if (!take_digits(p, 4, &year) || !take_char(p, '-') || !take_digits(p, 2, &month) || !take_char(p, '-') ||
        !take_digits(p, 2, &day)) {
        return bf_fail(err, BF_INVALID, 0, "not a time: want 2024-06-01T10:00:00Z, a date, or microseconds");
    }
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month)) {
        return bf_fail(err, BF_INVALID, 0, "no such date");
    }
    *t_us = days_from_date(year, month, day) * DAY_US;
    return BF_OK;
}

/* Up to nine digits, cut to microseconds. */
static bool take_fraction(const char **p, int64_t *micros) {
    int64_t v = 0;
    int n = 0;
    for (; **p >= '0' && **p <= '9'; (*p)++, n++) {
        if (n < 6) {
            v = v * 10 + (**p - '0');
        }
    }
    if (n < 1 || n > 9) {
        return false;
    }
    for (int i = n; i < 6; i++) {
        v *= 10;
    }
    *micros = v;
    return true;
}

static bool take_offset(const char **p, int64_t *offset_us) {
    *offset_us = 0;
    if (take_char(p, 'Z') || take_char(p, 'z')) {
        return true;
    }
    int sign = **p == '+' ? 1 : **p == '-' ? -1 : 0, hours, minutes;
    if (sign == 0) {
        return false;
    }
    (*p)++;
    if (!take_digits(p, 2, &hours) || !take_char(p, ':') || !take_digits(p, 2, &minutes) || hours > 23 || minutes > 59) {
        return false;
    }
    *offset_us = sign * (hours * 3600 + minutes * 60) * SECOND_US;
    return true;
}

static enum bf_code take_time_of_day(const char **p, int64_t *t_us, struct bf_err *err) {
    int hours, minutes, seconds;
    int64_t micros = 0, offset_us;
    if (!take_digits(p, 2, &hours) || !take_char(p, ':') || !take_digits(p, 2, &minutes) || !take_char(p, ':') ||
        !take_digits(p, 2, &seconds)) {
        return bf_fail(err, BF_INVALID, 0, "not a time of day: want hh:mm:ss");
    }
    if (hours > 23 || minutes > 59 || seconds > 59) {
        return bf_fail(err, BF_INVALID, 0, "no such time of day");
    }
    if (take_char(p, '.') && !take_fraction(p, &micros)) {
        return bf_fail(err, BF_INVALID, 0, "a fraction of a second has 1 to 9 digits");
    }
    if (!take_offset(p, &offset_us)) {
        return bf_fail(err, BF_INVALID, 0, "a time needs an offset: Z or +hh:mm");
    }
    *t_us += (hours * 3600 + minutes * 60 + seconds) * SECOND_US + micros - offset_us;
    return BF_OK;
}

/* All digits, perhaps with a sign: microseconds. False: it is not of this form. */
static bool parse_integer(const char *text, int64_t *out, bool *overflow) {
    const char *p = text;
    bool negative = take_char(&p, '-');
    if (*p == '\0') {
        return false;
    }
    int64_t v = 0;
    *overflow = false;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v)) {
            *overflow = true;
            v = 0;
        }
    }
    *out = negative ? -v : v;
    return *p == '\0';
}

enum bf_code bf_time_parse(const char *text, int64_t *t_us, struct bf_err *err) {
    int64_t t = 0;
    bool overflow = false;
    if (!parse_integer(text, &t, &overflow)) {
        const char *p = text;
        enum bf_code code = take_date(&p, &t, err);
        if (code != BF_OK) {
            return code;
        }
        if (*p != '\0' && !take_char(&p, 'T') && !take_char(&p, 't')) {
            return bf_fail(err, BF_INVALID, 0, "after the date comes T and the time of day");
        }
        if (p - text > 10) {
            code = take_time_of_day(&p, &t, err);
            if (code != BF_OK) {
                return code;
            }
        }
        if (*p != '\0') {
            return bf_fail(err, BF_INVALID, 0, "more text behind the time");
        }
    }
    if (overflow || t < BF_TIME_MIN_US || t > BF_TIME_MAX_US) {
        return bf_fail(err, BF_INVALID, 0, "outside of the years 0001 to 9999");
    }
    *t_us = t;
    return BF_OK;
}

enum bf_code bf_duration_parse(const char *text, int64_t *ms, struct bf_err *err) {
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const char *p = text;
    int64_t v = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v)) {
            return bf_fail(err, BF_INVALID, 0, "too long a time");
        }
    }
    for (size_t i = 0; p != text && i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(p, units[i].unit) == 0) {
            if (__builtin_mul_overflow(v, units[i].ms, &v)) {
                return bf_fail(err, BF_INVALID, 0, "too long a time");
            }
            *ms = v;
            return BF_OK;
        }
    }
    return bf_fail(err, BF_INVALID, 0, "not a length of time: want 250ms, 30s, 15m, 12h or 7d");
}

bool bf_sleep_ms(int64_t ms) {
    int64_t until = bf_time_monotonic_us() + (ms < 0 ? 0 : ms) * 1000;
    while (!bf_stop_requested()) {
        int64_t left = until - bf_time_monotonic_us();
        if (left <= 0) {
            return true;
        }
        struct pollfd pfd = {.fd = bf_stop_fd(), .events = POLLIN};
        struct timespec ts = {.tv_sec = left / SECOND_US, .tv_nsec = (left % SECOND_US) * 1000};
        if (ppoll(&pfd, 1, &ts, NULL) < 0 && errno != EINTR) {
            return true;
        }
    }
    return false;
}
