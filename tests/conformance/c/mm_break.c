/* brk: growing, shrinking, fresh zeros, refusals leave the break where it is. */
#include "conformance.h"

#define PAGE 4096ul

static char *set(char *to)
{
    return (char *)syscall(SYS_brk, to);
}

int main(void)
{
    static char out[8192];
    setvbuf(stdout, out, _IOFBF, sizeof out); /* the C library would take its buffer from the break */
    char *start = set(0);
    start = set((char *)(((uintptr_t)start + PAGE - 1) & -PAGE));
    TELL(set(0) == start);
    TELL(set(start + 3 * PAGE) == start + 3 * PAGE);
    TELL(start[0] == 0 && start[3 * PAGE - 1] == 0);
    memset(start, 'x', 3 * PAGE);
    TELL(set(start + PAGE + 10) == start + PAGE + 10);
    TELL(start[2 * PAGE - 1] == 'x');
    TELL(set(start + 3 * PAGE) == start + 3 * PAGE);
    TELL(start[PAGE] == 'x' && start[2 * PAGE] == 0 && start[3 * PAGE - 1] == 0);
    TELL(set((char *)PAGE) == start + 3 * PAGE);
    TELL(set((char *)-PAGE) == start + 3 * PAGE);
    TELL(set(start + (1ul << 46)) == start + 3 * PAGE);
    char *wall = mmap(start + 8 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    TELL(wall == start + 8 * PAGE);
    TELL(set(start + 10 * PAGE) == start + 3 * PAGE);
    TELL(set(start + 4 * PAGE) == start + 4 * PAGE);
    TELL(munmap(wall, PAGE));
    TELL(mprotect(start + PAGE, PAGE, PROT_READ));
    TELL(set(start + 5 * PAGE) == start + 5 * PAGE);
    TELL(set(start) == start);
    unsigned char vector[1];
    TELL(mincore(start, PAGE, vector));
    void *memory = malloc(1 << 20);
    TELL(memory != NULL);
    free(memory);
    return 0;
}
