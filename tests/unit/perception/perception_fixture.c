#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "perception_fixture.h"

#include <stdlib.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define FILES_MAX 512

static char files[FILES_MAX][64];
static size_t file_count;

static void remove_files(void) {
    for (size_t i = 0; i < file_count; i++) (void)unlink(files[i]);
}

static int new_file(char path[64]) {
    strcpy(path, "/tmp/butterfly-perception.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(file_count < FILES_MAX);
    if (file_count == 0) (void)atexit(remove_files);
    memcpy(files[file_count++], path, 64);
    return fd;
}

void file_with(char path[64], const void *bytes, size_t len) {
    int fd = new_file(path);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

void gzip_file_with(char path[64], const void *bytes, size_t len, int members) {
    close(new_file(path));
    for (int i = 0; i < members; i++) {
        size_t from = len * (size_t)i / (size_t)members, to = len * (size_t)(i + 1) / (size_t)members;
        gzFile f = gzopen(path, "ab");
        assert_non_null(f);
        assert_int_equal(gzwrite(f, (const char *)bytes + from, (unsigned)(to - from)), to - from);
        assert_int_equal(gzclose(f), Z_OK);
    }
}

struct bf_topics *project_topics(void) {
    struct bf_topics *topics = NULL;
    struct bf_err err = {0};
    if (bf_topics_load(BF_SOURCE_DIR "/schemas", &topics, &err) != BF_OK) fail_msg("%s", err.msg);
    return topics;
}
