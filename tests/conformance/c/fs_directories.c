/* Listing directories while they change, seeking in them, working directory. */
#include "show.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct entry {
    unsigned long ino;
    long off;
    unsigned short size;
    unsigned char type;
    char name[];
};

static int count(const char *path) {
    DIR *directory = opendir(path);
    int n = 0;
    while (readdir(directory))
        n++;
    closedir(directory);
    return n;
}

int main(void) {
    char name[32];
    mkdir("d", 0755);
    TITLE("an empty directory");
    SHOW(count("d"));
    int fd = open("d", O_RDONLY);
    char buffer[4096];
    SHOW(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    SHOW(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(syscall(SYS_getdents64, fd, buffer, 10));
    SHOW(syscall(SYS_getdents64, fd, buffer, 24));
    SHOW(syscall(SYS_getdents64, 99, buffer, 24));
    SHOW(syscall(SYS_getdents64, fd, (void *)8, 1000));
    close(fd);
    fd = open("f", O_CREAT | O_RDWR, 0644);
    SHOW(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    close(fd);

    TITLE("types");
    close(open("d/file", O_CREAT | O_RDWR, 0644));
    mkdir("d/dir", 0755);
    symlink("x", "d/link");
    mknod("d/fifo", S_IFIFO | 0644, 0);
    DIR *directory = opendir("d");
    int types[16] = {0};
    for (struct dirent *e; (e = readdir(directory));)
        types[e->d_type & 15]++;
    for (int i = 0; i < 16; i++)
        if (types[i])
            printf("type %d: %d\n", i, types[i]);
    closedir(directory);

    TITLE("many entries, removed while listing");
    mkdir("many", 0755);
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "many/%d", i);
        close(open(name, O_CREAT | O_RDWR, 0644));
    }
    SHOW(count("many"));
    directory = opendir("many");
    int seen = 0;
    for (struct dirent *e; (e = readdir(directory));) {
        if (e->d_name[0] == '.')
            continue;
        seen++;
        unlinkat(dirfd(directory), e->d_name, 0);
    }
    closedir(directory);
    SHOW(seen);
    SHOW(count("many"));
    SHOW(rmdir("many"));

    TITLE("telldir, seekdir");
    directory = opendir("d");
    long places[16];
    char *names[16];
    int n = 0;
    for (struct dirent *e;;) {
        places[n] = telldir(directory);
        if (!(e = readdir(directory)))
            break;
        names[n++] = strdup(e->d_name);
    }
    SHOW(n);
    int right = 0;
    for (int i = n - 1; i >= 0; i--) {
        seekdir(directory, places[i]);
        right += strcmp(readdir(directory)->d_name, names[i]) == 0;
    }
    SHOW(right);
    rewinddir(directory);
    SHOW(strcmp(readdir(directory)->d_name, names[0]));
    closedir(directory);

    TITLE("working directory");
    char *start = getcwd(NULL, 0), cwd[4096];
    SHOW(chdir("d/dir"));
    SHOW(strcmp(getcwd(cwd, sizeof cwd) + strlen(start), "/d/dir"));
    SHOW(chdir("../link"));
    SHOW(chdir("../file"));
    SHOW(chdir("missing"));
    SHOW(chdir(""));
    SHOW(rename("../dir", "../moved"));
    SHOW(strcmp(getcwd(cwd, sizeof cwd) + strlen(start), "/d/moved"));
    SHOW(syscall(SYS_getcwd, cwd, 1));
    SHOW(syscall(SYS_getcwd, (void *)8, 4096));
    SHOW(chdir("../.."));
    SHOW(strcmp(getcwd(cwd, sizeof cwd), start));
    SHOW(chdir("/../.."));
    printf("%s\n", getcwd(cwd, sizeof cwd));
    SHOW(chdir(start));
    fd = open("d/file", O_RDONLY);
    SHOW(fchdir(fd));
    close(fd);
    fd = open("d", O_RDONLY);
    SHOW(fchdir(fd));
    SHOW(fchdir(99));
    close(fd);

    TITLE("deep");
    chdir(start);
    int depth = 0;
    while (depth < 300 && mkdir("deep", 0755) == 0 && chdir("deep") == 0)
        depth++;
    SHOW(depth);
    SHOW(strlen(getcwd(cwd, sizeof cwd)) - strlen(start));
    while (depth-- > 0)
        if (chdir("..") != 0 || rmdir("deep") != 0)
            break;
    SHOW(depth);
    return 0;
}
