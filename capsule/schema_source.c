#include "schema_source.h"

#include "bf_cond.h"
#include "bf_json.h"
#include "bf_registry.h"
#include "bf_time.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_MAX 256
#define UNKNOWN_BELIEVED_US (10 * INT64_C(1000000))
#define REGISTRY_TIMEOUT_MS 5000
#define ANSWER_WAIT_MS 20                       /* a registry that is well answers within this, and ingest need not come again */
#define PING_EVERY_MS 5000                      /* all schemas may be known: only so does anybody learn whether the registry is there */
#define ANSWER_KEPT_US (5 * INT64_C(1000000)) /* nobody came for it: its partition was taken from us */

/* An id or guid that the registry does not know: first asked, and asked last. */
struct unknown {
    struct bf_frame key; /* avro unused */
    int64_t first_us, last_us;
};

struct guid_id {
    uint8_t guid[16];
    int32_t id;
};

/* One question at a time, asked by a thread of its own, so that a slow registry holds up only the records that need its answer. */
enum question_state { QUESTION_NONE, QUESTION_ASKED, QUESTION_ANSWERED };
struct question {
    enum question_state state;
    struct bf_frame frame; /* avro unused */
    int64_t answered_us;
    enum bf_code code;
    struct bf_err err;
    struct bf_registry_schema *found; /* code BF_OK */
};

struct schema_source {
    struct capsule *c;
    struct bf_registry *registry; /* the asking thread's, once it runs */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct question question; /* under lock, as is stopping */
    bool stopping;
    struct unknown unknown[UNKNOWN_MAX]; /* a ring: the oldest is overwritten */
    size_t unknown_next;
    struct guid_id *guids;
    size_t guid_count;
};

/* ---- asking ---- */

static void say_registry(struct schema_source *s, bool up) {
    atomic_store(&s->c->dependency_up[DEPENDENCY_REGISTRY], up);
}

/* Under lock, which is let go meanwhile. */
static void ping(struct schema_source *s) {
    struct bf_err err;
    pthread_mutex_unlock(&s->lock);
    say_registry(s, bf_registry_ping(s->registry, &err) == BF_OK);
    pthread_mutex_lock(&s->lock);
}

