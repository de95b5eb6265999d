/* Threads that must not wait: those of an event loop, where whoever waits makes others wait.
 *
 * Code that would wait (for a database, for time to pass) or work for long asks bf_loop_refuses() just before, and when it is true fails at
 * once with BF_AGAIN. The loop then drops what came of it and has all of it done again by a thread that may wait. So what runs on a loop must be good
 * to be done twice up to its first such question. Everywhere else nothing is refused. The state is the thread's own.
 */
#ifndef BF_LOOP_H
#define BF_LOOP_H

#include <stdbool.h>

void bf_loop_enter(void);
bool bf_loop_leave(void);    /* true: something was refused since bf_loop_enter() */
bool bf_loop_refuses(void);  /* true: do not wait; remembered until bf_loop_leave() */
bool bf_loop_refused(void);  /* has something been refused since bf_loop_enter()? */

#endif
