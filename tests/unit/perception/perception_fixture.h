/* Files with a test's text in them, and the project's own catalogue. */
#ifndef PERCEPTION_FIXTURE_H
#define PERCEPTION_FIXTURE_H

#include "bf_topics.h"

#include <stddef.h>

/* A file that holds these bytes and goes when the program ends; `path` is the caller's. */
void file_with(char path[64], const void *bytes, size_t len);
/* The same as gzip: one member for each of the two halves when `members` is 2. */
void gzip_file_with(char path[64], const void *bytes, size_t len, int members);

/* schemas/topics.json; fails the test when it cannot be read. */
struct bf_topics *project_topics(void);

#endif
