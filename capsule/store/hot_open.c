/* Opening, closing and deleting the store.
 *
 * Without a sync at each commit the data files are good after a crash of the process (the kernel has the pages) but not after an unclean
 * end of the machine, and LMDB has no checksums that would show it. So the file `mark` says how the last owner left: "clean", or
 * "open" with the boot it ran in. Open in another boot and unsynced means: do not trust, rebuild. */
#include "bf_cond.h"
#include "bf_log.h"
#include "bf_time.h"
#include "hot_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MERGE_PAIRS 8192
#define FORMAT_VERSION 4 /* 2: events carry their content's hash; 3: the map of ids; 4: where a node's last event lies, and which topics have revisions */
#define READERS_MAX 1024
#define MAP_BYTES_LEAST ((int64_t)1 << 20)
#define PATH_BYTES 4096
#define MARK_BYTES 128
#define IDS_FILE "ids.map"
#define BOOT_FILE "/proc/sys/kernel/random/boot_id"
#define UNWRITTEN_BYTES_MAX ((uint64_t)1 << 20)

static const char *const db_names[DBS] = {
    [DB_META] = "meta", [DB_LOG] = "log", [DB_COMMITS] = "commits", [DB_IDS] = "ids", [DB_GONE] = "gone",
    [DB_BY_NODE] = "by_node", [DB_NODE_RUNS] = "node_runs", [DB_BY_TIME] = "by_time", [DB_RUNS] = "runs", [DB_LINKS] = "links", [DB_SEEN] = "seen", [DB_POISON_AT] = "poison_at",
    [DB_POISON_OF] = "poison_of", [DB_TOPICS] = "topics", [DB_NODES] = "nodes", [DB_NODE_TOPICS] = "node_topics",
    [DB_PARTITIONS] = "partitions", [DB_LEDGER] = "ledger", [DB_SCHEMAS] = "schemas", [DB_NOTES] = "notes",
};
static const char *const file_names[] = {"data.mdb", "lock.mdb", "mark", "mark.new", IDS_FILE, "lock"};

static enum bf_code path_of(char dst[PATH_BYTES], const char *dir, const char *file, struct bf_err *err) {
    int n = snprintf(dst, PATH_BYTES, "%s/%s", dir, file);
    return n > 0 && n < PATH_BYTES ? BF_OK : bf_fail(err, BF_INVALID, 0, "the path %s/%s is too long", dir, file);
}

/* ---- the mark ---- */

static enum bf_code read_small(const char *path, char *dst, size_t size, struct bf_err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return bf_fail(err, errno == ENOENT ? BF_NOT_FOUND : BF_BROKEN, errno, "opening %s: %s", path, strerror(errno));
    ssize_t n = read(fd, dst, size - 1);
    int error = errno;
    close(fd);
    if (n < 0)
        return bf_fail(err, BF_BROKEN, error, "reading %s: %s", path, strerror(error));
    dst[n] = '\0';
    dst[strcspn(dst, "\n")] = '\0';
    return BF_OK;
}

static int write_synced(int fd, const char *text) {
    size_t len = strlen(text);
    if (write(fd, text, len) != (ssize_t)len)
        return errno != 0 ? errno : ENOSPC;
    return fsync(fd) == 0 ? 0 : errno;
}

static int sync_dir(const char *dir) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return error;
}

static enum bf_code mark_write(const char *dir, const char *text, struct bf_err *err) {
    char path[PATH_BYTES], fresh[PATH_BYTES];
    enum bf_code code = path_of(path, dir, "mark", err);
    if (code == BF_OK)
        code = path_of(fresh, dir, "mark.new", err);
    if (code != BF_OK)
        return code;
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int error = fd < 0 ? errno : write_synced(fd, text);
    if (fd >= 0)
        close(fd);
    if (error == 0 && rename(fresh, path) != 0)
        error = errno;
    if (error == 0)
        error = sync_dir(dir);
    return error == 0 ? BF_OK : bf_fail(err, BF_BROKEN, error, "writing %s: %s", path, strerror(error));
}

