/* A file or standard input: read once, from the beginning or from where a checkpoint says, to the end. */
#include "feed.h"
#include "source.h"

#include <stdlib.h>

struct source {
    const struct source_env *env;
    struct input *in;
    struct map *map; /* NULL: NDJSON */
    struct checkpoint checkpoint;
};

static void close_source(struct source *s) {
    if (s == NULL) return;
    input_close(s->in);
    map_free(s->map);
    free(s);
}

static enum bf_code open_path(const struct source_env *env, const char *path, struct source **out, struct bf_err *err) {
    const struct perception_settings *settings = env->settings;
    enum bf_code code = BF_OK;
    struct source *s = calloc(1, sizeof *s);

    if (s == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a source");
    s->env = env;
    if (env->csv) code = map_load(settings->map, env->topic, signal_check_schema(env->check), &s->map, err);
    if (code == BF_OK && (code = input_open(path, &s->in, err)) != BF_OK) (void)bf_err_prepend(err, "file");
    if (code == BF_OK && settings->checkpoint != NULL) {
        code = checkpoint_open(settings->checkpoint, path, env->topic->name, s->map != NULL && map_newest_first(s->map), &s->checkpoint, err);
    }
    if (code != BF_OK) {
        close_source(s);
        return code;
    }
    *out = s;
    return BF_OK;
}

static enum bf_code open_file(const struct source_env *env, struct source **out, struct bf_err *err) {
    return open_path(env, env->settings->file, out, err);
}

static enum bf_code open_stdin(const struct source_env *env, struct source **out, struct bf_err *err) { return open_path(env, NULL, out, err); }

static enum bf_code run(struct source *s, struct bf_err *err) {
    const struct perception_settings *settings = s->env->settings;
    const struct feed_settings feed = {.in = s->in,
                                       .map = s->map,
                                       .check = s->env->check,
                                       .publish = s->env->publish,
                                       .rate = settings->rate,
                                       .strict = settings->strict,
                                       .line_bytes_max = (size_t)settings->line_bytes_max,
                                       .checkpoint = settings->checkpoint != NULL ? &s->checkpoint : NULL};
    return feed_run(&feed, err);
}

const struct source_kind source_file = {.name = "file", .open = open_file, .run = run, .close = close_source};
const struct source_kind source_stdin = {.name = "stdin", .open = open_stdin, .run = run, .close = close_source};
