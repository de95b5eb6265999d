/* Rounds: scan what is there → cut it back to whole events → GET behind the last one, appending → scan again. A round whose answer ended as it should is the
 * last one. Between rounds the file on disk is all there is to know, so a killed program and a cut connection are the same case. */
#include "replay_file.h"

#include "replay_stream.h"

#include "bf_json.h"
#include "bf_sha256.h"
#include "bf_time.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESUME_WAIT_MS 500
#define PROGRESS_EVERY_US INT64_C(500000)
#define QUESTION_BYTES_MAX 65536
#define DIGEST_TEXT (BF_SHA256_TEXT_LEN + 1)

struct file_job {
    struct cli_client *c;
    const struct replay_file_request *request;
    char part[4096], question_path[4096], known_by[40];
    int fd;
    uint64_t length; /* of the part */
    struct replay_units units;
    int write_errno;
    bool progress;
    int64_t began_us, told_us;
    uint64_t began_bytes;
    int rounds;
};

bool replay_format_of(const char *name, enum replay_format *out) {
    static const struct {
        const char *name;
        enum replay_format format;
    } known[] = {{"ndjson", REPLAY_NDJSON}, {"jsonl", REPLAY_NDJSON}, {"csv", REPLAY_CSV}, {"avro", REPLAY_AVRO}};
    const char *dot = strrchr(name, '.'), *ending = dot ? dot + 1 : name;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(ending, known[i].name) == 0) {
            *out = known[i].format;
            return true;
        }
    return false;
}

static int io_error(const struct file_job *j, const char *path) {
    cli_error("output: %s: %s", path, strerror(j->write_errno ? j->write_errno : errno));
    return BF_EXIT_FAILED;
}

/* ---- the part, in memory ---- */

struct view {
    char *data;
    size_t len;
};

static bool view_open(struct file_job *j, struct view *v) {
    *v = (struct view){.len = (size_t)j->length};
    if (v->len == 0)
        return true;
    void *map = mmap(NULL, v->len, PROT_READ, MAP_SHARED, j->fd, 0);
    v->data = map == MAP_FAILED ? NULL : map;
    return map != MAP_FAILED;
}

static void view_close(struct view *v) {
    if (v->data)
        munmap(v->data, v->len);
}

static void digest_of(const char *data, size_t len, char dst[DIGEST_TEXT]) {
    uint8_t sum[BF_SHA256_BYTES];
    bf_sha256_of(data, len, sum);
    bf_sha256_text(dst, sum);
}

/* ---- the question ---- */

static void build_url(struct file_job *j, bool with_cursor) {
    static const char *const names[] = {[REPLAY_NDJSON] = "ndjson", [REPLAY_CSV] = "csv", [REPLAY_AVRO] = "avro"};
    struct cli_client *c = j->c;
    cli_path(c, "/v1/replay");
    for (const char *const *p = j->request->params; p[0] != NULL; p += 2)
        cli_param(c, p[0], p[1]);
    cli_param(c, "format", names[j->request->format]);
    cli_param(c, "known_by", j->known_by[0] ? j->known_by : NULL);
    if (with_cursor && j->units.cursor.len > 0)
        cli_param(c, "cursor", j->units.cursor.data);
    bf_buf_putc(&c->url, '\0');
}

/* Without the server's address: the same question may go on at another instance. */
static const char *question_text(struct file_job *j) {
    build_url(j, false);
    return j->c->url.data + j->c->base.len;
}

/* What FILE.part was asked with; false: there is none. */
static bool read_question(const struct file_job *j, char *text, size_t bytes) {
    FILE *f = fopen(j->question_path, "r");
    if (!f)
        return false;
    size_t n = fread(text, 1, bytes - 1, f);
    fclose(f);
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return n > 0;
}

static bool write_question(struct file_job *j) {
    FILE *f = fopen(j->question_path, "w");
    if (!f)
        return false;
    bool ok = fprintf(f, "%s\n%s\n", question_text(j), j->known_by) > 0;
    ok = fflush(f) == 0 && fsync(fileno(f)) == 0 && ok;
    return fclose(f) == 0 && ok;
}

/* The known_by of then is part of what was asked. */
static bool adopt_known_by(struct file_job *j) {
    char line[QUESTION_BYTES_MAX];
    FILE *f = fopen(j->question_path, "r");
    bool ok = f && fgets(line, sizeof line, f) && fgets(line, sizeof line, f);
    if (f)
        fclose(f);
    if (!ok)
        return false;
    line[strcspn(line, "\n")] = '\0';
    return snprintf(j->known_by, sizeof j->known_by, "%s", line) < (int)sizeof j->known_by;
}

