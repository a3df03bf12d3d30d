/* /dev/attestation, and the same by the instructions themselves: attestation files | dump TEXT | seal POLICY SVN |
 * leftovers. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOLDS(condition) printf("%s: %s\n", (condition) ? "holds" : "FAILS", #condition)
#define IN "/dev/attestation/"

enum { EREPORT = 0, EGETKEY = 1, REPORT_KEY = 3, SEAL_KEY = 4 };

static unsigned char targetinfo[512] __attribute__((aligned(512)));
static unsigned char reportdata[64] __attribute__((aligned(128)));
static unsigned char report[512] __attribute__((aligned(512)));
static unsigned char request[512] __attribute__((aligned(512)));
static unsigned char key[16] __attribute__((aligned(16)));

static uint64_t enclu(uint64_t leaf, void *rbx, void *rcx, void *rdx)
{
    __asm__ volatile(".byte 0x0f, 0x01, 0xd7" : "+a"(leaf) : "b"(rbx), "c"(rcx), "d"(rdx) : "memory", "cc");
    return leaf;
}

static void show(const char *what, const void *bytes, size_t size)
{
    printf("%s ", what);
    for (size_t i = 0; i < size; i++) printf("%02x", ((const unsigned char *)bytes)[i]);
    putchar('\n');
}

/* How many bytes a file gives, or a negative errno. */
static long fetch(const char *path, void *to, size_t room)
{
    int fd = open(path, O_RDONLY);
    if (fd < 0) return -errno;
    long n = read(fd, to, room), error = errno;
    close(fd);
    return n < 0 ? -error : n;
}

static long put(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    if (fd < 0) return -errno;
    long n = write(fd, bytes, size), error = errno;
    close(fd);
    return n < 0 ? -error : n;
}

static long size_of(const char *path)
{
    struct stat stat_;
    return stat(path, &stat_) ? -errno : S_ISREG(stat_.st_mode) ? stat_.st_size : -1;
}

static int mode_of(const char *path)
{
    struct stat stat_;
    return stat(path, &stat_) ? -errno : (int)(stat_.st_mode & 0777);
}

static int names(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) count += entry->d_name[0] != '.';
    if (directory) closedir(directory);
    return count;
}

static void own_report(void)
{
    memset(targetinfo, 0, sizeof targetinfo);
    enclu(EREPORT, targetinfo, reportdata, report);
}

static void files(void)
{
    static unsigned char bytes[1024], again[1024];
    HOLDS(names("/dev/attestation") == 6 && names(IN "keys") == 2);
    HOLDS(size_of(IN "attestation_type") == 4 && size_of(IN "my_target_info") == 512);
    HOLDS(size_of(IN "user_report_data") == 64 && size_of(IN "target_info") == 512);
    HOLDS(size_of(IN "report") == 432 && size_of(IN "keys/_sgx_mrenclave") == 16);
    HOLDS(mode_of(IN "user_report_data") == 0666 && mode_of(IN "report") == 0444 && mode_of(IN "keys") == 0555);
    HOLDS(fetch(IN "attestation_type", bytes, 100) == 4 && !memcmp(bytes, "none", 4));
    HOLDS(fetch(IN "quote", bytes, 1) == -ENOENT);
    HOLDS(put(IN "report", "x", 1) == -EACCES && put(IN "keys/_sgx_mrsigner", bytes, 16) == -EACCES);
    HOLDS(unlink(IN "report") == -1 && mkdir(IN "new", 0700) == -1);

    /* What is shorter is filled up with zeros, what is longer is cut, and told to be. */
    HOLDS(fetch(IN "user_report_data", bytes, 100) == 64 && bytes[0] == 0 && bytes[63] == 0);
    memset(again, 0x55, sizeof again);
    HOLDS(put(IN "user_report_data", again, 64) == 64 && put(IN "user_report_data", "short", 5) == 5);
    HOLDS(fetch(IN "user_report_data", bytes, 100) == 64 && !memcmp(bytes, "short\0\0", 7) && bytes[63] == 0);
    HOLDS(put(IN "user_report_data", again, 100) == 64);
    HOLDS(fetch(IN "user_report_data", bytes, 100) == 64 && !memcmp(bytes, again, 64));

    int fd = open(IN "user_report_data", O_RDWR);
    HOLDS(write(fd, "abc", 3) == 3 && write(fd, "def", 3) == 3 && lseek(fd, 0, SEEK_CUR) == 6);
    HOLDS(pwrite(fd, "z", 1, 63) == 1 && pwrite(fd, "zz", 2, 63) == 1);
    HOLDS(pwrite(fd, "z", 1, 64) == -1 && errno == ENOSPC && write(fd, "", 0) == 0);
    HOLDS(pread(fd, bytes, 64, 0) == 64 && !memcmp(bytes, "abcdef\0", 7) && bytes[63] == 'z');
    HOLDS(pread(fd, bytes, 64, 60) == 4 && pread(fd, bytes, 64, 64) == 0);
    HOLDS(lseek(fd, 0, SEEK_END) == 64 && read(fd, bytes, 1) == 0 && write(fd, "x", 1) == -1);
    HOLDS(ftruncate(fd, 3) == 0 && ftruncate(fd, 65) == -1 && errno == EINVAL);
    HOLDS(pread(fd, bytes, 64, 0) == 64 && !memcmp(bytes, "abc\0\0\0", 6) && bytes[63] == 0);
    close(fd);

    /* A report is over what was written, for whom was written; read in pieces it is one report. */
    HOLDS(fetch(IN "my_target_info", targetinfo, 512) == 512 && put(IN "target_info", targetinfo, 512) == 512);
    HOLDS(fetch(IN "target_info", bytes, 600) == 512 && !memcmp(bytes, targetinfo, 512));
    memcpy(reportdata, "abc", 4);
    enclu(EREPORT, targetinfo, reportdata, report);
    HOLDS(fetch(IN "report", bytes, 600) == 432 && !memcmp(bytes, report, 432));
    HOLDS(!memcmp(bytes + 64, targetinfo, 32) && !memcmp(bytes + 320, "abc\0", 4));
    fd = open(IN "report", O_RDONLY);
    HOLDS(read(fd, bytes, 100) == 100 && put(IN "user_report_data", "other", 5) == 5);
    HOLDS(read(fd, bytes + 100, 600) == 332 && read(fd, again, 1) == 0 && !memcmp(bytes, report, 432));
    HOLDS(lseek(fd, 0, SEEK_SET) == 0 && read(fd, bytes, 600) == 432 && !memcmp(bytes + 320, "other", 5));
    close(fd);

    /* The processor takes no target with reserved fields in use: that is told and harms nobody. */
    memset(again, 0, 512);
    again[511] = 1;
    HOLDS(put(IN "target_info", again, 512) == 512 && fetch(IN "report", bytes, 432) == -EINVAL);
    HOLDS(put(IN "target_info", "", 0) == 0 && fetch(IN "report", bytes, 432) == 432);

    HOLDS(fetch(IN "keys/_sgx_mrenclave", bytes, 100) == 16 && fetch(IN "keys/_sgx_mrsigner", again, 100) == 16);
    HOLDS(memcmp(bytes, again, 16) != 0);
    HOLDS(fetch(IN "keys/_sgx_mrsigner", bytes, 100) == 16 && !memcmp(bytes, again, 16));
}

