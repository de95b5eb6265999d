/* Dead letters: what was quarantined is published to `{topic}.dlq`, key, value and headers as they were, with Kafka Connect's
 * `__connect.errors.*` headers (KIP-298) added. A thread of its own; at least once: after a crash the last few may be published again. */
#ifndef DLQ_H
#define DLQ_H

#include "capsule.h"

BF_MUST_CHECK enum bf_code dlq_start(struct capsule *c, struct dlq **out, struct bf_err *err);
/* Something was quarantined. Any thread; NULL is fine. */
void dlq_wake(struct dlq *d);
/* Publishes what is left if Kafka takes it within a few seconds (the rest at the next start), joins. NULL is fine. */
/* Something quarantined appeared at this moment of the log, which may have been published already: what came later may be published twice. */
void dlq_again_from(struct dlq *d, int64_t recorded_at_us);
void dlq_stop(struct dlq *d);

#endif
