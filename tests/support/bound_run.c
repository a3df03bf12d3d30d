/*
 * Run a program with its bound system calls patched as the kernel does it, on plain Linux: each site jumps to
 * its stub, and the gate behind the stub makes the real system call. Whatever a wrong table would break,
 * breaks here.
 *
 * As a program:   bound_run TABLE PROGRAM ARGS...     PROGRAM is static (ET_EXEC or static-PIE)
 * As a preload:   LD_PRELOAD=bound_run.so BOUND_TABLES=NAME=TABLE:NAME=TABLE PROGRAM ARGS...
 *                 patches the loaded objects whose path ends in NAME, before main
 *
 * A TABLE is a .mystbind table of one file. BOUND_COUNTS, if set, names a file that receives one 64-bit count
 * of calls per site, in the order of the tables.
 *
 * Every site has a gate of its own, so that the gate keeps no state: threads, fork, vfork and signals
 * are then as on Linux. This file uses no libc function between the first patch and the last.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STUB = 64, GATE = 64, MAX_SITES = 8192, COUNTS_SIZE = MAX_SITES * 8 };

struct header {
    char magic[8];
    uint32_t version, file_count;
    uint64_t site_count, files_offset, sites_offset;
};

struct site {
    uint32_t offset;
    uint8_t delta, before, after, zero;
    uint8_t displaced[24];
};

static uintptr_t gates[MAX_SITES]; /* what GS points to */
static unsigned gate_count;

static void die(const char *what)
{
    perror(what);
    _exit(99);
}

static uint8_t *load(const char *path, size_t *size)
{
    struct stat status;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) < 0)
        die(path);
    uint8_t *data = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        die(path);
    close(fd);
    if (size)
        *size = status.st_size;
    return data;
}

