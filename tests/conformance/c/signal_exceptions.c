// Each exception of the processor becomes its signal, with all that siginfo and ucontext tell of it.
#include "conformance.h"
#include <ucontext.h>

static struct {
    int signal, code;
    uint64_t address, rip, trap, error;
} seen;
static uint64_t at, back;
static char *page, *none;

static const uint64_t TF = 1 << 8, AC = 1 << 18;

static void on_exception(int signal, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    seen.signal = signal;
    seen.code = info->si_code;
    seen.address = (uint64_t)info->si_addr;
    seen.rip = (uint64_t)regs[REG_RIP];
    seen.trap = (uint64_t)regs[REG_TRAPNO];
    seen.error = (uint64_t)regs[REG_ERR];
    regs[REG_RIP] = (greg_t)back;
    regs[REG_EFL] &= ~(greg_t)(TF | AC);
}

static const char *place(uint64_t address)
{
    static char text[32];
    if (address == 0) return "0";
    if (address == seen.rip) return "rip";
    if (address - (uint64_t)page < 4096) snprintf(text, sizeof text, "page+%d", (int)(address - (uint64_t)page));
    else if (address - (uint64_t)none < 4096) snprintf(text, sizeof text, "none+%d", (int)(address - (uint64_t)none));
    else snprintf(text, sizeof text, "%#lx", address);
    return text;
}

// Whether a page was present is not alike: only what kind of access it was.
static void show(const char *what)
{
    uint64_t error = seen.trap == 14 ? seen.error & ~(uint64_t)1 : seen.error;
    printf("%s: signal %d code %d address %s", what, seen.signal, seen.code, place(seen.address));
    if (seen.rip - at < 16) printf(" rip +%d", (int)(seen.rip - at));
    printf(" trap %lu error %#lx\n", seen.trap, error);
    memset(&seen, 0, sizeof seen);
}

// Runs `before` and then the instruction, which raises; what follows it is skipped. RBX holds an address.
#define RAISE(what, address, before, instruction, after)                                                    \
    do {                                                                                                    \
        __asm__ volatile("lea -128(%%rsp), %%rsp\n lea 1f(%%rip), %%rax\n mov %%rax, %0\n"                  \
                         "lea 2f(%%rip), %%rax\n mov %%rax, %1\n xor %%eax, %%eax\n xor %%edx, %%edx\n"     \
                         "mov %%rsp, %%r12\n" before "\n1: " instruction "\n nop\n 2: mov %%r12, %%rsp\n"   \
                         after "\n lea 128(%%rsp), %%rsp"                                                   \
                         : "=m"(at), "=m"(back)                                                             \
                         : "b"(address)                                                                     \
                         : "rax", "rcx", "rdx", "rsi", "rdi", "r12", "xmm0", "xmm1", "cc", "memory");       \
        show(what);                                                                                         \
    } while (0)

#define SET_FLAG(bit) "pushfq\n orq $" bit ", (%%rsp)\n popfq"
#define MXCSR(value) "push $" value "\n ldmxcsr (%%rsp)\n pop %%rax"
#define X87(value) "fninit\n push $" value "\n fldcw (%%rsp)\n pop %%rax\n"

// #SS: the stack pointer is good again, or was never bad.
static void stack_accesses(void)
{
    const uint64_t far = 0x0800000000000000;
    RAISE("far from the stack", far, "", "mov (%%rsp,%%rbx), %%eax", "");
    RAISE("far above the stack by eights", far, "", "mov 4096(%%rsp,%%rbx,8), %%rax", "");
    RAISE("far from the stack by an upper register", far, "mov %%rbx, %%r11", "mov %%al, 8(%%rsp,%%r11)", "");
    RAISE("far from the stack in a segment of its own", far, "", ".byte 0x64\n mov (%%rsp,%%rbx), %%eax", "");
    RAISE("far from the stack, SSE", far, "", "movups (%%rsp,%%rbx), %%xmm0", "");
    RAISE("far from the stack, x87", far, "", "fldl (%%rsp,%%rbx)", "");
    RAISE("far from the stack, ModRM of three bytes", far, "", "crc32b (%%rsp,%%rbx), %%eax", "");
    RAISE("far from the stack, pushed", far, "", "pushq (%%rsp,%%rbx)", "");
    RAISE("far from the stack, popped", far, "", "popq (%%rsp,%%rbx)", "");
    RAISE("far from the stack, called", far, "", "call *(%%rsp,%%rbx)", "");
    if (__builtin_cpu_supports("avx2")) {
        RAISE("far from the stack, AVX", far, "", "vmovups (%%rsp,%%rbx), %%ymm0", "vzeroupper");
        RAISE("far from the stack, AVX2", far, "", "vpbroadcastd (%%rsp,%%rbx), %%ymm0", "vzeroupper");
    }
    RAISE("return from nowhere", far, "mov %%rbx, %%rsp", "ret", "");
    RAISE("pop from nowhere", far, "mov %%rbx, %%rsp", "pop %%rax", "");
    RAISE("call from nowhere", far, "mov %%rbx, %%rsp", "call 2f", "");
    RAISE("leave to nowhere", far, "xchg %%rbx, %%rbp", "leave", "xchg %%rbx, %%rbp");
    RAISE("frame nowhere", far, "xchg %%rbx, %%rbp", "mov -8(%%rbp), %%rax", "xchg %%rbx, %%rbp");
    RAISE("no frame, but a number", far, "xchg %%rbx, %%rbp", "mov 0x10, %%al", "xchg %%rbx, %%rbp");
}