static enum bf_code mark_check(const char *dir, const char *boot, struct bf_err *err) {
    char path[PATH_BYTES], mark[MARK_BYTES];
    enum bf_code code = path_of(path, dir, "mark", err);
    if (code == BF_OK)
        code = read_small(path, mark, sizeof mark, err);
    if (code == BF_NOT_FOUND) {
        code = path_of(path, dir, "data.mdb", err);
        if (code == BF_OK && access(path, F_OK) == 0)
            code = bf_fail(err, BF_REJECTED, 0, "%s has data but no mark of how it was left", dir);
        return code;
    }
    if (code != BF_OK || strcmp(mark, "clean") == 0 || strcmp(mark, "synced") == 0)
        return code;
    if (strncmp(mark, "open ", 5) == 0 && strcmp(mark + 5, boot) == 0)
        return BF_OK;
    return strcmp(mark, "corrupt") == 0
               ? bf_fail(err, BF_REJECTED, 0, "%s was found corrupt", dir)
               : bf_fail(err, BF_REJECTED, 0, "%s was open when the machine ended: what it holds cannot be trusted", dir);
}

/* The mark is written before the first change, so that there is no moment in which a change is unmarked. */
static enum bf_code mark_open(const char *dir, struct bf_err *err) {
    char boot[MARK_BYTES], mark[MARK_BYTES + 16];
    enum bf_code code = read_small(BOOT_FILE, boot, sizeof boot, err);
    if (code == BF_OK)
        code = mark_check(dir, boot, err);
    if (code != BF_OK)
        return code;
    snprintf(mark, sizeof mark, "open %s\n", boot);
    return mark_write(dir, mark, err);
}

/* From here on each commit is on the disk before it is acknowledged; what an earlier owner left unsynced is synced first. */
static enum bf_code mark_synced(struct hot *h, struct bf_err *err) {
    int rc = mdb_env_sync(h->env, 1);
    return rc == MDB_SUCCESS ? mark_write(h->dir, "synced\n", err) : hot_fail(err, rc, "syncing");
}

/* ---- the environment ---- */

static enum bf_code make_dirs(const char *dir, struct bf_err *err) {
    char path[PATH_BYTES];
    if (strlen(dir) >= sizeof path)
        return bf_fail(err, BF_INVALID, 0, "the path of the hot store is too long");
    strcpy(path, dir);
    for (char *at = path + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char end = *at;
        *at = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return bf_fail(err, BF_BROKEN, errno, "making the folder %s: %s", path, strerror(errno));
        *at = end;
        if (end == '\0')
            return BF_OK;
    }
}

static enum bf_code take_lock(const char *dir, int *lock_fd, struct bf_err *err) {
    char path[PATH_BYTES];
    enum bf_code code = path_of(path, dir, "lock", err);
    if (code != BF_OK)
        return code;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return bf_fail(err, BF_BROKEN, errno, "opening %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;
        close(fd);
        return bf_fail(err, BF_BROKEN, error, "the hot store %s is in use by another process", dir);
    }
    *lock_fd = fd;
    return BF_OK;
}

/* A file that ends before its pages do would end the process with SIGBUS. The last few may never have been written: they were free again before. */
static int check_length(const struct hot *h) {
    MDB_envinfo info;
    struct stat st;
    mdb_filehandle_t fd;
    int rc = mdb_env_info(h->env, &info);
    if (rc == MDB_SUCCESS)
        rc = mdb_env_get_fd(h->env, &fd);
    if (rc != MDB_SUCCESS || fstat(fd, &st) != 0)
        return rc != MDB_SUCCESS ? rc : errno;
    return (uint64_t)st.st_size + UNWRITTEN_BYTES_MAX >= (info.me_last_pgno + 1) * h->page_bytes ? MDB_SUCCESS : MDB_CORRUPTED;
}

static enum bf_code open_env(struct hot *h, const struct hot_settings *settings, struct bf_err *err) {
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | MDB_NOMEMINIT;
    if (!settings->sync_every_commit)
        flags |= MDB_NOSYNC;
    int rc = mdb_env_create(&h->env);
    if (rc == MDB_SUCCESS)
        rc = mdb_env_set_mapsize(h->env, (size_t)h->bytes_max);
    if (rc == MDB_SUCCESS)
        rc = mdb_env_set_maxdbs(h->env, DBS);
    if (rc == MDB_SUCCESS)
        rc = mdb_env_set_maxreaders(h->env, READERS_MAX);
    if (rc == MDB_SUCCESS)
        rc = mdb_env_open(h->env, h->dir, flags, 0600);
    int dead;
    if (rc == MDB_SUCCESS)
        rc = mdb_reader_check(h->env, &dead);
    if (rc == MDB_SUCCESS)
        rc = check_length(h);
    return rc == MDB_SUCCESS ? BF_OK : hot_fail(err, rc, "opening %s", h->dir);
}