static void *ask_on(void *arg) {
    struct schema_source *s = arg;
    struct question *q = &s->question;
    int64_t ping_us = bf_time_monotonic_us();
    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        if (q->state != QUESTION_ASKED && bf_time_monotonic_us() >= ping_us) {
            ping(s);
            ping_us = bf_time_monotonic_us() + PING_EVERY_MS * INT64_C(1000);
            continue;
        }
        if (q->state != QUESTION_ASKED) {
            struct timespec until = bf_cond_in_ms((ping_us - bf_time_monotonic_us()) / 1000 + 1);
            (void)bf_cond_wait_until(&s->changed, &s->lock, &until);
            continue;
        }
        struct bf_frame frame = q->frame;
        struct bf_registry_schema *found = NULL;
        struct bf_err err = {0};
        pthread_mutex_unlock(&s->lock);
        enum bf_code code = frame.by_guid ? bf_registry_get_guid(s->registry, frame.guid, &found, &err)
                                          : bf_registry_get(s->registry, frame.schema_id, &found, &err);
        pthread_mutex_lock(&s->lock);
        *q = (struct question){QUESTION_ANSWERED, frame, bf_time_monotonic_us(), code, err, found};
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

enum bf_code schema_source_new(struct capsule *c, struct schema_source **out, struct bf_err *err) {
    struct schema_source *s = calloc(1, sizeof *s);
    if (!s)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the schema source");
    s->c = c;
    pthread_mutex_init(&s->lock, NULL);
    bf_cond_init(&s->changed);
    enum bf_code code = bf_registry_new(c->settings->registry_url, REGISTRY_TIMEOUT_MS, &s->registry, err);
    if (code == BF_OK && pthread_create(&s->thread, NULL, ask_on, s) != 0)
        code = bf_fail(err, BF_NOMEM, 0, "no thread to ask the registry");
    if (code != BF_OK) {
        schema_source_free(s);
        return code;
    }
    s->running = true;
    *out = s;
    return BF_OK;
}

void schema_source_free(struct schema_source *s) {
    if (!s)
        return;
    if (s->running) {
        pthread_mutex_lock(&s->lock);
        s->stopping = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    bf_registry_schema_free(s->question.found);
    bf_registry_free(s->registry);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s->guids);
    free(s);
}

static bool same_key(const struct bf_frame *a, const struct bf_frame *b) {
    if (a->by_guid != b->by_guid)
        return false;
    return a->by_guid ? memcmp(a->guid, b->guid, 16) == 0 : a->schema_id == b->schema_id;
}

/* The registry's answer for this frame, or BF_AGAIN while it is being asked. */
static enum bf_code ask(struct schema_source *s, const struct bf_frame *frame, struct bf_registry_schema **found, struct bf_err *err) {
    struct question *q = &s->question;
    struct timespec until = bf_cond_in_ms(ANSWER_WAIT_MS);
    enum bf_code code = BF_AGAIN;
    pthread_mutex_lock(&s->lock);
    bool stale = q->state == QUESTION_ANSWERED && !same_key(&q->frame, frame) && bf_time_monotonic_us() - q->answered_us > ANSWER_KEPT_US;
    if (q->state == QUESTION_NONE || stale) {
        bf_registry_schema_free(q->found);
        *q = (struct question){.state = QUESTION_ASKED, .frame = *frame};
        pthread_cond_broadcast(&s->changed);
    }
    while (q->state == QUESTION_ASKED && same_key(&q->frame, frame) && bf_cond_wait_until(&s->changed, &s->lock, &until))
        ;
    if (q->state == QUESTION_ANSWERED && same_key(&q->frame, frame)) {
        code = q->code;
        *err = q->err;
        *found = q->found;
        *q = (struct question){.state = QUESTION_NONE};
    } else {
        (void)bf_fail(err, BF_AGAIN, 0, "the registry is being asked");
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}

static struct unknown *find_unknown(struct schema_source *s, const struct bf_frame *frame) {
    for (size_t i = 0; i < UNKNOWN_MAX; i++)
        if (s->unknown[i].first_us && same_key(&s->unknown[i].key, frame))
            return &s->unknown[i];
    return NULL;
}

/* The registry says that it does not know this id: wait a little more, or believe it. */
static enum bf_code note_unknown(struct schema_source *s, const struct bf_frame *frame, struct bf_err *err) {
    int64_t now = bf_time_monotonic_us();
    struct unknown *u = find_unknown(s, frame);
    if (!u || now - u->last_us > UNKNOWN_BELIEVED_US + s->c->settings->schema_retry_ms * 1000) {
        u = u ? u : &s->unknown[s->unknown_next++ % UNKNOWN_MAX];
        *u = (struct unknown){.key = *frame, .first_us = now};
    }
    u->last_us = now;
    if (now - u->first_us < s->c->settings->schema_retry_ms * 1000) {
        err->code = BF_AGAIN;
        return BF_AGAIN;
    }
    return BF_NOT_FOUND;
}

static bool still_believed(struct schema_source *s, const struct bf_frame *frame) {
    const struct unknown *u = find_unknown(s, frame);
    int64_t now = bf_time_monotonic_us();
    return u && now - u->first_us >= s->c->settings->schema_retry_ms * 1000 && now - u->last_us < UNKNOWN_BELIEVED_US;
}

static void references_json(const struct bf_registry_schema *schema, struct bf_buf *out) {
    struct bf_json j;
    bf_json_init(&j, out);
    bf_json_array(&j);
    for (size_t i = 0; i < schema->ref_count; i++) {
        bf_json_object(&j);
        bf_json_member_string(&j, "name", schema->refs[i].name);
        bf_json_member_string(&j, "schema", schema->refs[i].schema);
        bf_json_object_end(&j);
    }
    bf_json_array_end(&j);
}

/* Compile first: what is kept is known to work. */
static enum bf_code keep(struct schema_source *s, const struct bf_registry_schema *schema, const struct bf_avro **out, struct bf_err *err) {
    if (schema->type && strcmp(schema->type, "AVRO") != 0)
        return bf_fail(err, BF_REJECTED, 0, "schema %d is of type %s, only AVRO is understood", schema->id, schema->type);
    struct bf_buf refs;
    bf_buf_init(&refs, 16u << 20);
    references_json(schema, &refs);
    struct bf_slice text = bf_slice_str(schema->schema), refs_json = {refs.data, refs.len};
    enum bf_code code = schema_cache_add(s->c->schemas, schema->id, text, refs_json, out, err);
    if (code == BF_OK)
        code = hot_schema_put(s->c->hot, schema->id, bf_slice_str("AVRO"), text, refs_json, err);
    bf_buf_fini(&refs);
    return code;
}

static bool known_guid(const struct schema_source *s, const uint8_t guid[16], int32_t *id) {
    for (size_t i = 0; i < s->guid_count; i++)
        if (memcmp(s->guids[i].guid, guid, 16) == 0) {
            *id = s->guids[i].id;
            return true;
        }
    return false;
}

static void remember_guid(struct schema_source *s, const uint8_t guid[16], int32_t id) {
    struct guid_id *grown = realloc(s->guids, (s->guid_count + 1) * sizeof *grown);
    if (!grown)
        return; /* only a cache */
    s->guids = grown;
    memcpy(grown[s->guid_count].guid, guid, 16);
    grown[s->guid_count++].id = id;
}

enum bf_code schema_source_resolve(void *ctx, const struct bf_frame *frame, int32_t *id, const struct bf_avro **schema,
                                   struct bf_err *err) {
    struct schema_source *s = ctx;
    if (frame->by_guid && known_guid(s, frame->guid, id))
        return schema_cache_get(s->c->schemas, *id, schema, err);
    if (still_believed(s, frame))
        return bf_fail(err, BF_NOT_FOUND, 0, "the registry does not know schema id %d", frame->schema_id);
    struct bf_registry_schema *found = NULL;
    enum bf_code code = ask(s, frame, &found, err);
    say_registry(s, code == BF_OK || code == BF_NOT_FOUND);
    if (code == BF_NOT_FOUND)
        return note_unknown(s, frame, err);
    if (code != BF_OK)
        return code;
    code = schema_cache_get(s->c->schemas, found->id, schema, err); /* by guid it may be known already */
    if (code == BF_NOT_FOUND)
        code = keep(s, found, schema, err);
    if (code == BF_OK) {
        *id = found->id;
        if (frame->by_guid)
            remember_guid(s, frame->guid, found->id);
    }
    bf_registry_schema_free(found);
    return code;
}
