/* A program whose host lies: it makes the kernel use every host call, believes nothing of what comes back, and looks
   whether its own memory is as it left it. Exit codes: 0 nothing amiss; otherwise FAIL's first argument.

   besieged ROUNDS SEED */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { MEMORY = 10, GUARD, TOO_MUCH, BACKWARDS, NO_TIME, EVENTS, STAT, FILE_CONTENT, PIPE_CONTENT, NOT_ZERO, REGISTERS };

#define FAIL(code, ...)                                                                            \
    do {                                                                                           \
        fprintf(stderr, "besieged: " __VA_ARGS__);                                                 \
        fputc('\n', stderr);                                                                       \
        _exit(code);                                                                               \
    } while (0)

static uint64_t seed;

/* A number that depends on the place only. */
static uint64_t pattern(uint64_t at)
{
    uint64_t z = at * 0x9e3779b97f4a7c15 + seed;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    return z ^ z >> 27;
}

static void fill(uint64_t *words, size_t count, uint64_t place)
{
    for (size_t i = 0; i < count; i++)
        words[i] = pattern(place + i);
}

static void check(const uint64_t *words, size_t count, uint64_t place, int code, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (words[i] != pattern(place + i))
            FAIL(code, "%s: word %zu of %zu has changed", what, i, count);
}

enum { STATIC = 8192, HEAP = 16384, STACK = 512 };
static uint64_t in_data[STATIC] = {1}, in_bss[STATIC];
static uint64_t *in_heap;

static void check_memory(void)
{
    check(in_data, STATIC, 1 << 20, MEMORY, "data");
    check(in_bss, STATIC, 2 << 20, MEMORY, "bss");
    check(in_heap, HEAP, 3 << 20, MEMORY, "heap");
}

/* A buffer with guards on both sides, of which at most SIZE bytes may be written. */
enum { SIZE = 3000, GUARDS = 64 };
static void guarded(void (*use)(char *buffer))
{
    _Alignas(8) char all[GUARDS + SIZE + GUARDS];
    memset(all, 0x5a, sizeof all);
    use(all + GUARDS);
    for (int i = 0; i < GUARDS; i++)
        if (all[i] != 0x5a || all[GUARDS + SIZE + i] != 0x5a)
            FAIL(GUARD, "a byte beside a buffer was written");
}

static void use_read(char *buffer)
{
    ssize_t n = read(0, buffer, SIZE);
    if (n > SIZE || n < -1)
        FAIL(TOO_MUCH, "read: %zd of %d", n, SIZE);
    n = pread(0, buffer, SIZE, 100);
    if (n > SIZE || n < -1)
        FAIL(TOO_MUCH, "pread: %zd of %d", n, SIZE);
}

static void use_write(char *buffer)
{
    ssize_t n = write(1, buffer, SIZE);
    if (n > SIZE || n < -1)
        FAIL(TOO_MUCH, "write: %zd of %d", n, SIZE);
    n = write(1, buffer, 0);
    if (n > 0 || n < -1)
        FAIL(TOO_MUCH, "write: %zd of 0", n);
}

static void use_ioctl(char *buffer)
{
    static const struct {
        unsigned long request;
        size_t size;
    } requests[] = {{TCGETS, 36},     {TIOCGWINSZ, 8}, {FIONREAD, 4}, {TIOCGPGRP, 4},
                    {TIOCOUTQ, 4},    {TCSETS, 36},    {TCFLSH, 0},   {TIOCGSID, 4}};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        memset(buffer, 0, SIZE);
        ioctl(i % 2, requests[i].request, buffer);
        for (size_t at = requests[i].size; at < SIZE; at++)
            if (buffer[at])
                FAIL(GUARD, "ioctl %#lx wrote more than %zu bytes", requests[i].request, requests[i].size);
    }
}

static void use_poll(void)
{
    struct pollfd fds[3] = {{0, POLLIN, 0}, {1, POLLOUT, 0}, {2, POLLPRI, 0}};
    for (int timeout = 0; timeout < 2; timeout++) {
        int n = poll(fds, 3, timeout);
        if (n > 3 || n < -1)
            FAIL(EVENTS, "poll: %d of 3", n);
        for (int i = 0; i < 3; i++)
            if (fds[i].fd != i || fds[i].revents & ~(fds[i].events | POLLERR | POLLHUP | POLLNVAL))
                FAIL(EVENTS, "poll: descriptor %d became %d with events %#x", i, fds[i].fd, fds[i].revents);
    }
}

static _Atomic uint64_t latest;

