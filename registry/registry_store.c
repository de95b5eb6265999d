/* One LMDB database; the first byte of a key says what it is, so that one cursor walks one kind:
 *
 *   's' id                         schema as JSON          'v' subject 0 version     id, deleted, time
 *   'd' digest or guid             id                      'u' id subject 0 version  (nothing): who uses an id
 *   'r' subject 0 version id       (nothing): referrers    'c' 'm' subject           settings as JSON
 *   'n'                            last id given           'f'                       format
 *
 * Numbers are big-endian, so byte order is number order. Subjects hold no zero byte. */
#include "registry_store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT 1
#define KEY_BYTES_MAX 511

struct registry_store {
    MDB_env *env;
    MDB_dbi dbi;
    int lock_fd;
};

struct registry_txn {
    struct registry_store *store;
    MDB_txn *txn;
};

struct key {
    uint8_t bytes[KEY_BYTES_MAX];
    size_t len;
};

static enum bf_code failed(struct bf_err *err, int rc, const char *what) {
    enum bf_code code = rc == MDB_NOTFOUND                                    ? BF_NOT_FOUND
                        : rc == MDB_MAP_FULL || rc == ENOMEM                  ? BF_NOMEM
                        : rc == EIO || rc == ENOSPC || rc == MDB_READERS_FULL ? BF_AGAIN
                                                                              : BF_BROKEN;
    return bf_fail(err, code, rc, "registry store: %s: %s", what, mdb_strerror(rc));
}

/* ---- keys ---- */

static void key_begin(struct key *k, char kind) {
    k->bytes[0] = (uint8_t)kind;
    k->len = 1;
}

static void key_add(struct key *k, const void *data, size_t len) {
    bf_assert(k->len + len <= sizeof k->bytes);
    memcpy(k->bytes + k->len, data, len);
    k->len += len;
}

static void key_add_be32(struct key *k, int32_t v) {
    uint8_t b[4];
    bf_put_be32(b, (uint32_t)v);
    key_add(k, b, sizeof b);
}

static void key_add_subject(struct key *k, const char *subject) {
    key_add(k, subject, strlen(subject) + 1);
}

static MDB_val key_val(struct key *k) {
    return (MDB_val){k->len, k->bytes};
}

static bool has_prefix(const MDB_val *v, const struct key *prefix) {
    return v->mv_size >= prefix->len && memcmp(v->mv_data, prefix->bytes, prefix->len) == 0;
}

/* ---- plain values ---- */

static enum bf_code put(struct registry_txn *t, struct key *k, const void *data, size_t len, struct bf_err *err) {
    MDB_val key = key_val(k), value = {len, (void *)(uintptr_t)data};
    int rc = mdb_put(t->txn, t->store->dbi, &key, &value, 0);
    return rc == 0 ? BF_OK : failed(err, rc, "put");
}

static enum bf_code del(struct registry_txn *t, struct key *k, struct bf_err *err) {
    MDB_val key = key_val(k);
    int rc = mdb_del(t->txn, t->store->dbi, &key, NULL);
    return rc == 0 ? BF_OK : failed(err, rc, "delete");
}

static enum bf_code get(struct registry_txn *t, struct key *k, MDB_val *value, struct bf_err *err) {
    MDB_val key = key_val(k);
    int rc = mdb_get(t->txn, t->store->dbi, &key, value);
    return rc == 0 ? BF_OK : failed(err, rc, "get");
}

static enum bf_code put_i32(struct registry_txn *t, struct key *k, int32_t v, struct bf_err *err) {
    uint8_t b[4];
    bf_put_be32(b, (uint32_t)v);
    return put(t, k, b, sizeof b, err);
}

static enum bf_code get_i32(struct registry_txn *t, struct key *k, int32_t *v, struct bf_err *err) {
    MDB_val value;
    if (get(t, k, &value, err) != BF_OK) {
        return err->code;
    }
    if (value.mv_size != 4) {
        return bf_fail(err, BF_BROKEN, 0, "registry store: a number of %zu bytes", value.mv_size);
    }
    *v = (int32_t)bf_get_be32(value.mv_data);
    return BF_OK;
}

