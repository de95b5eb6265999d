/* The two places a schema id may be: in front of the value, or in a header with its own version byte (0: a 4-byte id, 1: a GUID). When the
 * header is there it decides, and the value is bare Avro: a value that begins with a zero byte is then not a frame. */
#include "bf_framing.h"

#include <string.h>

enum { MAGIC_ID = 0x00, MAGIC_GUID = 0x01 };

static enum bf_code parse_id(const uint8_t *p, struct bf_frame *frame, struct bf_err *err) {
    uint32_t id = bf_get_be32(p + 1);
    if (id == 0 || id > INT32_MAX)
        return bf_fail(err, BF_REJECTED, 0, "framing: schema id %ld is not between 1 and 2147483647",
                       (long)(int32_t)id);
    frame->schema_id = (int32_t)id;
    return BF_OK;
}

static enum bf_code parse_header(struct bf_slice value, struct bf_slice header, struct bf_frame *out, struct bf_err *err) {
    const uint8_t *p = header.data;
    struct bf_frame frame = {.avro = value};
    if (header.len == 1 + sizeof(frame.guid) && p[0] == MAGIC_GUID) {
        frame.by_guid = true;
        memcpy(frame.guid, p + 1, sizeof(frame.guid));
    } else if (header.len == BF_FRAME_BYTES && p[0] == MAGIC_ID) {
        enum bf_code code = parse_id(p, &frame, err);
        if (code != BF_OK)
            return code;
    } else {
        return bf_fail(err, BF_REJECTED, 0, "framing: header " BF_SCHEMA_HEADER " has %zu bytes beginning with 0x%02x",
                       header.len, header.len > 0 ? p[0] : 0u);
    }
    *out = frame;
    return BF_OK;
}

enum bf_code bf_frame_parse(struct bf_slice value, struct bf_slice guid_header, struct bf_frame *out, struct bf_err *err) {
    const uint8_t *p = value.data;
    if (p == NULL)
        return bf_fail(err, BF_REJECTED, 0, "framing: there is no value");
    if (guid_header.data != NULL)
        return parse_header(value, guid_header, out, err);
    if (value.len < BF_FRAME_BYTES)
        return bf_fail(err, BF_REJECTED, 0, "framing: %zu bytes are shorter than the %d of a frame", value.len,
                       BF_FRAME_BYTES);
    if (p[0] != MAGIC_ID)
        return bf_fail(err, BF_REJECTED, 0, "framing: the value begins with 0x%02x, not 0x00", p[0]);
    struct bf_frame frame = {.avro = {p + BF_FRAME_BYTES, value.len - BF_FRAME_BYTES}};
    enum bf_code code = parse_id(p, &frame, err);
    if (code == BF_OK)
        *out = frame;
    return code;
}

void bf_frame_put(uint8_t dst[BF_FRAME_BYTES], int32_t schema_id) {
    dst[0] = MAGIC_ID;
    bf_put_be32(dst + 1, (uint32_t)schema_id);
}
