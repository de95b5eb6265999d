/* From a Kafka message to an event's envelope: framing, schema, decoding, node, identity, the clocks. Pure but for the schema lookup; one
 * struct envelope belongs to one thread. */
#ifndef ENVELOPE_H
#define ENVELOPE_H

#include "bf_framing.h"
#include "bf_kafka.h"
#include "bf_topics.h"
#include "event.h"
#include "schema_cache.h"

struct envelope_settings {
    struct schema_cache *schemas;
    int64_t value_bytes_max;
    int depth_max;
    /* Fetch a schema that the cache does not have: by id, or by guid (then *id is set). BF_AGAIN: ask again later, this is no poison.
     * BF_NOT_FOUND: nobody knows it. */
    enum bf_code (*resolve)(void *ctx, const struct bf_frame *frame, int32_t *id, const struct bf_avro **schema, struct bf_err *err);
    void *ctx;
};

struct envelope {
    const struct envelope_settings *settings;
    struct bf_buf headers;
    struct bf_avro_field fields[BF_AVRO_PATHS_MAX];
    struct event ev;      /* filled when BF_OK; views into the message and this struct, until the next call */
    struct poison poison; /* filled when BF_REJECTED */
    char detail[512], trace[256];
};

void envelope_init(struct envelope *e, const struct envelope_settings *settings);
void envelope_fini(struct envelope *e);

/* BF_OK: e->ev. BF_REJECTED: e->poison says why. BF_AGAIN: a dependency is away; the same message again later. */
BF_MUST_CHECK enum bf_code envelope_open(struct envelope *e, const struct bf_topic *topic, const struct bf_message *msg,
                                         struct bf_err *err);

#endif
