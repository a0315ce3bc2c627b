/* The client of benches/churn: a new connection for each request, in an open loop: they are due at a
 * steady rate, whether earlier ones have been answered or not, and their times count from then.
 *   cc -O3 -o churn churn.c
 *   ./churn PORT RATE PATH
 * goes on until its standard input ends and all is answered, or has failed; then prints what became of
 * every connection as JSON. An answer is good when it is a whole 200 and a clean end comes behind it.
 * Every other connection is silent for 5 ms first, as over a network: whoever drains meanwhile has it.
 *
 * Connections come from many addresses of the loopback, so that their ports do not run out. One thread,
 * which wakes once in a millisecond at the most: times are no more exact than that. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 8192, SOURCES = 32, ANSWER = 1024, GENERATIONS = 1024, REASONS = 32, SECONDS = 4096 };
enum { STEP_NS = 100000, STEPS = 300000 };      /* of the times: 0.1 ms, up to 30 s */
static const long PATIENCE_NS = 60000000000, SILENCE_NS = 5000000;

struct conn { int fd, got, sent; long due, begun; char in[ANSWER]; };
struct reason { char text[64]; long count; };
static struct conn conns[SLOTS];
static int unused[SLOTS], left = SLOTS;
static struct conn *silent[SLOTS];              /* a ring, in the order of their time */
static unsigned first, behind;
static char request[512];
static int port, length, ep;
static long good, failed, by[GENERATIONS], times[STEPS], late[STEPS], each[SECONDS];
static struct reason reasons[REASONS];

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}
static void note(long *histogram, long ns)
{
    long step = ns / STEP_NS;
    histogram[step < STEPS ? step : STEPS - 1]++;
}
/* Below which this share of them lies, in ms; 1 is for the longest. */
static double percentile(long *histogram, long all, double share)
{
    long goal = (long)(all * share), seen = 0;
    int step = 0;
    if (goal < 1) goal = 1;
    while (step < STEPS - 1 && (seen += histogram[step]) < goal) step++;
    return (step + 1) * (STEP_NS / 1e6);
}
static void end(struct conn *c)
{
    close(c->fd);
    c->fd = -1;
    unused[left++] = (int)(c - conns);
}
static void fail(struct conn *c, const char *what, const char *why)
{
    char text[64];
    int n = 0;
    snprintf(text, sizeof text, "%s: %s", what, why);
    while (n < REASONS - 1 && reasons[n].count && strcmp(reasons[n].text, text)) n++;
    strcpy(reasons[n].text, text);
    reasons[n].count++;
    failed++;
    end(c);
}
/* All has come: an answer, if it is whole and as it should be. */
static void judge(struct conn *c, long begin)
{
    c->in[c->got] = 0;
    char *body = strstr(c->in, "\r\n\r\n"), *field = strcasestr(c->in, "\r\ncontent-length: ");
    if (!c->got) return fail(c, "end", "without an answer");
    if (strncmp(c->in, "HTTP/1.1 200 ", 13)) return fail(c, "status", strtok(c->in, "\r"));
    if (!body || !field || field > body) return fail(c, "end", "in a head");
    if (atoi(field + 18) != c->in + c->got - body - 4) return fail(c, "end", "in a body");
    char *generation = strstr(body, " generation ");
    long t = now(), second = (t - begin) / 1000000000;
    by[generation ? atoi(generation + 12) % GENERATIONS : 0]++;
    note(times, t - c->due);
    if (second < SECONDS) each[second]++;
    good++;
    end(c);
}
/* Sends the request if the connection is there by now; it is at once, mostly. */
static void say(struct conn *c)
{
    ssize_t n = send(c->fd, request, length, MSG_NOSIGNAL);
    if (n != length && errno != EAGAIN) return fail(c, "send", strerror(errno));
    struct epoll_event event = {.events = n == length ? EPOLLIN : EPOLLOUT, .data.ptr = c};
    epoll_ctl(ep, c->sent < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &event);
    c->sent = n == length;
}
static void begin_one(long number, long due)
{
    struct conn *c = &conns[unused[--left]];
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010001 + number % SOURCES)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    c->got = 0, c->sent = -1, c->due = due, c->begun = now();
    note(late, c->begun - due);
    if (c->fd < 0) return fail(c, "socket", strerror(errno));
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c->fd, (void *)&from, sizeof from)) return fail(c, "bind", strerror(errno));
    if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) return fail(c, "connect", strerror(errno));
    if (number % 2) silent[behind++ % SLOTS] = c;
    else say(c);
}
static void speak(void)
{
    long t = now();
    while (first != behind && t - silent[first % SLOTS]->begun >= SILENCE_NS) say(silent[first++ % SLOTS]);
}
static void hear(struct conn *c, long begin)
{
    if (!c->sent) return say(c);
    ssize_t n = 1;
    while (n > 0 && c->got < ANSWER - 1 && (n = recv(c->fd, c->in + c->got, ANSWER - 1 - c->got, 0)) > 0) c->got += n;
    if (n == 0) return judge(c, begin);
    if (n > 0) return fail(c, "answer", "too long");
    if (errno != EAGAIN) fail(c, c->got ? "read, answer begun" : "read", strerror(errno));
}
static void give_up(void)
{
    long t = now();
    for (int n = 0; n < SLOTS; n++)
        if (conns[n].fd >= 0 && t - conns[n].begun > PATIENCE_NS) fail(&conns[n], "no answer", "within a minute");
}

