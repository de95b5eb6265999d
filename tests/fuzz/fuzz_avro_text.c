/* A signal as text: where the short way to Avro takes it, the long way gives the same bytes, and the decoder reads them. */
#include "fuzz.h"

#include "bf_avro.h"
#include "bf_avro_encode.h"
#include "bf_avro_text.h"
#include "bf_json.h"

#include <stdlib.h>
#include <string.h>

static struct bf_avro_text *quick;
static struct bf_avro_encoder *slow;
static struct bf_avro *reader;

static void close_schema(void) {
    bf_avro_text_free(quick);
    bf_avro_encoder_free(slow);
    bf_avro_free(reader);
}

static void open_schema(void) {
    struct bf_err err;
    json_t *json = NULL;
    bf_assert(bf_json_load_file(BF_SOURCE_DIR "/schemas/rim.fast-path.avsc", &json, &err) == BF_OK);
    char *text = json_dumps(json, 0);
    bf_assert(bf_avro_text_new(text, &quick, &err) == BF_OK);
    bf_assert(bf_avro_encoder_new(text, &slow, &err) == BF_OK);
    bf_assert(bf_avro_compile(text, strlen(text), NULL, 0, NULL, 0, &reader, &err) == BF_OK);
    free(text);
    json_decref(json);
    atexit(close_schema);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bf_buf ours, theirs;
    struct bf_err err = {0};
    json_t *json = NULL;
    if (quick == NULL) {
        open_schema();
    }
    if (!bf_avro_text_read(quick, (struct bf_slice){data, size})) {
        return 0;
    }
    bf_buf_init(&ours, 1 << 20);
    bf_buf_init(&theirs, 1 << 20);
    if (bf_avro_text_write(quick, &ours)) {
        bf_assert(bf_json_parse((const char *)data, size, &json, &err) == BF_OK);
        bf_assert(bf_avro_encode(slow, json, &theirs, &err) == BF_OK);
        bf_assert(ours.len == theirs.len && memcmp(ours.data, theirs.data, ours.len) == 0);
        bf_assert(bf_avro_decode(reader, (struct bf_slice){ours.data, ours.len}, NULL, NULL, NULL, &err) == BF_OK);
    }
    json_decref(json);
    bf_buf_fini(&ours);
    bf_buf_fini(&theirs);
    return 0;
}
