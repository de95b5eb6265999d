/* Packed headers as a database may give them back: the walk ends, stays inside, and what it found packs to the same bytes. */
#include "fuzz.h"

#include "headers_pack.h"

#include <stdlib.h>
#include <string.h>

#define HEADERS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bf_header headers[HEADERS_MAX];
    struct bf_slice packed = {data, size}, name, value;
    struct bf_buf again;
    size_t at = 0, count = 0;
    bool whole = true;
    while (count < HEADERS_MAX && headers_next(packed, &at, &name, &value)) {
        bf_assert(at <= size);
        whole = whole && (name.len == 0 || memchr(name.data, 0, name.len) == NULL);
        char *copy = strndup(name.data, name.len);
        headers[count++] = (struct bf_header){copy, value};
    }
    bf_buf_init(&again, 1 << 20);
    headers_pack(headers, count, &again);
    bf_assert(!again.failed);
    bf_assert(!whole || (again.len == at && (at == 0 || memcmp(again.data, data, at) == 0)));
    bf_assert(count == 0 || headers_find(packed, headers[0].name, &value) || !whole);
    bf_buf_fini(&again);
    while (count > 0) {
        free((char *)headers[--count].name);
    }
    return 0;
}
