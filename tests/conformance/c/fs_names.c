/* Making, removing, linking and renaming. */
#include "show.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

static int compare(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

/* Names in a directory, sorted, with kind and links. */
static void list(const char *path) {
    char *names[100];
    int count = 0;
    DIR *directory = opendir(path);
    if (!directory) {
        printf("%s: %s\n", path, errno_name(errno));
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory));)
        names[count++] = strdup(entry->d_name);
    qsort(names, count, sizeof *names, compare);
    printf("%s:", path);
    for (int i = 0; i < count; i++) {
        struct stat st = {0};
        fstatat(dirfd(directory), names[i], &st, AT_SYMLINK_NOFOLLOW);
        if (strcmp(names[i], "..") != 0)
            printf(" %s(%o,%d)", names[i], st.st_mode, S_ISDIR(st.st_mode) ? 0 : (int)st.st_nlink);
        free(names[i]);
    }
    printf("\n");
    closedir(directory);
}

static void file(const char *path, const char *text) {
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    write(fd, text, strlen(text));
    close(fd);
}

static void text(const char *path) {
    char buffer[100] = "";
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        printf("%s: %s\n", path, errno_name(errno));
        return;
    }
    read(fd, buffer, 99);
    close(fd);
    printf("%s: %s\n", path, buffer);
}

