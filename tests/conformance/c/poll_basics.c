/* poll, ppoll, select, pselect: what is ready, what is invalid, what is left of the time. */
#include "conformance.h"
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/select.h>

static int fds[2];

static void poll_results(void)
{
    struct pollfd p[4] = {{fds[0], POLLIN, -1}, {fds[1], POLLOUT, -1}, {-1, POLLIN, -1}, {fds[0], 0, -1}};
    TELL(poll(p, 4, 0));
    printf("%d %d %d %d\n", p[0].revents, p[1].revents, p[2].revents, p[3].revents);
    p[2].fd = 400;
    TELL(poll(p, 4, -1));
    printf("%d %d %d %d\n", p[0].revents, p[1].revents, p[2].revents, p[3].revents);
    TELL(poll(p, 1, 10));
    TELL(poll(0, 0, 1));
    TELL(poll(0, 1, 0));
    TELL(poll(UNMAPPED, 1, 0));
    TELL(poll(p, 1000000000, 0));
    int file = open("file", O_RDWR | O_CREAT, 0600);
    struct pollfd f = {file, POLLIN | POLLOUT | POLLPRI | POLLRDNORM, 0};
    TELL(poll(&f, 1, -1));
    TELL(f.revents);
    int null = open("/dev/null", O_RDWR);
    f.fd = null;
    TELL(poll(&f, 1, -1));
    TELL(f.revents);
    close(file), close(null);
    unlink("file");
}

static void ppoll_results(void)
{
    struct pollfd p = {fds[0], POLLIN, 0};
    struct timespec t = {0, 1000000}, bad = {0, 1000000000}, negative = {-1, 0};
    TELL(syscall(SYS_ppoll, &p, 1, &t, 0, 0));
    printf("left %ld.%09ld\n", (long)t.tv_sec, t.tv_nsec);
    TELL(ppoll(&p, 1, &bad, 0));
    TELL(ppoll(&p, 1, &negative, 0));
    TELL(syscall(SYS_ppoll, &p, 1, UNMAPPED, 0, 0));
    sigset_t set;
    sigemptyset(&set);
    TELL(syscall(SYS_ppoll, &p, 1, &t, &set, 4));
    TELL(syscall(SYS_ppoll, &p, 1, &t, UNMAPPED, 8));
    t.tv_sec = 100;
    TELL(write(fds[1], "x", 1));
    TELL(syscall(SYS_ppoll, &p, 1, &t, 0, 0));
    TELL(t.tv_sec == 99 || t.tv_sec == 100);
    char c;
    TELL(read(fds[0], &c, 1));
}

static void select_results(void)
{
    fd_set in, out, except;
    struct timeval t = {0, 1000}, bad = {-1, 0}, big = {0, 2000000};
    FD_ZERO(&in); FD_ZERO(&out); FD_ZERO(&except);
    FD_SET(fds[0], &in), FD_SET(fds[1], &out), FD_SET(fds[0], &except);
    TELL(select(fds[1] + 1, &in, &out, &except, 0));
    printf("%d %d %d\n", FD_ISSET(fds[0], &in), FD_ISSET(fds[1], &out), FD_ISSET(fds[0], &except));
    FD_SET(fds[0], &in);
    TELL(select(fds[0] + 1, &in, 0, 0, &t));
    printf("%d, left %ld.%06ld\n", FD_ISSET(fds[0], &in), (long)t.tv_sec, (long)t.tv_usec);
    TELL(select(-1, 0, 0, 0, &t));
    TELL(select(0, 0, 0, 0, &bad));
    FD_SET(fds[1], &out);
    TELL(select(fds[1] + 1, 0, &out, 0, &big));
    TELL(big.tv_sec == 1 || big.tv_sec == 2);
    FD_ZERO(&in); FD_SET(20, &in);
    TELL(select(21, &in, 0, 0, &t));
    TELL(select(20, &in, 0, 0, &t));
    FD_ZERO(&in); FD_SET(500, &in);
    TELL(select(501, &in, 0, 0, &t));
    TELL(syscall(SYS_select, 5, UNMAPPED, 0, 0, &t));
    TELL(syscall(SYS_select, 0, 0, 0, 0, UNMAPPED));
    close(fds[1]);
    FD_ZERO(&in); FD_ZERO(&except); FD_SET(fds[0], &in), FD_SET(fds[0], &except);
    TELL(select(fds[0] + 1, &in, 0, &except, 0));
    printf("%d %d\n", FD_ISSET(fds[0], &in), FD_ISSET(fds[0], &except));
    close(fds[0]);
    REQUIRE(pipe(fds) == 0);
    close(fds[0]);
    FD_ZERO(&in); FD_ZERO(&out); FD_SET(fds[1], &in), FD_SET(fds[1], &out);
    TELL(select(fds[1] + 1, &in, &out, 0, 0));
    printf("%d %d\n", FD_ISSET(fds[1], &in), FD_ISSET(fds[1], &out));
    close(fds[1]);
    REQUIRE(pipe(fds) == 0);
}

