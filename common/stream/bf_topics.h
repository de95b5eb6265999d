/* Topic names and the catalogue schemas/topics.json: schema, partitions, retention, where identity and time lie, how the archive is cut.
 *
 * Names are `{domain}.{event-type}`, each part [a-z0-9]+(-[a-z0-9]+)*. `*.dlq` and `replay.*` are names of ours for other things.
 * The catalogue is immutable once loaded; thread-safe.
 */
#ifndef BF_TOPICS_H
#define BF_TOPICS_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BF_TOPIC_MAX 249

/* The regular expression for librdkafka's subscription; more is filtered by bf_topic_is_event(). */
#define BF_TOPIC_PATTERN "^[a-z0-9]+(-[a-z0-9]+)*\\.[a-z0-9]+(-[a-z0-9]+)*$"

/* True for {domain}.{event-type}, not *.dlq, not replay.*. */
bool bf_topic_is_event(const char *topic);
/* The parts of a valid name; borrowed from it. */
void bf_topic_split(const char *topic, struct bf_slice *domain, struct bf_slice *event_type);

enum bf_archive_cut { BF_ARCHIVE_DAILY, BF_ARCHIVE_MONTHLY, BF_ARCHIVE_YEARLY };

struct bf_topic {
    const char *name;
    const char *schema_file; /* path of the .avsc, NULL when unknown */
    const char *schema_json; /* its text, NULL when unknown */
    int partitions;
    int64_t retention_ms;
    /* Dotted paths into the value, NULL-ended lists: the first that is there and fits counts. */
    const char *const *event_id_paths, *const *event_time_paths, *const *node_paths, *const *trace_paths, *const *cause_paths;
    /* The unit of an event_time that is a plain long without logical type, as a multiplier to microseconds (1000 for ms). */
    int64_t event_time_unit_us;
    enum bf_archive_cut archive_cut;
};

struct bf_topics;

/* `dir` holds topics.json and the .avsc files. */
BF_MUST_CHECK enum bf_code bf_topics_load(const char *dir, struct bf_topics **out, struct bf_err *err);
/* The folder told, else schemas/ two levels above this program. */
void bf_topics_find_dir(const char *told, char *dst, size_t dst_bytes);
void bf_topics_free(struct bf_topics *t);
size_t bf_topics_count(const struct bf_topics *t);
const struct bf_topic *bf_topics_at(const struct bf_topics *t, size_t index);
/* Never NULL: topics that are not in the catalogue get its "*" entry's ways (name is "*"). */
const struct bf_topic *bf_topics_find(const struct bf_topics *t, const char *name);

#endif