static enum bf_code put_json(struct registry_txn *t, struct key *k, const json_t *json, struct bf_err *err) {
    char *text = json_dumps(json, JSON_COMPACT);
    if (text == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    enum bf_code code = put(t, k, text, strlen(text), err);
    free(text);
    return code;
}

static enum bf_code get_json(struct registry_txn *t, struct key *k, json_t **out, struct bf_err *err) {
    MDB_val value;
    json_error_t where;
    if (get(t, k, &value, err) != BF_OK) {
        return err->code;
    }
    json_t *json = json_loadb(value.mv_data, value.mv_size, 0, &where);
    if (json == NULL) {
        return bf_fail(err, BF_BROKEN, 0, "registry store: unreadable value: %s", where.text);
    }
    *out = json;
    return BF_OK;
}

/* ---- open, transactions ---- */

static enum bf_code lock_dir(const char *dir, int *fd, struct bf_err *err) {
    char path[4096];
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        return bf_fail(err, BF_INVALID, errno, "cannot make %s: %s", dir, strerror(errno));
    }
    if (snprintf(path, sizeof path, "%s/registry.lock", dir) >= (int)sizeof path) {
        return bf_fail(err, BF_INVALID, 0, "the directory's name is too long");
    }
    int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (f < 0) {
        return bf_fail(err, BF_INVALID, errno, "cannot open %s: %s", path, strerror(errno));
    }
    if (flock(f, LOCK_EX | LOCK_NB) != 0) {
        close(f);
        return bf_fail(err, BF_AGAIN, errno, "%s is used by another process", dir);
    }
    *fd = f;
    return BF_OK;
}

static enum bf_code check_format(struct registry_store *s, struct bf_err *err) {
    struct registry_txn *t = NULL;
    struct key k;
    int32_t format;
    if (registry_txn_begin(s, true, &t, err) != BF_OK) {
        return err->code;
    }
    key_begin(&k, 'f');
    enum bf_code code = get_i32(t, &k, &format, err);
    if (code == BF_OK && format != FORMAT) {
        code = bf_fail(err, BF_REJECTED, 0, "the store has format %d, this program knows %d", format, FORMAT);
    } else if (code == BF_NOT_FOUND) {
        code = put_i32(t, &k, FORMAT, err);
        if (code == BF_OK) {
            return registry_txn_commit(&t, err);
        }
    }
    registry_txn_abort(t);
    return code;
}

static enum bf_code open_dbi(struct registry_store *s, struct bf_err *err) {
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, NULL, 0, &s->dbi);
        if (rc == 0) {
            rc = mdb_txn_commit(txn);
        } else {
            mdb_txn_abort(txn);
        }
    }
    return rc == 0 ? BF_OK : failed(err, rc, "open");
}

enum bf_code registry_store_open(const char *dir, int64_t map_bytes_max, struct registry_store **out,
                                 struct bf_err *err) {
    struct registry_store *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    s->lock_fd = -1;
    enum bf_code code = lock_dir(dir, &s->lock_fd, err);
    if (code != BF_OK) {
        goto done;
    }
    int rc = mdb_env_create(&s->env);
    if (rc == 0) {
        rc = mdb_env_set_mapsize(s->env, (size_t)map_bytes_max);
    }
    if (rc == 0) {
        rc = mdb_env_set_maxreaders(s->env, 2048); /* more than there are connections */
    }
    if (rc == 0) {
        rc = mdb_env_open(s->env, dir, MDB_NOTLS, 0600);
    }
    if (rc != 0) {
        code = rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH || rc == MDB_CORRUPTED
                   ? bf_fail(err, BF_REJECTED, rc, "%s is not a registry's store: %s", dir, mdb_strerror(rc))
                   : failed(err, rc, "open");
        goto done;
    }
    code = open_dbi(s, err);
    if (code == BF_OK) {
        code = check_format(s, err);
    }
    if (code == BF_OK) {
        *out = s;
        s = NULL;
    }
done:
    registry_store_close(s);
    return code;
}

