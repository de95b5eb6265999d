/* Schemas that ingest meets for the first time: from the registry, kept in the hot store, compiled into the cache. Ingest's thread only;
 * the registry itself is asked by a thread of its own, so that while it is slow or away only the records that need it wait.
 *
 * A registry that is away is waited for. One that answers "unknown" is asked again for schema-retry, and then believed for a while, so that a flood of
 * records with one bad id costs one wait.
 */
#ifndef SCHEMA_SOURCE_H
#define SCHEMA_SOURCE_H

#include "bf_avro.h"
#include "bf_framing.h"
#include "capsule.h"

struct schema_source;

BF_MUST_CHECK enum bf_code schema_source_new(struct capsule *c, struct schema_source **out, struct bf_err *err);
void schema_source_free(struct schema_source *s);

/* The signature of envelope_settings.resolve; ctx is the schema_source. */
BF_MUST_CHECK enum bf_code schema_source_resolve(void *ctx, const struct bf_frame *frame, int32_t *id,
                                                 const struct bf_avro **schema, struct bf_err *err);

#endif
