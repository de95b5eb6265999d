/* Pages made from a program's table: a manual page (roff, man(7)) and a section of docs/ (markdown). Same words as --help. */
#include "bf_settings_internal.h"

#include <ctype.h>
#include <string.h>

/* "butterfly-lag" for a command of butterfly, whose usage begins with its name; else the program's name. */
static void page_name(const struct bf_settings_program *program, char *dst, size_t bytes) {
    int word = (int)strcspn(program->usage, " ");
    bool command = islower((unsigned char)program->usage[0]) && strcmp(program->name, "butterfly") == 0;
    snprintf(dst, bytes, "%s%s%.*s", program->name, command ? "-" : "", command ? word : 0, program->usage);
}

/* Text that roff leaves alone: no line begins with a dot or quote, backslashes and hyphens are themselves. */
static void put_roff(FILE *out, const char *text) {
    bool at_start = true;
    for (; *text != '\0'; text++) {
        if (at_start && (*text == '.' || *text == '\'')) {
            fputs("\\&", out);
        }
        if (*text == '\\') {
            fputs("\\e", out);
        } else if (*text == '-') {
            fputs("\\-", out);
        } else {
            fputc(*text, out);
        }
        at_start = *text == '\n';
    }
}

static void put_verbatim(FILE *out, const char *text) {
    fputs(".nf\n", out);
    put_roff(out, text);
    fputs("\n.fi\n", out);
}

static void option_roff(const struct bf_settings_program *program, const struct bf_setting *s, FILE *out) {
    char env[128];
    bf_setting_env_name(program, s, env);
    fputs(".TP\n\\fB\\-\\-", out);
    put_roff(out, s->key);
    fprintf(out, "\\fR%s%s\n", s->type == BF_SETTING_BOOL ? "" : " ", bf_setting_value_name(s));
    put_roff(out, s->help);
    if (s->unit != NULL) {
        fprintf(out, " [%s]", s->unit);
    }
    if (s->least != 0 || s->most != 0) {
        fprintf(out, " (%lld to %lld)", (long long)s->least, (long long)s->most);
    }
    if (s->deflt != NULL) {
        fputs(" (default: ", out);
        put_roff(out, s->deflt[0] == '\0' ? "empty" : s->deflt);
        fputs(")", out);
    } else if (s->required) {
        fputs(" (required)", out);
    }
    fprintf(out, ". Environment: %s.\n", env);
}

void bf_settings_man(const struct bf_settings_program *program, FILE *out) {
    char name[96];
    page_name(program, name, sizeof name);
    fprintf(out, ".TH \"%s\" 1 \"\" \"BUTTERFLY %s\" \"BUTTERFLY\"\n.SH NAME\n", name, BF_VERSION);
    put_roff(out, name);
    fputs(" \\- ", out);
    fprintf(out, "%.*s\n.SH SYNOPSIS\n.B %s\n", (int)strcspn(program->about, "\n.;:"), program->about, program->name);
    put_roff(out, program->usage);
    fputs("\n.SH DESCRIPTION\n", out);
    put_verbatim(out, program->about);
    fputs(".SH OPTIONS\nFlags beat the environment, that beats the file of \\fB\\-\\-config\\fR, that beats the default.\n", out);
    for (const struct bf_setting *s = program->table; s->key != NULL; s++) {
        option_roff(program, s, out);
    }
    if (program->epilogue != NULL) {
        fputs(".SH NOTES\n", out);
        put_verbatim(out, program->epilogue);
    }
    fputs(".SH EXIT STATUS\n0 ok, 1 the answer is no, 2 usage, 3 settings, 4 a dependency is missing, 5 local state is corrupt or another "
          "cluster\\(aqs, 70 internal.\n", out);
}

void bf_settings_markdown(const struct bf_settings_program *program, FILE *out) {
    char name[96];
    page_name(program, name, sizeof name);
    fprintf(out, "## %s\n\n```\n%s %s\n```\n\n%s\n\n", name, program->name, program->usage, program->about);
    bf_settings_describe(program, "markdown", out);
    if (program->epilogue != NULL) {
        fprintf(out, "\n```\n%s\n```\n", program->epilogue);
    }
    fputc('\n', out);
}
