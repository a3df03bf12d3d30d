/* Every call that takes a descriptor, with descriptors that are none. */
#include "conformance.h"
#include <poll.h>
#include <sys/epoll.h>
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
    struct iovec vector = {buffer, 16};
    struct stat status;
    struct statfs system;
    struct timespec times[2] = {{0, 0}, {0, 0}};
    struct epoll_event event = {.events = EPOLLIN};
    struct itimerspec timer = {{0, 0}, {0, 0}};
    struct flock lock = {.l_type = F_RDLCK};
    off_t offset = 0;
    sigset_t set;
    sigemptyset(&set);

    printf("# %s\n", kind);
    TELL(read(fd, buffer, 16));
    TELL(read(fd, buffer, 0));
    TELL(read(fd, UNMAPPED, 16));
    TELL(write(fd, buffer, 16));
    TELL(write(fd, buffer, 0));
    TELL(pread(fd, buffer, 16, 0));
    TELL(pread(fd, buffer, 16, -1));
    TELL(pwrite(fd, buffer, 16, 0));
    TELL(pwrite(fd, buffer, 16, -1));
    TELL(readv(fd, &vector, 1));
    TELL(readv(fd, &vector, -1));
    TELL(writev(fd, &vector, 1));
    TELL(preadv(fd, &vector, 1, 0));
    TELL(pwritev(fd, &vector, 1, 0));
    TELL(preadv2(fd, &vector, 1, 0, 0));
    TELL(pwritev2(fd, &vector, 1, 0, 0));
    TELL(lseek(fd, 0, SEEK_SET));
    TELL(lseek(fd, 0, 77));
    TELL(close(fd));
    TELL(fstat(fd, &status));
    TELL(syscall(SYS_fstat, fd, UNMAPPED));
    TELL(fstatfs(fd, &system));
    TELL(fchmod(fd, 0644));
    TELL(fchown(fd, 0, 0));
    TELL(ftruncate(fd, 0));
    TELL(ftruncate(fd, -1));
    TELL(fallocate(fd, 0, 0, 1));
    TELL(fsync(fd));
    TELL(fdatasync(fd));
    TELL(syncfs(fd));
    TELL(sync_file_range(fd, 0, 0, 0));
    TELL(futimens(fd, times));
    TELL(flock(fd, LOCK_SH));
    TELL(flock(fd, LOCK_SH | LOCK_EX));
    TELL(dup(fd));
    TELL(dup2(fd, 50));
    TELL(dup2(fd, fd));
    TELL(dup3(fd, 50, 0));
    TELL(dup3(fd, fd, 0));
    TELL(dup3(fd, 50, 1));
    TELL(fcntl(fd, F_GETFD));
    TELL(fcntl(fd, F_SETFD, FD_CLOEXEC));
    TELL(fcntl(fd, F_GETFL));
    TELL(fcntl(fd, F_SETFL, O_NONBLOCK));
    TELL(fcntl(fd, F_DUPFD, 0));
    TELL(fcntl(fd, F_GETLK, &lock));
    TELL(fcntl(fd, F_SETLK, &lock));
    TELL(fcntl(fd, 7777));
    TELL(ioctl(fd, TCGETS, buffer));
    TELL(ioctl(fd, FIONREAD, buffer));
    TELL(ioctl(fd, 0x7777, buffer));
    TELL(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    TELL(fchdir(fd));
    TELL(sendfile(fd, 0, NULL, 1));
    TELL(sendfile(1, fd, NULL, 1));
    TELL(copy_file_range(fd, &offset, 1, NULL, 1, 0));
    TELL(splice(fd, NULL, 1, NULL, 1, 0));
    TELL(tee(fd, 1, 1, 0));
    TELL(posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL));
    TELL(readahead(fd, 0, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0));
    TELL_SUCCESS(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, fd, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 1));
    TELL(epoll_ctl(fd, EPOLL_CTL_ADD, 0, &event));
    TELL(epoll_ctl(fd, 77, 0, &event));
    TELL(epoll_wait(fd, &event, 1, 0));

    TELL(timerfd_settime(fd, 0, &timer, NULL));
    TELL(timerfd_gettime(fd, &timer));
    TELL(syscall(SYS_signalfd4, fd, &set, 8, 0));
    TELL(bind(fd, (struct sockaddr *)buffer, 16));
    TELL(listen(fd, 1));
    TELL(accept(fd, NULL, NULL));
    TELL(connect(fd, (struct sockaddr *)buffer, 16));
    TELL(shutdown(fd, SHUT_RD));
    TELL(send(fd, buffer, 1, 0));
    TELL(recv(fd, buffer, 1, 0));
    TELL(getsockopt(fd, SOL_SOCKET, SO_TYPE, buffer, (socklen_t[]){4}));
    TELL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, buffer, 4));
    TELL(getsockname(fd, (struct sockaddr *)buffer, (socklen_t[]){16}));
    if (fd != AT_FDCWD) {
        TELL(openat(fd, "x", O_RDONLY));
        TELL(openat(fd, "", O_RDONLY));
        TELL(mkdirat(fd, "x", 0755));
        TELL(unlinkat(fd, "x", 0));
        TELL(renameat(fd, "x", AT_FDCWD, "y"));
        TELL(renameat(AT_FDCWD, "x", fd, "y"));
        TELL(linkat(fd, "x", AT_FDCWD, "y", 0));
        TELL(symlinkat("x", fd, "y"));
        TELL(readlinkat(fd, "x", buffer, 16));
        TELL(faccessat(fd, "x", R_OK, 0));
        TELL(fchmodat(fd, "x", 0644, 0));
        TELL(fchownat(fd, "x", 0, 0, 0));
        TELL(fstatat(fd, "x", &status, 0));
        TELL(fstatat(fd, "", &status, AT_EMPTY_PATH));
        TELL(utimensat(fd, "x", times, 0));
        TELL(mknodat(fd, "x", S_IFREG | 0644, 0));
        TELL(openat(fd, "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0);
    }
}

int main(void)
{
    all("minus one", -1);
    all("too large", 1 << 20);
    all("never opened", 900);
    all("smallest", INT_MIN);
    all("the working directory", AT_FDCWD);
    return 0;
}
