/* CAPSULE's HTTP interface, /v1: history, state, replay, and what operators ask. Read-only.
 *
 * Every answer about events is a function of the question and of known_by; where known_by is not given, it is fixed at the recorded
 * watermark when the question arrives, and the answer says so (`recorded_through`). No answer is given that would need an archive that is
 * away: that is a 503. openapi.json describes all of it and is tested against the server.
 *
 * Threads: handlers run on the connections' threads and only read what `struct capsule` names.
 */
#ifndef API_H
#define API_H

#include "bf_err.h"
#include "capsule.h"

struct api;

/* Serve on the settings' host and port. `c` must outlive the server. BF_AGAIN: the port is taken. */
BF_MUST_CHECK enum bf_code api_start(struct capsule *c, struct api **out, struct bf_err *err);
/* Ends running streams and waits for the handlers. NULL is fine. */
void api_stop(struct api *api);
int api_port(const struct api *api);

#endif