static volatile sig_atomic_t caught;
static void catch (int signal) { caught = signal; }

/* A signal ends the wait, also one that only the temporary mask lets through, and even with SA_RESTART. */
static void interrupted(void)
{
    struct pollfd p = {fds[0], POLLIN, 0};
    struct sigaction action = {.sa_handler = catch, .sa_flags = SA_RESTART};
    sigset_t block, open;
    sigaction(SIGUSR1, &action, 0);
    sigemptyset(&open), sigemptyset(&block), sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, 0);
    raise(SIGUSR1);
    TELL(poll(&p, 1, 5));
    TELL(caught);
    TELL(ppoll(&p, 1, 0, &open));
    TELL(caught == SIGUSR1);
    sigset_t now;
    sigprocmask(SIG_SETMASK, 0, &now);
    TELL(sigismember(&now, SIGUSR1));
    caught = 0;
    raise(SIGUSR1);
    fd_set in;
    FD_ZERO(&in); FD_SET(fds[0], &in);
    TELL(pselect(fds[0] + 1, &in, 0, 0, 0, &open));
    TELL(caught == SIGUSR1);
    TELL(FD_ISSET(fds[0], &in));
    caught = 0;
    raise(SIGUSR1);
    TELL(write(fds[1], "x", 1));
    TELL(ppoll(&p, 1, 0, &open));
    TELL(caught);
    sigprocmask(SIG_UNBLOCK, &block, 0);
    TELL(caught == SIGUSR1);
}

static void *alarm_clock(void *target)
{
    usleep(50000);
    pthread_kill(*(pthread_t *)target, SIGUSR1);
    return 0;
}

static void interrupted_while_asleep(void)
{
    char c;
    struct pollfd p = {fds[0], POLLIN, 0};
    pthread_t self = pthread_self(), thread;
    TELL(read(fds[0], &c, 1));
    caught = 0;
    pthread_create(&thread, 0, alarm_clock, &self);
    TELL(poll(&p, 1, -1));
    TELL(caught == SIGUSR1);
    pthread_join(thread, 0);
}

static void *ringer(void *unused)
{
    usleep(50000);
    write(fds[1], "y", 1);
    return 0;
}

static void woken_by_another_thread(void)
{
    pthread_t thread;
    int event = eventfd(0, 0);
    struct pollfd p[2] = {{event, POLLIN, 0}, {fds[0], POLLIN, 0}};
    pthread_create(&thread, 0, ringer, 0);
    TELL(poll(p, 2, 10000));
    printf("%d %d\n", p[0].revents, p[1].revents);
    pthread_join(thread, 0);
}

int main(void)
{
    REQUIRE(pipe(fds) == 0);
    poll_results();
    ppoll_results();
    select_results();
    interrupted();
    interrupted_while_asleep();
    woken_by_another_thread();
}
