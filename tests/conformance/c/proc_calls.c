// Identity, limits, scheduling, prctl and the like: what must be alike everywhere when run as root.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL(e) do { errno = 0; long r_ = (e); printf("%s = %ld errno %d\n", #e, r_, errno); } while (0)

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    char name[32] = {0}, buffer[64];
    int n;
    struct rlimit limit;
    CALL(prctl(PR_SET_NAME, "a name that is far too long"));
    CALL(prctl(PR_GET_NAME, name));
    printf("name %s\n", name);
    CALL(prctl(PR_SET_NAME, 8));
    CALL(prctl(PR_GET_DUMPABLE));
    CALL(prctl(PR_SET_DUMPABLE, 7));
    CALL(prctl(PR_SET_PDEATHSIG, 65));
    CALL(prctl(PR_SET_PDEATHSIG, 9));
    CALL(prctl(PR_GET_PDEATHSIG, &n));
    printf("signal %d\n", n);
    CALL(prctl(PR_GET_KEEPCAPS));
    CALL(prctl(PR_SET_KEEPCAPS, 2));
    CALL(prctl(PR_SET_NO_NEW_PRIVS, 2, 0, 0, 0));
    CALL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CALL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    CALL(prctl(PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CALL(prctl(PR_SET_TIMERSLACK, 5));
    CALL(prctl(PR_GET_TIMERSLACK));
    CALL(prctl(PR_CAPBSET_READ, 0));
    CALL(prctl(PR_CAPBSET_READ, 99));
    CALL(prctl(9999, 0, 0, 0, 0));

    CALL(getrlimit(77, &limit));
    limit.rlim_cur = 10; limit.rlim_max = 5;
    CALL(setrlimit(RLIMIT_CORE, &limit));
    CALL(syscall(SYS_prlimit64, 999999, RLIMIT_CORE, 0, &limit));
    CALL(getrlimit(RLIMIT_NOFILE, (void *)8));
    limit.rlim_cur = limit.rlim_max = 0;
    CALL(setrlimit(RLIMIT_CORE, &limit));

    struct rusage usage;
    CALL(getrusage(RUSAGE_SELF, &usage));
    CALL(getrusage(RUSAGE_CHILDREN, &usage));
    printf("children %ld\n", (long)usage.ru_utime.tv_sec);
    CALL(getrusage(77, &usage));

    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    printf("affinity %d some %d\n", sched_getaffinity(0, sizeof cpus, &cpus), CPU_COUNT(&cpus) > 0);
    CALL(syscall(SYS_sched_getaffinity, 0, 3, &cpus));
    CALL(syscall(SYS_sched_getaffinity, 999999, sizeof cpus, &cpus));
    int first = 0;
    while (!CPU_ISSET(first, &cpus)) first++;
    CPU_ZERO(&cpus);
    CALL(sched_setaffinity(0, sizeof cpus, &cpus));
    CPU_SET(first, &cpus);
    CPU_SET(1000, &cpus);
    CALL(sched_setaffinity(0, sizeof cpus, &cpus));
    CALL(sched_getaffinity(0, sizeof cpus, &cpus));
    printf("one %d\n", CPU_COUNT(&cpus) == 1 && CPU_ISSET(first, &cpus));
    CALL(sched_getscheduler(0));
    CALL(sched_getscheduler(-1));
    CALL(sched_getscheduler(999999));
    struct sched_param param = {.sched_priority = 1};
    CALL(sched_setscheduler(0, SCHED_OTHER, &param));
    CALL(sched_setscheduler(0, 77, &param));
    param.sched_priority = 0;
    CALL(sched_setscheduler(0, SCHED_FIFO, &param));
    CALL(sched_setscheduler(0, SCHED_OTHER, &param));
    CALL(sched_get_priority_max(SCHED_FIFO));
    CALL(sched_get_priority_min(SCHED_FIFO));
    CALL(sched_get_priority_max(SCHED_OTHER));
    CALL(sched_get_priority_max(77));
    CALL(sched_yield());
    unsigned cpu, node;
    CALL(syscall(SYS_getcpu, &cpu, &node, 0));
    /* The nicest value, which can be reached from every other: the tests may themselves run under nice(1). */
    CALL(setpriority(PRIO_PROCESS, 0, 19));
    CALL(getpriority(PRIO_PROCESS, 0));
    CALL(getpriority(77, 0));
    CALL(getpriority(PRIO_PROCESS, 999999));

    CALL(getrandom(buffer, 16, 0));
    CALL(getrandom(buffer, 16, 99));
    CALL(getrandom((void *)8, 16, 0));
    CALL(getrandom(buffer, 0, GRND_NONBLOCK));
    int zeros = 0;
    memset(buffer, 0, 64);
    getrandom(buffer, 64, 0);
    for (int i = 0; i < 64; i++) zeros += buffer[i] == 0;
    printf("random %d\n", zeros < 16);

    struct utsname uts;
    CALL(uname(&uts));
    printf("%s %s\n", uts.sysname, uts.machine);
    CALL(uname((void *)8));

    int status;
    CALL(wait4(-1, &status, 0, 0));
    CALL(wait4(-1, &status, 0x12345678, 0));
    siginfo_t info;
    CALL(waitid(P_ALL, 0, &info, WEXITED));
    CALL(waitid(P_ALL, 0, &info, 0));
    CALL(getpgid(0) > 0);
    CALL(getpgid(999999));
    CALL(getsid(999999));
    CALL(setpgid(0, -1));
    CALL(setpgid(999999, 0));

    int version_only[2] = {0, 0};
    CALL(syscall(SYS_capget, version_only, 0));
    printf("version %x\n", version_only[0]);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    CALL(syscall(SYS_capget, &header, data));
    header.pid = 999999;
    CALL(syscall(SYS_capget, &header, data));
    CALL(syscall(SYS_setgroups, 0, 0));
    CALL(getgroups(0, 0));
    gid_t groups[2] = {7, 5};
    CALL(syscall(SYS_setgroups, 2, groups));
    CALL(getgroups(1, groups));
    CALL(getgroups(2, groups));
    printf("%d %d\n", groups[0], groups[1]);
    CALL(syscall(SYS_setregid, -1, 5));
    CALL(syscall(SYS_getegid));
    CALL(syscall(SYS_setresuid, 1, 2, 3));
    uid_t r, e, s;
    getresuid(&r, &e, &s);
    printf("%d %d %d\n", r, e, s);
    CALL(syscall(SYS_setuid, 0));
    CALL(syscall(SYS_setuid, 3));
    CALL(syscall(SYS_setreuid, 9, -1));
    CALL(syscall(SYS_setgid, 77));
    CALL(syscall(SYS_setfsuid, 77));
    CALL(syscall(SYS_setfsuid, -1));
    CALL(syscall(SYS_getgroups, -1, 0));
    return 0;
}