/* Begin anew, or go on with what is there if it is of this question. */
static int settle_question(struct file_job *j) {
    char before[QUESTION_BYTES_MAX];
    bool there = !j->request->force && j->length > 0 && read_question(j, before, sizeof before);
    if (!there && !j->request->force && j->length > 0) {
        cli_error("output: %s is there, but not what it was asked with; --force writes over it", j->part);
        return BF_EXIT_USAGE;
    }
    if (j->request->known_by)
        snprintf(j->known_by, sizeof j->known_by, "%s", j->request->known_by);
    else if (there && !adopt_known_by(j))
        there = false;
    if (there && strcmp(before, question_text(j)) != 0) {
        cli_error("output: %s belongs to another question (%s); --force writes over it", j->part, before);
        return BF_EXIT_USAGE;
    }
    if (there)
        return BF_EXIT_OK;
    if (!j->request->known_by) {
        int exit_code = replay_pin_known_by(j->c, j->known_by);
        if (exit_code != BF_EXIT_OK)
            return exit_code;
    }
    j->length = 0;
    if (ftruncate(j->fd, 0) != 0 || !write_question(j))
        return io_error(j, j->part);
    return BF_EXIT_OK;
}

/* ---- a round ---- */

static void tell_progress(struct file_job *j, bool last) {
    int64_t now = bf_time_monotonic_us();
    if (!j->progress || (!last && now - j->told_us < PROGRESS_EVERY_US))
        return;
    double seconds = (double)(now - j->began_us) / 1e6;
    j->told_us = now;
    fprintf(stderr, "\r%.1f MiB, %.1f MiB/s%s", (double)j->length / 1048576, (double)(j->length - j->began_bytes) / 1048576 / (seconds + 1e-9),
            last ? "   \n" : "   ");
}

static bool append(void *ctx, const char *data, size_t len) {
    struct file_job *j = ctx;
    while (len > 0) {
        ssize_t n = write(j->fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            j->write_errno = errno;
            return false;
        }
        data += n;
        len -= (size_t)n;
        j->length += (uint64_t)n;
    }
    tell_progress(j, false);
    return true;
}

/* Back to whole events; u->cursor says where to go on. */
static int cut_back(struct file_job *j) {
    struct bf_err err;
    struct view v;
    if (!view_open(j, &v))
        return io_error(j, j->part);
    enum bf_code code = replay_units_scan(j->request->format, v.data ? v.data : "", v.len, &j->units, &err);
    view_close(&v);
    if (code != BF_OK) {
        cli_error("output: %s: %s; --force begins anew", j->part, err.msg);
        return BF_EXIT_FAILED;
    }
    j->length = j->units.whole;
    if (ftruncate(j->fd, (off_t)j->length) != 0 || lseek(j->fd, (off_t)j->length, SEEK_SET) < 0)
        return io_error(j, j->part);
    return BF_EXIT_OK;
}

static enum bf_code get(struct file_job *j, int *exit_code, struct bf_err *err) {
    struct cli_client *c = j->c;
    bf_buf_clear(&c->answer);
    build_url(j, true);
    *exit_code = BF_EXIT_FAILED;
    enum bf_code code = bf_http_get_stream(c->http, c->url.data, &c->status, &c->answer, append, j, err);
    if (j->write_errno) {
        *exit_code = io_error(j, j->part);
        return BF_CANCELLED;
    }
    if (code == BF_OK && c->status == 503)
        return bf_fail(err, BF_AGAIN, 0, "the server is busy (HTTP status 503)");
    if (code == BF_OK && c->status != 200) {
        *exit_code = cli_problem(c->status, c->answer.data, c->answer.len);
        return BF_CANCELLED;
    }
    const char *complete = bf_http_client_answer_header(c->http, "Capsule-Complete");
    if (code == BF_OK && (!complete || strcmp(complete, "true") != 0))
        return bf_fail(err, BF_AGAIN, 0, complete ? "the server stopped" : "the stream ended without its end");
    return code;
}

/* Against what the server says of this answer: its events and bytes, from `from` on. */
static int check_answer(struct file_job *j, uint64_t from, uint64_t events_before) {
    struct bf_err err;
    struct view v;
    char digest[DIGEST_TEXT];
    const char *count = bf_http_client_answer_header(j->c->http, "Capsule-Count"), *told = bf_http_client_answer_header(j->c->http, "Capsule-Digest");
    if (!view_open(j, &v))
        return io_error(j, j->part);
    enum bf_code code = replay_units_scan(j->request->format, v.data ? v.data : "", v.len, &j->units, &err);
    uint64_t end = j->request->format == REPLAY_NDJSON ? j->units.whole : j->length;
    digest_of(v.data ? v.data + from : "", (size_t)(end - from), digest);
    view_close(&v);
    uint64_t events = j->units.events - events_before;
    if (code != BF_OK)
        cli_error("output: %s: %s", j->part, err.msg);
    else if (!count || strtoull(count, NULL, 10) != events)
        cli_error("the stream says that it has %s events, but %llu came", count ? count : "?", (unsigned long long)events);
    else if (!told || strcmp(told, digest) != 0)
        cli_error("the stream's digest is %s, but what came has %s", told ? told : "missing", digest);
    else
        return BF_EXIT_OK;
    j->length = from; /* what came is not to be built upon */
    (void)!ftruncate(j->fd, (off_t)from);
    return BF_EXIT_FAILED;
}

