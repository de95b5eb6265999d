/* A CSV map: what the columns of a table mean as signals. One thread.
 *
 *   "shape"         "wide": each cell of the value columns is one event. "long": each row is one.
 *   "delimiter"     one character, default ",".      "newest_first": true: rows go out in reverse order.
 *   "missing"       cells that mean "nothing", default [""].
 *   "time"          {"column": C, "format": F, "time_of_day": "15:00:00Z"}; F is "rfc3339", "epoch_s", "epoch_ms", "epoch_us" or one
 *                   for strptime(3), read as UTC unless it has %z; time_of_day is for formats that have only a date.
 *   "node"          a template.     "event_id": a template (optional); an id made of the row makes publishing it twice the same.
 *   "columns"       wide: the value columns, default all others that have a name.     "value": wide: the field a cell goes to.
 *   "fields"        long: {"price": "Close", "metadata.venue": "Venue"}: field (dotted) from column; empty ones are left out.
 *   "constants"     {"status": "ACTIVE"}: fields (dotted) that are always the same.
 *   "repeatable"    true: ingest_ts_ms is the event's time and logical_clock 0, so that the same row gives the same bytes each time.
 * Templates: {Name} is that column's cell, {column} the wide column's name, {node} the node (in event_id).
 */
#ifndef PERCEPTION_MAP_H
#define PERCEPTION_MAP_H

#include "bf_err.h"
#include "bf_topics.h"

#include <jansson.h>
#include <stdbool.h>

struct map;

/* `schema` and `topic` must outlive it. BF_INVALID names the member that is wrong. */
BF_MUST_CHECK enum bf_code map_load(const char *path, const struct bf_topic *topic, const json_t *schema, struct map **out,
                                    struct bf_err *err);
void map_free(struct map *m);
char map_delimiter(const struct map *m);
bool map_newest_first(const struct map *m);

/* The first row: BF_INVALID names a column that the map wants and the table has not. */
BF_MUST_CHECK enum bf_code map_header(struct map *m, const char *const *fields, size_t count, struct bf_err *err);

/* Called for each event of a row: `value` is borrowed; NULL: it is bad, and `why` says how. False: stop. */
typedef bool map_emit(void *ctx, json_t *value, const struct bf_err *why);
/* False when emit said stop. */
bool map_row(struct map *m, const char *const *fields, size_t count, map_emit *emit, void *ctx);

#endif
