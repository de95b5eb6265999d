#include "bf_cond.h"

#include <time.h>

void bf_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr); /* glibc's does not fail */
    pthread_condattr_destroy(&attr);
}

struct timespec bf_cond_in_ms(int64_t ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    if (ms > 0) {
        t.tv_sec += (time_t)(ms / 1000);
        t.tv_nsec += (long)(ms % 1000) * 1000000L;
    }
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

bool bf_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until) {
    return pthread_cond_timedwait(cond, lock, until) == 0;
}
