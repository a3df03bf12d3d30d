/* Paths of every length, wherever in its pages they lie: the kernel reads all of them, and nothing behind their end. */
#include "conformance.h"

enum { PAGE = 4096, PAGES = 3 };

static char *memory; /* PAGES pages, and behind them one without access */

/* A link to a text of `length` bytes that lies at `at`; whether the link says the same. */
static int kept(char *at, size_t length)
{
    static char back[PATH_MAX + 1];
    for (size_t i = 0; i < length; i++)
        at[i] = 'a' + (i + length) % 26;
    at[length] = 0;
    unlink("link");
    if (symlink(at, "link") < 0)
        return 0;
    return readlink("link", back, sizeof back) == (ssize_t)length && memcmp(back, at, length) == 0;
}

int main(void)
{
    memory = mmap(NULL, (PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    REQUIRE(mprotect(memory + PAGES * PAGE, PAGE, PROT_NONE) == 0);

    int up_to_the_end = 0, across = 0;
    for (size_t length = 1; length < 600; length++) {
        up_to_the_end += kept(memory + PAGES * PAGE - length - 1, length);
        across += kept(memory + PAGE - (length * 7) % 300, length);
    }
    printf("up to the end of the memory: %d\n", up_to_the_end);
    printf("across two pages: %d\n", across);

    for (size_t length = PATH_MAX - 2; length <= PATH_MAX + 1; length++) {
        printf("%zu bytes: ", length);
        told("kept", kept(memory, length));
    }
    /* Without an end: the memory ends before the longest path would. */
    for (size_t left = 1; left < PATH_MAX; left = left * 3 + 1) {
        char *at = memory + PAGES * PAGE - left;
        memset(at, 'x', left);
        printf("%zu bytes and no more: ", left);
        told("open", open(at, O_RDONLY));
    }
    memset(memory, 'x', PATH_MAX);
    told("open, no end in time", open(memory, O_RDONLY));
    return 0;
}
