/* Notes of the loops and schemas as kept: small rows beside the events. Notes live in memory and reach the disk with whatever is committed next. */
#include "hot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct hot_note *find_note(struct hot *h, const char *name) {
    for (size_t i = 0; i < h->note_count; i++) {
        if (strcmp(h->notes[i].name, name) == 0)
            return &h->notes[i];
    }
    return NULL;
}

static struct hot_note *make_note(struct hot *h, const char *name, size_t len) {
    bf_assert(len <= HOT_NOTE_NAME_MAX && h->note_count < HOT_NOTES_MAX);
    struct hot_note *note = &h->notes[h->note_count++];
    memset(note, 0, sizeof *note);
    memcpy(note->name, name, len);
    return note;
}

void hot_note_set(struct hot *h, const char *name, int64_t value) {
    pthread_mutex_lock(&h->note_lock);
    struct hot_note *note = find_note(h, name);
    if (note == NULL)
        note = make_note(h, name, strlen(name));
    note->value = value;
    note->dirty = true;
    pthread_mutex_unlock(&h->note_lock);
}

int64_t hot_note_get(struct hot *h, const char *name, int64_t deflt) {
    pthread_mutex_lock(&h->note_lock);
    const struct hot_note *note = find_note(h, name);
    int64_t value = note != NULL ? note->value : deflt;
    pthread_mutex_unlock(&h->note_lock);
    return value;
}

int hot_notes_write(struct hot *h, MDB_txn *txn, struct hot_note *written, size_t *count) {
    int rc = MDB_SUCCESS;
    *count = 0;
    pthread_mutex_lock(&h->note_lock);
    for (size_t i = 0; i < h->note_count; i++) {
        if (h->notes[i].dirty)
            written[(*count)++] = h->notes[i];
    }
    pthread_mutex_unlock(&h->note_lock);
    for (size_t i = 0; i < *count && rc == MDB_SUCCESS; i++) {
        MDB_val key = {strlen(written[i].name), written[i].name}, value = {sizeof written[i].value, &written[i].value};
        rc = mdb_put(txn, h->db[DB_NOTES], &key, &value, 0);
    }
    return rc;
}

/* A note that was set again since stays dirty. */
void hot_notes_written(struct hot *h, const struct hot_note *written, size_t count) {
    pthread_mutex_lock(&h->note_lock);
    for (size_t i = 0; i < count; i++) {
        struct hot_note *note = find_note(h, written[i].name);
        if (note->value == written[i].value)
            note->dirty = false;
    }
    pthread_mutex_unlock(&h->note_lock);
}

