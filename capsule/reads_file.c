#include "reads_file.h"

#include "bf_hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 8   /* length, checksum */
#define FIXED_BYTES 45 /* flags, id, of_id, status, rows, bytes, and the strings' lengths: 1 + 8 + 8 + 4 + 8 + 8 + 4 * 1 + 2 + 2 */
#define NAME_FORMAT "%016" PRIx64 ".reads"

enum { FLAG_END = 1, FLAG_FINISHED = 2, FLAG_WHO = 4, FLAG_DIGEST = 8 };

/* Finds torn pages. */
static uint32_t checksum(const void *data, size_t len) {
    return (uint32_t)bf_hash(data, len);
}

static size_t string_bytes(const struct archive_read *x) {
    return x->who.len + x->peer.len + x->method.len + x->route.len + x->digest.len + x->question.len;
}

static char *put_string(char *p, struct bf_slice s) {
    if (s.len > 0) {
        memcpy(p, s.data, s.len);
    }
    return p + s.len;
}

static void encode(char *p, const struct archive_read *x) {
    *p++ = (char)((x->end ? FLAG_END : 0) | (x->finished ? FLAG_FINISHED : 0) | (x->who.data ? FLAG_WHO : 0) | (x->digest.data ? FLAG_DIGEST : 0));
    bf_put_be64(p, (uint64_t)x->id);
    bf_put_be64(p + 8, (uint64_t)x->of_id);
    bf_put_be32(p + 16, (uint32_t)x->status);
    bf_put_be64(p + 20, (uint64_t)x->rows);
    bf_put_be64(p + 28, (uint64_t)x->bytes);
    p += 36;
    *p++ = (char)x->who.len;
    *p++ = (char)x->peer.len;
    *p++ = (char)x->method.len;
    *p++ = (char)x->digest.len;
    bf_put_be16(p, (uint16_t)x->route.len);
    bf_put_be16(p + 2, (uint16_t)x->question.len);
    p = put_string(put_string(put_string(p + 4, x->who), x->peer), x->method);
    (void)put_string(put_string(put_string(p, x->digest), x->route), x->question);
}

static struct bf_slice take_string(const char **p, size_t len, bool there) {
    struct bf_slice s = there ? (struct bf_slice){*p, len} : BF_SLICE_NONE;
    *p += len;
    return s;
}

static bool decode(const char *p, size_t len, struct archive_read *out) {
    const uint8_t *lengths = (const uint8_t *)p + 37;
    if (len < FIXED_BYTES) {
        return false;
    }
    uint8_t flags = (uint8_t)*p;
    *out = (struct archive_read){.id = (int64_t)bf_get_be64(p + 1), .of_id = (int64_t)bf_get_be64(p + 9), .end = flags & FLAG_END,
                                 .finished = flags & FLAG_FINISHED, .status = (int32_t)bf_get_be32(p + 17), .rows = (int64_t)bf_get_be64(p + 21),
                                 .bytes = (int64_t)bf_get_be64(p + 29)};
    size_t route = bf_get_be16(lengths + 4), question = bf_get_be16(lengths + 6);
    if (len != FIXED_BYTES + (size_t)lengths[0] + lengths[1] + lengths[2] + lengths[3] + route + question) {
        return false;
    }
    const char *s = p + FIXED_BYTES;
    out->who = take_string(&s, lengths[0], flags & FLAG_WHO);
    out->peer = take_string(&s, lengths[1], true);
    out->method = take_string(&s, lengths[2], true);
    out->digest = take_string(&s, lengths[3], flags & FLAG_DIGEST);
    out->route = take_string(&s, route, true);
    out->question = take_string(&s, question, true);
    return true;
}

bool reads_segment_append(struct reads_segment *s, const struct archive_read *read) {
    size_t len = FIXED_BYTES + string_bytes(read);
    bf_assert(len <= READS_ENTRY_BYTES_MAX && read->who.len < 256 && read->peer.len < 256 && read->method.len < 256 && read->digest.len < 256);
    if (s->end + HEAD_BYTES + len + sizeof(uint32_t) > READS_SEGMENT_BYTES) {
        return false;
    }
    char *at = s->map + s->end;
    encode(at + HEAD_BYTES, read);
    uint32_t sum = checksum(at + HEAD_BYTES, len), whole = (uint32_t)len;
    memcpy(at + 4, &sum, sizeof sum);
    atomic_thread_fence(memory_order_release);
    memcpy(at, &whole, sizeof whole); /* from here on it is there */
    s->end += HEAD_BYTES + ((len + 3) & ~(size_t)3);
    return true;
}

