# Ctrl-C while C is at work. Part of _core.pyx.
#
# Kernels that may take long ask now and then whether the call is to end, and then leave what they do as it is: a door that was stopped
# gives nothing back but the exception, and no weight has changed in that step.

cdef extern from *:
    """
    #include <time.h>
    static double charrnn_seconds(void) {
        struct timespec now;
        timespec_get(&now, TIME_UTC);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }
    #if defined(_MSC_VER)
    static int charrnn_get(const int *flag) { return *(const volatile int *)flag; }
    static void charrnn_set(int *flag) { *(volatile int *)flag = 1; }
    #else
    static int charrnn_get(const int *flag) { return __atomic_load_n(flag, __ATOMIC_RELAXED); }
    static void charrnn_set(int *flag) { __atomic_store_n(flag, 1, __ATOMIC_RELAXED); }
    #endif
    """
    double charrnn_seconds() noexcept nogil
    int charrnn_get(const int* flag) noexcept nogil
    void charrnn_set(int* flag) noexcept nogil

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef enum:
    UNWATCHED = 1 << 22      # multiply-adds between two looks at the clock: below a millisecond

cdef double SHORTEST_PAUSE = 0.008, LONGEST_PAUSE = 0.03   # seconds between two looks for signals

cdef struct Watch:
    void* work               # the Workspace, which gets the exception
    int* stopped             # 1 as soon as the call is to end: one for all its threads
    bint caller              # whether this is the thread that Python called: only that one may look for signals
    Py_ssize_t spent         # multiply-adds since the last look at the clock
    double looked            # for signals, in seconds
    double pause             # until it looks again: long where Python is busy in other threads, which it has to wait for


cdef Watch _new_watch(Workspace work, int* stopped) noexcept:
    return Watch(<void*>work, stopped, True, 0, charrnn_seconds(), SHORTEST_PAUSE)


cdef inline bint _stopped(Watch* watch, Py_ssize_t cost) noexcept nogil:
    """Whether the call is to end, asked before so many multiply-adds; never without a watch."""
    if watch == NULL:
        return False
    watch.spent += cost
    if watch.spent < UNWATCHED:
        return False
    return _look(watch)


cdef bint _look(Watch* watch) noexcept nogil:
    cdef double now
    watch.spent = UNWATCHED
    if charrnn_get(watch.stopped):
        return True
    watch.spent = 0
    if watch.caller:
        now = charrnn_seconds()
        if not 0 <= now - watch.looked < watch.pause:     # the clock may have been set back
            _look_for_signals(watch)
            watch.looked = charrnn_seconds()
            watch.pause = min(max(SHORTEST_PAUSE, 6 * (watch.looked - now)), LONGEST_PAUSE)
    return False


cdef void _look_for_signals(Watch* watch) noexcept with gil:
    """Let Python run its signal handlers; what one raises ends the call."""
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        (<Workspace>watch.work).interruption = error
        charrnn_set(watch.stopped)


cdef bint _raise_interruption(Workspace work) except False:
    """Raise what a signal handler has raised while C was at work."""
    error, work.interruption = work.interruption, None
    if error is not None:
        raise error
    return True
