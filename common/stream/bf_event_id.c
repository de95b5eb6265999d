/* UUIDv7 keeps one process-wide 60-bit state (milliseconds and a 12-bit counter) that only rises; the other 62 bits are random, so two
 * processes do not collide. What is hashed for derived ids is laid out in the header: it is a format and must never change. */
#include "bf_event_id.h"

#include "bf_sha256.h"
#include "bf_time.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

static void set_version(struct bf_uuid *id, uint8_t version) {
    id->b[6] = (uint8_t)((id->b[6] & 0x0f) | (version << 4));
    id->b[8] = (uint8_t)((id->b[8] & 0x3f) | 0x80);
}

/* Random bytes are taken from the kernel in blocks, one for each thread. A child of fork() must not go on with its parent's. */
#define RANDOM_WORDS 64

static _Atomic unsigned forks;

static void count_fork(void) {
    atomic_fetch_add(&forks, 1);
}

static void watch_forks(void) {
    bf_assert(pthread_atfork(NULL, NULL, count_fork) == 0);
}

static void fill_random(uint64_t words[RANDOM_WORDS]) {
    ssize_t n;
    do
        n = getrandom(words, RANDOM_WORDS * sizeof(words[0]), 0);
    while (n < 0 && errno == EINTR);
    bf_assert(n == (ssize_t)(RANDOM_WORDS * sizeof(words[0])));
}

static uint64_t random_u64(void) {
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    static _Thread_local struct {
        uint64_t words[RANDOM_WORDS];
        size_t left;
        unsigned forks;
    } block;
    pthread_once(&watched, watch_forks);
    unsigned now = atomic_load_explicit(&forks, memory_order_relaxed);
    if (block.left == 0 || block.forks != now) {
        fill_random(block.words);
        block.left = RANDOM_WORDS;
        block.forks = now;
    }
    return block.words[--block.left];
}

struct bf_uuid bf_uuid_v7(void) {
    static _Atomic uint64_t last;
    uint64_t random = random_u64();
    uint64_t now_ms = (uint64_t)(bf_time_now_us() / 1000) & UINT64_C(0xffffffffffff);
    /* A new millisecond begins in the lower half of the counter, so that a burst within it has room before it borrows from the next. */
    uint64_t fresh = (now_ms << 12) | (random_u64() & 0x7ff);
    uint64_t seen = atomic_load(&last), next;
    do
        next = fresh > seen ? fresh : seen + 1;
    while (!atomic_compare_exchange_weak(&last, &seen, next));

    struct bf_uuid id;
    bf_put_be64(id.b, ((next >> 12) << 16) | (next & 0xfff));
    bf_put_be64(id.b + 8, random);
    set_version(&id, 7);
    return id;
}

/* Where each byte's two digits stand in 8-4-4-4-12. */
static const uint8_t text_at[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};

void bf_uuid_format(char dst[BF_UUID_TEXT_LEN + 1], const struct bf_uuid *id) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        dst[text_at[i]] = digits[id->b[i] >> 4];
        dst[text_at[i] + 1] = digits[id->b[i] & 15];
    }
    dst[8] = dst[13] = dst[18] = dst[23] = '-';
    dst[BF_UUID_TEXT_LEN] = '\0';
}

bool bf_uuid_parse(struct bf_slice text, struct bf_uuid *out) {
    static const uint8_t more[256] = {/* by one than the digit's value; others 0 */
                                      ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
                                      ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
                                      ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16};
    const uint8_t *p = text.data;
    struct bf_uuid id;
    if (p == NULL || text.len != BF_UUID_TEXT_LEN || p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-')
        return false;
    unsigned all = 0;
    for (int i = 0; i < 16; i++) {
        unsigned high = more[p[text_at[i]]] - 1u, low = more[p[text_at[i] + 1]] - 1u;
        all |= high | low;
        id.b[i] = (uint8_t)(high << 4 | low);
    }
    if (all > 15)
        return false;
    *out = id;
    return true;
}

/* ---- derived ids ---- */

/* Length first, so that no two lists of parts give the same bytes. Absent has a length that nothing else has. */
static void hash_part(struct bf_sha256 *h, struct bf_slice s) {
    uint8_t len[8];
    bf_put_be64(len, s.data == NULL ? UINT64_MAX : (uint64_t)s.len);
    bf_sha256_add(h, len, sizeof(len));
    bf_sha256_add(h, s.data, s.len);
}

static struct bf_uuid hash_end(struct bf_sha256 *h) {
    uint8_t sum[BF_SHA256_BYTES];
    struct bf_uuid id;
    bf_sha256_end(h, sum);
    memcpy(id.b, sum, sizeof(id.b));
    set_version(&id, 8);
    return id;
}

struct bf_uuid bf_event_id_from_text(struct bf_slice text, bool *is_source) {
    static const char prefix[] = "butterfly:event-id:";
    struct bf_uuid id;
    bool uuid = bf_uuid_parse(text, &id);
    if (!uuid) {
        struct bf_sha256 h;
        bf_sha256_begin(&h);
        bf_sha256_add(&h, prefix, sizeof(prefix) - 1);
        bf_sha256_add(&h, text.data, text.len);
        id = hash_end(&h);
    }
    if (is_source != NULL)
        *is_source = !uuid;
    return id;
}

struct bf_uuid bf_event_id_derive(struct bf_slice topic, struct bf_slice key, int64_t event_time_us, struct bf_slice value) {
    uint8_t time[8];
    bf_put_be64(time, (uint64_t)event_time_us);
    struct bf_sha256 h;
    bf_sha256_begin(&h);
    hash_part(&h, topic);
    hash_part(&h, key);
    hash_part(&h, (struct bf_slice){time, sizeof(time)});
    hash_part(&h, value);
    return hash_end(&h);
}

struct bf_uuid bf_event_id_caused(const struct bf_uuid *cause, const char *rule, const char *discriminator) {
    struct bf_sha256 h;
    bf_sha256_begin(&h);
    hash_part(&h, (struct bf_slice){cause->b, sizeof(cause->b)});
    hash_part(&h, bf_slice_str(rule));
    hash_part(&h, bf_slice_str(discriminator));
    return hash_end(&h);
}
