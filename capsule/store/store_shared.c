/* The instance among others. Alone it answers from both tiers, as far as it has recorded. When others record, too, only the archive has the events of all:
 * then it answers from there alone, as far as all of them have archived, so that each instance gives the same bytes (docs/adr/0009). */
#include "store_tiers.h"

#include "bf_loop.h"
#include "bf_time.h"

#define SHARED_LOOK_MS 20

void store_set_archived_through(struct store *s, int64_t through_us) {
    atomic_store_explicit(&s->archived_through_us, through_us, memory_order_release);
}

/* One that has just taken a partition and has said nothing yet records above all that was archived by then: what was closed stays so. */
void store_set_others(struct store *s, const struct archive_others *others) {
    bool was_alone = !store_is_shared(s);
    if (others->closed_us > atomic_load(&s->closed_us))
        atomic_store(&s->closed_us, others->closed_us);
    atomic_store(&s->others_archived_us, others->archived_us);
    atomic_store(&s->others_hold, others->hold);
    if (was_alone && store_is_shared(s))
        atomic_store(&s->alone_through_us, store_own_recorded_through(s));
}

bool store_is_shared(const struct store *s) {
    int64_t archived_us = atomic_load(&s->others_archived_us);
    struct hot_watermarks w;
    if (atomic_load(&s->closed_us) == 0)
        return false;
    if (atomic_load(&s->others_hold) || archived_us == 0)
        return atomic_load(&s->others_hold);
    hot_watermarks(s->hot, &w);
    return archived_us >= w.hot_from_us;
}

int64_t store_own_archived_through(const struct store *s) {
    return atomic_load_explicit(&s->archived_through_us, memory_order_acquire);
}

int64_t store_own_recorded_through(const struct store *s) {
    struct hot_watermarks w;
    hot_watermarks(s->hot, &w);
    return w.recorded_through_us;
}

int64_t store_archived_through(const struct store *s) {
    return store_is_shared(s) ? atomic_load(&s->closed_us) : store_own_archived_through(s);
}

int64_t store_recorded_through(const struct store *s) {
    return store_is_shared(s) ? atomic_load(&s->closed_us) : store_own_recorded_through(s);
}

bool store_all_dated_by(const struct store *s, int64_t us) {
    struct hot_watermarks w;
    hot_watermarks(s->hot, &w);
    return w.dated_through_us <= us || store_is_shared(s);
}

int64_t store_alone_through(const struct store *s) {
    return store_is_shared(s) ? atomic_load(&s->alone_through_us) : INT64_MIN;
}

bool store_wait_newer(struct store *s, int64_t after_us, int64_t ms) {
    if (!store_is_shared(s)) {
        return hot_wait_newer(s->hot, after_us, (int)ms);
    }
    for (int64_t end_us = bf_time_monotonic_us() + ms * 1000; store_recorded_through(s) <= after_us;) { /* the archiver looks a few times a second */
        if (bf_loop_refuses() || bf_time_monotonic_us() >= end_us || !bf_sleep_ms(SHARED_LOOK_MS)) {
            return false;
        }
    }
    return true;
}

/* ---- nodes ---- */

enum bf_code store_nodes(struct store *s, struct bf_slice prefix, struct bf_slice after, size_t limit, struct bf_buf *names, size_t *count,
                         struct bf_err *err) {
    struct store_ask ask = {.store = s};
    enum bf_code code = BF_OK;
    if (!store_is_shared(s)) {
        return hot_nodes(s->hot, prefix, after, limit, names, count, err);
    }
    while (store_asks(&ask, &code, err)) {
        code = archive_node_names(ask.archive, prefix, after, limit, names, count, err);
    }
    return code;
}

enum bf_code store_node(struct store *s, struct bf_slice node, struct hot_node_topic *topics, size_t topics_max, size_t *count,
                        struct bf_err *err) {
    struct store_ask ask = {.store = s};
    enum bf_code code = BF_OK;
    if (!store_is_shared(s)) {
        return hot_node(s->hot, node, topics, topics_max, count, err);
    }
    while (store_asks(&ask, &code, err)) {
        code = archive_node(ask.archive, node, topics, topics_max, count, err);
    }
    return code;
}

/* ---- partitions ---- */

enum bf_code store_partition_end(struct store *s, struct bf_slice topic, int32_t partition, int64_t *next_offset, int64_t *through_us,
                                 struct bf_err *err) {
    struct hot_partition p;
    struct store_ask ask = {.store = s};
    enum bf_code code = BF_OK;
    if (!store_is_shared(s)) {
        code = hot_partition(s->hot, topic, partition, &p, err);
        if (code == BF_OK) {
            *next_offset = p.next_offset;
            *through_us = store_own_recorded_through(s);
        }
        return code;
    }
    while (store_asks(&ask, &code, err)) {
        code = archive_partition_end(ask.archive, topic, partition, next_offset, through_us, err);
    }
    return code;
}
