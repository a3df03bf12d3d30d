/* Makes system calls with random and extreme arguments: fuzz_calls SEED CALLS THREADS. Whatever the program asks for,
 * the kernel must go on answering. Only what would end or destroy this very program is not asked for. Ends with 0. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { POOL = 256 * 1024, ARENA = 1024 * 1024, MAX_THREADS = 8, LAST_CALL = 470 };

typedef struct {
    uint64_t state;
    pid_t tid;
    unsigned char *pool;  /* memory that calls may write to */
    unsigned char *arena; /* addresses that calls may map, unmap and protect */
    unsigned long made, succeeded;
    volatile int done;
    pthread_t thread;
} Worker;

static Worker workers[MAX_THREADS];
static unsigned long calls;
static pthread_barrier_t all_there;
static unsigned char *read_only, *guard;
static uint64_t gate;
static const char *const PATHS[] = {
    "/tmp/a", "/tmp/b", "/tmp/c/d", "/tmp", "/", "", ".", "..", "/proc/self/maps", "/proc/self/fd/3", "/proc/self/status",
    "/proc", "/dev/null", "/dev/zero", "/dev/tty", "/dev/urandom", "/bin/fuzz_calls", "/no/such/file", "/tmp/a/..", "//tmp//e",
    "/dev/fd/1", "/proc/self/exe", "/proc/self/task", "/proc/meminfo", "/sys", "/tmp/fifo",
};
enum { PATH_COUNT = sizeof PATHS / sizeof *PATHS };