bool reads_segment_next(const struct reads_segment *s, size_t *at, struct archive_read *out) {
    uint32_t len, sum;
    if (*at + HEAD_BYTES > READS_SEGMENT_BYTES) {
        return false;
    }
    memcpy(&len, s->map + *at, sizeof len);
    memcpy(&sum, s->map + *at + 4, sizeof sum);
    if (len == 0 || len > READS_ENTRY_BYTES_MAX || *at + HEAD_BYTES + len > READS_SEGMENT_BYTES ||
        checksum(s->map + *at + HEAD_BYTES, len) != sum || !decode(s->map + *at + HEAD_BYTES, len, out)) {
        return false;
    }
    *at += HEAD_BYTES + ((len + 3) & ~(size_t)3);
    return true;
}

/* ---- files ---- */

static void path_of(const char *dir, uint64_t number, char dst[4200]) {
    snprintf(dst, 4200, "%s/" NAME_FORMAT, dir, number);
}

static enum bf_code open_one(const char *dir, uint64_t number, struct reads_segment **out, struct bf_err *err) {
    char path[4200];
    struct reads_segment *s = calloc(1, sizeof *s);
    path_of(dir, number, path);
    if (!s) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for the log of reads");
    }
    s->number = number;
    s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    /* Blocks are reserved: a full disk is an error here and not a SIGBUS in the middle of an answer. */
    int rc = s->fd < 0 ? errno : posix_fallocate(s->fd, 0, (off_t)READS_SEGMENT_BYTES);
    s->map = rc == 0 ? mmap(NULL, READS_SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0) : MAP_FAILED;
    if (s->map == MAP_FAILED) {
        rc = rc != 0 ? rc : errno;
        if (s->fd >= 0) {
            close(s->fd);
        }
        free(s);
        return bf_fail(err, rc == ENOSPC || rc == EDQUOT ? BF_AGAIN : BF_BROKEN, rc, "%s: %s", path, strerror(rc));
    }
    *out = s;
    return BF_OK;
}

enum bf_code reads_segment_add(const char *dir, uint64_t number, struct reads_segment **out, struct bf_err *err) {
    return open_one(dir, number, out, err);
}

static void segment_free(struct reads_segment *s) {
    munmap(s->map, READS_SEGMENT_BYTES);
    close(s->fd);
    free(s);
}

void reads_segment_drop(const char *dir, struct reads_segment *s) {
    char path[4200];
    path_of(dir, s->number, path);
    unlink(path);
    segment_free(s);
}

void reads_segments_close(struct reads_segment *first) {
    while (first) {
        struct reads_segment *next = first->next;
        segment_free(first);
        first = next;
    }
}

static int by_number(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static enum bf_code list_numbers(const char *dir, uint64_t **out, size_t *count, struct bf_err *err) {
    DIR *d = opendir(dir);
    uint64_t *numbers = NULL, number;
    size_t n = 0;
    int used;
    if (!d) {
        return bf_fail(err, BF_BROKEN, errno, "%s: %s", dir, strerror(errno));
    }
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        used = 0;
        if (sscanf(e->d_name, "%16" SCNx64 ".reads%n", &number, &used) != 1 || used != (int)strlen(e->d_name)) {
            continue;
        }
        uint64_t *more = realloc(numbers, (n + 1) * sizeof *more);
        if (!more) {
            free(numbers);
            closedir(d);
            return bf_fail(err, BF_NOMEM, 0, "no memory for the log of reads");
        }
        numbers = more;
        numbers[n++] = number;
    }
    closedir(d);
    if (n > 1) {
        qsort(numbers, n, sizeof *numbers, by_number);
    }
    *out = numbers;
    *count = n;
    return BF_OK;
}

enum bf_code reads_segments_open(const char *dir, struct reads_segment **first, struct reads_segment **last, int64_t *last_id, struct bf_err *err) {
    struct reads_segment *head = NULL, **link = &head, *tail = NULL;
    uint64_t *numbers = NULL;
    size_t count = 0;
    *last_id = 0;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        return bf_fail(err, BF_BROKEN, errno, "%s: %s", dir, strerror(errno));
    }
    enum bf_code code = list_numbers(dir, &numbers, &count, err);
    for (size_t i = 0; code == BF_OK && i < (count > 0 ? count : 1); i++) {
        struct archive_read read;
        code = open_one(dir, count > 0 ? numbers[i] : 1, link, err);
        if (code != BF_OK) {
            break;
        }
        tail = *link;
        link = &tail->next;
        while (reads_segment_next(tail, &tail->end, &read)) {
            *last_id = read.id;
        }
        /* What the machine's end left torn must not look like an entry once there is a good one before it. */
        memset(tail->map + tail->end, 0, READS_SEGMENT_BYTES - tail->end);
    }
    free(numbers);
    if (code != BF_OK) {
        reads_segments_close(head);
        return code;
    }
    *first = head;
    *last = tail;
    return BF_OK;
}
