/* What PERCEPTION says of itself: its metrics, and serving them where the source itself serves nothing (--metrics-port). Thread-safe. */
#ifndef PERCEPTION_METER_H
#define PERCEPTION_METER_H

#include "bf_metrics.h"
#include "publish.h"

struct meter;

/* `source` and `publish` must outlive it. */
BF_MUST_CHECK enum bf_code meter_new(const char *source, struct publish *publish, struct meter **out, struct bf_err *err);
void meter_free(struct meter *m);

/* Serve /livez, /readyz and /metrics on loopback at this port (0: any free one) until meter_free(). */
BF_MUST_CHECK enum bf_code meter_serve(struct meter *m, int port, const char *endpoints_file, struct bf_err *err);

void meter_request(struct meter *m, const char *route, int status, double seconds);
/* Bring the series up to date and render them. */
void meter_render(struct meter *m, struct bf_buf *out);
/* Signals accepted a second, over the last ten seconds or since the start. */
double meter_rate(struct meter *m);

/* Pure: the rate between the oldest of `count` samples and now; samples are (µs, total), oldest first. */
struct meter_sample {
    int64_t at_us, total;
};
double meter_rate_of(const struct meter_sample *samples, int count, int64_t now_us, int64_t total);

#endif
