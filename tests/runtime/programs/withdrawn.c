/* Uses pages that it was given, and counts the faults that it is told of: none of them is its own. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

enum { PAGE = 4096, ROUNDS = 100 };

static sigjmp_buf back;

static void on_fault(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

int main(void)
{
    static const int RIGHTS[] = {PROT_READ | PROT_WRITE, PROT_READ, PROT_READ | PROT_WRITE | PROT_EXEC};
    volatile unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return 2;
    page[0] = 0xc3; /* RET */
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    volatile int told = 0;
    for (volatile int i = 0; i < ROUNDS; i++) {
        int rights = RIGHTS[i % 3];
        mprotect((void *)page, PAGE, PROT_NONE);
        mprotect((void *)page, PAGE, rights);
        if (sigsetjmp(back, 1)) {
            told++;
            continue;
        }
        if (rights & PROT_WRITE) page[1]++;
        if (rights & PROT_EXEC) ((void (*)(void))page)();
        if (page[0] != 0xc3) return 3;
    }
    mprotect((void *)page, PAGE, PROT_NONE);
    volatile int own = 0;
    if (sigsetjmp(back, 1)) own++;
    else page[0] = 0;
    printf("told of %d, its own %d\n", told, own);
    return 0;
}
