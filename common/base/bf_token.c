/* One pass over the file; each line's words are cut in place, so the table borrows the text it was read from. */
#include "bf_token.h"

#include "bf_sha256.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)4 << 20)
#define TOKENS_MAX 10000
#define LIST_MAX 64
#define HASH_BYTES BF_SHA256_BYTES
#define RANDOM_BYTES 32

struct entry {
    uint8_t hash[HASH_BYTES];
    struct bf_grant grant;
    const char *topics[LIST_MAX + 1], *nodes[LIST_MAX + 1];
};

struct bf_tokens {
    atomic_int refs;
    struct bf_buf text;
    struct entry **entries;
    size_t count;
};

static const struct {
    enum bf_scope scope;
    const char *name;
} scopes_known[] = {{BF_SCOPE_READ, "read"}, {BF_SCOPE_AUDIT, "audit"}, {BF_SCOPE_REPLAY, "replay"}, {BF_SCOPE_ADMIN, "admin"}};
#define SCOPE_COUNT (sizeof scopes_known / sizeof scopes_known[0])

const char *bf_scope_name(enum bf_scope scope) {
    for (size_t i = 0; i < SCOPE_COUNT; i++) {
        if (scopes_known[i].scope == scope) {
            return scopes_known[i].name;
        }
    }
    return "none";
}

static unsigned scope_of(const char *name, size_t len) {
    for (size_t i = 0; i < SCOPE_COUNT; i++) {
        if (strlen(scopes_known[i].name) == len && memcmp(scopes_known[i].name, name, len) == 0) {
            return scopes_known[i].scope;
        }
    }
    return 0;
}

enum bf_code bf_scopes_parse(const char *text, unsigned *out, struct bf_err *err) {
    unsigned bits = 0;
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ",");
        unsigned bit = scope_of(p, len);
        if (bit == 0) {
            return bf_fail(err, BF_INVALID, 0, "\"%.*s\" is none of the scopes read, audit, replay, admin", (int)(len < 40 ? len : 40), p);
        }
        bits |= bit;
        p += len;
        if (*p == '\0') {
            break;
        }
    }
    *out = bits;
    return BF_OK;
}

/* ---- words ---- */

