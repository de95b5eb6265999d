/* Big numbers in base 10^9, by the schoolbook: bounded by AVRO_DECIMAL_BYTES_MAX, so the square of it is bounded too. */
#include "bf_avro_program.h"

#include <string.h>

#define BASE 1000000000u
#define GROUPS_MAX (AVRO_DECIMAL_DIGITS_MAX / 9 + 2)

/* groups = groups * factor + add, little end first; returns the new count. */
static size_t multiply_add(uint32_t *groups, size_t count, uint32_t factor, uint32_t add) {
    uint64_t carry = add;
    for (size_t i = 0; i < count; i++) {
        uint64_t v = (uint64_t)groups[i] * factor + carry;
        groups[i] = (uint32_t)(v % BASE);
        carry = v / BASE;
    }
    while (carry > 0) {
        bf_assert(count < GROUPS_MAX);
        groups[count++] = (uint32_t)(carry % BASE);
        carry /= BASE;
    }
    return count;
}

/* The digits of the magnitude without leading zeros (none for zero), most significant first. */
static size_t digits_of(char *dst, const uint8_t *bytes, size_t len, bool negative) {
    uint8_t magnitude[AVRO_DECIMAL_BYTES_MAX];
    uint32_t groups[GROUPS_MAX];
    size_t count = 0, n = 0;
    unsigned carry = 1;
    bf_assert(len <= sizeof(magnitude));
    for (size_t i = len; i-- > 0;) {
        unsigned v = negative ? (unsigned)(uint8_t)~bytes[i] + carry : bytes[i];
        magnitude[i] = (uint8_t)v;
        carry = v >> 8;
    }
    if (negative && carry != 0 && len > 0) { /* cannot be: a negative number is not all zeros */
        return 0;
    }
    for (size_t i = 0; i < len;) { /* three bytes at a time, the odd ones first */
        size_t step = (len - i) % 3 == 0 ? 3 : (len - i) % 3;
        uint32_t add = 0;
        for (size_t k = 0; k < step; k++) {
            add = add << 8 | magnitude[i++];
        }
        count = multiply_add(groups, count, UINT32_C(1) << (8 * step), add);
    }
    for (size_t i = count; i-- > 0;) {
        for (uint32_t unit = BASE / 10, v = groups[i]; unit > 0; unit /= 10) {
            char digit = (char)('0' + v / unit % 10);
            if (n > 0 || digit != '0') {
                dst[n++] = digit;
            }
        }
    }
    return n;
}

size_t avro_decimal_format(char dst[AVRO_DECIMAL_TEXT_MAX], const uint8_t *bytes, size_t len, uint32_t scale) {
    char digits[GROUPS_MAX * 9];
    bool negative = len > 0 && (bytes[0] & 0x80) != 0;
    size_t count = digits_of(digits, bytes, len, negative), n = 0;
    size_t whole = count > scale ? count - scale : 0;
    bf_assert(scale <= AVRO_DECIMAL_DIGITS_MAX);
    if (negative) {
        dst[n++] = '-';
    }
    if (whole == 0) {
        dst[n++] = '0';
    }
    memcpy(dst + n, digits, whole);
    n += whole;
    if (scale > 0) {
        dst[n++] = '.';
        for (size_t i = count - whole; i < scale; i++) {
            dst[n++] = '0';
        }
        memcpy(dst + n, digits + whole, count - whole);
        n += count - whole;
    }
    return n;
}

/* bytes = bytes * 10 + digit, big-endian, growing to the left from the end; false when there is no room. */
static bool times_ten(uint8_t *end, size_t *len, unsigned digit) {
    unsigned carry = digit;
    for (size_t i = 1; i <= *len; i++) {
        unsigned v = end[-(ptrdiff_t)i] * 10u + carry;
        end[-(ptrdiff_t)i] = (uint8_t)v;
        carry = v >> 8;
    }
    if (carry > 0) {
        if (*len + 1 >= AVRO_DECIMAL_BYTES_MAX) {
            return false;
        }
        *len += 1;
        end[-(ptrdiff_t)*len] = (uint8_t)carry;
    }
    return true;
}

/* Two's complement of what lies before `end`, with the sign bit right, as short as can be. */
static void put_signed(uint8_t *end, size_t *len, bool negative) {
    if (*len == 0 || (end[-(ptrdiff_t)*len] & 0x80) != 0) {
        *len += 1;
        end[-(ptrdiff_t)*len] = 0;
    }
    if (!negative) {
        return;
    }
    unsigned carry = 1;
    for (size_t i = 1; i <= *len; i++) {
        unsigned v = (unsigned)(uint8_t)~end[-(ptrdiff_t)i] + carry;
        end[-(ptrdiff_t)i] = (uint8_t)v;
        carry = v >> 8;
    }
    while (*len > 1 && ((end[-(ptrdiff_t)*len] == 0xff && (end[1 - (ptrdiff_t)*len] & 0x80) != 0) ||
                        (end[-(ptrdiff_t)*len] == 0 && (end[1 - (ptrdiff_t)*len] & 0x80) == 0))) {
        *len -= 1;
    }
}

bool avro_decimal_parse(const char *text, uint32_t scale, uint8_t dst[AVRO_DECIMAL_BYTES_MAX], size_t *len) {
    uint8_t room[AVRO_DECIMAL_BYTES_MAX];
    uint8_t *end = room + sizeof(room);
    size_t n = 0, digits = 0, behind = 0;
    bool negative = *text == '-', point = false;
    for (text += negative ? 1 : 0; *text != '\0'; text++) {
        if (*text == '.' && !point && digits > 0) {
            point = true;
            continue;
        }
        if (*text < '0' || *text > '9' || (point && ++behind > scale) || !times_ten(end, &n, (unsigned)(*text - '0'))) {
            return false;
        }
        digits++;
    }
    if (digits == 0 || (point && behind == 0)) {
        return false;
    }
    for (; behind < scale; behind++) {
        if (!times_ten(end, &n, 0)) {
            return false;
        }
    }
    put_signed(end, &n, negative);
    memcpy(dst, end - n, n);
    *len = n;
    return true;
}
