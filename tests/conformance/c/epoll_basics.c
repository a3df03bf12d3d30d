/* epoll: what may be watched, how it is told of, how instances nest. */
#include "conformance.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

static int ep, fds[2], event;
static struct epoll_event got[8];

static int ctl(int op, int fd, unsigned events, int data)
{
    struct epoll_event e = {events, {.u64 = data}};
    return epoll_ctl(ep, op, fd, &e);
}

static void show(int timeout)
{
    int n = epoll_wait(ep, got, 8, timeout);
    printf("  %d ready:", n);
    for (int i = 0; i < n; i++)
        printf(" %d:%x", (int)got[i].data.u64, got[i].events);
    printf("\n");
}

static void wrong_uses(void)
{
    TELL(epoll_create(0));
    TELL(epoll_create1(1));
    TELL(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], 0));
    TELL(epoll_ctl(99, EPOLL_CTL_ADD, fds[0], got));
    TELL(epoll_ctl(ep, EPOLL_CTL_ADD, 99, got));
    TELL(epoll_ctl(fds[0], EPOLL_CTL_ADD, fds[1], got));
    TELL(epoll_ctl(ep, EPOLL_CTL_ADD, ep, got));
    TELL(epoll_ctl(ep, 9, fds[0], got));
    TELL(ctl(EPOLL_CTL_MOD, fds[0], EPOLLIN, 1));
    TELL(ctl(EPOLL_CTL_DEL, fds[0], 0, 0));
    TELL(ctl(EPOLL_CTL_ADD, fds[0], EPOLLIN, 1));
    TELL(ctl(EPOLL_CTL_ADD, fds[0], EPOLLIN, 1));
    TELL(ctl(EPOLL_CTL_DEL, fds[0], 0, 0));
    int file = open("file", O_RDWR | O_CREAT, 0600), directory = open(".", O_RDONLY), null = open("/dev/null", O_RDWR);
    TELL(ctl(EPOLL_CTL_ADD, file, EPOLLIN, 1));
    TELL(ctl(EPOLL_CTL_ADD, directory, EPOLLIN, 1));
    TELL(ctl(EPOLL_CTL_ADD, null, EPOLLIN, 1));
    close(file), close(directory), close(null), unlink("file");
    TELL(epoll_wait(ep, got, 0, 0));
    TELL(epoll_wait(ep, got, -1, 0));
    TELL(epoll_wait(ep, got, 0x7fffffff, 0));
    TELL(epoll_wait(fds[0], got, 1, 0));
    TELL(epoll_wait(99, got, 1, 0));
    TELL(read(ep, got, 8));
    TELL(write(ep, got, 8));
    TELL(ctl(EPOLL_CTL_ADD, fds[0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 1));
    TELL(ctl(EPOLL_CTL_ADD, fds[0], EPOLLIN | EPOLLEXCLUSIVE, 1));
    TELL(ctl(EPOLL_CTL_MOD, fds[0], EPOLLIN, 1));
    TELL(ctl(EPOLL_CTL_DEL, fds[0], 0, 0));
}

static void level(void)
{
    char c[10];
    printf("level\n");
    ctl(EPOLL_CTL_ADD, fds[0], EPOLLIN, 1), ctl(EPOLL_CTL_ADD, fds[1], EPOLLOUT, 2);
    show(0);
    write(fds[1], "ab", 2);
    show(0), show(0);
    read(fds[0], c, 1);
    show(0);
    read(fds[0], c, 1);
    show(0);
    ctl(EPOLL_CTL_MOD, fds[1], 0, 2);
    show(0);
    TELL(epoll_wait(ep, UNMAPPED, 1, 0));
    write(fds[1], "a", 1);
    TELL(epoll_wait(ep, UNMAPPED, 1, 0));
    show(0);
    read(fds[0], c, 1);
    ctl(EPOLL_CTL_DEL, fds[0], 0, 0), ctl(EPOLL_CTL_DEL, fds[1], 0, 0);
    show(0);
}

static void edge(void)
{
    char c[10];
    printf("edge\n");
    ctl(EPOLL_CTL_ADD, fds[0], EPOLLIN | EPOLLET, 1);
    write(fds[1], "ab", 2);
    show(0), show(0);
    read(fds[0], c, 1);
    show(0);
    write(fds[1], "c", 1);
    show(0), show(0);
    read(fds[0], c, 10);
    show(0);
    write(fds[1], "d", 1);
    ctl(EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLET, 3);
    show(0), show(0);
    ctl(EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLET, 3);
    show(0);
    read(fds[0], c, 10);
    ctl(EPOLL_CTL_DEL, fds[0], 0, 0);
    ctl(EPOLL_CTL_ADD, event, EPOLLIN | EPOLLOUT | EPOLLET, 5);
    show(0), show(0);
    eventfd_write(event, 1);
    show(0), show(0);
    eventfd_write(event, 1);
    show(0);
    eventfd_t value;
    eventfd_read(event, &value);
    show(0);
    ctl(EPOLL_CTL_DEL, event, 0, 0);
}

static void one_shot(void)
{
    char c[10];
    printf("one shot\n");
    ctl(EPOLL_CTL_ADD, fds[0], EPOLLIN | EPOLLONESHOT, 1);
    write(fds[1], "a", 1);
    show(0), show(0);
    write(fds[1], "a", 1);
    show(0);
    ctl(EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLONESHOT, 2);
    show(0), show(0);
    read(fds[0], c, 10);
    ctl(EPOLL_CTL_DEL, fds[0], 0, 0);
}

