/* Failpoints: named places at which a test lets the process die, freeze, wait or fail. Unset they cost one predictable branch.
 *
 * BF_FAILPOINTS="archive.after-copy=kill@3,hot.before-commit=sleep:50" says what happens: NAME=ACTION[:ARG][@N]
 *   kill       SIGKILL to this process at the Nth time (default: the first)
 *   stop       SIGSTOP to this process at the Nth time
 *   sleep:MS   wait so long, from the Nth time on
 *   fail:MS    from the Nth time on, for so long, bf_failpoint_fails() says so (0: for ever)
 * Which names there are is listed in docs/reliability.md. Any thread; nothing is allocated after the start.
 */
#ifndef BF_FAILPOINT_H
#define BF_FAILPOINT_H

#include <stdbool.h>

/* Read BF_FAILPOINTS; false: it is malformed (said on stderr). Call once before there are threads. */
bool bf_failpoints_init(void);

extern bool bf_failpoints_armed; /* constant after bf_failpoints_init() */
void bf_failpoint_hit(const char *name);
bool bf_failpoint_hit_fails(const char *name);

#define bf_failpoint(name) (__builtin_expect(bf_failpoints_armed, 0) ? bf_failpoint_hit(name) : (void)0)
#define bf_failpoint_fails(name) (__builtin_expect(bf_failpoints_armed, 0) && bf_failpoint_hit_fails(name))

#endif
