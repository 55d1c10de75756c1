# The gated recurrent unit (Cho and others, 2014), with the reset gate after the product, as cuDNN,
# PyTorch and ONNX define it. Part of _core.pyx.
#
# r_t = sigmoid(x_t Wxr + br + h_(t-1) Whr)        u_t = sigmoid(x_t Wxu + bu + h_(t-1) Whu)
# q_t = h_(t-1) Whn + bhn                          n_t = tanh(x_t Wxn + bn + r_t q_t)
# h_t = n_t + u_t (h_(t-1) - n_t)
#
# A row z_t is n, r, u, q, before and after the nonlinearities: the input adds to the first three,
# h_(t-1) to the last three.

cdef void gru_forward(Py_ssize_t n, const real* before, real* h, real* z) noexcept nogil:
    """Turn the sums z_t (4, n) of one stream into gates, in place, and compute h_t from h_(t-1)."""
    cdef Py_ssize_t j
    n = _lane_multiple(n)
    r, u, q = z + n, z + 2 * n, z + 3 * n
    for j in range(2 * n):
        r[j] = sigmoid(r[j])
    for j in range(n):
        z[j] = tanh(fma(r[j], q[j], z[j]))
    for j in range(n):
        h[j] = fma(u[j], before[j] - z[j], z[j])


# dn_t = (1 - u_t) dh_t                            dzn_t = (1 - n_t^2) dn_t
# dzr_t = r_t (1 - r_t) q_t dzn_t                  dzu_t = u_t (1 - u_t) (h_(t-1) - n_t) dh_t
# dq_t = r_t dzn_t        dh_(t-1) = u_t dh_t + [dzr_t, dzu_t, dq_t] [Whr, Whu, Whn]^T

cdef void gru_backward(
    Py_ssize_t n, const real* before, const real* z, const real* after, real* dh, real* dz,
) noexcept nogil:
    """Compute the gradient dz_t (4, n) by the sums.

    after is u_(t+1) dh_(t+1), which dh_t lacks yet. dh_t becomes u_t dh_t.
    """
    cdef Py_ssize_t j
    n = _lane_multiple(n)
    r, u, q = z + n, z + 2 * n, z + 3 * n
    for j in range(n):
        dh[j] += after[j]
        dz[j] = fma(-z[j], z[j], <real>1) * fma(-u[j], dh[j], dh[j])
    for j in range(n):
        dz[n + j] = fma(-r[j], r[j], r[j]) * (q[j] * dz[j])
    for j in range(n):
        dz[2 * n + j] = fma(-u[j], u[j], u[j]) * ((before[j] - z[j]) * dh[j])
    for j in range(n):
        dz[3 * n + j] = r[j] * dz[j]
        dh[j] *= u[j]
