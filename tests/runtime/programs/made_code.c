/* System calls from code that is made while the program runs: nothing has bound those. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* mov rax, rdi; mov rdi, rsi; mov rsi, rdx; mov rdx, rcx; syscall; ret */
static const unsigned char code[] = {
    0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0x0f, 0x05, 0xc3,
};

int main(void)
{
    unsigned char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    /* at the start of a page, and across two pages: `0f` is the last byte of the first */
    size_t places[] = {0, 4096 - 13};
    for (size_t i = 0; i < 2; i++) {
        mprotect(page, 8192, PROT_READ | PROT_WRITE);
        memcpy(page + places[i], code, sizeof code);
        mprotect(page, 8192, PROT_READ | PROT_EXEC);
        long (*call)(long, long, long, long) = (void *)(page + places[i]);
        for (int round = 0; round < 100; round++)
            if (call(SYS_getpid, 0, 0, 0) != getpid())
                return 1;
        call(SYS_write, 1, (long)"written\n", 8);
        printf("%ld\n", call(SYS_close, -1, 0, 0));
        fflush(stdout);
    }
    unsigned long result;
    /* registers that a system call keeps, and the two that it does not */
    asm volatile("mov $7, %%r8; mov $9, %%r12; mov $39, %%eax; syscall; lea (%%r8, %%r12), %0"
                 : "=r"(result) : : "rax", "rcx", "r11", "r8", "r12", "memory");
    printf("%lu\n", result);
    return 0;
}
