/* Functions of libc that make system calls, of which chosen ones fail: loaded before libc by faults.py. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHORT = -1, END = -2, KILL = -3 };  /* half of what was asked for, nothing, or the end of the process; others are values of errno */
static int armed, calls, from, to, what;
static char made[1 << 16], failed[1 << 16];  /* the names of calls, with a space after each */

void shim_arm(int first, int last, int kind) {
    calls = 0, from = first, to = last, what = kind, made[0] = failed[0] = 0, armed = 1;
}
int shim_disarm(void) { armed = 0; return calls; }
const char *shim_made(void) { return made; }
const char *shim_failed(void) { return failed; }

static void note(char *list, const char *name) {
    if (strlen(list) + strlen(name) + 2 < sizeof made) strcat(strcat(list, name), " ");
}

/* Whether this call is to go wrong; size is how much it reads or writes. */
static int due(const char *name, size_t size) {
    if (!armed) return 0;
    note(made, name);
    if ((what == SHORT && size < 2) || (what == END && strcmp(name, "read"))) return 0;
    calls++;
    if (calls < from || calls > to) return 0;
    note(failed, name);
    if (what == KILL) kill(getpid(), SIGKILL);
    errno = what;
    return 1;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define CALL(type, bad, symbol, name, parameters, arguments) \
    type symbol parameters { REAL(symbol); return due(name, 0) ? bad : real arguments; }
#define OPEN(symbol, parameters, arguments) \
    int symbol parameters { \
        REAL(symbol); \
        va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
        return due("open", 0) ? -1 : real arguments; }

int open(const char *, int, ...), open64(const char *, int, ...), openat(int, const char *, int, ...), openat64(int, const char *, int, ...);
OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))
CALL(int, -1, stat, "stat", (const char *path, struct stat *to), (path, to))
CALL(int, -1, stat64, "stat", (const char *path, struct stat64 *to), (path, to))
CALL(int, -1, lstat, "lstat", (const char *path, struct stat *to), (path, to))
CALL(int, -1, lstat64, "lstat", (const char *path, struct stat64 *to), (path, to))
CALL(int, -1, fstat, "fstat", (int fd, struct stat *to), (fd, to))
CALL(int, -1, fstat64, "fstat", (int fd, struct stat64 *to), (fd, to))
CALL(int, -1, fstatat, "fstatat", (int at, const char *path, struct stat *to, int flags), (at, path, to, flags))
CALL(int, -1, fstatat64, "fstatat", (int at, const char *path, struct stat64 *to, int flags), (at, path, to, flags))
CALL(int, -1, access, "access", (const char *path, int mode), (path, mode))
CALL(ssize_t, -1, readlink, "readlink", (const char *path, char *to, size_t size), (path, to, size))
CALL(char *, NULL, getcwd, "getcwd", (char *to, size_t size), (to, size))
CALL(off_t, -1, lseek, "lseek", (int fd, off_t offset, int whence), (fd, offset, whence))
CALL(off64_t, -1, lseek64, "lseek", (int fd, off64_t offset, int whence), (fd, offset, whence))
CALL(int, -1, fsync, "fsync", (int fd), (fd))
CALL(int, -1, fdatasync, "fsync", (int fd), (fd))
CALL(int, -1, ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size))
CALL(int, -1, chmod, "chmod", (const char *path, mode_t mode), (path, mode))
CALL(int, -1, fchmod, "chmod", (int fd, mode_t mode), (fd, mode))
CALL(int, -1, flock, "flock", (int fd, int how), (fd, how))
CALL(int, -1, link, "link", (const char *from, const char *to), (from, to))
CALL(int, -1, rename, "rename", (const char *from, const char *to), (from, to))
CALL(int, -1, unlink, "unlink", (const char *path), (path))
CALL(DIR *, NULL, opendir, "opendir", (const char *path), (path))
CALL(struct dirent64 *, NULL, readdir64, "readdir", (DIR *directory), (directory))

int close(int fd) {  /* Linux closes the file whatever it answers */
    REAL(close);
    int wrong = due("close", 0), answer = real(fd);
    if (wrong) errno = what;
    return wrong ? -1 : answer;
}
ssize_t read(int fd, void *to, size_t size) {
    REAL(read);
    if (!due("read", size)) return real(fd, to, size);
    return what == SHORT ? real(fd, to, size / 2) : what == END ? 0 : -1;
}
ssize_t write(int fd, const void *from, size_t size) {
    REAL(write);
    if (!due("write", size)) return real(fd, from, size);
    return what == SHORT ? real(fd, from, size / 2) : -1;
}
