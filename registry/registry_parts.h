/* What the files of the registry's logic share; nobody else includes it. */
#ifndef REGISTRY_PARTS_H
#define REGISTRY_PARTS_H

#include "avro_schema.h"
#include "registry.h"
#include "registry_store.h"

struct registry {
    struct registry_store *store;
};

/* Fill `no` and return BF_INVALID. */
enum bf_code registry_refuse(struct registry_refusal *no, struct bf_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
BF_MUST_CHECK enum bf_code registry_check_subject(const char *subject, struct registry_refusal *no, struct bf_err *err);

/* "latest", "-1" (0 then) or a number from 1. */
BF_MUST_CHECK enum bf_code registry_parse_version(const char *text, int32_t *version, struct registry_refusal *no,
                                                  struct bf_err *err);
/* The version that is meant (0: the newest), or 40401, 40402. */
BF_MUST_CHECK enum bf_code registry_find_version(struct registry_txn *t, const char *subject, int32_t version,
                                                 bool deleted, struct registry_version *out,
                                                 struct registry_refusal *no, struct bf_err *err);

/* {"subject","version","id","guid","schema",…} of a version; the caller owns *out. */
BF_MUST_CHECK enum bf_code registry_describe(struct registry_txn *t, const char *subject,
                                             const struct registry_version *v, json_t **out, struct bf_err *err);

/* ---- settings in force ---- */
enum registry_level {
    REGISTRY_NONE,
    REGISTRY_BACKWARD,
    REGISTRY_BACKWARD_TRANSITIVE,
    REGISTRY_FORWARD,
    REGISTRY_FORWARD_TRANSITIVE,
    REGISTRY_FULL,
    REGISTRY_FULL_TRANSITIVE
};
enum registry_mode { REGISTRY_READWRITE, REGISTRY_READONLY, REGISTRY_READONLY_OVERRIDE, REGISTRY_IMPORT };

const char *registry_level_name(enum registry_level level);
BF_MUST_CHECK enum bf_code registry_config_in_force(struct registry_txn *t, const char *subject,
                                                    enum registry_level *level, bool *normalize, struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_mode_in_force(struct registry_txn *t, const char *subject, enum registry_mode *mode,
                                                  struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_check_writable(struct registry_txn *t, const char *subject,
                                                   struct registry_refusal *no, struct bf_err *err);
/* Forget config and mode of a subject that has no versions left. */
BF_MUST_CHECK enum bf_code registry_settings_drop(struct registry_txn *t, const char *subject, struct bf_err *err);

/* ---- content: a schema with its references, as it is stored and recognised ---- */
struct registry_content {
    struct avro_schema *schema;
    struct bf_buf text; /* canonical or normal form, NUL-ended after len */
    json_t *references; /* array, direct ones */
    uint8_t digest[32], guid[16];
};
#define REGISTRY_DIGEST(c) ((struct bf_slice){(c)->digest, sizeof(c)->digest})
#define REGISTRY_GUID(c) ((struct bf_slice){(c)->guid, sizeof(c)->guid})

/* From a request's body; 42201 and its kin when it is no good. The caller frees with registry_content_fini(), also
 * after a failure. */
BF_MUST_CHECK enum bf_code registry_content_read(struct registry_txn *t, const json_t *request, bool normalize,
                                                 struct registry_content *c, struct registry_refusal *no,
                                                 struct bf_err *err);
/* Of a schema that is stored. */
BF_MUST_CHECK enum bf_code registry_content_load(struct registry_txn *t, int32_t id, struct registry_content *c,
                                                 struct bf_err *err);
/* The same without parsing: schema stays NULL. */
BF_MUST_CHECK enum bf_code registry_content_load_text(struct registry_txn *t, int32_t id, struct registry_content *c,
                                                      struct bf_err *err);
/* The digest and guid of text and references alone. */
BF_MUST_CHECK enum bf_code registry_content_digest(struct registry_content *c, struct bf_err *err);
void registry_content_fini(struct registry_content *c);
void registry_guid_text(const uint8_t guid[16], char dst[37]);

/* Check new content against versions (ascending) by level, newest first. *compatible false: `messages` says why. */
BF_MUST_CHECK enum bf_code registry_check_level(struct registry_txn *t, const struct registry_content *c,
                                                enum registry_level level, const struct registry_version *versions,
                                                size_t count, bool *compatible, json_t *messages, struct bf_err *err);

#endif
