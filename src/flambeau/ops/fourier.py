"""Discrete Fourier transforms (`torch.fft`) by NumPy's or SciPy's, and the short-time transform.

Three ops, as in PyTorch: of complex numbers, of real ones, and to real ones; all else is composed of them. float32 stays
in single precision. normalization: 0 none, 1 by the root of the number of elements, 2 by their number.
"""

from __future__ import annotations

import functools
from typing import Any

from ..dtypes import default_dtype, float32, float64
from ..errors import fail
from ..shapes import numel, wrap_dim
from ..stream.backend import current
from ..stream.external import writer
from ..stream.graph import Val, opaque
from .elementwise import into
from .entry import FUNCTIONS, T, composite, op
from .rules import scalar_name

Dims = tuple[int, ...]
FORWARD: dict[int, Any] = {0: "backward", 1: "ortho", 2: "forward"}  # NumPy's names, by normalization
INVERSE: dict[int, Any] = {0: "forward", 1: "ortho", 2: "backward"}
SHARED = 1 << 17  # elements from which on threads are worth their start


@functools.cache
def transforms() -> Any:
    """The functions below SciPy's, which do several transforms at a time and write where they are told; None: NumPy's
    have to do."""
    try:
        from scipy.fft._pocketfft import pypocketfft as found
    except ImportError:
        return None
    return found if all(hasattr(found, name) for name in ("c2c", "r2c", "c2r")) else None


def workers(x: Any) -> int:
    """Threads among which transforms are shared out, each as it would be alone."""
    return current().get_num_threads() if x.size >= SHARED else 1


@writer
def fourier(x: Any, dims: Dims, normalization: int, forward: bool, out: Any) -> None:
    """The transform of complex numbers."""
    made = transforms()
    if made is not None:
        made.c2c(x, dims, forward, normalization, out, workers(x))
        return
    import numpy as np

    if forward:
        out[...] = np.fft.fftn(x, axes=dims, norm=FORWARD[normalization])
    else:
        out[...] = np.fft.ifftn(x, axes=dims, norm=INVERSE[normalization])


@writer
def fourier_of_real(x: Any, dims: Dims, normalization: int, out: Any) -> None:
    """The first half, along the last of dims, of the transform of real numbers."""
    made = transforms()
    if made is not None:
        made.r2c(x, dims, True, normalization, out, workers(x))
        return
    import numpy as np

    out[...] = np.fft.rfftn(x, axes=dims, norm=FORWARD[normalization])


@writer
def fourier_mirrored(x: Any, dims: Dims, normalization: int, out: Any) -> None:
    """The transform of real numbers, whose second half along the last of dims is the first one's mirror image."""
    import numpy as np

    last = out.ndim - 1
    given, whole = (a if dims[-1] == last else a.swapaxes(dims[-1], last) for a in (x, out))
    half = whole.shape[-1] // 2 + 1
    fourier_of_real(given, (last,), normalization, whole[..., :half])
    np.conjugate(whole[..., whole.shape[-1] - half : 0 : -1], out=whole[..., half:])
    if len(dims) > 1:
        fourier(out, dims[:-1], normalization, True, out)


@writer
def fourier_to_real(x: Any, dims: Dims, normalization: int, last: int, out: Any) -> None:
    """The inverse transform of what is Hermitian, from its first half along the last of dims."""
    made = transforms()
    if made is not None:
        made.c2r(x, dims, last, False, normalization, out, workers(x))
        return
    import numpy as np

    sizes = [*[x.shape[d] for d in dims[:-1]], last]
    out[...] = np.fft.irfftn(x, s=sizes, axes=dims, norm=INVERSE[normalization])


def _external(name: str, x: Val, shape: Dims, d: Any, *args: Any) -> Val:
    from ..stream.graph import empty

    if not numel(shape):
        return empty(shape, d)
    return opaque("external", [x], [(shape, d)], (name, args))[0]


def _changed(x: Val, dim: int, n: int) -> Dims:
    return (*x.shape[:dim], n, *x.shape[dim + 1 :])


FACTS: dict[str, Any] = {"method": False, "function": False, "wirtinger": True}


@op(
    **FACTS,
    node="FftC2CBackward0",
    grad={"self": lambda grad, dim, normalization, forward: _fft_c2c(grad, dim, normalization, not forward)},
)
def _fft_c2c(self: T, dim: Dims, normalization: int, forward: bool) -> Any:
    """The transform of complex numbers."""
    return _external("fourier", self, tuple(self.shape), self.dtype, dim, normalization, forward)


