/* Counters, timers and signals as files. */
#include "conformance.h"
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int events(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};
    poll(&p, 1, 0);
    return p.revents;
}

static long get(int fd)
{
    uint64_t value = 0;
    ssize_t n = read(fd, &value, 8);
    return n == 8 ? (long)value : -1;
}

static int put(int fd, uint64_t value) { return write(fd, &value, 8); }

static void counters(void)
{
    char small[7];
    TELL(eventfd(0, 8));
    int fd = eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC);
    TELL(fcntl(fd, F_GETFD));
    TELL(fcntl(fd, F_GETFL));
    TELL(events(fd));
    TELL(get(fd));
    TELL(get(fd));
    TELL(events(fd));
    TELL(put(fd, 5));
    TELL(put(fd, -1));
    TELL(put(fd, -2));
    TELL(put(fd, -7));
    TELL(events(fd));
    TELL(put(fd, 0));
    TELL(read(fd, small, 7));
    TELL(write(fd, small, 7));
    TELL(read(fd, UNMAPPED, 8));
    TELL(write(fd, UNMAPPED, 8));
    TELL(lseek(fd, 0, SEEK_SET));
    TELL(get(fd));
    close(fd);
    fd = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    TELL(get(fd));
    TELL(get(fd));
    TELL(get(fd));
    close(fd);
}

static int shared;
static void *giver(void *unused)
{
    usleep(30000);
    put(shared, 41);
    return 0;
}

static void counters_between_threads(void)
{
    pthread_t thread;
    shared = eventfd(0, 0);
    pthread_create(&thread, 0, giver, 0);
    TELL(get(shared));
    pthread_join(thread, 0);
    close(shared);
}

static void timers(void)
{
    struct itimerspec set = {0}, old;
    TELL(timerfd_create(99, 0));
    TELL(timerfd_create(CLOCK_MONOTONIC, 1));
    TELL(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    TELL(timerfd_settime(fd, 0, UNMAPPED, 0));
    TELL(timerfd_settime(fd, 16, &set, 0));
    TELL(timerfd_settime(0, 0, &set, 0));
    TELL(timerfd_settime(99, 0, &set, 0));
    TELL(timerfd_gettime(fd, UNMAPPED));
    set.it_value.tv_nsec = 1000000000;
    TELL(timerfd_settime(fd, 0, &set, 0));
    set.it_value.tv_nsec = -1;
    TELL(timerfd_settime(fd, 0, &set, 0));
    TELL(get(fd));
    TELL(put(fd, 1));
    TELL(events(fd));
    set.it_value = (struct timespec){100, 0}, set.it_interval = (struct timespec){7, 5};
    TELL(timerfd_settime(fd, 0, &set, &old));
    printf("%ld %ld\n", (long)old.it_value.tv_sec, (long)old.it_interval.tv_sec);
    TELL(timerfd_gettime(fd, &old));
    TELL(old.it_value.tv_sec == 99 && old.it_interval.tv_sec == 7 && old.it_interval.tv_nsec == 5);
    set = (struct itimerspec){.it_value = {0, 1}};
    TELL(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, &old));
    TELL(old.it_interval.tv_sec);
    TELL(get(fd));
    TELL(get(fd));
    TELL(timerfd_gettime(fd, &old));
    printf("%ld %ld\n", (long)old.it_value.tv_sec, old.it_value.tv_nsec);
    set = (struct itimerspec){.it_value = {0, 1000000}, .it_interval = {0, 1000000}};
    TELL(timerfd_settime(fd, 0, &set, 0));
    usleep(20000);
    TELL(events(fd));
    TELL(get(fd) >= 19);
    set = (struct itimerspec){.it_value = {0, 1}};
    TELL(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, 0));
    usleep(1000);
    TELL(events(fd));
    set = (struct itimerspec){0};
    TELL(timerfd_settime(fd, 0, &set, 0));
    TELL(events(fd));
    char small[7];
    TELL(read(fd, small, 7));
    close(fd);
    fd = timerfd_create(CLOCK_REALTIME, 0);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec++;
    set = (struct itimerspec){.it_value = now};
    TELL(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, 0));
    struct pollfd p = {fd, POLLIN, 0};
    TELL(poll(&p, 1, 10000));
    TELL(get(fd));
    set = (struct itimerspec){.it_value = {0, 10000000}};
    TELL(timerfd_settime(fd, 0, &set, 0));
    TELL(get(fd));
    close(fd);
}

