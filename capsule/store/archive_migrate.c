/* Migrations: read the folder, compare with what the database says was applied, apply the rest.
 *
 * Phases: read and hash every file; take the advisory lock (one migrator at a time, the others then find the work done); check that what
 * is recorded is exactly a beginning of what the folder has (numbers ascend and may leave gaps); apply each further file in a transaction
 * of its own that also records it.
 */
#include "archive_internal.h"

#include "bf_failpoint.h"
#include "bf_sha256.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIGRATIONS_MAX 1000
#define MIGRATION_BYTES_MAX (4 << 20)
#define MIGRATION_LOCK "hashtextextended('capsule.migrations', 0)"

struct migration {
    int version;
    char name[256];
    char sha256[65];
    char *sql;
};

struct migrations {
    struct migration all[MIGRATIONS_MAX];
    size_t count;
};

static void migrations_free(struct migrations *m) {
    if (!m)
        return;
    for (size_t i = 0; i < m->count; i++)
        free(m->all[i].sql);
    free(m);
}

/* NNNN_name.sql */
static bool name_version(const char *name, int *version) {
    size_t n = strlen(name);
    if (n < 10 || n >= sizeof((struct migration *)0)->name || strspn(name, "0123456789") != 4 || name[4] != '_' ||
        strcmp(name + n - 4, ".sql") != 0)
        return false;
    *version = atoi(name);
    return true;
}

static enum bf_code read_file(const char *path, char **out, size_t *len, struct bf_err *err) {
    enum bf_code code = BF_OK;
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    if (!f) {
        code = bf_fail(err, BF_INVALID, errno, "%s: %s", path, strerror(errno));
        goto done;
    }
    if (!(text = malloc(MIGRATION_BYTES_MAX + 1))) {
        code = bf_fail(err, BF_NOMEM, 0, "no memory for %s", path);
        goto done;
    }
    *len = fread(text, 1, MIGRATION_BYTES_MAX, f);
    text[*len] = 0;
    if (ferror(f) || !feof(f) || strlen(text) != *len) {
        code = bf_fail(err, BF_INVALID, 0, "%s: not readable as a text of at most %d bytes", path, MIGRATION_BYTES_MAX);
        goto done;
    }
    *out = text;
    text = NULL;
done:
    free(text);
    if (f)
        fclose(f);
    return code;
}

static enum bf_code read_migration(const char *dir, const char *name, struct migration *m, struct bf_err *err) {
    char path[4096];
    size_t len = 0;
    uint8_t sum[BF_SHA256_BYTES];
    char text[BF_SHA256_TEXT_LEN + 1];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    enum bf_code code = read_file(path, &m->sql, &len, err);
    if (code != BF_OK)
        return code;
    snprintf(m->name, sizeof m->name, "%s", name);
    bf_sha256_of(m->sql, len, sum);
    bf_sha256_text(text, sum);
    strcpy(m->sha256, text + strlen("sha256:"));
    return BF_OK;
}

static int by_version(const void *a, const void *b) {
    return ((const struct migration *)a)->version - ((const struct migration *)b)->version;
}

static enum bf_code read_folder(const char *dir, struct migrations *m, struct bf_err *err) {
    enum bf_code code = BF_OK;
    DIR *d = opendir(dir);
    if (!d)
        return bf_fail(err, BF_INVALID, errno, "migrations: %s: %s", dir, strerror(errno));
    for (struct dirent *e; code == BF_OK && (e = readdir(d)) != NULL;) {
        int version;
        if (!name_version(e->d_name, &version))
            continue;
        if (m->count == MIGRATIONS_MAX) {
            code = bf_fail(err, BF_INVALID, 0, "migrations: %s has more than %d files", dir, MIGRATIONS_MAX);
            break;
        }
        struct migration *next = &m->all[m->count++];
        next->version = version;
        code = read_migration(dir, e->d_name, next, err);
    }
    closedir(d);
    if (code == BF_OK && m->count == 0)
        code = bf_fail(err, BF_INVALID, 0, "migrations: %s has none", dir);
    qsort(m->all, m->count, sizeof *m->all, by_version);
    for (size_t i = 1; code == BF_OK && i < m->count; i++)
        if (m->all[i].version == m->all[i - 1].version)
            code = bf_fail(err, BF_INVALID, 0, "migrations: %s: %s and %s have the same number", dir, m->all[i - 1].name, m->all[i].name);
    return code;
}

static enum bf_code check_row(const struct migrations *m, size_t i, int version, struct bf_slice sha, struct bf_slice name, struct bf_err *err) {
    if (i < m->count && version > m->all[i].version)
        return bf_fail(err, BF_BROKEN, 0, "the database lacks migration %s but has %04d: it is not ours", m->all[i].name, version);
    if (i >= m->count || version < m->all[i].version)
        return bf_fail(err, BF_BROKEN, 0, "the database has migration %.*s, which this program does not know: a newer one made it", (int)name.len,
                       (const char *)name.data);
    if (!bf_slice_eq(sha, bf_slice_str(m->all[i].sha256)))
        return bf_fail(err, BF_BROKEN, 0, "migration %s is not the one that was applied: its SHA-256 was %.*s and is %s", m->all[i].name,
                       (int)sha.len, (const char *)sha.data, m->all[i].sha256);
    return BF_OK;
}

