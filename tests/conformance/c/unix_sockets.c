/* Local sockets. */
#include "conformance.h"
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static char buffer[300000];

static int events(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    poll(&p, 1, 0);
    return p.revents;
}

static long option(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

static struct sockaddr_un named(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path + 1, name);
    return a;
}
#define SIZE(name) (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))

static void making(void)
{
    int fds[2];
    TELL(socket(AF_UNIX, 77, 0));
    TELL(socket(AF_UNIX, SOCK_STREAM | 0x10, 0));
    TELL(socket(AF_UNIX, SOCK_STREAM, 9));
    TELL(socket(AF_UNIX, SOCK_RDM, 0));
    TELL(socket(99, SOCK_STREAM, 0));
    TELL(socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)UNMAPPED));
    TELL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds));
    TELL(fcntl(fds[0], F_GETFL));
    TELL(fcntl(fds[0], F_GETFD));
    struct stat st;
    TELL(fstat(fds[0], &st));
    printf("mode %o\n", st.st_mode);
    TELL(lseek(fds[0], 0, SEEK_SET));
    TELL(pread(fds[0], buffer, 1, 0));
    TELL(option(fds[0], SO_TYPE));
    TELL(option(fds[0], SO_DOMAIN));
    TELL(option(fds[0], SO_PROTOCOL));
    TELL(option(fds[0], SO_ERROR));
    TELL(option(fds[0], SO_ACCEPTCONN));
    TELL(option(fds[0], SO_PASSCRED));
    TELL(option(fds[0], SO_SNDBUF));
    TELL(option(fds[0], 9999));
    TELL(send(0, "x", 1, 0));
    TELL(send(99, "x", 1, 0));
    TELL(getsockopt(fds[0], 77, 1, buffer, (socklen_t *)buffer));
    int small = 10000;
    TELL(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, 4));
    TELL(option(fds[0], SO_SNDBUF));
    TELL(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, 3));
    TELL(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, UNMAPPED, 4));
    struct ucred peer;
    socklen_t size = sizeof peer;
    TELL(getsockopt(fds[0], SOL_SOCKET, SO_PEERCRED, &peer, &size));
    TELL(peer.pid == getpid() && peer.uid == getuid() && peer.gid == getgid());
    struct sockaddr_un a;
    size = sizeof a;
    TELL(getsockname(fds[0], (void *)&a, &size));
    TELL(size);
    size = sizeof a;
    TELL(getpeername(fds[0], (void *)&a, &size));
    TELL(size);
    close(fds[0]), close(fds[1]);
}

static void streams(void)
{
    int fds[2], n;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    TELL(events(fds[0]));
    TELL(read(fds[0], buffer, 10));
    TELL(read(fds[0], buffer, 0));
    TELL(write(fds[0], "", 0));
    TELL(write(fds[0], "abc", 3));
    TELL(write(fds[0], "defg", 4));
    TELL(ioctl(fds[1], FIONREAD, &n));
    TELL(n);
    TELL(recv(fds[1], buffer, 5, MSG_PEEK));
    TELL(recv(fds[1], buffer, 5, 0));
    TELL(strncmp(buffer, "abcde", 5));
    TELL(recv(fds[1], buffer, 5, MSG_WAITALL));
    TELL(recv(fds[1], buffer, 5, 0));
    TELL(sendto(fds[0], "x", 1, 0, (void *)buffer, 4));
    TELL(write(fds[0], UNMAPPED, 5));
    TELL(write(fds[0], buffer, sizeof buffer) > 100000);
    TELL(events(fds[0]));
    long total = 0, got;
    while ((got = read(fds[1], buffer, 30000)) > 0)
        total += got;
    TELL(total > 100000);
    TELL(events(fds[0]));
    TELL(shutdown(fds[0], 7));
    write(fds[0], "last", 4);
    TELL(shutdown(fds[0], SHUT_WR));
    TELL(send(fds[0], "x", 1, MSG_NOSIGNAL));
    TELL(events(fds[0]));
    TELL(events(fds[1]));
    TELL(read(fds[1], buffer, 10));
    TELL(read(fds[1], buffer, 10));
    TELL(write(fds[1], "back", 4));
    TELL(read(fds[0], buffer, 10));
    TELL(shutdown(fds[0], SHUT_RD));
    TELL(events(fds[0]));
    TELL(events(fds[1]));
    TELL(send(fds[1], "x", 1, MSG_NOSIGNAL));
    close(fds[0]), close(fds[1]);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    write(fds[0], "unread", 6);
    close(fds[1]);
    TELL(events(fds[0]));
    TELL(read(fds[0], buffer, 10));
    TELL(read(fds[0], buffer, 10));
    TELL(send(fds[0], "x", 1, MSG_NOSIGNAL));
    signal(SIGPIPE, SIG_IGN);
    TELL(write(fds[0], "x", 1));
    close(fds[0]);
}

