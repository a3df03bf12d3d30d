/* Shows what calls answer, line by line: the same program is run natively and under the kernel, and its output is
 * compared. Nothing that may differ between two machines is printed: no addresses, inode or device numbers, times. */
#ifndef SHOW_H
#define SHOW_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "errno_names.h"

/* Prints the call, its result, and errno when it failed. */
#define SHOW(call)                                                              \
    do {                                                                        \
        errno = 0;                                                              \
        long long result_ = (long long)(call);                                  \
        if (result_ == -1)                                                      \
            printf("%s = -1 %s\n", #call, errno_name(errno));                   \
        else                                                                    \
            printf("%s = %lld\n", #call, result_);                              \
    } while (0)

/* As SHOW for descriptors: only whether there is one. */
#define SHOW_FD(call)                                                           \
    ({                                                                          \
        errno = 0;                                                              \
        int fd_ = (call);                                                       \
        printf("%s = %s\n", #call, fd_ < 0 ? errno_name(errno) : "descriptor"); \
        fd_;                                                                    \
    })

#define TITLE(text) printf("-- %s\n", text)

#endif
