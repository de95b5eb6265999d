/* What bf_settings.c and bf_settings_text.c share; nobody else includes it. */
#ifndef BF_SETTINGS_INTERNAL_H
#define BF_SETTINGS_INTERNAL_H

#include "bf_settings.h"

/* Put `text` into the field of s; `from` says where it came from, for the message. A list is appended to. */
BF_MUST_CHECK enum bf_code bf_setting_assign(const struct bf_setting *s, void *into, const char *text, const char *from,
                                             struct bf_err *err);
/* Drop what a lower source put there (lists and strings). */
void bf_setting_reset(const struct bf_setting *s, void *into);
bool bf_setting_is_set(const struct bf_setting *s, const void *into); /* strings and lists: not NULL; others always */

void bf_settings_help(const struct bf_settings_program *program, FILE *out);
void bf_settings_man(const struct bf_settings_program *program, FILE *out);      /* a page for man(1) */
void bf_settings_markdown(const struct bf_settings_program *program, FILE *out); /* a section for docs/ */
const char *bf_setting_value_name(const struct bf_setting *s);                   /* "TEXT", "N" …; "" for a bool */
void bf_settings_dump(const struct bf_settings_program *program, const void *into, FILE *out);
/* CAPSULE_HTTP_PORT; dst has 128 bytes. */
void bf_setting_env_name(const struct bf_settings_program *program, const struct bf_setting *s, char *dst);

#endif
