# Threads that share a step: first its streams, then its weights. Part of _core.pyx.
#
# They live for one call of train_steps only, so that there is nothing to lose in a fork, and touch no Python object.

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock, PyThread_start_new_thread, PyThread_type_lock,
    NOWAIT_LOCK, WAIT_LOCK,
)
from libc.stdlib cimport calloc, free

cdef extern from *:
    """
    #if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    #define CHARRNN_PAUSE() __builtin_ia32_pause()
    #else
    #define CHARRNN_PAUSE()
    #endif
    """
    void CHARRNN_PAUSE() noexcept nogil

cdef enum:
    MAX_THREADS = 1024   # of a step, so that what they need together is a number that an int holds
    TRIES = 2000         # to take a lock before a thread sleeps: some 50 microseconds, as long as to sleep and be woken takes

cdef enum:               # what there is to do: bits
    OVER = 0
    STREAMS = 1
    GRADIENT = 2
    SQUARES = 4
    UPDATE = 8
    LAY_OUT = 16
    ADD = 32

cdef enum:               # what has overflowed
    LOSS = 1
    A_GRADIENT
    A_WEIGHT

cdef struct Crew

cdef struct Member:
    Crew* crew
    int number
    bint bounded                 # its part of the streams had a bounded gradient
    Watch watch
    PyThread_type_lock go        # each is taken, but from the start of what there is to do to its end
    PyThread_type_lock done

cdef struct Crew:
    void* work                   # a Workspace32 or Workspace64
    Update update
    double clip_norm             # of the gradient of the loss of a character
    double dropout
    unsigned long long first     # the number of the first step
    bint reset                   # whether each window begins with zero
    Py_ssize_t rows              # of the window
    int parts                    # threads, the calling one among them
    int doing
    bint slow                    # a step takes so long that Ctrl-C should not wait for its end
    bint cautious                # a step may overflow the weights or Adagrad's memory
    int stopped
    int overflowed               # what, 0 if nothing
    Member* members


cdef void _work(AnyWorkspace work, Member* member) noexcept nogil:
    """Do one thread's part of what there is to do."""
    cdef Crew* crew = member.crew
    cdef Part part = Part(member.number, crew.parts)
    cdef Watch* watch = NULL if crew.doing & (GRADIENT | UPDATE) == GRADIENT | UPDATE else &member.watch   # never stopped in between
    cdef Py_ssize_t b0 = work.B * member.number // crew.parts, b1 = work.B * (member.number + 1) // crew.parts
    if crew.doing & STREAMS:
        _forward(work, b0, b1, crew.rows, watch)
        member.bounded = _backward(work, b0, b1, crew.rows, watch)
    if crew.doing & GRADIENT:
        _gradient(work, crew.rows, &part, watch)
    if crew.doing & ADD:
        _add_next_slot(work, &part)
    if crew.doing & SQUARES:
        _square(work, &part)
    if crew.doing & UPDATE:
        _learn(work, &crew.update, &part)
    if crew.doing & LAY_OUT:
        _lay_out(work, &part, NULL if crew.doing & UPDATE else watch)


cdef void _take(PyThread_type_lock lock) noexcept nogil:
    """Take a lock that another thread is about to release."""
    cdef int i
    for i in range(TRIES):
        if PyThread_acquire_lock(lock, NOWAIT_LOCK):
            return
        CHARRNN_PAUSE()
    PyThread_acquire_lock(lock, WAIT_LOCK)


cdef void _serve(void* argument) noexcept nogil:
    """What a thread does: its part, again and again, until it is over."""
    cdef Member* member = <Member*>argument
    cdef PyThread_type_lock done = member.done
    while True:
        _take(member.go)
        if member.crew.doing == OVER:
            PyThread_release_lock(done)  # from here on nothing of the crew is there
            return
        if (<Workspace>member.crew.work).single:
            _work(<Workspace32>member.crew.work, member)
        else:
            _work(<Workspace64>member.crew.work, member)
        PyThread_release_lock(done)


cdef void _together(AnyWorkspace work, Crew* crew, int doing) noexcept nogil:
    """Do some of a step, each thread its part."""
    cdef int i
    crew.doing = doing
    for i in range(1, crew.parts):
        PyThread_release_lock(crew.members[i].go)
    _work(work, &crew.members[0])
    for i in range(1, crew.parts):
        _take(crew.members[i].done)


cdef bint _all_bounded(const Crew* crew) noexcept nogil:
    cdef int i
    for i in range(crew.parts):
        if not crew.members[i].bounded:
            return False
    return True


cdef PyThread_type_lock _taken_lock() noexcept:
    cdef PyThread_type_lock lock = PyThread_allocate_lock()
    if lock != NULL:
        PyThread_acquire_lock(lock, WAIT_LOCK)
    return lock


cdef bint _assemble(Crew* crew, int threads) except False:
    """Start threads - 1 threads, or as many as there are to be had: any number gives the same bits."""
    cdef Member* member
    crew.members = <Member*>calloc(threads, sizeof(Member))
    if crew.members == NULL:
        raise MemoryError("no memory for threads")
    crew.parts = 1
    for i in range(threads):
        crew.members[i].crew, crew.members[i].number = crew, i
        crew.members[i].watch = _new_watch(<Workspace>crew.work, &crew.stopped)
        crew.members[i].watch.caller = i == 0
    for i in range(1, threads):
        member = &crew.members[i]
        member.go, member.done = _taken_lock(), _taken_lock()
        if member.go == NULL or member.done == NULL or <long>PyThread_start_new_thread(_serve, member) == -1:
            _free_locks(member)
            break
        crew.parts += 1
    return True


cdef void _dismiss(Crew* crew) noexcept:
    """End the threads."""
    cdef int i
    crew.doing = OVER
    for i in range(1, crew.parts):
        PyThread_release_lock(crew.members[i].go)
        PyThread_acquire_lock(crew.members[i].done, WAIT_LOCK)
        PyThread_release_lock(crew.members[i].done)
        _free_locks(&crew.members[i])
    free(crew.members)


cdef void _free_locks(Member* member) noexcept:
    if member.go != NULL:
        PyThread_free_lock(member.go)
    if member.done != NULL:
        PyThread_free_lock(member.done)
