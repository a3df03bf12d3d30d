/* mmap, munmap, mprotect, mremap, madvise, msync, mincore, mlock, brk with arguments good and bad. */
#include "conformance.h"

static char *base;

/* Eight pages: 0 and 1 read-write, 2 read-only, 3 none, 4 a hole, 5 a file, shared, 6 and 7 a file, private. */
static void prepare(void)
{
    int fd = open("file", O_RDWR);
    int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    base = mmap(base, 32 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | (base ? MAP_FIXED : 0), -1, 0);
    REQUIRE(munmap(base, 32 * 4096) == 0);
    REQUIRE(mmap(base, 8192, PROT_READ | PROT_WRITE, anonymous, -1, 0) == base);
    REQUIRE(mmap(base + 8192, 4096, PROT_READ, anonymous, -1, 0) == base + 8192);
    REQUIRE(mmap(base + 12288, 4096, PROT_NONE, anonymous, -1, 0) == base + 12288);
    REQUIRE(mmap(base + 20480, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
    REQUIRE(mmap(base + 24576, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) != MAP_FAILED);
    close(fd);
    base[0] = 'a';
}

static const struct { const char *name; long value; } starts[] = {
    {"0", 0}, {"1", 4096}, {"2", 8192}, {"3", 12288}, {"the hole", 16384}, {"shared", 20480},
    {"private", 24576}, {"behind", 40960}, {"unaligned", 5}, {"null", -1}, {"beyond", -2},
};
static const struct { const char *name; unsigned long value; } sizes[] = {
    {"0", 0}, {"1", 1}, {"one page", 4096}, {"two pages", 8192}, {"all", 32768}, {"huge", 1ul << 47},
    {"minus one", -1ul}, {"minus a page", -4096ul},
};

static char *address(long start)
{
    return start == -1 ? NULL : start == -2 ? (char *)BEYOND_USER : base + start;
}

#define EACH(call)                                                                                      \
    for (size_t i = 0; i < COUNT(starts); i++)                                                          \
        for (size_t j = 0; j < COUNT(sizes); j++) {                                                     \
            prepare();                                                                                  \
            char *p = address(starts[i].value);                                                         \
            size_t n = sizes[j].value;                                                                  \
            (void)p, (void)n;                                                                           \
            errno = 0;                                                                                  \
            long result = (long)(call);                                                                 \
            printf(#call " p=%s n=%s: %s\n", starts[i].name, sizes[j].name,                             \
                   result == -1 ? error_name(errno) : "ok");                                            \
        }

int main(void)
{
    unsigned char present[64];
    char content[8193];
    memset(content, 'c', 8192);
    content[8192] = 0;
    put_file("file", content);
    prepare();
    int file = open("file", O_RDWR), reading = open("file", O_RDONLY), writing = open("file", O_WRONLY);

    /* what would unmap the program itself is left out */
#define SANE (p && n <= 32768)
    EACH(SANE || p == NULL ? munmap(p == NULL ? UNMAPPED : p, n) : 0);
    EACH(munmap(p, n | 1ul << 47));
    EACH(mprotect(p, n, PROT_READ));
    EACH(mprotect(p, n, PROT_READ | PROT_WRITE));
    EACH(mprotect(p, n, PROT_NONE));
    EACH(mprotect(p, n, 0x4000));
    EACH(madvise(p, n, MADV_NORMAL));
    EACH(madvise(p, n, MADV_WILLNEED));
    EACH(n <= 32768 ? madvise(p, n, MADV_DONTNEED) : 0);
    EACH(n <= 32768 ? madvise(p, n, MADV_FREE) : 0);
    EACH(madvise(p, n, 7777));
    EACH(n == -1ul ? 0 : msync(p, n, MS_SYNC));
    EACH(msync(p, n, MS_ASYNC | MS_SYNC));
    EACH(n == -1ul ? 0 : msync(p, n, 0));
    EACH(msync(p, n, 0x4000));
    EACH(n <= 32768 ? mincore(p, n, present) : 0);
    EACH(n <= 32768 ? mlock(p, n) : 0);
    EACH(n <= 32768 ? munlock(p, n) : 0);
    EACH(n <= 32768 ? syscall(SYS_mlock2, p, n, 0x4000) : 0);
    EACH(mremap(p, 4096, n, 0));
    EACH(n > 32768 || (n == 0 && starts[i].value == 20480) ? NULL : mremap(p, n, 4096, 0));
    EACH(mremap(p, 4096, n, MREMAP_MAYMOVE));
    EACH(mremap(p, 4096, n, 0x4000));
    EACH(mremap(p, 4096, 4096, MREMAP_FIXED, base + 40960));
    EACH(mremap(p, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, base + 40960));
    EACH(mremap(p, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, base + 40961));
    /* parts of several mappings: moved at once from Linux 6.17 on */
    EACH(starts[i].value == 12288 || starts[i].value == 20480
             ? NULL : mremap(p, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, base + 4096));
    EACH(mmap(p, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    EACH(n <= 32768 ? mmap(p, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : (void *)0);
    EACH(n == 1ul << 47 || n > 1ul << 60 ? mmap(NULL, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : 0);
    EACH(starts[i].value >= 0 && n <= 32768 ? mmap(p, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) : 0);
    EACH(p != (char *)BEYOND_USER ? 0 : mmap(p, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    EACH(n <= 32768 ? mmap(NULL, n, PROT_READ, MAP_PRIVATE, file, starts[i].value) : 0);

    prepare();
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, 0, file, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE, file, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE | 0x800000, file, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_PRIVATE, file, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_SHARED | 0x800000, file, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reading, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, reading, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, writing, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, writing, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 1ul << 40));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, LONG_MAX - 4095));
    TELL_SUCCESS(mmap(NULL, 8192, PROT_READ, MAP_SHARED, file, LONG_MAX - 4095));
    TELL_SUCCESS(mmap(NULL, 4096, 0x4000, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, 900, 0));
    TELL_SUCCESS(mmap((void *)12345, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_NORESERVE, -1, 0));
    TELL_SUCCESS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_GROWSDOWN, -1, 0));
    int sealed = open("file", O_RDONLY);
    char *shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED, sealed, 0);
    TELL(mprotect(shared, 4096, PROT_READ | PROT_WRITE));
    TELL(close(sealed));
    TELL(shared[0]);
    unsigned long now = syscall(SYS_brk, 0);
    TELL(syscall(SYS_brk, 1) == (long)now);
    TELL(syscall(SYS_brk, now + 10000) == (long)now + 10000);
    ((char *)now)[9999] = 1;
    TELL(syscall(SYS_brk, now) == (long)now);
    TELL(syscall(SYS_brk, now + 10000) == (long)now + 10000);
    TELL(((char *)now)[9999]);
    TELL(mlockall(0));
    TELL(mlockall(0x4000));
    TELL(munlockall());
    TELL(syscall(SYS_remap_file_pages, base, 4096, 1, 0, 0));
    return 0;
}
