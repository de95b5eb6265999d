/* A connection to PostgreSQL with the chunk that goes through it. One thread at a time. */
#ifndef ARCHIVE_LANE_H
#define ARCHIVE_LANE_H

#include "archive.h"
#include "capsule.h"

struct kept_schema {
    char topic[BF_TOPIC_MAX + 1];
    int32_t id;
};

struct archive_lane {
    struct capsule *c;
    struct archive *archive;
    struct hot_chunk chunk;
    struct kept_schema *kept; /* (topic, schema) pairs that the archive has, as far as this lane knows */
    size_t kept_count;
};

BF_MUST_CHECK enum bf_code archive_lane_new(struct capsule *c, struct archive_lane **out, struct bf_err *err);
void archive_lane_free(struct archive_lane *lane);

/* The commits after `after_us` into lane->chunk. BF_NOT_FOUND: nothing new. */
BF_MUST_CHECK enum bf_code archive_lane_read(struct archive_lane *lane, int64_t after_us, struct bf_err *err);
bool archive_lane_is_full(const struct archive_lane *lane); /* the chunk is as large as it gets: there is more */
/* Before the rows, so that raw bytes in the archive can always be read: keep the schemas that the chunk needs. */
BF_MUST_CHECK enum bf_code archive_lane_keep_schemas(struct archive_lane *lane, struct bf_err *err);

#endif
