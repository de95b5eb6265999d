#include "feed.h"

#include "bf_stop.h"
#include "bf_time.h"
#include "csv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POLL_EVERY 256
#define PROGRESS_EVERY_US 200000
#define TABLE_BYTES_MAX (INT64_C(4) << 30) /* a table that goes out newest last is held whole */

struct feed {
    const struct feed_settings *s;
    struct publish_counts *counts;
    struct signal signal;
    int64_t line; /* of what is being looked at */
    int64_t begun_us, said_us, paced;
    unsigned since_poll;
    bool terminal, stop;
    enum bf_code broken; /* the producer cannot go on */
    struct bf_err broken_err;
};

/* ---- what people see ---- */

static void show_progress(struct feed *f, bool last) {
    int64_t now_us = f->terminal ? bf_time_monotonic_us() : 0;

    if (!f->terminal || (!last && now_us - f->said_us < PROGRESS_EVERY_US)) return;
    f->said_us = now_us;
    if (last) {
        fputs("\r\033[K", stderr);
        return;
    }
    long long published = atomic_load(&f->counts->published);
    double seconds = (double)(now_us - f->begun_us) / 1e6;
    fprintf(stderr, "\r\033[K%lld published, %lld rejected, %.0f/s, %.1f MB read", published,
            (long long)atomic_load(&f->counts->rejected), seconds > 0 ? (double)published / seconds : 0.0,
            (double)input_bytes(f->s->in) / 1e6);
}

static void reject(struct feed *f, const struct bf_err *why) {
    if (f->terminal) fputs("\r\033[K", stderr);
    fprintf(stderr, "line %lld: %s\n", (long long)f->line, why->msg);
    atomic_fetch_add(&f->counts->rejected, 1);
    if (f->s->strict) f->stop = true;
}

/* ---- one signal ---- */

/* Wait until the next one is due. Late ones go out at once; the beat does not shift. */
static void pace(struct feed *f) {
    if (f->s->rate <= 0) return;
    int64_t due_us = f->begun_us + (int64_t)((double)f->paced++ * 1e6 / f->s->rate);
    for (;;) {
        int64_t wait_us = due_us - bf_time_monotonic_us();
        if (wait_us <= 0 || bf_stop_requested()) return;
        if (wait_us > 2000) {
            publish_poll(f->s->publish, (int)((wait_us - 1000) / 1000));
        } else {
            struct timespec ts = {0, wait_us * 1000};
            (void)nanosleep(&ts, NULL);
        }
    }
}

/* It is checked and encoded, or not. */
static void take(struct feed *f, enum bf_code checked, const struct bf_err *why) {
    struct bf_err err = {0};

    if (checked != BF_OK) {
        reject(f, why);
        return;
    }
    pace(f);
    enum bf_code code = publish_send(f->s->publish, signal_key(&f->signal), signal_value(&f->signal), NULL, &err);
    if (code == BF_BROKEN || code == BF_NOMEM) {
        f->broken = code;
        f->broken_err = err;
        f->stop = true;
    } else if (code != BF_OK) {
        reject(f, &err);
        return;
    }
    atomic_fetch_add(&f->counts->accepted, 1);
    if (code != BF_OK) atomic_fetch_add(&f->counts->failed, 1);
    if (++f->since_poll >= POLL_EVERY) {
        f->since_poll = 0;
        publish_poll(f->s->publish, 0);
    }
    show_progress(f, false);
}

/* ---- NDJSON ---- */

static bool is_blank(struct bf_slice line) {
    const char *p = line.data;
    while (line.len > 0 && (*p == ' ' || *p == '\t')) p++, line.len--;
    return line.len == 0;
}

static void take_line(struct feed *f, struct bf_slice line) {
    struct bf_err err = {0};

    if (is_blank(line)) return;
    take(f, signal_check_text(f->s->check, line, NULL, &f->signal, &err), &err);
}

static enum bf_code feed_lines(struct feed *f, struct bf_err *err) {
    struct bf_buf line;
    struct bf_slice text;
    enum bf_code code = BF_OK;

    bf_buf_init(&line, f->s->line_bytes_max + 1);
    while (!f->stop && !bf_stop_requested()) {
        code = input_next_line(f->s->in, &line, &text, err);
        f->line++;
        if (code == BF_REJECTED) reject(f, err);
        else if (code == BF_OK) take_line(f, text);
        else break;
    }
    bf_buf_fini(&line);
    return code == BF_NOT_FOUND || code == BF_REJECTED ? BF_OK : code;
}

