/* Fills the kernel's heap, then asks the kernel to write to every page near this program's memory that is not its own.
 * All of them must be refused with EFAULT, and what the kernel keeps must be whole afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FILES = 24, SIZE = 1 << 20, PAGE = 4096, AROUND = 48 << 20, RUNS = 512 };

static char block[SIZE];
static struct { uintptr_t start, end; } own[RUNS];
static int runs;

static void read_maps(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    while (fgets(line, sizeof line, maps) && runs < RUNS)
        runs += sscanf(line, "%lx-%lx", &own[runs].start, &own[runs].end) == 2;
    fclose(maps);
}

static int is_own(uintptr_t page)
{
    for (int i = 0; i < runs; i++)
        if (page < own[i].end && page + PAGE > own[i].start)
            return 1;
    return 0;
}

int main(void)
{
    char name[32];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "/tmp/file%d", i);
        int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        memset(block, i + 1, SIZE);
        if (write(fd, block, SIZE) != SIZE)
            return 1;
        close(fd);
    }
    int zero = open("/dev/zero", O_RDONLY);
    char *middle = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    read_maps();
    long refused = 0, other = 0;
    uintptr_t from = (uintptr_t)middle > AROUND ? (uintptr_t)middle - AROUND : PAGE;
    for (uintptr_t page = from; page < (uintptr_t)middle + AROUND; page += PAGE) {
        if (is_own(page))
            continue;
        errno = 0;
        if (read(zero, (void *)page, PAGE) == -1 && errno == EFAULT)
            refused++;
        else
            other++;
    }
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "/tmp/file%d", i);
        int fd = open(name, O_RDONLY);
        if (read(fd, block, SIZE) != SIZE || block[0] != i + 1 || memcmp(block, block + 1, SIZE - 1))
            return 2;
        close(fd);
    }
    printf("%s, %ld others\n", refused > 1000 ? "refused" : "too few", other);
    return 0;
}
