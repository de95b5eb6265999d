/* rim_node_id: `rim:{nodeType}:{namespace}:{localId}`, at most 255 characters. nodeType is one of ten, namespace
 * [a-z0-9-]{1,64}, localId [A-Za-z0-9_-]{1,128}. Pure; thread-safe. */
#ifndef BF_NODE_ID_H
#define BF_NODE_ID_H

#include "bf_buf.h"
#include "bf_err.h"

#define BF_NODE_ID_MAX 255

struct bf_node_id {
    struct bf_slice type, space, local; /* borrowed from the text */
};

/* BF_INVALID says which part is wrong and how. `out` may be NULL. */
BF_MUST_CHECK enum bf_code bf_node_id_parse(struct bf_slice text, struct bf_node_id *out, struct bf_err *err);

#endif
