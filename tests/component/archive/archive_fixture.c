#include "archive_fixture.h"

#include "hot.h"

#include "bf_framing.h"
#include "bf_time.h"

#include <stdlib.h>
#include <string.h>

struct bf_uuid fixture_uuid(uint64_t n) {
    struct bf_uuid id = {{0}};
    bf_put_be64(id.b, n * UINT64_C(0x9e3779b97f4a7c15));
    bf_put_be64(id.b + 8, n);
    return id;
}

void fixture_init(struct fixture *f) {
    int applied = 0;
    const struct bf_avro *compiled;
    memset(f, 0, sizeof *f);
    f->conninfo = test_pg_database();
    assert_ok(bf_topics_load(BF_SOURCE_DIR "/schemas", &f->topics, &err));
    assert_ok(schema_cache_new(NULL, f->topics, &f->schemas, &err));
    assert_ok(schema_cache_add(f->schemas, 1, bf_slice_str(NOTE_SCHEMA), BF_SLICE_NONE, &compiled, &err));
    f->owner = fixture_uuid(424242);
    f->archive = fixture_archive(f, false);
    assert_ok(archive_migrate(f->archive, MIGRATIONS_DIR, &applied, &err));
    assert_true(applied >= 4);
}

void fixture_fini(struct fixture *f) {
    archive_close(f->archive);
    schema_cache_free(f->schemas);
    bf_topics_free(f->topics);
    arena_fini(&f->arena);
    test_pg_drop(f->conninfo);
}

struct archive *fixture_archive(struct fixture *f, bool read_only) {
    struct archive *a = NULL;
    const struct archive_settings settings = {.conninfo = f->conninfo, .application = "test", .topics = f->topics, .schemas = f->schemas,
                                              .connect_timeout_ms = 5000, .statement_timeout_ms = 30000, .read_only = read_only};
    assert_ok(archive_open(&settings, &a, &err));
    return a;
}

static void put_long(struct bf_buf *b, int64_t v) {
    uint64_t z = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    for (; z > 0x7f; z >>= 7)
        bf_buf_putc(b, (char)(z | 0x80));
    bf_buf_putc(b, (char)z);
}

struct bf_slice fixture_value(struct fixture *f, const char *text, size_t len, int64_t n) {
    struct bf_slice value;
    struct bf_buf b;
    uint8_t frame[BF_FRAME_BYTES];
    bf_buf_init(&b, len + 64);
    bf_frame_put(frame, 1);
    bf_buf_append(&b, frame, sizeof frame);
    put_long(&b, (int64_t)len);
    bf_buf_append(&b, text, len);
    put_long(&b, n);
    assert_false(b.failed);
    assert_true(arena_copy(&f->arena, (struct bf_slice){b.data, b.len}, &value));
    bf_buf_fini(&b);
    return value;
}

struct event fixture_event(struct fixture *f, const char *topic, int32_t partition, int64_t offset, uint64_t n) {
    struct event ev = {.topic = bf_slice_str(topic), .node_id = bf_slice_str("rim:metric:test:a"), .id = fixture_uuid(n), .revision = 1,
                       .partition = partition, .offset = offset, .schema_id = 1};
    ev.event_time_us = INT64_C(1717236000000000) + (int64_t)n;
    ev.kafka_time_us = ev.event_time_us + 1000;
    ev.recorded_at_us = INT64_C(1720000000000000) + (int64_t)n;
    ev.key = ev.node_id;
    ev.value = fixture_value(f, "hello", 5, (int64_t)n);
    return ev;
}

static struct hot_chunk_partition *partition_of(struct hot_chunk *c, const struct event *ev, int64_t epoch) {
    for (size_t i = 0; i < c->partition_count; i++)
        if (c->partitions[i].partition == ev->partition && bf_slice_eq(c->partitions[i].topic, ev->topic))
            return &c->partitions[i];
    struct hot_chunk_partition *p = &c->partitions[c->partition_count++];
    *p = (struct hot_chunk_partition){ev->topic, ev->partition, epoch, ev->offset, ev->offset};
    return p;
}

struct hot_chunk fixture_chunk(struct fixture *f, struct event *events, size_t count) {
    struct hot_chunk c = {.events = events, .event_count = count};
    c.partitions = arena_alloc(&f->arena, (count + 1) * sizeof *c.partitions);
    c.intervals = arena_alloc(&f->arena, (count + 1) * sizeof *c.intervals);
    c.kinds = arena_alloc(&f->arena, (count + 1) * sizeof *c.kinds);
    c.kind_capacity = count + 1;
    for (size_t i = 0; i < count; i++) {
        assert_true(hot_chunk_count(&c, &events[i]));
        hot_content_hash(&events[i], events[i].content_hash);
        struct hot_chunk_partition *p = partition_of(&c, &events[i], f->epoch);
        c.intervals[c.interval_count++] = (struct interval){events[i].topic, events[i].partition, p->offset_after, events[i].offset + 1,
                                                            DISPOSITION_STORED};
        p->offset_after = events[i].offset + 1;
        if (events[i].recorded_at_us > c.through_us)
            c.through_us = events[i].recorded_at_us;
    }
    return c;
}

void fixture_take(struct fixture *f, const char *topic, int32_t partition) {
    struct bf_tp tp = {.topic = topic, .partition = partition};
    struct archive_taken taken;
    assert_ok(archive_take(f->archive, &f->owner, &tp, 1, &taken, &err));
    f->epoch = taken.epoch;
}

static void same_slice(const char *what, struct bf_slice a, struct bf_slice b) {
    if ((a.data == NULL) != (b.data == NULL) || a.len != b.len || (a.len && memcmp(a.data, b.data, a.len) != 0))
        fail_msg("%s differs: %zu and %zu bytes", what, a.len, b.len);
}

void fixture_assert_same(const struct event *a, const struct event *b) {
    same_slice("topic", a->topic, b->topic);
    same_slice("node", a->node_id, b->node_id);
    assert_memory_equal(&a->id, &b->id, sizeof a->id);
    assert_int_equal(a->revision, b->revision);
    assert_int_equal(a->partition, b->partition);
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->event_time_us, b->event_time_us);
    assert_int_equal(a->kafka_time_us, b->kafka_time_us);
    assert_int_equal(a->recorded_at_us, b->recorded_at_us);
    assert_int_equal(a->schema_id, b->schema_id);
    assert_int_equal(a->has_cause, b->has_cause);
    if (a->has_cause)
        assert_memory_equal(&a->cause_id, &b->cause_id, sizeof a->cause_id);
    same_slice("trace", a->trace_id, b->trace_id);
    same_slice("source", a->source_id, b->source_id);
    same_slice("key", a->key, b->key);
    same_slice("value", a->value, b->value);
    same_slice("headers", a->headers, b->headers);
}

uint64_t fixture_random(uint64_t *seed) {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * UINT64_C(0x2545f4914f6cdd1d);
}
