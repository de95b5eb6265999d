/* C11 threads on top of POSIX ones, for builds with the thread sanitizer only: GCC 12's does not know thrd_create, so a thread that librdkafka starts that
 * way has no state and the first checked access in it ends the program. Defined in the program, they take the place of the C library's for its
 * libraries, too. glibc's types are as large as the POSIX ones that lie in them. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t) && sizeof(cnd_t) >= sizeof(pthread_cond_t) && sizeof(thrd_t) == sizeof(pthread_t), "glibc's");

struct start {
    thrd_start_t run;
    void *arg;
};

static int result_of(int error) {
    switch (error) {
    case 0: return thrd_success;
    case ENOMEM: return thrd_nomem;
    case ETIMEDOUT: return thrd_timedout;
    case EBUSY: return thrd_busy;
    default: return thrd_error;
    }
}

static void *begin(void *ctx) {
    struct start start = *(struct start *)ctx;
    free(ctx);
    return (void *)(intptr_t)start.run(start.arg);
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *arg) {
    struct start *start = malloc(sizeof *start);
    if (!start)
        return thrd_nomem;
    *start = (struct start){run, arg};
    int rc = pthread_create(thread, NULL, begin, start);
    if (rc != 0)
        free(start);
    return result_of(rc);
}

int thrd_join(thrd_t thread, int *result) {
    void *value;
    int rc = pthread_join(thread, &value);
    if (rc == 0 && result)
        *result = (int)(intptr_t)value;
    return result_of(rc);
}

int mtx_init(mtx_t *mutex, int type) {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, type & mtx_recursive ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_DEFAULT);
    int rc = pthread_mutex_init((pthread_mutex_t *)mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    return result_of(rc);
}

int mtx_lock(mtx_t *mutex) { return result_of(pthread_mutex_lock((pthread_mutex_t *)mutex)); }
int mtx_unlock(mtx_t *mutex) { return result_of(pthread_mutex_unlock((pthread_mutex_t *)mutex)); }
void mtx_destroy(mtx_t *mutex) { pthread_mutex_destroy((pthread_mutex_t *)mutex); }

int cnd_init(cnd_t *cond) { return result_of(pthread_cond_init((pthread_cond_t *)cond, NULL)); }
int cnd_signal(cnd_t *cond) { return result_of(pthread_cond_signal((pthread_cond_t *)cond)); }
int cnd_broadcast(cnd_t *cond) { return result_of(pthread_cond_broadcast((pthread_cond_t *)cond)); }
int cnd_wait(cnd_t *cond, mtx_t *mutex) { return result_of(pthread_cond_wait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex)); }
int cnd_timedwait(cnd_t *cond, mtx_t *mutex, const struct timespec *until) {
    return result_of(pthread_cond_timedwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, until));
}
void cnd_destroy(cnd_t *cond) { pthread_cond_destroy((pthread_cond_t *)cond); }
