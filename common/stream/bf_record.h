/* What a consuming service needs of a message: framing, schema (fetched once from the registry), Avro checked, chosen fields picked, then node,
 * event time, identity, cause and trace as the catalogue says where they lie and as CAPSULE decides them too, so that both mean the same event.
 *
 * One reader belongs to one thread and reads one topic. Compiled schemas are kept by id for the life of the reader, at most
 * BF_RECORD_SCHEMAS_MAX; ids that the registry does not know are believed unknown for 10 s.
 */
#ifndef BF_RECORD_H
#define BF_RECORD_H

#include "bf_avro.h"
#include "bf_event_id.h"
#include "bf_kafka.h"
#include "bf_topics.h"

#define BF_RECORD_SCHEMAS_MAX 1024
#define BF_RECORD_TRACE_MAX 255

/* Why a record cannot be read; in err->native of BF_REJECTED. The names are metric labels and those of CAPSULE's quarantine. */
enum bf_record_fault {
    BF_RECORD_FRAMING, BF_RECORD_SCHEMA, BF_RECORD_AVRO, BF_RECORD_UTF8, BF_RECORD_LIMIT, BF_RECORD_NODE_ID, BF_RECORD_FAULTS
};
const char *bf_record_fault_name(enum bf_record_fault fault);

struct bf_record { /* views into the message and the reader, until the next open */
    struct bf_slice node_id;
    struct bf_uuid id;
    bool has_cause;
    struct bf_uuid cause_id;
    int64_t event_time_us;
    struct bf_slice trace_id;           /* data NULL: none */
    struct bf_slice traceparent;        /* the W3C header as it came; data NULL: none */
    const struct bf_avro_field *fields; /* those asked for, in that order */
};

struct bf_record_settings {
    const struct bf_topic *topic; /* must outlive the reader, as must `paths` */
    const char *registry_url;
    const char *const *paths; /* dotted paths of the fields wanted; fewer than 32 with those of the catalogue */
    size_t path_count;
};

struct bf_record_reader;

/* BF_INVALID: too many paths. */
BF_MUST_CHECK enum bf_code bf_record_reader_new(const struct bf_record_settings *settings, struct bf_record_reader **out, struct bf_err *err);
void bf_record_reader_free(struct bf_record_reader *r);

/* BF_NOT_FOUND: a tombstone or a filler, nothing to read. BF_REJECTED: it cannot be read, err->native is the fault. BF_AGAIN: the registry is
 * away; the same message again later. */
BF_MUST_CHECK enum bf_code bf_record_open(struct bf_record_reader *r, const struct bf_message *msg, struct bf_record *out, struct bf_err *err);

/* The W3C traceparent of an event caused by another: the cause's, with the new event's id as its parent-id (Trace Context §3.2.2.4). False, and dst
 * empty, when the cause had none. */
#define BF_TRACEPARENT_LEN 55
bool bf_traceparent_next(char dst[BF_TRACEPARENT_LEN + 1], struct bf_slice cause, const struct bf_uuid *id);

#endif
