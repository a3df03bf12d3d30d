/* Opening files: creation flags, kinds of files, final symbolic links, descriptors that are places only. */
#include "show.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int openat2_(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {flags, mode, resolve};
    return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

static void mode_of(const char *path) {
    struct stat st;
    if (lstat(path, &st) < 0)
        printf("%s: %s\n", path, errno_name(errno));
    else
        printf("%s: mode %o size %lld\n", path, st.st_mode, (long long)st.st_size);
}

int main(void) {
    umask(022);
    TITLE("creation");
    int fd = SHOW_FD(open("f", O_CREAT | O_RDWR, 0666));
    mode_of("f");
    SHOW(write(fd, "content", 7));
    SHOW(fcntl(fd, F_GETFL) & ~O_LARGEFILE);
    SHOW(close(fd));
    SHOW(close(fd));
    SHOW_FD(open("f", O_CREAT | O_EXCL | O_RDWR, 0666));
    fd = SHOW_FD(open("f", O_CREAT | O_RDONLY, 0));
    SHOW(write(fd, "x", 1));
    close(fd);
    fd = SHOW_FD(open("f", O_WRONLY | O_TRUNC));
    mode_of("f");
    char byte;
    SHOW(read(fd, &byte, 1));
    close(fd);
    fd = SHOW_FD(open("set", O_CREAT | O_WRONLY, 07777));
    mode_of("set");
    close(fd);
    umask(077);
    close(SHOW_FD(creat("private", 0666)));
    mode_of("private");
    umask(022);

    TITLE("paths");
    SHOW_FD(open("", O_RDONLY));
    SHOW_FD(open("missing", O_RDONLY));
    SHOW_FD(open("missing/x", O_RDONLY));
    SHOW_FD(open("f/x", O_RDONLY));
    SHOW_FD(open("f/", O_RDONLY));
    SHOW_FD(open("f/.", O_RDONLY));
    SHOW_FD(open("new/", O_CREAT | O_RDWR, 0666));
    SHOW_FD(open("missing/new", O_CREAT | O_RDWR, 0666));
    SHOW_FD(open("f/new", O_CREAT | O_RDWR, 0666));
    SHOW_FD(open(NULL, O_RDONLY));
    char name[300];
    memset(name, 'n', sizeof name);
    name[255] = 0;
    close(SHOW_FD(open(name, O_CREAT | O_RDWR, 0666)));
    name[255] = 'n';
    name[256] = 0;
    SHOW_FD(open(name, O_CREAT | O_RDWR, 0666));
    SHOW_FD(open(name, O_RDONLY));
    static char path[5000];
    for (int i = 0; i < 4094; i += 2)
        memcpy(path + i, "./", 3);
    memcpy(path + 4094, "f", 2);
    close(SHOW_FD(open(path, O_RDONLY)));
    memcpy(path + 4094, "/f", 3);
    SHOW_FD(open(path, O_RDONLY));

    TITLE("directories");
    mkdir("d", 0755);
    close(SHOW_FD(open("d", O_RDONLY)));
    SHOW_FD(open("d", O_WRONLY));
    SHOW_FD(open("d", O_RDWR));
    SHOW_FD(open("d", O_RDONLY | O_TRUNC));
    SHOW_FD(open("d", O_CREAT | O_RDONLY, 0755));
    SHOW_FD(open("d", O_CREAT | O_EXCL | O_RDONLY, 0755));
    SHOW_FD(open(".", O_CREAT | O_RDWR, 0755));
    SHOW_FD(open("d/..", O_CREAT | O_RDWR, 0755));
    SHOW_FD(open("f", O_DIRECTORY | O_RDONLY));
    int dir = SHOW_FD(open("d", O_DIRECTORY | O_RDONLY));
    SHOW(read(dir, &byte, 1));
    SHOW(write(dir, "x", 1));
    SHOW(pread(dir, &byte, 1, 0));
    SHOW(lseek(dir, 0, SEEK_SET));
    SHOW(ftruncate(dir, 0));
    fd = SHOW_FD(openat(dir, "inner", O_CREAT | O_RDWR, 0644));
    close(fd);
    mode_of("d/inner");
    SHOW_FD(openat(dir, "../f", O_RDONLY | O_EXCL));
    fd = open("f", O_RDONLY);
    SHOW_FD(openat(fd, "x", O_RDONLY));
    SHOW_FD(openat(12345, "x", O_RDONLY));
    SHOW_FD(openat(-1, "", O_RDONLY));
    close(fd);

    TITLE("symbolic links");
    symlink("f", "to-f");
    symlink("d", "to-d");
    symlink("nowhere", "dangling");
    symlink("loop", "loop");
    close(SHOW_FD(open("to-f", O_RDONLY)));
    SHOW_FD(open("to-f", O_RDONLY | O_NOFOLLOW));
    SHOW_FD(open("to-d", O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
    close(SHOW_FD(open("to-d/inner", O_RDONLY | O_NOFOLLOW)));
    close(SHOW_FD(open("to-d/", O_RDONLY | O_NOFOLLOW)));
    SHOW_FD(open("to-f/", O_RDONLY));
    SHOW_FD(open("loop", O_RDONLY));
    SHOW_FD(open("loop/x", O_RDONLY));
    SHOW_FD(open("dangling", O_RDONLY));
    SHOW_FD(open("dangling", O_CREAT | O_EXCL | O_RDWR, 0644));
    close(SHOW_FD(open("dangling", O_CREAT | O_RDWR, 0644)));
    mode_of("nowhere");
    symlink("nodir/x", "dangling2");
    SHOW_FD(open("dangling2", O_CREAT | O_RDWR, 0644));
    char from[8] = "f", to[8];
    for (int i = 0; i < 42; i++) {
        snprintf(to, sizeof to, "l%d", i);
        symlink(from, to);
        strcpy(from, to);
    }
    close(SHOW_FD(open("l39", O_RDONLY)));
    SHOW_FD(open("l40", O_RDONLY));

    TITLE("O_PATH");
    fd = SHOW_FD(open("f", O_PATH | O_RDWR | O_CREAT | O_TRUNC));
    SHOW(read(fd, &byte, 1));
    SHOW(write(fd, "x", 1));
    SHOW(lseek(fd, 0, SEEK_SET));
    SHOW(fchmod(fd, 0600));
    SHOW(fchown(fd, -1, -1));
    SHOW(ftruncate(fd, 0));
    SHOW(fsync(fd));
    struct stat st;
    SHOW(fstat(fd, &st));
    SHOW(fcntl(fd, F_GETFL) == (O_PATH));
    SHOW(fcntl(fd, F_SETFL, 0));
    SHOW(fcntl(fd, F_GETFD));
    SHOW_FD(openat(fd, "", O_RDONLY));
    close(SHOW_FD(dup(fd)));
    close(fd);
    fd = SHOW_FD(open("to-f", O_PATH | O_NOFOLLOW));
    SHOW(fstat(fd, &st));
    SHOW(S_ISLNK(st.st_mode));
    char text[16];
    SHOW(readlinkat(fd, "", text, sizeof text));
    close(fd);
    SHOW_FD(open("to-d", O_PATH | O_NOFOLLOW | O_DIRECTORY));
    fd = SHOW_FD(open("d", O_PATH));
    close(SHOW_FD(openat(fd, "inner", O_RDONLY)));
    SHOW(fchdir(fd));
    SHOW(chdir(".."));
    close(fd);

    TITLE("files without a name");
    fd = SHOW_FD(open(".", O_TMPFILE | O_RDWR, 0600));
    SHOW(write(fd, "abc", 3));
    SHOW(fstat(fd, &st));
    SHOW(st.st_nlink);
    close(fd);
    SHOW_FD(open(".", O_TMPFILE | O_RDONLY, 0600));
    SHOW_FD(open("f", O_TMPFILE | O_RDWR, 0600));
    SHOW_FD(open("missing", O_TMPFILE | O_RDWR, 0600));

    TITLE("openat2");
    close(SHOW_FD(openat2_(AT_FDCWD, "f", O_RDONLY, 0, 0)));
    SHOW_FD(openat2_(AT_FDCWD, "f", O_RDONLY, 0644, 0));
    SHOW_FD(openat2_(AT_FDCWD, "f", O_RDONLY, 0, 1 << 10));
    SHOW_FD(openat2_(AT_FDCWD, "f", 1ull << 40, 0, 0));
    SHOW_FD(openat2_(AT_FDCWD, "to-f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
    SHOW_FD(openat2_(AT_FDCWD, "to-d/inner", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
    SHOW_FD(openat2_(dir, "../f", O_RDONLY, 0, RESOLVE_BENEATH));
    SHOW_FD(openat2_(dir, "/f", O_RDONLY, 0, RESOLVE_BENEATH));
    close(SHOW_FD(openat2_(dir, "inner", O_RDONLY, 0, RESOLVE_BENEATH)));
    close(SHOW_FD(openat2_(dir, "../../inner", O_RDONLY, 0, RESOLVE_IN_ROOT)));
    close(SHOW_FD(openat2_(dir, "/inner", O_RDONLY, 0, RESOLVE_IN_ROOT)));
    SHOW_FD(openat2_(dir, "../f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    SHOW(syscall(SYS_openat2, AT_FDCWD, "f", &st, 8));
    close(dir);
    return 0;
}
