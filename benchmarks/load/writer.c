/* writer FOLDER COUNT NUMBER
 *
 * Makes COUNT files in FOLDER, writes into each, removes them all, and ends. A name says who made
 * it: NUMBER.PID.INDEX */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **words) {
    if (count != 4) return 2;
    char name[4096];
    long files = atol(words[2]);
    for (int removing = 0; removing < 2; removing++)
        for (long index = 0; index < files; index++) {
            snprintf(name, sizeof name, "%s/%s.%d.%ld", words[1], words[3], (int)getpid(), index);
            if (removing) {
                if (unlink(name)) return 1;
                continue;
            }
            int file = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
            if (file < 0 || write(file, "x", 1) != 1 || close(file)) return 1;
        }
    return 0;
}
