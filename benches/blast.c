/* The client of benches/run, as cheap as one can be: one thread, a closed loop, a fixed request;
 * answers are counted by their length, which the first one tells, and not parsed. It spends far
 * less CPU per request than wrk, so on one core the server has most of it.
 *   cc -O3 -o blast blast.c
 *   ./blast PORT CONNECTIONS SECONDS [PATH] [DEPTH] [close]
 * Prints requests, rps, mean/p50/p99/max time of a batch (closed loop: no latency figures). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct conn { int fd; long need; long t0; };
static char req[64 * 512], in[1 << 20];
static int port, depth = 1, rlen, closing, ep;
static long alen, hist[4096];           /* log-linear: 64 steps per power of two, ns */

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}
static int bucket(long v)
{
    if (v < 64) return (int)v;
    int e = 63 - __builtin_clzl(v);
    int b = (e - 5) * 64 + (int)((v >> (e - 6)) & 63);
    return b < 4096 ? b : 4095;
}
static long value(int b)
{
    return b < 64 ? b : (64L + b % 64) << (b / 64 - 1);
}
static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (void *)&a, sizeof a)) { perror("connect"); exit(1); }
    return fd;
}
static void start(struct conn *c)
{
    if (c->fd < 0) {
        c->fd = dial();
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
    }
    c->need = alen * depth;
    c->t0 = now();
    if (write(c->fd, req, (size_t)rlen * depth) != (ssize_t)rlen * depth) { perror("write"); exit(1); }
}

int main(int argc, char **argv)
{
    if (argc < 4) { fprintf(stderr, "blast PORT CONNS SECONDS [PATH] [DEPTH] [close]\n"); return 2; }
    port = atoi(argv[1]);
    int nc = atoi(argv[2]);
    double secs = atof(argv[3]);
    const char *path = argc > 4 ? argv[4] : "/";
    depth = argc > 5 ? atoi(argv[5]) : 1;
    closing = argc > 6 && !strcmp(argv[6], "close");
    if (depth < 1 || depth > 64) depth = 1;
    rlen = snprintf(req, 512, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path,
                    closing ? "Connection: close\r\n" : "");
    for (int i = 1; i < depth; i++) memcpy(req + i * rlen, req, rlen);

    int fd = dial();                    /* learn the answer's length */
    if (write(fd, req, rlen) < 0) return 1;
    struct timeval tv = {0, 300000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    for (ssize_t r; (r = read(fd, in, sizeof in)) > 0;) alen += r;
    close(fd);
    if (!alen) { fprintf(stderr, "no answer\n"); return 1; }

    ep = epoll_create1(0);
    struct conn *cs = calloc(nc, sizeof *cs);
    for (int i = 0; i < nc; i++) { cs[i].fd = -1; start(&cs[i]); }
    long begin = now(), end = begin + (long)(secs * 1e9), done = 0, sum = 0, mx = 0, nb = 0, t = begin;
    struct epoll_event evs[256];
    while (t < end) {
        int n = epoll_wait(ep, evs, 256, 1000);
        for (int i = 0; i < n; i++) {
            struct conn *c = evs[i].data.ptr;
            ssize_t r = read(c->fd, in, sizeof in);
            if (r <= 0 && !(r == 0 && closing && c->need <= 0)) {
                fprintf(stderr, "connection lost (%s), need %ld\n", r ? strerror(errno) : "EOF", c->need);
                return 1;
            }
            c->need -= r;
            if (c->need > 0) continue;
            if (closing && r > 0) continue;          /* wait for EOF */
            long d = now() - c->t0;
            hist[bucket(d)]++; sum += d; nb++; if (d > mx) mx = d;
            done += depth;
            if (closing) { close(c->fd); c->fd = -1; }
            start(c);
        }
        t = now();
    }
    long q[2] = {nb / 2, nb - nb / 100}, acc = 0, p[2] = {0, 0};
    for (int b = 0, k = 0; b < 4096 && k < 2; b++)
        for (acc += hist[b]; k < 2 && acc >= q[k] && acc; k++) p[k] = value(b);
    double el = (t - begin) / 1e9;
    printf("requests %ld  rps %.0f  answer %ldB  mean_us %.1f  p50_us %.1f  p99_us %.1f  max_us %.1f\n",
           done, done / el, alen, sum / 1e3 / (nb ? nb : 1), p[0] / 1e3, p[1] / 1e3, mx / 1e3);
    return 0;
}
