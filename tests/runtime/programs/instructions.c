/* Instructions that are illegal in an enclave: CPUID, RDTSC, RDTSCP. What they answer differs between machines; what must
   hold of it does not, and that is what is printed. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define HOLDS(condition) printf("%s: %s\n", (condition) ? "holds" : "FAILS", #condition)

struct answer {
    uint32_t a, b, c, d;
};

static struct answer cpuid(uint32_t leaf, uint32_t subleaf)
{
    uint64_t a = leaf | 0xffffffff00000000, b = ~0ul, c = subleaf | 0xffffffff00000000, d = ~0ul;
    __asm__ volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    if ((a | b | c | d) >> 32) puts("FAILS: the upper halves are cleared");
    return (struct answer){(uint32_t)a, (uint32_t)b, (uint32_t)c, (uint32_t)d};
}

static uint64_t rdtsc(void)
{
    uint64_t a = ~0ul, d = ~0ul;
    __asm__ volatile("lfence\n rdtsc\n lfence" : "+a"(a), "+d"(d)::"memory");
    if ((a | d) >> 32) puts("FAILS: the upper halves are cleared");
    return d << 32 | a;
}

static uint64_t rdtscp(uint32_t *aux)
{
    uint64_t a = ~0ul, d = ~0ul, c = ~0ul;
    __asm__ volatile("rdtscp\n lfence" : "+a"(a), "+d"(d), "+c"(c)::"memory");
    if ((a | d | c) >> 32) puts("FAILS: the upper halves are cleared");
    *aux = (uint32_t)c;
    return d << 32 | a;
}

static uint64_t xcr0(void)
{
    uint32_t a, d;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (uint64_t)d << 32 | a;
}

static int printable(const void *text, size_t size)
{
    for (const unsigned char *at = text; size-- > 0; at++)
        if (*at && (*at < ' ' || *at > '~')) return 0;
    return 1;
}

static void names(void)
{
    struct answer first = cpuid(0, 0);
    uint32_t vendor[3] = {first.b, first.d, first.c};
    struct answer brand[3];
    for (uint32_t i = 0; i < 3; i++) brand[i] = cpuid(0x80000002 + i, 0);
    HOLDS(printable(vendor, 12));
    HOLDS(printable(brand, 48));
    HOLDS(first.a >= 0xd);
    HOLDS(cpuid(0x80000000, 0).a >= 0x80000008);
    /* Which CPU answers is told by some leaves natively, and nobody else's business. */
    int same = 1;
    for (int i = 0; i < 1000; i++) {
        struct answer now = cpuid(1, 0), again = cpuid(1, 0);
        same &= now.a == again.a && now.c == again.c && now.d == again.d && cpuid(0, 0).a == first.a;
    }
    HOLDS(same);
}

static void features(void)
{
    struct answer one = cpuid(1, 0), seven = cpuid(7, 0);
    uint64_t state = xcr0();
    int avx = one.c >> 28 & 1, avx2 = seven.b >> 5 & 1, avx512 = seven.b >> 16 & 1;
    HOLDS(one.c >> 27 & 1);
    HOLDS(one.d >> 26 & 1);
    HOLDS(!avx || (state & 6) == 6);
    HOLDS(!avx2 || avx);
    HOLDS(!avx512 || (state & 0xe6) == 0xe6);
    HOLDS(seven.b & 1);
    /* The C library has looked, too, and a program may do what it says. */
    if (__builtin_cpu_supports("avx2")) {
        uint32_t sum[8] __attribute__((aligned(32)));
        __asm__ volatile("vpcmpeqd %%ymm1, %%ymm1, %%ymm1\n vpsubd %%ymm1, %%ymm1, %%ymm0\n vmovdqa %%ymm0, %0\n vzeroupper"
                         : "=m"(sum)::"xmm0", "xmm1");
        if (sum[7] != 0) puts("FAILS: AVX2 computes");
    }
    uint32_t caches = 0;
    while (caches < 100 && cpuid(4, caches).a & 0x1f) caches++;
    HOLDS(caches < 10);
}

static int untouched(const unsigned char *at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (at[i] != 0xa5) return 0;
    return 1;
}

/* What ld.so does by these sizes: it saves registers in an area on the stack. */
static void extended_state(void)
{
    struct answer all = cpuid(0xd, 0), compact = cpuid(0xd, 1);
    uint64_t state = xcr0();
    HOLDS(((uint64_t)all.d << 32 | all.a) >= state);
    HOLDS(all.b <= all.c && all.b >= 576);
    uint32_t end = 576;
    for (uint32_t i = 2; i < 63; i++) {
        struct answer part = cpuid(0xd, i);
        if (state >> i & 1 && part.b + part.a > end) end = part.b + part.a;
    }
    HOLDS(end <= all.b);

    size_t room = 64 << 10;
    unsigned char *area = aligned_alloc(64, room);
    memset(area, 0xa5, room);
    memset(area + 512, 0, 64);
    __asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((uint32_t)state), "d"((uint32_t)(state >> 32)) : "memory");
    HOLDS(untouched(area + all.b, room - all.b));
    if (compact.a >> 1 & 1) {
        memset(area, 0xa5, room);
        memset(area + 512, 0, 64);
        __asm__ volatile("xsavec64 (%0)" ::"r"(area), "a"((uint32_t)state), "d"((uint32_t)(state >> 32)) : "memory");
        if (!untouched(area + compact.b, room - compact.b)) puts("FAILS: XSAVEC keeps to its size");
    }
    free(area);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last;
static int backwards;

static void *count(void *unused)
{
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&lock);
        uint64_t now = rdtsc();
        backwards += now < last;
        last = now;
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

static void counter(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, count, NULL);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    HOLDS(backwards == 0);

    uint32_t aux = ~0u;
    uint64_t before = rdtsc(), middle = rdtscp(&aux), after = rdtsc();
    HOLDS(before <= middle && middle <= after);
    HOLDS((aux & 0xfff) < sysconf(_SC_NPROCESSORS_CONF));
    struct timespec while_ = {.tv_nsec = 20000000};
    before = rdtsc();
    nanosleep(&while_, NULL);
    HOLDS(rdtsc() - before > 1000000);
}

/* An instruction that begins in one page and ends in the next. */
static void across_pages(void)
{
    static const unsigned char tscp[] = {0x0f, 0x01, 0xf9, 0xc3};
    static const unsigned char id[] = {0x53, 0x31, 0xc0, 0x31, 0xc9, 0x0f, 0xa2, 0x5b, 0xc3};
    unsigned char *code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int cut = 1; cut < 3; cut++) {
        memcpy(code + 4096 - cut, tscp, sizeof tscp);
        uint32_t low;
        __asm__ volatile("call *%1" : "=a"(low) : "r"(code + 4096 - cut) : "rcx", "rdx", "memory");
    }
    memcpy(code + 4096 - 6, id, sizeof id);
    uint32_t highest;
    __asm__ volatile("call *%1" : "=a"(highest) : "r"(code + 4096 - 6) : "rcx", "rdx", "memory");
    HOLDS(highest == cpuid(0, 0).a);
    munmap(code, 8192);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    names();
    features();
    extended_state();
    counter();
    across_pages();
    return 0;
}
