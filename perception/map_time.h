/* A map's "time": how a cell says when. Pure. */
#ifndef PERCEPTION_MAP_TIME_H
#define PERCEPTION_MAP_TIME_H

#include "bf_err.h"

#include <jansson.h>
#include <stdint.h>

struct map_time {
    const char *column, *format; /* borrowed from the map's JSON */
    int64_t epoch_unit_us;       /* not 0: an integer of this many microseconds */
    int64_t time_of_day_us;      /* added */
};

BF_MUST_CHECK enum bf_code map_time_read(const json_t *json, struct map_time *out, struct bf_err *err);
BF_MUST_CHECK enum bf_code map_time_parse(const struct map_time *t, const char *cell, int64_t *time_us, struct bf_err *err);

#endif
