/* Confluent wire format: byte 0x00, 4-byte big-endian schema id, Avro binary. Also the newer form: a 16-byte GUID in the message
 * header `__value_schema_id` (first byte 0x01 and then the GUID, or 0x00 and then the 4-byte id; the value is bare Avro then). An absent
 * value (a tombstone) is not a frame. Pure; thread-safe. */
#ifndef BF_FRAMING_H
#define BF_FRAMING_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdbool.h>
#include <stdint.h>

#define BF_FRAME_BYTES 5
#define BF_SCHEMA_HEADER "__value_schema_id"

struct bf_frame {
    bool by_guid;
    int32_t schema_id;  /* >= 1 unless by_guid */
    uint8_t guid[16];   /* when by_guid */
    struct bf_slice avro; /* the rest of the value */
};

/* `guid_header` is the header's value or BF_SLICE_NONE. BF_REJECTED says why. */
BF_MUST_CHECK enum bf_code bf_frame_parse(struct bf_slice value, struct bf_slice guid_header, struct bf_frame *out,
                                          struct bf_err *err);
void bf_frame_put(uint8_t dst[BF_FRAME_BYTES], int32_t schema_id);

#endif