static int run_rounds(struct file_job *j) {
    for (int fruitless = 0;; j->rounds++) {
        struct bf_err err;
        int exit_code = cut_back(j);
        uint64_t from = j->length, events = j->units.events;
        if (exit_code != BF_EXIT_OK)
            return exit_code;
        if (j->rounds == 0 && events > 0)
            fprintf(stderr, "going on behind %llu events\n", (unsigned long long)events);
        enum bf_code code = get(j, &exit_code, &err);
        if (code == BF_OK)
            return check_answer(j, from, events);
        if (code == BF_CANCELLED)
            return exit_code;
        fruitless = j->length > from ? 0 : fruitless + 1;
        if (code != BF_AGAIN || fruitless > j->request->resumes_max) {
            cli_error("%s", err.msg);
            return code == BF_AGAIN && j->length == 0 ? BF_EXIT_DEPENDENCY : BF_EXIT_FAILED;
        }
        fprintf(stderr, "%scut (%s): going on\n", j->progress ? "\n" : "", err.msg);
        bf_sleep_ms(RESUME_WAIT_MS);
    }
}

/* ---- the end ---- */

/* NDJSON's last line speaks of one answer; the file's has to speak of the file. */
static int put_end(struct file_job *j, const char *digest) {
    struct bf_err err;
    struct view v;
    json_t *end = NULL;
    char *text = NULL;
    if (!view_open(j, &v))
        return io_error(j, j->part);
    enum bf_code code = replay_units_scan(REPLAY_NDJSON, v.data ? v.data : "", v.len, &j->units, &err);
    if (code == BF_OK && j->units.end.data && bf_json_parse(j->units.end.data, j->units.end.len, &end, &err) == BF_OK) {
        json_object_set_new(end, "count", json_integer((json_int_t)j->units.events));
        json_object_set_new(end, "digest", json_string(digest));
        text = json_dumps(end, JSON_COMPACT);
    }
    json_decref(end);
    view_close(&v);
    j->length = j->units.whole;
    bool ok = text && ftruncate(j->fd, (off_t)j->length) == 0 && lseek(j->fd, (off_t)j->length, SEEK_SET) >= 0;
    if (ok && j->request->trailer)
        ok = append(j, text, strlen(text)) && append(j, "\n", 1);
    free(text);
    return ok ? BF_EXIT_OK : io_error(j, j->part);
}

static int finish(struct file_job *j) {
    struct view v;
    char digest[DIGEST_TEXT];
    bool ndjson = j->request->format == REPLAY_NDJSON;
    tell_progress(j, true);
    if (!view_open(j, &v))
        return io_error(j, j->part);
    uint64_t bytes = ndjson ? j->units.whole : j->length;
    digest_of(v.data, (size_t)bytes, digest);
    view_close(&v);
    int exit_code = ndjson ? put_end(j, digest) : BF_EXIT_OK;
    if (exit_code != BF_EXIT_OK)
        return exit_code;
    if (fsync(j->fd) != 0 || rename(j->part, j->request->path) != 0)
        return io_error(j, j->request->path);
    (void)!unlink(j->question_path);
    fprintf(stderr, "complete: %llu events, %llu bytes, digest %s matches\n", (unsigned long long)j->units.events, (unsigned long long)bytes, digest);
    return BF_EXIT_OK;
}

static int open_part(struct file_job *j) {
    struct stat st;
    if (snprintf(j->part, sizeof j->part, "%s.part", j->request->path) >= (int)sizeof j->part ||
        snprintf(j->question_path, sizeof j->question_path, "%s.part.question", j->request->path) >= (int)sizeof j->question_path) {
        cli_error("output: the name is too long");
        return BF_EXIT_USAGE;
    }
    j->fd = open(j->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (j->fd < 0 || fstat(j->fd, &st) != 0) {
        cli_error("output: %s: %s", j->part, strerror(errno));
        return BF_EXIT_USAGE;
    }
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0) {
        cli_error("output: %s is being written by another program", j->part);
        close(j->fd);
        j->fd = -1; /* it is not ours to remove */
        return BF_EXIT_USAGE;
    }
    j->length = (uint64_t)st.st_size;
    return BF_EXIT_OK;
}

int replay_into_file(struct cli_client *c, const struct replay_file_request *request) {
    struct file_job j = {.c = c, .request = request, .fd = -1, .progress = isatty(STDERR_FILENO)};
    replay_units_init(&j.units);
    int exit_code = open_part(&j);
    if (exit_code == BF_EXIT_OK)
        exit_code = settle_question(&j);
    j.began_us = j.told_us = bf_time_monotonic_us();
    j.began_bytes = j.length;
    if (exit_code == BF_EXIT_OK)
        exit_code = run_rounds(&j);
    if (exit_code == BF_EXIT_OK)
        exit_code = finish(&j);
    else if (j.fd >= 0 && j.units.events > 0)
        fprintf(stderr, "incomplete: the same command again goes on with %s\n", j.part);
    if (j.fd >= 0 && j.length == 0 && exit_code != BF_EXIT_OK) { /* nothing worth keeping */
        (void)!unlink(j.part);
        (void)!unlink(j.question_path);
    }
    if (j.fd >= 0)
        close(j.fd);
    replay_units_fini(&j.units);
    return exit_code;
}