static int open_dbs(struct hot *h, MDB_txn *txn) {
    int rc = MDB_SUCCESS;
    for (int i = 0; i < DBS && rc == MDB_SUCCESS; i++)
        rc = mdb_dbi_open(txn, db_names[i], MDB_CREATE, &h->db[i]);
    return rc;
}

/* ---- what is inside ---- */

static enum bf_code check_format(struct hot *h, MDB_txn *txn, struct bf_err *err) {
    int64_t version = 0;
    int rc = hot_meta_get_i64(h, txn, "format", &version);
    if (rc == MDB_SUCCESS && version == 0) {
        version = FORMAT_VERSION;
        rc = hot_meta_put(h, txn, "format", &version, sizeof version);
    }
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading the format");
    if (version != FORMAT_VERSION)
        return bf_fail(err, BF_REJECTED, 0, "%s has format %lld, this program writes %d", h->dir, (long long)version, FORMAT_VERSION);
    return BF_OK;
}

static enum bf_code check_cluster(struct hot *h, MDB_txn *txn, const char *cluster_id, struct bf_err *err) {
    MDB_val key = {7, (void *)(uintptr_t) "cluster"}, value;
    int rc = mdb_get(txn, h->db[DB_META], &key, &value);
    if (rc == MDB_NOTFOUND) {
        rc = hot_meta_put(h, txn, "cluster", cluster_id, strlen(cluster_id));
        return rc == MDB_SUCCESS ? BF_OK : hot_fail(err, rc, "noting the cluster");
    }
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading the cluster");
    if (value.mv_size == strlen(cluster_id) && memcmp(value.mv_data, cluster_id, value.mv_size) == 0)
        return BF_OK;
    return bf_fail(err, BF_BROKEN, 0, "%s holds events of Kafka cluster %.*s, not of %s", h->dir, (int)value.mv_size,
                   (const char *)value.mv_data, cluster_id);
}

static int load_instance(struct hot *h, MDB_txn *txn) {
    struct hot_key key = {.len = 0};
    key_raw(&key, "instance", 8);
    int rc = hot_get(txn, h->db[DB_META], &key, &h->instance, sizeof h->instance);
    if (rc != MDB_NOTFOUND)
        return rc;
    h->instance = bf_uuid_v7();
    return hot_put(txn, h->db[DB_META], &key, &h->instance, sizeof h->instance);
}

