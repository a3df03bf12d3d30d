// Computes while a timer interrupts it, with registers of every kind in use, and tells whether the result is right.
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

static volatile sig_atomic_t ticks;
static void tick(int signal) { (void)signal; ticks++; }

static uint64_t integers(void) {
    uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8;
    for (int i = 0; i < 2000; i++) {
        a += b ^ c; b += c ^ d; c += d ^ e; d += e ^ f; e += f ^ g; f += g ^ h; g += h ^ a; h = h * 31 + a;
    }
    return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h;
}

static double floats(void) {
    double s = 1, t = 2, u = 3, v = 4;
    long double x = 1;
    for (int i = 1; i < 2000; i++) {
        s = s * 1.0000001 + 1.0 / i; t = t * 0.9999999 + s; u += s * t; v = v * 0.5 + u; x = x * 0.5L + i;
    }
    return s + t + u + v + (double)x;
}

int main(int argc, char **argv) {
    int wanted = argc > 1 ? atoi(argv[1]) : 0;
    uint64_t integer = integers();
    double real = floats();
    struct sigaction action = {.sa_handler = tick};
    sigaction(SIGALRM, &action, 0);
    struct itimerval every = {{0, 200}, {0, 200}};
    if (wanted) setitimer(ITIMER_REAL, &every, 0);
    while (ticks < wanted)
        if (integers() != integer || floats() != real) { puts("computed wrong"); return 1; }
    puts("computed right");
    return 0;
}