static bool only(const char *s, const char *allowed) {
    return *s != '\0' && s[strspn(s, allowed)] == '\0';
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

static bool name_ok(const char *s) {
    return strlen(s) <= BF_TOKEN_NAME_MAX && only(s, LOWER UPPER DIGITS "._-@");
}

static bool topic_ok(const char *s) {
    return strlen(s) <= 249 && only(s, LOWER DIGITS ".-") && strchr(s, '.') != NULL;
}

static bool node_ok(const char *s) {
    return strlen(s) <= 255 && strncmp(s, "rim:", 4) == 0 && only(s, LOWER UPPER DIGITS ":_-");
}

/* Cut a comma-separated list in place. */
static enum bf_code cut_list(char *text, bool (*ok)(const char *), const char *what, const char **dst, struct bf_err *err) {
    size_t n = 0;
    for (char *rest = text, *one; (one = strsep(&rest, ",")) != NULL; n++) {
        if (n == LIST_MAX) {
            return bf_fail(err, BF_INVALID, 0, "more than %d %ss", LIST_MAX, what);
        }
        if (!ok(one)) {
            return bf_fail(err, BF_INVALID, 0, "\"%.80s\" is no %s", one, what);
        }
        dst[n] = one;
    }
    dst[n] = NULL;
    return BF_OK;
}

static int hex_value(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_hash(const char *text, uint8_t hash[HASH_BYTES]) {
    if (strncmp(text, "sha256:", 7) != 0 || strlen(text + 7) != (size_t)HASH_BYTES * 2) {
        return false;
    }
    for (size_t i = 0; i < HASH_BYTES; i++) {
        int high = hex_value(text[7 + 2 * i]), low = hex_value(text[8 + 2 * i]);
        if (high < 0 || low < 0) {
            return false;
        }
        hash[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static enum bf_code read_limit(char *word, struct entry *e, struct bf_err *err) {
    enum bf_code code;
    if (strncmp(word, "topics=", 7) == 0 && e->grant.topics == NULL) {
        code = cut_list(word + 7, topic_ok, "topic", e->topics, err);
        e->grant.topics = e->topics;
    } else if (strncmp(word, "nodes=", 6) == 0 && e->grant.nodes == NULL) {
        code = cut_list(word + 6, node_ok, "node prefix", e->nodes, err);
        e->grant.nodes = e->nodes;
    } else {
        code = bf_fail(err, BF_INVALID, 0, "\"%.80s\" is neither topics=… nor nodes=…, once each", word);
    }
    return code;
}

static enum bf_code read_entry(char *line, struct entry *e, struct bf_err *err) {
    char *words[6], *rest = line, *word;
    size_t n = 0;
    while ((word = strsep(&rest, " \t\r")) != NULL) {
        if (*word == '\0') {
            continue;
        }
        if (n == sizeof words / sizeof words[0]) {
            return bf_fail(err, BF_INVALID, 0, "has too many words");
        }
        words[n++] = word;
    }
    if (n < 3 || !name_ok(words[0])) {
        return bf_fail(err, BF_INVALID, 0, "is not of the form NAME SCOPES sha256:HEX [topics=…] [nodes=…]");
    }
    snprintf(e->grant.name, sizeof e->grant.name, "%s", words[0]);
    if (bf_scopes_parse(words[1], &e->grant.scopes, err) != BF_OK) {
        return err->code;
    }
    if (!read_hash(words[2], e->hash)) {
        return bf_fail(err, BF_INVALID, 0, "the third word is not sha256: and 64 hexadecimal digits");
    }
    enum bf_code code = BF_OK;
    for (size_t i = 3; code == BF_OK && i < n; i++) {
        code = read_limit(words[i], e, err);
    }
    return code;
}

/* ---- the file ---- */

static enum bf_code add_entry(struct bf_tokens *t, char *line, struct bf_err *err) {
    if (t->count == TOKENS_MAX) {
        return bf_fail(err, BF_INVALID, 0, "more than %d tokens", TOKENS_MAX);
    }
    struct entry **more = realloc(t->entries, (t->count + 1) * sizeof *more);
    if (more == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory for tokens");
    }
    t->entries = more;
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory for tokens");
    }
    t->entries[t->count++] = e;
    enum bf_code code = read_entry(line, e, err);
    for (size_t i = 0; code == BF_OK && i + 1 < t->count; i++) {
        if (strcmp(t->entries[i]->grant.name, e->grant.name) == 0) {
            code = bf_fail(err, BF_INVALID, 0, "the name %s is used twice", e->grant.name);
        } else if (memcmp(t->entries[i]->hash, e->hash, HASH_BYTES) == 0) {
            code = bf_fail(err, BF_INVALID, 0, "has the hash of %s", t->entries[i]->grant.name);
        }
    }
    return code;
}

static enum bf_code read_file(const char *path, struct bf_buf *text, struct bf_err *err) {
    struct stat st;
    FILE *f = fopen(path, "re");
    if (f == NULL || fstat(fileno(f), &st) != 0) {
        int saved = errno;
        if (f != NULL) {
            fclose(f);
        }
        return bf_fail(err, BF_INVALID, saved, "cannot be read: %s", strerror(saved));
    }
    if (!S_ISREG(st.st_mode) || (st.st_mode & 027) != 0) {
        fclose(f);
        return bf_fail(err, BF_INVALID, 0, "must be a regular file that others cannot read and its group cannot write (chmod 600)");
    }
    bool fits = st.st_size <= (off_t)FILE_BYTES_MAX && bf_buf_reserve(text, (size_t)st.st_size + 1);
    if (fits) {
        text->len = fread(text->data, 1, (size_t)st.st_size, f);
    }
    fclose(f);
    bf_buf_putc(text, '\0');
    return fits && !text->failed ? BF_OK : bf_fail(err, BF_INVALID, 0, "is larger than %zu bytes", FILE_BYTES_MAX);
}

enum bf_code bf_tokens_load(const char *path, struct bf_tokens **out, struct bf_err *err) {
    struct bf_tokens *t = calloc(1, sizeof *t);
    int number = 0;
    if (t == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory for tokens");
    }
    atomic_init(&t->refs, 1);
    bf_buf_init(&t->text, FILE_BYTES_MAX + 2);
    enum bf_code code = read_file(path, &t->text, err);
    char *rest = t->text.data, *line;
    while (code == BF_OK && (line = strsep(&rest, "\n")) != NULL) {
        number++;
        line += strspn(line, " \t\r");
        if (*line != '\0' && *line != '#' && (code = add_entry(t, line, err)) != BF_OK) {
            bf_err_prepend(err, "line %d", number);
        }
    }
    if (code == BF_OK && t->count == 0) {
        code = bf_fail(err, BF_INVALID, 0, "has no token");
    }
    if (code != BF_OK) {
        bf_tokens_unref(t);
        return bf_err_prepend(err, "%s", path);
    }
    *out = t;
    return BF_OK;
}

struct bf_tokens *bf_tokens_ref(struct bf_tokens *t) {
    atomic_fetch_add(&t->refs, 1);
    return t;
}

void bf_tokens_unref(struct bf_tokens *t) {
    if (t == NULL || atomic_fetch_sub(&t->refs, 1) > 1) {
        return;
    }
    for (size_t i = 0; i < t->count; i++) {
        free(t->entries[i]);
    }
    free(t->entries);
    bf_buf_fini(&t->text);
    free(t);
}

size_t bf_tokens_count(const struct bf_tokens *t) {
    return t->count;
}

/* ---- asking ---- */

const struct bf_grant *bf_tokens_find(const struct bf_tokens *t, struct bf_slice presented) {
    uint8_t hash[HASH_BYTES];
    const struct bf_grant *found = NULL;
    bf_sha256_of(presented.data, presented.len, hash);
    for (size_t i = 0; i < t->count; i++) { /* all of them, whichever it is */
        found = CRYPTO_memcmp(hash, t->entries[i]->hash, HASH_BYTES) == 0 ? &t->entries[i]->grant : found;
    }
    return found;
}

bool bf_grant_topic(const struct bf_grant *g, struct bf_slice topic) {
    for (size_t i = 0; g->topics != NULL && g->topics[i] != NULL; i++) {
        if (bf_slice_eq(bf_slice_str(g->topics[i]), topic)) {
            return true;
        }
    }
    return g->topics == NULL;
}

bool bf_grant_node(const struct bf_grant *g, struct bf_slice node) {
    for (size_t i = 0; g->nodes != NULL && g->nodes[i] != NULL; i++) {
        size_t len = strlen(g->nodes[i]);
        if (node.len >= len && memcmp(node.data, g->nodes[i], len) == 0) {
            return true;
        }
    }
    return g->nodes == NULL;
}

/* ---- making ---- */

static void base64url(const uint8_t *bytes, size_t len, char *dst) {
    static const char digits[] = UPPER LOWER DIGITS "-_";
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | bytes[i];
        for (have += 8; have >= 6; have -= 6) {
            *dst++ = digits[bits >> (have - 6) & 63];
        }
    }
    if (have > 0) {
        *dst++ = digits[bits << (6 - have) & 63];
    }
    *dst = '\0';
}

static void put_line(const char *name, const char *scopes, const char *topics, const char *nodes, const char *token, struct bf_buf *line) {
    uint8_t hash[HASH_BYTES];
    bf_sha256_of(token, strlen(token), hash);
    bf_buf_printf(line, "%s %s sha256:", name, scopes);
    for (size_t i = 0; i < HASH_BYTES; i++) {
        bf_buf_printf(line, "%02x", hash[i]);
    }
    if (topics != NULL) {
        bf_buf_printf(line, " topics=%s", topics);
    }
    if (nodes != NULL) {
        bf_buf_printf(line, " nodes=%s", nodes);
    }
    bf_buf_putc(line, '\0');
}

enum bf_code bf_token_new(const char *name, const char *scopes, const char *topics, const char *nodes, char token[BF_TOKEN_TEXT_LEN + 1],
                          struct bf_buf *line, struct bf_err *err) {
    uint8_t random[RANDOM_BYTES];
    struct entry check = {0};
    if (strpbrk(name, " \t\r\n") != NULL || getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        return bf_fail(err, BF_INVALID, errno, "the name has a space, or there is no randomness");
    }
    memcpy(token, BF_TOKEN_PREFIX, strlen(BF_TOKEN_PREFIX));
    base64url(random, sizeof random, token + strlen(BF_TOKEN_PREFIX));
    put_line(name, scopes, topics, nodes, token, line);
    char *copy = line->failed ? NULL : strdup(line->data);
    enum bf_code code = copy == NULL ? bf_fail(err, BF_NOMEM, 0, "the line is too long") : read_entry(copy, &check, err);
    free(copy);
    line->len -= line->failed ? 0 : 1; /* the NUL stays behind the end */
    return code;
}
