/* The file: a page with the head, a table with an entry for each segment, room for the segment that is being split, the segments.
 *
 * A split copies the segment aside, notes in the head what it does, and only then writes the two halves: whoever opens the file after a kill
 * does it again from the copy. A slot counts from the moment its recorded_at is there, which is written last. */
#include "id_map.h"

#include "bf_failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x3170616d64692d66) /* "f-idmap1" */
#define HEAD_BYTES 4096
#define BOOT_BYTES 64
#define SLOTS 4096
#define SLOTS_FULL (SLOTS / 4 * 3)
#define SEGMENT_BYTES (SLOTS * sizeof(struct slot))
#define SEGMENTS_MAX (1u << 20)
#define DEPTH_MAX 32
#define ROOM_AT_ONCE 16 /* segments */

struct slot {
    _Atomic uint64_t hash;
    _Atomic int64_t recorded_at_us; /* 0: free, and so is what comes after it */
};
struct entry {
    uint64_t prefix; /* the first `depth` bits of the hashes in it; the others are 0 */
    uint32_t depth, used;
};
struct split {
    _Atomic uint32_t underway; /* 1: what follows, and the copy, are whole */
    uint32_t from, to, depth;
    uint64_t prefix;
};
struct head {
    uint64_t magic;
    struct bf_uuid owner;
    uint64_t seed[2];
    char boot[BOOT_BYTES]; /* it is, or was, open in; "" when it was closed in order */
    _Atomic int64_t reached_us;
    _Atomic uint32_t segments, filled;
    struct split split;
};
_Static_assert(sizeof(struct slot) == 16 && sizeof(struct entry) == 16 && sizeof(struct head) <= HEAD_BYTES, "the file's format");

#define TABLE_AT ((size_t)HEAD_BYTES)
#define ASIDE_AT (TABLE_AT + SEGMENTS_MAX * sizeof(struct entry))
#define SEGMENTS_AT (ASIDE_AT + SEGMENT_BYTES)
#define MAP_BYTES (SEGMENTS_AT + SEGMENTS_MAX * SEGMENT_BYTES)

struct id_map {
    int fd;
    char *base;
    struct head *head;
    struct entry *table;
    uint32_t room; /* segments that the file has blocks for */
    uint64_t seed[2];
    pthread_rwlock_t lock; /* readers of segments and directory; the writer while it splits */
    uint32_t *directory;   /* by the first `depth` bits of a hash */
    unsigned depth;
};

static struct slot *segment_of(const struct id_map *m, uint32_t no) {
    return (struct slot *)(void *)(m->base + SEGMENTS_AT + no * SEGMENT_BYTES);
}

static struct slot *aside_of(const struct id_map *m) {
    return (struct slot *)(void *)(m->base + ASIDE_AT);
}

/* ---- hashes ---- */