static void datagrams(int type)
{
    int fds[2], n;
    printf("type %d\n", type);
    REQUIRE(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds) == 0);
    TELL(events(fds[0]));
    TELL(send(fds[0], "abcd", 4, 0));
    TELL(send(fds[0], "", 0, 0));
    TELL(send(fds[0], "ef", 2, 0));
    TELL(ioctl(fds[1], FIONREAD, &n));
    TELL(n);
    TELL(recv(fds[1], buffer, 2, MSG_PEEK));
    TELL(recv(fds[1], buffer, 2, MSG_PEEK | MSG_TRUNC));
    TELL(recv(fds[1], buffer, 2, 0));
    TELL(recv(fds[1], buffer, 2, 0));
    TELL(recv(fds[1], buffer, 1, MSG_TRUNC));
    TELL(recv(fds[1], buffer, 2, 0));
    TELL(send(fds[0], buffer, sizeof buffer, 0));
    struct iovec v = {buffer, 2};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_name = buffer + 100, .msg_namelen = 50};
    send(fds[0], "long", 4, 0);
    TELL(recvmsg(fds[1], &m, 0));
    printf("flags %x, name %d\n", m.msg_flags, m.msg_namelen);
    TELL(shutdown(fds[0], SHUT_WR));
    TELL(send(fds[0], "x", 1, MSG_NOSIGNAL));
    TELL(recv(fds[1], buffer, 2, 0));
    TELL(events(fds[1]));
    close(fds[1]);
    TELL(events(fds[0]));
    TELL(send(fds[0], "x", 1, MSG_NOSIGNAL));
    TELL(send(fds[0], "x", 1, MSG_NOSIGNAL));
    TELL(recv(fds[0], buffer, 2, MSG_DONTWAIT));
    close(fds[0]);
}

static void *connecter(void *unused)
{
    struct sockaddr_un a = named("myst-conformance");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    usleep(20000);
    REQUIRE(connect(fd, (void *)&a, SIZE("myst-conformance")) == 0);
    write(fd, "hello", 5);
    read(fd, buffer, 1);
    close(fd);
    return 0;
}

