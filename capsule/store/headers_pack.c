/* The packed form is walked with every length checked first: it may come back from a database that others can write. */
#include "headers_pack.h"

#include <string.h>

#define NAME_LEN_BYTES 2
#define VALUE_LEN_BYTES 4
#define VALUE_LEN_NULL UINT32_C(0xffffffff)

/* A name or value too long for its length field fails the buffer: nothing is ever cut silently. */
static void pack_one(const struct bf_header *header, struct bf_buf *out) {
    size_t name_len = strlen(header->name);
    struct bf_slice value = header->value;
    if (name_len > UINT16_MAX || value.len > INT32_MAX) {
        out->failed = true;
        return;
    }
    uint8_t lengths[NAME_LEN_BYTES + VALUE_LEN_BYTES];
    bf_put_be16(lengths, (uint16_t)name_len);
    bf_put_be32(lengths + NAME_LEN_BYTES, value.data == NULL ? VALUE_LEN_NULL : (uint32_t)value.len);
    bf_buf_append(out, lengths, NAME_LEN_BYTES);
    bf_buf_append(out, header->name, name_len);
    bf_buf_append(out, lengths + NAME_LEN_BYTES, VALUE_LEN_BYTES);
    if (value.data != NULL)
        bf_buf_append(out, value.data, value.len);
}

void headers_pack(const struct bf_header *headers, size_t count, struct bf_buf *out) {
    for (size_t i = 0; i < count; i++)
        pack_one(&headers[i], out);
}

bool headers_next(struct bf_slice packed, size_t *at, struct bf_slice *name, struct bf_slice *value) {
    if (packed.data == NULL || *at > packed.len || packed.len - *at < NAME_LEN_BYTES + VALUE_LEN_BYTES)
        return false;
    const uint8_t *p = (const uint8_t *)packed.data + *at;
    size_t left = packed.len - *at - NAME_LEN_BYTES - VALUE_LEN_BYTES;
    size_t name_len = bf_get_be16(p);
    if (name_len > left)
        return false;
    left -= name_len;
    const uint8_t *v = p + NAME_LEN_BYTES + name_len;
    uint32_t value_len = bf_get_be32(v);
    size_t value_bytes = value_len == VALUE_LEN_NULL ? 0 : value_len;
    if (value_bytes > left)
        return false;
    *name = (struct bf_slice){p + NAME_LEN_BYTES, name_len};
    *value = value_len == VALUE_LEN_NULL ? BF_SLICE_NONE : (struct bf_slice){v + VALUE_LEN_BYTES, value_bytes};
    *at += NAME_LEN_BYTES + name_len + VALUE_LEN_BYTES + value_bytes;
    return true;
}

bool headers_find(struct bf_slice packed, const char *name, struct bf_slice *value) {
    struct bf_slice wanted = bf_slice_str(name), found_name, found_value;
    for (size_t at = 0; headers_next(packed, &at, &found_name, &found_value);) {
        if (bf_slice_eq(wanted, found_name)) {
            *value = found_value;
            return true;
        }
    }
    return false;
}