def _r2c_back(grad: Any, form: Any, dim: Dims, normalization: int, onesided: bool) -> Any:
    last = dim[-1]
    more = form.trace.operands[0].shape[last] - grad.shape[last]
    if onesided and more:
        grad = _padded(grad, last, more)
    return _fft_c2c(grad, dim, normalization, False).real


@op(**FACTS, node="FftR2CBackward0", grad={"self": _r2c_back})
def _fft_r2c(self: T, dim: Dims, normalization: int, onesided: bool) -> Any:
    """The transform of real numbers; onesided: its first half along the last of dim."""
    d = self.dtype.to_complex()
    if not onesided:
        return _external("fourier_mirrored", self, tuple(self.shape), d, dim, normalization)
    shape = _changed(self, dim[-1], self.shape[dim[-1]] // 2 + 1)
    return _external("fourier_of_real", self, shape, d, dim, normalization)


def _c2r_back(grad: Any, dim: Dims, normalization: int, last_dim_size: int) -> Any:
    made = _fft_r2c(grad, dim, normalization, True)
    last = dim[-1]
    half = made.shape[last]
    twice = last_dim_size - half
    if not twice:
        return made
    cut = lambda start, length: made.narrow(last, start, length)
    inner = [cut(0, 1), cut(1, twice) * 2, *([cut(1 + twice, half - 1 - twice)] if half > 1 + twice else [])]
    return FUNCTIONS["cat"](inner, last)


@op(**FACTS, node="FftC2RBackward0", grad={"self": _c2r_back})
def _fft_c2r(self: T, dim: Dims, normalization: int, last_dim_size: int) -> Any:
    """The real transform of the first half of what is Hermitian; last_dim_size: the extent of the result there."""
    shape = _changed(self, dim[-1], last_dim_size)
    return _external("fourier_to_real", self, shape, self.dtype.part, dim, normalization, last_dim_size)


# --- what the public functions share ------------------------------------------------------------------------------


def _padded(x: Any, dim: int, more: int) -> Any:
    shape = [*x.shape[:dim], more, *x.shape[dim + 1 :]]
    return FUNCTIONS["cat"]([x, FUNCTIONS["full"](shape, 0, dtype=x.dtype, device=x.device)], dim)


def _resized(x: Any, dims: Dims, sizes: Any) -> Any:
    """x cut or padded with zeros to sizes along dims."""
    for d, n in zip(dims, sizes):
        have = x.shape[d]
        if n < have:
            x = x.narrow(d, 0, n)
        elif n > have:
            x = _padded(x, d, n - have)
    return x


def _mode(norm: Any, forward: bool) -> int:
    if norm is None or norm == "backward":
        return 0 if forward else 2
    if norm == "forward":
        return 2 if forward else 0
    if norm != "ortho":
        fail(RuntimeError, f'fft: Invalid normalization mode: "{norm}"')
    return 1


def _floats(x: Any, need_complex: bool) -> Any:
    d = x.dtype
    if not d.is_inexact:
        d = default_dtype()
    if d.part not in (float32, float64):
        fail(RuntimeError, f"fft: Unsupported dtype {scalar_name(d)}")
    d = d.to_complex() if need_complex else d
    return x if x.dtype is d else x.to(d)


def _real(name: str, x: Any) -> Any:
    if x.dtype.is_complex:
        fail(RuntimeError, f"{name} expects a real input tensor, but got {scalar_name(x.dtype)}")
    return _floats(x, False)


def _points(n: int) -> int:
    if n < 1:
        fail(RuntimeError, f"Invalid number of data points ({n}) specified")
    return n


def _one(x: Any, n: Any, dim: int) -> tuple[Any, int]:
    """The input along one dimension of n elements."""
    if not x.ndim:
        fail(IndexError, f"Dimension specified as {dim} but tensor has no dimensions")
    d = wrap_dim(dim, x.ndim, "fft")
    if n is not None:
        return _resized(x, (d,), (_points(n),)), d
    _points(x.shape[d])
    return x, d


def _several(x: Any, s: Any, dim: Any) -> tuple[list[int], Dims]:
    """The extents and dimensions of a transform over several."""
    given = None if dim is None else ((dim,) if isinstance(dim, int) else tuple(dim))
    sizes = None if s is None else ([s] if isinstance(s, int) else [int(n) for n in s])
    if given is not None:
        given = tuple([wrap_dim(d, x.ndim, "fft") for d in given])
        if len(set(given)) < len(given):
            fail(RuntimeError, "FFT dims must be unique")
    if sizes is not None:
        if given is not None and len(given) != len(sizes):
            fail(RuntimeError, "When given, dim and shape arguments must have the same length")
        if len(sizes) > x.ndim:
            fail(
                RuntimeError,
                f"Got shape with {len(sizes)} values but input tensor only has {x.ndim} dimensions.",
            )
        if given is None:
            given = tuple(range(x.ndim - len(sizes), x.ndim))
    elif given is None:
        given = tuple(range(x.ndim))
    extents = [x.shape[d] for d in given]
    if sizes is not None:
        extents = [have if n == -1 else n for n, have in zip(sizes, extents)]
    for n in extents:
        _points(n)
    return extents, given


def _done(result: Any, out: Any) -> Any:
    return result if out is None else into(out, result)


def face(fn: Any) -> Any:
    """Declare a function of torch.fft."""
    name = fn.__name__
    return composite(name="fft_" + name, method=False, function=False, faces={"fft": name})(fn)


# --- over one dimension -------------------------------------------------------------------------------------------


@face
def fft(input: Any, n: Any = None, dim: int = -1, norm: Any = None, *, out: Any = None) -> Any:
    """The discrete Fourier transform along a dimension, of n elements (cut, or padded with zeros)."""
    x, d = _one(_floats(input, False), n, dim)
    if x.dtype.is_complex:
        return _done(_fft_c2c(x, (d,), _mode(norm, True), True), out)
    return _done(_fft_r2c(x, (d,), _mode(norm, True), False), out)


@face
def ifft(input: Any, n: Any = None, dim: int = -1, norm: Any = None, *, out: Any = None) -> Any:
    """The inverse of `fft`."""
    x, d = _one(_floats(input, False), n, dim)
    if x.dtype.is_complex:
        return _done(_fft_c2c(x, (d,), _mode(norm, False), False), out)
    return _done(_fft_r2c(x, (d,), _mode(norm, False), False).conj(), out)


@face
def rfft(input: Any, n: Any = None, dim: int = -1, norm: Any = None, *, out: Any = None) -> Any:
    """The first half of the transform of real numbers; the other holds its conjugates."""
    x, d = _one(_real("rfft", input), n, dim)
    return _done(_fft_r2c(x, (d,), _mode(norm, True), True), out)


def _to_real(x: Any, n: Any, dim: int, mode: int, turned: bool) -> Any:
    x = _floats(x, True)
    if not x.ndim:
        fail(IndexError, f"Dimension specified as {dim} but tensor has no dimensions")
    d = wrap_dim(dim, x.ndim, "fft")
    last = _points(2 * (x.shape[d] - 1) if n is None else n)
    x = _resized(x, (d,), (last // 2 + 1,))
    return _fft_c2r(x.conj() if turned else x, (d,), mode, last)


@face
def irfft(input: Any, n: Any = None, dim: int = -1, norm: Any = None, *, out: Any = None) -> Any:
    """The inverse of `rfft`: n real numbers."""
    return _done(_to_real(input, n, dim, _mode(norm, False), False), out)


@face
def hfft(input: Any, n: Any = None, dim: int = -1, norm: Any = None, *, out: Any = None) -> Any:
    """The transform of a signal that is Hermitian in time, from its first half: n real numbers."""
    return _done(_to_real(input, n, dim, _mode(norm, True), True), out)


@face
def ihfft(input: Any, n: Any = None, dim: int = -1, norm: Any = None, *, out: Any = None) -> Any:
    """The inverse of `hfft`."""
    x, d = _one(_real("ihfft", input), n, dim)
    return _done(_fft_r2c(x, (d,), _mode(norm, False), True).conj(), out)


# --- over several -------------------------------------------------------------------------------------------------


def _complex(x: Any, s: Any, dim: Any, norm: Any, forward: bool) -> Any:
    extents, dims = _several(x, s, dim)
    x = _resized(_floats(x, True), dims, extents)
    return _fft_c2c(x, dims, _mode(norm, forward), forward) if dims else x.clone()


def _half(name: str, x: Any, s: Any, dim: Any) -> tuple[Any, Dims, int]:
    """The input of a transform to real numbers, and the extent of the result along the last dimension."""
    extents, dims = _several(x, s, dim)
    if not dims:
        fail(RuntimeError, f"{name} must transform at least one axis")
    last = extents[-1]
    if s is None or (not isinstance(s, int) and s[-1] == -1):
        last = _points(2 * (x.shape[dims[-1]] - 1))
    return _resized(_floats(x, True), dims, [*extents[:-1], last // 2 + 1]), dims, last


@face
def fftn(input: Any, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Any:
    """The transform over several dimensions (default: all), of s elements each."""
    return _done(_complex(input, s, dim, norm, True), out)


@face
def ifftn(input: Any, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Any:
    """The inverse of `fftn`."""
    return _done(_complex(input, s, dim, norm, False), out)


@face
def rfftn(input: Any, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Any:
    """The transform of real numbers over several dimensions: its first half along the last."""
    x = _real("rfftn", input)
    extents, dims = _several(x, s, dim)
    if not dims:
        fail(RuntimeError, "rfftn must transform at least one axis")
    return _done(_fft_r2c(_resized(x, dims, extents), dims, _mode(norm, True), True), out)


@face
def irfftn(input: Any, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Any:
    """The inverse of `rfftn`."""
    x, dims, last = _half("irfftn", input, s, dim)
    return _done(_fft_c2r(x, dims, _mode(norm, False), last), out)


@face
def hfftn(input: Any, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Any:
    """The transform over several dimensions of what is Hermitian along the last, from its first half."""
    x, dims, last = _half("hfftn", input, s, dim)
    mode = _mode(norm, True)
    x = _fft_c2c(x, dims[:-1], mode, True) if len(dims) > 1 else x
    return _done(_fft_c2r(x.conj(), dims[-1:], mode, last), out)


@face
def ihfftn(input: Any, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Any:
    """The inverse of `hfftn`."""
    x = _real("ihfftn", input)
    extents, dims = _several(x, s, dim)
    if not dims:
        fail(RuntimeError, "ihfftn must transform at least one axis")
    mode = _mode(norm, False)
    made = _fft_r2c(_resized(x, dims, extents), dims[-1:], mode, True).conj()
    return _done(_fft_c2c(made, dims[:-1], mode, False) if len(dims) > 1 else made, out)


def _of_two(name: str, whole: Any) -> None:
    def made(input: Any, s: Any = None, dim: Any = (-2, -1), norm: Any = None, *, out: Any = None) -> Any:
        return whole(input, s, dim, norm, out=out)

    made.__name__ = made.__qualname__ = name
    made.__doc__ = f"`{whole.__name__}` over the last two dimensions."
    face(made)


for _whole in (fftn, ifftn, rfftn, irfftn, hfftn, ihfftn):
    _of_two(_whole.__name__[:-1] + "2", _whole)


# --- frequencies and order ----------------------------------------------------------------------------------------


@face
def fftfreq(n: int, d: float = 1.0, *, out: Any = None, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Any:  # fmt: skip
    """The frequencies of a transform of n elements d apart: [0, 1, ..., -1] / (n d)."""
    i = FUNCTIONS["arange"](n, dtype=dtype or default_dtype())
    result = FUNCTIONS["where"](i > (n - 1) // 2, i - n, i) * (1.0 / (n * d))
    return _done(result.requires_grad_() if requires_grad else result, out)


@face
def rfftfreq(n: int, d: float = 1.0, *, out: Any = None, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Any:  # fmt: skip
    """The frequencies of `rfft` of n elements d apart: [0, 1, ..., n // 2] / (n d)."""
    result = FUNCTIONS["arange"](n // 2 + 1, dtype=dtype or default_dtype()) * (1.0 / (n * d))
    return _done(result.requires_grad_() if requires_grad else result, out)


def _shifted(x: Any, dim: Any, back: bool) -> Any:
    dims = tuple(range(x.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    shifts = [(x.shape[d] + 1) // 2 if back else x.shape[d] // 2 for d in dims]
    return FUNCTIONS["roll"](x, shifts, dims) if dims else x.clone()


@face
def fftshift(input: Any, dim: Any = None) -> Any:
    """Frequency 0 moved to the middle of each dimension."""
    return _shifted(input, dim, False)


@face
def ifftshift(input: Any, dim: Any = None) -> Any:
    """The inverse of `fftshift`."""
    return _shifted(input, dim, True)
