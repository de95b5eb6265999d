/* The lane is the errand's while the archiver's attention is elsewhere, else the archiver's. */
#include "archive_ahead.h"

#include "bf_errand.h"

#include <stdlib.h>

struct archive_ahead {
    struct bf_errand *errand;
    struct archive_lane *lane;
    int64_t after_us;
    bool staged; /* worth taking */
};

/* Failures are not told: the archiver meets them again when it goes the plain way. */
static void stage(void *ctx) {
    struct archive_ahead *ahead = ctx;
    struct archive_lane *lane = ahead->lane;
    struct bf_err err;
    ahead->staged = archive_lane_read(lane, ahead->after_us, &err) == BF_OK && archive_lane_keep_schemas(lane, &err) == BF_OK &&
                    archive_stage(lane->archive, &lane->chunk, &err) == BF_OK;
}

void archive_ahead_begin(struct archive_ahead *ahead, int64_t after_us) {
    ahead->after_us = after_us;
    bf_errand_begin(ahead->errand);
}

bool archive_ahead_take(struct archive_ahead *ahead, int64_t after_us, struct archive_lane **lane) {
    bool any = bf_errand_wait(ahead->errand), taken = any && ahead->staged && ahead->after_us == after_us;
    if (taken) {
        struct archive_lane *mine = *lane;
        *lane = ahead->lane;
        ahead->lane = mine;
    } else if (any) {
        archive_unstage(ahead->lane->archive);
    }
    return taken;
}

enum bf_code archive_ahead_start(struct capsule *c, struct archive_ahead **out, struct bf_err *err) {
    struct archive_ahead *ahead = calloc(1, sizeof *ahead);
    if (!ahead)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the archiver");
    enum bf_code code = archive_lane_new(c, &ahead->lane, err);
    if (code == BF_OK)
        code = bf_errand_new(stage, ahead, &ahead->errand, err);
    if (code != BF_OK) {
        archive_ahead_stop(ahead);
        return code;
    }
    *out = ahead;
    return BF_OK;
}

void archive_ahead_stop(struct archive_ahead *ahead) {
    if (!ahead)
        return;
    bf_errand_free(ahead->errand);
    archive_lane_free(ahead->lane);
    free(ahead);
}
