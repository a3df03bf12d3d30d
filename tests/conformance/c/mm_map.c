/* mmap, munmap and mprotect: what is refused and in which order, splitting, holes, guard pages. */
#include "conformance.h"
#include <setjmp.h>

#define PAGE 4096ul
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define MAP(...) (mmap(__VA_ARGS__) == MAP_FAILED ? -1 : 0)

static sigjmp_buf back;
static volatile int last_signal, last_code;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    last_signal = signal;
    last_code = info->si_code;
    siglongjmp(back, 1);
}

/* What reading and then writing a byte does. */
static void probe(const char *what, volatile char *at)
{
    const char *done = "nothing";
    if (!sigsetjmp(back, 1)) {
        char c = *at;
        done = "read";
        *at = c;
        printf("%s: read and written\n", what);
        return;
    }
    printf("%s: %s, then signal %d code %d\n", what, done, last_signal, last_code);
}

static void refusals(void)
{
    int file = open("file", O_RDWR | O_CREAT, 0644), reader = open("file", O_RDONLY);
    int writer = open("file", O_WRONLY), directory = open(".", O_RDONLY), pipes[2];
    REQUIRE(pipe(pipes) == 0 && write(file, "0123456789", 10) == 10);

    TELL(MAP(0, 0, PROT_READ, ANON, -1, 0));
    TELL(MAP(0, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
    TELL(MAP(0, PAGE, PROT_READ, ANON, -1, 1));
    TELL(MAP(0, -1ul, PROT_READ, ANON, -1, 0));
    TELL(MAP(0, 1ul << 47, PROT_READ, ANON, -1, 0));
    TELL(MAP((void *)(PAGE * 100 + 1), PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0));
    TELL(MAP((void *)0xffff800000000000, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0));
    TELL(MAP(0, PAGE, PROT_READ, MAP_PRIVATE, -1, 0));
    TELL(MAP(0, PAGE, PROT_READ, MAP_PRIVATE, 999, 0));
    TELL(MAP(0, PAGE, PROT_READ, 0, file, 0));
    TELL(MAP(0, 0, PROT_READ, MAP_PRIVATE, 999, 0));
    TELL(MAP(0, PAGE, PROT_READ, MAP_PRIVATE, directory, 0));
    TELL(MAP(0, PAGE, PROT_READ, MAP_PRIVATE, pipes[0], 0));
    TELL(MAP(0, PAGE, PROT_READ, MAP_PRIVATE, writer, 0));
    TELL(MAP(0, PAGE, PROT_WRITE, MAP_SHARED, writer, 0));
    TELL(MAP(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0));
    TELL(MAP(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0));
    TELL(MAP(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, file, 0));
    TELL(MAP(0, PAGE, PROT_READ, MAP_PRIVATE, file, 1));
    TELL(MAP(0, 2 * PAGE, PROT_READ, MAP_PRIVATE, file, -PAGE));
    TELL(MAP(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, file, 0));

    TELL(munmap((void *)1, PAGE));
    TELL(munmap((void *)PAGE, 0));
    TELL(munmap((void *)PAGE, -1ul));
    TELL(munmap((void *)0xffff800000000000, PAGE));
    TELL(mprotect((void *)1, PAGE, PROT_READ));
    TELL(mprotect((void *)PAGE, 0, PROT_READ));
    TELL(mprotect((void *)PAGE, PAGE, PROT_READ));
    TELL(mprotect((void *)PAGE, PAGE, 0x40));
    TELL(mprotect((void *)PAGE, -1ul, PROT_READ));
    TELL(mprotect((void *)PAGE, PAGE, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP));
}

static void splits_and_holes(void)
{
    char *p = mmap(0, 8 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    REQUIRE(p != MAP_FAILED);
    memset(p, 'x', 8 * PAGE);
    TELL(mprotect(p + 2 * PAGE, 2 * PAGE, PROT_READ));
    probe("page 1", p + PAGE);
    probe("page 2", p + 2 * PAGE);
    probe("page 4", p + 4 * PAGE);
    TELL(mprotect(p + 5 * PAGE, PAGE, PROT_NONE));
    probe("guard page", p + 5 * PAGE);
    TELL(munmap(p + 6 * PAGE, PAGE));
    probe("hole", p + 6 * PAGE);
    TELL(munmap(p + 5 * PAGE, 2 * PAGE));
    TELL(mprotect(p + 4 * PAGE, 4 * PAGE, PROT_READ));
    probe("before the hole", p + 4 * PAGE);
    probe("after the hole", p + 7 * PAGE);
    TELL(mprotect(p, 5 * PAGE, PROT_READ | PROT_WRITE));
    TELL(p[0] == 'x' && p[2 * PAGE] == 'x' && p[5 * PAGE - 1] == 'x');
    TELL(mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, ANON | MAP_FIXED, -1, 0) == p + PAGE);
    TELL(p[PAGE] == 0 && p[PAGE - 1] == 'x' && p[2 * PAGE] == 'x');
    TELL(MAP(p, PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0));
    TELL(mmap(p + 5 * PAGE, PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0) == p + 5 * PAGE);
    TELL(mmap(p + 6 * PAGE, 1, PROT_READ, ANON, -1, 0) == p + 6 * PAGE);
    TELL(munmap(p, 8 * PAGE));
    probe("unmapped", p);
}

static void reservations(void)
{
    size_t size = 16 << 20;
    char *p = mmap(0, size, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    REQUIRE(p != MAP_FAILED);
    probe("reserved", p + size / 2);
    TELL(mprotect(p + size / 2, 4 * PAGE, PROT_READ | PROT_WRITE));
    probe("committed", p + size / 2);
    long sum = 0;
    for (size_t i = 0; i < 4 * PAGE; i++)
        sum += p[size / 2 + i];
    TELL(sum);
    p[size / 2] = 7;
    TELL(mprotect(p + size / 2, PAGE, PROT_NONE));
    TELL(mprotect(p + size / 2, PAGE, PROT_READ));
    TELL(p[size / 2]);
    TELL(munmap(p, size));
}

static void reuse(void)
{
    /* Memory given back and taken again is zero, however often. */
    long sum = 0;
    for (int i = 0; i < 50; i++) {
        char *p = mmap(0, 16 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
        for (size_t at = 0; at < 16 * PAGE; at += 64)
            sum += p[at];
        memset(p, 'y', 16 * PAGE);
        munmap(p, (1 + i % 16) * PAGE);
        munmap(p, 16 * PAGE);
    }
    TELL(sum);
}

static void code(void)
{
    static const unsigned char answer[] = {0xb8, 42, 0, 0, 0, 0xc3};
    char *p = mmap(0, PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    memcpy(p, answer, sizeof answer);
    if (sigsetjmp(back, 1))
        printf("executing data: signal %d code %d\n", last_signal, last_code);
    else
        printf("executing data gave %d\n", ((int (*)(void))p)());
    TELL(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
    TELL(((int (*)(void))p)());
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    refusals();
    splits_and_holes();
    reservations();
    reuse();
    code();
    return 0;
}
