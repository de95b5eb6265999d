/* A text: what is a time lies within the years that can be written, and what is written reads back; durations are not negative. */
#include "fuzz.h"

#include "bf_time.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[BF_TIME_TEXT_LEN + 1];
    struct bf_err err = {0};
    int64_t t, again, ms;
    char *s = malloc(size + 1);
    memcpy(s, data, size);
    s[size] = '\0';
    if (bf_time_parse(s, &t, &err) == BF_OK) {
        bf_assert(t >= BF_TIME_MIN_US && t <= BF_TIME_MAX_US);
        bf_time_format(text, t);
        bf_assert(bf_time_parse(text, &again, &err) == BF_OK && again == t);
    } else {
        bf_assert(err.code == BF_INVALID && err.msg[0] != '\0');
    }
    if (bf_duration_parse(s, &ms, &err) == BF_OK) {
        bf_assert(ms >= 0);
    }
    free(s);
    return 0;
}
