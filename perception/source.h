/* Where signals come from. Each kind is one file that fills in this table; main knows nothing else of them. What they share is lent in struct
 * source_env: checking, publishing, counting. Owned by the main thread, but a kind may have threads of its own while it runs. */
#ifndef PERCEPTION_SOURCE_H
#define PERCEPTION_SOURCE_H

#include "meter.h"
#include "publish.h"
#include "settings.h"
#include "signal_check.h"

struct source_env {
    const struct perception_settings *settings;
    const struct bf_topic *topic; /* what is published to */
    bool csv;
    struct signal_check *check;
    struct publish *publish; /* NULL until it runs */
    struct meter *meter;     /* NULL until it runs */
};

struct source; /* the kind's own */

struct source_kind {
    const char *name; /* as metrics and settings say it */
    /* What can be found out without anybody else: the file is there, the map is good. `env` must outlive it. */
    enum bf_code (*open)(const struct source_env *env, struct source **out, struct bf_err *err);
    /* Until the end of the input or until a stop is asked for; everything it took is through then. BF_BROKEN, BF_NOMEM: it cannot go on; other
     * failures are about the input as a whole. */
    enum bf_code (*run)(struct source *s, struct bf_err *err);
    void (*close)(struct source *s);
    bool answers; /* whoever sends is told what was rejected: it is not the program's failure */
};

extern const struct source_kind source_file, source_stdin, source_http, source_topic;

#endif
