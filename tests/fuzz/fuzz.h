/* What every fuzz target is: one function over bytes from outside. libFuzzer calls it (tests/fuzz/run), or driver.c over the corpus (tests/fuzz
 * in tools/test). What must hold is asserted with bf_assert; memory and undefined behaviour are the sanitizers' affair. */
#ifndef FUZZ_H
#define FUZZ_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cut the input at the first NUL: text before it in *text (NUL-terminated in the input itself), the rest in *rest. False: there is none. */
static inline bool fuzz_split(const uint8_t *data, size_t size, struct bf_slice *text, struct bf_slice *rest) {
    for (size_t i = 0; i < size; i++) {
        if (data[i] == 0) {
            *text = (struct bf_slice){data, i};
            *rest = (struct bf_slice){data + i + 1, size - i - 1};
            return true;
        }
    }
    return false;
}

#endif