/* The newest key of a database whose keys are recorded_at; 0 when it is empty. */
static int newest_key(MDB_txn *txn, MDB_dbi db, int64_t *newest) {
    MDB_cursor *cur;
    MDB_val key, value;
    *newest = 0;
    int rc = mdb_cursor_open(txn, db, &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_cursor_get(cur, &key, &value, MDB_LAST);
    if (rc == MDB_SUCCESS && key.mv_size == 8)
        *newest = (int64_t)bf_get_be64(key.mv_data);
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/* Of a store that was written before this was noted. */
static int find_dated(struct hot *h, MDB_txn *txn, int64_t *dated_us) {
    MDB_cursor *cur;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, h->db[DB_NODE_TOPICS], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    while ((rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        struct node_topic_row row;
        memcpy(&row, value.mv_data, sizeof row);
        *dated_us = row.last_event_time_us > *dated_us ? row.last_event_time_us : *dated_us;
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static int load_clocks(struct hot *h, MDB_txn *txn) {
    int64_t recorded_through = 0, hot_from = 0, next_node = 0, committed = 0, dated = INT64_MIN;
    int rc = hot_meta_get_i64(h, txn, "recorded_through", &recorded_through);
    if (rc == MDB_SUCCESS)
        rc = hot_meta_get_i64(h, txn, "hot_from", &hot_from);
    if (rc == MDB_SUCCESS)
        rc = hot_meta_get_i64(h, txn, "next_node", &next_node);
    if (rc == MDB_SUCCESS)
        rc = newest_key(txn, h->db[DB_COMMITS], &committed);
    if (rc == MDB_SUCCESS)
        rc = hot_meta_get_i64(h, txn, "dated_through", &dated);
    h->dated_saved_us = dated;
    if (rc == MDB_SUCCESS && dated == INT64_MIN)
        rc = find_dated(h, txn, &dated);
    atomic_store(&h->dated_through_us, dated);
    atomic_store(&h->recorded_through_us, recorded_through);
    atomic_store(&h->hot_from_us, hot_from);
    atomic_store(&h->committed_us, committed);
    h->next_node_no = (uint32_t)next_node;
    h->last_us = recorded_through > committed ? recorded_through : committed;
    return rc;
}

static enum bf_code load(struct hot *h, const char *cluster_id, struct bf_err *err) {
    MDB_txn *txn;
    enum bf_code code = hot_write_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = open_dbs(h, txn);
    if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "opening the databases");
    if (code == BF_OK)
        code = check_format(h, txn, err);
    if (code == BF_OK)
        code = check_cluster(h, txn, cluster_id, err);
    if (code == BF_OK) {
        rc = load_instance(h, txn);
        if (rc == MDB_SUCCESS)
            rc = load_clocks(h, txn);
        if (rc == MDB_SUCCESS)
            rc = hot_topics_load(h, txn);
        if (rc == MDB_SUCCESS)
            rc = hot_notes_load(h, txn);
        if (rc == MDB_SUCCESS)
            rc = node_runs_get(h, txn, &h->node_runs);
        if (rc != MDB_SUCCESS)
            code = hot_fail(err, rc, "loading");
    }
    return hot_write_end(h, txn, code, &(struct hot_publish){0}, err);
}

/* ---- the map of ids ---- */

static enum bf_code fill_ids(struct hot *h, MDB_txn *txn, const char *path, const char *boot, bool fresh, struct bf_err *err) {
    int64_t newest = 0;
    enum bf_code code = BF_OK;
    int rc = newest_key(txn, h->db[DB_LOG], &newest);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "reading the log's end");
    if (!fresh && id_map_reached(h->ids) < newest) { /* an older one than the log */
        id_map_close(h->ids, false);
        h->ids = NULL;
        if (unlink(path) != 0)
            return bf_fail(err, BF_BROKEN, errno, "deleting %s: %s", path, strerror(errno));
        code = id_map_open(path, &h->instance, boot, &h->ids, &fresh, err);
    }
    if (code != BF_OK || !fresh)
        return code;
    if (newest > 0)
        bf_log(BF_LOG_INFO, "id_map_is_made_anew", "from=log dir=%s", h->dir); /* with much in it this takes a while */
    rc = ids_rebuild(h, txn);
    if (rc != MDB_SUCCESS)
        return hot_fail(err, rc, "making the map of ids");
    id_map_reach(h->ids, newest);
    id_map_filled(h->ids);
    return BF_OK;
}

static enum bf_code open_ids(struct hot *h, struct bf_err *err) {
    char path[PATH_BYTES], boot[MARK_BYTES];
    MDB_txn *txn;
    bool fresh;
    enum bf_code code = path_of(path, h->dir, IDS_FILE, err);
    if (code == BF_OK)
        code = read_small(BOOT_FILE, boot, sizeof boot, err);
    if (code == BF_OK)
        code = id_map_open(path, &h->instance, boot, &h->ids, &fresh, err);
    if (code != BF_OK || (code = hot_read_begin(h, &txn, err)) != BF_OK)
        return code;
    code = fill_ids(h, txn, path, boot, fresh, err);
    hot_read_end(h, txn);
    return code;
}

static enum bf_code hot_new(const struct hot_settings *settings, struct hot **out, struct bf_err *err) {
    struct hot *h = calloc(1, sizeof *h);
    if (h == NULL)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the hot store");
    h->lock_fd = -1;
    h->page_bytes = (unsigned)sysconf(_SC_PAGESIZE);
    h->bytes_max = (uint64_t)settings->map_bytes_max / h->page_bytes * h->page_bytes;
    uint64_t room = h->bytes_max / 8;
    h->bytes_full = h->bytes_max - (room > (UINT64_C(256) << 20) ? UINT64_C(256) << 20 : room);
    h->sync_every_commit = settings->sync_every_commit;
    h->node_run_min = settings->node_run_min;
    h->node_merge_pairs = settings->node_merge_pairs != 0 ? settings->node_merge_pairs : MERGE_PAIRS;
    pthread_mutex_init(&h->pool_lock, NULL);
    pthread_mutex_init(&h->wait_lock, NULL);
    pthread_mutex_init(&h->note_lock, NULL);
    bf_cond_init(&h->newer);
    h->dir = strdup(settings->dir);
    h->nodes = node_cache_new();
    *out = h;
    return h->dir != NULL && h->nodes != NULL ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for the hot store");
}

static void hot_free(struct hot *h) {
    if (h == NULL)
        return;
    for (size_t i = 0; i < h->idle_count; i++)
        mdb_txn_abort(h->idle[i]);
    free(h->idle);
    id_map_close(h->ids, h->left_in_order);
    if (h->env != NULL)
        mdb_env_close(h->env);
    for (unsigned i = 0; i < atomic_load(&h->topic_count); i++)
        free(h->topics[i]);
    node_cache_free(h->nodes);
    if (h->lock_fd >= 0)
        close(h->lock_fd);
    pthread_cond_destroy(&h->newer);
    pthread_mutex_destroy(&h->pool_lock);
    pthread_mutex_destroy(&h->wait_lock);
    pthread_mutex_destroy(&h->note_lock);
    free(h->dir);
    free(h);
}

enum bf_code hot_open(const struct hot_settings *settings, struct hot **out, struct bf_err *err) {
    struct hot *h = NULL;
    enum bf_code code;
    if (settings->map_bytes_max < MAP_BYTES_LEAST)
        return bf_fail(err, BF_INVALID, 0, "the hot store needs at least %lld bytes", (long long)MAP_BYTES_LEAST);
    if ((code = hot_new(settings, &h, err)) != BF_OK || (code = make_dirs(settings->dir, err)) != BF_OK ||
        (code = take_lock(settings->dir, &h->lock_fd, err)) != BF_OK || (code = mark_open(settings->dir, err)) != BF_OK ||
        (code = open_env(h, settings, err)) != BF_OK || (code = load(h, settings->cluster_id, err)) != BF_OK || (code = open_ids(h, err)) != BF_OK)
        goto done;
    if (settings->sync_every_commit && (code = mark_synced(h, err)) != BF_OK)
        goto done;
    *out = h;
    h = NULL;
done:
    if (code == BF_BROKEN && hot_is_corrupt(err))
        code = err->code = BF_REJECTED;
    hot_free(h);
    return code;
}

bool hot_is_corrupt(const struct bf_err *err) {
    return err->native == MDB_CORRUPTED || err->native == MDB_PAGE_NOTFOUND || err->native == MDB_INVALID ||
           err->native == MDB_VERSION_MISMATCH || err->native == MDB_PANIC || err->native == MDB_INCOMPATIBLE;
}

void hot_condemn(struct hot *h) {
    atomic_store(&h->condemned, true);
}

/* Without a good sync there is no clean mark: the next boot will see that. */
void hot_close(struct hot *h) {
    struct bf_err err;
    if (h == NULL)
        return;
    if (atomic_load(&h->condemned))
        (void)!mark_write(h->dir, "corrupt\n", &err);
    else
        h->left_in_order = hot_sync(h, &err) == BF_OK && mark_write(h->dir, "clean\n", &err) == BF_OK;
    hot_free(h);
}

enum bf_code hot_destroy(const char *dir, struct bf_err *err) {
    char path[PATH_BYTES];
    int lock_fd = -1;
    if (access(dir, F_OK) != 0)
        return BF_OK;
    enum bf_code code = take_lock(dir, &lock_fd, err);
    for (size_t i = 0; code == BF_OK && i < sizeof file_names / sizeof file_names[0]; i++) {
        code = path_of(path, dir, file_names[i], err);
        if (code == BF_OK && unlink(path) != 0 && errno != ENOENT)
            code = bf_fail(err, BF_BROKEN, errno, "deleting %s: %s", path, strerror(errno));
    }
    if (lock_fd >= 0)
        close(lock_fd);
    return code;
}

struct bf_uuid hot_instance_id(const struct hot *h) {
    return h->instance;
}

bool hot_promise(struct hot *h, int64_t at_us) {
    hot_reserve_clock(h, at_us);
    return !atomic_load(&h->recording);
}

void hot_reserve_clock(struct hot *h, int64_t recorded_at_us) {
    int64_t reserved = atomic_load(&h->reserved_us);
    while (recorded_at_us > reserved && !atomic_compare_exchange_weak(&h->reserved_us, &reserved, recorded_at_us))
        ;
}
