#include "raw_client.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int raw_connect(int port) {
    return raw_connect_from(1, port);
}

int raw_connect_from(unsigned char last, int port) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)}, from = {.sin_family = AF_INET};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffU) | last);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) != 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0) {
        abort();
    }
    return fd;
}

void raw_send(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return; /* the peer has refused to read on */
        }
        bytes += n;
        len -= (size_t)n;
    }
}

static ssize_t read_some(int fd, char *dst, size_t room, int timeout_ms) {
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    if (poll(&pfd, 1, timeout_ms) <= 0) {
        return -1;
    }
    ssize_t n = recv(fd, dst, room, 0);
    return n < 0 ? 0 : n; /* a reset is an end too */
}

size_t raw_read_all(int fd, char *dst, size_t dst_bytes, int timeout_ms, bool *closed) {
    size_t len = 0;
    ssize_t n = -1;
    while (len + 1 < dst_bytes && (n = read_some(fd, dst + len, dst_bytes - 1 - len, timeout_ms)) > 0) {
        len += (size_t)n;
    }
    dst[len] = '\0';
    *closed = n == 0;
    return len;
}

static int status_of(const char *answer) {
    return strncmp(answer, "HTTP/1.", 7) == 0 && strlen(answer) > 12 ? atoi(answer + 9) : 0;
}

int raw_exchange(int port, const char *text, char *answer, size_t answer_bytes, bool *closed) {
    int fd = raw_connect(port);
    raw_send(fd, text, strlen(text));
    raw_read_all(fd, answer, answer_bytes, 300, closed);
    close(fd);
    return status_of(answer);
}

int raw_read_one(int fd, char *dst, size_t dst_bytes) {
    size_t len = 0;
    for (;;) {
        dst[len] = '\0';
        const char *body = strstr(dst, "\r\n\r\n"), *length = strcasestr(dst, "\r\nContent-Length: ");
        if (body != NULL && length != NULL && strlen(body + 4) >= strtoul(length + 18, NULL, 10)) {
            return status_of(dst);
        }
        ssize_t n = read_some(fd, dst + len, dst_bytes - 1 - len, 5000);
        if (n <= 0) {
            return 0;
        }
        len += (size_t)n;
    }
}
