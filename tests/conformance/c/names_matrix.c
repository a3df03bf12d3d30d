/* mkdir, rmdir, unlink, link, symlink, readlink, stat, chdir, truncate, … on every kind of path. */
#include "conformance.h"
#include <sys/statfs.h>
#include <sys/time.h>
#include <utime.h>

static char long_name[300], long_path[5000];
static const char *paths[] = {
    "file", "file/", "file/x", "file/.", "file/..", "empty", "empty/", "empty/.", "empty/..", "full", "full/",
    "full/inner", "to-file", "to-file/", "to-empty", "to-empty/", "to-empty/.", "dangling", "dangling/",
    "dangling/x", "loop", "loop/", "loop/x", "missing", "missing/", "missing/x", "missing/..", ".", "./", "..",
    "/", "//", "/..", "", "./file", ".//file", "empty/../file", "to-empty/../file", long_name, long_path,
};

static int base;

static void chdir_back(void)
{
    REQUIRE(fchdir(base) == 0);
    for (int fd = base + 1; fd < base + 4; fd++)
        close(fd);
}

static void prepare(void)
{
    static const char *made[] = {"missing", "target", "target/", "new", "empty/new"};
    chdir_back();
    for (size_t i = 0; i < COUNT(made); i++)
        if (unlink(made[i]))
            rmdir(made[i]);
    for (size_t i = 0; i < COUNT(paths); i++) {
        struct stat status;
        if (!strchr(paths[i], '/') && strcmp(paths[i], ".") && strcmp(paths[i], "..") && paths[i][0]) {
            if (!lstat(paths[i], &status) && !S_ISDIR(status.st_mode))
                unlink(paths[i]);
        }
    }
    unlink("full/inner"), rmdir("full/inner"), rmdir("full"), rmdir("empty/x"), rmdir("empty");
    put_file("file", "0123456789");
    REQUIRE(mkdir("empty", 0755) == 0);
    REQUIRE(mkdir("full", 0755) == 0);
    put_file("full/inner", "inner");
    REQUIRE(symlink("file", "to-file") == 0);
    REQUIRE(symlink("empty", "to-empty") == 0);
    REQUIRE(symlink("target", "dangling") == 0);
    REQUIRE(symlink("loop", "loop") == 0);
}

static const char *shown(const char *path)
{
    return path == long_name ? "long name" : path == long_path ? "long path" : path;
}

/* Calls that succeed on directories outside of the empty one must not touch those. */
static int outside(const char *path)
{
    return path[0] == '/' ? path != long_path : !strcmp(path, "..");
}

#define EACH(call)                                                                                       \
    do {                                                                                                 \
        printf("# " #call "\n");                                                                         \
        for (size_t i = 0; i < COUNT(paths); i++) {                                                      \
            const char *p = paths[i];                                                                    \
            prepare();                                                                                   \
            errno = 0;                                                                                   \
            long result = (long)(call);                                                                  \
            printf("\"%s\" = %ld %s\n", shown(p), result, result == -1 ? error_name(errno) : "");       \
        }                                                                                                \
    } while (0)

int main(void)
{
    struct stat status;
    struct statfs system;
    struct timespec times[2] = {{1, 2}, {3, 4}};
    struct timespec bad[2] = {{1, 1000000000}, {3, 4}};
    char text[100];

    memset(long_name, 'n', sizeof long_name - 1);
    memset(long_path, '/', sizeof long_path - 1);
    memcpy(long_path + sizeof long_path - 5, "file", 4);
    base = open(".", O_RDONLY | O_DIRECTORY);
    umask(022);

    EACH(mkdir(p, 0755));
    EACH(rmdir(p));
    EACH(unlink(p));
    EACH(unlinkat(AT_FDCWD, p, AT_REMOVEDIR));
    EACH(unlinkat(AT_FDCWD, p, 0x4000));
    EACH(link(p, "new"));
    EACH(link("file", p));
    EACH(linkat(AT_FDCWD, p, AT_FDCWD, "new", AT_SYMLINK_FOLLOW));
    EACH(linkat(AT_FDCWD, p, AT_FDCWD, "new", AT_EMPTY_PATH));
    EACH(linkat(AT_FDCWD, p, AT_FDCWD, "new", 0x4000));
    EACH(symlink("anything", p));
    EACH(symlink(p, "new"));
    EACH(readlink(p, text, sizeof text));
    EACH(readlink(p, text, 2));
    EACH(readlink(p, text, 0));
    EACH(stat(p, &status));
    EACH(stat(p, &status) ? -1 : outside(p) ? 0 : (long)status.st_mode);
    EACH(lstat(p, &status) ? -1 : outside(p) ? 0 : (long)status.st_mode);
    EACH(fstatat(AT_FDCWD, p, &status, AT_EMPTY_PATH) ? -1 : outside(p) ? 0 : (long)status.st_mode);
    EACH(fstatat(AT_FDCWD, p, &status, 0x4000));
    EACH(access(p, F_OK));
    EACH(access(p, R_OK | W_OK));
    EACH(access(p, X_OK));
    EACH(access(p, 8));
    EACH(syscall(SYS_faccessat2, AT_FDCWD, p, F_OK, AT_SYMLINK_NOFOLLOW));
    EACH(outside(p) ? 0 : chmod(p, 0700));
    EACH(outside(p) ? 0 : chown(p, 0, 0));
    EACH(outside(p) ? 0 : lchown(p, 0, 0));
    EACH(truncate(p, 3));
    EACH(truncate(p, -1));
    EACH(statfs(p, &system));
    EACH(chdir(p));
    EACH(outside(p) ? 0 : utimensat(AT_FDCWD, p, times, 0));
    EACH(outside(p) ? 0 : utimensat(AT_FDCWD, p, times, AT_SYMLINK_NOFOLLOW));
    EACH(access(p, F_OK) ? 0 : utimensat(AT_FDCWD, p, bad, 0));
    EACH(outside(p) ? 0 : utimes(p, NULL));
    EACH(outside(p) ? 0 : utime(p, NULL));
    EACH(mknod(p, S_IFREG | 0600, 0));
    EACH(mknod(p, S_IFIFO | 0600, 0));
    EACH(mknod(p, S_IFDIR | 0600, 0));
    EACH(open(p, O_RDONLY | O_CLOEXEC) >= 0 ? 0 : -1);
    EACH(open(p, O_RDONLY | O_CLOEXEC | O_CREAT | O_EXCL, 0600) >= 0 ? 0 : -1);
    EACH(creat(p, 0600) >= 0 ? 0 : -1);
    chdir_back();
    return 0;
}