void registry_store_close(struct registry_store *s) {
    if (s == NULL) {
        return;
    }
    if (s->env != NULL) {
        mdb_env_close(s->env);
    }
    if (s->lock_fd >= 0) {
        close(s->lock_fd);
    }
    free(s);
}

enum bf_code registry_txn_begin(struct registry_store *s, bool write, struct registry_txn **out, struct bf_err *err) {
    struct registry_txn *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    t->store = s;
    int rc = mdb_txn_begin(s->env, NULL, write ? 0 : MDB_RDONLY, &t->txn);
    if (rc != 0) {
        free(t);
        return failed(err, rc, "begin");
    }
    *out = t;
    return BF_OK;
}

enum bf_code registry_txn_commit(struct registry_txn **txn, struct bf_err *err) {
    int rc = mdb_txn_commit((*txn)->txn);
    free(*txn);
    *txn = NULL;
    return rc == 0 ? BF_OK : failed(err, rc, "commit");
}

void registry_txn_abort(struct registry_txn *txn) {
    if (txn != NULL) {
        mdb_txn_abort(txn->txn);
        free(txn);
    }
}

/* ---- schemas ---- */

static struct key *schema_key(struct key *k, int32_t id) {
    key_begin(k, 's');
    key_add_be32(k, id);
    return k;
}

enum bf_code registry_schema_get(struct registry_txn *t, int32_t id, json_t **out, struct bf_err *err) {
    struct key k;
    return get_json(t, schema_key(&k, id), out, err);
}

enum bf_code registry_schema_put(struct registry_txn *t, int32_t id, const json_t *schema, struct bf_err *err) {
    struct key k;
    return put_json(t, schema_key(&k, id), schema, err);
}

enum bf_code registry_schema_delete(struct registry_txn *t, int32_t id, struct bf_err *err) {
    struct key k;
    return del(t, schema_key(&k, id), err);
}

enum bf_code registry_id_last(struct registry_txn *t, int32_t *id, struct bf_err *err) {
    struct key k;
    struct bf_err missing;
    key_begin(&k, 'n');
    enum bf_code code = get_i32(t, &k, id, &missing);
    if (code == BF_NOT_FOUND) {
        *id = 0;
        return BF_OK;
    }
    if (code != BF_OK) {
        *err = missing;
    }
    return code;
}

enum bf_code registry_id_seen(struct registry_txn *t, int32_t seen, struct bf_err *err) {
    struct key k;
    int32_t last;
    if (registry_id_last(t, &last, err) != BF_OK) {
        return err->code;
    }
    key_begin(&k, 'n');
    return seen > last ? put_i32(t, &k, seen, err) : BF_OK;
}

enum bf_code registry_id_next(struct registry_txn *t, int32_t *id, struct bf_err *err) {
    int32_t last;
    if (registry_id_last(t, &last, err) != BF_OK) {
        return err->code;
    }
    if (last == INT32_MAX) {
        return bf_fail(err, BF_NOMEM, 0, "all schema ids are used up");
    }
    if (registry_id_seen(t, last + 1, err) != BF_OK) {
        return err->code;
    }
    *id = last + 1;
    return BF_OK;
}

static struct key *digest_key(struct key *k, struct bf_slice digest) {
    key_begin(k, 'd');
    key_add(k, digest.data, digest.len);
    return k;
}

enum bf_code registry_digest_get(struct registry_txn *t, struct bf_slice digest, int32_t *id, struct bf_err *err) {
    struct key k;
    return get_i32(t, digest_key(&k, digest), id, err);
}

enum bf_code registry_digest_put(struct registry_txn *t, struct bf_slice digest, int32_t id, struct bf_err *err) {
    struct key k;
    return put_i32(t, digest_key(&k, digest), id, err);
}

enum bf_code registry_digest_delete(struct registry_txn *t, struct bf_slice digest, struct bf_err *err) {
    struct key k;
    return del(t, digest_key(&k, digest), err);
}

/* ---- versions ---- */

#define VERSION_BYTES 13

static struct key *version_key(struct key *k, const char *subject, int32_t version) {
    key_begin(k, 'v');
    key_add_subject(k, subject);
    key_add_be32(k, version);
    return k;
}

