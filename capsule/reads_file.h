/* The files of the log of reads: segments of fixed size, mapped, appended to. Private to reads.c.
 *
 * An entry is its length, a checksum, and its members; the length is stored last, so that an entry is there as a whole or not at all, whenever the
 * process dies. Not thread-safe: the caller holds a lock around append and the moves of `head`.
 */
#ifndef READS_FILE_H
#define READS_FILE_H

#include "archive.h"

#define READS_SEGMENT_BYTES ((size_t)16 << 20)
#define READS_ENTRY_BYTES_MAX ((size_t)16 << 10)

struct reads_segment {
    uint64_t number;
    char *map;
    int fd;
    size_t end; /* where the next entry goes */
    struct reads_segment *next;
};

/* The oldest segment first; a chain of at least one. *last_id: of the newest entry, 0: none. */
BF_MUST_CHECK enum bf_code reads_segments_open(const char *dir, struct reads_segment **first, struct reads_segment **last, int64_t *last_id,
                                               struct bf_err *err);
void reads_segments_close(struct reads_segment *first);
/* A new one behind `last`. */
BF_MUST_CHECK enum bf_code reads_segment_add(const char *dir, uint64_t number, struct reads_segment **out, struct bf_err *err);
/* Delete its file and free it. */
void reads_segment_drop(const char *dir, struct reads_segment *s);
/* False: no room in this one. */
bool reads_segment_append(struct reads_segment *s, const struct archive_read *read);
/* The entry at *at, and move on; views borrow the map. False: there is none (yet). */
bool reads_segment_next(const struct reads_segment *s, size_t *at, struct archive_read *out);

#endif
