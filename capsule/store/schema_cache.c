/* Compiled schemas by id: a fixed table of buckets whose entries are only ever put in front and never taken out before the end, so
 * that readers walk a chain without a lock. A miss takes the lock, looks again, and asks the hot store.
 *
 * One list of paths serves all schemas (bf_avro_compile gets it), because a schema does not know which topic it is used for.
 */
#include "schema_cache.h"

#include "bf_json.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u
#define SCHEMA_TEXT_BYTES_MAX ((size_t)16 << 20)
#define REFERENCES_MAX 256

enum role { ROLE_NODE, ROLE_EVENT_ID, ROLE_EVENT_TIME, ROLE_TRACE, ROLE_CAUSE, ROLES };

struct entry {
    struct entry *next;
    int32_t id;
    struct bf_avro *avro;
};

/* For one topic of the catalogue: where its roles lie among the paths, in order of preference, ended by -1. */
struct topic_roles {
    const struct bf_topic *topic;
    int8_t path[ROLES][BF_AVRO_PATHS_MAX + 1];
};

struct schema_cache {
    struct hot *hot;
    const char *paths[BF_AVRO_PATHS_MAX];
    size_t path_count;
    struct topic_roles *topics; /* immutable once made */
    size_t topic_count;
    _Atomic(struct entry *) buckets[BUCKETS];
    pthread_mutex_t lock; /* held by who adds */
};

static const char *const *role_paths(const struct bf_topic *topic, enum role role) {
    switch (role) {
    case ROLE_NODE: return topic->node_paths;
    case ROLE_EVENT_ID: return topic->event_id_paths;
    case ROLE_EVENT_TIME: return topic->event_time_paths;
    case ROLE_TRACE: return topic->trace_paths;
    case ROLE_CAUSE: return topic->cause_paths;
    case ROLES: break;
    }
    return NULL;
}

/* The path's place in the union, put there when new; -1: no room. */
static int path_index(struct schema_cache *c, const char *path) {
    for (size_t i = 0; i < c->path_count; i++) {
        if (strcmp(c->paths[i], path) == 0) {
            return (int)i;
        }
    }
    if (c->path_count == BF_AVRO_PATHS_MAX) {
        return -1;
    }
    c->paths[c->path_count] = path;
    return (int)c->path_count++;
}

static enum bf_code add_topic(struct schema_cache *c, const struct bf_topic *topic, struct bf_err *err) {
    struct topic_roles *r = &c->topics[c->topic_count];
    r->topic = topic;
    for (int role = 0; role < ROLES; role++) {
        const char *const *paths = role_paths(topic, (enum role)role);
        int count = 0;
        for (; paths && paths[count]; count++) {
            int at = count < BF_AVRO_PATHS_MAX ? path_index(c, paths[count]) : -1;
            if (at < 0) {
                return bf_fail(err, BF_INVALID, 0, "the catalogue names more than %d different paths", BF_AVRO_PATHS_MAX);
            }
            r->path[role][count] = (int8_t)at;
        }
        r->path[role][count] = -1;
    }
    c->topic_count++;
    return BF_OK;
}

static enum bf_code add_topics(struct schema_cache *c, const struct bf_topics *topics, struct bf_err *err) {
    size_t count = bf_topics_count(topics);
    c->topics = calloc(count + 1, sizeof(*c->topics));
    if (!c->topics) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for the paths of %zu topics", count);
    }
    const struct bf_topic *others = bf_topics_find(topics, "*");
    bool have_others = false;
    for (size_t i = 0; i < count; i++) {
        const struct bf_topic *topic = bf_topics_at(topics, i);
        have_others = have_others || topic == others;
        if (add_topic(c, topic, err) != BF_OK) {
            return err->code;
        }
    }
    return have_others ? BF_OK : add_topic(c, others, err);
}

enum bf_code schema_cache_new(struct hot *hot, const struct bf_topics *topics, struct schema_cache **out, struct bf_err *err) {
    struct schema_cache *c = calloc(1, sizeof(*c));
    if (!c) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for the schema cache");
    }
    c->hot = hot;
    pthread_mutex_init(&c->lock, NULL);
    if (add_topics(c, topics, err) != BF_OK) {
        schema_cache_free(c);
        return err->code;
    }
    *out = c;
    return BF_OK;
}

void schema_cache_free(struct schema_cache *c) {
    if (!c) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        struct entry *e = atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
        while (e) {
            struct entry *next = e->next;
            bf_avro_free(e->avro);
            free(e);
            e = next;
        }
    }
    pthread_mutex_destroy(&c->lock);
    free(c->topics);
    free(c);
}

static _Atomic(struct entry *) *bucket_of(struct schema_cache *c, int32_t id) {
    return &c->buckets[((uint32_t)id * 2654435761u) >> 20];
}

static const struct bf_avro *find(struct schema_cache *c, int32_t id) {
    for (struct entry *e = atomic_load_explicit(bucket_of(c, id), memory_order_acquire); e; e = e->next) {
        if (e->id == id) {
            return e->avro;
        }
    }
    return NULL;
}

