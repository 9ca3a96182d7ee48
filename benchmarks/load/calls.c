/* calls getpid|open SECONDS BLOCK [FILE]
 *
 * Repeats one system call (open: openat of FILE for reading, and close). Prints how often, and the
 * least nanoseconds one took, as the mean of the quickest BLOCK in a row. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pace.h"

int main(int count, char **words) {
    if (count < 4) return 2;
    int opening = !strcmp(words[1], "open");
    if (opening && count < 5) return 2;
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
