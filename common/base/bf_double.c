/* Doubles to shortest text. Most measured values are short decimals (1.0852), and for those the test is two exact operations: n and
 * 10^k are both representable, so the rounded quotient n/10^k is what any correct reader makes of the text.
 *
 * The rest gives what printf("%.15g"), else "%.16g", else "%.17g" gives, the first that reads back: the value is scaled to 17 digits
 * before the point, as 64.64 fixed point with a known error; whether 15 or 16 digits lie within half a unit of the last place follows
 * from that. What is too near to a boundary to be told from it (and what is subnormal) goes through printf itself; so the bytes are
 * its own for every double. */
#include "bf_json.h"

#include "bf_digits.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_MAX 1e15 /* 15 digits: every integer below is a double, and every such decimal reads back as itself */

/* whole.fraction, the latter `decimals` digits, at most nine. */
static size_t put_decimal(char *dst, uint64_t whole, uint32_t fraction, unsigned decimals) {
    size_t len = bf_digits_put(dst, whole);
    memcpy(dst + len, ".000000000", 10);
    unsigned count = bf_digits_count(fraction);
    bf_digits_put(dst + len + 1 + decimals - count, fraction);
    return len + 1 + decimals;
}

/* To the nearest integer, ties to even, below 2^51 (rint() would be a call on the oldest machines we build for). */
static double nearest(double v) {
    const double magic = 0x1.8p52;
    return (v + magic) - magic;
}

/* Scaled by as much as leaves it exact, the decimal is an integer; zeros at its end are taken off again. 0: it has more digits. Inline, so that the
 * divisors are constants. */
static inline __attribute__((always_inline)) size_t scaled_decimal(char *dst, double abs, const double scale, const uint32_t divisor,
                                                                   unsigned decimals) {
    double n = nearest(abs * scale);
    if (n / scale != abs) {
        return 0;
    }
    uint64_t whole = (uint64_t)(int64_t)n / divisor; /* by way of the signed type: one instruction */
    uint32_t fraction = (uint32_t)((uint64_t)(int64_t)n % divisor);
    if (fraction == 0) {
        return put_decimal(dst, whole, 0, 1);
    }
    for (; fraction % 1000 == 0; decimals -= 3) {
        fraction /= 1000;
    }
    for (; fraction % 10 == 0; decimals--) {
        fraction /= 10;
    }
    return put_decimal(dst, whole, fraction, decimals);
}

static size_t short_decimal(char *dst, double abs) {
    return abs < 1e6    ? scaled_decimal(dst, abs, 1e9, 1000000000, 9)
           : abs < 1e9  ? scaled_decimal(dst, abs, 1e6, 1000000, 6)
           : abs < 1e12 ? scaled_decimal(dst, abs, 1e3, 1000, 3)
                        : scaled_decimal(dst, abs, 1, 1, 0);
}

/* ---- 15 to 17 digits by fixed point ---- */

__extension__ typedef unsigned __int128 fixed128; /* 64.64 where nothing else is said */

/* What the truncations below add up to is less than 4 units of the last place. */
#define UNCERTAIN 16

struct power {
    uint64_t high, low;
    int exponent; /* of 2: the value is (high, low) * 2^exponent, cut off; the top bit is set */
};

#define POWERS_FIRST (-297)
#define POWERS_STEP 27

