/*
 * Many different system calls, with their results on stdout: files, memory, threads, signals, processes, time.
 * The output is the same in every run on one machine.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SHOW(expression)                                                                                       \
    do {                                                                                                       \
        errno = 0;                                                                                             \
        long result = (long)(expression);                                                                      \
        printf("%s = %ld, errno %d\n", #expression, result, errno);                                            \
    } while (0)

static volatile sig_atomic_t caught;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t semaphore;
static long shared;
static int cleaned;

static void on_signal(int number)
{
    caught += number;
}

static void files(void)
{
    char folder[] = "/tmp/exercise-XXXXXX", buffer[64] = "";
    if (!mkdtemp(folder) || chdir(folder))
        abort();
    int fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0640);
    struct iovec parts[] = {{"one ", 4}, {"two ", 4}};
    struct stat status;

    SHOW(write(fd, "zero ", 5));
    SHOW(writev(fd, parts, 2));
    SHOW(pwrite(fd, "Z", 1, 0));
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(read(fd, buffer, sizeof buffer));
    SHOW(pread(fd, buffer + 20, 8, 5));
    printf("%s|%s\n", buffer, buffer + 20);
    SHOW(ftruncate(fd, 9));
    SHOW(fstat(fd, &status) ? -1 : status.st_size);
    SHOW(fsync(fd));
    SHOW(fchmod(fd, 0400));
    SHOW(link("file", "other"));
    SHOW(symlink("other", "symbolic"));
    SHOW(readlink("symbolic", buffer, sizeof buffer));
    SHOW(rename("other", "third"));
    SHOW(stat("symbolic", &status));
    SHOW(mkdir("folder", 0755));
    SHOW(access("folder", X_OK));
    SHOW(open("nowhere", O_RDONLY));
    SHOW(rmdir("file"));
    int entries = 0;
    DIR *directory = opendir(".");
    while (readdir(directory))
        entries++;
    closedir(directory);
    printf("%d entries\n", entries);
    SHOW(dup2(fd, 50));
    SHOW(fcntl(50, F_GETFL) & O_ACCMODE);
    SHOW(close(50) + close(fd));
    SHOW(close(fd));
    SHOW(unlink("file") + unlink("symbolic") + unlink("third") + rmdir("folder"));
    SHOW(chdir("/"));
    SHOW(rmdir(folder));
}

static void memory(void)
{
    char *area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    area[5000] = 7;
    SHOW(madvise(area, 4096, MADV_DONTNEED));
    SHOW(mprotect(area, 4096, PROT_NONE));
    area = mremap(area + 4096, (1 << 20) - 4096, 1 << 21, MREMAP_MAYMOVE);
    printf("moved %d\n", area[5000 - 4096]);
    SHOW(munmap(area, 1 << 21));
    SHOW(munmap(area + 1, 1));
    void *blocks[64];
    for (int i = 0; i < 64; i++)
        memset(blocks[i] = malloc(1 << (i % 20)), i, 1 << (i % 20));
    for (int i = 0; i < 64; i++)
        free(blocks[i]);
}

static void release(void *unused)
{
    (void)unused;
    cleaned++;
}

static void *forever(void *unused)
{
    (void)unused;
    pthread_cleanup_push(release, NULL);
    for (;;)
        pause();
    pthread_cleanup_pop(0);
    return NULL;
}

static void *count(void *number)
{
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&mutex);
        shared++;
        pthread_mutex_unlock(&mutex);
        if (i % 50 == 0)
            sched_yield();
    }
    sem_post(&semaphore);
    pthread_mutex_lock(&mutex);
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
    return number;
}

static void threads(void)
{
    pthread_t workers[8], canceled;
    void *result;
    pthread_barrier_init(&barrier, NULL, 8);
    sem_init(&semaphore, 0, 0);
    for (long i = 0; i < 8; i++)
        pthread_create(&workers[i], NULL, count, (void *)i);
    pthread_mutex_lock(&mutex);
    while (shared < 8 * 500)
        pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
    long sum = 0;
    for (int i = 0; i < 8; i++) {
        pthread_join(workers[i], &result);
        sem_wait(&semaphore);
        sum += (long)result;
    }
    printf("shared %ld, sum %ld\n", shared, sum);

    pthread_create(&canceled, NULL, forever, NULL);
    usleep(1000);
    pthread_cancel(canceled);
    pthread_join(canceled, &result);
    printf("canceled %d, cleaned %d\n", result == PTHREAD_CANCELED, cleaned);
}

static void signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct itimerval timer = {.it_value = {.tv_usec = 1000}};
    sigset_t set, old;
    siginfo_t information;
    int pipes[2];

    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    SHOW(raise(SIGUSR1));
    SHOW(kill(getpid(), SIGUSR1));
    printf("caught %d\n", (int)caught);
    SHOW(setitimer(ITIMER_REAL, &timer, NULL));
    SHOW(pause());
    SHOW(pipe(pipes));
    SHOW(setitimer(ITIMER_REAL, &timer, NULL));
    SHOW(read(pipes[0], &set, 1));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    SHOW(sigprocmask(SIG_BLOCK, &set, &old));
    SHOW(raise(SIGUSR2));
    SHOW(sigpending(&old));
    SHOW(sigwaitinfo(&set, &information));
    SHOW(sigtimedwait(&set, &information, &(struct timespec){.tv_nsec = 1000}));
    SHOW(close(pipes[0]) + close(pipes[1]));
}

static void descriptors(void)
{
    int pair[2], events = eventfd(3, EFD_NONBLOCK), epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = events}, ready;
    uint64_t value = 0;
    char buffer[16];
    fd_set readable;

    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, events, &event));
    SHOW(epoll_wait(epoll, &ready, 1, 0));
    SHOW(read(events, &value, 8));
    SHOW(read(events, &value, 8));
    SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    SHOW(send(pair[0], "hello", 5, 0));
    FD_ZERO(&readable);
    FD_SET(pair[1], &readable);
    SHOW(select(pair[1] + 1, &readable, NULL, NULL, &(struct timeval){0, 0}));
    SHOW(recv(pair[1], buffer, sizeof buffer, MSG_DONTWAIT));
    SHOW(poll(&(struct pollfd){pair[1], POLLIN, 0}, 1, 1));
    SHOW(shutdown(pair[0], SHUT_RDWR));
    SHOW(connect(pair[0], NULL, 0));
    SHOW(close(pair[0]) + close(pair[1]) + close(events) + close(epoll));
}

static void processes(void)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (!child)
        _exit(getppid() > 0 ? 41 : 1);
    SHOW(waitpid(child, &status, 0) == child);
    printf("exit %d\n", WEXITSTATUS(status));
    child = vfork();
    if (!child)
        _exit(42);
    SHOW(waitpid(child, &status, 0) == child);
    printf("exit %d\n", WEXITSTATUS(status));
    printf("system %d\n", WEXITSTATUS(system("exit 43")));
    FILE *output = popen("echo from a pipe", "r");
    char line[64] = "";
    printf("%s", fgets(line, sizeof line, output));
    SHOW(pclose(output));
}

static void odds(void)
{
    struct utsname name;
    struct rlimit limit;
    struct timespec now = {0};
    cpu_set_t set;
    SHOW(uname(&name));
    SHOW(getrlimit(RLIMIT_NOFILE, &limit));
    SHOW(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now));
    SHOW(nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL));
    SHOW(clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = 1000}, NULL));
    SHOW(sched_getaffinity(0, sizeof set, &set) == 0);
    SHOW(getuid() == geteuid());
    SHOW(umask(077));
    SHOW(getpriority(PRIO_PROCESS, 0));
    SHOW(setpgid(0, 0));
    for (int i = 0; i < 3000; i++)
        getppid();
}

int main(void)
{
    files();
    memory();
    threads();
    signals();
    descriptors();
    processes();
    odds();
    return 77;
}
