/* Waiting for a condition until a moment of the monotonic clock: a wall clock that is set back an hour must not make any wait an hour longer. Whatever waits
 * with a limit does it here. */
#ifndef BF_COND_H
#define BF_COND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* For bf_cond_wait_until(). Destroyed by pthread_cond_destroy(). */
void bf_cond_init(pthread_cond_t *cond);

/* So many milliseconds from now; less than none is now. */
struct timespec bf_cond_in_ms(int64_t ms);

/* Under the lock. False: the moment has come; true: woken, perhaps for nothing. */
bool bf_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until);

#endif
