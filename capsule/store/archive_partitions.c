/* Partitions before rows: the ranges that a connection has seen are remembered, so that a chunk of known times costs no query. */
#include "archive_internal.h"

#include "bf_time.h"

#include <stdlib.h>
#include <string.h>

#define DAY_US INT64_C(86400000000)
#define AHEAD_EVERY_US (6 * 60 * 60 * INT64_C(1000000))

void archive_forget_partitions(struct archive *a) {
    for (size_t i = 0; i < a->topic_count; i++)
        free(a->topics[i].ranges);
    free(a->topics);
    a->topics = NULL;
    a->topic_count = 0;
}

static struct archive_topic *find_topic(struct archive *a, struct bf_slice topic) {
    for (size_t i = 0; i < a->topic_count; i++)
        if (bf_slice_eq(bf_slice_str(a->topics[i].topic), topic))
            return &a->topics[i];
    if (topic.len > BF_TOPIC_MAX)
        return NULL;
    struct archive_topic *more = realloc(a->topics, (a->topic_count + 1) * sizeof *more);
    if (!more)
        return NULL;
    a->topics = more;
    struct archive_topic *t = &more[a->topic_count++];
    memset(t, 0, sizeof *t);
    memcpy(t->topic, topic.data, topic.len);
    t->ahead_checked_us = INT64_MIN / 2;
    return t;
}

static bool has_range(struct archive_topic *t, int64_t at_us) {
    if (t->hint < t->count && at_us >= t->ranges[t->hint].from_us && at_us < t->ranges[t->hint].to_us)
        return true;
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (t->ranges[mid].to_us <= at_us)
            low = mid + 1;
        else
            high = mid;
    }
    t->hint = low;
    return low < t->count && at_us >= t->ranges[low].from_us;
}

static int by_from(const void *a, const void *b) {
    int64_t x = ((const struct archive_range *)a)->from_us, y = ((const struct archive_range *)b)->from_us;
    return (x > y) - (x < y);
}

static enum bf_code remember(struct archive_topic *t, const PGresult *r, struct bf_err *err) {
    size_t rows = (size_t)PQntuples(r);
    if (t->count + rows > t->capacity) {
        size_t capacity = (t->count + rows) * 2;
        struct archive_range *more = realloc(t->ranges, capacity * sizeof *more);
        if (!more)
            return bf_fail(err, BF_NOMEM, 0, "no memory for %zu ranges", capacity);
        t->ranges = more;
        t->capacity = capacity;
    }
    size_t known = t->count; /* sorted; the new ones come behind it */
    for (size_t i = 0; i < rows; i++) {
        struct archive_range range = {pg_time(r, (int)i, 0), pg_time(r, (int)i, 1)};
        if (known == 0 || !bsearch(&range, t->ranges, known, sizeof range, by_from))
            t->ranges[t->count++] = range;
    }
    qsort(t->ranges, t->count, sizeof *t->ranges, by_from);
    t->hint = 0;
    return BF_OK;
}

static const char *cut_name(enum bf_archive_cut cut) {
    return cut == BF_ARCHIVE_DAILY ? "daily" : cut == BF_ARCHIVE_MONTHLY ? "monthly" : "yearly";
}

static int64_t day_of(int64_t us) {
    int64_t day = us / DAY_US - (us % DAY_US < 0);
    return day * DAY_US;
}

static int by_time(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Ranges begin and end at midnight UTC, so a day stands for all of its times. */
static enum bf_code ensure_days(struct archive *a, struct archive_topic *t, int64_t *days, size_t count, struct bf_err *err) {
    PGresult *r = NULL;
    const struct bf_topic *way = bf_topics_find(a->s.topics, t->topic);
    qsort(days, count, sizeof *days, by_time);
    params_clear(&a->params);
    params_text(&a->params, bf_slice_str(t->topic));
    params_text(&a->params, bf_slice_str(cut_name(way->archive_cut)));
    params_array(&a->params, PG_TIMESTAMPTZ_ARRAY);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || days[i] != days[i - 1])
            params_array_time(&a->params, days[i] < BF_TIME_MIN_US ? BF_TIME_MIN_US : days[i]);
    params_array_end(&a->params);
    enum bf_code code = archive_exec(a, "select from_time, to_time from capsule.ensure_partitions($1, $2, $3)", "making partitions", &r, err);
    if (code == BF_OK)
        code = remember(t, r, err);
    if (code == BF_OK)
        t->ahead_checked_us = bf_time_monotonic_us();
    PQclear(r);
    if (code == BF_REJECTED) /* not a row's fault: the name of a topic that the archive does not take */
        code = err->code = BF_BROKEN;
    return code;
}

static enum bf_code ensure_topic(struct archive *a, struct bf_slice topic, const struct event *events, size_t count, int64_t *days,
                                 struct bf_err *err) {
    size_t missing = 0;
    struct archive_topic *t = find_topic(a, topic);
    if (!t)
        return bf_fail(err, BF_NOMEM, 0, "no memory for topic %.*s", (int)topic.len, (const char *)topic.data);
    for (size_t i = 0; i < count; i++)
        if (bf_slice_eq(events[i].topic, topic) && !has_range(t, events[i].event_time_us))
            days[missing++] = day_of(events[i].event_time_us);
    if (missing == 0 && bf_time_monotonic_us() - t->ahead_checked_us < AHEAD_EVERY_US)
        return BF_OK;
    return ensure_days(a, t, days, missing, err);
}

enum bf_code archive_ensure_topic(struct archive *a, const char *topic, struct bf_err *err) {
    int64_t none;
    return ensure_topic(a, bf_slice_str(topic), NULL, 0, &none, err);
}

/* Nearly always all events of a kind lie in one range that is known: then no event is looked at. */
static bool is_ensured(struct archive *a, const struct hot_chunk_kind *kind) {
    struct archive_topic *t = find_topic(a, kind->topic);
    return t && has_range(t, kind->first_time_us) && kind->last_time_us < t->ranges[t->hint].to_us &&
           bf_time_monotonic_us() - t->ahead_checked_us < AHEAD_EVERY_US;
}

enum bf_code archive_ensure(struct archive *a, const struct hot_chunk *chunk, struct bf_err *err) {
    enum bf_code code = BF_OK;
    int64_t *days = NULL;
    for (size_t i = 0; code == BF_OK && i < chunk->kind_count; i++) {
        if (is_ensured(a, &chunk->kinds[i]))
            continue;
        if (!days && !(days = malloc(chunk->event_count * sizeof *days)))
            return bf_fail(err, BF_NOMEM, 0, "no memory for %zu times", chunk->event_count);
        code = ensure_topic(a, chunk->kinds[i].topic, chunk->events, chunk->event_count, days, err);
    }
    free(days);
    return code;
}