static void memory_accesses(void)
{
    RAISE("read unmapped", 0x10ul, "", "mov (%%rbx), %%al", "");
    RAISE("write unmapped", 0x10ul, "", "mov %%al, (%%rbx)", "");
    RAISE("read none", none + 3, "", "mov (%%rbx), %%eax", "");
    RAISE("write none", none + 4, "", "mov %%eax, (%%rbx)", "");
    RAISE("across the end of a page", page + 4094, "", "mov (%%rbx), %%rax", "");
    mprotect(page, 4096, PROT_READ);
    RAISE("write read-only", page + 5, "", "mov %%al, (%%rbx)", "");
    RAISE("add to read-only", page + 6, "", "addb $1, (%%rbx)", "");
    RAISE("run read-only", page + 7, "", "jmp *%%rbx", "");
    RAISE("run none", none + 8, "", "call *%%rbx", "");
    RAISE("not canonical", 0x8000000000000000ul, "", "mov (%%rbx), %%rax", "");
    RAISE("not canonical stack", 0x8000000000000000ul, "", "xchg %%rbx, %%rsp\n push %%rax", "");
    stack_accesses();
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
    RAISE("unaligned", page + 1, SET_FLAG("0x40000"), "mov (%%rbx), %%eax", "");
    RAISE("SSE unaligned", page + 1, "", "movaps (%%rbx), %%xmm0", "");
}

static void instructions(void)
{
    RAISE("divide by zero", 0ul, "xor %%ecx, %%ecx", "div %%ecx", "");
    RAISE("quotient too large", 0ul, "mov $1, %%ecx\n mov $1, %%edx", "div %%ecx", "");
    RAISE("int3", 0ul, "", "int3", "");
    RAISE("int $3 as two bytes", 0ul, "", ".byte 0xcd, 3", "");
    RAISE("int $4", 0ul, "", "int $4", "");
    RAISE("int $0x21", 0ul, "", "int $0x21", "");
    RAISE("ud2", 0ul, "", "ud2", "");
    RAISE("lock on a register", 0ul, "", ".byte 0xf0, 0x90", "");
    RAISE("hlt", 0ul, "", "hlt", "");
    RAISE("cli", 0ul, "", "cli", "");
    RAISE("in", 0ul, "", "in $0x80, %%al", "");
    RAISE("in from dx", 0ul, "mov $0x80, %%edx", "in %%dx, %%eax", "");
    RAISE("in of a word", 0ul, "mov $0x80, %%edx", "in %%dx, %%ax", "");
    RAISE("out", 0ul, "", "out %%al, $0x80", "");
    RAISE("out to dx", 0ul, "mov $0x80, %%edx", "out %%al, %%dx", "");
    RAISE("outsb", page, "mov $0x80, %%edx\n mov %%rbx, %%rsi", "outsb", "");
    RAISE("single step", 0ul, SET_FLAG("0x100"), "nop", "");
}

static void floating_point(void)
{
    RAISE("x87 divide by zero", 0ul, X87("0x37b") "fld1\n fldz\n fdivrp", "fwait", "fninit");
    RAISE("x87 invalid", 0ul, X87("0x37e") "fldz\n fldz\n fdivrp", "fwait", "fninit");
    RAISE("x87 stack", 0ul, X87("0x37e") "fstp %%st(0)", "fwait", "fninit");
    RAISE("x87 inexact", 0ul, X87("0x35f") "fldpi\n fld1\n fdivp", "fwait", "fninit");
    RAISE("x87 two at once", 0ul, X87("0x340") "fld1\n fldz\n fdivrp", "fwait", "fninit");
    RAISE("SSE divide by zero", 0ul,
          MXCSR("0x1d80") "\n xorps %%xmm0, %%xmm0\n mov $0x3f800000, %%eax\n movd %%eax, %%xmm1",
          "divss %%xmm0, %%xmm1", MXCSR("0x1f80"));
    RAISE("SSE invalid", 0ul, MXCSR("0x1f00") "\n xorps %%xmm0, %%xmm0", "divss %%xmm0, %%xmm0",
          MXCSR("0x1f80"));
    RAISE("SSE overflow", 0ul, MXCSR("0x1b80") "\n mov $0x7f7fffff, %%eax\n movd %%eax, %%xmm0",
          "addss %%xmm0, %%xmm0", MXCSR("0x1f80"));
    RAISE("SSE underflow", 0ul, MXCSR("0x1780") "\n mov $0x00800001, %%eax\n movd %%eax, %%xmm0",
          "mulss %%xmm0, %%xmm0", MXCSR("0x1f80"));
    RAISE("SSE denormal", 0ul, MXCSR("0x1e80") "\n mov $1, %%eax\n movd %%eax, %%xmm0",
          "addss %%xmm0, %%xmm0", MXCSR("0x1f80"));
    RAISE("SSE inexact", 0ul,
          MXCSR("0x0f80") "\n mov $0x40400000, %%eax\n movd %%eax, %%xmm0\n mov $0x3f800000, %%eax\n"
                          "movd %%eax, %%xmm1",
          "divss %%xmm0, %%xmm1", MXCSR("0x1f80"));
}

int main(void)
{
    static char stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternate, 0);
    struct sigaction action = {.sa_sigaction = on_exception, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (size_t i = 0; i < COUNT(signals); i++) sigaction(signals[i], &action, 0);
    page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    none = page + 4096;
    mprotect(none, 4096, PROT_NONE);
    page[0] = 1;

    memory_accesses();
    instructions();
    floating_point();
    return 0;
}
