#error "librdkafka is owned by common/stream/bf_kafka_*.c; go through bf_kafka.h"
