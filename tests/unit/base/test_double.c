/* Doubles to text: byte for byte what printf with 15, 16 and 17 digits gives, over values of every size. BF_TORTURE=1: fifty times as many. */
#include "check.h"

#include "bf_json.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_state = 20240601;

static uint64_t next_random(void) { /* xorshift64* (Vigna 2016) */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

static int rounds(void) {
    const char *torture = getenv("BF_TORTURE");
    return torture != NULL && strcmp(torture, "1") == 0 ? 50 : 1;
}

/* What the format is defined as: short decimals between 1e-5 and 1e15 in full, else the first of 15, 16, 17 digits that reads back. */
static size_t by_definition(char *dst, double v) {
    double abs = fabs(v);
    int len = 0;
    if (abs == 0 || (abs >= 1e-5 && abs < 1e15)) {
        static const double pow10[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
        for (int k = 0; k < 10 && abs * pow10[k] < 1e15; k++) {
            if (rint(abs * pow10[k]) / pow10[k] == abs) {
                return (size_t)snprintf(dst, 64, "%.*f", k == 0 ? 1 : k, v);
            }
        }
    }
    for (int digits = abs < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        len = snprintf(dst, 64, "%.*g", digits, v);
        if (strtod(dst, NULL) == v) {
            break;
        }
    }
    if (strcspn(dst, ".e") == (size_t)len) {
        memcpy(dst + len, ".0", 3);
        len += 2;
    }
    return (size_t)len;
}

static void check(double v) {
    char want[64], got[64];
    if (!isfinite(v)) {
        return;
    }
    size_t want_len = by_definition(want, v), got_len = bf_double_format(got, v);
    if (got_len != want_len || memcmp(got, want, got_len) != 0) {
        fail_msg("%a: \"%.*s\" is wanted, got \"%.*s\"", v, (int)want_len, want, (int)got_len, got);
    }
}

static double of_bits(uint64_t bits) {
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void test_double__random_bits_are_as_printf_has_them(void **state) {
    (void)state;
    for (int i = 0; i < 400000 * rounds(); i++) {
        check(of_bits(next_random()));
    }
}

static void test_double__decimals_of_every_length_are_as_printf_has_them(void **state) {
    (void)state;
    for (int i = 0; i < 400000 * rounds(); i++) {
        char text[64];
        uint64_t digits = next_random() % UINT64_C(1000000000000000000);
        for (uint64_t cut = next_random() % 18; cut > 0; cut--) {
            digits /= 10;
        }
        snprintf(text, sizeof text, "%" PRIu64 "e%d", digits, (int)(next_random() % 48) - 32);
        check(strtod(text, NULL));
    }
}

static void test_double__products_and_sums_of_prices_are_as_printf_has_them(void **state) {
    (void)state;
    for (int i = 0; i < 200000 * rounds(); i++) {
        double a = (double)(next_random() % 10000000) / 10000.0, b = (double)(next_random() % 1000) / 7.0;
        check(a * b);
        check(-(a + b));
    }
}

static void test_double__the_neighbours_of_powers_are_as_printf_has_them(void **state) {
    (void)state;
    for (int exponent = -1074; exponent < 1024; exponent++) {
        double v = ldexp(1.0, exponent);
        check(v);
        check(nextafter(v, INFINITY));
        check(nextafter(v, 0));
    }
    for (int exponent = -323; exponent <= 308; exponent++) {
        char text[16];
        snprintf(text, sizeof text, "1e%d", exponent);
        double v = strtod(text, NULL);
        for (int i = 1; i < 10; i++) {
            check(v * i);
            check(nextafter(v * i, INFINITY));
            check(nextafter(v * i, 0));
        }
    }
    check(DBL_MAX);
    check(DBL_MIN);
    check(nextafter(DBL_MIN, 0));
}

static void test_double__integers_beyond_15_digits_are_as_printf_has_them(void **state) {
    (void)state;
    for (int i = 0; i < 200000 * rounds(); i++) {
        check((double)(next_random() >> (next_random() % 16)));       /* ties of the 16th and 17th digit are among them */
        check(1e15 + (double)(next_random() % 4000000000) / 8.0);     /* eighths: exact, and often halfway */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_double__random_bits_are_as_printf_has_them),
        cmocka_unit_test(test_double__decimals_of_every_length_are_as_printf_has_them),
        cmocka_unit_test(test_double__products_and_sums_of_prices_are_as_printf_has_them),
        cmocka_unit_test(test_double__the_neighbours_of_powers_are_as_printf_has_them),
        cmocka_unit_test(test_double__integers_beyond_15_digits_are_as_printf_has_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
