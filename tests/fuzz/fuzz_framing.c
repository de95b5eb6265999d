/* A byte that says how long the header is, the header, the value: a frame is a view into what came in, and put() makes it again. */
#include "fuzz.h"

#include "bf_framing.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bf_frame frame;
    struct bf_err err = {0};
    uint8_t head[BF_FRAME_BYTES];
    if (size == 0) {
        return 0;
    }
    size_t header_len = data[0] == 0xff ? 0 : data[0];
    header_len = header_len < size - 1 ? header_len : size - 1;
    struct bf_slice header = data[0] == 0xff ? BF_SLICE_NONE : (struct bf_slice){data + 1, header_len};
    struct bf_slice value = {data + 1 + header_len, size - 1 - header_len};
    if (bf_frame_parse(value, header, &frame, &err) != BF_OK) {
        bf_assert(err.code == BF_REJECTED && err.msg[0] != '\0');
        return 0;
    }
    bf_assert(frame.by_guid || frame.schema_id >= 1);
    const uint8_t *avro = frame.avro.data, *begin = value.data;
    bf_assert(avro >= begin && avro + frame.avro.len == begin + value.len);
    if (header.data == NULL) {
        bf_frame_put(head, frame.schema_id);
        bf_assert(memcmp(head, value.data, sizeof head) == 0);
    }
    return 0;
}