static void dump(const char *text)
{
    static unsigned char bytes[512];
    long data = put(IN "user_report_data", text, strlen(text));
    long own = fetch(IN "my_target_info", targetinfo, 512);
    long target = put(IN "target_info", targetinfo, 512);
    if (data != (long)strlen(text) || own != 512 || target != 512) exit(1);
    show("target_info", targetinfo, 512);
    if (fetch(IN "report", report, 432) != 432) exit(1);
    show("report", report, 432);

    memset(request, 0, sizeof request);
    request[0] = REPORT_KEY;
    memcpy(request + 40, report + 384, 32);
    if (enclu(EGETKEY, request, key, 0) != 0) exit(1);
    show("report_key", key, 16);
    if (fetch(IN "keys/_sgx_mrenclave", bytes, 16) != 16) exit(1);
    show("mrenclave", bytes, 16);
    if (fetch(IN "keys/_sgx_mrsigner", bytes, 16) != 16) exit(1);
    show("mrsigner", bytes, 16);
}

/* The key that the files would have at another security version, as the kernel asks for it. */
static void seal(uint16_t policy, uint16_t svn)
{
    own_report();
    memset(request, 0, sizeof request);
    request[0] = SEAL_KEY;
    memcpy(request + 2, &policy, 2);
    memcpy(request + 4, &svn, 2);
    memcpy(request + 8, report, 16);
    uint64_t flags = 0xff0000000000000b;
    memcpy(request + 24, &flags, 8);
    uint32_t misc = 0xf0000000;
    memcpy(request + 72, &misc, 4);
    printf("status %lu\n", enclu(EGETKEY, request, key, 0));
    show("key", key, 16);
}

static sigjmp_buf no_page;

static void on_fault(int signal)
{
    (void)signal;
    siglongjmp(no_page, 1);
}

/* Where this program's own memory begins above an address. */
static uintptr_t own_memory(uintptr_t above)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    uintptr_t start = 0, lowest = UINTPTR_MAX;
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-", &start) == 1 && start > above && start < lowest) lowest = start;
    fclose(maps);
    return lowest;
}

/* Reads a sealing key, and looks for it in what the kernel shares with this program: kernel stacks and heap, which lie
 * between the first thread's control page and this program's memory. */
static void leftovers(void)
{
    enum { PAGE = 4096, SIZE = 16 };
    static unsigned char inverse[SIZE];
    signal(SIGSEGV, on_fault);
    uintptr_t control;
    __asm__("mov %%gs:0, %0" : "=r"(control));
    volatile uintptr_t page = control + PAGE, end = own_memory(control);
    volatile unsigned pages = 0, found = 0;

    int fd = open(IN "keys/_sgx_mrenclave", O_RDONLY);
    long n = read(fd, key, SIZE);
    close(fd);
    for (int i = 0; i < SIZE; i++) inverse[i] = (unsigned char)~key[i];
    memset(key, 0, SIZE);
    for (; page < end; page += PAGE) {
        if (sigsetjmp(no_page, 1)) continue;
        const volatile unsigned char *bytes = (const volatile unsigned char *)page;
        for (int at = 0; at <= PAGE - SIZE; at++) {
            int i = 0;
            while (i < SIZE && (bytes[at + i] ^ inverse[i]) == 0xff) i++;
            found += i == SIZE;
        }
        pages++;
    }
    printf("read %ld\nsearched %s\nfound %u\n", n, pages > 100 ? "enough" : "too little", found);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 2 && !strcmp(argv[1], "files")) files();
    else if (argc == 3 && !strcmp(argv[1], "dump")) dump(argv[2]);
    else if (argc == 4 && !strcmp(argv[1], "seal")) seal((uint16_t)atoi(argv[2]), (uint16_t)atoi(argv[3]));
    else if (argc == 2 && !strcmp(argv[1], "names")) printf("%d %ld\n", names("/dev/attestation"), size_of(IN "attestation_type"));
    else if (argc == 2 && !strcmp(argv[1], "leftovers")) leftovers();
    else return 2;
    return 0;
}
