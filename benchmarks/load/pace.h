/* What the load generators share: the clock, and waiting for one's turn. */
#ifndef PACE_H
#define PACE_H
#include <stdint.h>
#include <time.h>

static inline int64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* Sleep until the turn of number `turn` at `rate` a second; a rate of 0 never sleeps. One who is
 * late goes on at once, so that the rate is kept on average. */
static inline void wait_for_turn(int64_t began, int64_t turn, double rate) {
    if (rate <= 0) return;
    int64_t due = began + (int64_t)((double)turn / rate * 1e9);
    struct timespec until = {due / 1000000000, due % 1000000000};
    if (due > now_ns()) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0);
}
#endif
