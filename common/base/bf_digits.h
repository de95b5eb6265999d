/* Unsigned integers as decimal digits, two at a time, straight to where they belong. */
#ifndef BF_DIGITS_H
#define BF_DIGITS_H

#include <stdint.h>
#include <string.h>

#define BF_DIGITS_MAX 20

/* Exactly two of them, of n below 100. */
static inline void bf_digits_pair(char *dst, unsigned n) {
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354"
                                "555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    memcpy(dst, pairs + 2 * (size_t)n, 2);
}

static inline unsigned bf_digits_count(uint64_t n) {
    static const uint64_t powers[] = {0,
                                      UINT64_C(10),
                                      UINT64_C(100),
                                      UINT64_C(1000),
                                      UINT64_C(10000),
                                      UINT64_C(100000),
                                      UINT64_C(1000000),
                                      UINT64_C(10000000),
                                      UINT64_C(100000000),
                                      UINT64_C(1000000000),
                                      UINT64_C(10000000000),
                                      UINT64_C(100000000000),
                                      UINT64_C(1000000000000),
                                      UINT64_C(10000000000000),
                                      UINT64_C(100000000000000),
                                      UINT64_C(1000000000000000),
                                      UINT64_C(10000000000000000),
                                      UINT64_C(100000000000000000),
                                      UINT64_C(1000000000000000000),
                                      UINT64_C(10000000000000000000)};
    unsigned bits = 64 - (unsigned)__builtin_clzll(n | 1);
    unsigned guess = (bits * 1233) >> 12; /* bits * log10(2), cut off: the count or one less */
    return guess + (n >= powers[guess]);
}

/* Writes bf_digits_count(n) of them, and returns how many; zero is one digit. */
static inline unsigned bf_digits_put(char *dst, uint64_t n) {
    unsigned count = bf_digits_count(n), at = count;
    for (; n >= 100; n /= 100) {
        at -= 2;
        bf_digits_pair(dst + at, (unsigned)(n % 100));
    }
    if (n >= 10) {
        bf_digits_pair(dst, (unsigned)n);
    } else {
        dst[0] = (char)('0' + n);
    }
    return count;
}

#endif
