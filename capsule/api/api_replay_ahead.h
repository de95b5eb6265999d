/* The next page of a replay, fetched while the last one is written: PostgreSQL and LMDB work while JSON is made and sent. Private to this folder.
 *
 * All calls come from the one thread that serves the stream; between begin() and take() the query's strings are the helper's, too. No transaction and no
 * connection is held between two questions. Memory: one page. free() waits for a question that is under way.
 */
#ifndef API_REPLAY_AHEAD_H
#define API_REPLAY_AHEAD_H

#include "store.h"

struct replay_ahead;

BF_MUST_CHECK enum bf_code replay_ahead_new(struct store *store, struct replay_ahead **out, struct bf_err *err);
void replay_ahead_free(struct replay_ahead *ahead); /* NULL is fine */

/* Ask for up to `rows` events behind `after`. Only one at a time. */
void replay_ahead_begin(struct replay_ahead *ahead, const struct event_query *q, const struct event_pos *after, size_t rows);
/* False: nothing was begun. Else waits and exchanges the page for the one that was fetched; *code is store_fetch()'s. */
bool replay_ahead_take(struct replay_ahead *ahead, struct event_page *page, bool *exhausted, enum bf_code *code, struct bf_err *err);

#endif
