/* Permissions, owners, times, and what root may. */
#include "show.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include <utime.h>

static void facts(const char *path) {
    struct stat st;
    if (lstat(path, &st) < 0) {
        printf("%s: %s\n", path, errno_name(errno));
        return;
    }
    printf("%s: mode %o uid %d gid %d\n", path, st.st_mode, st.st_uid, st.st_gid);
}

static void times(const char *path) {
    struct stat st;
    lstat(path, &st);
    printf("%s: atime %ld.%09ld mtime %ld.%09ld\n", path, (long)st.st_atim.tv_sec, st.st_atim.tv_nsec,
           (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

int main(void) {
    umask(022);
    int fd = open("f", O_CREAT | O_RDWR, 0666);
    mkdir("d", 0777);
    symlink("f", "s");

    TITLE("chmod");
    SHOW(chmod("f", 0640));
    facts("f");
    SHOW(chmod("f", 06755));
    facts("f");
    SHOW(chmod("f", 0177777));
    facts("f");
    SHOW(fchmod(fd, 0));
    facts("f");
    SHOW(chmod("s", 0600));
    facts("f");
    facts("s");
    SHOW(chmod("missing", 0600));
    SHOW(chmod("f/", 0600));
    SHOW(fchmodat(AT_FDCWD, "d", 01777, 0));
    facts("d");
    SHOW(fchmod(99, 0));

    TITLE("chown");
    SHOW(chown("f", 12, 34));
    facts("f");
    SHOW(chown("f", -1, 56));
    facts("f");
    SHOW(chmod("f", 06755));
    SHOW(chown("f", 1, -1));
    facts("f");
    SHOW(chmod("f", 06745));
    SHOW(fchown(fd, 2, 2));
    facts("f");
    SHOW(chmod("d", 06755));
    SHOW(chown("d", 3, 3));
    facts("d");
    SHOW(lchown("s", 4, 4));
    facts("s");
    facts("f");
    SHOW(fchownat(AT_FDCWD, "s", 5, 5, AT_SYMLINK_NOFOLLOW));
    facts("s");
    SHOW(fchownat(AT_FDCWD, "s", 5, 5, 1 << 20));
    SHOW(fchownat(fd, "", 6, 6, AT_EMPTY_PATH));
    facts("f");

    TITLE("set-group-ID directories");
    SHOW(chmod("d", 02777));
    mkdir("d/sub", 0755);
    close(open("d/file", O_CREAT | O_RDWR, 0644));
    facts("d/sub");
    facts("d/file");

    TITLE("times");
    struct timespec ts[2] = {{1000000000, 5}, {2000000000, 999999999}};
    SHOW(utimensat(AT_FDCWD, "f", ts, 0));
    times("f");
    ts[0].tv_nsec = UTIME_OMIT;
    ts[1].tv_sec = -5;
    SHOW(utimensat(AT_FDCWD, "s", ts, 0));
    times("f");
    ts[0] = (struct timespec){7, 7};
    SHOW(utimensat(AT_FDCWD, "s", ts, AT_SYMLINK_NOFOLLOW));
    struct stat st;
    SHOW(lstat("s", &st));
    SHOW(st.st_mtim.tv_sec);
    ts[1].tv_nsec = 1000000000;
    SHOW(utimensat(AT_FDCWD, "f", ts, 0));
    ts[0].tv_nsec = UTIME_OMIT;
    ts[1].tv_nsec = UTIME_OMIT;
    SHOW(utimensat(AT_FDCWD, "f", ts, 0));
    SHOW(futimens(fd, ts));
    SHOW(futimens(99, ts));
    struct utimbuf buf = {11, 22};
    SHOW(utime("f", &buf));
    times("f");
    struct timeval tv[2] = {{33, 44}, {55, 66}};
    SHOW(utimes("f", tv));
    times("f");
    tv[0].tv_usec = 1000000;
    SHOW(utimes("f", tv));
    SHOW(utimes("missing", NULL));
    SHOW(utimes("f", NULL));
    SHOW(stat("f", &st));
    SHOW(st.st_mtim.tv_sec > 1000000000);
    SHOW(utimensat(AT_FDCWD, NULL, ts, 0));
    SHOW(syscall(SYS_utimensat, fd, NULL, NULL, 0));
    ts[0] = ts[1] = (struct timespec){1, 1};
    SHOW(futimens(fd, ts));
    SHOW(write(fd, "x", 1));
    SHOW(fstat(fd, &st));
    SHOW(st.st_mtim.tv_sec > 1000000000);
    SHOW(futimens(fd, ts));
    SHOW(write(fd, "x", 0));
    SHOW(fstat(fd, &st));
    SHOW(st.st_mtim.tv_sec);
    SHOW(ftruncate(fd, 1));
    SHOW(fstat(fd, &st));
    SHOW(st.st_mtim.tv_sec > 1000000000);
    utimensat(AT_FDCWD, "d", ts, 0);
    close(open("d/new", O_CREAT | O_RDWR, 0600));
    SHOW(stat("d", &st));
    SHOW(st.st_mtim.tv_sec > 1000000000);

    TITLE("access as root");
    SHOW(chmod("f", 0));
    SHOW(access("f", R_OK | W_OK));
    SHOW(access("f", X_OK));
    SHOW(chmod("f", 010));
    SHOW(access("f", X_OK));
    SHOW(access("f", F_OK));
    SHOW(access("f", 8));
    SHOW(access("missing", F_OK));
    SHOW(access("f/x", F_OK));
    SHOW(chmod("d", 0));
    SHOW(access("d", X_OK));
    SHOW(access("d/new", R_OK));
    SHOW(faccessat(AT_FDCWD, "s", F_OK, AT_SYMLINK_NOFOLLOW));
    SHOW(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
    SHOW(syscall(SYS_faccessat2, AT_FDCWD, "f", 0, 0x10000));

    TITLE("access as somebody else");
    SHOW(chmod("d", 0755));
    SHOW(chown("f", 100, 200));
    SHOW(chmod("f", 0640));
    SHOW(chown("d", 0, 0));
    mkdir("sticky", 0755);
    chmod("sticky", 01777);
    close(open("sticky/roots", O_CREAT | O_RDWR, 0666));
    mkdir("secret", 0700);
    SHOW(setegid(200));
    SHOW(seteuid(300));
    SHOW_FD(open("f", O_RDWR));
    close(SHOW_FD(open("f", O_RDONLY)));
    SHOW_FD(open("d/mine", O_CREAT | O_RDWR, 0644));
    SHOW(mkdir("d/mine", 0755));
    SHOW(unlink("d/new"));
    SHOW(rename("d/new", "d/newer"));
    SHOW(chmod("f", 0666));
    SHOW(chown("f", 300, 300));
    SHOW(truncate("f", 0));
    SHOW(utimes("f", NULL));
    SHOW(unlink("sticky/roots"));
    close(SHOW_FD(open("sticky/mine", O_CREAT | O_RDWR, 0640)));
    facts("sticky/mine");
    SHOW(rename("sticky/mine", "sticky/still-mine"));
    SHOW(rename("sticky/still-mine", "sticky/roots"));
    SHOW(chown("sticky/still-mine", -1, 200));
    SHOW(chown("sticky/still-mine", 0, -1));
    SHOW(chmod("sticky/still-mine", 02755));
    facts("sticky/still-mine");
    SHOW(unlink("sticky/still-mine"));
    SHOW(chdir("secret"));
    SHOW_FD(open("secret", O_RDONLY));
    SHOW_FD(open("secret/x", O_RDONLY));
    SHOW(seteuid(0));
    SHOW(chdir("secret"));
    return 0;
}
