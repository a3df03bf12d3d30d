/* process_vm_readv and process_vm_writev on the process itself. */
#include "conformance.h"
#include <sys/uio.h>

int main(void)
{
    char from[16] = "0123456789abcde", to[16] = "";
    struct iovec remote[] = {{from, 4}, {from + 8, 0}, {from + 10, 6}}, local[] = {{to, 3}, {to + 3, 7}};
    TELL(process_vm_readv(getpid(), local, 2, remote, 3, 0));
    printf("%s\n", to);
    memset(to, 0, sizeof to);
    TELL(process_vm_writev(getpid(), remote, 1, local, 2, 0));
    printf("%s\n", to);
    TELL(process_vm_readv(getpid(), local, 2, remote, 3, 1));
    TELL(process_vm_readv(getpid(), local, 0, remote, 3, 0));
    TELL(process_vm_readv(getpid(), local, 2, remote, 0, 0));
    TELL(process_vm_readv(getpid(), local, 1025, remote, 3, 0));
    TELL(process_vm_readv(-1, local, 2, remote, 3, 0));
    TELL(process_vm_readv(1 << 21, local, 2, remote, 3, 0));
    TELL(process_vm_readv(getpid(), UNMAPPED, 2, remote, 3, 0));
    remote[0] = (struct iovec){UNMAPPED, 4};
    TELL(process_vm_readv(getpid(), local, 2, remote, 3, 0));
    remote[0] = (struct iovec){from, 2};
    remote[1] = (struct iovec){UNMAPPED, 4};
    TELL(process_vm_readv(getpid(), local, 2, remote, 3, 0));
    local[0].iov_len = -1ul;
    TELL(process_vm_readv(getpid(), local, 2, remote, 3, 0));
    return 0;
}
