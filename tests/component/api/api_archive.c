#include "api_archive.h"

#include "recover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PARTITIONS 6

#define OK(call)                                                                                                                     \
    do {                                                                                                                             \
        if ((call) != BF_OK) {                                                                                                       \
            fail_msg("%s: %s", #call, f->err.msg);                                                                                   \
        }                                                                                                                            \
    } while (0)

/* Hold the partitions in both stores, as ingest does at assignment, each at its next offset. */
static void take_partitions(struct fx_archive *a, struct fx *f) {
    struct bf_tp tps[2 * PARTITIONS];
    struct archive_taken taken[2 * PARTITIONS];
    struct hot_commit_result result;
    size_t count = 0;
    for (int32_t p = 0; p < PARTITIONS; p++) {
        tps[count++] = (struct bf_tp){FAST, p, 0};
        tps[count++] = (struct bf_tp){REFLEX, p, 0};
    }
    OK(archive_take(a->archive, &a->owner, tps, count, taken, &f->err));
    for (size_t i = 0; i < count; i++) {
        OK(hot_batch_partition(f->batch, bf_slice_str(tps[i].topic), tps[i].partition, taken[i].epoch,
                               f->next_offset[strcmp(tps[i].topic, FAST) != 0][tps[i].partition], &f->err));
    }
    OK(hot_batch_commit(f->batch, &result, NULL, NULL, &f->err));
}

static void put_schema(struct fx_archive *a, struct fx *f, int32_t id, const char *topic) {
    OK(archive_schema_put(a->archive, id, bf_slice_str("AVRO"), bf_slice_str(bf_topics_find(f->topics, topic)->schema_json),
                          bf_slice_str("[]"), topic, &f->err));
}

static void connect_to(struct fx_archive *a, struct fx *f, const char *conninfo) {
    const struct archive_settings settings = {.conninfo = conninfo, .application = "test", .topics = f->topics,
                                              .schemas = f->capsule.schemas, .connect_timeout_ms = 5000,
                                              .statement_timeout_ms = 20000};
    a->owner = hot_instance_id(f->capsule.hot);
    OK(archive_open(&settings, &a->archive, &f->err));
}

void fx_archive_open(struct fx_archive *a, struct fx *f, const char *conninfo) {
    int applied = 0;
    connect_to(a, f, conninfo);
    OK(archive_migrate(a->archive, BF_SOURCE_DIR "/migrations", &applied, &f->err));
    OK(archive_bind_cluster(a->archive, "test", &f->err));
    put_schema(a, f, SCHEMA_FAST, FAST);
    put_schema(a, f, SCHEMA_REFLEX, REFLEX);
    take_partitions(a, f);
}

void fx_archive_rebuild(struct fx_archive *a, struct fx *f, const char *conninfo) {
    archive_close(a->archive); /* its caches borrow the schemas of before */
    connect_to(a, f, conninfo);
    OK(recover_begin_rebuild(&f->capsule, a->archive, &f->err));
    OK(recover_rebuild(&f->capsule, a->archive, &f->err));
    take_partitions(a, f);
}

void fx_archive_close(struct fx_archive *a) {
    archive_close(a->archive);
    a->archive = NULL;
}

void fx_archive_all(struct fx_archive *a, struct fx *f) {
    struct hot_chunk chunk = {0};
    int64_t after = 0;
    enum bf_code code;
    OK(archive_through(a->archive, &a->owner, &after, &f->err));
    while ((code = hot_chunk_read(f->capsule.hot, after, 97, 1 << 20, &chunk, &f->err)) == BF_OK) {
        OK(archive_write(a->archive, &a->owner, &chunk, &f->err));
        after = chunk.through_us;
        store_set_archived_through(f->capsule.store, after);
    }
    assert_int_equal(code, BF_NOT_FOUND);
    hot_chunk_fini(&chunk);
    assert_int_equal(after, store_recorded_through(f->capsule.store));
}

void fx_archive_evict(struct fx *f, int64_t through_us) {
    size_t evicted = 1;
    while (evicted > 0) {
        OK(hot_evict(f->capsule.hot, through_us, 1000, &evicted, &f->err));
    }
}
