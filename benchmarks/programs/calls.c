/* Nanoseconds of single system calls, one "name ns" a line: the best of several rounds.
 * Usage: calls FILE, where FILE has at least 64 KiB. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 7, CALLS = 50000 };

static const char *file;
static int descriptor;
static char buffer[4096];

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static void null_call(int i)
{
    (void)i;
    getppid();
}

static void read_clock(int i)
{
    struct timespec time;
    (void)i;
    clock_gettime(CLOCK_MONOTONIC, &time);
}

static void read_page(int i)
{
    if (pread(descriptor, buffer, sizeof buffer, (i % 16) * sizeof buffer) != sizeof buffer)
        abort();
}

static void open_close(int i)
{
    (void)i;
    int opened = open(file, O_RDONLY);
    if (opened < 0)
        abort();
    close(opened);
}

static void measure(const char *name, void (*call)(int))
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < CALLS; i++)
            call(i);
        double each = (now() - start) / CALLS;
        if (each < best)
            best = each;
    }
    printf("%s %.1f\n", name, best);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    file = argv[1];
    descriptor = open(file, O_RDONLY);
    if (descriptor < 0)
        return 1;
    measure("null", null_call);
    measure("clock_gettime", read_clock);
    measure("pread", read_page);
    measure("open_close", open_close);
    return 0;
}
