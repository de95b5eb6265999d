/* Doubles to shortest text. Most measured values are short decimals (1.0852), and for those the test is two exact operations: n and
 * 10^k are both representable, so the rounded quotient n/10^k is what any correct reader makes of the text. The rest goes through
 * printf with 15, 16 and 17 digits. */
#include "bf_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_MAX 1e15 /* 15 digits: every integer below is a double, and every such decimal reads back as itself */

static size_t put_digits(char *dst, uint64_t n) {
    char tmp[20];
    size_t len = 0;
    do {
        tmp[len++] = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    for (size_t i = 0; i < len; i++) {
        dst[i] = tmp[len - 1 - i];
    }
    return len;
}

/* n with `decimals` digits behind the point, at least one digit on each side. */
static size_t put_decimal(char *dst, uint64_t n, unsigned decimals) {
    static const uint64_t pow10[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};
    size_t len = put_digits(dst, n / pow10[decimals]);
    dst[len++] = '.';
    if (decimals == 0) {
        dst[len++] = '0';
        return len;
    }
    uint64_t rest = n % pow10[decimals];
    for (unsigned i = decimals; i > 0; i--) {
        dst[len + i - 1] = (char)('0' + rest % 10);
        rest /= 10;
    }
    return len + decimals;
}

static size_t short_decimal(char *dst, double abs) {
    static const double pow10[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
    for (unsigned k = 0; k < sizeof pow10 / sizeof pow10[0]; k++) {
        double scaled = abs * pow10[k];
        if (scaled >= EXACT_MAX) {
            return 0;
        }
        double n = rint(scaled);
        if (n / pow10[k] == abs) {
            return put_decimal(dst, (uint64_t)n, k);
        }
    }
    return 0;
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

size_t bf_double_format(char *dst, double v) {
    bf_assert(isfinite(v));
    size_t sign = signbit(v) ? 1 : 0;
    dst[0] = '-';
    double abs = fabs(v);
    size_t len = abs == 0 || (abs >= 1e-5 && abs < EXACT_MAX) ? short_decimal(dst + sign, abs) : 0;
    return sign + (len != 0 ? len : by_printf(dst + sign, abs));
}
