/* CAPSULE's settings: one table (settings.c) that --help, --check-config and --dump-config come from. */
#ifndef CAPSULE_SETTINGS_H
#define CAPSULE_SETTINGS_H

#include "bf_settings.h"
#include "capsule.h"

extern const struct bf_settings_program capsule_program;

/* What one value alone cannot tell: required ones, and those that contradict each other. BF_INVALID names the key. */
BF_MUST_CHECK enum bf_code capsule_settings_check(const struct capsule_settings *s, struct bf_err *err);

#endif
