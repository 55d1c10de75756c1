# A step of training: threads share its parts, and shards of the batch its gradient. Part of
# _core.pyx.
#
# The gradient of a step is the sum of the gradients of its shards, each of every so many streams,
# in a binary tree. The tree depends only on their number, so any split over processes gives the
# same bits. A batch without shards is a tree with one leaf.
#
# Threads share first the streams of a step, then the rows of its weights, never a sum. They live
# for one call of train_steps, so there is nothing to lose in a fork, and touch no Python object.

from cpython.pythread cimport (
    NOWAIT_LOCK, WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock,
    PyThread_release_lock, PyThread_start_new_thread, PyThread_type_lock,
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
    MAX_SHARDS = 4096
    TRIES = 2000         # to take a lock before a thread sleeps: 50 us, as long as waking takes

cdef enum:               # the tasks that threads share: bits
    QUIT = 0
    STREAMS = 1
    GRADIENT = 2
    ADD = 4
    SQUARES = 8
    UPDATE = 16
    LAY_OUT = 32

cdef enum:               # what has overflowed
    LOSS = 1
    A_GRADIENT
    A_WEIGHT

cdef enum:               # what processes exchange in a step
    LOSSES = 0
    SUMS
    SQUARED_ROWS
    FINITE
    WEIGHTS

cdef double LARGEST_LOSS = 1e280     # history.LARGEST_LOSS

cdef struct ThreadPool

cdef struct Worker:
    ThreadPool* pool
    bint bounded                 # whether the gradient of its streams is
    int number
    InterruptCheck check
    PyThread_type_lock go        # each is taken, but from the start of the tasks to their end
    PyThread_type_lock done

cdef struct ThreadPool:
    void* work                   # a Workspace32 or Workspace64
    bint single                  # which of them
    Call* call
    Update update
    int tasks
    int n_threads                # the calling one is number 0
    Worker* workers

cdef struct Training:            # a call of train_steps
    ThreadPool pool
    Settings settings
    const double* learning_rates     # (steps,)
    const int* rows              # (steps,) time steps of each window; NULL: up to its last target
    double* losses               # (steps,) each summed over time steps and streams
    Py_ssize_t T                 # time steps of a window
    Py_ssize_t steps, done       # to do, and applied
    int n_slots                  # for sums of gradients
    bint reset                   # whether each window starts from the zero state
    bint slow                    # a step takes so long that Ctrl-C should not wait for its end
    bint cautious                # a step may overflow the weights or what the optimizer keeps
    int overflowed               # what, 0 if nothing
    void* exchange               # the results of other processes, NULL if there are none


# ------------------------------------------------------------------------------- threads

cdef void _do_tasks(AnyWorkspace work, Worker* worker) noexcept nogil:
    """Do one thread's part of the tasks."""
    cdef ThreadPool* pool = worker.pool
    cdef Call call = pool.call[0]
    call.part = Part(worker.number, pool.n_threads)
    call.b0 = work.B * worker.number // pool.n_threads
    call.b1 = work.B * (worker.number + 1) // pool.n_threads
    # Nothing stops a step once weights change, or one that other processes wait for.
    call.check = NULL if pool.tasks & UPDATE or call.check == NULL else &worker.check
    if pool.tasks & STREAMS:
        _forward(work, &call)
        worker.bounded = _backward(work, &call)
    if pool.tasks & GRADIENT:
        _gradient(work, &call)
    if pool.tasks & ADD:
        _add_slots(work, &call)
    if pool.tasks & SQUARES:
        _square(work, &call)
    if pool.tasks & UPDATE:
        _learn(work, &call, &pool.update)
    if pool.tasks & LAY_OUT:
        _lay_out(work, &call)


cdef void _do_part(Worker* worker) noexcept nogil:
    if worker.pool.single:
        _do_tasks(<Workspace32>worker.pool.work, worker)
    else:
        _do_tasks(<Workspace64>worker.pool.work, worker)


cdef void _take(PyThread_type_lock lock) noexcept nogil:
    """Take a lock that another thread is about to release."""
    cdef int i
    for i in range(TRIES):
        if PyThread_acquire_lock(lock, NOWAIT_LOCK):
            return
        CHARRNN_PAUSE()
    PyThread_acquire_lock(lock, WAIT_LOCK)


cdef void _worker_main(void* argument) noexcept nogil:
    """Do a worker's part of the tasks, again and again, until it should quit."""
    cdef Worker* worker = <Worker*>argument
    cdef PyThread_type_lock done = worker.done
    while True:
        _take(worker.go)
        if worker.pool.tasks == QUIT:
            PyThread_release_lock(done)  # from here on the pool may be gone
            return
        _do_part(worker)
        PyThread_release_lock(done)


cdef void _run_tasks(ThreadPool* pool, int tasks) noexcept nogil:
    """Have all threads do their parts of some tasks."""
    cdef int i
    pool.tasks = tasks
    for i in range(1, pool.n_threads):
        PyThread_release_lock(pool.workers[i].go)
    _do_part(&pool.workers[0])
    for i in range(1, pool.n_threads):
        _take(pool.workers[i].done)


cdef bint _start_threads(ThreadPool* pool, int n_threads) except False:
    """Start n_threads - 1 threads, or as many as the system has: any number gives the same bits."""
    cdef Worker* worker
    pool.workers = <Worker*>calloc(n_threads, sizeof(Worker))
    if pool.workers == NULL:
        raise MemoryError("no memory for threads")
    for i in range(n_threads):
        worker = &pool.workers[i]
        worker.pool, worker.number = pool, i
        worker.check = _new_check(<Workspace>pool.work, &pool.workers[0].check if i else NULL)
    for i in range(1, n_threads):
        worker = &pool.workers[i]
        worker.go, worker.done = _taken_lock(), _taken_lock()
        if (
            worker.go == NULL or worker.done == NULL
            or <long>PyThread_start_new_thread(_worker_main, worker) == -1
        ):
            _free_locks(worker)
            break
        pool.n_threads += 1
    return True


cdef void _end_threads(ThreadPool* pool) noexcept:
    cdef int i
    pool.tasks = QUIT
    for i in range(1, pool.n_threads):
        PyThread_release_lock(pool.workers[i].go)
        PyThread_acquire_lock(pool.workers[i].done, WAIT_LOCK)
        PyThread_release_lock(pool.workers[i].done)
        _free_locks(&pool.workers[i])
    free(pool.workers)


cdef PyThread_type_lock _taken_lock() noexcept:
    cdef PyThread_type_lock lock = PyThread_allocate_lock()
    if lock != NULL:
        PyThread_acquire_lock(lock, WAIT_LOCK)
    return lock


cdef void _free_locks(Worker* worker) noexcept:
    if worker.go != NULL:
        PyThread_free_lock(worker.go)
    if worker.done != NULL:
        PyThread_free_lock(worker.done)


# ------------------------------------------------------------------------------- shards

cdef int _sum_shards(
    Training* training, Py_ssize_t low, Py_ssize_t high, int slot,
) noexcept nogil:
    """Sum the gradients of shards low to high that are here: each largest part of the tree that is
    whole here into a slot of its own, from slot on. Return the slot after them.

    Before there are threads it only counts the slots.
    """
    cdef Call* call = training.pool.call
    cdef bint run = training.pool.workers != NULL
    cdef Py_ssize_t half = 1
    cdef int after
    if high <= call.first_shard or call.stop_shard <= low:
        return slot
    if high - low == 1:
        call.shard, call.slot = low - call.first_shard, slot
        training.n_slots = max(training.n_slots, slot + 1)
        if run:
            _run_tasks(&training.pool, GRADIENT)
        return slot + 1
    while 2 * half < high - low:     # the left half is full
        half *= 2
    after = _sum_shards(training, low, low + half, slot)
    after = _sum_shards(training, low + half, high, after)
    if low < call.first_shard or call.stop_shard < high:
        return after
    call.slot = slot
    if run:
        _run_tasks(&training.pool, ADD)
    return slot + 1


cdef void _add_slots(AnyWorkspace work, const Call* call) noexcept nogil:
    """Add one part of what is in the slot above to a slot."""
    cdef Py_ssize_t size = work.plan.size, j = _share(size, call.part.number, call.part.of)
    cdef Py_ssize_t n = _share(size, call.part.number + 1, call.part.of) - j
    if n > 0:
        _add(n, &work.gradient[(call.slot + 1) * size + j], &work.gradient[call.slot * size + j])


# ------------------------------------------------------------------------------- other processes

cdef bint _exchange(Training* training, int what, bint fine) noexcept with gil:
    """Exchange something with the other processes; return whether it is fine everywhere.

    What Python raises there ends the call.
    """
    cdef Workspace work = <Workspace>training.pool.work
    cdef Py_ssize_t b
    try:
        exchange = <object>training.exchange
        if what == LOSSES:
            losses = _empty(work.B)
            for b in range(work.B):
                losses[b] = _loss_of_stream(work, b, training.pool.call.rows)
            training.losses[training.done], fine = exchange.losses(losses, fine)
        elif what == SUMS:
            exchange.sums(work.gradients.view().reshape(-1, work.plan.size))
        elif what == SQUARED_ROWS:
            exchange.squares(np.asarray(work.squares))
        elif what == FINITE:
            fine = exchange.all(fine)
        else:
            exchange.weights()
        return fine
    except BaseException as error:
        _stop(&training.pool.workers[0].check, error)
        return False


# ------------------------------------------------------------------------------- steps

cdef double _train(AnyWorkspace work, Call* call) noexcept nogil:
    """Train on window after window until a step is not applied; training.done is how many were."""
    cdef Training* training = <Training*>call.arguments
    cdef Py_ssize_t window
    _lay_out(work, call)
    while training.done < training.steps and not _is_stopped(call.check):
        window = training.done
        call.step = training.settings.first_step + window
        _load(work, call, window * training.T, training.T)
        call.rows = _used_rows(work, call) if training.rows == NULL else training.rows[window]
        _mark_used(work, call)
        if training.reset:
            _clear(work.B * work.plan.width, &work.hs[0, 0, 0])
        if call.nll != NULL and work.recent is not None:
            call.counted = call.nll + window * training.T
        if not _train_step(work, training):
            return 0
        if call.nll != NULL and work.recent is None:
            nll = call.nll + window * training.T * work.B
            memcpy(nll, &work.nll[0, 0], call.rows * work.B * sizeof(double))
        _carry(work, call.rows)
        training.done += 1
        if training.slow or training.exchange != NULL:
            _run_tasks(&training.pool, LAY_OUT)
    return 0


cdef Py_ssize_t _used_rows(Workspace work, const Call* call) noexcept nogil:
    """The time steps of the window up to its last target, at least 1: a record needs no more."""
    cdef Py_ssize_t t, b
    for t in range(call.rows - 1, 0, -1):
        for b in range(work.B):
            if work.targets[t, b] != IGNORED:
                return t + 1
    return 1


cdef bint _train_step(AnyWorkspace work, Training* training) noexcept nogil:
    """Change the weights by the window that is loaded; return False if they stay as they were."""
    cdef ThreadPool* pool = &training.pool
    cdef bint alone = training.exchange == NULL, clips = training.settings.clip_norm < INFINITY
    # With nothing between the gradient and the update, each thread does both for its rows.
    cdef bint at_once = alone and pool.call.n_shards == 1 and not (clips or training.slow)
    _run_tasks(pool, STREAMS)
    if not at_once:
        _sum_shards(training, 0, pool.call.n_shards, 0)
    if _is_stopped(pool.call.check) or not _check_loss(work, training):
        return False
    if not alone and not _exchange(training, SUMS, True):
        return False
    rate = training.learning_rates[training.done]
    _set_update(&pool.update, &training.settings, rate, pool.call.step + 1)
    if clips and not _clip_norm(work, training):
        return False
    return _change_weights(work, training, GRADIENT | UPDATE if at_once else UPDATE)


cdef bint _check_loss(Workspace work, Training* training) noexcept nogil:
    """Note the loss; return whether it is finite and the gradient is bounded."""
    cdef double* loss = &training.losses[training.done]
    cdef bint bounded = True
    cdef int i
    for i in range(training.pool.n_threads):
        bounded = bounded and training.pool.workers[i].bounded
    if training.exchange == NULL:
        loss[0] = _loss(work, training.pool.call)
    else:
        loss[0] = NAN
        bounded = _exchange(training, LOSSES, bounded)
    if not loss[0] < LARGEST_LOSS:     # NaN is not, either
        training.overflowed = LOSS
    elif not bounded:
        training.overflowed = A_GRADIENT
    return not training.overflowed


cdef bint _clip_norm(Workspace work, Training* training) noexcept nogil:
    """Scale the update down to the largest norm; return False if the norm is not finite."""
    cdef double norm, largest = training.settings.clip_norm
    _run_tasks(&training.pool, SQUARES)
    if training.exchange != NULL and not _exchange(training, SQUARED_ROWS, True):
        return False
    norm = _norm(work) / training.pool.call.rows   # of the gradient of the loss of a character
    training.pool.update.scale = largest / norm if norm > largest else 1
    if not norm < INFINITY:
        training.overflowed = A_GRADIENT
    return norm < INFINITY


cdef bint _change_weights(AnyWorkspace work, Training* training, int tasks) noexcept nogil:
    """Update the weights; return False, with all as it was, if some overflowed."""
    cdef bint alone = training.exchange == NULL, finite = True
    if training.cautious:
        _copy_parameters(work, False)
    if alone and not training.slow:
        tasks |= LAY_OUT
    _run_tasks(&training.pool, tasks)
    if training.cautious:
        finite = _is_bounded(work.plan.size, &work.weights[0], INFINITY)
        finite = finite and _is_bounded(work.plan.size, &work.memory[0], INFINITY)
        if not alone:
            finite = _exchange(training, FINITE, finite)
        if not finite:
            _copy_parameters(work, True)
            training.overflowed = A_WEIGHT
            return False
    return alone or _exchange(training, WEIGHTS, True)


cdef void _copy_parameters(AnyWorkspace work, bint back) noexcept nogil:
    """Copy the weights and what the optimizer keeps aside, or back."""
    cdef Py_ssize_t size = work.plan.size, momentum = work.momentum.shape[0]
    weights, memory, before = &work.weights[0], &work.memory[0], &work.before[0]
    if back:
        _copy(size, before, weights)
        _copy(size, before + size, memory)
        _copy(momentum, before + 2 * size, &work.momentum[0])
    else:
        _copy(size, weights, before)
        _copy(size, memory, before + size)
        _copy(momentum, &work.momentum[0], before + 2 * size)
