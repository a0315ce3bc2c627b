/* The floor that benches/run measures beside: one thread, one level-triggered epoll loop, a fixed
 * answer after every read(), nothing parsed. What a server costs beyond this is its own doing.
 *   cc -O3 -o limit-epoll limit-epoll.c
 *   ./limit-epoll PORT [REQLEN] [spin] [defer] [close]
 * REQLEN > 0: each read() of n bytes is answered with n/REQLEN copies, so that a pipelining client
 *   with requests of one size gets the right count. REQLEN 0: one answer per read().
 * close: closes after the first answer (the floor of one connection per request).
 * spin: polls with timeout 0 once after a batch, before it blocks.
 * The answer has as many fields and bytes as that of `ferricorn hello`; benches/run compares. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 512
static const char ANSWER[] =
    "HTTP/1.1 200 OK\r\nServer: ferricorn\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n"
    "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
static char in[65536], out[64 * sizeof ANSWER];

int main(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 8171, reqlen = argc > 2 ? atoi(argv[2]) : 0;
    int spin = 0, defer = 0, closing = 0, one = 1, alen = sizeof ANSWER - 1;
    for (int i = 3; i < argc; i++) {
        if (!strcmp(argv[i], "spin")) spin = 1;
        if (!strcmp(argv[i], "defer")) defer = 1;
        if (!strcmp(argv[i], "close")) closing = 1;
    }
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 64; i++) memcpy(out + i * alen, ANSWER, alen);

    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(ls, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (defer) { int s = 5; setsockopt(ls, IPPROTO_TCP, TCP_DEFER_ACCEPT, &s, sizeof s); }
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }

    int ep = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = ls}, evs[BATCH];
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev);
    for (int timeout = -1;;) {
        int n = epoll_wait(ep, evs, BATCH, timeout);
        if (n <= 0) {
            if (n < 0 && errno != EINTR) { perror("epoll_wait"); return 1; }
            timeout = -1;
            continue;
        }
        timeout = spin ? 0 : -1;
        for (int i = 0; i < n; i++) {
            int fd = evs[i].data.fd;
            if (fd == ls) {
                int c;
                while ((c = accept4(ls, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    ev.data.fd = c;
                    epoll_ctl(ep, EPOLL_CTL_ADD, c, &ev);
                }
                continue;
            }
            ssize_t r = read(fd, in, sizeof in);
            if (r <= 0) {
                if (r == 0 || errno != EAGAIN) close(fd);
                continue;
            }
            int k = reqlen > 0 ? (int)(r / reqlen) : 1;
            if (k > 64) k = 64;
            if (k && (write(fd, out, (size_t)k * alen) < 0 || closing)) close(fd);
        }
    }
}
