/* Damages the kernel, with which a program shares its enclave, so that the kernel stops itself: ruin WHAT.
 * The offsets are those of `struct Control` in runtime/platform/src/control.rs. */
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

enum { KERNEL_STACK = 104, CURRENT = 560 };

static void set(uint64_t offset, uint64_t value)
{
    __asm__ volatile("mov %1, %%gs:(%0)" ::"r"(offset), "r"(value) : "memory");
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    long result = SYS_getpid;
    if (!strcmp(argv[1], "object")) set(CURRENT, 0);
    if (!strcmp(argv[1], "stack")) set(KERNEL_STACK, 0x12340);
    __asm__ volatile("syscall" : "+a"(result)::"rcx", "r11", "memory");
    return 0;
}
