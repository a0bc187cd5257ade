/* Lets one system call under a folder go wrong: preloaded into a process, which calls fault_arm().

   cc -shared -fPIC -O1 -o shim.so shim.c -ldl;  LD_PRELOAD=./shim.so python ...

   Calls that open for writing, write, sync, cut, rename, unlink and make folders are counted, of
   all threads together; files are known by the path that they were opened with. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { KILL, TORN, NO_SPACE, IO_ERROR, SHORT };
enum { FILES = 4096 };

static char folder[4096];
static long armed_at = -1, kind;
static long count;
static char inside[FILES]; /* whether a file descriptor is of a file under the folder */

void fault_arm(const char *path, long at, long what) {
    strncpy(folder, path, sizeof folder - 1);
    count = 0, kind = what, armed_at = at;
}

long fault_count(void) { return count; }

static int is_inside(const char *path) {
    size_t length = strlen(folder);
    return length && !strncmp(path, folder, length);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts a call; whether it is to go wrong in another way than by a kill before it. */
static int is_wrong(void) {
    long number = __sync_fetch_and_add(&count, 1);
    if (number != armed_at) return 0;
    if (kind == KILL) die();
    return 1;
}

static int failed(void) {
    errno = kind == NO_SPACE ? ENOSPC : EIO;
    return -1;
}

#define REAL(type, name) static type (*real)(); if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

/* A call that is done whole or not at all: torn means that the process dies right behind it. */
#define WHOLE(type, name, called, parameters, arguments, counted) \
    type name parameters {                                        \
        REAL(type, called);                                       \
        if (!(counted) || !is_wrong() || kind == SHORT)           \
            return real arguments;                                \
        if (kind == TORN) {                                       \
            (void)!real arguments;                                \
            die();                                                \
        }                                                         \
        return failed();                                          \
    }

static int opened(int (*real)(), int at, const char *path, int flags, mode_t mode) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT;
    if (is_inside(path) && writes && is_wrong() && kind != SHORT) {
        if (kind != TORN) return failed();
        real(at, path, flags, mode);
        die();
    }
    int file = real(at, path, flags, mode);
    if (file >= 0 && file < FILES) inside[file] = (char)is_inside(path);
    return file;
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

/* All of them come down to openat. */
#define OPEN(name, at, ...)                               \
    int name(__VA_ARGS__, int flags, ...) {               \
        REAL(int, openat64);                              \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = mode_of(flags, rest);               \
        va_end(rest);                                     \
        return opened(real, at, path, flags, mode);       \
    }

OPEN(open, AT_FDCWD, const char *path)
OPEN(open64, AT_FDCWD, const char *path)
OPEN(openat, folder_at, int folder_at, const char *path)

static int is_of_folder(int file) { return file >= 0 && file < FILES && inside[file]; }

int close(int file) {
    REAL(int, close);
    if (file >= 0 && file < FILES) inside[file] = 0;
    return real(file);
}

ssize_t write(int file, const void *data, size_t size) {
    REAL(ssize_t, write);
    if (!is_of_folder(file) || !is_wrong()) return real(file, data, size);
    if (kind == NO_SPACE || kind == IO_ERROR) return failed();
    ssize_t written = real(file, data, size > 1 ? size / 2 : size);
    if (kind == TORN) die();
    return written;
}

#define OF_FOLDER is_of_folder(file)
WHOLE(ssize_t, writev, writev, (int file, const struct iovec *parts, int n), (file, parts, n), OF_FOLDER)
WHOLE(int, fsync, fsync, (int file), (file), OF_FOLDER)
WHOLE(int, fdatasync, fdatasync, (int file), (file), OF_FOLDER)
WHOLE(int, ftruncate, ftruncate64, (int file, off_t length), (file, length), OF_FOLDER)
WHOLE(int, ftruncate64, ftruncate64, (int file, off64_t length), (file, length), OF_FOLDER)
WHOLE(int, rename, rename, (const char *old, const char *new), (old, new), is_inside(new))
WHOLE(int, unlink, unlink, (const char *path), (path), is_inside(path))
WHOLE(int, mkdir, mkdir, (const char *path, mode_t mode), (path, mode), is_inside(path))
