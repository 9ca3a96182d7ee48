/* calls getpid|open|connect|datagram SECONDS BLOCK [FILE]
 *
 * Repeats one thing that programs ask of the kernel (open: openat of FILE for reading, and close;
 * connect: a TCP connection over loopback; datagram: one more to a destination). Prints how often,
 * and the least nanoseconds one took, as the mean of the quickest BLOCK in a row. */
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

static struct sockaddr_in place;
static const char *path;
static int server, sender;

static int get(void) { return syscall(SYS_getpid) < 0; }

static int open_and_close(void) {
    int file = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    return file < 0 || close(file);
}

static int connect_and_close(void) {
    struct linger at_once = {1, 0}; /* leaves no port waiting */
    int client = socket(AF_INET, SOCK_STREAM, 0);
    if (client < 0 || connect(client, (void *)&place, sizeof(place))) return 1;
    int accepted = accept(server, 0, 0);
    setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    return accepted < 0 || close(client) || close(accepted);
}

static int send_datagram(void) {
    return sendto(sender, "x", 1, 0, (void *)&place, sizeof(place)) != 1;
}

/* Listen somewhere on loopback; nobody reads what comes. */
static int serve(int type) {
    socklen_t size = sizeof(place);
    server = socket(AF_INET, type, 0);
    sender = socket(AF_INET, SOCK_DGRAM, 0);
    place = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return bind(server, (void *)&place, size) || getsockname(server, (void *)&place, &size) ||
           (type == SOCK_STREAM && listen(server, 16));
}

int main(int count, char **words) {
    if (count < 4) return 2;
    int (*call)(void) = get;
    if (!strcmp(words[1], "open")) {
        if (count < 5) return 2;
        path = words[4];
        call = open_and_close;
    } else if (!strcmp(words[1], "connect")) {
        if (serve(SOCK_STREAM)) return 1;
        call = connect_and_close;
    } else if (!strcmp(words[1], "datagram")) {
        if (serve(SOCK_DGRAM)) return 1;
        call = send_datagram;
    }
    int64_t length = (int64_t)(atof(words[2]) * 1e9);
    long block = atol(words[3]), done = 0;
    double least = 1e18;
    int64_t began = now_ns(), at = began;
    while (at - began < length) {
        for (long each = 0; each < block; each++)
            if (call()) return 1;
        int64_t ended = now_ns();
        double mean = (double)(ended - at) / (double)block;
        if (mean < least) least = mean;
        done += block;
        at = ended;
    }
    printf("{\"count\": %ld, \"seconds\": %.6f, \"least_ns\": %.1f}\n", done,
           (double)(at - began) / 1e9, least);
}
