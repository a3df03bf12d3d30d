/* What a program finds when it starts: arguments, environment, auxiliary vector, segments, stack. */
#include "conformance.h"
#include <elf.h>
#include <sys/auxv.h>

extern char **environ;
static char zeros[3 << 12];
static int data[3] = {1, 2, 3};
static const char constant[] = "constant";
static _Thread_local int local = 7, local_zero;

static void *page_of(const volatile void *at)
{
    return (void *)((uintptr_t)at & -4096ul);
}

int main(int argc, char **argv)
{
    TELL(argc);
    TELL(argv[argc] == NULL);
    TELL(strcmp(argv[0] + strlen(argv[0]) - 12, "loader_start"));
    TELL((char **)environ == argv + argc + 1);
    char **last = environ;
    while (*last)
        last++;
    Elf64_auxv_t *auxv = (Elf64_auxv_t *)(last + 1);
    TELL(((uintptr_t)(argv - 1) & 15));
    long seen = 0;
    for (; auxv->a_type != AT_NULL; auxv++)
        if (auxv->a_type < 60)
            seen |= 1l << auxv->a_type;
    static const int wanted[] = {AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY, AT_UID, AT_EUID,
                                 AT_GID, AT_EGID, AT_PLATFORM, AT_HWCAP, AT_HWCAP2, AT_CLKTCK, AT_SECURE, AT_RANDOM,
                                 AT_EXECFN, AT_SYSINFO_EHDR, AT_MINSIGSTKSZ};
    for (size_t i = 0; i < COUNT(wanted); i++)
        TELL(seen >> wanted[i] & 1);
    TELL(getauxval(AT_PAGESZ));
    TELL(getauxval(AT_PHENT));
    TELL(getauxval(AT_CLKTCK));
    TELL(getauxval(AT_SECURE));
    TELL(getauxval(AT_FLAGS));
    TELL(getauxval(AT_UID) == getuid() && getauxval(AT_EUID) == geteuid());
    TELL(getauxval(AT_GID) == getgid() && getauxval(AT_EGID) == getegid());
    printf("platform %s\n", (char *)getauxval(AT_PLATFORM));
    TELL(strcmp((char *)getauxval(AT_EXECFN), argv[0]));
    unsigned char *random = (unsigned char *)getauxval(AT_RANDOM);
    int distinct = 0;
    for (int i = 1; i < 16; i++)
        distinct += random[i] != random[0];
    TELL(distinct > 8);

    Elf64_Phdr *header = (Elf64_Phdr *)getauxval(AT_PHDR);
    int loads = 0, code = 0;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) {
        loads += header[i].p_type == PT_LOAD;
        code += header[i].p_type == PT_LOAD && header[i].p_flags & PF_X;
    }
    TELL(loads > 1);
    TELL(code);
    TELL(memcmp((void *)getauxval(AT_SYSINFO_EHDR), ELFMAG, SELFMAG));

    long sum = 0;
    for (size_t i = 0; i < sizeof zeros; i++)
        sum += zeros[i];
    TELL(sum);
    TELL(data[0] + data[1] + data[2]);
    TELL(local + local_zero);
    /* Constants and code are not writable: a read from a file into them is refused. */
    int fd = open("/dev/zero", O_RDONLY);
    TELL(read(fd, (void *)constant, 1));
    TELL(read(fd, (void *)main, 1));
    TELL(read(fd, data, sizeof data) == sizeof data);
    TELL(data[0] + data[1] + data[2]);
    /* The stack reaches a mebibyte further down. */
    volatile char *deep = (char *)page_of(&argc) - (1 << 20);
    *deep = 5;
    TELL(*deep);
    void *start = sbrk(0);
    TELL(sbrk(100) == start);
    return 0;
}
