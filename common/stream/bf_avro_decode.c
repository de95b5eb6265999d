/* The machine that runs a compiled schema over bytes from outside. It is written once and compiled twice (json true and false: `run` is
 * forced inline), so that checking alone pays nothing for JSON.
 *
 * Bounds: every read is checked against `end`; the stack is as deep as depth_max; each array item and map entry is paid from `items`, each
 * record from `work` (records without bytes could else multiply); so time and memory are bounded whatever the schema is. */
#include "bf_avro_program.h"

#include <endian.h>
#include <string.h>

#define DEPTH_DEFAULT 64
#define ITEMS_DEFAULT INT64_C(1000000)
#define JSON_BYTES_DEFAULT (INT64_C(64) << 20)

struct frame {
    const struct avro_op *back; /* of a call: where to go on */
    int64_t left;               /* of a loop: items of this block */
    const uint8_t *block_end;   /* NULL when the block did not say */
};

struct machine {
    const struct bf_avro *a;
    const uint8_t *p, *begin, *end;
    struct bf_json json;
    size_t json_len_max;
    struct bf_avro_field *fields;
    int depth, depth_max;
    int64_t items, work;
    uint8_t key_slot;
    const char *fault; /* what a reader below found */
    struct bf_err *err;
    struct frame frames[BF_JSON_DEPTH_MAX];
};

/* What each step returns: the next operation, or NULL after a fault. */
typedef const struct avro_op *next_op;

static __attribute__((cold, noinline)) next_op fault(struct machine *m, const struct avro_op *op, enum bf_avro_fault kind,
                                                     const char *what) {
    bf_fail(m->err, BF_REJECTED, (int)kind, "Avro: %.100s at byte %zu: %s", m->a->names[op->name].text, (size_t)(m->p - m->begin), what);
    return NULL;
}

static next_op cut_short(struct machine *m, const struct avro_op *op) {
    return fault(m, op, BF_AVRO_FAULT_AVRO, "cut short");
}

/* ---- reading ---- */

static __attribute__((noinline)) bool read_long_slow(struct machine *m, int64_t *out) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (m->p == m->end) {
            m->fault = "cut short within a number";
            return false;
        }
        uint8_t byte = *m->p++;
        if (shift == 63 && byte > 1) {
            break;
        }
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
            return true;
        }
    }
    m->fault = "a number has more than 64 bits";
    return false;
}

static inline bool read_long(struct machine *m, int64_t *out) {
    if (m->p != m->end && *m->p < 0x80) {
        unsigned v = *m->p++;
        *out = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
        return true;
    }
    return read_long_slow(m, out);
}

/* Length and bytes of a bytes or string; borrowed from the message. */
static inline bool read_run(struct machine *m, struct bf_slice *out) {
    int64_t len;
    if (!read_long(m, &len)) {
        return false;
    }
    if (len < 0 || len > m->end - m->p) {
        m->fault = len < 0 ? "a length is negative" : "a length is beyond the end";
        return false;
    }
    *out = (struct bf_slice){m->p, (size_t)len};
    m->p += len;
    return true;
}

static inline bool text_valid(struct bf_slice s) {
    const uint8_t *p = s.data;
    size_t i = 0;
    uint64_t eight, high = 0;
    for (; i + 8 <= s.len; i += 8) {
        memcpy(&eight, p + i, 8);
        high |= eight;
    }
    for (; i < s.len; i++) {
        high |= p[i];
    }
    return (high & UINT64_C(0x8080808080808080)) == 0 || bf_utf8_valid(s.data, s.len);
}

static inline void pick(struct machine *m, const struct avro_op *op, struct bf_avro_field field) {
    uint8_t slot = op->slot == AVRO_SLOT_KEY ? m->key_slot : op->slot;
    if (slot != AVRO_SLOT_NONE) {
        field.logical = (enum bf_avro_logical)op->logical;
        m->fields[slot] = field;
    }
}

/* ---- single values ---- */

static inline next_op do_null(struct machine *m, const struct avro_op *op, const bool json) {
    pick(m, op, (struct bf_avro_field){.kind = BF_AVRO_NULL});
    if (json) {
        bf_json_null(&m->json);
    }
    return op + 1;
}

static inline next_op do_boolean(struct machine *m, const struct avro_op *op, const bool json) {
    if (m->p == m->end) {
        return cut_short(m, op);
    }
    uint8_t v = *m->p;
    if (v > 1) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, "a boolean is neither 0 nor 1");
    }
    m->p++;
    pick(m, op, (struct bf_avro_field){.kind = BF_AVRO_BOOLEAN, .l = v});
    if (json) {
        bf_json_bool(&m->json, v != 0);
    }
    return op + 1;
}

