/* What a program finds in a package: its arguments, its environment, its files; and threads of its own. */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAMES = 16 };

static char greeting[64];

static int read_greeting(void)
{
    FILE *file = fopen("/etc/greeting.txt", "r");
    if (!file || !fgets(greeting, sizeof greeting, file)) {
        fprintf(stderr, "/etc/greeting.txt: %s\n", strerror(errno));
        return -1;
    }
    greeting[strcspn(greeting, "\n")] = '\0';
    return fclose(file);
}

static void *greet(void *name)
{
    char *line = NULL;
    if (asprintf(&line, "%s, %s!", greeting, (const char *)name) < 0)
        return NULL;
    return line;
}

int main(int argc, char **argv)
{
    pthread_t threads[MOST_NAMES];
    int names = argc - 1 < MOST_NAMES ? argc - 1 : MOST_NAMES;

    if (read_greeting() != 0)
        return 1;
    for (int i = 0; i < names; i++)
        if (pthread_create(&threads[i], NULL, greet, argv[i + 1]) != 0)
            return 1;
    for (int i = 0; i < names; i++) {
        void *line;
        if (pthread_join(threads[i], &line) != 0 || !line)
            return 1;
        puts(line);
        free(line);
    }

    const char *user = getenv("USER_NAME");
    printf("started as %s by %s\n", argv[0], user ? user : "somebody");
    return names ? 0 : 3;
}
