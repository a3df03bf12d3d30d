/* Memory that the kernel gives out is zero, however it is asked for and whatever was there before. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, SIZE = 64 * PAGE };

static unsigned char bss[3 * SIZE];
static unsigned char partly[PAGE] = {1};
static unsigned char behind_it[PAGE / 2];

static void look(const char *what, const unsigned char *at, size_t size)
{
    size_t zeros = 0;
    while (zeros < size && at[zeros] == 0) zeros++;
    if (zeros == size) printf("%s: zero\n", what);
    else printf("%s: byte %zu is %#x\n", what, zeros, at[zeros]);
}

static unsigned char *map(void *at, size_t size, int protection, int flags)
{
    void *got = mmap(at, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (got == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return got;
}

static void dirty(void *at, size_t size)
{
    memset(at, 0xdd, size);
}

static void *on_a_thread(void *unused)
{
    pthread_attr_t attributes;
    void *lowest;
    size_t size;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &lowest, &size);
    look("stack of a thread", lowest, size / 2);
    return unused;
}

int main(void)
{
    const int rw = PROT_READ | PROT_WRITE;
    look(".bss", bss, sizeof bss);
    look(".bss in the last page of .data", behind_it, sizeof behind_it);
    if (partly[0] != 1) puts(".data is wrong");

    unsigned char *first = map(NULL, SIZE, rw, 0);
    look("anonymous", first, SIZE);
    dirty(first, SIZE);
    look("anonymous in its place", map(first, SIZE, rw, MAP_FIXED), SIZE);
    dirty(first, SIZE);
    munmap(first, SIZE);
    look("anonymous after munmap", map(first, SIZE, rw, MAP_FIXED_NOREPLACE), SIZE);
    dirty(first, SIZE);
    madvise(first + PAGE, SIZE - 2 * PAGE, MADV_DONTNEED);
    look("after MADV_DONTNEED", first + PAGE, SIZE - 2 * PAGE);
    if (first[0] != 0xdd || first[SIZE - 1] != 0xdd) puts("MADV_DONTNEED took too much");

    /* Accessible only later. */
    unsigned char *reserved = map(NULL, SIZE, PROT_NONE, MAP_NORESERVE);
    mprotect(reserved + PAGE, PAGE, PROT_READ);
    look("read-only from a reservation", reserved + PAGE, PAGE);
    mprotect(reserved, SIZE, rw);
    look("a reservation made accessible", reserved, SIZE);
    dirty(reserved, SIZE);
    map(reserved, SIZE, PROT_NONE, MAP_FIXED);
    mprotect(reserved, SIZE, rw);
    look("reserved again in its place", reserved, SIZE);
    dirty(reserved, SIZE);
    mprotect(reserved, SIZE, PROT_NONE);
    mprotect(reserved, SIZE, rw);
    if (reserved[0] != 0xdd || reserved[SIZE - 1] != 0xdd) puts("mprotect lost data");

    /* Grown, and moved. */
    unsigned char *grown = mremap(reserved, SIZE, 3 * SIZE, MREMAP_MAYMOVE);
    if (grown[0] != 0xdd || grown[SIZE - 1] != 0xdd) puts("mremap lost data");
    look("grown by mremap", grown + SIZE, 2 * SIZE);
    dirty(grown, 3 * SIZE);
    grown = mremap(grown, 3 * SIZE, SIZE, 0);
    grown = mremap(grown, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
    look("shrunk and grown", grown + SIZE, SIZE);
    unsigned char *fixed = map(NULL, 2 * SIZE, rw, 0);
    dirty(fixed, 2 * SIZE);
    fixed = mremap(grown, SIZE, 2 * SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, fixed);
    if (fixed[0] != 0xdd) puts("mremap to a place lost data");
    look("moved over other memory", fixed + SIZE, SIZE);

    /* The break. */
    unsigned char *edge = sbrk(SIZE);
    look("break", edge, SIZE);
    dirty(edge, SIZE);
    brk(edge);
    sbrk(2 * SIZE);
    look("break lowered and raised", edge, 2 * SIZE);

    /* Shared, and of files. */
    unsigned char *shared = mmap(NULL, SIZE, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    look("shared anonymous", shared, SIZE);
    int zero = open("/dev/zero", O_RDWR);
    look("/dev/zero", mmap(NULL, SIZE, rw, MAP_PRIVATE, zero, 0), SIZE);
    int file = open("fresh.file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (write(file, "abc", 3) != 3) return 1;
    for (int shared_ = 0; shared_ < 2; shared_++) {
        unsigned char *mapped = mmap(NULL, PAGE, rw, shared_ ? MAP_SHARED : MAP_PRIVATE, file, 0);
        look("behind the end of a file", mapped + 3, PAGE - 3);
    }
    ftruncate(file, SIZE);
    static unsigned char content[SIZE];
    dirty(content, SIZE);
    if (pread(file, content, SIZE, 0) != SIZE) return 1;
    look("a hole of a file", content + 3, SIZE - 3);
    unlink("fresh.file");

    /* Of the C library, a lot of it, so that the kernel's own heap grows meanwhile. */
    for (int i = 0; i < 200; i++) {
        char name[64];
        snprintf(name, sizeof name, "fresh-%d-%040d", i, i);
        close(open(name, O_RDWR | O_CREAT, 0600));
    }
    unsigned char *allocated = calloc(8, SIZE);
    look("calloc", allocated, 8 * SIZE);
    pthread_t thread;
    pthread_create(&thread, NULL, on_a_thread, NULL);
    pthread_join(thread, NULL);
    return 0;
}
