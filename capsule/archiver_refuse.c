#include "archiver_refuse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void refusal_init(struct refusal *r, const struct hot_chunk *original) {
    memset(r, 0, sizeof *r);
    r->chunk = *original;
}

/* Own arrays with room for what one refusal adds: a poison, and two more intervals. Replaced arrays are freed unless they are the original's. */
static bool own(void **array, size_t count, size_t more, size_t size, bool mine) {
    void *copy = malloc((count + more + 1) * size);
    if (!copy)
        return false;
    if (count)
        memcpy(copy, *array, count * size);
    if (mine)
        free(*array);
    *array = copy;
    return true;
}

static bool grow(struct refusal *r) {
    bool mine = r->detail_count > 0;
    struct hot_chunk *c = &r->chunk;
    void *events = c->events, *poisons = c->poisons, *intervals = c->intervals;
    if (mine) { /* events only shrink */
        if (!own(&poisons, c->poison_count, 1, sizeof *c->poisons, true))
            return false;
        c->poisons = poisons;
        if (!own(&intervals, c->interval_count, 2, sizeof *c->intervals, true))
            return false;
        c->intervals = intervals;
        return true;
    }
    bool all = own(&events, c->event_count, 0, sizeof *c->events, false);
    all = all && own(&poisons, c->poison_count, 1, sizeof *c->poisons, false);
    all = all && own(&intervals, c->interval_count, 2, sizeof *c->intervals, false);
    if (!all) {
        if (events != c->events)
            free(events);
        if (poisons != c->poisons)
            free(poisons);
        return false;
    }
    c->events = events;
    c->poisons = poisons;
    c->intervals = intervals;
    return true;
}

/* The interval that holds the offset becomes up to three. */
static void change_ledger(struct hot_chunk *c, const struct event *ev) {
    for (size_t i = 0; i < c->interval_count; i++) {
        struct interval whole = c->intervals[i], parts[3];
        size_t n = 0;
        if (whole.partition != ev->partition || ev->offset < whole.from || ev->offset >= whole.to || !bf_slice_eq(whole.topic, ev->topic))
            continue;
        if (whole.from < ev->offset)
            parts[n++] = (struct interval){whole.topic, whole.partition, whole.from, ev->offset, whole.disposition};
        parts[n++] = (struct interval){whole.topic, whole.partition, ev->offset, ev->offset + 1, DISPOSITION_QUARANTINED};
        if (ev->offset + 1 < whole.to)
            parts[n++] = (struct interval){whole.topic, whole.partition, ev->offset + 1, whole.to, whole.disposition};
        memmove(c->intervals + i + n, c->intervals + i + 1, (c->interval_count - i - 1) * sizeof *c->intervals);
        memcpy(c->intervals + i, parts, n * sizeof *parts);
        c->interval_count += n - 1;
        return;
    }
}

enum bf_code refusal_add(struct refusal *r, size_t index, const char *why, struct bf_err *err) {
    struct hot_chunk *c = &r->chunk;
    bf_assert(index < c->event_count);
    char *detail = strdup(why);
    char **details = realloc(r->details, (r->detail_count + 1) * sizeof *details);
    if (details)
        r->details = details;
    if (!detail || !details || !grow(r)) {
        free(detail);
        return bf_fail(err, BF_NOMEM, 0, "no memory to quarantine a refused event");
    }
    struct event ev = c->events[index];
    c->poisons[c->poison_count++] =
        (struct poison){.topic = ev.topic, .partition = ev.partition, .offset = ev.offset, .kafka_time_us = ev.kafka_time_us,
                        .recorded_at_us = ev.recorded_at_us, .reason = POISON_REFUSED, .schema_id = ev.schema_id,
                        .detail = bf_slice_str(detail), .key = ev.key, .value = ev.value, .headers = ev.headers};
    change_ledger(c, &ev);
    memmove(c->events + index, c->events + index + 1, (c->event_count - index - 1) * sizeof *c->events);
    c->event_count--;
    snprintf(r->topic, sizeof r->topic, "%.*s", (int)ev.topic.len, (const char *)ev.topic.data);
    r->details[r->detail_count++] = detail;
    return BF_OK;
}

void refusal_fini(struct refusal *r) {
    if (r->detail_count > 0) {
        free(r->chunk.events);
        free(r->chunk.poisons);
        free(r->chunk.intervals);
    }
    for (size_t i = 0; i < r->detail_count; i++)
        free(r->details[i]);
    free(r->details);
}
