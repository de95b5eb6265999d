/* The corpus as a plain test: NAME DIR runs the target over each file of DIR, every prefix of it and some thousand mutants; always the same
 * ones. BF_TORTURE=1: fifty times as many. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES_MAX 65536

static uint64_t random_state = 1;
static uint64_t runs;

static uint64_t next_random(void) { /* xorshift64* (Vigna 2016) */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

/* In memory of its own and of that very size, so that the address sanitizer sees a read beyond it. */
static void run_one(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size > 0 ? size : 1);
    bf_assert(copy != NULL);
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    runs++;
}

static size_t mutate(uint8_t *data, size_t size) {
    static const uint8_t edges[] = {0, 1, 2, 0x7e, 0x7f, 0x80, 0xfe, 0xff, '"', '\\', ',', '\n', '%', '-', 'e', '{'};
    size_t at = next_random() % size;
    switch (next_random() % 6) {
    case 0: data[at] = (uint8_t)next_random(); break;
    case 1: data[at] = edges[next_random() % sizeof edges]; break;
    case 2: data[at] ^= (uint8_t)(1 << next_random() % 8); break;
    case 3: /* one byte less */
        memmove(data + at, data + at + 1, size - at - 1);
        return size > 1 ? size - 1 : size;
    case 4: /* one more */
        if (size < INPUT_BYTES_MAX) {
            memmove(data + at + 1, data + at, size - at);
            return size + 1;
        }
        break;
    default: { /* a piece over another */
        size_t from = next_random() % size, len = next_random() % 16;
        size_t room = size - (at > from ? at : from);
        memmove(data + at, data + from, len < room ? len : room);
    }
    }
    return size;
}

static void run_file(const char *path, int mutants) {
    static uint8_t data[INPUT_BYTES_MAX], copy[INPUT_BYTES_MAX];
    FILE *f = fopen(path, "rb");
    bf_assert(f != NULL);
    size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    for (size_t len = 0; len <= size; len++) {
        run_one(data, len);
    }
    for (int i = 0; size > 0 && i < mutants; i++) {
        memcpy(copy, data, size);
        size_t len = size;
        for (uint64_t n = next_random() % 4 + 1; n > 0; n--) {
            len = mutate(copy, len);
        }
        run_one(copy, len);
    }
}

static int is_file(const struct dirent *e) {
    return e->d_name[0] != '.';
}

int main(int argc, char **argv) {
    struct dirent **files = NULL;
    const char *torture = getenv("BF_TORTURE");
    int count = argc == 2 ? scandir(argv[1], &files, is_file, alphasort) : 0;
    if (count <= 0) {
        fprintf(stderr, "usage: %s FOLDER with at least one file\n", argv[0]);
        return 2;
    }
    int mutants = (torture != NULL && strcmp(torture, "1") == 0 ? 500000 : 10000) / count;
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], files[i]->d_name);
        run_file(path, mutants);
        free(files[i]);
    }
    free(files);
    printf("%d files, %llu runs\n", count, (unsigned long long)runs);
    return 0;
}
