#error "libcurl is owned by common/base/bf_http_client.c; go through bf_http_client.h"
