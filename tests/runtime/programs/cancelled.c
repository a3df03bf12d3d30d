/* Threads cancelled while they block, each at another call. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static int pipes[2];
static sem_t semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

static void cleaned(void *name)
{
    printf("cleaned up after %s\n", (const char *)name);
    fflush(stdout);
}

#define BLOCKED(name, call)                                                                             \
    static void *name(void *unused)                                                                     \
    {                                                                                                   \
        char byte;                                                                                      \
        (void)unused, (void)byte;                                                                       \
        pthread_cleanup_push(cleaned, #name);                                                           \
        for (;;)                                                                                        \
            call;                                                                                       \
        pthread_cleanup_pop(0);                                                                         \
        return NULL;                                                                                    \
    }

BLOCKED(reading, if (read(pipes[0], &byte, 1)) break)
BLOCKED(sleeping, nanosleep(&(struct timespec){1000, 0}, NULL))
BLOCKED(pausing, pause())
BLOCKED(polling, poll(&(struct pollfd){pipes[0], POLLIN, 0}, 1, -1))
BLOCKED(awaiting, sem_wait(&semaphore))
BLOCKED(computing, pthread_testcancel())

static void *on_condition(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&mutex);
    pthread_cleanup_push((void (*)(void *))pthread_mutex_unlock, &mutex);
    for (;;)
        pthread_cond_wait(&condition, &mutex);
    pthread_cleanup_pop(1);
    return NULL;
}

static void *spinning(void *unused)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (volatile unsigned long i = 0;; i++)
        ;
    return unused;
}

int main(void)
{
    void *(*all[])(void *) = {reading, sleeping, pausing, polling, awaiting, computing, on_condition, spinning};
    if (pipe(pipes) || sem_init(&semaphore, 0, 0))
        return 1;
    for (int round = 0; round < 3; round++)
        for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
            pthread_t thread;
            void *result;
            if (pthread_create(&thread, NULL, all[i], NULL))
                return 2;
            if (round)
                nanosleep(&(struct timespec){0, round * 3000000}, NULL);
            pthread_cancel(thread);
            pthread_join(thread, &result);
            printf("%u %s\n", i, result == PTHREAD_CANCELED ? "cancelled" : "ended");
        }
    return pthread_mutex_trylock(&mutex);
}
