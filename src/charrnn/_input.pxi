# What comes into a layer: x_t Wxh + bh, with x_t a one-hot character (a row is looked up), or the states of the layer below. Part of
# _core.pyx.
#
# z_t = Wxh[x_t] + bh, or h'_t Wxh + bh

cdef void _input_forward(
    const LayerPlan* layer, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T,
    const int[:, ::1] inputs,            # (T, B) in [0, V)
    const real[::1] weights,
    const real[:, :, ::1] hs,            # (T + 1, B, width): hs[t + 1] has the states after character t
    real[:, :, ::1] z,                   # (T, B, width)
) noexcept nogil:
    cdef Py_ssize_t B = hs.shape[1], width = hs.shape[2], ld = layer.ld, t, b, j, x
    if layer.below >= 0:
        _products(
            b0, b1, B, T, _lanes(layer.units), layer.inputs, &hs[1, 0, layer.below], width, &weights[layer.Wxh], ld, &weights[layer.bh],
            &z[0, 0, layer.column], width,
        )
        return
    for t in range(T):
        for b in range(b0, b1):
            x = layer.Wxh + inputs[t, b] * ld
            for j in range(ld):
                z[t, b, layer.column + j] = weights[x + j] + weights[layer.bh + j]


# dh'_t = dz_t Wxh^T, for the layer below, where there is one

cdef void _input_backward(
    const LayerPlan* layer, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t T, Py_ssize_t below_ld,
    const real[::1] transposed, const real[:, :, ::1] dz, const real[::1] zeros,
    real[:, :, ::1] dh,                  # (T, B, width)
) noexcept nogil:
    cdef Py_ssize_t B = dz.shape[1], width = dz.shape[2]
    if layer.below >= 0:
        _products(
            b0, b1, B, T, below_ld, layer.units, &dz[0, 0, layer.column], width, &transposed[layer.WxhT], below_ld, &zeros[0],
            &dh[0, 0, layer.below], width,
        )


# dWxh[x_t] += dz_t, or dWxh = sum h'_t^T dz_t;  dbh = sum dz_t

cdef void _input_gradient(
    const LayerPlan* layer, Py_ssize_t j0, Py_ssize_t j1, Py_ssize_t T, const int[:, ::1] inputs,
    const real[:, :, ::1] hs, const real[:, :, ::1] dz, const real[::1] zeros, real[::1] gradient, signed char[::1] used,
) noexcept nogil:
    """The rows of dWxh from j0 to j1; of characters only those that are in inputs, which are marked in used; the others are 0."""
    cdef Py_ssize_t B = inputs.shape[1], width = dz.shape[2], ld = layer.ld, t, b, j, x, row
    if layer.below >= 0:
        if j0 < j1:
            _product(
                j1 - j0, _lanes(layer.units), T * B, &hs[1, 0, layer.below + j0], 1, width, &dz[0, 0, layer.column], width, &zeros[0], 0,
                &gradient[layer.Wxh + j0 * ld], ld,
            )
        return
    for t in range(T):
        for b in range(B):
            x = inputs[t, b]
            if x < j0 or x >= j1:
                continue
            row = layer.Wxh + x * ld
            if not used[x]:
                used[x] = 1
                for j in range(ld):
                    gradient[row + j] = 0
            for j in range(ld):
                gradient[row + j] += dz[t, b, layer.column + j]