static inline next_op do_long(struct machine *m, const struct avro_op *op, const bool json) {
    int64_t v;
    if (!read_long(m, &v)) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, m->fault);
    }
    if (op->code == OP_INT && (v < INT32_MIN || v > INT32_MAX)) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, "an int has more than 32 bits");
    }
    pick(m, op, (struct bf_avro_field){.kind = BF_AVRO_LONG, .l = v});
    if (json) {
        bf_json_int(&m->json, v);
    }
    return op + 1;
}

static inline next_op do_real(struct machine *m, const struct avro_op *op, const double v, const bool json) {
    pick(m, op, (struct bf_avro_field){.kind = BF_AVRO_DOUBLE, .d = v});
    if (json) {
        bf_json_double(&m->json, v);
    }
    return op + 1;
}

static inline next_op do_float(struct machine *m, const struct avro_op *op, const bool json) {
    uint32_t bits;
    float v;
    if (m->end - m->p < 4) {
        return cut_short(m, op);
    }
    memcpy(&bits, m->p, 4);
    bits = le32toh(bits);
    memcpy(&v, &bits, 4);
    m->p += 4;
    return do_real(m, op, (double)v, json);
}

static inline next_op do_double(struct machine *m, const struct avro_op *op, const bool json) {
    uint64_t bits;
    double v;
    if (m->end - m->p < 8) {
        return cut_short(m, op);
    }
    memcpy(&bits, m->p, 8);
    bits = le64toh(bits);
    memcpy(&v, &bits, 8);
    m->p += 8;
    return do_real(m, op, v, json);
}

static inline next_op do_string(struct machine *m, const struct avro_op *op, const bool json) {
    struct bf_slice s;
    if (!read_run(m, &s)) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, m->fault);
    }
    if (!text_valid(s)) {
        return fault(m, op, BF_AVRO_FAULT_UTF8, "a string is not UTF-8");
    }
    pick(m, op, (struct bf_avro_field){.kind = BF_AVRO_STRING, .s = s});
    if (json) {
        bf_json_string_n(&m->json, s.data, s.len);
    }
    return op + 1;
}

static inline next_op do_enum(struct machine *m, const struct avro_op *op, const bool json) {
    int64_t index;
    if (!read_long(m, &index)) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, m->fault);
    }
    if (index < 0 || index >= (int64_t)op->b) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, "an enum has no such symbol");
    }
    struct bf_slice s = m->a->enums[op->a]->symbols[index];
    pick(m, op, (struct bf_avro_field){.kind = BF_AVRO_STRING, .s = s});
    if (json) {
        bf_json_string_n(&m->json, s.data, s.len);
    }
    return op + 1;
}

/* bytes, fixed and the decimals on them. */
static inline next_op do_bytes(struct machine *m, const struct avro_op *op, const bool json) {
    bool fixed = op->code == OP_FIXED || op->code == OP_DECIMAL_FIXED;
    bool decimal = op->code == OP_DECIMAL_BYTES || op->code == OP_DECIMAL_FIXED;
    struct bf_slice s = {m->p, op->code == OP_FIXED ? op->a : op->b};
    if (fixed && (size_t)(m->end - m->p) < s.len) {
        return cut_short(m, op);
    }
    if (fixed) {
        m->p += s.len;
    } else if (!read_run(m, &s)) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, m->fault);
    }
    if (decimal && s.len > AVRO_DECIMAL_BYTES_MAX) {
        return fault(m, op, BF_AVRO_FAULT_LIMIT, "a decimal has more than 1024 bytes");
    }
    pick(m, op, (struct bf_avro_field){.kind = BF_AVRO_BYTES, .s = s});
    if (json && decimal) {
        char text[AVRO_DECIMAL_TEXT_MAX];
        bf_json_string_n(&m->json, text, avro_decimal_format(text, s.data, s.len, op->a));
    } else if (json) {
        bf_json_base64(&m->json, s.data, s.len);
    }
    return op + 1;
}

/* ---- structure ---- */

static inline next_op do_union(struct machine *m, const struct avro_op *op) {
    int64_t index;
    if (!read_long(m, &index)) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, m->fault);
    }
    if (index < 0 || index >= (int64_t)op->b) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, "a union has no such branch");
    }
    return m->a->ops + m->a->targets[op->a + (uint32_t)index];
}

static inline next_op do_optional(struct machine *m, const struct avro_op *op, const bool json) {
    int64_t index;
    if (!read_long(m, &index)) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, m->fault);
    }
    if (index != (int64_t)op->b) {
        return index == 0 || index == 1 ? op + 1 : fault(m, op, BF_AVRO_FAULT_AVRO, "a union has no such branch");
    }
    do_null(m, op, json);
    return m->a->ops + op->a;
}

static inline bool push(struct machine *m, struct frame frame) {
    if (m->depth == m->depth_max) {
        return false;
    }
    m->frames[m->depth++] = frame;
    return true;
}