static int timer;
static void *setter(void *unused)
{
    struct itimerspec soon = {.it_value = {0, 1000000}};
    usleep(30000);
    timerfd_settime(timer, 0, &soon, 0);
    return 0;
}

static void a_timer_set_while_others_sleep_for_it(void)
{
    pthread_t thread;
    struct itimerspec late = {.it_value = {1000, 0}};
    timer = timerfd_create(CLOCK_MONOTONIC, 0);
    timerfd_settime(timer, 0, &late, 0);
    struct pollfd p = {timer, POLLIN, 0};
    pthread_create(&thread, 0, setter, 0);
    TELL(poll(&p, 1, 20000));
    TELL(get(timer));
    pthread_join(thread, 0);
    close(timer);
}

static void signals(void)
{
    struct signalfd_siginfo info[3];
    sigset_t set, other;
    sigemptyset(&set), sigaddset(&set, SIGUSR1), sigaddset(&set, SIGRTMIN), sigaddset(&set, SIGKILL);
    sigemptyset(&other), sigaddset(&other, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, 0), sigprocmask(SIG_BLOCK, &other, 0);
    TELL(syscall(SYS_signalfd4, -1, &set, 4, 0));
    TELL(syscall(SYS_signalfd4, -1, UNMAPPED, 8, 0));
    TELL(syscall(SYS_signalfd4, -1, &set, 8, 1));
    TELL(syscall(SYS_signalfd4, 99, &set, 8, 0));
    TELL(syscall(SYS_signalfd4, 0, &set, 8, 0));
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    TELL(fcntl(fd, F_GETFD));
    TELL(fcntl(fd, F_GETFL));
    TELL(events(fd));
    TELL(read(fd, info, sizeof info));
    TELL(write(fd, info, sizeof info));
    raise(SIGUSR1), raise(SIGUSR2);
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 77});
    TELL(events(fd));
    TELL(read(fd, info, 100));
    TELL(read(fd, info, sizeof info));
    for (int i = 0; i < 2; i++)
        printf("signal %d, code %d, own pid %d, int %d, ptr %d\n", (int)info[i].ssi_signo, info[i].ssi_code,
               (int)info[i].ssi_pid == getpid(), info[i].ssi_int, (int)info[i].ssi_ptr);
    TELL(events(fd));
    TELL(signalfd(fd, &other, 0) == fd);
    TELL(events(fd));
    TELL(read(fd, info, sizeof info));
    TELL(info[0].ssi_signo == SIGUSR2);
    TELL(read(fd, info, sizeof info));
    close(fd);
}

static pthread_t sleeper;
static void *sender(void *unused)
{
    usleep(30000);
    pthread_kill(sleeper, SIGUSR2);
    return 0;
}

static void a_signal_read_while_waiting(void)
{
    struct signalfd_siginfo info;
    sigset_t set;
    pthread_t thread;
    sigemptyset(&set), sigaddset(&set, SIGUSR2);
    int fd = signalfd(-1, &set, 0);
    struct pollfd p = {fd, POLLIN, 0};
    sleeper = pthread_self();
    pthread_create(&thread, 0, sender, 0);
    TELL(poll(&p, 1, 20000));
    TELL(read(fd, &info, sizeof info));
    TELL(info.ssi_signo == SIGUSR2);
    pthread_join(thread, 0);
    pthread_create(&thread, 0, sender, 0);
    TELL(read(fd, &info, sizeof info));
    pthread_join(thread, 0);
    close(fd);
}

int main(void)
{
    counters();
    counters_between_threads();
    timers();
    a_timer_set_while_others_sleep_for_it();
    signals();
    a_signal_read_while_waiting();
}
