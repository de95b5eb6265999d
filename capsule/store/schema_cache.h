/* Compiled schemas by id, for whoever turns raw values into envelopes or JSON. Fed from the hot store and the archive; what neither has
 * comes through `resolve` (ingest: the registry). Shared, thread-safe; a compiled schema lives as long as the cache.
 *
 * One compiled program serves every topic: its paths are the union of what topics.json names; schema_cache_fields() maps a topic's
 * roles onto them.
 */
#ifndef SCHEMA_CACHE_H
#define SCHEMA_CACHE_H

#include "bf_avro.h"
#include "bf_topics.h"
#include "hot.h"

struct schema_cache;

BF_MUST_CHECK enum bf_code schema_cache_new(struct hot *hot, const struct bf_topics *topics, struct schema_cache **out, struct bf_err *err);
void schema_cache_free(struct schema_cache *c);

/* The compiled schema; BF_NOT_FOUND when it is kept nowhere here. A hit takes no lock that blocks. */
BF_MUST_CHECK enum bf_code schema_cache_get(struct schema_cache *c, int32_t id, const struct bf_avro **out, struct bf_err *err);
/* Compile and remember (the writer thread also keeps it with hot_schema_put). */
BF_MUST_CHECK enum bf_code schema_cache_add(struct schema_cache *c, int32_t id, struct bf_slice schema, struct bf_slice refs_json,
                                            const struct bf_avro **out, struct bf_err *err);

/* What the envelope takes from a decoded value, for one topic. Pointers into `fields` as decoded, or NULL. */
struct schema_roles {
    const struct bf_avro_field *node, *event_id, *event_time, *trace, *cause;
};
/* Pick the first field that is there and fits, role by role. fields: BF_AVRO_PATHS_MAX entries as bf_avro_decode filled them. */
void schema_cache_roles(const struct schema_cache *c, const struct bf_topic *topic, const struct bf_avro_field *fields,
                        struct schema_roles *out);

#endif
