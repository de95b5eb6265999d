/* The folder of a stack: made, locked, described. */
#include "stack.h"

#include "bf_json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the folder ---- */

static enum bf_code make_dir(const char *path, struct bf_err *err) {
    char partial[4096];
    size_t n = strlen(path);
    if (n >= sizeof partial)
        return bf_fail(err, BF_INVALID, 0, "dir: the name is too long");
    memcpy(partial, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (partial[i] != '/' && partial[i] != '\0')
            continue;
        partial[i] = '\0';
        if (mkdir(partial, 0755) != 0 && errno != EEXIST)
            return bf_fail(err, BF_INVALID, errno, "dir: %s: %s", partial, strerror(errno));
        partial[i] = path[i];
    }
    return BF_OK;
}

/* Folder of the executable, and (unless told otherwise) two levels above it, where schemas/ and tools/ are. */
enum bf_code stack_find_home(const char *told, char bin[4096], char home[4096], struct bf_err *err) {
    char path[4200], exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return bf_fail(err, BF_BROKEN, errno, "/proc/self/exe: %s", strerror(errno));
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    strcpy(bin, exe);
    snprintf(path, sizeof path, "%s%s", told != NULL ? told : bin, told != NULL ? "" : "/../..");
    char *real = realpath(path, NULL);
    if (real == NULL || strlen(real) + 64 >= 4096) {
        free(real);
        return bf_fail(err, BF_INVALID, errno, "home: %s: %s", path, strerror(errno));
    }
    strcpy(home, real);
    free(real);
    snprintf(path, sizeof path, "%s/schemas/topics.json", home);
    return access(path, R_OK) == 0 ? BF_OK : bf_fail(err, BF_INVALID, errno, "home: %s is not there", path);
}

static enum bf_code take_lock(struct stack *s, struct bf_err *err) {
    char path[4200], text[32] = "";
    snprintf(path, sizeof path, "%s/supervisor.pid", s->dir);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (s->lock_fd < 0)
        return bf_fail(err, BF_INVALID, errno, "dir: %s: %s", path, strerror(errno));
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (read(s->lock_fd, text, sizeof text - 1) <= 0)
            strcpy(text, "?");
        return bf_fail(err, BF_EXISTS, 0, "%s runs already (supervisor %d); stop it with 'butterfly down --dir %s'", s->dir, atoi(text), s->dir);
    }
    return BF_OK;
}

enum bf_code stack_open(struct stack *s, const struct stack_settings *settings, struct bf_err *err) {
    char sub[4200];
    memset(s, 0, sizeof *s);
    s->settings = settings;
    s->lock_fd = -1;
    for (int i = 0; i < SERVICES; i++) {
        s->services[i].process = (struct process){.name = service_names[i], .watch = -1};
        const char *at = settings->without != NULL ? strstr(settings->without, service_names[i]) : NULL;
        s->services[i].wanted = at == NULL;
    }
    s->services[SERVICE_BROKER].wanted = settings->kafka == NULL;
    s->services[SERVICE_REGISTRY].wanted = settings->registry == NULL;
    enum bf_code code = stack_find_home(settings->home, s->bin, s->home, err);
    if (code == BF_OK)
        code = make_dir(settings->dir, err);
    if (code != BF_OK)
        return code;
    char *real = realpath(settings->dir, NULL);
    if (real == NULL || strlen(real) + 64 >= sizeof s->dir) {
        free(real);
        return bf_fail(err, BF_INVALID, errno, "dir: %s: %s", settings->dir, strerror(errno));
    }
    strcpy(s->dir, real);
    free(real);
    static const char *const subs[] = {"log", "run"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(sub, sizeof sub, "%s/%s", s->dir, subs[i]);
        if (mkdir(sub, 0755) != 0 && errno != EEXIST)
            return bf_fail(err, BF_INVALID, errno, "dir: %s: %s", sub, strerror(errno));
    }
    return take_lock(s, err);
}

void stack_close(struct stack *s) {
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    s->lock_fd = -1;
}

/* ---- logs ---- */

void stack_last_words(const struct stack *s, enum service which, char *dst, size_t dst_bytes) {
    char path[4200], tail[2048];
    snprintf(dst, dst_bytes, "see %s/log/%s.log", s->dir, service_names[which]);
    snprintf(path, sizeof path, "%s/log/%s.log", s->dir, service_names[which]);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return;
    if (fseek(f, -(long)(sizeof tail - 1), SEEK_END) != 0)
        rewind(f);
    size_t n = fread(tail, 1, sizeof tail - 1, f);
    fclose(f);
    while (n > 0 && tail[n - 1] == '\n')
        n--;
    tail[n] = '\0';
    const char *line = strrchr(tail, '\n');
    if (n > 0)
        snprintf(dst, dst_bytes, "%s", line != NULL ? line + 1 : tail);
}

/* ---- endpoints.json ---- */

static void render_endpoints(const struct stack *s, struct bf_buf *out) {
    struct bf_json j;
    bf_json_init(&j, out);
    bf_json_object(&j);
    bf_json_member_string(&j, "http", s->services[SERVICE_CAPSULE].url);
    if (s->services[SERVICE_PERCEPTION].wanted)
        bf_json_member_string(&j, "perception", s->services[SERVICE_PERCEPTION].url);
    if (s->services[SERVICE_ODYSSEY].wanted)
        bf_json_member_string(&j, "odyssey", s->services[SERVICE_ODYSSEY].url);
    if (s->services[SERVICE_PLATO].wanted)
        bf_json_member_string(&j, "plato", s->services[SERVICE_PLATO].url);
    bf_json_member_string(&j, "kafka", s->kafka);
    bf_json_member_string(&j, "registry", s->registry);
    bf_json_member_string(&j, "postgres", s->postgres);
    bf_json_key(&j, "pids");
    bf_json_object(&j);
    bf_json_member_int(&j, "supervisor", getpid());
    for (int i = 0; i < SERVICES; i++)
        if (s->services[i].process.pid != 0)
            bf_json_member_int(&j, service_names[i], s->services[i].process.pid);
    bf_json_object_end(&j);
    bf_json_object_end(&j);
    bf_buf_putc(out, '\n');
}

enum bf_code stack_write_endpoints(const struct stack *s, struct bf_err *err) {
    char path[4200], temporary[4200];
    struct bf_buf text;
    snprintf(path, sizeof path, "%s/endpoints.json", s->dir);
    snprintf(temporary, sizeof temporary, "%s/endpoints.json.new", s->dir);
    bf_buf_init(&text, 1 << 16);
    render_endpoints(s, &text);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && !text.failed && write(fd, text.data, text.len) == (ssize_t)text.len && fsync(fd) == 0;
    if (fd >= 0 && close(fd) != 0)
        ok = false;
    enum bf_code code = ok && rename(temporary, path) == 0 ? BF_OK : bf_fail(err, BF_INVALID, errno, "%s: %s", path, strerror(errno));
    bf_buf_fini(&text);
    return code;
}

void stack_remove_endpoints(const struct stack *s) {
    char path[4200];
    snprintf(path, sizeof path, "%s/endpoints.json", s->dir);
    unlink(path);
}
