/* Reading and writing: positions, holes, O_APPEND, vectors, bad arguments. */
#include "show.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static void content(const char *path) {
    static unsigned char buffer[1 << 20];
    int fd = open(path, O_RDONLY);
    ssize_t size = read(fd, buffer, sizeof buffer);
    unsigned long sum = 5381;
    for (ssize_t i = 0; i < size; i++)
        sum = sum * 33 + buffer[i];
    printf("%s: %zd bytes, sum %lx\n", path, size, sum);
    close(fd);
}

int main(void) {
    char buffer[64];
    TITLE("positions");
    int fd = open("f", O_CREAT | O_RDWR, 0644);
    SHOW(write(fd, "0123456789", 10));
    SHOW(lseek(fd, 0, SEEK_CUR));
    SHOW(read(fd, buffer, 10));
    SHOW(lseek(fd, 3, SEEK_SET));
    SHOW(read(fd, buffer, 4));
    printf("%.4s\n", buffer);
    SHOW(lseek(fd, -2, SEEK_CUR));
    SHOW(lseek(fd, -1, SEEK_END));
    SHOW(lseek(fd, -20, SEEK_END));
    SHOW(lseek(fd, -1, SEEK_SET));
    SHOW(lseek(fd, 0, 99));
    SHOW(lseek(fd, 100, SEEK_SET));
    SHOW(read(fd, buffer, 1));
    SHOW(pread(fd, buffer, 4, 8));
    SHOW(pread(fd, buffer, 4, 10));
    SHOW(pread(fd, buffer, 4, -1));
    SHOW(pwrite(fd, "XY", 2, 4));
    SHOW(pwrite(fd, "XY", 2, -1));
    SHOW(lseek(fd, 0, SEEK_CUR));
    content("f");
    int copy = dup(fd);
    SHOW(lseek(copy, 7, SEEK_SET));
    SHOW(lseek(fd, 0, SEEK_CUR));
    close(copy);

    TITLE("bad arguments");
    SHOW(read(fd, (void *)8, 4));
    SHOW(read(fd, (void *)8, 0));
    SHOW(write(fd, (void *)8, 4));
    SHOW(read(99, buffer, 4));
    SHOW(read(fd, buffer, -1));
    int readonly = open("f", O_RDONLY), writeonly = open("f", O_WRONLY);
    SHOW(write(readonly, "x", 1));
    SHOW(read(writeonly, buffer, 1));
    SHOW(ftruncate(readonly, 1));
    close(readonly);
    close(writeonly);

    TITLE("holes");
    int hole = open("hole", O_CREAT | O_RDWR, 0644);
    SHOW(pwrite(hole, "end", 3, 100000));
    struct stat st;
    fstat(hole, &st);
    SHOW(st.st_size);
    SHOW(st.st_blocks < 64);
    content("hole");
    SHOW(lseek(hole, 0, SEEK_DATA) > 4096);
    SHOW(lseek(hole, 0, SEEK_HOLE));
    SHOW(lseek(hole, 100000, SEEK_HOLE));
    SHOW(lseek(hole, 100003, SEEK_DATA));
    SHOW(lseek(hole, 100003, SEEK_HOLE));
    SHOW(ftruncate(hole, 50));
    SHOW(ftruncate(hole, 200000));
    content("hole");
    SHOW(ftruncate(hole, -1));
    SHOW(pwrite(hole, "middle", 6, 4093));
    content("hole");
    SHOW(ftruncate(hole, 4095));
    SHOW(ftruncate(hole, 9000));
    content("hole");
    SHOW(fallocate(hole, 0, 8000, 5000));
    content("hole");
    SHOW(fallocate(hole, FALLOC_FL_KEEP_SIZE, 20000, 5000));
    SHOW(fallocate(hole, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 4090, 4));
    SHOW(fallocate(hole, FALLOC_FL_PUNCH_HOLE, 4090, 4));
    SHOW(fallocate(hole, 0, -1, 10));
    SHOW(fallocate(hole, 0, 0, 0));
    content("hole");
    SHOW(truncate("hole", 10));
    SHOW(truncate("missing", 10));
    SHOW(truncate(".", 10));
    SHOW(truncate("hole", -1));
    content("hole");
    close(hole);

    TITLE("O_APPEND");
    int append = open("f", O_WRONLY | O_APPEND);
    SHOW(write(append, "++", 2));
    SHOW(lseek(append, 0, SEEK_CUR));
    SHOW(lseek(append, 1, SEEK_SET));
    SHOW(write(append, "--", 2));
    SHOW(lseek(append, 0, SEEK_CUR));
    SHOW(pwrite(append, "==", 2, 0));
    SHOW(fcntl(append, F_SETFL, 0));
    SHOW(pwrite(append, "!!", 2, 0));
    content("f");
    close(append);

    TITLE("vectors");
    struct iovec out[3] = {{"one", 3}, {"", 0}, {"three", 5}};
    struct iovec in[2] = {{buffer, 2}, {buffer + 10, 20}};
    lseek(fd, 0, SEEK_SET);
    SHOW(writev(fd, out, 3));
    SHOW(writev(fd, out, 0));
    SHOW(writev(fd, out, -1));
    SHOW(writev(fd, out, 1025));
    lseek(fd, 0, SEEK_SET);
    SHOW(readv(fd, in, 2));
    printf("%.2s %.6s\n", buffer, buffer + 10);
    SHOW(preadv(fd, in, 2, 5));
    SHOW(pwritev(fd, out, 3, 30));
    SHOW(preadv(fd, in, 2, -1));
    SHOW(preadv2(fd, in, 2, -1, 0));
    SHOW(preadv2(fd, in, 2, 0, 0x4000));
    SHOW(pwritev2(fd, out, 1, 0, RWF_APPEND));
    struct iovec bad[2] = {{"good", 4}, {(void *)8, 4}};
    SHOW(pwritev(fd, bad, 2, 60));
    content("f");
    close(fd);

    TITLE("copying within the kernel");
    int from = open("f", O_RDONLY), to = open("to", O_CREAT | O_RDWR, 0644);
    SHOW(sendfile(to, from, NULL, 20));
    SHOW(lseek(from, 0, SEEK_CUR));
    off_t offset = 5;
    SHOW(sendfile(to, from, &offset, 1000));
    SHOW(lseek(from, 0, SEEK_CUR));
    SHOW(offset);
    SHOW(sendfile(from, to, NULL, 1));
    loff_t a = 1, b = 2;
    SHOW(copy_file_range(from, &a, to, &b, 5, 0));
    SHOW(a);
    SHOW(b);
    SHOW(copy_file_range(from, NULL, to, NULL, 1000, 0));
    SHOW(copy_file_range(from, NULL, to, NULL, 1000, 0));
    SHOW(copy_file_range(from, NULL, to, NULL, 1, 1));
    SHOW(copy_file_range(to, NULL, from, NULL, 1, 0));
    a = 0, b = 3;
    SHOW(copy_file_range(to, &a, to, &b, 10, 0));
    content("to");
    close(from);
    close(to);

    TITLE("large");
    char *big = malloc(300000);
    for (int i = 0; i < 300000; i++)
        big[i] = i * 7 + i / 4096;
    int large = open("large", O_CREAT | O_RDWR, 0644);
    SHOW(write(large, big, 300000));
    SHOW(pwrite(large, "across", 6, 8190));
    content("large");
    SHOW(unlink("large"));
    SHOW(pread(large, buffer, 6, 8190));
    printf("%.6s\n", buffer);
    fstat(large, &st);
    SHOW(st.st_nlink);
    SHOW(st.st_size);
    close(large);
    return 0;
}
