/* Values of settings to and from text, and the pages made from the table. */
#include "bf_settings_internal.h"

#include "bf_time.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *field_of(const struct bf_setting *s, const void *into) {
    return (char *)(uintptr_t)into + s->field;
}

static bool is_text(const struct bf_setting *s) {
    return s->type == BF_SETTING_STRING || s->type == BF_SETTING_LIST;
}

void bf_setting_reset(const struct bf_setting *s, void *into) {
    if (is_text(s)) {
        char **field = field_of(s, into);
        free(*field);
        *field = NULL;
    } else if (s->type == BF_SETTING_BOOL) {
        *(bool *)field_of(s, into) = false;
    } else if (s->type == BF_SETTING_DOUBLE) {
        *(double *)field_of(s, into) = 0;
    } else {
        *(int64_t *)field_of(s, into) = 0;
    }
}

bool bf_setting_is_set(const struct bf_setting *s, const void *into) {
    return !is_text(s) || *(char **)field_of(s, into) != NULL;
}

static enum bf_code parse_int(const char *text, int64_t *out, struct bf_err *err) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || isspace((unsigned char)text[0])) {
        return bf_fail(err, BF_INVALID, 0, "not a whole number");
    }
    if (errno == ERANGE) {
        return bf_fail(err, BF_INVALID, 0, "too large a number");
    }
    *out = v;
    return BF_OK;
}

static enum bf_code parse_bytes(const char *text, int64_t *out, struct bf_err *err) {
    static const struct {
        const char *unit;
        int64_t bytes;
    } units[] = {{"", 1},       {"B", 1},           {"k", 1000},           {"kB", 1000},
                 {"M", 1000000}, {"MB", 1000000},    {"G", 1000000000},     {"GB", 1000000000},
                 {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", INT64_C(1) << 30}, {"TiB", INT64_C(1) << 40}};
    size_t digits = strspn(text, "0123456789");
    int64_t v = 0;
    for (size_t i = 0; i < digits; i++) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, text[i] - '0', &v)) {
            return bf_fail(err, BF_INVALID, 0, "too large a size");
        }
    }
    for (size_t i = 0; digits > 0 && i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text + digits, units[i].unit) == 0) {
            if (__builtin_mul_overflow(v, units[i].bytes, &v)) {
                return bf_fail(err, BF_INVALID, 0, "too large a size");
            }
            *out = v;
            return BF_OK;
        }
    }
    return bf_fail(err, BF_INVALID, 0, "not a size: want 500k, 64MiB, 2GiB or bytes");
}

static enum bf_code parse_double(const char *text, double *out, struct bf_err *err) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(v) || isspace((unsigned char)text[0])) {
        return bf_fail(err, BF_INVALID, 0, "not a number");
    }
    *out = v;
    return BF_OK;
}

static enum bf_code parse_bool(const char *text, bool *out, struct bf_err *err) {
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out = strcmp(text, yes[i]) == 0;
            return BF_OK;
        }
    }
    return bf_fail(err, BF_INVALID, 0, "want true or false");
}

static enum bf_code check_bounds(const struct bf_setting *s, double v, struct bf_err *err) {
    if (s->least == 0 && s->most == 0) {
        return BF_OK;
    }
    const char *unit = s->type == BF_SETTING_MS ? " ms" : s->type == BF_SETTING_BYTES ? " bytes" : "";
    if (v < (double)s->least) {
        return bf_fail(err, BF_INVALID, 0, "below the least, %lld%s", (long long)s->least, unit);
    }
    if (v > (double)s->most) {
        return bf_fail(err, BF_INVALID, 0, "above the most, %lld%s", (long long)s->most, unit);
    }
    return BF_OK;
}

