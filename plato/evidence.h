/* What CAPSULE knows, for a judgement: over HTTP, one client per thread. */
#ifndef PLATO_EVIDENCE_H
#define PLATO_EVIDENCE_H

#include "judge.h"

struct evidence;

struct evidence_settings { /* all strings must outlive the evidence */
    const char *capsule_url, *capsule_token /* NULL: none */, *reflex_topic, *signal_topic;
};
BF_MUST_CHECK enum bf_code evidence_new(const struct evidence_settings *settings, struct evidence **out, struct bf_err *err);
void evidence_free(struct evidence *e);

/* Everything that judge() asks about this reflex, which must be recorded already: else BF_NOT_FOUND. *out is good until the next call. */
BF_MUST_CHECK enum bf_code evidence_of(struct evidence *e, const struct reflex *reflex, struct facts *out, struct bf_err *err);

/* GET capsule + path (printf): a JSON object, the caller's reference. BF_NOT_FOUND: 404. BF_AGAIN: away, or any other status. */
BF_MUST_CHECK enum bf_code evidence_get(struct evidence *e, json_t **out, struct bf_err *err, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* An event's value as it is kept, appended to out. */
BF_MUST_CHECK enum bf_code evidence_raw(struct evidence *e, const char *topic, const char *id, struct bf_buf *out, struct bf_err *err);
/* The newest revision of an event and when it was first recorded. */
BF_MUST_CHECK enum bf_code evidence_event(struct evidence *e, const char *topic, const char *id, json_t **out, int64_t *recorded_us, struct bf_err *err);

#endif
