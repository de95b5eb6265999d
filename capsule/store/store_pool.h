/* A bounded pool of read-only archive connections for many reader threads. Private to the merged read. */
#ifndef STORE_POOL_H
#define STORE_POOL_H

#include "archive.h"

struct store_pool;

BF_MUST_CHECK enum bf_code store_pool_new(const struct archive_settings *settings, int connections_max, int64_t wait_ms,
                                          struct store_pool **out, struct bf_err *err);
/* All connections must have been given back. */
void store_pool_free(struct store_pool *p);

/* A connection for this thread; waits for a free one, in the order of asking, then BF_AGAIN (at once on an event loop, bf_loop.h). Always give it back, also after errors. */
BF_MUST_CHECK enum bf_code store_pool_take(struct store_pool *p, struct archive **out, struct bf_err *err);
void store_pool_give(struct store_pool *p, struct archive *a);
size_t store_pool_waiting(struct store_pool *p); /* how many threads wait */

/* A pooled connection may have died while nobody used it: is this failure worth one immediate second try? */
bool store_pool_stale(const struct bf_err *err);

#endif
