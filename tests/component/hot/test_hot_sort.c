/* Sorting of index keys: ascending, stable, nothing lost, whatever order the keys come in. */
#include "hot_fixture.h"
#include "hot_sort.h"

#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 20000

enum shape { RANDOM_WORDS, FEW_FIRST_WORDS, ONE_FIRST_WORD, RUNS, ASCENDING, DESCENDING, CROWDED, SHAPES };

/* CROWDED: nearly all keys share one bucket, and one key far away makes the range wide. */
static void make(enum shape shape, struct sort_key *keys, size_t n, uint64_t *seed) {
    for (size_t i = 0; i < n; i++) {
        uint64_t r = rnd(seed);
        switch (shape) {
        case RANDOM_WORDS: keys[i] = (struct sort_key){{r, rnd(seed) % 3, rnd(seed) % 3}, 0}; break;
        case FEW_FIRST_WORDS: keys[i] = (struct sort_key){{(r % 50) << 32, rnd(seed) % 20, rnd(seed) % 2}, 0}; break;
        case ONE_FIRST_WORD: keys[i] = (struct sort_key){{UINT64_MAX, rnd(seed), 0}, 0}; break;
        case RUNS: keys[i] = (struct sort_key){{i % (n / 4 + 1), r % 4, 0}, 0}; break;
        case ASCENDING: keys[i] = (struct sort_key){{i / 3, i / 3, 0}, 0}; break;
        case DESCENDING: keys[i] = (struct sort_key){{UINT64_MAX - i / 2, 0, 0}, 0}; break;
        case CROWDED:
        case SHAPES: keys[i] = (struct sort_key){{i == n / 2 ? UINT64_MAX : r % 1000, rnd(seed) % 10, 0}, 0}; break;
        }
        keys[i].item = (uint32_t)i;
    }
}

static void check(const struct sort_key *sorted, const struct sort_key *original, size_t n) {
    static bool seen[KEYS_MAX];
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < n; i++) {
        assert_true(sorted[i].item < n && !seen[sorted[i].item]);
        seen[sorted[i].item] = true;
        assert_memory_equal(sorted[i].w, original[sorted[i].item].w, sizeof sorted[i].w);
        int c = 0;
        for (size_t k = 0; i > 0 && k < 3 && c == 0; k++)
            c = (sorted[i - 1].w[k] > sorted[i].w[k]) - (sorted[i - 1].w[k] < sorted[i].w[k]);
        assert_true(i == 0 || c < 0 || (c == 0 && sorted[i - 1].item < sorted[i].item));
    }
}

static void test_sort__every_shape_and_size(void **state) {
    static struct sort_key original[KEYS_MAX], keys[KEYS_MAX], spare[KEYS_MAX];
    static const size_t sizes[] = {0, 1, 2, 3, 31, 511, 512, 513, 2047, 2049, 16384, KEYS_MAX};
    uint64_t seed = 4711;
    (void)state;
    for (int shape = 0; shape < SHAPES; shape++) {
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            make((enum shape)shape, original, sizes[s], &seed);
            memcpy(keys, original, sizeof keys);
            check(hot_sort(keys, spare, sizes[s]), original, sizes[s]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sort__every_shape_and_size)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
