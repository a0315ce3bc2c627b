/* The floor that benches/run measures beside: one thread, one level-triggered epoll loop, a fixed
 * answer for every so many bytes, nothing parsed. What a server costs beyond this is its own doing.
 *   cc -O3 -o limit-epoll limit-epoll.c
 *   ./limit-epoll PORT REQUEST CONTENT [close]
 * REQUEST: bytes of one request, its content included: each read() is answered with as many copies
 *   as whole requests have come. 0: one answer for each read().
 * CONTENT: bytes of the answer's content. The head has as many fields and bytes as that of `ferricorn
 *   hello`; benches/run compares.
 * close: an accepted connection is read at once, answered and closed: accept4, read, write, close,
 *   and a share of a wait and of an accept4 that finds no more. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 512
#define MOST 64                         /* answers in one write, if they are small */
#define FILES 65536
static const char HEAD[] =
    "HTTP/1.1 200 OK\r\n%sContent-Length: %ld\r\nContent-Type: text/plain\r\n"
    "Server: ferricorn\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n\r\n";
static char in[65536], *out;
static long reqlen, alen, copies;
static long got[FILES];                 /* by descriptor: bytes of a request that has not come whole */
static long left[FILES];                /* bytes of an answer that did not fit */
static int ep, closing;

static void watch(int fd, int op, unsigned events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};
    epoll_ctl(ep, op, fd, &ev);
}
static void answer(int fd, long bytes)
{
    ssize_t w = write(fd, out, bytes);
    if (w < 0 && errno != EAGAIN) { close(fd); return; }
    left[fd] = bytes - (w < 0 ? 0 : w);
    if (left[fd]) watch(fd, EPOLL_CTL_MOD, EPOLLOUT);
}
static int once(int fd)                 /* one answer and the end, if there is a request already */
{
    ssize_t r = read(fd, in, sizeof in);
    if (r < 0 && errno == EAGAIN) return 0;
    if (r <= 0 || write(fd, out, alen) < 0) {}
    close(fd);
    return 1;
}
static void serve(int fd)
{
    if (closing) { once(fd); return; }
    ssize_t r = read(fd, in, sizeof in);
    if (r <= 0) {
        if (r == 0 || errno != EAGAIN) close(fd);
        return;
    }
    long k = 1;
    if (reqlen) {
        got[fd] += r;
        k = got[fd] / reqlen;
        got[fd] %= reqlen;
    }
    if (k) answer(fd, alen * (k < copies ? k : copies));
}

int main(int argc, char **argv)
{
    if (argc < 4) { fprintf(stderr, "limit-epoll PORT REQUEST CONTENT [close]\n"); return 2; }
    int port = atoi(argv[1]), one = 1;
    reqlen = atol(argv[2]);
    long content = atol(argv[3]);
    closing = argc > 4;
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < FILES ? files.rlim_max : FILES;
    setrlimit(RLIMIT_NOFILE, &files);

    char head[sizeof HEAD + 64];
    int hlen = snprintf(head, sizeof head, HEAD, closing ? "Connection: close\r\n" : "", content);
    alen = hlen + content;
    copies = content < 1 << 16 ? MOST : 1;
    out = malloc(alen * copies);
    for (int i = 0; i < copies; i++) {
        memcpy(out + i * alen, head, hlen);
        memset(out + i * alen + hlen, 'x', content);
    }

    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(ls, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);     /* connections inherit it */
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }

    ep = epoll_create1(0);
    struct epoll_event evs[BATCH];
    watch(ls, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int n = epoll_wait(ep, evs, BATCH, -1);
        if (n < 0 && errno != EINTR) { perror("epoll_wait"); return 1; }
        for (int i = 0; i < n; i++) {
            int fd = evs[i].data.fd, c;
            if (fd != ls) {
                if (evs[i].events & EPOLLOUT) {
                    /* Every answer is the same: what is left is its end. */
                    long rest = left[fd];
                    ssize_t w = write(fd, out + alen * copies - rest, rest);
                    if (w < 0 && errno != EAGAIN) { close(fd); continue; }
                    if (w > 0 && !(left[fd] -= w)) watch(fd, EPOLL_CTL_MOD, EPOLLIN);
                } else {
                    serve(fd);
                }
                continue;
            }
            while ((c = accept4(ls, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (c >= FILES) { close(c); continue; }
                got[c] = left[c] = 0;
                if (!closing || !once(c)) watch(c, EPOLL_CTL_ADD, EPOLLIN);
            }
        }
    }
}
