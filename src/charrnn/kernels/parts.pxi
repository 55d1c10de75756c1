# The parts of a training step, one at a time, and the speed of the core: for benchmarks. Part of
# _core.pyx.

PARTS = "states", "logits", "softmax", "streams", "gradient", "update", "layout"


cdef struct Repetition:
    int part                 # its place in PARTS
    Py_ssize_t n


def repeat(Workspace work, part, Py_ssize_t n):
    """Do one of the PARTS of a training step n times, on what is in the workspace."""
    _check_workspace(work, True)
    cdef Repetition repetition = Repetition(PARTS.index(part), n)
    cdef Call call = _new_call(work, work.T)
    call.arguments, call.backward = &repetition, True
    _make_room(work, &call, 1, 1, False)
    _run(work, &call, <Kernel>_repeat[Workspace32], <Kernel>_repeat[Workspace64])


cdef double _repeat(AnyWorkspace work, Call* call) noexcept nogil:
    cdef Repetition* repetition = <Repetition*>call.arguments
    cdef Span span = Span(0, work.B, work.B, 0, work.T, work.T)
    cdef Update update = Update(ADAGRAD, 0.1, 5, 1, 1, 0, 1, 1)
    cdef Py_ssize_t _i
    for _i in range(repetition.n):
        if _should_stop(call.check, UNCHECKED // 100):
            break
        if repetition.part == 0:
            _states(work, call, &span)
        elif repetition.part == 1:
            _logits(work, call, &span, 1)
        elif repetition.part == 2:
            _softmax_rows(work, call)
        elif repetition.part == 3:
            _forward(work, call)
            _backward(work, call)
        elif repetition.part == 4:
            _gradient(work, call)
        elif repetition.part == 5:
            _learn(work, call, &update)
        else:
            _lay_out(work, call)
    return 0


def fma_chains(Py_ssize_t n):
    """Run n times as many independent multiply-adds as fill the registers; return how many
    operations that was: the peak of this core.
    """
    check_size("n", n, 0, 1_000_000)  # 30 ms
    cdef float acc[CHAINS]
    cdef float total = 0
    cdef Py_ssize_t _i, j
    with nogil:
        for j in range(CHAINS):
            acc[j] = <float>j
        for _i in range(n):
            for j in range(CHAINS):
                acc[j] = fma[float](acc[j], <float>0.5, <float>1)
        for j in range(CHAINS):
            total += acc[j]
    return 2 * n * CHAINS if total > 0 else 0
