/* Tables and one-line summaries for people. Widths are counted in characters; whatever could steer a terminal is replaced. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TABLE_BYTES_MAX ((size_t)1 << 30)
#define COLUMNS_MAX 16

void cli_table_init(struct cli_table *t, const struct cli_column *columns, size_t count) {
    bf_assert(count <= COLUMNS_MAX);
    t->columns = columns;
    t->column_count = count;
    t->cell_count = 0;
    bf_buf_init(&t->text, TABLE_BYTES_MAX);
}

void cli_table_fini(struct cli_table *t) {
    bf_buf_fini(&t->text);
}

/* C0, DEL, and the two-byte C1 controls of UTF-8. */
static bool is_control(const unsigned char *p) {
    return *p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0);
}

void cli_cell(struct cli_table *t, const char *text) {
    if (text == NULL)
        text = "-";
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        if (is_control(p)) {
            bf_buf_putc(&t->text, '?');
            p += *p == 0xc2;
        } else {
            bf_buf_putc(&t->text, (char)*p);
        }
    bf_buf_putc(&t->text, '\0');
    t->cell_count++;
}

void cli_print_clean(FILE *out, const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        if (is_control(p)) {
            fputc('?', out);
            p += *p == 0xc2;
        } else {
            fputc(*p, out);
        }
}

void cli_cell_int(struct cli_table *t, int64_t v) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)v);
    cli_cell(t, text);
}

/* "2024-06-01T10:00:00.000000Z" is easier to read without its empty fraction. */
static const char *short_time(const char *text, char dst[32]) {
    size_t n = strlen(text);
    if (n != 27 || strcmp(text + 19, ".000000Z") != 0)
        return text;
    memcpy(dst, text, 19);
    memcpy(dst + 19, "Z", 2);
    return dst;
}

void cli_cell_json(struct cli_table *t, const json_t *v) {
    char time_text[32];
    if (v == NULL || json_is_null(v)) {
        cli_cell(t, NULL);
    } else if (json_is_string(v)) {
        cli_cell(t, short_time(json_string_value(v), time_text));
    } else {
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
        cli_cell(t, text);
        free(text);
    }
}

static size_t characters(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static size_t terminal_width(FILE *out) {
    struct winsize w;
    return isatty(fileno(out)) && ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : SIZE_MAX;
}

/* Print `text` padded to width; more than `room` characters are cut. */
static void print_cell(FILE *out, const char *text, size_t width, bool right, bool last, size_t room) {
    size_t n = characters(text), pad = width > n ? width - n : 0;
    if (right)
        fprintf(out, "%*s", (int)pad, "");
    for (const char *p = text; *p != '\0'; p++) {
        if (((unsigned char)*p & 0xc0) != 0x80 && room-- == 0)
            break;
        fputc(*p, out);
    }
    if (!right && !last)
        fprintf(out, "%*s", (int)pad, "");
}

static void print_row(const struct cli_table *t, FILE *out, const char *const *cells, const size_t *widths, size_t terminal) {
    size_t used = 0;
    for (size_t i = 0; i < t->column_count; i++) {
        bool last = i + 1 == t->column_count;
        print_cell(out, cells[i], widths[i], t->columns[i].right, last, last && terminal > used ? terminal - used : SIZE_MAX);
        fputs(last ? "\n" : "  ", out);
        used += widths[i] + 2;
    }
}

void cli_table_print(const struct cli_table *t, FILE *out) {
    size_t widths[COLUMNS_MAX], terminal = terminal_width(out);
    const char *cells[COLUMNS_MAX], *p = t->text.data;
    bf_assert(t->cell_count % t->column_count == 0);
    for (size_t i = 0; i < t->column_count; i++) {
        cells[i] = t->columns[i].title;
        widths[i] = characters(cells[i]);
    }
    if (t->text.failed)
        cli_error("the table is too large: use --json");
    size_t rows = t->text.failed ? 0 : t->cell_count / t->column_count;
    for (size_t n = 0; n < rows * t->column_count; n++, p += strlen(p) + 1) {
        size_t w = characters(p);
        if (w > widths[n % t->column_count])
            widths[n % t->column_count] = w;
    }
    print_row(t, out, cells, widths, terminal);
    p = t->text.data;
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < t->column_count; i++, p += strlen(p) + 1)
            cells[i] = p;
        print_row(t, out, cells, widths, terminal);
    }
}

/* ---- events ---- */

int64_t cli_int(const json_t *object, const char *key, int64_t deflt) {
    const json_t *v = json_object_get(object, key);
    return json_is_integer(v) ? json_integer_value(v) : deflt;
}

const char *cli_str(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

static bool told_elsewhere(const char *key) {
    static const char *const keys[] = {"rim_node_id", "event_id", "vector_timestamp", "event_time", "cause_id", "trace_id", NULL};
    for (size_t i = 0; keys[i] != NULL; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

void cli_summary(const json_t *payload, struct bf_buf *out) {
    const char *key;
    json_t *value;
    size_t start = out->len;
    if (!json_is_object(payload)) {
        char *text = json_dumps(payload, JSON_ENCODE_ANY | JSON_COMPACT);
        bf_buf_puts(out, text != NULL ? text : "-");
        free(text);
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)payload, key, value) {
        bool empty = json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0) ||
                     (json_is_array(value) && json_array_size(value) == 0);
        if (empty || told_elsewhere(key))
            continue;
        char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
        bf_buf_printf(out, "%s%s=%s", out->len > start ? " " : "", key, text != NULL ? text : json_string_value(value));
        free(text);
    }
    if (out->len == start)
        bf_buf_putc(out, '-');
}

const struct cli_column cli_event_columns[] = {
    {"EVENT TIME", false}, {"NODE", false}, {"TOPIC", false}, {"EVENT ID", false}, {"REV", true}, {"PAYLOAD", false},
};
const size_t cli_event_column_count = sizeof cli_event_columns / sizeof cli_event_columns[0];

void cli_event_row(struct cli_table *t, const json_t *event) {
    struct bf_buf summary;
    bf_buf_init(&summary, 1 << 20);
    cli_cell_json(t, json_object_get(event, "event_time"));
    cli_cell_json(t, json_object_get(event, "rim_node_id"));
    cli_cell_json(t, json_object_get(event, "topic"));
    cli_cell_json(t, json_object_get(event, "event_id"));
    cli_cell_int(t, cli_int(event, "revision", 1));
    cli_summary(json_object_get(event, "payload"), &summary);
    bf_buf_putc(&summary, '\0');
    cli_cell(t, summary.failed ? "(too long)" : summary.data);
    bf_buf_fini(&summary);
}
