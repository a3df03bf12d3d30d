// Actions, masks, pending signals, order of delivery, alternate stack.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int order[64], count;
static volatile int code, value, on_alt;
static char alt[65536];

static void note(int signal) { order[count++] = signal; }

static void inform(int signal, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    char here;
    order[count++] = signal;
    code = info->si_code;
    value = info->si_value.sival_int;
    on_alt = &here >= alt && &here < alt + sizeof alt;
    if (uc->uc_mcontext.fpregs == 0 || ((unsigned long)uc->uc_mcontext.fpregs & 63)) puts("fpregs bad");
    unsigned *sw = (unsigned *)((char *)uc->uc_mcontext.fpregs + 464);
    if (sw[0] != 0x46505853u || *(unsigned *)((char *)uc->uc_mcontext.fpregs + sw[4]) != 0x46505845u) puts("no magic");
}

static void show(const char *what) {
    printf("%s:", what);
    for (int i = 0; i < count; i++) printf(" %d", order[i]);
    printf("\n");
    count = 0;
}

#define CALL(e) do { errno = 0; long r_ = (e); printf("%s = %ld errno %d\n", #e, r_, errno); } while (0)

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    struct sigaction sa = {.sa_handler = note}, old;
    sigset_t set, pending;
    CALL(sigaction(SIGUSR1, &sa, 0));
    CALL(sigaction(SIGKILL, &sa, 0));
    CALL(sigaction(SIGSTOP, &sa, 0));
    CALL(syscall(SYS_rt_sigaction, 65, 0, 0, 8));
    CALL(syscall(SYS_rt_sigaction, 0, 0, 0, 8));
    CALL(syscall(SYS_rt_sigaction, SIGUSR1, 0, 0, 4));
    CALL(raise(SIGUSR1));
    show("raised");

    sigaction(SIGUSR2, &sa, 0);
    for (int s = SIGRTMIN; s < SIGRTMIN + 3; s++) sigaction(s, &sa, 0);
    sigfillset(&set);
    CALL(sigprocmask(SIG_SETMASK, &set, 0));
    CALL(sigprocmask(7, &set, 0));
    raise(SIGUSR2); raise(SIGUSR1); raise(SIGUSR1);
    raise(SIGRTMIN + 2); raise(SIGRTMIN); raise(SIGRTMIN); raise(SIGRTMIN + 1);
    sigpending(&pending);
    printf("pending %d %d %d %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2), sigismember(&pending, SIGRTMIN), sigismember(&pending, SIGTERM));
    sigprocmask(SIG_SETMASK, 0, &set);
    printf("kill blocked %d stop blocked %d term blocked %d\n", sigismember(&set, SIGKILL), sigismember(&set, SIGSTOP), sigismember(&set, SIGTERM));
    sigemptyset(&set);
    // The handlers nest: what was delivered last runs first.
    sigprocmask(SIG_SETMASK, &set, 0);
    show("unblocked");

    struct sigaction info = {.sa_sigaction = inform, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGRTMIN + 3, &info, 0);
    union sigval v = {.sival_int = 4711};
    CALL(sigqueue(getpid(), SIGRTMIN + 3, v));
    printf("code %d value %d alt %d\n", code, value, on_alt);
    stack_t stack = {.ss_sp = alt, .ss_size = sizeof alt}, before;
    CALL(sigaltstack(&stack, 0));
    CALL(sigaltstack(0, &before));
    printf("flags %d size %zu same %d\n", before.ss_flags, before.ss_size, before.ss_sp == alt);
    CALL(sigqueue(getpid(), SIGRTMIN + 3, v));
    printf("code %d value %d alt %d\n", code, value, on_alt);
    stack.ss_size = 100;
    CALL(sigaltstack(&stack, 0));
    stack.ss_flags = 77;
    CALL(sigaltstack(&stack, 0));
    count = 0;

    sa.sa_flags = SA_RESETHAND;
    sigaction(SIGUSR1, &sa, 0);
    raise(SIGUSR1);
    sigaction(SIGUSR1, 0, &old);
    printf("reset %d\n", old.sa_handler == SIG_DFL);
    signal(SIGUSR1, SIG_IGN);
    CALL(raise(SIGUSR1));
    show("ignored");

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, 0);
    raise(SIGUSR1);
    struct timespec zero = {0, 0}, soon = {0, 20000000};
    siginfo_t got;
    memset(&got, 0, sizeof got);
    CALL(sigtimedwait(&set, &got, &zero));
    printf("waited %d code %d mine %d\n", got.si_signo, got.si_code, got.si_pid == getpid());
    CALL(sigtimedwait(&set, &got, &soon));
    struct timespec bad = {0, 1000000000};
    CALL(sigtimedwait(&set, &got, &bad));
    // Becoming ignored forgets what is pending.
    signal(SIGUSR1, SIG_DFL);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    sigpending(&pending);
    printf("forgotten %d\n", !sigismember(&pending, SIGUSR1));

    CALL(kill(getpid(), 0));
    CALL(kill(0, 0));
    CALL(kill(getpid(), 65));
    CALL(kill(999999, 0));
    CALL(kill(999999, SIGTERM));
    CALL(syscall(SYS_tgkill, getpid(), -1, SIGTERM));
    CALL(syscall(SYS_tgkill, getpid(), 999999, 0));
    CALL(syscall(SYS_tkill, 0, 0));
    CALL(syscall(SYS_tkill, 999999, 0));
    return 0;
}
