// The first thread ends before the others: the process goes on, signals still find somebody, and the status is the last's.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int handled;
static void note(int signal) { (void)signal; handled++; }
static void nap(int ms) { struct timespec t = {0, ms * 1000000L}; while (nanosleep(&t, &t) != 0) {} }

static void *rest(void *p) {
    (void)p;
    nap(50);
    printf("alone %d\n", getpid() != (int)syscall(SYS_gettid));
    kill(getpid(), SIGUSR1);
    nap(10);
    printf("handled %d\n", handled);
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        if (pthread_create(&t, 0, (void *(*)(void *))getpid, 0) != 0) puts("no thread");
        pthread_join(t, 0);
    }
    exit(9);
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    struct sigaction sa = {.sa_handler = note};
    sigaction(SIGUSR1, &sa, 0);
    pthread_t t;
    pthread_create(&t, 0, rest, 0);
    pthread_exit(0);
}
