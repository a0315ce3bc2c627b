/* Latency at an offered rate, free of coordinated omission: arrivals follow a Poisson schedule whatever
 * the server does, and latency runs from the scheduled time, the wait for a free connection included.
 *   cc -O3 -o openloop openloop.c -lm
 *   ./openloop PORT RATE CONNECTIONS SECONDS PATH [PATH2 SHARE2]
 * PATH2 gets SHARE2 (0 to 1) of the arrivals; percentiles are printed for each path.
 * Works with servers that close after each answer (dials are counted). Nothing is dialled before it is
 * needed: an idle connection would hold a worker of those that serve one at a time. It wants a core of its
 * own, and sleeps between arrivals: what spins is made to pause where the system has other work, too. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct conn { int fd, kind, hdr, closing; long due, got, need; char head[4096]; };
struct job { long due; int kind; };
static char req[2][512], sink[1 << 20];
static int port, rlen[2], ep;
static long hist[2][4096], cnt[2], mx[2], dials, errs;
static struct job *q;
static unsigned qh, qt;
enum { QN = 1 << 20 };

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}
static int bucket(long v)
{
    if (v < 64) return v < 0 ? 0 : (int)v;
    int e = 63 - __builtin_clzl(v), b = (e - 5) * 64 + (int)((v >> (e - 6)) & 63);
    return b < 4096 ? b : 4095;
}
static long value(int b) { return b < 64 ? b : (64L + b % 64) << (b / 64 - 1); }
static void dial(struct conn *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&a, sizeof a)) { perror("connect"); exit(1); }
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
    dials++;
}
static void send_job(struct conn *c, struct job j)
{
    c->kind = j.kind; c->due = j.due; c->got = 0; c->need = -1; c->hdr = 0; c->closing = 0;
    if (c->fd < 0) dial(c);
    if (write(c->fd, req[j.kind], rlen[j.kind]) < 0) {       /* server closed while idle */
        close(c->fd); dial(c);
        if (write(c->fd, req[j.kind], rlen[j.kind]) < 0) errs++;
    }
}
static int feed(struct conn *c)       /* 1 = answer complete */
{
    char *dst = c->need < 0 ? c->head + c->got : sink;
    size_t room = c->need < 0 ? sizeof c->head - 1 - c->got : sizeof sink;
    ssize_t r = read(c->fd, dst, room);
    if (r <= 0) {
        if (r < 0 && errno == EAGAIN) return 0;
        close(c->fd); c->fd = -1;
        if (c->got == 0) { dial(c); if (write(c->fd, req[c->kind], rlen[c->kind]) < 0) errs++; return 0; }
        if (c->need < 0 || c->got < c->need) errs++;
        return 1;
    }
    c->got += r;
    if (c->need < 0) {
        c->head[c->got] = 0;
        char *e = strstr(c->head, "\r\n\r\n"), *l;
        if (!e) return 0;
        l = strcasestr(c->head, "content-length:");
        c->need = e + 4 - c->head + (l && l < e ? atol(l + 15) : 0);
        l = strcasestr(c->head, "connection: close");
        c->closing = l && l < e;
    }
    if (c->got < c->need) return 0;
    if (c->closing) { close(c->fd); c->fd = -1; }
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 6) { fprintf(stderr, "openloop PORT RATE CONNS SECONDS PATH [PATH2 SHARE2]\n"); return 2; }
    port = atoi(argv[1]);
    double rate = atof(argv[2]), secs = atof(argv[4]), share = argc > 7 ? atof(argv[7]) : 0;
    int nc = atoi(argv[3]);
    for (int k = 0; k < 2; k++)
        rlen[k] = snprintf(req[k], 512, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", k && argc > 6 ? argv[6] : argv[5]);
    q = malloc(QN * sizeof *q);
    ep = epoll_create1(0);
    struct conn *cs = calloc(nc, sizeof *cs), **idle = malloc(nc * sizeof *idle);
    int ni = 0;
    for (int i = 0; i < nc; i++) { cs[i].fd = -1; idle[ni++] = &cs[i]; }   /* dialled on first use */
    prctl(PR_SET_TIMERSLACK, 1);
    srand48(42);
    long t0 = now(), end = t0 + (long)(secs * 1e9), next = t0, t = t0, sent = 0, maxq = 0;
    struct epoll_event evs[256];
    for (;;) {
        for (; next <= t && next < end; sent++) {
            struct job j = {next, share > 0 && drand48() < share};
            if (ni) send_job(idle[--ni], j); else q[qt++ & (QN - 1)] = j;
            next += (long)(1e9 / rate * -log(1 - drand48()));
        }
        if ((long)(qt - qh) > maxq) maxq = qt - qh;
        if (next >= end && ni == nc) break;
        if (t > end + 10000000000L) { errs += nc - ni + (qt - qh); break; }
        long gap = next < end ? next - t : 1000000;
        struct timespec nap = {.tv_nsec = gap < 0 ? 0 : gap < 1000000 ? gap : 1000000};
        int n = syscall(SYS_epoll_pwait2, ep, evs, 256, &nap, NULL, 0);
        if (n < 0) n = epoll_wait(ep, evs, 256, 0);     /* before Linux 5.11 */
        for (int i = 0; i < n; i++) {
            struct conn *c = evs[i].data.ptr;
            if (c->due == 0) { close(c->fd); c->fd = -1; continue; }    /* closed while idle */
            if (!feed(c)) continue;
            long d = now() - c->due;
            int k = c->kind;
            hist[k][bucket(d)]++; cnt[k]++; if (d > mx[k]) mx[k] = d;
            c->due = 0;
            if (qh != qt) send_job(c, q[qh++ & (QN - 1)]); else idle[ni++] = c;
        }
        t = now();
    }
    double el = (now() - t0) / 1e9;
    printf("offered %.0f/s  achieved %.0f/s  errors %ld  dials %ld  max_backlog %ld\n",
           sent / secs, (cnt[0] + cnt[1]) / el, errs, dials, maxq);
    static const double ps[] = {50, 75, 90, 99, 99.9, 99.99};
    for (int k = 0; k < 2; k++) {
        if (!cnt[k]) continue;
        printf("%-10s n=%ld ", k ? argv[6] : argv[5], cnt[k]);
        for (int i = 0; i < 6; i++) {
            long acc = 0, lim = (long)ceil(cnt[k] * ps[i] / 100);
            int b = 0;
            for (; b < 4096 && (acc += hist[k][b]) < lim; b++) {}
            printf(" p%g=%.0fus", ps[i], value(b) / 1e3);
        }
        printf(" max=%.0fus\n", mx[k] / 1e3);
    }
    return 0;
}
