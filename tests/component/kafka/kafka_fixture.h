/* A cluster to test against, and producing what a test wants to read. */
#ifndef KAFKA_FIXTURE_H
#define KAFKA_FIXTURE_H

#include "bf_kafka.h"

#include <stdbool.h>

struct cluster {
    struct bf_mock_cluster *mock; /* NULL: a real one */
    const char *bootstrap;
};

int cluster_open_mock(void **state);
int cluster_open_real(void **state); /* the one of BF_TEST_KAFKA */
int cluster_close(void **state);

/* A name nobody used before: "{domain}.{prefix}-{random}"; static storage of the caller. */
void fresh_name(char dst[64], const char *domain, const char *prefix);
void make_topic(const struct cluster *cl, const char *topic, int partitions);
/* Values "{partition}:{n}" for n in [from, to) into each partition below `partitions`. */
void produce_numbers(const struct cluster *cl, const char *topic, int partitions, int from, int to);
void produce_bytes(const struct cluster *cl, const char *topic, int partition, int count, size_t bytes);

#endif
