/* A schema: compiled or refused with words; its columns are whole; the encoder and the short way from text read it or refuse it, too. */
#include "fuzz.h"

#include "bf_avro.h"
#include "bf_avro_encode.h"
#include "bf_avro_text.h"

#include <stdlib.h>
#include <string.h>

static void check_columns(const struct bf_avro *a) {
    const struct bf_avro_column *columns = NULL;
    size_t count = bf_avro_columns(a, &columns);
    for (size_t i = 0; i < count; i++) {
        bf_assert(columns[i].name != NULL && strlen(columns[i].name) > 0);
        bf_assert(columns[i].kind <= BF_AVRO_BYTES && columns[i].logical <= BF_AVRO_OTHER_LOGICAL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const paths[] = {"a.b", "m.k"};
    struct bf_avro *a = NULL;
    struct bf_avro_encoder *e = NULL;
    struct bf_avro_text *t = NULL;
    struct bf_err err = {0};
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    if (bf_avro_compile((const char *)data, size, NULL, 0, paths, 2, &a, &err) == BF_OK) {
        check_columns(a);
    } else {
        bf_assert(a == NULL && err.msg[0] != '\0');
    }
    enum bf_code code = bf_avro_encoder_new(text, &e, &err);
    bf_assert((code == BF_OK) == (e != NULL));
    code = bf_avro_text_new(text, &t, &err);
    bf_assert((code == BF_OK) == (t != NULL));
    bf_avro_text_free(t);
    bf_avro_encoder_free(e);
    bf_avro_free(a);
    free(text);
    return 0;
}
