/* How fast the hot store takes events: N events of 200-byte values over M nodes in batches, 12 partitions, no sync;
 * ids are UUIDv7, which ascend, or as good as random (derived).
 * Usage: hot_ingest [events] [nodes] [batch] [dir] [sync|derived]. Prints events/s of gathering and committing, of the first and of the last million, and the bytes an
 * event takes, with what a new page of a file costs on this machine before and after; then how long it takes to open what it wrote,
 * and to make the map of ids anew. */
#include "bf_time.h"
#include "hot.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTITIONS 12
#define VALUE_BYTES 200

struct bench {
    long events, nodes, batch;
    int64_t next[PARTITIONS];
    uint64_t seed;
    bool derived; /* ids as good as random, as those made from names are; else UUIDv7, which ascend */
    int64_t gather_us, commit_us, first_us, last_us; /* the last two: of the first and the last million */
    double page_before_us, page_after_us;            /* what the machine takes for a new page of a file: before the first million, after the last */
};

#define MILLION 1000000
#define GROWTH_BYTES ((long)64 << 20)
#define PAGE_BYTES 4096

/* What every file that grows costs here, whoever writes it: a virtual machine may have to ask its host for each page. Negative: cannot be measured. */
static double new_page_us(const char *dir) {
    static char page[PAGE_BYTES];
    char path[4096];
    snprintf(path, sizeof path, "%s/growth", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good = fd >= 0;
    int64_t start = bf_time_monotonic_us();
    for (long at = 0; good && at < GROWTH_BYTES; at += PAGE_BYTES)
        good = pwrite(fd, page, PAGE_BYTES, at) == PAGE_BYTES;
    int64_t us = bf_time_monotonic_us() - start;
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
    return good ? (double)us / (double)(GROWTH_BYTES / PAGE_BYTES) : -1;
}

static uint64_t rnd(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static enum bf_code add_one(struct bench *be, struct hot_batch *b, struct bf_err *err) {
    char node[64], value[VALUE_BYTES];
    uint64_t r = rnd(&be->seed), n = r % (uint64_t)be->nodes;
    int len = snprintf(node, sizeof node, "rim:entity:finance:N%06llu", (unsigned long long)n);
    for (size_t i = 0; i < sizeof value; i += 8) {
        memcpy(value + i, &r, 8);
        r = r * 0x5851F42D4C957F2DULL + 1;
    }
    int64_t now = bf_time_now_us();
    int32_t partition = (int32_t)(n % PARTITIONS);
    struct event ev = {
        .topic = {"rim.fast-path", 13},
        .node_id = {node, (size_t)len},
        .key = {node, (size_t)len},
        .value = {value, sizeof value},
        .partition = partition,
        .offset = be->next[partition]++,
        .event_time_us = now / 1000 * 1000,
        .kafka_time_us = now,
        .schema_id = 1,
    };
    if (be->derived) {
        bf_put_be64(ev.id.b, (rnd(&be->seed) & ~UINT64_C(0xf000)) | 0x8000);
        bf_put_be64(ev.id.b + 8, rnd(&be->seed) >> 2 | UINT64_C(1) << 63);
    } else {
        ev.id = bf_uuid_v7();
    }
    return hot_batch_event(b, &ev, err);
}

static enum bf_code run(struct bench *be, struct hot *h, struct bf_err *err) {
    struct hot_batch *b = NULL;
    struct hot_commit_result result;
    enum bf_code code = hot_batch_new(h, &b, err);
    for (long done = 0; code == BF_OK && done < be->events;) {
        int64_t start = bf_time_monotonic_us();
        for (long i = 0; code == BF_OK && i < be->batch && done < be->events; i++, done++)
            code = add_one(be, b, err);
        int64_t gathered = bf_time_monotonic_us();
        if (code == BF_OK)
            code = hot_batch_commit(b, &result, NULL, NULL, err);
        be->gather_us += gathered - start;
        int64_t now = bf_time_monotonic_us();
        be->commit_us += now - gathered;
        be->first_us += done <= MILLION ? now - start : 0;
        be->last_us += done > be->events - MILLION ? now - start : 0;
    }
    hot_batch_free(b);
    return code;
}

static long arg_of(int argc, char **argv, int i, long deflt) {
    return argc > i ? atol(argv[i]) : deflt;
}

static enum bf_code open_again(const struct hot_settings *settings, const char *what, struct bf_err *err) {
    struct hot *h = NULL;
    int64_t begun_us = bf_time_monotonic_us();
    enum bf_code code = hot_open(settings, &h, err);
    if (code != BF_OK)
        return code;
    printf("%s=%.3f\n", what, (double)(bf_time_monotonic_us() - begun_us) / 1e6);
    hot_close(h);
    return BF_OK;
}

int main(int argc, char **argv) {
    char map[4096];
    struct bench be = {arg_of(argc, argv, 1, 1000000), arg_of(argc, argv, 2, 5000), arg_of(argc, argv, 3, 20000), {0}, 88172645463325252ULL,
                       argc > 5 && strcmp(argv[5], "derived") == 0, 0, 0, 0, 0, 0, 0};
    const char *dir = argc > 4 ? argv[4] : "/tmp/bf-bench-hot";
    struct hot_settings settings = {.dir = dir, .map_bytes_max = (int64_t)64 << 30, .cluster_id = "bench",
                                    .node_run_min = (size_t)arg_of(argc, argv, 6, 4096), .sync_every_commit = argc > 5 && strcmp(argv[5], "sync") == 0};
    struct hot_watermarks w;
    struct hot *h = NULL;
    struct bf_err err;
    if (be.events < 1 || be.nodes < 1 || be.batch < 1) {
        fprintf(stderr, "hot_ingest [events] [nodes] [batch] [dir] [sync|derived|v7] [node-run-min]\n");
        return BF_EXIT_USAGE;
    }
    enum bf_code code = hot_destroy(dir, &err);
    if (code == BF_OK)
        code = hot_open(&settings, &h, &err);
    be.page_before_us = code == BF_OK ? new_page_us(dir) : -1;
    if (code == BF_OK)
        code = run(&be, h, &err);
    be.page_after_us = code == BF_OK ? new_page_us(dir) : -1;
    if (code != BF_OK) {
        fprintf(stderr, "hot_ingest: %s\n", err.msg);
        hot_close(h);
        return BF_EXIT_FAILED;
    }
    hot_watermarks(h, &w);
    printf("events=%ld nodes=%ld batch=%ld events_per_s=%.0f commit_events_per_s=%.0f gather_s=%.3f commit_s=%.3f bytes_per_event=%.0f\n",
           be.events, be.nodes, be.batch, (double)be.events / (double)(be.gather_us + be.commit_us) * 1e6,
           (double)be.events / (double)be.commit_us * 1e6, (double)be.gather_us / 1e6, (double)be.commit_us / 1e6,
           (double)w.bytes_used / (double)be.events);
    if (be.events >= 2 * MILLION) {
        double pages = (double)w.bytes_used / (double)be.events / PAGE_BYTES * MILLION;
        printf("first_million_per_s=%.0f last_million_per_s=%.0f ratio=%.2f\n", 1e12 / (double)be.first_us, 1e12 / (double)be.last_us,
               (double)be.first_us / (double)be.last_us);
        printf("new_page_us_before=%.1f new_page_us_after=%.1f ratio_without_new_pages=%.2f\n", be.page_before_us, be.page_after_us,
               ((double)be.first_us - pages * be.page_before_us) / ((double)be.last_us - pages * be.page_after_us));
    }
    printf("id_map_bytes=%llu bytes_per_event=%.1f\n", (unsigned long long)w.id_bytes, (double)w.id_bytes / (double)be.events);
    hot_close(h); /* the folder stays, to be looked into */
    code = open_again(&settings, "open_s", &err);
    snprintf(map, sizeof map, "%s/ids.map", dir);
    if (code == BF_OK && unlink(map) == 0)
        code = open_again(&settings, "open_without_id_map_s", &err);
    return code == BF_OK ? BF_EXIT_OK : BF_EXIT_FAILED;
}
