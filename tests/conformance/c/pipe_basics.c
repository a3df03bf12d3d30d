/* Pipes: how much they take, how they end, what they refuse. */
#include "conformance.h"
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static char buffer[200000];

static int events(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    poll(&p, 1, 0);
    return p.revents;
}

static void flags_and_facts(void)
{
    int fds[2];
    struct stat st;
    TELL(pipe2(fds, 1));
    TELL(pipe2(fds, O_APPEND));
    TELL(pipe((int *)UNMAPPED));
    TELL(pipe2(fds, O_CLOEXEC | O_NONBLOCK));
    TELL(fcntl(fds[0], F_GETFD));
    TELL(fcntl(fds[0], F_GETFL));
    TELL(fcntl(fds[1], F_GETFL));
    TELL(fstat(fds[0], &st));
    printf("mode %o, links %ld, block size %ld\n", st.st_mode, (long)st.st_nlink, (long)st.st_blksize);
    TELL(lseek(fds[0], 0, SEEK_CUR));
    TELL(pread(fds[0], buffer, 1, 0));
    TELL(pwrite(fds[1], buffer, 1, 0));
    TELL(read(fds[1], buffer, 1));
    TELL(write(fds[0], buffer, 1));
    TELL(ftruncate(fds[1], 0));
    TELL(fsync(fds[1]));
    TELL(isatty(fds[0]));
    TELL(read(fds[0], buffer, 1));
    TELL(read(fds[0], buffer, 0));
    TELL(write(fds[1], buffer, 0));
    TELL(write(fds[1], UNMAPPED, 5));
    TELL(write(fds[1], "abc", 3));
    TELL(read(fds[0], UNMAPPED, 5));
    TELL(read(fds[0], buffer, 5));
    close(fds[0]), close(fds[1]);
}

static void capacity(void)
{
    int fds[2], count = 0, waiting;
    REQUIRE(pipe2(fds, O_NONBLOCK) == 0);
    TELL(fcntl(fds[0], F_GETPIPE_SZ));
    TELL(events(fds[0]));
    TELL(events(fds[1]));
    while (write(fds[1], buffer, 1) == 1)
        count++;
    TELL(count);
    TELL(ioctl(fds[0], FIONREAD, &waiting));
    TELL(waiting);
    TELL(events(fds[1]));
    TELL(read(fds[0], buffer, 4095));
    TELL(events(fds[1]));
    TELL(write(fds[1], buffer, 1));
    TELL(read(fds[0], buffer, 1));
    TELL(events(fds[1]));
    TELL(write(fds[1], buffer, 5000));
    TELL(read(fds[0], buffer, sizeof buffer));
    TELL(write(fds[1], buffer, sizeof buffer));
    TELL(read(fds[0], buffer, 65536));
    for (count = 0; write(fds[1], buffer, 3000) == 3000; count++)
        ;
    TELL(count);
    TELL(read(fds[0], buffer, 3000));
    TELL(write(fds[1], buffer, 3000));
    TELL(fcntl(fds[1], F_SETPIPE_SZ, 4096));
    TELL(read(fds[0], buffer, sizeof buffer));
    TELL(fcntl(fds[1], F_SETPIPE_SZ, 5000));
    TELL(fcntl(fds[1], F_GETPIPE_SZ));
    TELL(write(fds[1], buffer, sizeof buffer));
    TELL(fcntl(fds[1], F_SETPIPE_SZ, 0));
    close(fds[0]), close(fds[1]);
}

static void ends(void)
{
    int fds[2];
    REQUIRE(pipe(fds) == 0);
    TELL(write(fds[1], "rest", 4));
    close(fds[1]);
    TELL(events(fds[0]));
    TELL(read(fds[0], buffer, 10));
    TELL(read(fds[0], buffer, 10));
    TELL(events(fds[0]));
    close(fds[0]);
    REQUIRE(pipe(fds) == 0);
    close(fds[0]);
    TELL(events(fds[1]));
    signal(SIGPIPE, SIG_IGN);
    TELL(write(fds[1], "x", 1));
    TELL(write(fds[1], "", 0));
    close(fds[1]);
}

static volatile sig_atomic_t caught;
static void catch (int signal) { caught = signal; }

static void broken(void)
{
    int fds[2];
    REQUIRE(pipe(fds) == 0);
    close(fds[0]);
    signal(SIGPIPE, catch);
    TELL(write(fds[1], "x", 1));
    TELL(caught == SIGPIPE);
    close(fds[1]);
}

static void packets(void)
{
    int fds[2];
    REQUIRE(pipe2(fds, O_DIRECT | O_NONBLOCK) == 0);
    TELL(write(fds[1], "abc", 3));
    TELL(write(fds[1], "de", 2));
    TELL(read(fds[0], buffer, 2));
    TELL(read(fds[0], buffer, 10));
    TELL(read(fds[0], buffer, 10));
    TELL(write(fds[1], buffer, 5000));
    TELL(read(fds[0], buffer, 10000));
    TELL(read(fds[0], buffer, 10000));
    close(fds[0]), close(fds[1]);
}

static void vectors(void)
{
    int fds[2];
    char a[3] = "", b[10] = "";
    REQUIRE(pipe(fds) == 0);
    struct iovec out[] = {{"one", 3}, {"", 0}, {"two", 3}}, in[] = {{a, 2}, {b, 9}};
    TELL(writev(fds[1], out, 3));
    TELL(readv(fds[0], in, 2));
    printf("%s %s\n", a, b);
    TELL(writev(fds[1], out, 2000));
    TELL(writev(fds[1], UNMAPPED, 1));
    close(fds[0]), close(fds[1]);
}

/* A thread writes much more than fits; all of it comes through in order. */
static int through[2];
static void *writer(void *unused)
{
    static unsigned char data[1000003];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = i * 31 >> 3;
    TELL(write(through[1], data, sizeof data));
    close(through[1]);
    return 0;
}

static void blocking(void)
{
    pthread_t thread;
    size_t total = 0, wrong = 0;
    ssize_t n;
    REQUIRE(pipe(through) == 0);
    REQUIRE(pthread_create(&thread, 0, writer, 0) == 0);
    while ((n = read(through[0], buffer, 7001)) > 0)
        for (ssize_t i = 0; i < n; i++, total++)
            wrong += (unsigned char)buffer[i] != (unsigned char)(total * 31 >> 3);
    pthread_join(thread, 0);
    TELL(total);
    TELL(wrong);
    close(through[0]);
}

static void fifo(void)
{
    TELL(mkfifo("fifo", 0600));
    TELL(open("fifo", O_WRONLY | O_NONBLOCK));
    int reader = open("fifo", O_RDONLY | O_NONBLOCK);
    TELL(reader >= 0);
    TELL(events(reader));
    TELL(read(reader, buffer, 10));
    int writer = open("fifo", O_WRONLY | O_NONBLOCK);
    TELL(writer >= 0);
    TELL(write(writer, "hello", 5));
    TELL(read(reader, buffer, 3));
    close(writer);
    TELL(events(reader));
    TELL(read(reader, buffer, 10));
    TELL(events(reader));
    int both = open("fifo", O_RDWR);
    TELL(both >= 0);
    TELL(events(both));
    TELL(write(both, "x", 1));
    TELL(events(both));
    TELL(read(reader, buffer, 10));
    struct stat st;
    TELL(fstat(reader, &st));
    TELL(S_ISFIFO(st.st_mode));
    close(reader), close(both);
    TELL(unlink("fifo"));
}

int main(void)
{
    flags_and_facts();
    capacity();
    ends();
    broken();
    packets();
    vectors();
    blocking();
    fifo();
}
