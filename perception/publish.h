/* Signals on their way to Kafka: counted, bounded, and reported one by one. Any thread may send. */
#ifndef PERCEPTION_PUBLISH_H
#define PERCEPTION_PUBLISH_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct publish;

struct publish_settings {
    const char *bootstrap, *topic;
    int64_t linger_ms, delivery_timeout_ms, in_flight_max;
    int64_t hold_back_bytes; /* 0: never; -1: as the cluster wants it */
    const char *hold_back_group;
};

struct publish_counts {
    atomic_llong accepted, rejected, published, failed;
    atomic_llong waits_full, waits_group; /* a signal had to wait: for the local queue, for the group */
    atomic_llong refused;                 /* requests for which no room came in time */
};

/* Somebody who wants to know when a number of signals are through. */
struct publish_waiter;
BF_MUST_CHECK enum bf_code publish_waiter_new(struct publish_waiter **out, struct bf_err *err);
/* Blocks until all that were sent with it are acknowledged or failed; how many failed, and (if any) the first reason. Frees it. */
int64_t publish_waiter_wait(struct publish_waiter *w, struct bf_err *first);
/* Are all that were sent with it so far through? Does not wait; how many failed. */
bool publish_waiter_done(struct publish_waiter *w, int64_t *failed);

/* Connects (in the background). */
BF_MUST_CHECK enum bf_code publish_open(const struct publish_settings *settings, struct publish **out, struct bf_err *err);
/* Does not flush. */
void publish_close(struct publish *p);
/* Wait for the topic and, with hold_back_bytes -1, learn what cluster it is. BF_AGAIN: not within timeout_ms. */
BF_MUST_CHECK enum bf_code publish_warm(struct publish *p, int timeout_ms, struct bf_err *err);
bool publish_holds_back(const struct publish *p);

/* Keep room for n signals that are to be sent with `w`, all of them or none; waits up to timeout_ms for it. More than the queue holds are let in when
 * it is empty. BF_AGAIN: it stays full, or the group stays behind. */
BF_MUST_CHECK enum bf_code publish_reserve(struct publish *p, struct publish_waiter *w, int64_t n, int timeout_ms, struct bf_err *err);
/* Give back what was not used; before publish_waiter_wait(). */
void publish_unreserve(struct publish *p, struct publish_waiter *w);

/* Queue one; waits while the queue is full or the group is behind. After a stop was asked for it waits for the group no more. `w` may be
 * NULL. On failure nothing is counted. */
BF_MUST_CHECK enum bf_code publish_send(struct publish *p, struct bf_slice key, struct bf_slice value, struct publish_waiter *w,
                                        struct bf_err *err);
/* Serve reports; needed on some thread while anything is queued. */
void publish_poll(struct publish *p, int timeout_ms);
/* Until nothing is queued; every signal is acknowledged or failed then. */
void publish_drain(struct publish *p);
int64_t publish_queued(const struct publish *p);

struct publish_counts *publish_counts(struct publish *p);
/* Was the newest report a failure? The reason goes to err. */
bool publish_last_failed(struct publish *p, struct bf_err *err);

#endif
