/* madvise, mincore, mlock and their kind. */
#include "conformance.h"

#define PAGE 4096ul
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static void advice(void)
{
    char *p = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    REQUIRE(p != MAP_FAILED);
    static const int all[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTFORK, MADV_DOFORK,
                              MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK};
    for (size_t i = 0; i < COUNT(all); i++)
        TELL(madvise(p, 4 * PAGE, all[i]));
    memset(p, 'x', 4 * PAGE);
    TELL(madvise(p + PAGE, 2 * PAGE, MADV_DONTNEED));
    TELL(p[0] == 'x' && p[PAGE] == 0 && p[3 * PAGE - 1] == 0 && p[3 * PAGE] == 'x');
    TELL(madvise(p, 4 * PAGE, MADV_FREE));
    TELL(madvise(p, 4 * PAGE, 12345));
    TELL(madvise(p, 4 * PAGE, -1));
    TELL(madvise(p + 1, PAGE, MADV_DONTNEED));
    TELL(madvise(p, 0, MADV_DONTNEED));
    TELL(madvise(p, -1ul, MADV_DONTNEED));
    TELL(madvise(p, PAGE, MADV_REMOVE));
    TELL(mprotect(p, PAGE, PROT_READ));
    TELL(madvise(p, PAGE, MADV_DONTNEED));
    TELL(p[0]);
    memset(p + PAGE, 'y', 3 * PAGE);
    munmap(p + 2 * PAGE, PAGE);
    TELL(madvise(p, 4 * PAGE, MADV_DONTNEED));
    TELL(p[PAGE] == 0 && p[3 * PAGE] == 0);
    TELL(madvise(p, 4 * PAGE, MADV_NORMAL));
    munmap(p, 4 * PAGE);
}

static void residence(void)
{
    char *p = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    unsigned char vector[4] = {0};
    memset(p, 1, 4 * PAGE);
    TELL(mincore(p, 3 * PAGE + 1, vector));
    TELL(vector[0] & vector[3] & 1);
    TELL(mincore(p + 1, PAGE, vector));
    TELL(mincore(p, 0, vector));
    TELL(mincore(p, PAGE, UNMAPPED));
    munmap(p + 2 * PAGE, PAGE);
    TELL(mincore(p, 4 * PAGE, vector));
    TELL(mlock(p, 2 * PAGE));
    TELL(munlock(p, 2 * PAGE));
    TELL(mlock(p + 1, 1));
    TELL(mlock(p, 4 * PAGE));
    TELL(munlock(p, 4 * PAGE));
    TELL(mlock(p, 0));
    TELL(mlock2(p, PAGE, MLOCK_ONFAULT));
    TELL(mlock2(p, PAGE, 2));
    TELL(mlockall(0));
    TELL(mlockall(MCL_ONFAULT));
    TELL(mlockall(8));
    TELL(munlockall());
    TELL(msync(p, 4 * PAGE, MS_SYNC));
    TELL(msync(p, 2 * PAGE, MS_SYNC));
    TELL(pkey_mprotect(p, PAGE, PROT_READ, -1));
    TELL(pkey_alloc(1, 0));
    TELL(pkey_alloc(0, 4));
    TELL(pkey_mprotect(p, PAGE, PROT_READ, 16));
    munmap(p, 4 * PAGE);
}

int main(void)
{
    advice();
    residence();
    return 0;
}
