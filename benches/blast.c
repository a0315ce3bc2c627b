/* The client of benches/run, as cheap as one can be: one thread, a closed loop, fixed bytes; answers
 * are counted by their length, which the first one tells, and not parsed. It spends far less CPU
 * per request than wrk, so on one core the server has most of it.
 *   cc -O3 -o blast blast.c
 *   { wc -c <REQUEST; cat REQUEST; echo go; } | ./blast PORT CONNECTIONS SECONDS DEPTH [close]
 * Its input is the length of a request in a line, and the request, content included. DEPTH of them are sent at
 * once (pipelining). close: each request says Connection: close, and has a connection of its own.
 * When each connection has had an answer it writes "ready" and waits for a line of input that
 * says go; at the end it waits for every answer, prints the figures, and closes its connections when its
 * input ends: so whoever measures the server can look at it before and after the load alone.
 * Prints requests, rps, p50/p99/max time of a batch (closed loop: no latency figures). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct conn { int fd, waiting; long sent, need, t0; };
static char in[1 << 20], *req;
static int port, depth, closing, ep;
static long rlen, alen;                 /* of all that is sent at once; of one answer */
static long hist[4096];                 /* log-linear: 64 steps per power of two, ns */

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
static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "the connection was closed");
    exit(1);
}
static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (void *)&a, sizeof a)) fail("connect");
    return fd;
}
static void watch(struct conn *c, int op, unsigned events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    epoll_ctl(ep, op, c->fd, &ev);
}
static void push(struct conn *c)        /* what is not sent yet, as far as it goes */
{
    ssize_t w = send(c->fd, req + c->sent, rlen - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (w < 0 && errno != EAGAIN) fail("write");
    if (w > 0) c->sent += w;
    int waiting = c->sent < rlen;
    if (waiting != c->waiting) watch(c, EPOLL_CTL_MOD, waiting ? EPOLLIN | EPOLLOUT : EPOLLIN);
    c->waiting = waiting;
}
static void start(struct conn *c)
{
    if (c->fd < 0) {
        c->fd = dial();
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
    c->need = alen * depth;
    c->sent = c->waiting = 0;
    c->t0 = now();
    push(c);
}
/* The length of the first answer: that of its head, and what its Content-Length says. */
static void learn(void)
{
    long got = 0, sent = 0, one = rlen / depth;
    int fd = dial();
    struct timeval patience = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (char *end; !alen || got < alen;) {
        ssize_t r = sent < one ? send(fd, req + sent, one - sent, MSG_NOSIGNAL) : 0;
        if (r < 0) fail("write");
        sent += r;
        if (sent < one) continue;
        r = read(fd, in + (alen ? 0 : got), sizeof in - 1 - (alen ? 0 : got));
        if (r <= 0) fail("first answer");
        got += r;
        if (alen) continue;
        in[got] = 0;
        if (!(end = strstr(in, "\r\n\r\n"))) continue;
        char *length = strcasestr(in, "\r\ncontent-length:");
        if (strncmp(in, "HTTP/1.1 200", 12) || !length || length > end) {
            fprintf(stderr, "the answer is not of status 200, or has no Content-Length: %.*s\n", (int)(end - in), in);
            exit(1);
        }
        alen = end + 4 - in + atol(length + 17);
    }
    close(fd);
}
/* A closed loop until `end`; then every answer is waited for. Gives how many came. */
static long drive(int busy, long end)
{
    struct epoll_event evs[256];
    long done = 0;
    while (busy) {
        int n = epoll_wait(ep, evs, 256, 10000);
        if (!n) { errno = ETIMEDOUT; fail("no answer for 10 s"); }
        for (int i = 0; i < n; i++) {
            struct conn *c = evs[i].data.ptr;
            if (evs[i].events & EPOLLOUT) push(c);
            if (!(evs[i].events & ~EPOLLOUT)) continue;
            errno = 0;
            ssize_t r = read(c->fd, in, sizeof in);
            if (r <= 0 && !(r == 0 && closing && c->need == 0)) fail("connection lost");
            c->need -= r;
            if (c->need < 0) { fprintf(stderr, "the answer is longer than the first one\n"); exit(1); }
            if (c->need || (closing && r)) continue;     /* wait for the rest, or for the end */
            long t = now();
            hist[bucket(t - c->t0)]++;
            done += depth;
            if (closing) { close(c->fd); c->fd = -1; }
            if (t < end) start(c); else busy--;
        }
    }
    return done;
}

int main(int argc, char **argv)
{
    if (argc < 5) { fprintf(stderr, "blast PORT CONNECTIONS SECONDS DEPTH [close]\n"); return 2; }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    port = atoi(argv[1]);
    int nc = atoi(argv[2]);
    double secs = atof(argv[3]);
    depth = atoi(argv[4]);
    closing = argc > 5 && !strcmp(argv[5], "close");

    /* The request is preceded by its length in a line, as input goes on behind it. */
    long one = 0;
    char line[32];
    if (!fgets(line, sizeof line, stdin) || (one = atol(line)) < 1 || depth < 1) return 2;
    rlen = one * depth;
    req = malloc(rlen);
    if (fread(req, 1, one, stdin) != (size_t)one) return 2;
    for (int i = 1; i < depth; i++) memcpy(req + i * one, req, one);

    learn();
    ep = epoll_create1(0);
    struct conn *cs = calloc(nc, sizeof *cs);
    for (int i = 0; i < nc; i++) { cs[i].fd = -1; start(&cs[i]); }
    drive(nc, 0);
    memset(hist, 0, sizeof hist);
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 1;

    long begin = now();
    for (int i = 0; i < nc; i++) start(&cs[i]);
    long done = drive(nc, begin + (long)(secs * 1e9)), took = now() - begin;
    long nb = done / depth, q[2] = {nb / 2, nb - nb / 100}, acc = 0, p[2] = {0, 0}, mx = 0;
    for (int b = 0, k = 0; b < 4096; b++) {
        if (hist[b]) mx = value(b);
        for (acc += hist[b]; k < 2 && acc >= q[k] && acc; k++) p[k] = value(b);
    }
    printf("requests %ld  rps %.0f  answer %ldB  p50_us %.1f  p99_us %.1f  max_us %.1f\n",
           done, done * 1e9 / took, alen, p[0] / 1e3, p[1] / 1e3, mx / 1e3);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {}
    return 0;
}
