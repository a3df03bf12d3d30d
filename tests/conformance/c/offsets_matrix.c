/* lseek, ftruncate, pread, pwrite, fallocate, … with sizes and offsets at their limits. */
#include "conformance.h"
#include <sys/uio.h>

#ifndef RWF_APPEND
#define RWF_APPEND 16
#endif

static const struct { const char *name; long value; } numbers[] = {
    {"0", 0}, {"1", 1}, {"10", 10}, {"11", 11}, {"4096", 4096}, {"4097", 4097}, {"-1", -1}, {"-10", -10},
    {"-11", -11}, {"INT_MAX", INT_MAX}, {"LONG_MAX", LONG_MAX}, {"LONG_MIN", LONG_MIN},
    {"LONG_MAX - 1", LONG_MAX - 1}, {"LONG_MAX - 4095", LONG_MAX - 4095},
};
static const struct { const char *name; int value; } whences[] = {
    {"SEEK_SET", SEEK_SET}, {"SEEK_CUR", SEEK_CUR}, {"SEEK_END", SEEK_END}, {"SEEK_DATA", SEEK_DATA},
    {"SEEK_HOLE", SEEK_HOLE}, {"5", 5}, {"-1", -1},
};

static long size_of(int fd)
{
    struct stat status;
    REQUIRE(fstat(fd, &status) == 0);
    return status.st_size;
}

#define EACH(call)                                                                                      \
    for (size_t i = 0; i < COUNT(numbers); i++) {                                                       \
        long n = numbers[i].value;                                                                      \
        REQUIRE(ftruncate(fd, 10) == 0 && lseek(fd, 4, SEEK_SET) == 4);                                 \
        errno = 0;                                                                                      \
        long result = (long)(call);                                                                     \
        int error = errno;                                                                              \
        printf(#call " n=%s: %ld %s, at %ld of %ld\n", numbers[i].name, result,                         \
               result == -1 ? error_name(error) : "", (long)lseek(fd, 0, SEEK_CUR), size_of(fd));       \
    }

int main(void)
{
    static char buffer[8192];
    struct iovec vector[2] = {{buffer, 4}, {buffer + 4, 4}};
    put_file("file", "0123456789");
    int fd = open("file", O_RDWR);

    for (size_t whence = 0; whence < COUNT(whences); whence++) {
        printf("# %s\n", whences[whence].name);
        EACH(n > LONG_MAX - 5000 ? 0 : lseek(fd, n, whences[whence].value));
    }
    EACH(pread(fd, buffer, 4, n));
    EACH(preadv(fd, vector, 2, n));
    EACH(preadv2(fd, vector, 2, n, 0));
    TELL(preadv2(fd, vector, 2, 0, 0x4000));
    EACH(n > 5000 || n < 0 ? 0 : pwrite(fd, buffer, 4, n));
    EACH(n > 5000 ? 0 : pwritev(fd, vector, 2, n));
    EACH(n > 5000 ? 0 : pwritev2(fd, vector, 2, n, 0));
    EACH(n > 5000 ? 0 : ftruncate(fd, n));
    EACH(n > 5000 ? 0 : truncate("file", n));
    EACH(n > 5000 ? 0 : fallocate(fd, 0, n, 10));
    EACH(n > 5000 ? 0 : fallocate(fd, 0, 0, n));
    EACH(n > 5000 ? 0 : fallocate(fd, FALLOC_FL_KEEP_SIZE, 5, n));
    EACH(fallocate(fd, 0x4000, 0, n));
    EACH(posix_fallocate(fd, 0, n < 5000 ? n : 0));
    EACH(posix_fadvise(fd, n, 10, POSIX_FADV_WILLNEED));
    EACH(posix_fadvise(fd, 0, n, POSIX_FADV_WILLNEED));
    EACH(posix_fadvise(fd, 0, 0, n));
    EACH(sync_file_range(fd, n, 0, 0));
    EACH(sync_file_range(fd, 0, n, 0));
    EACH(n > 2 && n <= 1024 ? 0 : readv(fd, vector, n));
    EACH(n > 2 && n <= 1024 ? 0 : writev(fd, vector, n));
    EACH(n < 5000 && n >= 0 ? read(fd, buffer, n) : 0);

    struct iovec huge[3] = {{buffer, 4}, {buffer, SSIZE_MAX}, {buffer, 4}};
    huge[1].iov_len = (size_t)-1;
    TELL(writev(fd, huge, 3));
    static struct iovec many[1025];
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = (struct iovec){buffer, 1};
    lseek(fd, 0, SEEK_SET), ftruncate(fd, 10);
    TELL(readv(fd, many, 1024));
    TELL(readv(fd, many, 1025));
    TELL(writev(fd, many, 1024));
    TELL(writev(fd, many, 1025));
    TELL(size_of(fd));

    /* a partly readable buffer: what was there is transferred */
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(munmap(pages + 4096, 4096) == 0);
    int other = open("other", O_RDWR | O_CREAT, 0600);
    struct iovec parts[2] = {{buffer, 100}, {UNMAPPED, 100}};
    TELL(writev(other, parts, 2));
    TELL(size_of(other));
    TELL(write(other, buffer, 300));
    lseek(other, 0, SEEK_SET);
    parts[0].iov_len = 10;
    TELL(readv(other, parts, 2));
    TELL(lseek(other, 0, SEEK_CUR));
    return 0;
}