static void use_clocks(void)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID,
                                       CLOCK_THREAD_CPUTIME_ID, CLOCK_BOOTTIME};
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        struct timespec now = {0, 0};
        uint64_t before = atomic_load(&latest);
        if (syscall(SYS_clock_gettime, clocks[i], &now))
            continue;
        if (now.tv_nsec < 0 || now.tv_nsec > 999999999 || now.tv_sec < 0)
            FAIL(NO_TIME, "clock %d: %ld seconds, %ld nanoseconds", clocks[i], now.tv_sec, now.tv_nsec);
        if (clocks[i] == CLOCK_MONOTONIC) {
            uint64_t ns = (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
            if (ns < before)
                FAIL(BACKWARDS, "the clock went back from %lu to %lu", before, ns);
            while (before < ns && !atomic_compare_exchange_weak(&latest, &before, ns))
                ;
        }
        struct timespec step = {0, 0};
        if (!syscall(SYS_clock_getres, clocks[i], &step) && (step.tv_nsec < 0 || step.tv_nsec > 999999999))
            FAIL(NO_TIME, "resolution of clock %d: %ld nanoseconds", clocks[i], step.tv_nsec);
    }
}

static void use_streams(void)
{
    struct stat st = {0};
    for (int fd = 0; fd < 2; fd++)
        if (!fstat(fd, &st) && (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) || S_ISLNK(st.st_mode) || st.st_size < 0))
            FAIL(STAT, "stream %d: mode %#o, size %ld", fd, st.st_mode, st.st_size);
    for (int whence = SEEK_SET; whence <= SEEK_END; whence++)
        if (lseek(0, 10 * whence, whence) < -1)
            FAIL(STAT, "lseek gave a negative offset");
    for (int fd = 0; fd < 2; fd++) {
        int other = open(fd ? "/dev/stdout" : "/dev/stdin", O_RDWR | O_NONBLOCK);
        if (other >= 0) {
            fcntl(other, F_GETFL);
            isatty(other);
            close(other);
        }
    }
}

/* Asks the processor, which in an enclave is the host. */
static void use_cpuid(void)
{
    static const unsigned leaves[] = {0, 1, 7, 0xd, 0x12, 0x80000000, 0x80000004};
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
        unsigned a = leaves[i], c = 0;
        asm volatile("cpuid" : "+a"(a), "+c"(c) : : "ebx", "edx");
    }
}

static void use_pages(void)
{
    enum { PAGES = 40, WORDS = PAGES * 512 };
    uint64_t *words = mmap(0, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED)
        return;
    for (int i = 0; i < WORDS; i++)
        if (words[i])
            FAIL(NOT_ZERO, "a fresh page is not zero");
    fill(words, WORDS, 5 << 20);
    mprotect(words, 8 * 4096, PROT_READ);
    mprotect(words, 8 * 4096, PROT_READ | PROT_WRITE);
    check(words, WORDS, 5 << 20, MEMORY, "pages");
    if (!madvise(words + 512, 4096, MADV_DONTNEED))
        for (int i = 0; i < 512; i++)
            if (words[512 + i])
                FAIL(NOT_ZERO, "a page that was given back is not zero");
    munmap(words, PAGES * 4096);
}

/* A file in the enclave's memory, and pipes through it. */
static void use_files(int round)
{
    enum { WORDS = 4096 };
    static uint64_t words[WORDS];
    char name[32];
    snprintf(name, sizeof name, "/tmp/file%d", round % 4);
    int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file >= 0) {
        fill(words, WORDS, 6 << 20 | round);
        ssize_t written = pwrite(file, words, sizeof words, 0);
        memset(words, 0, sizeof words);
        sched_yield();
        ssize_t n = pread(file, words, sizeof words, 0);
        if (n > written || n % 8)
            FAIL(FILE_CONTENT, "a file has %zd of %zd bytes", n, written);
        if (n > 0)
            check(words, n / 8, 6 << 20 | round, FILE_CONTENT, "file");
        close(file);
    }
    int ends[2];
    if (!pipe(ends)) {
        uint64_t in[64], out[64];
        fill(in, 64, 7 << 20);
        if (write(ends[1], in, sizeof in) == sizeof in && read(ends[0], out, sizeof out) == sizeof out)
            check(out, 64, 7 << 20, PIPE_CONTENT, "pipe");
        close(ends[0]);
        close(ends[1]);
    }
}

/* Makes the kernel's heap grow: files are kept in it. */
static void use_much(void)
{
    enum { WORDS = 64 * 1024, PIECES = 16 };
    static uint64_t words[WORDS];
    int file = open("/tmp/much", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0)
        return;
    fill(words, WORDS, 9 << 20);
    int pieces = 0;
    while (pieces < PIECES && write(file, words, sizeof words) == sizeof words)
        pieces++;
    for (int i = 0; i < pieces; i++) {
        memset(words, 0, sizeof words);
        if (pread(file, words, sizeof words, (off_t)i * sizeof words) == sizeof words)
            check(words, WORDS, 9 << 20, FILE_CONTENT, "large file");
    }
    close(file);
    unlink("/tmp/much");
}

