/* A client that sends exactly the bytes it is given, so that malformed requests can be sent. */
#ifndef RAW_CLIENT_H
#define RAW_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

int raw_connect(int port);
int raw_connect_from(unsigned char last, int port); /* from 127.0.0.last */
void raw_send(int fd, const char *bytes, size_t len);

/* Read until the peer closes or `timeout_ms` pass without a byte; NUL-terminated. *closed: the peer closed. Returns the length. */
size_t raw_read_all(int fd, char *dst, size_t dst_bytes, int timeout_ms, bool *closed);

/* Connect, send text, read all, close. Returns the status of the first answer, 0 when there was none. */
int raw_exchange(int port, const char *text, char *answer, size_t answer_bytes, bool *closed);

/* One answer with Content-Length on a connection that stays; returns the status, 0 when the peer closed. */
int raw_read_one(int fd, char *dst, size_t dst_bytes);

#endif
