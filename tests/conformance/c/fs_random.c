/* Thousands of operations on few names, by a fixed sequence of numbers: results and the tree they leave. */
#include "show.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t state = 20261123;

static unsigned below(unsigned limit) {
    state = state * 1664525u + 1013904223u;
    return (state >> 16) % limit;
}

/* A path of one to four parts, now and then odd. */
static const char *path(char *to) {
    static const char *parts[] = {"a", "b", "c", "d", "a", "b", "..", "."};
    int depth = 1 + below(4);
    *to = 0;
    for (int i = 0; i < depth; i++) {
        if (i)
            strcat(to, below(20) ? "/" : "//");
        strcat(to, parts[below(below(3) ? 4 : 8)]);
    }
    if (below(12) == 0)
        strcat(to, "/");
    return to;
}

static unsigned long sum;

static void answer(long result) {
    int number = result < 0 ? errno : 0;
    sum = sum * 31 + (result < 0 ? 1000 + number : 1);
}

static int compare(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

/* The whole tree, sorted. */
static void tree(const char *at, int depth) {
    char *names[64], below_[4096];
    int count = 0;
    DIR *directory = opendir(at);
    if (!directory || depth > 40)
        return;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            names[count++] = strdup(entry->d_name);
    closedir(directory);
    qsort(names, count, sizeof *names, compare);
    for (int i = 0; i < count; i++) {
        struct stat st;
        snprintf(below_, sizeof below_, "%s/%s", at, names[i]);
        lstat(below_, &st);
        if (S_ISDIR(st.st_mode)) {
            printf("%s/ %d\n", below_, (int)st.st_nlink);
            tree(below_, depth + 1);
        } else if (S_ISLNK(st.st_mode)) {
            char target[256] = "";
            readlink(below_, target, 255);
            printf("%s -> %s\n", below_, target);
        } else {
            printf("%s %d bytes, %d links\n", below_, (int)st.st_size, (int)st.st_nlink);
        }
        free(names[i]);
    }
}

int main(void) {
    char one[256], two[256];
    umask(022);
    /* Everything happens three levels down, so that `..` stays within what is looked at. */
    mkdir("x", 0755);
    mkdir("x/y", 0755);
    mkdir("x/y/z", 0755);
    chdir("x/y/z");
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 250; i++) {
            path(one);
            path(two);
            int fd;
            struct stat st;
            errno = 0;
            switch (below(14)) {
            case 0:
            case 1:
                answer(mkdir(one, 0755));
                break;
            case 2:
                answer(rmdir(one));
                break;
            case 3:
                answer(unlink(one));
                break;
            case 4:
            case 5:
                answer(rename(one, two));
                break;
            case 6:
                answer(link(one, two));
                break;
            case 7:
                answer(symlink(two, one));
                break;
            case 8:
            case 9:
                answer(fd = open(one, O_CREAT | O_RDWR | (below(3) ? 0 : O_EXCL), 0644));
                if (fd >= 0) {
                    answer(write(fd, one, below(sizeof one)));
                    close(fd);
                }
                break;
            case 10:
                answer(fd = open(one, O_RDONLY | (below(2) ? O_NOFOLLOW : 0) | (below(3) ? 0 : O_DIRECTORY)));
                if (fd >= 0)
                    close(fd);
                break;
            case 11:
                answer(stat(one, &st));
                break;
            case 12:
                answer(syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, two, 1 + below(2)));
                break;
            case 13:
                answer(truncate(one, below(10000)));
                break;
            }
        }
        printf("round %d: %016lx\n", round, sum);
    }
    chdir("../../..");
    tree(".", 0);
    return 0;
}
