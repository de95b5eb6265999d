/* Producers' side: plain JSON values to Avro binary through avro-c. Only for our own schemas and our own values.
 *
 * An encoder belongs to one thread. The schema itself may be shared between encoders.
 */
#ifndef BF_AVRO_ENCODE_H
#define BF_AVRO_ENCODE_H

#include "bf_buf.h"
#include "bf_err.h"

#include <jansson.h>

struct bf_avro_encoder;

BF_MUST_CHECK enum bf_code bf_avro_encoder_new(const char *schema_json, struct bf_avro_encoder **out, struct bf_err *err);
void bf_avro_encoder_free(struct bf_avro_encoder *e);

/* Append the Avro binary of `value` (unions written bare; a missing member takes the field's default, a missing
 * nullable one null) to out. BF_INVALID names the field and says what was expected; unknown members are errors. */
BF_MUST_CHECK enum bf_code bf_avro_encode(struct bf_avro_encoder *e, const json_t *value, struct bf_buf *out,
                                          struct bf_err *err);

#endif
