/* The registry's side of the comparison with the oracle: the same lines in, the same words out; the conflict follows
 * after a tab. With
 * --write each line is one schema and the answer is its canonical and its normal form. */
#include "avro_compat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *verdict(char *reader_text, char *writer_text, char *why, size_t why_bytes) {
    struct avro_schema *reader = NULL, *writer = NULL;
    struct avro_compat result = {0};
    struct bf_err err;
    const char *word;
    if (avro_schema_parse(reader_text, strlen(reader_text), NULL, 0, &reader, &err) != BF_OK) {
        word = "invalid-reader";
        snprintf(why, why_bytes, "%s", err.msg);
    } else if (avro_schema_parse(writer_text, strlen(writer_text), NULL, 0, &writer, &err) != BF_OK) {
        word = "invalid-writer";
        snprintf(why, why_bytes, "%s", err.msg);
    } else if (avro_compat_check(reader, writer, &result, &err) != BF_OK) {
        word = "failed";
        snprintf(why, why_bytes, "%s", err.msg);
    } else {
        word = result.compatible ? "compatible" : result.undecided ? "ambiguous" : "incompatible";
        for (size_t i = 0; i < result.count; i++) {
            snprintf(why, why_bytes, "%s %s %s", avro_conflict_name(result.conflicts[i].kind), result.conflicts[i].path,
                     result.conflicts[i].detail);
        }
        if (!result.compatible && result.count == 0) {
            word = "incompatible-without-a-reason";
        }
    }
    avro_compat_fini(&result);
    avro_schema_free(reader);
    avro_schema_free(writer);
    return word;
}

static void write_forms(const char *text) {
    struct avro_schema *s = NULL;
    struct bf_err err;
    if (avro_schema_parse(text, strlen(text), NULL, 0, &s, &err) != BF_OK) {
        printf("invalid\t%s\n", err.msg);
        return;
    }
    for (int normalize = 0; normalize <= 1; normalize++) {
        struct bf_buf out;
        bf_buf_init(&out, AVRO_SCHEMA_BYTES_MAX * 4);
        avro_schema_write(s, normalize == 1, &out);
        printf("%.*s%c", out.failed ? 0 : (int)out.len, out.data, normalize == 1 ? '\n' : '\t');
        bf_buf_fini(&out);
    }
    avro_schema_free(s);
}

int main(int argc, char **argv) {
    char *line = NULL, why[600];
    size_t cap = 0;
    ssize_t len;
    bool forms = argc > 1 && strcmp(argv[1], "--write") == 0;
    while ((len = getline(&line, &cap, stdin)) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *tab = strchr(line, '\t');
        if (forms) {
            write_forms(line);
        } else if (tab == NULL) {
            puts("no-tab");
        } else {
            *tab = '\0';
            why[0] = '\0';
            const char *word = verdict(line, tab + 1, why, sizeof why);
            printf("%s\t%s\n", word, why);
        }
    }
    free(line);
    return 0;
}
