#include "evictor.h"

#include "bf_failpoint.h"
#include "bf_log.h"
#include "bf_time.h"

#define STEP_RECORDS 5000
#define LOOK_EVERY_US INT64_C(1000000)
/* Of the map's bytes, in percent. Freed pages are used again by later commits, so eviction begins well before the end. */
#define TIGHT_PERCENT 75
#define FULL_PERCENT 90
#define RELIEF_PERCENT 85

static int64_t evictable_through(const struct capsule *c, bool tight) {
    int64_t through = store_own_archived_through(c->store);
    int64_t old = bf_time_now_us() - c->settings->hot_age_ms * 1000;
    return tight || old > through ? through : old;
}

enum evictor_pressure evictor_step(struct evictor *e, struct capsule *c, bool store_full) {
    int64_t now = bf_time_monotonic_us();
    if (!store_full && !e->full && now < e->next_us)
        return EVICTOR_CALM;
    e->next_us = now + LOOK_EVERY_US;
    struct hot_watermarks w;
    hot_watermarks(c->hot, &w);
    uint64_t percent = w.bytes_used / (w.bytes_max / 100 + 1);
    bool tight = store_full || percent >= TIGHT_PERCENT;
    size_t evicted = 0;
    struct bf_err err;
    bf_failpoint("evict.before");
    if (hot_evict(c->hot, evictable_through(c, tight), STEP_RECORDS, &evicted, &err) != BF_OK)
        bf_log_err(BF_LOG_WARN, "evict_failed", &err, "retry_in_ms=1000");
    if (evicted) {
        bf_failpoint("evict.after");
        bf_series_add(bf_metrics_series(c->metrics, M_EVICTED, NULL, NULL, NULL), evicted);
        e->next_us = evicted == STEP_RECORDS ? now : e->next_us; /* there is more: go on at the next turn */
    }
    e->full = percent >= (e->full ? RELIEF_PERCENT : FULL_PERCENT);
    return e->full ? EVICTOR_FULL : tight ? EVICTOR_TIGHT : EVICTOR_CALM;
}