static void connections(void)
{
    struct sockaddr_un a = named("myst-conformance"), b;
    socklen_t size = SIZE("myst-conformance");
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    TELL(events(listener));
    TELL(recv(listener, buffer, 1, 0));
    TELL(send(listener, buffer, 1, MSG_NOSIGNAL));
    TELL(accept(listener, 0, 0));
    TELL(listen(listener, 1));
    TELL(connect(client, (void *)&a, size));
    TELL(connect(client, (void *)&a, 1));
    TELL(connect(client, (void *)&a, 200));
    TELL(bind(listener, (void *)&a, 200));
    TELL(bind(listener, (void *)&a, size));
    TELL(bind(listener, (void *)&a, size));
    TELL(bind(client, (void *)&a, size));
    TELL(connect(client, (void *)&a, size));
    TELL(listen(listener, 0));
    TELL(option(listener, SO_ACCEPTCONN));
    TELL(connect(listener, (void *)&a, size));
    int wrong = socket(AF_UNIX, SOCK_DGRAM, 0);
    TELL(connect(wrong, (void *)&a, size));
    TELL(listen(wrong, 1));
    TELL(accept(wrong, 0, 0));
    close(wrong);
    TELL(events(listener));
    TELL(connect(client, (void *)&a, size));
    TELL(connect(client, (void *)&a, size));
    TELL(events(listener));
    int second = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    TELL(connect(second, (void *)&a, size));
    TELL(write(client, "early", 5));
    socklen_t got = sizeof b;
    TELL(accept4(listener, 0, 0, 1));
    int server = accept4(listener, (void *)&b, &got, SOCK_CLOEXEC);
    TELL(server >= 0);
    TELL(got);
    TELL(fcntl(server, F_GETFL));
    TELL(fcntl(server, F_GETFD));
    TELL(read(server, buffer, 10));
    got = sizeof b;
    TELL(getsockname(server, (void *)&b, &got));
    TELL(got == size && !memcmp(&a, &b, size));
    got = 3;
    TELL(getpeername(client, (void *)&b, &got));
    TELL(got == size);
    close(client);
    TELL(read(server, buffer, 10));
    TELL(send(server, "x", 1, MSG_NOSIGNAL));
    close(server);
    pthread_t thread;
    pthread_create(&thread, 0, connecter, 0);
    server = accept(listener, 0, 0);
    TELL(recv(server, buffer, 5, MSG_WAITALL));
    write(server, "x", 1);
    pthread_join(thread, 0);
    TELL(read(server, buffer, 5));
    close(server);
    TELL(connect(second, (void *)&a, size));
    close(listener);
    TELL(read(second, buffer, 1));
    TELL(read(second, buffer, 1));
    close(second);
}

static void paths(void)
{
    struct sockaddr_un a = {AF_UNIX, "socket"}, b;
    struct stat st;
    int one = socket(AF_UNIX, SOCK_DGRAM, 0), two = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    TELL(connect(two, (void *)&a, sizeof a));
    TELL(bind(one, (void *)&a, sizeof a));
    TELL(stat("socket", &st));
    TELL(S_ISSOCK(st.st_mode));
    TELL(open("socket", O_RDWR));
    TELL(bind(two, (void *)&a, sizeof a));
    socklen_t size = sizeof b;
    TELL(getsockname(one, (void *)&b, &size));
    TELL(size);
    TELL(send(two, "x", 1, 0));
    TELL(sendto(two, "hello", 5, 0, (void *)&a, sizeof a));
    size = sizeof b;
    TELL(recvfrom(one, buffer, 10, 0, (void *)&b, &size));
    TELL(size);
    TELL(connect(two, (void *)&a, sizeof a));
    TELL(send(two, "x", 1, 0));
    struct sockaddr_un c = named("myst-second");
    TELL(bind(two, (void *)&c, SIZE("myst-second")));
    TELL(send(two, "y", 1, 0));
    TELL(recv(one, buffer, 10, 0));
    size = sizeof b;
    TELL(recvfrom(one, buffer, 10, 0, (void *)&b, &size));
    TELL(size == SIZE("myst-second"));
    b.sun_family = AF_UNSPEC;
    TELL(connect(two, (void *)&b, sizeof b));
    TELL(send(two, "x", 1, 0));
    close(one);
    TELL(sendto(two, "x", 1, 0, (void *)&a, sizeof a));
    TELL(unlink("socket"));
    TELL(sendto(two, "x", 1, 0, (void *)&a, sizeof a));
    put_file("plain", "");
    strcpy(a.sun_path, "plain");
    TELL(connect(two, (void *)&a, sizeof a));
    unlink("plain");
    int three = socket(AF_UNIX, SOCK_STREAM, 0);
    a.sun_path[0] = 0;
    TELL(bind(three, (void *)&a, 2));
    size = sizeof b;
    TELL(getsockname(three, (void *)&b, &size));
    TELL(size);
    close(two), close(three);
}

