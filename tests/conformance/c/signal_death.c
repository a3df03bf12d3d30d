// A signal without a handler ends the whole process, whichever thread it is sent to.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void *wait_for_ever(void *p) { (void)p; for (;;) pause(); }

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    pthread_t t;
    pthread_create(&t, 0, wait_for_ever, 0);
    signal(SIGSEGV, SIG_IGN);
    puts("before");
    pthread_kill(t, SIGCHLD);
    pthread_kill(t, SIGTERM);
    pthread_join(t, 0);
    puts("never");
    return 0;
}
