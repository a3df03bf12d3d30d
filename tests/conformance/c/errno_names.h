/* Names of error numbers, whatever the C library calls them. */
#ifndef ERRNO_NAMES_H
#define ERRNO_NAMES_H

static inline const char *errno_name(int number) {
    static char other[16];
    switch (number) {
#define NAME(name) \
    case name:     \
        return #name
        NAME(EPERM);
        NAME(ENOENT);
        NAME(ESRCH);
        NAME(EINTR);
        NAME(EIO);
        NAME(ENXIO);
        NAME(E2BIG);
        NAME(ENOEXEC);
        NAME(EBADF);
        NAME(ECHILD);
        NAME(EAGAIN);
        NAME(ENOMEM);
        NAME(EACCES);
        NAME(EFAULT);
        NAME(EBUSY);
        NAME(EEXIST);
        NAME(EXDEV);
        NAME(ENODEV);
        NAME(ENOTDIR);
        NAME(EISDIR);
        NAME(EINVAL);
        NAME(EMFILE);
        NAME(ENOTTY);
        NAME(ETXTBSY);
        NAME(EFBIG);
        NAME(ENOSPC);
        NAME(ESPIPE);
        NAME(EROFS);
        NAME(EMLINK);
        NAME(EPIPE);
        NAME(EDOM);
        NAME(ERANGE);
        NAME(EDEADLK);
        NAME(ENAMETOOLONG);
        NAME(ENOLCK);
        NAME(ENOSYS);
        NAME(ENOTEMPTY);
        NAME(ELOOP);
        NAME(ENODATA);
        NAME(EOVERFLOW);
        NAME(EOPNOTSUPP);
        NAME(ETIMEDOUT);
#undef NAME
    default:
        snprintf(other, sizeof other, "errno %d", number);
        return other;
    }
}

#endif
