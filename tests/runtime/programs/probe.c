/* Tells what a program sees of its world: one question a run, the answer on standard output. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

static int arguments(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        printf("%s\n", argv[i]);
    return 0;
}

static int environment(void)
{
    for (char **entry = environ; *entry; entry++)
        printf("%s\n", *entry);
    return 0;
}

/* Takes memory in pieces until there is no more; every byte of what was given is used. */
static int exhaust(size_t piece)
{
    size_t pieces = 0;
    for (;;) {
        char *memory = mmap(NULL, piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            break;
        memset(memory, 0x5a, piece);
        pieces++;
    }
    printf("%s after %zu\n", strerrorname_np(errno), pieces * piece);
    errno = 0;
    void *large = malloc((size_t)1 << 40);
    printf("malloc %s\n", large ? "succeeded" : strerrorname_np(errno));
    return 0;
}

static size_t deepen(size_t depth, size_t limit)
{
    volatile char frame[4096];
    memset((char *)frame, (int)depth, sizeof frame);
    return depth >= limit ? depth : deepen(depth + 1, limit) + frame[0] * 0;
}

static void *thread_stack(void *unused)
{
    pthread_attr_t attributes;
    size_t size = 0;
    (void)unused;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstacksize(&attributes, &size);
    printf("%zu\n", size);
    return NULL;
}

static void *asleep(void *unused)
{
    (void)unused;
    pause();
    return NULL;
}

static int threads(void)
{
    for (int count = 1;; count++) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, asleep, NULL);
        if (error) {
            printf("%s after %d\n", strerrorname_np(error), count);
            fflush(stdout);
            _exit(0);
        }
    }
}

static volatile sig_atomic_t arrived;

static void note(int signal)
{
    arrived = signal;
}

/* Touches no signal action; long enough for a signal that has any effect to have it. */
static int linger(void)
{
    puts("ready");
    fflush(stdout);
    usleep(300000);
    puts("lived on");
    return 0;
}

static int await(void)
{
    int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGWINCH};
    struct sigaction action = {.sa_handler = note};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
    puts("ready");
    fflush(stdout);
    while (!arrived)
        pause();
    printf("%s\n", sigabbrev_np(arrived));
    return 0;
}

/* As await, but busy: the signal must reach code that makes no system call. */
static int spin(void)
{
    struct sigaction action = {.sa_handler = note};
    sigaction(SIGUSR1, &action, NULL);
    puts("ready");
    fflush(stdout);
    while (!arrived)
        ;
    printf("%s\n", sigabbrev_np(arrived));
    return 0;
}

int main(int argc, char **argv)
{
    const char *question = argc > 1 ? argv[1] : "arguments";
    long number = argc > 2 ? strtol(argv[2], NULL, 0) : 0;
    if (!strcmp(question, "environment"))
        return environment();
    if (!strcmp(question, "cwd")) {
        char path[4096];
        puts(getcwd(path, sizeof path));
        return 0;
    }
    if (!strcmp(question, "hostname")) {
        struct utsname name;
        char host[256];
        uname(&name);
        gethostname(host, sizeof host);
        printf("%s\n%s\n", name.nodename, host);
        return 0;
    }
    if (!strcmp(question, "exhaust"))
        return exhaust((size_t)number);
    if (!strcmp(question, "recurse")) {
        printf("%zu\n", deepen(0, (size_t)number / 4096));
        return 0;
    }
    if (!strcmp(question, "thread-stack")) {
        pthread_t thread;
        pthread_create(&thread, NULL, thread_stack, NULL);
        pthread_join(thread, NULL);
        return 0;
    }
    if (!strcmp(question, "threads"))
        return threads();
    if (!strcmp(question, "cpus")) {
        cpu_set_t set;
        sched_getaffinity(0, sizeof set, &set);
        printf("%d\n", CPU_COUNT(&set));
        return 0;
    }
    if (!strcmp(question, "brk")) {
        errno = 0;
        long result = syscall(SYS_brk, 0);
        printf("%s\n", result == -1 ? strerrorname_np(errno) : "moved");
        return 0;
    }
    if (!strcmp(question, "syscall")) {
        errno = 0;
        long result = syscall(number, 0, 0, 0, 0, 0, 0);
        printf("%ld %s\n", result, result == -1 ? strerrorname_np(errno) : "ok");
        return 0;
    }
    if (!strcmp(question, "exit"))
        return (int)number;
    if (!strcmp(question, "raise")) {
        raise((int)number);
        return 1;
    }
    if (!strcmp(question, "segfault"))
        return *(volatile int *)strtol("8", NULL, 0);
    if (!strcmp(question, "linger"))
        return linger();
    if (!strcmp(question, "await"))
        return await();
    if (!strcmp(question, "spin"))
        return spin();
    return arguments(argc, argv);
}
