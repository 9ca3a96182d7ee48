/* spawner RATE SECONDS BLOCK PROGRAM [ARGUMENT...]
 *
 * Starts PROGRAM again and again, RATE times a second (0: as fast as it goes), each with its number
 * as a further last argument, and waits for each. Prints how many really ran, and the least
 * nanoseconds one of them took, as the mean of the quickest BLOCK in a row. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "pace.h"

enum { MOST_ARGUMENTS = 32 };
extern char **environ;

int main(int count, char **words) {
    if (count < 5 || count - 4 > MOST_ARGUMENTS) return 2;
    double rate = atof(words[1]);
    int64_t length = (int64_t)(atof(words[2]) * 1e9);
    long block = atol(words[3]);
    char number[24];
    char *arguments[MOST_ARGUMENTS + 2] = {0};
    memcpy(arguments, words + 4, (size_t)(count - 4) * sizeof *arguments);
    arguments[count - 4] = number;

    int64_t began = now_ns(), block_began = began;
    double least = 1e18;
    long ran = 0;
    while (now_ns() - began < length) {
        wait_for_turn(began, ran, rate);
        snprintf(number, sizeof number, "%ld", ran);
        pid_t child;
        int status, error = posix_spawn(&child, words[4], 0, 0, arguments, environ);
        if (error) {
            fprintf(stderr, "spawner: %s: %s\n", words[4], strerror(error));
            return 1;
        }
        if (waitpid(child, &status, 0) != child || status) {
            fprintf(stderr, "spawner: %s ended with status %d\n", words[4], status);
            return 1;
        }
        if (++ran % block == 0) {
            int64_t at = now_ns();
            double each = (double)(at - block_began) / (double)block;
            if (each < least) least = each;
            block_began = at;
        }
    }
    double seconds = (double)(now_ns() - began) / 1e9;
    printf("{\"count\": %ld, \"seconds\": %.6f, \"least_ns\": %.1f}\n", ran, seconds,
           ran < block ? 0 : least);
}
