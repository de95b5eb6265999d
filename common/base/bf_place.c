#include "bf_place.h"

#include "bf_time.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum bf_code bf_place_init(struct bf_place *p, const json_t *value, struct bf_err *err, const char *fmt, ...) {
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(p->where, sizeof p->where, fmt, ap);
    va_end(ap);
    p->object = value;
    return json_is_object(value) ? BF_OK : bf_fail(err, BF_INVALID, 0, "%s is no object", p->where);
}

enum bf_code bf_place_only(const struct bf_place *p, const char *const *allowed, struct bf_err *err) {
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)p->object, name, value) {
        const char *const *a = allowed;
        while (*a != NULL && strcmp(*a, name) != 0) a++;
        if (*a == NULL) return bf_fail(err, BF_INVALID, 0, "%s: there is no member '%.64s' here", p->where, name);
    }
    return BF_OK;
}

enum bf_code bf_place_number(const struct bf_place *p, const char *name, double *out, bool *there, struct bf_err *err) {
    const json_t *v = json_object_get(p->object, name);

    if (there != NULL) *there = v != NULL;
    if (v == NULL) return BF_OK;
    if (!json_is_number(v) || !isfinite(json_number_value(v))) return bf_fail(err, BF_INVALID, 0, "%s.%s is no number", p->where, name);
    *out = json_number_value(v);
    return BF_OK;
}

enum bf_code bf_place_duration(const struct bf_place *p, const char *name, int64_t least_us, int64_t *out_us, struct bf_err *err) {
    const json_t *v = json_object_get(p->object, name);
    int64_t ms;

    if (v == NULL) return BF_OK;
    if (!json_is_string(v)) return bf_fail(err, BF_INVALID, 0, "%s.%s is no duration like \"250ms\", \"30s\", \"15m\", \"12h\" or \"7d\"", p->where, name);
    if (bf_duration_parse(json_string_value(v), &ms, err) != BF_OK) return bf_err_prepend(err, "%s.%s", p->where, name);
    if (ms > INT64_C(36500) * 86400000) return bf_fail(err, BF_INVALID, 0, "%s.%s is longer than a hundred years", p->where, name);
    if (ms * 1000 < least_us) return bf_fail(err, BF_INVALID, 0, "%s.%s must be at least %lld ms", p->where, name, (long long)(least_us / 1000));
    *out_us = ms * 1000;
    return BF_OK;
}

enum bf_code bf_place_int(const struct bf_place *p, const char *name, int64_t least, int64_t most, int64_t *out, struct bf_err *err) {
    const json_t *v = json_object_get(p->object, name);

    if (v == NULL) return BF_OK;
    if (!json_is_integer(v) || json_integer_value(v) < least || json_integer_value(v) > most)
        return bf_fail(err, BF_INVALID, 0, "%s.%s is no integer from %lld to %lld", p->where, name, (long long)least, (long long)most);
    *out = json_integer_value(v);
    return BF_OK;
}

enum bf_code bf_place_text(const struct bf_place *p, const char *name, bool required, const char **out, struct bf_err *err) {
    const json_t *v = json_object_get(p->object, name);

    if (v == NULL && !required) return BF_OK;
    if (v == NULL) return bf_fail(err, BF_INVALID, 0, "%s.%s is missing", p->where, name);
    if (!json_is_string(v) || json_string_length(v) == 0 || strlen(json_string_value(v)) != json_string_length(v))
        return bf_fail(err, BF_INVALID, 0, "%s.%s is no text", p->where, name);
    *out = json_string_value(v);
    return BF_OK;
}

enum bf_code bf_place_texts(const struct bf_place *p, const char *name, size_t most, char **out, size_t *count, struct bf_err *err) {
    const json_t *v = json_object_get(p->object, name);
    size_t n = json_is_array(v) ? json_array_size(v) : 1;

    if (v == NULL) return BF_OK;
    if (n == 0 || n > most) return bf_fail(err, BF_INVALID, 0, "%s.%s has %zu entries, 1 to %zu are allowed", p->where, name, n, most);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        if (text == NULL || *text == '\0') return bf_fail(err, BF_INVALID, 0, "%s.%s is neither a text nor a list of texts", p->where, name);
        if ((out[*count] = strdup(text)) == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for %s.%s", p->where, name);
        (*count)++;
    }
    return BF_OK;
}

enum bf_code bf_place_choice(const struct bf_place *p, const char *name, const char *const *choices, int *out, struct bf_err *err) {
    const char *text = NULL;
    char list[160] = "";
    enum bf_code code = bf_place_text(p, name, false, &text, err);

    if (code != BF_OK || text == NULL) return code;
    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], text) == 0) {
            *out = i;
            return BF_OK;
        }
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i > 0 ? ", " : "", choices[i]);
    }
    return bf_fail(err, BF_INVALID, 0, "%s.%s: '%.64s' is none of %s", p->where, name, text, list);
}
