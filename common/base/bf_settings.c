/* The sources are applied from the weakest to the strongest; each one that names a key replaces what was there. The command line is read
 * twice: first for its form and for --config, then, last of all, for its values. */
#include "bf_settings_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct flag { /* one argument of the command line, taken apart */
    const struct bf_setting *setting;
    const char *text;
};

struct command_line {
    struct flag *flags;
    size_t flag_count;
    const char *config;
    const char *question; /* help (-man, -markdown), version, check-config, dump-config; NULL: none */
};

static const struct bf_setting *find_setting(const struct bf_setting *table, const char *key, size_t len) {
    for (const struct bf_setting *s = table; s->key != NULL; s++) {
        if (strlen(s->key) == len && memcmp(s->key, key, len) == 0) {
            return s;
        }
    }
    return NULL;
}

static bool is_question(const char *name, size_t len) {
    static const char *const questions[] = {"help", "help-man", "help-markdown", "version", "check-config", "dump-config"};
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        if (strlen(questions[i]) == len && memcmp(questions[i], name, len) == 0) {
            return true;
        }
    }
    return false;
}

/* The flag at argv[*i]; moves *i over a value that stands apart. */
static enum bf_code read_flag(const struct bf_settings_program *program, int argc, char **argv, int *i,
                              struct command_line *line, struct bf_err *err) {
    const char *name = argv[*i] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    if (is_question(name, len) && value == NULL) {
        if (line->question == NULL || strcmp(name, "help") == 0) {
            line->question = name;
        }
        return BF_OK;
    }
    bool config = len == 6 && memcmp(name, "config", 6) == 0;
    const struct bf_setting *s = config ? NULL : find_setting(program->table, name, len);
    if (s == NULL && !config && value == NULL && strncmp(name, "no-", 3) == 0) {
        s = find_setting(program->table, name + 3, len - 3);
        if (s != NULL && s->type == BF_SETTING_BOOL) {
            line->flags[line->flag_count++] = (struct flag){s, "false"};
            return BF_OK;
        }
        s = NULL;
    }
    if (s == NULL && !config) {
        return bf_fail(err, BF_INVALID, 0, "--%.*s: no such option; see --help", (int)len, name);
    }
    if (value == NULL && s != NULL && s->type == BF_SETTING_BOOL) {
        value = "true";
    }
    if (value == NULL) {
        if (*i + 1 >= argc) {
            return bf_fail(err, BF_INVALID, 0, "--%.*s: a value is missing", (int)len, name);
        }
        value = argv[++*i];
    }
    if (config) {
        line->config = value;
    } else {
        line->flags[line->flag_count++] = (struct flag){s, value};
    }
    return BF_OK;
}

/* Positional arguments are moved to the end part of argv that is handed back. */
static enum bf_code read_command_line(const struct bf_settings_program *program, int argc, char **argv,
                                      struct command_line *line, char **rest, int *rest_count, struct bf_err *err) {
    bool flags_over = false;
    for (int i = 1; i < argc; i++) {
        if (!flags_over && strcmp(argv[i], "--") == 0) {
            flags_over = true;
        } else if (!flags_over && strncmp(argv[i], "--", 2) == 0) {
            enum bf_code code = read_flag(program, argc, argv, &i, line, err);
            if (code != BF_OK) {
                return code;
            }
        } else if (!flags_over && strcmp(argv[i], "-h") == 0) {
            line->question = "help";
        } else if (!flags_over && argv[i][0] == '-' && argv[i][1] != '\0') {
            return bf_fail(err, BF_INVALID, 0, "%s: no such option; see --help", argv[i]);
        } else if (!program->positional) {
            return bf_fail(err, BF_INVALID, 0, "stray argument \"%s\"; see --help", argv[i]);
        } else {
            rest[(*rest_count)++] = argv[i];
        }
    }
    return BF_OK;
}