static inline bool json_too_long(const struct machine *m, const bool json) {
    return json && (m->json.out->failed || m->json.out->len > m->json_len_max);
}

static inline next_op do_call(struct machine *m, const struct avro_op *op, const bool json) {
    m->work -= op->b;
    if (m->work < 0) {
        return fault(m, op, BF_AVRO_FAULT_LIMIT, "records without bytes multiply");
    }
    if (!push(m, (struct frame){.back = op + 1})) {
        return fault(m, op, BF_AVRO_FAULT_LIMIT, "nested too deep");
    }
    if (json_too_long(m, json)) {
        return fault(m, op, BF_AVRO_FAULT_LIMIT, "the JSON is too long");
    }
    return m->a->ops + op->a;
}

static inline next_op do_record(struct machine *m, const struct avro_op *op, const bool json) {
    if (json) {
        bf_json_object(&m->json);
    }
    return op + 1;
}

static inline next_op do_return(struct machine *m, const bool json) {
    if (json) {
        bf_json_object_end(&m->json);
    }
    return m->frames[--m->depth].back;
}

/* A block's head: 1 when it has items, 0 at the end of all blocks, -1 after a fault. */
static inline int read_block(struct machine *m, const struct avro_op *op, const bool items_take_bytes) {
    struct frame *f = &m->frames[m->depth - 1];
    int64_t count, bytes;
    f->block_end = NULL;
    if (!read_long(m, &count)) {
        goto malformed;
    }
    if (count < 0) {
        if (!read_long(m, &bytes)) {
            goto malformed;
        }
        m->fault = "a block's size or count is out of range";
        if (count == INT64_MIN || bytes < 0 || bytes > m->end - m->p) {
            goto malformed;
        }
        count = -count;
        f->block_end = m->p + bytes;
    }
    m->fault = "a block has more items than bytes are left";
    if (items_take_bytes && count > m->end - m->p) {
        goto malformed;
    }
    m->items -= count;
    if (m->items < 0) {
        fault(m, op, BF_AVRO_FAULT_LIMIT, "too many array items and map entries");
        return -1;
    }
    f->left = count;
    return count > 0;
malformed:
    fault(m, op, BF_AVRO_FAULT_AVRO, m->fault);
    return -1;
}

static inline next_op end_loop(struct machine *m, const bool array, next_op after, const bool json) {
    m->depth--;
    if (json && array) {
        bf_json_array_end(&m->json);
    } else if (json) {
        bf_json_object_end(&m->json);
    }
    return after;
}

static inline next_op do_loop(struct machine *m, const struct avro_op *op, const bool json) {
    if (!push(m, (struct frame){0})) {
        return fault(m, op, BF_AVRO_FAULT_LIMIT, "nested too deep");
    }
    if (json && op->code == OP_ARRAY) {
        bf_json_array(&m->json);
    } else if (json) {
        bf_json_object(&m->json);
    }
    int has_items = read_block(m, op, op->b != 0);
    if (has_items <= 0) {
        return has_items < 0 ? NULL : end_loop(m, op->code == OP_ARRAY, m->a->ops + op->a, json);
    }
    return op + 1;
}

static inline next_op do_loop_end(struct machine *m, const struct avro_op *op, const bool json) {
    struct frame *f = &m->frames[m->depth - 1];
    const struct avro_op *first = m->a->ops + op->a;
    if (json_too_long(m, json)) {
        return fault(m, op, BF_AVRO_FAULT_LIMIT, "the JSON is too long");
    }
    if (--f->left > 0) {
        return first;
    }
    if (f->block_end != NULL && f->block_end != m->p) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, "a block has another size than it says");
    }
    int has_items = read_block(m, op, first[-1].b != 0);
    if (has_items <= 0) {
        return has_items < 0 ? NULL : end_loop(m, op->code == OP_ARRAY_END, op + 1, json);
    }
    return first;
}

static inline next_op do_map_key(struct machine *m, const struct avro_op *op, const bool json) {
    struct bf_slice key;
    if (!read_run(m, &key)) {
        return fault(m, op, BF_AVRO_FAULT_AVRO, m->fault);
    }
    if (!text_valid(key)) {
        return fault(m, op, BF_AVRO_FAULT_UTF8, "a map's key is not UTF-8");
    }
    m->key_slot = AVRO_SLOT_NONE;
    for (uint32_t i = 0; i < op->b; i++) {
        const struct avro_watched_key *w = &m->a->keys[op->a + i];
        if (w->key.len == key.len && memcmp(w->key.data, key.data, key.len) == 0) {
            m->key_slot = w->slot;
            m->fields[w->slot].kind = BF_AVRO_ABSENT; /* what this key had before, should a structure follow now */
        }
    }
    if (json) {
        bf_json_key_n(&m->json, key.data, key.len);
    }
    return op + 1;
}

/* ---- the machine ---- */

