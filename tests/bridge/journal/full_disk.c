/* A disk without room, for a PostgreSQL that runs with this library preloaded.

   While the file that $FULL_DISK names exists, no file grows whose path has the words in it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_full(int fd, off_t end)
{
    const char *flag = getenv("FULL_DISK");
    char words[64] = "", link[64], path[4096] = "";
    struct stat status;
    FILE *file = flag ? fopen(flag, "r") : NULL;

    if (!file)
        return 0;
    if (!fgets(words, sizeof words, file))
        words[0] = 0;
    fclose(file);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (!words[0] || readlink(link, path, sizeof path - 1) < 0 || !strstr(path, words))
        return 0;
    return fstat(fd, &status) == 0 && end > status.st_size;
}

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
#define WRITE(name) \
    ssize_t name(int fd, const void *data, size_t size, off64_t at) \
    { \
        if (is_full(fd, at + (off_t) size)) { errno = ENOSPC; return -1; } \
        return REAL(name)(fd, data, size, at); \
    }
#define WRITE_PARTS(name) \
    ssize_t name(int fd, const struct iovec *parts, int count, off64_t at) \
    { \
        off_t end = at; \
        for (int i = 0; i < count; i++) end += (off_t) parts[i].iov_len; \
        if (is_full(fd, end)) { errno = ENOSPC; return -1; } \
        return REAL(name)(fd, parts, count, at); \
    }

WRITE(pwrite)
WRITE(pwrite64)
WRITE_PARTS(pwritev)
WRITE_PARTS(pwritev64)

int posix_fallocate(int fd, off_t at, off_t size)
{
    return is_full(fd, at + size) ? ENOSPC : REAL(posix_fallocate)(fd, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size)
{
    return is_full(fd, at + size) ? ENOSPC : REAL(posix_fallocate64)(fd, at, size);
}
