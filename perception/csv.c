/* A state machine over bytes: at the start of a field, in a bare one, in a quoted one, behind a closing quote. What is wrong in a record is
 * remembered and the record read to its end, so that the next one begins at the right place. */
#include "csv.h"

#include <string.h>

enum csv_state { FIELD_START, BARE, QUOTED, QUOTE_SEEN };

struct scan {
    enum csv_state state;
    const char *wrong;
    bool empty, done; /* nothing but the newline so far; the record is whole */
    bool cr;          /* a carriage return outside of quotes: a newline has to follow */
};

void csv_init(struct csv *csv, struct input *in, char delimiter) { *csv = (struct csv){in, delimiter, 1, false}; }

static void end_field(struct csv_record *record) {
    bf_buf_putc(&record->text, '\0');
    record->count++;
}

static void end_record(struct csv_record *record, struct scan *s) {
    if (!(s->empty && s->state == FIELD_START)) end_field(record);
    s->done = true;
}

static void take_byte(const struct csv *csv, struct csv_record *record, struct scan *s, char c) {
    if (c == '\0') s->wrong = "there is a NUL byte in it";
    if (s->state == QUOTED) {
        if (c == '"') s->state = QUOTE_SEEN;
        else bf_buf_putc(&record->text, c);
        return;
    }
    if (s->cr && c != '\n') s->wrong = "there is a carriage return inside a field that is not quoted";
    s->cr = c == '\r';
    if (c == '\n') {
        end_record(record, s);
    } else if (c == csv->delimiter) {
        end_field(record);
        s->state = FIELD_START;
        s->empty = false;
    } else if (c == '\r') {
        return;
    } else if (c == '"' && s->state == FIELD_START) {
        s->state = QUOTED;
        s->empty = false;
    } else if (c == '"' && s->state == QUOTE_SEEN) {
        bf_buf_putc(&record->text, '"');
        s->state = QUOTED;
    } else {
        if (s->state == QUOTE_SEEN) s->wrong = "there is text behind a closing quote";
        else if (c == '"') s->wrong = "there is a quote inside a field that is not quoted";
        else s->state = BARE;
        bf_buf_putc(&record->text, c);
        s->empty = false;
    }
}

static void skip_mark(struct csv *csv, struct bf_slice have) {
    if (!csv->begun && have.len >= 3 && memcmp(have.data, "\xef\xbb\xbf", 3) == 0) input_use(csv->in, 3);
    csv->begun = true;
}

static enum bf_code read_record(struct csv *csv, struct csv_record *record, struct scan *s, struct bf_err *err) {
    while (!s->done) {
        struct bf_slice have;
        enum bf_code code = input_peek(csv->in, &have, err);
        if (code == BF_OK && !csv->begun) {
            skip_mark(csv, have);
            continue;
        }
        if (code == BF_NOT_FOUND && !(s->empty && s->state == FIELD_START)) {
            if (s->state == QUOTED) s->wrong = "a quoted field has no end";
            end_record(record, s);
            break;
        }
        if (code != BF_OK) return code;
        const char *bytes = have.data;
        size_t n = 0;
        while (n < have.len && !s->done) {
            csv->line += bytes[n] == '\n';
            take_byte(csv, record, s, bytes[n++]);
        }
        input_use(csv->in, n);
    }
    return BF_OK;
}

enum bf_code csv_next(struct csv *csv, struct csv_record *record, struct bf_err *err) {
    struct scan s;

    do {
        s = (struct scan){.state = FIELD_START, .empty = true};
        record->line = csv->line;
        record->count = 0;
        bf_buf_clear(&record->text);
        enum bf_code code = read_record(csv, record, &s, err);
        if (code != BF_OK) return code;
    } while (record->count == 0 && s.wrong == NULL);
    if (record->count > CSV_FIELDS_MAX) return bf_fail(err, BF_REJECTED, 0, "the row has more than %d fields", CSV_FIELDS_MAX);
    if (record->text.failed) return bf_fail(err, BF_REJECTED, 0, "the row is longer than %zu bytes", record->text.max);
    if (s.wrong != NULL) return bf_fail(err, BF_REJECTED, 0, "%s", s.wrong);
    return BF_OK;
}

size_t csv_fields(const char *text, size_t count, const char **fields, size_t max) {
    size_t n = 0;
    for (; n < count && n < max; n++) {
        fields[n] = text;
        text += strlen(text) + 1;
    }
    return n;
}