/* *done: how many of the files are applied; BF_BROKEN when what is recorded is not a beginning of them. */
static enum bf_code check_applied(struct archive *a, const struct migrations *m, size_t *done, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    enum bf_code code = archive_exec(a, "select to_regclass('capsule.migrations') is null", "looking for migrations", &r, err);
    bool none = code == BF_OK && *PQgetvalue(r, 0, 0) != 0;
    PQclear(r);
    *done = 0;
    if (code != BF_OK || none)
        return code;
    code = archive_exec(a, "select version, sha256, name from capsule.migrations order by version", "reading migrations", &r, err);
    if (code != BF_OK)
        return code;
    for (int i = 0; code == BF_OK && i < PQntuples(r); i++)
        code = check_row(m, (size_t)i, pg_int4(r, i, 0), pg_bytes(r, i, 1), pg_bytes(r, i, 2), err);
    if (code == BF_OK)
        *done = (size_t)PQntuples(r);
    PQclear(r);
    return code;
}

static enum bf_code apply(struct archive *a, const struct migration *m, struct bf_err *err) {
    bool unknown;
    enum bf_code code = archive_begin(a, err);
    if (code == BF_OK)
        code = archive_script(a, m->sql, m->name, err);
    if (code == BF_OK) {
        params_clear(&a->params);
        params_int4(&a->params, m->version);
        params_text(&a->params, bf_slice_str(m->name));
        params_text(&a->params, bf_slice_str(m->sha256));
        code = archive_exec(a, "insert into capsule.migrations (version, name, sha256) values ($1, $2, $3)", "recording a migration", NULL, err);
    }
    bf_failpoint("migrate.before-commit");
    if (code == BF_OK)
        code = archive_commit(a, &unknown, err);
    bf_failpoint("migrate.after-commit");
    archive_rollback(a);
    if (code == BF_REJECTED) /* no row of ours is at fault */
        code = err->code = BF_BROKEN;
    return code;
}

enum bf_code archive_migrate(struct archive *a, const char *migrations_dir, int *applied, struct bf_err *err) {
    size_t done = 0;
    int count = 0;
    struct migrations *m = calloc(1, sizeof *m);
    enum bf_code code = m ? read_folder(migrations_dir, m, err) : bf_fail(err, BF_NOMEM, 0, "no memory for migrations");
    if (code == BF_OK) /* the role of daily work may not change tables; waiting for another migrator is bounded */
        code = archive_script(a, "reset role; set lock_timeout = '60s'; select pg_advisory_lock(" MIGRATION_LOCK ")",
                              "waiting for the migrations' lock", err);
    if (code != BF_OK)
        goto done;
    code = check_applied(a, m, &done, err);
    for (size_t i = done; code == BF_OK && i < m->count; i++, count++)
        code = apply(a, &m->all[i], err);
    struct bf_err ignored;
    if (a->pg && archive_script(a, "set lock_timeout = 0; select pg_advisory_unlock(" MIGRATION_LOCK ")", "unlocking", &ignored) != BF_OK)
        archive_disconnect(a);
    if (code == BF_OK)
        code = archive_take_role(a, err);
    if (code == BF_OK)
        *applied = count;
done:
    if (code != BF_OK)
        archive_disconnect(a); /* with it goes the lock, and a half-set session */
    migrations_free(m);
    return code;
}

enum bf_code archive_bind_cluster(struct archive *a, const char *cluster_id, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_text(&a->params, bf_slice_str(cluster_id));
    enum bf_code code = archive_exec(a, "insert into capsule.cluster (cluster_id) values ($1) on conflict do nothing", "binding to a cluster", NULL, err);
    if (code != BF_OK)
        return code;
    params_clear(&a->params);
    if ((code = archive_exec(a, "select cluster_id from capsule.cluster", "reading the cluster", &r, err)) != BF_OK)
        return code;
    struct bf_slice bound = PQntuples(r) == 1 ? pg_bytes(r, 0, 0) : BF_SLICE_NONE;
    if (!bf_slice_eq(bound, bf_slice_str(cluster_id)))
        code = bf_fail(err, BF_BROKEN, 0, "this database belongs to Kafka cluster %.*s, not to %s", (int)bound.len,
                       bound.data ? (const char *)bound.data : "", cluster_id);
    PQclear(r);
    return code;
}

enum bf_code archive_secret(struct archive *a, const char *name, uint8_t *out, size_t len, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    params_text(&a->params, bf_slice_str(name));
    enum bf_code code = archive_exec(a, "select value from capsule.secrets where name = $1", "reading a key", &r, err);
    if (code != BF_OK)
        return code;
    struct bf_slice value = PQntuples(r) == 1 ? pg_bytes(r, 0, 0) : BF_SLICE_NONE;
    if (value.len < len)
        code = bf_fail(err, BF_BROKEN, 0, "the archive has no key '%s' of %zu bytes", name, len);
    else
        memcpy(out, value.data, len);
    PQclear(r);
    return code;
}

enum bf_code archive_identity(struct archive *a, struct bf_uuid *id, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    enum bf_code code = archive_exec(a, "select archive_id from capsule.cluster", "asking which database it is", &r, err);
    if (code == BF_OK && PQntuples(r) != 1)
        code = bf_fail(err, BF_BROKEN, 0, "the database is not bound to a cluster");
    if (code == BF_OK)
        pg_uuid(r, 0, 0, id);
    PQclear(r);
    return code;
}
