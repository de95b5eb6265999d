/* Client of a Confluent-compatible schema registry. One per thread; every call has a deadline. BF_AGAIN: it is away or answers
 * 5xx/429, wait; BF_NOT_FOUND: it answered that it does not know (404 with 40403 or 40401). */
#ifndef BF_REGISTRY_H
#define BF_REGISTRY_H

#include "bf_err.h"

#include <stddef.h>
#include <stdint.h>

struct bf_registry;

struct bf_registry_reference {
    char *name, *subject, *schema;
    int32_t version;
};

struct bf_registry_schema {
    int32_t id;
    char *type;   /* "AVRO" */
    char *schema; /* text */
    struct bf_registry_reference *refs; /* resolved, in the order they must be compiled, deepest first */
    size_t ref_count;
};

BF_MUST_CHECK enum bf_code bf_registry_new(const char *base_url, int64_t timeout_ms, struct bf_registry **out, struct bf_err *err);
void bf_registry_free(struct bf_registry *r);

/* Does it answer at all? GET /config; whatever it says short of a 5xx will do. BF_AGAIN: it does not. */
BF_MUST_CHECK enum bf_code bf_registry_ping(struct bf_registry *r, struct bf_err *err);

/* GET /schemas/ids/{id} and the references. The caller owns *out: bf_registry_schema_free(). */
BF_MUST_CHECK enum bf_code bf_registry_get(struct bf_registry *r, int32_t id, struct bf_registry_schema **out, struct bf_err *err);
/* GET /schemas/guids/{guid}. */
BF_MUST_CHECK enum bf_code bf_registry_get_guid(struct bf_registry *r, const uint8_t guid[16], struct bf_registry_schema **out,
                                                struct bf_err *err);
void bf_registry_schema_free(struct bf_registry_schema *s);

/* POST /subjects/{subject}/versions; idempotent. BF_REJECTED: incompatible (409), err has the registry's words. */
BF_MUST_CHECK enum bf_code bf_registry_register(struct bf_registry *r, const char *subject, const char *schema_json,
                                                int32_t *id, struct bf_err *err);

#endif
