/* A file for PERCEPTION, perhaps gzipped: it is read to its end, each record bounded, its fields lying within its text. */
#include "fuzz.h"

#include "csv.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void check_record(const struct csv_record *record) {
    static const char *fields[CSV_FIELDS_MAX];
    bf_assert(record->count > 0 && record->line >= 1);
    size_t n = csv_fields(record->text.data, record->count, fields, CSV_FIELDS_MAX);
    bf_assert(n == record->count);
    bf_assert(fields[n - 1] + strlen(fields[n - 1]) + 1 == record->text.data + record->text.len);
}

static void read_all(struct input *in) {
    struct csv csv;
    struct csv_record record = {0};
    struct bf_err err = {0};
    enum bf_code code;
    int64_t line = 0;
    bf_buf_init(&record.text, 4096);
    csv_init(&csv, in, ',');
    while ((code = csv_next(&csv, &record, &err)) == BF_OK || code == BF_REJECTED) {
        bf_assert(record.line > line);
        line = record.line;
        if (code == BF_OK) {
            check_record(&record);
        }
    }
    bf_buf_fini(&record.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    char path[32];
    struct input *in = NULL;
    struct bf_err err;
    if (fd < 0) {
        fd = memfd_create("csv", MFD_CLOEXEC);
        bf_assert(fd >= 0);
    }
    bf_assert(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    bf_assert(input_open(path, &in, &err) == BF_OK);
    read_all(in);
    input_close(in);
    return 0;
}
