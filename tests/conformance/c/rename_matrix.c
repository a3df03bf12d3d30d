/* rename(2) and renameat2(2): every kind onto every kind. */
#include "conformance.h"

static const char *kinds[] = {
    "file", "other-file", "hard-link-of-file", "empty", "full", "full/below", "to-file", "to-empty", "dangling",
    "missing", "missing/below", "file/below", "empty/", "file/", "to-empty/", ".", "..", "empty/.", "/",
    "full/below/deeper",
};

static void clean(void)
{
    unlink("full/below/moved"), rmdir("full/below/deeper"), unlink("full/below/deeper");
    static const char *all[] = {
        "file", "other-file", "hard-link-of-file", "to-file", "to-empty", "dangling", "full/below/deeper", "full/below", "full",
        "empty/inner", "empty", "missing", "full", "empty", "target",
    };
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT(all); i++)
            if (unlink(all[i]) && errno == EISDIR) {
                char path[200];
                static const char *inside[] = {"below/deeper", "below", "deeper", "inner"};
                for (size_t j = 0; j < COUNT(inside); j++) {
                    snprintf(path, sizeof path, "%s/%s", all[i], inside[j]);
                    if (unlink(path))
                        rmdir(path);
                }
                rmdir(all[i]);
            }
}

static void prepare(void)
{
    clean();
    put_file("file", "file");
    put_file("other-file", "other");
    REQUIRE(link("file", "hard-link-of-file") == 0);
    REQUIRE(mkdir("empty", 0755) == 0);
    REQUIRE(mkdir("full", 0755) == 0);
    REQUIRE(mkdir("full/below", 0755) == 0);
    REQUIRE(symlink("file", "to-file") == 0);
    REQUIRE(symlink("empty", "to-empty") == 0);
    REQUIRE(symlink("target", "dangling") == 0);
}

static void show(const char *path)
{
    struct stat status;
    if (lstat(path, &status))
        printf(" %s:%s", path, error_name(errno));
    else
        printf(" %s:%o", path, status.st_mode & S_IFMT);
}

int main(void)
{
    static const unsigned flags[] = {0, 1, 2};
    for (size_t flag = 0; flag < COUNT(flags); flag++)
        for (size_t from = 0; from < COUNT(kinds); from++)
            for (size_t to = 0; to < COUNT(kinds); to++) {
                prepare();
                long result = syscall(SYS_renameat2, AT_FDCWD, kinds[from], AT_FDCWD, kinds[to], flags[flag]);
                printf("%u %s %s: %s", flags[flag], kinds[from], kinds[to], result ? error_name(errno) : "ok");
                if (!result) {
                    show(kinds[from]);
                    show(kinds[to]);
                }
                printf("\n");
            }
    prepare();
    TELL(rename("", "x"));
    TELL(rename("file", ""));
    TELL(syscall(SYS_renameat2, AT_FDCWD, "file", AT_FDCWD, "x", 3));
    TELL(syscall(SYS_renameat2, AT_FDCWD, "file", AT_FDCWD, "x", 8));
    return 0;
}