/* ---- CSV ---- */

static bool on_event(void *ctx, json_t *value, const struct bf_err *why) {
    struct feed *f = ctx;
    struct bf_err err = {0};

    if (value != NULL) take(f, signal_check_value(f->s->check, value, NULL, &f->signal, &err), &err);
    else reject(f, why);
    return !f->stop && !bf_stop_requested();
}

static void take_row(struct feed *f, int64_t line, const char *text, size_t count) {
    const char *fields[CSV_FIELDS_MAX];

    f->line = line;
    size_t n = csv_fields(text, count, fields, CSV_FIELDS_MAX);
    if (!map_row(f->s->map, fields, n, on_event, f)) f->stop = true;
}

struct kept_row {
    struct kept_row *before; /* the row above it in the file */
    int64_t line;
    size_t count;
    char text[];
};

/* Hold a row until all were read; they come back last first. */
static enum bf_code keep_row(struct kept_row **last, int64_t *held, const struct csv_record *record, struct bf_err *err) {
    struct kept_row *row = malloc(sizeof *row + record->text.len);

    *held += (int64_t)(sizeof *row + record->text.len);
    if (row == NULL || *held > TABLE_BYTES_MAX) {
        free(row);
        return bf_fail(err, BF_NOMEM, 0, "the table is too large to be turned around");
    }
    *row = (struct kept_row){.before = *last, .line = record->line, .count = record->count};
    memcpy(row->text, record->text.data, record->text.len);
    *last = row;
    return BF_OK;
}

static void take_kept(struct feed *f, struct kept_row *last) {
    while (last != NULL) {
        struct kept_row *before = last->before;
        if (!f->stop && !bf_stop_requested()) take_row(f, last->line, last->text, last->count);
        free(last);
        last = before;
    }
}

static enum bf_code take_header(struct feed *f, struct csv *csv, struct csv_record *record, struct bf_err *err) {
    const char *fields[CSV_FIELDS_MAX];
    enum bf_code code = csv_next(csv, record, err);

    if (code == BF_NOT_FOUND) return bf_stop_requested() ? BF_OK : bf_fail(err, BF_INVALID, 0, "the table has no header");
    if (code == BF_OK) code = map_header(f->s->map, fields, csv_fields(record->text.data, record->count, fields, CSV_FIELDS_MAX), err);
    if (code == BF_REJECTED) err->code = code = BF_INVALID;
    return code == BF_OK ? BF_OK : bf_err_prepend(err, "line %lld", (long long)record->line);
}

static enum bf_code feed_table(struct feed *f, struct bf_err *err) {
    struct csv csv;
    struct csv_record record = {0};
    struct kept_row *last = NULL;
    int64_t held = 0;

    csv_init(&csv, f->s->in, map_delimiter(f->s->map));
    bf_buf_init(&record.text, f->s->line_bytes_max);
    enum bf_code code = take_header(f, &csv, &record, err);
    while (code == BF_OK && !f->stop && !bf_stop_requested()) {
        code = csv_next(&csv, &record, err);
        f->line = record.line;
        if (code == BF_OK && map_newest_first(f->s->map)) {
            code = keep_row(&last, &held, &record, err);
        } else if (code == BF_OK) {
            take_row(f, record.line, record.text.data, record.count);
        } else if (code == BF_REJECTED) {
            reject(f, err);
            code = BF_OK;
        }
    }
    take_kept(f, last);
    bf_buf_fini(&record.text);
    return code == BF_NOT_FOUND ? BF_OK : code;
}

enum bf_code feed_run(const struct feed_settings *settings, struct bf_err *err) {
    struct feed f = {.s = settings, .counts = publish_counts(settings->publish), .terminal = isatty(STDERR_FILENO) == 1,
                     .begun_us = bf_time_monotonic_us()};

    signal_init(&f.signal);
    enum bf_code code = settings->map != NULL ? feed_table(&f, err) : feed_lines(&f, err);
    while (publish_queued(settings->publish) > 0) {
        publish_poll(settings->publish, 50);
        show_progress(&f, false);
    }
    show_progress(&f, true);
    signal_fini(&f.signal);
    if (f.broken != BF_OK) *err = f.broken_err;
    return f.broken != BF_OK ? f.broken : code;
}
