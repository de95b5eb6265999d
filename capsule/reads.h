/* The log of reads: who read which history, written down before the first byte of the answer, and from there into the archive in batches.
 *
 * An entry is a copy into a mapped file: no system call, no lock but a short one, no PostgreSQL in the way of an answer. A crash of the process loses
 * no entry (the kernel has it); the machine's loses at most what came after the last sync, about a second. Entries leave the log when the archive has
 * them. While PostgreSQL is away the log grows up to bytes_max; then reads are refused with BF_AGAIN, because an answer that nobody could be
 * asked about later must not be given.
 *
 * Threads: any may record; one thread of its own ships. Ids ascend within an instance and are times in microseconds, made distinct.
 */
#ifndef READS_H
#define READS_H

#include "archive.h"

struct reads;

struct reads_settings {
    const char *dir;                 /* made when missing */
    int64_t bytes_max;               /* of entries that the archive does not have */
    struct bf_uuid instance;
    struct archive_settings archive; /* of the connection that writes */
};

/* BF_BROKEN: the log's files are there and cannot be read. */
BF_MUST_CHECK enum bf_code reads_open(const struct reads_settings *settings, struct reads **out, struct bf_err *err);
/* Ships what it can within `patience_ms`; the rest stays for the next start. NULL is fine. */
void reads_close(struct reads *r, int64_t patience_ms);

/* Write one entry down; sets its id. `read->id` is ignored. BF_AGAIN: the log is full. */
BF_MUST_CHECK enum bf_code reads_record(struct reads *r, struct archive_read *read, struct bf_err *err);
/* Wait until everything recorded before this call is in the archive. BF_AGAIN: not within timeout_ms. */
BF_MUST_CHECK enum bf_code reads_flush(struct reads *r, int64_t timeout_ms, struct bf_err *err);
/* Bytes of entries that the archive does not have. */
int64_t reads_waiting_bytes(struct reads *r);

#endif
