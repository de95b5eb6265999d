/* Clean shutdown: SIGINT and SIGTERM become one flag and one readable descriptor; SIGPIPE is ignored.
 *
 * Install once from main before any thread starts. A second SIGINT/SIGTERM ends the process at once (exit 130).
 */
#ifndef BF_STOP_H
#define BF_STOP_H

#include "bf_err.h"

#include <stdbool.h>

BF_MUST_CHECK enum bf_code bf_stop_install(struct bf_err *err);
bool bf_stop_requested(void);
void bf_stop_request(void); /* from any thread */
int bf_stop_fd(void);       /* becomes readable when stop is requested; never read from it */
bool bf_reload_requested(void); /* true once after each SIGHUP */

#endif
