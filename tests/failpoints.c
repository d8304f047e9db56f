/* Counts what a process does to the files below a folder, and fails or kills it at the n-th.
 *
 * Preloaded (LD_PRELOAD); nothing happens until `failpoint_arm` is called, or FAILPOINT_FOLDER is
 * set in the environment. Operations: opening to write, write, fsync, truncate, rename, mkdir,
 * unlink and rmdir, by whichever library; with FAILPOINT_READS set, reading and nothing else. With
 * CLOCK_BACK set, the clock goes back by a minute whenever it is looked at.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { KILL = 1, KILL_AFTER, SHORT };
#define KILLED 99

static char folder[PATH_MAX];
static long wanted, counted;
static int action; /* one of the above, or minus the errno */
static int reads;

void failpoint_arm(const char *below, long number, int what) {
    snprintf(folder, sizeof folder, "%s", below);
    wanted = number;
    counted = 0;
    action = what;
}

long failpoint_count(void) { return counted; }

__attribute__((constructor)) static void from_environment(void) {
    const char *below = getenv("FAILPOINT_FOLDER");
    reads = getenv("FAILPOINT_READS") != NULL;
    if (below)
        failpoint_arm(below, atol(getenv("FAILPOINT_NUMBER")), atoi(getenv("FAILPOINT_ACTION")));
}

__attribute__((destructor)) static void say(void) {
    const char *path = getenv("FAILPOINT_COUNT");
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    if (!path || !folder[0])
        return;
    int descriptor = real_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    folder[0] = 0;
    if (descriptor >= 0) {
        dprintf(descriptor, "%ld\n", counted);
        close(descriptor);
    }
}

static int below(const char *path) {
    char resolved[PATH_MAX];
    if (!folder[0] || !path || reads)
        return 0;
    if (path[0] != '/') {
        if (!getcwd(resolved, sizeof resolved))
            return 0;
        size_t length = strlen(resolved);
        snprintf(resolved + length, sizeof resolved - length, "/%s", path);
        path = resolved;
    }
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int lies_below(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int below_fd(int descriptor) { return folder[0] && !reads && lies_below(descriptor); }

static int below_at(int at, const char *path) {
    return at == AT_FDCWD || (path && path[0] == '/') ? below(path) : below_fd(at);
}

/* 1: this is the one */
static int reached(void) { return __sync_add_and_fetch(&counted, 1) == wanted; }

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define CALL(applies, call)                                                                        \
    if (!(applies) || !reached() || action == SHORT)                                               \
        return call;                                                                               \
    if (action < 0) {                                                                              \
        errno = -action;                                                                           \
        return -1;                                                                                 \
    }                                                                                              \
    if (action == KILL_AFTER)                                                                      \
        (void)!call;                                                                               \
    _exit(KILLED)

#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY)
#define MODE(flags)                                                                                \
    mode_t mode = 0;                                                                               \
    if ((flags) & O_CREAT) {                                                                       \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode = va_arg(list, mode_t);                                                               \
        va_end(list);                                                                              \
    }

int open(const char *path, int flags, ...) {
    REAL(open); MODE(flags);
    CALL(WRITES(flags) && below(path), real(path, flags, mode));
}
int open64(const char *path, int flags, ...) {
    REAL(open64); MODE(flags);
    CALL(WRITES(flags) && below(path), real(path, flags, mode));
}
int openat(int at, const char *path, int flags, ...) {
    REAL(openat); MODE(flags);
    CALL(WRITES(flags) && below_at(at, path), real(at, path, flags, mode));
}
int openat64(int at, const char *path, int flags, ...) {
    REAL(openat64); MODE(flags);
    CALL(WRITES(flags) && below_at(at, path), real(at, path, flags, mode));
}

static FILE *opened(FILE *(*real)(const char *, const char *), const char *path, const char *mode) {
    if (!strpbrk(mode, "wa+") || !below(path) || !reached() || action == SHORT)
        return real(path, mode);
    if (action < 0) {
        errno = -action;
        return NULL;
    }
    if (action == KILL_AFTER)
        (void)!real(path, mode);
    _exit(KILLED);
}
FILE *fopen(const char *path, const char *mode) { REAL(fopen); return opened(real, path, mode); }
FILE *fopen64(const char *path, const char *mode) { REAL(fopen64); return opened(real, path, mode); }

/* A write that is killed or short has written the half. */
#define PARTLY(half, call)                                                                         \
    if (!below_fd(descriptor) || !reached())                                                       \
        return call;                                                                               \
    if (action < 0) {                                                                              \
        errno = -action;                                                                           \
        return -1;                                                                                 \
    }                                                                                              \
    if (action == SHORT)                                                                           \
        return half;                                                                               \
    if (action == KILL_AFTER)                                                                      \
        (void)!call;                                                                               \
    else                                                                                           \
        (void)!half;                                                                               \
    _exit(KILLED)

static size_t part(size_t size) { return size > 1 ? size / 2 : size; }

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(write);
    PARTLY(real(descriptor, data, part(size)), real(descriptor, data, size));
}
ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    PARTLY(real(descriptor, data, part(size), at), real(descriptor, data, size, at));
}
ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    PARTLY(real(descriptor, data, part(size), at), real(descriptor, data, size, at));
}
ssize_t writev(int descriptor, const struct iovec *data, int count) {
    REAL(writev);
    PARTLY(real(descriptor, data, 1), real(descriptor, data, count));
}

#define READS(call)                                                                                \
    CALL(reads && folder[0] && lies_below(descriptor), call)

ssize_t read(int descriptor, void *data, size_t size) {
    REAL(read); READS(real(descriptor, data, size));
}
ssize_t pread(int descriptor, void *data, size_t size, off_t at) {
    REAL(pread); READS(real(descriptor, data, size, at));
}
ssize_t pread64(int descriptor, void *data, size_t size, off64_t at) {
    REAL(pread64); READS(real(descriptor, data, size, at));
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static long minutes;
    REAL(clock_gettime);
    int done = real(clock, time);
    if (!done && clock == CLOCK_REALTIME && getenv("CLOCK_BACK"))
        time->tv_sec -= 60 * __sync_add_and_fetch(&minutes, 1);
    return done;
}

int fsync(int descriptor) { REAL(fsync); CALL(below_fd(descriptor), real(descriptor)); }
int fdatasync(int descriptor) { REAL(fdatasync); CALL(below_fd(descriptor), real(descriptor)); }
int ftruncate(int descriptor, off_t size) {
    REAL(ftruncate); CALL(below_fd(descriptor), real(descriptor, size));
}
int ftruncate64(int descriptor, off64_t size) {
    REAL(ftruncate64); CALL(below_fd(descriptor), real(descriptor, size));
}
int rename(const char *from, const char *to) { REAL(rename); CALL(below(to), real(from, to)); }
int renameat(int a, const char *from, int b, const char *to) {
    REAL(renameat); CALL(below_at(b, to), real(a, from, b, to));
}
int renameat2(int a, const char *from, int b, const char *to, unsigned int flags) {
    REAL(renameat2); CALL(below_at(b, to), real(a, from, b, to, flags));
}
int mkdir(const char *path, mode_t mode) { REAL(mkdir); CALL(below(path), real(path, mode)); }
int mkdirat(int at, const char *path, mode_t mode) {
    REAL(mkdirat); CALL(below_at(at, path), real(at, path, mode));
}
int unlink(const char *path) { REAL(unlink); CALL(below(path), real(path)); }
int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat); CALL(below_at(at, path), real(at, path, flags));
}
int rmdir(const char *path) { REAL(rmdir); CALL(below(path), real(path)); }