static int rename2(const char *from, const char *to, unsigned flags) {
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

int main(void) {
    umask(022);
    TITLE("mkdir, rmdir");
    SHOW(mkdir("d", 07777));
    SHOW(mkdir("d", 0755));
    SHOW(mkdir("d/", 0755));
    SHOW(mkdir("e/", 0755));
    SHOW(mkdir(".", 0755));
    SHOW(mkdir("..", 0755));
    SHOW(mkdir("/", 0755));
    SHOW(mkdir("", 0755));
    SHOW(mkdir("missing/x", 0755));
    file("f", "file");
    SHOW(mkdir("f", 0755));
    SHOW(mkdir("f/x", 0755));
    SHOW(mkdir("d/sub", 0700));
    list(".");
    SHOW(rmdir("d"));
    SHOW(rmdir("f"));
    SHOW(rmdir("missing"));
    SHOW(rmdir("."));
    SHOW(rmdir("d/."));
    SHOW(rmdir("d/sub/.."));
    SHOW(rmdir("/"));
    SHOW(rmdir("d/sub/"));
    SHOW(rmdir("e"));
    struct stat st;
    stat("d", &st);
    SHOW(st.st_mode & 07777);

    TITLE("unlink");
    SHOW(unlink("missing"));
    SHOW(unlink("d"));
    SHOW(unlink("f/"));
    SHOW(unlink("d/"));
    SHOW(unlink("."));
    SHOW(unlink(""));
    SHOW(unlink("f/x"));
    SHOW(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR));
    SHOW(unlinkat(AT_FDCWD, "d", 0));
    SHOW(unlinkat(AT_FDCWD, "f", 0x12345));
    SHOW(unlink("f"));
    SHOW(unlink("f"));
    list(".");

    TITLE("link");
    file("f", "file");
    SHOW(link("f", "g"));
    SHOW(link("f", "g"));
    SHOW(link("f", "d/"));
    SHOW(link("f", "h/"));
    SHOW(link("d", "dd"));
    SHOW(link("missing", "x"));
    SHOW(link("f", "missing/x"));
    SHOW(link("f", ""));
    SHOW(symlink("f", "s"));
    SHOW(link("s", "s2"));
    SHOW(linkat(AT_FDCWD, "s", AT_FDCWD, "f2", AT_SYMLINK_FOLLOW));
    SHOW(linkat(AT_FDCWD, "s", AT_FDCWD, "f3", 0x8000));
    list(".");
    SHOW(unlink("f"));
    text("g");
    text("s");
    int fd = open(".", O_TMPFILE | O_RDWR, 0644);
    write(fd, "unnamed", 7);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    SHOW(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    text("named");
    close(fd);
    fd = open("gone", O_CREAT | O_RDWR, 0644);
    unlink("gone");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    SHOW(linkat(AT_FDCWD, path, AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
    close(fd);

    TITLE("symlink, readlink");
    SHOW(symlink("", "x"));
    SHOW(symlink("x", ""));
    SHOW(symlink("x", "s"));
    SHOW(symlink("x", "y/"));
    SHOW(symlink("x", "d/"));
    char where[16];
    memset(where, '#', sizeof where);
    SHOW(readlink("s", where, sizeof where));
    printf("%.3s\n", where);
    symlink("0123456789", "long");
    SHOW(readlink("long", where, 4));
    SHOW(readlink("long", where, 0));
    SHOW(readlink("g", where, 4));
    SHOW(readlink("d", where, 4));
    SHOW(readlink("missing", where, 4));
    SHOW(lstat("long", &st));
    SHOW(st.st_size);
    SHOW(st.st_mode & 07777);

    TITLE("mknod");
    SHOW(mknod("fifo", S_IFIFO | 0644, 0));
    SHOW(mknod("plain", S_IFREG | 0600, 0));
    SHOW(mknod("plain2", 0600, 0));
    SHOW(mknod("socket", S_IFSOCK | 0600, 0));
    SHOW(mknod("dir", S_IFDIR | 0600, 0));
    SHOW(mknod("link", S_IFLNK | 0600, 0));
    SHOW(mknod("fifo", S_IFIFO | 0644, 0));
    SHOW_FD(open("socket", O_RDWR));
    SHOW_FD(open("fifo", O_WRONLY | O_NONBLOCK));
    list(".");

    TITLE("rename");
    file("a", "A");
    file("b", "B");
    SHOW(rename("a", "b"));
    text("a");
    text("b");
    SHOW(rename("missing", "x"));
    SHOW(rename("b", "missing/x"));
    SHOW(rename("b", "d"));
    SHOW(rename("d", "b"));
    SHOW(rename("b", "b"));
    SHOW(rename("b/", "c"));
    SHOW(rename("b", "c/"));
    SHOW(rename("d", "d/inside"));
    SHOW(rename("d/.", "x"));
    SHOW(rename("d/..", "x"));
    SHOW(rename("b", "."));
    SHOW(rename("", "x"));
    mkdir("empty", 0755);
    mkdir("full", 0755);
    file("full/x", "X");
    SHOW(rename("d", "full"));
    SHOW(rename("d/", "empty/"));
    SHOW(rename("full/x", "empty/y"));
    SHOW(rename("empty", "full/z"));
    list("full");
    list("full/z");
    SHOW(rename("full/z", "."));
    SHOW(rename("full/z/y", "full"));
    SHOW(link("g", "g2"));
    SHOW(rename("g", "g2"));
    SHOW(access("g", F_OK));
    text("g2");
    SHOW(rename("s", "renamed-link"));
    SHOW(readlink("renamed-link", where, sizeof where));

    TITLE("renameat2");
    file("p", "P");
    file("q", "Q");
    SHOW(rename2("p", "q", RENAME_NOREPLACE));
    SHOW(rename2("p", "r", RENAME_NOREPLACE));
    SHOW(rename2("r", "q", RENAME_EXCHANGE));
    text("r");
    text("q");
    SHOW(rename2("r", "missing", RENAME_EXCHANGE));
    SHOW(rename2("r", "full", RENAME_EXCHANGE));
    text("full");
    list("r");
    SHOW(rename2("r", "r/z/y", RENAME_EXCHANGE));
    SHOW(rename2("r/z", "q", RENAME_EXCHANGE | RENAME_NOREPLACE));
    SHOW(rename2("q", "q2", 64));

    TITLE("removed directories");
    mkdir("gone", 0755);
    int gone = open("gone", O_RDONLY);
    SHOW(rmdir("gone"));
    SHOW(mkdirat(gone, "x", 0755));
    SHOW_FD(openat(gone, "x", O_CREAT | O_RDWR, 0644));
    SHOW(fstat(gone, &st));
    SHOW(st.st_nlink);
    SHOW(faccessat(gone, "..", F_OK, 0));
    char entries[1024];
    SHOW(syscall(SYS_getdents64, gone, entries, sizeof entries));
    SHOW(fchdir(gone));
    char cwd[4096];
    SHOW(getcwd(cwd, sizeof cwd) ? 0 : -1);
    SHOW(chdir(".."));
    close(gone);
    SHOW(getcwd(cwd, 2) ? 0 : -1);
    return 0;
}
