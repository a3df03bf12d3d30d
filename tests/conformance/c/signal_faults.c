// Faults become signals with the right codes, and handlers can go on.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile int signo, code;
static void *volatile address;
static volatile long trap, error;
static char stack[65536];

static void on_fault(int s, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    signo = s;
    code = info->si_code;
    address = info->si_addr;
    trap = uc->uc_mcontext.gregs[REG_TRAPNO];
    error = uc->uc_mcontext.gregs[REG_ERR];
    siglongjmp(back, 1);
}

static void skip(int s, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    signo = s;
    code = info->si_code;
    // mov (%rax),%ebx is two bytes long.
    uc->uc_mcontext.gregs[REG_RIP] += 2;
    uc->uc_mcontext.gregs[REG_RBX] = 99;
}

static void deep(void) {
    volatile char here[65536];
    memset((char *)here, 1, sizeof here);
    deep();
    here[0]++;
}

#define FAULT(what, expr) do { if (sigsetjmp(back, 1) == 0) { expr; puts("no fault"); } \
    else printf("%s: signal %d code %d trap %ld", what, signo, code, trap); } while (0)

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alt, 0);
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (int i = 0; i < 5; i++) sigaction(faults[i], &sa, 0);

    char *none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *ro = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *gone = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(gone, 4096);
    FAULT("null", *(volatile int *)0 = 1);
    printf(" address %p write %ld\n", address, error >> 1 & 1);
    FAULT("none", *(volatile char *)(none + 5) = 1);
    printf(" offset %td\n", (char *)address - none);
    FAULT("read only", *(volatile char *)(ro + 7) = 1);
    printf(" offset %td\n", (char *)address - ro);
    FAULT("unmapped", (void)*(volatile char *)(gone + 9));
    printf(" offset %td write %ld\n", (char *)address - gone, error >> 1 & 1);
    FAULT("not canonical", (void)*(volatile char *)0x8000000000000000ul);
    printf(" address %p\n", address);
    FAULT("divide", { volatile int zero = 0; volatile int r = 1 / zero; (void)r; });
    printf(" here %d\n", address != 0);
    FAULT("undefined", __asm__ volatile("ud2"));
    printf("\n");
    FAULT("breakpoint", __asm__ volatile("int3"));
    printf("\n");
    FAULT("halt", __asm__ volatile("hlt"));
    printf("\n");
    FAULT("sse", { unsigned m = 0x1f80 & ~0x200u; __asm__ volatile("ldmxcsr %0; xorps %%xmm0,%%xmm0; movss %1,%%xmm1; divss %%xmm0,%%xmm1" ::"m"(m), "m"((float){1.0f}) : "xmm0", "xmm1"); });
    { unsigned m = 0x1f80; __asm__ volatile("ldmxcsr %0" ::"m"(m)); }
    printf("\n");
    FAULT("jump", ((void (*)(void))none)());
    printf(" offset %td\n", (char *)address - none);
    // What lies below the main stack is not alike: only the signal is.
    if (sigsetjmp(back, 1) == 0) deep();
    printf("overflow: signal %d\n", signo);

    struct sigaction go_on = {.sa_sigaction = skip, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &go_on, 0);
    long rbx;
    __asm__ volatile("mov $0, %%eax; mov (%%rax), %%ebx; mov %%rbx, %0" : "=r"(rbx)::"rax", "rbx");
    printf("went on: signal %d code %d rbx %ld\n", signo, code, rbx);
    // SSE registers survive a handler.
    double before = 1.5, after;
    __asm__ volatile("movsd %1, %%xmm9; mov $0, %%eax; mov (%%rax), %%ebx; movsd %%xmm9, %0" : "=m"(after) : "m"(before) : "rax", "rbx", "xmm9");
    printf("kept %.1f\n", after);
    return 0;
}