/* A list grows by a line, a string is replaced. */
static enum bf_code assign_text(const struct bf_setting *s, char **field, const char *text, struct bf_err *err) {
    bool append = s->type == BF_SETTING_LIST && *field != NULL;
    size_t old = append ? strlen(*field) + 1 : 0, len = strlen(text);
    char *value = malloc(old + len + 1);
    if (value == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    if (append) {
        memcpy(value, *field, old - 1);
        value[old - 1] = '\n';
    }
    memcpy(value + old, text, len + 1);
    free(*field);
    *field = value;
    return BF_OK;
}

static enum bf_code assign(const struct bf_setting *s, void *field, const char *text, struct bf_err *err) {
    enum bf_code code = BF_OK;
    int64_t i = 0;
    double d = 0;
    switch (s->type) {
    case BF_SETTING_STRING:
    case BF_SETTING_LIST: return assign_text(s, field, text, err);
    case BF_SETTING_BOOL: return parse_bool(text, field, err);
    case BF_SETTING_DOUBLE:
        code = parse_double(text, &d, err);
        if (code == BF_OK && (code = check_bounds(s, d, err)) == BF_OK) {
            *(double *)field = d;
        }
        return code;
    case BF_SETTING_INT: code = parse_int(text, &i, err); break;
    case BF_SETTING_MS: code = bf_duration_parse(text, &i, err); break;
    case BF_SETTING_BYTES: code = parse_bytes(text, &i, err); break;
    }
    if (code == BF_OK && (code = check_bounds(s, (double)i, err)) == BF_OK) {
        *(int64_t *)field = i;
    }
    return code;
}

enum bf_code bf_setting_assign(const struct bf_setting *s, void *into, const char *text, const char *from,
                               struct bf_err *err) {
    enum bf_code code = assign(s, field_of(s, into), text, err);
    if (code != BF_OK) {
        char reason[sizeof err->msg];
        memcpy(reason, err->msg, sizeof reason);
        return bf_err_set(err, code, 0, err->file, err->line, "%s: \"%.200s\" is %s%.200s (from %.120s)", s->key,
                          s->secret ? "****" : text, strncmp(reason, "want", 4) == 0 ? "wrong: " : "", reason, from);
    }
    return BF_OK;
}

void bf_setting_env_name(const struct bf_settings_program *program, const struct bf_setting *s, char *dst) {
    snprintf(dst, 128, "%s_%s", program->name, s->key);
    for (char *p = dst; *p != '\0'; p++) {
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    }
}

const char *bf_setting_value_name(const struct bf_setting *s) {
    switch (s->type) {
    case BF_SETTING_STRING:
    case BF_SETTING_LIST: return "TEXT";
    case BF_SETTING_INT: return "N";
    case BF_SETTING_DOUBLE: return "X";
    case BF_SETTING_MS: return "TIME";
    case BF_SETTING_BYTES: return "SIZE";
    case BF_SETTING_BOOL: break;
    }
    return "";
}

static void describe_help(const struct bf_setting *s, FILE *out) {
    char left[96];
    snprintf(left, sizeof left, "--%s%s%s", s->key, s->type == BF_SETTING_BOOL ? "" : " ", bf_setting_value_name(s));
    fprintf(out, strlen(left) > 30 ? "  %s\n  %-30s " : "  %-30s %.0s", left, "");
    fprintf(out, "%s", s->help);
    if (s->unit != NULL) {
        fprintf(out, " [%s]", s->unit);
    }
    if (s->least != 0 || s->most != 0) {
        fprintf(out, " (%lld to %lld)", (long long)s->least, (long long)s->most);
    }
    if (s->type == BF_SETTING_LIST) {
        fprintf(out, " (may be repeated)");
    }
    if (s->deflt != NULL) {
        fprintf(out, " (default: %s)", s->deflt[0] == '\0' ? "empty" : s->deflt);
    } else if (s->required) {
        fprintf(out, " (required)");
    }
    fputc('\n', out);
}

static void describe_markdown(const struct bf_settings_program *program, const struct bf_setting *s, FILE *out) {
    static const char *const types[] = {"text", "int", "number", "bool", "time", "size", "texts"};
    char env[128];
    bf_setting_env_name(program, s, env);
    fprintf(out, "| `%s` | `%s` | %s | %s%s%s | ", s->key, env, types[s->type], s->deflt != NULL ? "`" : "",
            s->deflt != NULL ? s->deflt : s->required ? "required" : "–", s->deflt != NULL ? "`" : "");
    if (s->least != 0 || s->most != 0) {
        fprintf(out, "%lld to %lld", (long long)s->least, (long long)s->most);
    } else {
        fprintf(out, "–");
    }
    fprintf(out, " | %s | %s%s |\n", s->unit != NULL ? s->unit : "–", s->help, s->secret ? " (secret)" : "");
}

void bf_settings_describe(const struct bf_settings_program *program, const char *format, FILE *out) {
    bool markdown = strcmp(format, "markdown") == 0;
    if (markdown) {
        fprintf(out, "| setting | environment | type | default | bounds | unit | what it does |\n|---|---|---|---|---|---|---|\n");
    }
    for (const struct bf_setting *s = program->table; s->key != NULL; s++) {
        if (markdown) {
            describe_markdown(program, s, out);
        } else {
            describe_help(s, out);
        }
    }
}

void bf_settings_help(const struct bf_settings_program *program, FILE *out) {
    fprintf(out, "usage: %s %s\n\n%s\n\noptions (flags beat the environment, that beats the file, that beats the default):\n",
            program->name, program->usage, program->about);
    bf_settings_describe(program, "help", out);
    fprintf(out, "  %-30s %s\n  %-30s %s\n  %-30s %s\n  %-30s %s\n  %-30s %s\n", "--config FILE",
            "Read `key = value` lines from FILE.", "--check-config", "Check all settings, then leave.", "--dump-config",
            "Print the settings in force, secrets masked, then leave.", "--version", "Print the version, then leave.",
            "--help", "Print this, then leave; --help-man: as a manual page, --help-markdown: for docs/.");
    if (program->epilogue != NULL) {
        fprintf(out, "\n%s\n", program->epilogue);
    }
}

static void dump_text(const struct bf_setting *s, const char *value, FILE *out) {
    if (value == NULL) {
        fprintf(out, "# %s is not set\n", s->key);
        return;
    }
    if (s->secret) {
        fprintf(out, "# %s = ****\n", s->key);
        return;
    }
    while (value != NULL) { /* a list: one line each */
        size_t len = s->type == BF_SETTING_LIST ? strcspn(value, "\n") : strlen(value);
        fprintf(out, "%s = %.*s\n", s->key, (int)len, value);
        value = value[len] == '\0' ? NULL : value + len + 1;
    }
}

void bf_settings_dump(const struct bf_settings_program *program, const void *into, FILE *out) {
    for (const struct bf_setting *s = program->table; s->key != NULL; s++) {
        const void *field = field_of(s, into);
        if (is_text(s)) {
            dump_text(s, *(char *const *)field, out);
        } else if (s->type == BF_SETTING_BOOL) {
            fprintf(out, "%s = %s\n", s->key, *(const bool *)field ? "true" : "false");
        } else if (s->type == BF_SETTING_DOUBLE) {
            fprintf(out, "%s = %.17g\n", s->key, *(const double *)field);
        } else {
            fprintf(out, "%s = %lld%s\n", s->key, (long long)*(const int64_t *)field, s->type == BF_SETTING_MS ? "ms" : "");
        }
    }
}
