/* Does to the processor's state what few programs do; the kernel must neither be disturbed nor forget it: rough WHAT. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static const uint64_t AC = 1 << 18, DF = 1 << 10, TF = 1 << 8;
static volatile int steps;

/* A system call made with flags set: what the flags are behind it. */
static uint64_t flags_after(uint64_t set, long number, long *result)
{
    static struct timespec now;
    uint64_t flags;
    __asm__ volatile("lea -128(%%rsp), %%rsp\n pushfq\n orq %3, (%%rsp)\n popfq\n syscall\n pushfq\n popq %1\n"
                     "pushq $2\n popfq\n lea 128(%%rsp), %%rsp"
                     : "=a"(*result), "=&b"(flags)
                     : "a"(number), "r"(set), "D"(1L), "S"(&now), "d"(0L)
                     : "rcx", "r11", "memory", "cc");
    return flags;
}

static void on_step(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
    if (++steps == 20) ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TF;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    printf("signal %d code %d\n", signal, info->si_code);
    fflush(stdout);
    _exit(0);
}

static void set_action(int signal, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(signal, &action, NULL);
}

/* Raises an exception that nobody handles. */
static void die(const char *of)
{
    static char page[4096] __attribute__((aligned(4096)));
    if (!strcmp(of, "divide")) __asm__ volatile("xor %%ecx, %%ecx\n div %%ecx" ::: "rax", "rcx", "rdx", "cc");
    if (!strcmp(of, "undefined")) __asm__ volatile("ud2");
    if (!strcmp(of, "breakpoint")) __asm__ volatile("int3");
    if (!strcmp(of, "step")) __asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n nop" ::: "memory", "cc");
    if (!strcmp(of, "privileged")) __asm__ volatile("hlt");
    if (!strcmp(of, "port")) __asm__ volatile("in $0x80, %%al" ::: "rax");
    if (!strcmp(of, "interrupt")) __asm__ volatile("int $0x21");
    static volatile char *volatile nowhere = (char *)16, *volatile not_canonical = (char *)0x8000000000000000;
    if (!strcmp(of, "write")) *nowhere = 1;
    if (!strcmp(of, "jump")) ((void (*)(void))page)();
    if (!strcmp(of, "not-canonical")) (void)*not_canonical;
    if (!strcmp(of, "stack")) __asm__ volatile("mov %0, %%rsp\n push %0" ::"r"(0x8000000000000000));
    if (!strcmp(of, "alignment"))
        __asm__ volatile("pushfq\n orq $0x40000, (%%rsp)\n popfq\n mov 1(%0), %%eax" ::"r"(page) : "rax", "memory", "cc");
    if (!strcmp(of, "x87"))
        __asm__ volatile("fninit\n push $0x37b\n fldcw (%%rsp)\n pop %%rax\n fld1\n fldz\n fdivrp\n fwait" ::: "rax");
    if (!strcmp(of, "sse"))
        __asm__ volatile("push $0x1f00\n ldmxcsr (%%rsp)\n pop %%rax\n xorps %%xmm0, %%xmm0\n divss %%xmm0, %%xmm0" ::
                             : "rax", "xmm0");
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    long result;
    if (argc > 2 && !strcmp(what, "die")) {
        puts("alive");
        fflush(stdout);
        die(argv[2]);
        puts("still alive");
    } else if (!strcmp(what, "alignment-checks")) {
        uint64_t flags = flags_after(AC, SYS_clock_gettime, &result);
        printf("result %ld kept %d\n", result, (flags & AC) != 0);
    } else if (!strcmp(what, "direction")) {
        uint64_t flags = flags_after(DF, SYS_clock_gettime, &result);
        printf("result %ld kept %d\n", result, (flags & DF) != 0);
    } else if (!strcmp(what, "single-steps")) {
        set_action(SIGTRAP, on_step);
        __asm__ volatile("lea -128(%%rsp), %%rsp\n pushfq\n orq %0, (%%rsp)\n popfq\n mov $39, %%eax\n syscall\n"
                         "mov $1000, %%ecx\n1: dec %%ecx\n jnz 1b\n lea 128(%%rsp), %%rsp" ::"r"(TF)
                         : "rax", "rcx", "r11", "cc", "memory");
        printf("steps %d\n", steps);
    } else if (!strcmp(what, "handler-nowhere")) {
        set_action(SIGSEGV, on_fault);
        set_action(SIGUSR1, (void (*)(int, siginfo_t *, void *))0x8000000000000000);
        raise(SIGUSR1);
    } else if (!strcmp(what, "gs-base")) {
        __asm__ volatile("wrgsbase %0\n syscall" ::"r"((uint64_t)&steps), "a"(SYS_sched_yield) : "rcx", "r11", "memory");
    } else if (!strcmp(what, "fs-base")) {
        uint64_t after, fresh = (uint64_t)&steps;
        __asm__ volatile("rdfsbase %%rbx\n wrfsbase %2\n syscall\n rdfsbase %1\n wrfsbase %%rbx"
                         : "=a"(result), "=&r"(after)
                         : "r"(fresh), "a"(SYS_sched_yield)
                         : "rbx", "rcx", "r11", "memory");
        printf("result %ld kept %d\n", result, after == fresh);
    } else {
        return 2;
    }
    return 0;
}
