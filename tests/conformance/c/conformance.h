/* What the programs of this folder print with: `what = result`, an error by its name.

   Each program runs natively and in a package, in an empty directory; the two outputs must be equal. So a
   program prints nothing that may differ between two runs on one Linux: no addresses, times or identifiers. */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static inline const char *error_name(int error)
{
#define NAME(name) case name: return #name
    switch (error) {
    NAME(EPERM); NAME(ENOENT); NAME(ESRCH); NAME(EINTR); NAME(EIO); NAME(ENXIO); NAME(E2BIG); NAME(ENOEXEC);
    NAME(EBADF); NAME(ECHILD); NAME(EAGAIN); NAME(ENOMEM); NAME(EACCES); NAME(EFAULT); NAME(ENOTBLK);
    NAME(EBUSY); NAME(EEXIST); NAME(EXDEV); NAME(ENODEV); NAME(ENOTDIR); NAME(EISDIR); NAME(EINVAL);
    NAME(ENFILE); NAME(EMFILE); NAME(ENOTTY); NAME(ETXTBSY); NAME(EFBIG); NAME(ENOSPC); NAME(ESPIPE);
    NAME(EROFS); NAME(EMLINK); NAME(EPIPE); NAME(EDOM); NAME(ERANGE); NAME(EDEADLK); NAME(ENAMETOOLONG);
    NAME(ENOLCK); NAME(ENOSYS); NAME(ENOTEMPTY); NAME(ELOOP); NAME(ENODATA); NAME(ETIME); NAME(EOVERFLOW);
    NAME(EBADFD); NAME(EILSEQ); NAME(ENOTSOCK); NAME(EDESTADDRREQ); NAME(EMSGSIZE); NAME(EPROTOTYPE);
    NAME(ENOPROTOOPT); NAME(EPROTONOSUPPORT); NAME(ESOCKTNOSUPPORT); NAME(EOPNOTSUPP); NAME(EAFNOSUPPORT);
    NAME(EADDRINUSE); NAME(EADDRNOTAVAIL); NAME(ECONNABORTED); NAME(ECONNRESET); NAME(ENOBUFS);
    NAME(EISCONN); NAME(ENOTCONN); NAME(ETIMEDOUT); NAME(ECONNREFUSED); NAME(EALREADY); NAME(EINPROGRESS);
    NAME(ESTALE); NAME(ECANCELED); NAME(EOWNERDEAD); NAME(ENOTRECOVERABLE);
    }
#undef NAME
    return "an error of another kind";
}

static inline long told(const char *what, long result)
{
    int error = errno;
    if (result == -1)
        printf("%s = -1 %s\n", what, error_name(error));
    else
        printf("%s = %ld\n", what, result);
    errno = 0;
    return result;
}

static inline long told_success(const char *what, long result)
{
    int error = errno;
    printf("%s = %s\n", what, result == -1 ? error_name(error) : "ok");
    errno = 0;
    return result;
}

static inline int told_error(const char *what, int error)
{
    printf("%s = %s\n", what, error ? error_name(error) : "ok");
    return error;
}

/* The call's result, or its error. */
#define TELL(call) told(#call, (long)(call))
/* Only whether the call succeeded: for results that differ between runs. */
#define TELL_SUCCESS(call) told_success(#call, (long)(call))
/* For functions that return an error number. */
#define TELL_ERROR(call) told_error(#call, (call))

static inline void require(int condition, const char *what)
{
    if (!condition) {
        printf("%s: %s\n", what, error_name(errno));
        exit(99);
    }
}
#define REQUIRE(condition) require(!!(condition), #condition)

/* An address that is never mapped, for pointers that must fault. */
#define UNMAPPED ((void *)0x10)
#define BEYOND_USER ((void *)0xffff800000001000ul)
#define NONCANONICAL ((void *)0x1234567800000000ul)

static inline void put_file(const char *path, const char *content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    REQUIRE(fd >= 0);
    REQUIRE(write(fd, content, strlen(content)) == (ssize_t)strlen(content));
    close(fd);
}

static inline void show_file(const char *path)
{
    char content[4096];
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        printf("%s: %s\n", path, error_name(errno));
        return;
    }
    ssize_t size = read(fd, content, sizeof content);
    printf("%s: %zd bytes:", path, size);
    for (ssize_t i = 0; i < size && i < 80; i++)
        printf(content[i] >= ' ' && content[i] < 127 ? " %c" : " %02x", (unsigned char)content[i]);
    printf("\n");
    close(fd);
}
#endif
