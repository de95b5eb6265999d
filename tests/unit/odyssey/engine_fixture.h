/* An engine under a rule file given as text, and what it said, as lines "rule: words". */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#include "engine.h"

#include <math.h>

#define NODE "rim:metric:finance:EURUSD"

struct fixture {
    struct bf_topics *topics;
    struct rules *rules;
    struct engine *engine;
    struct bf_buf said; /* lines, each ended by a newline */
    struct engine_output output;
    int64_t clock_us;   /* arrival */
    struct bf_err err;
};

struct row { /* at_ms after 2024-01-01; NAN: the signal does not have it */
    int64_t at_ms;
    double price, stress;
    const char *says; /* "rule: words", more joined by " | "; "": nothing */
};

/* `rules` is the inside of "rules":[…]; `more` goes before it in the file ("" or "\"allowed_lateness\":\"1s\","). */
void fixture_init(struct fixture *f, const char *rules, const char *more);
void fixture_fini(struct fixture *f);
/* BF_INVALID's message of a file's text; "" when it is good. */
const char *fixture_parse(struct fixture *f, const char *text);

struct signal fixture_signal(const struct fixture *f, const char *node, int64_t at_ms, double price, double stress, int id);
enum engine_outcome fixture_give(struct fixture *f, const struct signal *s);
/* Everything that waits goes on, and who is silent at that time is told of (INT64_MIN: nobody). */
void fixture_time_passes(struct fixture *f, int64_t silent_until_ms);

/* Give each row and compare. */
void fixture_golden(const char *rules, const struct row *rows, size_t count);
#define GOLDEN(rules, ...) \
    do { \
        static const struct row rows[] = {__VA_ARGS__}; \
        fixture_golden(rules, rows, sizeof rows / sizeof rows[0]); \
    } while (0)

#endif