static void descriptors(void)
{
    int fds[2], through[2];
    union {
        char bytes[CMSG_SPACE(3 * sizeof(int))];
        struct cmsghdr header;
    } control;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0 && pipe(through) == 0);
    struct iovec v = {"data", 4};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(8)};
    control.header = (struct cmsghdr){CMSG_LEN(8), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), through, 8);
    TELL(sendmsg(fds[0], &m, 0));
    ((int *)CMSG_DATA(&control.header))[1] = 99;
    TELL(sendmsg(fds[0], &m, 0));
    control.header.cmsg_len = 5;
    TELL(sendmsg(fds[0], &m, 0));
    control.header = (struct cmsghdr){CMSG_LEN(8), SOL_SOCKET, 77};
    TELL(sendmsg(fds[0], &m, 0));
    write(fds[0], "more", 4);
    v = (struct iovec){buffer, 100};
    memset(&control, 0, sizeof control), m.msg_controllen = sizeof control;
    TELL(recvmsg(fds[1], &m, MSG_CMSG_CLOEXEC));
    printf("flags %x, control %zu, length %zu, type %d\n", m.msg_flags, m.msg_controllen,
           (size_t)control.header.cmsg_len, control.header.cmsg_type);
    int got[2];
    memcpy(got, CMSG_DATA(&control.header), 8);
    TELL(fcntl(got[0], F_GETFD));
    TELL(write(got[1], "piped", 5));
    TELL(read(through[0], buffer, 10));
    close(got[0]), close(got[1]);
    TELL(read(fds[1], buffer, 10));
    v = (struct iovec){"d", 1};
    control.header = (struct cmsghdr){CMSG_LEN(8), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), through, 8);
    m.msg_controllen = CMSG_SPACE(8);
    TELL(sendmsg(fds[0], &m, 0));
    v = (struct iovec){buffer, 100}, m.msg_controllen = CMSG_LEN(4);
    TELL(recvmsg(fds[1], &m, 0));
    printf("flags %x, control %zu, length %zu\n", m.msg_flags, m.msg_controllen, (size_t)control.header.cmsg_len);
    v = (struct iovec){"d", 1}, m.msg_controllen = CMSG_SPACE(8);
    control.header.cmsg_len = CMSG_LEN(8);
    memcpy(CMSG_DATA(&control.header), through, 8);
    TELL(sendmsg(fds[0], &m, 0));
    m.msg_control = 0, m.msg_controllen = 0, v = (struct iovec){buffer, 100};
    TELL(recvmsg(fds[1], &m, 0));
    TELL(m.msg_flags);
    int on = 1;
    setsockopt(fds[1], SOL_SOCKET, SO_PASSCRED, &on, 4);
    write(fds[0], "who", 3);
    m.msg_control = &control, m.msg_controllen = sizeof control;
    TELL(recvmsg(fds[1], &m, 0));
    printf("flags %x, control %zu, type %d\n", m.msg_flags, m.msg_controllen, control.header.cmsg_type);
    struct ucred who;
    memcpy(&who, CMSG_DATA(&control.header), sizeof who);
    TELL(who.pid == getpid() && who.uid == getuid());
    close(fds[0]), close(fds[1]), close(through[0]), close(through[1]);
}

static void several(void)
{
    int fds[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds) == 0);
    struct iovec out[3] = {{"a", 1}, {"bc", 2}, {"def", 3}}, in[4];
    struct mmsghdr send[3] = {0}, receive[4] = {0};
    for (int i = 0; i < 4; i++) {
        in[i] = (struct iovec){buffer + i * 100, 100};
        receive[i].msg_hdr.msg_iov = in + i, receive[i].msg_hdr.msg_iovlen = 1;
        if (i < 3)
            send[i].msg_hdr.msg_iov = out + i, send[i].msg_hdr.msg_iovlen = 1;
    }
    TELL(sendmmsg(fds[0], send, 3, 0));
    TELL(send[2].msg_len);
    TELL(recvmmsg(fds[1], receive, 4, 0, 0));
    TELL(receive[0].msg_len + 10 * receive[1].msg_len + 100 * receive[2].msg_len);
    TELL(recvmmsg(fds[1], receive, 4, 0, 0));
    struct timeval t = {0, 20000};
    int flags = fcntl(fds[1], F_GETFL);
    fcntl(fds[1], F_SETFL, flags & ~O_NONBLOCK);
    TELL(setsockopt(fds[1], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
    TELL(recv(fds[1], buffer, 1, 0));
    close(fds[0]), close(fds[1]);
}

int main(void)
{
    making();
    streams();
    datagrams(SOCK_DGRAM);
    datagrams(SOCK_SEQPACKET);
    connections();
    paths();
    descriptors();
    several();
}
