// Exceptions in handlers of exceptions: on the alternate stack, with what siginfo and ucontext tell, and back through all of them.
#include "conformance.h"
#include <ucontext.h>

static char stack[1 << 16] __attribute__((aligned(4096)));
static char *page;
static uint64_t at, back[2];
static volatile int depth;
static const uint64_t AC = 1 << 18;

static int on_alternate(const void *p) { return (uint64_t)p - (uint64_t)stack < sizeof stack; }

// Raises an exception at `instruction`, and goes on behind it.
#define RAISE(before, instruction, after)                                                                   \
    do {                                                                                                    \
        int level = depth;                                                                                  \
        __asm__ volatile("lea -128(%%rsp), %%rsp\n lea 2f(%%rip), %%rax\n mov %%rax, %0\n mov %%rsp, %%r12\n" \
                         before "\n" instruction "\n nop\n 2: mov %%r12, %%rsp\n" after                     \
                         "\n lea 128(%%rsp), %%rsp"                                                         \
                         : "=m"(back[level])                                                                \
                         : "b"(page)                                                                        \
                         : "rax", "rcx", "rdx", "r12", "xmm0", "cc", "memory");                             \
    } while (0)

static const char *place(uint64_t address, uint64_t rip)
{
    if (address == 0) return "0";
    if (address == rip) return "rip";
    return address - (uint64_t)page < 4096 ? "page" : "elsewhere";
}

static void on_exception(int signal, siginfo_t *info, void *context)
{
    // The handler begins with AC as it was, and the C library's accesses are not all aligned.
    __asm__ volatile("pushfq\n andq $~0x40000, (%%rsp)\n popfq" ::: "memory", "cc");
    ucontext_t *uc = context;
    greg_t *regs = uc->uc_mcontext.gregs;
    int level = depth;
    sigset_t mask;
    sigprocmask(SIG_BLOCK, 0, &mask);
    printf("%*ssignal %d code %d address %s trap %ld error %#lx here %d interrupted %d flags %d blocked %d saved %d\n", 2 * level,
           "", signal, info->si_code, place((uint64_t)info->si_addr, (uint64_t)regs[REG_RIP]), (long)regs[REG_TRAPNO],
           (long)regs[REG_ERR] & ~1l, on_alternate(&level), on_alternate((void *)regs[REG_RSP]), uc->uc_stack.ss_flags,
           sigismember(&mask, signal), sigismember(&uc->uc_sigmask, signal));
    if (level == 0) {
        depth = 1;
        // Another exception, of another kind than the one that is blocked.
        if (signal == SIGSEGV) RAISE("", "ud2", "");
        else RAISE("", "mov %%al, (%%rbx)", "");
        depth = 0;
        stack_t now;
        sigaltstack(0, &now);
        printf("back: flags %d\n", now.ss_flags);
    }
    regs[REG_RIP] = (greg_t)back[level];
    regs[REG_EFL] &= ~(greg_t)AC;
}

#define FROM(what, before, instruction, after) \
    do { \
        puts(what); \
        RAISE(before, instruction, after); \
    } while (0)

int main(void)
{
    setvbuf(stdout, 0, _IOLBF, 0);
    page = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int nested = 0; nested < 2; nested++) {
        stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack, .ss_flags = nested ? 0 : SS_DISABLE};
        sigaltstack(&alternate, 0);
        struct sigaction action = {.sa_sigaction = on_exception, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
        for (size_t i = 0; i < COUNT(signals); i++) sigaction(signals[i], &action, 0);

        FROM("write", "", "mov %%al, (%%rbx)", "");
        FROM("execute", "", "jmp *%%rbx", "");
        FROM("not canonical", "mov $1, %%rax\n shl $62, %%rax", "mov (%%rax), %%al", "");
        FROM("jump to what is not canonical", "mov $1, %%rax\n shl $62, %%rax", "jmp *%%rax", "");
        FROM("divide", "xor %%ecx, %%ecx", "div %%ecx", "");
        FROM("x87", "fninit\n push $0x37b\n fldcw (%%rsp)\n pop %%rax\n fld1\n fldz\n fdivrp", "fwait", "fninit");
        FROM("SSE", "push $0x1f00\n ldmxcsr (%%rsp)\n pop %%rax\n xorps %%xmm0, %%xmm0", "divss %%xmm0, %%xmm0",
             "push $0x1f80\n ldmxcsr (%%rsp)\n pop %%rax");
        FROM("alignment", "pushfq\n orq $0x40000, (%%rsp)\n popfq", "mov 1(%%rbx), %%eax", "");
        FROM("breakpoint", "", "int3", "");
        FROM("int1", "", ".byte 0xf1", "");
        FROM("undefined", "", "ud2", "");
        FROM("stack", "mov $1, %%rax\n shl $62, %%rax", "mov (%%rsp,%%rax), %%al", "");
    }
    return 0;
}
