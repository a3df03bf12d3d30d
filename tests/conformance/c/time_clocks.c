// Clocks, sleeping, interval timers, POSIX timers.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

static volatile int ticks, last_code, last_value;
static void tick(int s, siginfo_t *info, void *c) { (void)s; (void)c; ticks++; last_code = info->si_code; last_value = info->si_value.sival_int; }
#define CALL(e) do { errno = 0; long r_ = (e); printf("%s = %ld errno %d\n", #e, r_, errno); } while (0)
static long ns(struct timespec t) { return t.tv_sec * 1000000000L + t.tv_nsec; }
static long now(int clock) { struct timespec t; clock_gettime(clock, &t); return ns(t); }
static void burn(long n) { long end = now(CLOCK_PROCESS_CPUTIME_ID) + n; while (now(CLOCK_PROCESS_CPUTIME_ID) < end) {} }

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    struct timespec t, r;
    int clocks[] = {0, 1, 2, 3, 4, 5, 6, 7, 11};
    for (int i = 0; i < 9; i++) {
        int got = syscall(SYS_clock_gettime, clocks[i], &t);
        int res = syscall(SYS_clock_getres, clocks[i], &r);
        printf("clock %d: %d %d %d\n", clocks[i], got, res, r.tv_sec == 0 && r.tv_nsec > 0);
    }
    CALL(syscall(SYS_clock_gettime, 77, &t));
    CALL(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (void *)8));
    CALL(syscall(SYS_clock_getres, CLOCK_MONOTONIC, 0));
    clockid_t cpu;
    printf("cpu clock %d", clock_getcpuclockid(0, &cpu));
    printf(" %d", clock_gettime(cpu, &t));
    printf(" %d", pthread_getcpuclockid(pthread_self(), &cpu));
    printf(" %d\n", clock_gettime(cpu, &t));
    long m0 = now(CLOCK_MONOTONIC), worst = 0;
    for (int i = 0; i < 100000; i++) { long m = now(CLOCK_MONOTONIC); if (m - m0 < worst) worst = m - m0; m0 = m; }
    printf("backwards %ld\n", worst);
    long diff = now(CLOCK_REALTIME) / 1000000000L - time(0);
    printf("same second %d\n", diff >= -1 && diff <= 1);

    struct timespec ms20 = {0, 20000000}, bad = {0, -1}, neg = {-1, 0};
    m0 = now(CLOCK_MONOTONIC);
    CALL(nanosleep(&ms20, 0));
    printf("slept %d\n", now(CLOCK_MONOTONIC) - m0 >= 20000000);
    CALL(nanosleep(&bad, 0));
    CALL(nanosleep(&neg, 0));
    CALL(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &ms20, 0));
    CALL(clock_nanosleep(77, 0, &ms20, 0));
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 20000000;
    if (t.tv_nsec >= 1000000000) { t.tv_sec++; t.tv_nsec -= 1000000000; }
    CALL(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, 0));
    struct timespec past = {1, 0};
    CALL(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &past, 0));

    struct sigaction sa = {.sa_sigaction = tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGALRM, &sa, 0);
    sigaction(SIGPROF, &sa, 0);
    sigaction(SIGRTMIN, &sa, 0);
    struct itimerval it = {{0, 0}, {0, 20000}}, old;
    CALL(setitimer(ITIMER_REAL, &it, 0));
    pause();
    printf("ticks %d code %d\n", ticks, last_code);
    CALL(getitimer(ITIMER_REAL, &old));
    printf("left %ld %ld\n", (long)old.it_value.tv_sec, (long)old.it_value.tv_usec);
    it.it_interval.tv_usec = 5000;
    ticks = 0;
    setitimer(ITIMER_REAL, &it, 0);
    while (ticks < 5) pause();
    memset(&it, 0, sizeof it);
    CALL(setitimer(ITIMER_REAL, &it, &old));
    printf("interval %ld\n", (long)old.it_interval.tv_usec);
    printf("alarm %u", alarm(100));
    printf(" %u", alarm(0));
    printf(" %u\n", alarm(0));
    it.it_value.tv_usec = 1000000;
    CALL(setitimer(ITIMER_REAL, &it, 0));
    CALL(setitimer(9, &it, 0));
    it.it_value.tv_usec = 20000;
    ticks = 0;
    CALL(setitimer(ITIMER_PROF, &it, 0));
    for (int i = 0; i < 200 && ticks == 0; i++) burn(10000000);
    printf("prof %d\n", ticks);
    // A timer fires in a program that only computes.
    ticks = 0;
    CALL(setitimer(ITIMER_REAL, &it, 0));
    while (ticks == 0) {}
    puts("interrupted while computing");

    timer_t id;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 42};
    CALL(timer_create(CLOCK_MONOTONIC, &ev, &id));
    struct itimerspec its = {{0, 0}, {0, 10000000}}, before;
    ticks = 0;
    CALL(timer_settime(id, 0, &its, 0));
    while (ticks == 0) pause();
    printf("code %d value %d overrun %d\n", last_code, last_value, timer_getoverrun(id));
    sigset_t rt;
    sigemptyset(&rt);
    sigaddset(&rt, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &rt, 0);
    its.it_interval.tv_nsec = 1000000;
    timer_settime(id, 0, &its, 0);
    struct timespec ms100 = {0, 100000000};
    nanosleep(&ms100, 0);
    siginfo_t info;
    CALL(sigwaitinfo(&rt, &info) == SIGRTMIN);
    printf("many overruns %d same %d\n", info.si_overrun > 20, timer_getoverrun(id) == info.si_overrun);
    its.it_value.tv_sec = 100;
    its.it_value.tv_nsec = 0;
    CALL(timer_settime(id, 0, &its, &before));
    CALL(timer_gettime(id, &before));
    printf("left %d\n", before.it_value.tv_sec == 99);
    its.it_value.tv_nsec = 1000000000;
    CALL(timer_settime(id, 0, &its, 0));
    CALL(timer_delete(id));
    CALL(timer_delete(id));
    CALL(syscall(SYS_timer_gettime, 99, &before));
    ev.sigev_signo = 99;
    CALL(timer_create(CLOCK_MONOTONIC, &ev, &id));
    ev.sigev_notify = 77;
    CALL(timer_create(CLOCK_MONOTONIC, &ev, &id));
    CALL(timer_create(77, 0, &id));
    ev.sigev_notify = SIGEV_NONE;
    CALL(timer_create(CLOCK_REALTIME, &ev, &id));
    struct tms tms;
    printf("times %d\n", times(&tms) != -1);
    return 0;
}
