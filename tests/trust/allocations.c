/* Allocation of memory, which fails where chosen code asks for it: loaded before libc by memory.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stddef.h>

static struct { char *start, *end; } places[32];  /* of the machine code whose requests count */
static int n_places, armed;
static long calls, from, to;

void shim_forget(void) { n_places = 0; }
void shim_add(char *start, char *end) {
    if (n_places < 32) places[n_places].start = start, places[n_places++].end = end;
}
void shim_arm(long first, long last) { calls = 0, from = first, to = last, armed = 1; }
void shim_disarm(void) { armed = 0; }

static int due(char *caller) {
    if (!armed) return 0;
    for (int i = 0; i < n_places; i++) {
        if (caller < places[i].start || caller >= places[i].end) continue;
        long number = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
        if (number < from || number > to) return 0;
        errno = ENOMEM;
        return 1;
    }
    return 0;
}

#define CALL(name, parameters, arguments) \
    void *name parameters { \
        static void *(*real) parameters; \
        if (!real) real = (void *(*) parameters)dlsym(RTLD_NEXT, #name); \
        return due(__builtin_return_address(0)) ? NULL : real arguments; }
CALL(malloc, (size_t size), (size))
CALL(calloc, (size_t number, size_t size), (number, size))
CALL(realloc, (void *old, size_t size), (old, size))
CALL(aligned_alloc, (size_t alignment, size_t size), (alignment, size))

/* At a crash, tell on stderr in which libraries it was. */
static void tell(int number) {
    void *frames[64];
    signal(number, SIG_DFL);
    armed = 0;
    backtrace_symbols_fd(frames, backtrace(frames, 64), 2);
    raise(number);
}
void shim_tell(void) { signal(SIGSEGV, tell), signal(SIGABRT, tell), signal(SIGBUS, tell), signal(SIGFPE, tell), signal(SIGILL, tell); }