int main(int argc, char **argv)
{
    if (argc != 4) { fprintf(stderr, "churn PORT RATE PATH\n"); return 2; }
    port = atoi(argv[1]);
    double rate = atof(argv[2]);
    length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", argv[3]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (int n = 0; n < SLOTS; n++) conns[n].fd = -1, unused[n] = n;
    ep = epoll_create1(0);
    struct epoll_event events[256], told = {.events = EPOLLIN};
    if (rate <= 0 || epoll_ctl(ep, EPOLL_CTL_ADD, 0, &told)) { fprintf(stderr, "no rate, or standard input is no pipe\n"); return 2; }

    long begin = now(), stop = 0, begun = 0, due = 0, looked = begin, most = 0;
    while (!stop || left < SLOTS) {
        int n = epoll_wait(ep, events, 256, 1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) hear(events[i].data.ptr, begin);
            else stop = now(), epoll_ctl(ep, EPOLL_CTL_DEL, 0, NULL);
        }
        speak();
        long t = now();
        if (!stop) due = (long)((t - begin) / 1e9 * rate);
        for (; !stop && begun < due && left; begun++) begin_one(begun, begin + (long)(begun / rate * 1e9));
        if (SLOTS - left > most) most = SLOTS - left;
        if (t - looked > 1000000000) give_up(), looked = t;
    }
    double seconds = (stop - begin) / 1e9;
    long least = seconds >= 3 ? each[1] : 0;
    for (int n = 2; n < (int)seconds - 1 && n < SECONDS; n++) if (each[n] < least) least = each[n];
    printf("{\"seconds\": %.3f, \"due\": %ld, \"begun\": %ld, \"good\": %ld, \"failed\": %ld, \"least\": %ld, \"most\": %ld, ",
           seconds, due, begun, good, failed, least, most);
    printf("\"p50\": %.1f, \"p99\": %.1f, \"longest\": %.1f, \"late_p99\": %.1f, \"late_longest\": %.1f, \"generations\": {",
           percentile(times, good, 0.5), percentile(times, good, 0.99), percentile(times, good, 1),
           percentile(late, begun, 0.99), percentile(late, begun, 1));
    for (int n = 0, many = 0; n < GENERATIONS; n++) if (by[n]) printf("%s\"%d\": %ld", many++ ? ", " : "", n, by[n]);
    printf("}, \"reasons\": {");
    for (int n = 0; n < REASONS && reasons[n].count; n++)
        printf("%s\"%s\": %ld", n ? ", " : "", reasons[n].text, reasons[n].count);
    printf("}}\n");
    return 0;
}