static struct key *use_key(struct key *k, int32_t id, const char *subject, int32_t version) {
    key_begin(k, 'u');
    key_add_be32(k, id);
    key_add_subject(k, subject);
    key_add_be32(k, version);
    return k;
}

static enum bf_code unpack_version(const MDB_val *value, int32_t version, struct registry_version *out,
                                   struct bf_err *err) {
    const uint8_t *p = value->mv_data;
    if (value->mv_size != VERSION_BYTES) {
        return bf_fail(err, BF_BROKEN, 0, "registry store: a version of %zu bytes", value->mv_size);
    }
    *out = (struct registry_version){version, (int32_t)bf_get_be32(p), p[4] != 0, (int64_t)bf_get_be64(p + 5)};
    return BF_OK;
}

enum bf_code registry_version_get(struct registry_txn *t, const char *subject, int32_t version,
                                  struct registry_version *out, struct bf_err *err) {
    struct key k;
    MDB_val value;
    return get(t, version_key(&k, subject, version), &value, err) == BF_OK ? unpack_version(&value, version, out, err)
                                                                           : err->code;
}

enum bf_code registry_version_put(struct registry_txn *t, const char *subject, const struct registry_version *v,
                                  struct bf_err *err) {
    struct key k;
    uint8_t b[VERSION_BYTES];
    bf_put_be32(b, (uint32_t)v->id);
    b[4] = v->deleted;
    bf_put_be64(b + 5, (uint64_t)v->registered_us);
    if (put(t, version_key(&k, subject, v->version), b, sizeof b, err) != BF_OK) {
        return err->code;
    }
    return put(t, use_key(&k, v->id, subject, v->version), "", 0, err);
}

enum bf_code registry_version_delete(struct registry_txn *t, const char *subject, const struct registry_version *v,
                                     struct bf_err *err) {
    struct key k;
    if (del(t, version_key(&k, subject, v->version), err) != BF_OK) {
        return err->code;
    }
    return del(t, use_key(&k, v->id, subject, v->version), err);
}

/* Walk the keys that begin with `prefix`. visit() gives BF_OK to go on, BF_CANCELLED to end well, or another code to
 * fail. */
typedef enum bf_code visitor(void *ctx, const MDB_val *key, const MDB_val *value, struct bf_err *err);

static enum bf_code walk(struct registry_txn *t, const struct key *prefix, visitor *visit, void *ctx,
                         struct bf_err *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(t->txn, t->store->dbi, &cursor);
    if (rc != 0) {
        return failed(err, rc, "cursor");
    }
    MDB_val key = {prefix->len, (void *)(uintptr_t)prefix->bytes}, value;
    enum bf_code code = BF_OK;
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); rc == 0 && has_prefix(&key, prefix);
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        code = visit(ctx, &key, &value, err);
        if (code != BF_OK) {
            break;
        }
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        return failed(err, rc, "walk");
    }
    return code == BF_CANCELLED ? BF_OK : code;
}

struct each {
    registry_each_version *call;
    void *ctx;
    struct registry_txn *txn;
    size_t skip; /* bytes of the key before the subject */
};

static enum bf_code visit_version(void *ctx, const MDB_val *key, const MDB_val *value, struct bf_err *err) {
    struct each *e = ctx;
    const char *subject = (const char *)key->mv_data + e->skip;
    int32_t version = (int32_t)bf_get_be32((const uint8_t *)key->mv_data + key->mv_size - 4);
    struct registry_version v;
    enum bf_code code = value->mv_size > 0 ? unpack_version(value, version, &v, err)
                                           : registry_version_get(e->txn, subject, version, &v, err);
    if (code != BF_OK) {
        return code;
    }
    return e->call(e->ctx, subject, &v) ? BF_OK : BF_CANCELLED;
}

enum bf_code registry_versions_each(struct registry_txn *t, const char *prefix, registry_each_version *each, void *ctx,
                                    struct bf_err *err) {
    struct key k;
    struct each e = {each, ctx, t, 1};
    key_begin(&k, 'v');
    key_add(&k, prefix, strlen(prefix));
    return walk(t, &k, visit_version, &e, err);
}