int hot_notes_load(struct hot *h, MDB_txn *txn) {
    MDB_cursor *cur;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, h->db[DB_NOTES], &cur);
    if (rc != MDB_SUCCESS)
        return rc;
    while ((rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        if (key.mv_size > HOT_NOTE_NAME_MAX || value.mv_size != sizeof(int64_t) || h->note_count == HOT_NOTES_MAX) {
            rc = MDB_CORRUPTED;
            break;
        }
        struct hot_note *note = make_note(h, key.mv_data, key.mv_size);
        memcpy(&note->value, value.mv_data, sizeof note->value);
    }
    mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

enum bf_code hot_save_notes(struct hot *h, struct bf_err *err) {
    bool dirty = false;
    pthread_mutex_lock(&h->note_lock);
    for (size_t i = 0; i < h->note_count; i++)
        dirty = dirty || h->notes[i].dirty;
    pthread_mutex_unlock(&h->note_lock);
    if (!dirty)
        return BF_OK;
    MDB_txn *txn;
    enum bf_code code = hot_write_begin(h, &txn, err);
    return code == BF_OK ? hot_write_end(h, txn, BF_OK, &(struct hot_publish){0}, err) : code;
}

enum bf_code hot_sync(struct hot *h, struct bf_err *err) {
    enum bf_code code = hot_save_notes(h, err);
    if (code != BF_OK)
        return code;
    int rc = mdb_env_sync(h->env, 1);
    return rc == MDB_SUCCESS ? id_map_sync(h->ids, err) : hot_fail(err, rc, "syncing");
}

/* ---- schemas: lengths of type and schema (u32 each), then type, schema, references ---- */

enum bf_code hot_schema_put(struct hot *h, int32_t id, struct bf_slice type, struct bf_slice schema, struct bf_slice refs_json,
                            struct bf_err *err) {
    struct hot_key key = {.len = 0};
    MDB_txn *txn;
    key_u32(&key, (uint32_t)id);
    enum bf_code code = hot_write_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    MDB_val k = key_val(&key), v = {8 + type.len + schema.len + refs_json.len, NULL};
    int rc = mdb_put(txn, h->db[DB_SCHEMAS], &k, &v, MDB_RESERVE);
    if (rc == MDB_SUCCESS) {
        char *at = v.mv_data;
        const struct bf_slice parts[] = {type, schema, refs_json};
        bf_put_be32(at, (uint32_t)type.len);
        bf_put_be32(at + 4, (uint32_t)schema.len);
        at += 8;
        for (size_t i = 0; i < 3; i++) {
            if (parts[i].len > 0)
                memcpy(at, parts[i].data, parts[i].len);
            at += parts[i].len;
        }
    } else {
        code = hot_fail(err, rc, "keeping schema %d", id);
    }
    return hot_write_end(h, txn, code, &(struct hot_publish){0}, err);
}

static bool schema_split(const MDB_val *v, struct bf_buf *type, struct bf_buf *schema, struct bf_buf *refs_json) {
    const char *at = v->mv_data;
    if (v->mv_size < 8)
        return false;
    size_t type_len = bf_get_be32(at), schema_len = bf_get_be32(at + 4), left = v->mv_size - 8;
    if (type_len > left || schema_len > left - type_len)
        return false;
    bf_buf_clear(type);
    bf_buf_clear(schema);
    bf_buf_clear(refs_json);
    bf_buf_append(type, at + 8, type_len);
    bf_buf_append(schema, at + 8 + type_len, schema_len);
    bf_buf_append(refs_json, at + 8 + type_len + schema_len, left - type_len - schema_len);
    return true;
}

enum bf_code hot_schema_get(struct hot *h, int32_t id, struct bf_buf *type, struct bf_buf *schema, struct bf_buf *refs_json,
                            struct bf_err *err) {
    struct hot_key key = {.len = 0};
    MDB_txn *txn;
    key_u32(&key, (uint32_t)id);
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    MDB_val k = key_val(&key), v;
    int rc = mdb_get(txn, h->db[DB_SCHEMAS], &k, &v);
    if (rc == MDB_NOTFOUND)
        code = bf_fail(err, BF_NOT_FOUND, 0, "schema %d is not kept here", id);
    else if (rc != MDB_SUCCESS)
        code = hot_fail(err, rc, "reading schema %d", id);
    else if (!schema_split(&v, type, schema, refs_json))
        code = hot_corrupt(err, "a schema's lengths");
    else if (type->failed || schema->failed || refs_json->failed)
        code = bf_fail(err, BF_NOMEM, 0, "no room for schema %d", id);
    hot_read_end(h, txn);
    return code;
}

enum bf_code hot_schema_ids(struct hot *h, int32_t **ids, size_t *count, struct bf_err *err) {
    MDB_txn *txn;
    MDB_stat stat;
    MDB_cursor *cur = NULL;
    MDB_val key, value;
    int32_t *found = NULL;
    size_t n = 0;
    enum bf_code code = hot_read_begin(h, &txn, err);
    if (code != BF_OK)
        return code;
    int rc = mdb_stat(txn, h->db[DB_SCHEMAS], &stat);
    if (rc == MDB_SUCCESS)
        rc = mdb_cursor_open(txn, h->db[DB_SCHEMAS], &cur);
    if (rc == MDB_SUCCESS && (found = malloc((stat.ms_entries + 1) * sizeof *found)) == NULL)
        rc = ENOMEM;
    while (rc == MDB_SUCCESS && (rc = mdb_cursor_get(cur, &key, &value, MDB_NEXT)) == MDB_SUCCESS)
        found[n++] = (int32_t)bf_get_be32(key.mv_data);
    mdb_cursor_close(cur);
    hot_read_end(h, txn);
    if (rc != MDB_NOTFOUND) {
        free(found);
        return hot_fail(err, rc, "listing schemas");
    }
    *ids = found;
    *count = n;
    return BF_OK;
}
