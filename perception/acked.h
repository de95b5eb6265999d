/* How far a source may be forgotten: batches of signals in the order in which they were read, each with a token for "up to here". A batch is
 * through when Kafka acknowledged every signal in it and in all before it. One thread; reports may come on another. */
#ifndef PERCEPTION_ACKED_H
#define PERCEPTION_ACKED_H

#include "publish.h"

struct acked;

BF_MUST_CHECK enum bf_code acked_new(struct acked **out, struct bf_err *err);
/* Only when nothing is on its way any more; tokens left are free()d. */
void acked_free(struct acked *a);

/* The open batch's waiter, to send with; NULL: no memory. */
struct publish_waiter *acked_waiter(struct acked *a);
/* Close the open batch, also an empty one. The token is malloc'ed and taken. */
BF_MUST_CHECK enum bf_code acked_close(struct acked *a, void *token, struct bf_err *err);
/* The oldest batch's token if it is through, for the caller to free; else NULL. A batch in which something failed is never through, nor is
 * what lies behind it. */
void *acked_next(struct acked *a);

#endif