static inline __attribute__((always_inline)) enum bf_code run(struct machine *m, const bool json) {
    const struct avro_op *op = m->a->ops;
    while (op != NULL) {
        if (json && op->keyed) {
            const struct avro_name *name = &m->a->names[op->name];
            bf_json_key_ready(&m->json, name->ready, name->ready_len);
        }
        switch ((enum avro_op_code)op->code) {
        case OP_NULL: op = do_null(m, op, json); break;
        case OP_BOOLEAN: op = do_boolean(m, op, json); break;
        case OP_INT:
        case OP_LONG: op = do_long(m, op, json); break;
        case OP_FLOAT: op = do_float(m, op, json); break;
        case OP_DOUBLE: op = do_double(m, op, json); break;
        case OP_STRING: op = do_string(m, op, json); break;
        case OP_ENUM: op = do_enum(m, op, json); break;
        case OP_BYTES:
        case OP_FIXED:
        case OP_DECIMAL_BYTES:
        case OP_DECIMAL_FIXED: op = do_bytes(m, op, json); break;
        case OP_UNION: op = do_union(m, op); break;
        case OP_OPTIONAL: op = do_optional(m, op, json); break;
        case OP_JUMP: op = m->a->ops + op->a; break;
        case OP_CALL: op = do_call(m, op, json); break;
        case OP_RECORD: op = do_record(m, op, json); break;
        case OP_RETURN: op = do_return(m, json); break;
        case OP_ARRAY:
        case OP_MAP: op = do_loop(m, op, json); break;
        case OP_MAP_KEY: op = do_map_key(m, op, json); break;
        case OP_ARRAY_END:
        case OP_MAP_END: op = do_loop_end(m, op, json); break;
        case OP_STOP:
            if (m->p != m->end) {
                op = fault(m, op, BF_AVRO_FAULT_AVRO, "bytes are left over");
                break;
            }
            return json_too_long(m, json) ? (fault(m, op, BF_AVRO_FAULT_LIMIT, "the JSON is too long"), BF_REJECTED) : BF_OK;
        }
    }
    return BF_REJECTED;
}

static __attribute__((noinline)) enum bf_code run_check(struct machine *m) {
    return run(m, false);
}

static __attribute__((noinline)) enum bf_code run_json(struct machine *m) {
    return run(m, true);
}

static void set_limits(struct machine *m, const struct bf_avro_limits *limits, size_t bytes, size_t json_len) {
    static const struct bf_avro_limits none;
    const struct bf_avro_limits *l = limits != NULL ? limits : &none;
    int64_t json_max = l->json_bytes_max > 0 ? l->json_bytes_max : JSON_BYTES_DEFAULT;
    m->depth_max = l->depth_max > 0 ? l->depth_max : DEPTH_DEFAULT;
    if (m->depth_max > BF_JSON_DEPTH_MAX) {
        m->depth_max = BF_JSON_DEPTH_MAX;
    }
    m->items = l->items_max > 0 ? l->items_max : ITEMS_DEFAULT;
    if (m->items > INT64_MAX / 64) {
        m->items = INT64_MAX / 64;
    }
    m->work = 16 * m->items + 64 * (int64_t)bytes;
    m->json_len_max = json_len + (size_t)json_max;
}

static void clear_fields(struct bf_avro_field *fields, size_t count) {
    for (size_t i = 0; i < count; i++) {
        fields[i] = (struct bf_avro_field){.kind = BF_AVRO_ABSENT};
    }
}

enum bf_code bf_avro_decode(const struct bf_avro *a, struct bf_slice bytes, const struct bf_avro_limits *limits, struct bf_buf *json,
                            struct bf_avro_field *fields, struct bf_err *err) {
    static const uint8_t nothing[1];
    struct machine m; /* not zeroed: the frames are large and written before they are read */
    m.a = a;
    m.begin = m.p = bytes.data != NULL ? bytes.data : nothing;
    m.end = m.p + (bytes.data != NULL ? bytes.len : 0);
    m.fields = fields;
    m.depth = 0;
    m.key_slot = AVRO_SLOT_NONE;
    m.fault = "";
    m.err = err;
    size_t json_len = json != NULL ? json->len : 0;
    set_limits(&m, limits, bytes.len, json_len);
    clear_fields(fields, a->path_count);

    enum bf_code code;
    if (json == NULL) {
        code = run_check(&m);
    } else {
        bool failed = json->failed;
        bf_json_init(&m.json, json);
        code = run_json(&m);
        if (code != BF_OK) {
            json->len = json_len;
            json->failed = failed;
        }
    }
    if (code != BF_OK) {
        clear_fields(fields, a->path_count);
    } else if (a->repeats) {
        for (size_t i = 0; i < a->path_count; i++) {
            fields[i] = fields[a->same_path[i]];
        }
    }
    return code;
}
