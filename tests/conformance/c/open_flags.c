/* open(2): every sensible combination of flags on every kind of path. */
#include "conformance.h"

static const struct { const char *name; int value; } flags[] = {
    {"O_CREAT", O_CREAT}, {"O_EXCL", O_EXCL}, {"O_TRUNC", O_TRUNC}, {"O_DIRECTORY", O_DIRECTORY},
    {"O_NOFOLLOW", O_NOFOLLOW}, {"O_PATH", O_PATH},
};
static const struct { const char *name; int value; } ways[] = {
    {"O_RDONLY", O_RDONLY}, {"O_WRONLY", O_WRONLY}, {"O_RDWR", O_RDWR}, {"3", 3},
};
static const char *paths[] = {
    "file", "directory", "to-file", "to-directory", "dangling", "loop", "missing", "missing/below",
    "file/below", "directory/", "file/", "missing/", "to-file/", "to-directory/", "dangling/", ".", "..", "/",
    "directory/.", "directory/missing/..", "to-directory/../file", "fifo-not-there",
};

static int changed = 1;

static void prepare(void)
{
    if (!changed)
        return;
    unlink("missing"), unlink("target-of-dangling"), unlink("fifo-not-there"), unlink("directory/missing");
    put_file("file", "0123456789");
    mkdir("directory", 0755);
    symlink("file", "to-file");
    symlink("directory", "to-directory");
    symlink("target-of-dangling", "dangling");
    symlink("loop", "loop");
}

int main(void)
{
    struct stat status;
    for (size_t path = 0; path < COUNT(paths); path++)
        for (size_t way = 0; way < COUNT(ways); way++)
            for (unsigned set = 0; set < 1u << COUNT(flags); set++) {
                int value = ways[way].value;
                prepare();
                printf("%s %s", paths[path], ways[way].name);
                for (size_t i = 0; i < COUNT(flags); i++)
                    if (set & 1u << i) {
                        value |= flags[i].value;
                        printf("|%s", flags[i].name);
                    }
                changed = value & (O_CREAT | O_TRUNC);
                int fd = open(paths[path], value, 0640);
                if (fd < 0) {
                    printf(" = %s\n", error_name(errno));
                    continue;
                }
                REQUIRE(fstat(fd, &status) == 0);
                printf(" = ok, %o", status.st_mode & S_IFMT);
                if (S_ISREG(status.st_mode))
                    printf(", %lld bytes", (long long)status.st_size);
                printf(", flags %x\n", fcntl(fd, F_GETFL) & ~0100000);
                close(fd);
            }
    TELL(open("file", O_RDONLY | O_TMPFILE));
    TELL(open("file", O_RDWR | O_TMPFILE, 0600));
    TELL(open("missing", O_RDWR | O_TMPFILE, 0600));
    TELL(openat(AT_FDCWD, "missing", O_RDONLY));
    TELL(openat(AT_FDCWD, "", O_RDONLY));
    TELL(openat(AT_FDCWD, "", O_RDONLY | O_CREAT, 0600));
    return 0;
}
