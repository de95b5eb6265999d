/* A judgement as the message that goes to Kafka. The bytes depend on the reflex and the judgement alone. Owned by one thread. */
#ifndef PLATO_DECISION_H
#define PLATO_DECISION_H

#include "bf_kafka.h"
#include "judge.h"

struct decision_writer;

struct decision {
    const char *node_id, *trace_id; /* trace_id NULL or "": none */
    struct bf_slice traceparent;    /* of the cause; data NULL: none */
    struct bf_uuid cause_id;
    const char *cause_topic, *discriminator; /* what kind of decision: the id is made of it and the cause */
    int64_t event_time_us;
    const char *policy_version;
    const struct judgement *judgement;
};

struct decision_message { /* borrowed until the next write */
    struct bf_uuid id;
    struct bf_slice key, value;
    struct bf_header headers[1];
    size_t header_count;
};

#define DECISION_FIRST "decision"        /* of a reflex */
#define DECISION_SECOND "second-decision" /* of an escalated decision, by a person */

BF_MUST_CHECK enum bf_code decision_writer_new(const char *schema_json, int32_t schema_id, struct decision_writer **out, struct bf_err *err);
void decision_writer_free(struct decision_writer *w);
BF_MUST_CHECK enum bf_code decision_write(struct decision_writer *w, const struct decision *d, struct decision_message *out, struct bf_err *err);

#endif
