/* The smallest program that uses its C library: output, arguments, an exit function. */
#include <stdio.h>
#include <stdlib.h>

static void leave(void)
{
    puts("left");
}

int main(int argc, char **argv)
{
    atexit(leave);
    printf("hello");
    for (int i = 1; i < argc; i++)
        printf(" %s", argv[i]);
    puts("");
    return 3;
}
