/* The schema registry without its HTTP: what Confluent's API says each request does (Schema Registry API reference,
 * v1).
 *
 * Every operation takes the request's parts and gives the answer as JSON. Codes: BF_OK, *out is the caller's
 * (json_decref). BF_INVALID: refused; `no` has Confluent's error code and a message for the client. Anything else is a
 * failure of ours, told in err. Any thread; each call is one transaction, on disk when it returns. Schema type is AVRO
 * only.
 */
#ifndef REGISTRY_H
#define REGISTRY_H

#include "bf_buf.h"
#include "bf_err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct registry;

struct registry_refusal {
    int code; /* 40401 … or an HTTP status; its first three digits are the HTTP status */
    struct bf_buf message;
};
void registry_refusal_init(struct registry_refusal *no);
void registry_refusal_fini(struct registry_refusal *no);

enum registry_deleted { REGISTRY_UNDELETED, REGISTRY_WITH_DELETED, REGISTRY_ONLY_DELETED };

struct registry_page {
    int64_t offset, limit; /* limit below 0: all */
};

BF_MUST_CHECK enum bf_code registry_open(const char *dir, int64_t map_bytes_max, struct registry **out,
                                         struct bf_err *err);
void registry_close(struct registry *r);

#define REGISTRY_OUT json_t **out, struct registry_refusal *no, struct bf_err *err

/* ---- registering and asking; `request` is the body: {"schema", "schemaType", "references", "id", "version"} ---- */
BF_MUST_CHECK enum bf_code registry_register(struct registry *r, const char *subject, const json_t *request,
                                             bool normalize, REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_lookup(struct registry *r, const char *subject, const json_t *request,
                                           bool normalize, bool deleted, REGISTRY_OUT);
/* version NULL: against all that the subject's level asks for. */
BF_MUST_CHECK enum bf_code registry_compatibility(struct registry *r, const char *subject, const char *version,
                                                  const json_t *request, bool normalize, bool verbose, REGISTRY_OUT);

/* ---- reading ---- */
BF_MUST_CHECK enum bf_code registry_subjects(struct registry *r, const char *prefix, enum registry_deleted deleted,
                                             struct registry_page page, REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_list_versions(struct registry *r, const char *subject,
                                                  enum registry_deleted deleted, struct registry_page page,
                                                  REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_version(struct registry *r, const char *subject, const char *version, bool deleted,
                                            REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_referenced_by(struct registry *r, const char *subject, const char *version,
                                                  REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_schemas(struct registry *r, const char *prefix, bool deleted, bool latest_only,
                                            struct registry_page page, REGISTRY_OUT);
/* `id` as the client wrote it. max_id: say the highest id, too. */
BF_MUST_CHECK enum bf_code registry_by_id(struct registry *r, const char *id, bool max_id, REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_by_guid(struct registry *r, const char *guid, REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_ids_of_guid(struct registry *r, const char *guid, REGISTRY_OUT);
/* Who uses an id: subject names, or {"subject","version"} when `versions`. */
BF_MUST_CHECK enum bf_code registry_uses_of_id(struct registry *r, const char *id, bool versions, bool deleted,
                                               REGISTRY_OUT);

/* ---- deleting: softly first, then permanently ---- */
BF_MUST_CHECK enum bf_code registry_delete_subject(struct registry *r, const char *subject, bool permanent,
                                                   REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_delete_version(struct registry *r, const char *subject, const char *version,
                                                   bool permanent, REGISTRY_OUT);

/* ---- settings; subject NULL: the global ones ---- */
BF_MUST_CHECK enum bf_code registry_config_get(struct registry *r, const char *subject, bool default_to_global,
                                               REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_config_put(struct registry *r, const char *subject, const json_t *request,
                                               REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_config_delete(struct registry *r, const char *subject, REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_mode_get(struct registry *r, const char *subject, bool default_to_global,
                                             REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_mode_put(struct registry *r, const char *subject, const json_t *request, bool force,
                                             REGISTRY_OUT);
BF_MUST_CHECK enum bf_code registry_mode_delete(struct registry *r, const char *subject, REGISTRY_OUT);

#endif
