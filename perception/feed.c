#include "feed.h"

#include "acked.h"
#include "bf_log.h"
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
#define BATCH_RECORDS 512
#define SAVE_EVERY_US 1000000
#define TABLE_BYTES_MAX (INT64_C(4) << 30) /* a table that goes out newest last is held whole */

struct feed {
    const struct feed_settings *s;
    struct publish_counts *counts;
    struct signal signal;
    int64_t line; /* of what is being looked at */
    int64_t begun_us, said_us, paced;
    struct acked *acked; /* NULL: no checkpoint */
    int64_t record, nth, closed, saved_us; /* in the order of publishing, from 1; its signal, from 0; in closed batches */
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

int64_t feed_due_us(int64_t n, double rate) { return (int64_t)((double)n * 1e6 / rate); }

/* Wait until the next one is due. Late ones go out at once; the beat does not shift. */
static void pace(struct feed *f) {
    if (f->s->rate <= 0) return;
    int64_t due_us = f->begun_us + feed_due_us(f->paced++, f->s->rate);
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

/* ---- the checkpoint ---- */

static void break_off(struct feed *f, const struct bf_err *err) {
    f->broken = err->code;
    f->broken_err = *err;
    f->stop = true;
}

/* What is filled in where the record says nothing; NULL without a checkpoint. */
static const struct signal_origin *origin_of(struct feed *f, struct signal_origin *origin, char text[BF_UUID_TEXT_LEN + 1]) {
    if (f->acked == NULL) return NULL;
    struct bf_uuid id = checkpoint_event_id(f->s->checkpoint, f->record, f->nth++);
    bf_uuid_format(text, &id);
    *origin = (struct signal_origin){{text, BF_UUID_TEXT_LEN}, f->s->checkpoint->begun_ms, f->record};
    return origin;
}

/* Move on over all that Kafka has acknowledged, and say so on disk. */
static void save(struct feed *f) {
    struct bf_err err = {0};
    int64_t *token, before = f->s->checkpoint->done;

    while ((token = acked_next(f->acked)) != NULL) {
        f->s->checkpoint->done = *token;
        free(token);
    }
    f->saved_us = bf_time_monotonic_us();
    if (f->s->checkpoint->done != before && checkpoint_save(f->s->checkpoint, &err) != BF_OK) break_off(f, &err);
}

static void close_batch(struct feed *f) {
    struct bf_err err = {0};
    int64_t *token = malloc(sizeof *token);

    if (token != NULL) *token = f->record;
    f->closed = f->record;
    enum bf_code code = token != NULL ? acked_close(f->acked, token, &err) : bf_fail(&err, BF_NOMEM, 0, "no memory for a batch");
    if (code != BF_OK) break_off(f, &err);
}

/* The next record; false: it was published before. */
static bool begin_record(struct feed *f) {
    f->record++;
    f->nth = 0;
    return f->acked == NULL || f->record > f->s->checkpoint->done;
}

static void end_record(struct feed *f) {
    if (f->acked == NULL) return;
    if (f->record - f->closed >= BATCH_RECORDS) close_batch(f);
    if (bf_time_monotonic_us() - f->saved_us < SAVE_EVERY_US) return;
    if (f->record > f->closed) close_batch(f);
    save(f);
}

/* It is checked and encoded, or not. */
static void take(struct feed *f, enum bf_code checked, const struct bf_err *why) {
    struct bf_err err = {0};

    if (checked != BF_OK) {
        reject(f, why);
        return;
    }
    pace(f);
    enum bf_code code = publish_send(f->s->publish, signal_key(&f->signal), signal_value(&f->signal),
                                     f->acked != NULL ? acked_waiter(f->acked) : NULL, &err);
    if (code == BF_BROKEN || code == BF_NOMEM) {
        break_off(f, &err);
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
    struct signal_origin origin;
    char id[BF_UUID_TEXT_LEN + 1];

    if (is_blank(line)) return;
    take(f, signal_check_text(f->s->check, line, origin_of(f, &origin, id), &f->signal, &err), &err);
}

static enum bf_code feed_lines(struct feed *f, struct bf_err *err) {
    struct bf_buf line;
    struct bf_slice text;
    enum bf_code code = BF_OK;

    bf_buf_init(&line, f->s->line_bytes_max + 1);
    while (!f->stop && !bf_stop_requested()) {
        code = input_next_line(f->s->in, &line, &text, err);
        if (code != BF_OK && code != BF_REJECTED) break;
        f->line++;
        if (!begin_record(f)) continue;
        if (code == BF_REJECTED) reject(f, err);
        else take_line(f, text);
        end_record(f);
    }
    bf_buf_fini(&line);
    return code == BF_NOT_FOUND || code == BF_REJECTED ? BF_OK : code;
}

/* ---- CSV ---- */

static bool on_event(void *ctx, json_t *value, const struct bf_err *why) {
    struct feed *f = ctx;
    struct bf_err err = {0};
    struct signal_origin origin;
    char id[BF_UUID_TEXT_LEN + 1];

    if (value != NULL) take(f, signal_check_value(f->s->check, value, origin_of(f, &origin, id), &f->signal, &err), &err);
    else reject(f, why);
    return !f->stop && !bf_stop_requested();
}

static void take_row(struct feed *f, int64_t line, const char *text, size_t count) {
    const char *fields[CSV_FIELDS_MAX];

    f->line = line;
    if (!begin_record(f)) return;
    size_t n = csv_fields(text, count, fields, CSV_FIELDS_MAX);
    if (!map_row(f->s->map, fields, n, on_event, f)) f->stop = true;
    if (!f->stop && !bf_stop_requested()) end_record(f);
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
            if (map_newest_first(f->s->map) || begin_record(f)) reject(f, err);
            code = BF_OK;
        }
    }
    take_kept(f, last);
    bf_buf_fini(&record.text);
    return code == BF_NOT_FOUND ? BF_OK : code;
}

/* Until all that was sent is through; then the checkpoint says so. */
static void finish(struct feed *f) {
    while (publish_queued(f->s->publish) > 0) {
        publish_poll(f->s->publish, 50);
        show_progress(f, false);
    }
    show_progress(f, true);
    if (f->acked == NULL) return;
    save(f);
    acked_free(f->acked);
}

enum bf_code feed_run(const struct feed_settings *settings, struct bf_err *err) {
    struct feed f = {.s = settings, .counts = publish_counts(settings->publish), .terminal = isatty(STDERR_FILENO) == 1,
                     .begun_us = bf_time_monotonic_us()};

    if (settings->checkpoint != NULL && acked_new(&f.acked, err) != BF_OK) return err->code;
    if (settings->checkpoint != NULL && settings->checkpoint->done > 0) {
        bf_log(BF_LOG_INFO, "resuming", "records_done=%lld", (long long)settings->checkpoint->done);
    }
    signal_init(&f.signal);
    enum bf_code code = settings->map != NULL ? feed_table(&f, err) : feed_lines(&f, err);
    if (f.acked != NULL && f.broken == BF_OK && !f.stop && !bf_stop_requested() && f.record > f.closed) close_batch(&f);
    finish(&f);
    signal_fini(&f.signal);
    if (f.broken != BF_OK) *err = f.broken_err;
    return f.broken != BF_OK ? f.broken : code;
}
