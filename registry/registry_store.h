/* What the registry keeps, in LMDB: schemas by id, versions by subject, settings. The only place here that knows LMDB.
 *
 * Guarantees: a commit is on disk when it returns (no flag that trades that away is used), all of it or nothing; ids
 * only grow, also over deletions and crashes. One process per directory (a lock file says so). Threads: any number of
 * reading transactions beside one writing transaction; begin(write) waits for its turn. A transaction belongs to the
 * thread that began it, lives for one request and never waits for anything but the disk.
 */
#ifndef REGISTRY_STORE_H
#define REGISTRY_STORE_H

#include "bf_buf.h"
#include "bf_err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define REGISTRY_SUBJECT_BYTES_MAX 400

struct registry_store;
struct registry_txn;

struct registry_version {
    int32_t version, id;
    bool deleted; /* softly: kept, shown only when asked for */
    int64_t registered_us;
};

/* dir is made when missing. BF_AGAIN: another process has it. BF_REJECTED: not a registry's, or of a newer format. */
BF_MUST_CHECK enum bf_code registry_store_open(const char *dir, int64_t map_bytes_max, struct registry_store **out,
                                               struct bf_err *err);
void registry_store_close(struct registry_store *s);

BF_MUST_CHECK enum bf_code registry_txn_begin(struct registry_store *s, bool write, struct registry_txn **out,
                                              struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_txn_commit(struct registry_txn **txn,
                                               struct bf_err *err); /* consumed whatever the outcome */
void registry_txn_abort(struct registry_txn *txn);                  /* NULL is fine */

/* ---- schemas: {"schema":"…","references":[{name,subject,version}…],"guid":"…"}; the caller owns *out ---- */
BF_MUST_CHECK enum bf_code registry_schema_get(struct registry_txn *t, int32_t id, json_t **out, struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_schema_put(struct registry_txn *t, int32_t id, const json_t *schema,
                                               struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_schema_delete(struct registry_txn *t, int32_t id, struct bf_err *err);
/* The next id that was never given; raise it above `seen`. */
BF_MUST_CHECK enum bf_code registry_id_next(struct registry_txn *t, int32_t *id, struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_id_seen(struct registry_txn *t, int32_t seen, struct bf_err *err);
/* The highest id ever given, 0 for none. */
BF_MUST_CHECK enum bf_code registry_id_last(struct registry_txn *t, int32_t *id, struct bf_err *err);

/* Which id a content has; `digest` is the SHA-256 of text and references. Also by guid (16 bytes). BF_NOT_FOUND. */
BF_MUST_CHECK enum bf_code registry_digest_get(struct registry_txn *t, struct bf_slice digest, int32_t *id,
                                               struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_digest_put(struct registry_txn *t, struct bf_slice digest, int32_t id,
                                               struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_digest_delete(struct registry_txn *t, struct bf_slice digest, struct bf_err *err);

/* ---- versions of subjects ---- */
BF_MUST_CHECK enum bf_code registry_version_get(struct registry_txn *t, const char *subject, int32_t version,
                                                struct registry_version *out, struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_version_put(struct registry_txn *t, const char *subject,
                                                const struct registry_version *v, struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_version_delete(struct registry_txn *t, const char *subject,
                                                   const struct registry_version *v, struct bf_err *err);
/* All versions of one subject, ascending, deleted ones too; free(*out). None is BF_OK with *count 0. */
BF_MUST_CHECK enum bf_code registry_versions(struct registry_txn *t, const char *subject, struct registry_version **out,
                                             size_t *count, struct bf_err *err);

/* Call `each` for all versions of the subjects that begin with `prefix`, by subject, then version. false ends it.
 * subject is borrowed. */
typedef bool registry_each_version(void *ctx, const char *subject, const struct registry_version *v);
BF_MUST_CHECK enum bf_code registry_versions_each(struct registry_txn *t, const char *prefix,
                                                  registry_each_version *each, void *ctx, struct bf_err *err);
/* The same for all that use a schema id. */
BF_MUST_CHECK enum bf_code registry_uses_each(struct registry_txn *t, int32_t id, registry_each_version *each,
                                              void *ctx, struct bf_err *err);

/* ---- who refers to a version: ids of schemas ---- */
BF_MUST_CHECK enum bf_code registry_referrer_put(struct registry_txn *t, const char *subject, int32_t version,
                                                 int32_t id, struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_referrer_delete(struct registry_txn *t, const char *subject, int32_t version,
                                                    int32_t id, struct bf_err *err);
/* Ascending; free(*out). */
BF_MUST_CHECK enum bf_code registry_referrers(struct registry_txn *t, const char *subject, int32_t version,
                                              int32_t **out, size_t *count, struct bf_err *err);

/* ---- settings: JSON objects by kind ('c' config, 'm' mode) and subject ("" is the global one); the caller owns *out
 * ---- */
BF_MUST_CHECK enum bf_code registry_setting_get(struct registry_txn *t, char kind, const char *subject, json_t **out,
                                                struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_setting_put(struct registry_txn *t, char kind, const char *subject,
                                                const json_t *value, struct bf_err *err);
BF_MUST_CHECK enum bf_code registry_setting_delete(struct registry_txn *t, char kind, const char *subject,
                                                   struct bf_err *err);

#endif