static uint8_t *put32(uint8_t *at, int64_t value)
{
    if (value != (int32_t)value) {
        errno = 0;
        die("out of reach");
    }
    memcpy(at, &(int32_t){value}, 4);
    return at + 4;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

/* The stub of docs/reference/package-format.md. */
static uint8_t *write_stub(uint8_t *stub, const struct site *site, uint8_t *patch, unsigned slot)
{
    uint8_t *at = put(stub, site->displaced, site->before);
    at = put(at, "\x48\x8d\x0d", 3); /* lea rcx, [rip + next] */
    at = put32(at, 8);
    at = put(at, "\x65\xff\x24\x25", 4); /* jmp *gs:[slot] */
    at = put32(at, slot * 8);
    uint8_t *next = at;
    at = put(at, site->displaced + site->before, site->after);
    at = put(at, "\xe9", 1);
    put32(at, (patch + site->delta) - (at + 4));
    return next;
}

/* Count, make the system call, go back to `next` with RCX as the stub left it. No flag is touched. */
static void write_gate(uint8_t *gate, uint64_t *count, uint8_t *next)
{
    uint8_t *at = put(gate, "\x4c\x8b\x1d", 3); /* mov r11, [count] */
    at = put32(at, (uint8_t *)count - (at + 4));
    at = put(at, "\x4d\x8d\x5b\x01", 4); /* lea r11, [r11 + 1] */
    at = put(at, "\x4c\x89\x1d", 3);     /* mov [count], r11 */
    at = put32(at, (uint8_t *)count - (at + 4));
    at = put(at, "\x0f\x05", 2);
    at = put(at, "\x48\x8d\x0d", 3); /* lea rcx, [next] */
    at = put32(at, next - (at + 4));
    put(at, "\xff\xe1", 2); /* jmp rcx */
}

static uint8_t *map_near(uint8_t *base, size_t size)
{
    for (intptr_t distance = 1 << 24; distance < 1 << 30; distance += 1 << 20)
        for (int sign = -1; sign <= 1; sign += 2) {
            uint8_t *want = (uint8_t *)(((uintptr_t)base + sign * distance) & ~(uintptr_t)4095);
            if ((intptr_t)want < 65536)
                continue;
            uint8_t *got = mmap(want, size, PROT_READ | PROT_WRITE | PROT_EXEC,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
            if (got == want)
                return got;
            if (got != MAP_FAILED)
                munmap(got, size);
        }
    die("no room near the image");
    return NULL;
}

static uint64_t *map_counts(uint8_t *at)
{
    const char *path = getenv("BOUND_COUNTS");
    int fd = path ? open(path, O_RDWR | O_CREAT, 0600) : -1;
    if (path && (fd < 0 || ftruncate(fd, COUNTS_SIZE) < 0))
        die(path);
    int flags = MAP_FIXED | (path ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);
    uint64_t *counts = mmap(at, COUNTS_SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (counts == MAP_FAILED)
        die("counts");
    if (fd >= 0)
        close(fd);
    return counts;
}

/* Where the image holds the byte at a file offset. */
static uint8_t *address_of(uint8_t *base, const ElfW(Phdr) * phdr, int count, uint64_t offset)
{
    for (int i = 0; i < count; i++)
        if (phdr[i].p_type == PT_LOAD && (phdr[i].p_flags & PF_X) && offset >= phdr[i].p_offset &&
            offset < phdr[i].p_offset + phdr[i].p_filesz)
            return base + phdr[i].p_vaddr + (offset - phdr[i].p_offset);
    errno = 0;
    die("site outside of every executable segment");
    return NULL;
}

/* Prepare stubs and gates for all sites of a table, and write the jumps. The text must be writable. */
static void patch(const char *table_path, uint8_t *base, const ElfW(Phdr) * phdr, int phnum)
{
    const uint8_t *table = load(table_path, NULL);
    const struct header *header = (const void *)table;
    if (memcmp(header->magic, "MYSTBIND", 8) || header->file_count != 1 ||
        gate_count + header->site_count > MAX_SITES) {
        errno = 0;
        die("not a table of one file");
    }
    const struct site *sites = (const void *)(table + header->sites_offset);
    size_t code_size = (header->site_count * (STUB + GATE) + 4095) & ~(size_t)4095;
    uint8_t *text = address_of(base, phdr, phnum, sites[0].offset);
    uint8_t *code = map_near(text, code_size + COUNTS_SIZE);
    uint64_t *counts = map_counts(code + code_size);

    for (uint64_t i = 0; i < header->site_count; i++, gate_count++) {
        uint8_t *place = address_of(base, phdr, phnum, sites[i].offset);
        if (memcmp(place, sites[i].displaced, sites[i].before) || memcmp(place + sites[i].before, "\x0f\x05", 2) ||
            memcmp(place + sites[i].before + 2, sites[i].displaced + sites[i].before, sites[i].after)) {
            errno = 0;
            die("the table does not fit the file");
        }
        uint8_t *stub = code + i * (STUB + GATE), *gate = stub + STUB;
        write_gate(gate, counts + gate_count, write_stub(stub, &sites[i], place, gate_count));
        gates[gate_count] = (uintptr_t)gate;
    }
    for (uint64_t i = 0; i < header->site_count; i++) {
        uint8_t *place = address_of(base, phdr, phnum, sites[i].offset);
        int32_t distance = code + i * (STUB + GATE) - (place + 5);
        place[0] = 0xe9;
        memcpy(place + 1, &distance, 4);
    }
}

static long system_call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static void set_gs(void)
{
    system_call(SYS_arch_prctl, ARCH_SET_GS, (long)gates, 0);
}

#ifdef PRELOAD

static void protect(const struct dl_phdr_info *info, int protection)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t start = (info->dlpi_addr + p->p_vaddr) & ~4095UL;
        uintptr_t end = (info->dlpi_addr + p->p_vaddr + p->p_memsz + 4095) & ~4095UL;
        if (p->p_type == PT_LOAD && (p->p_flags & PF_X))
            system_call(SYS_mprotect, start, end - start, protection);
    }
}

static int patch_object(struct dl_phdr_info *info, size_t size, void *data)
{
    char tables[4096];
    snprintf(tables, sizeof tables, "%s", getenv("BOUND_TABLES"));
    (void)size;
    for (char *save, *item = strtok_r(tables, ":", &save); item; item = strtok_r(NULL, ":", &save)) {
        char *table = strchr(item, '=');
        *table++ = '\0';
        size_t length = strlen(info->dlpi_name), suffix = strlen(item);
        if (length < suffix || strcmp(info->dlpi_name + length - suffix, item))
            continue;
        protect(info, PROT_READ | PROT_WRITE | PROT_EXEC);
        patch(table, (uint8_t *)info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum);
        protect(info, PROT_READ | PROT_EXEC);
        ++*(int *)data;
    }
    return 0;
}

__attribute__((constructor)) static void start(void)
{
    int patched = 0;
    if (!getenv("BOUND_TABLES"))
        return;
    set_gs();
    dl_iterate_phdr(patch_object, &patched);
    unsetenv("LD_PRELOAD");
    unsetenv("BOUND_TABLES"); /* a child that calls exec loses GS, and runs unpatched */
    if (!patched) {
        errno = 0;
        die("no such object");
    }
}

#else

static uint8_t *map_image(const uint8_t *file, const Elf64_Ehdr *header, const Elf64_Phdr *phdr)
{
    uint8_t *base = header->e_type == ET_DYN ? (uint8_t *)0x10000000 : NULL;
    for (int i = 0; i < header->e_phnum; i++) {
        if (phdr[i].p_type != PT_LOAD)
            continue;
        uint8_t *start = base + (phdr[i].p_vaddr & ~4095UL);
        uint8_t *end = base + ((phdr[i].p_vaddr + phdr[i].p_memsz + 4095) & ~4095UL);
        if (mmap(start, end - start, PROT_READ | PROT_WRITE | PROT_EXEC,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != start)
            die("image");
        memcpy(base + phdr[i].p_vaddr, file + phdr[i].p_offset, phdr[i].p_filesz);
    }
    return base;
}

static void fix_auxv(Elf64_auxv_t *auxv, uint8_t *base, const Elf64_Ehdr *header)
{
    for (; auxv->a_type != AT_NULL; auxv++)
        switch (auxv->a_type) {
        case AT_PHDR: /* right behind the ELF header, in the first segment of what linkers make */
            auxv->a_un.a_val = (uintptr_t)base + header->e_phoff + (header->e_type == ET_EXEC ? 0x400000 : 0);
            break;
        case AT_PHNUM:
            auxv->a_un.a_val = header->e_phnum;
            break;
        case AT_ENTRY:
            auxv->a_un.a_val = (uintptr_t)base + header->e_entry;
            break;
        case AT_BASE:
            auxv->a_un.a_val = 0;
            break;
        }
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 98;
    const uint8_t *file = load(argv[2], NULL);
    const Elf64_Ehdr *header = (const void *)file;
    const Elf64_Phdr *phdr = (const void *)(file + header->e_phoff);
    uint8_t *base = map_image(file, header, phdr);
    patch(argv[1], base, phdr, header->e_phnum);

    /* the program's stack begins with its own argc, two words further up than ours */
    char **environment = argv + argc + 1;
    while (*environment)
        environment++;
    fix_auxv((void *)(environment + 1), base, header);
    long *stack = (long *)(argv + 2) - 1;
    *stack = argc - 2;

    set_gs();
    __asm__ volatile("mov %0, %%rsp\n\txor %%edx, %%edx\n\tjmp *%1" : : "r"(stack), "r"(base + header->e_entry));
    __builtin_unreachable();
}

#endif