static char *trim(char *s) {
    s += strspn(s, " \t");
    size_t len = strlen(s);
    while (len > 0 && strchr(" \t\r\n", s[len - 1]) != NULL) {
        s[--len] = '\0';
    }
    return s;
}

/* One `key = value` line; `seen` remembers which keys this file has named. */
static enum bf_code apply_line(const struct bf_settings_program *program, char *text, const char *from, bool *seen,
                               void *into, struct bf_err *err) {
    text = trim(text);
    if (text[0] == '\0' || text[0] == '#') {
        return BF_OK;
    }
    char *eq = strchr(text, '=');
    if (eq == NULL) {
        return bf_fail(err, BF_INVALID, 0, "%s: not a `key = value` line", from);
    }
    *eq = '\0';
    char *key = trim(text), *value = trim(eq + 1);
    const struct bf_setting *s = find_setting(program->table, key, strlen(key));
    if (s == NULL) {
        return bf_fail(err, BF_INVALID, 0, "%s: unknown setting (from %s)", key, from);
    }
    size_t at = (size_t)(s - program->table);
    if (seen[at] && s->type != BF_SETTING_LIST) {
        return bf_fail(err, BF_INVALID, 0, "%s: set twice (from %s)", key, from);
    }
    if (!seen[at]) {
        bf_setting_reset(s, into);
        seen[at] = true;
    }
    return bf_setting_assign(s, into, value, from, err);
}

static enum bf_code apply_file(const struct bf_settings_program *program, const char *path, bool *seen, void *into,
                               struct bf_err *err) {
    enum bf_code code = BF_OK;
    char *text = NULL, from[512];
    size_t cap = 0;
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return bf_fail(err, BF_INVALID, errno, "config: cannot read %s: %s", path, strerror(errno));
    }
    for (int number = 1; code == BF_OK && getline(&text, &cap, f) >= 0; number++) {
        snprintf(from, sizeof from, "%s line %d", path, number);
        code = apply_line(program, text, from, seen, into, err);
    }
    if (code == BF_OK && ferror(f)) {
        code = bf_fail(err, BF_INVALID, errno, "config: cannot read %s: %s", path, strerror(errno));
    }
    free(text);
    fclose(f);
    return code;
}

static enum bf_code apply_environment(const struct bf_settings_program *program, void *into, struct bf_err *err) {
    for (const struct bf_setting *s = program->table; s->key != NULL; s++) {
        char name[128], from[160];
        bf_setting_env_name(program, s, name);
        const char *value = getenv(name);
        if (value == NULL) {
            continue;
        }
        snprintf(from, sizeof from, "the environment's %s", name);
        bf_setting_reset(s, into);
        enum bf_code code = bf_setting_assign(s, into, value, from, err);
        if (code != BF_OK) {
            return code;
        }
    }
    return BF_OK;
}

static enum bf_code apply_flags(const struct bf_settings_program *program, const struct command_line *line, bool *seen,
                                void *into, struct bf_err *err) {
    for (size_t i = 0; i < line->flag_count; i++) {
        const struct bf_setting *s = line->flags[i].setting;
        if (!seen[s - program->table] || s->type != BF_SETTING_LIST) {
            bf_setting_reset(s, into);
            seen[s - program->table] = true;
        }
        enum bf_code code = bf_setting_assign(s, into, line->flags[i].text, "the command line", err);
        if (code != BF_OK) {
            return code;
        }
    }
    return BF_OK;
}

