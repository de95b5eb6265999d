/* A migrated database of its own, an archive on it, and events with real Avro values. */
#ifndef ARCHIVE_FIXTURE_H
#define ARCHIVE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "archive.h"
#include "arena.h"
#include "bf_topics.h"
#include "schema_cache.h"
#include "test_pg.h"

#define MIGRATIONS_DIR BF_SOURCE_DIR "/migrations"
#define NOTE_SCHEMA "{\"type\":\"record\",\"name\":\"Note\",\"fields\":[{\"name\":\"text\",\"type\":\"string\"},{\"name\":\"n\",\"type\":\"long\"}]}"

struct fixture {
    char *conninfo;
    struct bf_topics *topics;
    struct schema_cache *schemas;
    struct archive *archive;
    struct bf_uuid owner;
    struct arena_block *arena; /* what events point at */
    int64_t epoch;
};

#define assert_ok(call) assert_code(BF_OK, call)
#define assert_code(expected, call)                                                                                              \
    do {                                                                                                                         \
        struct bf_err err = {0};                                                                                                 \
        enum bf_code code_ = (call);                                                                                             \
        if (code_ != (expected))                                                                                                 \
            fail_msg("%s: %s, %s [%s]", #call, bf_code_name(code_), err.msg, err.sqlstate);                                      \
    } while (0)

void fixture_init(struct fixture *f); /* migrated */
void fixture_fini(struct fixture *f);
struct archive *fixture_archive(struct fixture *f, bool read_only);
struct bf_uuid fixture_uuid(uint64_t n);
/* A framed Note (schema 1) of `text`, copied into the arena. */
struct bf_slice fixture_value(struct fixture *f, const char *text, size_t len, int64_t n);
/* Everything set to something plain; id from n. */
struct event fixture_event(struct fixture *f, const char *topic, int32_t partition, int64_t offset, uint64_t n);
/* A chunk over these events: one interval and one partition entry for each (topic, partition), from the first to the last offset. */
struct hot_chunk fixture_chunk(struct fixture *f, struct event *events, size_t count);
void fixture_take(struct fixture *f, const char *topic, int32_t partition);
/* Two events are the same, byte for byte. */
void fixture_assert_same(const struct event *a, const struct event *b);

uint64_t fixture_random(uint64_t *seed);

#endif
