/* mremap: shrinking, growing in place, moving, and what is refused. */
#include "conformance.h"

#define PAGE 4096ul
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define REMAP(...) (mremap(__VA_ARGS__) == MAP_FAILED ? -1 : 0)

static char *fresh(size_t pages)
{
    char *p = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    REQUIRE(p != MAP_FAILED);
    for (size_t i = 0; i < pages; i++)
        p[i * PAGE] = 'a' + i;
    return p;
}

static void show(const char *what, const char *p, size_t pages)
{
    printf("%s:", what);
    for (size_t i = 0; i < pages; i++)
        printf(" %d", p[i * PAGE]);
    printf("\n");
}

static void refusals(void)
{
    char *p = fresh(4);
    TELL(REMAP(p + 1, PAGE, PAGE, 0));
    TELL(REMAP(p, PAGE, 0, 0));
    TELL(REMAP(p, PAGE, PAGE, 8));
    TELL(REMAP(p, PAGE, PAGE, MREMAP_FIXED, p));
    TELL(REMAP(p, 2 * PAGE, 2 * PAGE, MREMAP_FIXED | MREMAP_MAYMOVE, p + PAGE));
    TELL(REMAP(p, PAGE, PAGE, MREMAP_FIXED | MREMAP_MAYMOVE, p + PAGE + 1));
    TELL(REMAP(p, PAGE, 2 * PAGE, MREMAP_DONTUNMAP | MREMAP_MAYMOVE, 0));
    TELL(REMAP(p, PAGE, PAGE, MREMAP_DONTUNMAP, 0));
    TELL(REMAP(p, 0, PAGE, MREMAP_MAYMOVE));
    TELL(REMAP(p, PAGE, 1ul << 47, MREMAP_MAYMOVE));
    TELL(REMAP(p, PAGE, 2 * PAGE, 0));
    munmap(p + 2 * PAGE, PAGE);
    TELL(REMAP(p, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE));
    TELL(REMAP(p + 2 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
    TELL(REMAP(p + 2 * PAGE, PAGE, PAGE, 0));
    munmap(p, 4 * PAGE);
}

static void sizes(void)
{
    char *p = fresh(8);
    TELL(mremap(p, 8 * PAGE, 4 * PAGE, 0) == p);
    show("shrunk", p, 4);
    TELL(mremap(p, 4 * PAGE, 6 * PAGE, 0) == p);
    show("grown in place", p, 6);
    char *q = mremap(p, 6 * PAGE, 600 * PAGE, MREMAP_MAYMOVE);
    REQUIRE(q != MAP_FAILED);
    show("grown", q, 8);
    q[599 * PAGE] = 1;
    char *place = fresh(8);
    TELL(mremap(q, 600 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place + 2 * PAGE) == place + 2 * PAGE);
    show("moved and shrunk", place, 8);
    unsigned char vector[1];
    TELL(mincore(q, PAGE, vector));
    munmap(place, 8 * PAGE);
}

static void fixed_over_another(void)
{
    char *p = fresh(4), *q = fresh(4);
    TELL(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q + PAGE) == q + PAGE);
    show("target", q, 4);
    unsigned char vector[1];
    TELL(mincore(p, PAGE, vector));
    TELL(mincore(p + 2 * PAGE, PAGE, vector));
    munmap(p, 4 * PAGE);
    munmap(q, 4 * PAGE);
}

static void kept(void)
{
    char *p = fresh(3);
    char *q = mremap(p, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
    REQUIRE(q != MAP_FAILED);
    show("moved", q, 3);
    show("left behind", p, 3);
    p[0] = 'z';
    TELL(q[0] == 'z');
    munmap(p, 3 * PAGE);
    munmap(q, 3 * PAGE);
}

static void protected(void)
{
    char *p = fresh(2);
    mprotect(p, 2 * PAGE, PROT_NONE);
    char *q = mremap(p, 2 * PAGE, 300 * PAGE, MREMAP_MAYMOVE);
    REQUIRE(q != MAP_FAILED);
    TELL(mprotect(q, 300 * PAGE, PROT_READ));
    show("was without access", q, 3);
    munmap(q, 300 * PAGE);
}

static void of_a_file(void)
{
    put_file("file", "");
    int fd = open("file", O_RDWR);
    for (int i = 0; i < 4; i++)
        REQUIRE(pwrite(fd, (char[]){'A' + i}, 1, i * PAGE) == 1);
    REQUIRE(ftruncate(fd, 4 * PAGE) == 0);
    char *p = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    REQUIRE(p != MAP_FAILED);
    p[0] = 'p';
    char *q = mremap(p, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    REQUIRE(q != MAP_FAILED);
    show("private file", q, 4);
    munmap(q, 4 * PAGE);
    p = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(p != MAP_FAILED);
    p[0] = 's';
    q = mremap(p, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    REQUIRE(q != MAP_FAILED);
    show("shared file", q, 4);
    q[3 * PAGE] = 't';
    char c = 0;
    TELL(pread(fd, &c, 1, 3 * PAGE));
    TELL(c);
    munmap(q, 4 * PAGE);
}

int main(void)
{
    refusals();
    sizes();
    fixed_over_another();
    kept();
    protected();
    of_a_file();
    return 0;
}