static void closing(void)
{
    printf("closing\n");
    int mine[2];
    REQUIRE(pipe(mine) == 0);
    ctl(EPOLL_CTL_ADD, mine[0], EPOLLIN, 1), ctl(EPOLL_CTL_ADD, mine[1], EPOLLIN, 2);
    write(mine[1], "x", 1);
    int copy = dup(mine[0]);
    close(mine[0]);
    show(0);
    TELL(ctl(EPOLL_CTL_DEL, mine[0], 0, 0));
    TELL(ctl(EPOLL_CTL_DEL, copy, 0, 0));
    close(copy);
    show(0);
    close(mine[1]);
    show(0);
    REQUIRE(pipe(mine) == 0);
    ctl(EPOLL_CTL_ADD, mine[0], EPOLLIN | EPOLLRDHUP, 1);
    close(mine[1]);
    show(0);
    close(mine[0]);
    show(0);
}

static void fairness(void)
{
    printf("a few at a time\n");
    int events[3];
    for (int i = 0; i < 3; i++)
        events[i] = eventfd(1, 0), ctl(EPOLL_CTL_ADD, events[i], EPOLLIN, i);
    for (int i = 0; i < 4; i++) {
        int n = epoll_wait(ep, got, 2, 0);
        printf("  %d: %d %d\n", n, (int)got[0].data.u64, (int)got[1].data.u64);
    }
    for (int i = 0; i < 3; i++)
        close(events[i]);
    show(0);
}

static void nesting(void)
{
    printf("nesting\n");
    int inner = epoll_create1(0);
    struct epoll_event e = {EPOLLIN, {.u64 = 7}};
    struct pollfd p = {inner, POLLIN, 0};
    TELL(epoll_ctl(inner, EPOLL_CTL_ADD, fds[0], &e));
    TELL(ctl(EPOLL_CTL_ADD, inner, EPOLLIN, 8));
    TELL(epoll_ctl(inner, EPOLL_CTL_ADD, ep, &e));
    TELL(poll(&p, 1, 0));
    show(0);
    write(fds[1], "x", 1);
    TELL(poll(&p, 1, 0));
    TELL(p.revents);
    show(0);
    char c;
    read(fds[0], &c, 1);
    show(0);
    ctl(EPOLL_CTL_MOD, inner, EPOLLIN | EPOLLET, 8);
    write(fds[1], "x", 1);
    show(0), show(0);
    read(fds[0], &c, 1);
    close(inner);
    int tower[8];
    for (int i = 0; i < 8; i++)
        tower[i] = epoll_create1(0);
    for (int i = 0; i < 5; i++)
        TELL(epoll_ctl(tower[i + 1], EPOLL_CTL_ADD, tower[i], &e));
    for (int i = 0; i < 8; i++)
        close(tower[i]);
}

static void *later(void *unused)
{
    usleep(50000);
    write(fds[1], "z", 1);
    return 0;
}

static void waiting(void)
{
    printf("waiting\n");
    pthread_t thread;
    char c;
    ctl(EPOLL_CTL_ADD, fds[0], EPOLLIN, 1);
    show(10);
    pthread_create(&thread, 0, later, 0);
    show(-1);
    pthread_join(thread, 0);
    read(fds[0], &c, 1);
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec set = {.it_value = {0, 20000000}};
    ctl(EPOLL_CTL_ADD, timer, EPOLLIN | EPOLLET, 4);
    show(0);
    timerfd_settime(timer, 0, &set, 0);
    show(0);
    show(-1), show(10);
    timerfd_settime(timer, 0, &set, 0);
    show(-1);
    close(timer);
    struct timespec t = {0, 1000000}, bad = {0, -1};
    sigset_t mask;
    sigemptyset(&mask);
    TELL(syscall(SYS_epoll_pwait2, ep, got, 8, &t, 0, 0));
    TELL(syscall(SYS_epoll_pwait2, ep, got, 8, &bad, 0, 0));
    TELL(syscall(SYS_epoll_pwait2, ep, got, 8, &t, &mask, 7));
    TELL(epoll_pwait(ep, got, 8, 1, &mask));
    ctl(EPOLL_CTL_DEL, fds[0], 0, 0);
}

static volatile sig_atomic_t caught;
static void catch (int signal) { caught = signal; }

static void interrupted(void)
{
    printf("interrupted\n");
    struct sigaction action = {.sa_handler = catch, .sa_flags = SA_RESTART};
    sigset_t block, open;
    sigaction(SIGUSR1, &action, 0);
    sigemptyset(&open), sigemptyset(&block), sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, 0);
    raise(SIGUSR1);
    TELL(epoll_wait(ep, got, 8, 5));
    TELL(caught);
    TELL(epoll_pwait(ep, got, 8, -1, &open));
    TELL(caught == SIGUSR1);
}

int main(void)
{
    ep = epoll_create1(EPOLL_CLOEXEC), event = eventfd(0, EFD_NONBLOCK);
    REQUIRE(pipe(fds) == 0);
    TELL(fcntl(ep, F_GETFD));
    TELL(fcntl(ep, F_GETFL));
    wrong_uses();
    level();
    edge();
    one_shot();
    closing();
    fairness();
    nesting();
    waiting();
    interrupted();
}
