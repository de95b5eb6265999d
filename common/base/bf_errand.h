/* One errand at a time, run by a thread of its own while its owner does something else.
 *
 * Between begin() and wait() whatever run() touches is the errand's; before and after it is the owner's. All calls come from one thread, the owner's.
 */
#ifndef BF_ERRAND_H
#define BF_ERRAND_H

#include "bf_err.h"

#include <stdbool.h>

struct bf_errand;

/* BF_NOMEM: no memory or no thread. */
BF_MUST_CHECK enum bf_code bf_errand_new(void (*run)(void *ctx), void *ctx, struct bf_errand **out, struct bf_err *err);
void bf_errand_free(struct bf_errand *e); /* waits for what is under way; NULL is fine */

/* Nothing may be under way or waited for. */
void bf_errand_begin(struct bf_errand *e);
/* Until it is done. False: none was begun. */
bool bf_errand_wait(struct bf_errand *e);

#endif