static long raw(long number, const uint64_t *a)
{
    long result;
    register uint64_t r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static long ask(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return raw(number, (uint64_t[]){a, b, c, d, 0, 0});
}

static uint64_t next(Worker *w)
{
    uint64_t z = w->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t below(Worker *w, uint64_t n) { return next(w) % n; }
static int chance(Worker *w, unsigned one_in) { return below(w, one_in) == 0; }

static uint64_t edge(Worker *w)
{
    static const uint64_t EDGES[] = {
        0, 1, 2, 3, 7, 8, 15, 16, 63, 64, 65, 127, 128, 255, 256, 511, 512, 1023, 1024, 4095, 4096, 4097, 0x7fff, 0x8000,
        0xffff, 0x10000, 0x100000, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffff, 0x800000000000,
        0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, (uint64_t)-4096, (uint64_t)-2, (uint64_t)-1, (uint64_t)-100,
    };
    uint64_t value = EDGES[below(w, sizeof EDGES / sizeof *EDGES)];
    return chance(w, 4) ? value + below(w, 3) - 1 : value;
}

static uint64_t pointer(Worker *w)
{
    switch (below(w, 16)) {
    case 0: return 0;
    case 1: return (uint64_t)guard - below(w, 64);
    case 2: return (uint64_t)guard;
    case 3: return (uint64_t)read_only;
    case 4: return gate + (below(w, 3) - 1) * 4096;
    case 5: return edge(w) | 0xffff800000000000;
    case 6: return 0x800000000000 - below(w, 32);
    case 7: return (uint64_t)w->arena + below(w, ARENA);
    case 8: return (uint64_t)w->pool + below(w, POOL - 4096);
    default: return (uint64_t)w->pool + below(w, POOL - 4096) / 64 * 64;
    }
}

static uint64_t argument(Worker *w)
{
    switch (below(w, 10)) {
    case 0: return edge(w);
    case 1: return below(w, 16);
    case 2: return below(w, 48); /* descriptor */
    case 3: return chance(w, 3) ? (uint64_t)AT_FDCWD : below(w, 8);
    case 4: return (uint64_t)PATHS[below(w, PATH_COUNT)];
    case 5: return 1ull << below(w, 64);
    case 6: return next(w) & next(w) & 0xffffff;
    case 7: return (uint64_t)w->tid + below(w, 3) - 1;
    default: return pointer(w);
    }
}

/* Structures that calls find in the pool: words that are numbers, flags, or addresses that may be written to. */
static void fill(Worker *w)
{
    for (int i = 0; i < 64; i++) {
        uint64_t word;
        switch (below(w, 5)) {
        case 0: word = pointer(w); break;
        case 1: word = below(w, 100); break;
        case 2: word = below(w, 8) | below(w, 64) << 32; break;
        case 3: word = (uint64_t)PATHS[below(w, PATH_COUNT)]; break;
        default: word = edge(w);
        }
        memcpy(w->pool + below(w, POOL / 8) * 8, &word, sizeof word);
    }
}

static uint64_t in_arena(Worker *w)
{
    return (uint64_t)w->arena + (chance(w, 8) ? below(w, ARENA) : below(w, ARENA / 4096) * 4096);
}

/* Calls that get further when their arguments are of the right kind: f descriptor, d directory, p path, b memory, n size
 * or count, o flags, i any small number, t time limit in milliseconds, z zero, 8 the size of a signal set. */
static const struct { int number; const char *kinds; } TYPED[] = {
    {SYS_read, "fbn"}, {SYS_write, "fbn"}, {SYS_readv, "fbi"}, {SYS_writev, "fbi"}, {SYS_pread64, "fbnn"},
    {SYS_pwrite64, "fbnn"}, {SYS_preadv2, "fbinzo"}, {SYS_pwritev2, "fbinzo"}, {SYS_lseek, "fni"}, {SYS_openat, "dpoo"},
    {SYS_open, "poo"}, {SYS_stat, "pb"}, {SYS_fstat, "fb"}, {SYS_newfstatat, "dpbo"}, {SYS_statx, "dpoob"},
    {SYS_getdents64, "fbn"}, {SYS_dup, "f"}, {SYS_dup3, "ffo"}, {SYS_fcntl, "fib"}, {SYS_fcntl, "fii"}, {SYS_ioctl, "fob"},
    {SYS_ftruncate, "fn"}, {SYS_truncate, "pn"}, {SYS_fallocate, "fonn"}, {SYS_renameat2, "dpdpo"}, {SYS_linkat, "dpdpo"},
    {SYS_symlinkat, "pdp"}, {SYS_unlinkat, "dpo"}, {SYS_mkdirat, "dpo"}, {SYS_mknodat, "dpoo"}, {SYS_readlinkat, "dpbn"},
    {SYS_fchmodat, "dpo"}, {SYS_fchownat, "dpiio"}, {SYS_utimensat, "dpbo"}, {SYS_faccessat, "dpi"}, {SYS_chdir, "p"},
    {SYS_fchdir, "f"}, {SYS_getcwd, "bn"}, {SYS_statfs, "pb"}, {SYS_fstatfs, "fb"}, {SYS_flock, "fi"},
    {SYS_sendfile, "ffbn"}, {SYS_copy_file_range, "fbfbnz"}, {SYS_splice, "fzfzno"}, {SYS_tee, "ffno"},
    {SYS_setxattr, "ppbno"}, {SYS_getxattr, "ppbn"}, {SYS_listxattr, "pbn"}, {SYS_fsync, "f"}, {SYS_memfd_create, "po"},
    {SYS_pipe2, "bo"}, {SYS_poll, "bit"}, {SYS_poll, "bnt"}, {SYS_ppoll, "bit"}, {SYS_select, "ibbbb"},
    {SYS_pselect6, "ibbbtb"}, {SYS_epoll_ctl, "fifb"}, {SYS_epoll_wait, "fbit"}, {SYS_epoll_pwait, "fbitb8"},
    {SYS_eventfd2, "io"}, {SYS_timerfd_create, "io"}, {SYS_timerfd_settime, "fibb"}, {SYS_timerfd_gettime, "fb"},
    {SYS_signalfd4, "fb8o"}, {SYS_socket, "iii"}, {SYS_socketpair, "iiib"}, {SYS_bind, "fbn"}, {SYS_listen, "fi"},
    {SYS_accept4, "fbbo"}, {SYS_connect, "fbn"}, {SYS_sendto, "fbnobi"}, {SYS_recvfrom, "fbnobb"}, {SYS_sendmsg, "fbo"},
    {SYS_recvmsg, "fbo"}, {SYS_sendmmsg, "fbio"}, {SYS_recvmmsg, "fbiob"}, {SYS_shutdown, "fi"}, {SYS_getsockname, "fbb"},
    {SYS_getpeername, "fbb"}, {SYS_setsockopt, "fiibn"}, {SYS_getsockopt, "fiibb"}, {SYS_mmap, "bnioff"},
    {SYS_mmap, "znoofn"}, {SYS_mprotect, "bni"}, {SYS_mremap, "bnnib"}, {SYS_munmap, "bn"}, {SYS_madvise, "bni"},
    {SYS_futex, "bitibi"}, {SYS_futex, "biibbi"}, {SYS_get_robust_list, "ibb"}, {SYS_set_robust_list, "bn"},
    {SYS_rt_sigaction, "ibb8"}, {SYS_rt_sigprocmask, "ibb8"}, {SYS_rt_sigpending, "b8"}, {SYS_sigaltstack, "bb"},
    {SYS_timer_create, "ibb"}, {SYS_timer_settime, "iibb"}, {SYS_timer_gettime, "ib"}, {SYS_setitimer, "ibb"},
    {SYS_getitimer, "ib"}, {SYS_clock_gettime, "ib"}, {SYS_clock_nanosleep, "iibb"}, {SYS_nanosleep, "bb"},
    {SYS_getrandom, "bno"}, {SYS_prlimit64, "zibb"}, {SYS_getrusage, "ib"}, {SYS_prctl, "ibiii"}, {SYS_prctl, "iiiii"},
    {SYS_sched_setaffinity, "znb"}, {SYS_sched_getaffinity, "znb"}, {SYS_sched_setscheduler, "zib"},
    {SYS_process_vm_readv, "ibibiz"}, {SYS_process_vm_writev, "ibibiz"}, {SYS_getgroups, "ib"}, {SYS_uname, "b"},
    {SYS_sysinfo, "b"}, {SYS_mincore, "bnb"}, {SYS_close, "f"}, {SYS_close_range, "ffo"}, {SYS_inotify_add_watch, "fpo"},
};

static uint64_t of_kind(Worker *w, char kind)
{
    if (chance(w, 12)) return argument(w);
    switch (kind) {
    case 'f': return below(w, 24);
    case 'd': return chance(w, 2) ? (uint64_t)AT_FDCWD : below(w, 24);
    case 'p': return (uint64_t)PATHS[below(w, PATH_COUNT)];
    case 'b': return chance(w, 6) ? pointer(w) : (uint64_t)w->pool + below(w, POOL / 64 - 64) * 64;
    case 'n': return chance(w, 8) ? edge(w) : below(w, 1ull << below(w, 18));
    case 'o': return chance(w, 3) ? 0 : 1ull << below(w, 24) | (chance(w, 3) ? 1ull << below(w, 24) : 0) | below(w, 3);
    case 't': return below(w, 3);
    case 'z': return 0;
    case '8': return 8;
    default: return below(w, 24);
    }
}

/* Keeps the range inside the arena, or impossible. */
static void keep_range(Worker *w, uint64_t *a, uint64_t *size)
{
    if (chance(w, 8)) {
        int in_kernel = chance(w, 2);
        *a = in_kernel ? gate & ~4095ull : edge(w) | 1ull << 63;
        *size = in_kernel ? below(w, 16384) : edge(w);
        return;
    }
    *a = in_arena(w);
    uint64_t room = (uint64_t)w->arena + ARENA - *a;
    *size = chance(w, 16) ? 0 : 1 + below(w, room);
}

static uint64_t harmless_signal(Worker *w)
{
    static const int SIGNALS[] = {0, SIGALRM, SIGUSR1, SIGUSR2, SIGCHLD, SIGURG, SIGWINCH, 34, 40, 64, 65, 1000, -1};
    return (uint64_t)SIGNALS[below(w, sizeof SIGNALS / sizeof *SIGNALS)];
}

static uint64_t short_time(Worker *w)
{
    static const struct timespec SHORT = {0, 300000};
    return chance(w, 4) ? (uint64_t)guard : (uint64_t)&SHORT;
}

/* The program itself has no defect that faults: where a fault is, the kernel has returned wrong registers or memory. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
    const greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    char text[400];
    int size = snprintf(text, sizeof text, "fault: signal %d at %llx, address %p, rsp %llx, rax %llx, rcx %llx, rdx %llx, rdi %llx, rsi %llx, r12 %llx\n",
                        signal, r[REG_RIP], info->si_addr, r[REG_RSP], r[REG_RAX], r[REG_RCX], r[REG_RDX], r[REG_RDI], r[REG_RSI], r[REG_R12]);
    ask(SYS_write, 2, (uint64_t)text, size, 0);
    ask(SYS_exit_group, 9, 0, 0, 0);
}

static void on_signal(int signal) { (void)signal; }
static const struct { void *handler; unsigned long flags, restorer, mask; } IGNORED = {SIG_IGN, 0, 0, 0};
static const uint64_t NO_SIGNALS;

/* Changes a call that would end or destroy this program, or never return, into one that does not; 0: not to be made. */
static int tame(Worker *w, long number, uint64_t *a)
{
    switch (number) {
    case SYS_exit: case SYS_exit_group: case SYS_rt_sigreturn: case SYS_fork: case SYS_vfork: case SYS_clone3: return 0;
    case SYS_clone: a[0] &= ~(uint64_t)0x10000; return 1;
    case SYS_mmap:
        if (a[3] & (MAP_FIXED | 0x100000)) keep_range(w, &a[0], &a[1]);
        else if (a[1] > ARENA && !chance(w, 8)) a[1] = below(w, ARENA);
        if (chance(w, 2)) { a[3] = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED; keep_range(w, &a[0], &a[1]); }
        return 1;
    case SYS_munmap: case SYS_mprotect: case SYS_madvise: case SYS_msync: case SYS_mlock: case SYS_mlock2: case SYS_munlock:
    case SYS_pkey_mprotect: case SYS_mbind: case SYS_remap_file_pages: case SYS_mincore: case SYS_process_madvise:
        keep_range(w, &a[0], &a[1]);
        return 1;
    case SYS_mremap:
        keep_range(w, &a[0], &a[1]);
        keep_range(w, &a[4], &a[2]);
        return 1;
    case SYS_brk: case SYS_shmat: case SYS_shmdt: a[0] = 0; return 1;
    case SYS_arch_prctl: return a[0] != 0x1002 && a[0] != 0x1001;
    case SYS_timer_create:
        if (!chance(w, 4)) a[1] = 0; /* SIGALRM */
        else memcpy(w->pool, (int[]){0, 0, (int)harmless_signal(w), (int)below(w, 8)}, 16), a[1] = (uint64_t)w->pool;
        return 1;
    case SYS_mq_notify: return 0;
    /* The streams stay open: the result is written there. */
    case SYS_close: case SYS_close_range: return (uint32_t)a[0] > 2;
    case SYS_dup2: case SYS_dup3: return (uint32_t)a[1] > 2;
    case SYS_fcntl: return a[1] != F_SETSIG;
    case SYS_prctl: return (int)a[0] != 59;
    case SYS_rt_sigaction:
        if (a[0] > 64 || a[0] == SIGALRM || a[0] == SIGSEGV || a[0] == SIGBUS) a[0] = harmless_signal(w);
        if ((int)a[0] == SIGALRM) a[1] = 0;
        else a[1] = chance(w, 2) ? (uint64_t)&IGNORED : chance(w, 2) ? 0 : (uint64_t)guard;
        return 1;
    case SYS_kill: case SYS_tkill: case SYS_rt_sigqueueinfo: a[1] = harmless_signal(w); return 1;
    case SYS_tgkill: case SYS_rt_tgsigqueueinfo: a[2] = harmless_signal(w); return 1;
    case SYS_pidfd_send_signal: a[1] = harmless_signal(w); return 1;
    case SYS_setrlimit: case SYS_prlimit64:
        if (a[number == SYS_prlimit64] == RLIMIT_CPU) return 0;
        return 1;
    case SYS_setuid: case SYS_setgid: case SYS_setreuid: case SYS_setregid: case SYS_setresuid: case SYS_setresgid:
    case SYS_setfsuid: case SYS_setfsgid: case SYS_setgroups: case SYS_capset: case SYS_umask:
        return chance(w, 200);
    case SYS_chroot: a[0] = (uint64_t)PATHS[4 + below(w, 4)]; return 1;
    /* Waiting with other signals blocked: what would interrupt it does not come. */
    case SYS_rt_sigsuspend: a[0] = (uint64_t)&NO_SIGNALS; return 1;
    case SYS_ppoll: a[2] = short_time(w); return 1;
    case SYS_pselect6: a[4] = short_time(w); return 1;
    case SYS_rt_sigtimedwait: a[2] = short_time(w); return 1;
    case SYS_epoll_pwait: a[3] = below(w, 3); return 1;
    case SYS_epoll_pwait2: a[3] = short_time(w); return 1;
    default: return 1;
    }
}

/* What earlier calls have piled up is given back now and then, so that later ones get somewhere. */
static void refresh(Worker *w)
{
    ask(SYS_close_range, 3, 4096, 0, 0);
    for (int i = 0; i < 3; i++) ask(SYS_unlink, (uint64_t)PATHS[i], 0, 0, 0);
    ask(SYS_openat, AT_FDCWD, (uint64_t)"/tmp/a", O_RDWR | O_CREAT, 0666);
    ask(SYS_openat, AT_FDCWD, (uint64_t)"/tmp", O_RDONLY | O_DIRECTORY, 0);
    ask(SYS_pipe2, (uint64_t)w->pool, O_NONBLOCK, 0, 0);
    ask(SYS_pipe2, (uint64_t)w->pool, 0, 0, 0);
    ask(SYS_socketpair, 1, 1 + below(w, 2), 0, (uint64_t)w->pool);
    ask(SYS_eventfd2, below(w, 3), 0, 0, 0);
    ask(SYS_epoll_create1, 0, 0, 0, 0);
    ask(SYS_timerfd_create, 1, 0, 0, 0);
    ask(SYS_memfd_create, (uint64_t)"m", 0, 0, 0);
    for (uint64_t id = 0; id < 64; id++) ask(SYS_timer_delete, id, 0, 0, 0);
    raw(SYS_mmap, (uint64_t[]){(uint64_t)w->arena, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0});
}

static void *work(void *argument_)
{
    Worker *w = argument_;
    w->tid = (pid_t)syscall(SYS_gettid);
    /* Before that, a stack might be mapped where another thread has made a hole and will map over it. */
    pthread_barrier_wait(&all_there);
    for (unsigned long i = 0; i < calls; i++) {
        if (i % 512 == 0) refresh(w);
        fill(w);
        long number = chance(w, 100) ? (long)edge(w) : (long)below(w, LAST_CALL);
        uint64_t a[6];
        for (int k = 0; k < 6; k++) a[k] = argument(w);
        if (!chance(w, 3)) {
            unsigned which = below(w, sizeof TYPED / sizeof *TYPED);
            number = TYPED[which].number;
            for (int k = 0; TYPED[which].kinds[k]; k++) a[k] = of_kind(w, TYPED[which].kinds[k]);
        }
        if (!tame(w, number, a)) continue;
        long result = raw(number, a);
        w->made++;
        if (result >= 0) w->succeeded++;
        if (number == SYS_rt_sigprocmask || number == SYS_rt_sigtimedwait) ask(SYS_rt_sigprocmask, SIG_SETMASK, (uint64_t)&NO_SIGNALS, 0, 8);
    }
    w->done = 1;
    return NULL;
}

/* Memory with a page on either side that nothing can be written to, however large a call believes it to be. */
static unsigned char *fenced(size_t size)
{
    unsigned char *memory = mmap(NULL, size + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + 4096, size, PROT_READ | PROT_WRITE)) _exit(3);
    return memory + 4096;
}

int main(int argc, char **argv)
{
    /* Not on a Linux kernel: the calls include reboot(2). */
    const char *target = getenv("MYST_TARGET");
    if (argc != 4 || !target || getpid() != 101) return 2;
    uint64_t seed = strtoull(argv[1], NULL, 10);
    calls = strtoul(argv[2], NULL, 10);
    int count = atoi(argv[3]);
    if (count < 1 || count > MAX_THREADS) return 2;
    __asm__("mov %%gs:8, %0" : "=r"(gate));
    read_only = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guard = fenced(4096) + 4096;
    struct sigaction action = {.sa_handler = on_signal};
    for (int signal = 1; signal <= 64; signal++) {
        static const int FAULTS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
        int fault = 0;
        for (unsigned i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) fault |= signal == FAULTS[i];
        if (!fault) sigaction(signal, &action, NULL);
    }
    struct sigaction faulted = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &faulted, NULL);
    sigaction(SIGBUS, &faulted, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    pthread_barrier_init(&all_there, NULL, count + 1);
    for (int i = 0; i < count; i++) {
        Worker *w = &workers[i];
        w->state = seed * 1000 + i;
        w->pool = fenced(POOL);
        w->arena = fenced(ARENA);
        if (pthread_create(&w->thread, &attributes, work, w)) return 3;
    }
    pthread_barrier_wait(&all_there);
    /* Whoever sleeps is woken by a signal. */
    for (int running = count; running;) {
        static const struct timespec PULSE = {0, 500000};
        ask(SYS_nanosleep, (uint64_t)&PULSE, 0, 0, 0);
        running = 0;
        for (int i = 0; i < count; i++)
            if (!workers[i].done) {
                running++;
                ask(SYS_tgkill, 101, workers[i].tid, SIGALRM, 0);
            }
    }
    unsigned long made = 0, succeeded = 0;
    for (int i = 0; i < count; i++) made += workers[i].made, succeeded += workers[i].succeeded;
    char text[80];
    int size = snprintf(text, sizeof text, "%lu calls, %lu succeeded\n", made, succeeded);
    ask(SYS_write, 1, (uint64_t)text, size, 0);
    /* Results may have been written over anything that is not the program's own: no clean-up of the C library. */
    ask(SYS_exit_group, 0, 0, 0, 0);
}