/* Grows and shrinks what the kernel keeps in its heap. */
static void use_descriptors(void)
{
    int all[64], count = 0;
    while (count < 64 && (all[count] = epoll_create1(0)) >= 0)
        count++;
    for (int i = 0; i + 1 < count; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        epoll_ctl(all[i], EPOLL_CTL_ADD, all[i + 1], &event);
    }
    while (count)
        close(all[--count]);
}

static atomic_int signals;

static void on_signal(int signal)
{
    (void)signal;
    atomic_fetch_add(&signals, 1);
}

/* Registers that a host call or an interrupt must leave alone. */
static void check_registers(void)
{
    uint64_t kept[4];
    long number = SYS_sched_yield;
    asm volatile("mov $0x1111, %%rbx; mov $0x2222, %%r12; mov $0x3333, %%r13; movq %%r12, %%xmm7\n\t"
                 "syscall\n\t"
                 "mov %%rbx, %1; mov %%r12, %2; mov %%r13, %3; movq %%xmm7, %4"
                 : "+a"(number), "=m"(kept[0]), "=m"(kept[1]), "=m"(kept[2]), "=m"(kept[3])
                 :
                 : "rcx", "r11", "rbx", "r12", "r13", "xmm7", "memory");
    if (kept[0] != 0x1111 || kept[1] != 0x2222 || kept[2] != 0x3333 || kept[3] != 0x2222)
        FAIL(REGISTERS, "registers changed over a system call");
}

struct companion {
    atomic_int turn, over;
};

static void *play(void *argument)
{
    struct companion *companion = argument;
    uint64_t own[STACK];
    fill(own, STACK, 8 << 20);
    sched_yield();
    while (!atomic_load(&companion->over)) {
        struct timespec little = {0, 200000};
        syscall(SYS_futex, &companion->turn, FUTEX_WAIT_PRIVATE, 0, &little, 0, 0);
        atomic_store(&companion->turn, 0);
        for (int i = 0; i < 4; i++)
            check_registers();
        check(own, STACK, 8 << 20, MEMORY, "stack of a thread");
    }
    return 0;
}

static void use_threads(void)
{
    enum { THREADS = 3 };
    struct companion companions[THREADS] = {0};
    pthread_t threads[THREADS];
    int count = 0;
    while (count < THREADS && !pthread_create(&threads[count], 0, play, &companions[count]))
        count++;
    for (int i = 0; i < 20 * count; i++) {
        struct companion *companion = &companions[i % count];
        atomic_store(&companion->turn, 1);
        syscall(SYS_futex, &companion->turn, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
        if (i % 8 == 0)
            pthread_kill(threads[i % count], SIGUSR1);
        check_registers();
    }
    for (int i = 0; i < count; i++) {
        atomic_store(&companions[i].over, 1);
        syscall(SYS_futex, &companions[i].turn, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    }
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], 0);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 10;
    seed = argc > 2 ? strtoull(argv[2], 0, 10) : 1;
    static const int caught[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGWINCH, SIGPIPE, SIGTTOU, SIGTTIN};
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = i % 2 ? SA_RESTART : 0};
        sigaction(caught[i], &action, 0);
    }
    in_heap = malloc(HEAP * sizeof *in_heap);
    if (!in_heap)
        return 0;
    uint64_t in_stack[STACK];
    fill(in_data, STATIC, 1 << 20);
    fill(in_bss, STATIC, 2 << 20);
    fill(in_heap, HEAP, 3 << 20);
    fill(in_stack, STACK, 4 << 20);
    for (int round = 0; round < rounds; round++) {
        guarded(use_read);
        guarded(use_write);
        guarded(use_ioctl);
        use_poll();
        use_clocks();
        use_streams();
        use_cpuid();
        use_pages();
        use_files(round);
        use_descriptors();
        if (round % 8 == 0)
            use_much();
        check_registers();
        for (int i = 0; i < 8; i++) {
            unsigned cpu, node;
            sched_yield();
            use_cpuid();
            syscall(SYS_getcpu, &cpu, &node, 0);
            syscall(SYS_getpid);
            struct timespec little = {0, 20000};
            nanosleep(&little, 0);
        }
        use_threads();
        check_memory();
        check(in_stack, STACK, 4 << 20, MEMORY, "stack");
    }
    return 0;
}
