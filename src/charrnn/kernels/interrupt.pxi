# Ctrl-C while C is at work. Part of _core.pyx.
#
# Kernels that may take long ask now and then whether the call should stop, and then leave their
# results as they are: the entry point raises the exception, and no weight has changed in that step.

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
    UNCHECKED = 1 << 22      # multiply-adds between two looks at the clock: below a millisecond

cdef double SHORTEST_PAUSE = 0.008, LONGEST_PAUSE = 0.03   # seconds between two looks for signals

cdef struct InterruptCheck:
    void* work               # the Workspace, which gets the exception
    InterruptCheck* caller   # that of the thread that Python called; NULL: this is it
    int stopped              # 1 as soon as the call should stop; only the caller's counts
    Py_ssize_t spent         # multiply-adds since the last look at the clock
    double looked            # when the caller last looked for signals, in seconds
    double pause             # until it looks again: long where it waits for Python's other threads


cdef InterruptCheck _new_check(Workspace work, InterruptCheck* caller) noexcept:
    return InterruptCheck(<void*>work, caller, 0, 0, charrnn_seconds(), SHORTEST_PAUSE)


cdef inline bint _is_stopped(const InterruptCheck* check) noexcept nogil:
    if check == NULL:
        return False
    return charrnn_get(&check.stopped if check.caller == NULL else &check.caller.stopped)


cdef inline bint _should_stop(InterruptCheck* check, Py_ssize_t cost) noexcept nogil:
    """Whether the call should stop, asked before so many multiply-adds; never without a check."""
    if check == NULL:
        return False
    check.spent += cost
    if check.spent < UNCHECKED:
        return False
    return _look(check)


cdef bint _look(InterruptCheck* check) noexcept nogil:
    cdef double now
    check.spent = UNCHECKED
    if _is_stopped(check):
        return True
    check.spent = 0
    if check.caller == NULL:
        now = charrnn_seconds()
        if not 0 <= now - check.looked < check.pause:     # the clock may have been set back
            _look_for_signals(check)
            check.looked = charrnn_seconds()
            check.pause = min(max(SHORTEST_PAUSE, 6 * (check.looked - now)), LONGEST_PAUSE)
    return False


cdef void _look_for_signals(InterruptCheck* check) noexcept with gil:
    """Let Python run its signal handlers; what one raises ends the call."""
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        _stop(check, error)


cdef void _stop(InterruptCheck* check, error) noexcept:
    """End the call with an exception."""
    (<Workspace>check.work).interruption = error
    charrnn_set(&check.stopped)


cdef bint _raise_interruption(Workspace work) except False:
    """Raise what ended the call while C was at work."""
    error, work.interruption = work.interruption, None
    if error is not None:
        raise error
    return True