static inline uint64_t mix(uint64_t x) { /* MurmurHash3's finalizer: a bijection */
    x = (x ^ x >> 33) * UINT64_C(0xff51afd7ed558ccd);
    x = (x ^ x >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

uint64_t id_map_hash(const struct id_map *m, uint32_t topic_no, const struct bf_uuid *id) {
    uint64_t high, low;
    memcpy(&high, id->b, sizeof high);
    memcpy(&low, id->b + sizeof high, sizeof low);
    return mix(mix(high ^ m->seed[0]) + low) ^ mix(m->seed[1] + topic_no);
}

static inline uint32_t segment_for(const struct id_map *m, uint64_t hash) {
    return m->directory[m->depth == 0 ? 0 : hash >> (64 - m->depth)];
}

/* ---- slots ---- */

static size_t find_in(const struct slot *segment, uint64_t hash, int64_t *found) {
    size_t count = 0;
    for (size_t i = hash % SLOTS, looked = 0; looked < SLOTS && count < ID_MAP_HITS_MAX; i = (i + 1) % SLOTS, looked++) {
        int64_t at = atomic_load_explicit(&segment[i].recorded_at_us, memory_order_acquire);
        if (at == 0)
            break;
        if (atomic_load_explicit(&segment[i].hash, memory_order_relaxed) == hash)
            found[count++] = at;
    }
    return count;
}

static void put_in(struct slot *segment, uint64_t hash, int64_t recorded_at_us) {
    size_t i = hash % SLOTS;
    while (atomic_load_explicit(&segment[i].recorded_at_us, memory_order_relaxed) != 0)
        i = (i + 1) % SLOTS;
    atomic_store_explicit(&segment[i].hash, hash, memory_order_relaxed);
    atomic_store_explicit(&segment[i].recorded_at_us, recorded_at_us, memory_order_release);
}

size_t id_map_find_as_writer(const struct id_map *m, uint64_t hash, int64_t recorded_at_us[ID_MAP_HITS_MAX]) {
    return find_in(segment_of(m, segment_for(m, hash)), hash, recorded_at_us);
}

size_t id_map_find(struct id_map *m, uint64_t hash, int64_t recorded_at_us[ID_MAP_HITS_MAX]) {
    pthread_rwlock_rdlock(&m->lock);
    size_t count = id_map_find_as_writer(m, hash, recorded_at_us);
    pthread_rwlock_unlock(&m->lock);
    return count;
}

void id_map_prefetch(const struct id_map *m, uint64_t hash) {
    __builtin_prefetch(segment_of(m, segment_for(m, hash)) + hash % SLOTS, 1);
}

void id_map_move(struct id_map *m, uint64_t hash, int64_t from_us, int64_t to_us) {
    struct slot *segment = segment_of(m, segment_for(m, hash));
    for (size_t i = hash % SLOTS, looked = 0; looked < SLOTS; i = (i + 1) % SLOTS, looked++) {
        int64_t at = atomic_load_explicit(&segment[i].recorded_at_us, memory_order_relaxed);
        if (at == 0)
            return;
        if (at == from_us && atomic_load_explicit(&segment[i].hash, memory_order_relaxed) == hash) {
            atomic_store_explicit(&segment[i].recorded_at_us, to_us, memory_order_release);
            return;
        }
    }
}

/* ---- growing ---- */

/* Blocks of the file for that many segments and their entries, so that no write to the map can find the disk full. */
static int make_room(struct id_map *m, uint32_t segments) {
    if (segments <= m->room)
        return 0;
    if (segments > SEGMENTS_MAX)
        return EFBIG;
    uint32_t room = (segments + ROOM_AT_ONCE - 1) / ROOM_AT_ONCE * ROOM_AT_ONCE;
    int error = posix_fallocate(m->fd, 0, (off_t)(TABLE_AT + room * sizeof(struct entry)));
    if (error == 0)
        error = posix_fallocate(m->fd, (off_t)ASIDE_AT, (off_t)((room + 1) * SEGMENT_BYTES));
    if (error == 0)
        m->room = room;
    return error;
}

/* The directory with one bit more, so that segment `from` may have a half of its own. */
static int deepen(struct id_map *m) {
    size_t count = (size_t)1 << m->depth;
    if (m->depth == DEPTH_MAX)
        return EFBIG;
    uint32_t *deeper = malloc(2 * count * sizeof *deeper);
    if (deeper == NULL)
        return ENOMEM;
    for (size_t i = 0; i < count; i++)
        deeper[2 * i] = deeper[2 * i + 1] = m->directory[i];
    free(m->directory);
    m->directory = deeper;
    m->depth++;
    return 0;
}

static void direct(struct id_map *m, uint32_t no) {
    const struct entry *e = &m->table[no];
    size_t first = e->depth == 0 ? 0 : (size_t)(e->prefix >> (64 - e->depth)) << (m->depth - e->depth);
    for (size_t i = 0; i < (size_t)1 << (m->depth - e->depth); i++)
        m->directory[first + i] = no;
}

/* From the copy and the note in the head alone, as often as it takes. */
static void do_split(struct id_map *m) {
    struct split *s = &m->head->split;
    const struct slot *aside = aside_of(m);
    uint64_t bit = (UINT64_C(1) << 63) >> s->depth;
    struct entry *low = &m->table[s->from], *high = &m->table[s->to];
    memset(segment_of(m, s->from), 0, SEGMENT_BYTES);
    memset(segment_of(m, s->to), 0, SEGMENT_BYTES);
    bf_failpoint("ids.in-split");
    *low = (struct entry){s->prefix, s->depth + 1, 0};
    *high = (struct entry){s->prefix | bit, s->depth + 1, 0};
    for (size_t i = 0; i < SLOTS; i++) {
        uint64_t hash = atomic_load_explicit(&aside[i].hash, memory_order_relaxed);
        int64_t at = atomic_load_explicit(&aside[i].recorded_at_us, memory_order_relaxed);
        if (at == 0)
            continue;
        (hash & bit ? high : low)->used++;
        put_in(segment_of(m, hash & bit ? s->to : s->from), hash, at);
    }
    atomic_store_explicit(&m->head->segments, s->to + 1, memory_order_relaxed);
    atomic_store_explicit(&s->underway, 0, memory_order_release);
}

static int split(struct id_map *m, uint32_t from) {
    struct split *s = &m->head->split;
    uint32_t to = atomic_load(&m->head->segments);
    int error = make_room(m, to + 1);
    if (error != 0)
        return error;
    pthread_rwlock_wrlock(&m->lock);
    if (m->table[from].depth == m->depth)
        error = deepen(m);
    if (error == 0) {
        memcpy(aside_of(m), segment_of(m, from), SEGMENT_BYTES);
        s->from = from, s->to = to, s->depth = m->table[from].depth, s->prefix = m->table[from].prefix;
        atomic_store_explicit(&s->underway, 1, memory_order_release);
        do_split(m);
        direct(m, from);
        direct(m, to);
    }
    pthread_rwlock_unlock(&m->lock);
    return error;
}

int id_map_put(struct id_map *m, uint64_t hash, int64_t recorded_at_us) {
    uint32_t no = segment_for(m, hash);
    while (m->table[no].used >= SLOTS_FULL) {
        int error = split(m, no);
        if (error != 0)
            return error;
        no = segment_for(m, hash);
    }
    m->table[no].used++; /* first: a kill in between must not let it be fuller than it says */
    put_in(segment_of(m, no), hash, recorded_at_us);
    return 0;
}

void id_map_reach(struct id_map *m, int64_t recorded_at_us) {
    if (recorded_at_us > atomic_load(&m->head->reached_us))
        atomic_store(&m->head->reached_us, recorded_at_us);
}

int64_t id_map_reached(const struct id_map *m) {
    return atomic_load(&m->head->reached_us);
}

void id_map_filled(struct id_map *m) {
    atomic_store(&m->head->filled, 1);
}

uint64_t id_map_bytes(const struct id_map *m) {
    uint64_t segments = atomic_load(&m->head->segments);
    return HEAD_BYTES + segments * sizeof(struct entry) + (segments + 1) * SEGMENT_BYTES;
}

uint64_t id_map_slots(const struct id_map *m) {
    uint64_t used = 0;
    for (uint32_t i = 0; i < atomic_load(&m->head->segments); i++)
        used += m->table[i].used;
    return used;
}

/* ---- opening ---- */

static bool is_believed(const struct id_map *m, const struct bf_uuid *owner, const char *boot, uint64_t bytes) {
    const struct head *h = m->head;
    uint32_t segments = atomic_load(&h->segments);
    if (bytes < SEGMENTS_AT || h->magic != MAGIC || atomic_load(&h->filled) == 0 || memcmp(&h->owner, owner, sizeof *owner) != 0 || segments == 0 || segments > SEGMENTS_MAX)
        return false;
    if (h->boot[0] != '\0' && strncmp(h->boot, boot, sizeof h->boot) != 0)
        return false;
    uint32_t needed = atomic_load(&h->split.underway) != 0 && h->split.to + 1 > segments ? h->split.to + 1 : segments;
    return needed <= SEGMENTS_MAX && bytes >= SEGMENTS_AT + needed * SEGMENT_BYTES;
}

/* The segments must cover every hash, each once. */
static int make_directory(struct id_map *m, bool *whole) {
    uint32_t segments = atomic_load(&m->head->segments);
    uint64_t covered = 0;
    *whole = true;
    m->depth = 0;
    for (uint32_t i = 0; i < segments; i++) {
        const struct entry *e = &m->table[i];
        if (e->depth > DEPTH_MAX || e->used > SLOTS || (e->depth < 64 && (e->prefix << e->depth) != 0)) {
            *whole = false;
            return 0;
        }
        covered += UINT64_C(1) << (DEPTH_MAX - e->depth);
        m->depth = e->depth > m->depth ? e->depth : m->depth;
    }
    *whole = covered == UINT64_C(1) << DEPTH_MAX;
    if (!*whole || m->depth > DEPTH_MAX)
        return 0;
    m->directory = malloc(((size_t)1 << m->depth) * sizeof *m->directory);
    if (m->directory == NULL)
        return ENOMEM;
    memset(m->directory, 0xff, ((size_t)1 << m->depth) * sizeof *m->directory);
    for (uint32_t i = 0; i < segments; i++)
        direct(m, i);
    for (size_t i = 0; i < (size_t)1 << m->depth; i++)
        *whole = *whole && m->directory[i] != UINT32_MAX;
    return 0;
}

static int make_empty(struct id_map *m, const struct bf_uuid *owner) {
    free(m->directory);
    m->directory = NULL;
    m->depth = m->room = 0;
    if (ftruncate(m->fd, 0) != 0)
        return errno;
    int error = make_room(m, 1);
    if (error != 0)
        return error;
    struct head *h = m->head;
    if (getrandom(h->seed, sizeof h->seed, 0) != (ssize_t)sizeof h->seed)
        return EIO;
    h->owner = *owner;
    atomic_store(&h->segments, 1);
    h->magic = MAGIC;
    m->directory = calloc(1, sizeof *m->directory);
    return m->directory != NULL ? 0 : ENOMEM;
}

static int note_boot(struct id_map *m, const char *boot) {
    memset(m->head->boot, 0, sizeof m->head->boot);
    memcpy(m->head->boot, boot, strnlen(boot, sizeof m->head->boot));
    return msync(m->base, HEAD_BYTES, MS_SYNC) == 0 ? 0 : errno;
}

static int load(struct id_map *m, const struct bf_uuid *owner, const char *boot, bool *fresh) {
    struct stat st;
    bool whole = false;
    int error = 0;
    if (fstat(m->fd, &st) != 0)
        return errno;
    if ((uint64_t)st.st_size >= SEGMENTS_AT && is_believed(m, owner, boot, (uint64_t)st.st_size)) {
        m->room = (uint32_t)(((uint64_t)st.st_size - SEGMENTS_AT) / SEGMENT_BYTES);
        if (atomic_load(&m->head->split.underway) != 0)
            do_split(m);
        error = make_directory(m, &whole);
    }
    *fresh = !whole;
    if (error == 0 && !whole)
        error = make_empty(m, owner);
    if (error != 0)
        return error;
    memcpy(m->seed, m->head->seed, sizeof m->seed);
    return note_boot(m, boot);
}

enum bf_code id_map_open(const char *path, const struct bf_uuid *owner, const char *boot, struct id_map **out, bool *fresh,
                         struct bf_err *err) {
    struct id_map *m = calloc(1, sizeof *m);
    pthread_rwlockattr_t attr;
    if (m == NULL)
        return bf_fail(err, BF_NOMEM, 0, "no memory for the map of ids");
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&m->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    m->base = MAP_FAILED;
    m->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (m->fd >= 0)
        m->base = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->fd, 0);
    int error = m->base == MAP_FAILED ? errno : 0;
    if (error == 0) {
        m->head = (struct head *)(void *)m->base;
        m->table = (struct entry *)(void *)(m->base + TABLE_AT);
        error = madvise(m->base, MAP_BYTES, MADV_RANDOM) == 0 ? load(m, owner, boot, fresh) : errno;
    }
    if (error != 0) {
        id_map_close(m, false);
        return bf_fail(err, error == ENOMEM ? BF_NOMEM : BF_BROKEN, error, "opening the map of ids %s: %s", path, strerror(error));
    }
    *out = m;
    return BF_OK;
}

enum bf_code id_map_sync(struct id_map *m, struct bf_err *err) {
    size_t bytes = SEGMENTS_AT + m->room * SEGMENT_BYTES;
    return msync(m->base, bytes, MS_SYNC) == 0 ? BF_OK : bf_fail(err, BF_BROKEN, errno, "syncing the map of ids: %s", strerror(errno));
}

void id_map_close(struct id_map *m, bool in_order) {
    if (m == NULL)
        return;
    if (m->base != MAP_FAILED) {
        if (in_order && m->head != NULL) {
            memset(m->head->boot, 0, sizeof m->head->boot);
            (void)msync(m->base, HEAD_BYTES, MS_SYNC); /* should it fail, the next boot makes the map anew */
        }
        munmap(m->base, MAP_BYTES);
    }
    if (m->fd >= 0)
        close(m->fd);
    pthread_rwlock_destroy(&m->lock);
    free(m->directory);
    free(m);
}