static enum bf_code apply_all(const struct bf_settings_program *program, const struct command_line *line, bool *seen,
                              size_t count, void *into, struct bf_err *err) {
    enum bf_code code = BF_OK;
    for (const struct bf_setting *s = program->table; s->key != NULL; s++) {
        bf_setting_reset(s, into);
        if (s->deflt != NULL && (code = bf_setting_assign(s, into, s->deflt, "the default", err)) != BF_OK) {
            return code;
        }
    }
    if (line->config != NULL && (code = apply_file(program, line->config, seen, into, err)) != BF_OK) {
        return code;
    }
    if ((code = apply_environment(program, into, err)) != BF_OK) {
        return code;
    }
    memset(seen, 0, count * sizeof *seen);
    if ((code = apply_flags(program, line, seen, into, err)) != BF_OK) {
        return code;
    }
    for (const struct bf_setting *s = program->table; s->key != NULL; s++) {
        if (s->required && !bf_setting_is_set(s, into)) {
            return bf_fail(err, BF_INVALID, 0, "%s: is required (--%s)", s->key, s->key);
        }
    }
    return BF_OK;
}

/* Answer --help and the like; BF_OK when none was asked. */
static enum bf_code answer(const struct bf_settings_program *program, const char *question, const void *into,
                           int *exit_code, struct bf_err *err) {
    if (question == NULL) {
        return BF_OK;
    }
    if (strcmp(question, "help") == 0) {
        bf_settings_help(program, stdout);
    } else if (strcmp(question, "help-man") == 0) {
        bf_settings_man(program, stdout);
    } else if (strcmp(question, "help-markdown") == 0) {
        bf_settings_markdown(program, stdout);
    } else if (strcmp(question, "version") == 0) {
        printf("%s %s\n", program->name, BF_VERSION);
    } else if (strcmp(question, "dump-config") == 0) {
        bf_settings_dump(program, into, stdout);
    } else {
        printf("%s: the settings are valid\n", program->name);
    }
    fflush(stdout);
    *exit_code = BF_EXIT_OK;
    return bf_fail(err, BF_CANCELLED, 0, "--%s was answered", question);
}

static size_t zero_and_count(const struct bf_settings_program *program, void *into) {
    size_t count = 0;
    for (const struct bf_setting *s = program->table; s->key != NULL; s++, count++) {
        if (s->type == BF_SETTING_STRING || s->type == BF_SETTING_LIST) {
            *(char **)((char *)into + s->field) = NULL;
        }
    }
    return count;
}

enum bf_code bf_settings_load(const struct bf_settings_program *program, int argc, char **argv, void *into,
                              char ***argv_left, int *argc_left, int *exit_code, struct bf_err *err) {
    enum bf_code code;
    size_t count = zero_and_count(program, into);
    struct command_line line = {.flags = calloc((size_t)argc + 1, sizeof(struct flag))};
    char **rest = calloc((size_t)argc + 1, sizeof *rest);
    bool *seen = calloc(count + 1, sizeof *seen);
    int rest_count = 0;
    *exit_code = BF_EXIT_INTERNAL;
    if (line.flags == NULL || rest == NULL || seen == NULL) {
        code = bf_fail(err, BF_NOMEM, 0, "out of memory for the settings");
        goto done;
    }
    *exit_code = BF_EXIT_USAGE;
    code = read_command_line(program, argc, argv, &line, rest, &rest_count, err);
    if (code != BF_OK) {
        goto done;
    }
    bool alone = line.question != NULL && (strncmp(line.question, "help", 4) == 0 || strcmp(line.question, "version") == 0);
    *exit_code = BF_EXIT_SETTINGS;
    if (!alone && (code = apply_all(program, &line, seen, count, into, err)) != BF_OK) {
        goto done;
    }
    code = answer(program, line.question, into, exit_code, err);
    if (code == BF_OK) {
        *exit_code = BF_EXIT_OK;
        memcpy(argv + 1, rest, (size_t)rest_count * sizeof *rest); /* argv is ours to reorder: flags are read */
        *argv_left = argv + 1;
        *argc_left = rest_count;
    }
done:
    free(line.flags);
    free(rest);
    free(seen);
    return code;
}

void bf_settings_fini(const struct bf_settings_program *program, void *into) {
    for (const struct bf_setting *s = program->table; s->key != NULL; s++) {
        bf_setting_reset(s, into);
    }
}
