#include "checkpoint.h"

#include "bf_json.h"
#include "bf_time.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 4096

/* Size of the file, and the hash of its first head_bytes (0: as many as there are, up to HEAD_BYTES). */
static enum bf_code look_at(const char *file, int64_t *head_bytes, struct bf_uuid *head, int64_t *size, struct bf_err *err) {
    char bytes[HEAD_BYTES];
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 && fstat(fd, &st) == 0 ? read(fd, bytes, *head_bytes > 0 ? (size_t)*head_bytes : sizeof bytes) : -1;
    bool regular = n >= 0 && S_ISREG(st.st_mode);

    if (n < 0) (void)bf_fail(err, BF_INVALID, errno, "%s: %s", file, strerror(errno));
    else if (!regular) (void)bf_fail(err, BF_INVALID, 0, "%s is no ordinary file, which could be read again", file);
    if (fd >= 0) close(fd);
    if (!regular) return BF_INVALID;
    *head_bytes = n;
    *size = st.st_size;
    *head = bf_event_id_derive(bf_slice_str("butterfly checkpoint"), BF_SLICE_NONE, n, (struct bf_slice){bytes, (size_t)n});
    return BF_OK;
}

static bool uuid_of(const json_t *json, const char *key, struct bf_uuid *out) {
    return bf_uuid_parse(bf_slice_str(json_string_value(json_object_get(json, key))), out);
}

static bool read_members(const json_t *json, struct checkpoint *out) {
    const json_t *done = json_object_get(json, "done"), *begun = json_object_get(json, "begun_ms"), *bytes = json_object_get(json, "head_bytes"),
                 *size = json_object_get(json, "size"), *order = json_object_get(json, "newest_first");

    if (json_integer_value(json_object_get(json, "version")) != 1 || !uuid_of(json, "id", &out->id) || !uuid_of(json, "head", &out->head)) return false;
    if (!json_is_integer(done) || !json_is_integer(begun) || !json_is_integer(bytes) || !json_is_integer(size) || !json_is_boolean(order)) return false;
    out->done = json_integer_value(done);
    out->begun_ms = json_integer_value(begun);
    out->head_bytes = json_integer_value(bytes);
    out->size = json_integer_value(size);
    out->newest_first = json_is_true(order);
    return out->done >= 0 && out->head_bytes >= 0 && out->head_bytes <= HEAD_BYTES;
}

/* Does it belong to this file, topic and order? */
static enum bf_code compare(const struct checkpoint *c, const json_t *json, const char *file, bool newest_first, struct bf_err *err) {
    const char *topic = json_string_value(json_object_get(json, "topic"));
    int64_t head_bytes = c->head_bytes, size = 0;
    struct bf_uuid head = c->head;

    if (topic == NULL || strcmp(topic, c->topic) != 0) return bf_fail(err, BF_INVALID, 0, "it is of topic %s", topic != NULL ? topic : "?");
    if (c->newest_first != newest_first) return bf_fail(err, BF_INVALID, 0, "it was made with the records in the other order");
    if (c->head_bytes > 0 && look_at(file, &head_bytes, &head, &size, err) != BF_OK) return err->code;
    if (head_bytes != c->head_bytes || memcmp(&head, &c->head, sizeof head) != 0 || size < c->size) {
        return bf_fail(err, BF_INVALID, 0, "it is of another file than %s", file);
    }
    if (newest_first && size != c->size) {
        return bf_fail(err, BF_INVALID, 0, "%s has changed, and its records are counted from the end: publish it anew, with a new checkpoint", file);
    }
    return BF_OK;
}

static enum bf_code begin(struct checkpoint *c, const char *file, struct bf_err *err) {
    c->id = bf_uuid_v7();
    c->begun_ms = bf_time_now_us() / 1000;
    enum bf_code code = look_at(file, &c->head_bytes, &c->head, &c->size, err);
    return code == BF_OK ? checkpoint_save(c, err) : code;
}

enum bf_code checkpoint_open(const char *path, const char *file, const char *topic, bool newest_first, struct checkpoint *out,
                             struct bf_err *err) {
    json_t *json = NULL;
    struct checkpoint c = {.path = path, .topic = topic, .newest_first = newest_first};
    enum bf_code code = bf_json_load_file(path, &json, err);

    if (code == BF_NOT_FOUND) {
        code = begin(&c, file, err);
    } else if (code == BF_OK) {
        code = read_members(json, &c) ? compare(&c, json, file, newest_first, err) : bf_fail(err, BF_INVALID, 0, "%s is no checkpoint", path);
    }
    json_decref(json);
    if (code != BF_OK) {
        err->code = BF_INVALID;
        return bf_err_prepend(err, "checkpoint");
    }
    *out = c;
    return BF_OK;
}

enum bf_code checkpoint_save(const struct checkpoint *c, struct bf_err *err) {
    char temp[PATH_MAX], id[BF_UUID_TEXT_LEN + 1], head[BF_UUID_TEXT_LEN + 1];

    bf_uuid_format(id, &c->id);
    bf_uuid_format(head, &c->head);
    if (snprintf(temp, sizeof temp, "%s.%d", c->path, (int)getpid()) >= (int)sizeof temp) {
        return bf_fail(err, BF_BROKEN, 0, "checkpoint: the name is too long");
    }
    FILE *f = fopen(temp, "we");
    bool ok = f != NULL && fprintf(f,
                                   "{\"version\":1,\"id\":\"%s\",\"begun_ms\":%lld,\"topic\":\"%s\",\"newest_first\":%s,\"head_bytes\":%lld,"
                                   "\"head\":\"%s\",\"size\":%lld,\"done\":%lld}\n",
                                   id, (long long)c->begun_ms, c->topic, c->newest_first ? "true" : "false", (long long)c->head_bytes, head,
                                   (long long)c->size, (long long)c->done) > 0;
    ok = f != NULL && fflush(f) == 0 && fdatasync(fileno(f)) == 0 && ok;
    ok = f != NULL && fclose(f) == 0 && ok;
    if (ok && rename(temp, c->path) == 0) return BF_OK;
    return bf_fail(err, BF_BROKEN, errno, "checkpoint %s: %s", c->path, strerror(errno));
}

struct bf_uuid checkpoint_event_id(const struct checkpoint *c, int64_t record, int64_t nth) {
    uint8_t place[16];

    bf_put_be64(place, (uint64_t)record);
    bf_put_be64(place + 8, (uint64_t)nth);
    return bf_event_id_derive(bf_slice_str(c->topic), (struct bf_slice){&c->id, sizeof c->id}, 0, (struct bf_slice){place, sizeof place});
}
