/* The client of CAPSULE's HTTP API: builds URLs, asks, and turns whatever goes wrong into one line and an exit code. */
#include "cli.h"

#include "bf_json.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define URL_BYTES_MAX ((size_t)64 << 10)
#define ANSWER_BYTES_MAX ((size_t)1 << 30)
#define DEFAULT_URL "http://127.0.0.1:8480"

void cli_error(const char *fmt, ...) {
    char line[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    fflush(stdout);
    fputs("error: ", stderr);
    cli_print_clean(stderr, line);
    fputc('\n', stderr);
}

int cli_exit_of(enum bf_code code) {
    switch (code) {
    case BF_OK: return BF_EXIT_OK;
    case BF_AGAIN: return BF_EXIT_DEPENDENCY;
    case BF_INVALID: return BF_EXIT_USAGE;
    case BF_NOT_FOUND:
    case BF_REJECTED:
    case BF_EXISTS:
    case BF_CANCELLED: return BF_EXIT_FAILED;
    case BF_NOMEM:
    case BF_BROKEN: break;
    }
    return BF_EXIT_INTERNAL;
}

bool cli_load(const struct bf_settings_program *program, int argc, char **argv, int least, int most, void *into, char ***left,
              int *left_count, int *exit_code) {
    struct bf_err err;
    enum bf_code code = bf_settings_load(program, argc, argv, into, left, left_count, exit_code, &err);
    if (code == BF_CANCELLED)
        return false;
    if (code != BF_OK) {
        cli_error("%s (see --help)", err.msg);
        return false;
    }
    if (program->positional && (*left_count < least || *left_count > most)) {
        cli_error("usage: butterfly %s (see --help)", program->usage);
        *exit_code = BF_EXIT_USAGE;
        return false;
    }
    *exit_code = BF_EXIT_OK;
    return true;
}

enum bf_code cli_endpoint(const char *dir, const char *name, struct bf_buf *out, struct bf_err *err) {
    json_t *root = NULL;
    struct bf_buf path;
    bf_buf_init(&path, 8192);
    bf_buf_printf(&path, "%s/endpoints.json", dir);
    bf_buf_putc(&path, '\0');
    enum bf_code code = path.failed ? bf_fail(err, BF_INVALID, 0, "the folder's name is too long") : bf_json_load_file(path.data, &root, err);
    if (code == BF_NOT_FOUND) {
        code = bf_fail(err, BF_NOT_FOUND, 0, "nothing runs in %s: it has no endpoints.json (start it with 'butterfly up --dir %s')", dir, dir);
    } else if (code == BF_OK) {
        const char *value = cli_str(root, name);
        if (value == NULL)
            code = bf_fail(err, BF_NOT_FOUND, 0, "%s/endpoints.json names no \"%s\"", dir, name);
        else
            bf_buf_puts(out, value);
    }
    json_decref(root);
    bf_buf_fini(&path);
    return code;
}

/* The token into every call; it must not get into a message. */
static enum bf_code present(struct cli_client *c, const struct cli_options *o, struct bf_err *err) {
    char line[512];
    enum bf_code code = o->ca != NULL ? bf_http_client_ca(c->http, o->ca, err) : BF_OK;
    if (code != BF_OK || o->token == NULL)
        return code == BF_OK ? BF_OK : bf_err_prepend(err, "ca");
    if (snprintf(line, sizeof line, "Authorization: Bearer %s", o->token) >= (int)sizeof line)
        return bf_fail(err, BF_INVALID, 0, "the token is too long");
    return bf_http_client_header(c->http, line, err) == BF_OK ? BF_OK : bf_fail(err, BF_INVALID, 0, "the token is malformed");
}

int cli_client_open(struct cli_client *c, const struct cli_options *o) {
    struct bf_err err;
    enum bf_code code = BF_OK;
    memset(c, 0, sizeof *c);
    bf_buf_init(&c->base, URL_BYTES_MAX);
    bf_buf_init(&c->url, URL_BYTES_MAX);
    bf_buf_init(&c->answer, ANSWER_BYTES_MAX);
    if (o->url != NULL)
        bf_buf_puts(&c->base, o->url);
    else if (o->dir != NULL)
        code = cli_endpoint(o->dir, "http", &c->base, &err);
    else
        bf_buf_puts(&c->base, DEFAULT_URL);
    while (c->base.len > 0 && c->base.data[c->base.len - 1] == '/')
        c->base.len--;
    if (code == BF_OK)
        code = bf_http_client_new(o->timeout_ms, &c->http, &err);
    if (code == BF_OK)
        code = present(c, o, &err);
    if (code == BF_OK)
        return BF_EXIT_OK;
    cli_error("%s", err.msg);
    cli_client_close(c);
    return code == BF_NOT_FOUND ? BF_EXIT_DEPENDENCY : cli_exit_of(code);
}

void cli_client_close(struct cli_client *c) {
    bf_http_client_free(c->http);
    c->http = NULL;
    bf_buf_fini(&c->base);
    bf_buf_fini(&c->url);
    bf_buf_fini(&c->answer);
}

/* ---- URLs ---- */

void cli_path(struct cli_client *c, const char *path) {
    bf_buf_clear(&c->url);
    bf_buf_append(&c->url, c->base.data, c->base.len);
    bf_buf_puts(&c->url, path);
    c->has_query = false;
}

void cli_segment(struct cli_client *c, const char *segment) {
    bf_buf_putc(&c->url, '/');
    bf_url_encode(&c->url, segment);
}

void cli_tail(struct cli_client *c, const char *path) {
    bf_buf_puts(&c->url, path);
}

void cli_param(struct cli_client *c, const char *name, const char *value) {
    if (value == NULL)
        return;
    bf_buf_putc(&c->url, c->has_query ? '&' : '?');
    c->has_query = true;
    bf_buf_puts(&c->url, name);
    bf_buf_putc(&c->url, '=');
    bf_url_encode(&c->url, value);
}

/* A list's values lie in one string, a line each. */
static void list_param(struct cli_client *c, const char *name, const char *values) {
    char *copy = strdup(values), *rest = copy;
    for (char *one; rest != NULL && (one = strsep(&rest, "\n")) != NULL;)
        cli_param(c, name, one);
    free(copy);
}

void cli_params(struct cli_client *c, const struct bf_setting *table, const void *values) {
    for (const struct bf_setting *s = table + CLI_OPTION_COUNT; s->key != NULL; s++) {
        const char *value;
        char name[64];
        size_t n = 0;
        if (s->type == BF_SETTING_BOOL) /* says how to ask, not what */
            continue;
        memcpy(&value, (const char *)values + s->field, sizeof value);
        for (; s->key[n] != '\0' && n + 1 < sizeof name; n++)
            name[n] = s->key[n] == '-' ? '_' : s->key[n];
        name[n] = '\0';
        if (value != NULL && s->type == BF_SETTING_LIST)
            list_param(c, name, value);
        else
            cli_param(c, name, value);
    }
}

/* ---- asking ---- */

static int exit_of_status(int status) {
    switch (status) {
    case 401:
    case 403:
    case 404:
    case 409: return BF_EXIT_FAILED;
    case 400:
    case 413:
    case 414: return BF_EXIT_USAGE;
    case 429:
    case 502:
    case 503:
    case 504: return BF_EXIT_DEPENDENCY;
    default: return BF_EXIT_INTERNAL;
    }
}

int cli_problem(int status, const char *body, size_t len) {
    struct bf_err err;
    json_t *problem = NULL;
    if (len > 0 && bf_json_parse(body, len, &problem, &err) == BF_OK && json_is_object(problem)) {
        const char *detail = cli_str(problem, "detail"), *title = cli_str(problem, "title"), *pointer = cli_str(problem, "pointer");
        const char *text = detail != NULL ? detail : title != NULL ? title : "no reason given";
        if (pointer != NULL && strncmp(text, pointer, strlen(pointer)) != 0)
            cli_error("%s: %s", pointer, text);
        else
            cli_error("%s", text);
    } else {
        cli_error("the server answered with HTTP status %d", status);
    }
    json_decref(problem);
    return exit_of_status(status);
}

int cli_get(struct cli_client *c) {
    struct bf_err err;
    bf_buf_putc(&c->url, '\0');
    if (c->url.failed) {
        cli_error("the question is too long");
        return BF_EXIT_USAGE;
    }
    bf_buf_clear(&c->answer);
    enum bf_code code = bf_http_call(c->http, c->post ? "POST" : "GET", c->url.data, NULL, BF_SLICE_NONE, &c->status, &c->answer, &err);
    if (code != BF_OK) {
        cli_error("the server at %.*s does not answer: %s", (int)c->base.len, c->base.data, err.msg);
        return cli_exit_of(code);
    }
    return c->status == 200 ? BF_EXIT_OK : cli_problem(c->status, c->answer.data, c->answer.len);
}

int cli_get_json(struct cli_client *c, const struct cli_options *o, json_t **out) {
    struct bf_err err;
    int exit_code = cli_get(c);
    if (exit_code != BF_EXIT_OK)
        return exit_code;
    if (o->json) {
        fwrite(c->answer.data, 1, c->answer.len, stdout);
        if (c->answer.len == 0 || c->answer.data[c->answer.len - 1] != '\n')
            putchar('\n');
        return BF_EXIT_OK;
    }
    if (bf_json_parse(c->answer.data, c->answer.len, out, &err) != BF_OK || !json_is_object(*out)) {
        cli_error("the server's answer is not what was expected: %s", *out == NULL ? err.msg : "no JSON object");
        json_decref(*out);
        *out = NULL;
        return BF_EXIT_INTERNAL;
    }
    return BF_EXIT_OK;
}
