# Long short-term memory (Hochreiter and Schmidhuber, 1997) with forget gates (Gers and others,
# 2000), without peepholes. Part of _core.pyx.
#
# i_t = sigmoid(x_t Wxi + bi + h_(t-1) Whi)        f_t and o_t likewise
# g_t = tanh(x_t Wxg + bg + h_(t-1) Whg)
# c_t = f_t c_(t-1) + i_t g_t                      h_t = o_t tanh(c_t)
#
# A row of states is h, c; a row z_t is i, f, g, o, before and after the nonlinearities.

cdef void lstm_forward(Py_ssize_t n, const real* before, real* h, real* z) noexcept nogil:
    """Turn the sums z_t (4, n) of one stream into gates, in place, and compute h_t and c_t."""
    cdef Py_ssize_t j
    n = _lane_multiple(n)
    c_before, c = before + n, h + n
    f, g, o = z + n, z + 2 * n, z + 3 * n
    for j in range(2 * n):
        z[j] = sigmoid(z[j])
    for j in range(n):
        g[j] = tanh(g[j])
    for j in range(n):
        o[j] = sigmoid(o[j])
    for j in range(n):
        c[j] = fma(f[j], c_before[j], z[j] * g[j])
    for j in range(n):
        h[j] = o[j] * tanh(c[j])


# do_t = tanh(c_t) dh_t        dc_t = o_t (1 - tanh(c_t)^2) dh_t + f_(t+1) dc_(t+1)
# di_t = g_t dc_t              df_t = c_(t-1) dc_t              dg_t = i_t dc_t
# dz of a sigmoid s is s (1 - s) ds, of tanh (1 - g^2) dg
# dh_(t-1) = [dzi, dzf, dzg, dzo] [Whi, Whf, Whg, Who]^T

cdef void lstm_backward(
    Py_ssize_t n, const real* before, const real* h, const real* z, const real* after,
    real* dh, real* dz,
) noexcept nogil:
    """Compute the gradient dz_t (4, n) by the sums, from dh_t.

    after ends with f_(t+1) dc_(t+1). dc_t becomes f_t dc_t.
    """
    cdef real s
    cdef Py_ssize_t j
    n = _lane_multiple(n)
    c_before, c, dc = before + n, h + n, dh + n
    f, g, o = z + n, z + 2 * n, z + 3 * n
    for j in range(n):
        s = tanh(c[j])
        dc[j] = fma(o[j] * fma(-s, s, <real>1), dh[j], after[n + j])
        dz[3 * n + j] = fma(-o[j], o[j], o[j]) * (s * dh[j])
    for j in range(n):
        dz[j] = fma(-z[j], z[j], z[j]) * (g[j] * dc[j])
    for j in range(n):
        dz[n + j] = fma(-f[j], f[j], f[j]) * (c_before[j] * dc[j])
    for j in range(n):
        dz[2 * n + j] = fma(-g[j], g[j], <real>1) * (z[j] * dc[j])
    for j in range(n):
        dc[j] *= f[j]