/* 10^s; s from -292 to 324. */
static fixed128 power_of_ten(int s, int *exponent) {
    static const struct power coarse[] = {
        {0xa76c582338ed2621, 0xaf2af2b80af6f24e, -1114}, /* 10^-297 */
        {0x873e4f75e2224e68, 0x5a7744a6e804a291, -1024}, /* 10^-270 */
        {0xda7f5bf590966848, 0xaf39a475506a899e, -935}, /* 10^-243 */
        {0xb080392cc4349dec, 0xbd8d794d96aacfb3, -845}, /* 10^-216 */
        {0x8e938662882af53e, 0x547eb47b7282ee9c, -755}, /* 10^-189 */
        {0xe65829b3046b0afa, 0x0cb4a5a3112a5112, -666}, /* 10^-162 */
        {0xba121a4650e4ddeb, 0x92f34d62616ce413, -576}, /* 10^-135 */
        {0x964e858c91ba2655, 0x3a6a07f8d510f86f, -486}, /* 10^-108 */
        {0xf2d56790ab41c2a2, 0xfae27299423fb9c3, -397}, /* 10^-81 */
        {0xc428d05aa4751e4c, 0xaa97e14c3c26b886, -307}, /* 10^-54 */
        {0x9e74d1b791e07e48, 0x775ea264cf55347d, -217}, /* 10^-27 */
        {0x8000000000000000, 0x0000000000000000, -127}, /* 10^0 */
        {0xcecb8f27f4200f3a, 0x0000000000000000, -38}, /* 10^27 */
        {0xa70c3c40a64e6c51, 0x999090b65f67d924, 52}, /* 10^54 */
        {0x86f0ac99b4e8dafd, 0x69a028bb3ded71a3, 142}, /* 10^81 */
        {0xda01ee641a708de9, 0xe80e6f4820cc9495, 231}, /* 10^108 */
        {0xb01ae745b101e9e4, 0x5ec05dcff72e7f8f, 321}, /* 10^135 */
        {0x8e41ade9fbebc27d, 0x14588f13be847307, 411}, /* 10^162 */
        {0xe5d3ef282a242e81, 0x8f1668c8a86da5fa, 500}, /* 10^189 */
        {0xb9a74a0637ce2ee1, 0x6d953e2bd7173692, 590}, /* 10^216 */
        {0x95f83d0a1fb69cd9, 0x4abdaf101564f98e, 680}, /* 10^243 */
        {0xf24a01a73cf2dccf, 0xbc633b39673c8cec, 769}, /* 10^270 */
        {0xc3b8358109e84f07, 0x0a862f80ec4700c8, 859}, /* 10^297 */
        {0x9e19db92b4e31ba9, 0x6c07a2c26a8346d1, 949}, /* 10^324 */
    };
    static const uint64_t five[POWERS_STEP] = {
        1, 5, 25, 125, 625, 3125, 15625, 78125, 390625, 1953125, 9765625, 48828125, 244140625, 1220703125, 6103515625, 30517578125,
        152587890625, 762939453125, 3814697265625, 19073486328125, 95367431640625, 476837158203125, 2384185791015625, 11920928955078125,
        59604644775390625, 298023223876953125, 1490116119384765625};
    const struct power *p = &coarse[(s - POWERS_FIRST) / POWERS_STEP];
    int rest = (s - POWERS_FIRST) % POWERS_STEP;
    int shift = __builtin_clzll(five[rest]);
    uint64_t f = five[rest] << shift;
    fixed128 product = (fixed128)p->high * f + (((fixed128)p->low * f) >> 64);
    *exponent = p->exponent + rest + 64 - shift;
    if (product >> 127 == 0) {
        product <<= 1;
        --*exponent;
    }
    return product;
}

struct scaled {
    fixed128 value;       /* |v| with 17 digits before the point, perhaps a little less than 10^16 by the error */
    fixed128 above;       /* half a unit in v's last place, upwards */
    fixed128 below;       /* downwards: half of that just above a power of two */
    int decimal_exponent; /* of the first of the 17 digits */
};

/* v is normal and positive. */
static struct scaled scale(double v) {
    static const fixed128 top = (fixed128)UINT64_C(100000000000000000) << 64; /* 10^17 */
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint64_t mantissa = (bits & ((UINT64_C(1) << 52) - 1)) | (UINT64_C(1) << 52);
    int e = (int)(bits >> 52) - 1075; /* v = mantissa * 2^e */
    struct scaled r;
    r.decimal_exponent = (int)(((int64_t)(e + 52) * 78913) >> 18); /* floor(log10(2^(e + 52))): right or one too small */
    for (;; r.decimal_exponent++) {
        int exponent;
        fixed128 power = power_of_ten(16 - r.decimal_exponent, &exponent);
        uint64_t m = mantissa << 11;
        fixed128 product = (fixed128)m * (uint64_t)(power >> 64) + (((fixed128)m * (uint64_t)power) >> 64); /* less 64 bits */
        r.value = product >> -(e - 11 + exponent + 128);
        r.above = power >> -(e - 1 + exponent + 64);
        if (r.value < top) {
            break;
        }
    }
    r.below = mantissa == UINT64_C(1) << 52 ? r.above / 2 : r.above;
    return r;
}

enum verdict { READS_BACK, DOES_NOT, TOO_NEAR };

