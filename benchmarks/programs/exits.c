/* Nanoseconds of the ways out of an enclave, one "name ns" a line. Each is made many times, and few others meanwhile.
 * Usage: exits NAME COUNT */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

/* A host call: the kernel asks the host for the time. EEXIT, EENTER. */
static void host_call(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_RAW, &time);
}

static long (*made)(void);

/* A system call that no binding replaced. AEX, EENTER, EEXIT, ERESUME. */
static void trapped_call(void)
{
    made();
}

/* Nothing leaves: a bound system call. */
static void bound_call(void)
{
    getppid();
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    static const unsigned char code[] = {0xb8, SYS_getppid, 0, 0, 0, 0x0f, 0x05, 0xc3};
    void *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return 1;
    memcpy(page, code, sizeof code);
    made = (long (*)(void))page;

    void (*call)(void) = !strcmp(argv[1], "host") ? host_call : !strcmp(argv[1], "trapped") ? trapped_call : bound_call;
    int count = atoi(argv[2]);
    double start = now();
    for (int i = 0; i < count; i++)
        call();
    printf("%s %.1f\n", argv[1], (now() - start) / count);
    return 0;
}
