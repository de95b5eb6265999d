/* The file has one line for each partition: `topic partition end`. It is written beside and moved into place. */
#include "offsets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILLER_HEADER "butterfly-filler"
#define TIMEOUT_MS 10000
#define MARGIN_LEAST 1000
#define TOPIC_MAX 249

struct end {
    char topic[TOPIC_MAX + 1];
    int32_t partition;
    int64_t end, margin;
};

struct offsets {
    char path[4096];
    struct end *ends;
    size_t count;
    bool failed; /* no memory for one */
};

void offsets_close(struct offsets *o) {
    if (o == NULL) return;
    free(o->ends);
    free(o);
}

static struct end *find(struct offsets *o, const char *topic, int32_t partition) {
    for (size_t i = 0; i < o->count; i++) {
        if (o->ends[i].partition == partition && strcmp(o->ends[i].topic, topic) == 0) return &o->ends[i];
    }
    struct end *grown = strlen(topic) <= TOPIC_MAX ? realloc(o->ends, (o->count + 1) * sizeof *grown) : NULL;
    if (grown == NULL) {
        o->failed = true;
        return NULL;
    }
    o->ends = grown;
    o->ends[o->count] = (struct end){.partition = partition, .margin = MARGIN_LEAST};
    strcpy(o->ends[o->count].topic, topic);
    return &o->ends[o->count++];
}

static enum bf_code read_file(struct offsets *o, struct bf_err *err) {
    char topic[TOPIC_MAX + 1];
    int32_t partition;
    long long end;
    int fields;
    FILE *f = fopen(o->path, "re");

    if (f == NULL) return errno == ENOENT ? BF_OK : bf_fail(err, BF_INVALID, errno, "%s: %s", o->path, strerror(errno));
    while ((fields = fscanf(f, "%249s %d %lld", topic, &partition, &end)) == 3 && partition >= 0 && end >= 0) {
        struct end *e = find(o, topic, partition);
        if (e != NULL) e->end = end;
    }
    fclose(f);
    if (fields != EOF) return bf_fail(err, BF_INVALID, 0, "%s is not like `topic partition offset`", o->path);
    return o->failed ? bf_fail(err, BF_NOMEM, 0, "no memory for offsets") : BF_OK;
}

enum bf_code offsets_open(const char *dir, struct offsets **out, struct bf_err *err) {
    struct offsets *o = calloc(1, sizeof *o);

    if (o == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for offsets");
    bool fits = snprintf(o->path, sizeof o->path, "%s/offsets", dir) < (int)sizeof o->path - 16;
    enum bf_code code = !fits                                       ? bf_fail(err, BF_INVALID, 0, "dir: the name is too long")
                        : mkdir(dir, 0700) == 0 || errno == EEXIST ? read_file(o, err)
                                                                    : bf_fail(err, BF_INVALID, errno, "dir %s: %s", dir, strerror(errno));
    if (code != BF_OK) {
        offsets_close(o);
        return code;
    }
    *out = o;
    return BF_OK;
}

/* ---- filling ---- */

static void on_delivered(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset) {
    (void)opaque, (void)err, (void)partition, (void)offset;
    *(int64_t *)ctx += code != BF_OK;
}

static enum bf_code fill_one(struct bf_producer *p, const struct end *e, struct bf_err *err) {
    const struct bf_header header = {FILLER_HEADER, {"", 0}};
    enum bf_code code = BF_OK;

    for (int64_t n = 0; n < e->end && code == BF_OK; n++) {
        while ((code = bf_producer_send(p, e->topic, e->partition, BF_SLICE_NONE, BF_SLICE_NONE, &header, 1, 0, NULL, err)) == BF_AGAIN) {
            (void)bf_producer_poll(p, 10);
        }
    }
    return code;
}

static enum bf_code make_topics(const struct offsets *o, struct bf_mock_cluster *cluster, struct bf_err *err) {
    enum bf_code code = BF_OK;

    for (size_t i = 0; i < o->count && code == BF_OK; i++) {
        int partitions = 0;
        for (size_t k = 0; k < o->count; k++) {
            bool same = strcmp(o->ends[i].topic, o->ends[k].topic) == 0;
            if (same && k < i) partitions = -1; /* made already */
            if (same && partitions >= 0 && o->ends[k].partition >= partitions) partitions = o->ends[k].partition + 1;
            if (partitions < 0) break;
        }
        if (partitions > 0) code = bf_mock_cluster_topic(cluster, o->ends[i].topic, partitions, err);
        if (code == BF_EXISTS) code = BF_OK;
    }
    return code;
}

enum bf_code offsets_fill(struct offsets *o, struct bf_mock_cluster *cluster, struct bf_err *err) {
    struct bf_producer *p = NULL;
    int64_t failed = 0;
    const struct bf_producer_settings settings = {
        .bootstrap = bf_mock_cluster_bootstrap(cluster), .client_id = "devbroker", .linger_ms = 20, .delivered = on_delivered, .ctx = &failed};
    enum bf_code code = make_topics(o, cluster, err);

    if (o->count == 0 || code != BF_OK) return code;
    code = bf_producer_open(&settings, &p, err);
    for (size_t i = 0; i < o->count && code == BF_OK; i++) code = fill_one(p, &o->ends[i], err);
    if (code == BF_OK) code = bf_producer_flush(p, 6 * TIMEOUT_MS, err);
    if (code == BF_OK && failed > 0) code = bf_fail(err, BF_BROKEN, 0, "%lld records of the filling were not taken", (long long)failed);
    bf_producer_close(p);
    return code;
}

/* ---- saving ---- */

static void note_end(void *ctx, const char *topic, int32_t partition, int64_t end) {
    struct end *e = find(ctx, topic, partition);

    if (e == NULL) return;
    e->margin = 4 * (end - e->end) > MARGIN_LEAST ? 4 * (end - e->end) : MARGIN_LEAST;
    e->end = end;
}

enum bf_code offsets_save(struct offsets *o, struct bf_mock_cluster *cluster, bool last, struct bf_err *err) {
    char temp[4200];
    enum bf_code code = bf_mock_cluster_ends(cluster, TIMEOUT_MS, note_end, o, err);

    if (code == BF_OK && o->failed) code = bf_fail(err, BF_NOMEM, 0, "no memory for offsets");
    if (code != BF_OK) return code;
    snprintf(temp, sizeof temp, "%s.%d", o->path, (int)getpid());
    FILE *f = fopen(temp, "we");
    for (size_t i = 0; f != NULL && i < o->count; i++) {
        const struct end *e = &o->ends[i];
        fprintf(f, "%s %d %lld\n", e->topic, e->partition, (long long)(e->end + (last || e->end == 0 ? 0 : e->margin)));
    }
    bool ok = f != NULL && ferror(f) == 0;
    ok = f != NULL && fclose(f) == 0 && ok;
    if (ok && rename(temp, o->path) == 0) return BF_OK;
    return bf_fail(err, BF_BROKEN, errno, "%s: %s", o->path, strerror(errno));
}