/* Round to a multiple of `unit` (1, 10, 100) and say whether that reads back as the value; *digits is the multiple. */
static enum verdict round_to(const struct scaled *s, uint64_t unit, uint64_t *digits) {
    uint64_t whole = (uint64_t)(s->value >> 64);
    uint64_t n = whole / unit;
    fixed128 rest = s->value - ((fixed128)(n * unit) << 64), half = (fixed128)unit << 63;
    if (rest + UNCERTAIN > half && rest < half + UNCERTAIN) {
        return TOO_NEAR;
    }
    bool up = rest > half;
    *digits = up ? n + 1 : n;
    if (unit == 1) {
        return READS_BACK; /* 17 digits always do */
    }
    fixed128 distance = up ? ((fixed128)unit << 64) - rest : rest;
    fixed128 room = up ? s->above : s->below;
    if (distance + UNCERTAIN < room) {
        return READS_BACK;
    }
    return distance > room + UNCERTAIN ? DOES_NOT : TOO_NEAR;
}

/* As "%.*g" writes them, and ".0" where that looks like an integer. `count` digits, no zero at their end. */
static size_t put_general(char *dst, const char *digits, size_t count, int exponent, int precision) {
    size_t len = 0;
    if (exponent < -4 || exponent >= precision) {
        dst[len++] = digits[0];
        if (count > 1) {
            dst[len++] = '.';
            memcpy(dst + len, digits + 1, count - 1);
            len += count - 1;
        }
        dst[len++] = 'e';
        dst[len++] = exponent < 0 ? '-' : '+';
        uint64_t e = (uint64_t)(exponent < 0 ? -exponent : exponent);
        if (e < 10) {
            dst[len++] = '0';
        }
        return len + bf_digits_put(dst + len, e);
    }
    if (exponent < 0) {
        memcpy(dst, "0.000", (size_t)(1 - exponent));
        len = (size_t)(1 - exponent);
        memcpy(dst + len, digits, count);
        return len + count;
    }
    for (size_t i = 0; i < count || i <= (size_t)exponent; i++) {
        if (i == (size_t)exponent + 1) {
            dst[len++] = '.';
        }
        dst[len++] = i < count ? digits[i] : '0';
    }
    if (count <= (size_t)exponent + 1) {
        memcpy(dst + len, ".0", 2);
        len += 2;
    }
    return len;
}

/* 0 when it cannot tell. */
static size_t by_fixed_point(char *dst, double abs) {
    static const uint64_t limit[] = {1000000000000000, 10000000000000000, 100000000000000000}, unit[] = {100, 10, 1};
    if (abs < DBL_MIN) {
        return 0;
    }
    struct scaled s = scale(abs);
    uint64_t n = 0;
    int i = 0;
    for (enum verdict v = DOES_NOT; v == DOES_NOT; i++) {
        v = round_to(&s, unit[i], &n);
        if (v == TOO_NEAR) {
            return 0;
        }
    }
    int precision = 14 + i;
    if (n >= limit[i - 1]) { /* rounded up to a power of ten */
        n /= 10;
        s.decimal_exponent++;
    }
    char digits[20];
    while (n % 10 == 0) {
        n /= 10;
    }
    return put_general(dst, digits, bf_digits_put(digits, n), s.decimal_exponent, precision);
}

static size_t by_printf(char *dst, double abs) {
    char text[40];
    int len = 0;
    for (int digits = abs < 2.2250738585072014e-308 ? 1 : 15; digits <= 17; digits++) {
        len = snprintf(text, sizeof text, "%.*g", digits, abs);
        if (strtod(text, NULL) == abs) {
            break;
        }
    }
    bool whole = true; /* nothing yet says that it is a double */
    for (int i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            whole = false;
            if (text[i] != 'e' && text[i] != '-' && text[i] != '+') {
                text[i] = '.'; /* the locale's point */
            }
        }
    }
    memcpy(dst, text, (size_t)len);
    if (whole) {
        memcpy(dst + len, ".0", 2);
        len += 2;
    }
    return (size_t)len;
}

size_t bf_double_format(char dst[BF_DOUBLE_TEXT_MAX], double v) {
    bf_assert(isfinite(v));
    size_t sign = signbit(v) ? 1 : 0;
    dst[0] = '-';
    double abs = fabs(v);
    size_t len = abs == 0 || (abs >= 1e-5 && abs < EXACT_MAX) ? short_decimal(dst + sign, abs) : 0;
    len = len != 0 ? len : by_fixed_point(dst + sign, abs);
    return sign + (len != 0 ? len : by_printf(dst + sign, abs));
}
