/* calls getpid|open|connect SECONDS BLOCK [FILE]
 *
 * Repeats one system call (open: openat of FILE for reading, and close; connect: a TCP connection
 * over loopback, from socket to close). Prints how often, and the least nanoseconds one took, as the
 * mean of the quickest BLOCK in a row. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pace.h"

static struct sockaddr_in there;
static int listener;

/* Listens on a port of the kernel's choice. */
static int begin_to_listen(void) {
    socklen_t size = sizeof there;
    there.sin_family = AF_INET;
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return listener < 0 || bind(listener, (struct sockaddr *)&there, size) ||
           listen(listener, 16) || getsockname(listener, (struct sockaddr *)&there, &size);
}

/* Connects, accepts, and resets, so that no port is kept waiting. */
static int connect_once(void) {
    struct linger at_once = {1, 0};
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0 || connect(client, (struct sockaddr *)&there, sizeof there)) return 1;
    int server = accept4(listener, 0, 0, SOCK_CLOEXEC);
    if (server < 0) return 1;
    setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return close(client) || close(server);
}

int main(int count, char **words) {
    if (count < 4) return 2;
    int opening = !strcmp(words[1], "open");
    int connecting = !strcmp(words[1], "connect");
    if (opening && count < 5) return 2;
    if (connecting && begin_to_listen()) return 1;
    int64_t length = (int64_t)(atof(words[2]) * 1e9);
    long block = atol(words[3]), done = 0;
    double least = 1e18;
    int64_t began = now_ns(), at = began;
    while (at - began < length) {
        if (opening) {
            for (long each = 0; each < block; each++) {
                int file = openat(AT_FDCWD, words[4], O_RDONLY | O_CLOEXEC);
                if (file < 0 || close(file)) return 1;
            }
        } else if (connecting) {
            for (long each = 0; each < block; each++)
                if (connect_once()) return 1;
        } else {
            for (long each = 0; each < block; each++) syscall(SYS_getpid);
        }
        int64_t ended = now_ns();
        double mean = (double)(ended - at) / (double)block;
        if (mean < least) least = mean;
        done += block;
        at = ended;
    }
    printf("{\"count\": %ld, \"seconds\": %.6f, \"least_ns\": %.1f}\n", done,
           (double)(at - began) / 1e9, least);
}