/* The references' slices are borrowed from `refs`. */
static enum bf_code read_references(const json_t *refs, struct bf_avro_reference *out, size_t *count, struct bf_err *err) {
    size_t n = json_array_size(refs);
    if (n > REFERENCES_MAX) {
        return bf_fail(err, BF_INVALID, 0, "%zu references are more than %d", n, REFERENCES_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *ref = json_array_get(refs, i); /* borrowed */
        out[i].name = json_string_value(json_object_get(ref, "name"));
        out[i].schema_json = json_string_value(json_object_get(ref, "schema"));
        if (!out[i].name || !out[i].schema_json) {
            return bf_fail(err, BF_INVALID, 0, "reference %zu has no name or no schema", i);
        }
    }
    *count = n;
    return BF_OK;
}

static enum bf_code compile(const struct schema_cache *c, struct bf_slice schema, struct bf_slice refs_json, struct bf_avro **out,
                            struct bf_err *err) {
    json_t *refs = NULL;
    struct bf_avro_reference *list = NULL;
    size_t count = 0;
    enum bf_code code = BF_OK;
    if (refs_json.data && refs_json.len > 0) {
        code = bf_json_parse(refs_json.data, refs_json.len, &refs, err);
        if (code != BF_OK) {
            goto done;
        }
        list = calloc(REFERENCES_MAX, sizeof(*list));
        code = list ? read_references(refs, list, &count, err) : bf_fail(err, BF_NOMEM, 0, "no memory for references");
        if (code != BF_OK) {
            goto done;
        }
    }
    code = bf_avro_compile(schema.data, schema.len, list, count, c->paths, c->path_count, out, err);
done:
    free(list);
    json_decref(refs);
    return code;
}

/* Under the lock: compile and publish, unless somebody else did. */
static enum bf_code add_locked(struct schema_cache *c, int32_t id, struct bf_slice schema, struct bf_slice refs_json,
                               const struct bf_avro **out, struct bf_err *err) {
    const struct bf_avro *known = find(c, id);
    if (known) {
        *out = known;
        return BF_OK;
    }
    struct entry *e = calloc(1, sizeof(*e));
    if (!e) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for schema %d", id);
    }
    e->id = id;
    if (compile(c, schema, refs_json, &e->avro, err) != BF_OK) {
        free(e);
        return bf_err_prepend(err, "schema %d", id);
    }
    _Atomic(struct entry *) *bucket = bucket_of(c, id);
    e->next = atomic_load_explicit(bucket, memory_order_relaxed);
    atomic_store_explicit(bucket, e, memory_order_release);
    *out = e->avro;
    return BF_OK;
}

enum bf_code schema_cache_add(struct schema_cache *c, int32_t id, struct bf_slice schema, struct bf_slice refs_json,
                              const struct bf_avro **out, struct bf_err *err) {
    pthread_mutex_lock(&c->lock);
    enum bf_code code = add_locked(c, id, schema, refs_json, out, err);
    pthread_mutex_unlock(&c->lock);
    return code;
}

static enum bf_code load(struct schema_cache *c, int32_t id, const struct bf_avro **out, struct bf_err *err) {
    struct bf_buf type, schema, refs;
    bf_buf_init(&type, SCHEMA_TEXT_BYTES_MAX);
    bf_buf_init(&schema, SCHEMA_TEXT_BYTES_MAX);
    bf_buf_init(&refs, SCHEMA_TEXT_BYTES_MAX);
    enum bf_code code = hot_schema_get(c->hot, id, &type, &schema, &refs, err);
    if (code == BF_OK) {
        code = schema_cache_add(c, id, (struct bf_slice){schema.data, schema.len}, (struct bf_slice){refs.data, refs.len}, out, err);
    }
    bf_buf_fini(&refs);
    bf_buf_fini(&schema);
    bf_buf_fini(&type);
    return code;
}

enum bf_code schema_cache_get(struct schema_cache *c, int32_t id, const struct bf_avro **out, struct bf_err *err) {
    const struct bf_avro *known = find(c, id);
    if (known) {
        *out = known;
        return BF_OK;
    }
    if (!c->hot) {
        return bf_fail(err, BF_NOT_FOUND, 0, "schema %d is not kept here", id);
    }
    return load(c, id, out, err);
}

/* A field that can play the role. An empty text is no id: it would make all events with it one and the same. */
static bool fits(const struct bf_avro_field *f, enum role role) {
    if (role == ROLE_EVENT_TIME) {
        return f->kind == BF_AVRO_LONG;
    }
    return f->kind == BF_AVRO_STRING && (f->s.len > 0 || role == ROLE_NODE);
}

static const struct bf_avro_field *pick(const struct topic_roles *r, enum role role, const struct bf_avro_field *fields) {
    for (const int8_t *at = r->path[role]; *at >= 0; at++) {
        if (fits(&fields[*at], role)) {
            return &fields[*at];
        }
    }
    return NULL;
}

void schema_cache_roles(const struct schema_cache *c, const struct bf_topic *topic, const struct bf_avro_field *fields,
                        struct schema_roles *out) {
    size_t i = 0;
    while (i < c->topic_count && c->topics[i].topic != topic) {
        i++;
    }
    bf_assert(i < c->topic_count); /* a topic of the catalogue that the cache was made with */
    const struct topic_roles *r = &c->topics[i];
    out->node = pick(r, ROLE_NODE, fields);
    out->event_id = pick(r, ROLE_EVENT_ID, fields);
    out->event_time = pick(r, ROLE_EVENT_TIME, fields);
    out->trace = pick(r, ROLE_TRACE, fields);
    out->cause = pick(r, ROLE_CAUSE, fields);
}
