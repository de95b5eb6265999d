/* One settings table per program; from it come the flags, the environment, the file, --help, --check-config, --dump-config.
 *
 * Precedence: flag (--key value, --key=value, a bool as --key or --no-key), environment (SERVICE_KEY, dashes to underscores),
 * file (--config FILE: `key = value` lines, # comments), default. Keys are lower-case with dashes. Unknown keys are errors that
 * name the key. Values go into the caller's struct at `field`. Strings are owned by the table's caller: free with bf_settings_fini().
 */
#ifndef BF_SETTINGS_H
#define BF_SETTINGS_H

#include "bf_err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum bf_setting_type {
    BF_SETTING_STRING, /* char *; NULL when there is no default and no value */
    BF_SETTING_INT,    /* int64_t, within [least, most] */
    BF_SETTING_DOUBLE, /* double, within [least, most] */
    BF_SETTING_BOOL,   /* bool */
    BF_SETTING_MS,     /* int64_t milliseconds; "30s", "12h" … */
    BF_SETTING_BYTES,  /* int64_t; "64MiB", "2GiB", "500k" … */
    BF_SETTING_LIST    /* char * with the repeated values joined by '\n' */
};

struct bf_setting {
    const char *key; /* NULL ends the table */
    enum bf_setting_type type;
    size_t field; /* offsetof(struct …, …) */
    const char *deflt; /* as text; NULL: none */
    int64_t least, most; /* for INT, MS and BYTES; both 0: no bound but type's */
    bool required, secret;
    const char *unit; /* for people: "ms", "bytes", "events", NULL */
    const char *help; /* one sentence */
};

struct bf_settings_program {
    const char *name;     /* "capsule": also the environment's prefix */
    const char *usage;    /* after the name: "[options] …" */
    const char *about;    /* what it does, a few lines */
    const char *epilogue; /* after the options in --help, or NULL */
    const struct bf_setting *table;
    bool positional; /* arguments without dashes are allowed and handed back */
};

/* Fill `*into` from all sources. BF_OK: go on, and *argc_left/argv_left are the positional arguments (borrowed from argv).
 * BF_CANCELLED: --help (-man, -markdown), --version, --check-config or --dump-config was answered on stdout: leave with *exit_code.
 * BF_INVALID: err names key and reason; leave with *exit_code (BF_EXIT_USAGE for the command line's form: unknown flag, missing
 * value, stray argument; BF_EXIT_SETTINGS for a value that is wrong wherever it came from). */
BF_MUST_CHECK enum bf_code bf_settings_load(const struct bf_settings_program *program, int argc, char **argv, void *into,
                                            char ***argv_left, int *argc_left, int *exit_code, struct bf_err *err);
void bf_settings_fini(const struct bf_settings_program *program, void *into);
/* The options part of --help, as docs/ and man pages need it: format "help" or "markdown". */
void bf_settings_describe(const struct bf_settings_program *program, const char *format, FILE *out);

#define BF_VERSION "0.1.0"

#endif
