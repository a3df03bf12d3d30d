/* Calls that read or write the caller's memory, where there is none. */
#include "conformance.h"
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#define CALL(number, ...) told(#number "(" #__VA_ARGS__ ")", syscall(SYS_##number, __VA_ARGS__))

static void *main_page(void)
{
    static char page[4096];
    return page;
}

/* The C library's own list again, for the thread's end. */
static void *robust_list;
static size_t robust_size;

static void set_robust_list_back(void)
{
    syscall(SYS_set_robust_list, robust_list, robust_size);
}

static void paths(const char *kind, const void *p)
{
    char buffer[64];
    printf("# %s\n", kind);
    CALL(open, p, O_RDONLY, 0);
    CALL(openat, AT_FDCWD, p, O_RDONLY, 0);
    CALL(creat, p, 0644);
    CALL(stat, p, buffer);
    CALL(lstat, p, buffer);
    CALL(access, p, F_OK);
    CALL(mkdir, p, 0755);
    CALL(rmdir, p);
    CALL(unlink, p);
    CALL(rename, p, "x");
    CALL(rename, "x", p);
    CALL(link, p, "x");
    CALL(symlink, p, "x");
    CALL(symlink, "x", p);
    CALL(readlink, p, buffer, 16);
    CALL(chmod, p, 0644);
    CALL(chown, p, -1, -1);
    CALL(truncate, p, 0);
    CALL(statfs, p, buffer);
    CALL(chdir, p);
    CALL(mknod, p, S_IFREG | 0644, 0);
    CALL(utimensat, AT_FDCWD, p, NULL, 0);
    CALL(memfd_create, p, 0);
    CALL(getxattr, p, "user.x", buffer, 16);
}

static void memory(const char *kind, void *p)
{
    int pipes[2];
    int file = open("file", O_RDWR);
    int epoll = epoll_create1(0);
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct iovec vector = {p, 8};
    REQUIRE(pipe2(pipes, O_NONBLOCK) == 0);
    REQUIRE(write(pipes[1], "something", 9) == 9);

    printf("# %s\n", kind);
    CALL(read, file, p, 8);
    CALL(lseek, file, 0, SEEK_CUR);
    CALL(pread64, file, p, 8, 0);
    CALL(write, file, p, 8);
    CALL(pwrite64, file, p, 8, 0);
    CALL(readv, file, &vector, 1);
    CALL(writev, file, &vector, 1);
    CALL(readv, file, p, 1);
    CALL(writev, file, p, 1);
    CALL(read, pipes[0], p, 4);
    CALL(write, pipes[1], p, 4);
    CALL(fstat, file, p);
    CALL(fstatfs, file, p);
    CALL(stat, "file", p);
    CALL(newfstatat, AT_FDCWD, "file", p, 0);
    CALL(statx, AT_FDCWD, "file", 0, 0x7ff, p);
    CALL(getcwd, p, 100);
    CALL(readlink, "link", p, 16);
    CALL(pipe, p);
    CALL(pipe2, p, 0);
    CALL(getdents64, epoll, p, 1000);
    CALL(poll, p, 1, 0);
    CALL(ppoll, p, 1, NULL, NULL, 8);
    CALL(select, 1, p, NULL, NULL, NULL);
    CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, pipes[0], p);
    CALL(timerfd_settime, timer, 0, p, NULL);
    CALL(timerfd_gettime, timer, p);
    CALL(clock_gettime, CLOCK_MONOTONIC, p);
    CALL(clock_settime, CLOCK_REALTIME, p);
    CALL(clock_nanosleep, CLOCK_MONOTONIC, 0, p, NULL);
    CALL(nanosleep, p, NULL);
    CALL(gettimeofday, p, NULL);
    CALL(uname, p);
    CALL(sysinfo, p);
    CALL(times, p) ;
    CALL(getrusage, RUSAGE_SELF, p);
    CALL(getrlimit, RLIMIT_NOFILE, p);
    CALL(setrlimit, RLIMIT_NOFILE, p);
    CALL(prlimit64, 0, RLIMIT_NOFILE, NULL, p);
    CALL(getitimer, ITIMER_REAL, p);
    CALL(setitimer, ITIMER_REAL, NULL, p);
    CALL(rt_sigaction, SIGUSR1, p, NULL, 8);
    CALL(rt_sigaction, SIGUSR1, NULL, p, 8);
    CALL(rt_sigprocmask, SIG_BLOCK, p, NULL, 8);
    CALL(rt_sigprocmask, SIG_BLOCK, NULL, p, 8);
    CALL(rt_sigpending, p, 8);
    CALL(rt_sigtimedwait, p, NULL, NULL, 8);
    CALL(rt_sigsuspend, p, 8);
    CALL(rt_sigqueueinfo, getpid(), SIGUSR1, p) ;
    CALL(sigaltstack, p, NULL);
    CALL(sigaltstack, NULL, p);
    CALL(signalfd4, -1, p, 8, 0);
    CALL(futex, p, 0, 0, NULL, NULL, 0);
    CALL(futex, p, 1, 0, NULL, NULL, 0);
    CALL(getrandom, p, 16, 0);
    CALL(sched_getaffinity, 0, 128, p);
    CALL(sched_setaffinity, 0, 128, p);
    CALL(sched_getparam, 0, p);
    CALL(set_robust_list, p, 24);
    CALL(getresuid, p, p, p);
    CALL(getresgid, p, p, p);
    CALL(mincore, (void *)((unsigned long)main_page() & ~4095ul), 4096, p);
    CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, p);
    CALL(prctl, 15, p, 0, 0, 0);
    CALL(prctl, 16, p, 0, 0, 0);
    CALL(timer_create, CLOCK_MONOTONIC, p, p);
    CALL(clock_getres, CLOCK_MONOTONIC, p);
    CALL(capget, p, NULL);
    set_robust_list_back();
    close(file), close(epoll), close(timer), close(pipes[0]), close(pipes[1]);
}

int main(void)
{
    REQUIRE(syscall(SYS_get_robust_list, 0, &robust_list, &robust_size) == 0);
    put_file("file", "0123456789");
    REQUIRE(symlink("file", "link") == 0);
    paths("no path", NULL);
    paths("unmapped path", UNMAPPED);
    paths("path beyond user memory", BEYOND_USER);
    paths("noncanonical path", NONCANONICAL);
    memory("unmapped", UNMAPPED);
    memory("beyond user memory", BEYOND_USER);
    memory("noncanonical", NONCANONICAL);
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(mprotect(pages + 4096, 4096, PROT_NONE) == 0);
    memory("the page behind is not mapped", pages + 4094);
    memory("no access", pages + 4096);
    memcpy(pages + 4092, "file", 4);
    paths("path without an end", pages + 4092);
    return 0;
}
