/* Calls on descriptors of the wrong kind: directory, path-only, write-only, read-only, pipe, eventfd. */
#include "conformance.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

static char buffer[4096];

static void all(const char *kind, int fd)
{
    struct iovec vector = {buffer, 4};
    struct stat status;
    struct timespec times[2] = {{1, 0}, {2, 0}};
    struct epoll_event event = {.events = EPOLLIN};
    struct itimerspec timer = {{0, 0}, {0, 0}};
    int epoll = epoll_create1(0);
    int flags = fcntl(fd, F_GETFL);

    printf("# %s\n", kind);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    TELL(read(fd, buffer, 4));
    TELL(read(fd, buffer, 0));
    TELL(pread(fd, buffer, 4, 0));
    TELL(pread(fd, buffer, 4, -1));
    TELL(write(fd, buffer, 4));
    TELL(write(fd, buffer, 0));
    TELL(pwrite(fd, buffer, 4, 0));
    TELL(readv(fd, &vector, 1));
    TELL(writev(fd, &vector, 1));
    TELL(lseek(fd, 0, SEEK_CUR));
    TELL(lseek(fd, 0, 77));
    TELL(fstat(fd, &status));
    TELL(ftruncate(fd, 10));
    TELL(fallocate(fd, 0, 0, 1));
    TELL(fallocate(fd, 0, 0, 0));
    TELL(fallocate(fd, 0, -1, 1));
    TELL(fsync(fd));
    TELL(fdatasync(fd));
    /* what these say of files without a name differs between versions of Linux */
    REQUIRE(fstat(fd, &status) == 0);
    if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) {
        TELL(fchmod(fd, 0755));
        TELL(fchown(fd, -1, -1));
        TELL(futimens(fd, times));
        TELL(flock(fd, LOCK_EX | LOCK_NB));
        TELL(flock(fd, LOCK_UN));
    }
    TELL(syscall(SYS_getdents64, fd, NULL, 0));
    TELL(fchdir(fd));
    TELL(ioctl(fd, TCGETS, buffer) == -1);
    TELL(ioctl(fd, 0x7777, buffer) == -1);
    TELL(posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_WRITE, MAP_PRIVATE, fd, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0));
    TELL(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    TELL(epoll_ctl(fd, EPOLL_CTL_ADD, epoll, &event));
    TELL(epoll_wait(fd, &event, 1, 0));
    TELL(timerfd_settime(fd, 0, &timer, NULL));
    TELL(timerfd_gettime(fd, &timer));
    TELL(listen(fd, 1));
    TELL(accept(fd, NULL, NULL));
    TELL(send(fd, buffer, 4, MSG_NOSIGNAL));
    TELL(recv(fd, buffer, 4, MSG_DONTWAIT));
    TELL(shutdown(fd, SHUT_RDWR));
    TELL(openat(fd, "nothing", O_RDONLY));
    TELL(fstatat(fd, "nothing", &status, 0));
    TELL(fstatat(fd, "", &status, AT_EMPTY_PATH));
    TELL(fcntl(fd, F_GETFL) & O_ACCMODE);
    TELL(fcntl(fd, F_GETFD));
    TELL(fcntl(fd, F_SETPIPE_SZ, 65536));
    TELL(fcntl(fd, F_GETPIPE_SZ));
    TELL(close(fd));
    close(epoll);
}

int main(void)
{
    int pipes[2], sockets[2];
    signal(SIGPIPE, SIG_IGN);
    REQUIRE(mkdir("directory", 0755) == 0);
    put_file("file", "0123456789");

    all("directory", open(".", O_RDONLY));
    all("path of a directory", open(".", O_PATH));
    all("path of a file", open("file", O_PATH));
    all("file for writing", open("file", O_WRONLY));
    all("file for reading", open("file", O_RDONLY));
    all("file for both", open("file", O_RDWR));
    all("file for appending", open("file", O_RDWR | O_APPEND));
    REQUIRE(pipe(pipes) == 0);
    all("pipe, end to read", pipes[0]);
    all("pipe, end to write, no reader", pipes[1]);
    REQUIRE(pipe(pipes) == 0);
    all("pipe, end to write", pipes[1]);
    all("eventfd", eventfd(1, 0));
    all("timerfd", timerfd_create(CLOCK_MONOTONIC, 0));
    all("epoll", epoll_create1(0));
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    all("socket", sockets[0]);
    return 0;
}
