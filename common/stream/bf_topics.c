/* Everything a struct bf_topic points at belongs to the catalogue and is freed with it. */
#include "bf_topics.h"

#include "bf_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATHS_MAX 8

struct entry {
    struct bf_topic topic; /* first: bf_topics_at() hands it out */
    const char **lists[5]; /* what the path pointers point at */
};

struct bf_topics {
    json_t *json; /* the strings live here */
    struct entry *entries;
    size_t count;
    const struct bf_topic *fallback; /* "*" */
};

static bool valid_part(const char *s, size_t len) {
    bool dash = true; /* as if before the first character: none may stand there */
    for (size_t i = 0; i < len; i++) {
        bool alnum = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9');
        if (!alnum && (s[i] != '-' || dash))
            return false;
        dash = s[i] == '-';
    }
    return len > 0 && !dash;
}

bool bf_topic_is_event(const char *topic) {
    size_t len = strlen(topic);
    const char *dot = strchr(topic, '.');
    if (!dot || len > BF_TOPIC_MAX || !valid_part(topic, (size_t)(dot - topic)) || !valid_part(dot + 1, strlen(dot + 1)))
        return false;
    return strcmp(dot, ".dlq") != 0 && strncmp(topic, "replay.", 7) != 0;
}

void bf_topic_split(const char *topic, struct bf_slice *domain, struct bf_slice *event_type) {
    const char *dot = strchr(topic, '.');
    size_t len = dot ? (size_t)(dot - topic) : strlen(topic);
    *domain = (struct bf_slice){topic, len};
    *event_type = dot ? bf_slice_str(dot + 1) : (struct bf_slice){topic + len, 0};
}

/* ---- loading ---- */

void bf_topics_find_dir(const char *told, char *dst, size_t dst_bytes) {
    char exe[4096];
    ssize_t n = told == NULL ? readlink("/proc/self/exe", exe, sizeof exe - 1) : 0;

    snprintf(dst, dst_bytes, "%s", told != NULL ? told : "schemas");
    if (n <= 0) return;
    exe[n] = '\0';
    for (int i = 0; i < 3; i++) {
        char *slash = strrchr(exe, '/');
        if (slash != NULL) *slash = '\0';
    }
    snprintf(dst, dst_bytes, "%s/schemas", exe);
}

static enum bf_code read_paths(const json_t *object, const char *name, const char *key, const char ***out, struct bf_err *err) {
    const json_t *list = json_object_get(object, key);
    size_t n = json_array_size(list);
    if (list && !json_is_array(list))
        return bf_fail(err, BF_INVALID, 0, "topics.json: topic '%s': \"%s\" must be a list of paths", name, key);
    if (n > PATHS_MAX)
        return bf_fail(err, BF_INVALID, 0, "topics.json: topic '%s': \"%s\" has %zu paths, at most %d", name, key, n, PATHS_MAX);
    const char **paths = calloc(n + 1, sizeof *paths);
    if (!paths)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the topic catalogue");
    for (size_t i = 0; i < n; i++)
        if (!(paths[i] = json_string_value(json_array_get(list, i)))) {
            free(paths);
            return bf_fail(err, BF_INVALID, 0, "topics.json: topic '%s': \"%s\" must hold strings", name, key);
        }
    *out = paths;
    return BF_OK;
}

static enum bf_code read_unit(const json_t *object, const char *name, int64_t *out, struct bf_err *err) {
    const json_t *v = json_object_get(object, "event_time_unit");
    const char *s = json_string_value(v);
    if (v && !s)
        return bf_fail(err, BF_INVALID, 0, "topics.json: topic '%s': \"event_time_unit\" must be s, ms or us", name);
    if (!s || strcmp(s, "ms") == 0)
        *out = 1000;
    else if (strcmp(s, "us") == 0)
        *out = 1;
    else if (strcmp(s, "s") == 0)
        *out = 1000000;
    else
        return bf_fail(err, BF_INVALID, 0, "topics.json: topic '%s': event_time_unit '%s' is none of s, ms, us", name, s);
    return BF_OK;
}

static enum bf_code read_cut(const json_t *object, const char *name, enum bf_archive_cut *out, struct bf_err *err) {
    const json_t *v = json_object_get(object, "archive");
    const char *s = v ? json_string_value(v) : "monthly";
    if (s && strcmp(s, "daily") == 0)
        *out = BF_ARCHIVE_DAILY;
    else if (s && strcmp(s, "monthly") == 0)
        *out = BF_ARCHIVE_MONTHLY;
    else if (s && strcmp(s, "yearly") == 0)
        *out = BF_ARCHIVE_YEARLY;
    else
        return bf_fail(err, BF_INVALID, 0, "topics.json: topic '%s': \"archive\" must be daily, monthly or yearly", name);
    return BF_OK;
}

static enum bf_code read_schema(const char *dir, const json_t *object, struct bf_topic *t, struct bf_err *err) {
    const json_t *v = json_object_get(object, "schema");
    const char *file = json_string_value(v);
    json_t *schema = NULL;
    char *path = NULL;
    if (!v)
        return BF_OK;
    if (!file)
        return bf_fail(err, BF_INVALID, 0, "topics.json: topic '%s': \"schema\" must be the name of a file", t->name);
    if (asprintf(&path, "%s/%s", dir, file) < 0)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the topic catalogue");
    enum bf_code code = bf_json_load_file(path, &schema, err);
    if (code != BF_OK) {
        free(path);
        return bf_err_prepend(err, "topics.json: topic '%s'", t->name);
    }
    t->schema_file = path;
    t->schema_json = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY); /* order kept */
    json_decref(schema);
    return t->schema_json ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for the schema of %s", t->name);
}

