/* A reflex as the message that goes to Kafka: words, id, Avro, headers. The bytes depend on the reflex alone. Owned by one thread. */
#ifndef ODYSSEY_SPEAK_H
#define ODYSSEY_SPEAK_H

#include "bf_kafka.h"
#include "engine.h"

struct speaker;

struct spoken { /* borrowed until the next speak() */
    struct bf_slice key, value;
    struct bf_header headers[1];
    size_t header_count;
};

/* `schema_json` is that of odyssey.reflex, with this id in the registry. */
BF_MUST_CHECK enum bf_code speaker_new(const char *schema_json, int32_t schema_id, const char *cause_topic, struct speaker **out, struct bf_err *err);
void speaker_free(struct speaker *s);
BF_MUST_CHECK enum bf_code speaker_speak(struct speaker *s, const struct reflex *reflex, struct spoken *out, struct bf_err *err);

/* What happened, for people; always terminated. */
void speak_words(const struct reflex *reflex, const char *field, char *dst, size_t dst_bytes);

#endif
