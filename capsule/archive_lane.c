#include "archive_lane.h"

#include <stdio.h>
#include <stdlib.h>

#define CHUNK_BYTES_MAX ((size_t)24 << 20)

/* Lanes that meet a schema at the same moment put it one after the other: PostgreSQL does not like one view being made twice at once. */
static pthread_mutex_t schema_lock = PTHREAD_MUTEX_INITIALIZER;

enum bf_code archive_lane_new(struct capsule *c, struct archive_lane **out, struct bf_err *err) {
    char application[ARCHIVE_APPLICATION_MAX];
    const struct bf_uuid me = hot_instance_id(c->hot);
    const struct archive_settings settings = {.conninfo = c->settings->postgres, .application = application, .topics = c->topics,
                                              .schemas = c->schemas, .connect_timeout_ms = 5000, .statement_timeout_ms = 60000};
    struct archive_lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the archiver");
    archive_application(application, ARCHIVE_ARCHIVER, &me);
    lane->c = c;
    enum bf_code code = archive_open(&settings, &lane->archive, err);
    if (code != BF_OK) {
        archive_lane_free(lane);
        return code;
    }
    *out = lane;
    return BF_OK;
}

void archive_lane_free(struct archive_lane *lane) {
    if (!lane)
        return;
    archive_close(lane->archive);
    hot_chunk_fini(&lane->chunk);
    free(lane->kept);
    free(lane);
}

enum bf_code archive_lane_read(struct archive_lane *lane, int64_t after_us, struct bf_err *err) {
    return hot_chunk_read(lane->c->hot, after_us, (size_t)lane->c->settings->archive_events_max, CHUNK_BYTES_MAX, &lane->chunk, err);
}

bool archive_lane_is_full(const struct archive_lane *lane) {
    return lane->chunk.event_count + lane->chunk.duplicate_count >= (size_t)lane->c->settings->archive_events_max / 2;
}

/* ---- schemas ---- */

static bool is_kept(const struct archive_lane *lane, const struct hot_chunk_kind *kind) {
    for (size_t i = lane->kept_count; i-- > 0;)
        if (lane->kept[i].id == kind->schema_id && bf_slice_eq(bf_slice_str(lane->kept[i].topic), kind->topic))
            return true;
    return false;
}

static enum bf_code keep_schema(struct archive_lane *lane, const struct hot_chunk_kind *kind, struct bf_err *err) {
    struct bf_buf type, schema, refs;
    struct kept_schema *more = realloc(lane->kept, (lane->kept_count + 1) * sizeof *more);
    if (!more)
        return bf_fail(err, BF_NOMEM, 0, "no memory for %zu schemas", lane->kept_count + 1);
    lane->kept = more;
    struct kept_schema *k = &more[lane->kept_count];
    snprintf(k->topic, sizeof k->topic, "%.*s", (int)kind->topic.len, (const char *)kind->topic.data);
    k->id = kind->schema_id;
    bf_buf_init(&type, 1 << 10);
    bf_buf_init(&schema, 64 << 20);
    bf_buf_init(&refs, 64 << 20);
    enum bf_code code = hot_schema_get(lane->c->hot, kind->schema_id, &type, &schema, &refs, err);
    if (code == BF_OK)
        code = archive_schema_put(lane->archive, kind->schema_id, (struct bf_slice){type.data, type.len},
                                  (struct bf_slice){schema.data ? schema.data : "", schema.len},
                                  refs.len ? (struct bf_slice){refs.data, refs.len} : BF_SLICE_NONE, k->topic, err);
    lane->kept_count += code == BF_OK;
    bf_buf_fini(&type);
    bf_buf_fini(&schema);
    bf_buf_fini(&refs);
    return code == BF_NOT_FOUND ? (err->code = BF_AGAIN) : code;
}

enum bf_code archive_lane_keep_schemas(struct archive_lane *lane, struct bf_err *err) {
    enum bf_code code = BF_OK;
    for (size_t i = 0; code == BF_OK && i < lane->chunk.kind_count; i++) {
        const struct hot_chunk_kind *kind = &lane->chunk.kinds[i];
        if (kind->schema_id <= 0 || is_kept(lane, kind))
            continue;
        pthread_mutex_lock(&schema_lock);
        code = keep_schema(lane, kind, err);
        pthread_mutex_unlock(&schema_lock);
    }
    return code;
}
