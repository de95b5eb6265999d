/* The merged read: hot where LMDB covers the range, archive beyond it, one order, no seam.
 *
 * A struct store is shared by all readers; archive connections come from a bounded pool (waits up to `pool_wait_ms`, then BF_AGAIN). When
 * nothing was ever evicted or rebuilt, the archive is not asked at all.
 */
#ifndef STORE_H
#define STORE_H

#include "archive.h"
#include "hot.h"
#include "schema_cache.h"

struct store;

struct store_settings {
    struct hot *hot;
    struct schema_cache *schemas;
    struct archive_settings archive; /* used with read_only set */
    int pool_max;                    /* connections; 0: 4 */
    int64_t pool_wait_ms;
};

BF_MUST_CHECK enum bf_code store_open(const struct store_settings *settings, struct store **out, struct bf_err *err);
void store_close(struct store *s);
struct hot *store_hot(const struct store *s);
struct schema_cache *store_schemas(const struct store *s);
/* Set by the archiver: what this instance recorded at or below through_us is in PostgreSQL. */
void store_set_archived_through(struct store *s, int64_t through_us);
/* Set by the archiver: what other instances do (docs/adr/0009). */
void store_set_others(struct store *s, const struct archive_others *others);
/* Others record, too, or have recorded since hot_from: the archive alone has the events of all, and answers. */
bool store_is_shared(const struct store *s);

/* The watermarks of answers: nothing comes that would change what was recorded up to there, and it is visible; and it is in PostgreSQL. Alone they are this
 * instance's own; with others both are how far all of them have archived. */
int64_t store_recorded_through(const struct store *s);
int64_t store_archived_through(const struct store *s);
/* This instance's own. */
int64_t store_own_recorded_through(const struct store *s);
int64_t store_own_archived_through(const struct store *s);
/* No event that was recorded by us (at most store_recorded_through()) is dated later than that. With others nobody knows, but there a watermark follows the clock
 * within a second, and with it whatever becomes true meanwhile: true. */
bool store_all_dated_by(const struct store *s, int64_t us);
/* With others: what this instance may have answered for before they came, by its own clock. store_recorded_through() passes it within a second. Alone: INT64_MIN. */
int64_t store_alone_through(const struct store *s);
/* Wait until store_recorded_through() is above after_us, at most `ms`; false: it is not yet. */
bool store_wait_newer(struct store *s, int64_t after_us, int64_t ms);

/* As hot_fetch, over both tiers. */
BF_MUST_CHECK enum bf_code store_fetch(struct store *s, const struct event_query *q, const struct event_pos *after, size_t limit,
                                       struct event_page *page, bool *exhausted, struct bf_err *err);
/* State of one node, topics in name order. */
BF_MUST_CHECK enum bf_code store_state(struct store *s, struct bf_slice node, const struct event_query *q, int64_t as_of_us,
                                       struct event_page *page, struct bf_err *err);
/* State of many: nodes in byte order after `after_node` (absent: from the start), at most limit_nodes of them; *last_node (buffer cleared first) is
 * the last node looked at. */
BF_MUST_CHECK enum bf_code store_world(struct store *s, const struct event_query *q, int64_t as_of_us, struct bf_slice after_node,
                                       size_t limit_nodes, struct event_page *page, struct bf_buf *last_node, bool *exhausted,
                                       struct bf_err *err);
/* As hot_nodes() and hot_node(). */
BF_MUST_CHECK enum bf_code store_nodes(struct store *s, struct bf_slice prefix, struct bf_slice after, size_t limit, struct bf_buf *names,
                                       size_t *count, struct bf_err *err);
BF_MUST_CHECK enum bf_code store_node(struct store *s, struct bf_slice node, struct hot_node_topic *topics, size_t topics_max, size_t *count,
                                      struct bf_err *err);
/* What is held of each partition, by topic and number: free(*out). With others this instance's ledger is asked for its own partitions, and for theirs the
 * archive, which does not say newest times. */
struct store_partition {
    struct hot_partition held;
    bool elsewhere;       /* another instance's: as far as it is archived */
    struct bf_uuid owner; /* then: whose */
};
BF_MUST_CHECK enum bf_code store_partitions(struct store *s, struct store_partition **out, size_t *count, struct bf_err *err);
/* As hot_coverage(), wherever the partition is. */
BF_MUST_CHECK enum bf_code store_coverage(struct store *s, const struct store_partition *p, int64_t from, size_t limit, struct interval *out,
                                          size_t *count, struct bf_err *err);
/* Where a partition ends by now, and by when that was recorded. BF_NOT_FOUND: nothing of it was. */
BF_MUST_CHECK enum bf_code store_partition_end(struct store *s, struct bf_slice topic, int32_t partition, int64_t *next_offset,
                                               int64_t *through_us, struct bf_err *err);
BF_MUST_CHECK enum bf_code store_duplicates(struct store *s, struct bf_slice topic, const struct bf_uuid *id, size_t max, struct duplicate *out,
                                            size_t *count, struct bf_err *err);
BF_MUST_CHECK enum bf_code store_quarantine(struct store *s, const struct poison_query *q, size_t limit, struct poison **out, size_t *count,
                                            struct bf_err *err);
/* As archive_reads_list, over the pool. */
BF_MUST_CHECK enum bf_code store_reads(struct store *s, const struct archive_reads_query *q, size_t limit,
                                       enum bf_code (*row)(void *ctx, const struct archive_read_row *row, struct bf_err *err), void *ctx,
                                       struct bf_err *err);
/* The archive answers? For /readyz and metrics. */
BF_MUST_CHECK enum bf_code store_archive_ping(struct store *s, struct bf_err *err);

#endif
