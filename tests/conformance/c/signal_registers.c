// Handlers that use every register leave those of the interrupted code alone: x87, SSE, AVX, flags, red zone.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static volatile int ticks;

__attribute__((target("avx2"))) static void use_avx(void) {
    __asm__ volatile("vpcmpeqd %%ymm0,%%ymm0,%%ymm0; vmovdqa %%ymm0,%%ymm1; vmovdqa %%ymm0,%%ymm7; vmovdqa %%ymm0,%%ymm15" ::: "xmm0", "xmm1", "xmm7", "xmm15");
}

static void tick(int signal) {
    (void)signal;
    ticks++;
    if (__builtin_cpu_supports("avx2")) use_avx();
    __asm__ volatile("fld1; fld1; fld1; std; cld; stc" ::: "cc");
    __asm__ volatile("fninit");
}

// The leaf function keeps its sum in the red zone.
static __attribute__((noinline, optimize("O0"))) long leaf(long n) {
    long sum = 0;
    for (long i = 0; i < n; i++) sum += i ^ (sum >> 3);
    return sum;
}

__attribute__((target("avx2"), noinline)) static int avx_keeps(long rounds) {
    unsigned long in[4] = {1, 2, 3, 4}, out[4] = {0};
    __asm__ volatile("vmovdqu (%0),%%ymm7; mov %2,%%rcx; 1: vpaddq %%ymm7,%%ymm7,%%ymm0; vpsubq %%ymm7,%%ymm0,%%ymm7; dec %%rcx; jnz 1b; vmovdqu %%ymm7,(%1); vzeroupper" ::"r"(in), "r"(out), "r"(rounds) : "rcx", "xmm0", "xmm7", "memory", "cc");
    return memcmp(in, out, sizeof in) == 0;
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, 0);
    struct itimerval it = {{0, 500}, {0, 500}};
    long expected = leaf(3000000), good = 1;
    // Rounding upwards.
    unsigned mxcsr = 0x5f80;
    unsigned short control = 0xb7f;
    __asm__ volatile("ldmxcsr %0; fldcw %1" ::"m"(mxcsr), "m"(control));
    setitimer(ITIMER_REAL, &it, 0);
    int avx = 1;
    long double x = 1.0L;
    while (ticks < 100) {
        good &= leaf(3000000) == expected;
        if (__builtin_cpu_supports("avx2")) avx &= avx_keeps(1000000);
        for (int i = 0; i < 100000; i++) x = x * 1.5L / 1.5L;
    }
    memset(&it, 0, sizeof it);
    setitimer(ITIMER_REAL, &it, 0);
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(control));
    printf("integers %ld vectors %d x87 %d rounding %d\n", good, avx, x > 0.99L && x < 1.01L, (mxcsr & 0x6000) == 0x4000 && control == 0xb7f);
    return 0;
}
