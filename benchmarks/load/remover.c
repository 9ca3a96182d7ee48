/* remover make|remove FOLDER COUNT
 *
 * Makes, or removes, the files 0 to COUNT-1 in FOLDER as fast as it goes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pace.h"

int main(int count, char **words) {
    if (count != 4) return 2;
    int making = !strcmp(words[1], "make");
    long files = atol(words[3]);
    char name[4096];
    int64_t began = now_ns();
    for (long index = 0; index < files; index++) {
        snprintf(name, sizeof name, "%s/%ld", words[2], index);
        if (making) {
            int file = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
            if (file < 0 || close(file)) return 1;
        } else if (unlink(name)) {
            return 1;
        }
    }
    printf("{\"count\": %ld, \"seconds\": %.6f, \"least_ns\": 0}\n", files,
           (double)(now_ns() - began) / 1e9);
}
