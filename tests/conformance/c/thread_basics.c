// Threads: creating, joining, thread-local storage, locks, conditions, exit, robust mutexes.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long total;
static int turn;
static __thread int local = 5;
static pthread_key_t key;
static int destroyed;

static void destroy(void *p) { (void)p; __atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST); }

static void *add(void *p) {
    local += (int)(long)p;
    pthread_setspecific(key, &total);
    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&lock);
        total++;
        pthread_mutex_unlock(&lock);
    }
    return (void *)(long)local;
}

static void *ping(void *p) {
    int me = (int)(long)p;
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&lock);
        while (turn != me) pthread_cond_wait(&cond, &lock);
        turn = !me;
        pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&lock);
    }
    return 0;
}

static pthread_mutex_t robust;
static void *die_with_lock(void *p) { (void)p; pthread_mutex_lock(&robust); return 0; }
static void *nothing(void *p) { return p; }
static void *sleeper(void *p) { (void)p; for (;;) pause(); }
static void *spin(void *p) { pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, 0); *(volatile int *)p = 1; for (;;) {} }

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    pthread_t t[8];
    void *result;
    pthread_key_create(&key, destroy);
    for (long i = 0; i < 8; i++) printf("create %d\n", pthread_create(&t[i], 0, add, (void *)i));
    for (int i = 0; i < 8; i++) { pthread_join(t[i], &result); printf("joined %ld\n", (long)result); }
    printf("total %ld destroyed %d local %d\n", total, destroyed, local);

    pthread_create(&t[0], 0, ping, (void *)0);
    pthread_create(&t[1], 0, ping, (void *)1);
    pthread_join(t[0], 0); pthread_join(t[1], 0);
    puts("ping pong");

    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20000000;
    if (until.tv_nsec >= 1000000000) { until.tv_sec++; until.tv_nsec -= 1000000000; }
    pthread_mutex_lock(&lock);
    printf("timed wait %d\n", pthread_cond_timedwait(&cond, &lock, &until) == ETIMEDOUT);
    pthread_mutex_unlock(&lock);

    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attr);
    pthread_create(&t[0], 0, die_with_lock, 0);
    pthread_join(t[0], 0);
    int r = pthread_mutex_lock(&robust);
    printf("owner died %d\n", r == EOWNERDEAD);
    printf("consistent %d unlock %d\n", pthread_mutex_consistent(&robust), pthread_mutex_unlock(&robust));

    pthread_mutexattr_t pi;
    pthread_mutex_t pim;
    pthread_mutexattr_init(&pi);
    pthread_mutexattr_setprotocol(&pi, PTHREAD_PRIO_INHERIT);
    printf("pi %d", pthread_mutex_init(&pim, &pi));
    printf(" %d", pthread_mutex_lock(&pim));
    printf(" %d\n", pthread_mutex_unlock(&pim));

    for (int i = 0; i < 300; i++) {
        if (pthread_create(&t[0], 0, nothing, 0) != 0) { puts("create failed"); break; }
        pthread_join(t[0], 0);
    }
    puts("300 in a row");

    pthread_create(&t[0], 0, sleeper, 0);
    pthread_cancel(t[0]);
    pthread_join(t[0], &result);
    printf("cancelled %d\n", result == PTHREAD_CANCELED);
    volatile int started = 0;
    pthread_create(&t[0], 0, spin, (void *)&started);
    while (!started) sched_yield();
    pthread_cancel(t[0]);
    pthread_join(t[0], &result);
    printf("cancelled while computing %d\n", result == PTHREAD_CANCELED);

    sem_t sem;
    sem_init(&sem, 0, 2);
    printf("sem %d %d", sem_trywait(&sem), sem_trywait(&sem));
    printf(" %d\n", sem_trywait(&sem));
    pthread_barrier_t barrier;
    printf("barrier %d\n", pthread_barrier_init(&barrier, 0, 1));
    printf("leader %d\n", getpid() == (int)syscall(SYS_gettid));
    return 0;
}
