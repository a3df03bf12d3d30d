// What happens to system calls that a handler interrupts.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int handled;
static int pipes[2];
static pthread_t main_thread;

static void note(int signal) { (void)signal; handled++; }

static void nap(int ms) {
    struct timespec t = {0, ms * 1000000L};
    while (nanosleep(&t, &t) != 0) {}
}

// Sends a signal soon, and writes to the pipe later.
static void *poke(void *writes) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, 0);
    nap(60);
    pthread_kill(main_thread, SIGUSR1);
    if (writes) {
        nap(60);
        if (write(pipes[1], "x", 1) != 1) puts("write failed");
    }
    return 0;
}

static pthread_mutex_t lock;

static void *hold(void *p) {
    pthread_mutex_lock(&lock);
    nap(150);
    pthread_mutex_unlock(&lock);
    return p;
}

static void install(int flags) {
    struct sigaction sa = {.sa_handler = note, .sa_flags = flags};
    sigaction(SIGUSR1, &sa, 0);
    handled = 0;
}

#define POKED(writes, e) do { \
    pthread_t t_; pthread_create(&t_, 0, poke, (writes) ? &handled : 0); \
    errno = 0; long r_ = (e); int e_ = errno; \
    pthread_join(t_, 0); \
    printf("%s = %ld errno %d handled %d\n", #e, r_, e_, handled); handled = 0; } while (0)

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    char byte;
    main_thread = pthread_self();
    if (pipe(pipes) != 0) return 1;

    install(SA_RESTART);
    POKED(1, read(pipes[0], &byte, 1));
    install(0);
    POKED(0, read(pipes[0], &byte, 1));

    install(SA_RESTART);
    struct pollfd p = {.fd = pipes[0], .events = POLLIN};
    POKED(0, poll(&p, 1, -1));
    struct timeval tv = {5, 0};
    fd_set fds;
    FD_ZERO(&fds);
    FD_SET(pipes[0], &fds);
    POKED(0, select(pipes[0] + 1, &fds, 0, 0, &tv));
    POKED(0, pause());
    struct timespec long_time = {5, 0}, left = {0, 0};
    POKED(0, nanosleep(&long_time, &left));
    printf("left %d\n", left.tv_sec == 4 && left.tv_nsec > 0);
    memset(&left, 0, sizeof left);
    POKED(0, clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, &left));
    printf("left %d\n", left.tv_sec == 4);
    sigset_t none, usr1;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, 0);
    POKED(0, sigsuspend(&none));
    sigset_t now;
    sigprocmask(SIG_BLOCK, 0, &now);
    printf("blocked again %d\n", sigismember(&now, SIGUSR1));
    POKED(0, ppoll(&p, 1, 0, &none));
    POKED(0, pselect(pipes[0] + 1, &fds, 0, 0, 0, &none));
    siginfo_t info;
    sigset_t other;
    sigemptyset(&other);
    sigaddset(&other, SIGUSR2);
    sigprocmask(SIG_SETMASK, &none, 0);
    POKED(0, sigwaitinfo(&other, &info));
    unsigned word = 1;
    struct timespec t5 = {5, 0};
    POKED(0, syscall(SYS_futex, &word, 0, 1, &t5, 0, 0));

    // With a time limit a futex wait is not restarted, but taking a lock always is.
    struct timespec later;
    clock_gettime(CLOCK_MONOTONIC, &later);
    later.tv_sec += 5;
    install(SA_RESTART);
    POKED(0, syscall(SYS_futex, &word, 9, 1, &later, 0, ~0u));
    pthread_mutexattr_t inherit;
    pthread_mutexattr_init(&inherit);
    pthread_mutexattr_setprotocol(&inherit, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&lock, &inherit);
    pthread_t holder;
    install(0);
    pthread_create(&holder, 0, hold, 0);
    nap(30);
    POKED(0, pthread_mutex_lock(&lock));
    pthread_join(holder, 0);

    // An ignored signal interrupts nothing.
    signal(SIGUSR1, SIG_IGN);
    POKED(1, read(pipes[0], &byte, 1));
    struct timespec tenth = {0, 150000000}, t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    POKED(0, nanosleep(&tenth, 0));
    clock_gettime(CLOCK_MONOTONIC, &t1);
    printf("slept %d\n", (t1.tv_sec - t0.tv_sec) * 1000000000L + t1.tv_nsec - t0.tv_nsec >= 150000000L);
    return 0;
}
