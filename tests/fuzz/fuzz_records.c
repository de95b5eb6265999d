/* A record of the hot log as a damaged disk may give it back: refused, or every part lies inside; and what is whole is put again to the same bytes. */
#include "fuzz.h"

#include "hot_record.h"

#include <stdlib.h>
#include <string.h>

static struct bf_slice record;

static void inside(struct bf_slice part) {
    const char *p = part.data, *begin = record.data;
    bf_assert(p == NULL || (p >= begin && p + part.len <= begin + record.len));
}

static void check_event(const struct record_peek *peek) {
    struct event ev, again;
    struct record_id id;
    if (!record_event_get(record, &ev)) {
        return;
    }
    inside(ev.node_id);
    inside(ev.trace_id);
    inside(ev.source_id);
    inside(ev.key);
    inside(ev.value);
    inside(ev.headers);
    bf_assert(record_event_id(record, &id) && id.topic_no == peek->topic_no && id.revision == ev.revision);
    bf_assert(ev.partition == peek->partition && ev.offset == peek->offset);
    char *put = malloc(record_event_size(&ev));
    record_event_put(put, peek->topic_no, &ev, id.content_hash);
    bf_assert(record_event_get((struct bf_slice){put, record_event_size(&ev)}, &again));
    bf_assert(bf_slice_eq(ev.node_id, again.node_id) && bf_slice_eq(ev.trace_id, again.trace_id) && bf_slice_eq(ev.source_id, again.source_id) &&
              bf_slice_eq(ev.key, again.key) && bf_slice_eq(ev.value, again.value) && bf_slice_eq(ev.headers, again.headers));
    bf_assert(ev.event_time_us == again.event_time_us && ev.kafka_time_us == again.kafka_time_us && ev.schema_id == again.schema_id &&
              ev.has_cause == again.has_cause && ev.redriven == again.redriven && memcmp(&ev.id, &again.id, sizeof ev.id) == 0);
    free(put);
}

static void check_poison(void) {
    struct poison p;
    if (record_poison_get(record, &p)) {
        inside(p.detail);
        inside(p.key);
        inside(p.value);
        inside(p.headers);
        bf_assert(poison_reason_name(p.reason) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct record_peek peek;
    struct duplicate dup;
    record = (struct bf_slice){data, size};
    if (!record_peek(record, &peek)) {
        return 0;
    }
    if (peek.type == RECORD_EVENT) {
        check_event(&peek);
    } else if (peek.type == RECORD_POISON) {
        check_poison();
    } else {
        bf_assert(!record_duplicate_get(record, &dup) || (dup.partition == peek.partition && dup.offset == peek.offset));
    }
    return 0;
}
