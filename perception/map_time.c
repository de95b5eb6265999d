#include "map_time.h"

#include "bf_time.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* "15:00:00Z", perhaps with a fraction. */
static enum bf_code read_time_of_day(const char *text, int64_t *out, struct bf_err *err) {
    char whole[64];
    int64_t at, midnight;

    snprintf(whole, sizeof whole, "2000-01-01T%s", text != NULL ? text : "");
    if (text == NULL || strlen(text) > 30 || bf_time_parse(whole, &at, err) != BF_OK || bf_time_parse("2000-01-01T00:00:00Z", &midnight, err) != BF_OK) {
        return bf_fail(err, BF_INVALID, 0, "map: \"time_of_day\" is no time like 15:00:00Z");
    }
    *out = at - midnight;
    return BF_OK;
}

static enum bf_code check_members(const json_t *json, struct bf_err *err) {
    const char *key;
    const json_t *value;

    json_object_foreach((json_t *)(uintptr_t)json, key, value) {
        if (strcmp(key, "column") == 0 || strcmp(key, "format") == 0 || strcmp(key, "time_of_day") == 0) continue;
        return bf_fail(err, BF_INVALID, 0, "map: \"time\": \"%.64s\" is not known", key);
    }
    return BF_OK;
}

enum bf_code map_time_read(const json_t *json, struct map_time *out, struct bf_err *err) {
    static const struct {
        const char *name;
        int64_t unit_us;
    } units[] = {{"epoch_s", 1000000}, {"epoch_ms", 1000}, {"epoch_us", 1}, {"rfc3339", 0}};
    const json_t *time_of_day = json_object_get(json, "time_of_day");
    bool named = false;

    *out = (struct map_time){.column = json_string_value(json_object_get(json, "column")),
                             .format = json_string_value(json_object_get(json, "format"))};
    if (check_members(json, err) != BF_OK) return err->code;
    if (out->column == NULL) return bf_fail(err, BF_INVALID, 0, "map: \"time\" has no \"column\"");
    if (out->format == NULL) return bf_fail(err, BF_INVALID, 0, "map: \"time\" has no \"format\"");
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(units[i].name, out->format) != 0) continue;
        named = true;
        out->epoch_unit_us = units[i].unit_us;
        if (units[i].unit_us == 0) out->format = NULL; /* RFC 3339 */
    }
    if (!named && strchr(out->format, '%') == NULL) {
        return bf_fail(err, BF_INVALID, 0, "map: \"format\" is none of rfc3339, epoch_s, epoch_ms, epoch_us, and has no %%");
    }
    return time_of_day != NULL ? read_time_of_day(json_string_value(time_of_day), &out->time_of_day_us, err) : BF_OK;
}

/* strptime takes the 31st of February and leaves the rest of the text: look again. */
static enum bf_code parse_format(const char *format, const char *cell, int64_t *time_us, struct bf_err *err) {
    struct tm tm = {.tm_mday = 1}, again;
    const char *end = strptime(cell, format, &tm);

    if (end == NULL || *end != '\0') return bf_fail(err, BF_INVALID, 0, "the time \"%.64s\" is not like %s", cell, format);
    struct tm copy = tm;
    time_t seconds = timegm(&copy);
    if (gmtime_r(&seconds, &again) == NULL || again.tm_mday != tm.tm_mday || again.tm_mon != tm.tm_mon || again.tm_year != tm.tm_year) {
        return bf_fail(err, BF_INVALID, 0, "the time \"%.64s\" does not exist", cell);
    }
    *time_us = ((int64_t)seconds - tm.tm_gmtoff) * 1000000;
    return BF_OK;
}

static enum bf_code parse_epoch(int64_t unit_us, const char *cell, int64_t *time_us, struct bf_err *err) {
    char *end = NULL;
    int64_t units;

    errno = 0;
    units = strtoll(cell, &end, 10);
    if (*cell == '\0' || isspace((unsigned char)*cell) || *end != '\0' || errno != 0 || __builtin_mul_overflow(units, unit_us, time_us)) {
        return bf_fail(err, BF_INVALID, 0, "the time \"%.64s\" is no integer of that size", cell);
    }
    return BF_OK;
}

enum bf_code map_time_parse(const struct map_time *t, const char *cell, int64_t *time_us, struct bf_err *err) {
    int64_t at = 0;
    enum bf_code code = t->epoch_unit_us != 0 ? parse_epoch(t->epoch_unit_us, cell, &at, err)
                        : t->format != NULL   ? parse_format(t->format, cell, &at, err)
                                              : bf_time_parse(cell, &at, err);

    if (code != BF_OK) return code;
    if (__builtin_add_overflow(at, t->time_of_day_us, &at) || at < BF_TIME_MIN_US || at > BF_TIME_MAX_US) {
        return bf_fail(err, BF_INVALID, 0, "the time \"%.64s\" is not within the years 0001 to 9999", cell);
    }
    *time_us = at;
    return BF_OK;
}