enum bf_code registry_uses_each(struct registry_txn *t, int32_t id, registry_each_version *each, void *ctx,
                                struct bf_err *err) {
    struct key k;
    struct each e = {each, ctx, t, 5};
    key_begin(&k, 'u');
    key_add_be32(&k, id);
    return walk(t, &k, visit_version, &e, err);
}

struct version_list {
    struct registry_version *items;
    size_t count, cap;
};

static enum bf_code visit_list(void *ctx, const MDB_val *key, const MDB_val *value, struct bf_err *err) {
    struct version_list *l = ctx;
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 8 : l->cap * 2;
        struct registry_version *bigger = realloc(l->items, cap * sizeof *bigger);
        if (bigger == NULL) {
            return bf_fail(err, BF_NOMEM, 0, "out of memory");
        }
        l->items = bigger;
        l->cap = cap;
    }
    int32_t version = (int32_t)bf_get_be32((const uint8_t *)key->mv_data + key->mv_size - 4);
    return unpack_version(value, version, &l->items[l->count++], err);
}

enum bf_code registry_versions(struct registry_txn *t, const char *subject, struct registry_version **out,
                               size_t *count, struct bf_err *err) {
    struct key k;
    struct version_list l = {0};
    key_begin(&k, 'v');
    key_add_subject(&k, subject);
    if (walk(t, &k, visit_list, &l, err) != BF_OK) {
        free(l.items);
        return err->code;
    }
    *out = l.items;
    *count = l.count;
    return BF_OK;
}

/* ---- referrers ---- */

static struct key *referrer_key(struct key *k, const char *subject, int32_t version) {
    key_begin(k, 'r');
    key_add_subject(k, subject);
    key_add_be32(k, version);
    return k;
}

enum bf_code registry_referrer_put(struct registry_txn *t, const char *subject, int32_t version, int32_t id,
                                   struct bf_err *err) {
    struct key k;
    key_add_be32(referrer_key(&k, subject, version), id);
    return put(t, &k, "", 0, err);
}

enum bf_code registry_referrer_delete(struct registry_txn *t, const char *subject, int32_t version, int32_t id,
                                      struct bf_err *err) {
    struct key k;
    key_add_be32(referrer_key(&k, subject, version), id);
    return del(t, &k, err);
}

struct id_list {
    int32_t *items;
    size_t count;
};

static enum bf_code visit_referrer(void *ctx, const MDB_val *key, const MDB_val *value, struct bf_err *err) {
    struct id_list *l = ctx;
    (void)value;
    int32_t *bigger = realloc(l->items, (l->count + 1) * sizeof *bigger);
    if (bigger == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    l->items = bigger;
    l->items[l->count++] = (int32_t)bf_get_be32((const uint8_t *)key->mv_data + key->mv_size - 4);
    return BF_OK;
}

enum bf_code registry_referrers(struct registry_txn *t, const char *subject, int32_t version, int32_t **out,
                                size_t *count, struct bf_err *err) {
    struct key k;
    struct id_list l = {0};
    if (walk(t, referrer_key(&k, subject, version), visit_referrer, &l, err) != BF_OK) {
        free(l.items);
        return err->code;
    }
    *out = l.items;
    *count = l.count;
    return BF_OK;
}

/* ---- settings ---- */

static struct key *setting_key(struct key *k, char kind, const char *subject) {
    key_begin(k, kind);
    key_add(k, subject, strlen(subject));
    return k;
}

enum bf_code registry_setting_get(struct registry_txn *t, char kind, const char *subject, json_t **out,
                                  struct bf_err *err) {
    struct key k;
    return get_json(t, setting_key(&k, kind, subject), out, err);
}

enum bf_code registry_setting_put(struct registry_txn *t, char kind, const char *subject, const json_t *value,
                                  struct bf_err *err) {
    struct key k;
    return put_json(t, setting_key(&k, kind, subject), value, err);
}

enum bf_code registry_setting_delete(struct registry_txn *t, char kind, const char *subject, struct bf_err *err) {
    struct key k;
    return del(t, setting_key(&k, kind, subject), err);
}
