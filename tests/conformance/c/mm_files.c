/* Mappings of files: private copies, ends of files, shared mappings and read/write agree. */
#include "conformance.h"
#include <setjmp.h>

#define PAGE 4096ul
#define MAP(...) (mmap(__VA_ARGS__) == MAP_FAILED ? -1 : 0)

static sigjmp_buf back;
static volatile int last_signal, last_code;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    last_signal = signal;
    last_code = info->si_code;
    siglongjmp(back, 1);
}

static void probe(const char *what, volatile char *at)
{
    if (!sigsetjmp(back, 1))
        printf("%s: %d\n", what, *at);
    else
        printf("%s: signal %d code %d\n", what, last_signal, last_code);
}

static int file_of(const char *name, size_t size)
{
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
    REQUIRE(fd >= 0);
    for (size_t i = 0; i < size; i++) {
        char c = 'a' + i / PAGE;
        REQUIRE(write(fd, &c, 1) == 1);
    }
    return fd;
}

static void private_mapping(void)
{
    int fd = file_of("private", PAGE + 100);
    char *p = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), c;
    REQUIRE(p != MAP_FAILED);
    probe("first page", p);
    probe("last byte", p + PAGE + 99);
    probe("after the last byte", p + PAGE + 100);
    probe("end of the last page", p + 2 * PAGE - 1);
    probe("page beyond the end", p + 2 * PAGE);
    p[0] = 'X';
    TELL(pread(fd, &c, 1, 0));
    TELL(c);
    TELL(MAP(0, PAGE, PROT_READ, MAP_PRIVATE, fd, 16 * PAGE));
    TELL(close(fd));
    probe("after close", p + PAGE);
    TELL(madvise(p, 2 * PAGE, MADV_DONTNEED));
    probe("after MADV_DONTNEED", p);
    TELL(read(open("private", O_RDONLY), p + 2 * PAGE, 10));
    TELL(munmap(p, 4 * PAGE));
}

static void offsets(void)
{
    int fd = file_of("offsets", 5 * PAGE);
    char *p = mmap(0, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 2 * PAGE);
    REQUIRE(p != MAP_FAILED);
    TELL(p[0] == 'c' && p[PAGE] == 'd');
    TELL(mmap(p + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 4 * PAGE) == p + PAGE);
    TELL(p[0] == 'c' && p[PAGE] == 'e');
    TELL(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE));
    p[0] = 'C';
    TELL(p[0]);
    munmap(p, 2 * PAGE);
    close(fd);
}

static void shared_mapping(void)
{
    int fd = file_of("shared", 2 * PAGE);
    char *p = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), buffer[4] = "";
    REQUIRE(p != MAP_FAILED);
    memcpy(p + 10, "map", 3);
    TELL(pread(fd, buffer, 3, 10));
    printf("read after store: %s\n", buffer);
    TELL(pwrite(fd, "write", 5, PAGE - 2));
    printf("memory after write: %.5s\n", p + PAGE - 2);
    TELL(msync(p, 2 * PAGE, MS_SYNC));
    TELL(msync(p, 2 * PAGE, MS_ASYNC | MS_INVALIDATE));
    TELL(msync(p, 2 * PAGE, MS_SYNC | MS_ASYNC));
    TELL(msync(p, 2 * PAGE, 8));
    TELL(msync(p + 1, PAGE, MS_SYNC));
    TELL(msync(p, 0, MS_SYNC));
    TELL(mprotect(p, 2 * PAGE, PROT_READ));
    TELL(pwrite(fd, "again", 5, 0));
    printf("read-only memory after write: %.5s\n", p);
    TELL(mprotect(p, PAGE, PROT_NONE));
    TELL(pwrite(fd, "hidden", 6, 0));
    TELL(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE));
    printf("opened memory: %.6s\n", p);
    TELL(munmap(p, PAGE));
    p[PAGE] = 'q';
    TELL(close(fd));
    TELL(munmap(p + PAGE, PAGE));
    fd = open("shared", O_RDONLY);
    TELL(pread(fd, buffer, 3, PAGE));
    printf("after all: %.3s\n", buffer);
    p = mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    REQUIRE(p != MAP_FAILED);
    TELL(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
    char *q = mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    TELL(p[0] == q[0]);
    munmap(p, PAGE);
    probe("the other reader", q);
    munmap(q, PAGE);
    close(fd);
}

static void shared_twice(void)
{
    int fd = file_of("twice", 2 * PAGE);
    char *p = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *q = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(p != MAP_FAILED && q != MAP_FAILED);
    p[0] = '1';
    TELL(q[0]);
    TELL(munmap(p, 2 * PAGE));
    q[1] = '2';
    char buffer[3] = "";
    TELL(pread(fd, buffer, 2, 0));
    printf("%s\n", buffer);
    TELL(munmap(q, 2 * PAGE));
    probe("after both", q);
    close(fd);
}

static void growing(void)
{
    int fd = file_of("growing", 10);
    char *p = mmap(0, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(p != MAP_FAILED);
    probe("second page", p + PAGE);
    TELL(ftruncate(fd, 2 * PAGE + 5));
    probe("second page of the longer file", p + PAGE);
    p[2 * PAGE + 4] = '!';
    char c = 0;
    TELL(pread(fd, &c, 1, 2 * PAGE + 4));
    TELL(c);
    munmap(p, 3 * PAGE);
    close(fd);
}

static void special(void)
{
    int zero = open("/dev/zero", O_RDWR), null = open("/dev/null", O_RDWR);
    char *p = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    TELL(p != MAP_FAILED && p[100] == 0);
    TELL(MAP(0, PAGE, PROT_READ, MAP_PRIVATE, null, 0));
    int memory = memfd_create("name", 0);
    TELL(ftruncate(memory, PAGE));
    p = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    REQUIRE(p != MAP_FAILED);
    strcpy(p, "memory");
    char buffer[7] = "";
    TELL(pread(memory, buffer, 6, 0));
    printf("%s\n", buffer);
    p = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(p != MAP_FAILED);
    p[0] = 's';
    TELL(madvise(p, PAGE, MADV_DONTNEED));
    TELL(p[0]);
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    private_mapping();
    offsets();
    shared_mapping();
    shared_twice();
    growing();
    special();
    return 0;
}
