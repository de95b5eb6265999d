/* Copies of events and poison that outlive the store they came from. The bytes of one event lie in one piece of the page's arena, but for a topic that
 * is the event's before it. */
#include "arena.h"
#include "bf_room.h"
#include "event.h"
#include "hot.h"

#include <stdlib.h>
#include <string.h>

void event_page_init(struct event_page *p) {
    memset(p, 0, sizeof *p);
}

void event_page_clear(struct event_page *p) {
    p->count = 0;
    p->bytes = 0;
    arena_clear(&p->arena);
}

void event_page_fini(struct event_page *p) {
    free(p->events);
    arena_fini(&p->arena);
    memset(p, 0, sizeof *p);
}

static struct bf_slice put_slice(char **at, struct bf_slice from) {
    if (from.data == NULL)
        return BF_SLICE_NONE;
    struct bf_slice to = {*at, from.len};
    memcpy(*at, from.data, from.len);
    *at += from.len;
    return to;
}

enum bf_code event_page_add(struct event_page *p, const struct event *ev, struct bf_err *err) {
    const struct event *last = p->count > 0 ? &p->events[p->count - 1] : NULL;
    struct bf_slice topic = last != NULL && bf_slice_eq(last->topic, ev->topic) ? last->topic : BF_SLICE_NONE; /* mostly one for all */
    bool key_is_node = ev->key.data != NULL && ev->key.data == ev->node_id.data;
    size_t bytes = (topic.data != NULL ? 0 : ev->topic.len) + ev->node_id.len + ev->trace_id.len + ev->source_id.len +
                   (key_is_node ? 0 : ev->key.len) + ev->value.len + ev->headers.len;
    char *at = bf_room(p->events, p->count, p->capacity, 16) ? arena_alloc(&p->arena, bytes == 0 ? 1 : bytes) : NULL;
    if (at == NULL)
        return bf_fail(err, BF_NOMEM, 0, "no memory for an event of %zu bytes in a page of %zu", bytes, p->count);
    struct event *copy = &p->events[p->count];
    *copy = *ev;
    copy->topic = topic.data != NULL ? topic : put_slice(&at, ev->topic);
    copy->node_id = put_slice(&at, ev->node_id);
    copy->trace_id = put_slice(&at, ev->trace_id);
    copy->source_id = put_slice(&at, ev->source_id);
    copy->key = key_is_node ? copy->node_id : put_slice(&at, ev->key);
    copy->value = put_slice(&at, ev->value);
    copy->headers = put_slice(&at, ev->headers);
    p->count++;
    p->bytes += bytes + sizeof *copy;
    return BF_OK;
}

static bool alike(const struct event *a, const struct event *b, enum event_order order) {
    struct event_pos x = event_pos_of(a, order), y = event_pos_of(b, order);
    return event_pos_compare(&x, &y, order) == 0;
}

bool event_page_ends_with(const struct event_page *p, const struct event *ev, enum event_order order) {
    return p->count > 0 && alike(&p->events[p->count - 1], ev, order);
}

bool event_page_end_between(struct event_page *p, size_t start, size_t limit, enum event_order order) {
    size_t all = p->count;
    if (all - start <= limit)
        return false;
    const struct event last = p->events[all - 1];
    while (p->count > start && event_page_ends_with(p, &last, order))
        p->count--;
    if (p->count == start)
        p->count = all;
    return p->count < all;
}

static int compare_slices(struct bf_slice a, struct bf_slice b) {
    int c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_coordinates(const void *a, const void *b) {
    const struct event *x = a, *y = b;
    int c = compare_slices(x->topic, y->topic);
    if (c == 0)
        c = (x->partition > y->partition) - (x->partition < y->partition);
    return c != 0 ? c : (x->offset > y->offset) - (x->offset < y->offset);
}

static int by_coordinates_back(const void *a, const void *b) {
    return by_coordinates(b, a);
}

size_t event_page_alike(const struct event_page *p, size_t at, enum event_order order) {
    size_t n = 1;
    while (at + n < p->count && alike(&p->events[at], &p->events[at + n], order))
        n++;
    return n;
}

void event_page_order_alike(struct event_page *p, size_t start, enum event_order order, bool descending) {
    for (size_t i = start, n; i < p->count; i += n) {
        n = event_page_alike(p, i, order);
        if (n > 1)
            qsort(&p->events[i], n, sizeof p->events[i], descending ? by_coordinates_back : by_coordinates);
    }
}

void poison_query_init(struct poison_query *q) {
    memset(q, 0, sizeof *q);
    q->offset = -1;
    q->after_us = INT64_MIN;
    q->below_us = INT64_MAX;
}

/* One allocation per poison; topic is always present, so its data is where the piece begins. */
enum bf_code poison_copy(struct poison *dst, const struct poison *src, struct bf_err *err) {
    size_t bytes = src->topic.len + src->detail.len + src->key.len + src->value.len + src->headers.len;
    char *at = malloc(bytes == 0 ? 1 : bytes);
    if (at == NULL)
        return bf_fail(err, BF_NOMEM, 0, "no memory for a quarantined record of %zu bytes", bytes);
    *dst = *src;
    dst->topic = (struct bf_slice){at, src->topic.len};
    if (src->topic.len > 0)
        memcpy(at, src->topic.data, src->topic.len);
    at += src->topic.len;
    dst->detail = put_slice(&at, src->detail);
    dst->key = put_slice(&at, src->key);
    dst->value = put_slice(&at, src->value);
    dst->headers = put_slice(&at, src->headers);
    return BF_OK;
}

void poison_free(struct poison *p, size_t count) {
    if (p == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)p[i].topic.data);
    free(p);
}
