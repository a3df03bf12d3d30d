// futex(2) directly: errors, counts, requeueing, bit sets, timeouts.
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint32_t a, b, waiting;
static long futex(void *p, int op, uint32_t v, void *t, void *p2, uint32_t v3) { return syscall(SYS_futex, p, op, v, t, p2, v3); }
#define CALL(e) do { errno = 0; long r_ = (e); printf("%s = %ld errno %d\n", #e, r_, errno); } while (0)

static long results[8];
static void *wait_a(void *p) {
    long i = (long)p;
    __atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
    results[i] = futex(&a, FUTEX_WAIT_BITSET, 0, 0, 0, 1u << i);
    return 0;
}

static void start(pthread_t *t, int n) {
    waiting = 0;
    for (long i = 0; i < n; i++) pthread_create(&t[i], 0, wait_a, (void *)i);
    while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) < (uint32_t)n) sched_yield();
    // There is no way to see that they sleep; this is long enough in practice, and requeueing below is repeated.
    struct timespec nap = {0, 100000000};
    nanosleep(&nap, 0);
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    struct timespec zero = {0, 0}, bad = {0, 2000000000}, soon = {0, 10000000}, past = {1, 0}, negative = {-1, 0};
    char *none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CALL(futex(&a, FUTEX_WAIT, 1, 0, 0, 0));
    CALL(futex(&a, FUTEX_WAIT, 0, &zero, 0, 0));
    CALL(futex(&a, FUTEX_WAIT, 0, &soon, 0, 0));
    CALL(futex(&a, FUTEX_WAIT, 0, &bad, 0, 0));
    CALL(futex(&a, FUTEX_WAIT, 0, &negative, 0, 0));
    CALL(futex(&a, FUTEX_WAIT, 0, (void *)8, 0, 0));
    CALL(futex((char *)&a + 1, FUTEX_WAIT, 0, &zero, 0, 0));
    CALL(futex(none, FUTEX_WAIT, 0, &zero, 0, 0));
    CALL(futex(&a, FUTEX_WAIT_BITSET, 0, &past, 0, FUTEX_BITSET_MATCH_ANY));
    CALL(futex(&a, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &past, 0, FUTEX_BITSET_MATCH_ANY));
    CALL(futex(&a, FUTEX_WAIT_BITSET, 0, &past, 0, 0));
    CALL(futex(&a, FUTEX_WAKE_BITSET, 1, 0, 0, 0));
    CALL(futex(&a, FUTEX_WAKE, 1, 0, 0, 0));
    CALL(futex((char *)&a + 2, FUTEX_WAKE, 1, 0, 0, 0));
    CALL(futex(&a, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, 0, 0, 0));
    CALL(futex(&a, 77, 1, 0, 0, 0));
    CALL(futex(&a, FUTEX_CMP_REQUEUE, 1, (void *)1, &b, 5));
    CALL(futex(&a, FUTEX_REQUEUE, -1, (void *)1, &b, 0));
    CALL(futex(&a, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
    CALL(futex(&a, FUTEX_TRYLOCK_PI, 0, 0, 0, 0));
    CALL(futex(&a, FUTEX_LOCK_PI, 0, 0, 0, 0));
    printf("owned %d\n", a == (uint32_t)syscall(SYS_gettid));
    CALL(futex(&a, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
    printf("free %u\n", a);

    pthread_t t[4];
    start(t, 4);
    CALL(futex(&a, FUTEX_WAKE_BITSET, INT_MAX, 0, 0, 4));
    pthread_join(t[2], 0);
    printf("result %ld\n", results[2]);
    CALL(futex(&a, FUTEX_CMP_REQUEUE, 1, (void *)(long)INT_MAX, &b, 0));
    CALL(futex(&a, FUTEX_WAKE, INT_MAX, 0, 0, 0));
    CALL(futex(&b, FUTEX_WAKE, INT_MAX, 0, 0, 0));
    pthread_join(t[0], 0); pthread_join(t[1], 0); pthread_join(t[3], 0);

    b = 5;
    start(t, 1);
    CALL(futex(&a, FUTEX_WAKE_OP, 1, (void *)1, &b, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)));
    printf("b %u\n", b);
    pthread_join(t[0], 0);
    CALL(futex(&a, FUTEX_WAKE_OP, 1, (void *)1, &b, FUTEX_OP(FUTEX_OP_ANDN, 8, FUTEX_OP_CMP_LT, 0)));
    printf("b %u\n", b);

    CALL(syscall(SYS_set_robust_list, 0, 23));
    void *head; size_t size = 0;
    CALL(syscall(SYS_get_robust_list, 0, &head, &size));
    printf("size %zu\n", size);
    CALL(syscall(SYS_get_robust_list, 999999, &head, &size));
    return 0;
}
