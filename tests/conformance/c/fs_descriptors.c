/* Descriptors: dup, fcntl, ioctl, close_range, locks. */
#include "show.h"
#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int lock(int fd, int command, int type, long start, long len) {
    struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    int result = fcntl(fd, command, &fl);
    if (command == F_OFD_GETLK || command == F_GETLK)
        printf("  type %d whence %d start %ld len %ld pid %s\n", fl.l_type, fl.l_whence, (long)fl.l_start,
               (long)fl.l_len, fl.l_pid == -1 ? "-1" : fl.l_pid == getpid() ? "self" : "0");
    return result;
}

int main(void) {
    int fd = open("f", O_CREAT | O_RDWR, 0644);
    TITLE("dup");
    SHOW(dup(fd) - fd);
    SHOW(dup(99));
    SHOW(dup2(fd, 20));
    SHOW(dup2(fd, fd) - fd);
    SHOW(dup2(99, 99));
    SHOW(dup2(fd, -1));
    SHOW(dup2(99, 20));
    SHOW(dup3(fd, 21, O_CLOEXEC));
    SHOW(fcntl(21, F_GETFD));
    SHOW(dup3(fd, fd, 0));
    SHOW(dup3(fd, 22, O_NONBLOCK));
    SHOW(fcntl(fd, F_DUPFD, 20));
    SHOW(fcntl(fd, F_DUPFD_CLOEXEC, 20));
    SHOW(fcntl(23, F_GETFD));
    SHOW(fcntl(fd, F_DUPFD, -1));
    SHOW(fcntl(23, F_SETFD, 0));
    SHOW(fcntl(23, F_GETFD));
    SHOW(fcntl(99, F_GETFD));
    SHOW(fcntl(fd, 9999));

    TITLE("flags");
    SHOW(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK | O_RDONLY | O_CREAT));
    SHOW(fcntl(20, F_GETFL) == (O_RDWR | O_APPEND | O_NONBLOCK | 0100000));
    SHOW(fcntl(fd, F_SETFL, 0));
    SHOW(fcntl(fd, F_GETFL) == (O_RDWR | 0100000));
    int on = 1, off = 0, left = 0;
    SHOW(ioctl(fd, FIONBIO, &on));
    SHOW(fcntl(fd, F_GETFL) == (O_RDWR | O_NONBLOCK | 0100000));
    SHOW(ioctl(fd, FIONBIO, &off));
    SHOW(ioctl(fd, FIOCLEX));
    SHOW(fcntl(fd, F_GETFD));
    SHOW(ioctl(fd, FIONCLEX));
    SHOW(fcntl(fd, F_GETFD));
    write(fd, "0123456789", 10);
    lseek(fd, 3, SEEK_SET);
    SHOW(ioctl(fd, FIONREAD, &left));
    SHOW(left);
    SHOW(ioctl(fd, TCGETS, &left));
    SHOW(ioctl(fd, 0xdeadbeef, &left));
    SHOW(ioctl(99, FIONBIO, &on));

    TITLE("close_range");
    SHOW(close_range(22, 23, CLOSE_RANGE_CLOEXEC));
    SHOW(fcntl(22, F_GETFD));
    SHOW(close_range(21, 22, 0));
    SHOW(fcntl(22, F_GETFD));
    SHOW(fcntl(23, F_GETFD));
    SHOW(close_range(5, 4, 0));
    SHOW(close_range(20, ~0u, 64));
    SHOW(close_range(20, ~0u, 0));
    SHOW(fcntl(20, F_GETFD));

    TITLE("flock");
    int other = open("f", O_RDWR);
    SHOW(flock(fd, LOCK_EX));
    SHOW(flock(other, LOCK_SH | LOCK_NB));
    SHOW(flock(fd, LOCK_SH));
    SHOW(flock(other, LOCK_SH | LOCK_NB));
    SHOW(flock(other, LOCK_EX | LOCK_NB));
    SHOW(flock(fd, LOCK_UN));
    SHOW(flock(other, LOCK_EX | LOCK_NB));
    int third = dup(other);
    close(other);
    SHOW(flock(fd, LOCK_SH | LOCK_NB));
    close(third);
    SHOW(flock(fd, LOCK_SH | LOCK_NB));
    SHOW(flock(fd, 0));
    SHOW(flock(99, LOCK_SH));

    TITLE("record locks");
    other = open("f", O_RDWR);
    SHOW(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    SHOW(lock(other, F_GETLK, F_WRLCK, 0, 10));
    SHOW(lock(other, F_OFD_GETLK, F_RDLCK, 5, 10));
    SHOW(lock(other, F_OFD_SETLK, F_WRLCK, 9, 10));
    SHOW(lock(other, F_OFD_SETLK, F_WRLCK, 10, 10));
    SHOW(lock(fd, F_SETLK, F_RDLCK, 4, 2));
    SHOW(lock(other, F_OFD_GETLK, F_WRLCK, 4, 0));
    SHOW(lock(other, F_OFD_GETLK, F_RDLCK, 4, 2));
    SHOW(lock(fd, F_GETLK, F_RDLCK, 15, 100));
    SHOW(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    SHOW(lock(other, F_OFD_SETLK, F_WRLCK, 0, 0));
    SHOW(lock(fd, F_SETLK, F_RDLCK, 1 << 20, 1));
    SHOW(lock(other, F_OFD_SETLK, F_UNLCK, 0, 100));
    SHOW(lock(fd, F_SETLK, F_RDLCK, 50, 50));
    SHOW(lock(fd, F_SETLK, F_RDLCK, 50, 51));
    SHOW(lock(fd, F_SETLK, 77, 0, 1));
    SHOW(lock(fd, F_SETLK, F_RDLCK, -1, 1));
    SHOW(lock(fd, F_SETLK, F_RDLCK, 10, -5));
    SHOW(lock(fd, F_SETLK, F_RDLCK, 10, -11));
    SHOW(fcntl(fd, F_SETLK, (void *)8));
    int readonly = open("f", O_RDONLY);
    SHOW(lock(readonly, F_SETLK, F_WRLCK, 0, 1));
    SHOW(lock(readonly, F_OFD_SETLK, F_RDLCK, 0, 1));
    SHOW(lock(other, F_OFD_GETLK, F_WRLCK, 0, 10));
    close(readonly);
    SHOW(lock(other, F_OFD_GETLK, F_WRLCK, 0, 10));
    close(other);

    TITLE("memory files");
    int mem = SHOW_FD(memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    SHOW(fcntl(mem, F_GETFD));
    SHOW(write(mem, "sealed", 6));
    SHOW(fcntl(mem, F_GET_SEALS));
    SHOW(fcntl(mem, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
    SHOW(ftruncate(mem, 3));
    SHOW(ftruncate(mem, 30));
    SHOW(write(mem, "x", 1));
    SHOW(pwrite(mem, "x", 1, 0));
    SHOW(fcntl(mem, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
    SHOW(pwrite(mem, "x", 1, 0));
    SHOW(fcntl(mem, F_ADD_SEALS, F_SEAL_WRITE));
    SHOW(fcntl(mem, F_GET_SEALS));
    SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    SHOW(fcntl(mem, F_ADD_SEALS, 0x10000));
    struct stat st;
    SHOW(fstat(mem, &st));
    printf("mode %o size %ld links %ld\n", st.st_mode, (long)st.st_size, (long)st.st_nlink);
    int unsealable = memfd_create("other", 0);
    SHOW(fcntl(unsealable, F_ADD_SEALS, F_SEAL_WRITE));
    SHOW_FD(memfd_create("x", 0x8000));
    char name[300];
    memset(name, 'm', sizeof name);
    name[250] = 0;
    SHOW_FD(memfd_create(name, 0));
    name[249] = 0;
    SHOW_FD(memfd_create(name, 0));
    return 0;
}
