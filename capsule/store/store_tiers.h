/* What the files of the merged read share. Private to them. */
#ifndef STORE_TIERS_H
#define STORE_TIERS_H

#include "store.h"
#include "store_pool.h"

#include <stdatomic.h>

struct store {
    struct hot *hot;
    struct schema_cache *schemas;
    struct store_pool *pool;
    _Atomic int64_t archived_through_us;
    _Atomic int64_t others_archived_us, closed_us;
    _Atomic int64_t alone_through_us; /* how far it answered when it was alone last */
    _Atomic bool others_hold;
};

/* Ask the archive over a connection of the pool, and once more when that one had died there:
 *     struct store_ask ask = {.store = s};
 *     while (store_asks(&ask, &code, err))
 *         code = archive_something(ask.archive, …, err);
 * Nothing that the first time has put somewhere may be left there the second time. */
struct store_ask {
    struct store *store;
    struct archive *archive;
    bool again;
};
bool store_asks(struct store_ask *ask, enum bf_code *code, struct bf_err *err);

/* archive_fetch and archive_world over the pool, with one second try on a connection that died in the pool. */
BF_MUST_CHECK enum bf_code store_archive_fetch(struct store *s, const struct event_query *q, int64_t below_us, const struct event_pos *after,
                                               size_t limit, struct event_page *page, bool *exhausted, struct bf_err *err);
BF_MUST_CHECK enum bf_code store_archive_world(struct store *s, const struct event_query *q, int64_t as_of_us, int64_t below_us,
                                               struct bf_slice after_node, size_t limit_nodes, struct event_page *page, bool *exhausted,
                                               struct bf_err *err);

/* Can anything that the query asks for lie below hot_from, where only the archive has it? */
bool store_reaches_archive(const struct event_query *q, int64_t hot_from_us);

#endif
