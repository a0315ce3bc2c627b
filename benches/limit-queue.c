/* One shared queue: N threads, each of which takes the next connection that is ready, whichever that is,
 * reads one request, answers it and puts the connection back. Nothing is parsed but "/slow", which sleeps for
 * 100 ms. No slow request delays a fast one while a thread is free: what a server with as many threads can
 * come near to. Usage: limit-queue PORT THREADS */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char ANSWER[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n"
    "Date: Mon, 23 Nov 2026 00:00:00 GMT\r\nServer: limit\r\n\r\nHello, World!";

static int queue, listener;

static void arm(int op, int fd) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = fd};
    epoll_ctl(queue, op, fd, &event);
}

static void *serve(void *unused) {
    char request[65536];
    struct epoll_event event;
    for (;;) {
        if (epoll_wait(queue, &event, 1, -1) < 1) continue;
        int fd = event.data.fd;
        if (fd == listener) {
            int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            arm(EPOLL_CTL_MOD, listener);
            if (client >= 0) arm(EPOLL_CTL_ADD, client);
            continue;
        }
        ssize_t n = read(fd, request, sizeof request);
        if (n <= 0) {
            close(fd);
            continue;
        }
        if (n > 9 && !memcmp(request, "GET /slow", 9)) usleep(100000);
        if (write(fd, ANSWER, sizeof ANSWER - 1) < 0) {
            close(fd);
            continue;
        }
        arm(EPOLL_CTL_MOD, fd);
    }
    return unused;
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: limit-queue PORT THREADS\n"), 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int one = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024))
        return perror("limit-queue"), 1;
    queue = epoll_create1(EPOLL_CLOEXEC);
    arm(EPOLL_CTL_ADD, listener);
    for (int n = atoi(argv[2]); n > 1; n--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL)) return perror("limit-queue"), 1;
    }
    serve(NULL);
}