static enum bf_code check_keys(const json_t *object, const char *name, struct bf_err *err) {
    static const char *const known[] = {"topic", "schema", "partitions", "retention_ms", "node", "event_id",
                                        "event_time", "event_time_unit", "trace", "cause", "archive"};
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found = found || strcmp(key, known[i]) == 0;
        if (!found)
            return bf_fail(err, BF_INVALID, 0, "topics.json: topic '%s': unknown member \"%s\"", name, key);
    }
    return BF_OK;
}

static enum bf_code read_number(const json_t *object, const char *name, const char *key, int64_t deflt, int64_t least, int64_t most,
                                int64_t *out, struct bf_err *err) {
    const json_t *v = json_object_get(object, key);
    *out = v ? json_integer_value(v) : deflt;
    if ((v && !json_is_integer(v)) || *out < least || *out > most)
        return bf_fail(err, BF_INVALID, 0, "topics.json: topic '%s': \"%s\" must be an integer from %lld to %lld", name, key,
                       (long long)least, (long long)most);
    return BF_OK;
}

static enum bf_code read_entry(const char *dir, const json_t *object, struct entry *e, struct bf_err *err) {
    static const char *const keys[5] = {"node", "event_id", "event_time", "trace", "cause"};
    struct bf_topic *t = &e->topic;
    const char *name = json_string_value(json_object_get(object, "topic"));
    int64_t partitions;
    enum bf_code code;
    if (!name || (strcmp(name, "*") != 0 && !bf_topic_is_event(name)))
        return bf_fail(err, BF_INVALID, 0, "topics.json: '%s' is not a topic name of the form domain.event-type", name ? name : "(none)");
    t->name = name;
    if ((code = check_keys(object, name, err)) != BF_OK ||
        (code = read_number(object, name, "partitions", 6, 1, 10000, &partitions, err)) != BF_OK ||
        (code = read_number(object, name, "retention_ms", 604800000, -1, INT64_MAX, &t->retention_ms, err)) != BF_OK ||
        (code = read_unit(object, name, &t->event_time_unit_us, err)) != BF_OK ||
        (code = read_cut(object, name, &t->archive_cut, err)) != BF_OK)
        return code;
    t->partitions = (int)partitions;
    for (size_t i = 0; i < 5; i++)
        if ((code = read_paths(object, name, keys[i], &e->lists[i], err)) != BF_OK)
            return code;
    t->node_paths = e->lists[0];
    t->event_id_paths = e->lists[1];
    t->event_time_paths = e->lists[2];
    t->trace_paths = e->lists[3];
    t->cause_paths = e->lists[4];
    return read_schema(dir, object, t, err);
}

static enum bf_code read_all(const char *dir, struct bf_topics *t, struct bf_err *err) {
    const json_t *list = json_object_get(t->json, "topics");
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n == 0)
        return bf_fail(err, BF_INVALID, 0, "topics.json: there is no list \"topics\"");
    t->entries = calloc(n, sizeof *t->entries);
    if (!t->entries)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the topic catalogue");
    for (size_t i = 0; i < n; i++) {
        t->count++; /* counted before it is filled, so that what it holds is freed */
        enum bf_code code = read_entry(dir, json_array_get(list, i), &t->entries[i], err);
        if (code != BF_OK)
            return code;
        for (size_t j = 0; j < i; j++)
            if (strcmp(t->entries[j].topic.name, t->entries[i].topic.name) == 0)
                return bf_fail(err, BF_INVALID, 0, "topics.json: topic '%s' stands there twice", t->entries[i].topic.name);
        if (strcmp(t->entries[i].topic.name, "*") == 0)
            t->fallback = &t->entries[i].topic;
    }
    if (!t->fallback)
        return bf_fail(err, BF_INVALID, 0, "topics.json: there is no entry '*' for all other topics");
    return BF_OK;
}

enum bf_code bf_topics_load(const char *dir, struct bf_topics **out, struct bf_err *err) {
    struct bf_topics *t = calloc(1, sizeof *t);
    char *path = NULL;
    if (!t || asprintf(&path, "%s/topics.json", dir) < 0) {
        free(t);
        return bf_fail(err, BF_NOMEM, 0, "no memory for the topic catalogue");
    }
    enum bf_code code = bf_json_load_file(path, &t->json, err);
    if (code == BF_OK)
        code = read_all(dir, t, err);
    free(path);
    if (code != BF_OK) {
        bf_topics_free(t);
        return code;
    }
    *out = t;
    return BF_OK;
}

void bf_topics_free(struct bf_topics *t) {
    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++) {
        struct entry *e = &t->entries[i];
        for (size_t k = 0; k < 5; k++)
            free(e->lists[k]);
        free((char *)(uintptr_t)e->topic.schema_file);
        free((char *)(uintptr_t)e->topic.schema_json);
    }
    free(t->entries);
    json_decref(t->json);
    free(t);
}

/* "*" is not one of them. */
size_t bf_topics_count(const struct bf_topics *t) {
    return t->count - 1;
}

const struct bf_topic *bf_topics_at(const struct bf_topics *t, size_t index) {
    for (size_t i = 0; i < t->count; i++)
        if (&t->entries[i].topic != t->fallback && index-- == 0)
            return &t->entries[i].topic;
    return NULL;
}

const struct bf_topic *bf_topics_find(const struct bf_topics *t, const char *name) {
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->entries[i].topic.name, name) == 0)
            return &t->entries[i].topic;
    return t->fallback;
}
